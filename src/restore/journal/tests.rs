//! Journals with a vault that is a folder.

use std::path::Path;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::json;
use zeroize::Zeroizing;

use super::stored::read_parts;
use super::*;
use crate::archive::age::{Identities, Recipients, generate_identity};
use crate::config::VaultLocation;
use crate::restore::summary::{Items, StepStatus, StepSummary};
use crate::storage::StoreSettings;
use crate::vault::Vault;

/// A place in a new vault, and keys for it.
pub async fn place_in(folder: &Path) -> VaultPlace {
    let location = VaultLocation::in_folder(folder).unwrap();
    let vault = Vault::open_or_create(&location, &StoreSettings::default()).await.unwrap();
    let (secret, recipient) = generate_identity();
    let identities = Arc::new(Identities::from_secret(secret.file_text()).unwrap());
    VaultPlace::new(vault, "c".into(), Recipients::parse(&[recipient]).unwrap(), identities, Zeroizing::new([7; 32]))
}

pub fn id() -> RestoreId {
    "20261121T021500Z-all".parse().unwrap()
}

pub fn begin() -> Begin {
    Begin {
        format_version: JOURNAL_VERSION,
        id: id().to_string(),
        at: "2026-11-21T02:15:00Z".parse().unwrap(),
        host: "h".into(),
        tool_version: "0".into(),
        incident_start: "2026-11-21T02:10:00Z".parse().unwrap(),
        plan: "all".into(),
        folder: String::new(),
        files: Vec::new(),
        runbooks: Vec::new(),
        targets: Vec::new(),
        conflict: "skip".into(),
        webhooks: None,
        left_out: Default::default(),
    }
}

fn began(step: &str) -> Entry {
    Entry::StepBegan { at: Timestamp::UNIX_EPOCH, step: step.into() }
}

/// A step that ended.
pub fn ended(step: &str, status: StepStatus) -> Entry {
    let summary =
        json!({ "name": step, "kind": "manual", "status": status, "seconds": 0.0, "items": Items::default() });
    let summary: StepSummary = serde_json::from_value(summary).unwrap();
    Entry::StepEnded { summary: Box::new(summary), failures: Vec::new() }
}

/// A machine of its own, beside one vault.
struct Machine {
    _folder: tempfile::TempDir,
    state: StateFolder,
    place: VaultPlace,
    said: Arc<Said>,
}

#[derive(Default)]
struct Said(Mutex<Vec<String>>);

impl Progress for Said {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: &str, _: u64, _: u64) {}
    fn end(&self, _: &str, _: &str) {}
    fn say(&self, line: &str) {
        self.0.lock().unwrap().push(line.into());
    }
}

impl Machine {
    fn beside(place: &VaultPlace) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::new(folder.path().into());
        Machine { _folder: folder, state, place: place.clone(), said: Arc::default() }
    }

    /// Begins the restore, or goes on with it.
    async fn journal(&self) -> Arc<Journal> {
        let before = self.read().await;
        let local = Journal::hold(&self.state, &id(), self.said.as_ref()).unwrap();
        let (place, said) = (Some(self.place.clone()), self.said.clone());
        Journal::open((&self.state, &id()), local, place, before.as_ref(), said).unwrap()
    }

    async fn read(&self) -> Option<Reading> {
        read(&self.state, &id(), Some(&self.place)).await.unwrap()
    }
}

/// The machine had no vault until it was killed.
#[tokio::test]
async fn what_only_this_machine_knows_comes_into_the_vault_before_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let here = Machine::beside(&place_in(folder.path()).await);
    let journal = here.journal().await;
    journal.note(&Entry::Begin(Box::new(begin())));
    journal.note(&began("crds"));
    drop(journal);

    let journal = here.journal().await;
    journal.note(&Entry::Resumed { at: Timestamp::UNIX_EPOCH, host: "h".into(), left_out: Default::default() });
    journal.upload().await;
    let text = String::from_utf8(read_parts(&here.place, &id()).await.unwrap().lines).unwrap();
    let kinds: Vec<&str> = text.lines().map(|line| line.split('"').nth(1).unwrap()).collect();
    assert_eq!(kinds, ["begin", "stepBegan", "resumed"]);

    let elsewhere = Machine::beside(&here.place).read().await.unwrap();
    assert!(elsewhere.begin.plan == "all" && elsewhere.earlier.began.contains("crds"));
}

/// Both went on for a while: what the one did that took over is the last word, for every machine.
#[tokio::test]
async fn what_came_later_elsewhere_stays_the_last_word() {
    let folder = tempfile::tempdir().unwrap();
    let place = place_in(folder.path()).await;
    let (here, elsewhere) = (Machine::beside(&place), Machine::beside(&place));
    let journal = here.journal().await;
    journal.note(&Entry::Begin(Box::new(begin())));
    journal.upload().await;
    // Cut off from the vault.
    journal.note(&began("dns"));
    drop(journal);
    let other = elsewhere.journal().await;
    other.note(&ended("dns", StepStatus::Done));
    other.upload().await;

    let journal = here.journal().await;
    assert!(journal.settle().await);
    for machine in [&here, &elsewhere, &Machine::beside(&place)] {
        let reading = machine.read().await.unwrap();
        assert!(reading.earlier.began.contains("dns") && reading.earlier.is_over("dns"));
        assert!(reading.not_in_vault.is_empty(), "the vault has all of it");
    }
}

#[tokio::test]
async fn a_request_waits_until_the_vault_knows_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let here = Machine::beside(&place_in(folder.path()).await);
    let journal = here.journal().await;
    journal.note(&Entry::Begin(Box::new(begin())));
    journal.note(&began("order"));
    assert!(journal.settle().await);
    let elsewhere = Machine::beside(&here.place);
    assert!(elsewhere.read().await.unwrap().earlier.began.contains("order"));
    assert_eq!(here.said.0.lock().unwrap().len(), 0);

    // Whoever goes on with it elsewhere sends the next one.
    let other = elsewhere.journal().await;
    other.note(&began("other"));
    assert!(other.settle().await);
    journal.note(&began("next"));
    assert!(!journal.settle().await);
}

#[tokio::test]
async fn a_request_does_not_wait_for_a_vault_that_takes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let here = Machine::beside(&place_in(folder.path()).await);
    let journal = here.journal().await;
    std::fs::write(folder.path().join("c"), "in the way").unwrap();
    for step in ["order", "other"] {
        journal.note(&began(step));
        assert!(journal.settle().await);
    }
    let said = here.said.0.lock().unwrap().clone();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("it is on this machine only"), "{said:?}");
    assert!(said[1].contains("another machine could send it again"), "{said:?}");
}
