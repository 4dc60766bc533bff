//! Who an order is, and whose.
//!
//! Both are read without judging the rest, so that an order that is refused can still be named. A number is a name, by its
//! digits, as parsing reads it. What is neither text nor number is passed over here.
//!
//! # Identity
//!
//! | | From | Note |
//! |---|---|---|
//! | 1 | `id` | `order-` and 32 hex digits |
//! | 2 | the envelope's `subject` | when it has that form |
//! | 3 | `order_reference` | the human reference |
//! | 4 | `checkoutId` | the basket |
//! | 5 | `sha256-<hex>` | a digest of the whole order: the same words are the same order |
//!
//! Never `external_id`: Limio's self-service puts the subscription's id there.
//!
//! # Sequence key
//!
//! | | From | Names |
//! |---|---|---|
//! | 1 | `owner` | the identity |
//! | 2 | `userDetails.sub` | the identity |
//! | 3 | `customerId`, `customer_id`, `customer`, `tracking.customerId` | the customer |
//! | 4 | `forSubscription.id`, `subscriptionId`, `subId` | the subscription |
//! | 5 | `forSubscription.name`, `subscriptionRef`, `subRef`, `subscriptionReference`, `sub_reference` | the subscription |
//! | 6 | `customerDetails.email`, `userDetails.email`, `billingDetails.email`, the first with an `@` | the person, in lower case |
//! | 7 | the order's identity | nobody: no other order shares its lane |
//!
//! The subscription stands before the e-mail address, so a shop order (`sub_reference`) and the first change of its
//! subscription share a lane even where neither names an identity.

use std::borrow::Cow;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::envelope::Undecodable;
use crate::failure::Failure;
use crate::fingerprint;
use crate::order::SubscriptionName;
use crate::order::id::{Fingerprint, OrderId, SequenceKey};
use crate::order::read::is_technical;

/// The longest name in bytes: it travels as an AMQP short string and inside Redis keys.
const MAX_NAME: usize = 128;

/// Whether the text is `order-` and 32 hex digits.
pub(crate) fn is_order_id(text: &str) -> bool {
    text.strip_prefix("order-").is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The identity of an order. `digest`, [`fingerprint::naming`], is computed only where nothing better is there.
pub(crate) fn order_id<'a>(
    order: &'a Map<String, Value>,
    subject: Option<&'a str>,
    digest: impl FnOnce() -> Fingerprint,
) -> OrderId {
    let named = text(order, &["id"]).filter(|id| is_order_id(id));
    let name = named
        .or_else(|| subject.map(str::trim).filter(|subject| is_order_id(subject)).map(Cow::Borrowed))
        .or_else(|| text(order, &["order_reference"]))
        .or_else(|| text(order, &["checkoutId"]));
    let name = name.map_or_else(|| format!("sha256-{}", digest()), |name| bounded(&name));
    OrderId::parse(&name).expect("every candidate has characters that are not blank")
}

/// The lane of an order.
pub(crate) fn sequence_key(order: &Map<String, Value>, order_id: &OrderId) -> SequenceKey {
    let key = text(order, &["owner"])
        .or_else(|| text(order, &["userDetails", "sub"]))
        .or_else(|| customer_id(order))
        .map(|name| bounded(&name))
        .or_else(|| subscription(order).best().map(bounded))
        .or_else(|| email(order).map(|email| bounded(&email.to_lowercase())));
    SequenceKey::parse(key.as_deref().unwrap_or(order_id.as_str()))
        .expect("every candidate has characters that are not blank")
}

/// The customer id, in any spelling.
pub(crate) fn customer_id(order: &Map<String, Value>) -> Option<Cow<'_, str>> {
    text(order, &["customerId"])
        .or_else(|| text(order, &["customer_id"]))
        .or_else(|| text(order, &["customer"]))
        .or_else(|| text(order, &["tracking", "customerId"]))
}

/// How the order names its subscription.
pub(crate) fn subscription(order: &Map<String, Value>) -> SubscriptionName {
    let first = |paths: &[&[&str]]| paths.iter().find_map(|path| text(order, path)).map(Cow::into_owned);
    SubscriptionName {
        id: first(&[&["forSubscription", "id"], &["subscriptionId"], &["subId"]]),
        reference: first(&[
            &["forSubscription", "name"],
            &["subscriptionRef"],
            &["subRef"],
            &["subscriptionReference"],
            &["sub_reference"],
        ]),
    }
}

/// The `order_type` as it was sent.
pub(crate) fn order_type(order: &Map<String, Value>) -> Option<&str> {
    order.get("order_type").and_then(Value::as_str).map(str::trim).filter(|name| !name.is_empty())
}

/// Whether an e-mail address may name a customer. What has no `@` may be anything, a person's name for instance, and could
/// not be told from a technical name afterwards.
pub(crate) fn is_email(text: &str) -> bool {
    text.contains('@')
}

fn email(order: &Map<String, Value>) -> Option<Cow<'_, str>> {
    let places = ["customerDetails", "userDetails", "billingDetails"].into_iter();
    places.filter_map(|place| text(order, &[place, "email"])).find(|email| is_email(email))
}

