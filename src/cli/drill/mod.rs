//! `ckbackup drill`: a rehearsed restore, compared and reported.

mod alarm;
mod namespace;
mod run;
mod scenario;
mod stage;
pub(super) mod used;

use clap::{Args, Subcommand};

use super::{Global, Outcome};

const EXAMPLES: &str = "\
Examples:
  The newest backup, into a control plane that is thrown away after:
    ckbackup drill run -f restore-plans/workload-cluster.yaml --target sandbox --report-dir drill \\
      --vault s3://ck8s-backups/prod --identity identity.txt --signers allowed_signers --attest drill_key
  Into a cluster of its own, whose namespace kube-system carries the label ckbackup.io/scratch=true:
    ckbackup drill run -f restore-plans/full-platform.yaml --target context --context scratch --report-dir drill …
  One namespace, beside itself in a living cluster, where nothing of it runs:
    ckbackup drill run -f restore-plans/workload-cluster.yaml --target namespace --namespace harbor --context prod …
  What if the key of the engineers on call is lost?
    ckbackup drill run --scenario scenarios/on-call-key-lost.yaml -f restore-plans/default.yaml …";

/// Rehearse a restore, compare what came back, and write a report
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DrillArgs {
    #[command(subcommand)]
    verb: DrillVerb,
}

#[derive(Debug, Subcommand)]
enum DrillVerb {
    /// Restore the newest backup into a scratch target, compare, and report
    Run(Box<run::RunArgs>),
}

/// Does what was asked for.
pub async fn run(args: &DrillArgs, global: &Global) -> Outcome {
    match &args.verb {
        DrillVerb::Run(args) => run::run(args, global).await,
    }
}
