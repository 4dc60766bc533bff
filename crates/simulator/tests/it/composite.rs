use causeway_simulator::{DuplicateRule, ReferenceMessage, RuleResponse};
use serde_json::{Value, json};

use crate::client::{Client, code};

fn post(reference: &str, object: &str, body: Value) -> Value {
    json!({ "method": "POST", "url": format!("/services/data/v62.0/sobjects/{object}"), "referenceId": reference, "body": body })
}

#[tokio::test]
async fn later_subrequests_see_earlier_answers_and_rows() {
    let org = Client::new().await;
    let (status, body) = org
        .post(
            "composite",
            json!({ "allOrNone": true, "compositeRequest": [
            post("acct", "Account", json!({ "Name": "A" })),
            { "method": "GET", "url": "/services/data/v62.0/query?q=SELECT+Id+FROM+Account", "referenceId": "q" },
            post("con", "Contact", json!({ "LastName": "L", "AccountId": "@{q.records[0].Id}" })),
        ] }),
        )
        .await;
    assert_eq!(status, 200);
    let parts = body["compositeResponse"].as_array().unwrap();
    assert_eq!(parts[1]["body"]["totalSize"], 1);
    assert_eq!(parts[2]["httpStatusCode"], 201, "{body}");
    let location = parts[0]["httpHeaders"]["Location"].as_str().unwrap();
    assert!(location.starts_with("/services/data/v62.0/sobjects/Account/001"));
    assert_eq!(org.control().api_calls(), 1);
}

#[tokio::test]
async fn all_or_none_rolls_everything_back_and_names_the_culprit() {
    let org = Client::new().await;
    let (status, body) = org
        .post(
            "composite",
            json!({ "allOrNone": true, "compositeRequest": [
            post("ok_row", "Account", json!({ "Name": "A" })),
            post("bad_row", "Account", json!({ "Name": "B", "XName": 1 })),
            post("later", "Account", json!({ "Name": "C" })),
        ] }),
        )
        .await;
    assert_eq!(status, 200);
    let codes: Vec<_> = body["compositeResponse"].as_array().unwrap().iter().map(|part| code(&part["body"])).collect();
    assert_eq!(codes, ["PROCESSING_HALTED", "INVALID_FIELD", "PROCESSING_HALTED"]);
    assert!(org.records("Account").is_empty());
}

#[tokio::test]
async fn without_all_or_none_each_subrequest_stands_alone() {
    let org = Client::new().await;
    let (_, body) = org
        .post(
            "composite",
            json!({ "compositeRequest": [
            post("bad", "Account", json!({})),
            post("child", "Contact", json!({ "LastName": "L", "AccountId": "@{bad.id}" })),
            post("good", "Account", json!({ "Name": "C" })),
        ] }),
        )
        .await;
    let parts = body["compositeResponse"].as_array().unwrap();
    assert_eq!(code(&parts[0]["body"]), "REQUIRED_FIELD_MISSING");
    assert_eq!(parts[1]["body"][0]["message"], "Invalid reference specified. No value for bad.id found in bad");
    assert_eq!(parts[2]["httpStatusCode"], 201);
    assert_eq!((org.records("Account").len(), org.records("Contact").len()), (1, 0));
}

#[tokio::test]
async fn twenty_six_subrequests_are_refused_whole() {
    let org = Client::new().await;
    let parts: Vec<Value> = (0..26).map(|n| post(&format!("r{n}"), "Account", json!({ "Name": "A" }))).collect();
    let (status, body) = org.post("composite", json!({ "compositeRequest": parts })).await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        json!({ "compositeResponse": [{ "body": [{ "errorCode": "LIMIT_EXCEEDED",
            "message": "The request can\u{2019}t contain more than 25 operations." }],
            "httpHeaders": {}, "httpStatusCode": 400, "referenceId": null }] })
    );
    assert!(org.records("Account").is_empty());
}

fn get(reference: &str, path: &str) -> Value {
    json!({ "method": "GET", "url": format!("/services/data/v62.0/{path}"), "referenceId": reference })
}

fn collection(reference: &str, all_or_none: bool, names: &[Option<&str>]) -> Value {
    let records: Vec<Value> =
        names.iter().map(|name| json!({ "attributes": { "type": "Account" }, "Name": name })).collect();
    json!({ "method": "POST", "url": "/services/data/v62.0/composite/sobjects", "referenceId": reference,
        "body": { "allOrNone": all_or_none, "records": records } })
}

fn parts(body: &Value) -> Vec<Value> {
    body["compositeResponse"].as_array().unwrap().clone()
}

