//! Free ports on 127.0.0.1.
//!
//! Nobody can reserve a port for another process, so a port may be taken between the choice and its use: whoever starts
//! a node tries again with others (see [`until_started`]). Random choice below the range from which systems serve outgoing
//! connections makes that rare, also for runs that start at the same moment.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, ensure};

const ATTEMPTS: usize = 5;

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

/// Starts what needs `N` ports, and tries again with others when it fails: five times in all.
///
/// # Errors
/// The last failure, or no free ports.
pub async fn until_started<const N: usize, T>(mut start: impl AsyncFnMut([u16; N]) -> Result<T>) -> Result<T> {
    let mut failure = None;
    for _ in 0..ATTEMPTS {
        match start(free()?).await {
            Ok(started) => return Ok(started),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.context("no attempt was made")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_fails_on_its_ports_is_tried_on_others_and_not_for_ever() {
        let mut tried = Vec::new();
        let started = until_started(async |[port]| {
            tried.push(port);
            ensure!(tried.len() == 3, "taken");
            Ok(port)
        });
        assert_eq!(started.await.expect("the third"), tried[2]);
        let mut count = 0;
        let failed = until_started(async |[_, _]: [u16; 2]| -> Result<()> {
            count += 1;
            anyhow::bail!("failure {count}")
        });
        assert_eq!(failed.await.expect_err("all fail").to_string(), "failure 5");
    }

    #[test]
    fn ports_of_one_call_differ_and_can_be_bound() {
        let bound = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        let all_bound = (0..ATTEMPTS).any(|_| {
            let ports = free::<3>().expect("three ports");
            assert!(ports[0] != ports[1] && ports[1] != ports[2] && ports[0] != ports[2]);
            // A process that another test starts may hold a copy of a listener for a moment: between fork and exec.
            ports.into_iter().all(bound)
        });
        assert!(all_bound);
    }
}
