//! `ckbackup drill run`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::alarm;
use super::namespace::DrillNamespace;
use super::scenario::Play;
use super::stage::{self, DrillTarget, Staged};
use super::used::{backup_used, keys};
use crate::archive::age::opened_of;
use crate::cli::diff::stored_scopes;
use crate::cli::restore::begin::{learn, refuse_unanswered};
use crate::cli::restore::report::refuse_folder;
use crate::cli::restore::sites::{self, Opened};
use crate::cli::restore::{live, person};
use crate::cli::shared::{ActionsArgs, AttestArgs, ClusterArgs, OpeningArgs, PeopleArgs};
use crate::cli::words::{count, span};
use crate::cli::{DONE, Global, Outcome, Output};
use crate::clock::SystemClock;
use crate::config::{self, Conflict, CorrectiveAction, Name, RestorePlan};
use crate::drill::comparison::{Difference, Way, with_cluster};
use crate::drill::report::{Account, report};
use crate::error::{Context, Kind, Result};
use crate::reader::{Counted, append_record, attest};
use crate::report::model::{
    ErasureStatus, ExerciseKind, ExerciseReport, Proved, TargetKind, Verdict, VerificationKind, VerificationOutcome,
};
use crate::report::{Report, actions_at, record_of, write_folder};
use crate::restore::{Earlier, Experience, Journal, Restore, RestoreStatus, Restored, Site};
use crate::vault::attestation::Level;
use crate::vault::signature::Signer;

/// Which plan, into what, from which backup.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The plan's file
    #[arg(short = 'f', long = "file", value_name = "PLAN")]
    pub file: PathBuf,
    /// Which of the file's plans
    #[arg(long, value_name = "NAME")]
    pub plan: Option<String>,
    /// Where to: sandbox, a control plane that is thrown away; context, a scratch cluster; namespace, one of its own in a living cluster
    #[arg(long, value_enum, default_value_t, value_name = "TARGET", hide_possible_values = true)]
    pub target: DrillTarget,
    /// The context of one of the plan's targets: NAME=CONTEXT; again for each
    #[arg(long = "target-context", value_name = "NAME=CONTEXT", help_heading = "Cluster")]
    pub contexts: Vec<String>,
    /// What is lost, as a file says: of kind Scenario
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// The namespace of the backup that is restored beside itself, with --target namespace; or that a scenario loses
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<Name>,
    /// The folder with etcd and kube-apiserver for the sandbox [env: KUBEBUILDER_ASSETS]
    #[arg(long, value_name = "DIR")]
    pub assets: Option<PathBuf>,
    /// Keep the sandbox's data and logs, or the drill's namespace
    #[arg(long)]
    pub keep: bool,
    /// Write the report into this folder: JSON, signed where --attest is given, HTML, Markdown and JUnit
    #[arg(long, value_name = "DIR", help_heading = "Report")]
    pub report_dir: Option<PathBuf>,
    /// What is still to be done, for the report.
    #[command(flatten)]
    pub actions: ActionsArgs,
    /// The backup: an id, or the newest complete one whose signature holds; for a plan with several targets: NAME=ID
    #[arg(long, value_name = "ID", default_value = "latest")]
    pub backup: Vec<String>,
    /// Manual steps are shown and taken as done; a sandbox asks nobody
    #[arg(short, long)]
    pub yes: bool,
    /// Who was there.
    #[command(flatten)]
    pub people: PeopleArgs,
    /// Write what came of it as metrics for a textfile collector
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub metrics_file: Option<PathBuf>,
    /// Where backups are, and what opens them.
    #[command(flatten)]
    pub opening: OpeningArgs,
    /// Who signs what was proved.
    #[command(flatten)]
    pub attest: AttestArgs,
    /// Where to, with --target context or namespace.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// What is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<PathBuf>,
    attested: bool,
    report: ExerciseReport,
}

/// Rehearses, compares, reports, and signs what was proved.
pub(super) async fn run(args: &RunArgs, global: &Global) -> Outcome {
    let drilled = drill(args, global).await;
    if let Some(file) = &args.metrics_file {
        let report = drilled.as_ref().ok().map(|(report, _)| report);
        alarm::write(file, args.target, report, global.now())?;
    }
    let (report, attested) = drilled?;
    let told = Told { folder: args.report_dir.clone(), attested, report };
    global.print(&told, |form| human(&told, form))?;
    Ok(match told.report.verdict {
        Verdict::Passed | Verdict::PassedWithGaps => DONE,
        Verdict::Late => Kind::PastRto.exit_code(),
        Verdict::Failed => Kind::Incomplete.exit_code(),
        Verdict::Stopped => Kind::Interrupted.exit_code(),
    })
}

