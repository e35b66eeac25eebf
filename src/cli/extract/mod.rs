//! `extract`: single objects or whole sources out of a backup.

mod folder;
mod wanted;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use futures::StreamExt;
use serde::Serialize;

use self::folder::Folder;
use self::wanted::Wanted;
use super::choose::choose;
use super::shared::{IdentityArgs, TrustArgs, VaultArgs};
use super::{DONE, Global, Outcome, Output, output, words};
use crate::archive::frame;
use crate::archive::index::Entry;
use crate::config::CONFIGURATION_SOURCE;
use crate::error::{Context, Error, Kind, Result};
use crate::object_path::ObjectPath;
use crate::reader::{OpenBackup, StoredFrame};

/// How many frames, of about 1 MiB each, are fetched ahead.
const FRAMES_AHEAD: usize = 8;

const EXAMPLES: &str = "\
Examples:
  ckbackup extract latest --object deployments.apps/shop/web --vault /backups --identity oncall.txt
  ckbackup extract latest --object namespaces/shop --to shop -f schedules/nightly.yaml
  ckbackup extract latest --source platform --to everything -f schedules/nightly.yaml
  ckbackup extract latest --to - -f schedules/nightly.yaml | jq -r .kind | sort | uniq -c

One object goes to standard output exactly as it was saved. Into a folder go files FOLDER/SOURCE/PATH, those of the
source `configuration` (schedule, plans, runbooks) too. Every file is compared with its digest.";

/// Get objects out of a backup, to standard output or into a folder
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExtractArgs {
    /// The id of a backup, or `latest`
    #[arg(value_name = "BACKUP")]
    backup: String,
    /// Only from this source; again for more
    #[arg(long = "source", value_name = "NAME")]
    sources: Vec<String>,
    /// Only this object: TYPE/NAMESPACE/NAME, or TYPE/NAME outside namespaces; again for more
    #[arg(long = "object", value_name = "OBJECT")]
    objects: Vec<Wanted>,
    /// A folder, new or empty; or - for standard output, one JSON document on a line
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    #[command(flatten)]
    vault: VaultArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    identity: IdentityArgs,
}

/// Where to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// One object to standard output, to the byte.
    Exact,
    /// Objects to standard output, one on a line.
    Lines,
    Folder(PathBuf),
}

/// What was put into a folder.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    backup: String,
    folder: String,
    files: u64,
    bytes: u64,
    /// Files of which the backup has only the begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete: Option<u64>,
}

/// A frame that was fetched, with those of its members that are wanted.
struct Fetched {
    source: Arc<str>,
    decoded: Vec<u8>,
    entries: Vec<Entry>,
    /// All members are wanted, so the frame must hold nothing else.
    whole: bool,
}

impl Fetched {
    fn contents(&self) -> Result<Vec<&[u8]>> {
        if self.whole {
            return frame::members(&self.decoded, &self.entries);
        }
        self.entries.iter().map(|entry| frame::member(&self.decoded, entry)).collect()
    }
}

pub(super) async fn run(args: &ExtractArgs, global: &Global) -> Outcome {
    let target = target(args)?;
    if let Target::Folder(dir) = &target {
        folder::require_free(dir)?;
    }
    let open = global.stoppable(open(args, global)).await?;
    let sources = chosen_sources(&open, args, &target)?;
    let found = global.stoppable(find_all(&open, &sources, &args.objects)).await?;
    match target {
        Target::Folder(dir) => {
            let report = into_folder(&open, &sources, found, dir, global).await?;
            global.print(&report, |form| human(&report, form))?;
            if let Some(count) = report.incomplete {
                let files = words::counted(count, "file");
                global.warn(format!("{files} of which the backup has only the begin: *.ckbackup-incomplete"));
                return Ok(Kind::Incomplete.exit_code());
            }
        }
        target => to_output(&open, &sources, found, target == Target::Exact, global).await?,
    }
    Ok(DONE)
}

