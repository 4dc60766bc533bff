//! Every fixture under `golden/`: a message in, the order or the refusal out.
//!
//! A fixture is `{title, properties?, input, expect}`. `input` is the body as JSON (a JSON string for a body that is
//! one). `expect` holds facts of the order, of which it may name as few as matter; or `refused`; and it may compare with
//! another fixture by name: `same_fingerprint_as`, `reads_like`, `other_order_than`. `expect.plan` belongs to
//! `golden_plans.rs`.

use std::collections::BTreeMap;
use std::path::Path;

use causeway_domain::envelope::{DecodeSettings, Envelope, Incoming, Undecodable};
use causeway_domain::event::OrderEvent;
use causeway_domain::order::Order;
use causeway_domain::order::change::{AddressKind, Change, OrderType, UpdateAction};
use causeway_domain::order::id::{RecordId, TenantId};
use causeway_domain::order::item::Item;
use causeway_domain::order::moment::Moment;
use causeway_domain::order::money::Money;
use causeway_domain::order::party::Address;
use serde_json::{Map, Value, json};

fn fixtures() -> BTreeMap<String, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files = std::fs::read_dir(folder).expect("the folder of fixtures");
    let fixtures: BTreeMap<String, Value> = files
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("a readable fixture");
            (name, serde_json::from_str(&text).expect("a fixture in JSON"))
        })
        .collect();
    assert!(fixtures.len() >= 40, "only {} fixtures were found", fixtures.len());
    fixtures
}

fn settings() -> DecodeSettings {
    DecodeSettings { tenant: TenantId::parse("acme").expect("a name"), max_body_bytes: 1 << 20 }
}

fn read(fixture: &Value) -> Result<OrderEvent, Undecodable> {
    let property = |name: &str| fixture["properties"][name].as_str();
    let body = serde_json::to_vec(&fixture["input"]).expect("a body");
    let incoming = Incoming {
        body: &body,
        content_type: property("content_type"),
        message_id: property("message_id"),
        kind: property("type"),
        timestamp: fixture["properties"]["timestamp"].as_u64(),
        tenant: property("tenant"),
        event: property("event"),
        trace_parent: property("traceparent"),
    };
    OrderEvent::parse(Envelope::decode(&incoming, &settings())?)
}

fn moment(moment: Option<Moment>) -> Value {
    json!(moment.map(Moment::to_salesforce))
}

fn money(money: Option<&Money>) -> Value {
    money.map_or(
        Value::Null,
        |money| json!({"amount": money.amount.normalize().to_string(), "currency": money.currency}),
    )
}

fn record(id: Option<&RecordId>) -> Value {
    json!(id.map(RecordId::as_str))
}

fn address(address: Option<&Address>) -> Value {
    let Some(address) = address else { return Value::Null };
    json!({
        "first_name": address.first_name, "last_name": address.last_name, "email": address.email,
        "phone": address.phone, "company": address.company, "address1": address.address1,
        "address2": address.address2, "city": address.city, "state": address.state,
        "postal_code": address.postal_code, "country": address.country,
    })
}

fn item(item: &Item) -> Value {
    json!({
        "id": item.id, "quantity": item.quantity, "price": money(item.price.as_ref()),
        "price_summary": item.price_summary, "offer_id": item.offer_id, "offer_type": item.offer_type,
        "offer_display_name": item.offer_display_name, "display_price": item.display_price,
        "description": item.description, "term_units": item.term_units, "term_length": item.term_length,
        "product_code": item.product_code, "product_name": item.product_name,
    })
}

