//! What is open, and what was settled last, as an operator sees it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::time::Duration;

use domain::dead_letter::LetterId;
use domain::failure::Failure;
use queue::journal::entry::LANE_OVERFLOW;
use queue::journal::fold::{ClosedLetter, Letter, LetterState, in_order};
use serde::Serialize;

use crate::closed::{Closed, ClosedShown};
use crate::shown;

/// Every open letter at one moment, oldest first, and the last closed ones.
#[derive(Debug, Clone)]
pub struct OpenLetters {
    letters: Vec<OpenLetter>,
    closed: Vec<Closed>,
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
    /// The letter that has this failure.
    pub caused_by: Option<LetterId>,
    /// When an operator let the customer's letters go, while they are going: milliseconds since 1970.
    pub released_at: Option<u64>,
    /// It waits for room in its customer's lane, and for nothing that was given up: it comes back by itself.
    pub overflowed: bool,
}

impl OpenLetter {
    /// Whether it was given up, and was not only parked.
    pub const fn is_dead(&self) -> bool {
        matches!(self.letter.state, LetterState::Dead(_))
    }

    /// A letter that stands alone: nothing is before or behind it.
    pub(crate) fn alone(letter: Letter) -> Self {
        let open = Self {
            letter,
            behind: 0,
            waits_for: None,
            cause: None,
            caused_by: None,
            released_at: None,
            overflowed: false,
        };
        let (cause, caused_by) = (open.failure().cloned(), open.is_dead().then(|| open.letter.id.clone()));
        Self { cause, caused_by, ..open }
    }

    /// Why it was given up; `None` for one that is parked.
    pub const fn failure(&self) -> Option<&Failure> {
        match &self.letter.state {
            LetterState::Dead(failure) => Some(failure),
            LetterState::Held(_) => None,
        }
    }

    /// Whether it is parked though nothing dead is before it any more: what it waited for was discarded. Only a replay
    /// lets it go.
    pub const fn is_stranded(&self) -> bool {
        !self.is_dead() && self.cause.is_none() && self.released_at.is_none() && !self.overflowed
    }

    /// `dead`, `parked`, `overflowed` or `released`.
    pub const fn state(&self) -> &'static str {
        match (self.released_at.is_some(), self.is_dead(), self.overflowed) {
            (true, _, _) => "released",
            (false, true, _) => "dead",
            (false, false, true) => "overflowed",
            (false, false, false) => "parked",
        }
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
            in_order(chain);
            // Letters further back keep their mark when the first has failed again.
            let released_at = chain.first().and_then(|first| first.released_at);
            let mut cause: Option<(Failure, LetterId)> = None;
            let mut only_room = true;
            for (index, letter) in chain.iter().enumerate() {
                only_room &= letter.waits_for_room();
                let open = OpenLetter {
                    letter: (*letter).clone(),
                    behind: chain.len() - index - 1,
                    waits_for: (index > 0).then(|| chain[0].id.clone()),
                    cause: None,
                    caused_by: None,
                    released_at,
                    overflowed: only_room,
                };
                let own = open.failure().map(|failure| (failure.clone(), letter.id.clone()));
                cause = cause.or_else(|| own.clone());
                let (cause, caused_by) = own.or_else(|| cause.clone()).unzip();
                places.insert(letter.id.clone(), OpenLetter { cause, caused_by, ..open });
            }
        }
        drop(chains);
        let place = |letter: Letter| places.remove(&letter.id).unwrap_or_else(|| OpenLetter::alone(letter));
        let letters = letters.into_iter().map(place).collect();
        Self { letters, closed: Vec::new(), now }
    }

    /// The same view with these closed letters beside it, the latest first.
    #[must_use]
    pub fn with_closed(self, closed: Vec<ClosedLetter>) -> Self {
        Self { closed: closed.into_iter().map(Closed::from).collect(), ..self }
    }

    /// The last closed letters, the latest first.
    pub fn closed(&self) -> &[Closed] {
        &self.closed
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

    /// Since when a letter is as it is: from its last death, or from when it was parked.
    pub fn age(&self, letter: &Letter) -> Duration {
        self.since(letter.since())
    }

    /// How long ago a moment was, in milliseconds since 1970.
    pub const fn since(&self, at: u64) -> Duration {
        Duration::from_millis(self.now.saturating_sub(at))
    }

    /// How a closed letter stands in lists; its age is from its end.
    pub fn closed_row(&self, closed: &Closed, reveal: bool) -> Row {
        Row {
            state: "closed",
            age_seconds: self.since(closed.at).as_secs(),
            closed: Some(closed.shown()),
            ..self.row(&closed.was, reveal)
        }
    }

    /// The letter that a published one became when it was given up again, if it was.
    pub fn became(&self, id: &LetterId) -> Option<&LetterId> {
        let closed = self.closed.iter().map(|closed| &closed.was);
        self.letters
            .iter()
            .chain(closed)
            .map(|open| &open.letter)
            .find_map(|letter| (letter.after.as_ref() == Some(id)).then_some(&letter.id))
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
            reason: match open.failure() {
                Some(failure) => Some(failure.reason.as_str()),
                None => open.overflowed.then_some(LANE_OVERFLOW),
            },
            salesforce_code: open
                .failure()
                .and_then(|failure| failure.salesforce_code.as_deref())
                .map(shown::printable),
            at: shown::moment(letter.since()),
            age_seconds: self.age(letter).as_secs(),
            first_dead_at: letter.first_dead_at.map(shown::moment),
            times_dead: letter.times_dead,
            behind: open.behind,
            waits_for: open.waits_for.as_ref().map(|id| shown::printable(id.as_str())),
            stranded: open.is_stranded(),
            after: letter.after.as_ref().map(|id| shown::printable(id.as_str())),
            released_at: open.released_at.map(shown::moment),
            closed: None,
        }
    }
}

