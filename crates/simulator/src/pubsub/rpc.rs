//! One call of the service: who makes it, and how its errors look.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Response, Status, Streaming};
use uuid::Uuid;

use super::avro::EventSchema;
use super::proto::pub_sub_server::PubSub;
use super::proto::{
    FetchRequest, FetchResponse, ManagedFetchRequest, ManagedFetchResponse, PublishRequest, PublishResponse,
    SchemaInfo, SchemaRequest, TopicInfo, TopicRequest,
};
use super::{Place, RESET, publish, subscribe};
use crate::events;
use crate::faults::FaultKind;
use crate::ids::RecordId;
use crate::org::Org;
use crate::permissions;
use crate::schema::ObjectIx;
use crate::settings::Settings;

/// Codes of the trailer `error-code`, without what all begin with ("Handle Errors").
pub(super) mod code {
    pub(crate) const AUTH: &str = "service.auth.error";
    pub(crate) const AUTH_REFRESH: &str = "service.auth.refresh.invalid";
    pub(crate) const UNAVAILABLE: &str = "service.unavailable";
    pub(crate) const CLIENTS: &str = "concurrent.client.limit.exceeded";
    pub(crate) const DELIVERIES: &str = "subscription.limit.exceeded";
    pub(crate) const REPLAY_CORRUPTED: &str = "subscription.fetch.replayid.corrupted";
    pub(crate) const REPLAY_MISSING: &str = "subscription.fetch.replayid.validation.failed";
    pub(crate) const REQUESTED: &str = "subscription.fetch.requested.events.invalid";
}

const PREFIX: &str = "sfdc.platform.eventbus.grpc.";

/// The org's side of one call.
pub(super) struct Service {
    org: Arc<Org>,
    /// Host and port the caller asked, if it named them.
    asked: Option<String>,
    fault: Option<FaultKind>,
}

/// Name and id of a call, which its errors carry.
#[derive(Debug, Clone)]
pub(super) struct Rpc {
    pub(super) id: String,
    name: &'static str,
}

impl Rpc {
    pub(super) fn status(&self, code: Code, error: Option<&str>, message: impl std::fmt::Display) -> Status {
        let mut trailers = MetadataMap::new();
        let mut put = |key: &'static str, value: String| {
            if let Ok(value) = MetadataValue::try_from(value) {
                trailers.insert(key, value);
            }
        };
        if let Some(error) = error {
            put("error-code", format!("{PREFIX}{error}"));
        }
        put("rpc-id", self.id.clone());
        put("type", self.name.to_owned());
        Status::with_metadata(code, format!("{message} rpcId: {}", self.id), trailers)
    }

    pub(super) fn unavailable(&self) -> Status {
        self.status(Code::Unavailable, Some(code::UNAVAILABLE), "The service is unavailable. Try again later.")
    }
}

/// A caller whose metadata were good when the call began.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) org: Arc<Org>,
    pub(super) rpc: Rpc,
    token: String,
}

impl Caller {
    /// Until when the session is good, in milliseconds, or the error of one that has ended.
    pub(super) fn session(&self) -> Result<i64, Status> {
        let now_ms = self.org.clock.now_ms();
        let session = self.org.oauth.session(&self.token, now_ms, &self.org.settings());
        session.map(|session| session.expires_at_ms).ok_or_else(|| self.denied())
    }

    /// Takes the token a stream's request may bring.
    pub(super) fn refresh(&mut self, token: String) -> Result<(), Status> {
        if token.is_empty() {
            return Ok(());
        }
        if self.org.oauth.accept(&token, self.org.clock.now_ms(), &self.org.settings()).is_err() {
            let message = "The refreshed authentication is invalid.";
            return Err(self.rpc.status(Code::Unauthenticated, Some(code::AUTH_REFRESH), message));
        }
        self.token = token;
        Ok(())
    }

    fn denied(&self) -> Status {
        let message = "An authentication exception occurred. Provide valid authentication via metadata headers.";
        self.rpc.status(Code::Unauthenticated, Some(code::AUTH), message)
    }

