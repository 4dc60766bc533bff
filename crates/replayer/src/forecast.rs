//! What a replay, or a discard, would do.

use std::collections::HashSet;

use domain::failure::{Failure, FailureClass, Reason};
use queue::topology::Topology;

use crate::letters::{OpenLetter, OpenLetters};

/// How likely a letter is to succeed when it goes again as it is. In JSON by its name in snake case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outlook {
    /// What stood in the way was outside of the order and may be over.
    MaySucceed,
    /// Something has to be corrected first: the org, its rules, the settings or the program.
    NeedsCorrection,
    /// Its bytes are what is wrong, and a replay does not change them.
    FailsAgain,
    /// It took its process down before.
    Dangerous,
}

impl Outlook {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::MaySucceed => "may succeed",
            Self::NeedsCorrection => "only if corrected",
            Self::FailsAgain => "fails again",
            Self::Dangerous => "dangerous",
        }
    }

    /// Of a failure.
    pub const fn of(failure: &Failure) -> Self {
        match (Self::of_reason(failure.reason), failure.class) {
            (
                Self::NeedsCorrection,
                FailureClass::Transient | FailureClass::Throttled { .. } | FailureClass::Ambiguous,
            ) => Self::MaySucceed,
            (outlook, _) => outlook,
        }
    }

    /// Of a reason.
    pub const fn of_reason(reason: Reason) -> Self {
        match reason {
            Reason::RecordLocked
            | Reason::SalesforceUnavailable
            | Reason::QuotaExhausted
            | Reason::LedgerUnavailable
            | Reason::BrokerUnavailable
            | Reason::LimioUnavailable
            | Reason::AnswerLost
            | Reason::UnknownSalesforceCode => Self::MaySucceed,
            Reason::BodyTooLarge
            | Reason::UnknownEventType
            | Reason::UnknownOrderType
            | Reason::MissingField
            | Reason::WrongType
            | Reason::InvalidValue
            | Reason::DuplicateDetected
            | Reason::DuplicateBlocked
            | Reason::DuplicateAmbiguous
            | Reason::SalesforceRefused
            | Reason::SalesforceMisconfigured
            | Reason::AuthenticationFailed
            | Reason::BrokerGaveUp
            | Reason::IdentityLinkRefused => Self::NeedsCorrection,
            Reason::InvalidUtf8
            | Reason::UnreadableJson
            | Reason::NotAnOrder
            | Reason::WrongTenant
            | Reason::IdentityConflict => Self::FailsAgain,
            Reason::Poison => Self::Dangerous,
        }
    }
}

/// One customer's letters that would go.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomerReplay {
    /// The customer.
    pub key: String,
    /// The partition that the control message goes to.
    pub partition: u16,
    /// Every open letter of the customer, in the order in which they drain.
    pub letters: Vec<OpenLetter>,
    /// How many of them were not asked for and come along.
    pub along: usize,
    /// Of the first dead letter: when that fails, the others stay where they are.
    pub outlook: Outlook,
}

/// What a replay would do.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayPlan {
    /// Customers, the one with the oldest letter first.
    pub customers: Vec<CustomerReplay>,
    /// Letters without a customer; they are published again, each for itself.
    pub without_customer: Vec<OpenLetter>,
}

impl ReplayPlan {
    /// What a replay of these letters would do.
    pub fn new(open: &OpenLetters, chosen: &[&OpenLetter], topology: &Topology) -> Self {
        let asked: HashSet<_> = chosen.iter().map(|open| &open.letter.id).collect();
        let mut seen = HashSet::new();
        let mut customers = Vec::new();
        let mut without_customer = Vec::new();
        for letter in chosen {
            let Some(key) = &letter.letter.key else {
                without_customer.push((*letter).clone());
                continue;
            };
            if !seen.insert(key) {
                continue;
            }
            let letters: Vec<OpenLetter> = open.chain(key).into_iter().cloned().collect();
            customers.push(CustomerReplay {
                key: key.clone(),
                partition: topology.partition_of(key),
                along: letters.iter().filter(|open| !asked.contains(&open.letter.id)).count(),
                outlook: letters.iter().find_map(OpenLetter::failure).map_or(Outlook::MaySucceed, Outlook::of),
                letters,
            });
        }
        Self { customers, without_customer }
    }

    /// How many letters go.
    pub fn letters(&self) -> usize {
        self.customers.iter().map(|customer| customer.letters.len()).sum::<usize>() + self.without_customer.len()
    }

    /// How many of them were not asked for.
    pub fn along(&self) -> usize {
        self.customers.iter().map(|customer| customer.along).sum()
    }

    /// Every letter that goes, a customer's in order.
    pub fn all(&self) -> impl Iterator<Item = &OpenLetter> {
        self.customers.iter().flat_map(|customer| &customer.letters).chain(&self.without_customer)
    }

    /// How many customers and letters without one have this outlook.
    pub fn with_outlook(&self, outlook: Outlook) -> usize {
        let alone = |open: &&OpenLetter| open.failure().is_some_and(|failure| Outlook::of(failure) == outlook);
        self.customers.iter().filter(|customer| customer.outlook == outlook).count()
            + self.without_customer.iter().filter(alone).count()
    }
}

/// What a discard would do.
#[derive(Debug, Clone, PartialEq)]
pub struct DiscardPlan {
    /// The letters that would be thrown away.
    pub letters: Vec<OpenLetter>,
    /// How many of them were never tried: they are only parked.
    pub never_tried: usize,
    /// How many of them are being replayed, and may be written all the same.
    pub being_replayed: usize,
    /// Letters that would be parked behind nothing then, and the customers they belong to. Only a replay lets them go.
    pub stranded: (usize, Vec<String>),
}

impl DiscardPlan {
    /// What discarding these letters would do.
    pub fn new(open: &OpenLetters, chosen: &[&OpenLetter]) -> Self {
        let going: HashSet<_> = chosen.iter().map(|open| &open.letter.id).collect();
        let mut seen = HashSet::new();
        let mut stranded = (0, Vec::new());
        for key in chosen.iter().filter_map(|open| open.letter.key.as_ref()) {
            if !seen.insert(key) {
                continue;
            }
            let left: Vec<_> = open.chain(key).into_iter().filter(|open| !going.contains(&open.letter.id)).collect();
            // What only waits for room goes by itself, also when what was before it is gone.
            let for_room = left.iter().take_while(|open| open.letter.waits_for_room()).count();
            let waiting = left.iter().skip(for_room).take_while(|open| !open.is_dead()).count();
            if waiting > 0 {
                stranded.0 += waiting;
                stranded.1.push(key.clone());
            }
        }
        Self {
            never_tried: chosen.iter().filter(|open| !open.is_dead()).count(),
            being_replayed: chosen.iter().filter(|open| open.released_at.is_some()).count(),
            letters: chosen.iter().map(|open| (*open).clone()).collect(),
            stranded,
        }
    }
}
