//! Composite graphs: what is sent, and how answers find their graphs and causes.

use causeway_salesforce::{Error, ErrorKind, Graph, GraphResult, Node, NodeAnswer, NodeWrite};
use serde_json::{Value, json};

use crate::server::{Server, Step, fields};

fn node(reference: &str, write: NodeWrite, body: Value) -> Node {
    Node { reference: reference.to_owned(), write, body: fields(body) }
}

fn upsert(value: &str) -> NodeWrite {
    NodeWrite::Upsert { object: "Account".into(), field: "i42as__LimioId__c".into(), value: value.into() }
}

fn create(object: &str) -> NodeWrite {
    NodeWrite::Create { object: object.to_owned() }
}

/// An account with its event.
fn order(id: &str) -> Graph {
    Graph {
        id: id.to_owned(),
        nodes: vec![
            node("acct", upsert(id), json!({ "LastName": "Smith" })),
            node("evt", create("i42as__OrderEvent__e"), json!({ "i42as__crmId__c": "@{acct.id}" })),
        ],
    }
}

fn written(id: &str, account: &str, uuid: &str) -> Value {
    json!({ "graphId": id, "isSuccessful": true, "graphResponse": { "compositeResponse": [
        { "referenceId": "evt", "httpStatusCode": 201, "httpHeaders": {}, "body": { "id": "e01xx0000000001AAA",
          "success": true, "errors": [{ "statusCode": "OPERATION_ENQUEUED", "message": uuid, "fields": [] }] } },
        { "referenceId": "acct", "httpStatusCode": 201, "httpHeaders": {}, "body": { "id": account, "success": true,
          "errors": [], "created": true } },
    ] } })
}

fn failed(id: &str, acct: &Value, evt: &Value) -> Value {
    let part = |reference: &str, error: &Value| json!({ "referenceId": reference, "httpStatusCode": 400, "httpHeaders": {}, "body": [error] });
    json!({ "graphId": id, "isSuccessful": false,
        "graphResponse": { "compositeResponse": [part("acct", acct), part("evt", evt)] } })
}

fn halted() -> Value {
    json!({ "errorCode": "PROCESSING_HALTED",
        "message": "The transaction was rolled back since another operation in the same transaction failed." })
}

async fn answers(graphs: &[Graph], answer: Value) -> Result<Vec<causeway_salesforce::GraphAnswer>, Error> {
    let org = Server::scripted([Step::json(200, &json!({ "graphs": answer }))]).await;
    org.client().graph(graphs).await
}

#[tokio::test]
async fn one_call_carries_every_graph_with_full_addresses_and_encoded_keys() {
    let org = Server::scripted([Step::json(200, &json!({ "graphs": [written("a", "001", "u")] }))]).await;
    let mut graph = order("a");
    graph.nodes[0].write = upsert("order-1/2+3.é");
    graph.nodes.truncate(2);
    org.client().graph(&[graph]).await.expect("answered");
    let call = &org.calls()[0];
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/services/data/v62.0/composite/graph"));
    assert_eq!(
        call.json(),
        json!({ "graphs": [{ "graphId": "a", "compositeRequest": [
            { "method": "PATCH", "referenceId": "acct", "body": { "LastName": "Smith" },
              "url": "/services/data/v62.0/sobjects/Account/i42as__LimioId__c/order-1%2F2%2B3%2E%C3%A9" },
            { "method": "POST", "referenceId": "evt", "body": { "i42as__crmId__c": "@{acct.id}" },
              "url": "/services/data/v62.0/sobjects/i42as__OrderEvent__e" },
        ] }] })
    );
}

