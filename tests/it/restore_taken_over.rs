//! Several machines at one restore, and somebody who can write to the vault and open nothing in it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use crate::harness::Ckbackup;
use crate::harness::command::signal;
use crate::harness::control_plane::shared;
use crate::harness::eventually;
use crate::harness::web::Web;
use crate::restore_fixture::*;

fn restores(rig: &Rig) -> PathBuf {
    rig.path("vault/workload-1/restores")
}

fn resume(rig: &Rig, words: &str) -> Ckbackup {
    rig.reading(&format!("restore --resume {words}")).arg("--kubeconfig").arg(&shared().kubeconfig)
}

/// The id of a restore that waits for a person, whose journal has come into the vault.
async fn id_of(rig: &Rig, waiting: &crate::harness::command::Running) -> String {
    waiting.says("from elsewhere: ckbackup ack ").await;
    let said = waiting.said();
    let id = said.split("ckbackup ack ").nth(1).unwrap().split_whitespace().next().unwrap().to_string();
    let part = restores(rig).join(&id).join("0001.jsonl.zst.age");
    eventually("the journal is in the vault", async || part.exists()).await;
    id
}

#[tokio::test]
async fn a_restore_that_another_machine_goes_on_with_stops_and_leaves_the_rest_to_it() {
    let (rig, _) = backed_up("taken-over").await;
    let waiting = rig.restore(&rig.plan(ASKS), &shared().kubeconfig).arg("--await-ack").start().await;
    let id = id_of(&rig, &waiting).await;
    let elsewhere = rig.path("another-machine");
    let here = resume(&rig, &format!("{id} --yes")).run().await.expect(2);
    assert!(here.stderr.contains("is going on in another process on this machine"), "{here}");

    // Cut off there as well, and gone on with on the same machine once more.
    let second = resume(&rig, &format!("{id} --await-ack")).env("CKBACKUP_STATE_DIR", &elsewhere).start().await;
    second.says("from elsewhere: ckbackup ack ").await;
    let stopped = waiting.finish().await.expect(1);
    assert!(stopped.stderr.contains("another machine goes on with restore"), "{stopped}");
    second.signal("KILL");
    second.finish().await;
    let third = resume(&rig, &format!("{id} --yes")).env("CKBACKUP_STATE_DIR", &elsewhere).run().await.expect_success();
    let done = summary(&third);
    assert_eq!((done["status"].as_str(), items(&done)[0]), (Some("complete"), 5), "{done:#}");
    let over = resume(&rig, &format!("{id} --yes")).run().await.expect(2);
    assert!(over.stderr.contains("is complete"), "{over}");
}

#[tokio::test]
async fn whoever_can_only_write_to_the_vault_can_neither_stop_a_restore_nor_confirm_for_others() {
    let (rig, _) = backed_up("garbage").await;
    let waiting = rig.restore(&rig.plan(ASKS), &shared().kubeconfig).arg("--await-ack").start().await;
    let id = id_of(&rig, &waiting).await;
    let folder = restores(&rig).join(&id);
    let there = std::fs::read_dir(&folder).unwrap().count();
    for number in there + 1..there + 4 {
        std::fs::write(folder.join(format!("{number:04}.jsonl.zst.age")), "garbage").unwrap();
    }
    std::fs::create_dir_all(folder.join("acks")).unwrap();
    std::fs::write(folder.join("acks/dns.1.ack"), "garbage").unwrap();
    let words = format!("ack {id} dns --by Ada");
    rig.reading(&words).env("CKBACKUP_STATE_DIR", rig.path("another-machine")).run().await.expect_success();
    let done = summary(&waiting.finish().await.expect_success());
    assert_eq!(step(&done, "dns")["note"], "Point DNS at it (Ada)");
    let again = resume(&rig, &format!("{id} --yes")).env("CKBACKUP_STATE_DIR", rig.path("third-machine"));
    let over = again.run().await.expect(2);
    assert!(over.stderr.contains("is complete"), "its end came into the vault, past the garbage: {over}");
}

