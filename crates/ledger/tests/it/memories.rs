//! A Redis that was emptied, killed, restored from an old copy or promoted from a replica: what it does not hold any more
//! is looked up, and nothing else.

use std::path::Path;

use causeway_ledger as ledger;
use ledger::{ClaimAnswer, Closed, Closing, KnownSince, Ledger, RedisLedger};
use testkit::eventually;

use crate::outages::Own;
use crate::{LONG, PATIENT, claim, identity, known_since, owner, take, take_unknown};

/// A ledger on a node of its own, owned by `a`.
async fn owned(own: &Own) -> RedisLedger {
    let ledger = RedisLedger::connect(&own.redis.url(), "memories", PATIENT).await.expect("Redis answers");
    ledger.own(&owner("a")).await.expect("Redis answers");
    ledger
}

fn known(name: &str, known_since: &KnownSince) -> ledger::Claim {
    ledger::Claim { known_since: Some(known_since.clone()), ..claim("a", name, LONG) }
}

async fn close(ledger: &dyn Ledger, ticket: ledger::ClaimTicket, closing: Closing) -> Closed {
    ledger.close(&[(ticket, closing)]).await.expect("Redis answers").remove(0)
}

/// Waits until Redis answers again.
async fn back(ledger: &dyn Ledger) {
    eventually("the connection to come back", async || ledger.ping().await.is_ok()).await;
}

/// Redis is another memory: nobody owns a partition, and what was handed on before is not certainly absent.
async fn is_another_memory(ledger: &dyn Ledger, before: &KnownSince) {
    let answer = ledger.claim(&[known("not claimed before", before)]).await.expect("Redis answers").remove(0);
    assert_eq!(answer, ClaimAnswer::NotOwner, "nobody owns a partition in it");
    ledger.own(&owner("a")).await.expect("Redis answers");
    take_unknown(ledger, known("not claimed before", before)).await;
    let now = known_since(ledger, "handed on now").await;
    take(ledger, known("handed on now", &now)).await;
}

#[tokio::test]
async fn a_redis_that_was_emptied_knows_nothing_for_certain_of_what_was_handed_on_before() {
    let own = Own::start().await;
    let ledger = owned(&own).await;
    let before = known_since(&ledger, "o").await;
    let (ticket, _) = take(&ledger, known("o", &before)).await;
    own.command(&["FLUSHALL"]).await;
    assert_eq!(close(&ledger, ticket, Closing::Settle("done".into())).await, Closed::Stale);
    is_another_memory(&ledger, &before).await;
    take_unknown(&ledger, known("o", &before)).await;
}

#[tokio::test]
async fn a_redis_that_was_killed_may_have_lost_its_last_second() {
    let mut own = Own::start().await;
    // Here it loses nothing: that it may have is enough.
    own.command(&["CONFIG", "SET", "appendfsync", "always"]).await;
    let ledger = owned(&own).await;
    let before = known_since(&ledger, "failed").await;
    let (settled, _) = take(&ledger, known("settled", &before)).await;
    close(&ledger, settled, Closing::Settle("done".into())).await;
    let (failed, _) = take(&ledger, known("failed", &before)).await;
    close(&ledger, failed, Closing::Failed).await;
    let (in_flight, _) = take(&ledger, known("in flight", &before)).await;
    own.redis.kill();
    own.redis.restart().await.expect("Redis starts again");
    back(&ledger).await;
    assert_eq!(close(&ledger, in_flight, Closing::Settle("late".into())).await, Closed::Done, "its owner is its owner");
    is_another_memory(&ledger, &before).await;
    let asked = [known("settled", &before), known("in flight", &before)];
    let answers = ledger.claim(&asked).await.expect("Redis answers");
    assert_eq!(answers, [ClaimAnswer::Settled("done".into()), ClaimAnswer::Settled("late".into())]);
    let (ticket, _) = take_unknown(&ledger, known("failed", &before)).await;
    close(&ledger, ticket, Closing::Failed).await;
    take(&ledger, known("failed", &before)).await;
}

#[tokio::test]
async fn an_old_copy_is_believed_in_what_it_says_is_settled_and_in_nothing_else() {
    let mut own = Own::start().await;
    let ledger = owned(&own).await;
    let before = known_since(&ledger, "absent").await;
    for (name, closing) in [
        ("settled", Some(Closing::Settle("done".into()))),
        ("absent", Some(Closing::Failed)),
        ("unknown", Some(Closing::Unknown)),
        ("claimed", None),
    ] {
        let (ticket, _) = take(&ledger, known(name, &before)).await;
        if let Some(closing) = closing {
            close(&ledger, ticket, closing).await;
        }
    }
    ledger.handed_on(&[identity("given up later", 1)]).await.expect("Redis answers");
    own.redis.stop().await;
    let copy = own.folder.with_extension("copy");
    copy_folder(&own.folder, &copy);
    own.redis.restart().await.expect("Redis starts again");
    back(&ledger).await;

    // A day passes.
    ledger.own(&owner("a")).await.expect("Redis answers");
    for name in ["absent", "unknown", "claimed", "new"] {
        let (ticket, _) = take_unknown(&ledger, known(name, &before)).await;
        assert_eq!(close(&ledger, ticket, Closing::Settle("since".into())).await, Closed::Done);
    }
    own.redis.stop().await;
    std::fs::remove_dir_all(&own.folder).expect("removed");
    copy_folder(&copy, &own.folder);
    std::fs::remove_dir_all(&copy).expect("removed");
    own.redis.restart().await.expect("Redis starts from the copy");
    back(&ledger).await;

    is_another_memory(&ledger, &before).await;
    for name in ["absent", "unknown", "claimed", "new"] {
        take_unknown(&ledger, known(name, &before)).await;
    }
    let settled = ledger.claim(&[known("settled", &before)]).await.expect("Redis answers");
    assert_eq!(settled, [ClaimAnswer::Settled("done".into())]);
    let sighting = ledger.sight(&[identity("given up later", 1)]).await.expect("Redis answers");
    assert_eq!(
        sighting,
        [ledger::Sighting::First { known_since: None }],
        "it may have been taken back since: its claim decides"
    );
}

#[tokio::test]
async fn a_promoted_replica_may_not_have_heard_the_last_words() {
    let (own, replica) = (Own::start().await, Own::start().await);
    let ledger = owned(&own).await;
    let before = known_since(&ledger, "settled").await;
    let (ticket, _) = take(&ledger, known("settled", &before)).await;
    close(&ledger, ticket, Closing::Settle("done".into())).await;
    replica.command(&["REPLICAOF", "127.0.0.1", &own.redis.port().to_string()]).await;
    let promoted = connect_when_synchronised(&replica).await;
    replica.command(&["REPLICAOF", "NO", "ONE"]).await;
    is_another_memory(&promoted, &before).await;
    let answers = promoted.claim(&[known("settled", &before)]).await.expect("Redis answers");
    assert_eq!(answers, [ClaimAnswer::Settled("done".into())]);
}

async fn connect_when_synchronised(replica: &Own) -> RedisLedger {
    let client = redis::Client::open(replica.redis.url()).expect("an address");
    let connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
    for key in ["{memories}:memory", "{memories}:effect:order:settled"] {
        eventually("the replica to follow", async || {
            redis::cmd("EXISTS").arg(key).query_async::<u64>(&mut connection.clone()).await.is_ok_and(|count| count > 0)
        })
        .await;
    }
    RedisLedger::connect(&replica.redis.url(), "memories", PATIENT).await.expect("Redis answers")
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("copied");
        }
    }
}
