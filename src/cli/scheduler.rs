//! `scheduler`: takes the runs of schedules when they are due, until it is stopped.

mod book;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use jiff::SignedDuration;
use tracing::Instrument;

use self::book::Book;
use super::backup::take_in_window;
use super::shared::ClusterArgs;
use super::telemetry::Run;
use super::witness::Witness;
use super::{DONE, Global, Outcome};
use crate::config::Schedule;
use crate::error::{Context, Error, Kind, Result};
use crate::observe::{Board, Reason, Server, Watcher};
use crate::scheduler::{Agenda, Night, Occasion, Timing, Trigger};
use crate::vault::signature::Signers;

const EXAMPLES: &str = "\
Examples:
  ckbackup scheduler -f schedules/
  ckbackup scheduler -f schedules/nightly.yaml --context prod
  ckbackup scheduler -f schedules/ --metrics-address 0.0.0.0:9090 --signers allowed_signers

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
    /// Serve /metrics, /healthz and /readyz at this address, such as 0.0.0.0:9090; no port is open unless it is given
    #[arg(long, value_name = "ADDRESS", help_heading = "Metrics")]
    metrics_address: Option<SocketAddr>,
    /// Whose backups and proofs the metrics count, in the allowed-signers format of ssh-keygen; without it, backups by the
    /// schedule's own key, and no proofs [env: CKBACKUP_SIGNERS_FILE]
    #[arg(long, value_name = "FILE", help_heading = "Metrics")]
    signers: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// A missed night is told while it is the last one.
const A_DAY: SignedDuration = SignedDuration::from_hours(24);

pub(super) async fn run(args: &SchedulerArgs, global: &Global) -> Outcome {
    let mut book = Book::default();
    // Whoever starts it is there to see what is wrong; later, what was read before goes on.
    if let Some(broken) = book.read(&args.paths).into_iter().next() {
        return Err(broken);
    }
    let board = Arc::new(Board::default());
    board.set_schedules(book.schedules(), true);
    let server = args.listen(global)?;
    watch_and_serve(args.watcher(&board, global)?, server);
    let names: Vec<_> = book.schedules().map(|s| s.name.to_string()).collect();
    global.note(format!("waiting for the windows of {}", names.join(", ")));
    let trigger = Trigger::start().await?;
    let mut keeper = Keeper { args, global, board: &board, entries: BTreeMap::new() };
    loop {
        tokio::select! {
            biased;
            () = global.cancel.cancelled() => return Ok(DONE),
            () = trigger.tick() => {}
        }
        let broken = book.read(&args.paths);
        board.set_schedules(book.schedules(), book.is_valid());
        keeper.tell_broken(&book, &broken).await;
        for schedule in book.schedules().cloned().collect::<Vec<_>>() {
            keeper.look_after(schedule).await?;
        }
    }
}

impl SchedulerArgs {
    fn listen(&self, global: &Global) -> Result<Option<Server>> {
        let Some(address) = self.metrics_address else { return Ok(None) };
        let server = Server::bind(address)?;
        global.note(format!("metrics are served at http://{}/metrics", server.address()));
        Ok(Some(server))
    }

    fn watcher(&self, board: &Arc<Board>, global: &Global) -> Result<Watcher> {
        let file = self.signers.clone().or_else(|| global.variable("CKBACKUP_SIGNERS_FILE").map(PathBuf::from));
        let signers = file.map(|file| Signers::read(&file)).transpose()?;
        Ok(Watcher { board: board.clone(), settings: global.store_settings(), signers })
    }
}

/// On a thread of their own: neither waits for what a run does on the other one.
fn watch_and_serve(watcher: Watcher, server: Option<Server>) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime.context(|| "start the runtime".into()) {
            Ok(runtime) => runtime,
            Err(e) => return tracing::error!(error = %e.one_line(), "there are no metrics"),
        };
        let span = tracing::error_span!("observe", task = "metrics");
        let work = async move {
            let board = watcher.board.clone();
            let serving = async {
                match server {
                    Some(server) => server.serve(board).await,
                    None => Ok(()),
                }
            };
            if let (Err(e), ()) = tokio::join!(serving, watcher.watch()) {
                tracing::error!(error = %e.one_line(), "the metrics are no longer served");
            }
        };
        runtime.block_on(work.instrument(span));
    });
}

