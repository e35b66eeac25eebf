//! `ckbackup plan graph`.

use clap::{Args, ValueEnum};

use super::LookArgs;
use super::looked_at::{LookedAt, look};
use crate::cli::words::span;
use crate::cli::{DONE, Global, Outcome};
use crate::restore::{Chart, Node};

/// In which form.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Format {
    /// One line for each step.
    #[default]
    Text,
    /// The language of Graphviz.
    Dot,
    /// A picture.
    Svg,
}

/// Which plan, and how it is drawn.
#[derive(Debug, Clone, Args)]
pub struct GraphArgs {
    /// The form: text, dot or svg
    #[arg(long, value_enum, default_value_t, value_name = "FORM", hide_possible_values = true)]
    pub format: Format,
    /// The plan.
    #[command(flatten)]
    pub look: LookArgs,
}

/// Draws the plan.
pub(super) async fn run(args: &GraphArgs, global: &Global) -> Outcome {
    let looked_at = look(&args.look, global).await?;
    let nodes = (0..looked_at.plan.steps.len()).map(|step| node(&looked_at, step)).collect();
    let chart = Chart::new(&looked_at.plan, nodes);
    let drawn = match args.format {
        Format::Text => chart.text(),
        Format::Dot => chart.dot(),
        Format::Svg => chart.svg(),
    };
    crate::cli::output::write(drawn.as_bytes())?;
    Ok(DONE)
}

fn node(looked_at: &LookedAt, at: usize) -> Node {
    let step = &looked_at.plan.steps[at];
    let takes = span(looked_at.estimates[at].whole.as_secs_f64());
    Node {
        name: step.name.to_string(),
        label: format!("{}, {takes}", step.action.as_str()),
        after: step.after.clone(),
        critical: looked_at.is_critical(at),
    }
}
