//! The program against a real RabbitMQ.

use queue::dead_letters::DeadLetters;
use queue::journal::entry::{Before, Entry, EntryKind, letter_of};
use queue::message::{Message, RELEASE, SEQUENCE_KEY};
use queue::topology::Queue;
use serde_json::json;

use crate::fleet::Fleet;
use crate::letters::{dead, entry, message, order, refused, torn};

const KEY: &str = "id-af385c5fd5a03350308ea28d073e9e26";

fn now(entry: Entry) -> Entry {
    Entry { at: queue::journal::entry::now_ms(), ..entry }
}

/// One dead letter and one order behind it.
fn a_blocked_customer() -> Vec<Entry> {
    let first = message("m-1", Some(KEY), b"{\"id\":\"order-1\",\"lastName\":\"Doe\"}");
    let behind = letter_of(&first);
    vec![
        now(entry(dead(refused()), first, Some(KEY), Some(&order(1)), 0)),
        now(entry(EntryKind::Held { behind }, message("m-2", Some(KEY), b"{}"), Some(KEY), Some(&order(2)), 0)),
    ]
}

fn a_letter_of_nobody() -> (Message, Entry) {
    let message = message("m-9", None, b"{torn \xff");
    (message.clone(), now(entry(dead(torn()), message, None, None, 0)))
}

fn id(entry: &Entry) -> String {
    entry.letter.as_ref().expect("about a letter").as_str().to_owned()
}

#[tokio::test]
async fn a_dead_letter_is_listed_and_json_is_one_document() {
    let fleet = Fleet::with(&a_blocked_customer()).await;
    let listed = fleet.run(&["list"]).await;
    assert_eq!(listed.code, Some(0), "{listed:?}");
    assert!(listed.out.contains("1 dead, 1 parked behind it, 1 customer blocked"), "{listed:?}");
    assert!(listed.out.contains("REQUIRED_FIELD_MISSING") && !listed.out.contains('\u{1b}'), "{listed:?}");
    let document = fleet.run(&["list", "--json", "--state", "dead"]).await.json();
    assert_eq!(document["letters"].as_array().map(Vec::len), Some(1));
    assert_eq!(document["letters"][0]["order_id"], order(1));
    assert_eq!(document["letters"][0]["behind"], 1);
    let groups = fleet.run(&["list", "--json", "--by", "reason"]).await.json();
    assert_eq!(groups["groups"][0]["value"], "salesforce_refused");
    assert_eq!((groups["groups"][0]["dead"].clone(), groups["groups"][0]["parked"].clone()), (json!(1), json!(1)));
}

#[tokio::test]
async fn a_letter_is_shown_explained_and_gives_back_its_bytes() {
    let entries = a_blocked_customer();
    let fleet = Fleet::with(&entries).await;
    let shown = fleet.run(&["show", &id(&entries[0])[..6]]).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for text in [
        "salesforce_refused",
        "LastName",
        "REQUIRED_FIELD_MISSING",
        "Remedy",
        &order(2),
        "lastName: text of 3 characters",
    ] {
        assert!(shown.out.contains(text), "{text} in {}", shown.out);
    }
    assert!(!shown.out.contains("Doe"), "{}", shown.out);
    assert!(fleet.run(&["show", &order(1), "--reveal"]).await.out.contains("\"lastName\": \"Doe\""));
    assert_eq!(fleet.run(&["show", &order(1), "--raw"]).await.bytes, entries[0].message.body.to_vec());
    let document = fleet.run(&["show", &order(1), "--json"]).await.json();
    assert_eq!(document["letters"][0]["failure"]["field"], "LastName");
    assert_eq!(document["letters"][0]["waiting"][0]["order_id"], order(2));
    assert_eq!(document["letters"][0]["message"]["body"].get("value"), None);
    let missing = fleet.run(&["show", "feedfeed"]).await;
    assert_eq!((missing.code, missing.out.as_str()), (Some(1), ""), "{missing:?}");
    assert!(missing.err.contains("no letter or order is called feedfeed"), "{missing:?}");
}

#[tokio::test]
async fn a_discard_without_a_terminal_needs_a_yes() {
    let fleet = Fleet::with(&a_blocked_customer()).await;
    for arguments in [["discard", "--all", "--why", "test"].as_slice(), &["replay", "--all"]] {
        let refused = fleet.run(arguments).await;
        assert_eq!(refused.code, Some(64), "{refused:?}");
        assert!(refused.err.contains("say --yes to"), "{refused:?}");
    }
    assert_eq!(fleet.open_orders().await.len(), 2);
    assert_eq!(fleet.session.ready(Queue::Partition(fleet.topology.partition_of(KEY))).await.expect("asked"), 0);
}

