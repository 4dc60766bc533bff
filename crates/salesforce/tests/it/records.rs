//! Single records, rows, events, queries and composite requests.

use causeway_salesforce::{
    Error, ErrorKind, Node, NodeAnswer, NodeWrite, Part, PartAnswer, Published, Row, RowAnswer, RowUpdate, Saved,
    limits,
};
use serde_json::{Value, json};

use crate::server::{Seen, Server, Step, fields, numbered_tokens};

const ID: &str = "0015g00000ABCDeAAF";

#[tokio::test]
async fn an_upsert_says_whether_it_created_the_record() {
    let updated = json!({ "id": ID, "success": true, "errors": [], "created": false });
    let org = Server::scripted([
        Step::json(201, &json!({ "id": ID, "success": true, "errors": [], "created": true })),
        Step::json(200, &updated),
    ])
    .await;
    let client = org.client();
    for created in [true, false] {
        let saved = client.upsert("Account", "Ext__c", "a/b", &fields(json!({ "Name": "x" }))).await.expect("written");
        assert_eq!(saved, Saved { id: ID.to_owned(), created });
    }
    let call = &org.calls()[0];
    assert_eq!(
        (call.method.as_str(), call.path.as_str()),
        ("PATCH", "/services/data/v62.0/sobjects/Account/Ext__c/a%2Fb")
    );
    assert_eq!(call.json(), json!({ "Name": "x" }));
}

#[tokio::test]
async fn an_external_id_that_several_records_have_is_a_permanent_refusal() {
    let choices = json!(["/services/data/v62.0/sobjects/Account/001A", "/services/data/v62.0/sobjects/Account/001B"]);
    let org = Server::scripted([Step::json(300, &choices)]).await;
    let error = org.client().upsert("Account", "Ext__c", "1", &fields(json!({}))).await.expect_err("refused");
    assert_eq!((error.kind(), error.is_ambiguous()), (ErrorKind::Permanent, false));
    assert_eq!(error.cause().map(|cause| cause.code.as_str()), Some("DUPLICATE_EXTERNAL_ID"));
}

#[tokio::test]
async fn an_update_answers_with_an_empty_body() {
    let step = Step::Reply { status: 204, headers: Vec::new(), body: Vec::new() };
    let org = Server::scripted([step]).await;
    org.client().update("Account", ID, &fields(json!({ "Name": "x" }))).await.expect("written");
    let call = &org.calls()[0];
    assert_eq!(
        (call.method.as_str(), call.path.clone()),
        ("PATCH", format!("/services/data/v62.0/sobjects/Account/{ID}"))
    );
}

#[tokio::test]
async fn an_update_that_is_answered_by_a_page_of_somebody_else_is_not_taken_for_written() {
    let refused = json!({ "success": false, "errors": [{ "statusCode": "X", "message": "" }] });
    let org = Server::scripted([
        Step::text(200, "<html>Down for maintenance</html>"),
        Step::json(200, &json!({ "status": "ok" })),
        Step::json(200, &refused),
        Step::json(200, &json!({ "id": ID, "success": true })),
    ])
    .await;
    let client = org.client();
    let update = async || client.update("Account", ID, &fields(json!({ "Name": "x" }))).await;
    for _ in 0..2 {
        let error = update().await.expect_err("not known");
        assert!(error.is_ambiguous(), "{error}");
    }
    let error = update().await.expect_err("refused");
    assert!(matches!(error, Error::Refused { .. }) && !error.is_ambiguous(), "{error}");
    update().await.expect("written");
}

#[tokio::test]
async fn a_written_record_without_an_id_breaks_the_contract() {
    let org = Server::scripted([
        Step::json(201, &json!({ "success": true })),
        Step::json(201, &json!({ "success": false, "errors": [{ "statusCode": "X", "message": "" }] })),
    ])
    .await;
    let client = org.client();
    let error = client.create("Account", &fields(json!({}))).await.expect_err("broken");
    assert!(matches!(error, Error::Protocol(_)) && error.is_ambiguous(), "{error}");
    let error = client.create("Account", &fields(json!({}))).await.expect_err("refused");
    assert!(matches!(error, Error::Refused { status: 201, .. }), "{error}");
}

