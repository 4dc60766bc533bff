//! `Subscribe`: as many events as the client asks for, in replay order, as they reach the bus.
//!
//! The stream is driven by its reader: nothing is prepared that the client has not asked for and taken, so a slow
//! client costs the org no more than a fast one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tonic::{Code, Status, Streaming};

use super::codec::{replay_bytes, replay_id};
use super::proto::{ConsumerEvent, FetchRequest, FetchResponse, ProducerEvent, ReplayPreset};
use super::rpc::{self, Answers, Caller, code, unreadable};
use super::{Place, RESET};
use crate::clock::Moment;
use crate::events::PublishedEvent;
use crate::schema::ObjectIx;
use crate::settings::Settings;

/// An empty answer keeps an idle stream alive ("Subscribe RPC Method").
const KEEPALIVE: Duration = Duration::from_secs(270);
/// Events a client may have asked for and not yet got.
const PENDING: usize = 100;
/// Bytes of events in one answer; clients refuse messages above four megabytes.
const ANSWER: usize = 3 * 1024 * 1024;

struct Subscriber {
    caller: Caller,
    inbound: Streaming<FetchRequest>,
    news: watch::Receiver<()>,
    subscription: Option<Subscription>,
    pending: usize,
    /// The client has said that it asks for nothing more.
    closed: bool,
    keepalive: Moment,
    _place: Place,
}

struct Subscription {
    topic: ObjectIx,
    /// Events up to this replay id are delivered or not the topic's.
    position: u64,
}

