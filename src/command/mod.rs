//! Commands: run here or in a pod, with their streams, and how they ended.
//!
//! What a command writes is good only when it is known that it ended well: a connection that breaks in the middle looks like the
//! end of the output.

mod here;
mod in_pod;
pub mod profiles;
mod saved;
mod tail;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub use self::saved::{BEFORE, Database, INFLUXDB, LOADING, ROLES, Record, Saved};
pub use self::tail::Tail;
use crate::cluster::{Cluster, FoundPod};
use crate::config::CommandPlace;
use crate::error::{Error, Result};

/// How much one command may answer that is asked a question, in bytes.
const MOST_ANSWER: u64 = 64 << 20;

/// Where commands run.
#[derive(Clone)]
pub enum Place {
    /// Beside this program.
    Here,
    /// In a pod.
    Pod(Cluster, FoundPod),
}

/// What a command reads from.
pub type Input = Box<dyn AsyncWrite + Send + Unpin>;

/// What a command writes.
pub type Output = Box<dyn AsyncRead + Send + Unpin>;

/// A command that runs. Dropping it ends it.
pub struct Running {
    /// Its standard input, where it was wanted. Shut it down to say that this was all.
    pub input: Option<Input>,
    /// Its standard output.
    pub output: Output,
    end: Pin<Box<dyn Future<Output = Result<Exit>> + Send>>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Whether it succeeded.
    pub success: bool,
    /// How it ended, in words: `exit status 1`.
    pub words: String,
    /// The last lines of its standard error.
    pub said: String,
}

impl Exit {
    /// An error unless it succeeded.
    pub fn require_success(&self, command: &[String]) -> Result<()> {
        match self.success {
            true => Ok(()),
            false => Err(Error::failed(format!("{}: {}", shown(command), self.why()))),
        }
    }

    /// Why it did not succeed: how it ended, and what it said last.
    pub fn why(&self) -> String {
        match self.said.is_empty() {
            true => self.words.clone(),
            false => format!("{}: {}", self.words, self.said),
        }
    }
}

impl Running {
    /// One that has ended already, and said nothing.
    pub fn ended() -> Running {
        let end = async { Err(Error::failed("the command has ended")) };
        Running { input: None, output: Box::new(tokio::io::empty()), end: Box::pin(end) }
    }

    /// Waits until it ends. Its output must have been read to the end before.
    pub async fn end(self) -> Result<Exit> {
        drop(self.input);
        drop(self.output);
        self.end.await
    }
}

impl Place {
    /// Finds the place; a pod must be there and ready.
    pub async fn find(place: &CommandPlace, cluster: Option<&Cluster>) -> Result<Place> {
        let CommandPlace::Pod { namespace, selector, container } = place else { return Ok(Place::Here) };
        let cluster = cluster.ok_or_else(|| Error::failed("no cluster is connected"))?;
        let pod = cluster.find_pod(namespace.as_str(), selector, container.as_deref()).await?;
        Ok(Place::Pod(cluster.clone(), pod))
    }

    /// For people.
    pub fn words(&self) -> String {
        match self {
            Place::Here => "here".into(),
            Place::Pod(_, pod) => format!("in pod {}/{}", pod.namespace, pod.name),
        }
    }

    /// Starts a command.
    pub async fn start(&self, command: &[String], with_input: bool) -> Result<Running> {
        match self {
            Place::Here => here::start(command, with_input),
            Place::Pod(cluster, pod) => in_pod::start(cluster, pod, command, with_input).await,
        }
    }

    /// Runs a command to its end, and gives what it wrote; an error unless it succeeds in time.
    pub async fn ask(&self, command: &[String], timeout: Duration) -> Result<String> {
        let asking = async {
            let mut running = self.start(command, false).await?;
            let mut answer = Vec::new();
            let reading = (&mut running.output).take(MOST_ANSWER).read_to_end(&mut answer).await;
            reading.map_err(|e| Error::failed(format!("read the output of {}", shown(command))).because(e))?;
            running.end().await?.require_success(command)?;
            Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        match tokio::time::timeout(timeout, asking).await {
            Ok(answer) => answer,
            Err(_) => {
                let seconds = timeout.as_secs();
                Err(Error::failed(format!("{} did not end within {seconds} s", shown(command))))
            }
        }
    }
}

/// Gives a command all of its input, takes what it writes for nothing, and waits for its end.
pub async fn give(mut running: Running, bytes: Vec<u8>) -> Result<Exit> {
    let mut input = running.input.take().ok_or_else(|| Error::failed("the command has no input"))?;
    let giving = async move {
        // One that wants no more says why in the end.
        let _ = input.write_all(&bytes).await;
        let _ = input.shutdown().await;
    };
    tokio::join!(giving, discard(&mut running.output));
    running.end().await
}

/// Takes what a command writes for nothing: it would wait for that.
pub async fn discard(output: &mut Output) {
    let mut rest = [0; 8192];
    while let Ok(1..) = output.read(&mut rest).await {}
}

/// A command for people: its program, as arguments may be long, and may be secret.
pub fn shown(command: &[String]) -> String {
    format!("command {}", command.first().map_or("", String::as_str))
}
