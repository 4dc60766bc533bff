use super::*;

fn published(key: &str, name: &str, order_type: &'static str) -> Published {
    Published {
        key: key.into(),
        id: format!("order-{name}"),
        reference: format!("REF-{name}"),
        subscription: vec![format!("sub-{key}")],
        order_type,
        event: Some("REQUEST_RENEWAL"),
        expected: Fate::Written,
        whose: Whose::Customers,
        letter: format!("letter-{name}"),
    }
}

fn account_of(name: &str) -> String {
    format!("001-{}", &name[..1])
}

fn event(name: &str) -> Event {
    Event { order_number: format!("REF-{name}"), order_type: "REQUEST_RENEWAL".into(), account: Some(account_of(name)) }
}

fn record(name: &str) -> Record {
    let subscription = Some(format!("sub-{}", &name[..1]));
    Record { order: format!("order-{name}"), account: Some(account_of(name)), subscription }
}

fn letter(name: &str, held: bool) -> Letter {
    Letter {
        id: format!("letter-{name}"),
        order_id: Some(format!("order-{name}")),
        blocks: true,
        held,
        reason: if held { String::new() } else { "missing_field".into() },
        at: 0,
    }
}

fn account(name: &str) -> Account {
    Account { id: format!("001-{name}"), limio_id: Some(name.into()), email: Some(name.into()) }
}

/// Changes what is expected of one order.
fn expect(evidence: &mut Evidence, name: &str, fate: Fate) {
    let id = format!("order-{name}");
    evidence.published.iter_mut().find(|order| order.id == id).expect("it is on the list").expected = fate;
}

/// Two customers with three orders each, all written and announced.
fn sound() -> Evidence {
    let names = ["a1", "b1", "a2", "b2", "a3", "b3"];
    Evidence {
        published: names.iter().map(|name| published(&name[..1], name, "renew")).collect(),
        records: names.iter().map(|name| record(name)).collect(),
        accounts: ["a", "b"].map(account).into(),
        events: names.iter().map(|name| event(name)).collect(),
        ..Evidence::default()
    }
}

/// Compares with outcomes that tell what became of everything; what they leave out has its own tests.
fn reconcile(evidence: &Evidence) -> Reconciliation {
    super::reconcile(&Evidence { told: told(evidence), ..evidence.clone() })
}

