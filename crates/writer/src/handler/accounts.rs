//! Whose Account an order belongs to, where neither the order nor the ledger says it.
//!
//! The ledger knows everybody for whom the fleet has written. Who was in the org before the fleet, or before the ledger was
//! emptied, is asked for: one API call for the orders of a batch, and for as many more that still wait as it has room for.

mod asking;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use domain::config::OrderProcessing;
use domain::order::id::{OrderId, RecordId};
use domain::order::{AccountNames, Order};
use domain::outcome::{Outcome, Written};
use domain::plan::Reference;
use domain::settlement::Settlement;
use ledger::{Holding, Whose};
use queue::handler::Job;
use tokio::time::Instant;

use self::asking::{Asking, NoAnswer};
use super::{OrderWriter, order_of, suspects};
use crate::accounts::{self, AGAIN, Asked, Found, InBatch, Question, Taken, Waiting};
use crate::attempt::{Attempt, Remembered, Stage, holding};

impl OrderWriter {
    /// What the ledger remembers of each of these customers. An Account to which only a subscription led counts for nothing
    /// once it is known that somebody else had it by that subscription.
    pub(super) async fn remembered(&self, names: &[AccountNames]) -> Result<Vec<Remembered>, ledger::Error> {
        let lists: Vec<Vec<String>> = names.iter().flat_map(Remembered::asked).collect();
        let answers = self.ledger.accounts(&lists).await?;
        let lists = Remembered::asked(&AccountNames::default()).len();
        let remembered = names.iter().zip(answers.chunks(lists)).map(|(names, answers)| Remembered::of(names, answers));
        let mut remembered: Vec<Remembered> = remembered.collect();
        let unproven =
            remembered.iter().enumerate().filter_map(|(place, known)| Some((place, known.unproven()?.clone())));
        let unproven: Vec<(usize, RecordId)> = unproven.collect();
        let asked = unproven.iter().filter_map(|(place, account)| Some((account.clone(), names.get(*place)?)));
        let whose = self.whose(asked.collect()).await?;
        for ((place, _), whose) in unproven.iter().zip(whose) {
            if let Some(known) = remembered.get_mut(*place).filter(|_| whose == Whose::Anothers) {
                *known = Remembered::default();
            }
        }
        Ok(remembered)
    }

    /// Whose these Accounts are, seen from these customers and their orders' subscriptions. Nobody is asked where there is none.
    async fn whose(&self, asked: Vec<(RecordId, &AccountNames)>) -> Result<Vec<Whose>, ledger::Error> {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let asked: Vec<Holding> = asked.iter().map(|(account, names)| holding(account, names)).collect();
        self.ledger.whose(&asked).await
    }

    /// An order came. Should it have to ask for its Account, it is asked for with others.
    pub(super) fn await_account(&self, order: &Order) {
        let trace = accounts::first_trace(order, &self.processing.borrow());
        if let Some(trace) = trace {
            self.accounts.awaits(Waiting { names: order.account_names(), trace });
        }
    }

