//! Gives the silences of a backup to an Alertmanager.

use jiff::Timestamp;

use crate::archive::frame;
use crate::config::{HttpServer, RestorePrometheus};
use crate::error::{Error, Result};
use crate::restore::files::of_the_backup;
use crate::restore::summary::Outcome;
use crate::restore::work::{Tally, Work};
use crate::sources::{Alertmanager, SILENCES, Silence};

/// The rule by which silences are skipped that ended since the backup.
const EXPIRED: &str = "expired";

/// Whether the backup has silences.
pub(super) async fn are_in(work: &Work, wanted: &RestorePrometheus) -> Result<bool> {
    Ok(read(work, wanted).await?.is_some_and(|silences| !silences.is_empty()))
}

/// Makes those that are not there, and tells the tally what became of each.
pub(super) async fn restore_silences(
    work: &Work,
    step: usize,
    wanted: &RestorePrometheus,
    server: &HttpServer,
    tally: &mut Tally,
) -> Result<()> {
    let name = work.plan.steps[step].name.to_string();
    let Some(silences) = read(work, wanted).await? else {
        return Err(Error::failed("the backup has no silences")
            .hint("the source had no `alertmanager`, or could not read it; see `ckbackup show`"));
    };
    let alertmanager = Alertmanager::new(server)?;
    let now = Timestamp::now();
    let mut there = Vec::new();
    for silence in alertmanager.silences().await?.0 {
        there.push(silence.meaning(now)?);
    }
    for silence in silences {
        let meaning = silence.meaning(now)?;
        let outcome = if meaning.end <= now {
            let why = format!("it ended at {}", meaning.end);
            Outcome::Skipped { rule: EXPIRED.into(), why }
        } else if there.contains(&meaning) {
            Outcome::Unchanged
        } else {
            give(work, &alertmanager, &silence).await
        };
        tally.add(&name, &format!("silences/{}", silence.id()), outcome);
    }
    Ok(())
}

async fn give(work: &Work, alertmanager: &Alertmanager, silence: &Silence) -> Outcome {
    if work.dry_run {
        return Outcome::Created;
    }
    match alertmanager.add(silence).await {
        Ok(()) => Outcome::Created,
        Err(e) => Outcome::Failed(format!("{}: {}", alertmanager.shown(), e.one_line())),
    }
}

/// None when the backup has none, or only the begin of them.
async fn read(work: &Work, wanted: &RestorePrometheus) -> Result<Option<Vec<Silence>>> {
    let read = async {
        let backup = &work.backup;
        backup.load_index().await?;
        for stored in backup.frames_with(wanted.source.as_str(), SILENCES) {
            let entries = backup.entries(stored).await?;
            if let Some(entry) = entries.iter().find(|entry| entry.path == SILENCES) {
                let decoded = backup.frame(stored).await?;
                return Silence::read_all(frame::member(&decoded, entry)?).map(Some);
            }
        }
        Ok(None)
    };
    of_the_backup(work, read.await).await
}