    /// The event object behind `/event/Name__e`.
    pub(super) fn topic(&self, name: &str) -> Result<ObjectIx, Status> {
        if name.is_empty() {
            return Err(self.rpc.status(Code::InvalidArgument, None, "The topic name can't be blank."));
        }
        let found = name.strip_prefix("/event/").and_then(|object| self.org.schema.find(object));
        found.filter(|object| self.org.schema.object(*object).event).ok_or_else(|| {
            let message = format!(
                "The topic information for org {} and topic {name} not found. Ensure the topic name is correct and \
                 that the topic exists.",
                self.tenant()
            );
            self.rpc.status(Code::NotFound, None, message)
        })
    }

    pub(super) fn schema(&self, object: ObjectIx, settings: &Settings) -> Result<Arc<EventSchema>, Status> {
        self.org.streams.schema_of(&self.org, object, settings).ok_or_else(|| self.rpc.unavailable())
    }

    /// A place among the streams of the org.
    pub(super) fn place(&self) -> Result<Place, Status> {
        if self.org.streams.closing.is_cancelled() {
            return Err(self.rpc.unavailable());
        }
        self.org.streams.enter(self.org.settings().pubsub_max_streams).ok_or_else(|| {
            let message = "The maximum number of concurrent clients has been exceeded.";
            self.rpc.status(Code::ResourceExhausted, Some(code::CLIENTS), message)
        })
    }

    fn tenant(&self) -> String {
        format!("CORE/prod/{}", self.org.state().defaults.organization)
    }

    pub(super) fn forbidden(&self, verb: &str, topic: &str) -> Status {
        let message = format!("The user doesn't have permission to {verb} topic {topic}.");
        self.rpc.status(Code::PermissionDenied, None, message)
    }
}

impl Service {
    pub(super) fn new(org: Arc<Org>, asked: Option<String>, fault: Option<FaultKind>) -> Self {
        Self { org, asked, fault }
    }

    /// Checks the metadata of a call ("Authentication": `accesstoken`, `instanceurl`, `tenantid`).
    fn caller(&self, metadata: &MetadataMap, name: &'static str) -> Result<Caller, Status> {
        let text = |key: &str| metadata.get(key).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let rpc = Rpc { id: Uuid::new_v4().to_string(), name };
        let caller = Caller { org: Arc::clone(&self.org), rpc, token: text("accesstoken").to_owned() };
        if let Some(status) = self.fault.as_ref().and_then(|fault| fault_status(&caller, fault)) {
            return Err(status);
        }
        let settings = self.org.settings();
        let tenant = text("tenantid").rsplit('/').next().and_then(RecordId::parse);
        let ours = tenant == Some(self.org.state().defaults.organization);
        let good = ours
            && self.is_instance(text("instanceurl"), &settings)
            && self.org.oauth.accept(&caller.token, self.org.clock.now_ms(), &settings).is_ok();
        if good { Ok(caller) } else { Err(caller.denied()) }
    }

    /// Whether a URL names this org by one of its hosts.
    fn is_instance(&self, url: &str, settings: &Settings) -> bool {
        let Some(host) = host(url) else { return false };
        let known = [self.org.own_url(), settings.instance_url.as_deref().unwrap_or_default()];
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        // My Domain host names of the org begin with its name.
        let label = name.split('.').next().unwrap_or_default();
        label.eq_ignore_ascii_case(self.org.name())
            || name == "localhost"
            || self
                .asked
                .iter()
                .map(String::as_str)
                .chain(known.into_iter().filter_map(self::host))
                .any(|known| known.eq_ignore_ascii_case(host))
    }
}

/// Host and port of a URL.
fn host(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split('/').next().unwrap_or_default();
    (matches!(scheme, "http" | "https") && !host.is_empty()).then_some(host)
}

