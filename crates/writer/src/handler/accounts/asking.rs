//! Asking the org for many Accounts at once, so that no order pays for what another one asks.

use domain::config::ExternalIds;
use domain::mapping::AccountTrace;
use domain::order::AccountNames;
use domain::outcome::Outcome;
use salesforce::Error;
use tokio::time::Instant;

use super::OrderWriter;
use crate::accounts::{self, Answers, Failed, Question, Request};
use crate::attempt::Remembered;
use crate::outcome::{lies_in_the_request, tells_of_the_org};
use crate::resolve;

/// For so many orders that still wait the ledger is asked before the org is: more than a request has room for.
const AHEAD: usize = 512;

/// So many requests of a batch may fail for what they ask before each order that is left asks for itself: enough to find
/// one question among those of a full batch by halves.
const REFUSED: usize = 10;

/// What the org answered.
pub(super) struct Asking {
    /// The answers, as far as they could be had.
    pub(super) answers: Answers,
    /// Why some are missing.
    pub(super) no_answer: Option<NoAnswer>,
}

/// Why questions have no answer.
pub(super) enum NoAnswer {
    /// A request failed.
    Failed {
        /// How.
        failed: Failed,
        /// What it was asked, of this batch.
        questions: Vec<Question>,
        /// Whether it may have failed for what another order asked.
        shared: bool,
    },
    /// No further request may be sent.
    Held(Box<Outcome>),
}

/// How one request ended.
enum Asked {
    /// All of it is answered.
    All,
    /// Some of it is not, for what was asked: it should be asked with fewer others.
    Some(Failed),
    /// It failed for what has nothing to do with what was asked.
    Failed(Failed),
}

