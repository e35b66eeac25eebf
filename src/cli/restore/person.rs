//! Whoever sits at the terminal.

use std::io::{BufRead, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc};

use crate::cli::screen;
use crate::config::Manual;
use crate::restore::{Confirmation, Decision, Operator};

/// The person, or whoever answers in their place.
pub(in crate::cli) struct Person {
    /// Manual steps are shown, and taken as done.
    yes: bool,
    /// The restore's id, for those who answer elsewhere.
    restore: Option<String>,
    /// Steps come together; questions come one by one, so that each answer belongs to what was shown last.
    asked: Mutex<()>,
}

impl Person {
    pub(in crate::cli) fn new(yes: bool, restore: Option<String>) -> Person {
        Person { yes, restore, asked: Mutex::default() }
    }
}

#[async_trait]
impl Operator for Person {
    async fn confirm(&self, step: &str, manual: &Manual) -> Confirmation {
        let alone = self.asked.lock().await;
        let role = manual.role.as_ref().map(|role| format!("for {role}")).into_iter();
        let minutes = manual.minutes.map(|minutes| format!("about {minutes} min")).into_iter();
        let about: Vec<String> = role.chain(minutes).collect();
        let about = if about.is_empty() { String::new() } else { format!(" ({})", about.join(", ")) };
        screen::line(&format!("\nmanual step {step}: {}{about}", manual.title));
        if let Some(instructions) = &manual.instructions {
            screen::line(instructions.trim_end());
        }
        if let Some(runbook) = &manual.runbook {
            let text = std::fs::read_to_string(&runbook.path);
            screen::line(text.as_deref().unwrap_or(&runbook.name).trim_end());
        }
        if self.yes {
            screen::line("taken as done (--yes)");
            return Confirmation::TakenAsDone;
        }
        if let Some(restore) = &self.restore {
            screen::line(&format!("from elsewhere: ckbackup ack {restore} {step}"));
        }
        let (done, refused) = (Confirmation::Done, Confirmation::Refused);
        match ask("done? [yes/no] ", &[("yes", done), ("y", done), ("no", refused), ("n", refused)]).await {
            Some(answer) => answer,
            None if is_there() => refused,
            // Nobody sits here: the answer comes from elsewhere, and other steps may be shown meanwhile.
            None => {
                drop(alone);
                std::future::pending().await
            }
        }
    }

    fn may_be_asked_again(&self) -> bool {
        !self.yes
    }

    async fn decide(&self, step: &str, why: &str) -> Decision {
        if self.yes {
            return Decision::Stop;
        }
        let _alone = self.asked.lock().await;
        screen::line(&format!("\nstep {step} failed: {why}"));
        let answers = [
            ("again", Decision::Again),
            ("a", Decision::Again),
            ("go on", Decision::GoOn),
            ("g", Decision::GoOn),
            ("stop", Decision::Stop),
            ("s", Decision::Stop),
        ];
        ask("again, go on without it, or stop? [again/go on/stop] ", &answers).await.unwrap_or(Decision::Stop)
    }
}

/// Whether somebody sits at the terminal.
pub(in crate::cli) fn is_there() -> bool {
    std::io::stdin().is_terminal()
}

/// Asks until an answer is one of those; none when there is nobody, or they are gone.
async fn ask<T: Copy>(question: &str, answers: &[(&str, T)]) -> Option<T> {
    if !is_there() {
        return None;
    }
    let mut lines = lines().lock().await;
    if IS_OPEN.swap(true, Relaxed) {
        // The question before was answered elsewhere: what was typed for it is no answer to this one.
        while lines.try_recv().is_ok() {}
    }
    loop {
        let mut stderr = std::io::stderr();
        let _ = write!(stderr, "{question}").and_then(|()| stderr.flush());
        let line = lines.recv().await?;
        let given = line.trim().to_ascii_lowercase();
        if let Some((_, answer)) = answers.iter().find(|(word, _)| *word == given) {
            IS_OPEN.store(false, Relaxed);
            return Some(*answer);
        }
    }
}

/// Whether a question has not been answered here.
static IS_OPEN: AtomicBool = AtomicBool::new(false);

/// Lines of standard input. One thread reads them all: a question that was answered elsewhere must not swallow the answer to the next.
fn lines() -> &'static Mutex<mpsc::UnboundedReceiver<String>> {
    static LINES: OnceLock<Mutex<mpsc::UnboundedReceiver<String>>> = OnceLock::new();
    LINES.get_or_init(|| {
        let (sender, receiver) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Mutex::new(receiver)
    })
}
