//! Arguments that several verbs have: which vault, whom to trust, with which key, which cluster.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use age::cli_common::UiCallbacks;
use clap::Args;
use url::Url;

use super::Global;
use crate::archive::age::Identities;
use crate::cluster::Access;
use crate::config::{self, ClusterName, CorrectiveAction, RestorePlan, Schedule, VaultLocation};
use crate::error::{Context, Error, Kind, Result};
use crate::report::model::People;
use crate::vault::Vault;
use crate::vault::signature::{Purpose, Signer, Signers};

/// Where backups are: a vault, and a cluster in it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Vault")]
pub struct PlaceArgs {
    /// The vault.
    #[command(flatten)]
    pub location: LocationArgs,
    /// The cluster; not needed when the vault holds only one
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<ClusterName>,
}

/// Where a vault is.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Vault")]
pub struct LocationArgs {
    /// The vault: s3://bucket/folder, gs://…, az://…, file:///folder or a path [env: CKBACKUP_VAULT]
    #[arg(long, value_name = "URL")]
    pub vault: Option<String>,
    /// The server of an s3:// or az:// vault that is not the provider's own
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// The region of the vault, where the storage needs one
    #[arg(long)]
    pub region: Option<String>,
    /// Take an endpoint without TLS
    #[arg(long)]
    pub allow_http: bool,
}

/// Where backups are, for verbs that can take it from a schedule.
#[derive(Debug, Clone, Default, Args)]
pub struct VaultArgs {
    /// Where backups are.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Take vault and cluster from this schedule
    #[arg(short = 'f', long = "file", value_name = "SCHEDULE", help_heading = "Vault")]
    pub schedule: Option<PathBuf>,
}

impl VaultArgs {
    /// Opens the vault; also says which cluster is meant.
    pub async fn open(&self, global: &Global) -> Result<(Vault, String)> {
        self.place.open(self.schedule.as_deref(), global).await
    }
}

impl PlaceArgs {
    /// Opens the vault; what is not given is taken from the schedule, then from the environment.
    pub async fn open(&self, schedule: Option<&Path>, global: &Global) -> Result<(Vault, String)> {
        let schedule = schedule.map(|file| config::read_schedule(file, None)).transpose()?;
        let vault = self.location.open(schedule.as_ref(), global).await?;
        let cluster = match self.cluster.as_ref().or(schedule.as_ref().map(|s| &s.cluster)) {
            Some(name) => name.to_string(),
            None => only_cluster(&vault).await?,
        };
        Ok((vault, cluster))
    }

    /// The vault alone, for whoever knows the cluster, or asks for several.
    pub async fn open_vault(&self, schedule: Option<&Path>, global: &Global) -> Result<Vault> {
        let schedule = schedule.map(|file| config::read_schedule(file, None)).transpose()?;
        self.location.open(schedule.as_ref(), global).await
    }
}

impl LocationArgs {
    /// Opens the vault; what is not given is taken from the schedule, then from the environment.
    pub async fn open(&self, schedule: Option<&Schedule>, global: &Global) -> Result<Vault> {
        let location = self.location(schedule, global.variable("CKBACKUP_VAULT"))?;
        Vault::open(&location, &global.store_settings()).await
    }

    fn location(&self, schedule: Option<&Schedule>, variable: Option<String>) -> Result<VaultLocation> {
        let mut location = match (&self.vault, schedule, variable) {
            (Some(text), _, _) => parse_location(text)?,
            (None, Some(schedule), _) => schedule.vault.clone(),
            (None, None, Some(text)) => parse_location(&text).map_err(|e| e.within("use CKBACKUP_VAULT"))?,
            (None, None, None) => {
                return Err(
                    Error::usage("no vault is named").hint("give --vault URL, or -f SCHEDULE, or set CKBACKUP_VAULT")
                );
            }
        };
        location.allow_http |= self.allow_http;
        location.region = self.region.clone().or(location.region);
        if let Some(text) = &self.endpoint {
            location.endpoint = Some(endpoint(text, location.allow_http)?);
        }
        Ok(location)
    }
}