async fn drill(args: &RunArgs, global: &Global) -> Result<(ExerciseReport, bool)> {
    let mut play = Play::begin(args)?;
    let actions = args.actions.read()?;
    let mut plan = config::read_plan(&args.file, args.plan.as_deref())?;
    if args.target == DrillTarget::Namespace {
        plan = DrillNamespace::wanted(args)?.plan(&plan)?;
    }
    let plan = Arc::new(plan);
    let identities = args.opening.identity.require(global).await?;
    let signers = args.opening.trust.read(global)?;
    let signer = args.attest.read_for(signers.as_ref(), global)?;
    refuse_folder(args.report_dir.as_deref())?;
    let (vault, cluster) = args.opening.open(Some(&plan), global).await?;
    let chosen = sites::choose_all(&plan, &vault, &cluster, &args.backup, signers.as_ref(), global).await?;
    let identities = play.identities(identities, &chosen, args, global).await?;
    let mut opened = Vec::new();
    for chosen in chosen {
        opened.push(sites::open(&vault, chosen, identities.clone()).await?);
    }
    let recipients: Vec<String> = opened.iter().flat_map(|opened| opened.backup.manifest.recipients.clone()).collect();
    let used_recipients = opened_of(&recipients, &identities);
    let manifests: Vec<_> = opened.iter().map(|opened| &opened.backup.manifest).collect();
    if args.target != DrillTarget::Sandbox {
        refuse_unanswered(&plan, args.yes)?;
    }
    play.before(&plan, &opened, signers.as_ref(), args, global).await?;
    let staged = stage::set(&plan, &manifests, args, global).await?;
    let experience = learn(&plan, &opened, signers.as_ref(), global).await;
    let rehearsed = rehearse(&plan, opened, &staged, experience, &mut play, args, global).await;
    let struck = staged.strike(args.keep, global).await;
    let rehearsed = rehearsed?;
    struck?;
    finish(&plan, rehearsed, &play, &used_recipients, signer.as_ref(), actions, args, global).await
}

/// A drill that was run, and not yet told.
struct Rehearsed {
    started: Timestamp,
    finished: Timestamp,
    restored: Restored,
    opened: Vec<Opened>,
    targets: Vec<crate::report::model::Target>,
    comparisons: Vec<(String, Result<Difference, String>)>,
}

async fn rehearse(
    plan: &Arc<RestorePlan>,
    opened: Vec<Opened>,
    staged: &Staged,
    experience: Experience,
    play: &mut Play,
    args: &RunArgs,
    global: &Global,
) -> Result<Rehearsed> {
    let mut started = global.now();
    let mut restored = restore_of(plan, &opened, staged, experience.clone(), args, global).run().await?;
    if restored.summary.status == RestoreStatus::Complete
        && let Some(lost) = play.lose(staged).await?
    {
        // The incident is the loss of the namespace; what was there before had to be set up.
        started = global.now();
        restored = restore_of(plan, &opened, staged, experience, args, global).run().await?;
        play.found(&lost, staged).await?;
    }
    let comparisons = match global.cancel.is_cancelled() {
        true => Vec::new(),
        false => compare(plan, &opened, staged, global).await?,
    };
    let targets = staged.targets.clone();
    Ok(Rehearsed { started, finished: global.now(), restored, opened, targets, comparisons })
}

/// A restore of the opened backups into what is staged, whose incident begins now.
pub(super) fn restore_of(
    plan: &Arc<RestorePlan>,
    opened: &[Opened],
    staged: &Staged,
    experience: Experience,
    args: &RunArgs,
    global: &Global,
) -> Restore {
    let sites = opened
        .iter()
        .zip(&staged.clusters)
        .map(|(opened, cluster)| Site { backup: opened.backup.clone(), cluster: cluster.clone() });
    Restore {
        plan: plan.clone(),
        sites: sites.collect(),
        conflict: Conflict::default(),
        webhooks: None,
        storage: global.store_settings(),
        dry_run: false,
        stage: Some(staged.stage),
        left_out: Default::default(),
        incident_start: global.now(),
        clock: Arc::new(SystemClock),
        operator: Arc::new(person::Person::new(args.yes, None)),
        journal: Arc::new(Journal::none(global.progress())),
        earlier: Earlier::default(),
        experience,
        progress: global.progress(),
        watcher: live::watcher(global),
        cancel: global.cancel.clone(),
    }
}

/// Compares every backup with the cluster that it was restored into.
async fn compare(
    plan: &Arc<RestorePlan>,
    opened: &[Opened],
    staged: &Staged,
    global: &Global,
) -> Result<Vec<(String, Result<Difference, String>)>> {
    let mut comparisons = Vec::new();
    for (target, (opened, cluster)) in opened.iter().zip(&staged.clusters).enumerate() {
        let of = opened.backup.manifest.cluster.clone();
        let Some(cluster) = cluster else {
            comparisons.push((of, Err("the plan needs no cluster".into())));
            continue;
        };
        let scopes = stored_scopes(&opened.backup).await?;
        let progress = global.progress();
        let only = staged.only.as_ref().map(|only| only.of.to_string());
        let way = Way { stage: Some(staged.stage), only, ..Way::by(plan, target) };
        let compared = tokio::select! {
            biased;
            () = global.cancel.cancelled() => Err("the drill was stopped".to_string()),
            compared = with_cluster(&opened.backup, cluster, &scopes, way, progress.as_ref()) => Ok(compared?),
        };
        comparisons.push((of, compared));
    }
    Ok(comparisons)
}

