//! A whole platform of real servers, through a night and a loss: the scheduler saves it when its window opens, everything is
//! lost, a plan brings the objects back, drills of the shipped plans bring back the data, and the servers' own answers are
//! compared. `make demo-full` is this test, with its story shown.

mod answers;
mod drills;
mod servers;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use self::servers::Servers;
use crate::harness::fast_clock::FastClock;
use crate::harness::s3_client::REGION;
use crate::harness::{BucketKind, Ckbackup, Finished, S3Server, Scratch, s3};

/// How long the day before the window is to take.
const DAY: Duration = Duration::from_secs(25);
const LONG: Duration = Duration::from_secs(400);

#[tokio::test]
async fn everything_is_saved_at_night_lost_and_found_again() {
    let story = Story { scratch: Scratch::new(), begin: Instant::now() };
    story.title(
        "Servers: a Kubernetes node, Prometheus, PostgreSQL and InfluxDB in its pods, Elasticsearch, Alertmanager, S3",
    );
    let vault = Vault::start(&story).await;
    let old = Scratch::named("whole_platform.old");
    let living = Servers::start(&old).await;
    living.fill(&old).await;

    let newest = night(&story, &vault, &living).await;
    let before = answers::ask(&living, newest).await;
    let silent = before.iter().find(|answer| answer.answer.is_empty() || answer.answer == "nothing");
    assert_eq!(silent, None, "an answer that says nothing proves nothing");
    story.title("Everything is lost: the cluster with its volumes, logs, metrics, silences, archive");
    drop(living);
    drop(old);

    story.title("New servers take their places, with nothing in them, and a plan brings the objects back");
    let new = Scratch::named("whole_platform.new");
    let empty = Servers::start(&new).await;
    let plan = story.scratch.file("objects.yaml", plan().to_string());
    let on = |command: Ckbackup| command.arg("--kubeconfig").arg(empty.node.kubeconfig());
    story.verb(on(vault.ckbackup(&story, "restore --backup latest --yes -f").arg(plan))).await;
    story.title("What came back: the objects, compared field by field with the backup");
    story.verb(on(vault.ckbackup(&story, "diff latest"))).await;
    drills::rehearse(&story, &vault, &empty).await;
    story.title("What came back: what the servers answered before, and answer now");
    let after = answers::ask(&empty, newest).await;
    story.say(&answers::table(&before, &after));
    assert_eq!(before, after);
    story.title("Done: everything is back");
}

/// The scheduler waits through the day, and takes the night's backup. The time, in seconds, of which only the newest metrics
/// know.
async fn night(story: &Story, vault: &Vault, living: &Servers) -> i64 {
    story.title("A day passes, and a window opens: the scheduler, whose clock is fast until then");
    story.say("(Its clock begins 15 hours behind, of which the storage complains: a warning that is expected.)");
    let starts = write_schedule(story, vault, living).await;
    let show = Ckbackup::new(&story.scratch).args(["schedule", "next", "--count", "1", "-f", "schedules/nightly.yaml"]);
    story.verb(show).await;
    let clock = FastClock::start(&story.scratch, starts, DAY);
    let scheduler = vault.ckbackup(story, "scheduler -f schedules --kubeconfig").arg(living.node.kubeconfig());
    let running = scheduler.envs(clock.env()).timeout(LONG).start().await;
    clock.run().await;
    // That is the last thing it does in a night.
    running.says("older folders removed").await;
    running.signal("TERM");
    story.show(&running.finish().await.expect_success());
    story.title("The backup, read back whole");
    story.verb(vault.ckbackup(story, "verify latest --cluster workload-1")).await;
    story.verb(vault.ckbackup(story, "list --cluster workload-1")).await;
    starts.as_second() - 1
}

/// Writes a schedule whose run comes when a fast clock has caught up; returns when it comes.
async fn write_schedule(story: &Story, vault: &Vault, living: &Servers) -> Timestamp {
    let mut schedule = schedule(story, vault, living);
    let write =
        |schedule: &Value| story.scratch.file("schedules/nightly.yaml", serde_json::to_vec_pretty(schedule).unwrap());
    write(&schedule);
    let next = Ckbackup::new(&story.scratch).args(["schedule", "next", "-o", "json", "-f", "schedules/nightly.yaml"]);
    let run = next.run().await.expect_success().json()["runs"][0].clone();
    let time = |key: &str| run[key].as_str().unwrap().parse::<Timestamp>().unwrap();
    // It starts a while after the opening, which is always the same.
    let turn = time("starts").duration_since(time("opens"));
    let ready = Timestamp::now() + SignedDuration::try_from(DAY).unwrap() - turn;
    let opens = Timestamp::from_second((ready.as_second() / 60 + 1) * 60).unwrap();
    let zone = TimeZone::get("CET").unwrap();
    let clock = |time: Timestamp| time.to_zoned(zone.clone()).strftime("%H:%M").to_string();
    schedule["spec"]["window"]["opens"] = json!(clock(opens));
    schedule["spec"]["window"]["closes"] = json!(clock(opens + SignedDuration::from_hours(3)));
    write(&schedule);
    opens + turn
}

