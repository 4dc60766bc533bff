use std::cell::RefCell;
use std::time::Duration;

use causeway_simulator::{Fault, FaultKind, ObjectPermission, PublishedBy};
use futures::StreamExt;
use proptest::prelude::*;
use serde_json::{Value, json};
use tonic::Code;

use crate::client::{Client, eventually};
use crate::subscriber::proto::{self, PublishRequest, ReplayPreset};
use crate::subscriber::{PubSub, TOPIC, connect, fetch, metadata, number, refusal, rest};

const EVENT: &str = "i42as__OrderEvent__e";

#[tokio::test]
async fn a_topic_names_its_schema_and_the_schema_its_fields() {
    let org = Client::new().await;
    let mut bus = PubSub::of(&org).await;
    let topic = bus.rpc.get_topic(proto::TopicRequest { topic_name: TOPIC.to_owned() }).await.unwrap().into_inner();
    assert_eq!((topic.topic_name.as_str(), topic.can_publish, topic.can_subscribe), (TOPIC, true, true));
    assert!(topic.tenant_guid.starts_with("CORE/prod/00D"));
    assert_eq!(topic.schema_id.len(), 22);
    let request = proto::SchemaRequest { schema_id: topic.schema_id.clone() };
    let schema = bus.rpc.get_schema(request).await.unwrap().into_inner();
    assert_eq!(schema.schema_id, topic.schema_id);
    let schema: Value = serde_json::from_str(&schema.schema_json).unwrap();
    assert_eq!((&schema["name"], &schema["namespace"]), (&json!(EVENT), &json!("com.sforce.eventbus")));
    let created = json!({ "name": "CreatedDate", "type": "long", "doc": "CreatedDate:DateTime" });
    assert_eq!(schema["fields"][0], created);
    assert_eq!(schema["fields"][1]["doc"], "CreatedBy:EntityId");
    let field =
        |name: &str| schema["fields"].as_array().unwrap().iter().find(|field| field["name"] == name).unwrap().clone();
    assert_eq!(field("i42as__OrderNumber__c")["type"], json!(["null", "string"]));
    assert_eq!(field("i42as__OrderNumber__c")["default"], Value::Null);
    assert_eq!(field("i42as__PurchaseDate__c")["type"], json!(["null", "long"]));
    assert_eq!(field("i42as__OrderValue__c")["type"], json!(["null", "double"]));
    assert!(field("i42as__LimioOrder__c")["doc"].as_str().unwrap().starts_with("Data:StringPlusClob:00N"));
    let again = Client::new().await;
    assert_eq!(PubSub::of(&again).await.schema_id, topic.schema_id, "the id is a hash of the schema");
}

#[tokio::test]
async fn an_event_of_rest_arrives_at_a_subscriber_as_avro() {
    let org = Client::new().await;
    let mut bus = PubSub::of(&org).await;
    let mut stream = bus.subscribe(fetch(ReplayPreset::Earliest, 10)).await.unwrap();
    let fields = json!({ "i42as__OrderNumber__c": "N-1", "i42as__OrderValue__c": 12.5,
                         "i42as__PurchaseDate__c": "2026-02-03T17:13:57.820+01:00" });
    let (_, answer) = org.post(&format!("sobjects/{EVENT}"), fields).await;
    let response = stream.next().await.unwrap();
    assert_eq!((response.events.len(), response.pending_num_requested), (1, 9));
    let event = &response.events[0];
    assert_eq!(event.event.as_ref().unwrap().id, answer["errors"][0]["message"].as_str().unwrap());
    assert_eq!(event.event.as_ref().unwrap().schema_id, bus.schema_id);
    assert_eq!(event.replay_id.len(), 10);
    assert_eq!(response.latest_replay_id, event.replay_id);
    let fields = bus.fields(event);
    assert_eq!(fields["i42as__OrderNumber__c"], "N-1");
    assert_eq!(fields["i42as__OrderValue__c"], 12.5);
    assert_eq!(fields["i42as__PurchaseDate__c"], 1_770_135_237_820_i64);
    assert!(fields["CreatedById"].as_str().unwrap().starts_with("005"));
    assert_eq!(fields["i42as__GiftCode__c"], Value::Null);
    assert_eq!(org.control().events()[0].deliveries, 1);
}

