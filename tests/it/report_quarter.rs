//! A quarter from the vault's records: a good one, and a bad one in which what is missing is said.

use std::path::PathBuf;

use ckbackup::config::VaultLocation;
use ckbackup::reader::append_record;
use ckbackup::report::model::{ExerciseReport, TargetKind};
use ckbackup::report::record_of;
use ckbackup::storage::StoreSettings;
use ckbackup::vault::Vault;
use ckbackup::vault::attestation::Level;
use ckbackup::vault::layout::BackupId;
use ckbackup::vault::manifest::Status;
use ckbackup::vault::record::{
    BackupRecord, FailedRunRecord, MissedNightRecord, RecordBody, RotationRecord, VerificationRecord,
};
use ckbackup::vault::signature::Signer;
use jiff::civil::{Date, date};
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::harness::{Ckbackup, Finished, Page, Scratch};
use crate::report_fixture::{bad_drill, good_drill};

const CLUSTER: &str = "workload-1";

/// A vault that has nothing but records, and the keys of those who write them.
struct Ledger {
    scratch: Scratch,
    vault: Vault,
    job: Signer,
    keeper: Signer,
}

impl Ledger {
    async fn new() -> Ledger {
        let scratch = Scratch::new();
        for (dir, only) in [("job", "signing"), ("keeper", "attesting")] {
            Ckbackup::new(&scratch).args(["keygen", "--dir", dir, "--only", only]).run().await.expect_success();
        }
        let both = "cat job/allowed_signers keeper/allowed_attesters > signers";
        Ckbackup::program("sh", &scratch).args(["-c", both]).run().await.expect_success();
        let location = VaultLocation::in_folder(&scratch.folder("vault")).unwrap();
        let vault = Vault::open_or_create(&location, &StoreSettings::default()).await.unwrap();
        let key = |file: &str| Signer::read(&scratch.path().join(file)).unwrap();
        let (job, keeper) = (key("job/signing_key"), key("keeper/attesting_key"));
        Ledger { scratch, vault, job, keeper }
    }

    async fn write_by(&self, signer: &Signer, at: Timestamp, body: RecordBody) -> String {
        append_record(&self.vault, signer, CLUSTER, &"nightly".parse().unwrap(), at, body).await.unwrap()
    }

    /// The run of a night, which began an hour before midnight in UTC.
    async fn backup(&self, night: Date, status: Status) -> BackupRecord {
        let started = midnight(night) - SignedDuration::from_mins(59);
        let record = BackupRecord {
            id: BackupId::new(started, &"nightly".parse().unwrap()),
            manifest_sha256: [night.day() as u8; 32],
            status,
            started,
            finished: started + SignedDuration::from_mins(20),
            night: Some(night),
            items: 31_034,
            stored_bytes: 5 << 30,
            problems: u64::from(status == Status::Partial),
        };
        self.write_by(&self.job, record.finished, RecordBody::Backup(record.clone())).await;
        record
    }

    async fn verified(&self, backup: &BackupRecord) {
        let (backup, manifest_sha256, at) = (backup.id.clone(), backup.manifest_sha256, backup.finished);
        let body = VerificationRecord { backup, manifest_sha256, level: Level::Readable };
        self.write_by(&self.keeper, at + SignedDuration::from_hours(4), RecordBody::Verification(body)).await;
    }

    async fn drill(&self, report: &ExerciseReport) {
        self.write_by(&self.keeper, report.finished, record_of(report).unwrap()).await;
    }

    /// Every night of the quarter, as it should be.
    async fn nights(&self, but: &[Date]) {
        for night in date(2026, 10, 1).series(1.day()).take_while(|night| *night <= date(2026, 12, 31)) {
            if !but.contains(&night) {
                let backup = self.backup(night, Status::Complete).await;
                self.verified(&backup).await;
            }
        }
    }

    async fn report(&self, more: &[&str]) -> Finished {
        let run = Ckbackup::new(&self.scratch).args(["report", "--quarter", "2026Q4", "--vault", "vault"]);
        let run = run.args(["--signers", "signers", "--through", "2026-12-31", "-o", "json"]);
        run.args(more.iter()).run().await
    }

    fn file(&self, key: &str) -> PathBuf {
        self.scratch.path().join("vault").join(key)
    }
}

fn midnight(day: Date) -> Timestamp {
    day.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp()
}

