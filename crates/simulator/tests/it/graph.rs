use causeway_simulator::GraphErrorStyle;
use serde_json::{Value, json};

use crate::client::{Client, code, order_graph};

async fn send(org: &Client, graphs: Vec<Value>) -> (u16, Value) {
    org.post("composite/graph", json!({ "graphs": graphs })).await
}

fn bad_graph(n: usize) -> Value {
    let mut graph = order_graph(n);
    graph["compositeRequest"][1]["body"]["OrderType__c"] = json!("x".repeat(41));
    graph
}

#[tokio::test]
async fn seventy_five_orders_cost_one_api_call() {
    let org = Client::new().await;
    let (status, body) = send(&org, (0..75).map(order_graph).collect()).await;
    assert_eq!(status, 200);
    assert!(body["graphs"].as_array().unwrap().iter().all(|graph| graph["isSuccessful"] == true), "{body}");
    assert_eq!(org.control().api_calls(), 1);
    assert_eq!(org.records("Account").len(), 75);
    assert_eq!(org.records("LimioOrder__c").len(), 75);
    assert_eq!(org.control().events().len(), 75);
    assert_eq!(org.control().requests().last().map(|r| (r.graphs, r.nodes)), Some((75, 225)));
}

#[tokio::test]
async fn the_request_log_tells_which_rows_the_graphs_of_a_request_address() {
    let org = Client::new().await;
    let sent = order_graph(0);
    let (status, _) = send(&org, vec![sent.clone()]).await;
    assert_eq!(status, 200);
    let logged = org.control().requests();
    let last = logged.last().expect("the graph's");
    let urls = sent["compositeRequest"].as_array().unwrap().iter().map(|node| node["url"].as_str().unwrap());
    let rows: Vec<&str> = urls.filter_map(|url| url.split_once("/sobjects/")).map(|(_, row)| row).collect();
    let addressed: Vec<&str> = rows.into_iter().filter(|row| row.contains('/')).collect();
    assert!(!addressed.is_empty());
    assert_eq!(last.rows, addressed);
    assert!(last.from.is_loopback());
    assert!(org.control().requests_after(last.number).is_empty());
}

#[tokio::test]
async fn the_request_log_names_the_rows_that_a_request_makes_by_what_its_body_says_of_them() {
    let number = "i42as__OrderEvent__e.i42as__OrderNumber__c".to_owned();
    let org = Client::with_settings(|settings| settings.logged_fields = vec![number]).await;
    let told = || org.control().requests().pop().map(|request| request.rows).unwrap_or_default();
    let order = |n: usize| json!({ "LimioId__c": format!("order-{n}"), "OrderType__c": "new" });
    let event = |n: usize| json!({ "i42as__OrderNumber__c": format!("N{n}/2") });
    let make = |reference: &str, object: &str, body: Value| {
        let url = format!("/services/data/v62.0/sobjects/{object}");
        json!({ "method": "POST", "url": url, "referenceId": reference, "body": body })
    };
    let rows = |n: usize| {
        [format!("LimioOrder__c/LimioId__c/order-{n}"), format!("i42as__OrderEvent__e/i42as__OrderNumber__c/N{n}/2")]
    };
    let parts = |n| json!([make("ord", "LimioOrder__c", order(n)), make("evt", "i42as__OrderEvent__e", event(n))]);
    send(&org, vec![json!({ "graphId": "g", "compositeRequest": parts(1) })]).await;
    assert_eq!(told(), rows(1));
    org.post("composite", json!({ "compositeRequest": parts(2) })).await;
    assert_eq!(told(), rows(2));
    let of = |object: &str, mut fields: Value| {
        fields["attributes"] = json!({ "type": object });
        fields
    };
    let records = [of("LimioOrder__c", order(3)), of("i42as__OrderEvent__e", event(3))];
    org.post("composite/sobjects", json!({ "records": records })).await;
    assert_eq!(told(), rows(3));
    let (_, answer) = org.post("sobjects/LimioOrder__c", order(4)).await;
    assert_eq!(told(), rows(4)[..1]);
    let id = answer["id"].as_str().unwrap();
    let records = [of("LimioOrder__c", json!({ "Id": id, "OrderType__c": "renew" }))];
    org.call("PATCH", "composite/sobjects", Some(json!({ "records": records }))).await;
    assert_eq!(told(), [format!("LimioOrder__c/{id}")]);
    org.get("sobjects/LimioOrder__c/describe").await;
    assert_eq!(told(), [""; 0]);
}

