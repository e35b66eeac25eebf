//! Rehearsal: a scratch control plane to restore into, and the comparison that says what came back.

pub mod comparison;
pub mod sandbox;
