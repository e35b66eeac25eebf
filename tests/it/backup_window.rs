//! `backup --window`: one run a night, as a CronJob starts it.

use ckbackup::config::read_schedule;
use ckbackup::scheduler::{Night, Timing};
use ckbackup::vault::layout::{BackupId, MANIFEST, SIGNATURE};
use ckbackup::vault::manifest::Manifest;
use ckbackup::vault::signature::{Purpose, Signer};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::backup_rig::Rig;
use crate::bucket_stage::BucketStage;
use crate::events::reasons;
use crate::harness::control_plane::shared;
use crate::harness::{Action, Ckbackup, FaultProxy, Search, search};

/// A window from so many minutes from now to so many.
pub fn schedule(rig: &Rig, opens: i64, closes: i64) -> Value {
    let clock = |minutes| (Timestamp::now() + SignedDuration::from_mins(minutes)).strftime("%H:%M").to_string();
    let small = json!({"resources": {"include": ["deployments.apps", "namespaces"]}});
    let mut schedule = rig.schedule(json!([{"name": "platform", "kubernetes": small}]));
    schedule["spec"]["window"] = json!({"opens": clock(opens), "closes": clock(closes), "timeZone": "UTC"});
    // The tests run at the same time, in one cluster.
    schedule["spec"]["lease"] = json!({"name": lease_of(rig), "term": "30s"});
    schedule
}

/// The same, with a lease that is soon free when its holder is gone.
pub fn schedule_with_short_lease(rig: &Rig) -> Value {
    let mut schedule = schedule(rig, -60, 60);
    schedule["spec"]["lease"]["term"] = json!("10s");
    schedule
}

