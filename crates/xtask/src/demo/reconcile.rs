//! What became of every published order, from outside evidence alone: the publisher's list, the org, the journal and the
//! outcomes. Pure.
//!
//! Each order is exactly one of written, rejected, dead-lettered or parked, and it has to be the one that the publisher
//! expects of it. Whatever is none of them is lost.

mod belonging;
mod evidence;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

pub(crate) use self::evidence::{Account, Event, Evidence, Letter, Published, Record, Told, Whose};

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    /// Its record is in the org.
    Written,
    /// A business answer settled it.
    Rejected,
    /// It was given up, and lies in the journal.
    DeadLettered,
    /// It waits in the journal behind a letter of its customer.
    Parked,
    /// Nobody knows.
    Lost,
}

impl Fate {
    /// All, in the order of the table.
    pub(crate) const ALL: [Self; 5] = [Self::Written, Self::Rejected, Self::DeadLettered, Self::Parked, Self::Lost];
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Written => "written",
            Self::Rejected => "rejected",
            Self::DeadLettered => "dead-lettered",
            Self::Parked => "parked",
            Self::Lost => "lost",
        })
    }
}

/// How many orders came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally([usize; Fate::ALL.len()]);

impl Tally {
    /// How many came to this.
    pub(crate) fn of(&self, fate: Fate) -> usize {
        self.0[fate as usize]
    }

    /// How many there are.
    pub(crate) fn total(&self) -> usize {
        self.0.iter().sum()
    }

    fn add(&mut self, fate: Fate) {
        self.0[fate as usize] += 1;
    }
}

/// The result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reconciliation {
    /// All orders.
    pub(crate) total: Tally,
    /// By order type.
    pub(crate) by_type: BTreeMap<&'static str, Tally>,
    /// Why orders were given up.
    pub(crate) dead_reasons: BTreeMap<String, usize>,
    /// Orders that came to something else than the publisher expects, and parked ones that nothing holds up.
    pub(crate) unexpected: usize,
    /// Orders that came to two things at once, such as written and dead-lettered.
    pub(crate) settled_twice: usize,
    /// Order records with the same identity, and Accounts of one customer beyond the first.
    pub(crate) records_duplicated: usize,
    /// Records, events and letters that nobody ordered, events of another type than their order's, and whatever belongs
    /// to another Account than its customer's.
    pub(crate) strays: usize,
    /// Events on the bus.
    pub(crate) events: usize,
    /// Events of the same order and type beyond the first.
    pub(crate) events_duplicated: usize,
    /// Written orders that should have been announced by an event and were not.
    pub(crate) events_missing: usize,
    /// Orders whose fate was not told on the outcomes exchange, and outcomes that are not true.
    pub(crate) outcomes_wrong: usize,
    /// Orders and events of one customer that overtook an earlier one, or a letter that should have held them up.
    pub(crate) sequence_violations: usize,
    /// One sentence each about the first few things that are wrong.
    pub(crate) findings: Vec<String>,
}

/// How many sentences of one kind are kept.
const SENTENCES: usize = 5;

impl Reconciliation {
    /// Whether every order came to what was expected of it, and nothing was lost, doubled, reordered or mixed up.
    pub(crate) fn holds(&self) -> bool {
        let wrong = [
            self.total.of(Fate::Lost),
            self.unexpected,
            self.settled_twice,
            self.records_duplicated,
            self.strays,
            self.events_duplicated,
            self.events_missing,
            self.outcomes_wrong,
            self.sequence_violations,
        ];
        wrong.iter().all(|count| *count == 0)
    }
}