/// The gRPC form of a fault that is armed for a path of this service.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds have no form of their own here")]
fn fault_status(caller: &Caller, fault: &FaultKind) -> Option<Status> {
    match fault {
        FaultKind::ExpiredSession | FaultKind::SessionNotValidForRest => Some(caller.denied()),
        FaultKind::ConcurrentLimit | FaultKind::DailyLimit => {
            let message = "The maximum number of concurrent clients has been exceeded.";
            Some(caller.rpc.status(Code::ResourceExhausted, Some(code::CLIENTS), message))
        }
        FaultKind::UnavailableJson | FaultKind::UnavailableHtml => Some(caller.rpc.unavailable()),
        FaultKind::UnknownException => Some(caller.rpc.status(
            Code::Internal,
            Some(code::UNAVAILABLE),
            "The service is unavailable. Try again later.",
        )),
        _ => None,
    }
}

/// What reading a stream's next message failed with; the proxy tells of one above the limit in its own way.
pub(super) fn unreadable(status: Status) -> Status {
    if status.code() == Code::OutOfRange { Status::unavailable(RESET) } else { status }
}

/// "If any subsequent request provides `topic_name`, it must match" (the proto file).
pub(super) fn other_topic(caller: &Caller) -> Status {
    let message = "The topic name must be the one of the stream's first request.";
    caller.rpc.status(Code::InvalidArgument, None, message)
}

pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl PubSub for Service {
    type SubscribeStream = Answers<FetchResponse>;
    type PublishStreamStream = Answers<PublishResponse>;
    type ManagedSubscribeStream = Answers<ManagedFetchResponse>;

    async fn subscribe(
        &self,
        request: Request<Streaming<FetchRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let caller = self.caller(request.metadata(), "Subscribe")?;
        let place = caller.place()?;
        Ok(Response::new(subscribe::answers(caller, request.into_inner(), place)))
    }

    async fn get_schema(&self, request: Request<SchemaRequest>) -> Result<Response<SchemaInfo>, Status> {
        let caller = self.caller(request.metadata(), "GetSchema")?;
        let id = request.into_inner().schema_id;
        if id.is_empty() {
            return Err(caller.rpc.status(Code::InvalidArgument, None, publish::BLANK_SCHEMA));
        }
        let settings = self.org.settings();
        let schema = self.org.streams.schema_by_id(&self.org, &id, &settings).ok_or_else(|| {
            let message = format!("The schema information for org {} and schema ID {id} not found.", caller.tenant());
            caller.rpc.status(Code::NotFound, None, message)
        })?;
        Ok(Response::new(SchemaInfo { schema_json: schema.json.clone(), schema_id: id, rpc_id: caller.rpc.id }))
    }

    async fn get_topic(&self, request: Request<TopicRequest>) -> Result<Response<TopicInfo>, Status> {
        let caller = self.caller(request.metadata(), "GetTopic")?;
        let settings = self.org.settings();
        let object = caller.topic(&request.into_inner().topic_name)?;
        let schema = caller.schema(object, &settings)?;
        let definition = self.org.schema.object(object);
        Ok(Response::new(TopicInfo {
            topic_name: events::topic(&definition.name),
            tenant_guid: caller.tenant(),
            can_publish: permissions::may_create(definition, &settings),
            can_subscribe: settings.permission(&definition.name).read,
            schema_id: schema.id.clone(),
            rpc_id: caller.rpc.id,
        }))
    }

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let mut caller = self.caller(request.metadata(), "Publish")?;
        let request = request.into_inner();
        caller.refresh(request.auth_refresh)?;
        let topic = caller.topic(&request.topic_name)?;
        publish::publish(&caller, topic, request.events).map(Response::new)
    }

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let caller = self.caller(request.metadata(), "PublishStream")?;
        let place = caller.place()?;
        Ok(Response::new(publish::answers(caller, request.into_inner(), place)))
    }

    async fn managed_subscribe(
        &self,
        request: Request<Streaming<ManagedFetchRequest>>,
    ) -> Result<Response<Self::ManagedSubscribeStream>, Status> {
        let caller = self.caller(request.metadata(), "ManagedSubscribe")?;
        Err(caller.rpc.status(Code::Unimplemented, None, "Managed subscriptions are not simulated."))
    }
}
