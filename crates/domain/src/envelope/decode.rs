//! From bytes to an [`Envelope`].

use serde_json::error::Category;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{DecodeSettings, Envelope, EventKind, Incoming, MAX_DEPTH, Undecodable, base64};
use crate::failure::{Failure, Reason};
use crate::order::id::TenantId;
use crate::order::identity;
use crate::order::moment::Moment;
use crate::order::read::{shape, shown};

/// How often a JSON string that holds JSON is opened.
const MAX_STRINGS: u8 = 2;

/// Attributes that [`Envelope`] has fields for, or that rendering computes anew.
const USED: [&str; 13] = [
    "specversion",
    "id",
    "type",
    "source",
    "subject",
    "time",
    "datacontenttype",
    "sequencekey",
    "traceparent",
    "attempt",
    "causewayversion",
    "data",
    "data_base64",
];

/// What the message says beside its object.
#[derive(Default)]
struct Attributes {
    id: Option<String>,
    kind: Option<String>,
    tenant: Option<String>,
    subject: Option<String>,
    time: Option<Moment>,
    trace_parent: Option<String>,
    attempt: Option<u32>,
    extensions: Map<String, Value>,
}

pub(super) fn decode(incoming: &Incoming<'_>, settings: &DecodeSettings) -> Result<Envelope, Undecodable> {
    let content_type = incoming.content_type.unwrap_or_default().trim().to_ascii_lowercase();
    if content_type.starts_with("application/cloudevents-batch") {
        let message = "the message is a batch of CloudEvents; send each event as a message of its own";
        return Err(Failure::permanent(Reason::NotAnOrder, message).into());
    }
    let mut strings = MAX_STRINGS;
    let body = object(read_body(incoming.body, settings)?, "the body", &mut strings)?;
    let structured = content_type.starts_with("application/cloudevents")
        || body.contains_key("specversion") && (body.contains_key("data") || body.contains_key("data_base64"));
    let (attributes, data) = if structured {
        structured_event(body, incoming, settings, &mut strings)?
    } else if body.contains_key("v") && body.contains_key("body") {
        wrapper(body, &mut strings)?
    } else {
        (Attributes::default(), body)
    };
    let data = limio_object(data, &mut strings)?;
    let known = |failure| identity::undecodable(failure, &data, attributes.subject.as_deref());
    let tenant = tenant(&[attributes.tenant.as_deref(), incoming.tenant], settings)
        .map_err(|failure| foreign(known(failure)))?;
    if depth(&data) > MAX_DEPTH {
        let message = format!("the object nests deeper than {MAX_DEPTH} levels");
        return Err(known(Failure::permanent(Reason::UnreadableJson, message)));
    }
    let kind = attributes.kind.as_deref().or(incoming.event.and_then(filled)).or(incoming.kind.and_then(filled));
    let id = attributes
        .id
        .as_deref()
        .or(incoming.message_id.and_then(filled))
        .map_or_else(|| format!("sha256-{}", identity::hex(&Sha256::digest(incoming.body))), identity::bounded);
    let sent = incoming.timestamp.and_then(Moment::from_seconds);
    Ok(Envelope {
        id,
        kind: EventKind::parse(kind.unwrap_or(EventKind::ORDER_SUBMITTED)),
        tenant,
        subject: attributes.subject,
        time: attributes.time.or(sent),
        trace_parent: attributes.trace_parent.or_else(|| incoming.trace_parent.and_then(trace_parent)),
        attempt: attributes.attempt,
        data,
        extensions: attributes.extensions,
    })
}

/// The body's JSON.
fn read_body(body: &[u8], settings: &DecodeSettings) -> Result<Value, Failure> {
    if body.len() > settings.max_body_bytes {
        let message = format!("the body has {} bytes; the limit is {}", body.len(), settings.max_body_bytes);
        return Err(Failure::permanent(Reason::BodyTooLarge, message));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        let message = format!("the body is not UTF-8 from byte {} on", error.valid_up_to());
        Failure::permanent(Reason::InvalidUtf8, message)
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(Failure::permanent(Reason::UnreadableJson, "the body is empty"));
    }
    read_json(text, "the body")
}

