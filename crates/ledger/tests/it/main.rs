//! What every ledger does, tried on both backends, and what only Redis can do wrong.

mod agreement;
mod budget;
mod conformance;
mod grants;
mod outages;
mod presence;

use std::time::Duration;

use causeway_ledger as ledger;
use domain::order::id::{Fingerprint, OrderId};
use ledger::{Claim, ClaimAnswer, ClaimTicket, Identity, Ledger, Owner, RedisLedger, Settings};

/// Longer than any test.
const LONG: Duration = Duration::from_hours(1);
/// Over as soon as it began.
const OVER: Duration = Duration::ZERO;

/// Patient enough for a machine that is busy with other tests.
const PATIENT: Settings =
    Settings { response_timeout: Duration::from_secs(10), connect_timeout: Duration::from_secs(10) };

async fn redis() -> RedisLedger {
    let namespace = testkit::namespace("ledger");
    RedisLedger::connect(&testkit::redis_url(), &namespace, PATIENT).await.expect("Redis answers")
}

fn owner(epoch: &str) -> Owner {
    Owner { partition: 7, epoch: epoch.to_owned() }
}

fn order(name: &str) -> OrderId {
    OrderId::parse(name).expect("a name")
}

fn content(byte: u8) -> Fingerprint {
    Fingerprint::of([byte; 32])
}

fn identity(name: &str, byte: u8) -> Identity {
    Identity { order: order(name), fingerprint: content(byte) }
}

fn claim(epoch: &str, name: &str, lease: Duration) -> Claim {
    Claim { owner: owner(epoch), order: order(name), effect: "order", fingerprint: content(1), lease }
}

async fn ask(ledger: &dyn Ledger, claim: Claim) -> ClaimAnswer {
    ledger.claim(&[claim]).await.expect("the ledger answers").remove(0)
}

async fn take(ledger: &dyn Ledger, claim: Claim) -> (ClaimTicket, u32) {
    match ask(ledger, claim).await {
        ClaimAnswer::Claimed { ticket, attempts } => (ticket, attempts.total),
        other @ (ClaimAnswer::Unknown { .. }
        | ClaimAnswer::Settled(_)
        | ClaimAnswer::Busy { .. }
        | ClaimAnswer::Conflict
        | ClaimAnswer::NotOwner) => panic!("not claimed: {other:?}"),
    }
}

async fn take_unknown(ledger: &dyn Ledger, claim: Claim) -> (ClaimTicket, u32) {
    match ask(ledger, claim).await {
        ClaimAnswer::Unknown { ticket, attempts } => (ticket, attempts.total),
        other @ (ClaimAnswer::Claimed { .. }
        | ClaimAnswer::Settled(_)
        | ClaimAnswer::Busy { .. }
        | ClaimAnswer::Conflict
        | ClaimAnswer::NotOwner) => panic!("not unknown: {other:?}"),
    }
}
