//! What is open, computed from the journal's entries: pure.

use std::collections::HashMap;

use domain::dead_letter::LetterId;
use domain::failure::Failure;

use crate::journal::entry::{Entry, EntryKind};

/// A letter that nobody has settled yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    /// Its id.
    pub id: LetterId,
    /// The customer, where known.
    pub key: Option<String>,
    /// The order's identity, where known.
    pub order_id: Option<String>,
    /// The order's type, where known.
    pub order_type: Option<String>,
    /// Given up, or held behind another.
    pub state: LetterState,
    /// When it was written first, in milliseconds since 1970.
    pub at: u64,
    /// Who wrote it.
    pub by: String,
    /// Where its message lies in the journal; unknown for the moment between the append and the reading of it.
    pub offset: Option<u64>,
    /// How often it was given up.
    pub times_dead: u32,
    /// When an operator last released its customer, in milliseconds since 1970.
    pub released_at: Option<u64>,
    /// Entries about it that we appended and have not read back.
    unread: u32,
}

/// Why a letter is open.
#[derive(Debug, Clone, PartialEq)]
pub enum LetterState {
    /// It was given up.
    Dead(Failure),
    /// It waits behind this letter of its customer.
    Held(LetterId),
}

/// The open letters, by customer and in the order in which they were written.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    letters: HashMap<LetterId, Letter>,
    chains: HashMap<String, Vec<LetterId>>,
    keyless: Vec<LetterId>,
}

impl Fold {
    /// Takes in an entry. `offset` is its place, or `None` when it was appended by ourselves and not read back yet.
    /// Taking in the same entry again changes nothing but the offset.
    pub fn apply(&mut self, offset: Option<u64>, entry: &Entry) {
        match (&entry.kind, &entry.letter) {
            (EntryKind::Dead { failure }, Some(id)) => self.open(offset, id, entry, LetterState::Dead(failure.clone())),
            (EntryKind::Held { behind }, Some(id)) => self.open(offset, id, entry, LetterState::Held(behind.clone())),
            (EntryKind::Resolved { .. } | EntryKind::Discarded { .. }, Some(id)) => self.close(id),
            (EntryKind::Released { .. }, _) => {
                let chain = entry.key.as_ref().and_then(|key| self.chains.get(key));
                for id in chain.into_iter().flatten() {
                    if let Some(letter) = self.letters.get_mut(id) {
                        letter.released_at = Some(entry.at);
                    }
                }
            }
            (
                EntryKind::Dead { .. }
                | EntryKind::Held { .. }
                | EntryKind::Resolved { .. }
                | EntryKind::Discarded { .. },
                None,
            )
            | (EntryKind::Barrier { .. }, _) => {}
        }
    }

    /// Whether a customer has an open letter, so that later orders have to wait.
    pub fn is_blocked(&self, key: &str) -> bool {
        self.chains.contains_key(key)
    }

    /// The oldest open letter of a customer.
    pub fn first(&self, key: &str) -> Option<&LetterId> {
        self.chains.get(key)?.first()
    }

    /// The open letters of a customer, oldest first.
    pub fn chain(&self, key: &str) -> Vec<&Letter> {
        self.chains.get(key).into_iter().flatten().filter_map(|id| self.letters.get(id)).collect()
    }

    /// An open letter.
    pub fn letter(&self, id: &LetterId) -> Option<&Letter> {
        self.letters.get(id)
    }

    /// Every open letter, oldest first.
    pub fn open_letters(&self) -> Vec<&Letter> {
        let mut letters: Vec<_> = self.letters.values().collect();
        letters.sort_by(|a, b| (a.at, a.offset, &a.id).cmp(&(b.at, b.offset, &b.id)));
        letters
    }

    /// How many letters are open.
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// Whether no letter is open.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// How many customers are blocked.
    pub fn blocked_keys(&self) -> usize {
        self.chains.len()
    }

    fn open(&mut self, offset: Option<u64>, id: &LetterId, entry: &Entry, state: LetterState) {
        if let Some(letter) = self.letters.get_mut(id) {
            // What we appended ourselves comes a second time when it is read back.
            let read_back = offset.is_some() && letter.unread > 0;
            letter.unread = if read_back { letter.unread - 1 } else { letter.unread + u32::from(offset.is_none()) };
            if !read_back && offset != letter.offset && matches!(state, LetterState::Dead(_)) {
                letter.times_dead += 1;
                letter.released_at = None;
            }
            // A letter that was given up is not merely held, whatever is appended late.
            if !matches!((&letter.state, &state), (LetterState::Dead(_), LetterState::Held(_))) {
                letter.state = state;
            }
            letter.offset = letter.offset.or(offset);
            return;
        }
        let times_dead = u32::from(matches!(state, LetterState::Dead(_)));
        let letter = Letter {
            id: id.clone(),
            key: entry.key.clone(),
            order_id: entry.order_id.clone(),
            order_type: entry.order_type.clone(),
            state,
            at: entry.at,
            by: entry.by.clone(),
            offset,
            times_dead,
            released_at: None,
            unread: u32::from(offset.is_none()),
        };
        match &letter.key {
            Some(key) => self.chains.entry(key.clone()).or_default().push(id.clone()),
            None => self.keyless.push(id.clone()),
        }
        self.letters.insert(id.clone(), letter);
    }

