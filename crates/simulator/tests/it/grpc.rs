//! The Pub/Sub API message by message: events of a schema file, time, TLS, and clients that do not read.

use std::sync::Arc;
use std::time::Duration;

use apache_avro::types::Value as Avro;
use apache_avro::{Schema, from_avro_datum, to_avro_datum};
use causeway_simulator::{Config, Fault, FaultKind, Settings, Simulator, Tls};
use prost::Message;
use reqwest::Certificate;
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::client::{Client, code, eventually};
use crate::subscriber::proto::{
    FetchRequest, FetchResponse, ProducerEvent, PublishRequest, PublishResponse, ReplayPreset, SchemaInfo,
    SchemaRequest, TopicInfo, TopicRequest,
};
use crate::subscriber::{PubSub, TOPIC, fetch, metadata, rest, signed_in};

const EVENTS: &str = r#"
[[object]]
name = "Notice__e"
label = "Notice"
publish_behavior = "immediately"
fields = [
  { name = "Code__c", type = "Text", length = 10, required = true },
  { name = "Urgent__c", type = "Checkbox" },
  { name = "Day__c", type = "Date" },
  { name = "At__c", type = "DateTime" },
  { name = "Amount__c", type = "Number", precision = 5, scale = 2 },
]

[[object]]
name = "Late__e"
label = "Late"
publish_behavior = "after_commit"
fields = [{ name = "Code__c", type = "Text", length = 10 }]
"#;

/// gRPC's own framing, by any HTTP/2 client.
struct Grpc<'o> {
    org: &'o Client,
    http: reqwest::Client,
    metadata: [(&'static str, String); 3],
}

impl<'o> Grpc<'o> {
    async fn of(org: &'o Client, http: reqwest::Client) -> Self {
        Self { org, http, metadata: metadata(org).await }
    }

    async fn plain(org: &'o Client) -> Self {
        Self::of(org, reqwest::Client::builder().http2_prior_knowledge().build().unwrap()).await
    }

    /// The first message that answers `message`; the request ends with it.
    async fn call<A: Message + Default>(&self, method: &str, message: &impl Message) -> A {
        let mut body = vec![0];
        body.extend(u32::try_from(message.encoded_len()).unwrap().to_be_bytes());
        body.extend(message.encode_to_vec());
        let mut request = self.http.post(self.org.url(&format!("/eventbus.v1.PubSub/{method}")));
        for (key, value) in &self.metadata {
            request = request.header(*key, value);
        }
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.version(), reqwest::Version::HTTP_2);
        let bytes = answer.bytes().await.unwrap();
        let (head, rest) = bytes.split_at(5);
        let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
        A::decode(&rest[..length]).unwrap()
    }

    async fn schema(&self, topic: &str) -> (String, Schema) {
        let topic: TopicInfo = self.call("GetTopic", &TopicRequest { topic_name: topic.to_owned() }).await;
        let request = SchemaRequest { schema_id: topic.schema_id.clone() };
        let schema: SchemaInfo = self.call("GetSchema", &request).await;
        (topic.schema_id, Schema::parse_str(&schema.schema_json).unwrap())
    }

    async fn publish(&self, topic: &str, schema_id: &str, payload: Vec<u8>) -> PublishResponse {
        let event = ProducerEvent { id: String::new(), schema_id: schema_id.to_owned(), payload, headers: Vec::new() };
        let topic_name = topic.to_owned();
        self.call("Publish", &PublishRequest { topic_name, events: vec![event], auth_refresh: String::new() }).await
    }

    /// Payloads of the first `count` events.
    async fn payloads(&self, topic: &str, count: i32) -> Vec<Vec<u8>> {
        let request = FetchRequest { topic_name: topic.to_owned(), ..fetch(ReplayPreset::Earliest, count) };
        let answer: FetchResponse = self.call("Subscribe", &request).await;
        answer.events.into_iter().map(|event| event.event.unwrap().payload).collect()
    }
}