#[allow(clippy::too_many_arguments, reason = "each stands in the report")]
async fn finish(
    plan: &RestorePlan,
    rehearsed: Rehearsed,
    play: &Play,
    recipients: &[String],
    signer: Option<&Signer>,
    actions: Vec<CorrectiveAction>,
    args: &RunArgs,
    global: &Global,
) -> Result<(ExerciseReport, bool)> {
    let Rehearsed { started, finished, restored, opened, targets, comparisons } = rehearsed;
    let all: Vec<&Opened> = opened.iter().collect();
    let mut report = report(Account {
        kind: ExerciseKind::Drill,
        id: format!("{}-drill-{}", started.strftime("%Y%m%dT%H%M%SZ"), plan.name),
        scenario: play.scenario(false),
        plan,
        summary: &restored.summary,
        started,
        finished,
        targets,
        people: args.people.people(global),
        backups: opened.iter().map(|opened| backup_used(opened, started)).collect(),
        manifests: opened.iter().map(|opened| &opened.backup.manifest).collect(),
        keys: keys(&all, recipients, signer),
        comparisons,
        checks: play.checks.clone(),
        actions: actions_at(actions, finished),
    })?;
    report.scenario = play.scenario(report.verdict.is_good());
    if args.target == DrillTarget::Namespace && args.keep {
        report.erasure.status = ErasureStatus::NotInPlan;
        report.erasure.note = Some("the namespace of the drill was kept".into());
    }
    if let Some(dir) = &args.report_dir {
        write_folder(&Report::Exercise(Box::new(report.clone())), dir, signer)?;
    }
    let attested = match signer {
        Some(signer) => sign(&report, plan, &opened, signer, global).await?,
        None => false,
    };
    if let Some(e) = restored.broken {
        return Err(e.within("not all of the backup could be read"));
    }
    Ok((report, attested))
}

/// Records the drill, and attests every backup that came back whole.
async fn sign(
    report: &ExerciseReport,
    plan: &RestorePlan,
    opened: &[Opened],
    signer: &Signer,
    global: &Global,
) -> Result<bool> {
    // One namespace says nothing of the rest of the backup.
    let is_whole = report.targets.iter().all(|target| target.kind != TargetKind::Namespace);
    let is_proved = report.verdict.is_good() && is_whole;
    let mut attested = 0;
    for opened in opened {
        let (backup, at) = (&opened.backup, global.now());
        let cluster = &backup.manifest.cluster;
        let body = record_of(report)?;
        append_record(backup.vault(), signer, cluster, &plan.name, at, body)
            .await
            .context(|| "record the drill".into())?;
        // Its own objects must have come back: what was not exercised proves nothing.
        let own = report.verifications.iter().find(|v| v.kind == VerificationKind::Objects && v.subject == *cluster);
        let equal = own.filter(|own| own.outcome == VerificationOutcome::Passed).map_or(0, |own| own.equal);
        if !is_proved || equal == 0 {
            continue;
        }
        attested += 1;
        let objects = backup.manifest.sources.iter().filter(|source| source.kind == "kubernetes");
        let counted = Counted { objects: equal, bytes: objects.map(|source| source.bytes).sum(), members: Some(equal) };
        let digest = opened.digest;
        attest(backup.vault(), backup.folder(), digest, signer, Level::Restored, counted, at).await?;
    }
    Ok(attested == opened.len())
}

/// How far the components were proved, the best first: `9 restored, 4 readable, 3 not covered`.
fn levels(report: &ExerciseReport) -> String {
    let of = |level: Proved| report.coverage.iter().filter(|row| row.proved == level).count();
    let levels = Proved::ALL.into_iter().rev().map(|level| (of(level), level.words()));
    let named: Vec<_> = levels.filter(|(rows, _)| *rows > 0).map(|(rows, words)| format!("{rows} {words}")).collect();
    named.join(", ")
}

fn human(told: &Told, form: Output) -> String {
    let report = &told.report;
    if form == Output::Name {
        return format!("{}\n", report.id);
    }
    let mut text = String::new();
    for backup in &report.backups {
        let age = span(backup.age_seconds);
        text.push_str(&format!("backup {} of {}, {age} old\n", backup.id, backup.cluster));
    }
    for it in &report.verifications {
        text.push_str(&format!(
            "{}: {}: {} compared, {} equal, {} missing, {} changed, {} extra\n",
            it.subject,
            it.outcome.words(),
            count(it.compared),
            count(it.equal),
            count(it.missing),
            count(it.changed),
            count(it.extra)
        ));
    }
    text.push_str(&format!("components: {}\n", levels(report)));
    let (took, limit) = (span(report.clock.achieved_seconds), span(report.clock.rto_seconds));
    text.push_str(&format!("{}: restored in {took} of {limit}\n", report.verdict.words()));
    for failure in report.not_restored.iter().take(10) {
        text.push_str(&format!("  not restored: {}: {}\n", failure.what, failure.why));
    }
    match (&told.folder, told.attested) {
        (Some(folder), _) => text.push_str(&format!("report: {}\n", folder.join("report.html").display())),
        (None, _) => text.push_str("no report was written; --report-dir DIR writes one\n"),
    }
    text
}
