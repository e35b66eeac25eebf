//! `scheduler`: takes the runs of schedules when they are due, until it is stopped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::backup::take_in_window;
use super::shared::ClusterArgs;
use super::{DONE, Global, Outcome};
use crate::config::{self, Document, Schedule};
use crate::error::{Context, Error, Kind, Result};
use crate::scheduler::{Agenda, Timing, Trigger};

const EXAMPLES: &str = "\
Examples:
  ckbackup scheduler -f schedules/
  ckbackup scheduler -f schedules/nightly.yaml --context prod

Each run is that of `ckbackup backup --window`, under the same rules: one a night, inside the
window, spread by cluster, with a lease. One that fails is tried again while its window is open.
The files are read again when they change.";

/// Take the runs of schedules when they are due, until it is stopped
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SchedulerArgs {
    /// A schedule, or a folder of them; again for more
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

pub(super) async fn run(args: &SchedulerArgs, global: &Global) -> Outcome {
    let mut book = Book::default();
    // Whoever starts it is there to see what is wrong; later, what was read before goes on.
    if let Some(broken) = book.read(&args.paths).into_iter().next() {
        return Err(broken);
    }
    let names: Vec<_> = book.schedules().map(|s| s.name.to_string()).collect();
    global.note(format!("waiting for the windows of {}", names.join(", ")));
    let trigger = Trigger::start().await?;
    let mut agendas: BTreeMap<String, Agenda> = BTreeMap::new();
    loop {
        tokio::select! {
            biased;
            () = global.cancel.cancelled() => return Ok(DONE),
            () = trigger.tick() => {}
        }
        for broken in book.read(&args.paths) {
            let told = format!("{}; what was read before stays in force", broken.one_line());
            global.error(told, broken.hint_text());
        }
        for schedule in book.schedules().cloned().collect::<Vec<_>>() {
            let agenda = agendas.entry(schedule.name.to_string()).or_default();
            if let Err(e) = look_after(schedule, agenda, args, global).await {
                match e.kind() {
                    Kind::Interrupted => return Err(e),
                    _ => global.error(e.one_line(), e.hint_text()),
                }
            }
        }
    }
}

/// Starts the run of a schedule, if it is time for it.
async fn look_after(schedule: Schedule, agenda: &mut Agenda, args: &SchedulerArgs, global: &Global) -> Result<()> {
    let timing = Timing::of(&schedule)?;
    if let Some(night) = agenda.missed(global.now()) {
        global.error(format!("the window of {} closed without a backup by {}", night.date, schedule.name), None);
    }
    let Some(occasion) = agenda.occasion(&timing, global.now())? else { return Ok(()) };
    let name = schedule.name.clone();
    let taken = take_in_window(schedule, &args.cluster, global).await;
    let (now, Some(e)) = (global.now(), taken.err()) else {
        agenda.settle(&occasion, global.now());
        return Ok(());
    };
    let again = match e.kind() {
        Kind::Interrupted => return Err(e),
        // Not due: outside the window, without a night to make up for.
        Kind::WindowMissed => {
            agenda.settle(&occasion, now);
            return Ok(());
        }
        Kind::LeaseHeld => agenda.yield_to_another(now),
        _ => agenda.fail(&occasion, now),
    };
    global.note(format!("the run of {name} is tried again at {}", again.strftime("%FT%TZ")));
    Err(e)
}

/// The schedules in force: of each file, the last state that was valid.
#[derive(Default)]
struct Book {
    files: BTreeMap<PathBuf, Vec<Schedule>>,
    /// What is wrong since when it was told.
    told: Vec<String>,
}

impl Book {
    /// Those with a window, by file.
    fn schedules(&self) -> impl Iterator<Item = &Schedule> {
        self.files.values().flatten().filter(|schedule| schedule.window.is_some())
    }

    /// Reads all of them again, with what they include; gives what is wrong, once. What is wrong leaves in force what was
    /// read before.
    fn read(&mut self, paths: &[PathBuf]) -> Vec<Error> {
        let (mut next, mut wrong) = (Book::default(), Vec::new());
        for path in paths {
            match files(path) {
                Ok(files) => files.into_iter().for_each(|file| wrong.extend(self.carry_over(&mut next, file))),
                Err(e) => {
                    let before = self.files.iter().filter(|(file, _)| file.starts_with(path));
                    next.files.extend(before.map(|(file, schedules)| (file.clone(), schedules.clone())));
                    wrong.push(e);
                }
            }
        }
        match next.check() {
            Ok(()) => self.files = next.files,
            Err(e) => wrong.push(e),
        }
        let before = std::mem::replace(&mut self.told, wrong.iter().map(Error::one_line).collect());
        wrong.retain(|e| !before.contains(&e.one_line()));
        wrong
    }

    fn carry_over(&self, next: &mut Book, file: PathBuf) -> Option<Error> {
        match read_schedules(&file) {
            Ok(schedules) => {
                next.files.insert(file, schedules);
                None
            }
            Err(e) => {
                let before = self.files.get(&file).cloned();
                next.files.extend(before.map(|schedules| (file, schedules)));
                Some(e)
            }
        }
    }

    /// Something must be scheduled, and no name by two: their backups could not be told apart.
    fn check(&self) -> Result<()> {
        if self.schedules().next().is_none() {
            return Err(Error::usage("there is no schedule with a window, so nothing would ever start")
                .hint("give `-f` a schedule that has `spec.window`, or a folder with one"));
        }
        let mut seen: BTreeMap<&str, &Path> = BTreeMap::new();
        for (file, schedules) in &self.files {
            for schedule in schedules {
                if let Some(first) = seen.insert(schedule.name.as_str(), file) {
                    let (name, first, second) = (&schedule.name, first.display(), file.display());
                    return Err(Error::usage(format!("{second}: schedule {name} stands in {first} already")));
                }
            }
        }
        Ok(())
    }
}

fn read_schedules(file: &Path) -> Result<Vec<Schedule>> {
    let documents = config::read_file(file)?.into_iter();
    Ok(documents
        .filter_map(|document| match document {
            Document::Schedule(schedule) => Some(*schedule),
            Document::RestorePlan(_) => None,
        })
        .collect())
}

/// The file, or the YAML files of a folder. Hidden ones are left alone: ConfigMaps are mounted by way of some.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let what = || format!("read {}", path.display());
    if !std::fs::metadata(path).map_err(|e| Error::usage(what()).because(e))?.is_dir() {
        return Ok(vec![path.into()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).context(what)? {
        let file = entry.context(what)?.path();
        let hidden = file.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let yaml = file.extension().is_some_and(|end| end == "yaml" || end == "yml");
        if yaml && !hidden && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}
