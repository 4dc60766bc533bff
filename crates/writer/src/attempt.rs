//! One order of a batch on its way through an attempt.

use domain::failure::{Failure, Reason};
use domain::mapping;
use domain::order::id::RecordId;
use domain::outcome::{Outcome, Result as Ending, Written};
use domain::plan::{KnownIdentity, WritePlan};
use domain::{config::OrderProcessing, event::OrderEvent};
use ledger::{ClaimAnswer, ClaimTicket, Closing};

/// What is known about an order so far.
pub(crate) struct Attempt<'a> {
    /// The order.
    pub(crate) event: &'a OrderEvent,
    /// The claim, where one is held.
    pub(crate) ticket: Option<ClaimTicket>,
    /// Failed attempts before this one.
    pub(crate) attempts: u32,
    /// Whose order it is.
    pub(crate) known: KnownIdentity,
    /// Whether the Account is one that the ledger remembered, and not one that the order names.
    pub(crate) remembered: bool,
    /// Whether an operator released it from the journal.
    pub(crate) released: bool,
    /// Where the attempt stands.
    pub(crate) stage: Stage,
}

/// Where an attempt stands.
pub(crate) enum Stage {
    /// An earlier attempt may have succeeded: look.
    LookUp,
    /// It can be sent.
    Send,
    /// A duplicate rule fired: decide.
    Duplicate(Box<salesforce::ApiError>),
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
    pub(crate) fn begin(event: &'a OrderEvent, answer: ClaimAnswer, account: Option<&str>) -> Self {
        // What the order itself names was chosen for it, by an agent or by Limio; it goes before what was remembered.
        let named = event.order.crm_id().cloned();
        let remembered = named.is_none();
        let known = KnownIdentity { crm_id: named.or_else(|| account.and_then(RecordId::parse)), contact_id: None };
        let attempt =
            |ticket, attempts, stage| Self { event, ticket, attempts, known, remembered, released: false, stage };
        match answer {
            ClaimAnswer::Claimed { ticket, attempts } => attempt(Some(ticket), attempts, Stage::Send),
            ClaimAnswer::Unknown { ticket, attempts } => attempt(Some(ticket), attempts, Stage::LookUp),
            ClaimAnswer::Settled(stored) => {
                let ending = serde_json::from_str(&stored).unwrap_or_else(|_| Ending::Written(Written::default()));
                attempt(None, 0, Stage::Over { outcome: Box::new(Outcome::Settled(ending)), already: true })
            }
            ClaimAnswer::Busy { left } => attempt(None, 0, Stage::over(Outcome::Busy { left })),
            ClaimAnswer::Conflict => {
                let failure = Failure::permanent(
                    Reason::IdentityConflict,
                    format!("another order came before under the identity {}", event.order_id()),
                );
                attempt(None, 0, Stage::over(Outcome::Failed(failure)))
            }
            ClaimAnswer::NotOwner => attempt(None, 0, Stage::NotOwner),
        }
    }

    /// What has to be written.
    pub(crate) fn plan(&self, processing: &OrderProcessing) -> Result<WritePlan, Failure> {
        mapping::plan(&self.event.order, processing, &self.known)
    }

    /// Whether the Account that was remembered is gone from the org; if so it is forgotten here, and the order can be sent
    /// anew.
    pub(crate) fn forgets_account(&mut self, error: &salesforce::ApiError) -> bool {
        let gone = matches!(error.code.as_str(), "ENTITY_IS_DELETED" | "INVALID_CROSS_REFERENCE_KEY");
        let forgets = gone && self.remembered && self.known.crm_id.is_some();
        if forgets {
            self.known = KnownIdentity::default();
            self.stage = Stage::Send;
        }
        forgets
    }

    /// Ends the attempt.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        self.stage = Stage::over(outcome);
    }

    /// Ends the attempt with what was written.
    pub(crate) fn end_written(&mut self, written: Written) {
        self.end(Outcome::Settled(Ending::Written(written)));
    }

    /// Ends the attempt with what was found written; an event that is published on its own is still owed.
    pub(crate) fn found(&mut self, written: Written, processing: &OrderProcessing, in_graph: bool) {
        if in_graph {
            return self.end_written(written);
        }
        self.known = KnownIdentity { crm_id: written.crm_id.clone(), contact_id: None };
        match self.plan(processing) {
            Ok(plan) if plan.publishes() => self.stage = Stage::Publish(Box::new((written, plan))),
            Ok(_) => self.end_written(written),
            Err(failure) => self.end(Outcome::Failed(failure)),
        }
    }

    /// How its claim is closed. An attempt that is not over was not tried.
    pub(crate) fn closing(&self) -> Closing {
        let Stage::Over { outcome, .. } = &self.stage else { return Closing::Release };
        match outcome.as_ref() {
            Outcome::Settled(ending) => match serde_json::to_string(ending) {
                Ok(stored) => Closing::Settle(stored),
                // It cannot be kept, so it has to be looked up.
                Err(_) => Closing::Unknown,
            },
            Outcome::Failed(failure) => match failure.class {
                domain::failure::FailureClass::Ambiguous => Closing::Unknown,
                domain::failure::FailureClass::Transient
                | domain::failure::FailureClass::Throttled { .. }
                | domain::failure::FailureClass::Permanent => Closing::Failed,
            },
            // It may have been carried out behind an answer that was not Salesforce's own.
            Outcome::Outage { failure, .. } if failure.class == domain::failure::FailureClass::Ambiguous => {
                Closing::Unknown
            }
            Outcome::Halted | Outcome::Busy { .. } | Outcome::Outage { .. } => Closing::Release,
        }
    }
}

impl Stage {
    /// The attempt is over, and the ledger did not know.
    pub(crate) fn over(outcome: Outcome) -> Self {
        Self::Over { outcome: Box::new(outcome), already: false }
    }
}
