//! Who can open a backup, whose signature counts, and which manifests are understood.

use std::path::Path;

use ckbackup::vault::layout::{MANIFEST, SIGNATURE};
use serde_json::json;

use crate::harness::control_plane::{shared, write_kubeconfig};
use crate::harness::{Action, Ckbackup, FaultProxy};
use crate::vault_stage::{CLUSTER, Place, Stage, files, id_of};

/// Signs a manifest anew, with the stock tool and the key of the schedule.
pub async fn sign(stage: &Stage, manifest: &Path) {
    let (key, manifest) = (stage.key("oncall-signing_key"), manifest.display().to_string());
    let script = format!("rm -f {manifest}.sig; ssh-keygen -q -Y sign -f {} -n ckbackup {manifest}", key.display());
    stage.shell(&script).await.expect_success();
}

#[tokio::test]
async fn only_an_identity_of_a_recipient_opens_a_backup() {
    let stage = Stage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let id = stage.back_up(&place).await;
    let keygen = Ckbackup::new(&stage.scratch).args(["keygen", "--dir", "keys", "--name", "thief"]).run().await;
    keygen.expect_success();
    let with = |identity: &str, args: &[&str]| {
        let run = stage.ckbackup(&place).env("CKBACKUP_IDENTITY_FILE", "").args(args.iter().copied());
        run.arg("--identity").arg(stage.key(identity)).run()
    };

    let refused = with("thief-identity.txt", &["extract", &id, "--to", "stolen"]).await.expect(8);
    assert!(refused.stderr.contains("no given identity opens"), "{refused}");
    assert!(!stage.scratch.path().join("stolen").exists());
    with("thief-identity.txt", &["verify", &id]).await.expect(8);
    with("thief-identity.txt", &["verify", "--all"]).await.expect(8);
    with("thief-identity.txt", &["diff", &id, "--context", "shared"]).await.expect(8);
    with("thief-identity.txt", &["restore", "-f", "plans/all.yaml", "--backup", &id, "--dry-run"]).await.expect(8);

    with("escrow-identity.txt", &["extract", &id, "--to", "escrow"]).await.expect_success();
    with("escrow-identity.txt", &["verify", &id]).await.expect_success();
    assert_eq!(files(&stage.scratch.path().join("escrow")).len(), 39);
    // Without an identity, what is stored can still be verified, but not opened.
    let stranger = stage.stranger(&place).env("CKBACKUP_SIGNERS_FILE", stage.key("oncall-allowed_signers"));
    stranger.args(["verify", &id]).run().await.expect_success();
    stage.stranger(&place).args(["extract", &id, "--to", "none"]).run().await.expect(2);
}

#[tokio::test]
async fn an_ssh_key_opens_what_was_sealed_for_it() {
    let stage = Stage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    stage.shell("ssh-keygen -q -t ed25519 -N '' -C someone@laptop -f ssh_key").await.expect_success();
    let public = std::fs::read_to_string(stage.scratch.path().join("ssh_key.pub")).unwrap().trim().to_owned();
    let schedule = stage.schedule_for("nightly", &place, &[public, stage.recipient("escrow")]);
    let run = stage.ckbackup(&place).args(["backup", "--now", "-o", "json", "-f"]).arg(schedule).run().await;
    let id = id_of(&run.expect_success());

    let with = |identity: &Path, to: &str| {
        let run = stage.ckbackup(&place).args(["extract", &id, "--to", to, "--identity"]);
        run.arg(identity).run()
    };
    with(&stage.scratch.path().join("ssh_key"), "by-ssh").await.expect_success();
    with(&stage.key("escrow-identity.txt"), "by-escrow").await.expect_success();
    with(&stage.key("oncall-identity.txt"), "by-oncall").await.expect(8);
    stage.shell("diff -r by-ssh by-escrow").await.expect_success();
    let segment = place.file(&id, "platform/0001.tar.zst.age");
    stage.shell(&format!("age -d -i ssh_key {} | zstd -d | tar -t", segment.display())).await.expect_success();
}

#[tokio::test]
async fn without_a_trusted_signer_nothing_is_verified() {
    let stage = Stage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let id = stage.back_up(&place).await;
    Ckbackup::new(&stage.scratch).args(["keygen", "--dir", "keys", "--name", "other"]).run().await.expect_success();
    let verify = |signers: Option<&str>| {
        let run = stage.stranger(&place).args(["verify", &id, "-o", "json"]);
        match signers {
            Some(file) => run.arg("--signers").arg(stage.key(file)).run(),
            None => run.run(),
        }
    };

    let wrong = verify(Some("other-allowed_signers")).await.expect(5);
    assert!(wrong.stderr.contains("does not trust"), "{wrong}");
    assert_eq!(wrong.json()["backups"][0]["signature"]["status"], json!("bad"));
    let none = verify(None).await.expect(5);
    assert!(none.stderr.contains("warning: no trusted signers are given"), "{none}");
    assert!(none.stderr.contains("error: not verified: no trusted signers"), "{none}");
    assert_eq!((&none.json()["verified"], &none.json()["exitCode"]), (&json!(false), &json!(5)));
    // A file that was named and cannot be read is a mistake of the caller, never a reason to go on without.
    let missing = verify(Some("no-such-file")).await.expect(2);
    assert!(missing.stderr.contains("read the trusted signers"), "{missing}");
    verify(Some("oncall-allowed_signers")).await.expect_success();

    // With signers that do not trust it, it is not opened either; without any, that is said.
    let stranger = |args: &[&str]| stage.stranger(&place).args(["extract", &id]).args(args.iter().copied());
    let identity = stage.key("oncall-identity.txt");
    let refused = stranger(&["--to", "refused", "--signers"]).arg(stage.key("other-allowed_signers"));
    refused.arg("--identity").arg(&identity).run().await.expect(5);
    let unchecked = stranger(&["--to", "unchecked", "--identity"]).arg(&identity).run().await.expect_success();
    assert!(unchecked.stderr.contains("warning: no trusted signers are given"), "{unchecked}");
}

