//! Reading the journal, a stream.
//!
//! Reading disturbs nobody: entries stay. An acknowledgement only asks for more, a negative one would close the
//! connection, and a prefetch is mandatory (RabbitMQ documentation, Streams, "Consuming").

use std::time::Duration;

use futures::stream::BoxStream;
use lapin::options::BasicAckOptions;
use lapin::types::{AMQPValue, FieldTable};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::deliver::{Line, Tap, until_over};
use super::properties;
use crate::error::Error;
use crate::session::{JournalItem, JournalStart};

/// Entries on their way to one reader.
pub(super) const PREFETCH: u16 = 256;

/// Entries are asked for again when so many were taken.
const ACKNOWLEDGE_EVERY: u16 = PREFETCH / 4;

/// What was taken is acknowledged when nothing came for so long: before 4.3 RabbitMQ ends a reader of streams, too, who holds
/// something for longer than `consumer_timeout`.
const QUIET: Duration = Duration::from_secs(1);

/// Entries that wait for the reader.
const BUFFER: usize = 64;

/// Reads without end; dropping the stream closes its channel.
pub(super) async fn read(
    line: Line,
    from: JournalStart,
    tasks: &TaskTracker,
) -> Result<BoxStream<'static, JournalItem>, Error> {
    let mut arguments = FieldTable::default();
    let (start, first) = match from {
        JournalStart::First => (AMQPValue::LongString("first".into()), 0),
        JournalStart::Offset(offset) => (AMQPValue::LongLongInt(i64::try_from(offset).unwrap_or(i64::MAX)), offset),
    };
    arguments.insert(properties::STREAM_OFFSET.into(), start);
    let (opened, reading) = oneshot::channel();
    let ending = line.ending.clone();
    tasks.spawn(async move {
        match line.open(arguments).await {
            Ok(tap) => {
                let (sender, receiver) = mpsc::channel(BUFFER);
                drop(opened.send(Ok(until_over(receiver, tap.over.clone()))));
                hand_on(tap, first, &sender).await;
            }
            Err(error) => drop(opened.send(Err(error))),
        }
    });
    reading.await.unwrap_or_else(|_| Err(ending.lost()))
}

async fn hand_on(mut tap: Tap, first: u64, sender: &mpsc::Sender<JournalItem>) {
    // How many were taken and not acknowledged, and the last of them.
    let (mut taken, mut last) = (0, 0);
    loop {
        let quiet = if taken > 0 { QUIET } else { Duration::MAX };
        let came = tokio::time::timeout(quiet, tap.next_for(sender)).await;
        let is_quiet = came.is_err();
        match came {
            Ok(None) => break,
            Ok(Some(delivery)) => {
                let (message, offset) = properties::decode(&delivery.properties, delivery.data);
                // An offset stands in every entry of a stream; one without is no entry. A broker may begin at the chunk
                // that holds the wanted offset.
                if let Some(offset) = offset
                    && offset >= first
                    && !tap.hand_on(sender, (offset, message)).await
                {
                    break;
                }
                (taken, last) = (taken + 1, delivery.delivery_tag);
            }
            Err(_) => {}
        }
        if is_quiet || taken >= ACKNOWLEDGE_EVERY {
            taken = 0;
            let acknowledged = tap.channel.basic_ack(last, BasicAckOptions { multiple: true });
            if tap.guard("asking for more of", acknowledged).await.is_err() {
                break;
            }
        }
    }
    tap.close().await;
}
