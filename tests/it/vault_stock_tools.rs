//! A backup opens with `age`, `zstd`, `tar`, `sha256sum` and `ssh-keygen` alone.

use std::path::{Path, PathBuf};

use http::{HeaderMap, Method};
use serde_json::Value;

use crate::harness::control_plane::shared;
use crate::harness::{Api, BucketKind, S3Server};
use crate::vault_stage::{CLUSTER, OBJECTS, Place, Stage, files};

#[tokio::test]
async fn stock_tools_open_a_backup_in_a_folder() {
    let stage = Stage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let id = stage.back_up(&place).await;
    opens_with_stock_tools(&stage, &place.path().join(CLUSTER).join(id)).await;
}

#[tokio::test]
async fn stock_tools_open_a_backup_in_a_bucket() {
    let stage = Stage::new().await;
    let s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("vault", BucketKind::Versioned).await;
    let place = Place::bucket(&s3, "vault/prod");
    let id = stage.back_up(&place).await;
    opens_with_stock_tools(&stage, &download(&stage, &s3, &place, &id).await).await;
}

/// Every object of the backup, fetched by its key without any of our code.
async fn download(stage: &Stage, s3: &S3Server, place: &Place, id: &str) -> PathBuf {
    let prefix = format!("prod/{CLUSTER}/{id}/");
    let query = format!("/vault?list-type=2&prefix={}", prefix.replace('/', "%2F"));
    let listed = s3.send(s3.root(), Method::GET, &query, HeaderMap::new(), "").await.text();
    let keys: Vec<_> = listed.split("<Key>").skip(1).map(|rest| rest.split_once('<').unwrap().0).collect();
    assert_eq!(keys.len(), OBJECTS.len(), "{} {listed}", place.url);
    for key in keys {
        let got = s3.send(s3.root(), Method::GET, &format!("/vault/{key}"), HeaderMap::new(), "").await;
        assert_eq!(got.status, 200);
        stage.scratch.file(&format!("download/{key}"), got.body);
    }
    stage.scratch.path().join("download").join(prefix)
}

async fn opens_with_stock_tools(stage: &Stage, folder: &Path) {
    let (folder, keys) = (folder.display(), stage.key("").display().to_string());
    let run = async |script: &str| {
        let setup = format!("keys={keys} out={}; cd {folder}\n", stage.scratch.path().join("out").display());
        stage.shell(&(setup + script)).await.expect_success().stdout
    };

    // The commands of docs/format.md.
    let signed = run(r#"signers=$keys/oncall-allowed_signers
        SIGNER=$(ssh-keygen -Y find-principals -f $signers -s manifest.json.sig)
        ssh-keygen -Y verify -f $signers -I "$SIGNER" -n ckbackup -s manifest.json.sig < manifest.json"#)
    .await;
    assert!(signed.starts_with("Good \"ckbackup\" signature for backup@cluster"), "{signed}");
    let digests =
        run(r#"awk -F'"' '$2 == "key" {k = $4} $2 == "sha256" && k {print $4 "  " k; k = ""}' manifest.json \
        | sha256sum -c"#)
        .await;
    let mut checked: Vec<_> = digests.lines().collect();
    checked.sort_unstable();
    let mut expected: Vec<_> = OBJECTS.iter().filter(|o| o.ends_with(".age")).map(|o| format!("{o}: OK")).collect();
    expected.sort_unstable();
    assert_eq!(checked, expected);
    for source in ["platform", "configuration"] {
        // Both recipients open it.
        for who in ["oncall", "escrow"] {
            run(&format!(
                "mkdir -p $out/{who}/{source}
                age -d -i $keys/{who}-identity.txt {source}/0001.tar.zst.age | zstd -d | tar -x -C $out/{who}/{source}"
            ))
            .await;
        }
    }
    run("diff -r $out/oncall $out/escrow").await;
    let index =
        run("age -d -i $keys/oncall-identity.txt platform/0001.index.json.zst.age | zstd -dc | grep '^{\"path\"'")
            .await;

    let out = stage.scratch.path().join("out/oncall");
    let objects = files(&out.join("platform"));
    assert_eq!(objects.len(), 36, "{objects:?}");
    let mut indexed: Vec<String> = index.lines().map(|line| text(&parse(line.as_bytes())["path"])).collect();
    indexed.retain(|path| path.starts_with("resources/"));
    indexed.sort();
    assert_eq!(indexed, objects);
    for object in &objects {
        let saved = parse(&std::fs::read(out.join("platform").join(object)).unwrap());
        assert_eq!(saved, served(&shared().api(), object).await, "{object}");
    }
    assert_configuration(stage, &out.join("configuration"));
}

/// What the API server has at the place that a member's path names.
async fn served(api: &Api, member: &str) -> Value {
    let parts: Vec<_> = member.strip_suffix(".json").unwrap().split('/').collect();
    let ["resources", kind, version, namespace, name] = parts[..] else { panic!("{member}") };
    let place = |group: &str, plural: &str| format!("{group}/{version}/namespaces/{namespace}/{plural}/{name}");
    api.get(&match kind.split_once('.') {
        Some((plural, group)) => place(&format!("/apis/{group}"), plural),
        None => place("/api", kind),
    })
    .await
}

fn assert_configuration(stage: &Stage, folder: &Path) {
    assert_eq!(files(folder), ["restore-plans/all.yaml", "runbooks/dns.md", "schedule.yaml"]);
    let root = stage.scratch.path();
    for (stored, original) in [
        ("restore-plans/all.yaml", "plans/all.yaml"),
        ("runbooks/dns.md", "runbooks/dns.md"),
        ("schedule.yaml", "schedules/nightly-0.yaml"),
    ] {
        assert_eq!(std::fs::read(folder.join(stored)).unwrap(), std::fs::read(root.join(original)).unwrap());
    }
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
