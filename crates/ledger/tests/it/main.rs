//! What every ledger does, tried on both backends, and what only Redis can do wrong.

mod agreement;
mod budget;
mod conformance;
mod copied;
mod grants;
mod memories;
mod outages;
mod presence;
mod stories;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use causeway_ledger as ledger;
use domain::order::id::{Fingerprint, OrderId};
use ledger::{Claim, ClaimAnswer, ClaimTicket, Identity, KnownSince, Ledger, Owner, RedisLedger, Settings, Sighting};

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
    Identity { order: order(name), fingerprint: content(byte), redelivered: false }
}

/// What the ledger says of an order that it sees for the first time.
async fn known_since(ledger: &dyn Ledger, name: &str) -> KnownSince {
    match ledger.sight(&[identity(name, 1)]).await.expect("the ledger answers").remove(0) {
        Sighting::First { known_since: Some(known_since) } => known_since,
        other @ (Sighting::First { .. } | Sighting::Again | Sighting::Conflict) => panic!("not new: {other:?}"),
    }
}

/// What it says of one that is handed on now.
async fn now(ledger: &dyn Ledger) -> KnownSince {
    static ORDERS: AtomicUsize = AtomicUsize::new(0);
    known_since(ledger, &format!("another {}", ORDERS.fetch_add(1, Ordering::Relaxed))).await
}

fn claim(epoch: &str, name: &str, lease: Duration) -> Claim {
    let (owner, order) = (owner(epoch), order(name));
    Claim { owner, order, effect: "order", fingerprint: content(1), known_since: None, lease }
}

/// Claims an order that was handed on just now, unless it says otherwise.
async fn ask(ledger: &dyn Ledger, mut claim: Claim) -> ClaimAnswer {
    if claim.known_since.is_none() {
        claim.known_since = Some(now(ledger).await);
    }
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
