//! A real S3 server for tests: buckets with or without versions and Object Lock, users with and without permissions.

use std::path::PathBuf;

use ckbackup::drill::sandbox::{Leashed, Program, free_port};
use http::{HeaderMap, Method};

use super::assets::assets;
use super::command::Ckbackup;
use super::s3_client::{Credentials, REGION, S3Client, S3Response};
use super::{Scratch, eventually};

const VERSIONS_ON: &str = r#"<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>"#;

/// What a bucket keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketKind {
    /// Only the newest object of each key.
    Plain,
    /// Every version.
    Versioned,
    /// Every version, and versions can be locked against deletion.
    Locked,
}

/// A running S3 server with its data in the scratch folder. Dropping it kills it.
#[derive(Debug)]
pub struct S3Server {
    server: Leashed,
    client: S3Client,
    data: PathBuf,
    root: Credentials,
}

impl S3Server {
    /// Starts one; it is there within 100 ms.
    pub async fn start(scratch: &Scratch) -> Self {
        let root = Credentials { access_key: "root".into(), secret_key: "root-secret".into() };
        let data = scratch.folder("s3/data");
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let server = listening(scratch, &address, &root).await;
        let client = S3Client::new(&format!("http://{address}"));
        S3Server { server, client, data, root }
    }

    /// Starts it again, with what it had, where it was.
    pub async fn restart(&mut self, scratch: &Scratch) {
        let address = self.endpoint().strip_prefix("http://").unwrap().to_owned();
        self.server = listening(scratch, &address, &self.root).await;
    }

    /// `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> &str {
        self.client.endpoint()
    }

    /// The process id, for tests that stop it.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Who may do everything.
    pub fn root(&self) -> &Credentials {
        &self.root
    }

    /// The folder whose files are the newest versions of the objects, `<bucket>/<key>`: for tests that damage them.
    pub fn file(&self, bucket: &str, key: &str) -> PathBuf {
        self.data.join(bucket).join(key)
    }

    /// The variables from which clients take the endpoint and these credentials.
    pub fn env(&self, who: &Credentials) -> Vec<(&'static str, String)> {
        env(self.endpoint(), who)
    }

    /// Kills it, as a power cut would.
    pub async fn kill(&mut self) {
        self.server.kill().await.unwrap();
    }

    /// Makes a bucket that belongs to root.
    pub async fn create_bucket(&self, name: &str, kind: BucketKind) {
        let mut headers = HeaderMap::new();
        if kind == BucketKind::Locked {
            headers.insert("x-amz-bucket-object-lock-enabled", "true".parse().unwrap());
        }
        self.expect(200, Method::PUT, &format!("/{name}"), headers, "").await;
        if kind == BucketKind::Versioned {
            self.expect(200, Method::PUT, &format!("/{name}?versioning="), HeaderMap::new(), VERSIONS_ON).await;
        }
    }

    /// Makes a user who may do nothing yet.
    pub async fn create_user(&self, scratch: &Scratch, name: &str) -> Credentials {
        let user = Credentials { access_key: name.into(), secret_key: format!("{name}-secret") };
        let Credentials { access_key, secret_key } = &self.root;
        Ckbackup::program(&assets().versitygw, scratch)
            .args(["admin", "--access", access_key, "--secret", secret_key, "--endpoint-url", self.endpoint()])
            .args(["create-user", "--role", "user", "--access", &user.access_key, "--secret", &user.secret_key])
            .run()
            .await
            .expect_success();
        user
    }

    /// Allows users exactly these actions (such as `s3:PutObject`) on a bucket and its objects; replaces what was
    /// allowed before.
    pub async fn allow(&self, bucket: &str, grants: &[(&Credentials, &[&str])]) {
        let resources = [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*")];
        let statements: Vec<_> = grants
            .iter()
            .map(|(who, actions)| {
                serde_json::json!({
                    "Effect": "Allow", "Principal": {"AWS": [who.access_key]}, "Action": actions, "Resource": resources,
                })
            })
            .collect();
        let policy = serde_json::json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        self.expect(204, Method::PUT, &format!("/{bucket}?policy="), HeaderMap::new(), &policy).await;
    }

    async fn expect(&self, status: u16, method: Method, path: &str, headers: HeaderMap, body: &str) {
        let response = self.send(&self.root, method.clone(), path, headers, body).await;
        assert_eq!(response.status, status, "{method} {path}: {}", response.text());
    }

    /// Sends a signed request, straight to the server. The path begins with the bucket; each query parameter needs its `=`.
    pub async fn send(
        &self,
        who: &Credentials,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: impl Into<Vec<u8>>,
    ) -> S3Response {
        self.client.send(who, method, path, headers, body).await.unwrap()
    }
}

/// The variables from which clients take an endpoint (that of a server, or of a proxy before it) and credentials.
pub fn env(endpoint: &str, who: &Credentials) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL", endpoint.into()),
        ("AWS_ALLOW_HTTP", "true".into()),
        ("AWS_REGION", REGION.into()),
        ("AWS_ACCESS_KEY_ID", who.access_key.clone()),
        ("AWS_SECRET_ACCESS_KEY", who.secret_key.clone()),
    ]
}

async fn listening(scratch: &Scratch, address: &str, root: &Credentials) -> Leashed {
    let mut server = Leashed::spawn(&program(scratch, address, root)).unwrap();
    eventually("the S3 server listens", async || {
        server.require_running().unwrap_or_else(|e| panic!("{}", e.one_line()));
        tokio::net::TcpStream::connect(address).await.is_ok()
    })
    .await;
    server
}

fn program(scratch: &Scratch, address: &str, root: &Credentials) -> Program {
    let [data, versions, iam] = ["data", "versions", "iam"].map(|name| scratch.folder(&format!("s3/{name}")));
    let args = vec![
        format!("--port={address}"),
        format!("--region={REGION}"),
        format!("--iam-dir={}", iam.display()),
        // It would delay what a test changes.
        "--iam-cache-disable".into(),
        "--quiet".into(),
        "posix".into(),
        format!("--versioning-dir={}", versions.display()),
        data.display().to_string(),
    ];
    let env =
        vec![("ROOT_ACCESS_KEY".into(), root.access_key.clone()), ("ROOT_SECRET_KEY".into(), root.secret_key.clone())];
    Program { path: assets().versitygw.clone(), args, env, log: scratch.path().join("versitygw.log") }
}
