//! The archive: members in a tar, in independent Zstandard frames, in an age file; and the index that finds them again.
//!
//! ```text
//! batch ─ frame::pack (worker threads) ─ segment::pack_segment (offsets, digests) ─ age::PayloadKey::seal (worker threads) ─ bytes
//! ```
//!
//! Nothing here knows where the bytes go or come from.

pub mod age;
mod codec;
pub mod frame;
pub mod index;
pub mod parts;
pub mod segment;
