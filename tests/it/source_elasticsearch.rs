//! Source and restore step `elasticsearch`, with real servers of three releases: what they have is saved, lost, and found again
//! by their own answers.

use serde_json::{Value, json};

use crate::data_stage::{DataStage, id_of, record};
use crate::harness::search::{LOCKED, PASSWORD, USER};
use crate::harness::{Action, FaultProxy, Search, SearchServer, search};
use crate::vault_stage::Place;

pub const ALL: [Search; 3] = [Search::Elasticsearch8, Search::Elasticsearch7, Search::OpenSearch2];

pub fn scope(server: &SearchServer, indices: &[&str]) -> Value {
    json!({"url": server.url(), "indices": indices})
}

pub fn step(url: &str, more: Value) -> Value {
    let mut wanted = json!({"source": "data", "url": url});
    wanted.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    json!([{"name": "logs", "elasticsearch": wanted}])
}

pub fn documents(manifest: &Value) -> (u64, u64) {
    let documents = &record(manifest)["contents"]["documents"];
    (documents["indices"].as_u64().unwrap(), documents["count"].as_u64().unwrap())
}

pub async fn make_index(server: &SearchServer, name: &str, shards: u32, documents: u32) {
    let settings = json!({"number_of_shards": shards, "number_of_replicas": 0, "refresh_interval": "7s"});
    let mappings = json!({"_meta": {"owner": "logs"}, "properties": {"msg": {"type": "text"}, "exact": {"type": "scaled_float", "scaling_factor": 100}}});
    let plain = json!({"_meta": {"owner": "logs"}, "properties": {"msg": {"type": "text"}}});
    let made = server.ask("PUT", name, json!({"settings": settings, "mappings": mappings})).await;
    if made.0 != 200 {
        // The releases for tests lack the module of that type.
        server.order("PUT", name, json!({"settings": settings, "mappings": plain})).await;
    }
    server.fill(name, 0..documents).await;
}

/// Everything but what a server decides by itself.
pub async fn described(server: &SearchServer, index: &str) -> Value {
    let mut about = server.get(&format!("{index}?flat_settings=true")).await[index].clone();
    let settings = about["settings"].as_object_mut().unwrap();
    for own in ["index.uuid", "index.creation_date", "index.provided_name"] {
        settings.remove(own);
    }
    about
}

#[tokio::test]
async fn what_a_server_has_is_saved_lost_and_found_again() {
    for kind in ALL {
        let (stage, server) = (DataStage::new().await, search(kind));
        let place = Place::folder(&stage.scratch.folder("vault"));
        make_index(server, "whole-1", 2, 30_000).await;
        make_index(server, "whole-2", 1, 25_000).await;
        make_index(server, "whole-empty", 1, 0).await;
        let alias = json!({"is_write_index": true, "filter": {"term": {"n": 7}}});
        server.order("PUT", "whole-2/_alias/whole", alias).await;
        server.order("PUT", "whole-1/_alias/whole", json!({})).await;
        let part = json!({"template": {"settings": {"number_of_replicas": 0}}});
        server.order("PUT", "_component_template/whole@part", part).await;
        let template = json!({"index_patterns": ["whole-*"], "composed_of": ["whole@part"]});
        server.order("PUT", "_index_template/whole", template).await;
        server.order("PUT", "_template/whole-old", json!({"index_patterns": ["nothing-*"], "order": 7})).await;
        server.order("PUT", "_ingest/pipeline/whole", json!({"description": "nothing", "processors": []})).await;
        server
            .order("PUT", "whole-2/_settings", json!({"index.blocks.write": true, "index.default_pipeline": "whole"}))
            .await;
        let before = [described(server, "whole-1").await, described(server, "whole-2").await];
        let contents = [server.documents("whole-1").await, server.documents("whole-2").await];

        let saved = stage.backup(&place, "elasticsearch", scope(server, &["whole-*"])).run().await.expect_success();
        let id = id_of(&saved);
        assert_eq!(documents(&stage.manifest(&place, &id).await), (3, 55_000), "{kind:?}");
        stage.verify(&place, &id).await.expect_success();

        server.order("DELETE", "whole-1,whole-2,whole-empty", Value::Null).await;
        for path in
            ["_index_template/whole", "_component_template/whole@part", "_template/whole-old", "_ingest/pipeline/whole"]
        {
            server.order("DELETE", path, Value::Null).await;
        }
        let planned = stage.restore(&place, &id, step(server.url(), json!({}))).arg("--dry-run").run().await;
        let planned = planned.expect_success().json();
        assert!(
            planned["steps"][0]["items"]["created"].as_u64() >= Some(7) && !server.has("whole-1").await,
            "{planned}"
        );

        let restored = stage.restore(&place, &id, step(server.url(), json!({}))).run().await.expect_success().json();
        assert_eq!(restored["steps"][0]["items"]["failed"], 0, "{restored}");
        assert_eq!([described(server, "whole-1").await, described(server, "whole-2").await], before, "{kind:?}");
        assert!(
            [server.documents("whole-1").await, server.documents("whole-2").await] == contents,
            "{kind:?}: documents"
        );
        for path in ["_component_template/whole@part", "_ingest/pipeline/whole", "_index_template/whole"] {
            let (status, said) = server.ask("GET", path, Value::Null).await;
            assert_eq!(status, 200, "{kind:?} {path}: {said} {restored}");
        }
        assert_eq!(server.get("_template/whole-old").await["whole-old"]["order"], 7);
        assert_eq!(server.count("whole-empty").await, 0);

        // Once more: what is there stays.
        let again = stage.restore(&place, &id, step(server.url(), json!({}))).run().await.expect_success().json();
        let items = &again["steps"][0]["items"];
        assert_eq!((&items["created"], &items["skipped"]), (&json!(0), &json!(3)), "{again}");
    }
}