impl OrderWriter {
    /// The answers to these questions, as far as they could be had, and what failed. All are answered unless something did.
    ///
    /// An order that is alone in its batch pays for no other's question: nothing is asked with it, no other's failure is
    /// taken for its own, and it waits for nobody. In a batch, what is refused is asked again without the questions of
    /// orders that still wait, and then in halves.
    pub(super) async fn answers<'a>(
        &self,
        ids: &ExternalIds,
        asked: impl Iterator<Item = &'a Question>,
        by_itself: bool,
    ) -> Asking {
        let asked: Vec<Question> = accounts::open(asked, &Answers::new());
        let mut answers = self.accounts.told(ids, &asked);
        if accounts::open(&asked, &answers).is_empty() {
            return Asking { answers, no_answer: None };
        }
        let since = Instant::now();
        let mut turn = if by_itself { None } else { self.take_turn().await };
        // Whoever had the turn may have asked for these too, or found that nobody answers.
        answers.extend(self.accounts.told(ids, &asked));
        let open = accounts::open(&asked, &answers);
        if let Some(turn) = &mut turn
            && let Some(failed) = turn.take().filter(|failed| failed.at >= since)
            && !open.is_empty()
        {
            **turn = Some(failed.clone());
            return Asking { answers, no_answer: Some(NoAnswer::Failed { failed, questions: open, shared: true }) };
        }
        let no_answer = self.ask_for_all(ids, open, by_itself, &mut answers).await;
        if let (Some(turn), Some(NoAnswer::Failed { failed, .. })) = (&mut turn, &no_answer)
            && tells_of_the_org(&failed.error, self.probes())
        {
            **turn = Some(failed.clone());
        }
        Asking { answers, no_answer }
    }

    /// Waits for the turn to ask, so that no two batches ask the same, but no longer than half of what a claim holds: where
    /// the org answers so slowly, the batch asks beside the others. Should its claims end meanwhile, the records of its orders
    /// are refused as a second time, and no event of theirs is published.
    async fn take_turn(&self) -> Option<tokio::sync::MutexGuard<'_, Option<Failed>>> {
        tokio::time::timeout(self.settings.lease / 2, self.accounts.turn.lock()).await.ok()
    }

    /// Asks until all is answered that the org answers. What it refuses is narrowed down, unless it is one order's alone.
    async fn ask_for_all(
        &self,
        ids: &ExternalIds,
        open: Vec<Question>,
        by_itself: bool,
        answers: &mut Answers,
    ) -> Option<NoAnswer> {
        let (mut lists, mut borrows, mut refused) = (vec![open], !by_itself, Vec::new());
        let mut cannot_be_asked = Vec::new();
        while let Some(mut own) = lists.pop() {
            own.retain(|question| !answers.contains_key(question));
            let mut request = Request::default();
            let rest: Vec<Question> = own.extract_if(.., |question| !request.add(question)).collect();
            if own.is_empty() {
                continue;
            }
            if !rest.is_empty() {
                lists.push(rest);
            }
            if !refused.is_empty()
                && let Err(outage) = self.gate.goes_on().await
            {
                return Some(NoAnswer::Held(Box::new(outage)));
            }
            if borrows && lists.is_empty() {
                self.look_ahead(ids, &mut request).await;
            }
            let borrowed = request.len() > own.len();
            let failed = match self.ask_once(ids, &request, &own, answers).await {
                Asked::All => continue,
                Asked::Some(failed) => failed,
                Asked::Failed(failed) => return Some(NoAnswer::Failed { failed, questions: own, shared: borrowed }),
            };
            if by_itself && lies_in_the_request(&failed.error) {
                return Some(NoAnswer::Failed { failed, questions: own, shared: false });
            }
            refused.push(failed);
            let asked = own.len();
            own.retain(|question| !answers.contains_key(question));
            if refused.len() > REFUSED {
                cannot_be_asked.extend(lists.drain(..).flatten().chain(own));
            } else if borrowed {
                borrows = false;
                lists.push(own);
            } else if own.len() < asked {
                lists.push(own);
            } else if own.len() > 1 {
                let rest = own.split_off(own.len() / 2);
                lists.extend([rest, own]);
            } else {
                // This is the one. The others are asked for without it.
                cannot_be_asked.extend(own);
            }
        }
        let failed = refused.pop().filter(|_| !cannot_be_asked.is_empty())?;
        Some(NoAnswer::Failed { failed, questions: cannot_be_asked, shared: !by_itself })
    }

    /// Sends one request, and keeps what it brings.
    async fn ask_once(&self, ids: &ExternalIds, request: &Request, own: &[Question], answers: &mut Answers) -> Asked {
        let since = self.accounts.since();
        let (asked, told) = self.ask(resolve::ask(&self.client, ids, request)).await;
        let failed = |error| Failed { at: Instant::now(), asked, error };
        let refused = match told {
            Ok(told) => {
                self.accounts.keep(ids, since, &told.answers);
                answers.extend(told.answers);
                told.refused
            }
            Err(error) => Some(error),
        };
        if own.iter().all(|question| answers.contains_key(question)) {
            return Asked::All;
        }
        match refused {
            Some(error) if lies_in_the_request(&error) => Asked::Some(failed(error)),
            Some(error) => Asked::Failed(failed(error)),
            None => {
                let message = "more rows than a page holds, or rows of something else, were answered to a question";
                Asked::Some(failed(Error::Protocol(message.to_owned())))
            }
        }
    }

    /// Fills what room there is with the questions of orders that wait.
    async fn look_ahead(&self, ids: &ExternalIds, request: &mut Request) {
        let waiting = self.accounts.next(AHEAD);
        let names: Vec<AccountNames> = waiting.iter().map(|(_, waiting)| waiting.names.clone()).collect();
        let remembered = match self.remembered(&names).await {
            Ok(remembered) => remembered,
            Err(error) => {
                tracing::debug!(%error, "nobody is asked for ahead of time");
                return self.accounts.give_back(waiting);
            }
        };
        let mut waiting = waiting.into_iter().zip(remembered);
        let mut without_room = Vec::new();
        for ((place, order), Remembered { account, presumed, .. }) in waiting.by_ref() {
            if account.is_some() {
                continue;
            }
            let subscriptions = if presumed.is_some() { Vec::new() } else { order.trace.subscriptions.clone() };
            let trace = AccountTrace { presumed, subscriptions, ..order.trace.clone() };
            let asked = accounts::questions(&trace, ids);
            let told = self.accounts.told(ids, &asked);
            if !accounts::open(&asked, &told).iter().all(|question| request.add(question)) {
                without_room.push((place, order));
                break;
            }
        }
        without_room.extend(waiting.map(|(order, _)| order));
        self.accounts.give_back(without_room);
    }
}
