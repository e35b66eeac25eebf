//! Source and restore step `command`: here, and in pods of a real node, with a real PostgreSQL and InfluxDB.

use serde_json::{Value, json};

use crate::data_stage::{DataStage, id_of, record};
use crate::harness::control_plane::write_kubeconfig;
use crate::harness::exec::output_of;
use crate::harness::{Api, Ckbackup, Finished, Node, eventually, shared_node};
use crate::job_rights::{collection, printed_in, token};
use crate::node::PODS;
use crate::vault_stage::Place;

fn shell(script: &str) -> Value {
    json!(["sh", "-c", script])
}

fn step(more: Value) -> Value {
    let mut wanted = json!({"source": "data"});
    wanted.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    json!([{"name": "back", "command": wanted}])
}

/// As a user who has the node's kubeconfig.
fn on(node: &Node, run: Ckbackup) -> Ckbackup {
    run.arg("--kubeconfig").arg(node.kubeconfig())
}

fn problems(manifest: &Value) -> String {
    record(manifest)["problems"].to_string()
}

#[tokio::test]
async fn an_output_comes_back_to_the_byte() {
    let stage = DataStage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let file = stage.scratch.file("big", (0..9_000_000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
    let script = format!("cat {}; echo; echo dump complete", file.display());
    let scope = json!({"run": shell(&script), "file": "dump.sql", "marker": "dump complete"});
    let id = id_of(&stage.backup(&place, "command", scope).run().await.expect_success());
    assert_eq!(record(&stage.manifest(&place, &id).await)["items"], 4, "three parts and a record");
    stage.verify(&place, &id).await.expect_success();

    let back = stage.scratch.path().join("back");
    let taking = format!("cat >{}", back.display());
    let wanted = step(json!({"run": shell(&taking), "file": "dump.sql"}));
    let planned = stage.restore(&place, &id, wanted.clone()).arg("--dry-run").run().await.expect_success().json();
    assert!(planned["steps"][0]["items"]["created"] == 1 && !back.exists(), "{planned}");
    stage.restore(&place, &id, wanted).run().await.expect_success();
    let expected = stage.shell(&script).await.expect_success();
    assert!(std::fs::read(&back).unwrap().len() == 9_000_000 + 15 && expected.stdout.ends_with("dump complete\n"));

    // A command that fails, and one that does not read to the end and says that all is well.
    for (script, why) in [
        ("cat >/dev/null; echo no room >&2; exit 3", "exit status: 3: no room"),
        ("exec true", "before it had read everything"),
    ] {
        let failed =
            stage.restore(&place, &id, step(json!({"run": shell(script), "file": "dump.sql"}))).run().await.expect(3);
        assert!(failed.json()["failures"].to_string().contains(why), "{failed}");
    }
    let unknown = stage.restore(&place, &id, step(json!({"run": ["cat"], "file": "other"}))).run().await.expect(3);
    assert!(unknown.json()["failures"].to_string().contains("it has: dump.sql"), "{unknown}");
}

/// A dump that fails at 90 %, one that is cut off and says nothing, one that hangs.
#[tokio::test]
async fn an_output_that_ends_early_is_no_backup() {
    let stage = DataStage::new().await;
    for (run, more, why) in [
        (
            "head -c 9000000 /dev/zero; echo disk full >&2; exit 4",
            json!({}),
            "failed after 9000000 bytes: exit status: 4: disk full",
        ),
        ("head -c 9000000 /dev/zero; kill -9 $$", json!({}), "signal: 9"),
        ("echo half", json!({"marker": "dump complete"}), "ended without `dump complete` at its end"),
        ("true", json!({}), "wrote nothing"),
        ("echo a; sleep 100", json!({"timeout": "1s"}), "did not end within 1 s"),
    ] {
        let place = Place::folder(&stage.scratch.folder("vault"));
        let mut scope = json!({"run": shell(run)});
        scope.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        let other = json!({"name": "other", "command": {"run": ["echo", "fine"]}});
        let schedule = stage.schedule(&place, json!([{"name": "data", "command": scope}, other]));
        let saved = stage.backup_by(&place, &schedule).run().await.expect(3);
        let id = id_of(&saved);
        let manifest = stage.manifest(&place, &id).await;
        assert!(problems(&manifest).contains(why), "{why}: {saved}");
        assert_eq!(manifest["sources"][2]["status"], "complete", "the others are saved");
        let failed = stage.restore(&place, &id, step(json!({"run": ["cat"]}))).run().await.expect(3);
        let said = failed.json()["failures"].to_string();
        assert!(said.contains("was not saved to its end") || said.contains("no such output"), "{failed}");
        std::fs::remove_dir_all(stage.scratch.path().join("vault")).unwrap();
    }
}

#[tokio::test]
async fn the_hook_after_runs_whatever_came_of_the_command() {
    let stage = DataStage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let log = stage.scratch.path().join("log");
    let hooked = |run: &str, before: &str| {
        let note = |what: &str| shell(&format!("echo {what} >>{}", log.display()));
        let scope = json!({
            "run": shell(run), "before": {"run": shell(&format!("echo before >>{}; {before}", log.display()))},
            "after": {"run": note("after"), "timeout": "10s"},
        });
        stage.backup(&place, "command", scope)
    };
    let lines = || std::fs::read_to_string(&log).unwrap().lines().map(String::from).collect::<Vec<_>>();
    hooked("echo output", "true").run().await.expect_success();
    assert_eq!(lines(), ["before", "after"]);
    hooked("exit 1", "true").run().await.expect(1);
    assert_eq!(lines(), ["before", "after"].repeat(2));
    let frozen = hooked(&format!("echo command >>{}; echo output", log.display()), "exit 9").run().await.expect(1);
    assert!(
        frozen.stderr.contains("the hook before the backup, here") && frozen.stderr.contains("exit status: 9"),
        "{frozen}"
    );
    assert_eq!(lines(), ["before", "after"].repeat(3), "the command was not run");

    let running = hooked(&format!("echo command >>{}; sleep 100", log.display()), "true").start().await;
    eventually("the command runs", async || lines().last().is_some_and(|line| line == "command")).await;
    running.signal("INT");
    running.finish().await.expect(130);
    assert_eq!(lines().last().unwrap(), "after");
}

pub async fn sql(node: &Node, namespace: &str, database: &str, statement: &str) -> String {
    let command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement];
    output_of(node, namespace, "postgres", &command).await.trim().to_owned()
}

/// A pod of PODS that is ready, in a namespace of its own.
pub async fn with_pod(node: &Node, name: &str) -> String {
    let namespace = node.namespace(name).await;
    let pod = PODS.split("---").find(|text| text.contains(&format!("name: {name}}}"))).unwrap();
    node.apply(
        &namespace,
        &pod.replace(&format!("{{name: {name}}}"), &format!("{{name: {name}, labels: {{app: {name}}}}}")),
    )
    .await;
    node.pod_ready(&namespace, name).await;
    namespace
}

const HARBOR: &str = "
create table schema_migrations (version bigint primary key, dirty boolean);
insert into schema_migrations values (150, false);
create table project (id serial primary key, name text unique, owner_id int);
insert into project (name, owner_id) select 'project-' || n, n % 7 from generate_series(1, 500) n;
create table artifact (id bigserial primary key, project_id int references project, digest text, push_time timestamptz default now());
insert into artifact (project_id, digest) select n % 500 + 1, md5(n::text) from generate_series(1, 20000) n;
create table \"User\" (id int, note text);
insert into \"User\" values (1, E'two\\nlines\\tand a tab'), (2, 'COPY x FROM stdin;');
create table nothing (id int);
create view big as select project_id, count(*) from artifact group by 1;
";

const ROWS: &str = "select (select count(*) from project) || ' ' || (select count(*) from artifact) || ' ' || \
                    (select count(*) from \"User\") || ' ' || (select max(id) from artifact) || ' ' || \
                    (select md5(string_agg(digest, ',' order by id)) from artifact) || ' ' || (select count(*) from big)";

#[tokio::test]
async fn a_harbor_database_is_saved_lost_and_found_again_row_by_row() {
    let node = shared_node().await;
    let namespace = with_pod(node, "postgres").await;
    sql(node, &namespace, "postgres", "create role harbor login password 'secret'").await;
    sql(node, &namespace, "postgres", "create database registry owner harbor").await;
    sql(node, &namespace, "registry", HARBOR).await;
    let before = sql(node, &namespace, "registry", ROWS).await;
    // What uses it: three of them.
    let core = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: core}
spec:
  replicas: 3
  selector: {matchLabels: {app: core}}
  template:
    metadata: {labels: {app: core}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: \"busybox:test\", command: [sleep, \"100000\"]}]
";
    node.apply(&namespace, core).await;

    let stage = DataStage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let pod = json!({"namespace": namespace, "selector": "app=postgres"});
    let scope = json!({"profile": "postgres", "pod": pod});
    let saved = on(node, stage.backup(&place, "command", scope)).run().await.expect_success();
    let id = id_of(&saved);
    stage.verify(&place, &id).await.expect_success();
    let restore = |more: Value| {
        let mut wanted = json!({"profile": "postgres", "pod": pod, "databases": ["registry"],
            "scale": [{"kind": "Deployment", "namespace": namespace, "name": "core"}]});
        wanted.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        on(node, stage.restore(&place, &id, step(wanted)))
    };

    // A database that holds something is left alone, unless it is told otherwise.
    sql(node, &namespace, "registry", "delete from artifact where id > 10").await;
    let skipped = restore(json!({})).run().await.expect_success().json();
    assert_eq!(skipped["steps"][0]["items"]["skipped"], 1, "{skipped}");
    restore(json!({"conflict": "fail"})).run().await.expect(3);
    assert!(sql(node, &namespace, "registry", ROWS).await.starts_with("500 10 2"));
    let restored = restore(json!({"conflict": "overwrite"})).run().await.expect_success().json();
    assert_eq!(restored["steps"][0]["items"]["updated"], 1, "{restored}");
    assert!(restored["steps"][0]["note"].as_str().unwrap().contains("scaled to 0 and back to 3"), "{restored}");
    assert_eq!(sql(node, &namespace, "registry", ROWS).await, before);
    let api = node.api();
    let deployment = api.get(&format!("/apis/apps/v1/namespaces/{namespace}/deployments/core")).await;
    assert_eq!((&deployment["spec"]["replicas"], &deployment["status"]["readyReplicas"]), (&json!(3), &json!(3)));
    assert!(deployment["metadata"]["annotations"]["ckbackup.io/former-replicas"].is_null());

    // Everything is gone, roles too.
    sql(node, &namespace, "postgres", "drop database registry").await;
    sql(node, &namespace, "postgres", "drop role harbor").await;
    restore(json!({})).run().await.expect_success();
    assert_eq!(sql(node, &namespace, "registry", ROWS).await, before);
    let owner = "select pg_get_userbyid(datdba) || ' ' || (select rolpassword like 'SCRAM%' from pg_authid where rolname = 'harbor') \
                 from pg_database where datname = 'registry'";
    assert_eq!(sql(node, &namespace, "postgres", owner).await, "harbor true");
    let left = "select string_agg(datname, ' ' order by 1) from pg_database where not datistemplate";
    assert_eq!(sql(node, &namespace, "postgres", left).await, "postgres registry");
}

/// Harbor must come back, whatever ends the restore.
#[tokio::test]
async fn what_was_scaled_to_zero_comes_back_after_ctrl_c_and_after_a_kill() {
    let node = shared_node().await;
    let namespace = node.namespace("scaled").await;
    let core = PODS.split("---").next().unwrap().replace("kind: Pod", "kind: Deployment");
    let core = core.replace("apiVersion: v1", "apiVersion: apps/v1").replace("{name: box}", "{name: core}").replace(
        "spec:\n",
        "spec:\n  replicas: 3\n  selector: {matchLabels: {app: core}}\n  template:\n    metadata: {labels: {app: core}}\n    spec: ",
    );
    let core = core.replace(
        "spec:   terminationGracePeriodSeconds: 0\n  containers: ",
        "spec:\n      terminationGracePeriodSeconds: 0\n      containers: ",
    );
    node.apply(&namespace, &core).await;
    let (stage, api) = (DataStage::new().await, node.api());
    let place = Place::folder(&stage.scratch.folder("vault"));
    let id = id_of(&stage.backup(&place, "command", json!({"run": ["echo", "fine"]})).run().await.expect_success());
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/core");
    let replicas = async || api.get(&path).await["spec"]["replicas"].as_u64().unwrap();
    let begun = stage.scratch.path().join("begun");
    let restore = |script: &str| {
        let script = format!("touch {}; {script}", begun.display());
        let scale = json!([{"kind": "Deployment", "namespace": namespace, "name": "core"}]);
        on(node, stage.restore(&place, &id, step(json!({"run": shell(&script), "scale": scale}))))
    };
    for signal in ["INT", "KILL"] {
        let running = restore("sleep 100").start().await;
        eventually("the command runs", async || begun.exists()).await;
        assert_eq!(replicas().await, 0);
        running.signal(signal);
        let ended = running.finish().await;
        std::fs::remove_file(&begun).unwrap();
        match signal {
            "INT" => assert_eq!(replicas().await, 3, "{ended}"),
            _ => assert_eq!(replicas().await, 0, "nobody was there to do it"),
        }
    }
    restore("cat >/dev/null").run().await.expect_success();
    assert_eq!(replicas().await, 3, "the number was not forgotten");
}

/// What the server does not take: the database that is there stays.
#[tokio::test]
async fn a_dump_that_cannot_be_loaded_costs_nothing() {
    let node = shared_node().await;
    let namespace = with_pod(node, "postgres").await;
    sql(node, &namespace, "postgres", "create database registry").await;
    // More than fits into the pipes: the server stops reading at the first error, and must not be waited for.
    let many = "create table project (id int, note text); insert into project select n, md5(n::text) from generate_series(1, 60000) n";
    sql(node, &namespace, "registry", many).await;
    let stage = DataStage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let pod = json!({"namespace": namespace, "selector": "app=postgres"});
    let scope = json!({"profile": "postgres", "pod": pod, "databases": ["registry"]});
    // A function that only the old server has.
    let library = "create function old() returns int language sql as 'select 1'; create view v as select old()";
    sql(node, &namespace, "registry", library).await;
    let id = id_of(&on(node, stage.backup(&place, "command", scope)).run().await.expect_success());
    sql(node, &namespace, "registry", "insert into project values (0)").await;
    // Nobody may make functions any more.
    let refusing = "create function refuse() returns event_trigger language plpgsql as $$ begin raise 'no functions here'; end $$; \
                    create event trigger refuse on ddl_command_start when tag in ('CREATE FUNCTION') execute function refuse()";
    sql(node, &namespace, "postgres", "update pg_database set datallowconn = true where datname = 'template0'").await;
    sql(node, &namespace, "template0", refusing).await;
    let wanted = json!({"profile": "postgres", "pod": pod, "databases": ["registry"], "conflict": "overwrite"});
    let failed = on(node, stage.restore(&place, &id, step(wanted))).run().await.expect(3).json();
    let why = failed["failures"].to_string();
    assert!(why.contains("no functions here") && why.contains("was left as it is"), "{failed}");
    assert_eq!(sql(node, &namespace, "registry", "select count(*) from project").await, "60001");
    let left = "select string_agg(datname, ' ' order by 1) from pg_database where not datistemplate";
    assert_eq!(sql(node, &namespace, "postgres", left).await, "postgres registry");
}

async fn influx(node: &Node, namespace: &str, query: &str) -> String {
    output_of(node, namespace, "influxdb", &["influx", "-format", "csv", "-execute", query]).await
}

#[tokio::test]
async fn an_influxdb_is_saved_lost_and_found_again() {
    let node = shared_node().await;
    let namespace = with_pod(node, "influxdb").await;
    influx(node, &namespace, "create database metrics").await;
    for number in 0..20 {
        influx(
            node,
            &namespace,
            &format!(
                "insert into metrics.autogen cpu,host=h{} value={number} {}",
                number % 3,
                1_700_000_000_000_000_000u64 + number
            ),
        )
        .await;
    }
    influx(node, &namespace, "create database empty").await;
    let points = "select count(value), sum(value) from metrics.autogen.cpu";
    let before = influx(node, &namespace, points).await;
    assert!(before.contains(",20,190"), "{before}");
    let stage = DataStage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let pod = json!({"namespace": namespace, "selector": "app=influxdb"});
    let saved = on(node, stage.backup(&place, "command", json!({"profile": "influxdb", "pod": pod}))).run().await;
    let id = id_of(&saved.expect_success());
    let restore = |conflict: &str| {
        on(node, stage.restore(&place, &id, step(json!({"profile": "influxdb", "pod": pod, "conflict": conflict}))))
    };
    let skipped = restore("skip").run().await.expect_success().json();
    assert_eq!(skipped["steps"][0]["items"]["skipped"], 2, "{skipped}");
    influx(node, &namespace, "drop database metrics; drop database empty").await;
    restore("skip").run().await.expect_success();
    assert_eq!(influx(node, &namespace, points).await, before);
    influx(node, &namespace, "insert into metrics.autogen cpu,host=h9 value=1").await;
    let restored = restore("overwrite").run().await.expect_success().json();
    assert_eq!(restored["steps"][0]["items"]["updated"], 2, "{restored}");
    assert_eq!(influx(node, &namespace, points).await, before);
    assert!(influx(node, &namespace, "show databases").await.contains("empty"));
}

#[tokio::test]
async fn a_command_runs_in_a_pod_under_exactly_the_roles_that_are_printed() {
    let node = shared_node().await;
    let namespace = with_pod(node, "box").await;
    let (stage, api) = (DataStage::new().await, node.api());
    let place = Place::folder(&stage.scratch.folder("vault"));
    let scope = json!({"pod": {"namespace": namespace, "selector": "app=box"}, "run": ["echo", "fine"]});
    let schedule = stage.schedule(&place, json!([{"name": "data", "command": scope}]));
    let objects = printed_in(&stage.scratch, &schedule, &namespace).await;
    let token = token(&api, &namespace).await;
    let ca = std::fs::read_to_string(node.kubeconfig().with_file_name("ca.crt")).unwrap();
    let server = std::fs::read_to_string(node.kubeconfig().with_file_name("server")).unwrap();
    let kubeconfig = write_kubeconfig(&stage.scratch, "job", server.trim(), Some(&ca), &token);
    let run = || stage.backup_by(&place, &schedule).arg("--kubeconfig").arg(&kubeconfig);
    let refused = run().run().await.expect(1);
    assert!(refused.stderr.contains("cannot list resource"), "{refused}");
    for object in &objects {
        api.create(&collection(object), object).await;
    }
    let job = Api::new(server.trim(), &token, &ca);
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    eventually("the roles are in force", async || job.send(reqwest::Method::GET, &pods, None).await.0 == 200).await;
    run().run().await.expect_success();
    let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
    assert_eq!(job.send(reqwest::Method::GET, &secrets, None).await.0, 403);
}

#[tokio::test]
async fn a_pod_that_is_evicted_in_the_middle_makes_the_backup_partial() {
    let node = shared_node().await;
    let namespace = with_pod(node, "box").await;
    let stage = DataStage::new().await;
    let place = Place::folder(&stage.scratch.folder("vault"));
    let pod = json!({"namespace": namespace, "selector": "app=box"});
    let endless = json!({"pod": pod, "run": shell("touch /tmp/begun; while true; do head -c 100000 /dev/zero; sleep 0.05; done")});
    let other = json!({"name": "other", "command": {"run": ["echo", "fine"]}});
    let schedule = stage.schedule(&place, json!([{"name": "data", "command": endless}, other]));
    let running = on(node, stage.backup_by(&place, &schedule)).start().await;
    eventually("the command runs", async || {
        output_of(node, &namespace, "box", &["sh", "-c", "ls /tmp"]).await.contains("begun")
    })
    .await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "box"}});
    node.api().create(&format!("/api/v1/namespaces/{namespace}/pods/box/eviction"), &eviction).await;
    let saved: Finished = running.finish().await.expect(3);
    let manifest = stage.manifest(&place, &id_of(&saved)).await;
    assert_eq!((&manifest["status"], &manifest["sources"][2]["status"]), (&json!("partial"), &json!("complete")));
    assert!(problems(&manifest).contains("command sh"), "{saved}");

    let nobody = json!({"pod": pod, "run": ["true"]});
    let none = on(node, stage.backup(&place, "command", nobody)).run().await.expect(1);
    assert!(none.stderr.contains("find a pod by app=box in namespace"), "{none}");
}
