//! The integration tests: one binary, real servers.

mod age_interop;
mod harness;
mod rules;
mod vault_contract;
mod vault_stage;
mod vault_stock_tools;
