//! Rehearsal: a scratch control plane to restore into, the comparison that says what came back, and the report of it.

pub mod comparison;
pub mod experience;
pub mod report;
pub mod sandbox;
pub mod scratch;
