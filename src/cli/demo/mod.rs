//! `ckbackup demo`: the whole way, once, on this machine, with real servers: back up a living cluster, lose it, get it
//! back. Every verb that it runs is printed as it would be typed, and runs as if it had been.

mod data;
mod files;
mod load;
mod platform;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Parser};

use self::files::{lay_out, path_text};
use super::words::{count, counted, size, span};
use super::{Cli, DONE, Global, Outcome, dispatch};
use crate::cluster::{Access, Cluster};
use crate::drill::sandbox::{Sandbox, SandboxOptions};
use crate::error::{Context, Error, Kind, Result};
use crate::vault::layout::BackupId;

const EXAMPLES: &str = "\
Example:
  KUBEBUILDER_ASSETS=/usr/local/kubebuilder/bin ckbackup demo --dir try-out";

/// Try everything on this machine: back up a platform, lose its cluster, restore it
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoArgs {
    /// Where everything is put; must not exist yet [default: a new folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The folder that holds the programs etcd and kube-apiserver [env: KUBEBUILDER_ASSETS]
    #[arg(long, value_name = "DIR")]
    pub assets: Option<PathBuf>,
}

/// The demo's parts: where things lie, and who is told.
struct Demo {
    global: Global,
    dir: PathBuf,
    assets: PathBuf,
    begin: Instant,
}

/// Runs the demo; any step that does not end well ends it.
pub async fn run(args: &DemoArgs, global: &Global) -> Outcome {
    let demo = Demo::new(args, global)?;
    tokio::select! {
        biased;
        () = global.cancel.cancelled() => Err(Error::new(Kind::Interrupted, "interrupted")
            .hint(format!("the servers are stopped; what was written is in {}", demo.dir.display()))),
        done = demo.run() => done,
    }
}

impl Demo {
    fn new(args: &DemoArgs, global: &Global) -> Result<Self> {
        let assets = args.assets.clone().or_else(|| global.variable("KUBEBUILDER_ASSETS").map(PathBuf::from));
        let assets = assets.ok_or_else(|| {
            Error::usage("the demo needs the programs etcd and kube-apiserver")
                .hint("`make demo` builds them; or set KUBEBUILDER_ASSETS to the folder that holds them")
        })?;
        let unnamed = || std::env::temp_dir().join(format!("ckbackup-demo-{}", std::process::id()));
        let dir = args.dir.clone().unwrap_or_else(unnamed);
        let dir = std::path::absolute(&dir).context(|| format!("find {}", dir.display()))?;
        if dir.exists() {
            return Err(Error::usage(format!("{} exists already", dir.display())).hint("name a new folder with --dir"));
        }
        let global = global.with_state_folder(dir.join("state"));
        Ok(Demo { global, dir, assets, begin: Instant::now() })
    }

    async fn run(&self) -> Outcome {
        lay_out(&self.dir)?;
        data::lay_out(&self.dir)?;
        data::write_plan(&self.dir)?;
        self.title("A workload cluster, as it runs on a normal day");
        let (living, access) = self.start("workload-1", data::audit_arguments(&self.dir)).await?;
        let objects = platform::objects()?;
        let progress = self.global.progress();
        let loaded = load::load(&Cluster::connect(access).await?, objects, progress.as_ref()).await?;
        self.say(format!(
            "a real API server at {} with {} objects of {} kinds in {} namespaces",
            living.server(),
            count(loaded.objects as u64),
            loaded.kinds,
            loaded.namespaces
        ));
        self.back_up(&living).await?;
        self.title("The cluster is lost");
        living.stop().await?;
        let before = data::read(&self.dir.join("data"))?;
        for lost in ["cluster-workload-1", "data"] {
            let lost = self.dir.join(lost);
            std::fs::remove_dir_all(&lost).context(|| format!("remove {}", lost.display()))?;
        }
        self.say("its servers are stopped; their data, the metrics and the audit logs are gone".into());
        self.title("An empty cluster takes its place, and the plan brings everything back");
        let (empty, _) = self.start("workload-1-new", Vec::new()).await?;
        self.restore(&empty).await?;
        empty.stop().await?;
        self.restore_data(&before).await?;
        self.drill().await?;
        self.farewell();
        Ok(DONE)
    }

