//! The integration tests: one binary, real servers.

mod age_interop;
mod harness;