/// Looks after schedules, and tells what is wrong with them.
struct Keeper<'a> {
    args: &'a SchedulerArgs,
    global: &'a Global,
    board: &'a Board,
    /// By the schedule's name.
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    agenda: Agenda,
    witness: Witness,
}

impl Keeper<'_> {
    /// Edits that are not valid, each once. The cluster is told on the lease of a schedule that is in force.
    async fn tell_broken(&self, book: &Book, broken: &[Error]) {
        for e in broken {
            let told = format!("{}; what was read before stays in force", e.one_line());
            self.global.error(&told, e.hint_text());
            if let Some(schedule) = book.schedules().next() {
                let witness = Witness::new(schedule, true, &self.args.cluster, self.global);
                witness.ring(Reason::ScheduleInvalid, &told).await;
            }
        }
    }

    /// Starts the run of a schedule, if it is time for it, and tells what became of it. Fails when it is to end.
    async fn look_after(&mut self, schedule: Schedule) -> Result<()> {
        let Keeper { args, global, board, .. } = *self;
        let new = || Witness::new(&schedule, true, &args.cluster, global);
        let entry = self.entries.entry(schedule.name.to_string());
        let entry = entry.or_insert_with(|| Entry { agenda: Agenda::default(), witness: new() });
        if !entry.witness.is_of(&schedule) {
            entry.witness = new();
        }
        let ended = entry.look_after(schedule, args, board, global).await;
        match ended {
            Err(e) if e.kind() == Kind::Interrupted => Err(e),
            Err(e) => {
                global.error(e.one_line(), e.hint_text());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

impl Entry {
    async fn look_after(
        &mut self,
        schedule: Schedule,
        args: &SchedulerArgs,
        board: &Board,
        global: &Global,
    ) -> Result<()> {
        let timing = Timing::of(&schedule)?;
        self.tell_missed(&schedule, board, global).await;
        let Some(occasion) = self.agenda.occasion(&timing, global.now())? else { return Ok(()) };
        let run = Run::begin("backup");
        self.start(schedule, occasion, args, board, global).instrument(run.span()).await
    }

    /// A night without a run: one that was tried in vain, or one that the vault knows nothing of.
    async fn tell_missed(&mut self, schedule: &Schedule, board: &Board, global: &Global) {
        let now = global.now();
        let tried = self.agenda.missed(now);
        // Only the last night: of those before, the metrics tell.
        let last = |night: &Night| night.closes.duration_since(now).abs() < A_DAY;
        let missed = tried.or_else(|| board.missed(schedule.name.as_str(), now).filter(last));
        if let Some(night) = missed {
            let note = format!("the window of {} closed without a backup by {}", night.date, schedule.name);
            if self.witness.missed(night.date, &note).await {
                global.error(note, None);
            }
        }
    }

    async fn start(
        &mut self,
        schedule: Schedule,
        occasion: Occasion,
        args: &SchedulerArgs,
        board: &Board,
        global: &Global,
    ) -> Result<()> {
        let name = schedule.name.clone();
        let taken = take_in_window(schedule, &args.cluster, &self.witness, global).await;
        self.note_on(board, name.as_str());
        let (now, Some(e)) = (global.now(), taken.err()) else {
            self.agenda.settle(&occasion, global.now());
            return Ok(());
        };
        let again = match e.kind() {
            Kind::Interrupted => return Err(e),
            // Not due: outside the window, without a night to make up for.
            Kind::WindowMissed => {
                self.agenda.settle(&occasion, now);
                return Ok(());
            }
            Kind::LeaseHeld => self.agenda.yield_to_another(now),
            _ => self.agenda.fail(&occasion, now),
        };
        global.note(format!("the run of {name} is tried again at {}", again.strftime("%FT%TZ")));
        global.error(e.one_line(), e.hint_text());
        Ok(())
    }

    fn note_on(&self, board: &Board, schedule: &str) {
        let (attempt, rotation) = self.witness.take();
        // To look in vain is no run.
        let quiet = [Kind::LeaseHeld, Kind::WindowMissed].map(Kind::exit_code);
        if let Some(attempt) = attempt.filter(|attempt| !quiet.contains(&attempt.exit_code)) {
            board.attempted(schedule, attempt);
        }
        if let Some(check) = rotation {
            board.checked(check);
        }
    }
}
