//! The client against the simulated org, which shares no code with it.

use std::sync::Arc;
use std::time::Duration;

use causeway_salesforce::{
    CallOptions, Client, ClientCredentials, DuplicateRuleHeader, Error, ErrorKind, Graph, GraphResult, JwtBearer,
    LoginSettings, Node, NodeWrite, Row, RowAnswer, TokenRetry, TokenSource, limits,
};
use serde_json::json;
use simulator::{
    Config, ConnectedApp, DuplicateKey, DuplicateRule, Fault, FaultKind, GraphErrorStyle, PublishBehavior,
    RuleResponse, Settings, Simulator,
};

use crate::server::{PATIENCE, fields, settings};

async fn org(config: Config) -> (Simulator, Client) {
    let org = Simulator::start(config).await.expect("the org starts");
    let tokens = ClientCredentials::new(login(&org), "causeway-dev-secret".into()).expect("settings");
    let client = client(Arc::new(tokens), PATIENCE);
    (org, client)
}

fn client(tokens: Arc<dyn TokenSource>, deadline: Duration) -> Client {
    Client::new(settings(deadline), tokens).expect("settings")
}

fn login(org: &Simulator) -> LoginSettings {
    LoginSettings {
        login_url: org.base_url().to_owned(),
        client_id: "causeway-dev".to_owned(),
        trusted_hosts: Vec::new(),
        connect_timeout: Duration::from_secs(5),
        answer_timeout: Duration::from_secs(10),
        retry: TokenRetry::NEVER,
    }
}

/// An account with its order event.
fn order(id: &str) -> Graph {
    let account = NodeWrite::Upsert { object: "Account".into(), field: "LimioId__c".into(), value: id.to_owned() };
    let event = NodeWrite::Create { object: "i42as__OrderEvent__e".into() };
    Graph {
        id: id.to_owned(),
        nodes: vec![
            Node { reference: "acct".into(), write: account, body: fields(json!({ "Name": format!("Acme {id}") })) },
            Node {
                reference: "evt".into(),
                write: event,
                body: fields(json!({ "i42as__AccountId__c": "@{acct.id}" })),
            },
        ],
    }
}

#[tokio::test]
async fn a_full_request_of_graphs_is_one_api_call_and_repeating_it_creates_nothing() {
    let (org, client) = org(Config::default()).await;
    let orders: Vec<Graph> = (0..limits::GRAPHS).map(|index| order(&format!("order-{index}"))).collect();
    for created in [true, false] {
        let answers = client.graph(&orders).await.expect("answered");
        for (answer, order) in answers.iter().zip(&orders) {
            assert_eq!(answer.id, order.id);
            let GraphResult::Written(nodes) = &answer.result else { panic!("{answer:?}") };
            assert_eq!(nodes[0].created, Some(created));
            assert!(nodes[0].id.is_some() && nodes[1].event_uuid.is_some(), "{nodes:?}");
        }
    }
    assert_eq!(org.control().api_calls(), 2);
    assert_eq!(client.usage().map(|usage| usage.used), Some(2));
    assert_eq!(org.control().records("Account").expect("the object").len(), limits::GRAPHS);
    assert_eq!(org.control().events().len(), 2 * limits::GRAPHS);
}

#[tokio::test]
async fn event_uuids_are_the_ones_that_subscribers_see() {
    let (org, client) = org(Config::default()).await;
    let event = fields(json!({ "i42as__OrderType__c": "new" }));
    let one = client.publish("i42as__OrderEvent__e", &event).await.expect("accepted");
    let two = client.publish_many("i42as__OrderEvent__e", &[event.clone(), event]).await.expect("answered");
    let mut told = vec![one.event_uuid];
    told.extend(two.into_iter().map(|answer| answer.expect("accepted").event_uuid));
    let seen: Vec<Option<String>> = org.control().events().into_iter().map(|event| Some(event.event_uuid)).collect();
    assert_eq!(told, seen);
}

#[tokio::test]
async fn what_is_not_called_ambiguous_was_not_executed() {
    for (kind, expected, ambiguous, stored) in [
        (FaultKind::CommitThenDrop, ErrorKind::Transient, true, true),
        (FaultKind::CommitThen503, ErrorKind::Transient, true, true),
        (FaultKind::TruncatedBody, ErrorKind::Transient, true, true),
        (FaultKind::DropBefore, ErrorKind::Transient, true, false),
        (FaultKind::UnavailableHtml, ErrorKind::Transient, true, false),
        (FaultKind::UnknownException, ErrorKind::Transient, true, false),
        (FaultKind::UnavailableJson, ErrorKind::Transient, false, false),
        (FaultKind::DailyLimit, ErrorKind::Quota, false, false),
        (FaultKind::ConcurrentLimit, ErrorKind::Throttled, false, false),
        (FaultKind::SessionNotValidForRest, ErrorKind::Authentication, false, false),
    ] {
        let (org, client) = org(Config::default()).await;
        org.control().arm(Fault::once(kind.clone()));
        let error = client.graph(&[order("a")]).await.expect_err("a fault");
        assert_eq!((error.kind(), error.is_ambiguous()), (expected, ambiguous), "{kind:?}: {error}");
        let found = client.find("Account", "LimioId__c", "a", &["Name"]).await.expect("looked up");
        assert_eq!(found.len(), usize::from(stored), "{kind:?}");
    }
}

