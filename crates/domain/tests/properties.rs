//! What holds for every input, not only for the fixtures.

use causeway_domain::envelope::{DecodeSettings, Envelope, Incoming};
use causeway_domain::event::OrderEvent;
use causeway_domain::failure::Reason;
use causeway_domain::order::id::TenantId;
use causeway_domain::secrets;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn settings() -> DecodeSettings {
    DecodeSettings { tenant: TenantId::parse("acme").expect("a name"), max_body_bytes: 1 << 16 }
}

fn read(body: &[u8]) -> Result<OrderEvent, causeway_domain::envelope::Undecodable> {
    let incoming = Incoming { body, event: Some("order.submitted"), ..Incoming::default() };
    OrderEvent::parse(Envelope::decode(&incoming, &settings())?)
}

fn reason_of(body: &[u8]) -> Reason {
    read(body).expect_err("a refusal").failure.reason
}

/// Keys that parsing looks at, so that generated objects reach it.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "id", "order_type", "orderItems", "offer", "price", "amount", "currency", "quantity", "qty", "data", "attributes",
            "term__limio", "products", "payment", "payment_methods", "token", "signature", "result", "userDetails",
            "https://a.example/aut", "sub", "customerDetails", "billingDetails", "address", "forSubscription", "name", "type",
            "updates", "tracking", "accountId", "total", "orderDate", "reason", "specversion", "source", "record_type", "body",
            "v", "data_base64", "subscriptionId", "owner", "email", "invoice", "effective_date", "subject", "time",
        ]).prop_map(str::to_owned),
        1 => ".{0,6}",
    ]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        prop::sample::select(vec![
            "new",
            "renew",
            "change_address",
            "update_subscription",
            "cancel_subscription",
            "change_offer",
            "add",
            "remove",
            "2026-03-03",
            "2026-02-03T16:13:57.820Z",
            "12.50",
            "1e5",
            "NaN",
            "1.0",
            "/limio/acme",
            "order",
            "billing",
            "com.limio.order.submitted",
            "{\"order_type\":\"renew\"}",
            "sub-1",
            "0015g00000ZxQ1a",
            "e30=",
        ])
        .prop_map(Value::from),
    ]
}

fn json_value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn extras() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec(("x_[a-z]{1,6}", json_value()), 0..5).prop_map(|fields| fields.into_iter().collect())
}

/// An order that parses, with keys that nobody knows.
fn order() -> impl Strategy<Value = Map<String, Value>> {
    let amount = prop_oneof![
        (0_i64..100_000).prop_map(Value::from),
        any::<f32>().prop_filter("plain", |n| n.abs() < 1e9 && n.abs() > 1e-3).prop_map(Value::from),
        "[0-9]{1,6}\\.[0-9]{2}".prop_map(Value::from)
    ];
    (extras(), extras(), amount, prop::option::of("order-[0-9a-f]{32}"), prop::option::of("id-[0-9a-f]{32}"), 0_u32..9).prop_map(
        |(top, inner, amount, id, owner, quantity)| {
            let mut order = json!({
                "order_type": "new", "order_reference": "UJZDE8GXD6NC",
                "orderItems": [{"quantity": quantity, "price": {"amount": amount, "currency": "EUR"}, "offer": {"id": "d5"}}],
                "customerDetails": {"lastName": "Quist", "email": "Nora@Example.org"},
                "customFields": inner, "id": id, "owner": owner,
            });
            let order = order.as_object_mut().expect("an object");
            order.extend(top);
            std::mem::take(order)
        },
    )
}

