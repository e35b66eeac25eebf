//! Looks by a command: it is true when it succeeds.

use super::{Look, Waiting};
use crate::cluster::Cluster;
use crate::command::{Place, discard, shown};
use crate::config::AwaitedCommand;
use crate::error::Result;

/// Runs it once. Dropping it ends it.
pub(super) async fn look(cluster: Option<&Cluster>, wanted: &AwaitedCommand) -> Look {
    let command = shown(&wanted.command);
    match run(cluster, wanted).await {
        Ok(None) => Look::Open(format!("{command} succeeds")),
        Ok(Some(why)) => Look::NotYet(Waiting::because(format!("{command} does not succeed"), why)),
        Err(e) => Look::NotYet(Waiting::because(format!("{command} cannot be run"), e.one_line())),
    }
}

/// Why it did not succeed; none when it did.
async fn run(cluster: Option<&Cluster>, wanted: &AwaitedCommand) -> Result<Option<String>> {
    let place = Place::find(&wanted.place, cluster).await?;
    let mut running = place.start(&wanted.command, false).await?;
    discard(&mut running.output).await;
    let exit = running.end().await?;
    Ok((!exit.success).then(|| exit.why()))
}
