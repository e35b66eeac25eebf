//! A command in a pod.
//!
//! kube's streams do not end when their connection does, so they are passed on through pipes that do.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Exit, Running, Tail, shown};
use crate::cluster::{Cluster, FoundPod};
use crate::error::{Error, Result};

/// Bytes that wait in a pipe.
const PIPE: usize = 256 << 10;

/// How long more output is waited for when the connection has ended: what came is there already.
const GRACE: Duration = Duration::from_secs(2);

pub(super) async fn start(cluster: &Cluster, pod: &FoundPod, command: &[String], with_input: bool) -> Result<Running> {
    let kept_open = with_shell(command);
    let running = if with_input { &kept_open[..] } else { command };
    let mut process = cluster.exec(pod, running, with_input).await?;
    let missing = || Error::failed(format!("{} has no streams", shown(command)));
    let from_pod = process.stdout().ok_or_else(missing)?;
    let mut errors = process.stderr().ok_or_else(missing)?;
    let status = process.take_status().ok_or_else(missing)?;
    let ended = CancellationToken::new();
    let (told, outcome) = oneshot::channel();
    let end_of = ended.clone();
    tokio::spawn(async move {
        let status = status.await;
        end_of.cancel();
        let _ = told.send(status);
    });
    let (near, output) = tokio::io::duplex(PIPE);
    tokio::spawn(pass_on(from_pod, near, ended.clone()));
    let input = process.stdin().map(|to_pod| {
        let (input, near) = tokio::io::duplex(PIPE);
        tokio::spawn(pass_in(near, to_pod, ended.clone()));
        Box::new(input) as super::Input
    });
    let said = tokio::spawn(async move {
        let (mut said, mut buffer) = (Tail::default(), [0; 4096]);
        while let Some(read @ 1..) = read_until(&mut errors, &mut buffer, &ended).await {
            said.push(&buffer[..read]);
        }
        said
    });
    let place = format!("{}/{}", pod.namespace, pod.name);
    let end = async move {
        let status = outcome.await.ok().flatten();
        // Held until now: when it is dropped, the connection ends.
        drop(process);
        let said = said.await.unwrap_or_default().last_lines();
        match status {
            Some(status) => Ok(exit(&status, said)),
            None => Err(Error::failed(format!("the connection to pod {place} ended before the command did: {said}"))),
        }
    };
    Ok(Running { input, output: Box::new(output), end: Box::pin(end) })
}

/// Output, until its end or that of the connection.
async fn pass_on(mut from: impl AsyncRead + Unpin, mut to: DuplexStream, ended: CancellationToken) {
    let mut buffer = vec![0; 64 << 10];
    while let Some(read @ 1..) = read_until(&mut from, &mut buffer, &ended).await {
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// Input, until its end or that of the connection; then whoever writes is told.
async fn pass_in(mut from: DuplexStream, mut to: impl AsyncWrite + Unpin, ended: CancellationToken) {
    let mut buffer = vec![0; 64 << 10];
    let passing = async {
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            if to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::select! {
        () = passing => {}
        () = ended.cancelled() => {}
    }
}

/// The next bytes; none at an error, and when nothing comes after the connection has ended.
async fn read_until(
    from: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
    ended: &CancellationToken,
) -> Option<usize> {
    if !ended.is_cancelled() {
        tokio::select! {
            biased;
            read = from.read(buffer) => return read.ok(),
            () = ended.cancelled() => {}
        }
    }
    tokio::time::timeout(GRACE, from.read(buffer)).await.ok()?.ok()
}

/// A shell that stays, with its standard output. Where the program closes its own, containerd ends the input, too, and nobody
/// is told: https://github.com/containerd/containerd/issues/12734. What the program prints is of no use, and would hold up
/// the input on the same connection. What it leaves of its input is read to the end: until then nobody would hear how it ended.
fn with_shell(command: &[String]) -> Vec<String> {
    let script = r#""$@" >/dev/null; e=$?; n=$(wc -c)
if [ "$e" = 0 ] && [ "$n" -gt 0 ]; then echo "it left $n bytes of its input unread" >&2; e=74; fi
exit "$e""#;
    let shell = ["sh", "-c", script, "sh"].map(String::from);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that stays open and silent, as kube's do.
    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_with_its_connection() {
        let (from, mut pod) = tokio::io::duplex(1000);
        let (near, mut output) = tokio::io::duplex(1000);
        let ended = CancellationToken::new();
        tokio::spawn(pass_on(from, near, ended.clone()));
        pod.write_all(b"half").await.unwrap();
        ended.cancel();
        let mut all = Vec::new();
        output.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"half");
    }

    #[tokio::test]
    async fn who_writes_is_told_when_the_connection_has_ended() {
        let (mut input, near) = tokio::io::duplex(1000);
        // Nobody reads it.
        let (to, _pod) = tokio::io::duplex(1000);
        let ended = CancellationToken::new();
        tokio::spawn(pass_in(near, to, ended.clone()));
        let writing = async move { input.write_all(&[0; 1_000_000]).await };
        let (written, ()) = tokio::join!(writing, async { ended.cancel() });
        assert!(written.is_err());
    }
}
