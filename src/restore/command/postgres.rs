//! The databases of a PostgreSQL. Each is loaded under another name, counted table by table, and only then put into the place of the
//! one that is there: until then nothing is lost, whatever goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use super::super::apply::EXISTS;
use super::super::summary::{Compared, Outcome};
use super::super::work::Tally;
use super::outputs::INCOMPLETE;
use super::{Outcomes, QUESTION, Way, is_written, shown_database as shown};
use crate::command::profiles::{BEGIN, COMMIT, feed, identifier, literal, query};
use crate::command::{BEFORE, Database, LOADING, ROLES, Record};
use crate::config::{Conflict, Postgres};
use crate::error::{Error, Result};

/// The longest name of a database, in bytes.
const LONGEST: usize = 63;

/// How often the names are exchanged, where somebody keeps coming back to the database.
const TRIES: u32 = 5;

/// The database in which statements about others are run, and which is always there.
const MAINTENANCE: &str = "postgres";

impl Way<'_> {
    pub(super) async fn plan_postgres(&self, postgres: &Postgres) -> Result<Outcomes> {
        let sql = "select datname from pg_database where datallowconn and not datistemplate";
        let there = self.ask_postgres(postgres, MAINTENANCE, sql).await?;
        let there: BTreeSet<&str> = there.lines().collect();
        let is_wanted = |name: &str| postgres.databases.is_empty() || postgres.databases.iter().any(|one| one == name);
        let mut planned: Outcomes = vec![(ROLES.into(), self.outputs.fate(ROLES))];
        let wanted: Vec<&Database> = self.databases().filter(|database| is_wanted(&database.name)).collect();
        for database in wanted {
            let outcome = match there.contains(&*database.name) {
                false => Outcome::Created,
                true if self.is_empty(postgres, &database.name).await? => Outcome::Created,
                true => match self.conflict {
                    Conflict::Overwrite => Outcome::Updated,
                    Conflict::Fail => Outcome::Failed("it is there, and not empty".into()),
                    Conflict::Skip => {
                        Outcome::Skipped { rule: EXISTS.into(), why: "it is there, and not empty".into() }
                    }
                },
            };
            planned.push((shown(&database.name), outcome));
        }
        planned.extend(self.outputs.broken().map(|file| (file.to_string(), Outcome::Failed(INCOMPLETE.into()))));
        let missing = postgres.databases.iter().filter(|name| !self.databases().any(|one| one.name == **name));
        planned.extend(missing.map(|name| (shown(name), Outcome::Failed("the backup does not have it".into()))));
        // Where no database comes back, no role is touched.
        if !planned[1..].iter().any(|(_, outcome)| is_written(outcome)) {
            planned.remove(0);
        }
        Ok(planned)
    }

    fn databases(&self) -> impl Iterator<Item = &Database> {
        self.outputs.records().filter_map(|(_, record)| record.database.as_ref())
    }

    async fn ask_postgres(&self, postgres: &Postgres, database: &str, sql: &str) -> Result<String> {
        self.place.ask(&query(&postgres.user, database, sql), QUESTION).await
    }

    async fn is_empty(&self, postgres: &Postgres, database: &str) -> Result<bool> {
        let of_users = "n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema'";
        let in_schemas = |table: &str, schema: &str| {
            format!("(select count(*) from {table} t join pg_namespace n on n.oid = t.{schema} where {of_users})")
        };
        let sql = format!(
            "select {} + {} + {} + (select count(*) from pg_largeobject_metadata)",
            in_schemas("pg_class", "relnamespace"),
            in_schemas("pg_proc", "pronamespace"),
            in_schemas("pg_type", "typnamespace"),
        );
        Ok(self.ask_postgres(postgres, database, &sql).await?.trim() == "0")
    }

    /// What went wrong with one database does not keep the others from coming back; without the roles none does.
    pub(super) async fn restore_postgres(
        &self,
        postgres: &Postgres,
        planned: Outcomes,
        tally: &mut Tally,
    ) -> Result<()> {
        for (what, outcome) in planned {
            let outcome = match (&outcome, what == ROLES) {
                (outcome, _) if !is_written(outcome) => outcome.clone(),
                (_, true) => self.restore_roles(postgres).await.map(|()| outcome)?,
                (_, false) => match self.restore_database(postgres, &what).await {
                    Ok(note) => {
                        tally.notes.extend(note);
                        outcome
                    }
                    Err(e) => Outcome::Failed(e.one_line()),
                },
            };
            tally.add(self.name, &what, outcome);
        }
        Ok(())
    }

    /// Roles that are there are not made again, but get what the backup says of them: all but the one that we came in with.
    async fn restore_roles(&self, postgres: &Postgres) -> Result<()> {
        let there = self.ask_postgres(postgres, MAINTENANCE, "select rolname from pg_roles").await?;
        let there: BTreeSet<String> = there.lines().flat_map(making).collect();
        let own = changing(&postgres.user);
        let all = self.outputs.text(ROLES).await?;
        let is_kept = |line: &&str| !there.contains(*line) && !own.iter().any(|begin| line.starts_with(begin));
        let kept: Vec<&str> = all.lines().filter(is_kept).collect();
        self.run_sql(postgres, MAINTENANCE, kept.join("\n").into_bytes()).await
    }

    /// What is worth knowing beside.
    async fn restore_database(&self, postgres: &Postgres, what: &str) -> Result<Option<String>> {
        let found = self.outputs.records().find_map(|(file, record)| {
            let database = record.database.as_ref().filter(|database| shown(&database.name) == what)?;
            Some((file, record, database))
        });
        let (file, record, database) = found.ok_or_else(|| Error::failed(format!("the backup has no {what}")))?;
        let loading = with_suffix(&database.name, LOADING)?;
        // Of an earlier try.
        self.drop_database(postgres, &loading).await?;
        let making = format!(
            "create database {} owner {} encoding {} lc_collate {} lc_ctype {} template template0",
            identifier(&loading),
            identifier(&database.owner),
            literal(&database.encoding),
            literal(&database.collate),
            literal(&database.ctype),
        );
        self.ask_postgres(postgres, MAINTENANCE, &making).await?;
        let loaded = async {
            self.feed(&feed(&postgres.user, &loading), file, (BEGIN, COMMIT)).await?;
            self.compare_rows(postgres, &loading, (&database.name, record)).await
        };
        if let Err(e) = loaded.await {
            // Whatever is wrong with that: what went wrong first is told.
            let _ = self.drop_database(postgres, &loading).await;
            return Err(e.within(format!("load database {}; the one that is there was left as it is", database.name)));
        }
        if let Err(e) = self.put_in_place(postgres, &database.name, &loading).await {
            let doing = format!("put database {} in its place", database.name);
            // The answer may have been lost, and not the deed.
            match self.has_database(postgres, &loading).await {
                Ok(false) => {}
                Ok(true) => {
                    let _ = self.drop_database(postgres, &loading).await;
                    return Err(e.within(format!("{doing}; the one that is there was left as it is")));
                }
                Err(_) => {
                    return Err(e.within(format!(
                        "{doing}; whether it was done is not known: {loading} is it, if it is there"
                    )));
                }
            }
        }
        let before = with_suffix(&database.name, BEFORE)?;
        let dropped = self.drop_database_from(postgres, beside(&database.name), &before).await;
        let why = dropped.err().map(|e| e.one_line());
        Ok(why
            .map(|why| format!("{} is back; the one before is still there as {before}: {why}", shown(&database.name))))
    }

    /// Each table must have as many rows as were saved.
    async fn compare_rows(&self, postgres: &Postgres, loading: &str, (name, record): (&str, &Record)) -> Result<()> {
        let empty = BTreeMap::new();
        let rows = record.rows.as_ref().unwrap_or(&empty);
        // Some at a time: a command line is not endless.
        let rows: Vec<_> = rows.iter().collect();
        for tables in rows.chunks(100) {
            let sql = counting(tables);
            let answer = self.place.ask(&query(&postgres.user, loading, &sql), self.wanted.timeout).await?;
            let counted: BTreeMap<&str, &str> = answer.lines().filter_map(|line| line.rsplit_once('\t')).collect();
            for (table, saved) in tables {
                let found = counted.get(table.as_str()).copied().unwrap_or("no");
                let rows =
                    Compared::new(format!("rows in {name}: {table}"), **saved, found.parse().unwrap_or_default());
                self.compared.lock().unwrap_or_else(PoisonError::into_inner).push(rows);
                if found != saved.to_string() {
                    return Err(Error::failed(format!("table {table} has {found} rows, and {saved} were saved")));
                }
            }
        }
        Ok(())
    }

    /// The names change hands in one moment.
    async fn put_in_place(&self, postgres: &Postgres, name: &str, loading: &str) -> Result<()> {
        let before = with_suffix(name, BEFORE)?;
        self.drop_database(postgres, &before).await?;
        let is_there = self.has_database(postgres, name).await?;
        let rename =
            |from: &str, to: &str| format!("alter database {} rename to {};", identifier(from), identifier(to));
        let mut sql = format!("{};", ending(name));
        if is_there {
            sql.push_str(&rename(name, &before));
        }
        sql.push_str(&rename(loading, name));
        let mut attempt = 1;
        loop {
            match self.run_sql(postgres, beside(name), sql.clone().into_bytes()).await {
                // Somebody who was not told to stay away came back in between.
                Err(e) if attempt < TRIES && e.one_line().contains("accessed by other users") => attempt += 1,
                renamed => return renamed,
            }
        }
    }

    async fn has_database(&self, postgres: &Postgres, name: &str) -> Result<bool> {
        let counting = format!("select count(*) from pg_database where datname = {}", literal(name));
        Ok(self.ask_postgres(postgres, beside(name), &counting).await?.trim() == "1")
    }

    async fn drop_database(&self, postgres: &Postgres, name: &str) -> Result<()> {
        self.drop_database_from(postgres, MAINTENANCE, name).await
    }

    async fn drop_database_from(&self, postgres: &Postgres, from: &str, name: &str) -> Result<()> {
        // What an earlier try left running in a pod may still use it.
        self.ask_postgres(postgres, from, &ending(name)).await?;
        let sql = format!("drop database if exists {}", identifier(name));
        self.ask_postgres(postgres, from, &sql).await.map(drop)
    }

    async fn run_sql(&self, postgres: &Postgres, database: &str, sql: Vec<u8>) -> Result<()> {
        let command = feed(&postgres.user, database);
        let running = self.place.start(&command, true).await?;
        let sql = [BEGIN.as_bytes(), &sql, COMMIT.as_bytes()].concat();
        crate::command::give(running, sql).await?.require_success(&command)
    }
}

