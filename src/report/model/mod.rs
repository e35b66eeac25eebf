//! What stands in a report. `docs/report.schema.json` is made from these types.
//!
//! Readers accept fields that they do not know. Times are UTC, spans are seconds, digests are hexadecimal.

mod coverage;
mod exercise;
mod follow_up;
mod quarter;
mod step;
mod used;
mod verification;

pub use self::coverage::{CoverageRow, Proved};
pub use self::exercise::{
    ClockReading, ExerciseKind, ExerciseReport, People, PlanUsed, Prediction, REPORT_SCHEMA, Scenario, Target,
    TargetKind, Verdict,
};
pub use self::follow_up::{Action, Deviation, Erasure, ErasureStatus, NotExercised, NotRestored, SignOff};
pub use self::quarter::{
    BackupRow, ClusterQuarter, ExerciseRow, FailedRunRow, Gap, GapKind, MissedNight, QUARTER_SCHEMA, QuarterFigures,
    QuarterReport, RotationRow, SetAside, VerificationRow,
};
pub use self::step::{ItemCounts, StepOutcome, StepReport};
pub use self::used::{BackupCompleteness, BackupUsed, KeyUse, KeyUsed, SignatureFound, SignatureStatus};
pub use self::verification::{
    CountCheck, DifferenceNamed, QueryCheck, Verification, VerificationKind, VerificationOutcome,
};
