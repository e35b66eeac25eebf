//! Objects come out of a backup exactly as they went in; and what `list` and `show` say about backups.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::vault_stage::{CLUSTER, INDEX, OBJECTS, Place, Stage, files};

/// A backup, and what the stock tools make of its segment.
async fn backed_up() -> (Stage, Place, String, PathBuf) {
    let stage = Stage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let id = stage.back_up(&place).await;
    let (key, segment) = (stage.key("oncall-identity.txt"), place.file(&id, "platform/0001.tar.zst.age"));
    let unpacked = stage.scratch.folder("unpacked");
    let [key, segment, to] = [&key, &segment, &unpacked].map(|path| path.display().to_string());
    stage.shell(&format!("age -d -i {key} {segment} | zstd -d | tar -x -C {to}")).await.expect_success();
    (stage, place, id, unpacked)
}

#[tokio::test]
async fn one_object_comes_out_to_the_byte_by_any_of_its_names() {
    let (stage, place, id, unpacked) = backed_up().await;
    let namespace = &stage.namespace;
    for (names, path) in [
        (&["configmaps", "cm", "ConfigMap"][..], "configmaps/v1/NS/config-7"),
        (&["secrets", "Secret", "secret"], "secrets/v1/NS/secret-3"),
        (
            &["deployments.apps", "deployments", "deploy", "Deployment", "deployment.apps"],
            "deployments.apps/v1/NS/web-1",
        ),
        (&["roles.rbac.authorization.k8s.io", "role"], "roles.rbac.authorization.k8s.io/v1/NS/system:reader"),
        (&["svc"], "services/v1/NS/web-2"),
    ] {
        let file = unpacked.join("resources").join(path.replace("NS", namespace) + ".json");
        let exact = std::fs::read_to_string(file).unwrap();
        let name = path.rsplit('/').next().unwrap();
        for kind in names {
            let object = format!("{kind}/{namespace}/{name}");
            let run = stage.ckbackup(&place).args(["extract", &id, "--object", &object]).run().await.expect_success();
            assert_eq!(run.stdout, exact, "{object}");
        }
    }
    let extract = |object: &str| stage.ckbackup(&place).args(["extract", &id, "--object", object]).run();
    let missing = extract(&format!("cm/{namespace}/config-99")).await.expect(1);
    assert!(missing.stderr.contains("is not in backup") && missing.stdout.is_empty(), "{missing}");
    extract(&format!("unicorns/{namespace}/a")).await.expect(1);
    extract("cm/config-7").await.expect(2);
    extract("config-7").await.expect(2);
}