fn target(args: &ExtractArgs) -> Result<Target> {
    match (&args.to, args.objects.len()) {
        (Some(to), 1) if to.as_os_str() == "-" => Ok(Target::Exact),
        (Some(to), _) if to.as_os_str() == "-" => Ok(Target::Lines),
        (Some(dir), _) => Ok(Target::Folder(dir.clone())),
        (None, 1) => Ok(Target::Exact),
        (None, _) => Err(Error::usage("where should all of it go?")
            .hint("give --to FOLDER, or --to - for standard output; a single --object goes there by itself")),
    }
}

async fn open(args: &ExtractArgs, global: &Global) -> Result<OpenBackup> {
    let signers = args.trust.read(global)?;
    let identities = args.identity.require(global).await?;
    let (vault, cluster) = args.vault.open(global).await?;
    let backup = choose(&vault, &cluster, &args.backup, signers.as_ref(), global).await?;
    OpenBackup::open(&vault, backup, identities).await
}

/// The sources that are asked for, or all that fit the target.
fn chosen_sources(open: &OpenBackup, args: &ExtractArgs, target: &Target) -> Result<Vec<String>> {
    let all = || open.manifest.sources.iter();
    for name in &args.sources {
        if !all().any(|s| s.name == *name) {
            let known: Vec<_> = all().map(|s| s.name.as_str()).collect();
            return Err(Error::usage(format!("backup {} has no source {name}", open.manifest.id))
                .hint(format!("it has: {}", known.join(", "))));
        }
        if name == CONFIGURATION_SOURCE && !matches!(target, Target::Folder(_)) {
            return Err(
                Error::usage("the configuration is no JSON, and cannot go to standard output").hint("give --to FOLDER")
            );
        }
    }
    let fits = |name: &str| matches!(target, Target::Folder(_)) || name != CONFIGURATION_SOURCE;
    let wanted = |name: &String| if args.sources.is_empty() { fits(name) } else { args.sources.contains(name) };
    Ok(all().map(|s| s.name.clone()).filter(wanted).collect())
}

/// Where the wanted objects stand; none when everything is wanted.
async fn find_all(
    open: &OpenBackup,
    sources: &[String],
    objects: &[Wanted],
) -> Result<Option<Vec<(StoredFrame, Entry)>>> {
    if objects.is_empty() {
        return Ok(None);
    }
    let mut found: Vec<(StoredFrame, Entry)> = Vec::new();
    for object in objects {
        let place = find(open, sources, object).await?;
        if !found.contains(&place) {
            found.push(place);
        }
    }
    Ok(Some(found))
}

/// One object, with two small reads: its line in the index, which lies between two paths of the directory.
async fn find(open: &OpenBackup, sources: &[String], object: &Wanted) -> Result<(StoredFrame, Entry)> {
    let places = wanted::places(&open.manifest, sources, object)?;
    let mut found = Vec::new();
    for (source, path) in &places {
        found.extend(open.find(source, path).await?);
    }
    match found.len() {
        0 => Err(Error::failed(format!("{object} is not in backup {}", open.manifest.id))
            .hint("names are case-sensitive; `ckbackup show BACKUP -o wide` lists types and what was left out")),
        1 => Ok(found.remove(0)),
        _ => Err(Error::usage(format!("{object} is in several sources"))
            .hint(format!("give --source with one of: {}", sources.join(", ")))),
    }
}

/// Calls `take` with each frame in turn; the next ones are fetched meanwhile.
async fn each_frame(
    open: &OpenBackup,
    sources: &[String],
    found: Option<Vec<(StoredFrame, Entry)>>,
    global: &Global,
    mut take: impl AsyncFnMut(Fetched) -> Result<bool>,
) -> Result<()> {
    let whole = found.is_none();
    let jobs: Vec<(StoredFrame, Option<Entry>)> = match found {
        Some(found) => found.into_iter().map(|(stored, entry)| (stored, Some(entry))).collect(),
        None => {
            global.stoppable(open.load_index()).await?;
            let wanted = open.directory().iter().filter(|f| takes(sources, f));
            wanted.map(|stored| (stored.clone(), None)).collect()
        }
    };
    let fetch = |(stored, entry): (StoredFrame, Option<Entry>)| async move {
        let decoded = open.frame(&stored).await?;
        let entries = match entry {
            Some(entry) => vec![entry],
            None => open.entries(&stored).await?,
        };
        Ok::<_, Error>(Fetched { source: stored.source, decoded, entries, whole })
    };
    let mut frames = futures::stream::iter(jobs).map(fetch).buffered(FRAMES_AHEAD);
    while let Some(fetched) = next(&mut frames, global).await? {
        if !take(fetched).await? {
            break;
        }
    }
    Ok(())
}

