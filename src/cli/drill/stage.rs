//! Where a drill restores to.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::namespace::DrillNamespace;
use super::run::RunArgs;
use crate::cli::Global;
use crate::cluster::{Access, Cluster};
use crate::config::RestorePlan;
use crate::drill::sandbox::{Sandbox, SandboxOptions};
use crate::drill::scratch::require_scratch;
use crate::error::{Context, Error, Result};
use crate::report::model::{Target, TargetKind};
use crate::restore::Stage;
use crate::vault::manifest::Manifest;

/// What is restored into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum DrillTarget {
    /// A control plane of its own.
    #[default]
    Sandbox,
    /// A scratch cluster.
    Context,
    /// A namespace of its own in a living cluster.
    Namespace,
}

/// Where the programs of a control plane are kept where nobody says otherwise, by custom of its users.
const USUAL_ASSETS: &str = "/usr/local/kubebuilder/bin";

/// The clusters of a drill, in the order of the plan's targets. What was started ends with this value.
pub(super) struct Staged {
    pub stage: Stage,
    pub clusters: Vec<Option<Cluster>>,
    pub targets: Vec<Target>,
    pub only: Option<DrillNamespace>,
    sandboxes: Vec<Sandbox>,
    folder: Option<PathBuf>,
}

/// Starts or finds them. A context that looks like production is refused.
pub(super) async fn set(
    plan: &RestorePlan,
    manifests: &[&Manifest],
    args: &RunArgs,
    global: &Global,
) -> Result<Staged> {
    match args.target {
        DrillTarget::Sandbox => start(plan, args, global).await,
        DrillTarget::Context => connect(plan, manifests, args, global).await,
        DrillTarget::Namespace => beside(plan, args, global).await,
    }
}

/// The plan's targets; one without a name where it has none.
fn names(plan: &RestorePlan) -> Vec<Option<String>> {
    match plan.targets.is_empty() {
        true => vec![None],
        false => plan.targets.iter().map(|target| Some(target.name.to_string())).collect(),
    }
}

async fn start(plan: &RestorePlan, args: &RunArgs, global: &Global) -> Result<Staged> {
    let named = args.assets.clone().or_else(|| global.variable("KUBEBUILDER_ASSETS").map(PathBuf::from));
    let assets = named.unwrap_or_else(|| USUAL_ASSETS.into());
    let folder =
        std::env::temp_dir().join(format!("ckbackup-drill-{}-{}", std::process::id(), global.now().as_nanosecond()));
    let mut staged = Staged {
        stage: Stage::ControlPlane,
        clusters: vec![],
        targets: vec![],
        only: None,
        sandboxes: vec![],
        folder: Some(folder.clone()),
    };
    let started = start_each(plan, &assets, &folder, &mut staged).await;
    match started {
        Ok(()) => Ok(staged),
        // The error quotes the end of the log, so nothing of what did start is needed any more.
        Err(e) => staged.strike(args.keep, global).await.and(Err(e)),
    }
}

async fn start_each(plan: &RestorePlan, assets: &Path, folder: &Path, staged: &mut Staged) -> Result<()> {
    for (at, name) in names(plan).into_iter().enumerate() {
        if !plan.needs_cluster(at) {
            staged.clusters.push(None);
            continue;
        }
        let called = name.clone().unwrap_or_else(|| "sandbox".into());
        let sandbox = Sandbox::start(SandboxOptions::new(assets, folder.join(&called), called)).await;
        let sandbox = sandbox.map_err(|e| {
            e.within("start the sandbox")
                .hint("set KUBEBUILDER_ASSETS, or give --assets, to a folder with etcd and kube-apiserver")
        })?;
        let access = Access::Kubeconfig { files: vec![sandbox.kubeconfig().to_path_buf()], context: None };
        let cluster = Cluster::connect(access).await?;
        let server_version = Some(cluster.version().await?);
        let place = cluster.server().to_string();
        staged.targets.push(Target { name, kind: TargetKind::Sandbox, place, server_version });
        staged.clusters.push(Some(cluster));
        staged.sandboxes.push(sandbox);
    }
    Ok(())
}

async fn connect(plan: &RestorePlan, manifests: &[&Manifest], args: &RunArgs, global: &Global) -> Result<Staged> {
    let clusters = crate::cli::restore::sites::connect(plan, &args.contexts, &args.cluster, global).await?;
    let mut targets = Vec::new();
    for (name, cluster) in names(plan).into_iter().zip(&clusters) {
        let Some(cluster) = cluster else { continue };
        let server_version = Some(cluster.version().await?);
        require_scratch(cluster, manifests).await?;
        let place = cluster.server().to_string();
        targets.push(Target { name, kind: TargetKind::Context, place, server_version });
    }
    if targets.is_empty() {
        return Err(Error::usage(format!("plan {} needs no cluster: there is nothing to rehearse in one", plan.name)));
    }
    Ok(Staged { stage: Stage::Cluster, clusters, targets, only: None, sandboxes: vec![], folder: None })
}

/// A namespace that is not there yet.
async fn beside(plan: &RestorePlan, args: &RunArgs, global: &Global) -> Result<Staged> {
    let only = DrillNamespace::wanted(args)?;
    let clusters = crate::cli::restore::sites::connect(plan, &args.contexts, &args.cluster, global).await?;
    let Some(Some(cluster)) = clusters.first() else {
        return Err(Error::usage("a drill in a namespace needs a cluster"));
    };
    let server_version = Some(cluster.version().await?);
    only.require_absent(cluster).await?;
    let place = format!("{} in {}", only.there, cluster.server());
    let targets = vec![Target { name: None, kind: TargetKind::Namespace, place, server_version }];
    Ok(Staged { stage: Stage::Namespace, clusters, targets, only: Some(only), sandboxes: vec![], folder: None })
}

impl Staged {
    /// Ends what was started, and throws away what it held; with `keep`, says where that is instead.
    pub async fn strike(mut self, keep: bool, global: &Global) -> Result<()> {
        for sandbox in std::mem::take(&mut self.sandboxes) {
            sandbox.stop().await?;
        }
        if let (Some(only), Some(Some(cluster))) = (&self.only, self.clusters.first()) {
            match keep {
                true => global.note(format!("namespace {} stays in {}", only.there, cluster.server())),
                false => only.remove(cluster).await?,
            }
        }
        let Some(folder) = &self.folder else { return Ok(()) };
        match keep {
            true => global.note(format!("the sandbox's data and logs stay in {}", folder.display())),
            // Where the first one could not even begin, there is none.
            false if !folder.exists() => {}
            false => std::fs::remove_dir_all(folder).context(|| format!("remove {}", folder.display()))?,
        }
        Ok(())
    }
}