    fn close(&mut self, id: &LetterId) {
        let Some(letter) = self.letters.remove(id) else { return };
        let Some(key) = letter.key else {
            self.keyless.retain(|other| other != id);
            return;
        };
        if let Some(chain) = self.chains.get_mut(&key) {
            chain.retain(|other| other != id);
            if chain.is_empty() {
                self.chains.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::failure::Reason;

    use super::*;

    fn entry(kind: EntryKind, letter: &str, key: Option<&str>) -> Entry {
        Entry { letter: Some(LetterId::from_text(letter)), key: key.map(str::to_owned), ..Entry::new(kind, "test") }
    }

    fn dead() -> EntryKind {
        EntryKind::Dead { failure: Failure::permanent(Reason::SalesforceRefused, "x") }
    }

    fn held() -> EntryKind {
        EntryKind::Held { behind: LetterId::from_text("a") }
    }

    fn names(fold: &Fold, key: &str) -> Vec<String> {
        fold.chain(key).iter().map(|letter| letter.id.as_str().to_owned()).collect()
    }

    #[test]
    fn a_customer_is_blocked_from_the_first_dead_letter_to_the_last_settled_one() {
        let mut fold = Fold::default();
        assert!(!fold.is_blocked("k"));
        fold.apply(Some(1), &entry(dead(), "a", Some("k")));
        fold.apply(Some(2), &entry(held(), "b", Some("k")));
        assert_eq!(names(&fold, "k"), ["a", "b"]);
        fold.apply(Some(3), &entry(EntryKind::Resolved { how: "written".into() }, "a", Some("k")));
        assert!(fold.is_blocked("k"));
        fold.apply(Some(4), &entry(EntryKind::Discarded { why: "test".into() }, "b", Some("k")));
        assert!(!fold.is_blocked("k") && fold.is_empty());
    }

    #[test]
    fn a_letter_that_fails_again_keeps_its_place() {
        let mut fold = Fold::default();
        fold.apply(Some(1), &entry(dead(), "a", Some("k")));
        fold.apply(Some(2), &entry(held(), "b", Some("k")));
        fold.apply(Some(3), &entry(dead(), "a", Some("k")));
        assert_eq!(names(&fold, "k"), ["a", "b"]);
        assert_eq!(fold.letter(&LetterId::from_text("a")).expect("open").times_dead, 2);
    }

    #[test]
    fn reading_back_ones_own_entry_counts_it_once_and_learns_its_place() {
        let mut fold = Fold::default();
        fold.apply(None, &entry(dead(), "a", Some("k")));
        fold.apply(Some(7), &entry(dead(), "a", Some("k")));
        let letter = fold.letter(&LetterId::from_text("a")).expect("open");
        assert_eq!((letter.offset, letter.times_dead), (Some(7), 1));
        fold.apply(None, &entry(dead(), "a", Some("k")));
        fold.apply(Some(9), &entry(dead(), "a", Some("k")));
        assert_eq!(fold.letter(&LetterId::from_text("a")).expect("open").times_dead, 2);
    }

    #[test]
    fn a_letter_without_a_customer_blocks_nobody() {
        let mut fold = Fold::default();
        fold.apply(Some(1), &entry(dead(), "a", None));
        assert_eq!((fold.len(), fold.blocked_keys()), (1, 0));
        fold.apply(Some(2), &entry(EntryKind::Discarded { why: String::new() }, "a", None));
        assert!(fold.is_empty());
    }

    #[test]
    fn a_release_marks_the_open_letters_of_its_customer_only() {
        let mut fold = Fold::default();
        fold.apply(Some(1), &entry(dead(), "a", Some("k")));
        fold.apply(Some(2), &entry(dead(), "b", Some("other")));
        fold.apply(Some(3), &Entry { letter: None, ..entry(EntryKind::Released { plan: "p".into() }, "", Some("k")) });
        assert!(fold.letter(&LetterId::from_text("a")).expect("open").released_at.is_some());
        assert!(fold.letter(&LetterId::from_text("b")).expect("open").released_at.is_none());
    }
}
