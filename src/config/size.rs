//! Amounts of data as people write them: `50GB`, `256MiB`.

use crate::error::{Error, Result};

/// Units in bytes: decimal ones as disks are sold, binary ones as memory is.
const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads an amount such as `50GB` or `256MiB`, in bytes; it is never zero.
pub fn parse_size(text: &str) -> Result<u64> {
    let bad = || Error::usage(format!("`{text}` is no amount of data; write it like `50GB` or `256MiB`"));
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| *name == unit.trim_start()).ok_or_else(bad)?;
    let number: u64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(unit.1).filter(|bytes| *bytes > 0).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_with_their_units_only() {
        assert_eq!(parse_size("50GB").unwrap(), 50_000_000_000);
        assert_eq!(parse_size("256 MiB").unwrap(), 256 << 20);
        for bad in ["", "50", "GB", "0GB", "1.5GB", "50gb", "-1GB", "99999999999TB"] {
            assert!(parse_size(bad).unwrap_err().to_string().contains("no amount of data"), "{bad}");
        }
    }
}
