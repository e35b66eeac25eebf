//! Runs a `command` step: what a command wrote is fed into another one, here or in a pod.
//!
//! Nothing is touched before all that was saved is known to be whole and readable. What must not run meanwhile is scaled to zero, and
//! back to what it was, whatever came of it.

mod influxdb;
mod outputs;
mod postgres;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use self::outputs::Outputs;
use super::files::require_source;
use super::scale::{self, Need};
use super::summary::{Compared, Outcome};
use super::work::{Tally, Work};
use crate::cluster::Cluster;
use crate::command::{INFLUXDB, Place, Record, shown};
use crate::config::{Conflict, RestoreCommand, RestoreProgram};
use crate::error::{Error, Result};

/// How long a question may take.
const QUESTION: Duration = Duration::from_secs(300);

/// What all programs share.
struct Way<'a> {
    work: &'a Work,
    wanted: &'a RestoreCommand,
    outputs: Outputs<'a>,
    place: Place,
    conflict: Conflict,
    /// The step's name.
    name: &'a str,
    /// What was counted on both sides.
    compared: Mutex<Vec<Compared>>,
}

/// What comes back, and what becomes of it.
type Outcomes = Vec<(String, Outcome)>;

/// Restores what the step wants. What was refused is in the tally; an error ends the step.
pub async fn restore_command(work: &Work, step: usize, wanted: &RestoreCommand) -> Result<Tally> {
    require_source(work, wanted.source.as_str(), "command")?;
    let cluster = work.target.as_ref().map(|target| target.cluster());
    let outputs = Outputs::read(work, wanted.source.as_str()).await?;
    let place = Place::find(&wanted.place, cluster).await?;
    let name = work.plan.steps[step].name.to_string();
    work.progress.begin(&name, Some(outputs.bytes()));
    let conflict = wanted.conflict.unwrap_or(work.conflict);
    let way = Way { work, wanted, outputs, place, conflict, name: &name, compared: Mutex::default() };
    // Nobody else needs it while the step runs; of one that is cut off, what stands in it by then is told.
    let mut tally = work.tallies[step].lock().await;
    let ran = way.run(cluster, &mut tally).await;
    tally.compared.extend(way.compared.into_inner().unwrap_or_else(PoisonError::into_inner));
    ran?;
    let tally = std::mem::take(&mut *tally);
    work.progress.end(&name, &format!("{} (clock: {})", tally.items.words(), work.clock.words()));
    Ok(tally)
}

impl Way<'_> {
    async fn run(&self, cluster: Option<&Cluster>, tally: &mut Tally) -> Result<()> {
        let planned = match &self.wanted.program {
            RestoreProgram::Run { file, .. } => vec![(file.clone(), self.outputs.fate(file))],
            RestoreProgram::Postgres(postgres) => self.plan_postgres(postgres).await?,
            RestoreProgram::Influxdb => self.plan_influxdb().await?,
        };
        let is_needed = !self.work.dry_run && planned.iter().any(|(_, outcome)| is_written(outcome));
        if !is_needed {
            planned.into_iter().for_each(|(what, outcome)| tally.add(self.name, &what, outcome));
            // A restore that was cut off when all was there may have left them at zero.
            return match cluster {
                Some(cluster) if !self.work.dry_run => {
                    scale::recover(cluster, &self.wanted.scale, &self.work.interim).await
                }
                _ => Ok(()),
            };
        }
        self.prove_readable(&planned).await?;
        let restored = match cluster {
            Some(cluster) => {
                match scale::to_zero(cluster, &self.wanted.scale, Need::Meanwhile(self.name), &self.work.interim).await
                {
                    Ok(()) => self.restore_in_time(planned, tally).await,
                    Err(e) => Err(e),
                }
            }
            None => self.restore_in_time(planned, tally).await,
        };
        let back = match cluster {
            Some(cluster) => scale::back(cluster, self.name, &self.work.interim).await,
            None => Ok(Vec::new()),
        };
        match (restored, back) {
            (Ok(()), Ok(notes)) => {
                tally.notes.extend(notes);
                Ok(())
            }
            (Err(e), Ok(_)) | (Ok(()), Err(e)) => Err(e),
            (Err(e), Err(back)) => Err(Error::failed(format!("{}; and then: {}", e.one_line(), back.one_line()))),
        }
    }

    /// Before anything is touched.
    async fn prove_readable(&self, planned: &Outcomes) -> Result<()> {
        let wanted: Vec<&str> = planned.iter().filter(|(_, o)| is_written(o)).map(|(what, _)| what.as_str()).collect();
        let is_wanted = |file: &str, record: &Record| match &record.database {
            Some(database) => wanted.contains(&&*shown_database(&database.name)),
            None if file == INFLUXDB => true,
            None => wanted.contains(&file),
        };
        self.outputs.prove_readable(is_wanted).await
    }

    async fn restore_in_time(&self, planned: Outcomes, tally: &mut Tally) -> Result<()> {
        let restoring = self.restore(planned, tally);
        tokio::time::timeout(self.wanted.timeout, restoring).await.unwrap_or_else(|_| {
            Err(Error::failed(format!("it was not done within {} s", self.wanted.timeout.as_secs())))
        })
    }

    async fn restore(&self, planned: Outcomes, tally: &mut Tally) -> Result<()> {
        match &self.wanted.program {
            RestoreProgram::Run { command, file } => {
                self.feed(command, file, ("", "")).await?;
                planned.into_iter().for_each(|(what, outcome)| tally.add(self.name, &what, outcome));
                Ok(())
            }
            RestoreProgram::Postgres(postgres) => self.restore_postgres(postgres, planned, tally).await,
            RestoreProgram::Influxdb => self.restore_influxdb(planned, tally).await,
        }
    }

    /// Runs a command with a saved output as its input, between what stands before and behind it; an error unless it takes all
    /// of it, and succeeds.
    async fn feed(&self, command: &[String], file: &str, around: (&str, &str)) -> Result<()> {
        let running = self.place.start(command, true).await?;
        let sent = |bytes| self.work.progress.advance(self.name, bytes, bytes);
        let exit = self.outputs.send(file, around, running, sent).await?;
        exit.require_success(command).map_err(|e| e.within(format!("{} {}", shown(command), self.place.words())))
    }
}

fn is_written(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Created | Outcome::Updated)
}

/// What the summary calls a database.
fn shown_database(name: &str) -> String {
    format!("databases/{name}")
}
