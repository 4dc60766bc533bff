use std::time::Duration;

use causeway_simulator::{Fault, FaultKind, PublishBehavior};
use serde_json::json;
use tonic::Code;

use crate::client::{Client, order_graph};
use crate::subscriber::proto::{FetchRequest, ReplayPreset};
use crate::subscriber::{PubSub, connect, fetch, metadata, number, refusal, rest};

#[tokio::test]
async fn a_subscriber_gets_what_it_asked_for_and_no_more() {
    let org = Client::new().await;
    let mut bus = PubSub::of(&org).await;
    for n in 0..150 {
        rest(&org, &format!("N-{n}")).await;
    }
    let mut stream = bus.subscribe(fetch(ReplayPreset::Earliest, 2)).await.unwrap();
    let first = stream.next().await.unwrap();
    assert_eq!((first.events.len(), first.pending_num_requested), (2, 0));
    let delivered = || org.control().events().iter().filter(|event| event.deliveries > 0).count();
    assert_eq!(delivered(), 2, "a client that asks for nothing is sent nothing");
    stream.more(1_000).await;
    let events = stream.events(100).await;
    assert_eq!(events.len(), 100, "no more than a hundred are pending");
    assert_eq!(delivered(), 102);
    stream.more(100).await;
    let rest = stream.events(48).await;
    let numbers: Vec<String> = first.events.iter().chain(&events).chain(&rest).map(|e| number(&bus, e)).collect();
    assert_eq!(numbers, (0..150).map(|n| format!("N-{n}")).collect::<Vec<_>>());
    assert!(events.windows(2).all(|pair| pair[0].replay_id < pair[1].replay_id));
}

#[tokio::test]
async fn a_replay_begins_at_the_tip_the_start_or_after_an_event() {
    let org = Client::new().await;
    let mut bus = PubSub::of(&org).await;
    for n in ["N-1", "N-2", "N-3"] {
        rest(&org, n).await;
    }
    let mut all = bus.subscribe(fetch(ReplayPreset::Earliest, 100)).await.unwrap();
    let events = all.events(3).await;
    // Both lengths that clients send.
    for id in [events[0].replay_id.clone(), events[0].replay_id[..8].to_vec()] {
        let first = FetchRequest { replay_id: id, ..fetch(ReplayPreset::Custom, 100) };
        let mut after = bus.subscribe(first).await.unwrap();
        let names: Vec<String> = after.events(2).await.iter().map(|event| number(&bus, event)).collect();
        assert_eq!(names, ["N-2", "N-3"]);
    }
    let tip = FetchRequest { replay_id: events[2].replay_id.clone(), ..fetch(ReplayPreset::Custom, 100) };
    let mut at_tip = bus.subscribe(tip).await.unwrap();
    rest(&org, "N-4").await;
    assert_eq!(number(&bus, &at_tip.events(1).await[0]), "N-4");
    // Only the first request chooses: this one would otherwise begin again.
    at_tip.requests.send(fetch(ReplayPreset::Earliest, 1)).await.unwrap();
    rest(&org, "N-5").await;
    assert_eq!(number(&bus, &at_tip.events(1).await[0]), "N-5");
}

#[tokio::test]
async fn a_subscriber_at_the_tip_sees_only_what_comes_after() {
    let org = Client::new().await;
    let mut bus = PubSub::of(&org).await;
    rest(&org, "old").await;
    let mut stream = bus.subscribe(fetch(ReplayPreset::Latest, 5)).await.unwrap();
    let expected = format!("new-{}", org.control().events().len());
    // The stream is open before it is set up, so publish until it sees one.
    let event = loop {
        rest(&org, &expected).await;
        let wait = tokio::time::timeout(Duration::from_millis(50), stream.next());
        if let Ok(answer) = wait.await {
            break answer.unwrap().events.remove(0);
        }
    };
    assert_eq!(number(&bus, &event), expected);
}

