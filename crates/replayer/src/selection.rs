//! Which letters are meant: filters, and names as an operator types them.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use domain::failure::Reason;
use queue::journal::fold::Letter;
use service::Problems;

use crate::closed::{Closed, How};
use crate::letters::{OpenLetter, OpenLetters};
use crate::shown;

/// The fewest characters that a shortened letter id may have.
const SHORTEST: usize = 4;

/// Which letters. Filters of different kinds narrow each other; one kind given twice means either.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Filters")]
pub struct Filter {
    /// Dead letters with this reason, such as `salesforce_refused` (`explain` lists them).
    #[arg(long, value_name = "REASON", hide_possible_values = true, value_parser = reasons())]
    pub reason: Vec<Reason>,
    /// Orders of this type, such as `new` or `cancel_subscription`.
    #[arg(long = "type", value_name = "TYPE")]
    pub order_type: Vec<String>,
    /// Letters that died last, or were parked, longer ago than this: 30m, 2h, 3d.
    #[arg(long, value_name = "AGE", value_parser = duration)]
    pub older_than: Option<Duration>,
    /// Letters that died last, or were parked, within this time: 30m, 2h, 3d.
    #[arg(long, value_name = "AGE", value_parser = duration)]
    pub newer_than: Option<Duration>,
    /// Letters of this customer: the key, or what `list` or a log shows in place of it.
    #[arg(long, value_name = "KEY")]
    pub customer: Vec<String>,
    /// Letters of this order.
    #[arg(long, value_name = "ID")]
    pub order: Vec<String>,
    /// Only letters in this state.
    #[arg(long)]
    pub state: Option<State>,
    /// At most so many, the oldest; 0 for all.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = limit)]
    pub limit: Option<usize>,
}

/// The state of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum State {
    /// Given up, and not let go.
    Dead,
    /// Parked behind a dead letter of the same customer.
    Parked,
    /// Waiting for room in its customer's lane; it comes back by itself.
    Overflowed,
    /// Let go by an operator and not settled yet.
    Released,
    /// Settled or thrown away, the latest first; as many as are still known.
    Closed,
}

impl Filter {
    /// Whether it says nothing, and so means every letter.
    pub fn is_empty(&self) -> bool {
        let Self { reason, order_type, older_than, newer_than, customer, order, state, limit } = self;
        reason.is_empty()
            && order_type.is_empty()
            && older_than.is_none()
            && newer_than.is_none()
            && customer.is_empty()
            && order.is_empty()
            && state.is_none()
            && limit.is_none_or(|limit| limit == 0)
    }

    /// The letters that are meant, oldest first, without regard to the limit.
    pub fn matching<'a>(&self, open: &'a OpenLetters) -> Vec<&'a OpenLetter> {
        open.all().iter().filter(|letter| self.matches(open, letter)).collect()
    }

    /// The letters that are meant, oldest first, no more than the limit.
    pub fn select<'a>(&self, open: &'a OpenLetters) -> Vec<&'a OpenLetter> {
        let mut letters = self.matching(open);
        letters.truncate(self.most());
        letters
    }

    /// The limit as a number.
    pub fn most(&self) -> usize {
        self.limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX)
    }

    /// The closed letters that are meant, the latest first, without regard to the limit. Their age is from their end.
    pub fn matching_closed<'a>(&self, open: &'a OpenLetters) -> Vec<&'a Closed> {
        let meant = |closed: &&Closed| self.matches_but_state(&closed.was, open.since(closed.at));
        open.closed().iter().filter(meant).collect()
    }

    fn matches(&self, open: &OpenLetters, candidate: &OpenLetter) -> bool {
        self.matches_but_state(candidate, open.age(&candidate.letter))
            && self.state.is_none_or(|state| match state {
                State::Dead => candidate.is_dead() && candidate.released_at.is_none(),
                State::Parked => candidate.state() == "parked",
                State::Overflowed => candidate.state() == "overflowed",
                State::Released => candidate.released_at.is_some(),
                State::Closed => false,
            })
    }

    fn matches_but_state(&self, candidate: &OpenLetter, age: Duration) -> bool {
        let letter = &candidate.letter;
        let among = |wanted: &[String], value: Option<&str>| {
            wanted.is_empty() || value.is_some_and(|value| wanted.iter().any(|wanted| wanted == value))
        };
        (self.reason.is_empty() || candidate.failure().is_some_and(|failure| self.reason.contains(&failure.reason)))
            && among(&self.order_type, letter.order_type.as_deref())
            && among(&self.order, letter.order_id.as_deref())
            && self.older_than.is_none_or(|limit| age > limit)
            && self.newer_than.is_none_or(|limit| age <= limit)
            && (self.customer.is_empty()
                || letter
                    .key
                    .as_deref()
                    .is_some_and(|key| self.customer.iter().any(|text| shown::means_customer(text, key))))
    }
}

/// Why a name means no letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfound {
    /// No letter has it.
    Nothing {
        /// The name.
        name: String,
    },
    /// It is too short to be the beginning of an id.
    Short {
        /// The name.
        name: String,
    },
    /// The letter with it is closed.
    Closed {
        /// The name.
        name: String,
        /// How it ended.
        how: How,
    },
    /// Several have it.
    Several {
        /// The name.
        name: String,
        /// The ids, the first few.
        ids: Vec<String>,
        /// How many there are.
        count: usize,
    },
}

