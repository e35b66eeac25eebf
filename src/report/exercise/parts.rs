//! Backups, plan, keys, what is left to do, and how the report is checked. Both kinds of reports have some of them.

use super::{moment, number};
use crate::report::controls::{CONTROLS, SectionId};
use crate::report::document::{Block, Cell, Section, Table, Tone};
use crate::report::model::{
    Action, BackupCompleteness, Deviation, ErasureStatus, ExerciseReport, SignOff, SignatureFound, SignatureStatus,
};
use crate::words::{count, span};

/// Nothing to show is said, too.
pub(crate) fn table_or(table: Table, none: &str) -> Block {
    if table.rows.is_empty() { Block::Note(none.into()) } else { Block::Table(table) }
}

/// A signature, in a cell.
pub(crate) fn signature(found: &SignatureFound) -> Cell {
    let tone = match found.status {
        SignatureStatus::Good => Tone::Good,
        SignatureStatus::Unchecked => Tone::Warn,
        SignatureStatus::Bad => Tone::Bad,
    };
    let mut text = found.status.words().to_string();
    if let Some(principal) = &found.principal {
        text += &format!(", by {principal}");
    }
    if let Some(fingerprint) = &found.fingerprint {
        text += &format!(" ({fingerprint})");
    }
    if let Some(problem) = &found.problem {
        text += &format!(": {problem}");
    }
    Cell::toned(text, tone)
}

/// Whether a backup is whole, in a cell.
pub(crate) fn completeness(whole: BackupCompleteness) -> Cell {
    let tone = if whole == BackupCompleteness::Complete { Tone::Good } else { Tone::Warn };
    Cell::toned(whole.words(), tone)
}

pub(super) fn backups(report: &ExerciseReport) -> Section {
    let columns =
        ["Backup", "Cluster", "Taken (UTC)", "Age (achieved RPO)", "Is", "Signature", "SHA-256 of its manifest"];
    let mut table = Table::new("Backups that were restored from", &columns);
    for backup in &report.backups {
        table.row([
            Cell::code(&backup.id),
            (&backup.cluster).into(),
            moment(backup.started).into(),
            span(backup.age_seconds).into(),
            completeness(backup.completeness),
            signature(&backup.signature),
            Cell::code(&backup.manifest_sha256),
        ]);
    }
    let mut lacks = Table::new("What these backups lack", &["Backup", "What it lacks"]);
    for backup in &report.backups {
        backup.problems.iter().for_each(|problem| lacks.row([Cell::code(&backup.id), problem.into()]));
    }
    let blocks = vec![table_or(table, "No backup was used."), table_or(lacks, "These backups lack nothing.")];
    Section::new(SectionId::Backups, "Backups", blocks)
}

pub(super) fn plan(report: &ExerciseReport) -> Section {
    let not_said = || Cell::toned("not said", Tone::Warn);
    let said = |name: &Option<String>| name.as_ref().map_or_else(not_said, Cell::from);
    let facts = vec![
        ("Plan", Cell::code(&report.plan.name)),
        ("Version of the plan (SHA-256)", Cell::code(&report.plan.sha256)),
        ("Run by", said(&report.people.ran_by)),
        ("Approved by", said(&report.people.approved_by)),
        ("Tool", format!("ckbackup {}", report.tool_version).into()),
    ];
    let mut table = Table::new("Where it was restored into", &["Target", "Kind", "Place", "Server version"]);
    for target in &report.targets {
        table.row([
            target.name.as_deref().unwrap_or("target").into(),
            target.kind.words().into(),
            (&target.place).into(),
            target.server_version.as_deref().unwrap_or("–").into(),
        ]);
    }
    let blocks = vec![Block::Facts(facts), table_or(table, "No target is named.")];
    Section::new(SectionId::Plan, "Plan, target and people", blocks)
}

pub(super) fn not_shown(report: &ExerciseReport) -> Section {
    let mut failed = Table::new("What should have been restored, and was not", &["What", "Step", "Why"]);
    for item in &report.not_restored {
        failed.row([(&item.what).into(), item.step.as_deref().unwrap_or("–").into(), (&item.why).into()]);
    }
    let columns = ["What", "#Count", "Why"];
    let mut left_out = Table::new("What was left out on purpose, or could not be shown here", &columns);
    for item in &report.not_exercised {
        left_out.row([(&item.what).into(), item.count.map_or("–".into(), count).into(), (&item.why).into()]);
    }
    let blocks = vec![
        table_or(failed, "Everything that was to be restored was restored."),
        table_or(left_out, "Nothing was left out, and everything could be shown."),
    ];
    Section::new(SectionId::NotShown, "Not restored, not exercised", blocks)
}