#[tokio::test]
async fn an_index_that_has_not_changed_is_taken_over_and_one_that_has_is_read_again() {
    for kind in ALL {
        let (stage, server) = (DataStage::new().await, search(kind));
        let place = Place::folder(&stage.scratch.folder("vault"));
        make_index(server, "night-old", 1, 3_000).await;
        make_index(server, "night-new", 1, 3_000).await;
        let run = async || {
            let saved = stage.backup(&place, "elasticsearch", scope(server, &["night-*"])).run().await.expect_success();
            stage.manifest(&place, &id_of(&saved)).await
        };
        let copied = |manifest: &Value| {
            let units = record(manifest)["units"].as_array().unwrap();
            (units.len(), units.iter().filter(|unit| !unit["copiedFrom"].is_null()).count())
        };
        assert_eq!(copied(&run().await), (2, 0));
        // A document goes and another comes: as many as before.
        server.order("DELETE", "night-new/_doc/d1?refresh=true", Value::Null).await;
        server.order("PUT", "night-new/_doc/other?refresh=true", json!({"n": 1})).await;
        let second = run().await;
        assert_eq!((copied(&second), documents(&second)), ((2, 1), (2, 6_000)), "{kind:?}");
        let third = run().await;
        assert_eq!(copied(&third), (2, 2), "{kind:?}");

        server.order("DELETE", "night-old,night-new", Value::Null).await;
        let empty = stage.backup(&place, "elasticsearch", scope(server, &["night-*"])).run().await.expect(3);
        assert!(empty.stderr.contains("no documents are there, and the last backup had 6000"), "{empty}");
        let id = third["id"].as_str().unwrap();
        stage.restore(&place, id, step(server.url(), json!({}))).run().await.expect_success();
        assert!(server.has("night-new/_doc/other").await && !server.has("night-new/_doc/d1").await);
        assert_eq!(server.count("night-old").await, 3_000);
    }
}

