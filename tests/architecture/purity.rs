//! `domain` decides by its arguments alone.

use crate::{none, sources};

/// What brings something in that is no argument.
const IMPURE: [(&str, &str); 14] = [
    ("SystemTime", "take the time as an argument"),
    ("Instant::", "take the time as an argument"),
    ("::now(", "take the time as an argument"),
    ("std::env", "take the value as an argument"),
    ("std::fs", "take the text as an argument"),
    ("std::net", "leave the network to an edge"),
    ("std::process", "leave processes to an edge"),
    ("std::thread", "leave concurrency to whoever calls"),
    ("tokio", "leave waiting to whoever calls"),
    ("async ", "leave waiting to whoever calls"),
    ("rand::", "take the random value as an argument"),
    ("Uuid::new", "take the id as an argument"),
    ("println!", "return what is to be said"),
    ("static mut", "pass the state in and out"),
];

#[test]
fn the_core_reads_no_clock_no_environment_no_file_and_no_dice() {
    let sources = sources("crates/domain/src");
    let problems: Vec<_> = sources
        .iter()
        .flat_map(|source| source.shipped().map(move |(number, line)| (source, number, line)))
        .flat_map(|(source, number, line)| {
            IMPURE
                .iter()
                .filter(move |(word, _)| line.contains(word))
                .map(move |(word, remedy)| format!("{}:{number} has `{}`: {remedy}", source.path, word.trim()))
        })
        .collect();
    none(&problems, "The core gives the same answer to the same bytes anywhere, or replays and tests prove nothing.");
}

#[test]
fn nothing_that_ships_unwraps() {
    let sources = sources("crates");
    let problems: Vec<_> = sources
        .iter()
        .filter(|source| source.path.contains("/src/"))
        .flat_map(|source| source.shipped().map(move |(number, line)| (source, number, line)))
        .filter(|(_, _, line)| line.contains(".unwrap()"))
        .map(|(source, number, _)| format!("{}:{number} unwraps", source.path))
        .collect();
    none(&problems, "Handle it, or `expect` with a sentence that says why it cannot fail.");
}
