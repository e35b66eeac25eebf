//! Source and restore step `elasticsearch` when something goes wrong in the middle: a server that is busy, a restore that is cut off,
//! an index that changes or goes while it is read.

use serde_json::{Value, json};

use crate::data_stage::{DataStage, id_of};
use crate::harness::{Action, FaultProxy, Search, search};
use crate::source_elasticsearch::{ALL, described, documents, make_index, scope, step};
use crate::vault_stage::Place;

#[tokio::test]
async fn a_busy_server_is_asked_again_and_a_cut_connection_loses_nothing() {
    for kind in [Search::Elasticsearch8, Search::OpenSearch2] {
        let (stage, server) = (DataStage::new().await, search(kind));
        let place = Place::folder(&stage.scratch.folder("vault"));
        make_index(server, "busy-1", 1, 9_000).await;
        let count = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let proxy = FaultProxy::plain(server.url(), move |_| {
            match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 4 {
                1 => Action::status(429),
                3 => Action::DropAfter,
                _ => Action::Forward,
            }
        });
        let through = json!({"url": proxy.url(), "indices": ["busy-*"]});
        let id = id_of(&stage.backup(&place, "elasticsearch", through).run().await.expect_success());
        assert_eq!(documents(&stage.manifest(&place, &id).await), (1, 9_000));
        let before = server.documents("busy-1").await;
        server.order("DELETE", "busy-1", Value::Null).await;
        let busy = FaultProxy::plain(server.url(), {
            let count = std::sync::atomic::AtomicU32::new(0);
            move |seen| match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 3 {
                1 => Action::status(429),
                2 if seen.path.contains("_bulk") => Action::DropAfter,
                _ => Action::Forward,
            }
        });
        stage.restore(&place, &id, step(busy.url(), json!({}))).run().await.expect_success();
        assert!(server.documents("busy-1").await == before, "{kind:?}");
    }
}

/// A restore that was cut off leaves an index that says so, and the next one goes on with it.
#[tokio::test]
async fn half_an_index_is_not_taken_for_a_whole_one() {
    let (stage, server) = (DataStage::new().await, search(Search::Elasticsearch7));
    let place = Place::folder(&stage.scratch.folder("vault"));
    make_index(server, "half-1", 1, 4_000).await;
    let before = server.documents("half-1").await;
    let id = id_of(&stage.backup(&place, "elasticsearch", scope(server, &["half-*"])).run().await.expect_success());
    server.order("DELETE", "half-1", Value::Null).await;
    let broken = FaultProxy::plain(server.url(), |seen| match seen.path.contains("_bulk") {
        true => Action::status(400),
        false => Action::Forward,
    });
    let failed = stage.restore(&place, &id, step(broken.url(), json!({}))).run().await.expect(3).json();
    assert!(failed["failures"].to_string().contains("_bulk"), "{failed}");
    let mappings = server.get("half-1/_mapping").await;
    assert_eq!(mappings["half-1"]["mappings"]["_meta"]["ckbackup"]["loading"], format!("{id}/half-1"));

    let restored = stage.restore(&place, &id, step(server.url(), json!({}))).run().await.expect_success().json();
    assert_eq!(restored["steps"][0]["items"]["failed"], 0, "{restored}");
    assert!(server.documents("half-1").await == before);
    assert_eq!(server.get("half-1/_mapping").await["half-1"]["mappings"]["_meta"], json!({"owner": "logs"}));
}

