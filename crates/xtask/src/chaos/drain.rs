//! The end of a run: a bounded time to drain, the end of the programs, and the evidence.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::future::{join_all, try_join_all};
use queue::dead_letters::DeadLetters;
use queue::session::{Broker, Session};
use tokio::time::{Instant, sleep};

use super::journal::Journal;
use super::requests::RequestLog;
use super::stage::{START, Stage};
use crate::demo::console::{Bars, Console};
use crate::demo::drain::ready;
use crate::demo::reconcile::{Evidence, Fate, reconcile};
use crate::demo::watch::{open_letters, published};

/// How often evidence is gathered while the fleet drains.
const GATHER: Duration = Duration::from_secs(2);
/// How long the broker may take to put back what ended workers left.
const PUT_BACK: Duration = Duration::from_secs(1);
/// So many calm answers in a row are believed.
const CALM_ANSWERS: u32 = 2;

impl Stage {
    /// Waits until every order is accounted for and nothing is in a queue or a program's hands.
    pub(super) async fn drain(
        &mut self,
        journal: &Journal,
        log: &mut RequestLog,
        console: &Console,
        bars: &mut Bars,
    ) -> Result<Drained> {
        let began = Instant::now();
        let deadline = began + self.drain;
        let deliveries = self.script.deliveries.len();
        let (session, letters) = self.desk().await?;
        let mut calm = 0;
        let drained = loop {
            let next = Instant::now() + GATHER;
            let places = self.ingests.iter_mut().chain(&mut self.writers);
            try_join_all(places.map(|place| place.keep_filled(next, journal))).await?;
            letters.refresh().await?;
            self.connection.mend(&self.org).await?;
            log.read(&self.org).await?;
            let waiting = ready(session.as_ref(), &self.topology).await?;
            let places = self.ingests.iter().chain(&self.writers);
            let in_hand: Option<f64> =
                join_all(places.map(|place| place.in_hand(&self.client))).await.into_iter().sum();
            let held = open_letters(&letters).iter().filter(|letter| letter.held).count();
            let told = self.listener.count() + held;
            let line = format!(
                "draining, {} s left: {waiting} messages wait in queues, {} are in the programs' hands",
                deadline.saturating_duration_since(Instant::now()).as_secs(),
                in_hand.map_or_else(|| "?".to_owned(), |count| count.to_string()),
            );
            console.show(bars, deliveries, told, &line);
            calm = if waiting == 0 && in_hand == Some(0.0) { calm + 1 } else { 0 };
            let at = Instant::now();
            if calm >= CALM_ANSWERS {
                let lost = reconcile(&self.evidence(&letters).await?).total.of(Fate::Lost);
                if lost == 0 {
                    break Drained { at, left: None };
                }
            }
            if at >= deadline {
                let hand = in_hand.map_or_else(|| "an unknown number".to_owned(), |count| count.to_string());
                let left = format!(
                    "after {} s of draining {waiting} messages waited in queues and {hand} were in the programs' hands",
                    self.drain.as_secs()
                );
                break Drained { at, left: Some(left) };
            }
        };
        letters.close().await;
        session.close().await;
        Ok(drained)
    }

    /// Ends the programs in good order, ingests first. What they had not acknowledged is back in its queue then, so empty
    /// queues prove that every message was settled. Says what is left.
    pub(super) async fn end(&mut self, journal: &Journal) -> Result<Option<String>> {
        for places in [&mut self.ingests, &mut self.writers] {
            join_all(places.iter_mut().map(|place| place.end(journal))).await;
        }
        sleep(PUT_BACK).await;
        let session = self.direct.connect().await?;
        let left = ready(session.as_ref(), &self.topology).await?;
        session.close().await;
        Ok((left > 0).then(|| format!("{left} messages were still unsettled when the programs had drained and ended")))
    }

    /// The run's own ends of the broker. A broker that was killed a moment ago does not know all of its queues yet.
    pub(super) async fn desk(&self) -> Result<(Arc<dyn Session>, DeadLetters)> {
        let deadline = Instant::now() + START;
        loop {
            let opened = async {
                let session = self.direct.connect().await?;
                anyhow::Ok((session, DeadLetters::open(&self.direct, "chaos").await?))
            };
            match opened.await {
                Ok(desk) => return Ok(desk),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => sleep(PUT_BACK).await,
            }
        }
    }

    pub(super) async fn evidence(&self, letters: &DeadLetters) -> Result<Evidence> {
        letters.refresh().await?;
        let (records, accounts, events) =
            tokio::try_join!(self.org.order_records(), self.org.accounts(), self.org.events())?;
        Ok(Evidence {
            published: published(&self.script),
            records,
            accounts,
            accounts_before: self.accounts_before.clone(),
            events,
            letters: open_letters(letters),
            told: self.listener.told(),
        })
    }
}

/// When the fleet was done, and what it was not done with.
pub(super) struct Drained {
    pub(super) at: Instant,
    pub(super) left: Option<String>,
}
