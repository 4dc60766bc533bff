//! The event bus: published platform events, as a subscriber would see them.
//!
//! Source: Platform Events Developer Guide, "Publish Event Messages" and "Platform Event Allocations".

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::api_error::ApiError;
use crate::call::Call;
use crate::clock::datetime_text;
use crate::ids::RecordId;
use crate::org::Org;
use crate::schema::{FieldType, ObjectIx};
use crate::validation::{self, required};

/// Events stay on the bus for 72 hours.
const RETENTION_MS: i64 = 72 * 3_600_000;
/// And never more than this many, so that a long run stays within memory.
const CAPACITY: usize = 1_000_000;
const HOUR_MS: i64 = 3_600_000;

/// An event that reached the bus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublishedEvent {
    /// Position on the bus; rises by one with each event.
    pub replay_id: u64,
    /// `EventUuid`, which the publisher got in its answer.
    pub event_uuid: String,
    /// API name of the event object.
    pub object: String,
    /// When it reached the bus, as a date-time field prints it.
    pub published_at: String,
    /// Fields with a value, `CreatedDate` and `CreatedById` included.
    pub payload: Map<String, Value>,
}

/// An event that is valid and waits to be put on the bus.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) uuid: String,
    object: String,
    payload: Map<String, Value>,
}

impl Event {
    /// Reads an event body by the event object's fields.
    pub(crate) fn read(
        org: &Org,
        object: ObjectIx,
        body: &Map<String, Value>,
        user: RecordId,
        call: &Call,
    ) -> Result<Self, ApiError> {
        let definition = org.schema.object(object);
        let mut changes = validation::Changes::default();
        let mut read_only = Vec::new();
        for (name, value) in body {
            if name == "attributes" {
                continue;
            }
            let ix = definition
                .find_visible(name, &call.settings)
                .ok_or_else(|| ApiError::unknown_field(name, &definition.name))?;
            let field = definition.field(ix);
            if field.read_only {
                read_only.push(field.name.clone());
                continue;
            }
            changes.set(ix, validation::read_value(field, value)?);
        }
        if !read_only.is_empty() {
            let message = format!("Unable to create/update fields: {}.", read_only.join(", "));
            return Err(ApiError::bad_request("INVALID_FIELD_FOR_INSERT_UPDATE", message).with_fields(read_only));
        }
        validation::check_lengths(definition, &changes)?;
        let missing: Vec<&str> = definition
            .each_field()
            .filter(|(ix, field)| field.required && !changes.fills(Some(*ix)))
            .map(|(_, field)| field.name.as_str())
            .collect();
        if !missing.is_empty() {
            return Err(required(&missing));
        }
        let mut payload = Map::new();
        payload.insert("CreatedDate".into(), Value::String(utc(&org.clock.now_text())));
        payload.insert("CreatedById".into(), Value::String(user.to_string()));
        for (ix, value) in changes.iter().filter(|(_, value)| !value.is_null()) {
            let field = definition.field(*ix);
            let value = match (field.kind, value.as_str()) {
                (FieldType::Datetime, Some(text)) => Value::String(utc(text)),
                _ => value.clone(),
            };
            payload.insert(field.name.clone(), value);
        }
        Ok(Self { uuid: Uuid::new_v4().to_string(), object: definition.name.clone(), payload })
    }
}

/// Subscribers read date-times with `Z`.
fn utc(text: &str) -> String {
    text.replace("+0000", "Z")
}

/// Events in replay order, and how many were published in the last hour.
#[derive(Debug, Default)]
pub(crate) struct EventBus {
    events: VecDeque<(i64, PublishedEvent)>,
    last_replay_id: u64,
    published: VecDeque<(i64, u64)>,
}

impl EventBus {
    pub(crate) fn publish(&mut self, events: Vec<Event>, now_ms: i64) {
        for event in events {
            self.last_replay_id += 1;
            let published = PublishedEvent {
                replay_id: self.last_replay_id,
                event_uuid: event.uuid,
                object: event.object,
                published_at: datetime_text(now_ms),
                payload: event.payload,
            };
            self.events.push_back((now_ms, published));
            match self.published.back_mut() {
                Some((minute, count)) if *minute == now_ms / 60_000 => *count += 1,
                Some(_) | None => self.published.push_back((now_ms / 60_000, 1)),
            }
        }
        while self.events.len() > CAPACITY
            || self.events.front().is_some_and(|(at, _)| now_ms.saturating_sub(*at) > RETENTION_MS)
        {
            self.events.pop_front();
        }
    }

    pub(crate) fn published_last_hour(&mut self, now_ms: i64) -> u64 {
        while self.published.front().is_some_and(|(minute, _)| minute * 60_000 + HOUR_MS <= now_ms) {
            self.published.pop_front();
        }
        self.published.iter().map(|(_, count)| count).sum()
    }

    /// Events after `replay_id`, oldest first.
    pub(crate) fn after(&self, replay_id: u64) -> impl DoubleEndedIterator<Item = &PublishedEvent> {
        let first = self.events.front().map_or(0, |(_, event)| event.replay_id);
        let skip = usize::try_from(replay_id.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
        self.events.iter().skip(skip).map(|(_, event)| event)
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }
}
