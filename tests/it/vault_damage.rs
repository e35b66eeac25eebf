//! Whatever is done to a stored object is found, named, and never taken for a backup.

use std::fmt;
use std::path::Path;

use ckbackup::archive::age::{Header, SEALED_CHUNK};
use ckbackup::vault::layout::{MANIFEST, SIGNATURE};
use futures::{StreamExt, stream};
use http::{HeaderMap, Method};
use serde_json::json;

use crate::harness::control_plane::shared;
use crate::harness::{BucketKind, Finished, S3Server};
use crate::vault_stage::{CLUSTER, CONFIGURATION, OBJECTS, Place, SEGMENT, Stage, copy_folder};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    FlippedByte,
    FlippedFirstByte,
    FlippedLastByte,
    CutByOne,
    CutToNothing,
    LastChunkCut,
    Appended,
    Swapped,
    Removed,
}

const ALL: [Damage; 9] = [
    Damage::FlippedByte,
    Damage::FlippedFirstByte,
    Damage::FlippedLastByte,
    Damage::CutByOne,
    Damage::CutToNothing,
    Damage::LastChunkCut,
    Damage::Appended,
    Damage::Swapped,
    Damage::Removed,
];

impl Damage {
    /// Does it to a file; `other` is the same object of another backup.
    fn apply(self, file: &Path, other: &Path) {
        let mut bytes = std::fs::read(file).unwrap();
        let (middle, last) = (bytes.len() / 2, bytes.len() - 1);
        match self {
            Damage::FlippedByte => bytes[middle] ^= 1,
            Damage::FlippedFirstByte => bytes[0] ^= 1,
            // Behind the line feed that ends a signature there is nothing that counts.
            Damage::FlippedLastByte if bytes[last] == b'\n' => bytes[last - 1] ^= 1,
            Damage::FlippedLastByte => bytes[last] ^= 1,
            Damage::CutByOne if file.ends_with(SIGNATURE) => bytes.truncate(last - 1),
            Damage::CutByOne => bytes.truncate(last),
            Damage::CutToNothing => bytes.clear(),
            Damage::LastChunkCut => bytes.truncate(last_chunk(&bytes)),
            Damage::Appended => bytes.extend(b"more"),
            Damage::Swapped => bytes = std::fs::read(other).unwrap(),
            Damage::Removed => return std::fs::remove_file(file).unwrap(),
        }
        std::fs::write(file, bytes).unwrap();
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Where the last encrypted chunk begins; of what is not encrypted, the last line.
fn last_chunk(bytes: &[u8]) -> usize {
    match Header::parse(bytes) {
        Ok(Some((_, begin))) => begin + (bytes.len() - begin - 1) / SEALED_CHUNK * SEALED_CHUNK,
        _ => bytes[..bytes.len() - 1].iter().rposition(|b| *b == b'\n').unwrap(),
    }
}

/// A vault of two backups: the one that is damaged, and a newer one.
async fn two_backups(stage: &Stage) -> (Place, String, String) {
    let path = format!("/api/v1/namespaces/{}/secrets", stage.namespace);
    for n in 0..3 {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("large-{n}")},
            "data": {"noise": crate::vault_faults::noise(60_000 + n)},
        });
        shared().api().create(&path, &secret).await;
    }
    let place = Place::folder(&stage.scratch.folder("vault"));
    let old = stage.back_up(&place).await;
    let new = stage.back_up_by("other", &place).await;
    let segment = std::fs::metadata(place.file(&old, SEGMENT)).unwrap().len();
    assert!(segment > 2 * SEALED_CHUNK as u64, "the segment has several chunks: {segment}");
    (place, old, new)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_damage_to_every_object_is_found_and_nothing_damaged_is_unpacked() {
    let stage = Stage::new().await;
    let (place, old, new) = two_backups(&stage).await;
    let table = OBJECTS.into_iter().flat_map(|object| ALL.into_iter().map(move |damage| (object, damage)));
    let results: Vec<_> =
        stream::iter(table).map(|case| check(&stage, &place, [&old, &new], case)).buffered(3).collect().await;
    let wrong: Vec<_> = results.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{} findings:\n{}", wrong.len(), wrong.join("\n"));
}

