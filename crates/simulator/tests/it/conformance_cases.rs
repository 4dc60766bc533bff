//! The conformance cases of the simulator's blueprint that concern the org alone, by their numbers.
//!
//! Cases 2 (two workers and one refresh) and 9 (a duplicate that the tenant does not want looked at) are about a client;
//! the writer's tests have them.

use std::sync::Arc;
use std::time::Duration;

use causeway_simulator::{Config, DuplicateRule, Fault, FaultKind, PublishBehavior, RuleResponse};
use reqwest::Method;
use serde_json::{Value, json};

use crate::browser;
use crate::client::{Client, code, eventually, order_graph, person, read};

const EVENT: &str = "i42as__OrderEvent__e";

fn graphs(range: std::ops::Range<usize>) -> Value {
    json!({ "graphs": range.map(order_graph).collect::<Vec<_>>() })
}

fn successes(body: &Value) -> usize {
    body["graphs"].as_array().unwrap().iter().filter(|graph| graph["isSuccessful"] == true).count()
}

/// The first node's body of each graph that failed.
fn failures(body: &Value) -> Vec<&Value> {
    let failed = body["graphs"].as_array().unwrap().iter().filter(|graph| graph["isSuccessful"] == false);
    failed.map(|graph| &graph["graphResponse"]["compositeResponse"][0]["body"]).collect()
}

async fn with_rule(response: RuleResponse) -> Client {
    let duplicate_rules = vec![DuplicateRule::standard_person_account(response)];
    Client::with(Config { duplicate_rules, ..Config::default() }).await
}

#[tokio::test]
async fn case_01_an_expired_session_gets_the_recorded_401_and_the_same_request_passes_with_a_new_token() {
    let mut org = Client::new().await;
    org.control().expire_sessions();
    let answer = org.request(Method::POST, "composite/graph").json(&graphs(0..1)).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["www-authenticate"].to_str().unwrap()), (401, "Token"));
    assert!(answer.headers().get("sforce-limit-info").is_none());
    let text = answer.text().await.unwrap();
    assert_eq!(text, r#"[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]"#);
    assert!(org.records("Account").is_empty(), "a 401 was not carried out");
    org.token = org.sign_in().await;
    assert_eq!(successes(&org.post("composite/graph", graphs(0..1)).await.1), 1);
}

#[tokio::test]
async fn case_03_a_rotation_whose_answer_is_lost_ends_the_family_when_the_old_token_comes_back() {
    let mut org = Client::with_settings(|settings| settings.refresh_rotation = true).await;
    let tokens = browser::connected(&org).await;
    let old = tokens["refresh_token"].as_str().unwrap();
    let lost = Fault::once(FaultKind::CommitThenDrop).on_path("/services/oauth2/token");
    org.control().arm(lost.containing("grant_type=refresh_token"));
    let form = [("grant_type", "refresh_token"), ("refresh_token", old), ("client_id", "causeway-dev")];
    let request = org
        .http
        .post(org.url("/services/oauth2/token"))
        .form(&form)
        .basic_auth("causeway-dev", Some("causeway-dev-secret"));
    assert!(request.send().await.is_err(), "the answer is lost");
    let (status, body) = browser::refresh(&org, old).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_grant")));
    org.token = tokens["access_token"].as_str().unwrap().to_owned();
    assert_eq!(org.get("limits").await.0, 401, "and with it the sessions of the family end");
}

#[tokio::test]
async fn case_04_seventy_five_good_orders_cost_one_api_call() {
    let org = Client::new().await;
    let (status, body) = org.post("composite/graph", graphs(0..75)).await;
    assert_eq!((status, successes(&body), org.control().api_calls()), (200, 75, 1));
    assert_eq!((org.records("Account").len(), org.control().events().len()), (75, 75));
}

