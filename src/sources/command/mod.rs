//! Source `command`: what a command writes, here or in a pod: databases, and whatever else has a way to write itself out.
//!
//! An output is good when the command says that it succeeded, when its mark stands at the end, and when all of it is stored:
//! then a record of it is written. One without a record is never restored.

mod rows;
mod stream;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::stream::{Stream, Way};
use super::{Opened, Source, Unit, in_time};
use crate::cluster::Cluster;
use crate::command::profiles::{self, END_OF_DATABASE, END_OF_ROLES};
use crate::command::{BEFORE, Database, INFLUXDB, LOADING, Place, ROLES, Saved};
use crate::config::{CommandScope, Hook, Postgres, Program};
use crate::error::{Error, Result};
use crate::inventory::{Inventory, Omission};
use crate::member::Batch;
use crate::progress::Progress;

/// How long a question may take.
const QUESTION: Duration = Duration::from_secs(60);

/// The output of commands.
pub struct Command(Arc<Inner>);

struct Inner {
    name: String,
    scope: CommandScope,
    cluster: Option<Cluster>,
    /// The place in which the hook before was run, until that after was.
    frozen: Mutex<Option<Place>>,
}

impl Command {
    /// A source called `name` in its schedule.
    pub fn new(name: &str, scope: CommandScope, cluster: Option<Cluster>) -> Command {
        Command(Arc::new(Inner { name: name.into(), scope, cluster, frozen: Mutex::default() }))
    }
}

#[async_trait]
impl Source for Command {
    fn kind(&self) -> &'static str {
        "command"
    }

    async fn open(&self) -> Result<Opened> {
        Ok(Opened { units: vec![Box::new(OutputUnit(self.0.clone()))], inventory: Inventory::default() })
    }

    /// The hook after runs also when the run was cut off.
    async fn close(&self) -> Result<()> {
        self.0.run_after().await
    }
}

/// All that the commands write.
struct OutputUnit(Arc<Inner>);

#[async_trait]
impl Unit for OutputUnit {
    async fn read(
        &self,
        out: mpsc::Sender<Batch>,
        progress: &dyn Progress,
        stop: &CancellationToken,
    ) -> Result<Inventory> {
        let place = in_time(stop, Place::find(&self.0.scope.place, self.0.cluster.as_ref())).await?;
        let mut way = Way { name: &self.0.name, out, progress, stop, inventory: Inventory::default() };
        let saved = match in_time(stop, self.0.run_before(&place)).await {
            Ok(()) => self.0.save(&place, &mut way).await,
            Err(e) => Err(e),
        };
        // When the window closes, the commit goes first; the hook runs when the source is closed.
        let after = if stop.is_cancelled() { Ok(()) } else { self.0.run_after().await };
        // What was stored is no backup of it, and may be next time.
        for e in [saved.err(), after.err()].into_iter().flatten() {
            let problem = Omission { what: self.0.name.clone(), why: e.one_line(), count: None };
            way.inventory.lost.get_or_insert_with(|| problem.why.clone());
            way.inventory.problems.push(problem);
        }
        Ok(way.inventory)
    }
}

impl Inner {
    async fn run_before(&self, place: &Place) -> Result<()> {
        *self.frozen() = Some(place.clone());
        match &self.scope.before {
            Some(hook) => run_hook("before", place, hook).await,
            None => Ok(()),
        }
    }

    async fn run_after(&self) -> Result<()> {
        let Some(place) = self.frozen().take() else { return Ok(()) };
        match &self.scope.after {
            Some(hook) => run_hook("after", &place, hook).await,
            None => Ok(()),
        }
    }

    fn frozen(&self) -> std::sync::MutexGuard<'_, Option<Place>> {
        self.frozen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn save(&self, place: &Place, way: &mut Way<'_>) -> Result<()> {
        match &self.scope.program {
            Program::Run { command, file, marker } => {
                let stream =
                    Stream { marker: marker.clone(), ..Stream::new(file, command.clone(), self.scope.timeout) };
                stream.save(place, way).await
            }
            Program::Postgres(postgres) => self.save_postgres(place, postgres, way).await,
            Program::Influxdb => {
                let mut databases = BTreeMap::new();
                let all = profiles::ask_influxdb("show databases");
                let all = in_time(way.stop, place.ask(&all, QUESTION)).await?;
                for name in profiles::databases_of(&all) {
                    let counting = profiles::count_series(&name);
                    let series = in_time(way.stop, place.ask(&counting, QUESTION)).await?;
                    databases.insert(name, profiles::sum_of(&series));
                }
                let stream = Stream::new(INFLUXDB, profiles::back_up_influxdb(), self.scope.timeout);
                Stream { databases, ..stream }.save(place, way).await
            }
        }
    }

    /// Roles first, then each database as it is at one moment.
    async fn save_postgres(&self, place: &Place, postgres: &Postgres, way: &mut Way<'_>) -> Result<()> {
        let (user, timeout) = (&postgres.user, self.scope.timeout);
        let databases = in_time(way.stop, wanted_databases(place, postgres)).await?;
        let roles = Stream::new(ROLES, profiles::dump_roles(user), timeout);
        Stream { marker: Some(END_OF_ROLES.into()), ..roles }.save(place, way).await?;
        for database in databases {
            let stream =
                Stream::new(&Saved::database(&database.name), profiles::dump_database(user, &database.name), timeout);
            let stream =
                Stream { marker: Some(END_OF_DATABASE.into()), counts_rows: true, database: Some(database), ..stream };
            stream.save(place, way).await?;
        }
        Ok(())
    }
}

/// What a restore that was cut off may have left.
fn is_left_over(database: &str) -> bool {
    [LOADING, BEFORE].iter().any(|suffix| database.ends_with(suffix))
}

async fn run_hook(which: &str, place: &Place, hook: &Hook) -> Result<()> {
    let ran = place.ask(&hook.command, hook.timeout).await;
    ran.map(drop).map_err(|e| e.within(format!("the hook {which} the backup, {}", place.words())))
}

/// All databases but templates, or those that are named, each of which must be there.
async fn wanted_databases(place: &Place, postgres: &Postgres) -> Result<Vec<Database>> {
    let sql = "select datname, pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype \
               from pg_database where datallowconn and not datistemplate order by datname";
    let answer = place.ask(&profiles::query(&postgres.user, "postgres", sql), QUESTION).await?;
    let database = |line: &str| {
        let mut fields = line.split('\t').map(String::from);
        let mut next = || fields.next();
        Some(Database { name: next()?, owner: next()?, encoding: next()?, collate: next()?, ctype: next()? })
    };
    let all: Vec<Database> = answer.lines().filter_map(database).filter(|one| !is_left_over(&one.name)).collect();
    if postgres.databases.is_empty() {
        return Ok(all);
    }
    let find = |name: &String| {
        let found = all.iter().find(|database| database.name == *name).cloned();
        found.ok_or_else(|| Error::failed(format!("there is no database {name} {}", place.words())))
    };
    postgres.databases.iter().map(find).collect()
}
