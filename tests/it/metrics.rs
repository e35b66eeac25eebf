//! Metrics: rebuilt from the vault, served while runs go on, left in files by jobs, and accepted by Prometheus' own tools.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::backup_rig::{CLUSTER, Rig};
use crate::backup_window::{backup, schedule};
use crate::harness::assets::assets;
use crate::harness::command::Running;
use crate::harness::control_plane::shared;
use crate::harness::{Action, Ckbackup, FaultProxy, Scratch, eventually};

/// What a scrape shows, by series.
#[derive(Debug)]
struct Shown(BTreeMap<String, f64>);

impl Shown {
    fn of(text: &str) -> Shown {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let series = lines.map(|line| line.rsplit_once(' ').unwrap());
        Shown(series.map(|(series, value)| (series.to_owned(), value.parse().unwrap())).collect())
    }

    /// Of the schedule `nightly`, with more labels.
    fn get(&self, name: &str, labels: &str) -> Option<f64> {
        let series = format!("ckbackup_{name}{{cluster=\"{CLUSTER}\",schedule=\"nightly\"{labels}}}");
        self.0.get(&series).copied()
    }

    fn nightly(&self, name: &str) -> Option<f64> {
        self.get(name, "")
    }
}

/// A scheduler that serves at a port of its own.
struct Served {
    running: Running,
    url: String,
}

async fn serve(rig: &Rig, kubeconfig: &Path, args: &[&str]) -> Served {
    let scheduler = Ckbackup::new(&rig.scratch).args(["scheduler", "-f", "schedules", "--kubeconfig"]).arg(kubeconfig);
    let scheduler = scheduler.args(["--metrics-address", "127.0.0.1:0"]).args(args).timeout(Duration::from_secs(120));
    // So that a vault in S3 is asked at all.
    let scheduler = scheduler.envs([("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")]);
    let running = scheduler.start().await;
    running.says("waiting for the windows of").await;
    let said = running.said();
    let url = said.split("served at ").nth(1).unwrap().split("/metrics").next().unwrap().to_owned();
    Served { running, url }
}

impl Served {
    async fn get(&self, path: &str) -> (u16, String) {
        // As the program does; another test may have done it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let answer = reqwest::get(format!("{}{path}", self.url)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn scrape(&self) -> (Shown, String) {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, 200, "{text}");
        (Shown::of(&text), text)
    }

    async fn stop(self) {
        self.running.signal("TERM");
        self.running.finish().await.expect_success();
    }
}

fn write(rig: &Rig, schedule: &Value) {
    rig.scratch.file("schedules/nightly.yaml", serde_json::to_vec(schedule).unwrap());
    let key = std::fs::read(rig.scratch.path().join("signing_key")).unwrap();
    rig.scratch.file("schedules/signing_key", key);
}

async fn accepted(scratch: &Scratch, metrics: &str) {
    let check = Ckbackup::program(assets().prometheus.join("promtool"), scratch).args(["check", "metrics"]);
    let checked = check.stdin(metrics).run().await.expect_success();
    assert_eq!((checked.stdout.trim(), checked.stderr.trim()), ("", ""), "{checked}");
}

fn seconds(value: &Value) -> Option<f64> {
    Some(value.as_str().unwrap().parse::<Timestamp>().unwrap().as_second() as f64)
}

/// The keys of keeper and job in one file of trusted signers.
async fn keeper(rig: &Rig) -> [&'static str; 2] {
    let keygen = Ckbackup::new(&rig.scratch).args(["keygen", "--dir", "keeper", "--only", "attesting"]).run().await;
    keygen.expect_success();
    let script =
        "(printf 'job namespaces=\"ckbackup\" '; ssh-keygen -y -f signing_key; cat keeper/allowed_attesters) > signers";
    let run = Ckbackup::program("bash", &rig.scratch).args(["-euc", &format!("chmod 600 signing_key; {script}")]);
    run.run().await.expect_success();
    ["keeper/attesting_key", "signers"]
}