#[tokio::test]
async fn at_most_five_subrequests_are_queries_or_collections() {
    let org = Client::new().await;
    let query = |n: usize| get(&format!("q{n}"), "query?q=SELECT+Id+FROM+Account");
    let mut five: Vec<Value> = (0..4).map(query).collect();
    five.push(collection("c", false, &[Some("A")]));
    // A field or value that only looks like a query does not count.
    five.push(post("a", "Account", json!({ "Name": "/query" })));
    five.push(
        json!({ "method": "PATCH", "url": "/services/data/v62.0/sobjects/Account/LimioId__c/query", "referenceId": "u",
        "body": { "Name": "Q" } }),
    );
    let (_, body) = org.post("composite", json!({ "compositeRequest": five })).await;
    assert!(parts(&body).iter().all(|part| part["httpStatusCode"].as_u64().unwrap() < 300), "{body}");
    assert_eq!(org.records("Account").len(), 3);
    five.push(query(9));
    let (_, body) = org.post("composite", json!({ "compositeRequest": five })).await;
    assert_eq!((parts(&body).len(), code(&body["compositeResponse"][0]["body"])), (1, "LIMIT_EXCEEDED"));
    assert_eq!(org.records("Account").len(), 3);
}

#[tokio::test]
async fn a_subrequest_may_bring_headers_but_not_those_it_inherits() {
    let org = Client::new().await;
    let rule = DuplicateRule::exact_email("Contact", "Email", RuleResponse::ALERT);
    org.control().set_duplicate_rules(&[rule]).unwrap();
    let contact = json!({ "LastName": "Roe", "Email": "jane@example.com" });
    org.create("Contact", contact.clone()).await;
    let with = |name: &str, value: Value| {
        let mut part = post("a", "Contact", contact.clone());
        part["httpHeaders"] = json!({ name: value });
        json!({ "compositeRequest": [part] })
    };
    let (_, body) = org.post("composite", with("Sforce-Mru", json!("updateMru=false"))).await;
    assert_eq!(code(&body["compositeResponse"][0]["body"]), "DUPLICATES_DETECTED");
    let (_, body) = org.post("composite", with("sforce-duplicate-rule-header", json!("allowSave=true"))).await;
    assert_eq!(body["compositeResponse"][0]["httpStatusCode"], 201, "{body}");
    for name in ["Accept", "authorization", "Content-Type"] {
        let (status, body) = org.post("composite", with(name, json!("x"))).await;
        assert_eq!((status, body.is_array()), (400, true), "{name}");
    }
    assert_eq!(org.post("composite", with("Sforce-Mru", json!(1))).await.0, 400);
    assert_eq!(org.records("Contact").len(), 2);
}

#[tokio::test]
async fn odd_reference_ids_fail_the_request_or_before_v52_only_who_refers_to_them() {
    let org = Client::new().await;
    let request = json!({ "compositeRequest": [
        post("new[1]", "Account", json!({ "Name": "A" })),
        post("con", "Contact", json!({ "LastName": "L", "AccountId": "@{new[1].id}" })),
        post("b", "Account", json!({ "Name": "B" })),
    ] });
    let (status, body) = org.post("composite", request.clone()).await;
    let message = "Provided referenceId ('new[1]') must start with a letter or a number, and it can contain only \
                   letters, numbers and underscores ('_').";
    assert_eq!((status, body), (400, json!([{ "message": message, "errorCode": "JSON_PARSER_ERROR" }])));
    assert!(org.records("Account").is_empty());
    let (status, body) = org.post("/services/data/v51.0/composite", request).await;
    let statuses: Vec<_> = parts(&body).iter().map(|part| part["httpStatusCode"].clone()).collect();
    assert_eq!((status, statuses), (200, vec![json!(201), json!(400), json!(201)]));
    assert_eq!(
        body["compositeResponse"][1]["body"][0]["message"],
        "Invalid reference specified. No value for new[1].id found in new"
    );
    assert_eq!(body["compositeResponse"][0]["referenceId"], "new[1]");
}

#[tokio::test]
async fn a_reference_to_a_null_field_is_null_and_before_v52_fails() {
    let org = Client::new().await;
    org.control().update_settings(|settings| settings.reference_message = ReferenceMessage::Long);
    let id = org.create("Contact", json!({ "LastName": "Wong" })).await;
    let request = json!({ "compositeRequest": [
        get("c", &format!("sobjects/Contact/{id}?fields=FirstName,LastName")),
        post("n", "Contact", json!({ "FirstName": "@{c.FirstName}", "LastName": "@{c.LastName}" })),
    ] });
    let (_, body) = org.post("/services/data/v51.0/composite", request.clone()).await;
    assert_eq!(
        body["compositeResponse"][1]["body"],
        json!([{ "errorCode": "PROCESSING_HALTED", "message": "Invalid reference specified. No value for c.FirstName found in c. \
            Provided referenceId ('c.FirstName') must start with a letter or a number, and it can contain only letters, \
            numbers and underscores ('_')." }])
    );
    let (_, body) = org.post("composite", request).await;
    assert_eq!(body["compositeResponse"][1]["httpStatusCode"], 201, "{body}");
    assert_eq!(org.records("Contact").len(), 2);
}

