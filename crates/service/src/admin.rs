//! The admin port: `/live`, `/ready`, `/metrics`. For probes and scrapers inside the deployment, not for the world.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::TextEncoder;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::health::Condition;
use crate::lifecycle::Lifecycle;

/// Opens the port; the task that serves it ends with the runtime. Gives the address that was really bound.
pub(crate) async fn open(listen: SocketAddr, lifecycle: Lifecycle) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let routes = Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(lifecycle);
    tokio::spawn(async move {
        // It ends only with the process.
        let _ = axum::serve(listener, routes).await;
    });
    Ok(address)
}

async fn live(State(lifecycle): State<Lifecycle>) -> Response {
    let live = lifecycle.health().is_live(Instant::now());
    (status(live), axum::Json(json!({ "live": live }))).into_response()
}

async fn ready(State(lifecycle): State<Lifecycle>) -> Response {
    let conditions: serde_json::Map<_, _> = lifecycle
        .health()
        .conditions()
        .into_iter()
        .map(|(name, condition)| {
            let told = match condition {
                Condition::Ready => json!({ "ready": true }),
                Condition::NotReady(reason) => json!({ "ready": false, "reason": reason }),
            };
            (name.to_owned(), told)
        })
        .collect();
    let ready = lifecycle.health().is_ready();
    (
        status(ready),
        axum::Json(json!({ "ready": ready, "conditions": conditions, "notices": lifecycle.health().notices() })),
    )
        .into_response()
}

async fn metrics(State(lifecycle): State<Lifecycle>) -> Response {
    match TextEncoder::new().encode_to_string(&lifecycle.registry().gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written as text");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
