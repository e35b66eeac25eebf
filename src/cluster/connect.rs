//! From a kubeconfig, or a pod's service account, to a connection.

use std::path::PathBuf;
use std::time::Duration;

use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tower::{BoxError, Layer, ServiceExt};

use super::Access;
use crate::error::{Context, Error, Result};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Behind a load balancer that forgets silent connections, a long list would otherwise hang until its time-out.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The configuration, and the name of its context.
pub(super) async fn read_config(access: &Access) -> Result<(kube::Config, String)> {
    match access {
        Access::InCluster => {
            let config = kube::Config::incluster().map_err(|e| {
                Error::usage("no cluster is named, and this is not a pod with a service account")
                    .because(e)
                    .hint("set KUBECONFIG, or name a context with --context")
            })?;
            Ok((config, "in-cluster".into()))
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
    let options = KubeConfigOptions { context: Some(name.clone()), ..KubeConfigOptions::default() };
    let config = kube::Config::from_custom_kubeconfig(merged, &options)
        .await
        .map_err(|e| Error::usage(format!("use the context {name}")).because(e))?;
    Ok((config, name))
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
