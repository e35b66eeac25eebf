//! The whole way with a platform like the real thing: `ckbackup demo`, its backup restored elsewhere, and its backup
//! opened with stock tools by the commands of the runbook.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::harness::assets::assets;
use crate::harness::{Api, Ckbackup, ControlPlane, Finished, Scratch, eventually};
use crate::restore_fixture::{items, summary};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn a_platform_is_backed_up_lost_and_restored_and_stock_tools_open_its_backup() {
    let scratch = Scratch::new();
    let demo = Ckbackup::new(&scratch).args(["demo", "--dir", "demo", "--assets"]).arg(&assets().control_plane);
    let demo = demo.timeout(Duration::from_secs(180)).run().await.expect_success();

    assert!(demo.stderr.contains("the platform is back"), "{demo}");
    assert!(demo.stdout.contains("complete: ") && demo.stdout.contains(" 0 failed"), "{demo}");
    assert!(demo.stdout.contains(" 0 missing, 0 extra, 0 changed"), "{demo}");
    assert!(demo.stderr.contains("what was saved of them is back, to the byte"), "{demo}");
    printed_commands_work(&scratch, &demo).await;
    its_backup_restores_by_the_default_plan_and_again(&scratch).await;
    the_runbook_for_stock_tools_works(&scratch).await;
}

/// The commands stand indented under a line that ends in a colon.
async fn printed_commands_work(scratch: &Scratch, demo: &Finished) {
    let lines: Vec<_> = demo.stderr.lines().collect();
    let mut ran = 0;
    for begin in ["  mkdir /tmp/out", "  cd /"] {
        let at = lines.iter().position(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("{begin}: {demo}"));
        let end = at + lines[at..].iter().position(|line| !line.ends_with('\\')).unwrap();
        let command = lines[at..=end].join("\n").replace("/tmp/out", &scratch.path().join("opened").to_string_lossy());
        let script = format!("set -o pipefail; {command}");
        let shown = Ckbackup::program("bash", scratch).args(["-c", &script]).run().await;
        // `head` may end the pipe early, which is as good.
        assert!(matches!(shown.code(), Some(0 | 141)), "{shown}");
        assert!(shown.stdout.contains("resources") || shown.stdout.contains("Good \"ckbackup\" signature"), "{shown}");
        ran += 1;
    }
    assert_eq!(ran, 2);
}

fn verb(scratch: &Scratch, words: &str, plane: &ControlPlane) -> Ckbackup {
    let keys =
        "--vault demo/vault --identity demo/keys/escrow/identity.txt --signers demo/keys/on-call/allowed_signers";
    let command = Ckbackup::new(scratch).args(words.split(' ')).args(["-q", "-o", "json"]).args(keys.split(' '));
    command.arg("--kubeconfig").arg(plane.kubeconfig())
}

async fn its_backup_restores_by_the_default_plan_and_again(scratch: &Scratch) {
    let plane = ControlPlane::start(scratch, "another").await;
    let restore = "restore -f demo/restore-plans/default.yaml";
    let first = summary(&verb(scratch, restore, &plane).run().await.expect_success());
    let [created, updated, unchanged, skipped, failed] = items(&first);
    assert!(created > 400 && updated == 0 && failed == 0, "{first:#}");
    verb(scratch, "diff latest", &plane).run().await.expect_success();

    let again = summary(&verb(scratch, restore, &plane).run().await.expect_success());
    assert_eq!(items(&again), [0, 0, created + unchanged, skipped, 0], "{again:#}");
    plane.sandbox.stop().await.unwrap();
}

