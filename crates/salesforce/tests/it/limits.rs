//! What is refused here, before it costs an API call.

use causeway_salesforce::{
    Client, Error, ErrorKind, Graph, Node, NodeWrite, Part, Row, RowUpdate, contains_reference, limits,
};
use serde_json::{Map, Value, json};

use crate::server::{Server, fields};

async fn client() -> (Server, Client) {
    let org = Server::scripted([]).await;
    let client = org.client();
    (org, client)
}

fn node(index: usize, object: &str) -> Node {
    Node { reference: format!("n{index}"), write: NodeWrite::Create { object: object.to_owned() }, body: Map::new() }
}

fn graphs(count: usize, nodes: usize, object: impl Fn(usize) -> String) -> Vec<Graph> {
    (0..count)
        .map(|graph| Graph {
            id: format!("g{graph}"),
            nodes: (0..nodes).map(|index| node(index, &object(index))).collect(),
        })
        .collect()
}

fn too_large(error: &Error, limit: &str) {
    let Error::TooLarge { limit: named, max, found } = error else { panic!("{error}") };
    assert_eq!((*named, error.kind()), (limit, ErrorKind::Permanent));
    assert_eq!(*found, max + 1);
}

#[tokio::test]
async fn graph_requests_beyond_a_limit_are_refused_by_its_name_and_not_sent() {
    let (org, client) = client().await;
    let account = |_| "Account".to_owned();
    let distinct = |index| format!("Object{index}__c");
    for (graphs, limit) in [
        (graphs(limits::GRAPHS + 1, 1, account), "graphs"),
        (graphs(1, limits::NODES + 1, account), "nodes"),
        (graphs(1, limits::DIFFERENT_NODES + 1, distinct), "different nodes"),
    ] {
        too_large(&client.graph(&graphs).await.expect_err("too large"), limit);
    }
    let mut chain = graphs(1, limits::DEPTH + 1, account);
    for index in 1..chain[0].nodes.len() {
        chain[0].nodes[index].body.insert("ParentId".to_owned(), json!(format!("@{{n{}.id}}", index - 1)));
    }
    too_large(&client.graph(&chain).await.expect_err("too deep"), "references in a chain");
    assert!(org.calls().is_empty() && org.token_requests().is_empty());
}

#[tokio::test]
async fn graphs_that_salesforce_could_not_tell_apart_are_refused() {
    let (org, client) = client().await;
    let account = |_| "Account".to_owned();
    let mut same_id = graphs(2, 1, account);
    same_id[1].id = "g0".to_owned();
    let mut long_id = graphs(1, 1, account);
    long_id[0].id = "g".repeat(limits::GRAPH_ID + 1);
    let mut dotted = graphs(1, 1, account);
    dotted[0].id = "g.1".to_owned();
    let mut same_reference = graphs(1, 2, account);
    same_reference[0].nodes[1].reference = "n0".to_owned();
    let empty = graphs(1, 0, account);
    let mut no_key = graphs(1, 1, account);
    no_key[0].nodes[0].write =
        NodeWrite::Upsert { object: "Account".into(), field: "Ext__c".into(), value: String::new() };
    for graphs in [same_id, long_id, dotted, same_reference, empty, no_key] {
        let error = client.graph(&graphs).await.expect_err("invalid");
        assert!(matches!(error, Error::Invalid(_)), "{error}");
        assert!(!error.is_ambiguous());
    }
    assert!(org.calls().is_empty());
}

#[tokio::test]
async fn collections_and_composites_beyond_a_limit_are_not_sent() {
    let (org, client) = client().await;
    let row = |object: &str| Row { object: object.to_owned(), fields: Map::new() };
    let many: Vec<Row> = (0..=limits::ROWS).map(|_| row("Account")).collect();
    too_large(&client.create_rows(false, &many).await.expect_err("too many"), "rows");
    let mixed: Vec<Row> =
        (0..=limits::CHUNKS).map(|index| row(if index % 2 == 0 { "Account" } else { "Contact" })).collect();
    too_large(&client.create_rows(false, &mixed).await.expect_err("too mixed"), "runs of rows of one object");
    let events = vec![Map::new(); limits::ROWS + 1];
    too_large(&client.publish_many("Event__e", &events).await.expect_err("too many"), "rows");
    let parts: Vec<Part> = (0..=limits::SUBREQUESTS).map(|index| Part::Write(node(index, "Account"))).collect();
    too_large(&client.composite(true, &parts).await.expect_err("too many"), "subrequests");
    let queries: Vec<Part> = (0..=limits::QUERIES)
        .map(|index| Part::Query { reference: format!("q{index}"), soql: "SELECT Id FROM Account".into() })
        .collect();
    too_large(&client.composite(true, &queries).await.expect_err("too many"), "queries among the subrequests");
    let soql = format!("SELECT Id FROM Account WHERE Name = '{}'", "x".repeat(limits::ADDRESS));
    assert!(matches!(client.query(&soql).await, Err(Error::TooLarge { limit: "bytes of address", .. })));
    assert!(org.calls().is_empty());
}

#[tokio::test]
async fn names_and_ids_that_would_change_the_address_are_not_sent() {
    let (org, client) = client().await;
    let record = fields(json!({}));
    let bad_id = RowUpdate { object: "Account".into(), id: "001/../..".into(), fields: Map::new() };
    let errors = [
        client.create("Account/describe", &record).await.expect_err("bad object"),
        client.update("Account", "x?y", &record).await.expect_err("bad id"),
        client.upsert("Account", "Ext/c", "1", &record).await.expect_err("bad field"),
        client.upsert("Account", "Ext__c", "", &record).await.expect_err("no key"),
        client.find("Account", "Name = '' OR Name", "x", &[]).await.expect_err("bad field"),
        client.find("Account", "Name", "x", &["Id FROM User--"]).await.expect_err("bad column"),
        client.update_rows(false, &[bad_id]).await.expect_err("bad id"),
    ];
    assert!(errors.iter().all(|error| matches!(error, Error::Invalid(_))), "{errors:?}");
    assert!(org.calls().is_empty());
}

#[tokio::test]
async fn nothing_to_do_costs_no_call() {
    let (org, client) = client().await;
    assert_eq!(client.graph(&[]).await.expect("nothing"), []);
    assert_eq!(client.create_rows(true, &[]).await.expect("nothing"), []);
    assert_eq!(client.composite(true, &[]).await.expect("nothing"), []);
    assert!(client.publish_many("Event__e", &[]).await.expect("nothing").is_empty());
    assert!(org.calls().is_empty() && org.token_requests().is_empty());
}

#[test]
fn text_that_salesforce_would_resolve_is_recognised() {
    assert!(contains_reference("Smith @{acct.id}"));
    for text in ["a@b.example", "{acct.id}", "@ {x}", Value::Null.to_string().as_str()] {
        assert!(!contains_reference(text), "{text}");
    }
}
