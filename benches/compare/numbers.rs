//! Medians and ratios.

use serde::Serialize;

/// The middle of some numbers, and how far they reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// None of no numbers.
pub fn spread(numbers: &[f64]) -> Option<Spread> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let half = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 };
    Some(Spread { median, min, max })
}

/// Pair by pair: what the machine did meanwhile is in both numbers of a pair.
pub fn ratios(ours: &[f64], peers: &[f64]) -> Vec<f64> {
    ours.iter().zip(peers).map(|(our, peer)| our / peer).collect()
}
