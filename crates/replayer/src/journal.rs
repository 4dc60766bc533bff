//! The way into the journal, with patience.

use std::time::Duration;

use queue::dead_letters::DeadLetters;
use queue::error::{Error, VisitError};
use service::Stopped;
use tokio::time::{Instant, sleep};

use crate::letters::OpenLetters;
use crate::settings::Connection;

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Connects and reads the journal up to now. While RabbitMQ cannot be reached it tries again; `say` hears of it once.
///
/// # Errors
/// RabbitMQ was not reached within the patience (exit 69); there is no such fleet on it, or its topology is another (exit 78).
/// Nothing is created there.
pub async fn open(connection: &Connection, by: &str, say: &(dyn Fn(&str) + Sync)) -> Result<DeadLetters, Stopped> {
    let began = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        let error = match DeadLetters::open(&connection.broker, by).await {
            Ok(letters) => return Ok(letters),
            Err(error @ (VisitError::NoFleet { .. } | VisitError::Broker(Error::Topology { .. }))) => {
                return Err(Stopped::settings(error.to_string()));
            }
            Err(VisitError::Broker(error @ (Error::Unreachable { .. } | Error::Lost(_)))) => error,
        };
        if began.elapsed() + wait > connection.patience {
            return Err(lost(&error));
        }
        if wait == FIRST_WAIT {
            say(&format!("{error}; trying for {} s", connection.patience.as_secs_f32()));
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// How the process ends when the broker went away in the middle.
pub fn lost(error: &Error) -> Stopped {
    Stopped::unavailable(format!(
        "{error}. Check CAUSEWAY_AMQP_URL and that the broker runs; nothing is lost by trying again"
    ))
}

/// The open letters and the last closed ones as far as they were read, at this moment.
pub fn look(letters: &DeadLetters) -> OpenLetters {
    OpenLetters::new(letters.letters(), queue::journal::entry::now_ms()).with_closed(letters.closed())
}
