//! `ckbackup plan`: is a plan as it should be, how long does it take, what does it look like?

mod check;
mod graph;
mod looked_at;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::shared::OpeningArgs;
use super::{Global, Outcome};

const EXAMPLES: &str = "\
Examples:
  Is it sound, and does it take all that the newest backup holds?
    ckbackup plan check -f restore-plans/workload-cluster.yaml --vault s3://ck8s-backups/prod --identity identity.txt
  When would each step begin and end?
    ckbackup plan show -f restore-plans/workload-cluster.yaml
  A picture, with the steps that decide when all is done marked:
    ckbackup plan graph -f restore-plans/workload-cluster.yaml --format svg > plan.svg";

/// Check a restore plan, show how long it takes, or draw it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PlanArgs {
    #[command(subcommand)]
    verb: PlanVerb,
}

#[derive(Debug, Subcommand)]
enum PlanVerb {
    /// Check a plan, and with a vault, whether it takes all that the backup holds
    Check(LookArgs),
    /// Show each step with its estimate, and when all would be done
    Show(LookArgs),
    /// Draw the steps as a graph: as text, for Graphviz, or as a picture
    Graph(graph::GraphArgs),
}

/// Which plan; and where the backup is that it is looked at with, if it is.
#[derive(Debug, Clone, Default, Args)]
pub struct LookArgs {
    /// The plan's file
    #[arg(short = 'f', long = "file", value_name = "PLAN")]
    pub file: PathBuf,
    /// Which of the file's plans
    #[arg(long, value_name = "NAME")]
    pub plan: Option<String>,
    /// The backup that it is looked at with: an id, or the newest complete one; used with --vault
    #[arg(long, value_name = "ID", default_value = "latest")]
    pub backup: Vec<String>,
    /// Where backups are, and what opens them.
    #[command(flatten)]
    pub opening: OpeningArgs,
}

/// Does what was asked for.
pub async fn run(args: &PlanArgs, global: &Global) -> Outcome {
    match &args.verb {
        PlanVerb::Check(args) => check::run(args, global).await,
        PlanVerb::Show(args) => show::run(args, global).await,
        PlanVerb::Graph(args) => graph::run(args, global).await,
    }
}
