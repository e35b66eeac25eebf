//! Reports of drills that are known: one in which everything went well, and one in which much went wrong and every text is hostile.

use ckbackup::report::model::*;
use jiff::{SignedDuration, Timestamp};

/// Texts that try to be more than text.
pub const HOSTILE: [&str; 6] = [
    "<script>window.pwned=1</script>",
    "\"><img src=x onerror=window.pwned=1>",
    "safe\u{202e}gnp.exe",
    "| pipe [link](javascript:alert(1)) `code` **bold**",
    "𝕳𝖔𝖘𝖙𝖎𝖑𝖊 🚀 日本語テキスト",
    "]]>&amp;--><svg onload=window.pwned=1>",
];

/// A word that fits into no column.
pub fn long_word() -> String {
    "averylongname".repeat(20)
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The component rows of the platform, all restored.
fn coverage() -> Vec<CoverageRow> {
    let row = |component: &str, namespace: &str, saved_by: &str| CoverageRow {
        component: component.into(),
        namespaces: vec![namespace.into()],
        state: "objects, ConfigMaps and Secrets".into(),
        saved_by: vec![saved_by.into()],
        proved: Proved::Restored,
        evidence: "restored, and 42 objects compared field by field".into(),
    };
    vec![
        row("cert-manager", "cert-manager", "kubernetes"),
        row("Harbor", "harbor", "command"),
        row("Prometheus", "monitoring", "prometheus"),
        row("Elasticsearch", "elastic-system", "elasticsearch"),
    ]
}

fn step(name: &str, kind: &str, begin: i64, machine: f64, people: f64) -> StepReport {
    let started = at("2026-11-26T14:30:00Z") + SignedDuration::from_secs(begin);
    let took = SignedDuration::from_secs_f64(machine + people);
    StepReport {
        name: name.into(),
        kind: kind.into(),
        target: Some("workload".into()),
        started: Some(started),
        finished: Some(started + took),
        outcome: StepOutcome::Done,
        retries: 0,
        machine_seconds: machine,
        people_seconds: people,
        items: ItemCounts { created: 1234, unchanged: 2, ..ItemCounts::default() },
        expected_seconds: Some(600.0),
        critical: kind != "gate",
        note: None,
    }
}

/// A drill in which everything went well.
pub fn good_drill() -> ExerciseReport {
    let mut objects = Verification::new("platform", VerificationKind::Objects, VerificationOutcome::Passed);
    (objects.compared, objects.equal) = (1236, 1236);
    objects.ignored.insert("made by a controller".into(), 17);
    let mut documents = Verification::new("logs", VerificationKind::Documents, VerificationOutcome::Passed);
    documents.counts =
        vec![CountCheck { name: "documents in kubernetes-2026.11.25".into(), expected: 5952, found: Some(5952) }];
    let mut metrics = Verification::new("metrics", VerificationKind::Metrics, VerificationOutcome::Passed);
    let (query, answer) = ("sum(up)".to_string(), "37".to_string());
    metrics.queries = vec![QueryCheck { query, expected: answer.clone(), found: answer, equal: true }];
    ExerciseReport {
        schema: REPORT_SCHEMA.into(),
        id: "20261126T143000Z-drill-workload-cluster".into(),
        kind: ExerciseKind::Drill,
        verdict: Verdict::Passed,
        started: at("2026-11-26T14:30:00Z"),
        finished: at("2026-11-26T15:42:10Z"),
        tool_version: env!("CARGO_PKG_VERSION").into(),
        resumed: false,
        scenario: Some(Scenario {
            name: "cluster-lost".into(),
            lost: "the whole workload cluster".into(),
            proved: "the cluster comes back from the vault alone".into(),
        }),
        plan: PlanUsed { name: "workload-cluster".into(), sha256: "ab".repeat(32) },
        targets: vec![Target {
            name: Some("workload".into()),
            kind: TargetKind::Sandbox,
            place: "https://127.0.0.1:41233".into(),
            server_version: Some("v1.34.4".into()),
        }],
        people: People { ran_by: Some("Ada".into()), approved_by: Some("Grace".into()) },
        backups: vec![BackupUsed {
            cluster: "workload-1".into(),
            id: "20261125T230003Z-nightly".into(),
            started: at("2026-11-25T23:00:03Z"),
            age_seconds: 55_797.0,
            manifest_sha256: "cd".repeat(32),
            signature: SignatureFound {
                status: SignatureStatus::Good,
                principal: Some("backup@cluster".into()),
                fingerprint: Some("SHA256:abcdef".into()),
                problem: None,
            },
            completeness: BackupCompleteness::Complete,
            problems: vec![],
        }],
        keys: vec![KeyUsed {
            r#use: KeyUse::Decrypt,
            fingerprint: "age1oncall".into(),
            holder: Some("on-call".into()),
        }],
        clock: ClockReading {
            incident_start: at("2026-11-26T14:30:00Z"),
            rto_seconds: 14_400.0,
            achieved_seconds: 4330.0,
            met: true,
            usable_seconds: Some(2800.0),
            machine_seconds: 3130.0,
            people_seconds: 1200.0,
            other_seconds: Some(0.0),
            prediction: Some(Prediction { predicted_seconds: 4000.0, actual_seconds: 4330.0 }),
        },
        steps: vec![
            step("crds", "apply", 0, 30.0, 0.0),
            step("crds-established", "gate", 30, 12.0, 0.0),
            step("objects", "apply", 42, 588.0, 0.0),
            step("dns", "manual", 630, 0.0, 1200.0),
            step("logs", "elasticsearch", 1830, 2500.0, 0.0),
        ],
        coverage: coverage(),
        verifications: vec![objects, documents, metrics],
        not_restored: vec![],
        not_exercised: vec![],
        deviations: vec![],
        actions: vec![],
        erasure: Erasure { status: ErasureStatus::Done, step: Some("erase-again".into()), note: None },
        sign_off: SignOff::to_fill_in(),
    }
}

/// A drill in which much went wrong, told in hostile words.
pub fn bad_drill() -> ExerciseReport {
    let mut report = good_drill();
    let [script, image, turned, pipes, wide, end] = HOSTILE.map(String::from);
    report.id = "20261110T090000Z-drill-workload-cluster".into();
    (report.started, report.finished) = (at("2026-11-10T09:00:00Z"), at("2026-11-10T14:10:00Z"));
    report.verdict = Verdict::Failed;
    let lost = format!("the namespace of secrets/shop/x {image}");
    report.scenario = Some(Scenario { name: script.clone(), lost, proved: String::new() });
    report.people = People { ran_by: Some(turned.clone()), approved_by: None };
    // Nothing was done before the provider had built the cluster.
    report.clock =
        ClockReading { achieved_seconds: 18_600.0, met: false, other_seconds: Some(14_270.0), ..report.clock };
    report.steps[2].outcome = StepOutcome::Incomplete;
    report.steps[2].note = Some(format!("{image} {end}"));
    report.steps[2].name = long_word();
    report.steps[3].outcome = StepOutcome::Failed;
    report.steps[3].note = Some(pipes.clone());
    report.steps[4] =
        StepReport { started: None, finished: None, outcome: StepOutcome::NotRun, ..report.steps[4].clone() };
    report.coverage[0].proved = Proved::NotExercised;
    report.coverage[0].evidence = format!("objects: secrets/shop/{script} is not there");
    report.coverage[1].proved = Proved::NotCovered;
    report.coverage[1].component = wide.clone();
    let objects = &mut report.verifications[0];
    objects.outcome = VerificationOutcome::Failed;
    (objects.equal, objects.missing, objects.changed) = (1200, 20, 16);
    objects.differences = vec![
        DifferenceNamed { object: format!("configmaps/shop/{}", long_word()), what: "missing".into() },
        DifferenceNamed { object: format!("secrets/shop/{script}"), what: image.clone() },
    ];
    report.verifications[1].outcome = VerificationOutcome::NotExercised;
    report.verifications[1].counts[0].found = None;
    report.verifications[2].outcome = VerificationOutcome::Failed;
    report.verifications[2].queries[0].equal = false;
    report.not_restored =
        vec![NotRestored { step: Some("objects".into()), what: format!("secrets/shop/{script}"), why: turned.clone() }];
    report.not_exercised = vec![NotExercised { what: "pods become ready".into(), why: wide, count: Some(12) }];
    let why = format!("configmaps/shop/{} was there already {end}", long_word());
    report.deviations = vec![Deviation { what: pipes, why }];
    report.actions = vec![
        Action {
            id: "CA-1".into(),
            text: script,
            owner: Some(image),
            due: Some("2026-11-20".parse().unwrap()),
            opened_by: None,
            closed: None,
        },
        Action {
            id: "CA-2".into(),
            text: "say who does it".into(),
            owner: None,
            due: None,
            opened_by: None,
            closed: None,
        },
    ];
    let note = Some(format!("configmaps/shop/{turned} holds nobody's data"));
    report.erasure = Erasure { status: ErasureStatus::NotInPlan, step: None, note };
    report
}