/// What `aws` and `kubectl` are to the runbook: the vault's folder, and a list of what would be applied.
fn stand_ins(scratch: &Scratch) -> PathBuf {
    let vault = scratch.path().join("demo/vault");
    let aws = format!(
        "#!/bin/bash\nset -eu\n[ \"$1\" = s3 ]\ncase $2 in\n\
         ls) ls {vault}/${{3#s3://ck8s-backups/prod/}};;\n\
         cp) [ \"$3\" = --recursive ]; cp -r {vault}/${{4#s3://ck8s-backups/prod/}} \"$5\";;\nesac\n",
        vault = vault.display()
    );
    let applied = scratch.path().join("applied");
    let kubectl = format!(
        "#!/bin/bash\n[ \"$1 $2\" = '--context NEW' ] || exit 9\n\
         [ \"$3\" = apply ] && echo \"${{@: -1}}\" >> {}\nexit 0\n",
        applied.display()
    );
    for (name, text) in [("aws", aws), ("kubectl", kubectl)] {
        let file = scratch.file(&format!("bin/{name}"), text);
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    scratch.path().join("bin")
}

/// Runs every block of the runbook as one script, then creates on a real API server, in its order, what it applies.
async fn the_runbook_for_stock_tools_works(scratch: &Scratch) {
    let home = scratch.folder("home/keys");
    for file in ["identity.txt", "allowed_signers"] {
        std::fs::copy(scratch.path().join("demo/keys/on-call").join(file), home.join(file)).unwrap();
    }
    let backups = scratch.path().join("demo/vault/workload-1");
    let mut folders = std::fs::read_dir(backups).unwrap().map(|folder| folder.unwrap().path());
    let backup = folders.find(|folder| folder.join("manifest.json").exists()).unwrap();
    let id = backup.file_name().unwrap().to_str().unwrap().to_owned();
    let runbook = std::fs::read_to_string(root().join("runbooks/restore-with-stock-tools.md")).unwrap();
    let blocks: Vec<_> = runbook.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let script = blocks.join("\n").replace("BACKUP=20261121T000003Z-nightly", &format!("BACKUP={id}"));
    assert!(blocks.len() >= 5 && script.contains(&id));
    let path = format!("{}:{}", stand_ins(scratch).display(), std::env::var("PATH").unwrap());
    let bash = Ckbackup::program("bash", scratch).env("PATH", path).current_dir(scratch.folder("by-hand"));
    let ran = bash.args(["-c", &format!("set -o pipefail\n{script}")]).run().await.expect_success();
    assert!(ran.stdout.contains("Good \"ckbackup\" signature for backup@workload-1"), "{ran}");
    assert!(ran.stdout.contains("platform/0001.tar.zst.age: OK") && !ran.stdout.contains("FAILED"), "{ran}");
    assert!(ran.stderr.is_empty() || !ran.stderr.contains("rror"), "{ran}");

    let plane = ControlPlane::start(scratch, "by-stock-tools").await;
    let api = plane.api();
    let work = scratch.path().join("by-hand").join(&id);
    let applied = std::fs::read_to_string(scratch.path().join("applied")).unwrap();
    let (mut created, mut refused) = (0, Vec::new());
    for folder in applied.lines() {
        let resource = Path::new(folder).file_name().unwrap().to_str().unwrap();
        for file in json_files(&work.join(folder)) {
            match create(&api, resource, &file).await {
                (201, _) => created += 1,
                // What every cluster has; kubectl apply would leave it or patch it.
                (409, answer) if answer.contains("AlreadyExists") => {}
                (code, answer) => refused.push(format!("{}: {code} {answer}", file.display())),
            }
        }
    }
    assert!(refused.is_empty(), "{} refused:\n{}", refused.len(), refused.join("\n"));
    assert!(created > 200, "{created}");
    let types: HashSet<_> = applied.lines().collect();
    assert!(types.len() > 15, "{types:?}");
}

fn json_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(json_files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// As `kubectl apply` does with what is not there: the file as it stands is posted to the collection of its type.
async fn create(api: &Api, resource: &str, file: &Path) -> (u16, String) {
    let body = std::fs::read(file).unwrap();
    let object: Value = serde_json::from_slice(&body).unwrap();
    let (version, plural) = (object["apiVersion"].as_str().unwrap(), resource.split('.').next().unwrap());
    let root = if version.contains('/') { "/apis" } else { "/api" };
    let path = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{root}/{version}/namespaces/{namespace}/{plural}"),
        None => format!("{root}/{version}/{plural}"),
    };
    let mut answer = (0, String::new());
    // A type is served a moment after its definition.
    eventually("the type is served", async || {
        let (code, body) = api.send(reqwest::Method::POST, &path, Some(("application/json", body.clone()))).await;
        answer = (code, String::from_utf8_lossy(&body).into_owned());
        !matches!(code, 404 | 429) || answer.1.contains("namespaces")
    })
    .await;
    answer
}
