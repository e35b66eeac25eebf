//! Standard error: lines for people, and the progress bars that must not run into them.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use indicatif::{MultiProgress, ProgressDrawTarget};

/// How often bars are drawn, in a second.
const DRAWS: u8 = 8;

/// The bars of this process.
pub(super) fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS)))
}

/// Whether somebody watches.
pub(super) fn is_watched() -> bool {
    !in_the_log() && is_terminal()
}

fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Whether colours are wanted on standard error.
pub(super) fn coloured() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    is_terminal() && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// Whether lines are events of the log.
static IN_THE_LOG: AtomicBool = AtomicBool::new(false);

/// From now on, what is said is said in the log.
pub(super) fn speak_in_the_log() {
    IN_THE_LOG.store(true, Relaxed);
}

fn in_the_log() -> bool {
    IN_THE_LOG.load(Relaxed)
}

/// One line that is good to know.
pub(super) fn line(text: &str) {
    match in_the_log() {
        true => tracing::info!("{text}"),
        false => write_line(text),
    }
}

/// One line, above the bars. Nobody can be told when standard error is closed.
pub(super) fn write_line(text: &str) {
    bars().suspend(|| {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    });
}

/// Takes the bars away.
pub(super) fn clear() {
    let _ = bars().clear();
}

/// `warning: …`
pub(super) fn warning(text: &str) {
    if in_the_log() {
        return tracing::warn!("{text}");
    }
    line(&format!("{} {text}", painted("warning:", "1;33")));
}

/// `error: …`, and `hint: …` where there is one.
pub(super) fn error(text: &str, hint: Option<&str>) {
    if in_the_log() {
        return tracing::error!(hint, "{text}");
    }
    line(&format!("{} {text}", painted("error:", "1;31")));
    if let Some(hint) = hint {
        line(&format!("{} {hint}", painted("hint:", "1;36")));
    }
}

fn painted(text: &str, code: &str) -> String {
    if coloured() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
}