/// One letter in a list: the JSON shape of `list`, `replay` and `discard`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The letter's id.
    pub letter: String,
    /// `dead`, `parked`, `overflowed`, `released` or `closed`.
    pub state: &'static str,
    /// The order's identity, where known.
    pub order_id: Option<String>,
    /// The order's type, where known.
    pub order_type: Option<String>,
    /// The customer, masked when it is an e-mail address; `null` where unknown.
    pub customer: Option<String>,
    /// Why it was given up, or [`LANE_OVERFLOW`] for one that waits for room; `null` for one that is parked.
    pub reason: Option<&'static str>,
    /// Salesforce's code, where Salesforce refused it.
    pub salesforce_code: Option<String>,
    /// When it was given up last, or parked; RFC 3339.
    pub at: String,
    /// How long ago that was; of a closed letter, how long ago it was closed.
    pub age_seconds: u64,
    /// When it was given up first; `null` for one that was only parked.
    pub first_dead_at: Option<String>,
    /// How often it was given up, before it was published again included.
    pub times_dead: u32,
    /// Letters of the same customer that cannot go before this one.
    pub behind: usize,
    /// The customer's first letter, when that is another.
    pub waits_for: Option<String>,
    /// It is parked, and nothing dead is before it any more.
    pub stranded: bool,
    /// The letter that it was before it was published again.
    pub after: Option<String>,
    /// When the customer's letters were let go, while they are going.
    pub released_at: Option<String>,
    /// How a closed letter ended; `null` for an open one.
    pub closed: Option<ClosedShown>,
}

/// How many open letters there are of what. Each is in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// Letters that were given up.
    pub dead: usize,
    /// Letters that are parked behind them.
    pub parked: usize,
    /// Letters that wait for room in their customer's lane and come back by themselves: no failures.
    pub overflowed: usize,
    /// Letters whose customer was released and that are not settled yet.
    pub released: usize,
    /// Customers with an open letter that does not only wait for room.
    pub customers: usize,
    /// Letters whose customer is unknown; they block nobody.
    pub without_customer: usize,
    /// Letters that are parked though nothing dead is before them any more.
    pub stranded: usize,
}

impl Summary {
    /// Of these letters.
    pub fn of<'a>(letters: impl IntoIterator<Item = &'a OpenLetter>) -> Self {
        let mut summary = Self::default();
        let mut customers = HashSet::new();
        for open in letters {
            *match (open.released_at.is_some(), open.is_dead(), open.overflowed) {
                (true, _, _) => &mut summary.released,
                (false, true, _) => &mut summary.dead,
                (false, false, true) => &mut summary.overflowed,
                (false, false, false) => &mut summary.parked,
            } += 1;
            match &open.letter.key {
                Some(_) if open.overflowed => {}
                Some(key) => drop(customers.insert(key)),
                None => summary.without_customer += 1,
            }
            summary.stranded += usize::from(open.is_stranded());
        }
        summary.customers = customers.len();
        summary
    }

    /// `12 dead, 30 parked behind them, 9 customers blocked`, and what else there is to say.
    pub fn line(&self) -> String {
        let behind = match self.dead {
            0 => "",
            1 => " behind it",
            _ => " behind them",
        };
        let mut line = format!("{} dead, {} parked{behind}", self.dead, self.parked);
        if self.overflowed > 0 {
            let _ = write!(line, ", {} that wait for room and come back by themselves", self.overflowed);
        }
        if self.released > 0 {
            let _ = write!(line, ", {} released and not settled yet", self.released);
        }
        let _ = write!(line, ", {} blocked", shown::counted(self.customers, "customer"));
        if self.without_customer > 0 {
            let _ = write!(line, ", {} without a customer", shown::counted(self.without_customer, "letter"));
        }
        line
    }
}

/// What letters are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum GroupBy {
    /// The reason of the failure; a parked letter counts under what it waits for, and one that waits for room under that.
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
    /// What they have in common; `null` where there is no such thing.
    pub value: Option<String>,
    /// How many are dead.
    pub dead: usize,
    /// How many are parked.
    pub parked: usize,
    /// How many wait for room.
    pub overflowed: usize,
    /// How many are released.
    pub released: usize,
    /// Of how many customers.
    pub customers: usize,
    /// When the oldest was given up last, or parked.
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
            GroupBy::Reason => {
                let cause = letter.cause.as_ref().map(|cause| cause.reason.as_str());
                cause.or(letter.overflowed.then_some(LANE_OVERFLOW)).map(str::to_owned)
            }
            GroupBy::Type => letter.letter.order_type.as_deref().map(shown::printable),
            GroupBy::Customer => letter.letter.key.as_deref().map(|key| shown::customer(key, reveal)),
        };
        members.entry(value).or_default().push(letter);
    }
    let mut groups: Vec<Group> = members
        .into_iter()
        .filter_map(|(value, members)| {
            let summary = Summary::of(members.iter().copied());
            let oldest = members.iter().map(|member| &member.letter).min_by_key(|letter| letter.since())?;
            Some(Group {
                value,
                dead: summary.dead,
                parked: summary.parked,
                overflowed: summary.overflowed,
                released: summary.released,
                customers: summary.customers,
                oldest_at: shown::moment(oldest.since()),
                oldest_age_seconds: open.age(oldest).as_secs(),
                oldest: shown::printable(oldest.id.as_str()),
            })
        })
        .collect();
    let size = |group: &Group| group.dead + group.parked + group.overflowed + group.released;
    groups.sort_by_key(|group| std::cmp::Reverse((size(group), group.oldest_age_seconds)));
    groups
}