#[tokio::test]
async fn what_is_published_by_grpc_is_final_and_costs_no_api_call() {
    let org = Client::new().await;
    let mut bus = PubSub::of(&org).await;
    let calls = org.control().api_calls();
    let event = bus.event(
        "a1b2",
        json!({ "i42as__OrderNumber__c": "N-1", "i42as__PurchaseDate__c": 1_770_135_237_820_i64,
                                          "i42as__OrderValue__c": 12.5 }),
    );
    let answer = bus.publish(vec![event]).await.unwrap();
    assert_eq!(answer.schema_id, bus.schema_id);
    let result = &answer.results[0];
    assert_eq!((result.correlation_key.as_str(), &result.error), ("a1b2", &None));
    let events = org.control().events();
    assert_eq!(result.replay_id[..8], events[0].replay_id.to_be_bytes());
    assert_eq!((events[0].event_uuid.as_str(), events[0].published), ("a1b2", PublishedBy::PubSub));
    assert_eq!(events[0].payload["i42as__PurchaseDate__c"], "2026-02-03T16:13:57.820Z");
    assert_eq!(events[0].payload["i42as__OrderValue__c"], 12.5);
    assert_eq!(events[0].payload["CreatedDate"], "2026-02-02T02:40:00.123Z");
    let mut stream = bus.subscribe(fetch(ReplayPreset::Earliest, 1)).await.unwrap();
    assert_eq!(number(&bus, &stream.events(1).await[0]), "N-1");
    assert_eq!(org.control().api_calls(), calls);
    assert_eq!(org.control().usage().events_last_hour, 1);
}

#[tokio::test]
async fn a_bad_event_of_a_batch_is_refused_alone() {
    let org = Client::with_settings(|settings| settings.event_max_bytes = 100_000).await;
    let mut bus = PubSub::of(&org).await;
    let mut broken = bus.event("broken", json!({}));
    broken.payload.truncate(5);
    let mut longer = bus.event("longer", json!({}));
    longer.payload.push(0);
    let mut foreign = bus.event("foreign", json!({}));
    foreign.schema_id = "2fr-Hbmw3Qw3s3m0wCd2Ug".to_owned();
    let events = vec![
        bus.event("good", json!({})),
        broken,
        longer,
        foreign,
        bus.event("long text", json!({ "i42as__OrderNumber__c": "x".repeat(41) })),
        bus.event("number", json!({ "i42as__OrderValue__c": 1e20 })),
        bus.event("date", json!({ "i42as__PurchaseDate__c": i64::MAX })),
        bus.event("large", json!({ "i42as__LimioOrder__c": "x".repeat(100_000) })),
    ];
    let answer = bus.publish(events).await.unwrap();
    let refused: Vec<&str> = answer
        .results
        .iter()
        .filter(|result| result.error.as_ref().is_some_and(|error| error.code == 1 && !error.msg.is_empty()))
        .map(|result| result.correlation_key.as_str())
        .collect();
    assert_eq!(refused, ["broken", "longer", "foreign", "long text", "number", "date", "large"]);
    assert_eq!(org.control().events().len(), 1);
    let mut blank = bus.event("blank", json!({}));
    blank.schema_id.clear();
    let status = bus.publish(vec![blank]).await.unwrap_err();
    assert_eq!(refusal(&status).0, Code::InvalidArgument);
    assert!(status.message().starts_with("Schema validation failed. The schema ID can't be blank. rpcId: "));
}

#[tokio::test]
async fn wrong_metadata_are_an_authentication_error() {
    let org = Client::new().await;
    let good = metadata(&org).await;
    for (place, wrong) in [(0, "nonsense"), (1, "https://other.my.salesforce.com"), (2, "00D000000000009AAA"), (2, "")]
    {
        let mut metadata = good.clone();
        wrong.clone_into(&mut metadata[place].1);
        let mut rpc = connect(&org, &metadata).await;
        let status = rpc.get_topic(proto::TopicRequest { topic_name: TOPIC.to_owned() }).await.unwrap_err();
        assert_eq!(refusal(&status), (Code::Unauthenticated, "service.auth.error".to_owned()), "{wrong}");
    }
    let mut rpc = connect(&org, &good[..2]).await;
    let status = rpc.get_topic(proto::TopicRequest { topic_name: TOPIC.to_owned() }).await.unwrap_err();
    assert_eq!(refusal(&status).0, Code::Unauthenticated);
}

