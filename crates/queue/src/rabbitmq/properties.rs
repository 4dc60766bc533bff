//! A message's properties and headers, to and from AMQP.

use std::collections::BTreeMap;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::connect::short;
use crate::message::Message;

const PERSISTENT: u8 = 2;

/// The header in which the broker gives a stream entry's offset.
pub(super) const STREAM_OFFSET: &str = "x-stream-offset";

/// Headers that the broker sets on what it delivers. They belong to the delivery, not to the message, and would be wrong
/// on a message that is published again.
const OF_THE_BROKER: [&str; 4] = [STREAM_OFFSET, "x-delivery-count", "x-acquired-count", "x-acquired-at"];

/// Headers to which the broker gives a meaning, and a type other than text: it would close the channel.
const REFUSED: [&str; 3] = ["CC", "BCC", "x-death"];

/// What one content header may take. RabbitMQ closes the connection on one that does not fit a frame; frames hold
/// 128 KiB unless configured otherwise.
const HEADER_BYTES: usize = 120 * 1024;

/// Properties for a message; `app_id` is used when it has none. `None` when they do not fit a frame.
pub(super) fn encode(message: &Message, app_id: &str) -> Option<BasicProperties> {
    let size: usize = message.headers.iter().map(|(name, value)| name.len() + value.len() + 6).sum();
    if size > HEADER_BYTES {
        return None;
    }
    let mut headers = FieldTable::default();
    for (name, value) in &message.headers {
        if !REFUSED.contains(&name.as_str()) {
            headers.insert(short(name), AMQPValue::LongString(value.as_str().into()));
        }
    }
    let mut properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_app_id(short(message.app_id.as_deref().unwrap_or(app_id)))
        .with_headers(headers);
    if !message.id.is_empty() {
        properties = properties.with_message_id(short(&message.id));
    }
    if let Some(kind) = &message.kind {
        properties = properties.with_type(short(kind));
    }
    if let Some(content_type) = &message.content_type {
        properties = properties.with_content_type(short(content_type));
    }
    if let Some(timestamp) = message.timestamp {
        properties = properties.with_timestamp(timestamp);
    }
    Some(properties)
}

/// The message in a delivery, and its offset if it came from a stream. Whatever a publisher sent becomes a message.
pub(super) fn decode(properties: &BasicProperties, body: Vec<u8>) -> (Message, Option<u64>) {
    let text = |value: &Option<ShortString>| value.as_ref().map(|value| value.as_str().to_owned());
    let mut headers = BTreeMap::new();
    let mut offset = None;
    for (name, value) in properties.headers().iter().flatten() {
        if name.as_str() == STREAM_OFFSET {
            offset = integer(value).and_then(|offset| u64::try_from(offset).ok());
        }
        if !OF_THE_BROKER.contains(&name.as_str())
            && let Some(value) = as_text(value)
        {
            headers.insert(name.as_str().to_owned(), value);
        }
    }
    let message = Message {
        body: body.into(),
        id: text(properties.message_id()).unwrap_or_default(),
        kind: text(properties.kind()),
        content_type: text(properties.content_type()),
        timestamp: *properties.timestamp(),
        app_id: text(properties.app_id()),
        headers,
    };
    (message, offset)
}

fn integer(value: &AMQPValue) -> Option<i128> {
    match value {
        AMQPValue::ShortShortInt(value) => Some((*value).into()),
        AMQPValue::ShortShortUInt(value) => Some((*value).into()),
        AMQPValue::ShortInt(value) => Some((*value).into()),
        AMQPValue::ShortUInt(value) => Some((*value).into()),
        AMQPValue::LongInt(value) => Some((*value).into()),
        AMQPValue::LongUInt(value) => Some((*value).into()),
        AMQPValue::LongLongInt(value) => Some((*value).into()),
        AMQPValue::Timestamp(value) => Some((*value).into()),
        AMQPValue::Boolean(_)
        | AMQPValue::Float(_)
        | AMQPValue::Double(_)
        | AMQPValue::DecimalValue(_)
        | AMQPValue::ShortString(_)
        | AMQPValue::LongString(_)
        | AMQPValue::FieldArray(_)
        | AMQPValue::FieldTable(_)
        | AMQPValue::ByteArray(_)
        | AMQPValue::Void => None,
    }
}

