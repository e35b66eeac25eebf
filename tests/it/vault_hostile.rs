//! Archives that were made to do harm, by somebody whose signature is trusted: nothing of them is unpacked.

use std::path::Path;

use ckbackup::archive::age::{Identities, Recipients, open_all, seal_all};
use ckbackup::archive::frame::{self, END_OF_TAR, Limits};
use ckbackup::archive::index::{self, DirectoryPlace, Entry, IndexWriter};
use ckbackup::archive::segment::PackedFrame;
use ckbackup::member::Part;
use ckbackup::vault::layout::{MANIFEST, SIGNATURE};
use ckbackup::vault::manifest::{IndexRecord, Manifest, SegmentRecord, StoredObject};
use ckbackup::vault::signature::{Purpose, Signer};
use sha2::{Digest, Sha256};
use tar::EntryType;

use crate::vault_stage::{INDEX, Place, SEGMENT, Stage, files};

/// A frame as the archive has it, and what the index says about it.
struct Frame {
    tar: Vec<u8>,
    entries: Vec<Entry>,
    /// What the index says of the decoded size.
    claims: Option<u64>,
}

/// What is wrong with an archive.
struct Attack {
    name: &'static str,
    frames: Vec<Frame>,
    /// Goes behind the frame that ends the tar.
    behind: Vec<u8>,
    /// Goes between the last frame that the index knows and the end.
    between: Vec<u8>,
    /// Whether extracting is refused too, or only does not touch what is wrong.
    extract_refuses: bool,
}

impl Attack {
    fn of(name: &'static str, tar: Vec<u8>, entries: Vec<Entry>) -> Attack {
        let frames = vec![Frame { tar, entries, claims: None }];
        Attack { name, frames, behind: Vec::new(), between: Vec::new(), extract_refuses: true }
    }
}

/// One tar entry, whatever its path and type, with checksum.
fn tar_entry(path: &str, kind: EntryType, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    // Past the checks of the library, which would refuse such names.
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o600);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn entry(path: &str, position: usize, content: &[u8]) -> Entry {
    let (position, size) = (position as u64, content.len() as u64);
    Entry { path: path.into(), position, size, sha256: Some(Sha256::digest(content).into()), ..Entry::default() }
}

fn plain(path: &str, content: &[u8]) -> Attack {
    Attack::of("", tar_entry(path, EntryType::Regular, "", content), vec![entry(path, 0, content)])
}

const GOOD: &str = "resources/configmaps/v1/shop/good.json";

fn attacks(outside: &Path) -> Vec<Attack> {
    let content = b"{\"kind\":\"Evil\"}";
    let absolute: &'static str = Box::leak(outside.join("absolute").display().to_string().into_boxed_str());
    let mut all = Vec::new();
    for (name, path) in [
        ("a path that climbs", "../../climbed"),
        ("a path that climbs later", "resources/../../../climbed"),
        ("an absolute path", absolute),
        ("a path with a backslash", "..\\climbed"),
        ("an empty part", "resources//x"),
        ("the folder itself", "."),
    ] {
        all.push(Attack { name, ..plain(path, content) });
    }
    for (name, kind) in [
        ("a symbolic link", EntryType::Symlink),
        ("a hard link", EntryType::Link),
        ("a folder", EntryType::Directory),
        ("a device", EntryType::Char),
        ("a pipe", EntryType::Fifo),
    ] {
        all.push(Attack::of(name, tar_entry(GOOD, kind, "/etc/passwd", b""), vec![entry(GOOD, 0, b"")]));
    }
    let good = tar_entry(GOOD, EntryType::Regular, "", content);
    let other = tar_entry("resources/unknown.json", EntryType::Regular, "", content);
    let both = [good.clone(), other.clone()].concat();
    all.push(Attack::of("a member behind those that the index knows", both.clone(), vec![entry(GOOD, 0, content)]));
    let turned = [other.clone(), good.clone()].concat();
    let second = entry(GOOD, other.len(), content);
    all.push(Attack::of("a member before those that the index knows", turned, vec![second]));
    all.push(Attack::of("another member in its place", other.clone(), vec![entry(GOOD, 0, content)]));
    all.push(Attack::of(
        "another content at the right length",
        good.clone(),
        vec![entry(GOOD, 0, b"{\"kind\":\"Good\"}")],
    ));
    let mut bomb = plain(GOOD, &vec![0u8; 40 << 20]);
    bomb.name = "a bomb that says what it is";
    all.push(bomb);
    let mut bomb = plain(GOOD, &vec![0u8; 40 << 20]);
    bomb.name = "a bomb that says that it is small";
    bomb.frames[0].claims = Some(2048);
    all.push(bomb);
    let mut claim = plain(GOOD, content);
    claim.name = "a frame that says that it is larger than the memory";
    claim.frames[0].claims = Some(1 << 40);
    all.push(claim);
    let mut between = plain(GOOD, content);
    between.name = "a frame that the index does not know";
    between.between = zstd::bulk::compress(&other, 3).unwrap();
    between.extract_refuses = false;
    all.push(between);
    let half = [7; 512];
    let part = |offset| Entry { part: Some(Part { offset, of: 1024, filler: 0 }), ..entry(GOOD, 0, &half) };
    let mut first = tar_entry(GOOD, EntryType::Regular, "", &half);
    let mut header = tar::Header::from_byte_slice(&first[..512]).clone();
    header.set_size(1024);
    header.set_cksum();
    first[..512].copy_from_slice(header.as_bytes());
    let frame = |tar: &[u8], offset| Frame { tar: tar.to_vec(), entries: vec![part(offset)], claims: None };
    let parts = |name, frames| Attack { frames, ..Attack::of(name, Vec::new(), Vec::new()) };
    all.push(parts("a large file without its end", vec![frame(&first, 0)]));
    all.push(parts("a large file with its begin twice", vec![frame(&first, 0), frame(&first, 0)]));
    all.push(parts("a large file without its begin", vec![frame(&half, 512)]));
    let mut behind = plain(GOOD, content);
    behind.name = "data behind the end";
    behind.behind = b"trailing".to_vec();
    behind.extract_refuses = false;
    all.push(behind);
    all
}