/// Compares the publisher's list with what is found.
pub(crate) fn reconcile(evidence: &Evidence) -> Reconciliation {
    let mut found = Reconciliation { events: evidence.events.len(), ..Reconciliation::default() };
    let places = Places::of(&evidence.published);
    let fates = fates(evidence, &places, &mut found);
    for (order, fate) in evidence.published.iter().zip(&fates) {
        found.total.add(*fate);
        found.by_type.entry(order.order_type).or_default().add(*fate);
    }
    let lost = evidence.published.iter().zip(&fates).filter(|(_, fate)| **fate == Fate::Lost);
    say(
        &mut found.findings,
        lost.map(|(order, _)| format!("lost: {} ({}) of {}", order.id, order.order_type, order.key)),
    );
    let held_up = held_up(evidence, &places);
    expectations(evidence, &fates, &held_up, &mut found);
    doubles(evidence, &mut found);
    events(evidence, &places, &fates, &mut found);
    found.strays += say(&mut found.findings, belonging::strays(evidence, &places, &fates).into_iter());
    outcomes(evidence, &places, &fates, &mut found);
    sequence(evidence, &places, &fates, &held_up, &mut found);
    found
}

fn say(findings: &mut Vec<String>, sentences: impl Iterator<Item = String>) -> usize {
    let mut count = 0;
    for sentence in sentences {
        if count < SENTENCES {
            findings.push(sentence);
        }
        count += 1;
    }
    if count > SENTENCES {
        findings.push(format!("… and {} more of the kind", count - SENTENCES));
    }
    count
}

/// Where on the list an order stands, by each of its names.
struct Places<'a> {
    letters: HashMap<&'a str, usize>,
    identities: HashMap<&'a str, Vec<usize>>,
    references: HashMap<&'a str, usize>,
}

impl<'a> Places<'a> {
    fn of(published: &'a [Published]) -> Self {
        let mut places = Self { letters: HashMap::new(), identities: HashMap::new(), references: HashMap::new() };
        for (place, order) in published.iter().enumerate() {
            places.letters.insert(&order.letter, place);
            places.identities.entry(&order.id).or_default().push(place);
            places.references.entry(&order.reference).or_insert(place);
        }
        places
    }

    /// The order that bears an identity: of two the first, which is the one that is written.
    fn first_of(&self, id: &str) -> Option<usize> {
        self.identities.get(id)?.first().copied()
    }
}

fn fates(evidence: &Evidence, places: &Places<'_>, found: &mut Reconciliation) -> Vec<Fate> {
    let mut fates: Vec<Option<Fate>> = vec![None; evidence.published.len()];
    let mut twice = HashSet::new();
    let mut settle = |place: usize, fate: Fate| match &mut fates[place] {
        Some(_) => {
            twice.insert(place);
        }
        none => *none = Some(fate),
    };
    // A message that was given up as it was sent names its letter exactly, also where two orders share an identity.
    let mut given_up_as_sent = HashSet::new();
    let mut by_identity = Vec::new();
    for letter in &evidence.letters {
        if !letter.held {
            *found.dead_reasons.entry(letter.reason.clone()).or_default() += 1;
        }
        let fate = if letter.held { Fate::Parked } else { Fate::DeadLettered };
        match places.letters.get(letter.id.as_str()) {
            Some(place) => {
                given_up_as_sent.insert(*place);
                settle(*place, fate);
            }
            None => by_identity.push((letter.order_id.as_deref(), fate)),
        }
    }
    let bearer = |id: &str| {
        let bearers = places.identities.get(id)?;
        bearers.iter().find(|place| !given_up_as_sent.contains(*place)).or(bearers.first()).copied()
    };
    for (place, fate) in by_identity.into_iter().filter_map(|(id, fate)| Some((bearer(id?)?, fate))) {
        settle(place, fate);
    }
    let written: HashSet<&str> = evidence.records.iter().map(|record| record.order.as_str()).collect();
    for place in written.iter().filter_map(|id| bearer(id)) {
        settle(place, Fate::Written);
    }
    for place in evidence.told.rejected.iter().filter_map(|id| bearer(id)) {
        settle(place, Fate::Rejected);
    }
    let mut twice: Vec<usize> = twice.into_iter().collect();
    twice.sort_unstable();
    let sentences = twice.into_iter().map(|place| format!("settled twice: {}", evidence.published[place].id));
    found.settled_twice = say(&mut found.findings, sentences);
    fates.into_iter().map(|fate| fate.unwrap_or(Fate::Lost)).collect()
}