#[tokio::test]
async fn a_run_shows_and_a_new_scheduler_knows_it_from_the_vault() {
    let rig = Rig::new();
    let signers = keeper(&rig).await;
    write(&rig, &schedule(&rig, -60, 60));
    let begin = Timestamp::now().as_second() as f64;
    let served = serve(&rig, &shared().kubeconfig, &[]).await;
    eventually("the run shows", async || served.scrape().await.0.nightly("last_success_timestamp_seconds").is_some())
        .await;
    let (shown, text) = served.scrape().await;
    accepted(&rig.scratch, &text).await;
    let saved = rig.open_id(&rig.committed()[0]);
    assert_eq!(shown.nightly("last_success_timestamp_seconds"), seconds(&saved.manifest["finished"]));
    assert_eq!(shown.nightly("last_attempt_exit_code"), Some(0.0), "{text}");
    assert!(shown.nightly("last_attempt_timestamp_seconds") >= Some(begin), "{text}");
    assert!(shown.nightly("next_run_timestamp_seconds") > Some(begin + 3600.0), "tomorrow: {text}");
    assert!(shown.nightly("window_used_ratio").is_some_and(|part| (0.4..0.7).contains(&part)), "{text}");
    let record = saved.record();
    for (name, field) in
        [("source_items", "items"), ("source_size_bytes", "bytes"), ("source_stored_size_bytes", "storedBytes")]
    {
        let value = shown.get(name, ",source=\"platform\",kind=\"kubernetes\"");
        assert_eq!(value, record[field].as_f64(), "{name}: {text}");
    }
    assert_eq!(shown.get("backups_held", ",status=\"complete\""), Some(1.0));
    assert_eq!(shown.0.get("ckbackup_schedules_valid"), Some(&1.0));
    assert_eq!(shown.get("last_verified_timestamp_seconds", ",level=\"present\""), None, "nobody's word counts");
    served.stop().await;

    let verify = Ckbackup::new(&rig.scratch).args(["verify", "latest", "-f", "schedules/nightly.yaml"]);
    verify.args(["--attest", signers[0], "--signers", signers[1]]).run().await.expect_success();
    let again = serve(&rig, &shared().kubeconfig, &["--signers", signers[1]]).await;
    eventually("it is ready", async || again.get("/readyz").await.0 == 200).await;
    let (rebuilt, text) = again.scrape().await;
    accepted(&rig.scratch, &text).await;
    for name in
        ["last_success_timestamp_seconds", "last_attempt_exit_code", "window_used_ratio", "next_run_timestamp_seconds"]
    {
        assert_eq!(rebuilt.nightly(name), shown.nightly(name), "{name}: {text}");
    }
    assert!(rebuilt.get("last_verified_timestamp_seconds", ",level=\"intact\"") >= Some(begin), "{text}");
    let proved = rebuilt.get("verified_backup_timestamp_seconds", ",level=\"present\"");
    assert_eq!(proved, shown.nightly("last_success_timestamp_seconds"), "intact is present, too: {text}");
    assert_eq!(rebuilt.get("last_verified_timestamp_seconds", ",level=\"readable\""), None);
    assert_eq!(again.get("/healthz").await, (200, "ok\n".into()));
    assert_eq!(again.get("/nothing").await.0, 404);
    again.stop().await;
}

/// The run and the vault hang, each on its own, and scrapes are answered all the same.
#[tokio::test]
async fn a_scrape_waits_neither_for_a_run_nor_for_the_vault() {
    let rig = Rig::new();
    write(&rig, &schedule(&rig, -60, 60));
    let proxy =
        FaultProxy::tls(&shared().server, &shared().ca_pem, |request| match request.is("GET", "/deployments") {
            true => Action::Hang,
            false => Action::Forward,
        });
    let served = serve(&rig, &rig.through(&proxy, &shared().token), &[]).await;
    eventually("a run is under way", async || proxy.count("GET", "/deployments") > 0).await;
    assert_eq!(served.get("/healthz").await.0, 200);
    let (shown, text) = served.scrape().await;
    assert_eq!(shown.nightly("last_success_timestamp_seconds"), None, "{text}");
    served.running.signal("TERM");
    served.running.finish().await.expect(130);

    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut hangs = schedule(&rig, 60, 120);
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    hangs["spec"]["vault"] =
        json!({"url": "s3://nobody/answers", "endpoint": endpoint, "allowHttp": true, "region": "x"});
    write(&rig, &hangs);
    let served = serve(&rig, &shared().kubeconfig, &[]).await;
    assert_eq!(served.get("/readyz").await.0, 503);
    let (shown, text) = served.scrape().await;
    accepted(&rig.scratch, &text).await;
    assert_eq!(shown.nightly("backups_wanted"), Some(3.0), "{text}");
    assert_eq!(
        (shown.nightly("vault_refresh_timestamp_seconds"), shown.nightly("next_run_timestamp_seconds")),
        (None, None)
    );
    served.stop().await;
}

