//! A client of the org's Pub/Sub API.

use apache_avro::types::Value as Avro;
use apache_avro::{Schema, from_avro_datum, to_avro_datum};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tonic::codegen::InterceptedService;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use crate::client::Client;
use proto::pub_sub_client::PubSubClient;
use proto::{ConsumerEvent, FetchRequest, FetchResponse, ProducerEvent, PublishRequest, PublishResponse};

#[expect(unreachable_pub, clippy::pedantic, reason = "generated code")]
pub(crate) mod proto {
    include!(concat!(env!("OUT_DIR"), "/client/eventbus.v1.rs"));
}

pub(crate) const TOPIC: &str = "/event/i42as__OrderEvent__e";
type SignIn = Box<dyn FnMut(Request<()>) -> Result<Request<()>, Status> + Send>;

pub(crate) struct PubSub {
    pub(crate) rpc: PubSubClient<InterceptedService<Channel, SignIn>>,
    pub(crate) schema_id: String,
    schema: Schema,
}

/// Metadata that a good call of this org carries.
pub(crate) async fn metadata(org: &Client) -> [(&'static str, String); 3] {
    let (_, rows) = org.query("SELECT Id FROM Organization").await;
    let tenant = rows["records"][0]["Id"].as_str().unwrap().to_owned();
    [("accesstoken", org.token.clone()), ("instanceurl", org.url("")), ("tenantid", tenant)]
}

pub(crate) async fn connect(
    org: &Client,
    metadata: &[(&'static str, String)],
) -> PubSubClient<InterceptedService<Channel, SignIn>> {
    signed_in(Channel::from_shared(org.url("")).unwrap().connect().await.unwrap(), metadata)
}

/// A client of the service that sends `metadata` with each call.
pub(crate) fn signed_in(
    channel: Channel,
    metadata: &[(&'static str, String)],
) -> PubSubClient<InterceptedService<Channel, SignIn>> {
    let metadata: Vec<_> =
        metadata.iter().map(|(key, value)| (*key, MetadataValue::try_from(value.as_str()).unwrap())).collect();
    let sign_in: SignIn = Box::new(move |mut request| {
        for (key, value) in &metadata {
            request.metadata_mut().insert(*key, value.clone());
        }
        Ok(request)
    });
    PubSubClient::with_interceptor(channel, sign_in)
}

impl PubSub {
    pub(crate) async fn of(org: &Client) -> Self {
        Self::with(connect(org, &metadata(org).await).await).await
    }

    /// With a client that signs in as its caller likes.
    pub(crate) async fn with(mut rpc: PubSubClient<InterceptedService<Channel, SignIn>>) -> Self {
        let topic = rpc.get_topic(proto::TopicRequest { topic_name: TOPIC.to_owned() }).await.unwrap().into_inner();
        let request = proto::SchemaRequest { schema_id: topic.schema_id.clone() };
        let schema = rpc.get_schema(request).await.unwrap().into_inner();
        Self { rpc, schema_id: topic.schema_id, schema: Schema::parse_str(&schema.schema_json).unwrap() }
    }

    /// An event with these fields, others null.
    pub(crate) fn event(&self, id: &str, fields: Value) -> ProducerEvent {
        let Schema::Record(record) = &self.schema else { panic!("no record") };
        let mut values = vec![
            ("CreatedDate".to_owned(), Avro::Long(1_770_000_000_123)),
            ("CreatedById".to_owned(), Avro::String("005000000000001AAA".to_owned())),
        ];
        for field in record.fields.iter().skip(2) {
            let value = match &fields[&field.name] {
                Value::Null => Avro::Union(0, Box::new(Avro::Null)),
                Value::String(text) => Avro::Union(1, Box::new(Avro::String(text.clone()))),
                Value::Number(n) if n.is_f64() => Avro::Union(1, Box::new(Avro::Double(n.as_f64().unwrap()))),
                Value::Number(n) => Avro::Union(1, Box::new(Avro::Long(n.as_i64().unwrap()))),
                other @ (Value::Bool(_) | Value::Array(_) | Value::Object(_)) => panic!("{other}"),
            };
            values.push((field.name.clone(), value));
        }
        ProducerEvent {
            id: id.to_owned(),
            schema_id: self.schema_id.clone(),
            payload: to_avro_datum(&self.schema, Avro::Record(values)).unwrap(),
            headers: Vec::new(),
        }
    }

    pub(crate) async fn publish(&mut self, events: Vec<ProducerEvent>) -> Result<PublishResponse, Status> {
        let request = PublishRequest { topic_name: TOPIC.to_owned(), events, auth_refresh: String::new() };
        self.rpc.publish(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn subscribe(&mut self, first: FetchRequest) -> Result<Subscription, Status> {
        let (requests, receiver) = mpsc::channel(8);
        requests.send(first).await.unwrap();
        let outbound = futures::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
        let answers = self.rpc.subscribe(outbound.boxed()).await?.into_inner();
        Ok(Subscription { requests, answers })
    }

    /// Fields of a delivered event, numbers and texts as Avro has them.
    pub(crate) fn fields(&self, event: &ConsumerEvent) -> Value {
        let mut payload = event.event.as_ref().unwrap().payload.as_slice();
        let Avro::Record(values) = from_avro_datum(&self.schema, &mut payload, None).unwrap() else { panic!() };
        assert!(payload.is_empty());
        let plain = |value| if let Avro::Union(_, inner) = value { *inner } else { value };
        values
            .into_iter()
            .map(|(name, value)| {
                let value = plain(value);
                let json = if let Avro::String(text) = value {
                    json!(text)
                } else if let Avro::Long(number) = value {
                    json!(number)
                } else if let Avro::Double(number) = value {
                    json!(number)
                } else {
                    Value::Null
                };
                (name, json)
            })
            .collect()
    }
}

/// An open subscription.
pub(crate) struct Subscription {
    pub(crate) requests: mpsc::Sender<FetchRequest>,
    pub(crate) answers: Streaming<FetchResponse>,
}

impl Subscription {
    pub(crate) async fn more(&self, num_requested: i32) {
        self.requests.send(FetchRequest { num_requested, ..FetchRequest::default() }).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Result<FetchResponse, Status> {
        self.answers.message().await.map(|answer| answer.expect("the stream goes on"))
    }

    /// The next `count` events, however many answers they come in.
    pub(crate) async fn events(&mut self, count: usize) -> Vec<ConsumerEvent> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.next().await.unwrap().events);
        }
        events
    }
}

/// Publishes an event by REST; its UUID.
pub(crate) async fn rest(org: &Client, number: &str) -> String {
    let fields = json!({ "i42as__OrderNumber__c": number });
    let (status, body) = org.post("sobjects/i42as__OrderEvent__e", fields).await;
    assert_eq!(status, 201, "{body}");
    body["errors"][0]["message"].as_str().unwrap().to_owned()
}

/// The order number an event carries.
pub(crate) fn number(bus: &PubSub, event: &ConsumerEvent) -> String {
    bus.fields(event)["i42as__OrderNumber__c"].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn fetch(preset: proto::ReplayPreset, num_requested: i32) -> FetchRequest {
    FetchRequest {
        topic_name: TOPIC.to_owned(),
        replay_preset: preset.into(),
        num_requested,
        ..FetchRequest::default()
    }
}

/// Code of a refusal and its `error-code` without what all begin with; its RPC id must be in text and trailer.
pub(crate) fn refusal(status: &Status) -> (Code, String) {
    let trailer = |key: &str| status.metadata().get(key).map(|value| value.to_str().unwrap().to_owned());
    let rpc = trailer("rpc-id").unwrap_or_default();
    assert!(!rpc.is_empty() && status.message().ends_with(&format!("rpcId: {rpc}")), "{status:?}");
    let code = trailer("error-code").unwrap_or_default();
    (status.code(), code.strip_prefix("sfdc.platform.eventbus.grpc.").unwrap_or_default().to_owned())
}
