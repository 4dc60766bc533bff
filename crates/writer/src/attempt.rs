//! One order of a batch on its way through an attempt.

use domain::failure::{Failure, FailureClass, Reason};
use domain::mapping;
use domain::order::AccountNames;
use domain::order::id::RecordId;
use domain::outcome::{MatchExplanation, Outcome, Result as Ending, Written};
use domain::plan::{KnownIdentity, Reference, WritePlan};
use domain::retry::RetryPolicy;
use domain::settlement::{Settlement, settle};
use domain::{config::OrderProcessing, event::OrderEvent};
use ledger::{Attempts, ClaimAnswer, ClaimTicket, Closing, Holding};
use salesforce::NodeAnswer;

use crate::batch;

/// What is known about an order so far.
pub(crate) struct Attempt<'a> {
    /// The order.
    pub(crate) event: &'a OrderEvent,
    /// The claim, where one is held.
    pub(crate) ticket: Option<ClaimTicket>,
    /// Failed attempts before this one. Outages, halted requests and waiting are none.
    pub(crate) attempts: Attempts,
    /// Whose order it is.
    pub(crate) known: KnownIdentity,
    /// Whether the Account is one that the ledger or this process remembered, and not one that the order names.
    pub(crate) remembered: bool,
    /// Whether the Account is known to be the customer's own, and not only that of the order's subscription.
    pub(crate) own: bool,
    /// The Account of earlier orders of the subscription, where the order names a customer of whom nothing is known: it may
    /// be somebody else's.
    pub(crate) presumed: Option<RecordId>,
    /// Why it is that Account, where a duplicate rule was asked.
    pub(crate) explanation: Option<MatchExplanation>,
    /// Whether an operator released it from the journal.
    pub(crate) released: bool,
    /// Whether its records are written, so that only its event is owed.
    pub(crate) owes_event: bool,
    /// Whether it goes again in a request of its own, should it go again.
    pub(crate) alone: bool,
    /// Where the attempt stands.
    pub(crate) stage: Stage,
}

/// The Account that the ledger remembers of an order's customer, and by what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Remembered {
    /// The Account.
    pub(crate) account: Option<RecordId>,
    /// Whether it is remembered under the customer's own name.
    pub(crate) own: bool,
    /// What is remembered under the subscription alone, of an order that names its customer.
    pub(crate) presumed: Option<RecordId>,
}

impl Remembered {
    /// The lists of names by which the ledger is asked.
    pub(crate) fn asked(names: &AccountNames) -> [Vec<String>; 3] {
        [names.own.clone(), names.together.clone(), names.subscription.clone()]
    }

    /// The Account to which the subscription alone led, also where it did so before.
    pub(crate) fn unproven(&self) -> Option<&RecordId> {
        self.account.as_ref().or(self.presumed.as_ref()).filter(|_| !self.own)
    }

    /// What the ledger answered to them.
    pub(crate) fn of(names: &AccountNames, answers: &[Option<String>]) -> Self {
        let answer = |place: usize| answers.get(place).and_then(Option::as_deref).and_then(RecordId::parse);
        let (own, together, subscription) = (answer(0), answer(1), answer(2));
        if own.is_some() {
            Self { account: own, own: true, presumed: None }
        } else if together.is_some() || names.own.is_empty() {
            Self { account: together.or(subscription), own: false, presumed: None }
        } else {
            Self { account: None, own: false, presumed: subscription }
        }
    }
}

/// Where an attempt stands.
pub(crate) enum Stage {
    /// An earlier attempt may have succeeded: look.
    LookUp,
    /// It can be sent.
    Send,
    /// A duplicate rule fired: decide.
    Duplicate(Box<salesforce::ApiError>),
    /// A record that it refers to is gone, which may be the Account that was remembered: look.
    Gone(Box<salesforce::ApiError>),
    /// Its records are written; the event that is published on its own is not.
    Publish(Box<(Written, WritePlan)>),
    /// It is over.
    Over {
        /// What came of it.
        outcome: Box<Outcome>,
        /// Whether the ledger had it as settled before.
        already: bool,
    },
    /// The partition belongs to somebody else.
    NotOwner,
}