fn told(evidence: &Evidence) -> Told {
    let dead = evidence.letters.iter().filter(|letter| !letter.held && letter.blocks);
    Told {
        written: evidence.records.iter().map(|record| record.order.clone()).collect(),
        dead: dead.filter_map(|letter| letter.order_id.clone()).collect(),
        rejected: evidence.told.rejected.clone(),
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
    evidence.records.retain(|record| record.order != "order-b2");
    evidence.events.retain(|event| event.order_number != "REF-b2");
    let found = reconcile(&evidence);
    assert_eq!(found.total.of(Fate::Lost), 1);
    assert!(!found.holds());
    assert_eq!(found.findings, ["lost: order-b2 (renew) of b", "lost and not written as expected: order-b2 (renew)"]);
}

#[test]
fn a_planted_double_record_is_found() {
    let mut evidence = sound();
    evidence.records.push(record("b3"));
    assert_eq!(reconcile(&evidence).records_duplicated, 1);
    let mut evidence = sound();
    evidence.accounts.push(Account { limio_id: None, ..account("a") });
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
    evidence.published[0].event = None;
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
    evidence.records.retain(|record| !["order-a2", "order-a3"].contains(&record.order.as_str()));
    evidence.events.retain(|event| !["REF-a2", "REF-a3"].contains(&event.order_number.as_str()));
    evidence.letters = vec![letter("a2", false), letter("a3", true)];
    expect(&mut evidence, "a2", Fate::DeadLettered);
    expect(&mut evidence, "a3", Fate::Parked);
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
    evidence.records.push(record("a3"));
    evidence.events.push(event("a3"));
    expect(&mut evidence, "a3", Fate::Written);
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
    let (letter_id, expected) = ("letter-twin".to_owned(), Fate::DeadLettered);
    evidence.published.push(Published { letter: letter_id, expected, ..evidence.published[4].clone() });
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
    evidence.records.push(record("x"));
    evidence.events.push(event("x"));
    assert_eq!(reconcile(&evidence).strays, 2);
}

#[test]
fn a_letter_of_what_nobody_sent_is_found() {
    for order_id in [None, Some("order-x".to_owned())] {
        let mut evidence = sound();
        evidence.letters = vec![Letter { order_id, blocks: false, ..letter("x", false) }];
        let found = reconcile(&evidence);
        assert_eq!(found.findings, ["nobody sent what is in the letter letter-x"]);
        assert!(!found.holds());
    }
}

#[test]
fn an_account_without_a_name_that_was_not_there_before_is_found() {
    let mut evidence = sound();
    evidence.accounts.push(Account { id: "001-new".into(), ..Account::default() });
    assert_eq!(reconcile(&evidence).findings, ["an Account that no order made: 001-new"]);
    evidence.accounts_before.insert("001-new".into());
    assert!(reconcile(&evidence).holds());
}

#[test]
fn an_order_whose_fate_nobody_was_told_of_is_found() {
    let mut evidence = with_letters();
    evidence.told = told(&evidence);
    assert!(super::reconcile(&evidence).holds());
    evidence.told.written.remove("order-b1");
    evidence.told.dead.remove("order-a2");
    let found = super::reconcile(&evidence);
    assert_eq!(found.findings, ["given up and not told of: order-a2", "written and not told of: order-b1"]);
    assert!(!found.holds());
}

#[test]
fn an_outcome_that_is_not_true_is_found() {
    let mut evidence = with_letters();
    evidence.told = told(&evidence);
    evidence.told.written.insert("order-a3".into());
    evidence.told.dead.insert("order-b1".into());
    evidence.told.rejected.insert("order-x".into());
    let found = super::reconcile(&evidence);
    assert_eq!((found.outcomes_wrong, found.settled_twice), (3, 0), "{:?}", found.findings);
    assert!(!found.holds());
}

#[test]
fn no_outcome_is_due_of_what_waits_and_of_a_letter_of_nobody() {
    let mut evidence = with_letters();
    evidence.letters[0].blocks = false;
    evidence.letters.pop();
    evidence.records.push(record("a3"));
    evidence.events.push(event("a3"));
    expect(&mut evidence, "a3", Fate::Written);
    evidence.told = told(&evidence);
    assert!(evidence.told.dead.is_empty());
    assert!(super::reconcile(&evidence).holds());
}

#[test]
fn a_rejected_order_is_settled() {
    let mut evidence = sound();
    evidence.records.retain(|record| record.order != "order-b3");
    evidence.events.retain(|event| event.order_number != "REF-b3");
    evidence.told.rejected.insert("order-b3".into());
    expect(&mut evidence, "b3", Fate::Rejected);
    let found = reconcile(&evidence);
    assert!(found.holds());
    assert_eq!(found.total.of(Fate::Rejected), 1);
}

#[test]
fn a_run_in_which_everything_is_dead_lettered_does_not_hold() {
    let mut evidence = sound();
    evidence.records.clear();
    evidence.events.clear();
    evidence.accounts.clear();
    evidence.letters = ["a1", "b1", "a2", "b2", "a3", "b3"].map(|name| letter(name, false)).into();
    let found = reconcile(&evidence);
    assert_eq!((found.total.of(Fate::DeadLettered), found.total.of(Fate::Lost), found.unexpected), (6, 0, 6));
    assert!(!found.holds());
    assert_eq!(found.findings[0], "dead-lettered and not written as expected: order-a1 (renew)");
}

#[test]
fn an_order_that_should_have_been_refused_and_was_written_is_unexpected() {
    for expected in [Fate::DeadLettered, Fate::Rejected, Fate::Parked] {
        let mut evidence = sound();
        expect(&mut evidence, "b3", expected);
        let found = reconcile(&evidence);
        assert_eq!(found.unexpected, 1);
        assert!(!found.holds());
    }
}

#[test]
fn a_parked_order_needs_a_dead_letter_of_its_customer_that_came_before_it() {
    // Behind nothing at all.
    let mut evidence = sound();
    evidence.records.retain(|record| record.order != "order-a3");
    evidence.events.retain(|event| event.order_number != "REF-a3");
    evidence.letters = vec![letter("a3", true)];
    expect(&mut evidence, "a3", Fate::Parked);
    let found = reconcile(&evidence);
    assert_eq!(found.unexpected, 1);
    assert_eq!(found.findings, ["parked, and no dead letter of its customer came before: order-a3"]);
    // Behind another customer's letter, and before the letter of its own.
    for (dead, parked) in [("b2", "a3"), ("a3", "a2")] {
        let mut evidence = sound();
        let gone = [dead, parked].map(|name| format!("order-{name}"));
        evidence.records.retain(|record| !gone.contains(&record.order));
        evidence.events.retain(|event| ![dead, parked].contains(&&event.order_number[4..]));
        evidence.letters = vec![letter(dead, false), letter(parked, true)];
        expect(&mut evidence, dead, Fate::DeadLettered);
        expect(&mut evidence, parked, Fate::Parked);
        assert_eq!(reconcile(&evidence).unexpected, 1, "{parked} behind {dead}");
    }
}

#[test]
fn records_and_events_of_another_customers_account_are_found() {
    for (wrong, named) in [
        (Some("001-b".to_owned()), "the Account of b"),
        (Some("001-unknown".to_owned()), "001-unknown, which is no Account,"),
        (None, "no Account"),
    ] {
        let mut evidence = sound();
        evidence.records[0].account.clone_from(&wrong);
        let found = reconcile(&evidence);
        assert_eq!(found.strays, 1);
        assert!(!found.holds());
        assert_eq!(found.findings, [format!("the record names {named} instead of its customer's: order-a1")]);
        let mut evidence = sound();
        evidence.events[0].account = wrong;
        let found = reconcile(&evidence);
        assert_eq!(found.findings, [format!("the event names {named} instead of its customer's: order-a1")]);
        assert!(!found.holds());
    }
}

#[test]
fn two_accounts_that_swapped_their_customers_are_found() {
    let mut evidence = sound();
    for account in &mut evidence.accounts {
        account.limio_id = Some(if account.id == "001-a" { "b" } else { "a" }.to_owned());
    }
    assert_eq!(reconcile(&evidence).strays, 12);
}

#[test]
fn a_matched_customers_orders_belong_to_the_twin_and_an_account_of_their_own_is_a_stray() {
    let mut evidence = sound();
    for order in evidence.published.iter_mut().filter(|order| order.key == "a") {
        order.whose = Whose::Twins("a".into());
    }
    assert_eq!(reconcile(&evidence).strays, 7);
    evidence.accounts[0].limio_id = None;
    assert_eq!(reconcile(&evidence).findings, ["an Account that no order made: 001-a"]);
    evidence.accounts_before.insert("001-a".into());
    assert!(reconcile(&evidence).holds());
}

#[test]
fn an_order_of_a_customer_of_whom_no_account_is_known_names_none() {
    let mut evidence = sound();
    evidence.published[0].whose = Whose::Nobodys;
    assert_eq!(reconcile(&evidence).strays, 2);
    evidence.records[0].account = None;
    evidence.events[0].account = None;
    assert!(reconcile(&evidence).holds());
}

#[test]
fn an_event_of_another_type_than_its_orders_is_found() {
    let mut evidence = sound();
    evidence.events[2].order_type = "CANCEL_REQUEST".into();
    let found = reconcile(&evidence);
    assert_eq!(found.findings, ["announced as CANCEL_REQUEST instead of REQUEST_RENEWAL: order-a2"]);
    assert!(!found.holds());
    let mut evidence = sound();
    evidence.published[2].event = None;
    assert_eq!(reconcile(&evidence).strays, 1);
}

#[test]
fn the_same_event_under_two_accounts_is_still_a_double() {
    let mut evidence = sound();
    evidence.events.push(Event { account: Some("001-a".into()), ..event("b3") });
    let found = reconcile(&evidence);
    assert_eq!((found.events_duplicated, found.strays), (1, 1));
}