#[tokio::test]
async fn sessions_that_end_at_any_time_are_renewed_unnoticed() {
    let (org, client) = org(Config::default()).await;
    for index in 0..3 {
        let answers = client.graph(&[order(&format!("order-{index}"))]).await.expect("answered");
        assert!(matches!(answers[0].result, GraphResult::Written(_)));
        assert_eq!(org.control().expire_sessions(), 1);
    }
    assert_eq!(org.control().records("Account").expect("the object").len(), 3);
}

#[tokio::test]
async fn one_locked_order_is_refused_alone_in_either_wording_of_the_org() {
    for style in [GraphErrorStyle::RepeatRoot, GraphErrorStyle::ProcessingHalted] {
        let settings = Settings { graph_error_style: style, ..Settings::default() };
        let (org, client) = org(Config { settings, ..Config::default() }).await;
        org.control().arm(Fault::always(FaultKind::Lock).on_object("Account").containing("Acme b"));
        let answers = client.graph(&[order("a"), order("b"), order("c")]).await.expect("answered");
        assert!(matches!(answers[0].result, GraphResult::Written(_)));
        assert!(matches!(answers[2].result, GraphResult::Written(_)));
        let GraphResult::Refused(refusal) = &answers[1].result else { panic!("{answers:?}") };
        assert_eq!(refusal.error.kind(), ErrorKind::Lock, "{refusal:?}");
        let culprit = (style == GraphErrorStyle::ProcessingHalted).then_some("acct");
        assert_eq!(refusal.reference.as_deref(), culprit);
    }
}

#[tokio::test]
async fn orders_behind_too_many_failed_ones_are_halted_and_not_refused() {
    let (org, client) = org(Config::default()).await;
    let refuse = FaultKind::RefuseRow {
        code: "FIELD_CUSTOM_VALIDATION_EXCEPTION".to_owned(),
        message: "No".to_owned(),
        status: 400,
        fields: Vec::new(),
    };
    org.control().arm(Fault::always(refuse).on_object("Account"));
    let orders: Vec<Graph> = (0..30).map(|index| order(&format!("order-{index}"))).collect();
    let answers = client.graph(&orders).await.expect("answered");
    let refused = answers.iter().filter(|answer| matches!(answer.result, GraphResult::Refused(_))).count();
    let halted = answers.iter().filter(|answer| answer.result == GraphResult::Halted).count();
    assert_eq!((refused, halted), (limits::FAILED_GRAPHS + 1, 30 - limits::FAILED_GRAPHS - 1));
}

#[tokio::test]
async fn a_duplicate_names_its_rule_and_its_match_in_either_spelling() {
    for (key, response, allow) in
        [(DuplicateKey::Misspelt, RuleResponse::ALERT, true), (DuplicateKey::Spelt, RuleResponse::BLOCK, false)]
    {
        let config = Config {
            settings: Settings { duplicate_key: key, ..Settings::default() },
            duplicate_rules: vec![DuplicateRule::standard_account(response)],
            ..Config::default()
        };
        let (org, client) = org(config).await;
        let name = fields(json!({ "Name": "Acme a", "BillingCity": "Bern", "BillingPostalCode": "3011" }));
        let existing = org.control().seed("Account", std::slice::from_ref(&name)).await.expect("seeded").remove(0);
        let mut duplicate = order("a");
        duplicate.nodes[0].body = name.clone();
        let answers = client.graph(&[duplicate]).await.expect("answered");
        let GraphResult::Refused(refusal) = &answers[0].result else { panic!("{answers:?}") };
        assert_eq!((refusal.error.kind(), refusal.reference.as_deref()), (ErrorKind::Duplicate, Some("acct")));
        let detail = refusal.error.duplicate.as_deref().expect("the detail");
        assert_eq!((detail.allow_save, detail.object.as_deref()), (Some(allow), Some("Account")));
        assert_eq!(detail.matches[0].id.as_deref(), Some(existing.as_str()));

        let insist = DuplicateRuleHeader { allow_save: true, ..DuplicateRuleHeader::default() };
        let insisting = client.with(CallOptions { duplicate_rule: Some(insist), ..CallOptions::default() });
        let result = insisting.create("Account", &name).await;
        assert_eq!(result.is_ok(), allow, "{result:?}");
    }
}

