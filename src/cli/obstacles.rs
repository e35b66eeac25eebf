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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::Severity;

    #[test]
    fn what_stands_in_the_way_is_told_with_what_to_do() {
        let obstacle = |severity, what: &str, todo: &str| Obstacle { severity, what: what.into(), todo: todo.into() };
        let text = obstacles(&[
            obstacle(Severity::Fails, "a type is not served", "install it"),
            obstacle(Severity::Slow, "a webhook hangs", ""),
        ]);
        assert_eq!(text, "\nin the way:\n  fails: a type is not served\n    install it\n  slow: a webhook hangs\n");
        assert_eq!(obstacles(&[]), "");
    }

    #[test]
    fn a_change_is_told_with_its_number_and_examples() {
        let (from, to) = ("shop".into(), "store".into());
        let examples = vec!["secrets/shop/a".into(), "secrets/shop/b".into()];
        let change = Remapped { what: "namespace".into(), from, to, objects: 1200, examples };
        let words = "namespace shop → store: 1,200 objects (secrets/shop/a, secrets/shop/b and 1,198 more)";
        assert_eq!(changed(&change), words);
        let patch = Remapped {
            what: "patch".into(),
            from: "one".into(),
            to: String::new(),
            objects: 1,
            examples: vec!["x/y".into()],
        };
        assert_eq!(changed(&patch), "patch one: 1 object (x/y)");
    }
}