#[tokio::test]
async fn the_outer_all_or_none_reaches_into_collections() {
    for (outer, inner, stored) in [(false, false, 2), (false, true, 1), (true, true, 0), (true, false, 0)] {
        let org = Client::new().await;
        let request = json!({ "allOrNone": outer, "compositeRequest": [
            collection("accounts", inner, &[Some("A"), None]), post("b", "Account", json!({ "Name": "B" })) ] });
        let (status, body) = org.post("composite", request).await;
        let parts = parts(&body);
        assert_eq!((status, org.records("Account").len()), (200, stored), "{outer} {inner}: {body}");
        // Rows that the outer flag rolled back may still say that they succeeded.
        assert_eq!(parts[0]["body"][0]["success"], !inner, "{outer} {inner}");
        assert_eq!(parts[1]["httpStatusCode"], if outer { 400 } else { 201 }, "{outer} {inner}");
        assert_eq!(code(&parts[1]["body"]), if outer { "PROCESSING_HALTED" } else { "" });
    }
}

#[tokio::test]
async fn envelopes_that_are_none_are_refused_whole() {
    let org = Client::new().await;
    let good = post("a", "Account", json!({ "Name": "A" }));
    let without = |key: &str| {
        let mut part = good.clone();
        part.as_object_mut().unwrap().remove(key);
        part
    };
    for body in [
        json!([]),
        json!({}),
        json!({ "compositeRequest": {} }),
        json!({ "compositeRequest": [] }),
        json!({ "compositeRequest": [1] }),
        json!({ "compositeRequest": [good, good] }),
        json!({ "compositeRequest": [without("method")] }),
        json!({ "compositeRequest": [without("url")] }),
        json!({ "compositeRequest": [without("referenceId")] }),
        json!({ "allOrNone": "yes", "compositeRequest": [good] }),
        json!({ "collateSubrequests": 1, "compositeRequest": [good] }),
        json!({ "graphs": [], "compositeRequest": [good] }),
        json!({ "compositeRequest": [{ "method": "POST", "url": "/x", "referenceId": "a", "richInput": {} }] }),
    ] {
        let (status, answer) = org.post("composite", body.clone()).await;
        assert_eq!((status, answer.is_array()), (400, true), "{body}: {answer}");
    }
    assert!(org.records("Account").is_empty());
    let both = json!({ "collateSubrequests": false, "allOrNone": null, "compositeRequest": [good] });
    assert_eq!(org.post("composite", both).await.0, 200);
}

#[tokio::test]
async fn methods_are_read_with_their_case_and_urls_are_paths() {
    let org = Client::new().await;
    let mut lower = post("a", "Account", json!({ "Name": "A" }));
    lower["method"] = json!("post");
    let mut relative = post("b", "Account", json!({ "Name": "A" }));
    relative["url"] = json!("sobjects/Account");
    let (status, body) = org.post("composite", json!({ "compositeRequest": [lower, relative] })).await;
    let statuses: Vec<_> = parts(&body).iter().map(|part| part["httpStatusCode"].clone()).collect();
    assert_eq!((status, statuses), (200, vec![json!(405), json!(404)]));
    assert!(org.records("Account").is_empty());
}

#[tokio::test]
async fn the_resource_lists_what_lies_below_it() {
    let org = Client::new().await;
    let (status, body) = org.get("composite").await;
    let expected = json!({ "tree": "/services/data/v62.0/composite/tree", "batch": "/services/data/v62.0/composite/batch",
        "sobjects": "/services/data/v62.0/composite/sobjects", "graph": "/services/data/v62.0/composite/graph" });
    assert_eq!((status, body), (200, expected));
}

#[tokio::test]
async fn parts_speak_the_versions_that_the_org_does() {
    let org = Client::new().await;
    let mut parts = vec![post("a", "Account", json!({ "Name": "A" })), post("b", "Account", json!({ "Name": "B" }))];
    parts[0]["url"] = json!("/services/data/v20.0/sobjects/Account");
    parts[1]["url"] = json!("/services/data/v99.0/sobjects/Account");
    let (_, body) = org.post("composite", json!({ "compositeRequest": parts })).await;
    let statuses: Vec<_> =
        body["compositeResponse"].as_array().unwrap().iter().map(|part| &part["httpStatusCode"]).collect();
    assert_eq!(statuses, [410, 404]);
    assert!(org.records("Account").is_empty());
}

