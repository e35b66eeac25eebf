//! When runs are due, and that there is one at a time. Whether a run is due is a function of the schedule, of the runs that
//! the vault knows of, and of the current time: nothing waits for it, and nothing is stored.

mod agenda;
mod due;
mod lease;
mod night;
mod trigger;

pub use self::agenda::{Agenda, Occasion};
pub use self::due::{Timing, Verdict, WasRun, due, last_missed};
pub use self::lease::{Lease, Term};
pub use self::night::Night;
pub use self::trigger::Trigger;