/// Only OpenSearch has data streams in its release for tests.
#[tokio::test]
async fn a_data_stream_comes_back_as_one() {
    let (stage, server) = (DataStage::new().await, search(Search::OpenSearch2));
    let place = Place::folder(&stage.scratch.folder("vault"));
    let template =
        json!({"index_patterns": ["stream-*"], "data_stream": {}, "template": {"settings": {"number_of_replicas": 0}}});
    server.order("PUT", "_index_template/stream", template).await;
    let events = |from: u32| -> String {
        (from..from + 1500)
            .map(|n| {
                format!("{{\"create\":{{\"_id\":\"e{n}\"}}}}\n{{\"@timestamp\":\"2026-11-25T00:00:00Z\",\"n\":{n}}}\n")
            })
            .collect()
    };
    server.bulk("stream-x", events(0)).await;
    server.order("POST", "stream-x/_rollover", Value::Null).await;
    server.bulk("stream-x", events(5000)).await;
    server.order("POST", "stream-x/_refresh", Value::Null).await;
    let before = server.documents("stream-x").await;
    let saved = stage.backup(&place, "elasticsearch", scope(server, &["stream-x"])).run().await.expect_success();
    let id = id_of(&saved);
    assert_eq!(documents(&stage.manifest(&place, &id).await), (2, 3000));
    server.order("DELETE", "_data_stream/stream-x", Value::Null).await;
    server.order("DELETE", "_index_template/stream", Value::Null).await;

    let restored = stage.restore(&place, &id, step(server.url(), json!({}))).run().await.expect_success().json();
    assert_eq!(restored["steps"][0]["items"]["failed"], 0, "{restored}");
    assert!(server.documents("stream-x").await == before);
    // It is a data stream, and takes new events.
    server.bulk("stream-x", events(9000)).await;
    let streams = server.get("_data_stream/stream-x").await;
    let write_index = streams["data_streams"][0]["indices"][0]["index_name"].as_str().unwrap().to_owned();
    let settings = server.get(&format!("{write_index}/_settings?flat_settings=true")).await;
    let settings = &settings[&write_index]["settings"];
    assert!(settings["index.refresh_interval"].is_null() && settings["index.final_pipeline"].is_null(), "{settings}");
    server.order("DELETE", "_data_stream/stream-x", Value::Null).await;
}

#[tokio::test]
async fn under_other_names_it_comes_back_beside_what_is_there() {
    let (stage, server) = (DataStage::new().await, search(Search::Elasticsearch8));
    let place = Place::folder(&stage.scratch.folder("vault"));
    make_index(server, "beside-1", 1, 500).await;
    server.order("PUT", "beside-1/_alias/beside", json!({"is_write_index": true})).await;
    let id = id_of(&stage.backup(&place, "elasticsearch", scope(server, &["beside-1"])).run().await.expect_success());
    let rename = json!({"rename": {"from": "beside-*", "to": "looked-at-*"}, "templates": false});
    stage.restore(&place, &id, step(server.url(), rename.clone())).run().await.expect_success();
    assert!(server.documents("looked-at-1").await == server.documents("beside-1").await);
    assert_eq!(
        server.get("looked-at-1/_alias").await["looked-at-1"]["aliases"],
        json!({}),
        "who searches finds all once"
    );

    // What was written to since stays, unless it is told otherwise.
    server.order("PUT", "beside-1/_doc/new?refresh=true", json!({"n": 1})).await;
    let fail = json!({"conflict": "fail", "templates": false});
    let failed = stage.restore(&place, &id, step(server.url(), fail)).run().await.expect(3).json();
    assert_eq!(failed["failures"][0]["object"], "indices/beside-1", "{failed}");
    assert_eq!(server.count("beside-1").await, 501);
    let overwrite = json!({"conflict": "overwrite", "templates": false});
    let restored = stage.restore(&place, &id, step(server.url(), overwrite)).run().await.expect_success().json();
    assert_eq!(restored["steps"][0]["items"]["updated"], 1, "{restored}");
    assert_eq!(server.count("beside-1").await, 500);
}

/// In the new cluster, the log shipper writes already.
#[tokio::test]
async fn writers_go_on_writing_where_they_write_by_now() {
    let (stage, server) = (DataStage::new().await, search(Search::Elasticsearch8));
    let place = Place::folder(&stage.scratch.folder("vault"));
    make_index(server, "shipped-1", 1, 200).await;
    server.order("PUT", "shipped-1/_alias/shipped", json!({"is_write_index": true})).await;
    let id = id_of(&stage.backup(&place, "elasticsearch", scope(server, &["shipped-*"])).run().await.expect_success());
    // Alone, an index takes what is written without saying so.
    for how in [json!({"is_write_index": true}), json!({})] {
        for index in ["shipped-1", "shipped-2"] {
            server.ask("DELETE", index, Value::Null).await;
        }
        server.order("PUT", "shipped-2", json!({"aliases": {"shipped": how}})).await;
        let restored = stage.restore(&place, &id, step(server.url(), json!({}))).run().await.expect_success().json();
        assert!(restored["steps"][0]["note"].as_str().unwrap().contains("still writes to shipped-2"), "{restored}");
        server.order("PUT", "shipped/_doc/new?refresh=true", json!({"n": 1})).await;
        assert_eq!((server.count("shipped-2").await, server.count("shipped").await), (1, 201), "{how}");
    }
}

