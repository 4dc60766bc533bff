//! What is open, as an operator sees it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::time::Duration;

use domain::dead_letter::LetterId;
use domain::failure::Failure;
use queue::journal::fold::{Letter, LetterState};
use serde::Serialize;

use crate::shown;

/// Every open letter at one moment, oldest first.
#[derive(Debug, Clone)]
pub struct OpenLetters {
    letters: Vec<OpenLetter>,
    now: u64,
}

/// An open letter and its place among its customer's.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenLetter {
    /// The letter.
    pub letter: Letter,
    /// Letters of the same customer that cannot go before this one.
    pub behind: usize,
    /// The customer's first open letter, when that is another.
    pub waits_for: Option<LetterId>,
    /// The failure that blocks the customer: its own, or that of the first dead letter before it.
    pub cause: Option<Failure>,
    /// When an operator let the customer's letters go, while they are going: milliseconds since 1970.
    pub released_at: Option<u64>,
}

impl OpenLetter {
    /// Whether it was given up, and does not merely wait.
    pub const fn is_dead(&self) -> bool {
        matches!(self.letter.state, LetterState::Dead(_))
    }

    /// Why it was given up; `None` for one that waits.
    pub const fn failure(&self) -> Option<&Failure> {
        match &self.letter.state {
            LetterState::Dead(failure) => Some(failure),
            LetterState::Held(_) => None,
        }
    }

    /// Whether it waits though nothing dead is before it any more: what it waited for was discarded. Only a replay lets
    /// it go.
    pub const fn is_stranded(&self) -> bool {
        !self.is_dead() && self.cause.is_none() && self.released_at.is_none()
    }

    /// `dead` or `held`.
    pub const fn state(&self) -> &'static str {
        if self.is_dead() { "dead" } else { "held" }
    }
}

impl OpenLetters {
    /// The view of these letters at `now`, in milliseconds since 1970.
    pub fn new(letters: Vec<Letter>, now: u64) -> Self {
        let mut chains: HashMap<&str, Vec<&Letter>> = HashMap::new();
        for letter in &letters {
            if let Some(key) = &letter.key {
                chains.entry(key).or_default().push(letter);
            }
        }
        let mut places: HashMap<LetterId, OpenLetter> = HashMap::new();
        for chain in chains.values_mut() {
            // The journal's order is the order in which they drain.
            chain.sort_by_key(|letter| (letter.offset.unwrap_or(u64::MAX), letter.at));
            // Letters further back keep their mark when the first has failed again.
            let released_at = chain.first().and_then(|first| first.released_at);
            let mut cause = None;
            for (index, letter) in chain.iter().enumerate() {
                let open = OpenLetter {
                    letter: (*letter).clone(),
                    behind: chain.len() - index - 1,
                    waits_for: (index > 0).then(|| chain[0].id.clone()),
                    cause: None,
                    released_at,
                };
                let own = open.failure().cloned();
                cause = cause.or_else(|| own.clone());
                places.insert(letter.id.clone(), OpenLetter { cause: own.or_else(|| cause.clone()), ..open });
            }
        }
        drop(chains);
        let alone = |letter: Letter| {
            let open = OpenLetter { letter, behind: 0, waits_for: None, cause: None, released_at: None };
            OpenLetter { cause: open.failure().cloned(), ..open }
        };
        let letters =
            letters.into_iter().map(|letter| places.remove(&letter.id).unwrap_or_else(|| alone(letter))).collect();
        Self { letters, now }
    }

    /// All of them, oldest first.
    pub fn all(&self) -> &[OpenLetter] {
        &self.letters
    }

    /// The moment, in milliseconds since 1970.
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// The letter with this id.
    pub fn get(&self, id: &LetterId) -> Option<&OpenLetter> {
        self.letters.iter().find(|open| open.letter.id == *id)
    }

    /// The open letters of a customer, in the order in which they drain.
    pub fn chain(&self, key: &str) -> Vec<&OpenLetter> {
        let mut chain: Vec<_> = self.letters.iter().filter(|open| open.letter.key.as_deref() == Some(key)).collect();
        chain.sort_by_key(|open| std::cmp::Reverse(open.behind));
        chain
    }

    /// How old a letter is.
    pub fn age(&self, letter: &Letter) -> Duration {
        Duration::from_millis(self.now.saturating_sub(letter.at))
    }

    /// How a letter stands in lists. Without `reveal` the customer is masked.
    pub fn row(&self, open: &OpenLetter, reveal: bool) -> Row {
        let letter = &open.letter;
        Row {
            letter: shown::printable(letter.id.as_str()),
            state: open.state(),
            order_id: letter.order_id.as_deref().map(shown::printable),
            order_type: letter.order_type.as_deref().map(shown::printable),
            customer: letter.key.as_deref().map(|key| shown::customer(key, reveal)),
            reason: open.failure().map(|failure| failure.reason.as_str()),
            salesforce_code: open
                .failure()
                .and_then(|failure| failure.salesforce_code.as_deref())
                .map(shown::printable),
            at: shown::moment(letter.at),
            age_seconds: self.age(letter).as_secs(),
            times_dead: letter.times_dead,
            behind: open.behind,
            waits_for: open.waits_for.as_ref().map(|id| shown::printable(id.as_str())),
            stranded: open.is_stranded(),
            released_at: open.released_at.map(shown::moment),
        }
    }
}

