//! What a run is judged by.

use std::collections::HashSet;

use super::Fate;

/// What is known from outside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    /// The publisher's list, in the sequence in which each order was published first.
    pub(crate) published: Vec<Published>,
    /// The org's order records, in the sequence of their creation.
    pub(crate) records: Vec<Record>,
    /// The org's Accounts.
    pub(crate) accounts: Vec<Account>,
    /// The ids of those that were there before the first order.
    pub(crate) accounts_before: HashSet<String>,
    /// The org's events in replay order.
    pub(crate) events: Vec<Event>,
    /// The open letters of the journal.
    pub(crate) letters: Vec<Letter>,
    /// The outcomes.
    pub(crate) told: Told,
}

/// The identities of orders, by what was told of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// `order.written`
    pub(crate) written: HashSet<String>,
    /// `order.rejected`
    pub(crate) rejected: HashSet<String>,
    /// `order.dead_lettered`
    pub(crate) dead: HashSet<String>,
}

/// One order on the publisher's list.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    /// The sequence key, which is also the customer's Limio identity.
    pub(crate) key: String,
    /// The order's identity.
    pub(crate) id: String,
    /// The human reference, which its event carries.
    pub(crate) reference: String,
    /// What it calls its subscription: by its id, its reference, or both.
    pub(crate) subscription: Vec<String>,
    /// The order's type, for the table.
    pub(crate) order_type: &'static str,
    /// The type of the event by which Limio announces such an order; `None` where there is none.
    pub(crate) event: Option<&'static str>,
    /// What has to become of it.
    pub(crate) expected: Fate,
    /// Whose Account its record and its event have to name.
    pub(crate) whose: Whose,
    /// The letter that its message becomes when it is given up as it was sent.
    pub(crate) letter: String,
}

/// Whose Account an order belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whose {
    /// No Account: none is known of the customer, and the order says too little to make one.
    Nobodys,
    /// The one that carries the customer's Limio identity.
    Customers,
    /// The one with this e-mail address that was there before the first order, and carries no Limio identity.
    Twins(String),
}

/// An order record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The order's identity.
    pub(crate) order: String,
    /// The id of the Account that it names.
    pub(crate) account: Option<String>,
    /// The id or the reference of its subscription.
    pub(crate) subscription: Option<String>,
}

/// An Account.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    /// Its record id.
    pub(crate) id: String,
    /// The customer's Limio identity.
    pub(crate) limio_id: Option<String>,
    /// The customer's e-mail address.
    pub(crate) email: Option<String>,
}

/// A platform event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// The order's reference.
    pub(crate) order_number: String,
    /// The event's type.
    pub(crate) order_type: String,
    /// The id of the Account that it names.
    pub(crate) account: Option<String>,
}

/// An open letter.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    /// Its id.
    pub(crate) id: String,
    /// The order's identity, where known.
    pub(crate) order_id: Option<String>,
    /// Whether its customer is known, so that it holds later orders up.
    pub(crate) blocks: bool,
    /// Whether it waits behind another letter.
    pub(crate) held: bool,
    /// Why it was given up; empty when it only waits.
    pub(crate) reason: String,
    /// When it was written first, in milliseconds since 1970.
    pub(crate) at: i64,
}