#[tokio::test]
async fn fields_of_an_event_keep_their_types_in_rest_and_avro() {
    let org = Client::with_schema(EVENTS).await;
    let fields = json!({ "Code__c": "a", "Day__c": "2026-02-03", "At__c": "2026-02-03T17:13:57.820+01:00",
                         "Amount__c": 12.25 });
    assert_eq!(org.post("sobjects/Notice__e", fields).await.0, 201);
    for (body, expected) in [
        (json!({ "Urgent__c": true }), "REQUIRED_FIELD_MISSING"),
        (json!({ "Code__c": "12345678901" }), "STRING_TOO_LONG"),
        (json!({ "Code__c": "a", "Amount__c": 1_000.5 }), "NUMBER_OUTSIDE_VALID_RANGE"),
        (json!({ "Code__c": "a", "Urgent__c": "perhaps" }), "JSON_PARSER_ERROR"),
        (json!({ "Code__c": "a", "Day__c": "yesterday" }), "JSON_PARSER_ERROR"),
        (json!({ "Code__c": "a", "At__c": "noon" }), "JSON_PARSER_ERROR"),
    ] {
        let (status, answer) = org.post("sobjects/Notice__e", body.clone()).await;
        assert_eq!((status, code(&answer)), (400, expected), "{body}: {answer}");
    }
    let bus = Grpc::plain(&org).await;
    let topic = "/event/Notice__e";
    let (schema_id, schema) = bus.schema(topic).await;
    let shape: Value = serde_json::to_value(&schema).unwrap();
    let types: Vec<&Value> = shape["fields"].as_array().unwrap().iter().skip(2).map(|field| &field["type"]).collect();
    let optional = |of: &str| json!(["null", of]);
    let expected = [json!("string"), optional("boolean"), optional("long"), optional("long"), optional("double")];
    assert_eq!(types, expected.iter().collect::<Vec<_>>());
    let delivered = bus.payloads(topic, 1).await.remove(0);
    let Avro::Record(mut values) = from_avro_datum(&schema, &mut delivered.as_slice(), None).unwrap() else { panic!() };
    let some = |value: Avro| Avro::Union(1, Box::new(value));
    let given = [
        Avro::String("a".to_owned()),
        // A box nobody ticked has its default.
        some(Avro::Boolean(false)),
        some(Avro::Long(1_770_076_800_000)),
        some(Avro::Long(1_770_135_237_820)),
        some(Avro::Double(12.25)),
    ];
    assert_eq!(values.iter().skip(2).map(|(_, value)| value.clone()).collect::<Vec<_>>(), given);

    values[3].1 = some(Avro::Boolean(true));
    let payload = to_avro_datum(&schema, Avro::Record(values.clone())).unwrap();
    assert_eq!(bus.publish(topic, &schema_id, payload).await.results[0].error, None);
    let stored = org.control().events().remove(1).payload;
    let shown = ["Code__c", "Urgent__c", "Day__c", "At__c", "Amount__c"].map(|name| stored[name].clone());
    let expected = [json!("a"), json!(true), json!("2026-02-03"), json!("2026-02-03T16:13:57.820Z"), json!(12.25)];
    assert_eq!(shown, expected);
    values[6].1 = some(Avro::Double(1_000.5));
    let payload = to_avro_datum(&schema, Avro::Record(values)).unwrap();
    assert!(bus.publish(topic, &schema_id, payload).await.results[0].error.is_some());
    assert_eq!(org.control().events().len(), 2);
}

#[tokio::test]
async fn an_open_transaction_shows_its_immediate_events_and_not_the_others() {
    let slow = |settings: &mut Settings| {
        settings.pace = 0.0;
        settings.latency_per_row_ms = 60_000;
    };
    let org = Arc::new(Client::with_schema_and(EVENTS, slow).await);
    let part = |object: &str| {
        json!({ "method": "POST", "url": format!("/services/data/v62.0/sobjects/{object}"), "referenceId": object,
                "body": { "Code__c": "a" } })
    };
    let body = json!({ "allOrNone": true, "compositeRequest": [part("Late__e"), part("Notice__e")] });
    let open = {
        let org = Arc::clone(&org);
        tokio::spawn(async move { org.post("composite", body).await.0 })
    };
    eventually(|| org.control().usage().waiting == 1).await;
    let seen = || org.control().events().iter().map(|event| event.object.clone()).collect::<Vec<_>>();
    assert_eq!(seen(), ["Notice__e"]);
    org.control().advance_clock(Duration::from_secs(119));
    assert_eq!(seen(), ["Notice__e"]);
    org.control().advance_clock(Duration::from_secs(1));
    assert_eq!(open.await.unwrap(), 200);
    assert_eq!(seen(), ["Notice__e", "Late__e"]);
}

#[tokio::test]
async fn the_latency_model_delays_calls_with_one_answer() {
    let org = Client::with_settings(|settings| {
        settings.latency_ms = 40;
        settings.latency_jitter_ms = 10;
    })
    .await;
    let bus = Grpc::plain(&org).await;
    bus.schema(TOPIC).await;
    let calls = org.control().requests();
    let calls: Vec<_> = calls.iter().filter(|request| request.path.starts_with("/eventbus")).collect();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| (40..=50).contains(&call.latency_ms) && call.duration_ms >= call.latency_ms));
}