    async fn start(&self, name: &str, extra_apiserver_args: Vec<String>) -> Result<(Sandbox, Access)> {
        let begin = Instant::now();
        let folder = self.dir.join(format!("cluster-{name}"));
        let options = SandboxOptions { extra_apiserver_args, ..SandboxOptions::new(&self.assets, folder, name) };
        let sandbox = Sandbox::start(options).await?;
        self.say(format!("etcd and kube-apiserver started in {}", span(begin.elapsed().as_secs_f64())));
        let files = vec![sandbox.kubeconfig().to_path_buf()];
        Ok((sandbox, Access::Kubeconfig { files, context: None }))
    }

    async fn back_up(&self, living: &Sandbox) -> Result<()> {
        self.title("Keys: one for the engineers on call, one in escrow; one that signs");
        let file = |name: &str| path_text(&self.dir.join(name));
        self.verb(&["keygen", "--dir", &file("keys/on-call"), "--principal", "backup@workload-1"]).await?;
        self.verb(&["keygen", "--dir", &file("keys/escrow"), "--only", "identity"]).await?;
        files::write_schedule(&self.dir)?;
        self.title("The nightly backup");
        let (schedule, kubeconfig) = (file("schedules/nightly.yaml"), path_text(living.kubeconfig()));
        self.verb(&["validate", &schedule]).await?;
        self.verb(&["backup", "-f", &schedule, "--now", "--kubeconfig", &kubeconfig]).await?;
        self.verb(&["list", "-f", &schedule, "--signers", &file("keys/on-call/allowed_signers")]).await?;
        let identity = file("keys/on-call/identity.txt");
        let signers = file("keys/on-call/allowed_signers");
        self.verb(&["verify", "latest", "-f", &schedule, "--signers", &signers, "--identity", &identity]).await
    }

    async fn restore(&self, empty: &Sandbox) -> Result<()> {
        let file = |name: &str| path_text(&self.dir.join(name));
        let (vault, kubeconfig) = (format!("file://{}", file("vault")), path_text(empty.kubeconfig()));
        let (identity, signers) = (file("keys/on-call/identity.txt"), file("keys/on-call/allowed_signers"));
        let known = ["--vault", &vault, "--signers", &signers, "--identity", &identity, "--kubeconfig", &kubeconfig];
        let plan = file("restore-plans/workload-cluster.yaml");
        self.verb(&[&["restore", "-f", &plan, "--backup", "latest", "--yes"], &known[..]].concat()).await?;
        self.title("What came back, compared with the backup");
        self.verb(&[&["diff", "latest"], &known[..]].concat()).await
    }

    /// Metrics and logs need no cluster.
    async fn restore_data(&self, before: &data::Data) -> Result<()> {
        self.title("Metrics and audit logs");
        let file = |name: &str| path_text(&self.dir.join(name));
        let (plan, vault) = (file("restore-plans/logs-and-metrics.yaml"), format!("file://{}", file("vault")));
        let (identity, signers) = (file("keys/on-call/identity.txt"), file("keys/on-call/allowed_signers"));
        let known = ["--vault", &vault, "--signers", &signers, "--identity", &identity];
        self.verb(&[&["restore", "-f", &plan], &known[..]].concat()).await?;
        let (files, bytes) = data::compare(before, &data::read(&self.dir.join("restored"))?)?;
        let (files, bytes) = (counted(files as u64, "file"), size(bytes));
        self.say(format!("{files}, {bytes}: what was saved of them is back, to the byte"));
        Ok(())
    }