fn read_json(text: &str, place: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = match error.classify() {
            Category::Eof => format!("{place} ends too early, at line {line} column {column}"),
            // The text is the library's own and fixed; the kind of the error is not exposed in another way.
            Category::Syntax if error.to_string().starts_with("recursion limit") => {
                format!("{place} nests too deeply, at line {line} column {column}")
            }
            Category::Syntax | Category::Data | Category::Io => {
                format!("{place} is not JSON at line {line} column {column}")
            }
        };
        Failure::permanent(Reason::UnreadableJson, message)
    })
}

/// The object, taken out of JSON strings as long as `strings` allows.
fn object(mut value: Value, place: &str, strings: &mut u8) -> Result<Map<String, Value>, Failure> {
    loop {
        match value {
            Value::Object(map) => return Ok(map),
            Value::String(text) if *strings > 0 && looks_like_json(&text) => {
                *strings -= 1;
                value = read_json(&text, &format!("the JSON inside the string in {place}"))?;
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                let message = format!("{place} must be a JSON object; it is {}", shape(&value));
                return Err(Failure::permanent(Reason::NotAnOrder, message));
            }
        }
    }
}

fn looks_like_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '"'])
}

/// `CloudEvents` 1.0, JSON event format.
fn structured_event(
    mut event: Map<String, Value>,
    incoming: &Incoming<'_>,
    settings: &DecodeSettings,
    strings: &mut u8,
) -> Result<(Attributes, Map<String, Value>), Undecodable> {
    let data = match (event.remove("data"), event.remove("data_base64")) {
        (Some(data), _) if !data.is_null() => object(data, "data", strings)?,
        (_, Some(Value::String(text))) => {
            let bytes = base64::decode(&text).and_then(|bytes| String::from_utf8(bytes).ok());
            let text = bytes.ok_or_else(|| invalid("data_base64", "must be base64 of UTF-8 text"))?;
            object(read_json(&text, "data_base64")?, "data_base64", strings)?
        }
        _ => return Err(missing("data", "a CloudEvent must carry data").into()),
    };
    let subject = text(&event, "subject");
    let known = |failure| identity::undecodable(failure, &data, subject.as_deref());
    // Whose it is comes first: what else is wrong with another tenant's event must not put it into a lane of ours.
    let source = text(&event, "source").map(|source| tenant_of_source(&source)).transpose();
    let named = source.as_ref().ok().and_then(Option::as_deref);
    tenant(&[named, incoming.tenant], settings).map_err(|failure| foreign(known(failure)))?;
    match text(&event, "specversion").as_deref() {
        Some("1.0") => {}
        Some(_) => return Err(known(invalid("specversion", "must be 1.0"))),
        None => return Err(known(missing("specversion", "a CloudEvent must have a specversion"))),
    }
    let Some(kind) = text(&event, "type") else {
        return Err(known(missing("type", "a CloudEvent must have a type")));
    };
    let attributes = Attributes {
        id: text(&event, "id"),
        kind: Some(kind),
        tenant: source.map_err(known)?,
        subject,
        time: text(&event, "time").and_then(|time| Moment::parse(&time)),
        trace_parent: text(&event, "traceparent").as_deref().and_then(trace_parent),
        attempt: event.get("attempt").and_then(Value::as_u64).and_then(|attempt| u32::try_from(attempt).ok()),
        extensions: event.into_iter().filter(|(name, _)| !USED.contains(&name.as_str())).collect(),
    };
    Ok((attributes, data))
}

/// The frame of an HTTP receiver: `v`, `tenant`, `event`, `received_at`, `object_id`, `body`.
fn wrapper(mut frame: Map<String, Value>, strings: &mut u8) -> Result<(Attributes, Map<String, Value>), Undecodable> {
    let body = frame.remove("body").unwrap_or_default();
    let data = object(body, "body", strings)?;
    let attributes = Attributes {
        id: text(&frame, "id"),
        kind: text(&frame, "event"),
        tenant: text(&frame, "tenant"),
        subject: text(&frame, "object_id"),
        time: text(&frame, "received_at").and_then(|time| Moment::parse(&time)),
        trace_parent: text(&frame, "traceparent").as_deref().and_then(trace_parent),
        ..Attributes::default()
    };
    Ok((attributes, data))
}

