//! Decides what an order means: the pure core.
//!
//! # The story of one order
//!
//! 1. A message arrives as bytes ([`envelope::Incoming`]) in any of the shapes that Limio and others send.
//! 2. [`envelope::Envelope::decode`] finds the Limio object in it, says what happened and for which tenant.
//! 3. [`event::OrderEvent::parse`] strips its secrets ([`secrets`]), gives it an identity, a lane (the sequence key) and a
//!    [`fingerprint`], and reads an [`order::Order`] whose [`order::change::Change`] has what its type requires.
//! 4. It is re-rendered as one `CloudEvent` and travels on as that. What travels is the order and not what to write, so a
//!    corrected mapping holds for messages that already wait.
//! 5. [`mapping`] makes a [`plan::WritePlan`] of it, as `order-processing.toml` ([`config`]) says for the tenant.
//! 6. What came of it is an [`outcome::Outcome`]; [`settlement::settle`] decides whether the message is acknowledged,
//!    waits ([`retry`]), or is given up ([`dead_letter`]). A [`failure::Failure`] says why in words an operator can act on;
//!    the [`atlas`] holds those words, for our own reasons and for every code of Salesforce's.
//! 7. Every step of it is one of its [`story`], which tells an operator where the order is and what it waits for.
//!
//! # What is not done
//!
//! The Contact that Salesforce makes with a person account (`PersonContactId`) is not read back, though Limio's own plugin
//! does that after creation. So the event of an order that did not begin in Salesforce has no `ContactId` in person mode.
//! A caller that has read it can give it as [`plan::KnownIdentity::contact_id`], together with the Account.
//!
//! # Invariants
//!
//! - No I/O, no clock, no randomness, no environment: the same bytes and settings give the same answer anywhere.
//! - No input panics. Reading is bounded in size and depth before anything recurses.
//! - No failure repeats a value of an order: it names the path, the rule and the value's shape.
//! - `parse(render(order))` is the same order; unknown keys survive.

pub mod atlas;
pub mod breaker;
pub mod config;
pub mod dead_letter;
pub mod envelope;
pub mod event;
pub mod failure;
pub mod fingerprint;
pub mod link;
pub mod mapping;
pub mod order;
pub mod outcome;
pub mod plan;
pub mod quota;
pub mod retry;
pub mod secrets;
pub mod settlement;
pub mod story;