fn endpoint(text: &str, allow_http: bool) -> Result<Url> {
    if text.starts_with("http://") && !allow_http {
        return Err(Error::usage(format!("{text} speaks without TLS"))
            .hint("write https://, or give --allow-http where the network itself is trusted"));
    }
    config::parse_endpoint(text, allow_http)
}

/// A URL, or a folder's path.
fn parse_location(text: &str) -> Result<VaultLocation> {
    if text.contains("://") {
        return VaultLocation::parse(text);
    }
    let whole = std::path::absolute(text).map_err(|e| Error::usage(format!("{text:?} is no path")).because(e))?;
    VaultLocation::in_folder(&whole)
}

async fn only_cluster(vault: &Vault) -> Result<String> {
    let mut clusters = vault.clusters().await?;
    match clusters.len() {
        0 => Err(Error::failed(format!("{} holds no backups yet", vault.shown()))
            .hint("`ckbackup backup -f SCHEDULE --now` takes the first one")),
        1 => Ok(clusters.remove(0)),
        _ => Err(Error::usage(format!("{} holds backups of several clusters", vault.shown()))
            .hint(format!("give --cluster with one of: {}", clusters.join(", ")))),
    }
}

/// Whose signatures are trusted.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Trust")]
pub struct TrustArgs {
    /// Who may have made backups, in the allowed-signers format of ssh-keygen [env: CKBACKUP_SIGNERS_FILE]
    #[arg(long, value_name = "FILE")]
    pub signers: Option<PathBuf>,
}

impl TrustArgs {
    /// The trusted signers, once it was said that there are none.
    pub fn read_quietly(&self, global: &Global) -> Result<Option<Signers>> {
        let given = self.signers.clone().or_else(|| global.variable("CKBACKUP_SIGNERS_FILE").map(PathBuf::from));
        given.map(|file| Signers::read(&file)).transpose()
    }

    /// The file of those that are given.
    pub fn file(&self, global: &Global) -> Option<PathBuf> {
        self.signers.clone().or_else(|| global.variable("CKBACKUP_SIGNERS_FILE").map(PathBuf::from))
    }

    /// The trusted signers. That there are none is said, loudly.
    pub fn read(&self, global: &Global) -> Result<Option<Signers>> {
        match self.read_quietly(global)? {
            Some(signers) => Ok(Some(signers)),
            None => {
                global.warn(
                    "no trusted signers are given, so anyone who can write to the vault could have made this backup; \
                     pass --signers FILE",
                );
                Ok(None)
            }
        }
    }
}

/// Where backups are, whose are trusted, and what opens them: for verbs whose file is a plan.
#[derive(Debug, Clone, Default, Args)]
pub struct OpeningArgs {
    /// Where backups are.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Take vault and cluster from this schedule
    #[arg(long, value_name = "SCHEDULE", help_heading = "Vault")]
    pub schedule: Option<PathBuf>,
    /// Whose signatures are trusted.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// What opens the backup.
    #[command(flatten)]
    pub identity: IdentityArgs,
}

impl OpeningArgs {
    /// Whether a vault is named at all.
    pub fn is_given(&self, global: &Global) -> bool {
        self.place.location.vault.is_some() || self.schedule.is_some() || global.variable("CKBACKUP_VAULT").is_some()
    }

    /// The vault, and the cluster that is meant. A plan that spans several names them itself.
    pub async fn open(&self, plan: Option<&RestorePlan>, global: &Global) -> Result<(Vault, String)> {
        match plan {
            Some(plan) if !plan.targets.is_empty() => Ok((self.open_vault(global).await?, String::new())),
            _ => self.place.open(self.schedule.as_deref(), global).await,
        }
    }

    /// The vault alone.
    pub async fn open_vault(&self, global: &Global) -> Result<Vault> {
        self.place.open_vault(self.schedule.as_deref(), global).await
    }
}

