//! What a person sees on a terminal: colours and bars, where both are wanted.

use serde_json::{Value, json};

use crate::data_stage::{DataStage, noise, write};
use crate::harness::Ckbackup;
use crate::vault_stage::Place;

/// A slow enough run for bars to be drawn, on a terminal of its own; all that came out of it.
async fn on_a_terminal(stage: &DataStage, name: &str, env: &[(&str, &str)], more: &str) -> String {
    let place = Place::folder(&stage.scratch.folder(name));
    let wait = json!({"name": "slow", "command": {"run": ["sh", "-c", "sleep 0.6; echo fine"]}});
    let missing = json!({"name": "missing", "files": {"path": "nowhere"}});
    let data = json!({"name": "data", "files": {"path": stage.data()}});
    let schedule: Value = stage.schedule(&place, json!([data, wait, missing]));
    let file = stage.scratch.file(&format!("{name}.yaml"), schedule.to_string());
    let command = format!("{} backup --now {more} -f {}", env!("CARGO_BIN_EXE_ckbackup"), file.display());
    let run = Ckbackup::program("script", &stage.scratch).args(["-qefc", &command, "/dev/null"]);
    run.env("NO_COLOR", "").env("TERM", "xterm-256color").envs(env.iter().copied()).run().await.expect(3).stdout
}

#[tokio::test]
async fn colours_and_bars_are_for_terminals_and_for_those_who_want_them() {
    let stage = DataStage::new().await;
    write(&stage.data(), "a.log", &noise(1, 4 << 20), 5);
    let (yellow, bar) = ("\x1b[1;33mwarning:\x1b[0m", "\x1b[2K");
    let seen = on_a_terminal(&stage, "plain", &[], "").await;
    assert!(seen.contains(yellow) && seen.contains(bar), "{seen:?}");
    assert!(seen.contains("is partial") && seen.contains("SOURCE"), "{seen:?}");
    let plain = on_a_terminal(&stage, "uncoloured", &[("NO_COLOR", "1")], "").await;
    assert!(!plain.contains("\x1b[1;3") && plain.contains("warning: "), "{plain:?}");
    let dumb = on_a_terminal(&stage, "dumb", &[("TERM", "dumb")], "").await;
    assert!(!dumb.contains('\x1b') && dumb.contains("warning: "), "{dumb:?}");
    let quiet = on_a_terminal(&stage, "quiet", &[], "-q").await;
    assert!(!quiet.contains(bar), "{quiet:?}");
    let log = on_a_terminal(&stage, "log", &[], "--log-format json").await;
    assert!(!log.contains('\x1b') && log.lines().any(|line| line.starts_with('{')), "{log:?}");
}
