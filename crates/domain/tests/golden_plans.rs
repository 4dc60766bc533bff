//! What is written for each order: `tests/plans/*.json` against [`mapping::plan`].
//!
//! A case names an order of `tests/golden`, or holds one itself as `input`; `edit` sets JSON pointers in it, `settings` is
//! an `order-processing.toml`, `known` is what the writer knows of the customer. `expect` is the plan or the failure.
//! `CAUSEWAY_BLESS=1` rewrites `expect`; look at the difference before you keep it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use causeway_domain::config::OrderProcessing;
use causeway_domain::envelope::{DecodeSettings, Envelope, Incoming};
use causeway_domain::event::OrderEvent;
use causeway_domain::failure::{Failure, FailureClass, Reason};
use causeway_domain::mapping::event_fields::{EVENT_FIELDS, FieldKind};
use causeway_domain::mapping::event_type::EventType;
use causeway_domain::mapping::{event_type, plan, transfer};
use causeway_domain::order::Order;
use causeway_domain::order::id::{Fingerprint, RecordId, TenantId};
use causeway_domain::plan::{FieldValue, KnownIdentity, Reference, Transfer, Write, WritePlan};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn cases(name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(name)).expect("the folder is part of the sources");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths
}

fn parsed(input: &Value, event: Option<&str>) -> Result<Order, Failure> {
    let body = serde_json::to_vec(input).expect("JSON");
    let settings = DecodeSettings { tenant: TenantId::parse("acme").expect("a name"), max_body_bytes: 4 << 20 };
    let incoming = Incoming { body: &body, message_id: Some("m-1"), event, ..Incoming::default() };
    let envelope = Envelope::decode(&incoming, &settings).map_err(|undecodable| undecodable.failure)?;
    OrderEvent::parse(envelope).map(|event| event.order).map_err(|undecodable| undecodable.failure)
}

/// An order of `tests/golden`, by its number.
fn golden(number: &str, edit: &[(&str, Value)]) -> Order {
    let path = cases("golden")
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(number)));
    let case = read(&path.unwrap_or_else(|| panic!("tests/golden has no {number}")));
    let mut input = case["input"].clone();
    for (pointer, value) in edit {
        set(&mut input, pointer, value.clone());
    }
    parsed(&input, case["properties"]["event"].as_str()).expect("an order")
}

/// Sets what a pointer names; the last key may be new.
fn set(input: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer begins with a slash");
    match input.pointer_mut(parent) {
        Some(Value::Object(map)) => _ = map.insert(key.to_owned(), value),
        Some(Value::Array(items)) => items[key.parse::<usize>().expect("an index")] = value,
        _ => panic!("{parent} is not there"),
    }
}

fn processing(toml: &str) -> OrderProcessing {
    OrderProcessing::parse(toml).unwrap_or_else(|problems| panic!("{problems}"))
}

fn shown(outcome: &Result<WritePlan, Failure>) -> Value {
    match outcome {
        Ok(plan) => {
            let effects: Vec<Value> = plan
                .effects
                .iter()
                .map(|effect| {
                    let write = match &effect.write {
                        Write::Upsert { object, field, value } => format!("upsert {object} by {field} {value}"),
                        Write::Create { object } => format!("create {object}"),
                        Write::Update { object, id } => format!("update {object} {id}"),
                        Write::Publish { event } => format!("publish {event}"),
                    };
                    let fields: Map<String, Value> =
                        effect.fields.iter().map(|(name, value)| (name.clone(), shown_value(name, value))).collect();
                    assert_eq!(fields.len(), effect.fields.len(), "a field is set twice");
                    json!({ "reference": effect.reference.name(), "write": write, "fields": fields })
                })
                .collect();
            json!({ "effects": effects, "adjustments": plan.adjustments })
        }
        Err(failure) => json!({ "failure": failure }),
    }
}

