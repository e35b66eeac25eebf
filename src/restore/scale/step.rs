//! Runs a `scale` step: workloads to zero, and in another step back to what they were.

use super::{FORMER, Need, Scaled, find, former, get, give_back, shown, to_zero, wait_until_ready};
use crate::cluster::Cluster;
use crate::config::{Action, Scale, ScaleTo, Workload};
use crate::error::{Error, Result};
use crate::restore::summary::Outcome;
use crate::restore::work::{Tally, Work};

/// Scales what the step wants.
pub async fn scale(work: &Work, step: usize, wanted: &Scale) -> Result<Tally> {
    let target = work.target.as_ref().ok_or_else(|| Error::failed("no cluster is connected"))?;
    let name = work.plan.steps[step].name.as_str();
    if work.dry_run {
        return foretell(target.cluster(), work, name, wanted).await;
    }
    work.progress.begin(name, None);
    // Nobody else needs it while the step runs; of one that is cut off, what stands in it by then is told.
    let mut tally = work.tallies[step].lock().await;
    let way = Way { work, cluster: target.cluster(), name, wanted };
    let scaled = match wanted.to {
        ScaleTo::Zero => way.to_zero(&mut tally).await,
        ScaleTo::Former => way.to_former(&mut tally).await,
    };
    let tally = match scaled {
        Ok(()) => std::mem::take(&mut *tally),
        Err(e) => return Err(e),
    };
    work.progress.end(name, &format!("{} (clock: {})", tally.items.words(), work.clock.words()));
    Ok(tally)
}

struct Way<'a> {
    work: &'a Work,
    cluster: &'a Cluster,
    /// The step's name.
    name: &'a str,
    wanted: &'a Scale,
}

/// What became of a workload that should run again.
enum Back {
    /// It has its former count.
    Given(Scaled),
    /// It was not at zero by a restore.
    Unchanged,
    /// Another step still needs it at zero, and gives it back.
    Needed(String),
}

impl Way<'_> {
    async fn to_zero(&self, tally: &mut Tally) -> Result<()> {
        let mut was_zero = Vec::new();
        for workload in &self.wanted.workloads {
            was_zero.push(get(self.cluster, workload).await?["spec"]["replicas"] == 0);
        }
        to_zero(self.cluster, &self.wanted.workloads, Need::Held(self.name, self.wanted.timeout), &self.work.interim)
            .await?;
        for (workload, was_zero) in self.wanted.workloads.iter().zip(was_zero) {
            let outcome = if was_zero { Outcome::Unchanged } else { Outcome::Updated };
            tally.add(self.name, &shown(workload), outcome);
        }
        Ok(())
    }

    /// All first, as they may need each other, then each is waited for.
    async fn to_former(&self, tally: &mut Tally) -> Result<()> {
        let mut given = Vec::new();
        for workload in &self.wanted.workloads {
            match self.give_back(workload).await? {
                Back::Given(scaled) => {
                    tally.notes.push(format!("{} has its former {}", shown(workload), scaled.former));
                    tally.add(self.name, &shown(workload), Outcome::Updated);
                    given.push(scaled);
                }
                Back::Unchanged => tally.add(self.name, &shown(workload), Outcome::Unchanged),
                Back::Needed(step) => {
                    let rule = "still needed at zero".to_string();
                    let why = format!("step {step} still needs {} at zero, and gives it back", shown(workload));
                    tally.notes.push(why.clone());
                    tally.add(self.name, &shown(workload), Outcome::Skipped { rule, why });
                }
            }
        }
        for scaled in &given {
            wait_until_ready(self.cluster, scaled, self.wanted.timeout).await?;
        }
        Ok(())
    }

    async fn give_back(&self, workload: &Workload) -> Result<Back> {
        // Held until it is done: no other step scales it in between.
        let mut all = self.work.interim.scaled.lock().await;
        let known = all.iter_mut().find(|scaled| scaled.workload == *workload);
        let scaled = match known {
            Some(scaled) => {
                scaled.held_by = None;
                if let Some(step) = scaled.steps.first() {
                    return Ok(Back::Needed(step.clone()));
                }
                scaled.clone()
            }
            // Perhaps a restore that was cut off has left it so.
            None => match noted(self.cluster, workload).await? {
                Some(scaled) => scaled,
                None => return Ok(Back::Unchanged),
            },
        };
        give_back(self.cluster, &scaled).await?;
        all.retain(|other| other.workload != *workload);
        Ok(Back::Given(scaled))
    }
}

/// A workload that bears its former count, as a restore left it.
async fn noted(cluster: &Cluster, workload: &Workload) -> Result<Option<Scaled>> {
    let object = get(cluster, workload).await?;
    let is_noted = object["metadata"]["annotations"][FORMER].is_string();
    Ok(is_noted.then(|| Scaled::new(workload, former(&object))))
}

/// What a dry run says.
async fn foretell(cluster: &Cluster, work: &Work, name: &str, wanted: &Scale) -> Result<Tally> {
    let mut tally = Tally::default();
    for workload in &wanted.workloads {
        let (what, object) = (shown(workload), find(cluster, workload).await?);
        let count = object.as_ref().map(|object| object["spec"]["replicas"].as_u64().unwrap_or(1));
        let is_noted = object.as_ref().is_some_and(|object| object["metadata"]["annotations"][FORMER].is_string());
        let (outcome, note) = match (wanted.to, count) {
            (_, None) => (Outcome::Updated, format!("{what} is not there yet")),
            (ScaleTo::Zero, Some(0)) => (Outcome::Unchanged, format!("{what} is at 0")),
            (ScaleTo::Zero, Some(count)) => (Outcome::Updated, format!("would scale {what} from {count} to 0")),
            (ScaleTo::Former, Some(count)) if is_noted => {
                let back = object.as_ref().map(former).unwrap_or_default();
                (Outcome::Updated, format!("would scale {what} from {count} to {back}"))
            }
            (ScaleTo::Former, Some(count)) if is_scaled_by(work, workload, ScaleTo::Zero) => {
                (Outcome::Updated, format!("would scale {what} back to {count}"))
            }
            (ScaleTo::Former, Some(_)) => (Outcome::Unchanged, format!("{what} was not scaled to zero")),
        };
        tally.notes.push(note);
        tally.add(name, &what, outcome);
    }
    Ok(tally)
}

/// Whether the plan has a step that scales a workload so.
pub fn is_scaled_by(work: &Work, workload: &Workload, to: ScaleTo) -> bool {
    work.plan.steps.iter().any(|step| match &step.action {
        Action::Scale(scale) => scale.to == to && scale.workloads.contains(workload),
        _ => false,
    })
}