fn takes(sources: &[String], frame: &StoredFrame) -> bool {
    sources.iter().any(|source| **source == *frame.source)
}

async fn next(
    frames: &mut (impl futures::Stream<Item = Result<Fetched>> + Unpin),
    global: &Global,
) -> Result<Option<Fetched>> {
    tokio::select! {
        biased;
        () = global.cancel.cancelled() => Err(Error::new(Kind::Interrupted, "interrupted; nothing was extracted")),
        frame = frames.next() => frame.transpose(),
    }
}

async fn into_folder(
    open: &OpenBackup,
    sources: &[String],
    found: Option<Vec<(StoredFrame, Entry)>>,
    dir: PathBuf,
    global: &Global,
) -> Result<Report> {
    let mut report =
        Report { backup: open.manifest.id.to_string(), folder: dir.display().to_string(), ..Report::default() };
    let progress = global.progress();
    let all = open.directory().iter().filter(|f| takes(sources, f)).map(|f| f.record.members).sum();
    progress.begin("extract", Some(found.as_ref().map_or(all, |f| f.len() as u64)));
    let mut folder = Some(Folder::begin(dir)?);
    let take = async |fetched: Fetched| {
        let place = folder.take().ok_or_else(|| Error::failed("the folder is gone"))?;
        let (place, files, bytes) = write(place, Arc::new(fetched)).await?;
        folder = Some(place);
        report.files += files;
        report.bytes += bytes;
        progress.advance("extract", files, bytes);
        Ok(true)
    };
    each_frame(open, sources, found, global, take).await?;
    if let Some(folder) = folder {
        report.incomplete = Some(folder.finish()?).filter(|count| *count > 0);
    }
    progress.end("extract", "");
    Ok(report)
}

async fn write(mut folder: Folder, fetched: Arc<Fetched>) -> Result<(Folder, u64, u64)> {
    let job = tokio::task::spawn_blocking(move || {
        let (mut files, mut bytes) = (0, 0);
        for (entry, content) in fetched.entries.iter().zip(fetched.contents()?) {
            folder.write(&fetched.source, entry, content)?;
            files += u64::from(entry.begins_member());
            bytes += entry.size;
        }
        Ok((folder, files, bytes))
    });
    job.await.context(|| "write files".into())?
}

async fn to_output(
    open: &OpenBackup,
    sources: &[String],
    found: Option<Vec<(StoredFrame, Entry)>>,
    exact: bool,
    global: &Global,
) -> Result<()> {
    let take = async |fetched: Fetched| {
        let mut text = Vec::with_capacity(fetched.decoded.len());
        for (entry, content) in fetched.entries.iter().zip(fetched.contents()?) {
            match exact {
                true => text.extend_from_slice(content),
                false if ObjectPath::parse(&entry.path).is_some() => text.extend(one_line(content)),
                false => continue,
            }
            // To the byte for a program; on a terminal the prompt should not stand in the same line.
            if !text.ends_with(b"\n") && (!exact || output::is_terminal()) {
                text.push(b'\n');
            }
        }
        output::write(&text)
    };
    each_frame(open, sources, found, global, take).await
}

/// Line breaks in JSON stand between its tokens only, where a blank is as good.
fn one_line(json: &[u8]) -> impl Iterator<Item = u8> {
    json.trim_ascii().iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte })
}

fn human(report: &Report, form: Output) -> String {
    if form == Output::Name {
        return format!("{}\n", report.folder);
    }
    let files = words::counted(report.files, "file");
    format!("{files}, {}, of backup {} in {}\n", words::size(report.bytes), report.backup, report.folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_stands_on_one_line() {
        let line: Vec<u8> = one_line(b"{\n \"a\": \"x\\ny\"\r\n}\n").collect();
        assert_eq!(line, b"{  \"a\": \"x\\ny\"  }");
    }
}