/// Turns a real backup into one that holds the attack: sealed, indexed, described and signed as it should be.
fn plant(stage: &Stage, place: &Place, id: &str, attack: &Attack) {
    let recipients = Recipients::parse(&[stage.recipient("oncall"), stage.recipient("escrow")]).unwrap();
    let manifest = place.file(id, MANIFEST);
    let mut real = Manifest::parse(&std::fs::read(&manifest).unwrap()).unwrap();
    let (mut stream, mut lines, mut writer) = (Vec::new(), Vec::new(), IndexWriter::default());
    let (mut tar_bytes, mut members, mut content_bytes) = (1024, 0, 0);
    for Frame { tar: bytes, entries, claims } in &attack.frames {
        let encoded = zstd::bulk::compress(bytes, 3).unwrap();
        let (offset, decoded) = (stream.len() as u64, claims.unwrap_or(bytes.len() as u64));
        let (length, sha256) = (encoded.len() as u64, Sha256::digest(&encoded).into());
        let frame = PackedFrame { offset, length, decoded, sha256, entries: entries.clone() };
        lines.extend(writer.add(&frame).unwrap());
        stream.extend(encoded);
        tar_bytes += bytes.len() as u64;
        members += index::begun(entries);
        content_bytes += entries.iter().map(|entry| entry.size).sum::<u64>();
    }
    stream.extend(&attack.between);
    stream.extend(frame::compress(&END_OF_TAR).unwrap());
    stream.extend(&attack.behind);
    let (directory, at) = writer.finish().unwrap();
    lines.extend(directory);

    let store = |key: &str, plain: &[u8]| {
        let sealed = seal_all(&recipients, plain).unwrap();
        std::fs::write(place.file(id, key), &sealed).unwrap();
        StoredObject {
            key: key.into(),
            version: None,
            bytes: sealed.len() as u64,
            sha256: Sha256::digest(&sealed).into(),
            plaintext_bytes: plain.len() as u64,
            plaintext_sha256: Sha256::digest(plain).into(),
        }
    };
    real.sources.remove(0);
    let index = IndexRecord {
        object: store(INDEX, &lines),
        members,
        directory_offset: at.offset,
        directory_bytes: at.length,
        directory_decoded_bytes: at.decoded,
        directory_sha256: at.sha256,
    };
    real.sources[0].segments =
        vec![SegmentRecord { unit: None, object: store(SEGMENT, &stream), tar_bytes, content_bytes, index }];
    real.previous = None;
    let bytes = real.to_bytes().unwrap();
    let signature = Signer::read(&stage.key("oncall-signing_key")).unwrap().sign(Purpose::Backup, &bytes).unwrap();
    std::fs::write(manifest, bytes).unwrap();
    std::fs::write(place.file(id, SIGNATURE), signature).unwrap();
}

