//! Real parts for tests and the demo: private RabbitMQ and Redis nodes, a TCP proxy that misbehaves on request, a
//! stand-in of Limio's API, and waiting that is bounded.
//!
//! Tests run against real services, started by the project itself: no container engine, no machine-wide installation
//! that is already running, no fixed port. [`Services`] starts one node of each; `cargo xtask services run -- CMD` does
//! so for a whole test run and names them in the environment, where [`amqp_url`] and [`redis_url`] find them.
//!
//! Invariants:
//! - Only processes that this code started are ever signalled, and each is known by pid *and* start time, so that a pid
//!   which the system has given to somebody else is left alone.
//! - Nodes listen on 127.0.0.1 only and keep everything below one folder.
//! - Nodes end with the process that started them, also when it is killed (see [`process`]).
//! - Parallel tests share the nodes and keep apart by [`namespace`].

#![expect(clippy::disallowed_methods, reason = "real processes take real time and are found by the environment")]

pub mod eventually;
pub mod fleet;
pub mod install;
pub mod limio;
pub mod orders;
pub mod port;
pub mod process;
pub mod proxy;
pub mod rabbitmq;
pub mod redis_node;
pub mod services;

pub use eventually::{eventually, eventually_some};
pub use fleet::Fleet;
pub use proxy::{TcpProxy, Way};
pub use rabbitmq::RabbitMq;
pub use redis_node::Redis;
pub use services::Services;

/// Where tests find the broker: the environment variable.
pub const AMQP_URL: &str = "CAUSEWAY_AMQP_URL";
/// Where tests find Redis: the environment variable.
pub const REDIS_URL: &str = "CAUSEWAY_REDIS_URL";

/// The broker that this test run may use.
///
/// # Panics
/// When the environment names none; the message tells how to start one.
pub fn amqp_url() -> String {
    from_environment(AMQP_URL)
}

/// The Redis that this test run may use.
///
/// # Panics
/// When the environment names none; the message tells how to start one.
pub fn redis_url() -> String {
    from_environment(REDIS_URL)
}

fn from_environment(variable: &str) -> String {
    match std::env::var(variable) {
        Ok(url) if !url.is_empty() => url,
        Ok(_) | Err(_) => panic!(
            "{variable} is not set: this test needs real services.\n\
             Run `make test`, or `cargo xtask services run -- cargo test` (any cargo test arguments may follow)."
        ),
    }
}

/// A name that no other test has: `prefix-` and twelve random hex digits. For queue names and Redis keys.
pub fn namespace(prefix: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{prefix}-{}", &random[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tests_never_share_a_namespace() {
        assert_ne!(namespace("a"), namespace("a"));
        assert!(namespace("orders").starts_with("orders-"));
    }
}