/// The same value with the keys of every object the other way round.
fn reversed(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.iter().rev().map(|(key, value)| (key.clone(), reversed(value))).collect())
        }
        Value::Array(items) => items.iter().map(reversed).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn has_secret(value: &Value, in_payment: bool) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| {
            let below = in_payment || key.starts_with("payment");
            below && matches!(key.as_str(), "token" | "signature" | "result") || has_secret(value, below)
        }),
        Value::Array(items) => items.iter().any(|item| has_secret(item, in_payment)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200), content_type in prop::option::of(".{0,30}")) {
        let incoming = Incoming { body: &body, content_type: content_type.as_deref(), ..Incoming::default() };
        let _ = Envelope::decode(&incoming, &settings()).and_then(OrderEvent::parse);
        let _ = secrets::strip_body(&body);
    }

    #[test]
    fn no_json_panics_and_what_parses_reads_back(value in json_value(), structured in any::<bool>()) {
        let body = serde_json::to_vec(&value).expect("JSON");
        let content_type = structured.then_some("application/cloudevents+json");
        let incoming = Incoming { body: &body, content_type, ..Incoming::default() };
        if let Ok(event) = Envelope::decode(&incoming, &settings()).and_then(OrderEvent::parse) {
            let rendered = event.render();
            let again = Incoming { body: &rendered, ..Incoming::default() };
            let again = OrderEvent::parse(Envelope::decode(&again, &settings()).expect("an envelope")).expect("an order");
            prop_assert_eq!(again, event);
        }
        let _ = secrets::strip_body(&body);
    }

    #[test]
    fn rendering_keeps_unknown_keys_and_numbers(order in order()) {
        let body = serde_json::to_vec(&order).expect("JSON");
        let event = read(&body).expect("an order");
        let rendered = event.render();
        let data = serde_json::from_slice::<Value>(&rendered).expect("JSON")["data"].take();
        let mut expected = order.clone();
        secrets::strip(&mut expected);
        prop_assert_eq!(data, Value::Object(expected));
        let again = Incoming { body: &rendered, ..Incoming::default() };
        let again = OrderEvent::parse(Envelope::decode(&again, &settings()).expect("an envelope")).expect("an order");
        prop_assert_eq!(again, event);
    }

    #[test]
    fn names_and_fingerprint_do_not_depend_on_key_order(order in order()) {
        let order = Value::Object(order);
        let event = read(&serde_json::to_vec(&order).expect("JSON")).expect("an order");
        let turned = read(&serde_json::to_vec(&reversed(&order)).expect("JSON")).expect("an order");
        prop_assert_eq!(turned.order_id(), event.order_id());
        prop_assert_eq!(turned.sequence_key(), event.sequence_key());
        prop_assert_eq!(turned.fingerprint(), event.fingerprint());
    }

    #[test]
    fn whatever_intake_accepts_is_accepted_inside_the_fleet(order in order(), numbers in prop::collection::vec(any::<f64>(), 0..40)) {
        let mut order = order;
        order.insert("numbers".to_owned(), json!(numbers));
        let body = serde_json::to_vec(&order).expect("JSON");
        accepted_at_the_limit_and_inside(&body);
    }

    #[test]
    fn another_tenants_order_has_no_lane_whatever_else_is_wrong_with_it(
        order in order(), source in prop::sample::select(vec!["/limio/globex", "/limio/acme", "globex", ""]),
        specversion in prop::sample::select(vec!["1.0", "0.3", ""]), kind in prop::sample::select(vec!["com.limio.order.submitted", ""]),
    ) {
        let event = json!({"specversion": specversion, "type": kind, "source": source, "data": order});
        let body = serde_json::to_vec(&event).expect("JSON");
        let header = (source != "/limio/globex").then_some("globex");
        let incoming = Incoming { body: &body, tenant: header, ..Incoming::default() };
        let refused = Envelope::decode(&incoming, &settings()).expect_err("a refusal");
        prop_assert_eq!(refused.failure.reason, Reason::WrongTenant);
        prop_assert_eq!(refused.sequence_key, None);
    }

    #[test]
    fn stripping_leaves_no_secret_under_payment(mut map in prop::collection::vec((key(), json_value()), 0..8)
        .prop_map(|fields| fields.into_iter().collect::<Map<_, _>>())) {
        secrets::strip(&mut map);
        prop_assert!(!has_secret(&Value::Object(map.clone()), false));
        let once = map.clone();
        secrets::strip(&mut map);
        prop_assert_eq!(map, once);
    }
}

/// Takes a body in with a limit that it just keeps, and reads what goes on.
fn accepted_at_the_limit_and_inside(body: &[u8]) {
    let limit = DecodeSettings { max_body_bytes: body.len(), ..settings() };
    let incoming = Incoming { body, ..Incoming::default() };
    let event = OrderEvent::parse(Envelope::decode(&incoming, &limit).expect("within the limit")).expect("an order");
    let onward = event.render();
    let inside = DecodeSettings::inside_fleet(limit.tenant);
    let read = Envelope::decode(&Incoming { body: &onward, ..Incoming::default() }, &inside).expect("accepted");
    assert_eq!(OrderEvent::parse(read).expect("an order"), event);
}

#[test]
fn an_order_that_grows_beyond_the_limit_by_its_envelope_or_its_numbers_is_accepted_inside_the_fleet() {
    let numbers = vec!["1e15"; 1000].join(",");
    for body in [
        "{\"order_type\":\"renew\",\"subId\":\"s\"}".to_owned(),
        format!("{{\"order_type\":\"renew\",\"subId\":\"s\",\"numbers\":[{numbers}]}}"),
    ] {
        let onward = read(body.as_bytes()).expect("an order").render();
        assert!(onward.len() > body.len());
        accepted_at_the_limit_and_inside(body.as_bytes());
    }
}

