//! Free ports on loopback.

use std::net::TcpListener;

use anyhow::{Result, anyhow};
use rand::Rng;

/// Below the range from which the kernel picks ports for outgoing connections: a server that is down for a moment must
/// find its port free when it comes back.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A free port that is not among `taken`, where it is then written down.
pub(super) fn pick(taken: &mut Vec<u16>) -> Result<u16> {
    let start = rand::rng().random_range(0..COUNT);
    for step in 0..COUNT {
        let port = FIRST + (start + step) % COUNT;
        if !taken.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            taken.push(port);
            return Ok(port);
        }
    }
    Err(anyhow!("find a free port between {FIRST} and {}: all are taken", FIRST + COUNT))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_port_is_given_out_once() {
        let mut taken = Vec::new();
        for _ in 0..50 {
            pick(&mut taken).unwrap();
        }
        let all = taken.clone();
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), all.len());
        assert!(all.iter().all(|port| (FIRST..FIRST + COUNT).contains(port)));
    }
}