fn shown_value(name: &str, value: &FieldValue) -> Value {
    match value {
        FieldValue::IdOf(reference) => json!(format!("the id of {}", reference.name())),
        FieldValue::Json(Value::String(text)) if name.contains("LimioOrder") => {
            json!({ "json text": serde_json::from_str::<Value>(text).expect("the reduced order is JSON") })
        }
        FieldValue::Json(Value::String(text)) if name == "Fingerprint__c" => {
            assert!(Fingerprint::parse(text).is_some(), "{text}");
            json!("the fingerprint")
        }
        FieldValue::Json(value) => value.clone(),
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test binary has no command line of its own")]
fn every_order_is_written_as_its_case_says() {
    let bless = std::env::var_os("CAUSEWAY_BLESS").is_some();
    let mut differences = String::new();
    for path in cases("plans") {
        let mut case = read(&path);
        let source = match case["order"].as_str() {
            Some(name) => read(&folder("golden").join(format!("{name}.json"))),
            None => case.clone(),
        };
        let mut input = source["input"].clone();
        for (pointer, value) in case["edit"].as_object().into_iter().flatten() {
            set(&mut input, pointer, value.clone());
        }
        let id = |key: &str| case["known"][key].as_str().map(|id| RecordId::parse(id).expect("a record id"));
        let known = KnownIdentity { crm_id: id("crm_id"), contact_id: id("contact_id"), ..KnownIdentity::default() };
        let processing = processing(case["settings"].as_str().unwrap_or_default());
        let outcome =
            parsed(&input, source["properties"]["event"].as_str()).and_then(|order| plan(&order, &processing, &known));
        let found = shown(&outcome);
        if found == case["expect"] {
            continue;
        }
        if bless {
            case["expect"] = found;
            let text = serde_json::to_string_pretty(&case).expect("JSON") + "\n";
            fs::write(&path, text).expect("the sources can be written");
        } else {
            writeln!(differences, "\n{}: {}", path.display(), case["title"]).expect("memory");
            difference(&mut differences, &case["expect"], &found);
        }
    }
    assert!(differences.is_empty(), "{differences}\nCAUSEWAY_BLESS=1 takes over what was found");
}

/// Lines that are only expected (-) or only found (+).
fn difference(out: &mut String, expected: &Value, found: &Value) {
    let lines = |value: &Value| -> Vec<String> {
        serde_json::to_string_pretty(value).expect("JSON").lines().map(str::to_owned).collect()
    };
    let (expected, found) = (lines(expected), lines(found));
    for line in expected.iter().filter(|line| !found.contains(line)) {
        writeln!(out, "  -{line}").expect("memory");
    }
    for line in found.iter().filter(|line| !expected.contains(line)) {
        writeln!(out, "  +{line}").expect("memory");
    }
}

fn planned(order: &Order, settings: &str) -> WritePlan {
    plan(order, &processing(settings), &KnownIdentity::default()).unwrap_or_else(|failure| panic!("{failure}"))
}

/// The fields of the event, without prefix and suffix.
fn event(plan: &WritePlan) -> BTreeMap<String, Value> {
    let effect = plan.effects.iter().find(|effect| effect.reference == Reference::Event).expect("an event");
    let name = |name: &str| name.trim_start_matches("i42as__").trim_end_matches("__c").to_owned();
    effect.fields.iter().map(|(field, value)| (name(field), shown_value("", value))).collect()
}

#[test]
fn a_redelivered_order_has_the_same_plan() {
    let (first, again) = (golden("01", &[]), golden("04", &[]));
    assert_eq!(planned(&first, "sendWholeOrder = true"), planned(&again, "sendWholeOrder = true"));
}

#[test]
fn two_address_changes_of_one_subscription_are_two_records_and_two_events() {
    let (billing, delivery) = (planned(&golden("08", &[]), ""), planned(&golden("09", &[]), ""));
    assert_ne!(event(&billing)["OrderNumber"], event(&delivery)["OrderNumber"]);
    assert_eq!(event(&billing)["OrderType"], event(&delivery)["OrderType"]);
}

#[test]
fn both_styles_of_a_subscription_update_are_announced_alike() {
    for number in ["10", "11"] {
        let fields = event(&planned(&golden(number, &[]), ""));
        assert_eq!(fields["OrderType"], "UPDATE_SUBSCRIPTION");
        assert!(!fields.contains_key("OfferId"));
    }
}

#[test]
fn amounts_as_text_and_as_numbers_give_the_same_fields() {
    let [mut text, mut number] = ["13", "14"].map(|number| event(&planned(&golden(number, &[]), "")));
    // Without a reference the two are named by what they say; the rest must agree.
    text.remove("OrderNumber");
    number.remove("OrderNumber");
    assert_eq!(text, number);
}

#[test]
fn the_display_price_goes_without_its_tags_and_the_cut_is_noted() {
    let price = format!("<p>12.50&nbsp;GBP</p><p>{}</p>", "ä".repeat(200));
    let order = golden("01", &[("/orderItems/0/offer/data/attributes/display_price__limio", json!(price))]);
    let plan = planned(&order, "");
    assert_eq!(event(&plan)["DisplayPrice"], format!("12.50 GBP {}", "ä".repeat(140)));
    assert_eq!(plan.adjustments, ["OrderEvent.i42as__DisplayPrice__c was cut from 210 to 150 characters."]);
}

#[test]
fn a_cut_never_falls_inside_a_character() {
    let name = format!("{}😀😀", "x".repeat(39));
    let order = golden("01", &[("/orderItems/0/products/0/attributes/display_name__limio", json!(name))]);
    assert_eq!(event(&planned(&order, ""))["ProductName"], "x".repeat(39));
}

#[test]
fn a_text_that_is_too_long_is_a_failure_where_the_settings_say_so() {
    let order = golden("16", &[]);
    let failure =
        plan(&order, &processing("[platform_events]\ntext_truncation = \"dead_letter\""), &KnownIdentity::default())
            .expect_err("too long");
    assert_eq!((failure.reason, failure.rule.as_deref()), (Reason::InvalidValue, Some("text_length")));
}

#[test]
fn an_id_is_never_cut() {
    for (pointer, value) in [
        ("/order_reference", "R".repeat(41)),
        ("/orderItems/0/offer/id", "f".repeat(41)),
        ("/orderItems/0/products/0/attributes/product_code__limio", "P".repeat(41)),
        ("/userDetails/sub", "s".repeat(71)),
        ("/giftCode", "g".repeat(41)),
    ] {
        let order = golden("01", &[(pointer, json!(value))]);
        let failure = plan(&order, &OrderProcessing::default(), &KnownIdentity::default()).expect_err(pointer);
        assert_eq!(failure.reason, Reason::InvalidValue, "{pointer}");
        assert!(!failure.message.contains(&value), "{pointer}");
    }
}

#[test]
fn names_and_addresses_that_are_too_long_are_refused_without_being_quoted() {
    for (key, length, ending) in [("firstName", 41, ""), ("lastName", 81, ""), ("email", 81, "@example.org")] {
        let value = "q".repeat(length - ending.len()) + ending;
        let order = golden("01", &[(&format!("/customerDetails/{key}"), json!(value))]);
        let failure = plan(&order, &OrderProcessing::default(), &KnownIdentity::default()).expect_err(key);
        assert_eq!(failure.field, Some(format!("customerDetails.{key}")));
        assert!(failure.message.contains(&(length - 1).to_string()) && !failure.message.contains(&value), "{failure}");
    }
}

#[test]
fn an_order_without_a_reference_is_numbered_by_its_identity() {
    for (edit, expected) in [
        (vec![("/order_reference", json!(null))], "order-9c1cfe3b9e91eca23d6b87f5c9277d01"),
        (vec![("/order_reference", json!(null)), ("/id", json!(null))], "4f3f2898-69e3-5a0d-820a-c4e87987dbce"),
    ] {
        assert_eq!(event(&planned(&golden("01", &edit), ""))["OrderNumber"], expected);
    }
    let nameless = [("/order_reference", json!(null)), ("/id", json!(null)), ("/checkoutId", json!(null))];
    let order = golden("01", &nameless);
    let fields = event(&planned(&order, ""));
    let number = fields["OrderNumber"].as_str().expect("a text");
    assert!(number.len() == 40 && order.id.as_str().starts_with(number));
}

#[test]
fn a_graduation_year_alone_is_the_forms_own_and_not_the_customers() {
    assert!(!event(&planned(&golden("01", &[]), "")).contains_key("StudentGraduationYear"));
    let student = json!({"university": "Exeter", "course": "", "graduationYear": "2027"});
    let of =
        |flag: Value| event(&planned(&golden("01", &[("/studentDetails", student.clone()), ("/student", flag)]), ""));
    for denied in [json!(false), json!("false")] {
        assert!(!of(denied).contains_key("StudentUniversity"), "the order says that it is no student's");
    }
    assert!(of(json!(null)).contains_key("StudentUniversity"));
    let fields = of(json!(true));
    assert_eq!((&fields["StudentUniversity"], &fields["StudentGraduationYear"]), (&json!("Exeter"), &json!("2027")));
}

#[test]
fn a_last_name_is_found_where_the_customer_put_it() {
    let cases = [
        (json!({"firstName": "Nora", "lastName": "Quist"}), Some("Nora"), Some("Quist")),
        (json!({"fullName": "Nora van Quist"}), None, Some("Nora van Quist")),
        (json!({"firstName": "Nora", "fullName": "Nora van Quist"}), Some("Nora"), Some("van Quist")),
        (json!({"firstName": "Nora", "fullName": "Norah Quist"}), None, Some("Norah Quist")),
        (json!({"firstName": "Nora"}), None, Some("Nora")),
        (json!({"firstName": " ", "lastName": " Quist "}), None, Some("Quist")),
        (json!({"email": "n@example.org"}), None, None),
    ];
    for (details, first, last) in cases {
        let order = golden("01", &[("/customerDetails", details.clone()), ("/billingDetails", json!({}))]);
        match plan(&order, &OrderProcessing::default(), &KnownIdentity::default()) {
            Ok(plan) => {
                let field = |name: &str| {
                    let value = plan.effects[0]
                        .fields
                        .iter()
                        .find(|(field, _)| field == name)
                        .map(|(_, value)| shown_value("", value));
                    value.and_then(|value| value.as_str().map(str::to_owned))
                };
                assert_eq!((field("FirstName").as_deref(), field("LastName").as_deref()), (first, last), "{details}");
            }
            Err(failure) => assert!(last.is_none() && failure.reason == Reason::MissingField, "{details}: {failure}"),
        }
        if last.is_none() {
            let plan = planned(&order, "[accounts]\nmissing_last_name = \"Unknown\"");
            assert!(plan.effects[0].fields.contains(&("LastName".to_owned(), FieldValue::Json(json!("Unknown")))));
        }
    }
}

#[test]
fn the_holder_of_a_card_never_renames_the_customers_account() {
    let billing = json!({"firstName": "Card", "lastName": "Holder", "address1": "1 Other Street"});
    let order = golden("20", &[("/billingDetails", billing)]);
    let plan = planned(&order, "");
    assert!(plan.effects.iter().all(|effect| effect.reference != Reference::Account));
    assert!(!event(&plan).contains_key("AccountId"));
    let billing = json!({"email": "holder@example.org"});
    let order = golden("20", &[("/billingDetails", billing), ("/customerId", json!(null))]);
    assert_eq!(order.customer_name(), None);
}

#[test]
fn a_change_order_renames_the_account_only_by_a_last_name() {
    let cases = [
        (json!({"fullName": "Nora Quist"}), false),
        (json!({"full_name": "Nora Quist", "first_name": "Nora"}), false),
        (json!({"firstName": "Nora"}), false),
        (json!({"firstName": "Nora", "lastName": "Quist"}), true),
        (json!({"last_name": "Quist", "full_name": "Nora Quist"}), true),
    ];
    for (details, renamed) in cases {
        let order = golden("12", &[("/customerDetails", details.clone())]);
        for settings in ["", "createPersonAccount = false"] {
            let plan = planned(&order, settings);
            let written = |reference| plan.effects.iter().any(|effect| effect.reference == reference);
            assert_eq!(written(Reference::Account), renamed, "{details} {settings}");
            assert!(written(Reference::Order) && plan.publishes(), "{details} {settings}");
            assert_eq!(event(&plan).contains_key("AccountId"), renamed, "{details} {settings}");
        }
    }
}

#[test]
fn the_writers_knowledge_of_the_account_goes_before_the_orders() {
    let known = KnownIdentity {
        crm_id: RecordId::parse("001B000001Lp1G2"),
        contact_id: RecordId::parse("003B000001Lp1G2"),
        ..KnownIdentity::default()
    };
    let plan = plan(&golden("03", &[]), &OrderProcessing::default(), &known).expect("a plan");
    let fields = event(&plan);
    assert_eq!(fields["AccountId"], "001B000001Lp1G2IAJ");
    assert_eq!(fields["ContactId"], "0035g00000YwP2bAAF");
}

#[test]
fn records_that_move_stand_after_the_orders_record_and_before_the_event_and_are_no_more_than_a_hundred() {
    let record = |number: usize| Transfer {
        object: "Subscription__c".to_owned(),
        id: RecordId::parse(&format!("a01B00000{number:06}")).expect("an id"),
        account_field: "Account__c".to_owned(),
    };
    let moving = |count: usize| KnownIdentity {
        crm_id: RecordId::parse("001B000001Lp1G2"),
        transfers: (0..count).map(record).collect(),
        ..KnownIdentity::default()
    };
    let written = plan(&golden("01", &[]), &OrderProcessing::default(), &moving(2)).expect("a plan");
    let references: Vec<_> = written.effects.iter().map(|effect| effect.reference).collect();
    assert_eq!(references, [Reference::Order, Reference::Moved(0), Reference::Moved(1), Reference::Event]);
    let moved = &written.effects[1];
    assert_eq!(moved.write, Write::Update { object: "Subscription__c".to_owned(), id: record(0).id });
    assert_eq!(moved.fields, [("Account__c".to_owned(), FieldValue::Json(json!("001B000001Lp1G2IAJ")))]);
    assert!(plan(&golden("01", &[]), &OrderProcessing::default(), &moving(Transfer::MOST)).is_ok());
    let failure = plan(&golden("01", &[]), &OrderProcessing::default(), &moving(101)).expect_err("too many");
    assert_eq!((failure.class, failure.rule.as_deref()), (FailureClass::Permanent, Some("transferOwnership")));
}

#[test]
fn only_a_customer_who_has_not_signed_in_gives_a_subscription_away() {
    let on = processing(
        "includeDuplicateCheck = true\ntransferOwnership = true\n\
         [transfers.Subscription__c]\nsubscription = \"LimioId__c\"\naccount = \"Account__c\"\n",
    );
    let named = [("/sub_reference", json!("S-1")), ("/subId", json!("sub-1"))];
    let user = json!({ "sub": "id-1" });
    let anonymous = golden("01", &[named[0].clone(), named[1].clone(), ("/userDetails", user)]);
    assert_eq!(transfer::subscription_names(&anonymous, &on), ["sub-1", "S-1"]);
    assert!(transfer::subscription_names(&anonymous, &OrderProcessing::default()).is_empty());
    let user = json!({ "sub": "id-1", "https://login.example/aut": { "iss": "https://idp.example", "sub": "u-1" } });
    let signed_in = golden("01", &[named[0].clone(), named[1].clone(), ("/userDetails", user)]);
    assert!(transfer::subscription_names(&signed_in, &on).is_empty());
    let long = golden("01", &[("/sub_reference", json!("S".repeat(256))), ("/userDetails", json!({ "sub": "id-1" }))]);
    assert!(transfer::subscription_names(&long, &on).is_empty(), "no field holds such a name");
}

#[test]
fn an_order_of_an_excluded_type_is_written_without_an_event() {
    for settings in ["[platform_events]\norder_types = [\"REFUND\"]", "[platform_events]\nenabled = false"] {
        let plan = planned(&golden("01", &[]), settings);
        assert!(!plan.publishes());
        let references: Vec<_> = plan.effects.iter().map(|effect| effect.reference).collect();
        assert_eq!(references, [Reference::Account, Reference::Order]);
    }
}

#[test]
fn without_an_order_object_an_order_that_announces_nothing_writes_nothing() {
    let plan = planned(&golden("27", &[]), "[external_ids]\norder_object = \"\"");
    assert_eq!(plan, WritePlan::default());
}

#[test]
fn each_order_type_is_announced_as_limio_announces_it() {
    let expected = [
        ("01", Some(EventType::NewOrder)),
        ("05", Some(EventType::CancelRequest)),
        ("06", Some(EventType::AddOffer)),
        ("07", Some(EventType::ChangeOffer)),
        ("08", Some(EventType::ChangedDeliveryAddress)),
        ("09", Some(EventType::ChangedDeliveryAddress)),
        ("10", Some(EventType::UpdateSubscription)),
        ("12", Some(EventType::UpdateCustomer)),
        ("18", Some(EventType::NewGiftOrder)),
        ("19", Some(EventType::NewOrder)),
        ("20", Some(EventType::ChangePaymentRequest)),
        ("22", Some(EventType::RequestRenewal)),
        ("23", Some(EventType::Refund)),
        ("24", Some(EventType::Refund)),
        ("25", None),
        ("26", None),
        ("27", None),
        ("28", None),
    ];
    for (number, expected) in expected {
        assert_eq!(event_type(&golden(number, &[])), expected, "{number}");
    }
}

#[test]
fn the_order_json_never_holds_a_reference_and_reads_back_equal() {
    let fields = json!({"a": "@{account.id}", "@{b}": "@ {", "c": "\\@{d}@{"});
    let plan = planned(&golden("01", &[("/customFields", fields.clone())]), "sendWholeOrder = true");
    let text = event(&plan)["LimioOrder"].as_str().expect("a text").to_owned();
    assert!(!text.contains("@{"));
    assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON")["customFields"], fields);
}

#[test]
fn an_event_carries_its_key_where_the_settings_name_a_field_for_it_and_two_events_share_it_only_as_doubles() {
    let settings = "sendWholeOrder = true\n[orderDataOptions]\nfieldsToKeep = [\"total\", \"eventKey\"]\n\
                    [platform_events]\nevent_key = \"i42as__EventKey__c\"";
    let key = |number: &str| {
        let fields = event(&planned(&golden(number, &[]), settings));
        let json: Value = serde_json::from_str(fields["LimioOrder"].as_str().expect("a text")).expect("JSON");
        assert_eq!(json["eventKey"], fields["EventKey"]);
        fields["EventKey"].as_str().expect("a text").to_owned()
    };
    let order = golden("01", &[]);
    assert_eq!(key("01"), format!("{}/NEW_ORDER", order.id));
    assert_eq!(key("01"), key("04"), "the same order, sent again");
    assert_ne!(key("01"), key("05"));
    let fields = event(&planned(&order, "sendWholeOrder = true"));
    assert!(!fields.contains_key("EventKey"), "an org without the field is sent none");
    assert!(!fields["LimioOrder"].as_str().expect("a text").contains("eventKey"), "nor is it where nobody asked");
}

#[test]
fn the_order_json_has_no_payment_secrets_and_only_the_keys_asked_for() {
    let payment = json!({"type": "zuora", "zuora": {"refId": "8a", "token": "t0ken", "signature": "s1gn"}});
    let template = json!("/config/templates/offers/default");
    let order = golden("01", &[("/payment", payment), ("/orderItems/0/offer/data/baseTemplate", template.clone())]);
    let text = event(&planned(&order, "sendWholeOrder = true"))["LimioOrder"].as_str().expect("a text").to_owned();
    assert!(!text.contains("t0ken") && !text.contains("s1gn") && !text.contains("userDetails"));
    let settings = "sendWholeOrder = true\n[orderDataOptions]\nfieldsToKeep = [\"country\", \"orderItems\"]\n\
                    itemFields = [\"details\"]\nproductDataFields = [\"syncedFrom\"]\nofferDataFields = [\"baseTemplate\"]";
    let text = event(&planned(&order, settings))["LimioOrder"].clone();
    let reduced: Value = serde_json::from_str(text.as_str().expect("a text")).expect("JSON");
    assert_eq!(reduced.as_object().expect("an object").keys().collect::<Vec<_>>(), ["country", "orderItems"]);
    assert_eq!(reduced["orderItems"][0]["details"], "");
    assert_eq!(reduced["orderItems"][0]["offer"]["data"]["baseTemplate"], template);
}

#[test]
fn an_order_json_that_is_too_long_is_treated_as_the_settings_say() {
    let order = golden(
        "01",
        &[
            ("/originalOffer", json!({"text": "😀".repeat(40_000)})),
            ("/customFields", json!({"text": "y".repeat(70_000)})),
        ],
    );
    let with = |policy: &str| format!("sendWholeOrder = true\n[platform_events]\norder_json_overflow = \"{policy}\"");

    let shrunk = planned(&order, &with("shrink"));
    let text = event(&shrunk)["LimioOrder"].as_str().expect("a text").to_owned();
    assert!(text.encode_utf16().count() <= 131_072);
    let reduced: Value = serde_json::from_str(&text).expect("JSON");
    assert!(reduced.get("originalOffer").is_none() && reduced["customFields"]["text"].is_string());
    assert!(shrunk.adjustments[0].ends_with("and goes without originalOffer."), "{:?}", shrunk.adjustments);

    let omitted = planned(&order, &with("omit"));
    assert!(!event(&omitted).contains_key("LimioOrder"));
    assert!(omitted.adjustments[0].starts_with("LimioOrder was left out"), "{:?}", omitted.adjustments);

    let failure = plan(&order, &processing(&with("dead_letter")), &KnownIdentity::default()).expect_err("too long");
    assert_eq!((failure.reason, failure.field.as_deref()), (Reason::InvalidValue, Some("LimioOrder")));
}

#[test]
fn an_order_json_whose_core_alone_is_too_long_is_left_out() {
    let order = golden("01", &[("/customerDetails/note", json!("y".repeat(140_000)))]);
    let plan = planned(&order, "sendWholeOrder = true");
    assert!(!event(&plan).contains_key("LimioOrder"));
    assert!(plan.adjustments[0].starts_with("LimioOrder was left out"), "{:?}", plan.adjustments);
}

#[test]
fn shrinking_goes_on_until_the_core_is_left() {
    let long = || json!({"text": "z".repeat(2_000)});
    let mut edit = vec![
        ("/orderItems/0/products/0/attributes/long", long()),
        ("/orderItems/0/offer/data/attributes/price__limio", long()),
    ];
    edit.extend(
        ["/originalOffer", "/customFields", "/deliveryDetails", "/tracking", "/billingDetails", "/variant"]
            .map(|key| (key, long())),
    );
    let settings = "sendWholeOrder = true\n[platform_events]\nmax_order_json_chars = 1000";
    let plan = planned(&golden("01", &edit), settings);
    let text = event(&plan)["LimioOrder"].as_str().expect("a text").to_owned();
    let reduced: Map<String, Value> = serde_json::from_str(&text).expect("JSON");
    assert_eq!(reduced.keys().collect::<Vec<_>>(), ["customerDetails", "orderDate", "orderItems", "total"]);
}

/// Every golden input that is an order.
fn orders() -> &'static [(Value, Option<String>)] {
    static ORDERS: OnceLock<Vec<(Value, Option<String>)>> = OnceLock::new();
    ORDERS.get_or_init(|| {
        let cases = cases("golden").into_iter().map(|path| read(&path));
        cases
            .map(|case| (case["input"].clone(), case["properties"]["event"].as_str().map(str::to_owned)))
            .filter(|(input, event)| input.is_object() && parsed(input, event.as_deref()).is_ok())
            .collect()
    })
}

/// Every pointer to something that is no container.
fn leaves(value: &Value, pointer: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            if !key.contains(['/', '~']) {
                leaves(value, &format!("{pointer}/{key}"), out);
            }
        }),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| leaves(value, &format!("{pointer}/{index}"), out));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => out.push(pointer.to_owned()),
    }
}

