//! What stood in the way of a restore, and what mappings and patches changed, in words.

use super::words::{count, counted};
use crate::restore::{Obstacle, Remapped, StepSummary};

/// What was found before the first write; the worst first.
pub fn obstacles(all: &[Obstacle]) -> String {
    let mut text = String::new();
    if !all.is_empty() {
        text.push_str("\nin the way:\n");
    }
    for obstacle in all {
        text.push_str(&format!("  {}: {}\n", obstacle.severity, obstacle.what));
        if !obstacle.todo.is_empty() {
            text.push_str(&format!("    {}\n", obstacle.todo));
        }
    }
    text
}

/// What mappings and patches changed in each step, with examples.
pub fn remapped(steps: &[StepSummary]) -> String {
    let mut text = String::new();
    for step in steps {
        for change in &step.remapped {
            text.push_str(&format!("  {}: {}\n", step.name, changed(change)));
        }
    }
    if text.is_empty() { text } else { format!("\nmapped and patched:\n{text}") }
}

fn changed(change: &Remapped) -> String {
    let Remapped { what, from, to, objects, examples } = change;
    let arrow = if to.is_empty() { String::new() } else { format!(" → {to}") };
    let more = objects.saturating_sub(examples.len() as u64);
    let more = if more > 0 { format!(" and {} more", count(more)) } else { String::new() };
    format!("{what} {from}{arrow}: {} ({}{more})", counted(*objects, "object"), examples.join(", "))
}