#[tokio::test]
async fn a_replay_id_that_is_none_or_too_old_is_an_invalid_argument() {
    let org = Client::new().await;
    let mut bus = PubSub::of(&org).await;
    rest(&org, "N-1").await;
    rest(&org, "N-2").await;
    let good = org.control().events()[0].replay_id.to_be_bytes().to_vec();
    let corrupted = "subscription.fetch.replayid.corrupted";
    let custom = |replay_id: Vec<u8>| FetchRequest { replay_id, ..fetch(ReplayPreset::Custom, 1) };
    for (id, code) in [
        (vec![1, 2, 3], corrupted),
        (u64::MAX.to_be_bytes().to_vec(), corrupted),
        (Vec::new(), "subscription.fetch.replayid.validation.failed"),
    ] {
        let status = bus.subscribe(custom(id)).await.unwrap().next().await.unwrap_err();
        assert_eq!(refusal(&status), (Code::InvalidArgument, code.to_owned()));
    }
    assert_eq!(bus.subscribe(custom(good.clone())).await.unwrap().events(1).await.len(), 1);
    let mut client = Client { simulator: org.simulator, http: org.http, token: org.token };
    client.control().advance_clock(Duration::from_hours(73));
    client.token = client.sign_in().await;
    let mut bus = PubSub::of(&client).await;
    let status = bus.subscribe(custom(good)).await.unwrap().next().await.unwrap_err();
    assert_eq!(refusal(&status), (Code::InvalidArgument, corrupted.to_owned()));
}

#[tokio::test]
async fn a_fetch_must_ask_for_events_of_one_topic() {
    let org = Client::new().await;
    let mut bus = PubSub::of(&org).await;
    for count in [0, -1] {
        let status = bus.subscribe(fetch(ReplayPreset::Latest, count)).await.unwrap().next().await.unwrap_err();
        let code = "subscription.fetch.requested.events.invalid".to_owned();
        assert_eq!(refusal(&status), (Code::InvalidArgument, code));
    }
    let mut stream = bus.subscribe(fetch(ReplayPreset::Latest, 1)).await.unwrap();
    let other = FetchRequest { topic_name: "/event/Other__e".to_owned(), ..fetch(ReplayPreset::Latest, 1) };
    stream.requests.send(other).await.unwrap();
    assert_eq!(refusal(&stream.next().await.unwrap_err()).0, Code::InvalidArgument);
    let strange = FetchRequest { replay_preset: 7, ..fetch(ReplayPreset::Latest, 1) };
    let status = bus.subscribe(strange).await.unwrap().next().await.unwrap_err();
    assert_eq!(refusal(&status).0, Code::InvalidArgument);
}

#[tokio::test]
async fn an_idle_subscription_is_kept_alive_by_empty_answers() {
    let org = Client::new().await;
    let mut bus = PubSub::of(&org).await;
    let mut stream = bus.subscribe(fetch(ReplayPreset::Earliest, 5)).await.unwrap();
    rest(&org, "N-1").await;
    let event = stream.events(1).await.remove(0);
    org.control().advance_clock(Duration::from_secs(270));
    let answer = stream.next().await.unwrap();
    assert!(answer.events.is_empty());
    assert_eq!((answer.latest_replay_id, answer.pending_num_requested), (event.replay_id, 4));
}

#[tokio::test]
async fn a_session_that_ends_ends_the_stream() {
    let org = Client::new().await;
    for end in [true, false] {
        let client = org.sign_in().await;
        let mut metadata = metadata(&org).await;
        metadata[0].1 = client;
        let mut bus = PubSub::of(&org).await;
        bus.rpc = connect(&org, &metadata).await;
        let mut stream = bus.subscribe(fetch(ReplayPreset::Earliest, 5)).await.unwrap();
        rest(&org, "N-1").await;
        stream.events(1).await;
        if end {
            // Two hours after the stream began, though the other session was used in between.
            org.control().advance_clock(Duration::from_mins(100));
            rest(&org, "N-2").await;
            org.control().advance_clock(Duration::from_mins(25));
        } else {
            org.control().expire_sessions();
        }
        let status = loop {
            match stream.next().await {
                Ok(_) => {}
                Err(status) => break status,
            }
        };
        assert_eq!(refusal(&status), (Code::Unauthenticated, "service.auth.error".to_owned()));
    }
}

