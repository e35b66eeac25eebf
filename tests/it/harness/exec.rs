//! Commands in the pods of a node.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachParams;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Node;

/// Runs a command in a pod, with this as its input, and returns how it ended and what it wrote.
pub async fn exec(node: &Node, namespace: &str, pod: &str, command: &[&str], input: Vec<u8>) -> (Status, Vec<u8>) {
    let pods = kube::Api::<Pod>::namespaced(node.client().await, namespace);
    let streams = AttachParams::default().stdin(!input.is_empty()).stderr(false);
    let streams = streams.max_stdin_buf_size(64 << 10).max_stdout_buf_size(64 << 10);
    let mut process = pods.exec(pod, command.iter().copied(), &streams).await.unwrap();
    let (status, mut stdout) = (process.take_status().unwrap(), process.stdout().unwrap());
    let stdin = process.stdin();
    let send = async {
        if let Some(mut stdin) = stdin {
            stdin.write_all(&input).await.unwrap();
            stdin.shutdown().await.unwrap();
        }
    };
    let receive = async {
        let mut output = Vec::new();
        stdout.read_to_end(&mut output).await.unwrap();
        output
    };
    let ((), output, status) = tokio::join!(send, receive, status);
    (status.unwrap(), output)
}

/// The output of a command that succeeds.
pub async fn output_of(node: &Node, namespace: &str, pod: &str, command: &[&str]) -> String {
    let (status, output) = exec(node, namespace, pod, command, Vec::new()).await;
    let output = String::from_utf8(output).unwrap();
    assert_eq!(status.status.as_deref(), Some("Success"), "{status:?} {output}");
    output
}
