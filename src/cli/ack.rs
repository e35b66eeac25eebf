//! `ckbackup ack`: a manual step of a restore that runs elsewhere is done.

use clap::Args;
use serde::Serialize;

use super::restore::resume::{find, open};
use super::restore::stored_plan::journalled_plan;
use super::shared::{IdentityArgs, PlaceArgs, TrustArgs};
use super::{DONE, Global, Outcome, Output};
use crate::config::{Action, RestorePlan};
use crate::error::{Error, Result};
use crate::restore::{Ack, Answer, Begin, RestoreId, StateFolder, VaultPlace, give_ack, read_journal};

const EXAMPLES: &str = "\
Examples:
  On the machine that restores, on another terminal:
    ckbackup ack 20261121T021500Z-workload-cluster dns
  From another machine, through the vault:
    ckbackup ack 20261121T021500Z-workload-cluster dns --by 'Ada, network' \\
      --vault s3://ck8s-backups/prod --identity identity.txt";

/// Say that a manual step of a restore is done
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct AckArgs {
    /// The restore: the id that it printed when it began, or `latest`
    #[arg(value_name = "RESTORE")]
    pub restore: String,
    /// The step
    #[arg(value_name = "STEP")]
    pub step: String,
    /// Say that it is not done, and will not be
    #[arg(long)]
    pub refuse: bool,
    /// Who says so; the user of this machine unless given
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Where the restore's backup is; not needed on the machine that restores.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Whose signatures are trusted.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// What opens the backup.
    #[command(flatten)]
    pub identity: IdentityArgs,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    restore: String,
    #[serde(flatten)]
    ack: Ack,
}

/// Writes the acknowledgement where the restore looks for it.
pub async fn run(args: &AckArgs, global: &Global) -> Outcome {
    let state = global.state_folder();
    let (id, begin, place) = match here(&args.restore, &state) {
        Some(id) if args.place.location.vault.is_none() => {
            let reading = read_journal(&state, &id, None).await?;
            let begin = reading.map(|reading| reading.begin);
            (id, begin.ok_or_else(|| Error::usage(format!("restore {} has no journal here", args.restore)))?, None)
        }
        _ => in_the_vault(args, &state, global).await?,
    };
    let (plan, _unpacked) = journalled_plan(&begin)?;
    require_manual(&plan, &args.step)?;
    let ack = Ack {
        step: args.step.clone(),
        answer: if args.refuse { Answer::Refused } else { Answer::Done },
        by: args.by.clone().or_else(|| global.variable("USER")).unwrap_or_else(|| "somebody".into()),
        at: global.now(),
    };
    give_ack(&state, &id, place.as_ref(), &ack).await?;
    let given = Given { restore: id.to_string(), ack };
    global.print(&given, |form| human(&given, form))?;
    Ok(DONE)
}

fn here(which: &str, state: &StateFolder) -> Option<RestoreId> {
    let mut known = state.all();
    match which {
        "latest" => known.pop(),
        text => known.into_iter().find(|id| id.as_str() == text),
    }
}

async fn in_the_vault(
    args: &AckArgs,
    state: &StateFolder,
    global: &Global,
) -> Result<(RestoreId, Begin, Option<VaultPlace>)> {
    let identities = args.identity.require(global).await?;
    let signers = args.trust.read(global)?;
    let vault = args.place.open_vault(None, global).await?;
    let (id, begin) = find(&args.restore, state, &vault, &identities).await?;
    let target = begin.targets.first();
    let target = target.ok_or_else(|| Error::integrity(format!("the journal of restore {id} names no backup")))?;
    let opened = open(&vault, target, &identities, signers.as_ref(), global).await?;
    let place = VaultPlace::beside(&opened.backup)?;
    let reading = read_journal(state, &id, place.as_ref()).await?;
    Ok((id, reading.map_or(begin, |reading| reading.begin), place))
}

fn require_manual(plan: &RestorePlan, step: &str) -> Result<()> {
    let manual: Vec<&str> = plan
        .steps
        .iter()
        .filter(|step| matches!(step.action, Action::Manual(_)))
        .map(|step| step.name.as_str())
        .collect();
    match manual.contains(&step) {
        true => Ok(()),
        false => Err(Error::usage(format!("plan {} has no manual step {step}", plan.name))
            .hint(format!("it has: {}", if manual.is_empty() { "none".into() } else { manual.join(", ") }))),
    }
}

fn human(given: &Given, form: Output) -> String {
    let (step, restore, by) = (&given.ack.step, &given.restore, &given.ack.by);
    match (form, given.ack.answer) {
        (Output::Name, _) => format!("{step}\n"),
        (_, Answer::Done) => format!("step {step} of restore {restore} is done, says {by}\n"),
        (_, Answer::Refused) => format!("step {step} of restore {restore} is refused by {by}\n"),
    }
}
