//! Connections that fail, time out or answer what nobody asked for, and what travels in headers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use causeway_salesforce::{
    ApiUsage, BodyKind, CallEnd, CallObserver, CallOptions, DuplicateRuleHeader, Error, ErrorKind, Operation,
};
use serde_json::json;

use crate::server::{Server, Step, fields};

const ID: &str = "0015g00000ABCDeAAF";

#[derive(Default)]
struct Log(Mutex<Vec<(Operation, CallEnd)>>);

impl CallObserver for Log {
    fn call(&self, operation: Operation, end: CallEnd, _duration: Duration) {
        self.0.lock().expect("no test panics with the lock").push((operation, end));
    }
}

async fn create(org: &Server) -> Result<causeway_salesforce::Saved, Error> {
    org.client().create("Account", &fields(json!({ "Name": "x" }))).await
}

#[tokio::test]
async fn a_refused_connection_was_certainly_not_executed() {
    let gone = Server::scripted([]).await.url.clone();
    let org = Server::start(|_| {
        let grant = Step::json(200, &json!({ "access_token": "t", "instance_url": gone }));
        (crate::server::sequence([]), crate::server::sequence([grant]))
    })
    .await;
    let mut login = org.login();
    login.trusted_hosts.push(gone.trim_start_matches("http://").to_owned());
    let tokens = causeway_salesforce::ClientCredentials::new(login, "s".into()).expect("settings");
    let client = causeway_salesforce::Client::new(crate::server::settings(crate::server::PATIENCE), Arc::new(tokens))
        .expect("settings");
    let error = client.create("Account", &fields(json!({}))).await.expect_err("unreachable");
    assert!(matches!(error, Error::Unreachable(_)), "{error}");
    assert_eq!((error.kind(), error.is_ambiguous()), (ErrorKind::Transient, false));
}

#[tokio::test]
async fn a_connection_that_ends_after_the_request_leaves_the_answer_lost() {
    let org = Server::scripted([Step::Close]).await;
    let error = create(&org).await.expect_err("lost");
    assert!(matches!(error, Error::AnswerLost { .. }), "{error}");
    assert!(error.is_ambiguous());
    assert_eq!(org.calls().len(), 1);
}

#[tokio::test]
async fn a_silent_org_is_left_at_the_deadline_and_the_answer_is_lost() {
    let org = Server::scripted([Step::Hang]).await;
    let client = org.client_within(Duration::from_millis(300));
    let error = client.create("Account", &fields(json!({}))).await.expect_err("lost");
    let Error::AnswerLost { after, .. } = &error else { panic!("{error}") };
    assert!(*after >= Duration::from_millis(300), "{after:?}");
    assert!(error.is_ambiguous());
}

#[tokio::test]
async fn a_silent_login_host_is_left_at_the_deadline_and_nothing_was_executed() {
    let org = Server::start(|_| (crate::server::sequence([]), crate::server::sequence([Step::Hang]))).await;
    let client = org.client_within(Duration::from_millis(200));
    let error = client.create("Account", &fields(json!({}))).await.expect_err("no token");
    assert_eq!((error.kind(), error.is_ambiguous()), (ErrorKind::Transient, false));
    assert!(org.calls().is_empty());
}

#[tokio::test]
async fn a_success_whose_body_is_torn_or_no_json_is_a_lost_answer() {
    let body = json!({ "id": ID, "success": true, "errors": [] }).to_string().into_bytes();
    for step in [
        Step::Torn { status: 201, body: body.clone(), sent: 10 },
        Step::Reply { status: 201, headers: Vec::new(), body: body[..20].to_vec() },
        Step::text(200, "<html>Maintenance</html>"),
    ] {
        let org = Server::scripted([step]).await;
        let error = create(&org).await.expect_err("lost");
        assert!(matches!(error, Error::AnswerLost { .. }) && error.is_ambiguous(), "{error}");
    }
}