#[tokio::test]
async fn case_05_one_validation_error_costs_its_own_graph_only() {
    let org = Client::new().await;
    let mut request = graphs(0..75);
    request["graphs"][40]["compositeRequest"][0]["body"]["PersonEmail"] = json!("123");
    let (status, body) = org.post("composite/graph", request).await;
    assert_eq!((status, successes(&body)), (200, 74));
    assert_eq!(failures(&body).into_iter().map(code).collect::<Vec<_>>(), ["INVALID_EMAIL_ADDRESS"]);
    assert_eq!((org.records("LimioOrder__c").len(), org.control().events().len()), (74, 74));
}

#[tokio::test]
async fn case_06_behind_fifteen_duplicates_the_rest_of_the_request_is_halted() {
    let org = with_rule(RuleResponse::ALERT).await;
    for n in 0..20 {
        org.create("Account", person(&format!("Smith{n}"))).await;
    }
    let (status, body) = org.post("composite/graph", graphs(0..75)).await;
    assert_eq!((status, successes(&body)), (200, 0));
    let codes: Vec<_> = failures(&body).into_iter().map(code).collect();
    assert_eq!(codes.iter().filter(|code| **code == "DUPLICATES_DETECTED").count(), 15);
    assert_eq!(codes.iter().filter(|code| **code == "PROCESSING_HALTED").count(), 60);
    assert_eq!((org.records("Account").len(), org.control().events().len()), (20, 0));
}

#[tokio::test]
async fn case_07_a_blocking_rule_refuses_the_order_whatever_the_header_says_and_writes_nothing() {
    let org = with_rule(RuleResponse::BLOCK).await;
    org.create("Account", person("Smith0")).await;
    let request = org.request(Method::POST, "composite/graph").json(&graphs(0..1));
    let request = request.header("Sforce-Duplicate-Rule-Header", "allowSave=true");
    let (status, body) = read(request.send().await.unwrap()).await;
    assert_eq!((status, successes(&body)), (200, 0));
    assert_eq!(failures(&body)[0][0]["duplicateResut"]["allowSave"], false);
    assert_eq!((org.records("Account").len(), org.control().events().len()), (1, 0));
}

#[tokio::test]
async fn case_08_an_alert_names_the_match_and_the_event_can_go_out_with_it() {
    let org = with_rule(RuleResponse::ALERT).await;
    let id = org.create("Account", person("Smith0")).await;
    let (_, body) = org.post("composite/graph", graphs(0..1)).await;
    let result = &failures(&body)[0][0]["duplicateResut"];
    assert_eq!(result["allowSave"], true);
    assert_eq!(result["matchResults"][0]["matchRecords"][0]["record"]["Id"], id);
    let (status, _) = org.post(&format!("sobjects/{EVENT}"), json!({ "i42as__AccountId__c": id })).await;
    assert_eq!((status, org.records("Account").len(), org.control().events().len()), (201, 1, 1));
}

#[tokio::test]
async fn case_10_a_rule_that_only_reports_saves_and_leaves_a_duplicate_record_set() {
    let org = with_rule(RuleResponse::REPORT).await;
    org.create("Account", person("Smith0")).await;
    let (_, body) = org.post("composite/graph", graphs(0..1)).await;
    assert_eq!((successes(&body), org.records("Account").len()), (1, 2));
    assert_eq!((org.records("DuplicateRecordSet").len(), org.records("DuplicateRecordItem").len()), (1, 2));
}

#[tokio::test]
async fn case_11_after_a_commit_whose_answer_was_lost_the_replay_creates_nothing() {
    let org = Client::new().await;
    org.control().arm(Fault::once(FaultKind::CommitThenDrop));
    assert!(org.request(Method::POST, "composite/graph").json(&graphs(0..1)).send().await.is_err());
    let (_, body) = org.post("composite/graph", graphs(0..1)).await;
    let parts = body["graphs"][0]["graphResponse"]["compositeResponse"].as_array().unwrap();
    assert_eq!((&parts[0]["body"]["created"], &parts[1]["body"]["created"]), (&json!(false), &json!(false)));
    assert_eq!((org.records("Account").len(), org.records("LimioOrder__c").len()), (1, 1));
}

