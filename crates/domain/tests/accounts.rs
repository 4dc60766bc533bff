//! Whose Account it is, when an order's subscription leads to one.

use causeway_domain::envelope::{DecodeSettings, Envelope, Incoming};
use causeway_domain::event::OrderEvent;
use causeway_domain::mapping::may_own;
use causeway_domain::order::id::TenantId;
use serde_json::{Value, json};

fn order(customer: &Value) -> OrderEvent {
    let mut order = json!({ "order_type": "cancel_subscription", "order_reference": "R-1", "subscriptionRef": "S-1" });
    let fields = order.as_object_mut().expect("an object");
    fields.extend(customer.as_object().expect("an object").clone());
    let body = serde_json::to_vec(&order).expect("a body");
    let incoming = Incoming {
        body: &body,
        content_type: None,
        message_id: None,
        kind: None,
        timestamp: None,
        tenant: Some("acme"),
        event: None,
        trace_parent: None,
    };
    let settings = DecodeSettings { tenant: TenantId::parse("acme").expect("a name"), max_body_bytes: 1 << 20 };
    Envelope::decode(&incoming, &settings).and_then(OrderEvent::parse).expect("an order")
}

#[test]
fn an_account_that_a_subscription_leads_to_is_not_anothers() {
    let nobody = json!({});
    let bob = json!({ "owner": "id-bob" });
    let bob_by_mail = json!({ "owner": "id-bob", "userDetails": { "email": "Bob@Example.org" } });
    let guest = json!({ "userDetails": { "email": "Bob@Example.org" } });
    let table = [
        (&nobody, Some("id-ann"), true),
        (&bob, None, true),
        (&bob, Some("id-ann"), false),
        (&bob, Some("ID-BOB"), true),
        // Of another kind: an e-mail address says nothing against an identity.
        (&bob, Some("ann@example.org"), true),
        (&bob_by_mail, Some("ann@example.org"), false),
        (&bob_by_mail, Some("bob@example.org"), true),
        (&guest, Some("bob@example.org"), true),
        (&guest, Some("ann@example.org"), false),
        (&guest, Some("id-ann"), true),
    ];
    for (customer, external_id, expected) in table {
        assert_eq!(may_own(&order(customer).order, external_id), expected, "{customer} {external_id:?}");
    }
}

#[test]
fn a_subscription_is_no_name_of_a_customer_who_has_one() {
    let names = order(&json!({ "owner": "id-bob", "customerId": "cus-1" })).order.account_names();
    assert_eq!(names.own, ["owner:id-bob", "customer:cus-1"]);
    assert_eq!(names.together, ["subscription:S-1 of owner:id-bob"]);
    assert_eq!(names.subscription, ["subscription:S-1"]);
    assert_eq!(names.holders, ["identity:id-bob", "identity:cus-1"]);
    let twice = json!({ "owner": "id-bob", "userDetails": { "sub": "sub-bob" }, "customerId": "ID-bob" });
    assert_eq!(order(&twice).order.account_names().holders, ["identity:id-bob", "identity:sub-bob"]);
    let names = order(&json!({})).order.account_names();
    assert_eq!(
        (names.own.len(), names.together.len(), names.subscription),
        (0, 0, vec!["subscription:S-1".to_owned()])
    );
    assert!(names.holders.is_empty());
    let guest = order(&json!({ "userDetails": { "email": "Bob@Example.org" } }));
    assert_eq!(guest.order.account_names().holders, ["email:bob@example.org"]);
}