fn change(change: &Change) -> Value {
    match change {
        Change::New { is_gift, is_redemption } => json!({"is_gift": is_gift, "is_redemption": is_redemption}),
        Change::CancelSubscription { cancel_date } => json!({"cancel_date": moment(*cancel_date)}),
        Change::AddOffer { is_discount } => json!({"is_discount": is_discount}),
        Change::ChangePayment { payment_type } => json!({"payment_type": payment_type}),
        Change::ChangeAddress { kind, address: new } => {
            let kind = match kind {
                AddressKind::Billing => "billing",
                AddressKind::Delivery => "delivery",
                AddressKind::Both => "both",
            };
            json!({"kind": kind, "address": address(Some(new))})
        }
        Change::UpdateSubscription { updates } => {
            let update = |update: &causeway_domain::order::change::ItemUpdate| {
                let action = match update.action {
                    UpdateAction::Add => "add",
                    UpdateAction::Remove => "remove",
                    UpdateAction::Update => "update",
                };
                json!({"action": action, "kind": update.kind, "id": update.id, "quantity": update.quantity,
                       "effective_date": moment(update.effective_date)})
            };
            json!({"updates": updates.iter().map(update).collect::<Vec<_>>()})
        }
        Change::UpdateCustomerDetails { details } => json!({"details": details}),
        Change::PayInvoice { invoice_id } => json!({"invoice_id": invoice_id}),
        Change::DataCapture { data } => json!({"data": data}),
        Change::ChangeOffer
        | Change::AddCharge
        | Change::Renew
        | Change::GiftRefund
        | Change::Refund
        | Change::CancelIntent => json!({}),
    }
}

/// What the order says, without its names and its raw body.
fn content(order: &Order) -> Value {
    json!({
        "order_type": order.change.order_type().as_str(),
        "sequence_key": order.sequence_key.as_str(),
        "reference": order.reference, "external_id": order.external_id, "change_type": order.change_type,
        "owner": order.owner, "customer_id": order.customer_id,
        "user": {"sub": order.user.sub, "email": order.user.email, "external_sub": order.user.external_sub,
                 "crm_id": record(order.user.crm_id.as_ref())},
        "customer": {"first_name": order.customer.first_name, "last_name": order.customer.last_name,
                     "full_name": order.customer.full_name, "email": order.customer.email,
                     "phone": order.customer.phone, "company_name": order.customer.company_name,
                     "extra": order.customer.extra},
        "billing": address(order.billing.as_ref()), "delivery": address(order.delivery.as_ref()),
        "subscription": {"id": order.subscription.id, "reference": order.subscription.reference},
        "items": order.items.iter().map(item).collect::<Vec<_>>(),
        "total": money(order.total.as_ref()),
        "order_date": moment(order.order_date), "effective_date": moment(order.effective_date),
        "source": order.source, "initiated_source": order.initiated_source,
        "tracking": {"account_id": record(order.tracking.account_id.as_ref()),
                     "contact_id": record(order.tracking.contact_id.as_ref()),
                     "case_id": record(order.tracking.case_id.as_ref()),
                     "user_id": record(order.tracking.user_id.as_ref())},
        "gift_code": order.gift_code,
        "student": order.student.as_ref().map(|student| json!({"university": student.university,
            "course": student.course, "graduation_year": student.graduation_year})),
        "reason": order.reason.as_ref().map(|reason| json!({"id": reason.id, "feedback": reason.feedback})),
        "change": change(&order.change),
    })
}

fn facts(event: &OrderEvent) -> Value {
    let mut facts = content(&event.order);
    facts["order_id"] = json!(event.order_id().as_str());
    facts["message_id"] = json!(event.message_id());
    facts["kind"] = json!(event.envelope.kind.as_str());
    facts["time"] = moment(event.envelope.time);
    facts["trace_parent"] = json!(event.envelope.trace_parent);
    facts["extensions"] = json!(event.envelope.extensions);
    facts
}

fn refusal(refused: &Undecodable) -> Value {
    json!({
        "reason": refused.failure.reason.as_str(),
        "field": refused.failure.field,
        "message": refused.failure.message,
        "order_id": refused.order_id.as_ref().map(causeway_domain::order::id::OrderId::as_str),
        "sequence_key": refused.sequence_key.as_ref().map(causeway_domain::order::id::SequenceKey::as_str),
        "order_type": refused.order_type,
    })
}

/// Every fact that is expected must be there; more may be.
fn check(name: &str, path: &str, expected: &Value, found: &Value) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (key, value) in expected {
                let path = format!("{path}.{key}");
                let found = found.get(key).unwrap_or_else(|| panic!("{name}: expect{path} is not a fact there is"));
                check(name, &path, value, found);
            }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
                check(name, &format!("{path}[{index}]"), expected, found);
            }
        }
        (expected, found) => assert_eq!(found, expected, "{name}: expect{path}"),
    }
}

