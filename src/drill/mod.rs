//! Rehearsal: a scratch control plane to restore into, what is lost in it, the comparison that says what came back, and the report of it.

pub mod comparison;
pub mod experience;
pub mod loss;
pub mod report;
pub mod sandbox;
pub mod scratch;
