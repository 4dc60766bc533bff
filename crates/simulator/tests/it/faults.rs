use causeway_simulator::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::client::{Client, code, order_graph};

async fn graph(org: &Client, n: usize) -> Result<(u16, Value), reqwest::Error> {
    let request = org.request(reqwest::Method::POST, "composite/graph").json(&json!({ "graphs": [order_graph(n)] }));
    let response = request.send().await?;
    let status = response.status().as_u16();
    let text = response.text().await?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

#[tokio::test]
async fn commit_then_drop_keeps_the_rows_and_says_nothing() {
    let org = Client::new().await;
    org.control().arm(Fault::once(FaultKind::CommitThenDrop));
    assert!(graph(&org, 0).await.is_err());
    assert_eq!(org.records("LimioOrder__c").len(), 1);
    let (_, body) = graph(&org, 0).await.unwrap();
    let part = &body["graphs"][0]["graphResponse"]["compositeResponse"][0];
    assert_eq!(part["body"]["created"], false);
    assert_eq!(org.records("Account").len(), 1);
    let dropped = org.control().requests().into_iter().find(|request| request.fault.is_some()).unwrap();
    assert_eq!((dropped.status, dropped.fault.as_deref()), (0, Some("commit_then_drop")));
}

#[tokio::test]
async fn drop_before_carries_nothing_out() {
    let org = Client::new().await;
    org.control().arm(Fault::once(FaultKind::DropBefore));
    assert!(graph(&org, 0).await.is_err());
    assert!(org.records("Account").is_empty());
    assert_eq!(graph(&org, 0).await.unwrap().0, 200);
}

#[tokio::test]
async fn a_truncated_body_breaks_off_after_the_commit() {
    let org = Client::new().await;
    org.control().arm(Fault::once(FaultKind::TruncatedBody));
    assert!(graph(&org, 0).await.is_err());
    assert_eq!(org.records("Account").len(), 1);
}

#[tokio::test]
async fn commit_then_503_keeps_the_rows() {
    let org = Client::new().await;
    org.control().arm(Fault::once(FaultKind::CommitThen503));
    let (status, body) = graph(&org, 0).await.unwrap();
    assert_eq!((status, body.as_str().unwrap().starts_with("<html>")), (503, true));
    assert_eq!(org.records("Account").len(), 1);
}

#[tokio::test]
async fn refusing_faults_answer_as_the_org_does_and_write_nothing() {
    let org = Client::new().await;
    for (kind, status, expected) in [
        (FaultKind::ExpiredSession, 401, "INVALID_SESSION_ID"),
        (FaultKind::SessionNotValidForRest, 401, "INVALID_SESSION_ID"),
        (FaultKind::DailyLimit, 403, "REQUEST_LIMIT_EXCEEDED"),
        (FaultKind::ConcurrentLimit, 403, "REQUEST_LIMIT_EXCEEDED"),
        (FaultKind::UnavailableJson, 503, "SERVER_UNAVAILABLE"),
        (FaultKind::UnavailableHtml, 503, ""),
        (FaultKind::UnknownException, 500, "UNKNOWN_EXCEPTION"),
    ] {
        org.control().arm(Fault::once(kind.clone()));
        let (found, body) = graph(&org, 0).await.unwrap();
        assert_eq!((found, code(&body)), (status, expected), "{kind:?}");
    }
    assert!(org.records("Account").is_empty());
    assert_eq!(graph(&org, 0).await.unwrap().0, 200);
}

#[tokio::test]
async fn a_lock_on_one_object_fails_only_the_graph_that_holds_it() {
    let org = Client::new().await;
    org.control().arm(Fault::once(FaultKind::Lock).on_object("LimioOrder__c").containing("order-1"));
    let request = json!({ "graphs": [order_graph(0), order_graph(1)] });
    let (_, body) = org.post("composite/graph", request).await;
    assert_eq!((&body["graphs"][0]["isSuccessful"], &body["graphs"][1]["isSuccessful"]), (&json!(true), &json!(false)));
    let part = &body["graphs"][1]["graphResponse"]["compositeResponse"][0]["body"];
    assert_eq!((code(part), &part[0]["fields"]), ("UNABLE_TO_LOCK_ROW", &json!([])));
    assert_eq!(org.records("Account").len(), 1);
}

#[tokio::test]
async fn a_row_can_be_refused_with_any_code() {
    let org = Client::new().await;
    let kind = FaultKind::RefuseRow {
        code: "FIELD_CUSTOM_VALIDATION_EXCEPTION".to_owned(),
        message: "Not on Sundays".to_owned(),
        status: 400,
        fields: vec!["Phone".to_owned()],
    };
    org.control().arm(Fault::always(kind).on_object("Account"));
    let (status, body) = org.post("sobjects/Account", json!({ "Name": "A" })).await;
    assert_eq!(status, 400);
    assert_eq!(
        body,
        json!([{ "message": "Not on Sundays", "errorCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "fields": ["Phone"] }])
    );
    org.create("Contact", json!({ "LastName": "L" })).await;
}

#[tokio::test]
async fn faults_wait_for_their_turn_and_are_spent() {
    let org = Client::new().await;
    org.control().arm(Fault::always(FaultKind::UnavailableJson).on_path("/limits").from_nth(2).times(1));
    assert_eq!(org.get("sobjects").await.0, 200);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(org.get("limits").await.0);
    }
    assert_eq!(statuses, [200, 503, 200, 200]);
    let armed = &org.control().faults()[0];
    assert_eq!((armed.applied, armed.fault.times), (1, Some(1)));
}

#[tokio::test]
async fn a_probability_is_drawn_from_the_seed() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let org = Client::new().await;
        org.control().arm(Fault::always(FaultKind::UnavailableJson).with_probability(0.5));
        let mut statuses = Vec::new();
        for _ in 0..30 {
            statuses.push(org.get("limits").await.0);
        }
        assert!(statuses.contains(&200) && statuses.contains(&503));
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn the_token_endpoint_is_spared_unless_it_is_named() {
    let org = Client::new().await;
    org.control().arm(Fault::always(FaultKind::UnavailableJson));
    org.sign_in().await;
    org.control().clear_faults();
    org.control().arm(Fault::once(FaultKind::UnknownOauthError).on_path("/services/oauth2/token"));
    let (status, body) = org.token(&[("grant_type", "client_credentials")]).await;
    assert_eq!(status, 400);
    assert_eq!(body, json!({ "error": "unknown_error", "error_description": "retry your request" }));
}
