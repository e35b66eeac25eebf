//! The command line: one file for each verb, with its arguments beside its function.
//!
//! Only this part of the crate prints, reads the environment and decides on exit codes. Standard output carries results
//! and nothing else; progress, notes, warnings and errors go to standard error.

mod ack;
mod backup;
mod choose;
mod completion;
mod demo;
mod diff;
mod drill;
mod extract;
mod global;
mod json_log;
mod keygen;
mod list;
mod man;
mod metrics_file;
mod obstacles;
mod output;
mod plan;
mod progress;
mod proof_report;
mod rbac;
mod record;
mod report;
mod restore;
mod rotate;
mod schedule;
mod scheduler;
mod screen;
mod shared;
mod show;
mod start;
mod table;
mod telemetry;
mod validate;
mod verify;
mod window;
mod witness;

use clap::{ArgAction, Args, Parser, Subcommand};

pub use self::global::Global;
pub use self::output::Output;
pub use self::start::main;
pub use self::telemetry::LogFormat;
use crate::error::Result;
use crate::words;

/// What a verb came to: the exit code, or the failure that decides it.
pub type Outcome = Result<u8>;

/// The exit code of success.
pub const DONE: u8 = 0;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed; `diff`: there are differences
  2    wrong usage or configuration
  3    finished, but something is missing (partial backup, objects not restored)
  4    restored, but later than the recovery time objective allows
  5    integrity: a signature, a digest or a decryption did not verify
  6    the backup window is not open
  7    another run holds the lease
  8    no given identity opens this backup
  130  interrupted

Begin with `ckbackup demo`, which needs no cluster, or with `ckbackup keygen`.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "ckbackup", version, about, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    verb: Verb,
}

/// Options that every verb has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct Options {
    /// How results are printed: table, wide, json, yaml or name
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORM", hide_possible_values = true)]
    output: Output,
    /// No progress; results, warnings and errors only
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say more about what is done; again for still more (CKBACKUP_LOG sets it in detail)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// The form of the log, and with `json` of all that goes to standard error: text or json
    /// [env: CKBACKUP_LOG_FORMAT]
    #[arg(long, global = true, value_enum, value_name = "FORM", hide_possible_values = true)]
    log_format: Option<LogFormat>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Keygen(keygen::KeygenArgs),
    Validate(validate::ValidateArgs),
    Backup(backup::BackupArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Verify(verify::VerifyArgs),
    Extract(extract::ExtractArgs),
    Diff(diff::DiffArgs),
    Restore(Box<restore::RestoreArgs>),
    Ack(ack::AckArgs),
    Plan(plan::PlanArgs),
    Drill(drill::DrillArgs),
    Rotate(rotate::RotateArgs),
    Report(report::ReportArgs),
    Rbac(rbac::RbacArgs),
    Schedule(schedule::ScheduleArgs),
    Scheduler(scheduler::SchedulerArgs),
    Demo(demo::DemoArgs),
    Completion(completion::CompletionArgs),
    Man(man::ManArgs),
}

impl Verb {
    /// What a run of it is called in the log, where it is one that is looked for there. The scheduler's runs are its
    /// backups.
    fn run_name(&self) -> Option<&'static str> {
        match self {
            Verb::Backup(_) => Some("backup"),
            Verb::Verify(_) => Some("verify"),
            Verb::Restore(_) => Some("restore"),
            Verb::Drill(_) => Some("drill"),
            Verb::Rotate(_) => Some("rotate"),
            _ => None,
        }
    }
}

/// Does what was asked for. Verbs that write stop by themselves when they are interrupted; the others are just left.
async fn dispatch(verb: Verb, global: &Global) -> Outcome {
    match verb {
        Verb::Keygen(args) => keygen::run(&args, global),
        Verb::Validate(args) => validate::run(&args, global),
        Verb::Backup(args) => backup::run(&args, global).await,
        Verb::List(args) => global.stoppable(list::run(&args, global)).await,
        Verb::Show(args) => global.stoppable(show::run(&args, global)).await,
        Verb::Verify(args) => global.stoppable(verify::run(&args, global)).await,
        Verb::Extract(args) => extract::run(&args, global).await,
        Verb::Diff(args) => global.stoppable(diff::run(&args, global)).await,
        Verb::Restore(args) => restore::run(&args, global).await,
        Verb::Ack(args) => global.stoppable(ack::run(&args, global)).await,
        Verb::Drill(args) => drill::run(&args, global).await,
        Verb::Plan(args) => global.stoppable(plan::run(&args, global)).await,
        Verb::Rotate(args) => rotate::run(&args, global).await,
        Verb::Scheduler(args) => scheduler::run(&args, global).await,
        Verb::Report(args) => global.stoppable(report::run(&args, global)).await,
        Verb::Rbac(args) => rbac::run(&args, global),
        Verb::Schedule(args) => schedule::run(&args, global),
        Verb::Demo(args) => demo::run(&args, global).await,
        Verb::Completion(args) => completion::run(&args),
        Verb::Man(args) => man::run(&args, global),
    }
}
