use causeway_simulator::{Fault, FaultKind, Language};
use serde_json::{Value, json};

use crate::client::{Client, code, eventually, order_graph};

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

#[tokio::test]
async fn a_held_request_is_carried_out_when_it_is_let_go() {
    let org = Client::new().await;
    org.control().arm(Fault::once(FaultKind::Hold));
    let (first, ()) = tokio::join!(graph(&org, 0), async {
        org.control().until_held(1).await;
        assert!(org.records("Account").is_empty());
        assert_eq!(org.control().faults()[0].held, 1);
        assert_eq!(org.control().release_held(), 1);
    });
    assert_eq!(first.unwrap().0, 200);
    assert_eq!((org.records("Account").len(), org.control().faults()[0].held), (1, 0));
}

#[tokio::test]
async fn a_held_answer_comes_after_its_rows_are_seen() {
    let org = Client::new().await;
    org.control().arm(Fault::once(FaultKind::HoldAnswer));
    let (first, ()) = tokio::join!(graph(&org, 0), async {
        org.control().until_held(1).await;
        assert_eq!(org.records("Account").len(), 1);
        org.control().clear_faults();
    });
    assert_eq!(first.unwrap().0, 200);
}

#[tokio::test]
async fn a_shutdown_lets_go_what_is_held() {
    let org = Client::new().await;
    let control = org.control();
    control.arm(Fault::once(FaultKind::Hold));
    let request = org.request(reqwest::Method::GET, "limits").send();
    let Client { simulator, .. } = org;
    let (answer, ()) = tokio::join!(request, async {
        control.until_held(1).await;
        simulator.shutdown().await;
    });
    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test]
async fn a_sequence_takes_a_step_with_each_match_and_waits_for_its_level() {
    let org = Client::new().await;
    let refusal = |code: &str| FaultKind::RefuseRow {
        code: code.to_owned(),
        message: "no".to_owned(),
        status: 400,
        fields: Vec::new(),
    };
    let steps = vec![
        FaultKind::UnavailableJson,
        FaultKind::Pass,
        refusal("APEX_ERROR"),
        FaultKind::Lock,
        FaultKind::BadGateway,
    ];
    org.control().arm(Fault::always(FaultKind::Sequence { steps, repeat: false }));
    let mut seen = Vec::new();
    for n in 0..6 {
        let (status, body) = org.post("sobjects/Account", json!({ "Name": format!("A{n}") })).await;
        seen.push((status, code(&body).to_owned()));
    }
    let expected = [
        (503, "SERVER_UNAVAILABLE"),
        (400, "APEX_ERROR"),
        (400, "UNABLE_TO_LOCK_ROW"),
        (502, ""),
        (201, ""),
        (201, ""),
    ];
    assert_eq!(seen, expected.map(|(status, code)| (status, code.to_owned())));
    assert!(org.control().faults()[0].is_spent());
}

#[tokio::test]
async fn a_repeated_sequence_starts_over() {
    let org = Client::new().await;
    let steps = vec![FaultKind::Pass, FaultKind::TooManyRequests { retry_after_s: 7 }];
    org.control().arm(Fault::always(FaultKind::Sequence { steps, repeat: true }).on_method("GET"));
    let mut seen = Vec::new();
    for _ in 0..4 {
        let answer = org.request(reqwest::Method::GET, "limits").send().await.unwrap();
        seen.push((
            answer.status().as_u16(),
            answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned()),
        ));
    }
    let busy = (429, Some("7".to_owned()));
    assert_eq!(seen, [(200, None), busy.clone(), (200, None), busy]);
    assert_eq!(org.post("sobjects/Account", json!({ "Name": "A" })).await.0, 201);
}

#[tokio::test]
async fn one_fault_can_be_disarmed_and_the_others_stay() {
    let org = Client::new().await;
    let first = org.control().try_arm(Fault::always(FaultKind::UnavailableJson)).unwrap();
    let second = org.control().try_arm(Fault::always(FaultKind::ApiDisabled)).unwrap();
    assert_eq!(org.get("limits").await.0, 503);
    let url = org.url(&format!("/_sim/faults/{first}"));
    assert_eq!(org.http.delete(&url).send().await.unwrap().status(), 200);
    assert_eq!(org.http.delete(&url).send().await.unwrap().status(), 404);
    let (status, body) = org.get("limits").await;
    assert_eq!((status, code(&body)), (403, "API_DISABLED_FOR_ORG"));
    assert_eq!(org.control().faults().iter().map(|armed| armed.id).collect::<Vec<_>>(), [second]);
}

