//! What can be seen from outside: metrics, and Kubernetes Events.
//!
//! ```text
//! vault → facts (what it says of a schedule) ┐
//!                   board (what this process knows) → snapshot → metrics → server (/metrics), or a file
//! ```
//!
//! Facts are read in the background, at the begin, after each run and now and then. A scrape shows the last ones and waits
//! for nothing.

mod board;
mod drill;
mod events;
mod facts;
mod file;
mod metrics;
mod server;
mod snapshot;
mod watcher;

pub use self::board::Board;
pub use self::drill::{Drilled, drill_names, render_drill};
pub use self::events::{Bell, Reason};
pub use self::facts::{Facts, Held, Newest, Proved, SourceFacts, Trust, read_facts};
pub use self::file::{write_file, write_metrics_text};
pub use self::metrics::{CONTENT_TYPE, names, render};
pub use self::server::Server;
pub use self::snapshot::{Attempt, Check, CheckKind, Snapshot, Subject, VaultView};
pub use self::watcher::Watcher;
