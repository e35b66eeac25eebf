//! From a kubeconfig, or a pod's service account, to a connection.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use secrecy::SecretString;
use serde_json::json;
use tower::{BoxError, Layer, ServiceExt};

use super::Access;
use crate::error::{Context, Error, Result};

/// Name of the context that a pod's service account gives.
const IN_CLUSTER: &str = "in-cluster";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Behind a load balancer that forgets silent connections, a long list would otherwise hang until its time-out.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The configuration, and the name of its context.
pub(super) async fn read_config(access: &Access) -> Result<(kube::Config, String)> {
    match access {
        Access::Pod { server, account } => {
            let server = server.as_ref().ok_or_else(|| {
                Error::usage("no cluster is named, and this is not a pod with a service account")
                    .hint("set KUBECONFIG, or name a context with --context")
            })?;
            let (mut config, name) = use_context(pod_kubeconfig(server, account)?, IN_CLUSTER).await?;
            // A pod reaches its own API server directly; a proxy in its environment is for what is outside.
            config.proxy_url = None;
            Ok((config, name))
        }
        Access::Kubeconfig { files, context } => read_kubeconfig(files, context.as_deref()).await,
    }
}

async fn read_kubeconfig(files: &[PathBuf], context: Option<&str>) -> Result<(kube::Config, String)> {
    let mut merged: Option<Kubeconfig> = None;
    for file in files {
        let read = Kubeconfig::read_from(file).map_err(|e| {
            Error::usage(format!("read the kubeconfig {}", file.display()))
                .because(e)
                .hint("check KUBECONFIG, or name another file with --kubeconfig")
        })?;
        merged = Some(match merged {
            None => read,
            Some(before) => before.merge(read).context(|| "merge the kubeconfig files".into())?,
        });
    }
    let merged = merged.ok_or_else(|| Error::usage("no kubeconfig file is named"))?;
    let known: Vec<_> = merged.contexts.iter().map(|c| c.name.clone()).collect();
    let name = match context.map(String::from).or_else(|| merged.current_context.clone()) {
        Some(name) if known.contains(&name) => name,
        Some(name) => {
            return Err(Error::usage(format!("no such context: {name}")).hint(format!(
                "the kubeconfig knows: {}",
                if known.is_empty() { "none".into() } else { known.join(", ") }
            )));
        }
        None => {
            return Err(Error::usage("the kubeconfig has no current context")
                .hint(format!("name one with --context: {}", known.join(", "))));
        }
    };
    use_context(merged, &name).await
}

async fn use_context(kubeconfig: Kubeconfig, name: &str) -> Result<(kube::Config, String)> {
    let options = KubeConfigOptions { context: Some(name.into()), ..KubeConfigOptions::default() };
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.map_err(|e| Error::usage(format!("use the context {name}")).because(e))?;
    if let (None, Some(file)) = (&config.auth_info.token, config.auth_info.token_file.take()) {
        config.auth_info.token = Some(read_token(&file)?);
    }
    Ok((config, name.into()))
}

/// As kubectl reads it: a line end after the token is no part of it.
fn read_token(file: &str) -> Result<SecretString> {
    let text = std::fs::read_to_string(file).map_err(|e| Error::usage(format!("read the token {file}")).because(e))?;
    Ok(SecretString::from(text.trim()))
}

/// The service account as a kubeconfig.
fn pod_kubeconfig(server: &str, account: &Path) -> Result<Kubeconfig> {
    let namespace = std::fs::read_to_string(account.join("namespace")).unwrap_or_default();
    let namespace = Some(namespace.trim()).filter(|text| !text.is_empty()).unwrap_or("default");
    let context = json!({"cluster": IN_CLUSTER, "user": IN_CLUSTER, "namespace": namespace});
    let text = json!({
        "current-context": IN_CLUSTER,
        "contexts": [{"name": IN_CLUSTER, "context": context}],
        "clusters": [{"name": IN_CLUSTER,
            "cluster": {"server": server, "certificate-authority": account.join("ca.crt")}}],
        "users": [{"name": IN_CLUSTER, "user": {"tokenFile": account.join("token")}}],
    });
    serde_json::from_value(text).context(|| "describe the pod's cluster".into())
}

/// Prepares a connection. Nothing is sent yet.
pub(super) fn build_client(mut config: kube::Config) -> Result<kube::Client> {
    // Every request has a time-out of its own, and a list may rightly take long.
    config.read_timeout = None;
    config.write_timeout = None;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let client = match config.proxy_url {
        Some(_) => kube::Client::try_from(config),
        None => direct_client(&config),
    };
    client.map_err(|e| Error::usage("prepare the connection to the cluster").because(e))
}

/// kube's own connector leaves Nagle's algorithm on: on every new connection the first request would wait for the
/// server's delayed acknowledgement, 40 ms.
fn direct_client(config: &kube::Config) -> kube::Result<kube::Client> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEP_ALIVE));
    tcp.set_connect_timeout(config.connect_timeout);
    let https = config.rustls_https_connector_with_connector(tcp)?;
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build(https);
    let client = config.extra_headers_layer()?.layer(client.map_err(BoxError::from));
    let client = tower::util::option_layer(config.auth_layer()?).layer(client);
    let client = config.base_uri_layer().layer(client);
    Ok(kube::Client::new(client, config.default_namespace.clone()))
}