#[tokio::test]
async fn a_published_event_lists_its_uuid_among_its_errors() {
    let enqueued = |uuid: &str| json!([{ "statusCode": "OPERATION_ENQUEUED", "message": uuid, "fields": [] }]);
    let org = Server::scripted([
        Step::json(201, &json!({ "id": "e01xx0000000001AAA", "success": true, "errors": enqueued("uuid-1") })),
        Step::json(201, &json!({ "id": "e01xx0000000001AAA", "success": true, "errors": [] })),
        Step::json(
            200,
            &json!([
                { "id": "e01xx0000000001AAA", "success": true, "errors": enqueued("uuid-2") },
                { "success": false, "errors": [{ "statusCode": "LIMIT_EXCEEDED", "message": "…", "fields": [] }] },
            ]),
        ),
    ])
    .await;
    let client = org.client();
    let event = fields(json!({ "Key__c": "k" }));
    let published = client.publish("Event__e", &event).await.expect("accepted");
    assert_eq!(published, Published { event_uuid: Some("uuid-1".to_owned()) });
    assert_eq!(client.publish("Event__e", &event).await.expect("accepted"), Published { event_uuid: None });
    let answers = client.publish_many("Event__e", &[event.clone(), event]).await.expect("answered");
    assert_eq!(answers[0].as_ref().expect("accepted").event_uuid.as_deref(), Some("uuid-2"));
    assert_eq!(answers[1].as_ref().expect_err("refused").kind(), ErrorKind::Quota);
    assert_eq!(org.calls()[2].json()["records"][0], json!({ "attributes": { "type": "Event__e" }, "Key__c": "k" }));
}

#[tokio::test]
async fn rows_answer_one_by_one_in_the_order_sent() {
    let row = |object: &str| Row { object: object.to_owned(), fields: fields(json!({ "Name": object })) };
    let org = Server::scripted([
        Step::json(
            200,
            &json!([
                { "id": ID, "success": true, "errors": [] },
                { "id": ID, "success": false, "errors": [
                    { "statusCode": "ALL_OR_NONE_OPERATION_ROLLED_BACK", "message": "Record rolled back", "fields": [] }] },
                { "success": false, "errors": [
                    { "statusCode": "DUPLICATES_DETECTED", "message": "Use one of these records?", "fields": [] }] },
            ]),
        ),
        Step::json(200, &json!([{ "id": ID, "success": true, "errors": [], "created": true }])),
        Step::json(200, &json!([])),
    ])
    .await;
    let client = org.client();
    let answers = client.create_rows(true, &[row("Account"), row("Account"), row("Contact")]).await.expect("answered");
    assert_eq!(answers[0], RowAnswer::Saved { id: ID.to_owned(), created: None, event_uuid: None });
    assert_eq!(answers[1], RowAnswer::Halted);
    let RowAnswer::Refused(refusal) = &answers[2] else { panic!("{answers:?}") };
    assert_eq!((refusal.error.kind(), refusal.error.duplicate.is_none()), (ErrorKind::Duplicate, true));
    assert_eq!(org.calls()[0].json()["allOrNone"], json!(true));

    let rows = [fields(json!({ "Ext__c": "1" }))];
    let answers = client.upsert_rows(false, "Account", "Ext__c", &rows).await.expect("answered");
    assert_eq!(answers[0], RowAnswer::Saved { id: ID.to_owned(), created: Some(true), event_uuid: None });
    let call = &org.calls()[1];
    let path = "/services/data/v62.0/composite/sobjects/Account/Ext__c";
    assert_eq!((call.method.as_str(), call.path.as_str()), ("PATCH", path));

    let update = RowUpdate { object: "Account".into(), id: ID.into(), fields: fields(json!({ "Name": "x" })) };
    let error = client.update_rows(false, &[update]).await.expect_err("an answer is missing");
    assert!(matches!(error, Error::Protocol(_)), "{error}");
    assert_eq!(
        org.calls()[2].json()["records"][0],
        json!({ "attributes": { "type": "Account" }, "Id": ID, "Name": "x" })
    );
}