/// A field that comes, with a document, when the mappings were read already: a strict index would refuse that at the restore.
#[tokio::test]
async fn mappings_are_those_of_the_moment_at_which_the_documents_are_read() {
    for kind in ALL {
        let (stage, server) = (DataStage::new().await, search(kind));
        let place = Place::folder(&stage.scratch.folder("vault"));
        let strict = json!({"mappings": {"_meta": {"owner": "logs"}, "dynamic": "strict", "properties": {"old": {"type": "long"}}}});
        server.order("PUT", "strict-1", strict).await;
        server.bulk("strict-1", "{\"index\":{}}\n{\"old\":1}\n".into()).await;
        let (url, done) = (server.url().to_owned(), std::sync::atomic::AtomicBool::new(false));
        let proxy = FaultProxy::plain(server.url(), move |seen| {
            if seen.path.contains("/strict-1/_refresh") && !done.swap(true, std::sync::atomic::Ordering::SeqCst) {
                let url = url.clone();
                let send = async move {
                    let request = |request: reqwest::RequestBuilder, body: &'static str| {
                        request.header("content-type", "application/json").body(body).send()
                    };
                    let client = reqwest::Client::new();
                    let field = "{\"properties\":{\"new\":{\"type\":\"ip\"}}}";
                    request(client.put(format!("{url}/strict-1/_mapping")), field).await.unwrap();
                    request(client.post(format!("{url}/strict-1/_doc")), "{\"new\":\"10.0.0.1\"}").await.unwrap();
                };
                let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(send);
                std::thread::spawn(run).join().unwrap();
            }
            Action::Forward
        });
        let scope = json!({"url": proxy.url(), "indices": ["strict-*"]});
        let id = id_of(&stage.backup(&place, "elasticsearch", scope).run().await.expect_success());
        let before = (server.documents("strict-1").await, described(server, "strict-1").await);
        assert_eq!(before.0.len(), 2);
        server.order("DELETE", "strict-1", Value::Null).await;
        stage.restore(&place, &id, step(server.url(), json!({}))).run().await.expect_success();
        assert_eq!((server.documents("strict-1").await, described(server, "strict-1").await), before, "{kind:?}");
        server.order("DELETE", "strict-1", Value::Null).await;
    }
}

/// The server is lost when the first index is whole: aliases come last, and must not be forgotten.
#[tokio::test]
async fn a_restore_that_was_cut_off_between_indices_still_gives_all_of_them_their_aliases() {
    let (stage, server) = (DataStage::new().await, search(Search::Elasticsearch8));
    let place = Place::folder(&stage.scratch.folder("vault"));
    for (index, writes) in [("cut-1", false), ("cut-2", true)] {
        make_index(server, index, 1, 3_000).await;
        server.order("PUT", &format!("{index}/_alias/cut"), json!({"is_write_index": writes})).await;
    }
    server.order("PUT", "cut-1/_settings", json!({"index.blocks.write": true})).await;
    let before = [described(server, "cut-1").await, described(server, "cut-2").await];
    let id = id_of(&stage.backup(&place, "elasticsearch", scope(server, &["cut-*"])).run().await.expect_success());
    for index in ["cut-1", "cut-2"] {
        server.order("DELETE", index, Value::Null).await;
    }
    let broken = FaultProxy::plain(server.url(), |seen| match seen.path.contains("/cut-2/_bulk") {
        true => Action::status(400),
        false => Action::Forward,
    });
    stage.restore(&place, &id, step(broken.url(), json!({"templates": false}))).run().await.expect(3);
    assert_eq!((server.count("cut-1").await, server.has("_alias/cut").await), (3_000, false));

    let through = FaultProxy::plain(server.url(), |_| Action::Forward);
    let restored = stage
        .restore(&place, &id, step(through.url(), json!({"templates": false})))
        .run()
        .await
        .expect_success()
        .json();
    let items = &restored["steps"][0]["items"];
    assert_eq!((&items["unchanged"], &items["failed"]), (&json!(1), &json!(0)), "{restored}");
    assert_eq!(through.count("POST", "/cut-1/_bulk"), 0, "what is whole is not sent again");
    assert_eq!([described(server, "cut-1").await, described(server, "cut-2").await], before);
}

#[tokio::test]
async fn documents_that_the_server_does_not_take_are_counted_with_the_reason() {
    let (stage, server) = (DataStage::new().await, search(Search::Elasticsearch8));
    let place = Place::folder(&stage.scratch.folder("vault"));
    make_index(server, "refused-1", 1, 100).await;
    let id = id_of(&stage.backup(&place, "elasticsearch", scope(server, &["refused-*"])).run().await.expect_success());
    // In the new cluster somebody made the half of it before, with another mapping.
    server.order("DELETE", "refused-1", Value::Null).await;
    let other = json!({"mappings": {"_meta": {"ckbackup": {"loading": format!("{id}/refused-1")}}, "properties": {"msg": {"type": "date"}}}});
    server.order("PUT", "refused-1", other).await;
    let failed = stage.restore(&place, &id, step(server.url(), json!({}))).run().await.expect(3).json();
    let why = failed["failures"][0]["why"].as_str().unwrap();
    assert!(
        why.contains("100 documents were not taken: 100 × document_parsing_exception, the first: ")
            && why.contains("failed to parse field [msg]"),
        "{why}"
    );
}

