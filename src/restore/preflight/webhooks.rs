//! Admission webhooks of the target that would refuse writes of the plan, or let them hang.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

use super::around::{go_around, is_around, put_back};
use super::backend::{Backend, has_nodes};
use super::reach::{Held, Reach, configurations, held, refuses, shown};
use super::{Obstacle, Severity};
use crate::cluster::Cluster;
use crate::config::WebhookPolicy;
use crate::error::{Error, Result};
use crate::restore::compile::SavedType;
use crate::restore::target::Target;
use crate::restore::work::Work;
use crate::restore::write::{Fitted, PATIENCE};

/// How long a backend may take to be ready before its webhook is written all the same.
const READY_WITHIN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_secs(1);

/// A configuration that is gone round.
#[derive(Debug, Clone)]
struct Around {
    path: String,
    backends: Vec<(Backend, u64)>,
}

/// What is known and done about webhooks.
#[derive(Debug, Default)]
pub struct Webhooks {
    /// What the plan or the command line says.
    pub policy: WebhookPolicy,
    around: Mutex<Vec<Around>>,
    ready: Mutex<HashMap<Backend, Arc<OnceCell<bool>>>>,
    has_nodes: OnceCell<bool>,
}

impl Webhooks {
    /// Nothing is done yet.
    pub fn new(policy: WebhookPolicy) -> Webhooks {
        Webhooks { policy, ..Webhooks::default() }
    }

    /// Finds webhooks in the way, and waits, goes round them or stops, as the policy says. A dry run only tells.
    pub async fn look(&self, work: &Work, target: &Target, kinds: &[&SavedType]) -> Result<Vec<Obstacle>> {
        let cluster = target.cluster();
        // What a restore that was killed has left is put right before anything else.
        let mut found = if work.dry_run { left_behind(cluster).await } else { self.recover(cluster).await };
        let reach = Reach { kinds, namespaces: &work.compiled.namespaces };
        let mut held = held(cluster, &reach).await;
        if held.is_empty() || work.dry_run {
            found.extend(held.iter().map(|held| self.foreseen(held)));
            return Ok(found);
        }
        match self.policy {
            WebhookPolicy::Stop => return Err(stopped(&held)),
            WebhookPolicy::GoAround => found.extend(self.go_around(cluster, &held).await),
            WebhookPolicy::Wait => {
                if held.iter().any(|held| !self.comes_with(held, &reach)) && self.waits(cluster, &held).await {
                    held = self.wait(cluster, &reach).await;
                }
                for held in held {
                    if held.refuses && !self.comes_with(&held, &reach) {
                        work.in_vain.learn(held.name.clone());
                    }
                    found.push(self.foreseen(&held));
                }
            }
        }
        Ok(found)
    }

    /// A backend that the plan itself restores does not come before it is written.
    fn comes_with(&self, held: &Held, reach: &Reach<'_>) -> bool {
        matches!(&held.backend, Backend::Service { namespace, .. } if reach.namespaces.contains(namespace))
    }

    /// Without nodes no service comes up; what is elsewhere may.
    async fn waits(&self, cluster: &Cluster, held: &[Held]) -> bool {
        held.iter().any(|held| matches!(held.backend, Backend::Url(_))) || self.has_nodes(cluster).await
    }