/// Templates are made for new logs: what comes back is as it was.
#[tokio::test]
async fn a_template_changes_nothing_of_what_comes_back() {
    let (stage, server) = (DataStage::new().await, search(Search::OpenSearch2));
    let place = Place::folder(&stage.scratch.folder("vault"));
    make_index(server, "stamped-1", 1, 300).await;
    let (about, before) = (described(server, "stamped-1").await, server.documents("stamped-1").await);
    let stamp = json!({"processors": [{"set": {"field": "stamped", "value": true}}]});
    server.order("PUT", "_ingest/pipeline/stamp", stamp).await;
    let given = json!({"settings": {"index.final_pipeline": "stamp", "index.blocks.write": false}, "aliases": {"stamped-all": {}}});
    server.order("PUT", "_index_template/stamp", json!({"index_patterns": ["stamped-*"], "template": given})).await;
    let id = id_of(&stage.backup(&place, "elasticsearch", scope(server, &["stamped-1"])).run().await.expect_success());
    server.order("DELETE", "stamped-1", Value::Null).await;
    stage.restore(&place, &id, step(server.url(), json!({}))).run().await.expect_success();
    assert!(server.documents("stamped-1").await == before);
    assert_eq!(described(server, "stamped-1").await, about);
    server.order("DELETE", "_index_template/stamp", Value::Null).await;
}

#[tokio::test]
async fn two_that_would_get_one_name_are_refused() {
    let (stage, server) = (DataStage::new().await, search(Search::OpenSearch2));
    let place = Place::folder(&stage.scratch.folder("vault"));
    make_index(server, "twin-a-1", 1, 3).await;
    make_index(server, "twin-b-1", 1, 3).await;
    let id = id_of(&stage.backup(&place, "elasticsearch", scope(server, &["twin-*"])).run().await.expect_success());
    let rename = json!({"rename": {"from": "twin-a-*", "to": "twin-b-*"}, "conflict": "overwrite", "templates": false});
    let refused = stage.restore(&place, &id, step(server.url(), rename)).run().await.expect(3).json();
    assert!(refused["failures"].to_string().contains("several would be called twin-b-1"), "{refused}");
    assert_eq!(server.count("twin-b-1").await, 3);
}

#[tokio::test]
async fn what_cannot_be_saved_is_named_and_security_indices_are_left_out() {
    let (stage, server) = (DataStage::new().await, search(Search::OpenSearch2));
    let place = Place::folder(&stage.scratch.folder("vault"));
    make_index(server, "odd-closed", 1, 10).await;
    server.order("POST", "odd-closed/_close", Value::Null).await;
    server.order("PUT", "odd-blind", json!({"mappings": {"_source": {"enabled": false}}})).await;
    make_index(server, "odd-fine", 1, 10).await;
    server.order("PUT", ".opendistro_security", json!({"settings": {"number_of_replicas": 0}})).await;
    server.order("PUT", ".kibana_1", json!({"aliases": {".kibana": {}}, "settings": {"number_of_replicas": 0}})).await;
    server.order("PUT", ".kibana_1/_doc/dashboard:1?refresh=true", json!({"title": "nodes"})).await;
    let wanted = scope(server, &["odd-*", "odd-missing", ".opendistro_security"]);
    let saved = stage.backup(&place, "elasticsearch", wanted).run().await.expect(3);
    let manifest = stage.manifest(&place, &id_of(&saved)).await;
    let record = record(&manifest);
    let all = |key: &str| {
        record[key].as_array().unwrap().iter().map(|o| format!("{}: {}", o["what"], o["why"])).collect::<Vec<_>>()
    };
    let problems = all("problems").join("\n");
    for part in ["odd-closed\": \"it is closed", "odd-blind\": \"it does not keep", "odd-missing\": \"it is not there"]
    {
        assert!(problems.contains(part), "{part}: {problems}");
    }
    assert!(all("skipped").join("").contains("index .opendistro_security"), "{record}");
    assert_eq!(documents(&manifest), (2, 11), "the dashboards are among them");
    server.order("DELETE", ".kibana_1", Value::Null).await;
    server.order("DELETE", ".opendistro_security", Value::Null).await;

    // An index of which only the description was saved is not taken for an empty one.
    server.order("DELETE", "odd-closed,odd-blind,odd-fine", Value::Null).await;
    let restored = stage.restore(&place, &id_of(&saved), step(server.url(), json!({"templates": false}))).run().await;
    let restored = restored.expect(3).json();
    assert!(restored["failures"].to_string().contains("not all of its documents were saved"), "{restored}");
    assert_eq!(server.get(".kibana/_doc/dashboard:1").await["_source"]["title"], "nodes");
    server.order("DELETE", ".kibana_1", Value::Null).await;
}