#[tokio::test]
async fn case_12_one_customer_ordering_twice_at_once_is_one_account_and_two_orders() {
    let org = Arc::new(with_rule(RuleResponse::ALERT).await);
    org.control().update_settings(|settings| {
        settings.pace = 0.0;
        settings.latency_per_row_ms = 1_000;
    });
    let calls: Vec<_> = (0..2)
        .map(|n| {
            let org = Arc::clone(&org);
            let mut graph = order_graph(7);
            graph["compositeRequest"][1]["url"] =
                json!(format!("/services/data/v62.0/sobjects/LimioOrder__c/LimioId__c/twice-{n}"));
            tokio::spawn(async move { org.post("composite/graph", json!({ "graphs": [graph] })).await.1 })
        })
        .collect();
    // The first has written its rows and takes its time to commit; the second has met its account.
    eventually(|| org.control().usage().lock_waiters == 1 && org.control().usage().waiting == 2).await;
    assert!(org.records("Account").is_empty());
    org.control().advance_clock(Duration::from_secs(3));
    eventually(|| org.control().usage().waiting == 1 && org.records("LimioOrder__c").len() == 1).await;
    org.control().advance_clock(Duration::from_secs(3));
    for call in calls {
        assert_eq!(successes(&call.await.unwrap()), 1);
    }
    assert_eq!((org.records("Account").len(), org.records("LimioOrder__c").len()), (1, 2));
}

#[tokio::test]
async fn case_13_a_published_event_is_a_success_with_an_error_that_holds_its_uuid() {
    let org = Client::new().await;
    let (status, body) = org.post(&format!("sobjects/{EVENT}"), json!({ "i42as__OrderNumber__c": "N1" })).await;
    assert_eq!(
        (status, &body["success"], &body["errors"][0]["statusCode"]),
        (201, &json!(true), &json!("OPERATION_ENQUEUED"))
    );
    let events = org.control().events();
    assert_eq!((events.len(), body["errors"][0]["message"].as_str()), (1, Some(events[0].event_uuid.as_str())));
}

#[tokio::test]
async fn case_14_past_the_event_allocation_rows_are_written_and_events_pass_again_when_the_hour_has_slid() {
    let org = Client::with_settings(|settings| settings.event_hourly_limit = 1).await;
    let event = |n: usize| json!({ "attributes": { "type": EVENT }, "i42as__OrderNumber__c": format!("N{n}") });
    let rows = json!({ "records": [{ "attributes": { "type": "Account" }, "Name": "A" }, event(0), event(1)] });
    let (status, body) = org.post("composite/sobjects", rows).await;
    let said: Vec<_> = body.as_array().unwrap().iter().map(|row| row["success"].as_bool().unwrap()).collect();
    assert_eq!((status, said), (200, vec![true, true, false]));
    assert_eq!(body[2]["errors"][0]["statusCode"], "LIMIT_EXCEEDED");
    org.control().advance_clock(Duration::from_mins(61));
    let (_, body) = org.post("composite/sobjects", json!({ "records": [event(1)] })).await;
    assert_eq!((&body[0]["success"], org.records("Account").len(), org.control().events().len()), (&json!(true), 1, 2));
}

#[tokio::test]
async fn case_15_an_event_that_is_published_immediately_outlives_its_failed_graph() {
    for (behavior, published) in [(PublishBehavior::Immediately, 1), (PublishBehavior::AfterCommit, 0)] {
        let org = Client::with_settings(|settings| settings.publish_behavior = behavior).await;
        let mut graph = order_graph(0);
        let nodes = graph["compositeRequest"].as_array_mut().unwrap();
        nodes.push(json!({ "method": "POST", "url": "/services/data/v62.0/sobjects/Contact", "referenceId": "bad", "body": {} }));
        let (_, body) = org.post("composite/graph", json!({ "graphs": [graph] })).await;
        assert_eq!((successes(&body), org.records("Account").len()), (0, 0));
        assert_eq!(org.control().events().len(), published, "{behavior:?}");
    }
}

