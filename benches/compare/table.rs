//! The table at the end, and the file with all numbers.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};

use crate::numbers::{Spread, ratios, spread};
use crate::settings::Settings;

/// What a figure must reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Reach {
    /// Of the median ratio.
    RatioAtMost(f64),
    /// Of the median ratio.
    RatioAtLeast(f64),
    /// Of our largest number.
    OursAtMost(f64),
    /// It is only told.
    Nothing,
}

/// One line of the table: numbers of each side, round by round.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub figure: String,
    pub unit: &'static str,
    pub ours: Vec<f64>,
    pub peer: Vec<f64>,
    pub reach: Reach,
    /// What else was seen: for the file, not for the table.
    pub details: Value,
}

impl Row {
    fn ratio(&self) -> Option<Spread> {
        spread(&ratios(&self.ours, &self.peer))
    }

    /// None where nothing must be reached.
    pub fn within_reach(&self) -> Option<bool> {
        match self.reach {
            Reach::RatioAtMost(limit) => Some(self.ratio().is_some_and(|r| r.median <= limit)),
            Reach::RatioAtLeast(limit) => Some(self.ratio().is_some_and(|r| r.median >= limit)),
            Reach::OursAtMost(limit) => Some(spread(&self.ours).is_some_and(|s| s.max <= limit)),
            Reach::Nothing => None,
        }
    }

    fn cells(&self) -> [String; 6] {
        let side = |numbers: &[f64]| spread(numbers).map_or("–".into(), |s| amount(s.median, self.unit));
        let ratio = self
            .ratio()
            .map_or("–".into(), |r| format!("{} ({}–{})", factor(r.median), factor(r.min), factor(r.max)));
        let reach = match self.reach {
            Reach::RatioAtMost(limit) => format!("≤ {}", factor(limit)),
            Reach::RatioAtLeast(limit) => format!("≥ {}", factor(limit)),
            Reach::OursAtMost(limit) => format!("≤ {}", amount(limit, self.unit)),
            Reach::Nothing => "–".into(),
        };
        let verdict = self.within_reach().map_or("–", |within| if within { "ok" } else { "NOT" });
        [self.figure.clone(), side(&self.ours), side(&self.peer), ratio, reach, verdict.into()]
    }
}

fn amount(number: f64, unit: &str) -> String {
    match unit {
        "s" => format!("{number:.3} s"),
        unit => format!("{number:.0} {unit}"),
    }
}

fn factor(number: f64) -> String {
    if number < 0.1 { format!("{number:.3}×") } else { format!("{number:.2}×") }
}

/// As Markdown, so that it can be pasted.
pub fn render(rows: &[Row]) -> String {
    let head = ["figure", "ours", "peer", "ratio (min–max)", "reach", ""].map(String::from);
    let cells: Vec<_> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..6).map(width).collect();
    let line = |row: &[String; 6]| {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} |"));
        format!("|{}\n", padded.collect::<String>())
    };
    let rule: String = widths.iter().map(|width| format!("{}|", "-".repeat(width + 2))).collect();
    let mut text = line(&cells[0]) + &format!("|{rule}\n");
    cells[1..].iter().for_each(|row| text += &line(row));
    text
}

/// Writes `results.json`, with every single number.
pub fn write_results(rows: &[Row], settings: &Settings) -> Result<PathBuf> {
    let file = settings.dir.join("results.json");
    let describe = |row: &Row| {
        let mut value = json!(row);
        value["ratio"] = json!(row.ratio());
        value["ok"] = json!(row.within_reach());
        value
    };
    let results = json!({
        "rounds": settings.rounds,
        "scale": settings.scale,
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "version": env!("CARGO_PKG_VERSION"),
        "figures": rows.iter().map(describe).collect::<Vec<_>>(),
    });
    let text = serde_json::to_string_pretty(&results)?;
    fs::write(&file, text + "\n").with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}