fn as_text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::ShortString(value) => Some(value.as_str().to_owned()),
        AMQPValue::LongString(value) => Some(String::from_utf8_lossy(value.as_bytes()).into_owned()),
        AMQPValue::ByteArray(value) => Some(String::from_utf8_lossy(value.as_slice()).into_owned()),
        AMQPValue::Boolean(value) => Some(value.to_string()),
        AMQPValue::Float(value) => Some(value.to_string()),
        AMQPValue::Double(value) => Some(value.to_string()),
        AMQPValue::ShortShortInt(_)
        | AMQPValue::ShortShortUInt(_)
        | AMQPValue::ShortInt(_)
        | AMQPValue::ShortUInt(_)
        | AMQPValue::LongInt(_)
        | AMQPValue::LongUInt(_)
        | AMQPValue::LongLongInt(_)
        | AMQPValue::Timestamp(_) => integer(value).map(|value| value.to_string()),
        AMQPValue::DecimalValue(_) | AMQPValue::FieldArray(_) | AMQPValue::FieldTable(_) | AMQPValue::Void => None,
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldArray;

    use super::*;

    #[test]
    fn a_message_comes_back_as_it_went() {
        let message = Message {
            body: vec![0xFF, 0x00, 0xC3].into(),
            id: "m-1".into(),
            kind: Some("com.limio.order.submitted".into()),
            content_type: Some("application/json".into()),
            timestamp: Some(1_790_000_000),
            app_id: Some("limio".into()),
            headers: [("sequencekey".to_owned(), "é".to_owned()), ("empty".to_owned(), String::new())].into(),
        };
        let properties = encode(&message, "causeway").expect("it fits");
        assert_eq!(*properties.delivery_mode(), Some(2));
        assert_eq!(decode(&properties, message.body.to_vec()), (message, None));
    }

    #[test]
    fn headers_of_any_type_become_text_or_are_left_out() {
        let mut headers = FieldTable::default();
        headers.insert("flag".into(), AMQPValue::Boolean(true));
        headers.insert("small".into(), AMQPValue::ShortShortInt(-3));
        headers.insert("long".into(), AMQPValue::LongLongInt(1 << 40));
        headers.insert("bytes".into(), AMQPValue::LongString(vec![b'a', 0xFF].into()));
        headers.insert("nested".into(), AMQPValue::FieldArray(FieldArray::default()));
        headers.insert("nothing".into(), AMQPValue::Void);
        headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(2));
        headers.insert(STREAM_OFFSET.into(), AMQPValue::LongLongInt(41));
        let (message, offset) = decode(&BasicProperties::default().with_headers(headers), Vec::new());
        let expected = [("flag", "true"), ("small", "-3"), ("long", "1099511627776"), ("bytes", "a\u{FFFD}")];
        assert_eq!(message.headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert_eq!(offset, Some(41));
    }

    #[test]
    fn headers_that_would_end_the_connection_are_not_sent() {
        let with =
            |name: &str, value: String| Message { headers: [(name.to_owned(), value)].into(), ..Message::default() };
        assert_eq!(encode(&with("a", "x".repeat(HEADER_BYTES)), ""), None);
        let properties = encode(&with("CC", "elsewhere".into()), "").expect("it fits");
        assert_eq!(*properties.headers(), Some(FieldTable::default()));
    }

    #[test]
    fn an_identity_that_is_too_long_for_amqp_is_cut() {
        let message = Message { id: "x".repeat(300), ..Message::default() };
        let properties = encode(&message, "").expect("it fits");
        assert_eq!(properties.message_id().as_ref().map(|id| id.as_str().len()), Some(255));
    }
}