#[tokio::test]
async fn a_failed_graph_leaves_nothing_and_its_neighbours_stand() {
    let org = Client::new().await;
    let (_, body) = send(&org, vec![order_graph(0), bad_graph(1), order_graph(2)]).await;
    let successful: Vec<_> = body["graphs"].as_array().unwrap().iter().map(|g| g["isSuccessful"].clone()).collect();
    assert_eq!(successful, [json!(true), json!(false), json!(true)]);
    assert_eq!(org.records("Account").len(), 2);
    assert_eq!(org.records("Contact").len(), 2);
    assert_eq!(org.control().events().len(), 2);
}

#[tokio::test]
async fn every_node_of_a_failed_graph_repeats_the_root_error() {
    let org = Client::new().await;
    let (_, body) = send(&org, vec![bad_graph(0)]).await;
    let parts = body["graphs"][0]["graphResponse"]["compositeResponse"].as_array().unwrap().clone();
    assert_eq!(parts.iter().map(|p| p["referenceId"].as_str().unwrap()).collect::<Vec<_>>(), ["acct", "ord", "evt"]);
    assert!(parts.iter().all(|part| code(&part["body"]) == "STRING_TOO_LONG" && part["httpStatusCode"] == 400));
}

#[tokio::test]
async fn the_other_error_style_halts_the_innocent_nodes() {
    let org = Client::with_settings(|settings| settings.graph_error_style = GraphErrorStyle::ProcessingHalted).await;
    let (_, body) = send(&org, vec![bad_graph(0)]).await;
    let parts = body["graphs"][0]["graphResponse"]["compositeResponse"].as_array().unwrap().clone();
    let codes: Vec<_> = parts.iter().map(|part| code(&part["body"])).collect();
    assert_eq!(codes, ["PROCESSING_HALTED", "STRING_TOO_LONG", "PROCESSING_HALTED"]);
}

#[tokio::test]
async fn more_than_fourteen_failed_graphs_halt_the_rest() {
    let org = Client::new().await;
    let mut graphs: Vec<Value> = (0..14).map(bad_graph).collect();
    graphs.push(order_graph(14));
    graphs.push(bad_graph(15));
    graphs.extend((16..20).map(order_graph));
    let (_, body) = send(&org, graphs).await;
    let graphs = body["graphs"].as_array().unwrap();
    assert_eq!(graphs[14]["isSuccessful"], true);
    for graph in &graphs[16..] {
        assert_eq!(graph["isSuccessful"], false);
        for part in graph["graphResponse"]["compositeResponse"].as_array().unwrap() {
            assert_eq!((code(&part["body"]), &part["httpStatusCode"]), ("PROCESSING_HALTED", &json!(400)));
        }
    }
    assert_eq!(org.records("Account").len(), 1);
}

#[tokio::test]
async fn references_are_resolved_in_urls_and_deep_in_bodies() {
    let org = Client::new().await;
    let graph = json!({ "graphId": "g", "compositeRequest": [
        { "method": "POST", "url": "/services/data/v62.0/sobjects/Account", "referenceId": "a", "body": { "Name": "A" } },
        { "method": "PATCH", "url": "/services/data/v62.0/sobjects/Account/@{a.id}", "referenceId": "b", "body": { "Site": "for @{a.id}!" } },
        { "method": "GET", "url": "/services/data/v62.0/sobjects/Account/@{a.id}", "referenceId": "c" },
        { "method": "POST", "url": "/services/data/v62.0/sobjects/Contact", "referenceId": "d",
          "body": { "LastName": "@{c.Name}", "AccountId": "@{c.Id}" } },
    ] });
    let (_, body) = send(&org, vec![graph]).await;
    assert_eq!(body["graphs"][0]["isSuccessful"], true, "{body}");
    let parts = &body["graphs"][0]["graphResponse"]["compositeResponse"];
    assert_eq!(parts[1], json!({ "body": null, "httpHeaders": {}, "httpStatusCode": 204, "referenceId": "b" }));
    let id = parts[0]["body"]["id"].as_str().unwrap();
    assert_eq!(org.records("Account")[0]["Site"], format!("for {id}!"));
    assert_eq!(org.records("Contact")[0]["LastName"], "A");
}

#[tokio::test]
async fn shopper_text_that_looks_like_a_reference_fails_its_graph() {
    let org = Client::new().await;
    let mut graph = order_graph(0);
    graph["compositeRequest"][2]["body"]["i42as__LimioOrder__c"] = json!("{\"note\":\"@{nobody.id}\"}");
    let (_, body) = send(&org, vec![graph]).await;
    assert_eq!(body["graphs"][0]["isSuccessful"], false);
    let part = &body["graphs"][0]["graphResponse"]["compositeResponse"][2];
    assert_eq!(part["body"][0]["message"], "Invalid reference specified. No value for nobody.id found in nobody");
    assert!(org.records("Account").is_empty());
}

