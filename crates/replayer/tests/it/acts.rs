//! The program against a real RabbitMQ.

use queue::dead_letters::DeadLetters;
use queue::journal::entry::{Entry, EntryKind, letter_of};
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
    assert!(listed.out.contains("1 dead, 1 parked behind them, 1 customer blocked"), "{listed:?}");
    assert!(listed.out.contains("REQUIRED_FIELD_MISSING") && !listed.out.contains('\u{1b}'), "{listed:?}");
    let document = fleet.run(&["list", "--json", "--state", "dead"]).await.json();
    assert_eq!(document["letters"].as_array().map(Vec::len), Some(1));
    assert_eq!(document["letters"][0]["order_id"], order(1));
    assert_eq!(document["letters"][0]["behind"], 1);
    let groups = fleet.run(&["list", "--json", "--by", "reason"]).await.json();
    assert_eq!(groups["groups"][0]["value"], "salesforce_refused");
    assert_eq!((groups["groups"][0]["dead"].clone(), groups["groups"][0]["held"].clone()), (json!(1), json!(1)));
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
    assert!(missing.err.contains("no open letter or order is called feedfeed"), "{missing:?}");
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
}

#[tokio::test]
async fn a_replay_releases_the_customer_and_tells_the_owner_of_the_partition() {
    let entries = a_blocked_customer();
    let fleet = Fleet::with(&entries).await;
    let replayed = fleet.run(&["replay", &order(1), "--yes", "--json", "--by", "night shift"]).await;
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
async fn a_letter_without_a_customer_is_published_again_with_its_bytes_untouched_under_a_new_id() {
    let (message, letter) = a_letter_of_nobody();
    let fleet = Fleet::with(&[letter]).await;
    let replayed = fleet.run(&["replay", "--reason", "unreadable_json", "--yes"]).await;
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    assert!(replayed.err.contains("fails again as it is"), "{replayed:?}");
    let again = fleet.next(Queue::Inbox(0)).await;
    assert_ne!(again.id, message.id, "if it dies again, it is another letter than the one that was resolved");
    assert_eq!(again, Message { id: again.id.clone(), ..message });
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
    assert_eq!(document["fates"][0]["fate"], "resolved");
    assert_eq!(
        (document["fates"][1]["fate"].clone(), document["fates"][1]["reason"].clone()),
        (json!("dead_again"), json!("salesforce_refused"))
    );
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
