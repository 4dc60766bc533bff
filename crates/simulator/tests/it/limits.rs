use std::sync::Arc;
use std::time::Duration;

use causeway_simulator::{Fault, FaultKind};
use serde_json::json;

use crate::client::{Client, code, eventually, read};

async fn limit_info(org: &Client) -> String {
    let response = org.request(reqwest::Method::GET, "limits").send().await.unwrap();
    response.headers()["sforce-limit-info"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_data_call_counts_one_whatever_it_holds() {
    let org = Client::with_settings(|settings| settings.api_limit = 50).await;
    assert_eq!(limit_info(&org).await, "api-usage=1/50");
    org.post("sobjects/Account", json!({ "Nope": 1 })).await;
    org.get("sobjects/Account/describe").await;
    org.get("/services/data").await;
    org.sign_in().await;
    assert_eq!(limit_info(&org).await, "api-usage=4/50");
    let (_, limits) = org.get("limits").await;
    assert_eq!(limits["DailyApiRequests"], json!({ "Max": 50, "Remaining": 45 }));
}

#[tokio::test]
async fn a_spent_allocation_refuses_until_the_day_has_passed() {
    let org = Client::with_settings(|settings| settings.api_limit = 1).await;
    assert_eq!(org.get("limits").await.0, 200);
    let (status, body) = org.post("sobjects/Account", json!({ "Name": "A" })).await;
    assert_eq!(status, 403);
    assert_eq!(body, json!([{ "message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED" }]));
    assert!(org.records("Account").is_empty());
    org.control().advance_clock(Duration::from_mins(24 * 60 + 1));
    // The day has passed for the session, too.
    let org = Client { token: org.sign_in().await, ..org };
    assert_eq!(org.get("limits").await.0, 200);
}

#[tokio::test]
async fn as_many_long_running_requests_as_allowed_refuse_the_next_and_not_themselves() {
    let org = Arc::new(
        Client::with_settings(|settings| {
            settings.pace = 0.0;
            settings.long_running_limit = 1;
        })
        .await,
    );
    let begin = || {
        let org = Arc::clone(&org);
        tokio::spawn(async move { org.get("limits").await.0 })
    };
    org.control().arm(Fault::once(FaultKind::Hold));
    let held = begin();
    org.control().until_held(1).await;
    assert_eq!(org.get("limits").await.0, 200);
    org.control().advance_clock(Duration::from_secs(20));
    let (status, body) = org.get("limits").await;
    assert_eq!((status, code(&body)), (403, "REQUEST_LIMIT_EXCEEDED"));
    assert_eq!(body[0]["message"], "ConcurrentRequests (Concurrent API Requests) Limit exceeded.");
    org.control().release_held();
    assert_eq!(held.await.unwrap(), 200);
    assert_eq!(org.get("limits").await.0, 200);
    org.control().arm(Fault::always(FaultKind::Slow { ms: 25_000 }));
    let slow = [begin(), begin()];
    eventually(|| org.control().usage().waiting == 2).await;
    org.control().advance_clock(Duration::from_secs(25));
    for call in slow {
        assert_eq!(call.await.unwrap(), 200, "when it came, none had been running for long");
    }
}

#[tokio::test]
async fn bodies_may_be_gzipped_both_ways() {
    use std::io::{Read, Write};
    let org = Client::new().await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(json!({ "Name": "Zipped" }).to_string().as_bytes()).unwrap();
    let request = org.request(reqwest::Method::POST, "sobjects/Account").header("content-encoding", "gzip");
    let response =
        request.header("content-type", "application/json").body(encoder.finish().unwrap()).send().await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(org.records("Account")[0]["Name"], "Zipped");
    let plain = reqwest::Client::builder().no_gzip().build().unwrap();
    let request = plain.get(org.url("/services/data/v62.0/sobjects/Account/describe")).bearer_auth(&org.token);
    let response = request.header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let bytes = response.bytes().await.unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes.as_ref()).read_to_string(&mut text).unwrap();
    assert!(text.contains("\"keyPrefix\":\"001\""));
}

#[tokio::test]
async fn heads_and_bodies_that_are_too_large_are_refused_and_not_counted() {
    let org = Client::new().await;
    let get = |path: String| org.request(reqwest::Method::GET, &path);
    let (status, body) = read(get(format!("query?q={}", "x".repeat(16_400))).send().await.unwrap()).await;
    assert_eq!((status, body.is_array()), (414, true));
    let request = get("limits".to_owned()).header("x-long", "x".repeat(16_300));
    let (status, body) = read(request.send().await.unwrap()).await;
    assert_eq!((status, body.is_array()), (431, true));
    // Names and values count, and nothing between them: many short headers are no more than few long ones.
    let mut request = get("limits".to_owned());
    for n in 0..50 {
        request = request.header(format!("x-many-{n:02}"), "x".repeat(312));
    }
    assert_eq!(request.send().await.unwrap().status(), 200);
    let (status, body) = read(get(format!("query?q={}", "x".repeat(15_000))).send().await.unwrap()).await;
    assert_eq!((status, code(&body)), (400, "MALFORMED_QUERY"));
    let request = org.request(reqwest::Method::POST, "composite/graph").body(vec![b' '; 50 * 1024 * 1024 + 1]);
    let (status, body) = read(request.send().await.unwrap()).await;
    assert_eq!((status, code(&body)), (413, "OPERATION_TOO_LARGE"));
    assert_eq!(org.control().api_calls(), 2);
}

#[tokio::test]
async fn calls_leave_the_window_after_a_day() {
    let org = Client::with_settings(|settings| {
        settings.pace = 0.0;
        settings.api_limit = 10;
        settings.session_ttl_s = 10 * 24 * 3_600;
    })
    .await;
    for _ in 0..3 {
        org.get("limits").await;
    }
    org.control().advance_clock(Duration::from_hours(12));
    assert_eq!(limit_info(&org).await, "api-usage=4/10");
    org.control().advance_clock(Duration::from_mins(12 * 60 - 2));
    assert_eq!(limit_info(&org).await, "api-usage=5/10");
    org.control().advance_clock(Duration::from_mins(2));
    assert_eq!(limit_info(&org).await, "api-usage=3/10");
    let (_, limits) = org.get("limits").await;
    assert_eq!(limits["DailyApiRequests"], json!({ "Max": 10, "Remaining": 6 }));
}

#[tokio::test]
async fn data_storage_is_two_kilobytes_a_row() {
    let org = Client::new().await;
    let left = async || org.get("limits").await.1["DataStorageMB"]["Remaining"].clone();
    assert_eq!(left().await, 1_073);
    let rows: Vec<_> = (0..512).map(|_| json!({ "LastName": "L" }).as_object().unwrap().clone()).collect();
    let ids = org.control().seed("Contact", &rows).await.unwrap();
    assert_eq!(left().await, 1_072);
    org.control().delete("Contact", &ids[0]).await.unwrap();
    assert_eq!(left().await, 1_073);
}
