//! Whose Account it is: what the org told of it, kept for a while, and which orders are going to ask.
//!
//! Who is found is remembered by the ledger with the next order that is written. What is kept here spares the org the same
//! question meanwhile: of a customer whom nobody knows, of an order that was asked for while it still waited, of two
//! batches at once. So it may be forgotten at any time.
//!
//! And to which Accounts orders are being written just now, so that no two requests write to one.

mod ahead;
mod in_flight;
mod question;
mod told;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::config::ExternalIds;
use domain::mapping::{self, AccountTrace};
use domain::order::Order;
use domain::order::id::RecordId;
use tokio::time::Instant;

pub(crate) use self::ahead::{Ahead, Waiting};
pub(crate) use self::in_flight::{AGAIN, Asked, InBatch, InFlight, Taken};
pub(crate) use self::question::{Holder, Question, Request, Row, questions};
pub(crate) use self::told::Since;
use self::told::Told;

/// What the org answered to a question: an Account and whose it is, or that there is none.
pub(crate) type Answer = Option<Row>;

/// The answers that an order's decision needs.
pub(crate) type Answers = HashMap<Question, Answer>;

/// Where an order belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// To this Account, which carries the customer's name.
    Own(RecordId),
    /// To one of these Accounts, by its subscription, the best first: that proves nothing of the customer's other orders.
    /// Those that somebody else had by that subscription, as the ledger remembers, are still among them.
    BySubscription(Vec<RecordId>),
    /// To none that is in the org.
    Nowhere,
}

/// Where an order belongs, by these answers; `None` where one is missing.
pub(crate) fn find(order: &Order, asked: &[Question], answers: &Answers) -> Option<Found> {
    let mut by_subscription = Vec::new();
    for question in asked {
        let Some(Row { account, holder }) = answers.get(question)? else { continue };
        if matches!(question, Question::Named(_)) {
            return Some(Found::Own(account.clone()));
        }
        let may_own = match holder {
            Holder::Named(name) => mapping::may_own(order, Some(name)),
            Holder::Nobody => true,
            Holder::Untold => order.account_names().own.is_empty(),
        };
        if may_own && !by_subscription.contains(account) {
            by_subscription.push(account.clone());
        }
    }
    Some(if by_subscription.is_empty() { Found::Nowhere } else { Found::BySubscription(by_subscription) })
}

/// A request that failed as a whole, for what does not lie in it.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    /// When it ended.
    pub(crate) at: Instant,
    /// When it was sent, on the clock of the gate.
    pub(crate) asked: domain::breaker::Time,
    /// How it failed.
    pub(crate) error: salesforce::Error,
}

/// What this process was told, and who will ask.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    told: Mutex<Told>,
    ahead: Mutex<Ahead>,
    /// To which of them orders are being written.
    pub(crate) in_flight: InFlight,
    /// Held while the org is asked for a batch, so that no other asks the same at once; and how the last time failed.
    pub(crate) turn: tokio::sync::Mutex<Option<Failed>>,
}

impl Accounts {
    fn memory(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answers that still hold, of these questions by these fields.
    pub(crate) fn told<'a>(&self, ids: &ExternalIds, questions: impl IntoIterator<Item = &'a Question>) -> Answers {
        self.memory().told(ids, questions, Instant::now())
    }

    /// To be taken before the org is asked, for [`Accounts::keep`].
    pub(crate) fn since(&self) -> Since {
        self.memory().since()
    }

    /// Keeps answers to what was asked by these fields since then, but for what was forgotten meanwhile.
    pub(crate) fn keep(&self, ids: &ExternalIds, since: Since, answers: &Answers) {
        self.memory().keep(ids, since, answers, Instant::now());
    }

    /// This customer has been written since: what was told of the name no longer holds.
    pub(crate) fn forget(&self, external_id: &str) {
        self.memory().forget(&Question::named(external_id));
    }

    /// An order of this subscription has been written since: what was told of the subscription no longer holds.
    pub(crate) fn forget_subscription(&self, name: &str) {
        self.memory().forget(&Question::Subscription(name.to_owned()));
    }

    /// Nothing holds any more.
    pub(crate) fn forget_all(&self) {
        self.memory().forget_all();
    }

    /// An order came that will ask for this, unless somebody remembers its customer by then.
    pub(crate) fn awaits(&self, waiting: Waiting) {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).add(waiting);
    }

    /// An order that would have asked this waits no longer.
    pub(crate) fn awaits_no_longer(&self, trace: &AccountTrace) {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).forget(trace);
    }

    /// Takes out so many of the orders that came first and have not been asked for.
    pub(crate) fn next(&self, most: usize) -> Vec<(u64, Waiting)> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take(most)
    }

    /// Gives back orders for which there was no room, or no answer.
    pub(crate) fn give_back(&self, waiting: Vec<(u64, Waiting)>) {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).give_back(waiting);
    }
}

/// The questions of these traces, each once, without those that are answered.
pub(crate) fn open<'a>(asked: impl IntoIterator<Item = &'a Question>, answers: &Answers) -> Vec<Question> {
    let mut seen = HashSet::new();
    let open = asked.into_iter().filter(|question| !answers.contains_key(*question));
    open.filter(|question| seen.insert(*question)).cloned().collect()
}

/// The trace of an order of which nothing is known yet but what it says.
pub(crate) fn first_trace(order: &Order, processing: &domain::config::OrderProcessing) -> Option<AccountTrace> {
    mapping::account_trace(order, processing, &domain::plan::KnownIdentity::default(), None)
}

#[cfg(test)]
mod tests;
