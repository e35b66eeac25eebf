//! `schedule`: when runs come.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use serde::Serialize;

use super::table::Table;
use super::{DONE, Global, Outcome, Output, words};
use crate::clock::{Clock, SystemClock};
use crate::config::{Name, Schedule, Window, read_schedule};
use crate::error::Result;
use crate::scheduler::{Night, Timing};

const EXAMPLES: &str = "\
Examples:
  ckbackup schedule next -f schedules/nightly.yaml
  ckbackup schedule next -f schedules/nightly.yaml --from 2027-03-25T12:00:00Z --count 7";

/// Show what a schedule means in time
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ScheduleArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Next(NextArgs),
}

/// Show the coming runs, in the schedule's time zone and in UTC, with clock changes
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct NextArgs {
    /// The schedule
    #[arg(short = 'f', long = "file", value_name = "SCHEDULE")]
    schedule: PathBuf,
    /// How many runs
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=3660))]
    count: u16,
    /// From this moment on, such as 2027-03-25T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Which schedule, when the file holds several
    #[arg(long)]
    name: Option<Name>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    schedule: String,
    cluster: String,
    window: String,
    time_zone: String,
    runs: Vec<Run>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    /// The local date on which the window opens.
    night: String,
    starts: Timestamp,
    starts_local: String,
    opens: Timestamp,
    closes: Timestamp,
    closes_local: String,
    /// Length of the window.
    seconds: i64,
    /// How much longer than usual; negative when the clocks go forward.
    clock_change_seconds: i64,
}

pub(super) fn run(args: &ScheduleArgs, global: &Global) -> Outcome {
    let What::Next(args) = &args.what;
    let schedule = read_schedule(&args.schedule, args.name.as_ref().map(Name::as_str))?;
    let timing = Timing::of(&schedule)?;
    let report = report(&schedule, &timing, args)?;
    global.print(&report, |form| human(&report, timing.window(), form))?;
    Ok(DONE)
}

fn report(schedule: &Schedule, timing: &Timing, args: &NextArgs) -> Result<Report> {
    let window = timing.window();
    let from = args.from.unwrap_or_else(|| SystemClock.now());
    let mut night = Night::at_or_after(window, from)?;
    // What should have started already is for the vault to say.
    if timing.start_of(&night) < from {
        night = night.next(window)?;
    }
    let mut runs = Vec::new();
    for _ in 0..args.count {
        runs.push(describe(&night, timing));
        night = night.next(window)?;
    }
    Ok(Report {
        schedule: schedule.name.to_string(),
        cluster: schedule.cluster.to_string(),
        window: window.to_string(),
        time_zone: window.zone_name.clone(),
        runs,
    })
}

fn describe(night: &Night, timing: &Timing) -> Run {
    let window = timing.window();
    let starts = timing.start_of(night);
    Run {
        night: night.date.to_string(),
        starts,
        starts_local: local(starts, &window.time_zone).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        opens: night.opens,
        closes: night.closes,
        closes_local: local(night.closes, &window.time_zone).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        seconds: night.length().as_secs(),
        clock_change_seconds: night.clock_change(window).as_secs(),
    }
}

fn local(time: Timestamp, zone: &TimeZone) -> Zoned {
    time.to_zoned(zone.clone())
}

fn human(report: &Report, window: &Window, form: Output) -> String {
    if form == Output::Name {
        return report.runs.iter().map(|run| format!("{}\n", run.night)).collect();
    }
    let zone = &report.time_zone;
    let (starts, closes) = (format!("STARTS ({zone})"), format!("CLOSES ({zone})"));
    let mut table = Table::new(&["NIGHT", &starts, "STARTS (UTC)", &closes, ""]);
    for run in &report.runs {
        let shown = |time: Timestamp| local(time, &window.time_zone).strftime("%Y-%m-%d %H:%M:%S").to_string();
        let row = [run.night.clone(), shown(run.starts), run.starts.to_string(), shown(run.closes), note(run)];
        table.row(row);
    }
    format!("Window {} of {}, schedule {}\n\n{table}", report.window, report.cluster, report.schedule)
}

fn note(run: &Run) -> String {
    let change = SignedDuration::from_secs(run.clock_change_seconds);
    let length = words::whole_span(run.seconds.unsigned_abs());
    let by = words::whole_span(change.as_secs().unsigned_abs());
    match change.is_zero() {
        true => String::new(),
        false if change.is_negative() => format!("clocks go forward by {by}: the window has {length}"),
        false => format!("clocks go back by {by}: the window has {length}"),
    }
}
