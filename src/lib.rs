//! ckbackup.
pub mod archive;
pub mod backup;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod error;
pub mod inventory;
pub mod member;
pub mod object_path;
pub mod progress;
pub mod reader;
pub mod sources;
pub mod vault;