/// Everything that is not as it must be about one damage.
async fn check(
    stage: &Stage,
    place: &Place,
    [old, new]: [&String; 2],
    (object, damage): (&str, Damage),
) -> Vec<String> {
    let name = format!("{}-{damage}", object.replace('/', "-"));
    let copy = stage.copy(place, &name);
    damage.apply(&copy.file(old, object), &copy.file(new, object));
    let mut wrong = Vec::new();
    let mut expect = |what: &str, holds: bool, shown: &Finished| {
        if !holds {
            wrong.push(format!("{object}, {damage}: {what}: {shown}"));
        }
    };
    // Without its manifest a backup does not exist: that is no damage that could be told from a run that was cut off.
    let (refused, named) = match (object, damage) {
        (MANIFEST, Damage::Removed) => (2, format!("no backup {old}")),
        // Which of the two was changed, nobody can tell.
        (MANIFEST | SIGNATURE, _) => (5, format!("{CLUSTER}/{old}/{MANIFEST}")),
        _ => (5, format!("{CLUSTER}/{old}/{object}")),
    };

    let verified = stage.verify(&copy, old).await;
    expect("verify refuses", verified.code() == Some(refused), &verified);
    expect("verify names the object", verified.stderr.contains(&named), &verified);
    let out = stage.scratch.path().join("out").join(&name);
    let extracted = stage.extract(&copy, old, out.to_str().unwrap()).await;
    expect("extract refuses", extracted.code() == Some(refused), &extracted);
    expect("extract writes nothing", !out.exists(), &extracted);
    // It reads what it would restore, but not the configuration.
    if object != CONFIGURATION {
        let dry = stage.dry_run(&copy, old).await;
        expect("restore --dry-run refuses", dry.code() == Some(refused), &dry);
    }
    if damage == Damage::FlippedByte {
        let all = stage.ckbackup(&copy).args(["verify", "--all", "--cluster", CLUSTER, "-o", "json"]).run().await;
        let report = all.json();
        let good: Vec<_> = report["backups"].as_array().unwrap().iter().map(|b| b["verified"] == json!(true)).collect();
        // The newer one names the manifest of the damaged one in its chain.
        let chain = ![MANIFEST, SIGNATURE].contains(&object);
        expect("verify --all reports both", all.code() == Some(5) && good == [false, chain], &all);
    }
    wrong
}

#[tokio::test]
async fn a_replayed_backup_is_refused_under_another_id_or_in_another_folder() {
    let stage = Stage::new().await;
    let (place, old, new) = two_backups(&stage).await;
    let folder = |place: &Place, id: &str| place.file(id, "");

    // A whole folder under a newer id: yesterday's backup presented as tonight's.
    let replayed = stage.copy(&place, "new-id");
    let id = "20991231T235959Z-nightly";
    copy_folder(&folder(&replayed, &old), &folder(&replayed, id));
    let verified = stage.verify(&replayed, id).await.expect(5);
    assert!(verified.stderr.contains(&format!("it describes {CLUSTER}/{old}")), "{verified}");
    stage.extract(&replayed, id, "replayed").await.expect(5);
    let rows = stage.list(&replayed).await;
    assert_eq!(rows[2]["status"], json!("broken"), "{rows:?}");
    let latest = stage.ckbackup(&replayed).args(["show", "latest", "-o", "name"]).run().await.expect_success();
    assert_eq!(latest.stdout.trim(), new);
    assert!(latest.stderr.contains(&format!("{id} is newer than {new}, but was passed over")), "{latest}");

    // Only manifest and signature, or everything, of an older backup in the place of a newer one.
    for objects in [&[MANIFEST, SIGNATURE][..], &OBJECTS] {
        let replayed = stage.copy(&place, &format!("replayed-{}", objects.len()));
        for object in objects {
            std::fs::copy(replayed.file(&old, object), replayed.file(&new, object)).unwrap();
        }
        let verified = stage.verify(&replayed, &new).await.expect(5);
        assert!(verified.stderr.contains(&format!("{new}/{MANIFEST}: it describes")), "{verified}");
        stage.extract(&replayed, &new, "replayed").await.expect(5);
        stage.dry_run(&replayed, &new).await.expect(5);
    }

    // Another cluster's backup.
    let replayed = stage.copy(&place, "another-cluster");
    std::fs::rename(replayed.path().join(CLUSTER), replayed.path().join("other")).unwrap();
    let run = stage.ckbackup(&replayed).args(["verify", &old, "--cluster", "other"]).run().await.expect(5);
    assert!(run.stderr.contains("it describes"), "{run}");

    // A manifest that was replaced by another good one of the same signer breaks the chain of the newer backup.
    let replayed = stage.copy(&place, "chain");
    let text = std::fs::read_to_string(replayed.file(&old, MANIFEST)).unwrap();
    std::fs::write(replayed.file(&old, MANIFEST), text.replacen("{\n", "{\n  \"rewritten\": true,\n", 1)).unwrap();
    crate::vault_trust::sign(&stage, &replayed.file(&old, MANIFEST)).await;
    stage.verify(&replayed, &old).await.expect_success();
    let broken = stage.verify(&replayed, &new).await.expect(5);
    assert!(broken.stderr.contains("names as its previous one"), "{broken}");
}

#[tokio::test]
async fn an_object_that_was_overwritten_later_is_read_as_it_was_committed() {
    let stage = Stage::new().await;
    let s3 = S3Server::start(&stage.scratch).await;
    s3.create_bucket("versions", BucketKind::Versioned).await;
    s3.create_bucket("plain", BucketKind::Plain).await;
    for (bucket, survives) in [("versions", true), ("plain", false)] {
        let place = Place::bucket(&s3, bucket);
        let id = stage.back_up(&place).await;
        for later in ["overwritten", ""] {
            for object in OBJECTS.iter().filter(|object| object.ends_with(".age")) {
                let path = format!("/{bucket}/{CLUSTER}/{id}/{object}");
                let put = s3.send(s3.root(), Method::PUT, &path, HeaderMap::new(), later).await;
                assert_eq!(put.status, 200);
            }
            let code = if survives { 0 } else { 5 };
            stage.verify(&place, &id).await.expect(code);
            let out = format!("{bucket}-{}", later.len());
            stage.extract(&place, &id, &out).await.expect(code);
            assert_eq!(stage.scratch.path().join(out).exists(), survives);
        }
    }
}