impl std::fmt::Display for Unfound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing { name } => write!(
                f,
                "no letter or order is called {}; `list` shows what is open, `list --state closed` what was settled last",
                shown::printable(name)
            ),
            Self::Short { name } => write!(
                f,
                "{} is too short: give at least {SHORTEST} characters of a letter's id, or an order's id",
                shown::printable(name)
            ),
            Self::Closed { name, how } => write!(
                f,
                "{} is no longer open: {}; `show` tells when and by whom",
                shown::printable(name),
                how.words()
            ),
            Self::Several { name, ids, count } => {
                write!(f, "{} could be any of {count} letters: {}", shown::printable(name), ids.join(", "))?;
                if ids.len() < *count { f.write_str(", …") } else { Ok(()) }
            }
        }
    }
}

impl std::error::Error for Unfound {}

/// The open letters with this name: a letter's id, an order's id (all its letters), the unique beginning of a letter's id, or
/// an order's id with `…` in it, as a narrow list shows it.
///
/// # Errors
/// No open letter has it, or several could be meant.
pub fn find<'a>(open: &'a OpenLetters, name: &str) -> Result<Vec<&'a OpenLetter>, Unfound> {
    match named(open.all(), |open| &open.letter, name) {
        Err(unfound @ (Unfound::Nothing { .. } | Unfound::Short { .. })) => {
            let closed = find_closed(open, name).ok().and_then(|closed| closed.first().map(|closed| closed.how));
            Err(closed.map_or(unfound, |how| Unfound::Closed { name: name.trim().to_owned(), how }))
        }
        found => found,
    }
}

/// The closed letters with this name, as [`find`], the latest first.
///
/// # Errors
/// No closed letter that is still known has it, or several could be meant.
pub fn find_closed<'a>(open: &'a OpenLetters, name: &str) -> Result<Vec<&'a Closed>, Unfound> {
    named(open.closed(), |closed| &closed.was.letter, name)
}

/// Those with this name, at least one.
fn named<'a, T>(all: &'a [T], letter: impl Fn(&T) -> &Letter, name: &str) -> Result<Vec<&'a T>, Unfound> {
    let name = name.trim();
    let those = |fits: &dyn Fn(&Letter) -> bool| all.iter().filter(|one| fits(letter(one))).collect::<Vec<_>>();
    let exact = those(&|letter| letter.id.as_str() == name);
    if !exact.is_empty() {
        return Ok(exact);
    }
    let of_order = those(&|letter| letter.order_id.as_deref() == Some(name));
    if !of_order.is_empty() {
        return Ok(of_order);
    }
    let near = if let Some((head, tail)) = name.split_once('…') {
        those(&|letter| letter.order_id.as_deref().is_some_and(|id| id.starts_with(head) && id.ends_with(tail)))
    } else if name.chars().count() < SHORTEST {
        return Err(Unfound::Short { name: name.to_owned() });
    } else {
        those(&|letter| letter.id.as_str().starts_with(name))
    };
    match near.len() {
        0 => Err(Unfound::Nothing { name: name.to_owned() }),
        1 => Ok(near),
        count => {
            let ids = near.iter().take(4).map(|one| shown::printable(letter(one).id.as_str())).collect();
            Err(Unfound::Several { name: name.to_owned(), ids, count })
        }
    }
}

/// The letters with these names, each once, in the order of `open`.
///
/// # Errors
/// Every name that means no letter.
pub fn find_all<'a>(open: &'a OpenLetters, names: &[String]) -> Result<Vec<&'a OpenLetter>, Vec<Unfound>> {
    let mut found = Vec::new();
    let mut unfound = Vec::new();
    for name in names {
        match find(open, name) {
            Ok(letters) => found.extend(letters.into_iter().map(|letter| &letter.letter.id)),
            Err(error) => unfound.push(error),
        }
    }
    if !unfound.is_empty() {
        return Err(unfound);
    }
    Ok(open.all().iter().filter(|letter| found.contains(&&letter.letter.id)).collect())
}

/// A length of time with its unit.
pub fn duration(text: &str) -> Result<Duration, String> {
    let mut problems = Problems::default();
    problems.duration("", text).ok_or_else(|| "write a number with a unit: 45s, 30m, 2h, 3d".to_owned())
}

fn limit(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "write a whole number, 0 for all".to_owned())
}

fn reasons() -> impl TypedValueParser<Value = Reason> {
    PossibleValuesParser::new(Reason::ALL.map(Reason::as_str))
        .map(|name| Reason::parse(&name).expect("only names of reasons are possible"))
}

/// What an act is about: letters by name, by filter, or all. One of the three.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Choice {
    /// Letters by id or its first characters (at least 4), or orders by id.
    #[arg(value_name = "LETTER|ORDER")]
    pub names: Vec<String>,
    /// Every open letter.
    #[arg(long)]
    pub all: bool,
    /// By what they are.
    #[command(flatten)]
    pub filter: Filter,
}

impl Choice {
    /// Checks that exactly one way of choosing is used; the message says what is wrong.
    ///
    /// # Errors
    /// None or several are used.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.filter.state == Some(State::Closed) {
            return Err("closed letters are settled: nothing can be done with them (`list --state closed` shows them)");
        }
        match (self.names.is_empty(), self.all, self.filter.is_empty()) {
            (true, false, true) => Err("say which letters: name them, give a filter, or say --all"),
            (false, true, _) | (_, true, false) => Err("--all means every letter: leave out the names and filters"),
            (false, false, false) => Err("names and filters do not go together: leave one of them out"),
            (false, false, true) | (true, true, true) | (true, false, false) => Ok(()),
        }
    }

    /// The letters that are meant, oldest first.
    ///
    /// # Errors
    /// Every name that means no letter.
    pub fn select<'a>(&self, open: &'a OpenLetters) -> Result<Vec<&'a OpenLetter>, Vec<Unfound>> {
        if self.names.is_empty() { Ok(self.filter.select(open)) } else { find_all(open, &self.names) }
    }
}