/// The restore is killed while the answer to its request is on the way.
#[tokio::test]
async fn a_request_that_may_have_been_done_is_not_sent_again_by_itself() {
    let (rig, _) = backed_up("sent").await;
    let victim = Arc::new(AtomicU32::new(0));
    let pid = victim.clone();
    let server = Web::start(move |_| {
        signal(pid.load(SeqCst), "KILL");
        None
    })
    .await;
    let plan = rig.plan(&format!(
        "[{{name: maps, apply: {{kinds: [ConfigMap]}}}}, {{name: wait, after: [maps], manual: {{title: Wait}}}}, \
          {{name: order, after: [wait], http: {{url: \"{}/orders\", method: POST, body: one}}}}]",
        server.url()
    ));
    let running = rig.restore(&plan, &shared().kubeconfig).arg("--await-ack").start().await;
    victim.store(running.pid(), SeqCst);
    let id = id_of(&rig, &running).await;
    rig.ckbackup(&format!("ack {id} wait")).run().await.expect_success();
    assert_eq!(running.finish().await.killed_by(), Some(9));
    // Another machine knows of it, too.
    for elsewhere in [true, false] {
        let again = resume(&rig, &format!("{id} --await-ack"));
        let state = rig.path("another-machine");
        let again = if elsewhere { again.env("CKBACKUP_STATE_DIR", state) } else { again };
        let refused = again.run().await.expect(3);
        let told = summary(&refused);
        assert!(step(&told, "order")["note"].as_str().unwrap().contains("see whether it has arrived"), "{told:#}");
    }
    assert_eq!(server.asked().len(), 1);
    let skip = resume(&rig, &format!("{id} --await-ack --skip order --reason arrived"));
    let done = summary(&skip.run().await.expect_success());
    assert_eq!(step(&done, "order")["status"], "leftOut");
}

/// The vault takes no journal until the restore was killed: then only its machine knows how it began.
#[tokio::test]
async fn a_restore_that_goes_on_brings_into_the_vault_what_only_its_machine_knows() {
    let (rig, _) = backed_up("had-no-vault").await;
    std::fs::write(restores(&rig), "in the way").unwrap();
    let waiting = rig.restore(&rig.plan(ASKS), &shared().kubeconfig).arg("--await-ack").start().await;
    waiting.says("from elsewhere: ckbackup ack ").await;
    waiting.says("the journal cannot be stored in the vault, it is on this machine only").await;
    waiting.signal("KILL");
    waiting.finish().await;
    std::fs::remove_file(restores(&rig)).unwrap();

    let second = resume(&rig, "--await-ack").start().await;
    let id = id_of(&rig, &second).await;
    second.signal("KILL");
    second.finish().await;
    let elsewhere = resume(&rig, &format!("{id} --await-ack")).env("CKBACKUP_STATE_DIR", rig.path("another-machine"));
    let third = elsewhere.start().await;
    third.says("from elsewhere: ckbackup ack ").await;
    let words = format!("ack {id} dns --by Ada");
    rig.reading(&words).env("CKBACKUP_STATE_DIR", rig.path("another-machine")).run().await.expect_success();
    let done = summary(&third.finish().await.expect_success());
    assert_eq!((done["status"].as_str(), items(&done)[0]), (Some("complete"), 5), "{done:#}");
}

/// On another machine the plan's folder is not there: what would be written beside it would be lost with what was unpacked.
#[tokio::test]
async fn data_is_never_put_beside_a_plan_that_was_only_unpacked() {
    let (rig, _) = backed_up("beside").await;
    let plan = rig.plan(
        "[{name: maps, apply: {kinds: [ConfigMap]}}, {name: wait, after: [maps], manual: {title: Wait}}, \
          {name: logs, after: [wait], when: {drill: false}, files: {source: logs, to: restored}}]",
    );
    let running = rig.restore(&plan, &shared().kubeconfig).arg("--await-ack").start().await;
    let id = id_of(&rig, &running).await;
    running.signal("KILL");
    running.finish().await;
    std::fs::remove_file(&plan).unwrap();
    let refused = resume(&rig, &format!("{id} --yes")).run().await.expect(2);
    assert!(refused.stderr.contains("writes into a folder beside the plan"), "{refused}");
}