fn gaps(report: &Value) -> Vec<String> {
    let gaps = report["gaps"].as_array().unwrap().iter();
    gaps.map(|gap| format!("{}: {}", gap["kind"].as_str().unwrap(), gap["text"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn in_a_good_quarter_nothing_is_missing() {
    let ledger = Ledger::new().await;
    ledger.nights(&[]).await;
    ledger.drill(&good_drill()).await;
    let mut earlier = good_drill();
    earlier.id = "20260820T080000Z-drill-workload-cluster".into();
    (earlier.started, earlier.finished) =
        ("2026-08-20T08:00:00Z".parse().unwrap(), "2026-08-20T09:00:00Z".parse().unwrap());
    ledger.drill(&earlier).await;

    let report = ledger.report(&[]).await.expect_success().json();
    assert_eq!(gaps(&report), Vec::<String>::new());
    let cluster = &report["clusters"][0];
    assert_eq!((&cluster["nights"], &cluster["nightsComplete"]), (&json!(92), &json!(92)));
    assert_eq!(cluster["longestGapSeconds"], json!(86_400.0));
    let backup = &cluster["backups"][0];
    assert_eq!((&backup["night"], &backup["id"]), (&json!("2026-10-01"), &json!("20260930T230100Z-nightly")));
    assert_eq!((&backup["proved"], &backup["signature"]["principal"]), (&json!("readable"), &json!("backup@cluster")));
    assert_eq!(report["exercises"].as_array().unwrap().len(), 1);
    assert_eq!(report["exercises"][0]["achievedSeconds"], json!(4330.0));
    assert_eq!(report["exercises"][0]["signature"]["principal"], json!("keeper@vault"));
    let history: Vec<_> = report["history"].as_array().unwrap().iter().map(|it| &it["quarter"]).collect();
    assert_eq!(history, [&json!("2026Q3"), &json!("2026Q4")]);

    // The same input gives the same bytes, signed ones too.
    for folder in ["once", "twice"] {
        let key = "keeper/attesting_key";
        ledger.report(&["--report-dir", folder, "--signing-key", key]).await.expect_success();
    }
    for file in ["report.json", "report.json.sig", "report.html", "report.md"] {
        let read = |folder: &str| std::fs::read(ledger.scratch.path().join(folder).join(file)).unwrap();
        assert!(read("once") == read("twice"), "{file}");
    }
    let verify = Ckbackup::new(&ledger.scratch).args(["report", "verify", "once", "--signers", "signers"]);
    assert!(verify.run().await.expect_success().stdout.contains("good, by keeper@vault"));
}

#[tokio::test]
async fn in_a_bad_quarter_what_is_missing_is_said() {
    let ledger = Ledger::new().await;
    let day = |day: i8| date(2026, 11, day);
    ledger.nights(&[day(3), day(4), day(10), day(20), day(21), day(28)]).await;
    // Of the 3rd and 4th nothing is known; the others are told.
    let body = MissedNightRecord { night: day(10), reason: "the night of 2026-11-10 passed without a backup".into() };
    ledger.write_by(&ledger.job, midnight(day(10)), RecordBody::MissedNight(body)).await;
    let began = midnight(day(20)) - SignedDuration::from_mins(30);
    let body = FailedRunRecord { began, night: Some(day(20)), reason: "read vault: <b>no route</b>".into() };
    ledger.write_by(&ledger.job, began, RecordBody::FailedRun(body)).await;
    ledger.backup(day(21), Status::Partial).await;
    ledger.backup(day(28), Status::Complete).await;
    let removed = vec!["20260930T230100Z-nightly".parse().unwrap()];
    let body = RecordBody::Rotation(RotationRecord { keep: 3, removed });
    ledger.write_by(&ledger.keeper, midnight(day(29)), body).await;
    ledger.drill(&bad_drill()).await;
    let actions = "apiVersion: ckbackup.io/v1\nkind: Actions\nmetadata: {name: platform}\nspec:\n  actions:\n    \
                   - {id: CA-0, text: was done long ago, closed: 2026-08-01}\n    - {id: CA-2, text: say who does it, owner: \
                   ops, due: 2027-02-01}\n";
    ledger.scratch.file("actions.yaml", actions);

    let report = ledger.report(&["--actions", "actions.yaml"]).await.expect(3).json();
    assert_eq!(
        gaps(&report),
        [
            "nightsWithoutRecord: no record says anything of 2 nights: 2026-11-03 to 2026-11-04",
            "nightsWithoutCompleteBackup: no backup of 2 nights: 2026-11-10, 2026-11-20, which records explain",
            "nightsWithoutCompleteBackup: only a partial backup of 1 night",
            "backupsWithoutVerification: 1 of 87 complete backups were never verified",
            "noDrillPassed: no drill of 2026Q4 passed",
            "actionsOverdue: past their day: CA-1",
        ]
    );
    let cluster = &report["clusters"][0];
    assert_eq!(
        (&cluster["nights"], &cluster["nightsComplete"], &cluster["nightsPartial"]),
        (&json!(92), &json!(87), &json!(1))
    );
    assert_eq!(cluster["longestGapSeconds"], json!(3.0 * 86_400.0));
    assert_eq!(cluster["missedNights"][3]["reason"], json!("read vault: <b>no route</b>"));
    assert_eq!(cluster["rotations"][0]["removed"], json!(["20260930T230100Z-nightly"]));
    // Open actions of the drill carry over; what somebody wrote into the list counts more; what is long done is gone.
    let ids: Vec<_> = report["actions"].as_array().unwrap().iter().map(|action| &action["id"]).collect();
    assert_eq!(ids, [&json!("CA-1"), &json!("CA-2")]);
    assert_eq!(report["actions"][1]["owner"], json!("ops"));
    assert_eq!(report["actions"][1]["openedBy"], json!("20261110T090000Z-drill-workload-cluster"));

    let none = ledger.report(&["--cluster", "management"]).await.expect(3).json();
    assert!(gaps(&none).iter().any(|gap| gap == "noDrill: 2026Q4 has no drill"), "{none}");
    assert_eq!(none["clusters"][0]["missedNights"].as_array().unwrap().len(), 92);

    ledger.report(&["--report-dir", "bad"]).await.expect(3);
    let mut page = Page::open(&ledger.scratch, &ledger.scratch.path().join("bad/report.html")).await;
    for width in [320, 768, 1920] {
        page.resize(width).await;
        let wide = page.evaluate("document.documentElement.scrollWidth").await.as_u64().unwrap();
        assert!(wide <= u64::from(width), "{wide} at {width}");
    }
    let text = page.evaluate("document.body.innerText").await.as_str().unwrap().to_owned();
    for shown in ["2026-11-03 to 2026-11-04", "<b>no route</b>", "drill (sandbox)"] {
        assert!(text.contains(shown), "{shown} is missing:\n{text}");
    }
    assert_eq!(page.complaints(), Vec::<&Value>::new());
}

#[tokio::test]
async fn each_cluster_with_backups_needs_a_drill_of_all_of_it() {
    let ledger = Ledger::new().await;
    let backup = ledger.backup(date(2026, 10, 5), Status::Complete).await;
    let (schedule, at) = ("nightly".parse().unwrap(), backup.finished);
    let body = RecordBody::Backup(backup);
    append_record(&ledger.vault, &ledger.job, "management", &schedule, at, body).await.unwrap();
    let missing = async || {
        let report = ledger.report(&[]).await.expect(3).json();
        let text = |gap: &Value, key: &str| gap[key].as_str().unwrap_or_default().to_owned();
        let gaps = report["gaps"].as_array().unwrap().iter().filter(|gap| text(gap, "kind").starts_with("noDrill"));
        gaps.map(|gap| format!("{}: {}", text(gap, "cluster"), text(gap, "text"))).collect::<Vec<_>>()
    };
    assert_eq!(missing().await, ["management: 2026Q4 has no drill", "workload-1: 2026Q4 has no drill"]);
    let mut shop = good_drill();
    shop.id = "20261102T080000Z-drill-shop".into();
    (shop.started, shop.finished) = ("2026-11-02T08:00:00Z".parse().unwrap(), "2026-11-02T08:10:00Z".parse().unwrap());
    shop.targets[0].kind = TargetKind::Namespace;
    ledger.drill(&shop).await;
    let namespaces = "workload-1: 2026Q4 has drills of single namespaces only";
    assert_eq!(missing().await, ["management: 2026Q4 has no drill", namespaces]);
    // The drill of one cluster says nothing of the other.
    ledger.drill(&good_drill()).await;
    assert_eq!(missing().await, ["management: 2026Q4 has no drill"]);
}

#[tokio::test]
async fn a_record_that_was_forged_copied_or_changed_does_not_count() {
    let ledger = Ledger::new().await;
    let backup = ledger.backup(date(2026, 10, 5), Status::Complete).await;
    // Whoever owns the cluster has the job's key, and can say that backups were taken; not that they were verified.
    let body = VerificationRecord {
        backup: backup.id.clone(),
        manifest_sha256: backup.manifest_sha256,
        level: Level::Restored,
    };
    let bytes = {
        let keeper = ledger.write_by(&ledger.keeper, backup.finished, RecordBody::Verification(body.clone())).await;
        let bytes = std::fs::read(ledger.file(&keeper)).unwrap();
        let forged = ledger.job.sign(ckbackup::vault::signature::Purpose::Record, &bytes).unwrap();
        std::fs::write(ledger.file(&format!("{keeper}.sig")), forged).unwrap();
        bytes
    };
    assert!(!bytes.is_empty());
    let failed = FailedRunRecord { began: backup.started, night: Some(date(2026, 10, 6)), reason: "x".into() };
    let changed = ledger.write_by(&ledger.job, backup.finished, RecordBody::FailedRun(failed.clone())).await;
    let text = std::fs::read_to_string(ledger.file(&changed)).unwrap();
    std::fs::write(ledger.file(&changed), text.replace("\"x\"", "\"y\"")).unwrap();
    // To a later night; to the next key of the same second; and without a signature.
    let fine = ledger.write_by(&ledger.job, midnight(date(2026, 10, 7)), RecordBody::FailedRun(failed)).await;
    let later = fine.replace("20261007", "20261008");
    let double = fine.replace(".json", ".2.json");
    for copy in [&later, &double] {
        for end in ["", ".sig"] {
            std::fs::copy(ledger.file(&format!("{fine}{end}")), ledger.file(&format!("{copy}{end}"))).unwrap();
        }
    }
    let unsigned = fine.replace("20261007", "20261009");
    std::fs::copy(ledger.file(&fine), ledger.file(&unsigned)).unwrap();
    let unknown = fine.replace("failedRun", "census");
    std::fs::copy(ledger.file(&fine), ledger.file(&unknown)).unwrap();

    let report = ledger.report(&[]).await.expect(5).json();
    let aside: Vec<_> = report["setAside"].as_array().unwrap().iter().map(|it| it["why"].as_str().unwrap()).collect();
    assert_eq!(aside.len(), 5, "{aside:?}");
    for (said, times) in [
        ("does not trust", 1),
        ("does not fit the record", 1),
        ("copied from another place", 1),
        ("copy of another record", 1),
        ("signature is missing", 1),
    ] {
        assert_eq!(aside.iter().filter(|why| why.contains(said)).count(), times, "{said}: {aside:?}");
    }
    assert_eq!(report["unknown"][0]["key"], json!(unknown));
    assert_eq!(report["clusters"][0]["backups"][0].get("proved"), None);
    assert_eq!(report["clusters"][0]["failedRuns"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn records_of_the_same_second_are_all_kept() {
    let ledger = Ledger::new().await;
    let at = midnight(date(2026, 10, 7));
    let writing = (0..12).map(|n| {
        let body = FailedRunRecord { began: at, night: None, reason: format!("run {n}") };
        ledger.write_by(&ledger.job, at, RecordBody::FailedRun(body))
    });
    let mut keys = futures::future::join_all(writing).await;
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 12);
    let report = ledger.report(&[]).await.expect(3).json();
    assert_eq!(report["clusters"][0]["failedRuns"].as_array().unwrap().len(), 12);
    assert_eq!(report["setAside"], json!([]));
}

#[tokio::test]
async fn the_vault_keeps_no_name_of_an_object() {
    let ledger = Ledger::new().await;
    let mut drill = bad_drill();
    drill.targets[0].kind = TargetKind::Namespace;
    drill.targets[0].place = "ckbackup-drill-shop in https://127.0.0.1:41233".into();
    ledger.drill(&drill).await;
    let records = crate::vault_stage::files(&ledger.scratch.path().join("vault").join(CLUSTER));
    let record = records.iter().find(|name| name.ends_with(".json")).unwrap();
    let text = std::fs::read_to_string(ledger.file(&format!("{CLUSTER}/{record}"))).unwrap();
    for name in [
        "configmaps/shop",
        "secrets/shop",
        "ckbackup-drill-shop",
        "kubernetes-2026.11.25",
        "averylongnameaverylongname",
        "sum(up)",
    ] {
        let is_step = name.starts_with("averylong");
        assert_eq!(text.contains(name), is_step, "{name}");
    }
    for number in ["\"missing\": 20", "42 objects compared field by field"] {
        assert!(text.contains(number), "the numbers stay: {number}");
    }
}

#[tokio::test]
async fn what_lies_ahead_is_not_reported() {
    let ledger = Ledger::new().await;
    let run = Ckbackup::new(&ledger.scratch).args(["report", "--quarter", "2999Q1", "--vault", "vault"]);
    assert!(run.args(["--signers", "signers"]).run().await.expect(2).stderr.contains("nothing to report yet"));
    let run = Ckbackup::new(&ledger.scratch).args(["report", "--quarter", "2026Q5", "--vault", "vault"]).run().await;
    assert!(run.expect(2).stderr.contains("is not a quarter"));
    let run = Ckbackup::new(&ledger.scratch).arg("report").run().await;
    assert!(run.expect(2).stderr.contains("--quarter"));
}
