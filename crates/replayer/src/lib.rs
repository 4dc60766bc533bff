//! Lets an operator look at dead letters, understand them, and replay or discard them.
//!
//! # The story
//!
//! [`cli`] reads the command line and connects; the journal's open letters, and the last settled ones ([`closed`]), become
//! one view ([`letters::OpenLetters`]). [`selection`] says which of them are meant, [`forecast`] what a replay would do with
//! them, [`explain`] what a code means.
//! What is destructive takes a [`confirm::Confirmed`], which only a person's answer or `--yes` makes. While a replay is
//! waited for, [`follow`] tells what became of each letter.
//!
//! # Words
//!
//! A letter is *dead* (given up), *parked* (behind a dead one of its customer; `held` in the journal's entries), *released*
//! (let go by an operator and not settled yet) or *closed* (settled or thrown away). No letter is two of them.
//!
//! # Invariants
//!
//! - Everything but [`cli`], [`journal`] and [`terminal`] is pure: letters and the time come in as arguments.
//! - Nothing that may be personal data is shown without `--reveal`: customers are masked, bodies and headers are described.
//! - Text from outside never reaches the terminal with control characters in it ([`shown::printable`]).
//! - Standard output holds the answer, and with `--json` one document; everything said on the way goes to standard error.
//! - The tool only appends to the journal and publishes; doing the same again does no harm.

pub mod body;
pub mod cli;
pub mod closed;
pub mod confirm;
pub mod explain;
pub mod follow;
pub mod forecast;
pub mod journal;
pub mod letters;
pub mod selection;
pub mod settings;
pub mod shown;
pub mod story;
pub mod table;
pub mod terminal;