    /// What is done every quarter, so that the night on which it counts is not the first time.
    async fn drill(&self) -> Result<()> {
        self.title("A drill: the same, rehearsed in a control plane of its own, with a signed report");
        let file = |name: &str| path_text(&self.dir.join(name));
        self.verb(&["keygen", "--dir", &file("keys/drill"), "--only", "attesting", "--principal", "drill@workload-1"])
            .await?;
        self.say(
            "$ cat $DEMO/keys/on-call/allowed_signers $DEMO/keys/drill/allowed_attesters > $DEMO/keys/allowed_signers"
                .into(),
        );
        self.trust_both()?;
        let (plan, vault) = (file("restore-plans/workload-cluster.yaml"), format!("file://{}", file("vault")));
        let (identity, signers) = (file("keys/on-call/identity.txt"), file("keys/allowed_signers"));
        let (key, report, assets) = (file("keys/drill/attesting_key"), file("drill"), path_text(&self.assets));
        let known = ["--vault", &vault, "--signers", &signers, "--identity", &identity, "--attest", &key];
        let drill = ["drill", "run", "-f", &plan, "--target", "sandbox", "--assets", &assets, "--report-dir", &report];
        self.verb(&[&drill[..], &known[..]].concat()).await?;
        self.verb(&["report", "verify", &report, "--signers", &signers]).await
    }

    /// Those who make backups, and those who prove them.
    fn trust_both(&self) -> Result<()> {
        let keys = self.dir.join("keys");
        let read = |file: &str| std::fs::read_to_string(keys.join(file)).context(|| format!("read {file}"));
        let both = read("on-call/allowed_signers")? + &read("drill/allowed_attesters")?;
        std::fs::write(keys.join("allowed_signers"), both).context(|| "write the trusted signers".into())
    }

    /// Runs a verb as if it had been typed.
    async fn verb(&self, words: &[&str]) -> Result<()> {
        let shown = words.iter().map(|w| w.replace(&path_text(&self.dir), "$DEMO")).collect::<Vec<_>>().join(" ");
        self.say(format!("$ ckbackup {shown}"));
        let line = ["ckbackup"].iter().chain(words);
        let cli = Cli::try_parse_from(line).map_err(|e| Error::failed(format!("run {shown}")).because(e))?;
        let code = Box::pin(dispatch(cli.verb, &self.global)).await?;
        match code {
            DONE => Ok(()),
            code => Err(Error::failed(format!("ckbackup {} ended with exit code {code}", words[0]))
                .hint(format!("everything is in {}", self.dir.display()))),
        }
    }

    fn title(&self, text: &str) {
        self.say(format!("\n== {text} ({} since the begin)", span(self.begin.elapsed().as_secs_f64())));
    }

    fn say(&self, text: String) {
        self.global.note(text);
    }

    fn farewell(&self) {
        self.title("Done: the platform is back");
        let segment = find_segment(&self.dir).unwrap_or_else(|| "vault/…/platform/0001.tar.zst.age".into());
        let dir = self.dir.display();
        self.say(format!(
            "everything lies in DEMO={dir}\n\
             \n  vault/           the backup, as it would stand in object storage\n\
             \x20 restored/        metrics and audit logs\n\
             \x20 drill/           the report of the drill: open file://{dir}/drill/report.html in a browser\n\
             \x20 keys/            identities (on-call, escrow), signing key, allowed_signers\n\
             \x20 schedules/ restore-plans/ runbooks/   what was run\n\
             \nopen a segment without ckbackup, with age, zstd and tar:\n\
             \n  mkdir /tmp/out && age -d -i {dir}/keys/on-call/identity.txt {dir}/{segment} \\\n\
             \x20   | zstd -d | tar -x -C /tmp/out && find /tmp/out | head\n\
             \ncheck who signed it:\n\
             \n  cd {dir}/{folder} && ssh-keygen -Y verify -f {dir}/keys/on-call/allowed_signers \\\n\
             \x20   -I backup@workload-1 -n ckbackup -s manifest.json.sig < manifest.json\n\
             \nremove it all: rm -r {dir}",
            folder = segment.split("/platform/").next().unwrap_or_default(),
        ));
    }
}

/// The path of the backup's first segment, relative to the demo's folder.
fn find_segment(dir: &Path) -> Option<String> {
    let cluster = Path::new("vault/workload-1");
    let names =
        std::fs::read_dir(dir.join(cluster)).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let backup = names.filter(|name| name.parse::<BackupId>().is_ok()).min()?;
    Some(path_text(&cluster.join(backup).join("platform/0001.tar.zst.age")))
}