#[test]
fn another_tenants_order_keeps_its_name_but_has_no_lane() {
    let body = br#"{"order_type":"renew","subId":"s","owner":"id-1","order_reference":"REF1"}"#;
    let refused = Envelope::decode(&Incoming { body, tenant: Some("globex"), ..Incoming::default() }, &settings())
        .expect_err("a refusal");
    assert_eq!(refused.failure.reason, Reason::WrongTenant);
    assert_eq!((refused.order_id.map(|id| id.to_string()), refused.sequence_key), (Some("REF1".to_owned()), None));
}

#[test]
fn a_depth_bomb_is_refused_in_any_wrapping() {
    for levels in [200, 100_000] {
        let settings = DecodeSettings { max_body_bytes: 1 << 22, ..settings() };
        let bomb = format!("{{\"order_type\":\"new\",\"x\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
        let in_string = serde_json::to_string(&bomb).expect("JSON");
        for body in [bomb, in_string] {
            let incoming = Incoming { body: body.as_bytes(), ..Incoming::default() };
            let refused = Envelope::decode(&incoming, &settings).expect_err("a refusal");
            assert_eq!(refused.failure.reason, Reason::UnreadableJson);
            assert!(refused.failure.message.contains("nests too deeply"), "{}", refused.failure.message);
        }
    }
}

#[test]
fn nesting_that_an_envelope_could_not_carry_onward_is_refused() {
    let nested = |levels: usize| {
        format!("{{\"order_type\":\"renew\",\"subId\":\"s\",\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels))
    };
    let deepest = read(nested(99).as_bytes()).expect("an order");
    assert!(Envelope::decode(&Incoming { body: &deepest.render(), ..Incoming::default() }, &settings()).is_ok());
    assert_eq!(reason_of(nested(100).as_bytes()), Reason::UnreadableJson);
}

#[test]
fn json_strings_are_opened_twice_and_no_further() {
    let mut body = "{\"order_type\":\"renew\",\"subId\":\"s\"}".to_owned();
    for _ in 0..2 {
        body = serde_json::to_string(&body).expect("JSON");
        assert!(read(body.as_bytes()).is_ok());
    }
    let body = serde_json::to_string(&body).expect("JSON");
    assert_eq!(reason_of(body.as_bytes()), Reason::NotAnOrder);
}

#[test]
fn bodies_that_cannot_be_read_say_where_and_not_what() {
    let too_large = vec![b' '; (1 << 16) + 1];
    for (body, reason, message) in [
        (too_large.as_slice(), Reason::BodyTooLarge, "the body has 65537 bytes; the limit is 65536"),
        (b"{\"a\":\"\xff\"}", Reason::InvalidUtf8, "the body is not UTF-8 from byte 6 on"),
        (b"", Reason::UnreadableJson, "the body is empty"),
        (b"{\"email\": \"nora", Reason::UnreadableJson, "the body ends too early, at line 1 column 15"),
        (b"{\n  \"email\": nora }", Reason::UnreadableJson, "the body is not JSON at line 2 column 13"),
        (b"[1, 2, 3]", Reason::NotAnOrder, "the body must be a JSON object; it is an array of 3"),
        (b"\"Nora Quist\"", Reason::NotAnOrder, "the body must be a JSON object; it is a string of 10 characters"),
        (b"{}", Reason::NotAnOrder, "the object has none of the fields of a Limio order"),
        (
            b"{\"orderDate\":\"2026-01-01\"}",
            Reason::MissingField,
            "order_type is missing: an order must say what is asked for",
        ),
    ] {
        let refused = read(body).expect_err("a refusal");
        assert_eq!((refused.failure.reason, refused.failure.message.as_str()), (reason, message));
    }
}

#[test]
fn a_byte_order_mark_and_base64_data_are_read() {
    assert!(read("\u{feff}{\"order_type\":\"renew\",\"subId\":\"s\"}".as_bytes()).is_ok());
    // {"order_type":"renew","subId":"s"}
    let event = br#"{"specversion":"1.0","id":"1","type":"com.limio.order.renew","source":"/limio/acme","data_base64":"eyJvcmRlcl90eXBlIjoicmVuZXciLCJzdWJJZCI6InMifQ=="}"#;
    assert_eq!(read(event).expect("an order").sequence_key().as_str(), "s");
}

#[test]
fn a_message_without_a_name_is_named_after_its_bytes() {
    let body = br#"{"order_type":"renew","subId":"s"}"#;
    let event = read(body).expect("an order");
    assert!(event.message_id().starts_with("sha256-"));
    assert_eq!(event.message_id(), read(body).expect("an order").message_id());
}
