//! Whose Account an order belongs to, where neither the order nor the ledger says it.
//!
//! The ledger knows everybody for whom the fleet has written. Who was in the org before the fleet, or before the ledger was
//! emptied, is asked for: one API call for the orders of a batch, and for as many more that still wait as it has room for.

use domain::config::ExternalIds;
use domain::config::OrderProcessing;
use domain::mapping::AccountTrace;
use domain::order::{AccountNames, Order};
use domain::outcome::Written;
use domain::plan::Reference;
use tokio::time::Instant;

use super::OrderWriter;
use crate::accounts::{self, Answers, Failed, Found, Question, Request, Waiting};
use crate::attempt::{Attempt, Remembered};
use crate::resolve;

/// For so many orders that still wait the ledger is asked before the org is: more than a request has room for.
const AHEAD: usize = 512;

impl OrderWriter {
    /// What the ledger remembers of each of these customers.
    pub(super) async fn remembered(&self, names: &[AccountNames]) -> Result<Vec<Remembered>, ledger::Error> {
        let lists: Vec<Vec<String>> = names.iter().flat_map(Remembered::asked).collect();
        let answers = self.ledger.accounts(&lists).await?;
        let lists = Remembered::asked(&AccountNames::default()).len();
        Ok(names.iter().zip(answers.chunks(lists)).map(|(names, answers)| Remembered::of(names, answers)).collect())
    }

    /// An order came. Should it have to ask for its Account, it is asked for with others.
    pub(super) fn await_account(&self, order: &Order) {
        let trace = accounts::first_trace(order, &self.processing.borrow());
        if let Some(trace) = trace {
            self.accounts.awaits(Waiting { names: order.account_names(), trace });
        }
    }

    /// The customer's Account was written just now: that nobody has one of this name no longer holds.
    pub(super) fn forget_nobody(&self, attempt: &Attempt<'_>, written: &Written) {
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
        let (answers, failed) = self.answers(ids, asked.iter().flatten().flatten(), by_itself).await;
        let mut about = Vec::new();
        for (index, (attempt, asked)) in attempts.iter_mut().zip(&asked).enumerate() {
            let Some(asked) = asked else { continue };
            match accounts::find(&attempt.event.order, asked, &answers) {
                Some(Found::Own(account)) => {
                    attempt.known.crm_id = Some(account);
                    attempt.own = true;
                }
                Some(Found::BySubscription(account)) => attempt.known.crm_id = Some(account),
                // Who is in the org under no name has no Account: the order goes without one, or writes it.
                Some(Found::Nowhere) => {}
                None => about.push(index),
            }
        }
        if let Some(Failed { asked, error, .. }) = failed {
            self.question_failed(&error, asked, &about, attempts).await;
        }
    }

    /// The answers to these questions, as far as they could be had, and what failed. All are answered unless something did.
    ///
    /// An order that is alone in its batch pays for no other's question: nothing is asked with it, and no other's failure is
    /// taken for its own.
    async fn answers<'a>(
        &self,
        ids: &ExternalIds,
        asked: impl Iterator<Item = &'a Question>,
        by_itself: bool,
    ) -> (Answers, Option<Failed>) {
        let asked: Vec<Question> = accounts::open(asked, &Answers::new());
        let mut answers = self.accounts.told(&asked);
        if accounts::open(&asked, &answers).is_empty() {
            return (answers, None);
        }
        let since = Instant::now();
        let mut turn = self.accounts.turn.lock().await;
        // Whoever had the turn may have asked for these too, or found that nobody answers.
        answers.extend(self.accounts.told(&asked));
        let mut open = accounts::open(&asked, &answers);
        if let Some(failed) = turn.take()
            && failed.at >= since
            && !open.is_empty()
            && !by_itself
        {
            *turn = Some(failed.clone());
            return (answers, Some(failed));
        }
        while !open.is_empty() {
            let mut request = Request::default();
            open.retain(|question| !request.add(question));
            if open.is_empty() && !by_itself {
                self.look_ahead(ids, &mut request).await;
            }
            match self.ask(resolve::ask(&self.client, ids, &request)).await {
                (_, Ok(told)) => {
                    self.accounts.keep(&told);
                    answers.extend(told);
                }
                (asked, Err(error)) => {
                    let failed = Failed { at: Instant::now(), asked, error };
                    *turn = Some(failed.clone());
                    return (answers, Some(failed));
                }
            }
        }
        (answers, None)
    }

    /// Fills what room there is with the questions of orders that wait.
    async fn look_ahead(&self, ids: &ExternalIds, request: &mut Request) {
        let waiting = self.accounts.next(AHEAD);
        let names: Vec<AccountNames> = waiting.iter().map(|waiting| waiting.names.clone()).collect();
        let remembered = match self.remembered(&names).await {
            Ok(remembered) => remembered,
            Err(error) => {
                tracing::debug!(%error, "nobody is asked for ahead of time");
                return;
            }
        };
        let mut waiting = waiting.into_iter().zip(remembered);
        let mut without_room = Vec::new();
        for (order, Remembered { account, presumed, .. }) in waiting.by_ref() {
            if account.is_some() {
                continue;
            }
            let subscriptions = if presumed.is_some() { Vec::new() } else { order.trace.subscriptions.clone() };
            let trace = AccountTrace { presumed, subscriptions, ..order.trace.clone() };
            let asked = accounts::questions(&trace, ids);
            let told = self.accounts.told(&asked);
            if !accounts::open(&asked, &told).iter().all(|question| request.add(question)) {
                without_room.push(order);
                break;
            }
        }
        without_room.extend(waiting.map(|(order, _)| order));
        self.accounts.give_back(without_room);
    }
}