#[tokio::test]
async fn answers_come_in_the_order_asked_whatever_order_they_arrive_in() {
    let answer = json!([written("b", "001B", "uuid-b"), written("a", "001A", "uuid-a")]);
    let answers = answers(&[order("a"), order("b")], answer).await.expect("answered");
    assert_eq!(answers.iter().map(|answer| answer.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let GraphResult::Written(nodes) = &answers[0].result else { panic!("{answers:?}") };
    assert_eq!(
        nodes,
        &[
            NodeAnswer { reference: "acct".into(), id: Some("001A".into()), created: Some(true), event_uuid: None },
            NodeAnswer {
                reference: "evt".into(),
                id: Some("e01xx0000000001AAA".into()),
                created: None,
                event_uuid: Some("uuid-a".into())
            },
        ]
    );
}

#[tokio::test]
async fn an_update_node_answers_nothing_and_is_written() {
    let write = NodeWrite::Update { object: "Account".into(), id: "0015g00000ABCDeAAF".into() };
    let graph = Graph { id: "a".into(), nodes: vec![node("upd", write, json!({ "Name": "x" }))] };
    let answer = json!([{ "graphId": "a", "isSuccessful": true, "graphResponse": { "compositeResponse": [
        { "referenceId": "upd", "httpStatusCode": 204, "httpHeaders": {}, "body": null } ] } }]);
    let answers = answers(&[graph], answer).await.expect("answered");
    let nothing = NodeAnswer { reference: "upd".into(), id: None, created: None, event_uuid: None };
    assert_eq!(answers[0].result, GraphResult::Written(vec![nothing]));
}

#[tokio::test]
async fn a_refusal_names_the_node_that_carries_the_cause() {
    let cause = json!({ "errorCode": "STRING_TOO_LONG", "message": "City: …", "fields": ["City"] });
    for (acct, evt, reference, object) in
        [(&cause, &halted(), "acct", "Account"), (&halted(), &cause, "evt", "i42as__OrderEvent__e")]
    {
        let answers = answers(&[order("a")], json!([failed("a", acct, evt)])).await.expect("answered");
        let GraphResult::Refused(refusal) = &answers[0].result else { panic!("{answers:?}") };
        assert_eq!(refusal.reference.as_deref(), Some(reference));
        assert_eq!((refusal.error.code.as_str(), refusal.error.kind()), ("STRING_TOO_LONG", ErrorKind::Permanent));
        assert_eq!(refusal.error.fields, ["City"]);
        assert_eq!(refusal.error.object.as_deref(), Some(object));
        assert_eq!(refusal.others.len(), 1);
    }
}

#[tokio::test]
async fn a_cause_that_every_node_repeats_is_not_pinned_on_one() {
    let cause = json!({ "errorCode": "INVALID_FIELD", "message": "No such column 'X__c'" });
    let answers = answers(&[order("a")], json!([failed("a", &cause, &cause)])).await.expect("answered");
    let GraphResult::Refused(refusal) = &answers[0].result else { panic!("{answers:?}") };
    assert_eq!((refusal.reference.as_deref(), refusal.others.len()), (None, 0));
    assert_eq!((refusal.error.kind(), refusal.error.object.as_deref()), (ErrorKind::Configuration, None));
}

#[tokio::test]
async fn a_repeated_duplicate_is_pinned_on_the_object_of_its_rule() {
    let cause = json!({ "errorCode": "DUPLICATES_DETECTED", "message": "Use one of these records?", "duplicateResut": {
        "allowSave": true, "duplicateRule": "Rule", "duplicateRuleEntityType": "Account", "matchResults": [{
            "entityType": "Account", "matchRecords": [{ "matchConfidence": 100, "record": {
                "attributes": { "type": "Account", "url": "/x" }, "Id": "0015g00000ABCDeAAF" } }] }] } });
    let answers = answers(&[order("a")], json!([failed("a", &cause, &cause)])).await.expect("answered");
    let GraphResult::Refused(refusal) = &answers[0].result else { panic!("{answers:?}") };
    assert_eq!(refusal.reference.as_deref(), Some("acct"));
    let duplicate = refusal.error.duplicate.as_deref().expect("the detail");
    assert_eq!(duplicate.allow_save, Some(true));
    assert_eq!(duplicate.matches[0].id.as_deref(), Some("0015g00000ABCDeAAF"));
}

#[tokio::test]
async fn a_graph_that_was_halted_is_neither_written_nor_refused() {
    let cause = json!({ "errorCode": "UNABLE_TO_LOCK_ROW", "message": "…", "fields": [] });
    let answer = json!([failed("a", &cause, &halted()), failed("b", &halted(), &halted())]);
    let answers = answers(&[order("a"), order("b")], answer).await.expect("answered");
    let GraphResult::Refused(refusal) = &answers[0].result else { panic!("{answers:?}") };
    assert_eq!(refusal.error.kind(), ErrorKind::Lock);
    assert_eq!(answers[1].result, GraphResult::Halted);
}

#[tokio::test]
async fn a_halt_that_no_failure_explains_is_a_refusal_for_an_unknown_cause() {
    let answer = json!([written("a", "001", "u"), failed("b", &halted(), &halted())]);
    let answers = answers(&[order("a"), order("b")], answer).await.expect("answered");
    assert!(matches!(answers[0].result, GraphResult::Written(_)));
    let GraphResult::Refused(refusal) = &answers[1].result else { panic!("{answers:?}") };
    assert_eq!(refusal.error.kind(), ErrorKind::Unknown);
}

#[tokio::test]
async fn a_graph_that_would_be_halted_for_ever_is_refused() {
    let reference = json!({ "errorCode": "PROCESSING_HALTED",
        "message": "Invalid reference specified. No value for x.id found in x" });
    let answers = answers(&[order("a")], json!([failed("a", &halted(), &reference)])).await.expect("answered");
    let GraphResult::Refused(refusal) = &answers[0].result else { panic!("{answers:?}") };
    assert_eq!((refusal.error.kind(), refusal.reference.as_deref()), (ErrorKind::Permanent, Some("evt")));
}

#[tokio::test]
async fn a_failed_graph_without_any_error_is_refused_for_an_unknown_cause() {
    let answer = json!([{ "graphId": "a", "isSuccessful": false, "graphResponse": { "compositeResponse": [] } }]);
    let answers = answers(&[order("a")], answer).await.expect("answered");
    let GraphResult::Refused(refusal) = &answers[0].result else { panic!("{answers:?}") };
    assert_eq!(refusal.error.kind(), ErrorKind::Unknown);
}

#[tokio::test]
async fn a_success_that_lists_a_refused_node_is_no_success() {
    let mut answer = written("a", "001", "u");
    answer["graphResponse"]["compositeResponse"][0]["body"] =
        json!({ "success": false, "errors": [{ "statusCode": "LIMIT_EXCEEDED", "message": "" }] });
    let answers = answers(&[order("a")], json!([answer])).await.expect("answered");
    let GraphResult::Refused(refusal) = &answers[0].result else { panic!("{answers:?}") };
    assert_eq!((refusal.error.kind(), refusal.reference.as_deref()), (ErrorKind::Quota, Some("evt")));
}

#[tokio::test]
async fn a_missing_graph_or_node_breaks_the_contract_and_leaves_open_what_was_written() {
    let mut lacking = written("b", "001", "u");
    lacking["graphResponse"]["compositeResponse"].as_array_mut().expect("parts").pop();
    for answer in [json!([written("a", "001", "u")]), json!([written("a", "001", "u"), lacking]), json!({})] {
        let error = answers(&[order("a"), order("b")], answer).await.expect_err("broken");
        assert!(matches!(error, Error::Protocol(_)) && error.is_ambiguous(), "{error}");
    }
}

#[tokio::test]
async fn a_node_of_which_nothing_is_said_is_neither_written_nor_refused() {
    for part in [json!({ "referenceId": "acct" }), json!({ "referenceId": "acct", "body": { "id": "001" } })] {
        let mut vague = written("a", "001", "u");
        vague["graphResponse"]["compositeResponse"][1] = part;
        let error = answers(&[order("a")], json!([vague])).await.expect_err("broken");
        assert!(matches!(error, Error::Protocol(_)) && error.is_ambiguous(), "{error}");
    }
}

#[test]
fn what_is_shown_of_a_node_names_no_value() {
    let write = format!("{:?}", upsert("jane@example.com"));
    assert_eq!(write, r#"Upsert { object: "Account", field: "i42as__LimioId__c", .. }"#);
}