#[tokio::test]
async fn deliveries_beyond_the_daily_allocation_end_the_stream() {
    let org = Client::with_settings(|settings| settings.event_daily_delivery_limit = 3).await;
    let mut bus = PubSub::of(&org).await;
    rest(&org, "N-1").await;
    rest(&org, "N-2").await;
    let mut first = bus.subscribe(fetch(ReplayPreset::Earliest, 5)).await.unwrap();
    assert_eq!(first.events(2).await.len(), 2);
    let mut second = bus.subscribe(fetch(ReplayPreset::Earliest, 5)).await.unwrap();
    assert_eq!(second.events(1).await.len(), 1);
    let status = second.next().await.unwrap_err();
    assert_eq!(refusal(&status), (Code::ResourceExhausted, "subscription.limit.exceeded".to_owned()));
    assert!(status.message().starts_with("You have exceeded the event delivery limit for your org."));
    let (_, limits) = org.get("limits").await;
    assert_eq!(limits["DailyDeliveredPlatformEvents"], json!({ "Max": 3, "Remaining": 0 }));
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_until_one_ends() {
    let org = Client::with_settings(|settings| settings.pubsub_max_streams = 1).await;
    let mut bus = PubSub::of(&org).await;
    let mut first = bus.subscribe(fetch(ReplayPreset::Earliest, 1)).await.unwrap();
    let status = bus.subscribe(fetch(ReplayPreset::Earliest, 1)).await.err().unwrap();
    assert_eq!(refusal(&status), (Code::ResourceExhausted, "concurrent.client.limit.exceeded".to_owned()));
    rest(&org, "N-1").await;
    first.events(1).await;
    drop(first.requests);
    assert!(first.answers.message().await.unwrap().is_none());
    assert_eq!(bus.subscribe(fetch(ReplayPreset::Earliest, 1)).await.unwrap().events(1).await.len(), 1);
}

#[tokio::test]
async fn subscribers_see_faults_of_the_bus_and_rollbacks() {
    let org = Client::new().await;
    let mut bus = PubSub::of(&org).await;
    let mut stream = bus.subscribe(fetch(ReplayPreset::Earliest, 100)).await.unwrap();
    org.control().arm(Fault::once(FaultKind::EventTwice).containing("twice"));
    org.control().arm(Fault::once(FaultKind::EventLost).containing("lost"));
    let mut failing = order_graph(7);
    let bad =
        json!({ "method": "POST", "url": "/services/data/v62.0/sobjects/Contact", "referenceId": "bad", "body": {} });
    failing["compositeRequest"].as_array_mut().unwrap().push(bad);
    org.post("composite/graph", json!({ "graphs": [failing.clone()] })).await;
    org.control().update_settings(|settings| settings.publish_behavior = PublishBehavior::Immediately);
    failing["compositeRequest"][2]["body"]["i42as__OrderNumber__c"] = json!("immediate");
    org.post("composite/graph", json!({ "graphs": [failing] })).await;
    let uuid = rest(&org, "twice").await;
    rest(&org, "lost").await;
    bus.publish(vec![bus.event("last", json!({ "i42as__OrderNumber__c": "last" }))]).await.unwrap();
    let events = stream.events(4).await;
    let numbers: Vec<String> = events.iter().map(|event| number(&bus, event)).collect();
    assert_eq!(numbers, ["immediate", "twice", "twice", "last"]);
    assert!(events[1..3].iter().all(|event| event.event.as_ref().unwrap().id == uuid));
    assert_ne!(events[1].replay_id, events[2].replay_id);
}

#[tokio::test]
async fn a_delayed_event_reaches_its_subscriber_when_it_is_due() {
    let org = Client::new().await;
    let mut bus = PubSub::of(&org).await;
    let mut stream = bus.subscribe(fetch(ReplayPreset::Earliest, 100)).await.unwrap();
    rest(&org, "now").await;
    stream.events(1).await;
    org.control().update_settings(|settings| settings.event_delay_ms = 60_000);
    rest(&org, "later").await;
    bus.publish(vec![bus.event("x", json!({ "i42as__OrderNumber__c": "synchronous" }))]).await.unwrap();
    assert_eq!(number(&bus, &stream.events(1).await[0]), "synchronous");
    org.control().advance_clock(Duration::from_mins(1));
    assert_eq!(number(&bus, &stream.events(1).await[0]), "later");
}

#[tokio::test]
async fn streams_end_when_the_org_is_reset_or_stops() {
    let org = Client::new().await;
    let mut bus = PubSub::of(&org).await;
    let mut stream = bus.subscribe(fetch(ReplayPreset::Earliest, 100)).await.unwrap();
    rest(&org, "N-1").await;
    stream.events(1).await;
    org.control().reset();
    assert!(stream.next().await.is_err());
    let org = Client { token: org.sign_in().await, simulator: org.simulator, http: org.http };
    let mut bus = PubSub::of(&org).await;
    let mut stream = bus.subscribe(fetch(ReplayPreset::Earliest, 100)).await.unwrap();
    let ((), status) = tokio::join!(org.simulator.shutdown(), stream.next());
    assert_eq!(status.unwrap_err().code(), Code::Unavailable);
}