/// A name that no other test has.
pub fn lease_of(rig: &Rig) -> String {
    let folder = rig.scratch.path().file_name().unwrap().to_str().unwrap().to_lowercase();
    folder.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

pub fn backup(rig: &Rig, schedule: &Value, when: &str) -> Ckbackup {
    let file = rig.scratch.file("nightly.yaml", serde_json::to_vec_pretty(schedule).unwrap());
    let backup = Ckbackup::new(&rig.scratch).args(["backup", when, "-o", "json", "-f"]).arg(file);
    backup.arg("--kubeconfig").arg(&shared().kubeconfig)
}

#[tokio::test]
async fn a_night_has_one_run_and_its_manifest_names_the_window() {
    let rig = Rig::new();
    let schedule = schedule(&rig, -60, 60);
    let saved = rig.open(&backup(&rig, &schedule, "--window").run().await.expect_success());
    let window = &saved.manifest["window"];
    let time = |value: &Value| value.as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(time(&window["closes"]).duration_since(time(&window["opens"])), SignedDuration::from_hours(2));
    assert!(time(&window["opens"]) < time(&saved.manifest["started"]), "{window}");

    let again = backup(&rig, &schedule, "--window").run().await.expect_success();
    assert_eq!(again.json()["taken"], saved.manifest["id"], "{again}");
    assert_eq!(rig.committed().len(), 1);
}

#[tokio::test]
async fn outside_its_window_nothing_starts_and_nothing_is_written() {
    let rig = Rig::new();
    let closed = backup(&rig, &schedule(&rig, 60, 120), "--window").run().await.expect(6);
    assert!(closed.stderr.contains("is not open") && closed.stderr.contains("hint: it opens at"), "{closed}");
    assert_eq!(closed.json()["kind"], json!("windowMissed"), "{closed}");
    assert!(!rig.vault().exists());

    let mut none = schedule(&rig, 60, 120);
    none["spec"].as_object_mut().unwrap().remove("window");
    let none = backup(&rig, &none, "--window").run().await.expect(2);
    assert!(none.stderr.contains("schedule nightly has no window"), "{none}");
}

#[tokio::test]
async fn what_a_person_took_in_the_window_counts_and_what_a_stranger_signed_does_not() {
    let (rig, stranger) = (Rig::new(), Rig::new());
    let mut theirs = schedule(&stranger, -60, 60);
    theirs["spec"]["vault"] = schedule(&rig, -60, 60)["spec"]["vault"].clone();
    backup(&stranger, &theirs, "--window").run().await.expect_success();

    let asked = backup(&rig, &schedule(&rig, -60, 60), "--now").run().await.expect_success().json();
    let night = backup(&rig, &schedule(&rig, -60, 60), "--window").run().await.expect_success().json();
    assert_eq!(night["taken"], asked["id"]);
    assert_eq!(rig.committed().len(), 2);
}

#[tokio::test]
async fn a_partial_run_is_the_nights_run_and_stays_a_failure() {
    let rig = Rig::new();
    let mut both = schedule(&rig, -60, 60);
    let missing = json!({"name": "missing", "kubernetes": {"resources": {"include": ["nothing.example.org"]}}});
    both["spec"]["sources"].as_array_mut().unwrap().push(missing);
    let partial = backup(&rig, &both, "--window").run().await.expect(3).json();
    let again = backup(&rig, &both, "--window").run().await.expect(3).json();
    assert_eq!((&again["taken"], &again["status"]), (&partial["id"], &json!("partial")));
    assert_eq!(rig.committed().len(), 1);
}

/// The window has just opened, and this cluster's turn comes minutes later.
#[tokio::test]
async fn a_run_that_waits_for_its_turn_can_be_stopped() {
    let rig = Rig::new();
    let mut waits = schedule(&rig, 0, 180);
    let turn = |schedule: &Value| {
        let file = rig.scratch.file("try.yaml", serde_json::to_vec(schedule).unwrap());
        let timing = Timing::of(&read_schedule(&file, None).unwrap()).unwrap();
        let night = Night::at_or_after(timing.window(), Timestamp::now()).unwrap();
        timing.start_of(&night).duration_since(night.opens)
    };
    for number in 0.. {
        waits["metadata"]["name"] = json!(format!("nightly-{number}"));
        if turn(&waits) > SignedDuration::from_mins(5) {
            break;
        }
    }
    let running = backup(&rig, &waits, "--window").start().await;
    running.says("starts at").await;
    running.signal("INT");
    let stopped = running.finish().await.expect(130);
    assert!(stopped.stderr.contains("starts at") && stopped.stderr.contains("clusters are spread"), "{stopped}");
    assert!(stopped.stderr.contains("interrupted; nothing was written"), "{stopped}");
    assert!(rig.committed().is_empty());
}

/// Waits until the present minute has some seconds left, and not more than a busy server is given: windows open and close
/// at full minutes.
async fn late_in_a_minute() {
    let rest = 60 - Timestamp::now().as_second().rem_euclid(60);
    let wait = if rest < 22 { rest + 32 } else { rest - 28 };
    tokio::time::sleep(std::time::Duration::from_secs(wait.max(0) as u64)).await;
}

/// The end of a minute that has some seconds left, but not many.
async fn closing_soon() -> Timestamp {
    late_in_a_minute().await;
    let to_the_minute = jiff::TimestampRound::new().smallest(jiff::Unit::Minute).mode(jiff::RoundMode::Ceil);
    Timestamp::now().round(to_the_minute).unwrap()
}

/// Servers that take a question and never answer: the first, one for documents, one for an object.
#[tokio::test]
async fn no_server_that_hangs_keeps_a_run_from_committing_before_the_close() {
    let server = search(Search::Elasticsearch8);
    server.fill("window-1", 0..3000).await;
    let archive = BucketStage::new().await;
    archive.put("archive/logs/a", "a\n").await;
    let closes = closing_soon().await;
    let run = async |url: &str, hangs: &'static str, source: &dyn Fn(&str) -> Value| {
        let rig = Rig::new();
        let mut schedule = schedule(&rig, -2, 1);
        let proxy = FaultProxy::plain(url, move |request| match request.path.contains(hangs) {
            true => Action::Hang,
            false => Action::Forward,
        });
        let mut hanging = source(proxy.url());
        hanging["name"] = json!("hanging");
        schedule["spec"]["sources"].as_array_mut().unwrap().push(hanging);
        let ended = backup(&rig, &schedule, "--window").run().await.expect(3);
        let saved = rig.open(&ended);
        let finished = saved.manifest["finished"].as_str().unwrap().parse::<Timestamp>().unwrap();
        assert!(finished <= closes, "{hangs}: {finished} {closes}");
        let problems = saved.manifest["sources"].as_array().unwrap().last().unwrap()["problems"].to_string();
        assert!(problems.contains("the window closed before it was read"), "{hangs}: {problems}");
        assert!(!saved.names("namespaces").is_empty(), "what was read is there");
    };
    let documents = |url: &str| json!({"elasticsearch": {"url": url, "indices": ["window-*"]}});
    let objects = |url: &str| json!({"objects": archive.at(url, "archive/logs")});
    tokio::join!(
        run(server.url(), "/", &documents),
        run(server.url(), "_search", &documents),
        run(archive.s3.endpoint(), "logs/a", &objects)
    );
}

