//! Remembers which effects happened, once and for the whole fleet.
//!
//! # The story of one effect
//!
//! A writer that has become the active one of a partition says so ([`Ledger::own`]). Before it sends an order to Salesforce
//! it claims the effect ([`Ledger::claim`]); afterwards it closes the claim with what it learned ([`Ledger::close`]). If it
//! dies in between, the claim's lease runs out, and whoever claims next is told *unknown*: the effect may have happened,
//! look it up before sending. A duplicate of an order that was written is told so, with the stored result. A process that
//! was frozen, and wakes after another has taken its partition over, is refused.
//!
//! `ingest` asks less: whether an order was handed on before ([`Ledger::sight`]), and notes it once it was
//! ([`Ledger::handed_on`]). A crash between the two hands it on twice, and never loses it. Of an order that was given up
//! this is taken back ([`Ledger::forget_sightings`]), so that it can be sent again.
//!
//! Beside the effects it keeps the fleet's sign-in to the org, sealed ([`grant`], [`seal`]), and what the fleet knows of the
//! org's API calls ([`budget`]): in Redis alone, since a memory that one process has is no fleet's.
//!
//! # Stories
//!
//! Beside what makes effects happen once, Redis keeps what happened to each order, for an operator ([`stories`]). Nothing
//! depends on it and nothing waits for it, and recording stops before stories take the memory that claims need.
//!
//! # Two backends, one behaviour
//!
//! [`RedisLedger`] is the real one: each transition is one atomic script on the server, on the server's clock.
//! [`MemoryLedger`] holds the same rules ([`effect`]) in this process, with a clock that tests may set; it serves the
//! simulation of schedules. Both pass one suite, and generated sequences give equal answers on both.
//!
//! Which Account a customer has is remembered under the customer's names ([`Ledger::accounts`]), and under the Account whose
//! it is ([`Ledger::whose`]), since one that a duplicate rule or an agent chose carries no name of ours in the org.
//!
//! Which identities Limio was told of ([`links`]) is remembered as well, to spare it calls: telling it twice is harmless.
//!
//! Beside all that the workers tell each other where they are ([`Presence`]): hints, on which nothing depends but how evenly
//! queues are spread, and how long orders wait for the last call of a worker that died.
//!
//! # Invariants
//!
//! - A claim that may have had an effect never becomes *absent* by itself, however its owner ends: it becomes *unknown*.
//! - Only the latest claim of an effect can be closed, and only while its owner owns the partition.
//! - What is settled stays settled for 30 days, and is answered only to whoever brings the same fingerprint.
//! - An effect that happened or may have is bound to its fingerprint. Only when it certainly did not happen may a corrected
//!   order claim it under the same identity.
//! - What is absent is taken for certain only by a memory that has known the order since before it was handed on
//!   ([`KnownSince`]). A memory that was emptied, restarted, restored from an old copy or promoted from a replica is another
//!   one: it has no owners, and what it does not hold, or holds as absent, claimed or unknown, is looked up. What it says is
//!   settled holds, to whoever brings the same fingerprint; so never give it the copy of a fleet that writes to another org.
//! - An order that its publisher sends again is a new message: after the memory was lost nothing tells that it was written
//!   but the org, which refuses its record the second time.
//! - Names of customers are stored as digests only.
//!
//! Redis has to run with `maxmemory-policy noeviction`; an append-only file makes restarts cheaper, not safer.

pub mod budget;
pub mod contract;
pub mod effect;
pub mod grant;
pub mod links;
mod memory;
mod presence;
pub mod readiness;
mod redis;
pub mod seal;
pub mod settings;
pub mod stories;

pub use crate::contract::{
    Attempts, Claim, ClaimAnswer, ClaimTicket, Closed, Closing, Error, HOLDER_NAMES, Holding, Identity, KnownSince,
    Ledger, Owner, Sighting, Whose,
};
pub use crate::memory::{Clock, MemoryLedger, Snapshot};
pub use crate::presence::Presence;
pub use crate::redis::{RedisLedger, Settings};
