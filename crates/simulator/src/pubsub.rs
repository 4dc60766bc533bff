//! The Pub/Sub API: gRPC over HTTP/2 on the org's own port, service `eventbus.v1.PubSub`.
//!
//! It shares the bus of [`mod@crate::events`] with REST: what one publishes, subscribers see whoever published it.
//! Its calls are no API requests of the org and are not counted as such.
//!
//! Sources: Pub/Sub API guide ("RPC Method Reference", "Handle Errors", "Allocations", "Event Data Serialization
//! with Apache Avro") and the public proto file. Texts and trailers of errors are those recorded in the issues of
//! pozil/pub-sub-api-node-client (14, 34, 52) and pozil/pub-sub-api-java-client (2, 3). Where neither names an
//! `error-code`, that trailer is left out. `ManagedSubscribe` is not simulated.

mod avro;
mod codec;
mod publish;
mod rpc;
mod subscribe;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Version, header};
use axum::response::Response;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::codegen::Service as _;

use self::avro::EventSchema;
use self::proto::pub_sub_server::PubSubServer;
use self::rpc::Service;
use crate::connection::Cut;
use crate::faults::FaultKind;
use crate::org::{Org, guard};
use crate::request_log::LoggedRequest;
use crate::routes::hold;
use crate::schema::ObjectIx;
use crate::settings::Settings;

#[expect(unreachable_pub, clippy::pedantic, clippy::allow_attributes, reason = "generated code")]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/server/eventbus.v1.rs"));
}

/// Where the service is mounted.
pub(crate) const PATH: &str = "/eventbus.v1.PubSub/{method}";
/// gRPC's own bound on a message, which the guide names for a publish request.
const MESSAGE_LIMIT: usize = 4 * 1024 * 1024;
/// Methods with one answer, which the latency model delays as it does REST calls.
const UNARY: [&str; 3] = ["GetTopic", "GetSchema", "Publish"];

/// What the service keeps beside the bus.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// All open streams.
    open: Arc<AtomicUsize>,
    /// Those that count against the org's limit; a reset begins a new count.
    counted: Mutex<Arc<AtomicUsize>>,
    schemas: Mutex<Vec<Arc<EventSchema>>>,
    /// Ends all streams when the org stops.
    closing: CancellationToken,
}

/// The place of one stream among those the org allows.
#[derive(Debug)]
pub(crate) struct Place {
    open: Arc<AtomicUsize>,
    counted: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counted.fetch_sub(1, Ordering::AcqRel);
        self.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Streams {
    /// A place for one more stream, if there is one.
    fn enter(&self, most: usize) -> Option<Place> {
        let more = |open: usize| (open < most).then_some(open + 1);
        let counted = Arc::clone(&*guard(&self.counted));
        counted.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        self.open.fetch_add(1, Ordering::AcqRel);
        Some(Place { open: Arc::clone(&self.open), counted })
    }

    /// Forgets the places of streams that the reset of the bus ends: one whose client reads nothing ends late.
    pub(crate) fn reset(&self) {
        *guard(&self.counted) = Arc::default();
    }

    /// Ends all streams, those that open later included.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// All were ended and one is still open.
    pub(crate) fn is_stalled(&self) -> bool {
        self.closing.is_cancelled() && self.open.load(Ordering::Acquire) > 0
    }

    /// The schema of an event object.
    fn schema_of(&self, org: &Org, object: ObjectIx, settings: &Settings) -> Option<Arc<EventSchema>> {
        let mut schemas = guard(&self.schemas);
        if let Some(known) = schemas.iter().find(|schema| schema.object() == object) {
            return Some(Arc::clone(known));
        }
        let schema = match EventSchema::new(org.schema.object(object), object, settings) {
            Ok(schema) => Arc::new(schema),
            Err(error) => {
                tracing::error!(%error, "an event definition makes no Avro schema");
                return None;
            }
        };
        schemas.push(Arc::clone(&schema));
        Some(schema)
    }

    /// The schema with this id.
    fn schema_by_id(&self, org: &Org, id: &str, settings: &Settings) -> Option<Arc<EventSchema>> {
        for (place, object) in org.schema.objects.iter().enumerate() {
            if object.event {
                self.schema_of(org, ObjectIx(place), settings);
            }
        }
        guard(&self.schemas).iter().find(|schema| schema.id == id).cloned()
    }
}

/// Answers one call.
pub(crate) async fn serve(
    State(org): State<Arc<Org>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    request: Request,
) -> Response {
    let grpc = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if !grpc || request.version() != Version::HTTP_2 || request.method() != Method::POST {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    let (started, epoch) = (org.clock.now(), org.epoch());
    let path = request.uri().path().to_owned();
    let trouble = org.faults.request("POST", &path, b"");
    let fault = trouble.as_ref().map(|trouble| trouble.kind.clone());
    match (&fault, &trouble) {
        (Some(FaultKind::Slow { ms }), _) => org.clock.sleep(Duration::from_millis(*ms)).await,
        (Some(FaultKind::Hold), Some(trouble)) => {
            // At the end of its time the call goes on; whoever made it has gone by then.
            let _ = hold(&org, trouble, None).await;
        }
        (Some(_) | None, _) => {}
    }
    let settings = org.settings();
    let unary = path.rsplit('/').next().is_some_and(|method| UNARY.contains(&method));
    let dropped = fault == Some(FaultKind::DropBefore);
    let mut latency_ms = 0;
    let response = if dropped {
        cut.now();
        Response::new(Body::empty())
    } else {
        if unary {
            latency_ms = settings.latency_ms.saturating_add(org.jitter(settings.latency_jitter_ms));
        }
        org.clock.sleep(Duration::from_millis(latency_ms)).await;
        let asked = request.uri().authority().map(ToString::to_string);
        let service = Service::new(Arc::clone(&org), asked, fault.clone());
        let Ok(response) = PubSubServer::new(service).max_decoding_message_size(MESSAGE_LIMIT).call(request).await;
        too_large(response.map(Body::new))
    };
    let entry = LoggedRequest {
        number: 0,
        at: crate::clock::datetime_text(started.ms()),
        method: "POST".to_owned(),
        path,
        status: if dropped { 0 } else { response.status().as_u16() },
        duration_ms: u64::try_from(org.clock.now().since(started).as_millis()).unwrap_or(u64::MAX),
        graphs: 0,
        nodes: 0,
        describes: 0,
        latency_ms,
        rows: Vec::new(),
        asked: Vec::new(),
        fault: fault.map(|fault| fault.name().to_owned()),
        traceparent: None,
        from: cut.peer(),
    };
    let mut log = org.log();
    if org.epoch() == epoch {
        log.push(entry);
    }
    drop(log);
    response
}

/// A message above the limit never reaches Salesforce's service: the proxy before it resets the stream.
const RESET: &str = "upstream connect error or disconnect/reset before headers. reset reason: remote reset";

fn too_large(mut response: Response) -> Response {
    let headers = response.headers_mut();
    if headers
        .get("grpc-status")
        .is_some_and(|code| code.as_bytes() == (Code::OutOfRange as i32).to_string().as_bytes())
    {
        headers.insert("grpc-status", HeaderValue::from(Code::Unavailable as i32));
        headers.insert("grpc-message", HeaderValue::from_static(RESET));
    }
    response
}