#[tokio::test]
async fn envelopes_beyond_the_documented_limits_are_refused_whole() {
    let org = Client::new().await;
    let node = |reference: String, body: Value| json!({ "method": "POST", "url": "/services/data/v62.0/sobjects/Account", "referenceId": reference, "body": body });
    let chain: Vec<Value> = (0..16)
        .map(|n| {
            node(
                format!("n{n}"),
                if n == 0 {
                    json!({ "Name": "A" })
                } else {
                    json!({ "Name": "A", "ParentId": format!("@{{n{}.id}}", n - 1) })
                },
            )
        })
        .collect();
    let many = |n: usize| (0..n).map(|i| node(format!("n{i}"), json!({ "Name": "A" }))).collect::<Vec<_>>();
    let different: Vec<Value> = (40..56)
        .map(|v| json!({ "method": "POST", "url": format!("/services/data/v{v}.0/sobjects/Account"), "referenceId": format!("r{v}"), "body": { "Name": "A" } }))
        .collect();
    let graph = |nodes: Vec<Value>| json!({ "graphId": "g", "compositeRequest": nodes });
    let mut with_header = order_graph(0);
    with_header["compositeRequest"][0]["httpHeaders"] = json!({});
    let cases = [
        ("graphs", (0..76).map(order_graph).collect()),
        ("nodes", vec![graph(many(501))]),
        ("depth", vec![graph(chain)]),
        ("different nodes", vec![graph(different)]),
        ("the same id twice", vec![order_graph(0), order_graph(0)]),
        ("no graphs", vec![]),
        ("an id with a dot", vec![json!({ "graphId": "a.b", "compositeRequest": many(1) })]),
        ("a node with headers", vec![with_header]),
    ];
    for (name, graphs) in cases {
        let (status, body) = send(&org, graphs).await;
        assert_eq!(status, 400, "{name}: {body}");
        assert!(body.is_array(), "{name}");
    }
    assert!(org.records("Account").is_empty());
    assert_eq!(send(&org, vec![graph(many(500))]).await.0, 200);
    assert_eq!(org.records("Account").len(), 500);
}

#[tokio::test]
async fn graph_ids_start_with_a_letter_or_digit_have_no_dot_and_fewer_than_forty_characters() {
    let org = Client::new().await;
    let graph = |id: &str| {
        let mut graph = order_graph(0);
        graph["graphId"] = json!(id);
        graph
    };
    for (id, status) in [
        ("1", 200),
        ("a-b_c", 200),
        (&"x".repeat(39), 200),
        (&"x".repeat(40), 400),
        ("-a", 400),
        ("a.b", 400),
        ("", 400),
    ] {
        assert_eq!(send(&org, vec![graph(id)]).await.0, status, "{id}");
    }
}

#[tokio::test]
async fn fourteen_failed_graphs_halt_nothing_and_fifteen_do() {
    for (failed, successful) in [(14, true), (15, false)] {
        let org = Client::new().await;
        let mut graphs: Vec<Value> = (0..failed).map(bad_graph).collect();
        graphs.push(order_graph(99));
        let (_, body) = send(&org, graphs).await;
        assert_eq!(body["graphs"][failed]["isSuccessful"], successful, "{failed}");
    }
}

#[tokio::test]
async fn what_just_fits_the_limits_is_run() {
    let node = |n: usize, version: usize, method: &str, object: &str, body: Value| {
        let url = match method {
            "POST" => format!("/services/data/v{version}.0/sobjects/{object}"),
            _ => format!("/services/data/v{version}.0/sobjects/{object}/LimioId__c/x"),
        };
        json!({ "method": method, "url": url, "referenceId": format!("n{n}"), "body": body })
    };
    let graph = |id: &str, nodes: Vec<Value>| json!({ "graphId": id, "compositeRequest": nodes });
    let name = json!({ "Name": "A" });
    let chain: Vec<Value> = (0..15)
        .map(|n| match n {
            0 => node(0, 62, "POST", "Account", name.clone()),
            _ => node(n, 62, "POST", "Account", json!({ "Name": "A", "ParentId": format!("@{{n{}.id}}", n - 1) })),
        })
        .collect();
    // Fourteen versions of one call and another method of one of them; names of objects are one whatever their case.
    let mut fifteen: Vec<Value> = (50..64).map(|v| node(v, v, "POST", "Account", name.clone())).collect();
    fifteen.push(node(1, 50, "PATCH", "Account", name.clone()));
    fifteen.push(node(2, 50, "POST", "account", name.clone()));
    let mut sixteen = fifteen.clone();
    sixteen.push(node(3, 50, "POST", "Contact", json!({ "LastName": "L" })));
    let org = Client::new().await;
    let (status, body) =
        send(&org, vec![graph("chain", chain), graph("other", vec![node(0, 62, "POST", "Account", name.clone())])])
            .await;
    assert_eq!((status, &body["graphs"][0]["isSuccessful"]), (200, &json!(true)), "{body}");
    let (status, body) = send(&org, vec![graph("fifteen", fifteen)]).await;
    assert_eq!((status, &body["graphs"][0]["isSuccessful"]), (200, &json!(true)), "{body}");
    assert_eq!(send(&org, vec![graph("sixteen", sixteen)]).await.0, 400);
}