/// Names what is refused, as far as it can be named. Something that is no order stays nameless, so that it blocks
/// nobody's lane.
pub(crate) fn undecodable(failure: Failure, data: &Map<String, Value>, subject: Option<&str>) -> Undecodable {
    let order_type = order_type(data);
    let is_named =
        text(data, &["order_reference"]).is_some() || text(data, &["id"]).as_deref().is_some_and(is_order_id);
    if order_type.is_none() && !data.contains_key("orderItems") && !is_named {
        return Undecodable::unknown(failure);
    }
    let order_id = order_id(data, subject, || {
        let mut stripped = data.clone();
        crate::secrets::strip(&mut stripped);
        fingerprint::naming(&stripped)
    });
    Undecodable {
        failure,
        sequence_key: Some(sequence_key(data, &order_id)),
        order_id: Some(order_id),
        order_type: order_type.filter(|name| is_technical(name)).map(str::to_owned),
    }
}

/// The text itself where it may travel as a name; the digest of it where it is too long, holds control characters, or holds
/// `@{`: the name becomes an external id, and a composite graph takes that for a reference.
pub(crate) fn bounded(text: &str) -> String {
    if text.len() <= MAX_NAME && !text.chars().any(char::is_control) && !text.contains("@{") {
        text.to_owned()
    } else {
        format!("sha256-{}", hex(&Sha256::digest(text)))
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn text<'a>(order: &'a Map<String, Value>, path: &[&str]) -> Option<Cow<'a, str>> {
    let (last, parents) = path.split_last()?;
    let parent = parents.iter().try_fold(order, |map, key| map.get(*key)?.as_object())?;
    match parent.get(*last)? {
        Value::String(text) => Some(text.trim()).filter(|text| !text.is_empty()).map(Cow::Borrowed),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "order-9c1cfe3b9e91eca23d6b87f5c9277d0f";

    fn id_of(order: &Value, subject: Option<&str>) -> String {
        let order = order.as_object().expect("an object");
        order_id(order, subject, || fingerprint::naming(order)).as_str().to_owned()
    }

    fn key_of(order: &Value) -> String {
        let order = order.as_object().expect("an object");
        sequence_key(order, &OrderId::parse("the-order").expect("a name")).as_str().to_owned()
    }

    #[test]
    fn the_identity_comes_from_the_strongest_name() {
        let mut order =
            json!({"id": ID, "order_reference": "UJZDE8GXD6NC", "checkoutId": "basket-1", "external_id": "x"});
        assert_eq!(id_of(&order, Some("order-00000000000000000000000000000000")), ID);
        order["id"] = json!("3f10dbe8-4cbd-5e31-9b1f-af0cb9dda9cf");
        assert_eq!(id_of(&order, Some(ID)), ID);
        assert_eq!(id_of(&order, Some("something")), "UJZDE8GXD6NC");
        order["order_reference"] = json!("");
        assert_eq!(id_of(&order, None), "basket-1");
        order["checkoutId"] = json!(null);
        assert!(id_of(&order, None).starts_with("sha256-"));
    }

    #[test]
    fn an_external_id_alone_never_names_an_order() {
        let twins = ["billing", "delivery"].map(|kind| {
            json!({"order_type": "change_address", "type": kind, "external_id": "sub-1", "forSubscription": {"id": "sub-1"}})
        });
        let [billing, delivery] = twins.map(|order| id_of(&order, None));
        assert_ne!(billing, delivery);
    }

    #[test]
    fn the_sequence_key_comes_from_the_strongest_name() {
        let mut order = json!({
            "order_type": "cancel_subscription", "owner": "id-1", "userDetails": {"sub": "id-2", "email": "User@Example.org"},
            "customer": "cus-1", "forSubscription": {"id": "sub-1", "name": "REF1"}, "subscriptionId": "sub-2",
            "customerDetails": {"email": "Nora@Example.org"},
        });
        let names = [
            ("/owner", "id-1"),
            ("/userDetails/sub", "id-2"),
            ("/customer", "cus-1"),
            ("/forSubscription/id", "sub-1"),
            ("/subscriptionId", "sub-2"),
            ("/forSubscription/name", "REF1"),
            ("/customerDetails/email", "nora@example.org"),
            ("/userDetails/email", "user@example.org"),
        ];
        for (pointer, expected) in names {
            assert_eq!(key_of(&order), expected);
            *order.pointer_mut(pointer).expect("a field") = json!("");
        }
        assert_eq!(key_of(&order), "the-order");
    }

    #[test]
    fn a_number_is_a_name_by_its_digits() {
        assert_eq!(id_of(&json!({"order_reference": 777}), None), "777");
        for order in [
            json!({"owner": 77}),
            json!({"userDetails": {"sub": 77}}),
            json!({"customerId": 77}),
            json!({"forSubscription": {"id": 77}}),
            json!({"subscriptionRef": 77}),
        ] {
            assert_eq!(key_of(&order), "77", "{order}");
        }
        assert_eq!(key_of(&json!({"owner": true, "subId": "sub-1"})), "sub-1");
    }

    #[test]
    fn an_e_mail_field_without_an_address_names_nobody() {
        let mut order =
            json!({"customerDetails": {"email": "Nora Quist"}, "billingDetails": {"email": "N@example.org"}});
        assert_eq!(key_of(&order), "n@example.org");
        order["billingDetails"]["email"] = json!("");
        assert_eq!(key_of(&order), "the-order");
    }

    #[test]
    fn a_name_that_could_not_travel_is_replaced_by_its_digest() {
        assert_eq!(bounded("a name"), "a name");
        for text in ["x".repeat(129), "a\nb".to_owned(), "@{account.id}".to_owned()] {
            assert!(bounded(&text).starts_with("sha256-") && bounded(&text).len() == 71);
        }
    }
}