#[tokio::test]
async fn a_row_of_which_nothing_is_said_is_neither_saved_nor_refused() {
    for vague in [json!({}), json!({ "id": ID }), json!(null)] {
        let org = Server::scripted([Step::json(200, &json!([vague]))]).await;
        let row = Row { object: "Account".to_owned(), fields: fields(json!({})) };
        let error = org.client().create_rows(false, &[row]).await.expect_err("broken");
        assert!(matches!(error, Error::Protocol(_)) && error.is_ambiguous(), "{error}");
    }
}

#[tokio::test]
async fn a_page_without_records_does_not_look_like_one_that_found_none() {
    for page in
        [json!({ "done": true }), json!({ "done": true, "records": [7] }), json!({ "done": true, "records": {} })]
    {
        let org = Server::scripted([
            Step::json(200, &page),
            Step::json(
                200,
                &json!({ "compositeResponse": [{ "body": page, "httpStatusCode": 200, "referenceId": "q" }] }),
            ),
        ])
        .await;
        let client = org.client();
        let error = client.find("Account", "Ext__c", "x", &[]).await.expect_err("broken");
        assert!(matches!(error, Error::Protocol(_)), "{error}");
        let part = Part::Query { reference: "q".into(), soql: "SELECT Id FROM Account".into() };
        let error = client.composite(true, &[part]).await.expect_err("broken");
        assert!(matches!(error, Error::Protocol(_)), "{error}");
    }
}