#[tokio::test]
async fn a_fault_that_makes_no_sense_is_refused_and_nothing_of_its_script_is_armed() {
    let org = Client::new().await;
    for wrong in [
        json!({ "kind": "sequence", "steps": [] }),
        json!({ "kind": "sequence", "steps": [{ "kind": "sequence", "steps": [] }] }),
        json!({ "kind": "lock", "probability": 1.5 }),
        json!({ "kind": "lock", "nth": 0 }),
        json!({ "kind": "refuse_row", "code": "X", "message": "m", "status": 200 }),
        json!({ "kind": "no_such_kind" }),
    ] {
        let script = json!([{ "kind": "lock" }, wrong]);
        let answer = org.http.post(org.url("/_sim/faults")).json(&script).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{wrong}");
        assert!(org.control().faults().is_empty(), "{wrong}");
    }
}

#[tokio::test]
async fn row_faults_are_worded_as_the_org_words_them() {
    let org = Client::with_settings(|settings| settings.storage_limit_status = 403).await;
    for (kind, status, expected, text) in [
        (FaultKind::StorageLimit, 403, "STORAGE_LIMIT_EXCEEDED", "storage limit exceeded"),
        (FaultKind::Maintenance, 503, "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", "read-only"),
        (FaultKind::TriggerLock, 400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "UNABLE_TO_LOCK_ROW"),
        (FaultKind::TriggerLimit, 400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "System.LimitException"),
    ] {
        org.control().arm(Fault::once(kind.clone()));
        let (found, body) = org.post("sobjects/Account", json!({ "Name": "A" })).await;
        assert_eq!((found, code(&body), &body[0]["fields"]), (status, expected, &json!([])), "{kind:?}");
        assert!(body[0]["message"].as_str().unwrap().contains(text), "{body}");
    }
    assert!(org.records("Account").is_empty());
}

#[tokio::test]
async fn an_upsert_can_meet_several_rows() {
    let org = Client::new().await;
    org.control().arm(Fault::once(FaultKind::MultipleChoices));
    let (status, body) = org.patch("sobjects/Account/LimioId__c/a-1", json!({ "Name": "A" })).await;
    assert_eq!((status, body.as_array().unwrap().len()), (300, 2));
    assert!(org.records("Account").is_empty());
}

#[tokio::test]
async fn a_graph_can_be_halted_while_its_neighbours_are_written() {
    let org = Client::new().await;
    org.control().arm(Fault::always(FaultKind::HaltGraph).containing("order-1"));
    let (status, body) = org.post("composite/graph", json!({ "graphs": [order_graph(0), order_graph(1)] })).await;
    assert_eq!(status, 200);
    let parts = body["graphs"][1]["graphResponse"]["compositeResponse"].as_array().unwrap();
    assert!(parts.iter().all(|part| code(&part["body"]) == "PROCESSING_HALTED"), "{body}");
    assert_eq!((&body["graphs"][0]["isSuccessful"], org.records("LimioOrder__c").len()), (&json!(true), 1));
}

#[tokio::test]
async fn an_answer_can_come_packed_though_nobody_asked() {
    let org = Client::new().await;
    org.control().arm(Fault::once(FaultKind::GzipBody));
    let plain = reqwest::Client::builder().no_gzip().build().unwrap();
    let answer = plain.get(org.url("/services/data/v62.0/limits")).bearer_auth(&org.token).send().await.unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    let mut text = String::new();
    let packed = answer.bytes().await.unwrap();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(packed.as_ref()), &mut text).unwrap();
    assert!(text.contains("DailyApiRequests"));
}

#[tokio::test]
async fn what_never_reached_the_org_costs_no_call() {
    let org = Client::new().await;
    for kind in [
        FaultKind::BadGateway,
        FaultKind::NoRoute,
        FaultKind::TooManyRequests { retry_after_s: 1 },
        FaultKind::ExpiredSession,
    ] {
        org.control().arm(Fault::once(kind));
        org.get("limits").await;
    }
    assert_eq!(org.control().api_calls(), 0);
    org.control().arm(Fault::once(FaultKind::UnavailableJson));
    org.get("limits").await;
    assert_eq!(org.control().api_calls(), 1);
}

#[tokio::test]
async fn messages_follow_the_users_language_and_codes_do_not() {
    let org = Client::with_settings(|settings| settings.language = Language::Portuguese).await;
    let long = json!({ "attributes": { "type": "Account" }, "Name": "A", "BillingCity": "x".repeat(41) });
    let (_, single) = org.post("sobjects/Account", long.clone()).await;
    let (_, rows) = org.post("composite/sobjects", json!({ "records": [long] })).await;
    assert_eq!((code(&single), &rows[0]["errors"][0]["statusCode"]), ("STRING_TOO_LONG", &json!("STRING_TOO_LONG")));
    for message in [&single[0]["message"], &rows[0]["errors"][0]["message"]] {
        let message = message.as_str().unwrap();
        assert!(message.contains("valor de dados muito grande: xxxx") && message.ends_with("=40)"), "{message}");
    }
    assert_eq!(single[0]["fields"], json!(["BillingCity"]));
}

