//! The end of a run: nothing may be left in a queue or in a worker's hands when the evidence is gathered, or a second
//! delivery could do its harm unseen.

use std::time::{Duration, Instant};

use anyhow::Result;
use queue::session::Session;
use queue::topology::Topology;

use super::fleet::Fleet;

/// How long the fleet may take to finish what it has.
const CALM_WITHIN: Duration = Duration::from_mins(1);
/// How often it is asked.
const ASK: Duration = Duration::from_millis(500);
/// So many calm answers in a row are believed: between a queue and a worker's count a message is in neither for a moment.
const CALM_ANSWERS: u32 = 2;
/// How long the broker may take to put back what ended workers left.
const PUT_BACK: Duration = Duration::from_secs(1);

/// What is left to do.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Left {
    /// Messages that wait in inboxes and partitions.
    ready: u64,
    /// Messages that workers have in hand; `None` where one of them did not answer.
    in_hand: Option<f64>,
}

impl Left {
    fn is_nothing(self) -> bool {
        self.ready == 0 && self.in_hand == Some(0.0)
    }
}

/// How many answers in a row have been calm.
#[derive(Debug, Default)]
struct Calm(u32);

impl Calm {
    /// Takes an answer in, and says whether enough of them have been calm.
    fn after(&mut self, left: Left) -> bool {
        self.0 = if left.is_nothing() { self.0 + 1 } else { 0 };
        self.0 >= CALM_ANSWERS
    }
}

/// Waits until no message is in a queue or in a worker's hands, going by queue depths and the workers' own counts. Says
/// what is left when that does not come.
pub(crate) async fn until_calm(session: &dyn Session, topology: &Topology, fleet: &Fleet) -> Result<Option<String>> {
    let deadline = Instant::now() + CALM_WITHIN;
    let mut calm = Calm::default();
    loop {
        fleet.check()?;
        let left = Left { ready: ready(session, topology).await?, in_hand: fleet.in_hand().await };
        if calm.after(left) {
            return Ok(None);
        }
        if Instant::now() >= deadline {
            let in_hand = left.in_hand.map_or_else(|| "an unknown number".to_owned(), |count| count.to_string());
            return Ok(Some(format!(
                "{} messages wait in queues and {in_hand} are in the workers' hands {} s after the last order was settled",
                left.ready,
                CALM_WITHIN.as_secs(),
            )));
        }
        tokio::time::sleep(ASK).await;
    }
}

/// Ends the workers, ingest first. What they had not acknowledged is back in its queue then, so empty queues prove that
/// every message was settled. Says what is left.
pub(crate) async fn drained(session: &dyn Session, topology: &Topology, fleet: &mut Fleet) -> Result<Option<String>> {
    fleet.stop_workers().await;
    tokio::time::sleep(PUT_BACK).await;
    let ready = ready(session, topology).await?;
    Ok((ready > 0).then(|| format!("{ready} messages were still unsettled when the workers had drained and ended")))
}

/// Messages that wait in inboxes and partitions.
pub(crate) async fn ready(session: &dyn Session, topology: &Topology) -> Result<u64> {
    let mut ready = 0;
    for queue in topology.inbox_queues().into_iter().chain(topology.partition_queues()) {
        ready += u64::from(session.ready(queue).await?);
    }
    Ok(ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calm_is_two_calm_answers_in_a_row() {
        let calm_answer = Left { ready: 0, in_hand: Some(0.0) };
        let restless = [
            Left { ready: 1, ..calm_answer },
            Left { in_hand: Some(1.0), ..calm_answer },
            Left { in_hand: None, ..calm_answer },
        ];
        for restless in restless {
            let mut calm = Calm::default();
            assert!(!calm.after(calm_answer));
            assert!(!calm.after(restless), "{restless:?}");
            assert!(!calm.after(calm_answer));
            assert!(calm.after(calm_answer));
        }
    }
}