    /// These orders are settled: nobody needs to ask for them any more.
    pub(super) fn await_accounts_no_longer(&self, attempts: &[Attempt<'_>], settlements: &[Settlement]) {
        let processing = self.processing.borrow();
        for (attempt, settlement) in attempts.iter().zip(settlements) {
            if matches!(settlement, Settlement::Ack | Settlement::DeadLetter(_))
                && let Some(trace) = accounts::first_trace(&attempt.event.order, &processing)
            {
                self.accounts.awaits_no_longer(&trace);
            }
        }
    }

    /// The order was written just now: that no Account has the customer's name, or that no order of its subscription leads
    /// to one, may have been told before, when it was asked for an order that waited behind this one.
    pub(super) fn forget_nobody(&self, attempt: &Attempt<'_>, written: &Written) {
        let subscription = &attempt.event.order.subscription;
        for name in [&subscription.id, &subscription.reference].into_iter().flatten() {
            self.accounts.forget_subscription(name);
        }
        if written.record_ids.contains_key(&*Reference::Account.name())
            && let Some(name) = attempt.event.order.customer_name()
        {
            self.accounts.forget(&name);
        }
    }

    /// Orders that say too little of their customer are written to the Account that is there, also when nobody remembers it:
    /// the ledger was emptied, or the customer was there before the fleet. One API call for a batch that holds such orders
    /// and found no answer that another's call brought, none for any other; who is found is remembered with the order.
    pub(super) async fn find_accounts(&self, processing: &OrderProcessing, attempts: &mut [Attempt<'_>]) {
        let ids = &processing.external_ids;
        let traces = attempts.iter().map(|attempt| attempt.account_trace(processing));
        let asked: Vec<Option<Vec<Question>>> =
            traces.map(|trace| trace.map(|trace| accounts::questions(&trace, ids))).collect();
        if asked.iter().all(Option::is_none) {
            return;
        }
        let by_itself = attempts.len() == 1;
        let Asking { answers, no_answer } = self.answers(ids, asked.iter().flatten().flatten(), by_itself).await;
        let (mut about, mut led) = (Vec::new(), HashMap::new());
        for (index, (attempt, asked)) in attempts.iter_mut().zip(&asked).enumerate() {
            let Some(asked) = asked else { continue };
            match accounts::find(&attempt.event.order, asked, &answers) {
                Some(Found::Own(account)) => {
                    attempt.known.crm_id = Some(account);
                    attempt.own = true;
                }
                Some(Found::BySubscription(accounts)) => {
                    led.insert(index, accounts);
                }
                // Who is in the org under no name has no Account: the order goes without one, or writes it.
                Some(Found::Nowhere) => {}
                None => about.push(index),
            }
        }
        if let Err(error) = self.take_unclaimed(led, attempts).await {
            self.outages.fetch_add(1, Ordering::Relaxed);
            return Self::hold_back(attempts, &self.ledger_outage(&error));
        }
        match no_answer {
            None => {}
            Some(NoAnswer::Held(outage)) => Self::hold_back(attempts, &outage),
            Some(NoAnswer::Failed { failed, questions, shared }) => {
                let concerned = |index: &usize| {
                    let asked = asked.get(*index).and_then(Option::as_ref);
                    asked.is_some_and(|asked| asked.iter().any(|question| questions.contains(question)))
                };
                let (about, not_asked): (Vec<usize>, Vec<usize>) = about.into_iter().partition(concerned);
                // Their turn to be asked for did not come.
                for index in not_asked {
                    attempts[index].end(Outcome::Halted);
                }
                self.asked_in_vain(&failed.error, failed.asked, &about, shared, attempts).await;
            }
        }
    }

    /// A batch of these orders begins. Returns with it those that found their Account in use and have to wait: none of them is
    /// claimed meanwhile, and Salesforce not asked. What tells whether the ledger is back waits for nothing else.
    pub(super) fn begin_batch<I>(
        &self,
        jobs: &[Arc<Job<I>>],
        wait: impl Fn(&Job<I>) -> bool,
    ) -> (InBatch, HashSet<OrderId>) {
        for order in jobs.iter().filter(|job| wait(job)).filter_map(|job| order_of(job)) {
            self.accounts.in_flight.forget(&order);
        }
        let going = jobs.iter().filter(|job| !wait(job)).filter_map(|job| order_of(job)).collect();
        let (batch, waiting) = self.accounts.in_flight.begin(going, Instant::now());
        let away = self.outages.load(Ordering::Relaxed) > 0;
        (batch, if away { HashSet::new() } else { waiting })
    }

    /// Takes the Accounts of the orders that are to be sent. An order whose Account another request is writing to waits,
    /// without an attempt: the org would lock one of them out.
    pub(super) fn take_accounts(&self, taken: &mut Taken, attempts: &mut [Attempt<'_>]) {
        let sends = |attempt: &Attempt<'_>| matches!(attempt.stage, Stage::Send) && attempt.known.crm_id.is_some();
        let places: Vec<usize> = (0..attempts.len()).filter(|place| sends(&attempts[*place])).collect();
        let orders = places.iter().filter_map(|place| {
            let Attempt { event, known, .. } = &attempts[*place];
            Some((event.order_id(), known.crm_id.as_ref()?))
        });
        let asked = taken.take(&orders.collect::<Vec<_>>(), Instant::now());
        for (place, asked) in places.into_iter().zip(asked).filter(|(_, asked)| *asked != Asked::Has) {
            if asked == Asked::Waits {
                self.note_account_in_use(&attempts[place]);
            }
            let attempt = &mut attempts[place];
            attempt.end(Outcome::Busy { left: AGAIN });
            // A suspect stays one.
            attempt.alone |= attempt.attempts.crashes >= suspects::ALONE;
        }
    }

    /// Only who still has to wait for an Account keeps its turn.
    pub(super) fn forget_turns(&self, attempts: &[Attempt<'_>]) {
        for attempt in attempts.iter().filter(|attempt| !attempt.waits_for_account()) {
            self.accounts.in_flight.forget(attempt.event.order_id());
        }
    }

    /// Gives each of these orders the best of the Accounts to which its subscription led, leaving out what somebody else
    /// had by the same subscription, as far as the fleet knows: then it passed on. An Account that carries nobody's name may
    /// be several customers', whom a duplicate rule or an agent sent there.
    async fn take_unclaimed(
        &self,
        led: HashMap<usize, Vec<RecordId>>,
        attempts: &mut [Attempt<'_>],
    ) -> Result<(), ledger::Error> {
        let names: HashMap<usize, AccountNames> =
            led.keys().map(|index| (*index, attempts[*index].event.order.account_names())).collect();
        let led: Vec<(usize, RecordId)> =
            led.into_iter().flat_map(|(index, accounts)| accounts.into_iter().map(move |one| (index, one))).collect();
        let asked = led.iter().filter_map(|(index, account)| Some((account.clone(), names.get(index)?))).collect();
        for ((index, account), whose) in led.iter().zip(self.whose(asked).await?) {
            let known = &mut attempts[*index].known;
            if whose != Whose::Anothers && known.crm_id.is_none() {
                known.crm_id = Some(account.clone());
            }
        }
        Ok(())
    }
}
