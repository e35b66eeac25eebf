//! Which backup, which plan, which keys, against which clock; and dry runs.

use serde_json::{Value, json};

use crate::harness::Action;
use crate::harness::control_plane::shared;
use crate::restore_fixture::*;

const ALL: &str = "[{name: maps, apply: {kinds: [ConfigMap]}}]";

async fn backed_up(count: usize) -> (Rig, String) {
    let (rig, namespace) = (Rig::new().await, shared().namespace("choice").await);
    fill(&namespace, count).await;
    rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    empty(&namespace).await;
    (rig, namespace)
}

#[tokio::test]
async fn a_restore_past_the_objective_says_so_and_exits_with_4() {
    let (rig, _) = backed_up(1).await;
    let restore = || rig.restore(&rig.plan(ALL), &shared().kubeconfig);
    let late = restore().args(["--incident-start", "5h"]).run().await.expect(4);
    let clock = summary(&late)["rto"].clone();
    assert_eq!((clock["met"].as_bool(), clock["limitSeconds"].as_f64()), (Some(false), Some(14400.0)), "{clock}");
    assert!(clock["elapsedSeconds"].as_f64().unwrap() >= 18000.0, "{clock}");

    let line = format!(
        "restore -f restore-plans/test.yaml --vault vault --identity keys/identity.txt --signers keys/allowed_signers \
         --incident-start 5h --kubeconfig {}",
        shared().kubeconfig.display()
    );
    let table = rig.ckbackup(&line).run().await.expect(4);
    assert!(table.stdout.contains(" of 4h") && table.stdout.contains("NOT MET"), "{table}");

    let ahead = restore().args(["--incident-start", "2999-01-01T00:00:00Z"]).run().await.expect(2);
    assert!(ahead.stderr.contains("lies ahead"), "{ahead}");
}

#[tokio::test]
async fn the_summary_has_the_promised_fields() {
    let (rig, _) = backed_up(2).await;
    let restore = rig.restore(&rig.plan(ALL), &shared().kubeconfig).run().await.expect_success();
    let summary = summary(&restore);
    assert!(summary["backup"].as_str().unwrap().ends_with("Z-nightly"));
    assert_eq!(summary["status"], "complete");
    assert!(summary["seconds"].is_number() && summary["failures"] == json!([]));
    assert_eq!((summary["rto"]["limitSeconds"].as_f64(), &summary["rto"]["met"]), (Some(14400.0), &json!(true)));
    let step = &summary["steps"][0];
    assert_eq!((&step["name"], &step["status"]), (&json!("maps"), &json!("done")));
    assert!(step["seconds"].is_number());
    assert_eq!(step["items"], json!({"created": 2, "updated": 0, "unchanged": 0, "skipped": 0, "failed": 0}));
}

/// The same proxy sees the dry run and the restore.
#[tokio::test]
async fn a_dry_run_only_reads_and_foretells_what_the_restore_does() {
    let (rig, namespace) = backed_up(4).await;
    let maps = config_maps(&namespace);
    let api = shared().api();
    api.create(&maps, &config_map("item-00")).await;
    let mut other = config_map("item-01");
    other["data"]["key"] = json!("other");
    api.create(&maps, &other).await;
    let (proxy, kubeconfig) = rig.in_front_of_shared(|_| Action::Forward);
    let plan = rig.plan(&format!(
        "[{{name: maps, apply: {{kinds: [ConfigMap]}}}}, \
          {{name: open, after: [maps], gate: {{kind: Namespace, condition: Active, \
                                              labels: kubernetes.io/metadata.name={namespace}}}}}, \
          {{name: dns, after: [open], manual: {{title: Point DNS at it}}}}]"
    ));
    let dry = rig.restore(&plan, &kubeconfig).arg("--dry-run").run().await.expect_success();
    let writes: Vec<_> = proxy.seen().into_iter().filter(|seen| seen.writes()).collect();
    assert!(writes.is_empty(), "{writes:?}");
    let foretold = summary(&dry);
    assert_eq!((foretold["status"].as_str(), items(&foretold)), (Some("dryRun"), [2, 0, 1, 1, 0]), "{dry}");
    for step in foretold["steps"].as_array().unwrap() {
        assert_eq!(step["status"], "planned");
    }
    assert!(step(&foretold, "maps")["standing"].to_string().contains(".data.key"), "{dry}");

    let real = rig.restore(&plan, &kubeconfig).arg("--yes").run().await.expect_success();
    assert_eq!(items(&summary(&real)), items(&foretold));
}