pub(super) fn answers(caller: Caller, inbound: Streaming<FetchRequest>, place: Place) -> Answers<FetchResponse> {
    let news = caller.org.bus().news();
    let keepalive = caller.org.clock.now().plus(KEEPALIVE);
    let subscriber =
        Subscriber { caller, inbound, news, subscription: None, pending: 0, closed: false, keepalive, _place: place };
    Box::pin(futures::stream::unfold(Some(subscriber), async |subscriber| {
        let mut subscriber = subscriber?;
        match subscriber.next().await {
            Ok(Some(answer)) => Some((Ok(answer), Some(subscriber))),
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    }))
}

impl Subscriber {
    async fn next(&mut self) -> Result<Option<FetchResponse>, Status> {
        let org = Arc::clone(&self.caller.org);
        loop {
            self.news.borrow_and_update();
            let expires_ms = self.caller.session()?;
            let settings = org.settings();
            let mut due_ms = None;
            if let Some(subscription) = &mut self.subscription {
                let now = org.clock.now();
                if self.pending > 0 {
                    let name = &org.schema.object(subscription.topic).name;
                    let mut bus = org.bus();
                    let batch = bus.deliver(name, subscription.position, self.pending, ANSWER, now.ms(), &settings);
                    due_ms = bus.next_due();
                    drop(bus);
                    subscription.position = batch.position;
                    if !batch.events.is_empty() {
                        return self.answer(batch.events, &settings).map(Some);
                    }
                    if batch.exhausted {
                        let message = "You have exceeded the event delivery limit for your org.";
                        return Err(self.caller.rpc.status(Code::ResourceExhausted, Some(code::DELIVERIES), message));
                    }
                    if batch.more {
                        continue;
                    }
                }
                if now >= self.keepalive {
                    return self.answer(Vec::new(), &settings).map(Some);
                }
            }
            if self.closed && self.pending == 0 {
                return Ok(None);
            }
            let now = org.clock.now();
            let at = |ms: i64| now.plus(Duration::from_millis(u64::try_from(ms.saturating_sub(now.ms())).unwrap_or(0)));
            let mut wake = at(expires_ms);
            if self.subscription.is_some() {
                wake = wake.min(self.keepalive);
            }
            if let Some(due_ms) = due_ms {
                wake = wake.min(at(due_ms));
            }
            tokio::select! {
                biased;
                () = org.streams.closing.cancelled() => return Err(self.caller.rpc.unavailable()),
                message = self.inbound.message(), if !self.closed => {
                    match message.map_err(unreadable)? {
                        Some(request) => self.request(request)?,
                        None => self.closed = true,
                    }
                }
                // The bus of before a reset is gone, and with it this subscription's position.
                news = self.news.changed() => news.map_err(|_| Status::unavailable(RESET))?,
                () = org.clock.sleep_until(wake) => {}
            }
        }
    }

    fn request(&mut self, request: FetchRequest) -> Result<(), Status> {
        self.caller.refresh(request.auth_refresh)?;
        let invalid = |error, message: &str| Err(self.caller.rpc.status(Code::InvalidArgument, error, message));
        if let Some(subscription) = &self.subscription {
            if !request.topic_name.is_empty() && self.caller.topic(&request.topic_name).ok() != Some(subscription.topic)
            {
                return Err(rpc::other_topic(&self.caller));
            }
        } else {
            let topic = self.caller.topic(&request.topic_name)?;
            let name = &self.caller.org.schema.object(topic).name;
            if !self.caller.org.settings().permission(name).read {
                return Err(self.caller.forbidden("subscribe to", &request.topic_name));
            }
            let preset = ReplayPreset::try_from(request.replay_preset);
            let position = self.caller.org.bus().position(self.caller.org.clock.now_ms(), &self.caller.org.settings());
            let position = match preset {
                Ok(ReplayPreset::Latest) => position.last,
                Ok(ReplayPreset::Earliest) => 0,
                Ok(ReplayPreset::Custom) if request.replay_id.is_empty() => {
                    return invalid(
                        Some(code::REPLAY_MISSING),
                        "The Replay ID validation failed. Ensure that the Replay ID is set with the preset CUSTOM.",
                    );
                }
                Ok(ReplayPreset::Custom) => match replay_id(&request.replay_id) {
                    Some(id) if id == position.last || (position.forgotten < id && id < position.last) => id,
                    Some(_) | None => {
                        return invalid(
                            Some(code::REPLAY_CORRUPTED),
                            "The Replay ID validation failed. Ensure that the Replay ID is valid.",
                        );
                    }
                },
                Err(_) => return invalid(None, "The replay preset is unknown."),
            };
            self.subscription = Some(Subscription { topic, position });
            self.keepalive = self.caller.org.clock.now().plus(KEEPALIVE);
        }
        match usize::try_from(request.num_requested) {
            Ok(more) if more > 0 => self.pending = self.pending.saturating_add(more).min(PENDING),
            Ok(_) | Err(_) => {
                return invalid(
                    Some(code::REQUESTED),
                    "The requested number of events in a fetch request must be greater than zero.",
                );
            }
        }
        Ok(())
    }

    fn answer(&mut self, events: Vec<PublishedEvent>, settings: &Settings) -> Result<FetchResponse, Status> {
        let org = &self.caller.org;
        let Some(subscription) = &self.subscription else { return Err(self.caller.rpc.unavailable()) };
        let definition = org.schema.object(subscription.topic);
        let schema = self.caller.schema(subscription.topic, settings)?;
        self.pending = self.pending.saturating_sub(events.len());
        self.keepalive = org.clock.now().plus(KEEPALIVE);
        let mut wire = Vec::with_capacity(events.len());
        for event in events {
            let payload = schema.encode(definition, &event.payload).map_err(|error| {
                tracing::error!(%error, event = event.event_uuid, "an event does not fit its schema");
                self.caller.rpc.unavailable()
            })?;
            wire.push(ConsumerEvent {
                replay_id: replay_bytes(event.replay_id, settings),
                event: Some(ProducerEvent {
                    id: event.event_uuid,
                    schema_id: schema.id.clone(),
                    payload,
                    headers: Vec::new(),
                }),
            });
        }
        Ok(FetchResponse {
            events: wire,
            latest_replay_id: replay_bytes(subscription.position, settings),
            rpc_id: self.caller.rpc.id.clone(),
            pending_num_requested: i32::try_from(self.pending).unwrap_or(i32::MAX),
        })
    }
}
