//! Runs a `command` step: what a command wrote is fed into another one, here or in a pod.
//!
//! Nothing is touched before all that was saved is known to be whole and readable. What must not run meanwhile is scaled to zero, and
//! back to what it was, whatever came of it.

mod influxdb;
mod outputs;
mod postgres;

use std::time::Duration;

use self::outputs::Outputs;
use super::apply::{Tally, Work};
use super::files::require_source;
use super::scale;
use super::summary::Outcome;
use crate::cluster::Cluster;
use crate::command::{Place, shown};
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
}

/// What came back, and what became of it.
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
    let way = Way { work, wanted, outputs, place, conflict, name: &name };
    let (outcomes, notes) = way.run(cluster).await?;
    let mut tally = work.tallies[step].lock().await;
    outcomes.into_iter().for_each(|(what, outcome)| tally.add(&name, &what, outcome));
    tally.notes.extend(notes);
    let tally = std::mem::take(&mut *tally);
    work.progress.end(&name, &format!("{} (clock: {})", tally.items.words(), work.clock.words()));
    Ok(tally)
}

impl Way<'_> {
    async fn run(&self, cluster: Option<&Cluster>) -> Result<(Outcomes, Vec<String>)> {
        let planned = match &self.wanted.program {
            RestoreProgram::Run { file, .. } => vec![(file.clone(), self.outputs.fate(file))],
            RestoreProgram::Postgres(postgres) => self.plan_postgres(postgres).await?,
            RestoreProgram::Influxdb => self.plan_influxdb().await?,
        };
        let is_wanted = |outcome: &Outcome| matches!(outcome, Outcome::Created | Outcome::Updated);
        if self.work.dry_run || !planned.iter().any(|(_, outcome)| is_wanted(outcome)) {
            return Ok((planned, Vec::new()));
        }
        self.outputs.prove_readable().await?;
        let scaled = match cluster {
            Some(cluster) => scale::to_zero(cluster, &self.wanted.scale).await?,
            None => Vec::new(),
        };
        let restored = tokio::time::timeout(self.wanted.timeout, self.restore(planned)).await;
        let back = match cluster {
            Some(cluster) => scale::back(cluster, &scaled).await,
            None => Ok(()),
        };
        let outcomes = restored.unwrap_or_else(|_| {
            Err(Error::failed(format!("it was not done within {} s", self.wanted.timeout.as_secs())))
        })?;
        back?;
        Ok((outcomes, scaled.iter().map(scale::Scaled::words).collect()))
    }

    async fn restore(&self, planned: Outcomes) -> Result<Outcomes> {
        match &self.wanted.program {
            RestoreProgram::Run { command, file } => {
                self.feed(command, file).await?;
                Ok(planned)
            }
            RestoreProgram::Postgres(postgres) => self.restore_postgres(postgres, planned).await,
            RestoreProgram::Influxdb => self.restore_influxdb(planned).await,
        }
    }

    /// Runs a command with a saved output as its input; an error unless it takes all of it, and succeeds.
    async fn feed(&self, command: &[String], file: &str) -> Result<()> {
        let running = self.place.start(command, true).await?;
        let exit =
            self.outputs.send(file, running, |bytes| self.work.progress.advance(self.name, bytes, bytes)).await?;
        exit.require_success(command).map_err(|e| e.within(format!("{} {}", shown(command), self.place.words())))
    }
}
