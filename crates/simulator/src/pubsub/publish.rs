//! `Publish` and `PublishStream`: events that are stored before the answer leaves.

use std::time::Duration;

use tonic::{Code, Status, Streaming};
use uuid::Uuid;

use super::codec::replay_bytes;
use super::proto::{Error, ErrorCode, ProducerEvent, PublishRequest, PublishResponse, PublishResult};
use super::rpc::{Answers, Caller, unreadable};
use super::{Place, rpc};
use crate::clock::Moment;
use crate::events::{self, Event};
use crate::faults::refusals::RowTrouble;
use crate::permissions;
use crate::schema::ObjectIx;
use crate::settings::Settings;
use crate::transaction::Target;

/// "`PublishStream` RPC Method": the server closes a stream that brings no events for this long.
const IDLE: Duration = Duration::from_secs(70);
pub(super) const BLANK_SCHEMA: &str = "Schema validation failed. The schema ID can't be blank.";
const PATH: &str = "/eventbus.v1.PubSub/Publish";

/// Publishes a batch; the error is one of the whole request.
pub(super) fn publish(caller: &Caller, topic: ObjectIx, events: Vec<ProducerEvent>) -> Result<PublishResponse, Status> {
    let settings = caller.org.settings();
    let definition = caller.org.schema.object(topic);
    if !permissions::may_create(definition, &settings) {
        return Err(caller.forbidden("publish to", &events::topic(&definition.name)));
    }
    if events.is_empty() {
        return Err(caller.rpc.status(Code::InvalidArgument, None, "The request has no events to publish."));
    }
    if events.iter().any(|event| event.schema_id.is_empty()) {
        return Err(caller.rpc.status(Code::InvalidArgument, None, BLANK_SCHEMA));
    }
    let schema_id = caller.schema(topic, &settings)?.id.clone();
    let results = events
        .into_iter()
        .map(|mut event| {
            if event.id.is_empty() {
                event.id = Uuid::new_v4().to_string();
            }
            let correlation_key = event.id.clone();
            match one(caller, topic, event, &settings) {
                Ok(id) => PublishResult { replay_id: replay_bytes(id, &settings), error: None, correlation_key },
                Err(msg) => {
                    let error = Some(Error { code: ErrorCode::Publish.into(), msg });
                    PublishResult { replay_id: Vec::new(), error, correlation_key }
                }
            }
        })
        .collect();
    Ok(PublishResponse { results, schema_id, rpc_id: caller.rpc.id.clone() })
}

/// Publishes one event; its replay id, or why it is not stored.
fn one(caller: &Caller, topic: ObjectIx, event: ProducerEvent, settings: &Settings) -> Result<u64, String> {
    let org = &caller.org;
    let definition = org.schema.object(topic);
    if event.payload.len() > settings.event_max_bytes {
        return Err(events::too_large(settings.event_max_bytes).message);
    }
    let schema = org
        .streams
        .schema_by_id(org, &event.schema_id, settings)
        .filter(|schema| schema.object() == topic)
        .ok_or_else(|| {
            format!("Schema validation failed. The schema ID {} isn't one of the topic.", event.schema_id)
        })?;
    let (changes, created) = schema
        .decode(definition, &event.payload)
        .map_err(|problem| format!("The event can't be deserialized with its schema: {problem}"))?;
    let mut event = Event::checked(definition, &changes, created, event.id, settings).map_err(|error| error.message)?;
    let trouble = org.faults.row(&definition.name, PATH, &event.payload, &Target::New, settings);
    if let Some(RowTrouble::Refuse(error)) = trouble {
        return Err(error.message);
    }
    event.fate = org.faults.event(&definition.name, PATH, &event.payload);
    let now_ms = org.clock.now_ms();
    let mut bus = org.bus();
    if !bus.reserve(now_ms, settings) {
        return Err(events::over_hourly_limit().message);
    }
    Ok(bus.publish(event, now_ms, settings))
}

struct Publisher {
    caller: Caller,
    inbound: Streaming<PublishRequest>,
    topic: Option<ObjectIx>,
    idle_until: Moment,
    _place: Place,
}

/// One answer for each request, until the client ends the stream or leaves it idle.
pub(super) fn answers(caller: Caller, inbound: Streaming<PublishRequest>, place: Place) -> Answers<PublishResponse> {
    let idle_until = caller.org.clock.now().plus(IDLE);
    let publisher = Publisher { caller, inbound, topic: None, idle_until, _place: place };
    Box::pin(futures::stream::unfold(Some(publisher), async |publisher| {
        let mut publisher = publisher?;
        match publisher.next().await {
            Ok(Some(answer)) => Some((Ok(answer), Some(publisher))),
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    }))
}

impl Publisher {
    async fn next(&mut self) -> Result<Option<PublishResponse>, Status> {
        let org = std::sync::Arc::clone(&self.caller.org);
        let message = tokio::select! {
            biased;
            () = org.streams.closing.cancelled() => return Err(self.caller.rpc.unavailable()),
            message = org.clock.before(self.idle_until, self.inbound.message()) => message,
        };
        let Some(message) = message else { return Ok(None) };
        let Some(request) = message.map_err(unreadable)? else { return Ok(None) };
        self.caller.refresh(request.auth_refresh)?;
        self.caller.session()?;
        let topic = self.same_topic(&request.topic_name)?;
        let answer = publish(&self.caller, topic, request.events)?;
        self.idle_until = org.clock.now().plus(IDLE);
        Ok(Some(answer))
    }

    fn same_topic(&mut self, name: &str) -> Result<ObjectIx, Status> {
        match self.topic {
            Some(topic) if name.is_empty() => Ok(topic),
            Some(topic) => match self.caller.topic(name) {
                Ok(named) if named == topic => Ok(topic),
                Ok(_) | Err(_) => Err(rpc::other_topic(&self.caller)),
            },
            None => Ok(*self.topic.insert(self.caller.topic(name)?)),
        }
    }
}
