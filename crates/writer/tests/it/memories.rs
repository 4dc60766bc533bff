//! When Redis is emptied under load: what was handed on before is looked up, many orders in one call, and nothing is doubled.

use std::collections::BTreeSet;
use std::path::PathBuf;

use simulator::{Fault, FaultKind};
use testkit::{Redis, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::stage::{QUICK, Stage, id_of, orders_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_emptied_under_load_costs_a_look_up_per_batch_until_the_orders_are_younger() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(testkit::namespace("writer"));
    let redis = Redis::start(&folder).await.expect("Redis starts");
    let mut stage = Stage::new(QUICK).await.on_redis(&redis.url());
    stage.org().arm(Fault::always(FaultKind::Slow { ms: 100 }).on_path("/composite/graph"));
    let names: Vec<String> = (0..400_u32).map(|n| word("old", n)).collect();
    let before: Vec<_> = names.iter().flat_map(|customer| orders_of(customer, 2)).collect();
    stage.hand_on(&before).await;
    let writer = stage.writer();
    eventually("a quarter to be written", async || stage.order_records().len() >= 200).await;
    // Nothing is looked up as long as Redis remembers and answers in time, which on a busy machine it may not once or twice.
    let (queries_before, graphs_before) = (stage.queries(), stage.graph_requests().len());
    assert!(queries_before <= 2, "{queries_before} look-ups");
    empty(&redis.url()).await;
    stage.told.until("order.written", before.iter().map(id_of)).await;

    let written = stage.order_records();
    let once: BTreeSet<_> = written.iter().collect();
    assert_eq!((written.len(), once.len(), stage.events().len()), (800, 800, 800));
    let (queries, graphs) = (stage.queries() - queries_before, stage.graph_requests().len() - graphs_before);
    // One for each batch that is sent; those in flight when it was emptied are found, and need no request.
    assert!(queries >= 1 && queries <= graphs + 6, "{queries} look-ups beside {graphs} requests");
    let calls = stage.org().api_calls();
    println!(
        "800 orders, emptied after {graphs_before} requests: {graphs} more, {queries} look-ups, {calls} calls in all"
    );

    // What is handed on from now on is known from its beginning.
    let names: Vec<String> = (0..100_u32).map(|n| word("new", n)).collect();
    let after: Vec<_> = names.iter().flat_map(|customer| orders_of(customer, 1)).collect();
    stage.written(&after).await;
    let more = stage.queries() - queries_before - queries;
    assert!(more <= 2, "{more} look-ups of orders that this memory knows");
    assert_eq!(stage.fleet.letters().await.len(), 0);
    stage.end(writer).await;
    drop(redis);
    let _ = std::fs::remove_dir_all(folder);
}

/// A word of letters for a number.
fn word(prefix: &str, number: u32) -> String {
    let letters = number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect::<String>();
    format!("{prefix}{letters}")
}

async fn empty(url: &str) {
    let address = url.trim_start_matches("redis://").trim_end_matches('/');
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("Redis listens");
    stream.write_all(b"FLUSHALL\r\n").await.expect("sent");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.expect("answered");
    assert_eq!(&answer, b"+OK\r\n");
}