#[tokio::test]
async fn a_folder_gets_files_for_their_owner_only_and_is_never_mixed() {
    let (stage, place, id, unpacked) = backed_up().await;
    stage.extract(&place, &id, "out").await.expect_success();
    let out = stage.scratch.path().join("out");
    stage.shell(&format!("diff -r {} out/platform", unpacked.display())).await.expect_success();
    let all = files(&out);
    assert_eq!(all.len(), 39);
    for file in &all {
        assert_eq!(out.join(file).metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    assert_eq!(out.join("platform/resources").metadata().unwrap().permissions().mode() & 0o777, 0o700);

    // Again, into the same folder; into one with something else in it; into a file.
    stage.scratch.file("other/mine.txt", "mine");
    stage.scratch.file("file", "mine");
    for taken in ["out", "other", "file"] {
        let refused = stage.extract(&place, &id, taken).await.expect(2);
        assert!(refused.stderr.contains("is not empty") || refused.stderr.contains("is not a folder"), "{refused}");
    }
    assert_eq!(files(&stage.scratch.path().join("other")), ["mine.txt"]);

    let object = format!("cm/{}/config-7", stage.namespace);
    let one = stage.ckbackup(&place).args(["extract", &id, "--object", &object, "--to", "one", "-o", "json"]);
    let one = one.run().await.expect_success().json();
    let (files_written, bytes) = (one["files"].as_u64().unwrap(), one["bytes"].as_u64().unwrap());
    let names = files(&stage.scratch.path().join("one"));
    assert_eq!(names, [format!("platform/resources/configmaps/v1/{}/config-7.json", stage.namespace)]);
    let size = stage.scratch.path().join("one").join(&names[0]).metadata().unwrap().len();
    assert_eq!((files_written, bytes), (1, size));

    stage.ckbackup(&place).args(["extract", &id, "--source", "configuration", "--to", "conf"]).run().await.expect(0);
    assert_eq!(files(&stage.scratch.path().join("conf")).len(), 3);
    stage.ckbackup(&place).args(["extract", &id, "--source", "nothing", "--to", "none"]).run().await.expect(2);
}

#[tokio::test]
async fn everything_goes_to_standard_output_as_one_document_a_line() {
    let (stage, place, id, unpacked) = backed_up().await;
    let run = stage.ckbackup(&place).args(["extract", "latest", "--to", "-"]).run().await.expect_success();
    let mut streamed: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let paths = files(&unpacked);
    let mut saved: Vec<Value> = paths
        .iter()
        .map(|path| serde_json::from_slice(&std::fs::read(unpacked.join(path)).unwrap()).unwrap())
        .collect();
    for all in [&mut streamed, &mut saved] {
        all.sort_by_key(|object| object["metadata"]["uid"].as_str().unwrap().to_owned());
    }
    assert_eq!(streamed.len(), 36);
    assert_eq!(streamed, saved, "{id}");
}

/// A reader that leaves early, as `head` does, is no error and no panic.
#[tokio::test]
async fn output_that_nobody_reads_to_the_end_is_no_failure() {
    let (stage, place, ..) = backed_up().await;
    for n in 0..3 {
        stage.back_up_by(&format!("more-{n}"), &place).await;
    }
    let program = env!("CARGO_BIN_EXE_ckbackup");
    for (args, reader) in [
        ("list -o name", "head -1"),
        ("list -o name", "true"),
        ("show latest -o json", "head -c 1"),
        ("extract latest --to -", "head -1"),
        ("extract latest --to -", "true"),
        ("--help", "true"),
    ] {
        let script =
            format!("set -o pipefail; {program} {args} 2>errors | {reader} >/dev/null; echo ${{PIPESTATUS[0]}}");
        let keys = [("SIGNERS", "oncall-allowed_signers"), ("IDENTITY", "oncall-identity.txt")];
        let keys = keys.map(|(name, file)| (format!("CKBACKUP_{name}_FILE"), stage.key(file)));
        let shell = crate::harness::Ckbackup::program("bash", &stage.scratch).args(["-c", &script]);
        let run = shell.env("CKBACKUP_VAULT", &place.url).envs(keys).run().await.expect_success();
        assert_eq!(run.stdout, "0\n", "{run}");
        let errors = std::fs::read_to_string(stage.scratch.path().join("errors")).unwrap();
        assert!(!errors.contains("panic"), "{errors}");
    }
}

#[tokio::test]
async fn list_and_show_say_what_is_there_in_stable_fields() {
    let (stage, place, id, _) = backed_up().await;
    let cut_off = "20200101T000000Z-nightly";
    std::fs::create_dir_all(place.file(cut_off, "platform")).unwrap();
    std::fs::copy(place.file(&id, "platform/0001.tar.zst.age"), place.file(cut_off, "platform/0001.tar.zst.age"))
        .unwrap();
    std::fs::create_dir_all(place.file("not-an-id", "x")).unwrap();
    let list = async |args: &[&str]| {
        let run = stage.ckbackup(&place).args(["list", "-o", "json"]).args(args.iter().copied());
        run.run().await.expect_success().json()
    };

    let listed = list(&[]).await;
    assert_eq!((&listed["vault"], &listed["cluster"]), (&json!(place.url), &json!(CLUSTER)));
    let rows = listed["backups"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!((&row["id"], &row["status"], &row["schedule"]), (&json!(id), &json!("complete"), &json!("nightly")));
    assert_eq!((&row["items"], &row["sources"], &row["problems"]), (&json!(36), &json!(["platform"]), &json!(0)));
    assert_eq!((&row["signature"]["status"], &row["previous"]), (&json!("good"), &Value::Null));
    assert_eq!(row["signature"]["principal"], json!("backup@cluster"));
    let stored: u64 = OBJECTS
        .iter()
        .filter(|object| object.ends_with(".age"))
        .map(|object| place.file(&id, object).metadata().unwrap().len())
        .sum();
    assert_eq!(row["storedBytes"], json!(stored));
    assert!(row["started"].is_string() && row["finished"].is_string() && row["seconds"].is_u64());

    let all = list(&["--all"]).await;
    let all: Vec<_> =
        all["backups"].as_array().unwrap().iter().map(|b| (b["id"].clone(), b["status"].clone())).collect();
    assert_eq!(all, [(json!(cut_off), json!("uncommitted")), (json!(id), json!("complete"))]);
    let verified = stage.ckbackup(&place).args(["verify", "--all", "-o", "json"]).run().await.expect_success().json();
    assert_eq!(verified["uncommitted"], json!([cut_off]));
    stage.ckbackup(&place).args(["show", cut_off]).run().await.expect(2);

    let shown = stage.ckbackup(&place).args(["show", &id, "-o", "json"]).run().await.expect_success().json();
    let stored: Value = serde_json::from_slice(&std::fs::read(place.file(&id, "manifest.json")).unwrap()).unwrap();
    assert_eq!(shown["manifest"], stored);
    assert_eq!(shown["signature"]["status"], json!("good"));
    assert_eq!(stored["sources"][1]["types"]["configmaps"]["count"], json!(12));
    assert!(!stored.to_string().contains("config-7"), "no names of objects stand in the open");

    let names = stage.ckbackup(&place).args(["list", "-o", "name"]).run().await.expect_success();
    assert_eq!(names.stdout, format!("{id}\n"));
    let wide = stage.ckbackup(&place).args(["show", &id, "-o", "wide"]).run().await.expect_success();
    assert!(wide.stdout.contains("roles.rbac.authorization.k8s.io") && wide.stdout.contains(INDEX));
}