    async fn wait(&self, cluster: &Cluster, reach: &Reach<'_>) -> Vec<Held> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let held = held(cluster, reach).await;
            let in_vain = held.iter().all(|held| self.comes_with(held, reach));
            if in_vain || Instant::now() >= deadline {
                return held;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn go_around(&self, cluster: &Cluster, held: &[Held]) -> Vec<Obstacle> {
        let mut found = Vec::new();
        let paths: BTreeSet<_> = held.iter().map(|held| &held.path).collect();
        for path in paths {
            let of: Vec<_> = held.iter().filter(|held| held.path == *path).collect();
            let backends = of.iter().map(|held| (held.backend.clone(), held.patience)).collect();
            // Known before it is done: whoever is stopped in between puts it back all the same.
            self.around.lock().await.push(Around { path: path.clone(), backends });
            let names: Vec<_> = of.iter().map(|held| held.name.clone()).collect();
            match go_around(cluster, path, &names).await {
                Ok(()) => found.extend(of.iter().map(|held| gone_round(held))),
                Err(e) => found.extend(of.iter().map(|held| {
                    held.obstacle(format!("{}; it could not be gone round: {}", held.words(), e.message()), MEND)
                })),
            }
        }
        found
    }

    fn foreseen(&self, held: &Held) -> Obstacle {
        let todo = match self.policy {
            WebhookPolicy::Wait if held.refuses => {
                "writes that it covers fail until it answers; `--webhooks goAround` gets past it"
            }
            WebhookPolicy::Wait => "writes that it covers wait until it answers; `--webhooks goAround` gets past it",
            WebhookPolicy::GoAround => "it is gone round, and put back when it answers or at the end",
            WebhookPolicy::Stop => "the restore stops before the first write",
        };
        held.obstacle(held.words(), todo)
    }

    /// Whether anything is gone round now.
    pub async fn is_any_out(&self) -> bool {
        !self.around.lock().await.is_empty()
    }

    /// Puts back what answers again; with `last`, everything. What cannot be put back at the end is told.
    pub async fn put_back(&self, cluster: &Cluster, last: bool) -> Vec<(String, String)> {
        let mut failed = Vec::new();
        let mut around = self.around.lock().await;
        for out in around.clone() {
            if !last && !out.answers(cluster).await {
                continue;
            }
            match put_back(cluster, &out.path).await {
                Ok(()) => around.retain(|other| other.path != out.path),
                Err(e) => {
                    failed.push((out.path, format!("it was gone round, and could not be put back: {}", e.message())))
                }
            }
        }
        failed
    }

    /// Puts back what earlier restores have left.
    async fn recover(&self, cluster: &Cluster) -> Vec<Obstacle> {
        let mut found = Vec::new();
        for (path, config) in configurations(cluster).await {
            if is_around(&config) {
                found.push(match put_back(cluster, &path).await {
                    Ok(()) => {
                        let what =
                            format!("{} was left gone round by an earlier restore, and is put back", shown(&path));
                        Obstacle { severity: Severity::Handled, what, todo: String::new() }
                    }
                    Err(e) => {
                        let what =
                            format!("{} was left gone round, and cannot be put back: {}", shown(&path), e.message());
                        Obstacle::fails(what, MEND)
                    }
                });
            }
        }
        found
    }

    /// Before a webhook configuration is written: it is put back if it was gone round, and its backends are waited for. A note
    /// where it cannot be put back, or they are not ready.
    pub async fn before_write(&self, cluster: &Cluster, fitted: &Fitted<'_>) -> Option<String> {
        let path = format!("{}/{}", fitted.collection, fitted.name);
        let stays_out = self.put_back_first(cluster, &path).await;
        let unready = self.wait_for_backends(cluster, &path, fitted).await;
        let notes: Vec<_> = stays_out.into_iter().chain(unready).collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }

    /// One that cannot be put back now stays known, and is put back at the end.
    async fn put_back_first(&self, cluster: &Cluster, path: &str) -> Option<String> {
        let done = put_back(cluster, path).await;
        let mut around = self.around.lock().await;
        // Of others, the write itself tells what fails.
        let known = around.iter().position(|out| out.path == path)?;
        match done {
            Ok(()) => {
                around.swap_remove(known);
                None
            }
            Err(e) => {
                let (name, why) = (shown(path), e.message());
                Some(format!("{name} was gone round, and could not be put back yet; it will be at the end: {why}"))
            }
        }
    }

    async fn wait_for_backends(&self, cluster: &Cluster, path: &str, fitted: &Fitted<'_>) -> Option<String> {
        let all = fitted.object["webhooks"].as_array()?;
        let services = all.iter().filter(|webhook| refuses(webhook)).filter_map(Backend::of);
        let services: BTreeSet<_> = services.filter(|b| matches!(b, Backend::Service { .. })).collect();
        if services.is_empty() {
            return None;
        }
        if !self.has_nodes(cluster).await {
            return Some(
                "webhooks were written without waiting for their backends, as the cluster has no nodes".into(),
            );
        }
        let mut missing = Vec::new();
        for backend in services {
            if !self.is_ready(cluster, &backend).await {
                missing.push(backend.to_string());
            }
        }
        let waited = READY_WITHIN.as_secs();
        (!missing.is_empty()).then(|| {
            let backends = missing.join(", ");
            format!(
                "{} was written though {backends} was not ready after {waited} s: until then it refuses writes",
                shown(path)
            )
        })
    }

    /// Each backend is waited for once.
    async fn is_ready(&self, cluster: &Cluster, backend: &Backend) -> bool {
        let cell = self.ready.lock().await.entry(backend.clone()).or_default().clone();
        let waiting = async || {
            let deadline = Instant::now() + READY_WITHIN;
            while !backend.is_ready(cluster).await {
                if Instant::now() >= deadline {
                    return false;
                }
                tokio::time::sleep(POLL).await;
            }
            true
        };
        *cell.get_or_init(waiting).await
    }

    async fn has_nodes(&self, cluster: &Cluster) -> bool {
        *self.has_nodes.get_or_init(|| has_nodes(cluster)).await
    }
}

const MEND: &str = "mend or delete the configuration by hand, then run the same command again";

impl Around {
    async fn answers(&self, cluster: &Cluster) -> bool {
        for (backend, patience) in &self.backends {
            if backend.answers(cluster, *patience).await.is_err() {
                return false;
            }
        }
        true
    }
}

fn gone_round(held: &Held) -> Obstacle {
    let what = format!("{}; it is gone round meanwhile", held.words());
    Obstacle { severity: Severity::Handled, what, todo: "it is put back when it answers, or at the end".into() }
}

fn stopped(held: &[Held]) -> Error {
    let words: Vec<_> = held.iter().map(Held::words).collect();
    Error::failed(format!("nothing was written: {}", words.join("; ")))
        .hint("bring the backend up, or restore with `--webhooks goAround`, which puts the webhook back at the end")
}

async fn left_behind(cluster: &Cluster) -> Vec<Obstacle> {
    let all = configurations(cluster).await.into_iter().filter(|(_, config)| is_around(config));
    let words = |path: &str| format!("{} was left gone round by an earlier restore", shown(path));
    all.map(|(path, _)| Obstacle::warning(words(&path), "the next restore puts it back before it begins")).collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::{Method, Request, Response};
    use http_body_util::{BodyExt, Full};
    use hyper::body::Incoming;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;
    use crate::cluster::Access;

    const PATH: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/gate";

    /// What an API server holds, and how often it was written.
    struct Kept {
        config: Value,
        writes: u32,
    }

    /// It refuses the first write.
    async fn answer(kept: Arc<Mutex<Kept>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let is_write = request.method() == Method::PUT;
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut kept = kept.lock().await;
        kept.writes += u32::from(is_write);
        let is_refused = is_write && kept.writes == 1;
        if is_write && !is_refused {
            kept.config = serde_json::from_slice(&body).unwrap();
        }
        let answer = Response::builder().status(if is_refused { 403 } else { 200 });
        Ok(answer.body(Full::from(kept.config.to_string())).unwrap())
    }

    /// A cluster that has one configuration, which is gone round.
    async fn cluster() -> (Cluster, Arc<Mutex<Kept>>) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = json!({
            "metadata": {"name": "gate", "annotations": {"ckbackup.io/former-object-selectors": "{\"gate\":{}}"}},
            "webhooks": [{"name": "gate", "objectSelector": {"matchLabels": {"ckbackup.io/no-object-carries-this": "true"}}}],
        });
        assert!(is_around(&config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let kept = Arc::new(Mutex::new(Kept { config, writes: 0 }));
        let shared = kept.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let shared = shared.clone();
                let service = service_fn(move |request| answer(shared.clone(), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service));
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = json!({
            "current-context": "it", "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "clusters": [{"name": "it", "cluster": {"server": server}}], "users": [{"name": "it", "user": {}}],
        });
        let file = folder.path().join("config");
        std::fs::write(&file, kubeconfig.to_string()).unwrap();
        (Cluster::connect(Access::Kubeconfig { files: vec![file], context: None }).await.unwrap(), kept)
    }

    #[tokio::test]
    async fn what_cannot_be_put_back_before_it_is_written_is_put_back_at_the_end() {
        let (cluster, kept) = cluster().await;
        let webhooks = Webhooks::new(WebhookPolicy::GoAround);
        webhooks.around.lock().await.push(Around { path: PATH.into(), backends: Vec::new() });
        let said = webhooks.put_back_first(&cluster, PATH).await.unwrap();
        assert!(said.contains("/gate was gone round, and could not be put back yet"), "{said}");
        assert!(webhooks.is_any_out().await && is_around(&kept.lock().await.config));

        assert!(webhooks.put_back(&cluster, true).await.is_empty());
        assert!(!webhooks.is_any_out().await && !is_around(&kept.lock().await.config));
    }

    #[tokio::test]
    async fn what_is_put_back_before_it_is_written_is_forgotten() {
        let (cluster, kept) = cluster().await;
        kept.lock().await.writes = 1;
        let webhooks = Webhooks::new(WebhookPolicy::GoAround);
        webhooks.around.lock().await.push(Around { path: PATH.into(), backends: Vec::new() });
        assert_eq!(webhooks.put_back_first(&cluster, PATH).await, None);
        assert!(!webhooks.is_any_out().await && !is_around(&kept.lock().await.config));
    }
}
