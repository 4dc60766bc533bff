//! Carries messages: topology, deliveries, lanes, and the journal of dead letters. The only crate that knows the broker.
//!
//! # The story
//!
//! Publishers send to an exchange that hashes the customer into an inbox; `ingest` relays each order to the customer's
//! partition; one `writer` at a time is active on a partition. Inside a process [`lanes::Lanes`] decides which order may go
//! next; [`work`] carries that out; a [`handler::Handler`] does the program's own part and returns what `domain` decided;
//! [`journal`] keeps what was given up, and [`dead_letters`] is the operator's way into it.
//!
//! # The contract
//!
//! * *At least once.* A delivery is acknowledged only after its effect is durable: published and confirmed, written, or
//!   journalled and confirmed. A delivery that is dropped is released, never acknowledged.
//! * *One settlement.* [`session::Delivery::ack`] consumes the delivery; only this crate calls it.
//! * *In order per key.* One item of a key is in flight; the head of a lane waits for its retry while other lanes go on;
//!   what outlasts that blocks the key in the journal, and later orders are held behind it.
//! * *A session ends as a whole.* At its first error everything unsettled comes again, in order, to whoever is active next.
//! * *Bounded.* Deliveries by prefetch, batches by number and size, every wait by a deadline.
//!
//! # Invariants
//!
//! * Nothing is cancelled while anything is unacknowledged: channels are closed instead, which keeps the order.
//! * Publishes are confirmed, and mandatory except to the outcomes exchange.
//! * No consumer priorities on single-active-consumer queues.
//! * Headers are flat text; a stream would drop nested ones.

pub mod dead_letters;
pub mod error;
pub mod handler;
pub mod journal;
pub mod lanes;
pub mod memory;
pub mod message;
pub mod rabbitmq;
pub mod readiness;
pub mod reconnect;
pub mod session;
pub mod settings;
mod settle;
pub mod topology;
pub mod work;