/// The database in which statements about another one are run: it cannot be renamed or dropped from within.
fn beside(name: &str) -> &'static str {
    if name == MAINTENANCE { "template1" } else { MAINTENANCE }
}

fn counting(tables: &[(&String, &u64)]) -> String {
    let count = |(table, _): &(&String, &u64)| format!("select {}, count(*) from only {table}", literal(table));
    tables.iter().map(count).collect::<Vec<_>>().join(" union all ")
}

/// Ends all connections to a database.
fn ending(name: &str) -> String {
    format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = {}", literal(name))
}

/// Both ways in which `pg_dumpall` may write that a role is made: in quotes where it must.
fn making(role: &str) -> [String; 2] {
    [format!("CREATE ROLE {role};"), format!("CREATE ROLE {};", identifier(role))]
}

/// How lines begin that change a role.
fn changing(role: &str) -> [String; 2] {
    [format!("ALTER ROLE {role} "), format!("ALTER ROLE {} ", identifier(role))]
}

fn with_suffix(name: &str, suffix: &str) -> Result<String> {
    match name.len() + suffix.len() <= LONGEST {
        true => Ok(format!("{name}{suffix}")),
        false => Err(Error::failed(format!("the name of database {name} is too long to be loaded beside it"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_known_however_the_dump_writes_it() {
        assert!(making("user").contains(&"CREATE ROLE \"user\";".to_string()));
        assert!(making("harbor").contains(&"CREATE ROLE harbor;".to_string()));
        assert!(changing("postgres").iter().any(|begin| "ALTER ROLE postgres WITH SUPERUSER".starts_with(begin)));
    }

    #[test]
    fn a_name_that_leaves_no_room_is_refused() {
        assert_eq!(with_suffix("registry", LOADING).unwrap(), "registry__ckbackup");
        assert!(with_suffix(&"x".repeat(60), LOADING).is_err());
    }
}
