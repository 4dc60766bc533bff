//! Free ports on 127.0.0.1.
//!
//! Nobody can reserve a port for another process, so a port may be taken between the choice and its use: whoever starts
//! a node tries again with others (see [`ATTEMPTS`]). Random choice below the range from which systems serve outgoing
//! connections makes that rare, also for runs that start at the same moment.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, ensure};

/// How often a node is started with other ports before giving up.
pub const ATTEMPTS: usize = 5;

const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// `N` different ports that were free a moment ago.
///
/// # Errors
/// When a thousand tries do not find as many: nearly everything is taken, or 127.0.0.1 is not there.
pub fn free<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    for _ in 0..1000 {
        if held.len() == N {
            break;
        }
        let port = rand::random_range(RANGE);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener));
        }
    }
    ensure!(held.len() == N, "found no {N} free ports on 127.0.0.1 between {} and {}", RANGE.start, RANGE.end);
    Ok(std::array::from_fn(|index| held[index].0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_one_call_differ_and_can_be_bound() {
        let ports = free::<3>().expect("three ports");
        assert!(ports[0] != ports[1] && ports[1] != ports[2] && ports[0] != ports[2]);
        TcpListener::bind((Ipv4Addr::LOCALHOST, ports[0])).expect("free");
    }
}
