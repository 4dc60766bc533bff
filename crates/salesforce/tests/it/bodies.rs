//! Compression in both directions.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::server::{Server, Step, fields};

const ID: &str = "0015g00000ABCDeAAF";

#[tokio::test]
async fn large_bodies_travel_compressed_and_small_ones_do_not() {
    let org = Server::scripted([Step::created(ID), Step::created(ID), Step::created(ID)]).await;
    let client = org.client();
    for length in [10, 5_000, 400_000] {
        let text = "ä".repeat(length);
        client.create("Account", &fields(json!({ "Description": text }))).await.expect("written");
        let call = org.calls().pop().expect("a call");
        let compressed = length > 10;
        assert_eq!(call.header("content-encoding") == "gzip", compressed, "{length}");
        assert_eq!(call.wire_body.len() < length, compressed, "{length}");
        assert_eq!(call.json(), json!({ "Description": text }));
        assert_eq!(call.header("content-type"), "application/json; charset=UTF-8");
    }
}

#[tokio::test]
async fn a_compressed_body_is_sent_again_whole_after_a_renewal() {
    let org = Server::scripted([Step::expired(), Step::created(ID)]).await;
    let record = fields(json!({ "Description": "x".repeat(9_000) }));
    org.client().create("Account", &record).await.expect("written");
    assert_eq!(org.calls()[0].json(), org.calls()[1].json());
}

#[tokio::test]
async fn compressed_answers_are_asked_for_and_read() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(json!({ "id": ID, "success": true }).to_string().as_bytes()).expect("memory");
    let body = encoder.finish().expect("memory");
    let step = Step::Reply { status: 201, headers: vec![("content-encoding", "gzip".to_owned())], body };
    let org = Server::scripted([step]).await;
    let saved = org.client().create("Account", &fields(json!({}))).await.expect("written");
    assert_eq!(saved.id, ID);
    assert!(org.calls()[0].header("accept-encoding").contains("gzip"));
}
