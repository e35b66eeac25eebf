//! Opens what was committed: finds backups in a vault, checks who signed them, and reads their members.

mod find;
mod open;
mod proof;
mod record;
mod sealed;
mod segment;
mod verify;

pub use self::find::{Committed, Found, Listing, Standing, find, list, list_newest, read_committed};
pub use self::open::{OpenBackup, StoredFrame};
pub use self::proof::{Counted, Proof, Proofs, attest, proofs};
pub use self::record::{FoundRecord, Records, append_record, records};
pub use self::verify::{Finding, Verified, missing_objects, verify};