#[tokio::test]
async fn an_answer_beyond_the_bound_is_not_read_however_small_it_travels() {
    use std::io::Write as _;
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let blanks = vec![b' '; 1024 * 1024];
    for _ in 0..33 {
        bomb.write_all(&blanks).expect("memory");
    }
    let body = bomb.finish().expect("memory");
    assert!(body.len() < 1_000_000);
    let step = Step::Reply { status: 200, headers: vec![("content-encoding", "gzip".to_owned())], body };
    let org = Server::scripted([step]).await;
    let error = create(&org).await.expect_err("too large");
    let Error::AnswerLost { reason, .. } = &error else { panic!("{error}") };
    assert!(reason.contains("larger than"), "{reason}");
}

#[tokio::test]
async fn an_overloaded_org_that_says_so_executed_nothing_and_a_page_of_the_edge_leaves_it_open() {
    let busy = json!([{ "message": "Server too busy", "errorCode": "SERVER_UNAVAILABLE" }]);
    for (step, kind, ambiguous) in [
        (Step::json(503, &busy), ErrorKind::Transient, false),
        (Step::text(503, "<!DOCTYPE html><html>Down for maintenance</html>"), ErrorKind::Transient, true),
        (Step::text(502, ""), ErrorKind::Transient, true),
        (Step::Torn { status: 500, body: b"[{\"errorCode\":".to_vec(), sent: 5 }, ErrorKind::Transient, true),
        (Step::text(420, "<html>no route</html>"), ErrorKind::Transient, false),
        (Step::text(429, "slow down").with("retry-after", "7"), ErrorKind::Throttled, false),
        (Step::json(400, &json!({ "surprise": 1 })), ErrorKind::Unknown, false),
    ] {
        let org = Server::scripted([step]).await;
        let error = create(&org).await.expect_err("unavailable");
        assert_eq!((error.kind(), error.is_ambiguous()), (kind, ambiguous), "{error}");
        if let Error::Unavailable { status, body_kind, .. } = &error {
            assert_eq!(error.retry_after(), (*status == 429).then_some(Duration::from_secs(7)));
            assert_eq!(*body_kind == BodyKind::Torn, *status == 500);
        }
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    for status in [301, 302, 307, 308] {
        let elsewhere = Server::scripted([Step::created(ID)]).await;
        let org = Server::scripted([Step::text(status, "").with("location", &elsewhere.url)]).await;
        let error = create(&org).await.expect_err("redirected");
        assert_eq!(error, Error::Redirected { status });
        assert_eq!((error.kind(), error.is_ambiguous()), (ErrorKind::Configuration, false));
        assert!(elsewhere.calls().is_empty());
    }
}

#[tokio::test]
async fn cookies_are_not_sent_back() {
    let set = Step::created(ID).with("set-cookie", "BrowserId=secret; path=/");
    let org = Server::scripted([set, Step::created(ID)]).await;
    let client = org.client();
    for _ in 0..2 {
        client.create("Account", &fields(json!({}))).await.expect("written");
    }
    assert!(org.calls().iter().all(|call| call.header("cookie").is_empty()));
}

#[tokio::test]
async fn a_request_carries_the_trace_the_client_name_and_the_duplicate_rule() {
    let org = Server::scripted([Step::created(ID), Step::created(ID)]).await;
    let client = org.client();
    let rule = DuplicateRuleHeader { include_record_details: true, ..DuplicateRuleHeader::default() };
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let options =
        CallOptions { traceparent: Some(trace.to_owned()), duplicate_rule: Some(rule), ..CallOptions::default() };
    client.with(options).create("Account", &fields(json!({}))).await.expect("written");
    client.create("Account", &fields(json!({}))).await.expect("written");
    let [first, second] = <[_; 2]>::try_from(org.calls()).expect("two calls");
    assert_eq!(first.header("traceparent"), trace);
    assert_eq!(first.header("sforce-call-options"), "client=causeway-test/1");
    assert_eq!(first.header("accept"), "application/json");
    assert_eq!(
        first.header("sforce-duplicate-rule-header"),
        "allowSave=false; includeRecordDetails=true; runAsCurrentUser=false"
    );
    assert_eq!((second.header("traceparent"), second.header("sforce-duplicate-rule-header")), ("", ""));
}

#[tokio::test]
async fn a_trace_that_no_header_can_hold_is_left_out() {
    let org = Server::scripted([Step::created(ID)]).await;
    let options = CallOptions { traceparent: Some("00\r\nevil: 1".to_owned()), ..CallOptions::default() };
    org.client().with(options).create("Account", &fields(json!({}))).await.expect("written");
    assert_eq!((org.calls()[0].header("traceparent"), org.calls()[0].header("evil")), ("", ""));
}

#[tokio::test]
async fn usage_is_the_last_one_told_and_errors_tell_it_too() {
    let refusal = json!([{ "message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED" }]);
    let org = Server::scripted([
        Step::created(ID).with("sforce-limit-info", "api-usage=51/100000; per-app-api-usage=17/250(appName=x)"),
        Step::created(ID),
        Step::json(403, &refusal).with("sforce-limit-info", "api-usage=100001/100000"),
    ])
    .await;
    let client = org.client();
    let record = fields(json!({}));
    assert_eq!(client.usage(), None);
    for _ in 0..2 {
        client.create("Account", &record).await.expect("written");
        assert_eq!(client.usage(), Some(ApiUsage { used: 51, limit: 100_000 }));
    }
    let error = client.create("Account", &record).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Quota);
    assert_eq!(client.usage().map(ApiUsage::remaining), Some(0));
}

