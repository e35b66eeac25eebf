//! Silences of a real Alertmanager: saved with the metrics, and given to another one.

use serde_json::{Value, json};

use crate::data_stage::{DataStage, id_of, record};
use crate::harness::alertmanager::Alertmanager;
use crate::harness::eventually;
use crate::vault_stage::Place;

fn at(seconds: i64) -> String {
    jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + seconds).unwrap().to_string()
}

fn silence(comment: &str, from: i64, to: i64) -> Value {
    let matchers = json!([
        {"name": "namespace", "value": "shop-.*", "isRegex": true, "isEqual": true},
        {"name": "severity", "value": "critical", "isRegex": false, "isEqual": false},
    ]);
    json!({"matchers": matchers, "startsAt": at(from), "endsAt": at(to), "createdBy": "oncall", "comment": comment})
}

fn comments(silences: &[Value]) -> Vec<&str> {
    silences.iter().map(|silence| silence["comment"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn silences_come_back_but_for_those_that_ended() {
    let stage = DataStage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let old = Alertmanager::start(&stage.scratch).await;
    old.silence(&silence("active", 0, 3600)).await;
    old.silence(&silence("pending", 1800, 7200)).await;
    old.silence(&silence("short", 0, 5)).await;
    let over = old.silence(&silence("over", 0, 3600)).await;
    old.expire(&over).await;
    let before = old.silences().await;
    let scope = json!({"data": {"path": stage.data()}, "head": false, "alertmanager": {"url": old.url()}});
    let saved = stage.backup(&place, "prometheus", scope.clone()).run().await.expect_success();
    let id = id_of(&saved);
    let manifest = stage.manifest(&place, &id).await;
    let expired = json!([{"what": "silences", "why": "expired", "count": 1}]);
    assert_eq!((&record(&manifest)["items"], &record(&manifest)["skipped"]), (&json!(1), &expired));
    stage.verify(&place, &id).await.expect_success();

    // Lost. The short one ends meanwhile.
    drop(old);
    let new = Alertmanager::start(&stage.scratch).await;
    let short = before.iter().find(|silence| silence["comment"] == "short").unwrap();
    let end: jiff::Timestamp = short["endsAt"].as_str().unwrap().parse().unwrap();
    eventually("the short one ended", async || jiff::Timestamp::now() > end).await;
    let steps = json!([{"name": "silences", "prometheus": {"source": "data", "alertmanager": {"url": new.url()}}}]);
    let counts = |run: &Value| {
        ["created", "unchanged", "skipped", "failed"].map(|key| run["steps"][0]["items"][key].as_u64().unwrap())
    };
    let planned = stage.restore(&place, &id, steps.clone()).arg("--dry-run").run().await.expect_success().json();
    assert_eq!(counts(&planned), [2, 0, 1, 0], "{planned}");
    assert!(new.silences().await.is_empty(), "nothing is made");
    let restored = stage.restore(&place, &id, steps.clone()).run().await.expect_success().json();
    assert_eq!(counts(&restored), [2, 0, 1, 0], "{restored}");
    let after = new.silences().await;
    assert_eq!(comments(&after), ["active", "pending"]);
    let essence = |silence: &Value| ["matchers", "endsAt", "createdBy", "comment"].map(|key| silence[key].clone());
    for silence in &after {
        let saved = before.iter().find(|saved| saved["comment"] == silence["comment"]).unwrap();
        assert_eq!(essence(silence), essence(saved));
        assert_eq!(silence["status"]["state"], saved["status"]["state"]);
    }
    assert_eq!(after[1]["startsAt"], before.iter().find(|s| s["comment"] == "pending").unwrap()["startsAt"]);

    // Again: they are there.
    let again = stage.restore(&place, &id, steps).run().await.expect_success().json();
    assert_eq!(counts(&again), [0, 2, 1, 0], "{again}");
    assert_eq!(new.silences().await.len(), 2);

    // A step that puts blocks only says that there is more.
    let blocks = json!([{"name": "blocks", "prometheus": {"source": "data", "to": "restored"}}]);
    let told = stage.restore(&place, &id, blocks).run().await.expect_success();
    assert!(told.stdout.contains("the backup has silences"), "{told}");
    assert!(crate::vault_stage::files(&stage.scratch.path().join("restored")).is_empty());
}

#[tokio::test]
async fn an_alertmanager_that_is_lost_makes_the_backup_partial() {
    let stage = DataStage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let nobody = json!({"data": {"path": stage.data()}, "head": false, "alertmanager": {"url": "http://127.0.0.1:9"}});
    let other = json!({"name": "other", "command": {"run": ["echo", "fine"]}});
    let schedule = stage.schedule(&place, json!([{"name": "data", "prometheus": nobody}, other]));
    let partial = stage.backup_by(&place, &schedule).run().await.expect(3);
    let id = id_of(&partial);
    let problems = record(&stage.manifest(&place, &id).await)["problems"].to_string();
    assert!(problems.contains("silences") && problems.contains("127.0.0.1:9"), "{problems}");
    let server = json!({"url": "http://127.0.0.1:9"});
    let steps = json!([{"name": "silences", "prometheus": {"source": "data", "alertmanager": server}}]);
    let failed = stage.restore(&place, &id, steps).run().await.expect(3);
    assert!(failed.stdout.contains("the backup has no silences"), "{failed}");
}