impl<'a> Attempt<'a> {
    /// An attempt as the ledger's answer lets it begin.
    pub(crate) fn begin(event: &'a OrderEvent, answer: ClaimAnswer, account: Remembered) -> Self {
        let Remembered { account, own, presumed } = account;
        // What the order itself names was chosen for it, by an agent or by Limio; it goes before what was remembered.
        let named = event.order.crm_id().cloned();
        let remembered = named.is_none();
        let crm_id = named.or(account);
        let known = KnownIdentity { crm_id, ..KnownIdentity::default() };
        let attempt = |ticket, attempts, stage| {
            let (released, owes_event, alone) = (false, false, false);
            let explanation = None;
            Self {
                event,
                ticket,
                attempts,
                known,
                remembered,
                own,
                presumed,
                explanation,
                released,
                owes_event,
                alone,
                stage,
            }
        };
        match answer {
            ClaimAnswer::Claimed { ticket, attempts } => attempt(Some(ticket), attempts, Stage::Send),
            ClaimAnswer::Unknown { ticket, attempts } => attempt(Some(ticket), attempts, Stage::LookUp),
            ClaimAnswer::Settled(stored) => {
                let ending = serde_json::from_str(&stored).unwrap_or_else(|_| Ending::Written(Written::default()));
                attempt(
                    None,
                    Attempts::default(),
                    Stage::Over { outcome: Box::new(Outcome::Settled(ending)), already: true },
                )
            }
            ClaimAnswer::Busy { left } => attempt(None, Attempts::default(), Stage::over(Outcome::Busy { left })),
            ClaimAnswer::Conflict => attempt(None, Attempts::default(), Stage::over(Outcome::Failed(conflict(event)))),
            ClaimAnswer::NotOwner => attempt(None, Attempts::default(), Stage::NotOwner),
        }
    }

