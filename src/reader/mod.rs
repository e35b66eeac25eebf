//! Opens what was committed: finds backups in a vault, checks who signed them, and reads their members.

mod find;
mod open;
mod sealed;
mod verify;

pub use self::find::{Committed, Found, Listing, Standing, find, list, read_committed};
pub use self::open::OpenBackup;
pub use self::verify::{Finding, Verified, verify};