fn order_of(fixtures: &BTreeMap<String, Value>, name: &str) -> OrderEvent {
    let fixture = fixtures.get(name).unwrap_or_else(|| panic!("no fixture {name}"));
    read(fixture).unwrap_or_else(|refused| panic!("{name}: {refused}"))
}

#[test]
#[should_panic(expected = "a fixture: expect.items.offer_ic is not a fact there is")]
fn an_expectation_under_a_misspelt_name_is_found_even_when_it_is_null() {
    let expected = json!({"items": {"offer_ic": null}});
    check("a fixture", "", &expected, &json!({"items": {"offer_id": null}}));
}

#[test]
fn every_fixture_reads_as_it_says() {
    let fixtures = fixtures();
    for (name, fixture) in &fixtures {
        let mut expected: Map<String, Value> = fixture["expect"].as_object().expect("expectations").clone();
        expected.remove("plan");
        if let Some(refused) = expected.get("refused") {
            let found = match read(fixture) {
                Ok(event) => panic!("{name} was read as {:?}", event.order_type()),
                Err(refused) => refusal(&refused),
            };
            check(name, ".refused", refused, &found);
            continue;
        }
        let event = order_of(&fixtures, name);
        for relation in ["same_fingerprint_as", "reads_like", "other_order_than"] {
            let Some(other) = expected.remove(relation) else { continue };
            let other = order_of(&fixtures, other.as_str().expect("a fixture's name"));
            match relation {
                "same_fingerprint_as" => {
                    assert_eq!(event.order_id(), other.order_id(), "{name}");
                    assert_eq!(event.fingerprint(), other.fingerprint(), "{name}");
                }
                "reads_like" => assert_eq!(content(&event.order), content(&other.order), "{name}"),
                _ => assert_ne!(event.order_id(), other.order_id(), "{name}"),
            }
        }
        check(name, "", &Value::Object(expected), &facts(&event));
    }
}

#[test]
fn what_is_rendered_parses_to_the_same_event() {
    for (name, fixture) in fixtures() {
        let Ok(event) = read(&fixture) else { continue };
        let body = event.render();
        let incoming =
            Incoming { body: &body, content_type: Some("application/cloudevents+json"), ..Incoming::default() };
        let envelope = Envelope::decode(&incoming, &settings()).unwrap_or_else(|refused| panic!("{name}: {refused}"));
        assert_eq!(OrderEvent::parse(envelope).unwrap_or_else(|refused| panic!("{name}: {refused}")), event, "{name}");
        let rendered: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(rendered["subject"], event.order_id().as_str(), "{name}");
        assert_eq!(rendered["sequencekey"], event.sequence_key().as_str(), "{name}");
        assert_eq!(rendered["source"], "/limio/acme", "{name}");
    }
}

#[test]
fn no_rendered_order_holds_a_payment_secret() {
    for (name, fixture) in fixtures() {
        let Ok(event) = read(&fixture) else { continue };
        let text = String::from_utf8(event.render()).expect("text");
        for secret in ["invented-token", "another-token", "invented-signature", "03AGdBq2"] {
            assert!(!text.contains(secret), "{name} still holds {secret}");
        }
    }
}

#[test]
fn there_is_a_fixture_for_every_order_type() {
    let fixtures = fixtures();
    for order_type in OrderType::ALL {
        let found = fixtures.values().any(|fixture| fixture["expect"]["order_type"] == order_type.as_str());
        assert!(found, "no fixture reads as {}", order_type.as_str());
    }
}

#[test]
fn no_refusal_repeats_what_a_customer_typed() {
    for (name, fixture) in fixtures() {
        let Err(refused) = read(&fixture) else { continue };
        let words = refused.failure.to_string();
        for typed in ["Nora", "Quist", "example.org", "Harbor", "Found another plan", "holiday", "1e3"] {
            assert!(!words.contains(typed), "{name}: {words}");
        }
    }
}
