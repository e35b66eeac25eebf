//! `--scenario`: sets up a loss, and says what the drill proved about it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::run::{RunArgs, restore_of};
use super::stage::{self, DrillTarget, Staged};
use crate::archive::age::{Identities, opened_of};
use crate::cli::Global;
use crate::cli::restore::sites::{self, Opened};
use crate::cli::shared::IdentityArgs;
use crate::config::{Loss, Name, RestorePlan, Scenario, read_scenario};
use crate::drill::loss::{LostNamespace, StockKeys, open_with_stock_tools, overwrite_a_copy};
use crate::error::{Context, Error, Kind, Result};
use crate::reader::{Committed, verify};
use crate::report::model::{self, CountCheck, Verification, VerificationKind, VerificationOutcome};
use crate::restore::RestoreStatus;
use crate::vault::signature::Signers;

/// A scenario that is being played.
pub(super) struct Play {
    scenario: Option<Scenario>,
    /// What was checked of it.
    pub checks: Vec<Verification>,
}

impl Play {
    /// Reads it, where there is one. What it cannot be played in is refused.
    pub fn begin(args: &RunArgs) -> Result<Play> {
        let mut scenario = args.scenario.as_deref().map(read_scenario).transpose()?;
        if let Some(scenario) = &mut scenario {
            require_target(scenario, args.target)?;
            if let (Loss::Namespace(namespace), Some(given)) = (&mut scenario.loss, &args.namespace) {
                *namespace = given.clone();
            }
        }
        Ok(Play { scenario, checks: Vec::new() })
    }

    fn loss(&self) -> Option<&Loss> {
        self.scenario.as_ref().map(|scenario| &scenario.loss)
    }

    /// The namespace that is lost after the first restore.
    pub fn lost_namespace(&self) -> Option<&Name> {
        match self.loss() {
            Some(Loss::Namespace(namespace)) => Some(namespace),
            _ => None,
        }
    }

    /// The identities that are left. The lost key is not among them.
    pub async fn identities(
        &mut self,
        given: Arc<Identities>,
        chosen: &[Committed],
        args: &RunArgs,
        global: &Global,
    ) -> Result<Arc<Identities>> {
        let Some(Loss::Key(wanted)) = self.loss() else { return Ok(given) };
        let recipients: Vec<String> = chosen.iter().flat_map(|backup| backup.manifest.recipients.clone()).collect();
        let lost = lost_recipient(wanted.as_deref(), &recipients)?;
        let left = match opened_of(std::slice::from_ref(&lost), &given).is_empty() {
            true => given,
            false => without(&lost, args, global).await?,
        };
        let opens = opened_of(&recipients, &left);
        if opens.is_empty() {
            return Err(Error::new(Kind::NoIdentity, format!("without {lost}, no given identity opens the backup"))
                .hint("give --identity FILE of another recipient, such as that in escrow"));
        }
        let counts = vec![
            CountCheck { name: format!("identities that open {lost}"), expected: 0, found: Some(0) },
            CountCheck {
                name: format!("backups that {} opens", opens.join(", ")),
                expected: chosen.len() as u64,
                found: None,
            },
        ];
        self.checks.push(Verification {
            counts,
            ..Verification::new(KEY, VerificationKind::Check, VerificationOutcome::NotExercised)
        });
        Ok(left)
    }

