//! Carrying open letters on before retention drops their entry.
//!
//! A stream drops its oldest entries by age and by size, without asking. So a letter that is open when half of either is used
//! is appended again, with its message and all that is known of it. The customer's letters keep their order: each carries its
//! first place along. Two that carry the same letter do no harm, because it is one letter by its id.

use std::sync::Arc;
use std::time::Duration;

use domain::dead_letter::LetterId;
use serde_json::{Value, json};

use crate::error::Error;
use crate::journal::entry::{ALREADY, Entry, EntryKind};
use crate::journal::fold::{Fold, Letter, LetterState};
use crate::journal::tail::{JournalTail, entries_at};
use crate::session::Session;
use crate::topology::{Target, Topology};

/// The most letters that are carried in one step.
pub const CARRIED_AT_ONCE: usize = 100;

/// The most steps at a time: half a retention is left for far more than the fleet lets wait.
const STEPS: usize = 100;

/// What is known of a letter that is carried on, beside its message.
#[derive(Debug, Clone, PartialEq)]
pub struct Carried {
    /// Why it is open.
    pub state: LetterState,
    /// When it was written first, in milliseconds since 1970.
    pub at: u64,
    /// Who wrote it first.
    pub by: String,
    /// The offset of its first entry: its place among its customer's letters.
    pub place: u64,
    /// How often it was given up.
    pub times_dead: u32,
    /// When it was given up first, in milliseconds since 1970.
    pub first_dead_at: Option<u64>,
    /// When it was given up last.
    pub last_dead_at: Option<u64>,
    /// When an operator last released its customer.
    pub released_at: Option<u64>,
}

impl Carried {
    /// As the detail of an entry.
    pub(super) fn to_text(&self) -> String {
        let Self { state, at, by, place, times_dead, first_dead_at, last_dead_at, released_at } = self;
        let state = match state {
            LetterState::Dead(failure) => json!({ "dead": failure.kept() }),
            LetterState::Held(behind) => json!({ "held": behind.as_str() }),
        };
        json!({
            "state": state, "at": at, "by": by, "place": place, "times_dead": times_dead, "first_dead_at": first_dead_at,
            "last_dead_at": last_dead_at, "released_at": released_at,
        })
        .to_string()
    }

    /// Read back; `None` for what this version does not understand.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let told: Value = serde_json::from_str(text).ok()?;
        let time = |name: &str| told.get(name).and_then(Value::as_u64);
        let state = told.get("state")?;
        let state = match (state.get("dead"), state.get("held").and_then(Value::as_str)) {
            (Some(failure), _) => LetterState::Dead(serde_json::from_value(failure.clone()).ok()?),
            (None, Some(behind)) => LetterState::Held(LetterId::from_text(behind)),
            (None, None) => return None,
        };
        Some(Self {
            state,
            at: time("at")?,
            by: told.get("by")?.as_str()?.to_owned(),
            place: time("place")?,
            times_dead: u32::try_from(time("times_dead")?).ok()?,
            first_dead_at: time("first_dead_at"),
            last_dead_at: time("last_dead_at"),
            released_at: time("released_at"),
        })
    }
}

/// What a journal keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long.
    pub age: Duration,
    /// How much, in bytes.
    pub bytes: u64,
}

impl Retention {
    /// As the fleet declares it.
    pub fn of(topology: &Topology) -> Self {
        Self { age: Duration::from_hours(24) * topology.journal_days, bytes: topology.journal_bytes }
    }

    /// Whether half of it is used since an entry was written.
    fn is_half_used(&self, letter: &Letter, read: u64, now: u64) -> bool {
        let age = Duration::from_millis(now.saturating_sub(letter.kept_at));
        age >= self.age / 2 || read.saturating_sub(letter.kept_from) >= self.bytes / 2
    }
}

/// The letters to carry on now, those that were written first at first.
pub fn due(fold: &Fold, now: u64, retention: Retention) -> Vec<Letter> {
    let read = fold.read_bytes();
    let is_due = |letter: &&Letter| letter.offset.is_some() && retention.is_half_used(letter, read, now);
    let mut due: Vec<&Letter> = fold.letters().filter(is_due).collect();
    due.sort_by_key(|letter| letter.offset);
    due.into_iter().take(CARRIED_AT_ONCE).cloned().collect()
}

/// Carries on what is due at `now`, in milliseconds since 1970, step by step; returns how many letters.
///
/// # Errors
/// The journal could not be read or written; what was carried by then is carried.
pub async fn carry(
    session: &Arc<dyn Session>,
    tail: &JournalTail,
    now: u64,
    retention: Retention,
) -> Result<usize, Error> {
    let mut carried = 0;
    for _ in 0..STEPS {
        let letters = carry_some(session, tail, now, retention).await?;
        carried += letters;
        if letters < CARRIED_AT_ONCE {
            break;
        }
    }
    Ok(carried)
}