fn any_leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,60}".prop_map(Value::from),
        "[😀a<@{} ]{0,400}".prop_map(Value::from),
        "001[0-9A-Za-z]{12}".prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_parsed_order_makes_planning_panic_and_no_text_exceeds_its_field(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_leaf()), 0..6),
        person in any::<bool>(),
        limit in 1_000_usize..4_000,
    ) {
        let (mut input, event) = which.get(orders()).clone();
        for (index, value) in changes {
            let mut pointers = Vec::new();
            leaves(&input, "", &mut pointers);
            set(&mut input, &pointers[index.index(pointers.len())], value);
        }
        let Ok(order) = parsed(&input, event.as_deref()) else { return Ok(()) };
        let processing = processing(&format!(
            "createPersonAccount = {person}\nincludeBillingDetails = true\nsendWholeOrder = true\n[platform_events]\n\
             extra_fields = [\"Reason\", \"OrderValue\", \"OrderCurrency\"]\nmax_order_json_chars = {limit}"
        ));
        match plan(&order, &processing, &KnownIdentity::default()) {
            Ok(plan) => check(&plan, limit)?,
            Err(failure) => prop_assert!(failure.field.is_some(), "{failure}"),
        }
    }
}

fn check(plan: &WritePlan, limit: usize) -> Result<(), TestCaseError> {
    const LENGTHS: [(&str, usize); 11] = [
        ("FirstName", 40),
        ("LastName", 80),
        ("PersonEmail", 80),
        ("Email", 80),
        ("Phone", 40),
        ("Name", 255),
        ("BillingStreet", 255),
        ("BillingCity", 40),
        ("BillingState", 80),
        ("BillingCountry", 80),
        ("BillingPostalCode", 20),
    ];
    let mut before = Vec::new();
    for effect in &plan.effects {
        for (field, value) in &effect.fields {
            let name = field.trim_start_matches("i42as__").trim_end_matches("__c");
            let text = match value {
                FieldValue::IdOf(reference) => {
                    prop_assert!(before.contains(reference), "{field} refers to what comes later");
                    continue;
                }
                FieldValue::Json(Value::String(text)) => text,
                FieldValue::Json(_) => continue,
            };
            let length = if effect.reference == Reference::Event {
                EVENT_FIELDS.iter().find(|row| row.name == name).map(|row| match row.kind {
                    FieldKind::Text(length, _) | FieldKind::Html(length, _) => length,
                    FieldKind::LongTextArea => limit,
                    FieldKind::DateTime | FieldKind::Number { .. } => 24,
                })
            } else {
                LENGTHS.iter().find(|(known, _)| *known == name).map(|(_, length)| *length)
            };
            prop_assert!(text.encode_utf16().count() <= length.unwrap_or(255), "{field}");
            prop_assert!(!text.trim().is_empty(), "{field} is blank");
        }
        before.push(effect.reference);
    }
    Ok(())
}