/// Who was there, for verbs that write a report.
#[derive(Debug, Clone, Default, Args)]
pub struct PeopleArgs {
    /// Who runs it, for the report; the user of this machine unless given
    #[arg(long, value_name = "NAME", help_heading = "Report")]
    pub ran_by: Option<String>,
    /// Who approved it, for the report
    #[arg(long, value_name = "NAME", help_heading = "Report")]
    pub approved_by: Option<String>,
}

impl PeopleArgs {
    /// As the report names them.
    pub fn people(&self, global: &Global) -> People {
        People {
            ran_by: self.ran_by.clone().or_else(|| global.variable("USER")),
            approved_by: self.approved_by.clone(),
        }
    }
}

/// What is still to be done, for verbs that write a report.
#[derive(Debug, Clone, Default, Args)]
pub struct ActionsArgs {
    /// Corrective actions that somebody keeps a list of: a file of `kind: Actions`
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub actions: Option<PathBuf>,
}

impl ActionsArgs {
    /// The actions of the file; none where none is given.
    pub fn read(&self) -> Result<Vec<CorrectiveAction>> {
        Ok(self.actions.as_deref().map(config::read_actions).transpose()?.unwrap_or_default())
    }
}

/// Who signs what was verified.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Trust")]
pub struct AttestArgs {
    /// Record what was verified beside the backup, signed with this key [env: CKBACKUP_ATTESTING_KEY_FILE]
    #[arg(long = "attest", value_name = "KEY")]
    pub key: Option<PathBuf>,
}

impl AttestArgs {
    /// The key, if one is given.
    pub fn read(&self, global: &Global) -> Result<Option<Signer>> {
        let variable = || global.variable("CKBACKUP_ATTESTING_KEY_FILE").map(PathBuf::from);
        self.key.clone().or_else(variable).map(|file| Signer::read(&file)).transpose()
    }

    /// The same for whoever is about to sign. What it signs would count for nothing with these signers: that is said before.
    pub fn read_for(&self, signers: Option<&Signers>, global: &Global) -> Result<Option<Signer>> {
        let signer = self.read(global)?;
        if let (Some(signer), Some(signers)) = (&signer, signers)
            && ![Purpose::Attestation, Purpose::ProofRecord].iter().all(|p| signers.trusts(signer, *p, global.now()))
        {
            global.warn(format!(
                "the trusted signers have no line for {}, which signs here: to whoever trusts only them, what it signs proves \
                 nothing; add the line of its allowed_attesters to --signers",
                signer.fingerprint()
            ));
        }
        Ok(signer)
    }
}

/// What opens backups.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Keys")]
pub struct IdentityArgs {
    /// An age identity or SSH key that opens the backup; again for more [env: CKBACKUP_IDENTITY_FILE, with : between]
    #[arg(long = "identity", value_name = "FILE")]
    pub identities: Vec<PathBuf>,
}

impl IdentityArgs {
    /// The files of those that are given.
    pub fn files(&self, global: &Global) -> Vec<PathBuf> {
        let mut files = self.identities.clone();
        if files.is_empty() {
            let variable = global.variable("CKBACKUP_IDENTITY_FILE").map(OsString::from);
            files.extend(variable.iter().flat_map(std::env::split_paths).filter(|p| !p.as_os_str().is_empty()));
        }
        files
    }

    /// The identities, if any are given. Asks for passphrases on the terminal.
    pub async fn read(&self, global: &Global) -> Result<Option<Arc<Identities>>> {
        let files = self.files(global);
        if files.is_empty() {
            return Ok(None);
        }
        let reading = tokio::task::spawn_blocking(move || Identities::read_files(&files, UiCallbacks));
        tokio::select! {
            biased;
            () = global.cancel.cancelled() => Err(Error::new(Kind::Interrupted, "interrupted; nothing was changed")),
            read = reading => read.context(|| "read the identities".into())?.map(Arc::new).map(Some),
        }
    }

