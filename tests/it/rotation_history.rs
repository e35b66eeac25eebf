//! A vault with a history: backups of earlier nights, made of a real one by giving it another date and signing it anew.

use std::fs::File;
use std::time::SystemTime;

use ckbackup::vault::layout::{BackupId, MANIFEST, SIGNATURE};
use ckbackup::vault::manifest::{Manifest, Status};
use ckbackup::vault::record::RECORDS;
use ckbackup::vault::signature::{Purpose, Signer};
use http::{HeaderMap, Method};
use jiff::{SignedDuration, Timestamp, Unit};

use crate::harness::{BucketKind, S3Server};
use crate::vault_stage::{CLUSTER, Place, SEGMENT, Stage, copy_folder, files};

/// What is the matter with a backup of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Good,
    Partial,
    /// A byte of its segment is another one.
    Damaged,
    /// Its signature is that of another manifest.
    Forged,
    /// It says that it was finished a month before it was stored.
    Backdated,
    /// No manifest.
    Remains,
}

/// A vault in a folder, with backups of earlier nights.
pub struct History {
    pub stage: Stage,
    pub place: Place,
    template: std::path::PathBuf,
    now: Timestamp,
}

impl History {
    /// An empty vault.
    pub async fn new() -> History {
        let stage = Stage::new().await;
        let place = Place::folder(&stage.scratch.folder("vault"));
        let id = stage.back_up(&place).await;
        let template = stage.scratch.folder("template").join("backup");
        std::fs::rename(place.file(&id, ""), &template).unwrap();
        let now = Timestamp::now().round(Unit::Second).unwrap();
        History { stage, place, template, now }
    }

    /// Adds a backup of some hours ago; returns its id.
    pub fn add(&self, hours_ago: i64, kind: Kind) -> String {
        self.add_by("nightly", hours_ago, kind)
    }

    /// The same, by another schedule.
    pub fn add_by(&self, schedule: &str, hours_ago: i64, kind: Kind) -> String {
        let stored = self.now - SignedDuration::from_hours(hours_ago);
        let says = match kind {
            Kind::Backdated => stored - SignedDuration::from_hours(30 * 24),
            _ => stored,
        };
        let id = BackupId::new(says, &schedule.parse().unwrap());
        let folder = self.place.file(&id.to_string(), "");
        copy_folder(&self.template, &folder);
        let mut manifest = Manifest::parse(&std::fs::read(folder.join(MANIFEST)).unwrap()).unwrap();
        (manifest.id, manifest.started, manifest.finished) = (id.clone(), says, says);
        if kind == Kind::Partial {
            manifest.status = Status::Partial;
        }
        let bytes = manifest.to_bytes().unwrap();
        std::fs::write(folder.join(MANIFEST), &bytes).unwrap();
        if kind != Kind::Forged {
            let signer = Signer::read(&self.stage.key("oncall-signing_key")).unwrap();
            std::fs::write(folder.join(SIGNATURE), signer.sign(Purpose::Backup, &bytes).unwrap()).unwrap();
        }
        if kind == Kind::Damaged {
            let mut segment = std::fs::read(folder.join(SEGMENT)).unwrap();
            let middle = segment.len() / 2;
            segment[middle] ^= 1;
            std::fs::write(folder.join(SEGMENT), segment).unwrap();
        }
        if kind == Kind::Remains {
            std::fs::remove_file(folder.join(MANIFEST)).unwrap();
        }
        for file in files(&folder) {
            set_time(&folder.join(file), stored);
        }
        id.to_string()
    }

    /// Ids that have a folder with anything in it, oldest first.
    pub fn ids(&self) -> Vec<String> {
        folders(&files(&self.place.path()))
    }

    /// The vault in a bucket called `vault` of a server of its own.
    pub async fn in_bucket(&self, kind: BucketKind) -> (S3Server, Place) {
        let s3 = S3Server::start(&self.stage.scratch).await;
        s3.create_bucket("vault", kind).await;
        let place = self.upload(&s3, "vault").await;
        (s3, place)
    }

    /// Puts the vault into a bucket of the server, with the times that it has.
    pub async fn upload(&self, s3: &S3Server, bucket: &str) -> Place {
        let root = self.place.path();
        for file in files(&root) {
            let content = std::fs::read(root.join(&file)).unwrap();
            let path = format!("/{bucket}/{file}");
            let put = s3.send(s3.root(), Method::PUT, &path, HeaderMap::new(), content).await;
            assert_eq!(put.status, 200, "{}", put.text());
            let time = Timestamp::try_from(root.join(&file).metadata().unwrap().modified().unwrap()).unwrap();
            set_time(&s3.file(bucket, &file), time);
        }
        Place::bucket(s3, bucket)
    }
}

/// The backups' folders among files of a vault.
pub fn folders(files: &[String]) -> Vec<String> {
    let inside = files.iter().filter_map(|file| file.strip_prefix(CLUSTER)?.strip_prefix('/')?.split_once('/'));
    let backups = inside.filter(|(id, _)| *id != RECORDS);
    let mut ids: Vec<_> = backups.map(|(id, _)| id.to_string()).collect();
    ids.dedup();
    ids
}

pub fn set_time(file: &std::path::Path, time: Timestamp) {
    let file = File::options().write(true).open(file).unwrap();
    file.set_modified(SystemTime::from(time)).unwrap();
}