    /// Whether something is still to be done for it.
    pub(crate) const fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Over { .. } | Stage::NotOwner)
    }

    /// Whether it is known how the order ended.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(&self.stage, Stage::Over { outcome, .. } if matches!(outcome.as_ref(), Outcome::Settled(_)))
    }

    /// Whether it ended because its Account is in use.
    pub(crate) fn waits_for_account(&self) -> bool {
        let busy =
            matches!(&self.stage, Stage::Over { outcome, .. } if matches!(outcome.as_ref(), Outcome::Busy { .. }));
        // Without a claim it is the order that is in other hands.
        busy && self.ticket.is_some()
    }

    /// Whether it ended without an answer: what was sent last may yet happen.
    pub(crate) fn is_in_doubt(&self) -> bool {
        let Stage::Over { outcome, .. } = &self.stage else { return false };
        match outcome.as_ref() {
            Outcome::Failed(failure) | Outcome::Outage { failure, .. } => failure.class == FailureClass::Ambiguous,
            Outcome::Settled(_) | Outcome::Halted | Outcome::Busy { .. } => false,
        }
    }

    /// The Contact that an order to be sent names without its Account. It goes before the identity's `crm_id`.
    pub(crate) fn contact_without_account(&self) -> Option<&'a RecordId> {
        let tracking = &self.event.order.tracking;
        let sends = matches!(self.stage, Stage::Send) && tracking.account_id.is_none();
        tracking.contact_id.as_ref().filter(|_| sends)
    }

    /// Its Contact belongs to this Account. Where it belongs to none, or is not in the org, what else is known of the
    /// customer holds; an order of whom nothing is known would be written without an Account, so it ends.
    pub(crate) fn belongs_to(&mut self, account: Option<RecordId>) {
        if let Some(account) = account {
            self.known.crm_id = Some(account);
            (self.remembered, self.own) = (false, true);
        } else if self.known.crm_id.is_none() {
            let message = "the Contact that the order names is not in the org, or has no Account";
            self.end(Outcome::Failed(Failure::permanent(Reason::InvalidValue, message).at("tracking.contactId")));
        }
    }

    /// By what the Account of an order to be sent can be found, where nobody remembers it and the order does not write it.
    pub(crate) fn account_trace(&self, processing: &OrderProcessing) -> Option<mapping::AccountTrace> {
        let sends = matches!(self.stage, Stage::Send);
        let presumed = self.presumed.as_ref();
        sends.then(|| mapping::account_trace(&self.event.order, processing, &self.known, presumed)).flatten()
    }

    /// The names under which the Account of what was written is remembered. One that only the subscription led to is
    /// not the customer's for good: it is not remembered under the customer's own names.
    pub(crate) fn names_to_remember(&self, written: &Written) -> Vec<String> {
        let order = &self.event.order;
        let AccountNames { own, together, subscription, holders: _ } = order.account_names();
        match (self.is_own(written), own.is_empty()) {
            (true, _) => own.into_iter().chain(subscription).collect(),
            (false, true) => subscription,
            (false, false) => together,
        }
    }

    /// That the Account of what was written is this customer's by the order's subscription, and nobody else's. `None` where
    /// only the subscription led to it.
    pub(crate) fn holding(&self, written: &Written, account: &RecordId) -> Option<Holding> {
        self.is_own(written).then(|| holding(account, &self.event.order.account_names()))
    }

    /// Whether the Account of what was written is the customer's own.
    fn is_own(&self, written: &Written) -> bool {
        let wrote = written.record_ids.contains_key(&*Reference::Account.name());
        let chosen = self.event.order.crm_id().is_some() || written.explanation.is_some();
        self.own || wrote || chosen
    }

    /// What has to be written.
    pub(crate) fn plan(&self, processing: &OrderProcessing) -> Result<WritePlan, Failure> {
        mapping::plan(&self.event.order, processing, &self.known)
    }

    /// Whether this refusal may mean that the Account that was remembered is gone from the org. It may as well mean another
    /// record: a trigger's, or one that moves with the order.
    pub(crate) fn may_lack_account(&self, error: &salesforce::ApiError) -> bool {
        let gone = matches!(error.code.as_str(), "ENTITY_IS_DELETED" | "INVALID_CROSS_REFERENCE_KEY");
        gone && self.remembered && self.known.crm_id.is_some()
    }

    /// The Account that was remembered is gone from the org: it is forgotten here, and the order can be sent anew.
    pub(crate) fn forget_account(&mut self) {
        self.known = KnownIdentity::default();
        (self.own, self.presumed) = (false, None);
        self.explanation = None;
        self.stage = Stage::Send;
    }

    /// It goes again, by itself and without an attempt.
    pub(crate) fn goes_alone(&mut self) {
        self.end(Outcome::Halted);
        self.alone = true;
    }

    /// Ends the attempt because a question about the order failed. Where the question was whether it was written before, not
    /// knowing stays not knowing: it is given up no sooner than its attempts are spent, and as one that may be written.
    pub(crate) fn end_unasked(&mut self, failure: Failure) {
        let class = if matches!(self.stage, Stage::LookUp) { FailureClass::Ambiguous } else { failure.class };
        self.end(Outcome::Failed(Failure { class, ..failure }));
    }

    /// Ends the attempt.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        self.stage = Stage::over(outcome);
    }

    /// Ends the attempt with what was written.
    pub(crate) fn end_written(&mut self, written: Written) {
        self.end(Outcome::Settled(Ending::Written(written)));
    }

    /// What was written, by the answers of its graph.
    pub(crate) fn written(&self, answers: &[NodeAnswer], plan: &WritePlan) -> Written {
        Written { explanation: self.explanation.clone(), ..batch::written(answers, &self.known, plan) }
    }

    /// Ends the attempt with what was found written; an event that is not out yet is still owed.
    pub(crate) fn found(&mut self, mut written: Written, processing: &OrderProcessing, event_is_out: bool) {
        written.explanation.clone_from(&self.explanation);
        // It went to the Account that the order itself writes.
        self.own |= self.presumed.is_none() && mapping::writes_customer(&self.event.order, processing);
        if event_is_out {
            return self.end_written(written);
        }
        self.known = KnownIdentity { crm_id: written.crm_id.clone(), ..KnownIdentity::default() };
        match self.plan(processing) {
            Ok(plan) if plan.publishes() => self.stage = Stage::Publish(Box::new((written, plan))),
            Ok(_) => self.end_written(written),
            Err(failure) => self.end(Outcome::Failed(failure)),
        }
    }

    /// Ends the attempt: the org holds another order under this identity.
    pub(crate) fn end_conflict(&mut self) {
        self.end(Outcome::Failed(conflict(self.event)));
    }

    /// What becomes of the order, by how the attempt stands. An attempt that is not over goes again.
    ///
    /// An order that is given up says how often it has failed over all rounds. What counts towards giving it up is this
    /// round alone: an operator who releases it grants it all its attempts again.
    pub(crate) fn settlement(&self, policy: &RetryPolicy) -> Settlement {
        let outcome = match &self.stage {
            Stage::Over { outcome, .. } => outcome.as_ref(),
            Stage::LookUp
            | Stage::Send
            | Stage::Duplicate(_)
            | Stage::Gone(_)
            | Stage::Publish(_)
            | Stage::NotOwner => &Outcome::Halted,
        };
        let mut settlement = settle(outcome, self.attempts.round.saturating_add(1), policy);
        if let (Settlement::DeadLetter(failure), Some(_)) = (&mut settlement, &self.ticket) {
            failure.attempts = Some(self.attempts.total.saturating_add(1));
            if self.owes_event {
                failure.message = format!("{OWES_EVENT}; {}", failure.message);
            }
        }
        settlement
    }

    /// How its claim is closed, when this becomes of the order. An attempt that is not over was not tried.
    pub(crate) fn closing(&self, settlement: &Settlement) -> Closing {
        let given_up = matches!(settlement, Settlement::DeadLetter(_));
        let Stage::Over { outcome, .. } = &self.stage else { return Closing::Release };
        match outcome.as_ref() {
            Outcome::Settled(ending) => match serde_json::to_string(ending) {
                Ok(stored) => Closing::Settle(stored),
                // It cannot be kept, so it has to be looked up.
                Err(_) => Closing::Unknown,
            },
            Outcome::Failed(failure) => match failure.class {
                FailureClass::Ambiguous if given_up => Closing::GiveUp { unknown: true },
                FailureClass::Ambiguous => Closing::Unknown,
                // With its records it did happen in part: what comes again is looked up, and finds them.
                _ if given_up => Closing::GiveUp { unknown: self.owes_event },
                FailureClass::Transient | FailureClass::Throttled { .. } | FailureClass::Permanent => Closing::Failed,
            },
            // Its records are written: whoever comes next looks.
            Outcome::Halted | Outcome::Busy { .. } | Outcome::Outage { .. } if self.owes_event => Closing::Doubt,
            // It may have been carried out behind an answer that was not Salesforce's own.
            Outcome::Outage { failure, .. } if failure.class == FailureClass::Ambiguous => Closing::Doubt,
            Outcome::Halted | Outcome::Busy { .. } | Outcome::Outage { .. } => Closing::Release,
        }
    }
}

const OWES_EVENT: &str =
    "its records are written and only its event is owed, so replay this letter and do not send the order again";

/// An Account as the customer of an order has it, or may have it. Subscriptions are told apart as Salesforce does, without
/// regard to case.
pub(crate) fn holding(account: &RecordId, names: &AccountNames) -> Holding {
    let subscriptions = names.subscription.iter().map(|name| name.to_lowercase()).collect();
    Holding { account: account.as_str().to_owned(), subscriptions, names: names.holders.clone() }
}

fn conflict(event: &OrderEvent) -> Failure {
    let message = format!("another order came before under the identity {}", event.order_id());
    Failure::permanent(Reason::IdentityConflict, message)
}

impl Stage {
    /// The attempt is over, and the ledger did not know.
    pub(crate) fn over(outcome: Outcome) -> Self {
        Self::Over { outcome: Box::new(outcome), already: false }
    }
}