#[tokio::test]
async fn an_event_that_publishes_at_once_goes_out_although_its_graph_is_refused() {
    for (behavior, events) in [(PublishBehavior::AfterCommit, 0), (PublishBehavior::Immediately, 1)] {
        let settings = Settings { publish_behavior: behavior, ..Settings::default() };
        let (org, client) = org(Config { settings, ..Config::default() }).await;
        let mut graph = order("a");
        graph.nodes.swap(0, 1);
        graph.nodes[0].body = fields(json!({ "i42as__OrderType__c": "new" }));
        graph.nodes[1].body = fields(json!({ "Name": "x".repeat(300) }));
        let answers = client.graph(&[graph]).await.expect("answered");
        let GraphResult::Refused(refusal) = &answers[0].result else { panic!("{answers:?}") };
        assert_eq!(refusal.error.kind(), ErrorKind::Permanent);
        assert_eq!(org.control().events().len(), events, "{behavior:?}");
    }
}

#[tokio::test]
async fn rows_are_written_and_refused_one_by_one() {
    let (org, client) = org(Config::default()).await;
    let row = |name: &str| Row { object: "Account".into(), fields: fields(json!({ "Name": name })) };
    let answers = client.create_rows(false, &[row("a"), row(&"x".repeat(300)), row("c")]).await.expect("answered");
    assert!(matches!((&answers[0], &answers[2]), (RowAnswer::Saved { .. }, RowAnswer::Saved { .. })), "{answers:?}");
    let RowAnswer::Refused(refusal) = &answers[1] else { panic!("{answers:?}") };
    assert_eq!((refusal.error.code.as_str(), refusal.error.kind()), ("STRING_TOO_LONG", ErrorKind::Permanent));
    let answers = client.create_rows(true, &[row("d"), row(&"x".repeat(300))]).await.expect("answered");
    assert_eq!(answers[0], RowAnswer::Halted);
    assert_eq!(org.control().records("Account").expect("the object").len(), 2);
}

#[tokio::test]
async fn an_external_id_with_every_awkward_character_finds_its_record_again() {
    let (_org, client) = org(Config::default()).await;
    let value = "a/b+c.d e?f#g%h'i\"é\\";
    let name = fields(json!({ "Name": "x" }));
    let first = client.upsert("Account", "LimioId__c", value, &name).await.expect("written");
    let again = client.upsert("Account", "LimioId__c", value, &name).await.expect("written");
    assert!(first.created && !again.created);
    assert_eq!(first.id, again.id);
    let found = client.find("Account", "LimioId__c", value, &[]).await.expect("found");
    assert_eq!(found[0]["Id"], json!(first.id));
    client.update("Account", &first.id, &fields(json!({ "Name": "y" }))).await.expect("written");
}

#[tokio::test]
async fn an_unknown_object_is_a_matter_of_the_orgs_configuration_for_find() {
    let (_org, client) = org(Config::default()).await;
    let error = client.find("Nothing__c", "Name", "x", &[]).await.expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(client.find("Account", "Name", "nobody", &[]).await.expect("looked up").is_empty());
    assert!(client.limits().await.expect("answered").contains_key("DailyApiRequests"));
}

#[tokio::test]
async fn a_signed_assertion_signs_in_and_one_of_another_key_does_not() {
    let app = ConnectedApp {
        public_key_pem: Some(include_str!("fixtures/jwt_public.pem").to_owned()),
        ..ConnectedApp::development()
    };
    let (org, _) = org(Config { apps: vec![app], ..Config::default() }).await;
    let key = include_str!("fixtures/jwt_key.pem").into();
    let source = |user: &str| {
        let audience = "https://login.salesforce.com".to_owned();
        Arc::new(JwtBearer::new(login(&org), user.to_owned(), audience, &key).expect("settings"))
    };
    client(source(simulator::USERNAME), PATIENCE).limits().await.expect("signed in");
    let error = client(source("nobody@causeway.test"), PATIENCE).limits().await.expect_err("not approved");
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
}

#[tokio::test]
async fn many_objects_are_described_in_one_api_call_and_one_that_is_not_there_is_refused_alone() {
    let (org, client) = org(Config::default()).await;
    let mut answers = client.describe(&["Account", "Nothing__c", "i42as__OrderEvent__e"]).await.expect("answered");
    let event = answers.pop().expect("three").expect("an event");
    assert!(event.createable && !event.updateable && event.fields.iter().all(|field| !field.updateable));
    assert_eq!(answers.pop().expect("two").expect_err("no such object").code, "NOT_FOUND");
    let account = answers.pop().expect("one").expect("an object");
    let field = |name: &str| account.fields.iter().find(|field| field.name == name).expect("a field");
    let (key, parent) = (field("LimioId__c"), field("ParentId"));
    assert!(key.external_id && key.unique && key.filterable && key.refers_to.is_empty(), "{key:?}");
    assert_eq!(
        (parent.refers_to.as_slice(), parent.relationship.as_deref()),
        (&["Account".to_owned()][..], Some("Parent"))
    );
    assert_eq!(org.control().api_calls(), 1);

    assert_eq!(client.describe(&[]).await.expect("nothing to ask"), []);
    let many = ["Account"; limits::SUBREQUESTS + 1];
    assert!(matches!(client.describe(&many).await, Err(Error::TooLarge { .. })));
    assert!(client.describe(&["Account/describe?"]).await.is_err());
    assert_eq!(org.control().api_calls(), 1);
}