    /// The identities; it is an error when none are given.
    pub async fn require(&self, global: &Global) -> Result<Arc<Identities>> {
        self.read(global).await?.ok_or_else(|| {
            Error::usage("no identity is given, and without one no backup can be opened")
                .hint("give --identity FILE, or set CKBACKUP_IDENTITY_FILE")
        })
    }
}

/// Which cluster is spoken to.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// The context in the kubeconfig; the current one unless given
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig [env: KUBECONFIG; else ~/.kube/config; else the service account of this pod]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

impl Global {
    /// Which cluster is meant, and as whom.
    pub fn cluster_access(&self, args: &ClusterArgs) -> Access {
        let files = match (&args.kubeconfig, self.variable("KUBECONFIG")) {
            (Some(file), _) => vec![file.clone()],
            (None, Some(list)) => listed_kubeconfigs(&list, |file| file.exists()),
            (None, None) => std::env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect(),
        };
        let named = args.kubeconfig.is_some() || args.context.is_some() || self.variable("KUBECONFIG").is_some();
        if !named && !files.iter().any(|file| file.exists()) {
            return self.pod_access();
        }
        Access::Kubeconfig { files, context: args.context.clone() }
    }
}

/// Where the kubelet mounts a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

impl Global {
    /// The pod's own account. CKBACKUP_SERVICE_ACCOUNT_DIR names another folder, where the token is projected elsewhere.
    fn pod_access(&self) -> Access {
        let (host, port) = (self.variable("KUBERNETES_SERVICE_HOST"), self.variable("KUBERNETES_SERVICE_PORT"));
        let server = host.zip(port).map(|(host, port)| match host.contains(':') {
            true => format!("https://[{host}]:{port}"),
            false => format!("https://{host}:{port}"),
        });
        let account = self.variable("CKBACKUP_SERVICE_ACCOUNT_DIR").unwrap_or_else(|| SERVICE_ACCOUNT.into());
        Access::Pod { server, account: account.into() }
    }
}

/// The files of a list that exist, as kubectl does it; when none does, all, so that the error names them.
fn listed_kubeconfigs(list: &str, exists: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let all: Vec<_> = std::env::split_paths(list).filter(|p| !p.as_os_str().is_empty()).collect();
    let there: Vec<_> = all.iter().filter(|file| exists(file)).cloned().collect();
    if there.is_empty() { all } else { there }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_goes_before_the_environment_and_a_path_becomes_whole() {
        let flag = LocationArgs { vault: Some("s3://b/p".into()), ..LocationArgs::default() };
        assert_eq!(flag.location(None, Some("gs://other".into())).unwrap().to_string(), "s3://b/p");
        let none = LocationArgs::default();
        assert_eq!(none.location(None, Some("gs://other".into())).unwrap().to_string(), "gs://other");
        assert_eq!(none.location(None, None).unwrap_err().kind(), Kind::Usage);
        let path = parse_location("some/folder").unwrap().folder().unwrap();
        assert!(path.is_absolute() && path.ends_with("some/folder"));
    }

    #[test]
    fn an_endpoint_without_tls_must_be_allowed() {
        let mut args = LocationArgs { vault: Some("s3://b".into()), ..LocationArgs::default() };
        args.endpoint = Some("http://127.0.0.1:7070".into());
        assert_eq!(args.location(None, None).unwrap_err().kind(), Kind::Usage);
        args.allow_http = true;
        assert_eq!(args.location(None, None).unwrap().endpoint.unwrap().as_str(), "http://127.0.0.1:7070/");
    }

    #[test]
    fn missing_kubeconfigs_of_a_list_are_passed_over() {
        let found = listed_kubeconfigs("/a:/b", |file| file.ends_with("b"));
        assert_eq!(found, [PathBuf::from("/b")]);
        assert_eq!(listed_kubeconfigs("/a:/b", |_| false).len(), 2);
    }
}
