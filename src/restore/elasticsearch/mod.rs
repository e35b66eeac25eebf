//! Runs an `elasticsearch` step: templates, pipelines and policies, then data streams and indices with their documents, aliases
//! last.

mod aliases;
mod contents;
mod finish;
mod kept;
mod load;
mod sample;
mod settings;
mod target;

use std::collections::{BTreeMap, BTreeSet};

use self::aliases::Aliases;
use self::contents::Held;
use self::kept::Present;
use self::target::{Done, Restorer, Target};
use super::files::{of_the_backup, require_source};
use super::summary::{Compared, Outcome};
use super::work::{Tally, Work};
use crate::config::{Conflict, RestoreElasticsearch};
use crate::elastic::{Elastic, KEPT, Saved};
use crate::error::{Error, Result};

/// Restores what the step wants. What the server refuses is in the tally; an error ends the step.
pub async fn restore_elasticsearch(work: &Work, step: usize, wanted: &RestoreElasticsearch) -> Result<Tally> {
    require_source(work, wanted.source.as_str(), "elasticsearch")?;
    let held = of_the_backup(work, contents::read(work, wanted).await).await?;
    let server = Elastic::connect(&wanted.url, &wanted.access).await?;
    let name = work.plan.steps[step].name.to_string();
    work.progress.begin(&name, Some(held.documents()));
    let conflict = wanted.conflict.unwrap_or(work.conflict);
    // Nobody else needs it while the step runs; of one that is cut off, what stands in it by then is told.
    let mut tally = work.tallies[step].lock().await;
    let way = Way { work, wanted, server: &server, name: &name, conflict };
    if wanted.templates {
        way.restore_kept(&held, &mut tally).await?;
    }
    way.restore_indices(&held, &mut tally).await?;
    let tally = std::mem::take(&mut *tally);
    work.progress.end(&name, &format!("{} (clock: {})", tally.items.words(), work.clock.words()));
    Ok(tally)
}

struct Way<'a> {
    work: &'a Work,
    wanted: &'a RestoreElasticsearch,
    server: &'a Elastic,
    name: &'a str,
    conflict: Conflict,
}

impl Way<'_> {
    async fn restore_kept(&self, held: &Held, tally: &mut Tally) -> Result<()> {
        for kept in KEPT {
            let mine: Vec<_> = held.kept.iter().filter(|(of, ..)| *of == kept).collect();
            if mine.is_empty() {
                continue;
            }
            let present = Present::read(self.server, kept).await?;
            for (_, name, body) in mine {
                let dry_run = self.work.dry_run;
                let outcome = present.restore(self.server, (name, body), self.conflict, dry_run).await?;
                tally.add(self.name, &Saved::kept(&kept, name), outcome);
            }
        }
        Ok(())
    }

    /// Restores one after the other, each with all lanes; then the aliases of those that came back under their own names.
    async fn restore_indices(&self, held: &Held, tally: &mut Tally) -> Result<()> {
        let restorer = Restorer {
            work: self.work,
            server: self.server,
            task: self.name,
            conflict: self.conflict,
            lanes: self.wanted.lanes as usize,
        };
        let (mut aliases, mut whole) = (Aliases::new(), Vec::new());
        let targets = self.targets(held);
        refuse_collisions(&targets)?;
        for target in &targets {
            let mut done = restorer.restore(target).await?;
            if !self.work.dry_run && done.outcome.is_there() {
                self.compare(&restorer, target, &mut done, tally).await?;
            }
            tally.add(self.name, &target.shown(), done.outcome);
            tally.notes.extend(done.notes);
            if !done.is_whole {
                continue;
            }
            whole.push(target);
            for (name, index) in target.parts.iter().filter(|(name, _)| *name == target.to) {
                for (alias, how) in index.description["aliases"].as_object().into_iter().flatten() {
                    aliases.entry(alias.clone()).or_default().push((name.to_string(), how.clone()));
                }
            }
        }
        self.restore_aliases(&aliases, tally).await?;
        for target in whole.into_iter().filter(|_| !self.work.dry_run) {
            restorer.settle(target).await?;
        }
        Ok(())
    }

    /// Counts the documents of what is there now, and compares some of them.
    async fn compare(
        &self,
        restorer: &Restorer<'_>,
        target: &Target<'_>,
        done: &mut Done,
        tally: &mut Tally,
    ) -> Result<()> {
        if let Some(expected) = target.count() {
            let found = restorer.count(target).await?;
            tally.compared.push(Compared::new(format!("documents in {}", target.to), expected, found));
        }
        let sampled = match done.sampled.take() {
            Some(sampled) => sampled,
            None => restorer.sample(target).await?,
        };
        let what = format!("documents in {}, sampled, by digest", target.to);
        tally.compared.push(Compared::new(what, sampled.asked, sampled.equal));
        if let Some(wrong) = sampled.wrong() {
            (done.outcome, done.is_whole) = (Outcome::Failed(wrong), false);
        }
        Ok(())
    }

    /// Indices of one data stream go there together.
    fn targets<'h>(&self, held: &'h Held) -> Vec<Target<'h>> {
        let renamed = |name: &str| {
            let rename = self.wanted.rename.as_ref();
            rename.and_then(|rename| rename.apply(name)).unwrap_or_else(|| name.to_string())
        };
        let mut targets: BTreeMap<(bool, &str), Target<'h>> = BTreeMap::new();
        for (name, index) in &held.indices {
            let (is_stream, of) = (index.stream().is_some(), index.stream().unwrap_or(name));
            let target = Target { to: renamed(of), is_stream, parts: Vec::new() };
            targets.entry((is_stream, of)).or_insert(target).parts.push((name.as_str(), index));
        }
        targets.into_values().collect()
    }

    async fn restore_aliases(&self, aliases: &Aliases, tally: &mut Tally) -> Result<()> {
        for (alias, of) in aliases {
            let (outcome, note) = match self.work.dry_run {
                true => (Outcome::Created, None),
                false => aliases::restore(self.server, alias, of).await?,
            };
            tally.add(self.name, &format!("aliases/{alias}"), outcome);
            tally.notes.extend(note);
        }
        Ok(())
    }
}

/// Two that would get the same name would become one.
fn refuse_collisions(targets: &[Target<'_>]) -> Result<()> {
    let mut seen = BTreeSet::new();
    match targets.iter().find(|target| !seen.insert(target.to.as_str())) {
        None => Ok(()),
        Some(target) => Err(Error::failed(format!("several would be called {}", target.to))
            .hint("choose another `rename`, or fewer `indices`")),
    }
}