#[tokio::test]
async fn a_subscriber_that_stops_reading_holds_up_neither_reset_nor_shutdown() {
    let org = Client::with_settings(|settings| settings.pubsub_max_streams = 1).await;
    for _ in 0..5 {
        let fields = json!({ "i42as__LimioOrder__c": "x".repeat(100_000) });
        assert_eq!(org.post("sobjects/i42as__OrderEvent__e", fields).await.0, 201);
    }
    let mut bus = PubSub::of(&org).await;
    let narrow = Channel::from_shared(org.url("")).unwrap();
    let narrow = narrow.initial_stream_window_size(1_024).initial_connection_window_size(65_535);
    bus.rpc = signed_in(narrow.connect().await.unwrap(), &metadata(&org).await);
    let _unread = bus.subscribe(fetch(ReplayPreset::Earliest, 5)).await.unwrap();
    eventually(|| org.control().events().iter().all(|event| event.deliveries == 1)).await;
    org.control().reset();
    org.control().update_settings(|settings| settings.pubsub_max_streams = 1);
    let org = Client { token: org.sign_in().await, simulator: org.simulator, http: org.http };
    let mut bus = PubSub::of(&org).await;
    // The place of the stream that was never read is free again.
    let mut stream = bus.subscribe(fetch(ReplayPreset::Earliest, 5)).await.unwrap();
    rest(&org, "N-1").await;
    assert_eq!(stream.events(1).await.len(), 1);
    let ended = tokio::time::timeout(Duration::from_mins(1), org.simulator.shutdown()).await;
    assert!(ended.is_ok(), "the unread stream does not keep the org up");
}

#[tokio::test]
async fn with_tls_the_service_is_reached_by_the_orgs_certificate() {
    let tls = Some(Tls::Made { names: Vec::new() });
    let simulator = Simulator::start(Config { tls, ..Config::default() }).await.unwrap();
    let certificate = Certificate::from_pem(simulator.certificate().unwrap().as_bytes()).unwrap();
    // HTTP/2 comes by ALPN.
    let http = reqwest::Client::builder().tls_certs_only([certificate]).build().unwrap();
    let mut org = Client { simulator, http: http.clone(), token: String::new() };
    org.token = org.sign_in().await;
    let bus = Grpc::of(&org, http).await;
    let (schema_id, _) = bus.schema(TOPIC).await;
    rest(&org, "N-1").await;
    let delivered = bus.payloads(TOPIC, 1).await.remove(0);
    assert_eq!(bus.publish(TOPIC, &schema_id, delivered.clone()).await.results[0].error, None);
    assert_eq!(bus.payloads(TOPIC, 2).await, [delivered.clone(), delivered]);
    assert_eq!(org.control().events()[1].payload["i42as__OrderNumber__c"], "N-1");
}

#[tokio::test]
async fn a_dropped_publish_stores_nothing() {
    let org = Client::new().await;
    let bus = Grpc::plain(&org).await;
    let (schema_id, schema) = bus.schema(TOPIC).await;
    let Schema::Record(record) = &schema else { panic!("no record") };
    let mut values = vec![
        ("CreatedDate".to_owned(), Avro::Long(1_770_000_000_123)),
        ("CreatedById".to_owned(), Avro::String("005000000000001AAA".to_owned())),
    ];
    values.extend(record.fields.iter().skip(2).map(|field| (field.name.clone(), Avro::Union(0, Box::new(Avro::Null)))));
    let payload = to_avro_datum(&schema, Avro::Record(values)).unwrap();
    let event = ProducerEvent { id: String::new(), schema_id, payload, headers: Vec::new() };
    let message = PublishRequest { topic_name: TOPIC.to_owned(), events: vec![event], auth_refresh: String::new() }
        .encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    // The body is there before the fault is asked.
    org.control().arm(Fault::always(FaultKind::DropBefore).on_path("/eventbus.v1.PubSub/Publish"));
    for _ in 0..20 {
        let http = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
        let mut request = http.post(org.url("/eventbus.v1.PubSub/Publish"));
        for (key, value) in &bus.metadata {
            request = request.header(*key, value);
        }
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        assert!(request.body(body.clone()).send().await.is_err());
    }
    let dropped: Vec<_> = org.control().requests().iter().filter_map(|request| request.fault.clone()).collect();
    assert_eq!((dropped.len(), org.control().events().len()), (20, 0));
}

#[tokio::test]
async fn field_level_security_hides_and_closes_no_field_of_an_event() {
    let field = "i42as__OrderEvent__e.i42as__OrderNumber__c".to_owned();
    let org = Client::with_settings(|settings| {
        settings.hidden_fields = vec![field.clone()];
        settings.read_only_fields = vec![field];
    })
    .await;
    rest(&org, "N-1").await;
    assert_eq!(org.control().events()[0].payload["i42as__OrderNumber__c"], "N-1");
    let (_, described) = org.get("sobjects/i42as__OrderEvent__e/describe").await;
    let number = described["fields"].as_array().unwrap().iter().find(|field| field["name"] == "i42as__OrderNumber__c");
    assert_eq!(number.unwrap()["createable"], true);
    let mut bus = PubSub::of(&org).await;
    let sent = bus.event("", json!({ "i42as__OrderNumber__c": "N-2" }));
    bus.publish(vec![sent]).await.unwrap();
    assert_eq!(org.control().events()[1].payload["i42as__OrderNumber__c"], "N-2");
}