#[tokio::test]
async fn a_vault_that_is_not_there_a_broken_edit_and_a_taken_port_are_told() {
    let rig = Rig::new();
    write(&rig, &schedule(&rig, 60, 120));
    let served = serve(&rig, &shared().kubeconfig, &[]).await;
    eventually("the vault was looked for", async || served.scrape().await.0.nightly("vault_reachable") == Some(0.0))
        .await;
    assert_eq!(served.get("/readyz").await.0, 200, "the metrics say what there is to say");
    assert_eq!(served.scrape().await.0.get("backups_held", ",status=\"complete\""), None);

    let taken = served.url.trim_start_matches("http://");
    let second = Ckbackup::new(&rig.scratch).args(["scheduler", "-f", "schedules", "--metrics-address", taken]);
    assert!(second.run().await.expect(2).stderr.contains(&format!("listen at {taken}")));

    rig.scratch.file("schedules/nightly.yaml", "spec: {window: nonsense");
    let valid = async || served.scrape().await.0.0["ckbackup_schedules_valid"];
    eventually("the edit is told", async || valid().await == 0.0).await;
    assert_eq!(served.scrape().await.0.nightly("backups_wanted"), Some(3.0), "what was read before is in force");
    write(&rig, &schedule(&rig, 60, 120));
    eventually("it is mended", async || valid().await == 1.0).await;
    served.stop().await;
}

#[tokio::test]
async fn jobs_leave_their_metrics_in_a_file_also_when_they_fail() {
    let rig = Rig::new();
    let signers = keeper(&rig).await;
    let file = rig.scratch.folder("collector").join("ckbackup.prom");
    let left = || Shown::of(&std::fs::read_to_string(&file).unwrap());
    let run = |schedule: &Value| backup(&rig, schedule, "--window").arg("--metrics-file").arg(&file);

    run(&schedule(&rig, 60, 120)).run().await.expect(6);
    assert_eq!(left().nightly("last_attempt_exit_code"), Some(6.0));
    assert_eq!(left().nightly("vault_reachable"), Some(0.0));

    let saved = rig.open(&run(&schedule(&rig, -60, 60)).run().await.expect_success());
    assert_eq!(left().nightly("last_success_timestamp_seconds"), seconds(&saved.manifest["finished"]));
    assert_eq!(left().nightly("last_attempt_exit_code"), Some(0.0));
    accepted(&rig.scratch, &std::fs::read_to_string(&file).unwrap()).await;

    let vault = rig.vault().display().to_string();
    let keep = async |args: &[&str]| {
        let run = Ckbackup::new(&rig.scratch).args(args).args(["--vault", &vault, "--signers", signers[1]]);
        run.arg("--metrics-file").arg(&file).run().await
    };
    keep(&["rotate", "--attest", signers[0]]).await.expect_success();
    let rotated = left();
    assert_eq!(rotated.nightly("copies_verified"), Some(1.0), "{rotated:?}");
    assert_eq!(rotated.0.get(&format!("ckbackup_last_rotation_exit_code{{cluster=\"{CLUSTER}\"}}")), Some(&0.0));
    assert!(rotated.get("last_verified_timestamp_seconds", ",level=\"intact\"").is_some(), "{rotated:?}");
    accepted(&rig.scratch, &std::fs::read_to_string(&file).unwrap()).await;

    let id = saved.manifest["id"].as_str().unwrap();
    let segment = rig.vault().join(CLUSTER).join(id).join("platform/0001.tar.zst.age");
    let mut bytes = std::fs::read(&segment).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    for (verb, kind) in [(&["verify", "--all"][..], "verification"), (&["rotate"], "rotation")] {
        keep(verb).await.expect(5);
        let shown = left();
        for (name, value) in [("exit_code", 5.0), ("damaged_backups", 1.0)] {
            let series = format!("ckbackup_last_{kind}_{name}{{cluster=\"{CLUSTER}\"}}");
            assert_eq!(shown.0.get(&series), Some(&value), "{series} {shown:?}");
        }
    }
    let names: Vec<_> = std::fs::read_dir(file.parent().unwrap()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(names, ["ckbackup.prom"], "nothing else is left there");

    // A file that cannot be written is told, and fails nothing.
    let nowhere = backup(&rig, &schedule(&rig, -60, 60), "--now").args(["--metrics-file", "no/such/folder.prom"]);
    assert!(nowhere.run().await.expect_success().stderr.contains("the metrics were not left"));
}

#[tokio::test]
async fn the_alerts_are_valid_and_fire_when_they_should() {
    let (scratch, deploy) = (Scratch::new(), Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy"));
    let promtool = || Ckbackup::program(assets().prometheus.join("promtool"), &scratch);
    promtool().args(["check", "rules"]).arg(deploy.join("prometheus-rules.yaml")).run().await.expect_success();
    promtool().args(["test", "rules"]).arg(deploy.join("prometheus-rules.test.yaml")).run().await.expect_success();
    let rules = std::fs::read_to_string(deploy.join("prometheus-rules.yaml")).unwrap();
    let tests = std::fs::read_to_string(deploy.join("prometheus-rules.test.yaml")).unwrap();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "{alert} has no test");
    }
}