/// The first letter of each customer that holds later orders up, by its place on the list.
fn held_up<'a>(evidence: &'a Evidence, places: &Places<'_>) -> HashMap<&'a str, usize> {
    let mut held_up: HashMap<&str, usize> = HashMap::new();
    for letter in evidence.letters.iter().filter(|letter| letter.blocks && !letter.held) {
        let place = places
            .letters
            .get(letter.id.as_str())
            .or_else(|| places.identities.get(letter.order_id.as_deref()?)?.last());
        if let Some(place) = place {
            let first = held_up.entry(&evidence.published[*place].key).or_insert(*place);
            *first = (*first).min(*place);
        }
    }
    held_up
}

fn expectations(evidence: &Evidence, fates: &[Fate], held_up: &HashMap<&str, usize>, found: &mut Reconciliation) {
    let wrong = evidence.published.iter().zip(fates).enumerate().filter_map(|(place, (order, fate))| {
        if *fate != order.expected {
            let (id, order_type) = (&order.id, order.order_type);
            return Some(format!("{fate} and not {} as expected: {id} ({order_type})", order.expected));
        }
        let waits_for_nothing =
            *fate == Fate::Parked && held_up.get(order.key.as_str()).is_none_or(|letter| *letter >= place);
        waits_for_nothing.then(|| format!("parked, and no dead letter of its customer came before: {}", order.id))
    });
    found.unexpected = say(&mut found.findings, wrong);
}

fn doubles(evidence: &Evidence, found: &mut Reconciliation) {
    let mut seen = HashSet::new();
    let records = evidence.records.iter().map(|record| &record.order);
    let records = records.filter(|id| !seen.insert(*id)).map(|id| format!("recorded twice: {id}"));
    let mut count = say(&mut found.findings, records);
    let names: [fn(&Account) -> Option<&String>; 2] =
        [|account| account.limio_id.as_ref(), |account| account.email.as_ref()];
    for name in names {
        let mut seen = HashSet::new();
        let more = evidence.accounts.iter().filter_map(name).filter(|name| !seen.insert(*name));
        count += say(&mut found.findings, more.map(|_| "a customer has two Accounts".to_owned()));
    }
    found.records_duplicated = count;
}

fn events(evidence: &Evidence, places: &Places<'_>, fates: &[Fate], found: &mut Reconciliation) {
    let mut seen = HashSet::new();
    let doubled = evidence.events.iter().filter(|event| !seen.insert((&event.order_number, &event.order_type)));
    found.events_duplicated = say(
        &mut found.findings,
        doubled.map(|event| format!("announced twice: {} of {}", event.order_type, event.order_number)),
    );
    let announced: HashSet<&str> = evidence.events.iter().map(|event| event.order_number.as_str()).collect();
    let missing = evidence.published.iter().zip(fates).filter(|(order, fate)| {
        **fate == Fate::Written && order.event.is_some() && !announced.contains(order.reference.as_str())
    });
    found.events_missing = say(
        &mut found.findings,
        missing.map(|(order, _)| format!("written and not announced: {} ({})", order.id, order.order_type)),
    );
    let unknown_records = evidence.records.iter().map(|record| record.order.as_str());
    let unknown_records = unknown_records.filter(|id| !places.identities.contains_key(id));
    let unordered = evidence.events.iter().filter(|event| {
        let place = places.references.get(event.order_number.as_str());
        place.is_none_or(|place| fates[*place] != Fate::Written)
    });
    let unknown_letters = evidence.letters.iter().filter(|letter| {
        let by_order = letter.order_id.as_deref().is_some_and(|id| places.identities.contains_key(id));
        !by_order && !places.letters.contains_key(letter.id.as_str())
    });
    let sentences = unknown_records
        .map(|id| format!("nobody ordered the record {id}"))
        .chain(unknown_letters.map(|letter| format!("nobody sent what is in the letter {}", letter.id)))
        .chain(
            unordered
                .map(|event| format!("announced without a record: {} of {}", event.order_type, event.order_number)),
        );
    found.strays = say(&mut found.findings, sentences);
}