/// One letter in a list: the JSON shape of `list`, `replay` and `discard`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The letter's id.
    pub letter: String,
    /// `dead` or `held`.
    pub state: &'static str,
    /// The order's identity, where known.
    pub order_id: Option<String>,
    /// The order's type, where known.
    pub order_type: Option<String>,
    /// The customer, masked when it is an e-mail address; `null` where unknown.
    pub customer: Option<String>,
    /// Why it was given up; `null` for one that waits.
    pub reason: Option<&'static str>,
    /// Salesforce's code, where Salesforce refused it.
    pub salesforce_code: Option<String>,
    /// When it was written, RFC 3339.
    pub at: String,
    /// How long ago that was.
    pub age_seconds: u64,
    /// How often it was given up.
    pub times_dead: u32,
    /// Letters of the same customer that cannot go before this one.
    pub behind: usize,
    /// The customer's first letter, when that is another.
    pub waits_for: Option<String>,
    /// It waits, and nothing dead is before it any more.
    pub stranded: bool,
    /// When the customer's letters were let go, while they are going.
    pub released_at: Option<String>,
}

/// How many there are of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// Letters that were given up.
    pub dead: usize,
    /// Letters that wait behind them.
    pub held: usize,
    /// Customers with an open letter.
    pub customers: usize,
    /// Letters whose customer is unknown; they block nobody.
    pub without_customer: usize,
    /// Letters that wait though nothing dead is before them any more.
    pub stranded: usize,
    /// Letters whose customer was released and that are not settled yet.
    pub released: usize,
}

impl Summary {
    /// Of these letters.
    pub fn of<'a>(letters: impl IntoIterator<Item = &'a OpenLetter>) -> Self {
        let mut summary = Self::default();
        let mut customers = HashSet::new();
        for open in letters {
            if open.is_dead() {
                summary.dead += 1;
            } else {
                summary.held += 1;
            }
            match &open.letter.key {
                Some(key) => drop(customers.insert(key)),
                None => summary.without_customer += 1,
            }
            summary.stranded += usize::from(open.is_stranded());
            summary.released += usize::from(open.released_at.is_some());
        }
        summary.customers = customers.len();
        summary
    }

    /// `12 dead, 30 parked behind them, 9 customers blocked`, and what else there is to say.
    pub fn line(&self) -> String {
        let mut line = format!(
            "{} dead, {} parked behind them, {} blocked",
            self.dead,
            self.held,
            shown::counted(self.customers, "customer")
        );
        if self.without_customer > 0 {
            let _ = write!(line, ", {} without a customer", self.without_customer);
        }
        if self.released > 0 {
            let _ = write!(line, ", {} released and not settled yet", self.released);
        }
        line
    }
}

/// What letters are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum GroupBy {
    /// The reason of the failure; a waiting letter counts under what it waits for.
    Reason,
    /// The order's type.
    Type,
    /// The customer.
    Customer,
}

impl GroupBy {
    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reason => "reason",
            Self::Type => "type",
            Self::Customer => "customer",
        }
    }
}

/// Letters that have something in common: the JSON shape of `list --by`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// What they have in common; `null` where that is unknown.
    pub value: Option<String>,
    /// How many.
    pub dead: usize,
    /// How many wait.
    pub held: usize,
    /// Of how many customers.
    pub customers: usize,
    /// When the oldest was written.
    pub oldest_at: String,
    /// How long ago that was.
    pub oldest_age_seconds: u64,
    /// The oldest letter, as an example.
    pub oldest: String,
}

/// Groups letters, most letters first.
pub fn groups(open: &OpenLetters, letters: &[&OpenLetter], by: GroupBy, reveal: bool) -> Vec<Group> {
    let mut members: BTreeMap<Option<String>, Vec<&OpenLetter>> = BTreeMap::new();
    for letter in letters {
        let value = match by {
            GroupBy::Reason => letter.cause.as_ref().map(|cause| cause.reason.as_str().to_owned()),
            GroupBy::Type => letter.letter.order_type.as_deref().map(shown::printable),
            GroupBy::Customer => letter.letter.key.as_deref().map(|key| shown::customer(key, reveal)),
        };
        members.entry(value).or_default().push(letter);
    }
    let mut groups: Vec<Group> = members
        .into_iter()
        .filter_map(|(value, members)| {
            let summary = Summary::of(members.iter().copied());
            let oldest = &members.first()?.letter;
            Some(Group {
                value,
                dead: summary.dead,
                held: summary.held,
                customers: summary.customers,
                oldest_at: shown::moment(oldest.at),
                oldest_age_seconds: open.age(oldest).as_secs(),
                oldest: shown::printable(oldest.id.as_str()),
            })
        })
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse((group.dead + group.held, group.oldest_age_seconds)));
    groups
}
