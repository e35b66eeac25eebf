//! ckbackup backs up a Compliant Kubernetes platform, encrypts it for people who are not in the cluster, and brings it
//! back in order.
//!
//! # Layers
//!
//! ```text
//! cli                                   one file for each verb; the only one that prints, reads the environment or exits
//!  └ observe                            metrics and Kubernetes Events
//!     └ scheduler                       when a run is due
//!        └ drill                        a scratch control plane; what came back, compared; the account of it
//!           └ backup  restore  rotation one run; one plan; which backups stay
//!             report                  what a drill, a restore and a quarter came to, for people and programs
//!              └ reader                 a committed backup: trust, index, members, verification
//!                 └ sources ─ cluster   what is backed up; the only door to the Kubernetes API
//!                   command   elastic     a command, here or in a pod; an Elasticsearch or OpenSearch server
//!                   archive   vault     tar, zstd, age; layout, manifest, signature
//!                   endpoint            an HTTP server, with its log-in
//!                   storage             buckets and folders: opened, listed, read, written
//!                    └ config           schedules and plans, checked
//!                      member  object_path  inventory  direct
//!                        progress  clock  error  words
//! ```
//!
//! A module uses what stands below it. Modules of one layer do not use each other, except that `sources` uses
//! `cluster`. A test holds this.
//!
//! # How data flows
//!
//! Backup: [`sources`] hand batches of [`member`]s to [`archive`], which packs them into Zstandard frames on worker
//! threads, seals them, and hands the bytes to an upload of the [`vault`]. Channels between them are bounded, so memory
//! does not grow with the cluster. An error aborts the upload. The manifest comes last: without it there is no backup.
//!
//! Restore: [`reader`] checks the signature of the manifest, which vouches for the index, which vouches for every member.
//! [`restore`] compiles a plan against them, looks what stands in the way, and runs its steps as a graph. What is done stands in a
//! journal, on this machine and sealed in the vault: from there it goes on. The same graph, with what each step should take and has
//! taken, says when all will be done. A [`drill`] is a restore into a scratch target; it and a real one end in a [`report`].
//!
//! # Words
//!
//! A *schedule* says which *sources* are saved, when, and for whom. One attempt is a *run*; what it commits is a
//! *backup*: a *manifest* and the *segments* that it names, in a *vault*. A *plan* has *steps*; a *gate* is what must be
//! true before it goes on; the *journal* is what a restore goes on from; the *clock* runs from the begin of the incident. A *drill* is
//! a rehearsed restore; a *record* is what somebody signed of a run, a verification, a drill or a restore.
//!
//! What is stored is specified in `docs/format.md`.

pub mod archive;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod command;
pub mod config;
pub mod direct;
pub mod drill;
pub mod elastic;
pub mod endpoint;
pub mod error;
pub mod inventory;
pub mod member;
pub mod object_path;
pub mod observe;
pub mod progress;
pub mod reader;
pub mod report;
pub mod restore;
pub mod rotation;
pub mod scheduler;
pub mod sources;
pub mod storage;
pub mod vault;
pub mod words;
