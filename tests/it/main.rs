//! The integration tests: one binary, real servers.

// Clippy knows test functions, not what they share.
#![allow(clippy::unwrap_used)]

mod age_interop;
mod age_plugin;
mod architecture;
mod backup_cluster;
mod backup_interrupt;
mod backup_lease;
mod backup_memory;
mod backup_refused;
mod backup_rig;
mod backup_run;
mod backup_window;
mod data_stage;
mod deploy;
mod events;
mod harness;
mod job_rights;
mod json_log;
mod metrics;
mod proof;
mod restore_choice;
mod restore_diff;
mod restore_fixture;
mod restore_graph;
mod restore_lost;
mod restore_objects;
mod restore_outcomes;
mod restore_whole_way;
mod restore_writes;
mod rotation;
mod rotation_history;
mod rules;
mod schedule_next;
mod scheduler;
mod shipped;
mod source_access;
mod source_files;
mod source_lost;
mod source_objects;
mod source_paging;
mod source_prometheus;
mod source_scope;
mod source_units;
mod vault_contract;
mod vault_damage;
mod vault_extract;
mod vault_faults;
mod vault_hostile;
mod vault_kill;
mod vault_places;
mod vault_races;
mod vault_stage;
mod vault_stock_tools;
mod vault_trust;