    /// What is tried before anything is restored.
    pub async fn before(
        &mut self,
        plan: &Arc<RestorePlan>,
        opened: &[Opened],
        signers: Option<&Signers>,
        args: &RunArgs,
        global: &Global,
    ) -> Result<()> {
        match self.loss() {
            Some(Loss::Tool) => {
                for opened in opened {
                    let scratch = scratch("stock-tools", global)?;
                    let keys = StockKeys {
                        identities: args.opening.identity.files(global),
                        signers: args.opening.trust.file(global),
                    };
                    let checked = global.stoppable(open_with_stock_tools(&opened.backup, &keys, &scratch)).await;
                    discard(&scratch)?;
                    self.checks.push(checked?);
                }
            }
            Some(Loss::Vault) => {
                let scratch = scratch("overwritten", global)?;
                let checked = overwritten(plan, opened, signers, &scratch, args, global).await;
                discard(&scratch)?;
                self.checks.extend(checked?);
            }
            Some(Loss::Key(_)) => {
                // They were opened, or this would not be reached.
                for check in self.checks.iter_mut().filter(|check| check.subject == KEY) {
                    let count = opened.len() as u64;
                    check.counts.iter_mut().filter(|c| c.found.is_none()).for_each(|c| c.found = Some(count));
                    check.outcome = VerificationOutcome::Passed;
                    (check.compared, check.equal) = (2, 2);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Loses a namespace of what was restored.
    pub async fn lose(&self, staged: &Staged) -> Result<Option<LostNamespace>> {
        let Some(namespace) = self.lost_namespace() else { return Ok(None) };
        match holder(staged, namespace).await? {
            Some(at) => match &staged.clusters[at] {
                Some(cluster) => LostNamespace::delete(cluster, namespace.as_str()).await.map(Some),
                None => Ok(None),
            },
            None => Err(Error::usage(format!("namespace {namespace} was not restored, so it cannot be lost"))
                .hint("name a namespace of the backup in the scenario, or give --namespace NAME")),
        }
    }

    /// Whether it came back.
    pub async fn found(&mut self, lost: &LostNamespace, staged: &Staged) -> Result<()> {
        let Some(namespace) = self.lost_namespace().cloned() else { return Ok(()) };
        let at = holder(staged, &namespace).await?.unwrap_or_default();
        if let Some(Some(cluster)) = staged.clusters.get(at) {
            self.checks.push(lost.check(cluster).await?);
        }
        Ok(())
    }

    /// For the report. Where something differs, nothing is proved.
    pub fn scenario(&self, is_good: bool) -> Option<model::Scenario> {
        let scenario = self.scenario.as_ref()?;
        let proved = if is_good { proves(&scenario.loss) } else { String::new() };
        let lost = scenario.description.clone().unwrap_or_else(|| lost(&scenario.loss));
        Some(model::Scenario { name: scenario.name.to_string(), lost, proved })
    }
}

const KEY: &str = "the backup, opened without the lost key";

fn require_target(scenario: &Scenario, target: DrillTarget) -> Result<()> {
    let is_thrown_away = target == DrillTarget::Sandbox;
    match scenario.loss {
        Loss::Namespace(_) | Loss::Vault if !is_thrown_away => {
            Err(Error::usage(format!("scenario {} is played in a sandbox only", scenario.name))
                .hint("give --target sandbox: it deletes, or restores what is damaged"))
        }
        _ => Ok(()),
    }
}

/// Which of the staged clusters has a namespace.
async fn holder(staged: &Staged, namespace: &Name) -> Result<Option<usize>> {
    for (at, cluster) in staged.clusters.iter().enumerate() {
        if let Some(cluster) = cluster
            && LostNamespace::is_in(cluster, namespace.as_str()).await?
        {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

fn lost_recipient(wanted: Option<&str>, recipients: &[String]) -> Result<String> {
    match (wanted, recipients.first()) {
        (None, Some(first)) => Ok(first.clone()),
        (Some(wanted), _) if recipients.iter().any(|recipient| recipient == wanted) => Ok(wanted.into()),
        (wanted, _) => Err(Error::usage(format!("the backup is not for {}", wanted.unwrap_or("anybody")))
            .hint("name one of its recipients in the scenario; `ckbackup show` lists them")),
    }
}

/// The identities of all files but those that hold the lost key.
async fn without(lost: &str, args: &RunArgs, global: &Global) -> Result<Arc<Identities>> {
    let mut left = Vec::new();
    for file in args.opening.identity.files(global) {
        let alone = IdentityArgs { identities: vec![file.clone()] };
        let opens = opened_of(&[lost.to_string()], alone.require(global).await?.as_ref());
        match opens.is_empty() {
            true => left.push(file),
            false => global.note(format!("{} holds the key that is taken as lost, and is not used", file.display())),
        }
    }
    if left.is_empty() {
        return Err(Error::new(Kind::NoIdentity, "every given identity is of the key that is taken as lost")
            .hint("give --identity FILE of another recipient, such as that in escrow"));
    }
    IdentityArgs { identities: left }.require(global).await
}

/// A copy of the first backup is damaged, verified and restored from, in a sandbox of its own.
async fn overwritten(
    plan: &Arc<RestorePlan>,
    opened: &[Opened],
    signers: Option<&Signers>,
    scratch: &Path,
    args: &RunArgs,
    global: &Global,
) -> Result<Vec<Verification>> {
    let mut damaged = Vec::new();
    let mut checks = Vec::new();
    for (at, sound) in opened.iter().enumerate() {
        let backup = &sound.backup;
        let folder = scratch.join(at.to_string());
        let copy = overwrite_a_copy(backup.vault(), backup.folder(), &backup.manifest, &folder);
        let copy = global.stoppable(copy).await.context(|| "make a copy of the backup to damage".into())?;
        let progress = global.progress();
        let found = verify(&copy.vault, copy.committed(signers).await?, signers, None, progress.as_ref());
        checks.push(copy.found_by(&global.stoppable(found).await?));
        let opened = match copy.committed(signers).await {
            Ok(committed) => sites::open(&copy.vault, committed, backup.identities()).await,
            Err(e) => Err(e),
        };
        match opened {
            Ok(opened) => damaged.push((copy, opened)),
            Err(e) => checks.push(copy.refused(Err(e))),
        }
    }
    if damaged.len() < opened.len() {
        return Ok(checks);
    }
    let (copies, damaged): (Vec<_>, Vec<_>) = damaged.into_iter().unzip();
    let outcome = restore_damaged(plan, &damaged, args, global).await?;
    checks.extend(copies.first().map(|copy| copy.refused(outcome)));
    Ok(checks)
}

async fn restore_damaged(
    plan: &Arc<RestorePlan>,
    damaged: &[Opened],
    args: &RunArgs,
    global: &Global,
) -> Result<Result<(), Error>> {
    let manifests: Vec<_> = damaged.iter().map(|opened| &opened.backup.manifest).collect();
    let staged = stage::set(plan, &manifests, args, global).await?;
    let restored = restore_of(plan, damaged, &staged, Default::default(), args, global).run().await;
    staged.strike(false, global).await?;
    Ok(match restored {
        Err(e) => Err(e),
        Ok(restored) => match restored.broken {
            Some(e) => Err(e),
            None if restored.summary.status == RestoreStatus::Stopped => Err(Error::failed("the restore was stopped")),
            None => Ok(()),
        },
    })
}

fn scratch(name: &str, global: &Global) -> Result<PathBuf> {
    let unique = format!("ckbackup-{name}-{}-{}", std::process::id(), global.now().as_nanosecond());
    let folder = std::env::temp_dir().join(unique);
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
        .create(&folder)
        .context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

fn discard(folder: &Path) -> Result<()> {
    std::fs::remove_dir_all(folder).context(|| format!("remove {}", folder.display()))
}

fn lost(loss: &Loss) -> String {
    match loss {
        Loss::Cluster => "the whole cluster".into(),
        Loss::Namespace(_) => "a namespace, with everything in it".into(),
        Loss::Vault => "objects of the backup, which somebody wrote over".into(),
        Loss::Key(Some(recipient)) => format!("the key of {recipient}"),
        Loss::Key(None) => "the key of the first recipient".into(),
        Loss::Tool => "ckbackup itself".into(),
    }
}

fn proves(loss: &Loss) -> String {
    match loss {
        Loss::Cluster => "The plan brings back what the backup holds into an empty control plane.".into(),
        Loss::Namespace(_) => {
            "The plan brings back a deleted namespace into a cluster that goes on; nothing else was written again.".into()
        }
        Loss::Vault => "Verification finds exactly what was overwritten, nothing is restored from it as if it were sound, and the \
                        backup in the vault restores."
            .into(),
        Loss::Key(_) => "Another key opens the backup, and it was restored with that.".into(),
        Loss::Tool => "The signature, every digest and every member can be had with ssh-keygen, sha256sum, age, zstd and tar alone."
            .into(),
    }
}