#[tokio::test]
async fn case_16_an_org_past_its_daily_limit_leaves_another_org_alone() {
    let mut poor = Client::with_settings(|settings| settings.api_limit = 1).await;
    let rich = Client::new().await;
    assert_eq!(poor.get("limits").await.0, 200);
    let (status, body) = poor.post("composite/graph", graphs(0..1)).await;
    assert_eq!(
        (status, code(&body), body[0]["message"].as_str()),
        (403, "REQUEST_LIMIT_EXCEEDED", Some("TotalRequests Limit exceeded."))
    );
    assert_eq!(successes(&rich.post("composite/graph", graphs(0..1)).await.1), 1);
    poor.control().advance_clock(Duration::from_hours(24));
    poor.token = poor.sign_in().await;
    assert_eq!(successes(&poor.post("composite/graph", graphs(0..1)).await.1), 1);
}

#[tokio::test]
async fn case_17_with_picklists_on_codes_are_taken_and_plain_codes_in_text_fields_are_not() {
    let org = Client::with_settings(|settings| settings.state_country_picklists = true).await;
    let mut coded = person("Smith");
    coded["BillingStateCode"] = json!("CA");
    coded["BillingCountryCode"] = json!("US");
    let id = org.create("Account", coded).await;
    let (_, row) = org.get(&format!("sobjects/Account/{id}")).await;
    assert_eq!(
        (row["BillingState"].as_str(), row["BillingCountry"].as_str()),
        (Some("California"), Some("United States"))
    );
    let mut plain = person("Jones");
    plain["BillingState"] = json!("CA");
    plain["BillingCountry"] = json!("US");
    let (status, body) = org.post("sobjects/Account", plain).await;
    assert_eq!((status, code(&body)), (400, "FIELD_INTEGRITY_EXCEPTION"));
}

#[tokio::test]
async fn case_18_a_last_name_of_eighty_one_characters_is_too_long() {
    let org = Client::new().await;
    let (status, body) = org.post("sobjects/Account", json!({ "LastName": "x".repeat(81) })).await;
    assert_eq!((status, code(&body), &body[0]["fields"]), (400, "STRING_TOO_LONG", &json!(["LastName"])));
    org.create("Account", json!({ "LastName": "x".repeat(80) })).await;
}

#[tokio::test]
async fn case_19_a_refresh_may_name_another_instance_and_the_session_is_good_there() {
    let mut org = Client::new().await;
    let tokens = browser::connected(&org).await;
    assert_eq!(tokens["instance_url"], org.simulator.base_url());
    let moved = org.simulator.base_url().replace("127.0.0.1", "localhost");
    org.control().update_settings(|settings| settings.instance_url = Some(moved.clone()));
    let (status, body) = browser::refresh(&org, tokens["refresh_token"].as_str().unwrap()).await;
    assert_eq!((status, body["instance_url"].as_str()), (200, Some(moved.as_str())));
    org.token = body["access_token"].as_str().unwrap().to_owned();
    assert_eq!(org.get("limits").await.0, 200);
}

#[tokio::test]
async fn case_20_requests_and_answers_may_be_gzip() {
    let org = Client::new().await;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packer, graphs(0..10).to_string().as_bytes()).unwrap();
    let plain = reqwest::Client::builder().no_gzip().build().unwrap();
    let request = plain.post(org.url("/services/data/v62.0/composite/graph")).bearer_auth(&org.token);
    let request = request.header("Content-Encoding", "gzip").header("Content-Type", "application/json");
    let answer = request.header("Accept-Encoding", "gzip").body(packer.finish().unwrap()).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["content-encoding"].to_str().unwrap()), (200, "gzip"));
    let bytes = answer.bytes().await.unwrap();
    let body: Value = serde_json::from_reader(flate2::read::GzDecoder::new(bytes.as_ref())).unwrap();
    assert_eq!((successes(&body), org.records("Account").len()), (10, 10));
}

