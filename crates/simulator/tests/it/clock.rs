use std::sync::Arc;
use std::time::Duration;

use causeway_simulator::{Config, Fault, FaultKind};
use serde_json::json;

use crate::client::{Client, code, eventually};

#[tokio::test]
async fn a_push_of_the_clock_ends_a_slow_request() {
    let org = Arc::new(Client::with_settings(|settings| settings.pace = 0.0).await);
    org.control().arm(Fault::once(FaultKind::Slow { ms: 130_000 }));
    let slow = {
        let org = Arc::clone(&org);
        tokio::spawn(async move { org.get("limits").await.0 })
    };
    eventually(|| org.control().usage().waiting == 1).await;
    org.control().advance_clock(Duration::from_secs(129));
    assert_eq!(org.get("limits").await.0, 200);
    assert!(!slow.is_finished());
    org.control().advance_clock(Duration::from_secs(1));
    assert_eq!(slow.await.unwrap(), 200);
    assert_eq!(org.control().requests().last().unwrap().duration_ms, 130_000);
}

#[tokio::test]
async fn a_push_of_the_clock_ages_running_requests() {
    let org = Arc::new(
        Client::with_settings(|settings| {
            settings.pace = 0.0;
            settings.latency_ms = 60_000;
            settings.long_running_limit = 1;
        })
        .await,
    );
    let long: Vec<_> = (0..2)
        .map(|_| {
            let org = Arc::clone(&org);
            tokio::spawn(async move { org.get("limits").await.0 })
        })
        .collect();
    eventually(|| org.control().usage().waiting == 2).await;
    org.control().advance_clock(Duration::from_secs(20));
    let (status, body) = org.get("limits").await;
    assert_eq!((status, code(&body)), (403, "REQUEST_LIMIT_EXCEEDED"));
    assert_eq!(body[0]["message"], "ConcurrentRequests (Concurrent API Requests) Limit exceeded.");
    org.control().advance_clock(Duration::from_secs(40));
    for call in long {
        assert_eq!(call.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn a_faster_pace_makes_a_minute_short_and_still_a_minute() {
    let org = Client::with_settings(|settings| {
        settings.pace = 10_000.0;
        settings.session_ttl_s = 1_000_000_000;
        settings.latency_ms = 60_000;
    })
    .await;
    assert_eq!(org.get("limits").await.0, 200);
    assert!(org.control().requests().last().unwrap().duration_ms >= 60_000);
}

#[tokio::test]
async fn the_same_seed_and_the_same_requests_give_the_same_latencies() {
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let mut config = Config { seed, ..Config::default() };
        config.settings.pace = 10_000.0;
        config.settings.session_ttl_s = 1_000_000_000;
        config.settings.latency_ms = 40;
        config.settings.latency_jitter_ms = 1_000;
        let org = Client::with(config).await;
        for _ in 0..12 {
            assert_eq!(org.get("limits").await.0, 200);
        }
        let requests = org.control().requests();
        runs.push(requests.iter().map(|request| request.latency_ms).filter(|ms| *ms > 0).collect::<Vec<_>>());
    }
    assert_eq!(runs[0].len(), 12);
    assert!(runs[0].iter().all(|ms| (40..=1_040).contains(ms)), "{:?}", runs[0]);
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test]
async fn the_clock_is_read_and_pushed_over_http_too() {
    let org = Client::with_settings(|settings| settings.pace = 0.0).await;
    let url = org.url("/_sim/clock");
    let before: serde_json::Value = org.http.get(&url).send().await.unwrap().json().await.unwrap();
    let push = org.http.post(&url).json(&json!({ "advance_s": 59, "advance_ms": 1_000 }));
    let after: serde_json::Value = push.send().await.unwrap().json().await.unwrap();
    assert_eq!((&after["pace"], &after["waiting"]), (&json!(0.0), &json!(0)));
    let minute = |shown: &serde_json::Value| shown["now"].as_str().unwrap()[14..16].parse::<u32>().unwrap();
    assert_eq!(minute(&after), (minute(&before) + 1) % 60);
    assert_eq!(org.control().now(), after["now"].as_str().unwrap());
    for pace in [json!(-1), json!(1e9), json!("fast")] {
        let request = org.http.post(org.url("/_sim/settings")).json(&json!({ "pace": pace }));
        assert_eq!(request.send().await.unwrap().status(), 400);
    }
}
