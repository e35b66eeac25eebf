//! The servers of the platform, and what is in them.

use http::{HeaderMap, Method};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::alertmanager::Alertmanager;
use crate::harness::exec::{exec, output_of};
use crate::harness::node::is_ready;
use crate::harness::prometheus::make_blocks;
use crate::harness::{BucketKind, Ckbackup, Node, S3Server, Scratch, Search, SearchServer, eventually};

pub const SERIES: u32 = 5000;
pub const HOURS: u32 = 4;
pub const INDICES: [(&str, u32); 2] = [("kubernetes-000001", 60_000), ("kubernetes-000002", 20_000)];
pub const TABLES: [&str; 4] = ["artifact", "project", "schema_migrations", "\"User\""];
const NAMESPACES: [&str; 3] = ["harbor", "influxdb-prometheus", "monitoring"];

const HARBOR: &str = "
create table schema_migrations (version bigint primary key, dirty boolean);
insert into schema_migrations values (150, false);
create table project (id serial primary key, name text unique, owner_id int);
insert into project (name, owner_id) select 'project-' || n, n % 7 from generate_series(1, 500) n;
create table artifact (id bigserial primary key, project_id int references project, digest text);
insert into artifact (project_id, digest) select n % 500 + 1, md5(n::text) from generate_series(1, 50000) n;
create table \"User\" (id int, note text);
insert into \"User\" values (1, E'two\\nlines'), (2, 'COPY x FROM stdin;');
";

/// A cluster, and what stands beside it.
pub struct Servers {
    pub node: Node,
    pub search: SearchServer,
    pub alertmanager: Alertmanager,
    /// The bucket `logs` is another tool's archive.
    pub archive: S3Server,
}

impl Servers {
    /// Starts them, with nothing in them, in a folder of their own.
    pub async fn start(scratch: &Scratch) -> Servers {
        let (node, search) =
            tokio::join!(Node::start(scratch), SearchServer::start(scratch, Search::Elasticsearch8, &[]));
        let (alertmanager, archive) = tokio::join!(Alertmanager::start(scratch), S3Server::start(scratch));
        archive.create_bucket("logs", BucketKind::Plain).await;
        Servers { node, search, alertmanager, archive }
    }

    /// Makes them the platform that is to be lost.
    pub async fn fill(&self, scratch: &Scratch) {
        let (cluster, documents) = (self.fill_cluster(scratch), self.fill_search());
        tokio::join!(cluster, documents, self.fill_alertmanager(), self.fill_archive());
    }

    async fn fill_cluster(&self, scratch: &Scratch) {
        for name in NAMESPACES {
            self.node.api().create_namespace(name).await;
            let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
            eventually("the namespace has its service account", async || {
                self.node.api().find(&account).await.is_some()
            })
            .await;
        }
        self.node.apply("harbor", include_str!("cluster.yaml")).await;
        self.fill_prometheus(scratch).await;
        self.fill_databases().await;
    }

    async fn fill_prometheus(&self, scratch: &Scratch) {
        let (blocks, tar) = (scratch.folder("blocks"), scratch.path().join("blocks.tar"));
        make_blocks(scratch, &blocks, SERIES, HOURS).await;
        let pack = Ckbackup::program("tar", scratch).arg("-C").arg(&blocks).arg("-cf").arg(&tar).arg(".");
        pack.run().await.expect_success();
        self.node.apply("monitoring", include_str!("loader.yaml")).await;
        self.node.pod_ready("monitoring", "loader").await;
        let unpack = ["sh", "-c", "tar -xf - -m -C /prometheus; exit $?"];
        let (status, _) = exec(&self.node, "monitoring", "loader", &unpack, std::fs::read(tar).unwrap()).await;
        assert_eq!(status.status.as_deref(), Some("Success"), "{status:?}");
        self.node.api().delete("/api/v1/namespaces/monitoring/pods/loader").await;
        self.node.apply("monitoring", include_str!("prometheus.yaml")).await;
        self.node.pod_ready("monitoring", "prometheus-0").await;
    }