#[tokio::test]
async fn latest_passes_over_bad_signatures_and_partial_backups_and_says_so() {
    let stage = Stage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let good = stage.back_up_by("a-good", &place).await;
    let forged = stage.back_up_by("b-forged", &place).await;
    let proxy = FaultProxy::tls(&shared().server, &shared().ca_pem, |seen| match seen.path.contains("/secrets") {
        true => Action::kubernetes_status(403, "Forbidden", "secrets is forbidden"),
        false => Action::Forward,
    });
    let behind = write_kubeconfig(&stage.scratch, "denied", proxy.url(), proxy.ca_pem(), &shared().token);
    let partial = stage.backup_by("c-partial", &place).env("KUBECONFIG", behind).run().await.expect(3);
    assert_eq!(partial.json()["status"], json!("partial"));
    assert!(partial.stderr.contains("secrets"), "{partial}");
    let partial = id_of(&partial);
    let manifest = place.file(&forged, MANIFEST);
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("\"toolVersion\": \"", "\"toolVersion\": \"9")).unwrap();

    let latest = stage.ckbackup(&place).args(["show", "latest", "-o", "name"]).run().await.expect_success();
    assert_eq!(latest.stdout.trim(), good);
    let warned = |id: &str, why: &str| {
        latest.stderr.lines().any(|line| {
            line.starts_with(&format!("warning: {id} is newer than {good}, but was passed over")) && line.contains(why)
        })
    };
    assert!(warned(&forged, "signature does not fit") && warned(&partial, "it is partial"), "{latest}");
    // By its id, the partial one can be had; the forged one cannot.
    stage.extract(&place, &partial, "partial").await.expect_success();
    stage.extract(&place, &forged, "forged").await.expect(5);

    // When nothing good is left, `latest` is nothing.
    std::fs::remove_file(place.file(&good, SIGNATURE)).unwrap();
    let none = stage.ckbackup(&place).args(["show", "latest"]).run().await.expect(5);
    assert!(none.stdout.is_empty(), "{none}");
}

#[tokio::test]
async fn a_format_from_the_future_is_an_error_and_unknown_fields_are_not() {
    let stage = Stage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let id = stage.back_up(&place).await;
    let change = async |from: &str, to: &str| {
        let copy = stage.copy(&place, &to.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
        let manifest = copy.file(&id, MANIFEST);
        let text = std::fs::read_to_string(place.file(&id, MANIFEST)).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&manifest, text.replacen(from, to, 1)).unwrap();
        sign(&stage, &manifest).await;
        copy
    };

    let future = change("\"formatVersion\": 1", "\"formatVersion\": 2").await;
    let refused = stage.verify(&future, &id).await.expect(5);
    let clear = "the backup has format version 2, and this program reads version 1";
    assert!(refused.stderr.contains(clear), "{refused}");
    let refused = stage.extract(&future, &id, "future").await.expect(5);
    assert!(
        refused.stderr.contains(clear) && refused.stderr.contains("hint: use the ckbackup that wrote it"),
        "{refused}"
    );
    // Even when nothing else of it can be understood.
    let future = change("\"formatVersion\": 1", "\"formatVersion\": 3, \"sources\": 7").await;
    let refused = stage.verify(&future, &id).await.expect(5);
    assert!(refused.stderr.contains("format version 3"), "{refused}");

    let extended = change("\"id\":", "\"weather\": {\"rain\": [1, 2]},\n  \"id\":").await;
    let extended_deeper = change("\"kind\": \"kubernetes\"", "\"mood\": null, \"kind\": \"kubernetes\"").await;
    for copy in [extended, extended_deeper] {
        stage.verify(&copy, &id).await.expect_success();
        stage.extract(&copy, &id, "extended").await.expect_success();
        std::fs::remove_dir_all(stage.scratch.path().join("extended")).unwrap();
        stage.ckbackup(&copy).args(["show", "latest", "--cluster", CLUSTER]).run().await.expect_success();
    }
}

/// Whoever may write to the vault, but has no key, must not be able to make later backups fail their verification.
#[tokio::test]
async fn a_planted_manifest_does_not_get_into_the_chain() {
    let stage = Stage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let first = stage.back_up_by("nightly", &place).await;
    let cluster = place.path().join(CLUSTER);
    let text = std::fs::read_to_string(place.file(&first, MANIFEST)).unwrap();
    let started = json_text(&text, "started");
    let stamp = first.split('-').next().unwrap();
    for (planted_stamp, planted_start) in
        [(&format!("{stamp}-zz"), started.as_str()), (&"20991231T000000Z-nightly".into(), "2099-12-31T00:00:00Z")]
    {
        let planted = text.replace(&first, planted_stamp).replace(&started, planted_start);
        std::fs::create_dir(cluster.join(planted_stamp)).unwrap();
        std::fs::write(cluster.join(planted_stamp).join(MANIFEST), planted).unwrap();
    }

    let second = stage.back_up_by("nightly", &place).await;
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(place.file(&second, MANIFEST)).unwrap()).unwrap();
    assert_eq!(manifest["previous"]["id"], first.as_str());
    stage.verify(&place, &second).await.expect_success();
}

fn json_text(manifest: &str, key: &str) -> String {
    let manifest: serde_json::Value = serde_json::from_str(manifest).unwrap();
    manifest[key].as_str().unwrap().to_owned()
}