/// As many documents as there were say nothing of what stands in them.
#[tokio::test]
async fn a_document_that_changed_on_the_way_is_found_by_its_digest() {
    for kind in ALL {
        let (stage, server) = (DataStage::new().await, search(kind));
        let place = Place::folder(&stage.scratch.folder("vault"));
        make_index(server, "sampled-1", 1, 10).await;
        let before = server.documents("sampled-1").await;
        let backup = stage.backup(&place, "elasticsearch", scope(server, &["sampled-*"])).run().await;
        let id = id_of(&backup.expect_success());
        server.order("DELETE", "sampled-1", Value::Null).await;

        let change = reqwest::Client::new().put(format!("{}/sampled-1/_doc/d4", server.url()));
        let change = change.header("content-type", "application/json").body(r#"{"msg":"something else"}"#);
        let forged = std::sync::atomic::AtomicBool::new(false);
        let proxy = FaultProxy::plain(server.url(), move |seen| {
            if seen.path == "/sampled-1/_refresh" && !forged.swap(true, std::sync::atomic::Ordering::SeqCst) {
                send(change.try_clone().unwrap());
            }
            Action::Forward
        });
        let failed = stage.restore(&place, &id, step(proxy.url(), json!({}))).run().await.expect(3).json();
        let why = failed["failures"][0]["why"].as_str().unwrap();
        assert_eq!(why, "1 of 10 sampled documents are not what was saved, the first: d4", "{kind:?}");

        // It goes on with what it began, and mends it.
        let restored = stage.restore(&place, &id, step(server.url(), json!({}))).run().await.expect_success().json();
        let sampled = &restored["steps"][0]["compared"][1];
        assert_eq!(sampled["what"], "documents in sampled-1, sampled, by digest", "{restored}");
        assert_eq!((&sampled["expected"], &sampled["found"]), (&json!(10), &json!(10)), "{kind:?}");
        assert!(server.documents("sampled-1").await == before, "{kind:?}");
    }
}

#[tokio::test]
async fn an_index_that_is_deleted_while_it_is_read_makes_the_backup_partial() {
    for kind in ALL {
        delete_while_it_is_read(kind).await;
    }
}

/// Sends a request from within a proxy's decision.
fn send(request: reqwest::RequestBuilder) {
    let sending = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(request.send()).unwrap().error_for_status().unwrap();
    });
    sending.join().unwrap();
}

async fn delete_while_it_is_read(kind: Search) {
    let (stage, server) = (DataStage::new().await, search(kind));
    let place = Place::folder(&stage.scratch.folder("vault"));
    make_index(server, "gone-1", 1, 30_000).await;
    make_index(server, "gone-2", 1, 100).await;
    let (url, client) = (server.url().to_owned(), reqwest::Client::new());
    let searches = std::sync::atomic::AtomicU32::new(0);
    let proxy = FaultProxy::plain(server.url(), move |seen| {
        let is_page = seen.path.starts_with("/_search?") || seen.path == "/_search/scroll";
        if is_page && searches.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 3 {
            send(client.delete(format!("{url}/gone-1")));
        }
        Action::Forward
    });
    let through = json!({"url": proxy.url(), "indices": ["gone-*"]});
    let saved = stage.backup(&place, "elasticsearch", through).run().await.expect(3);
    assert!(saved.stderr.contains("index gone-1: it was deleted while it was read"), "{saved}");
    let id = id_of(&saved);
    assert!(documents(&stage.manifest(&place, &id).await).1 >= 100);
    server.order("DELETE", "gone-2", Value::Null).await;
    let restored = stage.restore(&place, &id, step(server.url(), json!({}))).run().await.expect(3).json();
    assert!(restored["failures"].to_string().contains("not all of its documents were saved"), "{restored}");
    assert_eq!(server.count("gone-2").await, 100);

    // A good one is not given away for that.
    server.order("DELETE", "gone-1", Value::Null).await;
    make_index(server, "gone-1", 1, 7).await;
    let overwrite = json!({"conflict": "overwrite", "indices": ["gone-1"], "templates": false});
    let kept = stage.restore(&place, &id, step(server.url(), overwrite)).run().await.expect(3).json();
    assert!(kept["failures"].to_string().contains("what is there stays"), "{kept}");
    assert_eq!(server.count("gone-1").await, 7);
}
