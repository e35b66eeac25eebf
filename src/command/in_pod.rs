//! A command in a pod.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use tokio::io::AsyncReadExt;

use super::{Exit, Running, Tail, shown};
use crate::cluster::{Cluster, FoundPod};
use crate::error::{Error, Result};

pub(super) async fn start(cluster: &Cluster, pod: &FoundPod, command: &[String], with_input: bool) -> Result<Running> {
    let kept_open = with_shell(command);
    let running = if with_input { &kept_open[..] } else { command };
    let mut process = cluster.exec(pod, running, with_input).await?;
    let missing = || Error::failed(format!("{} has no streams", shown(command)));
    let output = process.stdout().ok_or_else(missing)?;
    let mut errors = process.stderr().ok_or_else(missing)?;
    let status = process.take_status().ok_or_else(missing)?;
    let input = process.stdin().map(|input| Box::new(input) as super::Input);
    let said = tokio::spawn(async move {
        let (mut said, mut buffer) = (Tail::default(), [0; 4096]);
        while let Ok(read @ 1..) = errors.read(&mut buffer).await {
            said.push(&buffer[..read]);
        }
        said
    });
    let place = format!("{}/{}", pod.namespace, pod.name);
    let end = async move {
        // Held until now: when it is dropped, the connection ends.
        let status = status.await;
        drop(process);
        let said = said.await.unwrap_or_default().last_lines();
        match status {
            Some(status) => Ok(exit(&status, said)),
            None => Err(Error::failed(format!("the connection to pod {place} ended before the command did: {said}"))),
        }
    };
    Ok(Running { input, output: Box::new(output), end: Box::pin(end) })
}

/// A shell that stays, with its standard output. Where the program closes its own, containerd ends the input, too, and nobody
/// is told: https://github.com/containerd/containerd/issues/12734.
fn with_shell(command: &[String]) -> Vec<String> {
    let shell = ["sh", "-c", "\"$@\"; e=$?; exit $e", "sh"].map(String::from);
    shell.into_iter().chain(command.iter().cloned()).collect()
}

fn exit(status: &Status, said: String) -> Exit {
    let success = status.status.as_deref() == Some("Success");
    let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    let code = causes.into_iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    let words = match code.and_then(|cause| cause.message.as_deref()) {
        Some(code) => format!("exit status: {code}"),
        None => status.message.clone().unwrap_or_else(|| "it ended".into()),
    };
    Exit { success, words, said }
}
