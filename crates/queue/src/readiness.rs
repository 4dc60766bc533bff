//! What the connection to the broker means for a process's readiness.

use service::{Condition, Health};

use crate::error::Error;

/// The dependency's name among the conditions of a process.
const DEPENDENCY: &str = "rabbitmq";

/// Nothing is connected yet.
pub fn begins(health: &Health) {
    health.not_ready(DEPENDENCY, "not connected yet");
}

/// The loop is connected and works, or is not and why: what [`crate::handler::Observer::connected`] is told.
pub fn connected(health: &Health, state: Result<(), &Error>) {
    match state {
        Ok(()) => health.set(DEPENDENCY, Condition::Ready),
        Err(error) => health.not_ready(DEPENDENCY, error.to_string()),
    }
}