async fn carry_some(
    session: &Arc<dyn Session>,
    tail: &JournalTail,
    now: u64,
    retention: Retention,
) -> Result<usize, Error> {
    tail.barrier().await?;
    // What was dropped already keeps nothing else from being carried.
    let found = loop {
        let letters = due(&tail.fold(), now, retention);
        if letters.is_empty() {
            return Ok(0);
        }
        let places: Vec<(LetterId, u64)> =
            letters.iter().filter_map(|letter| Some((letter.id.clone(), letter.offset?))).collect();
        let found = entries_at(session, places.clone()).await?;
        for (id, offset) in places {
            let is_lost = found.iter().all(|(other, _)| *other != id) && tail.fold().dropped(&id, offset);
            if is_lost {
                tell_lost(&letters, &id);
            }
        }
        if !found.is_empty() {
            break found;
        }
    };
    let mut carried = Vec::new();
    for (id, entry) in found {
        // It may have been settled while the messages were read.
        let Some(entry) = tail.fold().letter(&id).and_then(|letter| on(letter, entry, tail.by())) else { continue };
        session.publish(&Target::Journal, &entry.to_message()).await.map_err(|error| Error::Lost(error.to_string()))?;
        carried.push(entry);
    }
    // One that was settled in between would be open again for whoever reads no more than what retention has left.
    tail.barrier().await?;
    for entry in &carried {
        let open = entry.letter.as_ref().is_some_and(|id| tail.fold().letter(id).is_some());
        if !open {
            let kind = EntryKind::Resolved { how: ALREADY.to_owned() };
            let closing = Entry {
                letter: entry.letter.clone(),
                key: entry.key.clone(),
                order_id: entry.order_id.clone(),
                ..Entry::new(kind, tail.by())
            };
            tail.append(closing).await.map_err(|error| Error::Lost(error.to_string()))?;
        }
    }
    Ok(carried.len())
}

/// An order is lost: nobody carried its letter on in time.
pub(super) fn tell_lost(letters: &[Letter], id: &LetterId) {
    let order = letters.iter().find(|letter| letter.id == *id).and_then(|letter| letter.order_id.as_deref());
    tracing::error!(
        order.id = order.unwrap_or("unknown"),
        letter.id = %id,
        "retention has dropped the message of an open letter: only whoever sent the order has it now. Have it sent again, and \
         discard the letter"
    );
}

/// The entry that carries a letter on, with the message of the entry before.
pub(super) fn on(letter: &Letter, before: Entry, by: &str) -> Option<Entry> {
    let carried = Carried {
        state: letter.state.clone(),
        at: letter.at,
        by: letter.by.clone(),
        place: letter.place.or(letter.offset)?,
        times_dead: letter.times_dead,
        first_dead_at: letter.first_dead_at,
        last_dead_at: letter.last_dead_at,
        released_at: letter.released_at,
    };
    Some(Entry {
        letter: Some(letter.id.clone()),
        key: letter.key.clone(),
        order_id: letter.order_id.clone(),
        order_type: letter.order_type.clone(),
        ahead: letter.ahead.clone(),
        message: before.message,
        ..Entry::new(EntryKind::Carried(Box::new(carried)), by)
    })
}

#[cfg(test)]
mod tests {
    use domain::failure::{Failure, Reason};

    use super::*;

    fn entry(kind: EntryKind, letter: &str, at: u64) -> Entry {
        let letter = Some(LetterId::from_text(letter));
        Entry { letter, key: Some("k".into()), at, ..Entry::new(kind, "writer/1") }
    }

    fn dead() -> EntryKind {
        EntryKind::Dead { failure: Failure::permanent(Reason::SalesforceRefused, "x") }
    }

    fn ids(letters: &[&Letter]) -> Vec<String> {
        letters.iter().map(|letter| letter.id.to_string()).collect()
    }

    const DAY: u64 = 24 * 3_600 * 1_000;
    const RETENTION: Retention = Retention { age: Duration::from_hours(24 * 10), bytes: 1_000 };

    #[test]
    fn a_letter_is_due_when_half_of_the_time_or_of_the_room_is_used() {
        let mut fold = Fold::default();
        fold.apply(Some(1), &entry(dead(), "a", DAY));
        fold.passed(300);
        fold.apply(Some(2), &entry(dead(), "b", 2 * DAY));
        let due =
            |fold: &Fold, now| due(fold, now, RETENTION).iter().map(|letter| letter.id.to_string()).collect::<Vec<_>>();
        assert_eq!(due(&fold, 6 * DAY - 1), Vec::<String>::new());
        assert_eq!(due(&fold, 6 * DAY), ["a"]);
        assert_eq!(due(&fold, 7 * DAY), ["a", "b"]);
        fold.passed(200);
        assert_eq!(due(&fold, 2 * DAY), ["a"]);
        fold.passed(300);
        assert_eq!(due(&fold, 2 * DAY), ["a", "b"]);
    }

