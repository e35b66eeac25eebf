//! ckbackup.
pub mod archive;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod drill;
pub mod error;
pub mod inventory;
pub mod member;
pub mod object_path;
pub mod progress;
pub mod reader;
pub mod restore;
pub mod sources;
pub mod vault;
