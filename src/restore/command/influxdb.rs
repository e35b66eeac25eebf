//! The databases of an InfluxDB 1.x: `influxd restore -portable` makes those that are not there.

use super::super::apply::EXISTS;
use super::super::summary::Outcome;
use super::outputs::INCOMPLETE;
use super::{Outcomes, QUESTION, Way};
use crate::command::INFLUXDB;
use crate::command::profiles::{ask_influxdb, databases_of, identifier, restore_influxdb};
use crate::config::Conflict;
use crate::error::{Error, Result};

impl Way<'_> {
    /// All databases come back together, so one that is there decides for all.
    pub(super) async fn plan_influxdb(&self) -> Result<Outcomes> {
        let Some((_, record)) = self.outputs.records().find(|(file, _)| *file == INFLUXDB) else {
            return Ok(vec![(INFLUXDB.into(), Outcome::Failed(INCOMPLETE.into()))]);
        };
        let there = databases_of(&self.place.ask(&ask_influxdb("show databases"), QUESTION).await?);
        let outcome = |name: &String| {
            let is_there = there.contains(name);
            let taken = record.databases.iter().any(|name| there.contains(name));
            let why = if is_there { "it is there" } else { "others of the backup are there" };
            match self.conflict {
                _ if !taken => Outcome::Created,
                Conflict::Overwrite if is_there => Outcome::Updated,
                Conflict::Overwrite => Outcome::Created,
                Conflict::Fail => Outcome::Failed(why.into()),
                Conflict::Skip => Outcome::Skipped { rule: EXISTS.into(), why: why.into() },
            }
        };
        Ok(record.databases.iter().map(|name| (format!("databases/{name}"), outcome(name))).collect())
    }

    pub(super) async fn restore_influxdb(&self, planned: Outcomes) -> Result<Outcomes> {
        for (name, outcome) in &planned {
            if let (Some(name), Outcome::Updated) = (name.strip_prefix("databases/"), outcome) {
                let dropping = ask_influxdb(&format!("drop database {}", identifier(name)));
                self.place.ask(&dropping, QUESTION).await?;
            }
        }
        self.feed(&restore_influxdb(), INFLUXDB).await?;
        let there = databases_of(&self.place.ask(&ask_influxdb("show databases"), QUESTION).await?);
        let missing = planned.iter().filter_map(|(name, _)| name.strip_prefix("databases/"));
        let missing: Vec<_> = missing.filter(|name| !there.iter().any(|there| there == name)).collect();
        match missing.is_empty() {
            true => Ok(planned),
            false => Err(Error::failed(format!("after the restore, these are not there: {}", missing.join(", ")))),
        }
    }
}