    /// What a reader knows who still sees everything, and one who sees only what was carried.
    #[test]
    fn who_reads_only_what_was_carried_knows_the_same_letters_in_the_same_order() {
        let mut all = Fold::default();
        let held = EntryKind::Held { behind: LetterId::from_text("a") };
        all.apply(Some(1), &entry(dead(), "a", 10));
        all.apply(Some(2), &entry(held, "b", 20));
        all.apply(Some(3), &entry(dead(), "a", 30));
        let released = Entry { letter: None, at: 40, ..entry(EntryKind::Released { plan: "p".into() }, "", 40) };
        all.apply(Some(4), &released);
        let mut rest = Fold::default();
        // The younger one is carried first, and both are carried by two writers.
        for (offset, name) in [(7, "b"), (8, "a"), (9, "a"), (10, "b")] {
            let letter = all.letter(&LetterId::from_text(name)).expect("open").clone();
            let carried = on(&letter, entry(dead(), name, 0), "writer/2").expect("it has a place");
            let carried = Entry::from_message(&carried.to_message()).expect("it reads back");
            all.apply(Some(offset), &carried);
            rest.apply(Some(offset), &carried);
        }
        assert_eq!(ids(&rest.chain("k")), ["a", "b"]);
        assert_eq!(ids(&all.chain("k")), ids(&rest.chain("k")));
        for name in ["a", "b"] {
            let [one, other] = [&all, &rest].map(|fold| fold.letter(&LetterId::from_text(name)).expect("open").clone());
            assert_eq!((one.offset, &one.state, one.times_dead), (other.offset, &other.state, other.times_dead));
            assert_eq!((one.at, one.by, one.first_dead_at), (other.at, other.by, other.first_dead_at));
            assert_eq!((one.last_dead_at, one.released_at), (other.last_dead_at, other.released_at));
        }
        assert_eq!(
            rest.letter(&LetterId::from_text("b")).expect("open").offset,
            Some(10),
            "where its message lies now"
        );
        // What comes later is behind them.
        rest.apply(Some(11), &entry(EntryKind::Held { behind: LetterId::from_text("a") }, "c", 50));
        assert_eq!(ids(&rest.chain("k")), ["a", "b", "c"]);
    }

    /// Retention has dropped the first entry of each, and not yet the second death of the first.
    #[test]
    fn a_letter_that_failed_again_before_it_was_carried_keeps_its_place_and_its_past() {
        let mut all = Fold::default();
        all.apply(Some(1), &Entry { by: "writer/0".into(), ..entry(dead(), "a", 10) });
        all.apply(Some(2), &entry(EntryKind::Held { behind: LetterId::from_text("a") }, "b", 20));
        let again = entry(dead(), "a", 30);
        all.apply(Some(12), &again);
        let mut rest = Fold::default();
        rest.apply(Some(12), &again);
        for (offset, name) in [(20, "a"), (21, "b")] {
            let letter = all.letter(&LetterId::from_text(name)).expect("open").clone();
            let carried = on(&letter, entry(dead(), name, 0), "writer/2").expect("it has a place");
            all.apply(Some(offset), &carried);
            rest.apply(Some(offset), &carried);
        }
        assert_eq!(ids(&rest.chain("k")), ["a", "b"], "its successor does not go before it");
        let [one, other] = [&all, &rest].map(|fold| fold.letter(&LetterId::from_text("a")).expect("open").clone());
        assert_eq!((one.offset, one.place, one.at, &one.by), (other.offset, other.place, other.at, &other.by));
        assert_eq!((one.place, one.at, one.by.as_str()), (Some(1), 10, "writer/0"));
        let past = |letter: &Letter| (letter.times_dead, letter.first_dead_at, letter.last_dead_at);
        assert_eq!((past(&one), past(&other)), ((2, Some(10), Some(30)), (2, Some(10), Some(30))));
    }

    #[test]
    fn a_letter_that_was_settled_before_the_carrying_entry_stays_settled() {
        let mut fold = Fold::default();
        fold.apply(Some(1), &entry(dead(), "a", 10));
        let letter = fold.letter(&LetterId::from_text("a")).expect("open").clone();
        let carried = on(&letter, entry(dead(), "a", 10), "writer/2").expect("it has a place");
        fold.apply(Some(2), &entry(EntryKind::Resolved { how: "written".into() }, "a", 20));
        fold.apply(Some(3), &carried);
        assert!(!fold.is_blocked("k"));
    }
}