#[tokio::test]
async fn an_observer_is_told_of_each_request_that_went_to_the_org() {
    let log = Arc::new(Log::default());
    let org = Server::scripted([Step::expired(), Step::created(ID), Step::text(503, ""), Step::Close]).await;
    let client = org.client_observed(Arc::clone(&log) as Arc<dyn CallObserver>);
    let record = fields(json!({}));
    client.create("Account", &record).await.expect("written");
    client.upsert("Account", "Ext__c", "1", &record).await.expect_err("unavailable");
    client.publish("Event__e", &record).await.expect_err("lost");
    let seen = log.0.lock().expect("no test panics with the lock").clone();
    assert_eq!(
        seen,
        [
            (Operation::Create, CallEnd::Refused),
            (Operation::Create, CallEnd::Answered),
            (Operation::Upsert, CallEnd::Failed),
            (Operation::Publish, CallEnd::AnswerLost),
        ]
    );
}

#[tokio::test]
async fn a_call_with_a_deadline_of_its_own_ends_by_it_and_is_observed() {
    let log = Arc::new(Log::default());
    let org = Server::scripted([Step::Hang]).await;
    let client = org.client_observed(Arc::clone(&log) as Arc<dyn CallObserver>);
    let client = client.with(CallOptions { deadline: Some(Duration::from_millis(50)), ..CallOptions::default() });
    let error = client.limits().await.expect_err("no answer");
    assert!(matches!(error, Error::AnswerLost { .. }), "{error}");
    assert_eq!(log.0.lock().expect("no panic").clone(), [(Operation::Limits, CallEnd::AnswerLost)], "an API call");
}

#[tokio::test]
async fn what_an_answer_told_of_the_allocation_is_new_only_since_it_came() {
    let told = Step::json(200, &json!({})).with("sforce-limit-info", "api-usage=25/5000");
    let org = Server::scripted([told, Step::json(200, &json!({}))]).await;
    let (client, began) = (org.client(), tokio::time::Instant::now());
    client.limits().await.expect("answered");
    assert_eq!(client.usage_since(began), Some(ApiUsage { used: 25, limit: 5000 }));
    let later = tokio::time::Instant::now();
    client.limits().await.expect("answered");
    assert_eq!((client.usage_since(later), client.usage().map(|usage| usage.used)), (None, Some(25)));
}

#[tokio::test]
async fn neither_client_nor_error_shows_a_secret() {
    let org = Server::scripted([Step::Close, Step::expired(), Step::expired()]).await;
    let client = org.client();
    let mut shown = vec![format!("{client:?} {:?}", org.login())];
    for _ in 0..2 {
        let error = client.create("Account", &fields(json!({}))).await.expect_err("fails");
        shown.push(format!("{error} {error:?}"));
    }
    let token = org.tokens().token().await.expect("a token");
    shown.push(format!("{token:?}"));
    let shown = shown.concat();
    assert!(!shown.contains("token-") && !shown.contains("app-secret"), "{shown}");
}