fn schedule(story: &Story, vault: &Vault, living: &Servers) -> Value {
    let mut metrics = living.prometheus();
    metrics["data"] = json!({"pod": {"namespace": "monitoring", "selector": "app=prometheus", "path": "/prometheus"}});
    metrics["alertmanager"] = json!({"url": living.alertmanager.url()});
    let pod = |namespace: &str, selector: &str| json!({"namespace": namespace, "selector": selector});
    let key = |name: &str| story.key(name);
    let recipient =
        |name: &str| std::fs::read_to_string(key(&format!("{name}-recipient.txt"))).unwrap().trim().to_owned();
    json!({
        "apiVersion": "ckbackup.io/v1", "kind": "Schedule", "metadata": {"name": "nightly"},
        "spec": {
            "cluster": "workload-1",
            "window": {"opens": "00:00", "closes": "03:00", "timeZone": "CET"},
            "keep": 3, "rotate": "afterBackup",
            "lease": {"namespace": "default"},
            "vault": {"url": vault.url},
            "encryption": {"recipients": [recipient("oncall"), recipient("escrow")]},
            "signing": {"keyFile": key("oncall-signing_key")},
            "sources": [
                {"name": "platform", "kubernetes": {}},
                {"name": "metrics", "prometheus": metrics},
                {"name": "logs", "elasticsearch": {"url": living.search.url(), "indices": ["kubernetes-*"]}},
                {"name": "archive", "objects": bucket(living, story)},
                {"name": "harbor-db", "command": {"profile": "postgres", "pod": pod("harbor", "component=database")}},
                {"name": "influxdb", "command": {"profile": "influxdb", "pod": pod("influxdb-prometheus", "app=influxdb")}},
            ],
        },
    })
}

/// Objects, and the pods that data goes into.
fn plan() -> Value {
    let data = json!({"include": ["harbor", "influxdb-prometheus", "monitoring"]});
    let ready = |name: &str, kind: &str| {
        let gate = json!({"kind": kind, "namespaces": data, "timeout": "2m"});
        json!({"name": name, "after": ["objects"], "gate": gate})
    };
    json!({
        "apiVersion": "ckbackup.io/v1", "kind": "RestorePlan", "metadata": {"name": "objects"},
        "spec": {"rto": "4h", "steps": [
            {"name": "objects", "apply": {"source": "platform"}},
            ready("services", "Deployment"),
            ready("monitoring", "StatefulSet"),
        ]},
    })
}

/// The archive as it stands in schedules and plans.
fn bucket(servers: &Servers, story: &Story) -> Value {
    let who = servers.archive.root();
    let text = format!("AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY={}\n", who.access_key, who.secret_key);
    json!({
        "url": "s3://logs", "endpoint": servers.archive.endpoint(), "region": REGION, "allowHttp": true,
        "credentialsFile": story.scratch.file("archive.env", text),
    })
}

/// Where the backups are: far from all the rest.
struct Vault {
    url: &'static str,
    server: S3Server,
}

impl Vault {
    async fn start(story: &Story) -> Vault {
        let server = S3Server::start(&story.scratch).await;
        server.create_bucket("vault", BucketKind::Plain).await;
        let (escrow, keeper) = (["--only", "identity"], ["--only", "attesting"]);
        for (name, only) in [("oncall", &[][..]), ("escrow", &escrow[..]), ("keeper", &keeper[..])] {
            let keygen = Ckbackup::new(&story.scratch).args(["keygen", "--dir", "keys", "--name", name]).args(only);
            keygen.run().await.expect_success();
        }
        let lines = |file: &str| std::fs::read_to_string(story.key(file)).unwrap();
        let both = lines("oncall-allowed_signers") + &lines("keeper-allowed_attesters");
        story.scratch.file("keys/trusted", both);
        Vault { url: "s3://vault", server }
    }

    /// The program with what the engineers on call have.
    fn ckbackup(&self, story: &Story, words: &str) -> Ckbackup {
        Ckbackup::new(&story.scratch)
            .args(words.split(' '))
            .envs(s3::env(self.server.endpoint(), self.server.root()))
            .env("CKBACKUP_VAULT", self.url)
            .env("CKBACKUP_SIGNERS_FILE", story.key("trusted"))
            .env("CKBACKUP_IDENTITY_FILE", story.key("oncall-identity.txt"))
            .timeout(LONG)
    }
}

/// Tells what happens.
struct Story {
    scratch: Scratch,
    begin: Instant,
}

impl Story {
    fn key(&self, name: &str) -> PathBuf {
        self.scratch.path().join("keys").join(name)
    }

    fn title(&self, text: &str) {
        self.say(&format!("\n== {text} ({} s since the begin)", self.begin.elapsed().as_secs()));
    }

    fn say(&self, text: &str) {
        println!("{text}");
    }

    /// Runs a command that must succeed, and shows it.
    async fn verb(&self, command: Ckbackup) -> Finished {
        let finished = command.run().await.expect_success();
        self.show(&finished);
        finished
    }

    /// The command, and all that it said.
    fn show(&self, finished: &Finished) {
        let folder = format!("{}/", self.scratch.path().display());
        self.say(&format!("$ {}", finished.command().replace(&folder, "")));
        for line in finished.stderr.lines().chain(finished.stdout.lines()) {
            self.say(&format!("  {}", line.replace(&folder, "")));
        }
    }
}
