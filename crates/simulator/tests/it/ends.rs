//! How orgs end: what they hold is let go.

use std::time::Duration;

use causeway_simulator::{Config, Fault, FaultKind, OrgHandle};
use reqwest::Method;
use serde_json::json;
use tonic::Code;
use tonic::transport::Channel;

use crate::client::{Client, eventually, read};
use crate::subscriber::proto::ReplayPreset;
use crate::subscriber::{PubSub, fetch, signed_in};

/// Longer than anything here takes, shorter than a fault holds.
const PATIENCE: Duration = Duration::from_secs(20);

/// A second org beside the first, and a token of it.
async fn second(org: &Client, config: Config) -> (OrgHandle, String) {
    let second = org.simulator.add_org(Config { name: "globex".to_owned(), ..config }).unwrap();
    let form =
        [("grant_type", "client_credentials"), ("client_id", "causeway-dev"), ("client_secret", "causeway-dev-secret")];
    let url = format!("{}/services/oauth2/token", second.base_url());
    let (status, body) = read(org.http.post(url).form(&form).send().await.unwrap()).await;
    assert_eq!(status, 200, "{body}");
    (second, body["access_token"].as_str().unwrap().to_owned())
}

fn limits(org: &Client, second: &OrgHandle, token: &str) -> reqwest::RequestBuilder {
    org.http.get(format!("{}/services/data/v62.0/limits", second.base_url())).bearer_auth(token)
}

#[tokio::test]
async fn a_shutdown_lets_go_what_every_org_holds() {
    let org = Client::new().await;
    let (second, token) = second(&org, Config::default()).await;
    second.control().arm(Fault::once(FaultKind::Hold));
    let request = limits(&org, &second, &token).timeout(PATIENCE).send();
    let (answer, ended) = tokio::join!(request, async {
        second.control().until_held(1).await;
        tokio::time::timeout(PATIENCE, org.simulator.shutdown()).await
    });
    assert!(ended.is_ok());
    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test]
async fn a_dropped_simulator_holds_no_call_of_any_org() {
    let org = Client::new().await;
    let (second, token) = second(&org, Config::default()).await;
    second.control().arm(Fault::once(FaultKind::Hold));
    let request = tokio::spawn(limits(&org, &second, &token).send());
    second.control().until_held(1).await;
    drop(org);
    // Answered or cut off, but not held.
    let ended = tokio::time::timeout(PATIENCE, request).await;
    assert!(ended.is_ok());
    assert!(second.control().faults().is_empty());
}

#[tokio::test]
async fn an_org_that_is_taken_away_answers_what_it_held_and_ends_its_streams() {
    let org = Client::new().await;
    let (second, token) = second(&org, Config::default()).await;
    let tenant = second.control().records("Organization").unwrap()[0]["Id"].as_str().unwrap().to_owned();
    let metadata = [("accesstoken", token.clone()), ("instanceurl", org.url("")), ("tenantid", tenant)];
    let channel = Channel::from_shared(org.url("")).unwrap().connect().await.unwrap();
    let mut bus = PubSub::with(signed_in(channel, &metadata)).await;
    let mut stream = bus.subscribe(fetch(ReplayPreset::Earliest, 100)).await.unwrap();
    second.control().arm(Fault::once(FaultKind::Hold));
    let request = limits(&org, &second, &token).timeout(PATIENCE).send();
    let (answer, (status, body)) = tokio::join!(request, async {
        second.control().until_held(1).await;
        org.call("DELETE", "/_sim/orgs/globex", None).await
    });
    assert_eq!((status, body), (200, json!({ "removed": "globex" })));
    assert_eq!(answer.unwrap().status(), 200);
    let ended = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
    assert_eq!(org.request(Method::GET, "limits").send().await.unwrap().status(), 200, "the first org goes on");
}

#[tokio::test]
async fn nobody_waits_for_a_clock_that_stands_when_its_org_ends() {
    let org = Client::new().await;
    let mut config = Config::default();
    config.settings.pace = 0.0;
    config.settings.latency_ms = 1_000;
    let (second, token) = second(&org, config).await;
    let request = limits(&org, &second, &token).timeout(PATIENCE).send();
    let (answer, ended) = tokio::join!(request, async {
        eventually(|| second.control().usage().waiting == 1).await;
        tokio::time::timeout(PATIENCE, org.simulator.shutdown()).await
    });
    assert!(ended.is_ok());
    assert_eq!(answer.unwrap().status(), 200);
}