#[tokio::test]
async fn case_21_who_waits_ten_seconds_for_an_account_gives_up_and_who_holds_it_commits() {
    // The clock stands still; three rows take fifteen seconds, and all that while the first order holds the account.
    let org = Client::with_settings(|settings| {
        settings.pace = 0.0;
        settings.latency_per_row_ms = 5_000;
    });
    let org = Arc::new(org.await);
    let call = |order: &str| {
        let org = Arc::clone(&org);
        let mut graph = order_graph(1);
        graph["compositeRequest"][1]["url"] =
            json!(format!("/services/data/v62.0/sobjects/LimioOrder__c/LimioId__c/{order}"));
        tokio::spawn(async move { org.post("composite/graph", json!({ "graphs": [graph] })).await.1 })
    };
    let asleep = async |calls: usize, lock_waiters: usize| {
        eventually(|| {
            let usage = org.control().usage();
            (usage.waiting, usage.lock_waiters) == (calls, lock_waiters)
        })
        .await;
    };
    let first = call("first");
    asleep(1, 0).await;
    let second = call("second");
    asleep(2, 1).await;
    org.control().advance_clock(Duration::from_secs(10));
    // What the loser takes back takes its time too.
    asleep(2, 0).await;
    org.control().advance_clock(Duration::from_mins(1));
    let body = second.await.unwrap();
    let error = &failures(&body)[0][0];
    assert_eq!((error["errorCode"].as_str(), &error["fields"]), (Some("UNABLE_TO_LOCK_ROW"), &json!([])));
    assert_eq!(successes(&first.await.unwrap()), 1);
    assert_eq!((org.records("Account").len(), org.records("LimioOrder__c").len()), (1, 1));
}

#[tokio::test]
async fn case_22_a_lock_inside_a_trigger_comes_wrapped() {
    let org = Client::new().await;
    org.control().arm(Fault::once(FaultKind::TriggerLock).on_object("LimioOrder__c"));
    let (_, body) = org.post("composite/graph", graphs(0..1)).await;
    let error = &failures(&body)[0][0];
    assert_eq!(error["errorCode"], "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY");
    let text = error["message"].as_str().unwrap();
    assert!(text.contains("execution of AfterInsert") && text.contains("UNABLE_TO_LOCK_ROW"), "{text}");
}

#[tokio::test]
async fn case_23_without_person_accounts_their_fields_do_not_exist() {
    let org = Client::with_settings(|settings| settings.person_accounts = false).await;
    let (_, body) = org.post("composite/graph", graphs(0..1)).await;
    let error = &failures(&body)[0][0];
    let text = error["message"].as_str().unwrap();
    assert_eq!(error["errorCode"], "INVALID_FIELD");
    assert!(text.starts_with("No such column '") && text.ends_with("' on sobject of type Account"), "{text}");
}

#[tokio::test]
async fn case_24_an_order_beyond_the_fields_length_is_refused_and_not_cut() {
    let org = Client::new().await;
    let event = |length: usize| json!({ "i42as__LimioOrder__c": "x".repeat(length) });
    let (status, body) = org.post(&format!("sobjects/{EVENT}"), event(131_073)).await;
    assert_eq!((status, code(&body), &body[0]["fields"]), (400, "STRING_TOO_LONG", &json!(["i42as__LimioOrder__c"])));
    assert!(org.control().events().is_empty());
    assert_eq!(org.post(&format!("sobjects/{EVENT}"), event(131_072)).await.0, 201);
}