#[tokio::test]
async fn a_topic_or_schema_that_is_not_there_is_not_found() {
    let org = Client::new().await;
    let mut bus = PubSub::of(&org).await;
    for name in ["/event/Nothing__e", "/event/Account", "i42as__OrderEvent__e", "/data/AccountChangeEvent"] {
        let status = bus.rpc.get_topic(proto::TopicRequest { topic_name: name.to_owned() }).await.unwrap_err();
        assert_eq!(refusal(&status).0, Code::NotFound, "{name}");
        assert!(status.message().contains(&format!("and topic {name} not found. Ensure the topic name is correct")));
    }
    let status = bus.rpc.get_schema(proto::SchemaRequest { schema_id: "x".to_owned() }).await.unwrap_err();
    assert_eq!(refusal(&status).0, Code::NotFound);
    let status = bus.rpc.get_schema(proto::SchemaRequest::default()).await.unwrap_err();
    assert_eq!(refusal(&status).0, Code::InvalidArgument);
}

#[tokio::test]
async fn a_publish_stream_answers_each_request_and_closes_when_idle() {
    let org = Client::new().await;
    let mut bus = PubSub::of(&org).await;
    let (requests, receiver) = tokio::sync::mpsc::channel::<PublishRequest>(4);
    let outbound = futures::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    let batch = |bus: &PubSub, topic: &str, ids: &[&str]| PublishRequest {
        topic_name: topic.to_owned(),
        events: ids.iter().map(|id| bus.event(id, json!({}))).collect(),
        auth_refresh: String::new(),
    };
    requests.send(batch(&bus, TOPIC, &["a", "b"])).await.unwrap();
    let mut answers = bus.rpc.publish_stream(outbound.boxed()).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().results.len(), 2);
    requests.send(batch(&bus, "", &["c"])).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().results[0].correlation_key, "c");
    assert_eq!(org.control().events().len(), 3);
    org.control().advance_clock(Duration::from_secs(70));
    assert!(answers.message().await.unwrap().is_none());

    let outbound = futures::stream::iter([batch(&bus, TOPIC, &["d"]), batch(&bus, "/event/Other__e", &["e"])]);
    let mut answers = bus.rpc.publish_stream(outbound).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().results.len(), 1);
    assert_eq!(refusal(&answers.message().await.unwrap_err()).0, Code::InvalidArgument);
}

#[tokio::test]
async fn the_hourly_allocation_is_one_for_rest_and_grpc() {
    let org = Client::with_settings(|settings| settings.event_hourly_limit = 2).await;
    let mut bus = PubSub::of(&org).await;
    rest(&org, "N-1").await;
    let answer = bus.publish(vec![bus.event("a", json!({})), bus.event("b", json!({}))]).await.unwrap();
    assert_eq!(answer.results[0].error, None);
    assert!(answer.results[1].error.as_ref().unwrap().msg.contains("event publishing limit"));
    let (status, _) = org.post(&format!("sobjects/{EVENT}"), json!({})).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_message_above_four_megabytes_never_reaches_the_service() {
    let org = Client::new().await;
    let mut bus = PubSub::of(&org).await;
    let mut event = bus.event("large", json!({}));
    event.payload = vec![0; 5 * 1024 * 1024];
    let status = bus.publish(vec![event.clone()]).await.unwrap_err();
    let reset = "upstream connect error or disconnect/reset before headers. reset reason: remote reset";
    assert_eq!((status.code(), status.message()), (Code::Unavailable, reset));
    event.payload = vec![0; 2 * 1024 * 1024];
    let answer = bus.publish(vec![event, bus.event("good", json!({}))]).await.unwrap();
    assert!(answer.results[0].error.is_some());
    assert_eq!(answer.results[1].error, None);
}

#[tokio::test]
async fn permissions_on_the_event_decide_who_publishes_and_subscribes() {
    let org = Client::with_settings(|settings| {
        settings.object_permissions.insert(EVENT.to_owned(), ObjectPermission::NONE);
    })
    .await;
    let mut bus = PubSub::of(&org).await;
    let topic = bus.rpc.get_topic(proto::TopicRequest { topic_name: TOPIC.to_owned() }).await.unwrap().into_inner();
    assert!(!topic.can_publish && !topic.can_subscribe);
    let status = bus.publish(vec![bus.event("a", json!({}))]).await.unwrap_err();
    assert_eq!(refusal(&status).0, Code::PermissionDenied);
    let status = bus.subscribe(fetch(ReplayPreset::Latest, 1)).await.unwrap().next().await.unwrap_err();
    assert_eq!(refusal(&status).0, Code::PermissionDenied);
    org.control().update_settings(|settings| {
        settings.object_permissions.insert(EVENT.to_owned(), ObjectPermission::READ);
    });
    let topic = bus.rpc.get_topic(proto::TopicRequest { topic_name: TOPIC.to_owned() }).await.unwrap().into_inner();
    assert!(!topic.can_publish && topic.can_subscribe);
}

#[tokio::test]
async fn faults_for_its_path_reach_the_service() {
    let org = Client::new().await;
    let mut bus = PubSub::of(&org).await;
    let topic = || proto::TopicRequest { topic_name: TOPIC.to_owned() };
    org.control().arm(Fault::once(FaultKind::UnavailableJson).on_path("PubSub/GetTopic"));
    let status = bus.rpc.get_topic(topic()).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::Unavailable, "service.unavailable".to_owned()));
    org.control().arm(Fault::once(FaultKind::ExpiredSession).on_path("eventbus.v1"));
    assert_eq!(refusal(&bus.rpc.get_topic(topic()).await.unwrap_err()).0, Code::Unauthenticated);
    org.control().arm(Fault::once(FaultKind::EventUnavailable));
    let answer = bus.publish(vec![bus.event("a", json!({})), bus.event("b", json!({}))]).await.unwrap();
    assert!(answer.results[0].error.as_ref().unwrap().msg.contains("temporarily unavailable"));
    assert_eq!(answer.results[1].error, None);
    let logged = org.control().requests();
    assert!(logged.iter().any(|request| request.path == "/eventbus.v1.PubSub/Publish" && request.status == 200));
}