/// The order inside what was sent: taken out of a record's frame, or of a `data` or `body` that holds it.
fn limio_object(mut map: Map<String, Value>, strings: &mut u8) -> Result<Map<String, Value>, Failure> {
    if map.contains_key("order_type") || map.contains_key("orderItems") {
        return Ok(map);
    }
    if map.get("record_type").and_then(Value::as_str) == Some("order") && map.get("data").is_some_and(holds_object) {
        let data = object(map.remove("data").unwrap_or_default(), "data", strings)?;
        return Ok(unframe(map, data));
    }
    for key in ["data", "body"] {
        let holds_order = match map.get(key) {
            Some(Value::Object(inner)) => inner.contains_key("order_type") || inner.contains_key("orderItems"),
            Some(Value::String(text)) => looks_like_json(text),
            _ => false,
        };
        if holds_order {
            return object(map.remove(key).unwrap_or_default(), key, strings);
        }
    }
    Ok(map)
}

fn holds_object(value: &Value) -> bool {
    value.is_object() || value.as_str().is_some_and(looks_like_json)
}

/// A stored order: the record's own keys join the order's, where the order does not have them.
fn unframe(frame: Map<String, Value>, mut order: Map<String, Value>) -> Map<String, Value> {
    for (name, value) in frame {
        match name.as_str() {
            "id" if value.as_str().is_some_and(identity::is_order_id) => {
                order.insert(name, value);
            }
            "reference" => {
                order.entry("order_reference").or_insert(value);
            }
            _ => {
                order.entry(name).or_insert(value);
            }
        }
    }
    order
}

/// The tenant that every named one agrees with; the fleet's own where none is named.
fn tenant(named: &[Option<&str>], settings: &DecodeSettings) -> Result<TenantId, Failure> {
    for name in named.iter().flatten().filter_map(|name| filled(name)) {
        if name != settings.tenant.as_str() {
            let message =
                format!("the message belongs to tenant {}; this fleet serves {}", shown(name), settings.tenant);
            return Err(Failure::permanent(Reason::WrongTenant, message).at("tenant"));
        }
    }
    Ok(settings.tenant.clone())
}

/// Another tenant's order has no lane here: a customer of ours may go by the same name.
fn foreign(undecodable: Undecodable) -> Undecodable {
    Undecodable { sequence_key: None, ..undecodable }
}

/// `/limio/{tenant}`, or the tenant's own Limio host, whose first label is the tenant.
fn tenant_of_source(source: &str) -> Result<String, Failure> {
    let tenant = match source.strip_prefix("/limio/") {
        Some(rest) => rest.split('/').next(),
        None => source
            .strip_prefix("https://")
            .and_then(|rest| rest.split('/').next())
            .filter(|host| host.ends_with(".limio.com"))
            .and_then(|host| host.split('.').next()),
    };
    tenant.and_then(filled).map(str::to_owned).ok_or_else(|| invalid("source", "must be /limio/{tenant}"))
}

fn text(map: &Map<String, Value>, name: &str) -> Option<String> {
    map.get(name).and_then(Value::as_str).and_then(filled).map(str::to_owned)
}

fn filled(text: &str) -> Option<&str> {
    let text = text.trim();
    (!text.is_empty()).then_some(text)
}

/// A W3C trace context `version-trace-parent-flags`; anything else is absent (Trace Context, Processing Model).
fn trace_parent(text: &str) -> Option<String> {
    let text = text.trim();
    let sizes: Vec<usize> = text.split('-').map(str::len).collect();
    let hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    (hex && sizes == [2, 32, 16, 2]).then(|| text.to_owned())
}

fn missing(field: &str, rule: &str) -> Failure {
    Failure::permanent(Reason::MissingField, format!("{field} is missing: {rule}")).at(field)
}

fn invalid(field: &str, rule: &str) -> Failure {
    Failure::permanent(Reason::InvalidValue, format!("{field} {rule}")).at(field)
}

/// Levels of nesting; a flat object has one. The reader has bounded it already, so this recursion is safe.
fn depth(map: &Map<String, Value>) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::Object(map) => depth(map),
            Value::Array(items) => 1 + items.iter().map(of).max().unwrap_or(0),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        }
    }
    1 + map.values().map(of).max().unwrap_or(0)
}
