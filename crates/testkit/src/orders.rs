//! Order bodies as Limio sends them, and variations of them.

use std::path::Path;

use domain::envelope::{DecodeSettings, Envelope, Incoming};
use domain::event::OrderEvent;
use domain::order::id::TenantId;
use queue::message::{Message, ORDER_ID, SEQUENCE_KEY};
use serde_json::{Value, json};

/// The tenant of every order here.
pub const TENANT: &str = "acme";

/// The `input` of one of the golden orders, by the beginning of its file's name, such as `05`.
///
/// # Panics
/// When there is no such file.
pub fn golden(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../domain/tests/golden");
    let mut files = std::fs::read_dir(&folder).expect("the golden orders are part of the project").flatten();
    let file = files
        .find(|file| file.file_name().to_string_lossy().starts_with(name))
        .unwrap_or_else(|| panic!("no golden order {name} in {}", folder.display()));
    let text = std::fs::read_to_string(file.path()).expect("a golden order can be read");
    let mut golden: Value = serde_json::from_str(&text).expect("a golden order is JSON");
    golden["input"].take()
}

/// A new order of the shop, in pounds. Customers differ in identity, name and address; orders of one customer in identity,
/// reference and date. `customer` is a word of letters.
pub fn new_order(customer: &str, number: u32) -> Value {
    let mut order = golden("01");
    let (name, reference) = (order_id(customer, number), reference(customer, number));
    order["id"] = json!(name);
    order["order_reference"] = json!(reference);
    order["checkoutId"] = json!(format!("basket-{customer}-{number}"));
    order["external_id"] = json!(format!("external-{customer}-{number}"));
    order["sub_reference"] = json!(format!("S-{customer}-{number}"));
    order["orderDate"] = json!(format!("2026-02-03T16:{:02}:{:02}.000Z", number / 60 % 60, number % 60));
    order["customerDetails"] =
        json!({ "firstName": "Nora", "lastName": surname(customer), "email": email(customer), "phone": "+15550100" });
    order["userDetails"]["sub"] = json!(identity(customer));
    order["userDetails"]["email"] = json!(email(customer));
    order
}

/// The identity of an order that [`new_order`] makes.
pub fn order_id(customer: &str, number: u32) -> String {
    let hash = customer.bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    format!("order-{hash:016x}{number:016x}")
}

/// The reference of an order that [`new_order`] makes.
pub fn reference(customer: &str, number: u32) -> String {
    format!("{customer}-{number}")
}

/// The identity of a customer; it is the lane of the customer's orders, and the Account's external id.
pub fn identity(customer: &str) -> String {
    format!("id-{customer}")
}

/// The last name of a customer: personal data that must not turn up where it does not belong.
pub fn surname(customer: &str) -> String {
    format!("Quist{customer}")
}

/// The e-mail address of a customer, in lower case.
pub fn email(customer: &str) -> String {
    format!("nora.{customer}@example.org")
}

/// An order as `ingest` hands it on: structured, without secrets, with its names in headers.
///
/// # Panics
/// When it is no order.
pub fn handed_on(order: &Value, message_id: &str) -> Message {
    let tenant = TenantId::parse(TENANT).expect("a tenant");
    let settings = DecodeSettings { tenant, max_body_bytes: 1 << 20 };
    let body = order.to_string().into_bytes();
    let incoming = Incoming {
        body: &body,
        content_type: None,
        message_id: Some(message_id),
        kind: None,
        timestamp: None,
        tenant: Some(TENANT),
        event: None,
        trace_parent: None,
    };
    let event = Envelope::decode(&incoming, &settings).and_then(OrderEvent::parse).expect("an order");
    Message {
        body: event.render().into(),
        id: event.message_id().to_owned(),
        kind: Some(event.envelope.kind.as_str().to_owned()),
        content_type: Some("application/cloudevents+json".to_owned()),
        headers: [
            (SEQUENCE_KEY.to_owned(), event.sequence_key().as_str().to_owned()),
            (ORDER_ID.to_owned(), event.order_id().as_str().to_owned()),
        ]
        .into(),
        ..Message::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_of_one_customer_share_a_lane_and_nothing_else() {
        let key = |order: &Value| handed_on(order, "m").headers[SEQUENCE_KEY].clone();
        let id = |order: &Value| handed_on(order, "m").headers[ORDER_ID].clone();
        let (first, second, other) = (new_order("one", 1), new_order("one", 2), new_order("two", 1));
        assert_eq!(key(&first), identity("one"));
        assert_eq!(key(&first), key(&second));
        assert_ne!(key(&first), key(&other));
        assert_eq!(id(&first), order_id("one", 1));
        assert!(id(&first) != id(&second) && id(&first) != id(&other));
    }
}