#[tokio::test]
async fn a_call_from_before_a_reset_is_not_in_the_new_log() {
    let org = Client::with_settings(|settings| settings.pace = 0.0).await;
    let mut bus = PubSub::of(&org).await;
    org.control().arm(Fault::once(FaultKind::Slow { ms: 1_000 }).on_path("PubSub/GetTopic"));
    let call =
        tokio::spawn(
            async move { bus.rpc.get_topic(proto::TopicRequest { topic_name: TOPIC.to_owned() }).await.map(drop) },
        );
    eventually(|| org.control().usage().waiting == 1).await;
    org.control().reset();
    org.control().advance_clock(Duration::from_secs(1));
    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unauthenticated);
    assert!(org.control().requests().is_empty());
}

#[tokio::test]
async fn managed_subscriptions_and_plain_http_are_refused() {
    let org = Client::new().await;
    let mut bus = PubSub::of(&org).await;
    let outbound = futures::stream::iter([proto::ManagedFetchRequest::default()]);
    assert_eq!(refusal(&bus.rpc.managed_subscribe(outbound).await.unwrap_err()).0, Code::Unimplemented);
    assert_eq!(org.post("/eventbus.v1.PubSub/Publish", json!({})).await.0, 415);
}

#[test]
fn random_bytes_never_break_the_service() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let org = runtime.block_on(Client::new());
    let bus = RefCell::new(runtime.block_on(PubSub::of(&org)));
    let metadata = runtime.block_on(metadata(&org));
    let http = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let good = bus.borrow().event("x", json!({ "i42as__OrderNumber__c": "N", "i42as__OrderValue__c": 1.5 })).payload;
    let payload = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        (any::<proptest::sample::Index>(), any::<u8>()).prop_map(move |(place, byte)| {
            let mut bytes = good.clone();
            let place = place.index(bytes.len());
            bytes[place] = byte;
            bytes
        }),
    ];
    let method = proptest::sample::select(vec!["Publish", "GetTopic", "GetSchema", "PublishStream", "Subscribe", "X"]);
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(payload in payload, method in method, message in proptest::collection::vec(any::<u8>(), 0..60))| {
        let before = org.control().events().len();
        let mut bus = bus.borrow_mut();
        let mut event = bus.event("random", json!({}));
        event.payload = payload;
        let answer = runtime.block_on(bus.publish(vec![event])).unwrap();
        let stored = org.control().events().len() - before;
        prop_assert_eq!(answer.results[0].error.is_none(), stored == 1);
        // As one whole message, and as a frame whose length is a lie.
        let mut framed = vec![0];
        framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        framed.extend(&message);
        for body in [framed, message] {
            let mut request = http.post(org.url(&format!("/eventbus.v1.PubSub/{method}")));
            for (key, value) in &metadata {
                request = request.header(*key, value);
            }
            let request = request.header("content-type", "application/grpc").header("te", "trailers").body(body);
            let status = runtime.block_on(async {
                let response = request.send().await.unwrap();
                let status = response.status().as_u16();
                response.bytes().await.unwrap();
                status
            });
            prop_assert_eq!(status, 200);
        }
    });
}