#[tokio::test]
async fn a_confirmed_discard_closes_the_letter_and_names_who_stays_parked() {
    let entries = a_blocked_customer();
    let fleet = Fleet::with(&entries).await;
    let dry = fleet.run(&["discard", &id(&entries[0]), "--why", "sent again", "--dry-run", "--json"]).await.json();
    assert_eq!((dry["plan"]["stranded"].clone(), dry["discarded"].clone()), (json!(1), json!([])));
    assert_eq!(fleet.open_orders().await.len(), 2);
    let discarded = fleet.run(&["discard", &id(&entries[0]), "--why", "sent again", "--yes"]).await;
    assert_eq!(discarded.code, Some(0), "{discarded:?}");
    assert!(discarded.out.contains("Discarded 1 letter."), "{discarded:?}");
    assert!(discarded.out.contains(&format!("causeway-replayer replay --customer '{KEY}'")), "{discarded:?}");
    assert_eq!(fleet.open_orders().await, [Some(order(2))]);
    let again = fleet.run(&["discard", &id(&entries[0]), "--why", "sent again", "--yes"]).await;
    assert_eq!(again.code, Some(1), "it is not open any more: {again:?}");
    assert!(again.err.contains("is no longer open: discarded"), "{again:?}");
    let shown = fleet.run(&["show", &id(&entries[0])]).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.out.contains("closed: discarded by tester") && shown.out.contains("sent again"), "{shown:?}");
    let listed = fleet.run(&["list", "--state", "closed", "--json"]).await.json();
    assert_eq!(listed["letters"][0]["closed"]["how"], "discarded");
    let counted = fleet.run(&["list", "--state", "closed", "--by", "reason"]).await;
    assert_eq!(counted.code, Some(64), "{counted:?}");
}