pub(super) fn keys(report: &ExerciseReport) -> Section {
    let mut table = Table::new("Keys, by what is public of them", &["Fingerprint", "Use", "Holder"]);
    let mut keys: Vec<_> = report.keys.iter().collect();
    keys.sort();
    for key in keys {
        let holder = key.holder.as_deref().unwrap_or("not said");
        table.row([Cell::code(&key.fingerprint), key.r#use.words().into(), holder.into()]);
    }
    Section::new(SectionId::Keys, "Keys that were used", vec![table_or(table, "No keys were used.")])
}

pub(super) fn erasure(report: &ExerciseReport) -> Section {
    let erasure = &report.erasure;
    let tone = match erasure.status {
        ErasureStatus::Done | ErasureStatus::NotNeeded => Tone::Good,
        ErasureStatus::NotDone | ErasureStatus::NotInPlan => Tone::Bad,
    };
    let mut facts = vec![("Erased again who was erased since the backup", Cell::toned(erasure.status.words(), tone))];
    facts.extend(erasure.step.as_ref().map(|step| ("Step", Cell::from(step))));
    facts.extend(erasure.note.as_ref().map(|note| ("Note", Cell::from(note))));
    Section::new(SectionId::Erasure, "Right to erasure (GDPR Art. 17)", vec![Block::Facts(facts)])
}

/// Corrective actions, open ones first; and deviations, where the report has them.
pub(crate) fn actions(actions: &[Action], deviations: Option<&[Deviation]>) -> Section {
    let mut blocks = Vec::new();
    if let Some(deviations) = deviations {
        let mut table = Table::new("Where it went another way than the plan says", &["What", "Why"]);
        deviations.iter().for_each(|it| table.row([(&it.what).into(), (&it.why).into()]));
        blocks.push(table_or(table, "There were no deviations from the plan."));
    }
    let columns = ["Id", "Action", "Owner", "Due", "State", "Opened by"];
    let mut table = Table::new("Corrective actions; they stand here until they are closed", &columns);
    let mut sorted: Vec<_> = actions.iter().collect();
    sorted.sort_by_key(|action| (!action.is_open(), action.due, &action.id));
    for action in sorted {
        let state = match action.closed {
            Some(day) => Cell::toned(format!("closed {day}"), Tone::Good),
            None => Cell::toned("open", Tone::Warn),
        };
        let missing = || Cell::toned("none", Tone::Bad);
        table.row([
            Cell::code(&action.id),
            (&action.text).into(),
            action.owner.as_ref().map_or_else(missing, Cell::from),
            action.due.map_or_else(missing, |day| day.to_string().into()),
            state,
            action.opened_by.as_deref().map_or_else(|| "–".into(), Cell::code),
        ]);
    }
    let open = actions.iter().filter(|action| action.is_open()).count();
    blocks.push(Block::Facts(vec![("Open actions", number(open))]));
    blocks.push(table_or(table, "There are no corrective actions."));
    Section::new(SectionId::Actions, "Deviations and corrective actions", blocks)
}

/// Lines to sign on.
pub(crate) fn sign_off(lines: &[SignOff]) -> Section {
    let line = |it: &SignOff| {
        let date = it.date.map(|date| date.to_string()).unwrap_or_default();
        [(&it.role).into(), it.name.as_deref().unwrap_or_default().into(), date.into()]
    };
    Section::new(SectionId::SignOff, "Sign-off", vec![Block::SignOff(lines.iter().map(line).collect())])
}

/// Which section is evidence for which control.
pub(crate) fn controls() -> Section {
    let mut table = Table::new("Controls that this kind of report is evidence for", &["Control", "Asks for"]);
    CONTROLS.iter().for_each(|control| table.row([control.name.into(), control.asks.into()]));
    let note = "Each section names its controls below its tables.";
    Section::new(SectionId::Controls, "Controls", vec![Block::Note(note.into()), Block::Table(table)])
}

/// How the report is checked.
pub(crate) fn integrity(json_sha256: &str) -> Section {
    let facts = vec![("SHA-256 of report.json", Cell::code(json_sha256))];
    let note = "This page and all its figures are made from report.json. With report.json.sig beside it, `ckbackup report \
                verify FOLDER --signers FILE` checks who signed it, its digest, and that this page says what it says; `ssh-keygen \
                -Y verify -n ckbackup-report` checks the signature without ckbackup.";
    Section::new(SectionId::Integrity, "Integrity of this report", vec![Block::Facts(facts), Block::Note(note.into())])
}