    async fn fill_databases(&self) {
        self.sql("postgres", "create role harbor login password 'secret'").await;
        self.sql("postgres", "create database registry owner harbor").await;
        self.sql("registry", HARBOR).await;
        self.influx("create database metrics").await;
        let points: Vec<_> = (0..10_000).map(|n| format!("cpu,host=h{} value={n} {n}", n % 5)).collect();
        let pod = self.pod("influxdb-prometheus", "app=influxdb").await;
        let path = format!("/api/v1/namespaces/influxdb-prometheus/pods/{pod}:8086/proxy/write?db=metrics");
        let lines = Some(("text/plain", points.join("\n").into_bytes()));
        assert_eq!(self.node.api().send(Method::POST, &path, lines).await.0, 204);
    }

    async fn fill_search(&self) {
        let template = json!({
            "index_patterns": ["kubernetes-*"],
            "template": {"settings": {"number_of_replicas": 0}, "mappings": {"properties": {"n": {"type": "long"}}}},
        });
        self.search.order("PUT", "_index_template/kubernetes", template).await;
        for (index, documents) in INDICES {
            self.search.fill(index, 0..documents).await;
        }
        let newest = json!({"is_write_index": true});
        self.search.order("PUT", "kubernetes-000002/_alias/kubernetes", newest).await;
        self.search.order("PUT", "kubernetes-000001/_alias/kubernetes", json!({})).await;
    }

    async fn fill_alertmanager(&self) {
        let at = |hours| (Timestamp::now() + SignedDuration::from_hours(hours)).to_string();
        for (comment, namespace) in [("a node is replaced", "monitoring"), ("the new release of Harbor", "harbor")] {
            let matcher = json!({"name": "namespace", "value": namespace, "isRegex": false, "isEqual": true});
            let silence = json!({"matchers": [matcher], "startsAt": at(0), "endsAt": at(8), "createdBy": "oncall", "comment": comment});
            self.alertmanager.silence(&silence).await;
        }
    }

    async fn fill_archive(&self) {
        for number in 0..40_u8 {
            let content = vec![number; if number == 0 { 20 << 20 } else { 10_000 }];
            let path = format!("/logs/2026/11/25/{number:02}.gz");
            let put = self.archive.send(self.archive.root(), Method::PUT, &path, HeaderMap::new(), content).await;
            assert_eq!(put.status, 200, "{path}: {}", put.text());
        }
    }

    pub async fn sql(&self, database: &str, statement: &str) -> String {
        let command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement];
        self.in_pod_of("harbor", "component=database", &command).await
    }

    pub async fn influx(&self, query: &str) -> String {
        let command = ["influx", "-format", "csv", "-execute", query];
        self.in_pod_of("influxdb-prometheus", "app=influxdb", &command).await
    }

    async fn in_pod_of(&self, namespace: &str, label: &str, command: &[&str]) -> String {
        output_of(&self.node, namespace, &self.pod(namespace, label).await, command).await.trim().to_owned()
    }

    /// The name of the pod with this label, once it is ready.
    async fn pod(&self, namespace: &str, label: &str) -> String {
        let pods = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={}", label.replace('=', "%3D"));
        let mut name = None;
        eventually(label, async || {
            let pods = self.node.api().list(&pods).await;
            name =
                pods.iter().find(|pod| is_ready(pod)).map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned());
            name.is_some()
        })
        .await;
        name.unwrap()
    }

    /// Where Prometheus answers, by way of the API server, whatever its pod's address is.
    pub fn prometheus(&self) -> Value {
        let file = |name: &str| self.node.kubeconfig().with_file_name(name);
        let server = std::fs::read_to_string(file("server")).unwrap();
        let path = "/api/v1/namespaces/monitoring/pods/prometheus-0:9090/proxy";
        let access = json!({"bearerTokenFile": file("token"), "caFile": file("ca.crt")});
        json!({"url": format!("{}{path}", server.trim()), "access": access})
    }

    /// The one value of a query at a time, in seconds since 1970.
    pub async fn query(&self, query: &str, at: i64) -> String {
        let encoded: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let proxy = "/api/v1/namespaces/monitoring/pods/prometheus-0:9090/proxy";
        let answer = self.node.api().get(&format!("{proxy}/api/v1/query?query={encoded}&time={at}")).await;
        answer["data"]["result"][0]["value"][1].as_str().unwrap_or("nothing").to_owned()
    }
}