#[tokio::test]
async fn the_description_lists_the_kinds_of_faults_there_are() {
    let org = Client::new().await;
    let description: Value = org.http.get(org.url("/_sim/openapi.json")).send().await.unwrap().json().await.unwrap();
    let listed =
        description["components"]["schemas"]["Fault"]["properties"]["kind"]["enum"].as_array().unwrap().clone();
    let answer = org.http.post(org.url("/_sim/faults")).json(&json!({ "kind": "?" })).send().await.unwrap();
    let error: Value = answer.json().await.unwrap();
    let (_, known) = error["error"].as_str().unwrap().split_once("expected one of ").unwrap();
    let known: Vec<Value> = known.split('`').skip(1).step_by(2).map(|name| json!(name)).collect();
    let sorted = |mut names: Vec<Value>| {
        names.sort_by_key(ToString::to_string);
        names
    };
    assert_eq!(sorted(listed), sorted(known));
}

#[tokio::test]
async fn a_call_that_is_held_for_ten_minutes_is_stopped() {
    let org = Client::with_settings(|settings| settings.pace = 0.0).await;
    let minutes = std::time::Duration::from_mins;
    // Before the work nothing is kept, after it everything.
    for (kind, rows) in [(FaultKind::Hold, 0), (FaultKind::HoldAnswer, 1)] {
        org.control().arm(Fault::once(kind));
        let (answer, ()) = tokio::join!(graph(&org, 0), async {
            org.control().until_held(1).await;
            org.control().advance_clock(minutes(9));
            assert_eq!(org.control().faults()[0].held, 1);
            org.control().advance_clock(minutes(1));
        });
        let (status, body) = answer.unwrap();
        let message = "Your query request was running for too long.";
        assert_eq!((status, body), (400, json!([{ "message": message, "errorCode": "QUERY_TIMEOUT" }])));
        assert_eq!(org.records("Account").len(), rows);
        org.control().clear_faults();
    }
}

#[tokio::test]
async fn a_query_has_two_minutes() {
    let org = Client::with_settings(|settings| settings.pace = 0.0).await;
    org.control().arm(Fault::always(FaultKind::Slow { ms: 120_000 }));
    for (path, status) in [("query?q=SELECT+Id+FROM+Account", 400), ("limits", 200)] {
        let (answer, ()) = tokio::join!(org.get(path), async {
            eventually(|| org.control().usage().waiting == 1).await;
            org.control().advance_clock(std::time::Duration::from_mins(2));
        });
        assert_eq!(answer.0, status, "{answer:?}");
    }
}

#[tokio::test]
async fn work_that_takes_ten_minutes_is_rolled_back_and_gives_its_locks_back() {
    let org = Client::with_settings(|settings| {
        settings.pace = 0.0;
        settings.latency_per_row_ms = 400_000;
    })
    .await;
    let row = |name: &str| json!({ "attributes": { "type": "Account" }, "Name": name });
    let pair = json!({ "allOrNone": true, "records": [row("A"), row("B")] });
    let used = org.control().usage().api_calls;
    let (answer, ()) = tokio::join!(org.post("composite/sobjects", pair), async {
        eventually(|| org.control().usage().waiting == 1).await;
        assert_eq!(org.control().usage().locked_rows, 2);
        org.control().advance_clock(std::time::Duration::from_mins(10));
    });
    assert_eq!((answer.0, code(&answer.1)), (400, "QUERY_TIMEOUT"));
    let usage = org.control().usage();
    assert_eq!((usage.locked_rows, usage.stored.pending, usage.running), (0, 0, 0));
    assert_eq!(usage.api_calls, used + 1);
    assert!(org.records("Account").is_empty());
}

#[tokio::test]
async fn faults_of_rows_go_off_on_deletions() {
    let org = Client::new().await;
    let id = org.create("Account", json!({ "Name": "A" })).await;
    let path = format!("sobjects/Account/{id}");
    let refusal =
        FaultKind::RefuseRow { code: "X".to_owned(), message: "x".to_owned(), status: 400, fields: Vec::new() };
    for (kind, status, expected) in [
        (FaultKind::Lock, 400, "UNABLE_TO_LOCK_ROW"),
        (FaultKind::Maintenance, 503, "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE"),
        (refusal, 400, "X"),
    ] {
        org.control().arm(Fault::once(kind).containing(&id));
        let (found, body) = org.call("DELETE", &path, None).await;
        assert_eq!((found, code(&body)), (status, expected));
    }
    org.control().arm(Fault::once(FaultKind::Lock));
    let (_, body) = org.call("DELETE", &format!("composite/sobjects?ids={id}"), None).await;
    assert_eq!(body[0]["errors"][0]["statusCode"], "UNABLE_TO_LOCK_ROW");
    assert_eq!(org.records("Account").len(), 1);
    org.control().arm(Fault::always(FaultKind::StorageLimit));
    org.control().arm(Fault::always(FaultKind::MultipleChoices));
    assert_eq!(org.call("DELETE", &path, None).await.0, 204, "no deletion needs storage or an external id");
}