#[tokio::test]
async fn a_replay_releases_the_customer_and_tells_the_owner_of_the_partition() {
    let entries = a_blocked_customer();
    let fleet = Fleet::with(&entries).await;
    let replayed = fleet.run(&["replay", &order(1), "--yes", "--json", "--operator", "night shift"]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    let document = replayed.json();
    assert_eq!((document["plan"]["letters"].clone(), document["plan"]["along"].clone()), (json!(2), json!(1)));
    let letters = DeadLetters::open(&fleet.broker, "test").await.expect("the journal is read");
    assert!(letters.letters().iter().all(|letter| letter.released_at.is_some()));
    let control = fleet.next(Queue::Partition(fleet.topology.partition_of(KEY))).await;
    assert_eq!(control.kind.as_deref(), Some(RELEASE));
    assert_eq!(control.header(SEQUENCE_KEY), Some(KEY));
    assert_eq!(document["released"][0]["plan"], control.id);
}

#[tokio::test]
async fn a_letter_without_a_customer_is_published_again_under_a_new_id_and_says_which_letter_it_was() {
    let (message, letter) = a_letter_of_nobody();
    let before = Before { letter: letter_of(&message), times_dead: 1, first_dead_at: Some(letter.at) };
    let fleet = Fleet::with(&[letter]).await;
    let replayed = fleet.run(&["replay", "--reason", "unreadable_json", "--yes"]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    assert!(replayed.err.contains("fails again as it is"), "{replayed:?}");
    let again = fleet.next(Queue::Inbox(0)).await;
    assert_ne!(again.id, message.id, "if it dies again, it is another letter than the one that was resolved");
    assert_eq!(again, before.on(Message { id: again.id.clone(), ..message }), "its bytes are untouched");
    assert!(fleet.open_orders().await.is_empty());
}

#[tokio::test]
async fn a_replay_that_is_waited_for_tells_what_became_of_each_letter() {
    let entries = a_blocked_customer();
    let fleet = Fleet::with(&entries).await;
    let arguments = ["replay", "--all", "--yes", "--wait", "--timeout", "30s", "--json"];
    let (ended, ()) = tokio::join!(fleet.run(&arguments), async {
        // In place of a writer: the first letter is written, the second fails.
        fleet.next(Queue::Partition(fleet.topology.partition_of(KEY))).await;
        fleet.append(&now(Entry { kind: EntryKind::Resolved { how: "written".into() }, ..entries[0].clone() })).await;
        fleet.append(&now(Entry { kind: dead(refused()), ..entries[1].clone() })).await;
    });
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let document = ended.json();
    assert_eq!(document["fates"][0]["fate"], "written");
    assert_eq!(
        (document["fates"][1]["fate"].clone(), document["fates"][1]["reason"].clone()),
        (json!("dead_again"), json!("salesforce_refused"))
    );
}

/// In place of ingest: gives a message of nobody up, or takes it.
async fn answer(fleet: &Fleet, refuse: bool) -> Message {
    let message = fleet.next(Queue::Inbox(0)).await;
    let entry = if refuse {
        entry(dead(torn()), message.clone(), None, None, 0)
    } else {
        let letter = Before::of(&message).expect("it says which letter it was").letter;
        Entry { letter: Some(letter), ..Entry::new(EntryKind::Resolved { how: "accepted".into() }, "ingest/1") }
    };
    fleet.append(&now(entry)).await;
    message
}

#[tokio::test]
async fn a_letter_without_a_customer_that_dies_again_is_a_failure_and_counts_on() {
    let fleet = Fleet::with(&[a_letter_of_nobody().1]).await;
    for times in [2, 3] {
        let arguments = ["replay", "--all", "--yes", "--wait", "--timeout", "30s", "--json"];
        let (ended, message) = tokio::join!(fleet.run(&arguments), answer(&fleet, true));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let fate = &ended.json()["fates"][0];
        assert_eq!((&fate["fate"], &fate["reason"]), (&json!("dead_again"), &json!("unreadable_json")));
        let listed = fleet.run(&["list", "--json"]).await.json();
        assert_eq!(listed["letters"].as_array().map(Vec::len), Some(1), "{listed:#}");
        let letter = &listed["letters"][0];
        assert_eq!((&letter["letter"], &letter["times_dead"]), (&fate["again"], &json!(times)));
        assert_eq!(letter["after"], fate["letter"], "it names the letter before");
        assert_eq!(letter["letter"], letter_of(&message).as_str());
    }
    let (ended, _) = tokio::join!(
        fleet.run(&["replay", "--all", "--yes", "--wait", "--timeout", "30s", "--json"]),
        answer(&fleet, false)
    );
    assert_eq!((ended.code, ended.json()["fates"][0]["fate"].clone()), (Some(0), json!("accepted")), "{ended:?}");
}

#[tokio::test]
async fn a_letter_without_a_customer_that_nobody_takes_is_said_to_be_so_when_the_time_is_over() {
    let fleet = Fleet::with(&[a_letter_of_nobody().1]).await;
    let ended = fleet.run(&["replay", "--all", "--yes", "--wait", "--timeout", "300ms"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for part in ["1 published again and not seen since", "whether ingest runs"] {
        assert!(ended.out.contains(part), "{part} in {ended:?}");
    }
}

#[tokio::test]
async fn a_rejection_after_a_replay_is_told_and_is_no_failure() {
    let entries = a_blocked_customer();
    let fleet = Fleet::with(&entries).await;
    let arguments = ["replay", "--all", "--yes", "--wait", "--timeout", "30s"];
    let (ended, ()) = tokio::join!(fleet.run(&arguments), async {
        fleet.next(Queue::Partition(fleet.topology.partition_of(KEY))).await;
        for (entry, how) in entries.iter().zip(["rejected", "written"]) {
            fleet.append(&now(Entry { kind: EntryKind::Resolved { how: how.into() }, ..entry.clone() })).await;
        }
    });
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.contains("1 written, 1 rejected") && ended.out.contains("order.rejected"), "{ended:?}");
    let shown = fleet.run(&["show", &order(1)]).await;
    assert!(shown.out.contains("closed: rejected by") && shown.out.contains("A business answer"), "{shown:?}");
}

#[tokio::test]
async fn a_replay_that_nobody_carries_out_ends_with_its_timeout() {
    let fleet = Fleet::with(&a_blocked_customer()).await;
    let ended = fleet.run(&["replay", "--all", "--yes", "--wait", "--timeout", "300ms"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.out.contains("2 not settled yet") && ended.out.contains("whether a writer runs"), "{ended:?}");
}

#[tokio::test]
async fn an_empty_journal_is_good_news() {
    let fleet = Fleet::new().await;
    let listed = fleet.run(&["list"]).await;
    assert_eq!(
        (listed.code, listed.out.as_str()),
        (Some(0), "No dead letters. No customer is blocked.\n"),
        "{listed:?}"
    );
    let replayed = fleet.run(&["replay", "--all"]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
}

#[tokio::test]
async fn counts_that_do_not_match_the_fleet_are_a_setting_s_fault() {
    let fleet = Fleet::new().await;
    let refused = fleet.run(&["list", "--partitions", "3"]).await;
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.err.contains("2 partitions"), "{refused:?}");
}

#[tokio::test]
async fn a_namespace_without_a_fleet_is_a_setting_s_fault_and_none_is_made() {
    let fleet = Fleet::new().await;
    let mistyped = format!("{}x", fleet.topology.namespace);
    for verb in [["list"].as_slice(), &["replay", "--all", "--yes"], &["list"]] {
        let refused = fleet.run(&[verb, &["--namespace", &mistyped]].concat()).await;
        assert_eq!((refused.code, refused.out.as_str()), (Some(78), ""), "{refused:?}");
        for part in [mistyped.as_str(), "CAUSEWAY_NAMESPACE", "--namespace", "nothing was created"] {
            assert!(refused.err.contains(part), "{part} in {refused:?}");
        }
    }
}