#[tokio::test]
async fn graphs_exist_from_version_50_on_and_so_do_their_nodes() {
    let org = Client::new().await;
    let body = json!({ "graphs": [order_graph(0)] });
    let (status, answer) = org.post("/services/data/v49.0/composite/graph", body.clone()).await;
    assert_eq!((status, code(&answer)), (404, "NOT_FOUND"));
    let mut old = order_graph(0);
    old["compositeRequest"][0]["url"] = json!("/services/data/v49.0/sobjects/Account/LimioId__c/id-0");
    let (_, answer) = send(&org, vec![old]).await;
    let part = &answer["graphs"][0]["graphResponse"]["compositeResponse"][0];
    assert_eq!(code(&part["body"]), "OPERATION_NOT_ALLOWED");
    let mut new = order_graph(0);
    new["compositeRequest"][0]["url"] = json!("/services/data/v68.0/sobjects/Account/LimioId__c/id-0");
    let (_, answer) = send(&org, vec![new]).await;
    let part = &answer["graphs"][0]["graphResponse"]["compositeResponse"][0];
    assert_eq!((&part["httpStatusCode"], code(&part["body"])), (&json!(404), "NOT_FOUND"));
    assert_eq!(org.post("/services/data/v50.0/composite/graph", body).await.0, 200);
}

#[tokio::test]
async fn no_graph_sees_another_ones_references() {
    let org = Client::new().await;
    let mut second = order_graph(1);
    second["compositeRequest"][0]["referenceId"] = json!("other");
    let (_, body) = send(&org, vec![order_graph(0), second]).await;
    assert_eq!((&body["graphs"][0]["isSuccessful"], &body["graphs"][1]["isSuccessful"]), (&json!(true), &json!(false)));
    let part = &body["graphs"][1]["graphResponse"]["compositeResponse"][1]["body"][0];
    assert_eq!(part["message"], "Invalid reference specified. No value for acct.id found in acct");
}

#[tokio::test]
async fn a_node_may_delete_and_methods_are_read_with_their_case() {
    let org = Client::new().await;
    let id = org.create("Account", json!({ "Name": "A", "LimioId__c": "a" })).await;
    let node = |method: &str, path: &str| {
        json!({ "graphId": "g", "compositeRequest": [
        { "method": method, "url": format!("/services/data/v62.0/sobjects/{path}"), "referenceId": "a" }] })
    };
    for (method, path, successful) in [
        ("delete", format!("Account/{id}"), false),
        ("PUT", format!("Account/{id}"), false),
        ("GET", "Account".to_owned(), false),
        ("GET", "Account/describe".to_owned(), false),
        ("GET", "Account/LimioId__c/a".to_owned(), true),
        ("DELETE", "Account/LimioId__c/a".to_owned(), true),
    ] {
        let (_, body) = send(&org, vec![node(method, &path)]).await;
        assert_eq!(body["graphs"][0]["isSuccessful"], successful, "{method} {path}: {body}");
    }
    assert!(org.records("Account").is_empty());
}

#[tokio::test]
async fn urls_that_a_graph_may_not_use_fail_their_graph() {
    let org = Client::new().await;
    for (url, expected) in [
        ("sobjects/Account", "PROCESSING_HALTED"),
        ("/v62.0/sobjects/Account", "OPERATION_NOT_ALLOWED"),
        ("/services/data/v62.0/query?q=x", "OPERATION_NOT_ALLOWED"),
        ("/services/data/v62.0/composite/sobjects", "OPERATION_NOT_ALLOWED"),
    ] {
        let graph = json!({ "graphId": "g", "compositeRequest": [
            { "method": "POST", "url": url, "referenceId": "a", "body": { "Name": "A" } }] });
        let (_, body) = send(&org, vec![graph]).await;
        let part = &body["graphs"][0]["graphResponse"]["compositeResponse"][0];
        assert_eq!(code(&part["body"]), expected, "{url}");
    }
}

#[tokio::test]
async fn a_replayed_graph_changes_nothing_but_the_events() {
    let org = Client::new().await;
    send(&org, vec![order_graph(0)]).await;
    let (_, body) = send(&org, vec![order_graph(0)]).await;
    let parts = &body["graphs"][0]["graphResponse"]["compositeResponse"];
    assert_eq!((&parts[0]["httpStatusCode"], &parts[0]["body"]["created"]), (&json!(200), &json!(false)));
    assert_eq!((org.records("Account").len(), org.records("LimioOrder__c").len()), (1, 1));
    assert_eq!(org.control().events().len(), 2);
}