#[tokio::test]
async fn conditions_of_a_part_are_held_to() {
    let org = Client::new().await;
    let id = org.create("Account", json!({ "Name": "A" })).await;
    let url = format!("/services/data/v62.0/sobjects/Account/{id}");
    let send = async |method: &str, url: &str, headers: Value| {
        let mut part = json!({ "method": method, "url": url, "referenceId": "p", "httpHeaders": headers });
        if method == "PATCH" {
            part["body"] = json!({ "Phone": "1" });
        }
        let parts =
            json!({ "allOrNone": true, "compositeRequest": [post("c", "Contact", json!({ "LastName": "L" })), part] });
        org.post("composite", parts).await.1["compositeResponse"][1].clone()
    };
    let read = send("GET", &url, json!({})).await;
    let (tag, modified) = (read["httpHeaders"]["ETag"].clone(), read["httpHeaders"]["Last-Modified"].clone());
    assert!(tag.is_string() && modified.is_string(), "{read}");
    assert_eq!(send("GET", &format!("{url}?fields=Name"), json!({})).await["httpHeaders"], json!({}));
    let long_ago = "Wed, 14 Apr 2021 13:50:54 GMT";
    for headers in [json!({ "If-Unmodified-Since": long_ago }), json!({ "if-match": "\"other\"" })] {
        let refused = send("PATCH", &url, headers).await;
        assert_eq!((&refused["httpStatusCode"], code(&refused["body"])), (&json!(412), "PRECONDITION_FAILED"));
    }
    assert!(org.records("Account")[0].get("Phone").is_none());
    assert_eq!(org.records("Contact").len(), 2, "those of the two reads");
    assert_eq!(send("PATCH", &url, json!({ "If-Match": tag })).await["httpStatusCode"], 204);
    let same =
        send("GET", "/services/data/v62.0/sobjects/Account/describe", json!({ "If-Modified-Since": modified })).await;
    assert_eq!((&same["httpStatusCode"], &same["body"]), (&json!(304), &Value::Null));
    assert_eq!(org.records("Contact").len(), 4, "what has not changed fails nothing");
}

#[tokio::test]
async fn a_query_part_has_the_page_size_of_its_own_header() {
    let org = Client::new().await;
    let rows: Vec<_> = (0..201).map(|n| json!({ "LastName": format!("L{n}") }).as_object().unwrap().clone()).collect();
    org.control().seed("Contact", &rows).await.unwrap();
    let part = json!({ "method": "GET", "url": "/services/data/v62.0/query?q=SELECT+Id+FROM+Contact", "referenceId": "q",
                       "httpHeaders": { "Sforce-Query-Options": "batchSize=200" } });
    let (_, body) = org.post("composite", json!({ "compositeRequest": [part] })).await;
    let page = &body["compositeResponse"][0]["body"];
    assert_eq!((page["records"].as_array().unwrap().len(), &page["done"]), (200, &json!(false)));
}

#[tokio::test]
async fn several_objects_are_described_in_one_api_call_and_the_log_tells_no_rows_of_it() {
    let org = Client::new().await;
    let part = |name: &str| json!({ "method": "GET", "url": format!("/services/data/v62.0/sobjects/{name}/describe"), "referenceId": name });
    // More than the five that queries may be.
    let names = ["Account", "Contact", "Nothing__c", "LimioOrder__c", "i42as__OrderEvent__e", "User", "RecordType"];
    let before = org.control().api_calls();
    let (status, body) = org.post("composite", json!({ "compositeRequest": names.map(part) })).await;
    assert_eq!((status, org.control().api_calls() - before), (200, 1));
    for (name, answer) in names.iter().zip(body["compositeResponse"].as_array().unwrap()) {
        assert_eq!(answer["referenceId"], *name);
        if *name == "Nothing__c" {
            assert_eq!((&answer["httpStatusCode"], code(&answer["body"])), (&json!(404), "NOT_FOUND"));
        } else {
            let (_, alone) = org.get(&format!("sobjects/{name}/describe")).await;
            assert_eq!((&answer["httpStatusCode"], &answer["body"]), (&json!(200), &alone));
        }
    }
    let logged = org.control().requests().into_iter().find(|request| request.path.ends_with("/composite")).unwrap();
    assert_eq!((logged.nodes, logged.describes, logged.rows), (7, 7, vec![]));
}
