//! Free ports on loopback, for servers that must be told theirs.

use std::net::{Ipv4Addr, TcpListener};

use crate::error::{Cause, Context, Error, Result};

/// Below the range that Linux gives to outgoing connections, so that none of those takes the port before the server
/// has bound it, or while it restarts.
const FIRST: u16 = 10_240;
const COUNT: u16 = 22_000;

const ATTEMPTS: u32 = 200;

/// A port that nobody listens on right now. Somebody may take it before the caller does: be ready to try another.
pub fn free_port() -> Result<u16> {
    for _ in 0..ATTEMPTS {
        let port = FIRST + random()? % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Error::failed(format!("no free port on 127.0.0.1 in {ATTEMPTS} attempts")))
}

fn random() -> Result<u16> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(|e| Cause::from(e.to_string())).context(|| "get random bytes".into())?;
    Ok(u16::from_le_bytes(bytes))
}