/// Whoever listens to the outcomes has to have been told of each order that was written or given up, and nothing untrue.
/// No outcome tells of what only waits, and of letters of nobody.
fn outcomes(evidence: &Evidence, places: &Places<'_>, fates: &[Fate], found: &mut Reconciliation) {
    let told = &evidence.told;
    let written = evidence.published.iter().zip(fates).filter(|(_, fate)| **fate == Fate::Written);
    let written: HashSet<&str> = written.map(|(order, _)| order.id.as_str()).collect();
    let dead = evidence.letters.iter().filter(|letter| !letter.held).collect::<Vec<_>>();
    let named = dead.iter().filter(|letter| letter.blocks).filter_map(|letter| letter.order_id.as_deref());
    let named: HashSet<&str> = named.collect();
    let dead: HashSet<&str> = dead.iter().filter_map(|letter| letter.order_id.as_deref()).collect();
    let untold = [(&written, &told.written, "written"), (&named, &told.dead, "given up")].into_iter().flat_map(
        |(due, told, fate)| {
            due.iter().filter(|id| !told.contains(**id)).map(move |id| format!("{fate} and not told of: {id}"))
        },
    );
    let untrue = [(&told.written, &written, "written"), (&told.dead, &dead, "given up")].into_iter().flat_map(
        |(told, true_of, fate)| {
            told.iter()
                .filter(|id| !true_of.contains(id.as_str()))
                .map(move |id| format!("told of as {fate}, which it is not: {id}"))
        },
    );
    let unknown = told.rejected.iter().filter(|id| !places.identities.contains_key(id.as_str()));
    let unknown = unknown.map(|id| format!("told of as rejected, and nobody ordered it: {id}"));
    let mut sentences: Vec<String> = untold.chain(untrue).chain(unknown).collect();
    sentences.sort_unstable();
    found.outcomes_wrong = say(&mut found.findings, sentences.into_iter());
}

fn sequence(
    evidence: &Evidence,
    places: &Places<'_>,
    fates: &[Fate],
    held_up: &HashMap<&str, usize>,
    found: &mut Reconciliation,
) {
    let published = &evidence.published;
    // Of two orders with one identity the first is the one that is written.
    let recorded = evidence.records.iter().filter_map(|record| places.first_of(&record.order));
    let records = overtaken(published, recorded).map(|(earlier, later)| {
        format!("written after {}, which was published later: {}", published[later].id, published[earlier].id)
    });
    let announced =
        evidence.events.iter().filter_map(|event| places.references.get(event.order_number.as_str()).copied());
    let events = overtaken(published, announced).map(|(earlier, later)| {
        format!("announced after {}, which was published later: {}", published[later].id, published[earlier].id)
    });
    let passed = published.iter().enumerate().zip(fates).filter(|((place, order), fate)| {
        matches!(fate, Fate::Written | Fate::Rejected)
            && held_up.get(order.key.as_str()).is_some_and(|letter| place > letter)
    });
    let passed = passed.map(|((_, order), _)| format!("passed a dead letter of its customer: {}", order.id));
    let sentences: Vec<String> = records.chain(events).chain(passed).collect();
    found.sequence_violations = say(&mut found.findings, sentences.into_iter());
}

/// Places that come after a higher one of the same customer, each with that one.
fn overtaken(published: &[Published], places: impl Iterator<Item = usize>) -> impl Iterator<Item = (usize, usize)> {
    let mut last: HashMap<&str, usize> = HashMap::new();
    places.filter_map(move |place| {
        let highest = last.entry(&published[place].key).or_insert(place);
        let before = *highest;
        *highest = before.max(place);
        (place < before).then_some((place, before))
    })
}

#[cfg(test)]
mod tests;