/// A window that closes with this minute, and a server that does not give one of the types before it has.
#[tokio::test]
async fn a_run_that_is_not_done_at_the_close_commits_what_it_has_or_goes_on() {
    let closes = closing_soon().await;
    let run = async |on_close: &str, part: &'static str| {
        let rig = Rig::new();
        let mut schedule = schedule(&rig, -2, 1);
        schedule["spec"]["onWindowClose"] = json!(on_close);
        let late = json!({"name": "late", "kubernetes": {"resources": {"include": ["namespaces"]}}});
        schedule["spec"]["sources"].as_array_mut().unwrap().push(late);
        let proxy = FaultProxy::tls(&shared().server, &shared().ca_pem, move |request| {
            match request.is("GET", part) && Timestamp::now() < closes + SignedDuration::from_secs(2) {
                true => Action::kubernetes_status(503, "ServiceUnavailable", "not yet"),
                false => Action::Forward,
            }
        });
        let file = rig.scratch.file("nightly.yaml", serde_json::to_vec(&schedule).unwrap());
        let kubeconfig = rig.through(&proxy, &shared().token);
        let run = Ckbackup::new(&rig.scratch).args(["backup", "--window", "-o", "json", "-f"]).arg(file);
        let ended = run.arg("--kubeconfig").arg(kubeconfig).run().await;
        (rig, ended)
    };
    let ((rig, partial), (late, complete), (nothing, empty)) = tokio::join!(
        run("commitPartial", "/deployments"),
        run("finish", "/deployments"),
        run("commitPartial", "limit=")
    );
    assert!(empty.expect(1).stderr.contains("the window closed before anything was read"));
    assert!(nothing.committed().is_empty(), "nothing is no backup of the night");
    assert_eq!(reasons(&nothing).await, ["BackupFailed"]);
    assert_eq!(reasons(&rig).await, ["WindowClosed", "BackupPartial"]);
    assert_eq!(reasons(&late).await, ["WindowClosed", "BackupCompleted"]);

    let saved = rig.open(&partial.expect(3));
    assert_eq!((&saved.manifest["status"], saved.problems()), (&json!("partial"), 1));
    assert_eq!(saved.problem("deployments.apps").as_deref(), Some("the window closed before it was read"));
    assert!(saved.names("namespaces").contains(&"kube-system".to_string()), "what was read is there");
    assert_eq!(saved.manifest["leftOutSources"], json!(["late"]), "what it did not come to is named");
    let finished = saved.manifest["finished"].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert!(finished <= closes, "{finished} {closes}");

    let complete = complete.expect_success();
    assert_eq!(complete.json()["status"], json!("complete"));
    assert!(complete.stderr.contains("after the window had closed"), "{complete}");
}

/// The night before has no run, though there was one before it.
#[tokio::test]
async fn a_night_that_was_missed_is_made_up_for_where_the_schedule_says_so() {
    let rig = Rig::new();
    let mut closed = schedule(&rig, 60, 120);
    let saved = rig.open(&backup(&rig, &closed, "--now").run().await.expect_success());
    date_back(&rig, saved.manifest["id"].as_str().unwrap(), SignedDuration::from_hours(24 * 3));
    backup(&rig, &closed, "--window").run().await.expect(6);

    closed["spec"]["catchUp"] = json!("allways");
    let wrong = backup(&rig, &closed, "--window").run().await.expect(2);
    assert!(wrong.stderr.contains("did you mean `always`"), "{wrong}");
    closed["spec"]["catchUp"] = json!("always");
    let made_up = backup(&rig, &closed, "--window").run().await.expect_success();
    assert!(made_up.stderr.contains("making up for the night of"), "{made_up}");
    assert!(made_up.stderr.contains("passed without a backup"), "{made_up}");
    let made_up = rig.open(&made_up);
    let opened = made_up.manifest["window"]["opens"].as_str().unwrap().parse::<Timestamp>().unwrap();
    let ago = Timestamp::now().duration_since(opened);
    assert!((22..24).contains(&ago.as_hours()), "{ago}");
    // Once: the night has its run now, and the next one comes with the next window.
    backup(&rig, &closed, "--window").run().await.expect(6);
    assert_eq!(rig.committed().len(), 2);
}

/// Makes a backup older than it is, and signs it anew.
pub fn date_back(rig: &Rig, id: &str, by: SignedDuration) {
    let folder = rig.vault().join(crate::backup_rig::CLUSTER).join(id);
    let mut manifest = Manifest::parse(&std::fs::read(folder.join(MANIFEST)).unwrap()).unwrap();
    (manifest.started, manifest.finished) = (manifest.started - by, manifest.finished - by);
    manifest.id = BackupId::new(manifest.started, &"nightly".parse().unwrap());
    let bytes = manifest.to_bytes().unwrap();
    let signer = Signer::read(&rig.scratch.path().join("signing_key")).unwrap();
    std::fs::write(folder.join(SIGNATURE), signer.sign(Purpose::Backup, &bytes).unwrap()).unwrap();
    std::fs::write(folder.join(MANIFEST), bytes).unwrap();
    std::fs::rename(&folder, folder.with_file_name(manifest.id.to_string())).unwrap();
}