#[tokio::test]
async fn a_dry_run_names_types_that_the_target_does_not_serve() {
    const GROUP: &str = "unserved.test";
    let (rig, api, namespace) = (Rig::new().await, shared().api(), shared().namespace("unserved").await);
    define(&api, GROUP).await;
    api.create(&things(GROUP, &namespace), &thing(GROUP, "one")).await;
    rig.back_up(&shared().kubeconfig, &with_things(&namespace, &[GROUP])).await;
    // To the target, the type is unknown.
    let (_proxy, kubeconfig) = rig.in_front_of_shared(|request| match request.path.contains(GROUP) {
        true => Action::kubernetes_status(404, "NotFound", "the server could not find the requested resource"),
        false => Action::Forward,
    });
    let plan = rig.plan("[{name: all, apply: {}}]");
    let dry = rig.restore(&plan, &kubeconfig).arg("--dry-run").run().await.expect(3);
    let why = summary(&dry)["failures"][0]["why"].clone();
    assert_eq!(why, format!("the target does not serve things.{GROUP} in version v1"));
}

#[tokio::test]
async fn the_plan_and_its_runbook_come_out_of_the_backup() {
    let (rig, namespace) = (Rig::new().await, shared().namespace("stored").await);
    fill(&namespace, 1).await;
    rig.scratch.file("runbooks/dns.md", "# The runbook of that night\n");
    rig.plan_named(
        "kept",
        "[{name: all, apply: {kinds: [ConfigMap]}}, {name: dns, manual: {title: t, runbook: runbooks/dns.md}}]",
    );
    rig.plan_named("other", ALL);
    let schedule = rig.schedule("nightly", &only(&namespace));
    let text = std::fs::read_to_string(&schedule).unwrap()
        + "  include: {plans: [\"restore-plans/*.yaml\"], runbooks: [runbooks/dns.md]}\n";
    std::fs::write(&schedule, text).unwrap();
    rig.back_up_by("nightly.yaml", &shared().kubeconfig).await;
    for folder in ["restore-plans", "runbooks"] {
        std::fs::remove_dir_all(rig.path(folder)).unwrap();
    }
    empty(&namespace).await;

    let restore =
        |name: &str| rig.reading(&format!("restore --yes --plan {name}")).arg("--kubeconfig").arg(&shared().kubeconfig);
    let unknown = restore("none").run().await.expect(2);
    assert!(unknown.stderr.contains("no plan none") && unknown.stderr.contains("it holds: kept, other"), "{unknown}");
    assert!(shared().api().list(&config_maps(&namespace)).await.is_empty());
    let kept = restore("kept").run().await.expect_success();
    assert_eq!((summary(&kept)["plan"].as_str(), items(&summary(&kept))), (Some("kept"), [1, 0, 0, 0, 0]));
    assert!(kept.stderr.contains("# The runbook of that night"), "{kept}");
    let left: Vec<_> = std::fs::read_dir(rig.path("tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn wrong_keys_restore_nothing() {
    let (rig, namespace) = backed_up(1).await;
    rig.ckbackup("keygen --dir stranger").run().await.expect_success();
    let plan = rig.plan(ALL);
    let with = |identity: &str, signers: &str| {
        let words = format!("restore -q -o json --vault vault --identity {identity} --signers {signers} -f");
        rig.ckbackup(&words).arg(&plan).arg("--kubeconfig").arg(&shared().kubeconfig)
    };
    let closed = with("stranger/identity.txt", "keys/allowed_signers").run().await.expect(8);
    assert_eq!(summary(&closed)["exitCode"], 8);
    let forged = with("keys/identity.txt", "stranger/allowed_signers").run().await.expect(5);
    assert_eq!(summary(&forged)["kind"], "integrity");
    assert!(shared().api().list(&config_maps(&namespace)).await.is_empty());
}

#[tokio::test]
async fn latest_passes_over_a_newer_partial_backup_and_says_so() {
    let (rig, namespace) = (Rig::new().await, shared().namespace("partial").await);
    fill(&namespace, 1).await;
    let complete = rig.back_up(&shared().kubeconfig, &only(&namespace)).await;
    let (_proxy, kubeconfig) = rig.in_front_of_shared(|request| match request.is("GET", "/v1/secrets?") {
        true => Action::kubernetes_status(403, "Forbidden", "not for you"),
        false => Action::Forward,
    });
    let partial = rig.ckbackup("backup --now -o json -f nightly.yaml --kubeconfig").arg(&kubeconfig).run().await;
    let partial = partial.expect(3).json()["id"].as_str().unwrap().to_owned();
    assert!(partial > complete);

    let restore = rig.restore(&rig.plan(ALL), &shared().kubeconfig).run().await.expect_success();
    assert_eq!(summary(&restore)["backup"], complete.as_str());
    let warning = format!("{partial} is newer than {complete}, but was passed over: it is partial");
    assert!(restore.stderr.contains(&warning), "{restore}");
}

#[tokio::test]
async fn wrong_usage_is_refused_with_exit_2_before_anything_is_asked() {
    let rig = Rig::new().await;
    let plan = rig.plan(ALL);
    for (words, told) in [
        ("restore --nonsense", "--nonsense"),
        ("restore", "--file"),
        ("restore -f restore-plans/test.yaml --conflict replace", "replace"),
        ("restore -f nowhere.yaml", "nowhere.yaml"),
        ("restore -f restore-plans/test.yaml", "no identity is given"),
        ("restore -f restore-plans/test.yaml --identity keys/identity.txt --context nowhere", "nowhere"),
        ("restore -f restore-plans/test.yaml --incident-start yesterday", "yesterday"),
        ("diff", "<BACKUP>"),
        ("nonsense", "nonsense"),
    ] {
        let refused = rig.ckbackup(words).env("KUBECONFIG", &shared().kubeconfig).run().await.expect(2);
        assert!(refused.stderr.contains(told), "{told}: {refused}");
    }
    let json: Value = rig.restore(&plan, &shared().kubeconfig).args(["--conflict", "no"]).run().await.expect(2).json();
    assert_eq!((json["kind"].as_str(), json["exitCode"].as_u64()), (Some("usage"), Some(2)));
}

#[tokio::test]
async fn every_verb_explains_its_main_options() {
    let rig = Rig::new().await;
    for (verb, options) in [
        ("keygen", "--dir --only"),
        ("validate", "FILE"),
        ("backup", "--file --now --source --context"),
        ("list", "--vault --cluster --signers --output"),
        ("show", "--vault --cluster --signers"),
        ("verify", "--all --identity --signers"),
        ("extract", "--source --object --identity"),
        ("diff", "--context --identity --vault"),
        ("restore", "--file --backup --context --dry-run --conflict --yes --incident-start --plan"),
        ("demo", "--dir"),
        ("completion", "SHELL"),
        ("man", "--output"),
    ] {
        let help = rig.ckbackup(&format!("{verb} --help")).run().await.expect_success();
        for option in options.split(' ') {
            assert!(help.stdout.contains(option), "{option}: {help}");
        }
    }
}
