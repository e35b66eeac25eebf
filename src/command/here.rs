//! A command beside this program.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, Command};

use super::{Exit, Running, Tail, shown};
use crate::error::{Context, Error, Result};

pub(super) fn start(command: &[String], with_input: bool) -> Result<Running> {
    let (program, arguments) = command.split_first().ok_or_else(|| Error::usage("the command is empty"))?;
    let mut starting = Command::new(program);
    starting.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    starting.stdin(if with_input { Stdio::piped() } else { Stdio::null() });
    let mut child = starting.spawn().context(|| format!("start {}", shown(command)))?;
    let missing = || Error::failed(format!("{} has no streams", shown(command)));
    let (output, errors) = (child.stdout.take().ok_or_else(missing)?, child.stderr.take().ok_or_else(missing)?);
    let input = child.stdin.take().map(|input| Box::new(input) as super::Input);
    let said = Arc::new(Mutex::new(Tail::default()));
    let listening = tokio::spawn(listen(errors, said.clone()));
    let what = shown(command);
    let end = async move {
        let status = child.wait().await.context(|| format!("wait for {what}"))?;
        // What it started may hold its standard error open for ever.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), listening).await;
        let said = said.lock().unwrap_or_else(PoisonError::into_inner).last_lines();
        Ok(Exit { success: status.success(), words: status.to_string(), said })
    };
    Ok(Running { input, output: Box::new(output), end: Box::pin(end) })
}

async fn listen(mut errors: ChildStderr, said: Arc<Mutex<Tail>>) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = errors.read(&mut buffer).await {
        said.lock().unwrap_or_else(PoisonError::into_inner).push(&buffer[..read]);
    }
}
