//! Finding a lost broker again.

use std::time::Duration;

use async_trait::async_trait;
use queue::error::{Error, VisitError};
use queue::memory::Memory;
use queue::reconnect::connect;
use queue::session::{Broker, Session};
use queue::topology::Topology;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use crate::stage::topology;

fn unheard(_: &Error) {}

#[tokio::test(start_paused = true)]
async fn it_tries_until_the_broker_is_there() {
    let memory = Memory::new(topology(|_| {}));
    memory.refuse_connects(20);
    let session =
        connect(&memory, None, &CancellationToken::new(), unheard).await.expect("no error").expect("a session");
    assert!(!session.ended().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn patience_ends_with_the_last_failure() {
    let memory = Memory::new(topology(|_| {}));
    memory.refuse_connects(usize::MAX);
    let began = tokio::time::Instant::now();
    let patience = Duration::from_mins(1);
    let connected = connect(&memory, Some(patience), &CancellationToken::new(), unheard).await;
    assert!(matches!(connected, Err(Error::Unreachable { .. })));
    assert!(began.elapsed() <= patience && began.elapsed() + Duration::from_secs(21) > patience);
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_the_waiting() {
    let memory = Memory::new(topology(|_| {}));
    memory.refuse_connects(usize::MAX);
    let stop = CancellationToken::new();
    let (connected, ()) = tokio::join!(connect(&memory, None, &stop, unheard), async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        stop.cancel();
    });
    assert!(matches!(connected, Ok(None)));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_topology_is_not_tried_again() {
    struct Wrong(Topology);

    #[async_trait]
    impl Broker for Wrong {
        async fn connect(&self) -> Result<Arc<dyn Session>, Error> {
            Err(Error::Topology { thing: "queue".into(), difference: "it differs".into(), remedy: "delete it".into() })
        }

        async fn visit(&self) -> Result<Arc<dyn Session>, VisitError> {
            Ok(self.connect().await?)
        }

        fn topology(&self) -> &Topology {
            &self.0
        }
    }

    let began = tokio::time::Instant::now();
    let connected = connect(&Wrong(topology(|_| {})), None, &CancellationToken::new(), unheard).await;
    assert!(matches!(connected, Err(Error::Topology { .. })));
    assert_eq!(began.elapsed(), Duration::ZERO);
}