#[tokio::test]
async fn it_logs_in_with_a_password_that_stands_in_a_file_and_trusts_the_certificate_that_it_is_given() {
    let stage = DataStage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let server = SearchServer::start(&stage.scratch, Search::Elasticsearch8, &[LOCKED]).await;
    make_index(&server, "locked-1", 1, 50).await;
    let right = stage.scratch.file("password", format!("{PASSWORD}\n"));
    let wrong = stage.scratch.file("wrong", "other");
    let ca = server.certificate();
    let access = json!({"username": USER, "passwordFile": right, "caFile": ca});
    let wanted = json!({"url": server.url(), "indices": ["locked-*"], "access": access});
    let id = id_of(&stage.backup(&place, "elasticsearch", wanted).run().await.expect_success());
    assert_eq!(documents(&stage.manifest(&place, &id).await), (1, 50));
    server.order("DELETE", "locked-1", Value::Null).await;
    stage.restore(&place, &id, step(server.url(), json!({"access": access}))).run().await.expect_success();
    assert_eq!(server.count("locked-1").await, 50);
    let wanted = json!({"url": server.url(), "access": {"username": USER, "passwordFile": wrong, "caFile": ca}});
    let refused = stage.backup(&place, "elasticsearch", wanted).run().await.expect(1);
    assert!(refused.stderr.contains("does not accept the log-in"), "{refused}");
    let unknown = json!({"url": server.url(), "access": {"username": USER, "passwordFile": right}});
    let refused = stage.backup(&place, "elasticsearch", unknown).run().await.expect(1);
    assert!(refused.stderr.contains("certificate"), "{refused}");
    let nobody = stage.backup(&place, "elasticsearch", json!({"url": "http://127.0.0.1:9"})).run();
    assert!(nobody.await.expect(1).stderr.contains("reach http://127.0.0.1:9"));
}

/// The releases for tests cannot make API keys: what is sent is looked at instead.
#[tokio::test]
async fn an_api_key_is_sent_as_it_stands_in_its_file() {
    let (stage, server) = (DataStage::new().await, search(Search::Elasticsearch8));
    let place = Place::folder(&stage.scratch.folder("vault"));
    make_index(server, "keyed-1", 1, 10).await;
    let door = FaultProxy::plain(server.url(), |seen| match seen.headers.get("authorization") {
        Some(sent) if sent == "ApiKey VnVhQ2ZHY0JDZGJrUW0=" => Action::Forward,
        _ => Action::status(401),
    });
    let with = |key: &str| {
        let file = stage.scratch.file("api-key", format!("{key}\n"));
        let wanted = json!({"url": door.url(), "indices": ["keyed-*"], "access": {"apiKeyFile": file}});
        stage.backup(&place, "elasticsearch", wanted).run()
    };
    with("VnVhQ2ZHY0JDZGJrUW0=").await.expect_success();
    let refused = with("other").await.expect(1);
    assert!(refused.stderr.contains("does not accept the log-in") && !refused.stderr.contains("other"), "{refused}");
}
