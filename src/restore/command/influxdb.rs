//! The databases of an InfluxDB 1.x: `influxd restore -portable` makes those that are not there.

use super::super::apply::EXISTS;
use super::super::summary::Outcome;
use super::super::work::Tally;
use super::outputs::INCOMPLETE;
use super::{Outcomes, QUESTION, Way};
use crate::command::INFLUXDB;
use crate::command::profiles::{ask_influxdb, count_series, databases_of, restore_influxdb, sum_of};
use crate::config::Conflict;
use crate::error::Result;

/// What stands before the name of a database in the summary.
const FOLDER: &str = "databases/";

const IS_THERE: &str = "it is there";

impl Way<'_> {
    pub(super) async fn plan_influxdb(&self) -> Result<Outcomes> {
        let Some((_, record)) = self.outputs.records().find(|(file, _)| *file == INFLUXDB) else {
            return Ok(vec![(INFLUXDB.into(), Outcome::Failed(INCOMPLETE.into()))]);
        };
        let there = databases_of(&self.place.ask(&ask_influxdb("show databases"), QUESTION).await?);
        let mut planned = Outcomes::new();
        for name in record.databases.keys() {
            let outcome = match self.conflict {
                _ if !there.contains(name) => Outcome::Created,
                Conflict::Overwrite => Outcome::Updated,
                Conflict::Fail => Outcome::Failed(IS_THERE.into()),
                // What a restore that was cut off left must not be taken for what was saved.
                Conflict::Skip => match self.wrong_with_influxdb(name).await? {
                    Some(why) => Outcome::Failed(format!("{IS_THERE}, and {why}")),
                    None => Outcome::Skipped { rule: EXISTS.into(), why: IS_THERE.into() },
                },
            };
            planned.push((format!("{FOLDER}{name}"), outcome));
        }
        Ok(planned)
    }

    pub(super) async fn restore_influxdb(&self, planned: Outcomes, tally: &mut Tally) -> Result<()> {
        let wanted = planned.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Created | Outcome::Updated));
        let wanted: Vec<(&str, bool)> = wanted
            .filter_map(|(name, outcome)| Some((name.strip_prefix(FOLDER)?, *outcome == Outcome::Updated)))
            .collect();
        self.feed(&restore_influxdb(&wanted), INFLUXDB, ("", "")).await?;
        let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
        for (shown, outcome) in &planned {
            let wrong = match shown.strip_prefix(FOLDER).filter(|name| names.contains(name)) {
                Some(name) => self.wrong_with_influxdb(name).await?,
                None => None,
            };
            tally.add(self.name, shown, wrong.map_or_else(|| outcome.clone(), Outcome::Failed));
        }
        Ok(())
    }

    /// What a database lacks: more may have been written while it was saved, but not less.
    async fn wrong_with_influxdb(&self, name: &str) -> Result<Option<String>> {
        let saved = self.outputs.records().find_map(|(_, record)| record.databases.get(name)).copied();
        let found = sum_of(&self.place.ask(&count_series(name), QUESTION).await?);
        let lacks = |saved: &u64| format!("it has {found} series, and had {saved} when it was saved");
        Ok(saved.filter(|saved| found < *saved).as_ref().map(lacks))
    }
}
