use super::*;

fn published(key: &str, name: &str, order_type: &'static str) -> Published {
    Published {
        key: key.into(),
        id: format!("order-{name}"),
        reference: format!("REF-{name}"),
        order_type,
        announced: true,
        letter: format!("letter-{name}"),
    }
}

fn event(name: &str) -> Event {
    Event { order_number: format!("REF-{name}"), order_type: "RENEWAL".into() }
}

fn letter(name: &str, held: bool) -> Letter {
    Letter {
        id: format!("letter-{name}"),
        order_id: Some(format!("order-{name}")),
        blocks: true,
        held,
        reason: if held { String::new() } else { "missing_field".into() },
    }
}

/// Two customers with three orders each, all written and announced.
fn sound() -> Evidence {
    let names = ["a1", "b1", "a2", "b2", "a3", "b3"];
    Evidence {
        published: names.iter().map(|name| published(&name[..1], name, "renew")).collect(),
        records: names.iter().map(|name| format!("order-{name}")).collect(),
        accounts: ["a", "b"].map(|name| Account { limio_id: Some(name.into()), email: Some(name.into()) }).into(),
        events: names.iter().map(|name| event(name)).collect(),
        ..Evidence::default()
    }
}

#[test]
fn a_sound_run_holds() {
    let found = reconcile(&sound());
    assert!(found.holds(), "{found:?}");
    assert_eq!((found.total.of(Fate::Written), found.total.total(), found.events), (6, 6, 6));
    assert!(found.findings.is_empty());
}

#[test]
fn a_planted_loss_is_found_and_named() {
    let mut evidence = sound();
    evidence.records.retain(|id| id != "order-b2");
    evidence.events.retain(|event| event.order_number != "REF-b2");
    let found = reconcile(&evidence);
    assert_eq!(found.total.of(Fate::Lost), 1);
    assert!(!found.holds());
    assert_eq!(found.findings, ["lost: order-b2 (renew) of b"]);
}

#[test]
fn a_planted_double_record_is_found() {
    let mut evidence = sound();
    evidence.records.push("order-b3".into());
    assert_eq!(reconcile(&evidence).records_duplicated, 1);
    let mut evidence = sound();
    evidence.accounts.push(Account { limio_id: None, email: Some("a".into()) });
    assert_eq!(reconcile(&evidence).records_duplicated, 1);
}

#[test]
fn a_planted_double_event_is_found() {
    let mut evidence = sound();
    evidence.events.push(event("b3"));
    let found = reconcile(&evidence);
    assert_eq!((found.events_duplicated, found.events), (1, 7));
    assert!(!found.holds());
}

#[test]
fn an_event_that_is_missing_is_found_where_one_is_due() {
    let mut evidence = sound();
    evidence.events.retain(|event| event.order_number != "REF-a1");
    assert_eq!(reconcile(&evidence).events_missing, 1);
    evidence.published[0].announced = false;
    assert!(reconcile(&evidence).holds());
}

#[test]
fn a_planted_reorder_is_found_in_records_and_in_events() {
    let mut evidence = sound();
    evidence.records.swap(2, 4);
    assert_eq!(reconcile(&evidence).sequence_violations, 1);
    let mut evidence = sound();
    evidence.events.swap(0, 4);
    assert_eq!(reconcile(&evidence).sequence_violations, 2);
}

#[test]
fn customers_may_overtake_each_other() {
    let mut evidence = sound();
    evidence.records.swap(0, 1);
    evidence.events.swap(2, 3);
    assert!(reconcile(&evidence).holds());
}

/// The second order of a customer is dead, the third waits behind it.
fn with_letters() -> Evidence {
    let mut evidence = sound();
    evidence.records.retain(|id| !["order-a2", "order-a3"].contains(&id.as_str()));
    evidence.events.retain(|event| !["REF-a2", "REF-a3"].contains(&event.order_number.as_str()));
    evidence.letters = vec![letter("a2", false), letter("a3", true)];
    evidence
}

#[test]
fn letters_account_for_what_is_not_written() {
    let found = reconcile(&with_letters());
    assert!(found.holds(), "{found:?}");
    assert_eq!((found.total.of(Fate::DeadLettered), found.total.of(Fate::Parked)), (1, 1));
    assert_eq!(found.dead_reasons.get("missing_field"), Some(&1));
}

#[test]
fn an_order_that_passes_a_dead_letter_of_its_customer_is_a_violation() {
    let mut evidence = with_letters();
    evidence.letters.pop();
    evidence.records.push("order-a3".into());
    evidence.events.push(event("a3"));
    assert_eq!(reconcile(&evidence).sequence_violations, 1);
    // Nobody can know whose a torn message is.
    evidence.letters[0].blocks = false;
    assert!(reconcile(&evidence).holds());
}

#[test]
fn an_order_that_is_both_written_and_dead_is_settled_twice() {
    let mut evidence = sound();
    evidence.letters = vec![letter("b3", false)];
    assert_eq!(reconcile(&evidence).settled_twice, 1);
}

#[test]
fn of_two_orders_with_one_identity_one_is_written_and_the_other_is_the_letter() {
    let mut evidence = sound();
    evidence.published.push(Published { letter: "letter-twin".into(), ..evidence.published[4].clone() });
    let lost = reconcile(&evidence);
    assert_eq!(lost.total.of(Fate::Lost), 1);
    evidence.letters = vec![Letter { id: "letter-twin".into(), ..letter("a3", false) }];
    let found = reconcile(&evidence);
    assert!(found.holds(), "{found:?}");
    assert_eq!((found.total.of(Fate::Written), found.total.of(Fate::DeadLettered)), (6, 1));
}

#[test]
fn a_letter_whose_message_was_rewritten_on_the_way_is_found_by_the_orders_identity() {
    let mut evidence = with_letters();
    for letter in &mut evidence.letters {
        letter.id = format!("rewritten-{}", letter.id);
    }
    assert!(reconcile(&evidence).holds());
}

#[test]
fn what_nobody_ordered_is_found() {
    let mut evidence = sound();
    evidence.records.push("order-x".into());
    evidence.events.push(event("x"));
    assert_eq!(reconcile(&evidence).strays, 2);
}

#[test]
fn a_rejected_order_is_settled() {
    let mut evidence = sound();
    evidence.records.retain(|id| id != "order-b3");
    evidence.events.retain(|event| event.order_number != "REF-b3");
    evidence.rejected.insert("order-b3".into());
    let found = reconcile(&evidence);
    assert!(found.holds());
    assert_eq!(found.total.of(Fate::Rejected), 1);
}
