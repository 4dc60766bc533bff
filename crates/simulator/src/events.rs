//! Platform events: what an event may hold, and the bus it is published to.
//!
//! Publishing by REST is asynchronous. The answer says `OPERATION_ENQUEUED` and the event's UUID; the event reaches
//! the [`mod@bus`] when its transaction has committed (or at once, if its definition says so) and the delay of the
//! settings has passed. Publishing by the Pub/Sub API ([`mod@crate::pubsub`]) is synchronous.
//!
//! Sources: Platform Events Developer Guide, "Publish Event Messages", "Considerations for Defining and Publishing
//! Platform Events" (field attributes are enforced, field-level security does not apply), "Platform Event
//! Allocations" and "Platform Event Error Status Codes". `CometD` is not simulated.

pub(crate) mod bus;
pub(crate) mod rolling;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

pub(crate) use self::bus::EventBus;
use crate::api_error::ApiError;
use crate::call::Call;
use crate::ids::RecordId;
use crate::org::Org;
use crate::schema::{Field, FieldType, Object, ObjectIx};
use crate::settings::{PublishBehavior, Settings};
use crate::validation::{self, Changes, required};

/// An event that reached the bus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublishedEvent {
    /// Position on the bus; rises with each event, with gaps.
    pub replay_id: u64,
    /// `EventUuid`, which the publisher got in its answer.
    pub event_uuid: String,
    /// API name of the event object.
    pub object: String,
    /// The channel subscribers know it by, `/event/` and the object.
    pub topic: String,
    /// When it reached the bus, as a date-time field prints it.
    pub published_at: String,
    /// How it came to the bus.
    pub published: PublishedBy,
    /// How often it was delivered to subscribers of the Pub/Sub API.
    pub deliveries: u64,
    /// Fields with a value, `CreatedDate` and `CreatedById` included.
    pub payload: Map<String, Value>,
}

/// How an event came to the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublishedBy {
    /// By REST, with the commit of its transaction.
    AfterCommit,
    /// By REST, whatever became of its transaction.
    Immediately,
    /// By the Pub/Sub API.
    PubSub,
}

/// What becomes of an accepted event; anything but `Once` is a fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    #[default]
    Once,
    /// It is on the bus twice, under one UUID and two replay ids.
    Twice,
    /// It never gets there, though it was accepted and counted.
    Lost,
}

/// An event that is valid and waits to be put on the bus.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) uuid: String,
    pub(crate) object: String,
    pub(crate) payload: Map<String, Value>,
    /// Bytes of the payload, as the limits count them.
    pub(crate) size: usize,
    pub(crate) fate: Fate,
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
        let mut changes = Changes::default();
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
            changes.set(ix, read_value(field, value)?);
        }
        if !read_only.is_empty() {
            let message = format!("Unable to create/update fields: {}.", read_only.join(", "));
            return Err(ApiError::bad_request("INVALID_FIELD_FOR_INSERT_UPDATE", message).with_fields(read_only));
        }
        let created = (utc(&org.clock.now_text()), user.to_string());
        Self::checked(definition, &changes, created, Uuid::new_v4().to_string(), &call.settings)
    }

    /// An event of typed values, its required fields, lengths and size checked. `created` is when and by whom.
    pub(crate) fn checked(
        definition: &Object,
        changes: &Changes,
        created: (String, String),
        uuid: String,
        settings: &Settings,
    ) -> Result<Self, ApiError> {
        let mut changes = changes.clone();
        for (ix, value) in &definition.defaults {
            if changes.get(*ix).is_none() {
                changes.set(*ix, value.clone());
            }
        }
        let changes = &changes;
        validation::check_lengths(definition, changes)?;
        let missing: Vec<&str> = definition
            .each_field()
            .filter(|(ix, field)| field.required && !changes.fills(Some(*ix)))
            .map(|(_, field)| field.name.as_str())
            .collect();
        if !missing.is_empty() {
            return Err(required(&missing));
        }
        let mut payload = Map::new();
        payload.insert("CreatedDate".into(), Value::String(created.0));
        payload.insert("CreatedById".into(), Value::String(created.1));
        for (ix, value) in changes.iter().filter(|(_, value)| !value.is_null()) {
            let field = definition.field(*ix);
            let value = match (field.kind, value.as_str()) {
                (FieldType::Datetime, Some(text)) => Value::String(utc(text)),
                _ => value.clone(),
            };
            payload.insert(field.name.clone(), value);
        }
        let size = payload.iter().map(|(name, value)| name.len() + value.as_str().map_or(8, str::len)).sum();
        if size > settings.event_max_bytes {
            return Err(too_large(settings.event_max_bytes));
        }
        Ok(Self { uuid, object: definition.name.clone(), payload, size, fate: Fate::Once })
    }
}

/// A value of an event's field. Empty text stays empty text ("Considerations for Publishing and Subscribing to
/// Platform Events with Apex and APIs").
pub(crate) fn read_value(field: &Field, value: &Value) -> Result<Value, ApiError> {
    let text = matches!(field.kind, FieldType::String | FieldType::Textarea);
    if text && value.as_str() == Some("") { Ok(value.clone()) } else { validation::read_value(field, value) }
}

/// The refusal of an event above the message size of the allocations. Its code is on no public page.
pub(crate) fn too_large(limit: usize) -> ApiError {
    let message = format!("The platform event message is larger than the maximum size of {limit} bytes.");
    ApiError::bad_request("LIMIT_EXCEEDED", message).with_fields([""; 0])
}

/// The refusal of an event beyond the hourly allocation ("Platform Event Error Status Codes").
pub(crate) fn over_hourly_limit() -> ApiError {
    ApiError::bad_request("LIMIT_EXCEEDED", "You have exceeded the event publishing limit for your org.")
        .with_fields([""; 0])
}

/// The refusal when the bus takes nothing ("Platform Event Error Status Codes").
pub(crate) fn unavailable() -> ApiError {
    ApiError::new(
        503,
        "PLATFORM_EVENT_PUBLISHING_UNAVAILABLE",
        "Publishing platform event messages failed due to a service being temporarily unavailable. Try again later.",
    )
    .with_fields([""; 0])
}

/// The refusal of a change to a published event: events are created and nothing else.
pub(crate) fn not_changeable(definition: &Object, verb: &str) -> ApiError {
    let message = format!("entity type cannot be {verb}: {}", definition.label);
    ApiError::bad_request("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message).with_fields([""; 0])
}

/// When an event of this definition is published: as the settings say, or else as its definition does.
pub(crate) fn behavior(definition: &Object, settings: &Settings) -> PublishedBy {
    match settings.publish_behavior {
        PublishBehavior::AfterCommit => PublishedBy::AfterCommit,
        PublishBehavior::Immediately => PublishedBy::Immediately,
        PublishBehavior::AsDefined => match definition.publish_behavior {
            Some(PublishBehavior::AfterCommit) => PublishedBy::AfterCommit,
            // Metadata API Developer Guide, "CustomObject": PublishImmediately is the default of publishBehavior.
            Some(PublishBehavior::Immediately | PublishBehavior::AsDefined) | None => PublishedBy::Immediately,
        },
    }
}

/// `/event/` and the event object's name.
pub(crate) fn topic(object: &str) -> String {
    format!("/event/{object}")
}

/// Subscribers read date-times with `Z`.
pub(crate) fn utc(text: &str) -> String {
    text.replace("+0000", "Z")
}
