//! Whose Account it is: what the org told of it, kept for a while, and which orders are going to ask.
//!
//! Who is found is remembered by the ledger with the next order that is written. What is kept here spares the org the same
//! question meanwhile: of a customer whom nobody knows, of an order that was asked for while it still waited, of two
//! batches at once. So it may be forgotten at any time.

mod ahead;
mod question;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::mapping::{self, AccountTrace};
use domain::order::Order;
use domain::order::id::RecordId;
use tokio::time::Instant;

pub(crate) use self::ahead::{Ahead, Waiting};
pub(crate) use self::question::{Holder, Question, Request, Row, questions};

/// How long an answer holds: longer than an order waits that was asked for ahead of its turn. An Account that is made
/// elsewhere meanwhile is found this late; one that is gone refuses its order, and everything is asked anew.
const HOLDS: Duration = Duration::from_mins(5);

/// The most answers that are kept.
const MOST: usize = 16_384;

/// What the org answered to a question: an Account and whose it is, or that there is none.
pub(crate) type Answer = Option<Row>;

/// The answers that an order's decision needs.
pub(crate) type Answers = HashMap<Question, Answer>;

/// Where an order belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// To this Account, which carries the customer's name.
    Own(RecordId),
    /// To this Account, by its subscription: that proves nothing of the customer's other orders.
    BySubscription(RecordId),
    /// To none that is in the org.
    Nowhere,
}

/// Where an order belongs, by these answers; `None` where one is missing.
pub(crate) fn find(order: &Order, asked: &[Question], answers: &Answers) -> Option<Found> {
    let mut by_subscription = None;
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
        if may_own && by_subscription.is_none() {
            by_subscription = Some(account.clone());
        }
    }
    Some(by_subscription.map_or(Found::Nowhere, Found::BySubscription))
}

/// A request that failed as a whole.
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
    told: Mutex<HashMap<Question, (Instant, Answer)>>,
    ahead: Mutex<Ahead>,
    /// Held while the org is asked, so that nobody asks the same at once; and how the last time failed.
    pub(crate) turn: tokio::sync::Mutex<Option<Failed>>,
}

impl Accounts {
    /// The answers that still hold, of these questions.
    pub(crate) fn told<'a>(&self, questions: impl IntoIterator<Item = &'a Question>) -> Answers {
        self.told_at(questions, Instant::now())
    }

    fn told_at<'a>(&self, questions: impl IntoIterator<Item = &'a Question>, now: Instant) -> Answers {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let known = questions.into_iter().filter_map(|question| {
            let (_, answer) = told.get(question).filter(|(until, _)| *until > now)?;
            Some((question.clone(), answer.clone()))
        });
        known.collect()
    }

    /// Keeps answers.
    pub(crate) fn keep(&self, answers: &Answers) {
        let (mut told, now) = (self.told.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        if told.len() + answers.len() > MOST {
            told.retain(|_, (until, _)| *until > now);
        }
        if told.len() + answers.len() > MOST {
            told.clear();
        }
        told.extend(answers.iter().map(|(question, answer)| (question.clone(), (now + HOLDS, answer.clone()))));
    }

    /// This customer has been written since: what was told of the name no longer holds.
    pub(crate) fn forget(&self, external_id: &str) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(&Question::named(external_id));
    }

    /// Nothing holds any more.
    pub(crate) fn forget_all(&self) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// An order came that will ask for this, unless somebody remembers its customer by then.
    pub(crate) fn awaits(&self, waiting: Waiting) {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).add(waiting);
    }

    /// Takes out so many of the orders that came first and have not been asked for.
    pub(crate) fn next(&self, most: usize) -> Vec<Waiting> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take(most)
    }

    /// Gives back orders for which there was no room.
    pub(crate) fn give_back(&self, waiting: Vec<Waiting>) {
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