#[test]
fn neither_a_query_nor_what_it_found_is_shown() {
    let soql = "SELECT Id FROM Contact WHERE Email = 'jane@example.com'".to_owned();
    assert_eq!(format!("{:?}", Part::Query { reference: "q".into(), soql }), r#"Query { reference: "q", .. }"#);
    let found = PartAnswer::Records(vec![fields(json!({ "Email": "jane@example.com" }))]);
    assert_eq!(format!("{found:?}"), "Records(1)");
}

#[tokio::test]
async fn a_query_follows_its_pages_and_quotes_what_it_looks_for() {
    let page = |done: bool, id: &str| {
        let mut page = json!({ "totalSize": 2, "done": done, "records": [{ "attributes": {}, "Id": id }] });
        if !done {
            page["nextRecordsUrl"] = json!("/services/data/v62.0/query/01gB000003OCxSPIA1-2000");
        }
        Step::json(200, &page)
    };
    let org = Server::scripted([page(false, "1"), page(true, "2")]).await;
    let found = org.client().find("Account", "Ext__c", "O'Brien", &["Id", "OwnerId"]).await.expect("found");
    assert_eq!(found.iter().map(|record| &record["Id"]).collect::<Vec<_>>(), [&json!("1"), &json!("2")]);
    let paths: Vec<String> = org.calls().into_iter().map(|call| call.path).collect();
    assert_eq!(
        paths,
        [
            "/services/data/v62.0/query?q=SELECT%20Id%2COwnerId%20FROM%20Account%20WHERE%20Ext%5F%5Fc%20%3D%20%27O%5C%27Brien%27",
            "/services/data/v62.0/query/01gB000003OCxSPIA1-2000",
        ]
    );
}

#[tokio::test]
async fn a_query_that_never_ends_is_left_after_a_bounded_number_of_pages() {
    let endless = json!({ "done": false, "nextRecordsUrl": "/services/data/v62.0/query/01g-2", "records": [] });
    let org =
        Server::start(|url| (Box::new(move |_: &Seen| Step::json(200, &endless)), numbered_tokens(url.to_owned())))
            .await;
    let error = org.client().query("SELECT Id FROM Account").await.expect_err("endless");
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert_eq!(org.calls().len(), limits::PAGES);
}

#[tokio::test]
async fn a_query_that_points_elsewhere_is_not_followed() {
    let page = json!({ "done": false, "nextRecordsUrl": "https://evil.example/services/data/x", "records": [] });
    let org = Server::scripted([Step::json(200, &page)]).await;
    let error = org.client().query("SELECT Id FROM Account").await.expect_err("broken");
    assert!(matches!(error, Error::Protocol(_)), "{error}");
}

#[tokio::test]
async fn a_composite_whose_parts_were_all_halted_has_failed() {
    let halted = json!([{ "errorCode": "PROCESSING_HALTED", "message": "rolled back" }]);
    let part = |name: &str| json!({ "body": halted, "httpStatusCode": 400, "referenceId": name });
    let org = Server::scripted([Step::json(200, &json!({ "compositeResponse": [part("a"), part("b")] }))]).await;
    let query = |name: &str| Part::Query { reference: name.to_owned(), soql: "SELECT Id FROM Account".to_owned() };
    let answers = org.client().composite(true, &[query("a"), query("b")]).await.expect("answered");
    assert!(answers.iter().all(|answer| matches!(answer, PartAnswer::Refused(_))), "{answers:?}");
}

#[tokio::test]
async fn the_parts_of_a_composite_are_answered_by_their_references() {
    let halted = json!([{ "errorCode": "PROCESSING_HALTED", "message": "rolled back" }]);
    let refused = json!([{ "errorCode": "INVALID_FIELD", "message": "No such column X" }]);
    let org = Server::scripted([
        Step::json(
            200,
            &json!({ "compositeResponse": [
                { "body": { "id": ID, "success": true }, "httpHeaders": {}, "httpStatusCode": 201, "referenceId": "a" },
                { "body": { "done": true, "records": [{ "Id": ID }] }, "httpStatusCode": 200, "referenceId": "q" },
            ] }),
        ),
        Step::json(
            200,
            &json!({ "compositeResponse": [
                { "body": refused, "httpHeaders": {}, "httpStatusCode": 400, "referenceId": "q" },
                { "body": halted, "httpHeaders": {}, "httpStatusCode": 400, "referenceId": "a" },
            ] }),
        ),
    ])
    .await;
    let client = org.client();
    let parts = [
        Part::Query { reference: "q".into(), soql: "SELECT Id FROM Account".into() },
        Part::Write(Node {
            reference: "a".into(),
            write: NodeWrite::Create { object: "Contact".into() },
            body: fields(json!({ "AccountId": "@{q.records[0].Id}" })),
        }),
    ];
    let answers = client.composite(true, &parts).await.expect("answered");
    assert_eq!(answers[0], PartAnswer::Records(vec![fields(json!({ "Id": ID }))]));
    let written = NodeAnswer { reference: "a".into(), id: Some(ID.into()), created: None, event_uuid: None };
    assert_eq!(answers[1], PartAnswer::Written(written));
    let answers = client.composite(true, &parts).await.expect("answered");
    let PartAnswer::Refused(refusal) = &answers[0] else { panic!("{answers:?}") };
    assert_eq!(refusal.error.kind(), ErrorKind::Configuration);
    assert_eq!(answers[1], PartAnswer::Halted);
    assert_eq!(org.calls()[0].json()["compositeRequest"][0]["method"], json!("GET"));
}

#[tokio::test]
async fn limits_are_read_as_they_are() {
    let org = Server::scripted([
        Step::json(200, &json!({ "DailyApiRequests": { "Max": 15000, "Remaining": 14998 } })),
        Step::json(200, &Value::Null),
    ])
    .await;
    let client = org.client();
    let limits = client.limits().await.expect("answered");
    assert_eq!(limits["DailyApiRequests"]["Remaining"], json!(14998));
    assert!(matches!(client.limits().await, Err(Error::Protocol(_))));
}
