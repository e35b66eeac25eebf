//! The contents of files in a pod, one after the other, each with its size in front.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use super::pod::PodFolder;
use crate::command::{Output, Running};
use crate::error::{Error, Result};

/// The size is that of the file that was opened: one that gets its name meanwhile is not mixed up with it.
const SCRIPT: &str = "cd -- \"$1\" || exit 1; shift; for f; do \
                      { stat -L -c %s /proc/self/fd/3 && cat <&3; } 3<\"$f\" || \
                      { if [ -e \"$f\" ]; then exit 1; fi; echo gone; }; done";

/// A pod that sends nothing for so long is lost.
const STALLED: Duration = Duration::from_secs(120);

/// Files that come from a pod.
pub(super) struct Contents {
    running: Running,
    output: BufReader<Output>,
    command: Vec<String>,
}

impl Contents {
    /// Asks for files of a folder, which come in this order.
    pub async fn open(folder: &PodFolder, files: &[String]) -> Result<Contents> {
        let begin = ["sh", "-c", SCRIPT, "sh", &folder.path].map(String::from);
        let command: Vec<String> = begin.into_iter().chain(files.iter().cloned()).collect();
        let mut running = in_time(folder.place.start(&command, false)).await??;
        let output = std::mem::replace(&mut running.output, Box::new(tokio::io::empty()));
        Ok(Contents { running, output: BufReader::new(output), command })
    }

    /// The size of the next file, whose content must be read then; none for one that is gone.
    pub async fn next(&mut self) -> Result<Option<u64>> {
        let mut line = String::new();
        // Nothing else that a size, or a word, is as long.
        let mut output = (&mut self.output).take(32);
        in_time(output.read_line(&mut line)).await?.map_err(|e| Error::failed("read from the pod").because(e))?;
        match line.trim_end() {
            "gone" => Ok(None),
            // It says in the end why.
            "" => Err(self.broken().await),
            text => text.parse().map(Some).map_err(|_| Error::failed(format!("the pod sent `{text}` for a size"))),
        }
    }

    /// So many bytes of it.
    pub async fn read(&mut self, bytes: u64) -> Result<Bytes> {
        let mut content = vec![0; bytes as usize];
        let mut filled = 0;
        while filled < content.len() {
            let read = in_time(self.output.read(&mut content[filled..])).await?;
            match read.map_err(|e| Error::failed("read from the pod").because(e))? {
                0 => return Err(self.broken().await),
                more => filled += more,
            }
        }
        Ok(content.into())
    }

    /// Waits until the command has ended. An error when it did not succeed, or has more to say.
    pub async fn end(mut self) -> Result<()> {
        let more = in_time(self.output.read(&mut [0])).await?;
        if more.map_err(|e| Error::failed("read from the pod").because(e))? > 0 {
            return Err(Error::failed("the pod sent more than it said"));
        }
        drop(self.output);
        in_time(self.running.end()).await??.require_success(&self.command)
    }

    /// Why there is no more.
    async fn broken(&mut self) -> Error {
        let empty = Running::ended();
        let ended = in_time(std::mem::replace(&mut self.running, empty).end()).await;
        let why = ended.and_then(|exit| exit).and_then(|exit| exit.require_success(&self.command));
        why.err().unwrap_or_else(|| Error::failed("the pod sent less than it said"))
    }
}

async fn in_time<T>(waiting: impl Future<Output = T>) -> Result<T> {
    let stalled = || Error::failed(format!("the pod sent nothing for {} s", STALLED.as_secs()));
    tokio::time::timeout(STALLED, waiting).await.map_err(|_| stalled())
}
