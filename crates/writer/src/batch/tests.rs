use domain::config::OrderProcessing;
use domain::envelope::{DecodeSettings, Envelope};
use domain::event::OrderEvent;
use domain::mapping;
use domain::order::id::TenantId;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn plan(text: &str) -> WritePlan {
    let account = Effect {
        reference: Reference::Account,
        write: Write::Upsert { object: "Account".into(), field: "LimioId__c".into(), value: "id-1".into() },
        fields: vec![("LastName".into(), FieldValue::Json(text.into()))],
    };
    let event = Effect {
        reference: Reference::Event,
        write: Write::Publish { event: "E__e".into() },
        fields: vec![("AccountId__c".into(), FieldValue::IdOf(Reference::Account))],
    };
    WritePlan { effects: vec![account, event], adjustments: Vec::new() }
}

#[test]
fn a_shopper_cannot_write_a_reference() {
    let mut plan = plan("@{account.id}");
    let graph = graph("0".into(), &mut plan, true);
    assert_eq!(graph.nodes[0].body["LastName"], "@ {account.id}");
    assert_eq!(graph.nodes[1].body["AccountId__c"], "@{account.id}");
    assert_eq!(plan.adjustments.len(), 1);
}

#[test]
fn an_event_that_is_published_at_once_stays_out_of_the_graph_and_gets_its_ids_afterwards() {
    let mut plan = plan("Quist");
    assert_eq!(graph("0".into(), &mut plan, false).nodes.len(), 1);
    let id = "001B000001Lp1G2IAJ".to_owned();
    let answer =
        NodeAnswer { reference: "account".into(), id: Some(id.clone()), created: Some(true), event_uuid: None };
    let written = written(&[answer], &KnownIdentity::default(), &plan);
    assert_eq!(written.crm_id, RecordId::parse(&id));
    let (name, fields) = event(&plan, &written).expect("an event");
    assert_eq!((name.as_str(), &fields["AccountId__c"]), ("E__e", &Value::String(id)));
}

#[test]
fn the_note_of_an_event_goes_before_it_and_nothing_in_either_is_a_reference() {
    let mut plan = plan("Quist");
    plan.effects[1].fields.push(("Reason__c".into(), FieldValue::Json("@{account.id}".into())));
    let id = |last: char| Value::String(format!("a00B000001Lp1G{last}IAJ"));
    let mut written = Written::default();
    written.record_ids.insert("account".to_owned(), id('1'));
    let noted = |written: &Written| noted_event("0".into(), &plan, written, "LimioOrder__c", "EventPublished__c");
    assert_eq!(noted(&written), None, "no record to note it in");
    written.record_ids.insert(Reference::Order.name().into_owned(), id('2'));
    let nodes = noted(&written).expect("a graph").nodes;
    let updates = NodeWrite::Update { object: "LimioOrder__c".into(), id: "a00B000001Lp1G2IAJ".into() };
    assert_eq!((&nodes[0].write, &nodes[0].body["EventPublished__c"]), (&updates, &Value::Bool(true)));
    assert_eq!(nodes[1].write, NodeWrite::Create { object: "E__e".into() });
    assert_eq!((&nodes[1].body["AccountId__c"], &nodes[1].body["Reason__c"]), (&id('1'), &json!("@ {account.id}")));
}

/// What shoppers may write anywhere: pieces that make a reference, alone or once something between them is taken out.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "@{",
        "@",
        "{",
        "}",
        "account.id",
        "order.id",
        "@{account.id}",
        "<b>",
        "</b>",
        " ",
        "\\",
        "\"",
        "\u{a0}",
        "é@{",
        "x",
        "records[0].Id",
        "&#64;{",
        "&#123;",
    ]);
    prop::collection::vec(piece, 1..6).prop_map(|pieces| pieces.concat())
}

/// The order with hostile text in place of the leaves whose turn it is.
fn infected(value: &mut Value, turns: &mut impl Iterator<Item = Option<String>>) {
    match value {
        Value::String(text) => {
            if let Some(Some(hostile)) = turns.next() {
                *text = hostile;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| infected(item, turns)),
        Value::Object(fields) => fields.values_mut().for_each(|item| infected(item, turns)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn parsed(order: &Value) -> Option<OrderEvent> {
    let settings =
        DecodeSettings { tenant: TenantId::parse(testkit::orders::TENANT).expect("a tenant"), max_body_bytes: 1 << 20 };
    let body = order.to_string().into_bytes();
    let incoming = domain::envelope::Incoming {
        body: &body,
        content_type: None,
        message_id: Some("m"),
        kind: None,
        timestamp: None,
        tenant: Some(testkit::orders::TENANT),
        event: None,
        trace_parent: None,
    };
    Envelope::decode(&incoming, &settings).and_then(OrderEvent::parse).ok()
}

/// Every text in which Salesforce would look for references and find one.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.contains("@{") => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(fields) => fields.iter().for_each(|(name, item)| {
            assert!(!name.contains("@{"), "{name}");
            references(item, found);
        }),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn references_of(nodes: &[Node]) -> Vec<String> {
    let mut found = Vec::new();
    for node in nodes {
        references(&Value::Object(node.body.clone()), &mut found);
        if let NodeWrite::Upsert { value, .. } = &node.write
            && value.contains("@{")
        {
            found.push(value.clone());
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn nothing_in_any_order_becomes_a_reference_in_any_request(
        turns in prop::collection::vec(prop::option::weighted(0.3, hostile()), 200),
        persons in any::<bool>(),
        known in any::<bool>(),
    ) {
        let mut order = testkit::orders::new_order("ann", 1);
        // What makes it an order stays.
        let kept = ["order_type", "id", "orderDate"].map(|key| (key, order[key].clone()));
        infected(&mut order, &mut turns.into_iter());
        for (key, value) in kept {
            order[key] = value;
        }
        let Some(event) = parsed(&order) else { return Ok(()) };
        let processing = OrderProcessing {
            create_person_account: persons,
            include_billing_details: true,
            send_whole_order: true,
            ..OrderProcessing::default()
        };
        let crm_id = known.then(|| RecordId::parse("001B000001Lp1G2IAJ").expect("an id"));
        let known = KnownIdentity { crm_id, ..KnownIdentity::default() };
        let Ok(mut plan) = mapping::plan(&event.order, &processing, &known) else { return Ok(()) };
        let ours = ["@{account.id}", "@{contact.id}"];
        for text in references_of(&graph("0".into(), &mut plan, true).nodes) {
            prop_assert!(ours.contains(&text.as_str()), "{text}");
        }
        let alone: Vec<Node> = customer_parts(&plan, 7)
            .into_iter()
            .filter_map(|part| match part {
                Part::Write(node) => Some(node),
                Part::Query { .. } => None,
            })
            .collect();
        for text in references_of(&alone) {
            prop_assert_eq!(text, "@{account7.id}");
        }
    }
}

#[test]
fn most_infected_orders_are_orders_still() {
    let mut order = testkit::orders::new_order("ann", 1);
    order["customerDetails"]["lastName"] = json!("@{account.id}");
    order["userDetails"]["sub"] = json!("@{order.id}");
    let event = parsed(&order).expect("an order");
    let mut plan = mapping::plan(&event.order, &OrderProcessing::default(), &KnownIdentity::default()).expect("a plan");
    assert!(references_of(&graph("0".into(), &mut plan, true).nodes).iter().all(|text| text == "@{account.id}"));
    assert!(!plan.adjustments.is_empty());
}
