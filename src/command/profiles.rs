//! The commands of the profiles: how a PostgreSQL and an InfluxDB are asked, saved and filled.

use super::saved::LOADING;

/// PostgreSQL's programs with the password that its container was given; `sh` is in every image that has them.
const WITH_PASSWORD: &str = "PGPASSWORD=\"${PGPASSWORD:-$POSTGRES_PASSWORD}\"; export PGPASSWORD; exec \"$@\"";

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn postgres(program: &[&str]) -> Vec<String> {
    owned(&[&["sh", "-c", WITH_PASSWORD, "sh"], program].concat())
}

/// What ends a whole dump of all roles.
pub const END_OF_ROLES: &str = "PostgreSQL database cluster dump complete";

/// What ends a whole dump of a database.
pub const END_OF_DATABASE: &str = "PostgreSQL database dump complete";

/// Writes roles.
pub fn dump_roles(user: &str) -> Vec<String> {
    postgres(&["pg_dumpall", "--roles-only", "--no-password", "--username", user])
}

/// Writes a database.
pub fn dump_database(user: &str, database: &str) -> Vec<String> {
    postgres(&["pg_dump", "--no-tablespaces", "--no-password", "--username", user, "--dbname", &connection(database)])
}

/// Asks for rows, one on a line, with tabulators between their fields.
pub fn query(user: &str, database: &str, sql: &str) -> Vec<String> {
    postgres(&[
        "psql",
        "-X",
        "-q",
        "-w",
        "-A",
        "-t",
        "-F",
        "\t",
        "-v",
        "ON_ERROR_STOP=1",
        "-U",
        user,
        "-d",
        &connection(database),
        "-c",
        sql,
    ])
}

/// Runs statements from its standard input, and stops at the first that fails. They say themselves where a transaction begins and
/// ends ([`BEGIN`], [`COMMIT`]): an input that is cut off must not be committed.
pub fn feed(user: &str, database: &str) -> Vec<String> {
    let feeding = ["psql", "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", &connection(database)];
    // What it prints is of no use.
    let script = format!("{WITH_PASSWORD} >/dev/null");
    owned(&[&["sh", "-c", &script, "sh"], &feeding[..]].concat())
}

/// What stands before statements that are all run, or none.
pub const BEGIN: &str = "begin;\n";

/// What stands behind them.
pub const COMMIT: &str = "\ncommit;\n";

/// A database's name could be taken for a whole connection string.
fn connection(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A name within SQL.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text within SQL.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Writes all databases of an InfluxDB, as a tar.
pub fn back_up_influxdb() -> Vec<String> {
    let script =
        "d=$(mktemp -d) && trap 'rm -rf \"$d\"' EXIT && influxd backup -portable \"$d\" >&2 && tar -C \"$d\" -cf - .";
    owned(&["sh", "-c", script])
}

/// Makes databases of an InfluxDB from such a tar, one by one, as its own cannot be made again. One that is marked as there is dropped
/// only when all of the tar has arrived, and the server has taken what is in it under another name. One without any data is not in the
/// list of files, and is not restored but made.
pub fn restore_influxdb(databases: &[(&str, bool)]) -> Vec<String> {
    let script = r#"d=$(mktemp -d) && trap 'rm -rf "$d"' EXIT && tar -C "$d" -xf - && ls "$d"/*.manifest || exit 1
drop() { influx -execute "drop database \"$1\""; }
while [ $# -gt 0 ]; do
  n=$1 try=$1__ckbackup has=no
  if cat "$d"/*.manifest | tr -d ' \t\n' | grep -qF "\"database\":\"$(printf %s "$n" | tr -d ' ')\""; then has=yes; fi
  if [ "$2" = drop ]; then
    if [ $has = yes ]; then
      drop "$try" && influxd restore -portable -db "$n" -newdb "$try" "$d" ||
        { drop "$try"; echo "database $n was left as it is" >&2; exit 1; }
    fi
    drop "$n" || exit 1
  fi
  if [ $has = yes ]; then
    influxd restore -portable -db "$n" "$d" || { echo "what was saved of $n is in $try" >&2; exit 1; }
    drop "$try" || exit 1
  else influx -execute "create database \"$n\"" || exit 1; fi
  shift 2
done"#;
    let pairs = databases.iter().flat_map(|(name, is_there)| [*name, if *is_there { "drop" } else { "make" }]);
    owned(&["sh", "-c", script, "sh"]).into_iter().chain(pairs.map(String::from)).collect()
}

/// Asks an InfluxDB, which answers in lines with commas.
pub fn ask_influxdb(query: &str) -> Vec<String> {
    owned(&["influx", "-format", "csv", "-execute", query])
}

/// Asks an InfluxDB for the series of a database.
pub fn count_series(database: &str) -> Vec<String> {
    ask_influxdb(&format!("show series exact cardinality on {}", identifier(database)))
}

/// The sum of the counts in an InfluxDB's answer, the last field of each line.
pub fn sum_of(answer: &str) -> u64 {
    answer.lines().filter_map(|line| line.rsplit(',').next()?.trim().parse::<u64>().ok()).sum()
}

/// The databases in an InfluxDB's answer, without its own, and what a restore that was cut off has left.
pub fn databases_of(answer: &str) -> Vec<String> {
    let name = |line: &str| line.split_once(',').map(|(_, name)| name.trim().to_string());
    let is_users = |name: &String| !["name", "_internal", ""].contains(&name.as_str()) && !name.ends_with(LOADING);
    answer.lines().filter_map(name).filter(is_users).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_names() {
        assert_eq!(identifier("a\"; drop"), "\"a\"\"; drop\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(connection("a'b"), "dbname='a\\'b'");
    }

    #[test]
    fn an_influxdb_lists_its_databases() {
        let answer = "name,name\ndatabases,_internal\ndatabases,metrics\ndatabases,metrics__ckbackup\n";
        assert_eq!(databases_of(answer), ["metrics"]);
        assert_eq!(databases_of(""), Vec::<String>::new());
        assert_eq!(sum_of("name,count\ncpu,3\nmem,4\n"), 7);
    }
}