#[tokio::test]
async fn a_hostile_archive_is_refused_and_nothing_of_it_is_unpacked() {
    let stage = Stage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let id = stage.back_up(&place).await;
    // The way of planting itself is sound: what is planted without an attack opens.
    let sound = stage.copy(&place, "sound");
    plant(&stage, &sound, &id, &plain(GOOD, b"{}"));
    stage.verify(&sound, &id).await.expect_success();
    stage.extract(&sound, &id, "sound").await.expect_success();
    assert_eq!(files(&stage.scratch.path().join("sound")), [format!("platform/{GOOD}")]);

    let before = files(&stage.scratch.folder("target"));
    for (number, attack) in attacks(&stage.scratch.folder("target")).iter().enumerate() {
        let copy = stage.copy(&place, &format!("attack-{number}"));
        plant(&stage, &copy, &id, attack);
        let verified = stage.verify(&copy, &id).await;
        assert_eq!(verified.code(), Some(5), "{}: {verified}", attack.name);
        assert!(verified.stderr.contains(&format!("{id}/platform/0001.tar.zst.age")), "{}: {verified}", attack.name);
        let extracted = stage.extract(&copy, &id, "target/inner/out").await;
        if attack.extract_refuses {
            assert_eq!(extracted.code(), Some(5), "{}: {extracted}", attack.name);
            assert!(!extracted.stderr.contains("panic"), "{}: {extracted}", attack.name);
        } else {
            // Only what the index vouches for is read at all.
            let out = stage.scratch.path().join("target/inner/out");
            assert!([Some(0), Some(5)].contains(&extracted.code()), "{}: {extracted}", attack.name);
            assert!(files(&out).iter().all(|file| *file == format!("platform/{GOOD}")), "{}", attack.name);
            let _ = std::fs::remove_dir_all(out);
        }
        assert_eq!(files(&stage.scratch.path().join("target")), before, "{}", attack.name);
    }
    assert!(!stage.scratch.path().join("climbed").exists());
}

#[tokio::test]
async fn a_member_that_stands_twice_is_not_written_over_itself() {
    let stage = Stage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let id = stage.back_up(&place).await;
    let [one, two] = [b"1", b"2"].map(|content| tar_entry(GOOD, EntryType::Regular, "", content));
    let entries = vec![entry(GOOD, 0, b"1"), entry(GOOD, one.len(), b"2")];
    plant(&stage, &place, &id, &Attack::of("", [one, two].concat(), entries));
    let refused = stage.extract(&place, &id, "out").await;
    assert!(refused.code().is_some_and(|code| code != 0) && refused.stderr.contains(GOOD), "{refused}");
    assert!(!stage.scratch.path().join("out").exists());
}

/// Everybody who can write to the vault can also seal for its recipients, whose keys stand in the manifest.
#[tokio::test]
async fn an_index_that_somebody_else_sealed_is_refused() {
    let stage = Stage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let id = stage.back_up(&place).await;
    let forged = stage.copy(&place, "forged");
    forge_index(&stage, &forged, &id);

    let verified = stage.verify(&forged, &id).await.expect(5);
    assert!(verified.stdout.contains(&format!("{id}/{INDEX}")), "{verified}");
    let object = format!("cm/{}/config-1", stage.namespace);
    let one = stage.ckbackup(&forged).args(["extract", &id, "--object", &object]).run().await.expect(5);
    assert!(one.stdout.is_empty() && one.stderr.contains("vouches for it"), "{one}");
    stage.extract(&forged, &id, "forged").await.expect(5);
    stage.dry_run(&forged, &id).await.expect(5);
    assert!(!stage.scratch.path().join("forged").exists());
}

/// Puts another digest into each member's line, and keeps every size and position as it was.
fn forge_index(stage: &Stage, place: &Place, id: &str) {
    let secret = std::fs::read_to_string(stage.key("oncall-identity.txt")).unwrap();
    let secret = secret.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap();
    let stored = std::fs::read(place.file(id, INDEX)).unwrap();
    let manifest = Manifest::parse(&std::fs::read(place.file(id, MANIFEST)).unwrap()).unwrap();
    let mut plain = open_all(&Identities::from_secret(secret).unwrap(), &stored).unwrap();
    let record = &manifest.source("platform").unwrap().segments[0].index;
    let at = DirectoryPlace {
        offset: record.directory_offset,
        length: record.directory_bytes,
        decoded: record.directory_decoded_bytes,
        sha256: record.directory_sha256,
    };
    let directory = index::read_directory(&plain[at.offset as usize..], &at, &Limits::default()).unwrap();
    for record in &directory {
        let place = record.lines_offset as usize..(record.lines_offset + record.lines_length) as usize;
        let lines = frame::decode(&plain[place.clone()], record.lines_decoded, &Limits::default()).unwrap();
        let lines = String::from_utf8(lines).unwrap();
        let forged = (0..10_000).map(|n| frame::compress(with_other_digests(&lines, n).as_bytes()).unwrap());
        let same_size = forged.into_iter().find(|encoded| encoded.len() == place.len());
        plain[place].copy_from_slice(&same_size.expect("one of many has the size"));
    }
    let recipients = Recipients::parse(&manifest.recipients).unwrap();
    let sealed = seal_all(&recipients, &plain).unwrap();
    assert_eq!(sealed.len(), stored.len());
    std::fs::write(place.file(id, INDEX), sealed).unwrap();
}

fn with_other_digests(lines: &str, n: usize) -> String {
    let mut parts = lines.split("\"sha256\":\"");
    let first = parts.next().unwrap().to_owned();
    parts.enumerate().fold(first, |all, (number, part)| {
        let digest = hex::encode(Sha256::digest(format!("{n} {number}")));
        format!("{all}\"sha256\":\"{digest}{}", &part[64..])
    })
}
