//! The traps of the broker that a compiler does not see, and that each of them has a test.

use crate::{none, read, root, sources};

/// How many traps are known.
const TRAPS: usize = 17;

/// What must not stand in what ships, where it may, and why.
const FORBIDDEN: [(&str, &[&str], &str); 12] = [
    (
        "basic_cancel",
        &[],
        "cancelled with anything unacknowledged, later messages come first: close the channel (trap 1)",
    ),
    ("auto_recover", &[], "recovery hides that deliveries belong to somebody else by now (trap 3)"),
    ("with_experimental_recovery", &[], "recovery hides that deliveries belong to somebody else by now (trap 3)"),
    ("recovery_config", &[], "recovery hides that deliveries belong to somebody else by now (trap 3)"),
    ("multiple: true", &["crates/queue/src/rabbitmq/journal.rs"], "a head that waits would hold others back (trap 5)"),
    ("basic_nack", &[], "a returned message overtakes, or goes round for ever (trap 6)"),
    ("basic_reject", &[], "a returned message overtakes, or goes round for ever (trap 6)"),
    ("x-priority", &[], "priorities leave ghosts on queues with one active consumer (trap 7)"),
    ("with_expiration", &[], "a message's own expiry works at the head only (trap 9)"),
    ("x-message-ttl", &[], "a message's own expiry works at the head only (trap 9)"),
    (
        "x-acquired-count",
        &["crates/queue/src/rabbitmq/properties.rs"],
        "the broker counts what was prefetched, not what was tried (trap 17)",
    ),
    (
        "x-delivery-count",
        &["crates/queue/src/rabbitmq/properties.rs"],
        "the broker counts what was prefetched, not what was tried (trap 17)",
    ),
];

/// Where alone lapin's consumers may be: there they are leaked rather than dropped while their channel is open.
const CONSUMERS: &str = "crates/queue/src/rabbitmq/deliver.rs";

#[test]
fn what_the_broker_punishes_is_nowhere_in_what_ships() {
    let mut problems = Vec::new();
    for source in sources("crates").iter().filter(|source| source.path.contains("/src/")) {
        for (number, line) in source.shipped() {
            for (word, allowed, why) in FORBIDDEN {
                if line.contains(word) && !allowed.contains(&source.path.as_str()) {
                    problems.push(format!("{}:{number}: {word}: {why}", source.path));
                }
            }
        }
    }
    none(&problems, "See the traps in the head of crates/queue/src/lib.rs.");
}

#[test]
fn consumers_are_held_in_one_place_which_closes_their_channel_first() {
    let mut problems = Vec::new();
    for source in sources("crates/queue/src") {
        let consumes = source.shipped().any(|(_, line)| line.contains(".basic_consume("));
        if consumes && source.path != CONSUMERS {
            problems.push(format!("{} consumes", source.path));
        }
    }
    let text = read(&root().join(CONSUMERS));
    for part in ["struct Held(Option<Consumer>)", "impl Drop for Held", "std::mem::forget(self.0.take())"] {
        if !text.contains(part) {
            problems.push(format!("{CONSUMERS} does not say {part:?}"));
        }
    }
    let (close, drop) = (text.find("self.channel.close("), text.find("drop(self.consumer.0.take())"));
    if close.is_none() || drop.is_none() || close > drop {
        problems.push(format!("{CONSUMERS} lets a consumer go before its channel is closed"));
    }
    none(&problems, "A consumer that is dropped while its channel is open is cancelled (trap 1).");
}

#[test]
fn every_trap_names_tests_that_exist() {
    let head = read(&root().join("crates/queue/src/lib.rs"));
    let rows: Vec<Vec<&str>> = head
        .lines()
        .filter_map(|line| line.strip_prefix("//! | ")?.strip_suffix(" |"))
        .map(|row| row.split(" | ").collect())
        .filter(|row: &Vec<&str>| row.len() == 3 && row[0].parse::<usize>().is_ok())
        .collect();
    let numbers: Vec<usize> = rows.iter().filter_map(|row| row[0].parse().ok()).collect();
    assert_eq!(numbers, (1..=TRAPS).collect::<Vec<_>>(), "the table of the traps in crates/queue/src/lib.rs");
    let tests: Vec<_> = ["crates", "tests"].into_iter().flat_map(sources).collect();
    let mut problems = Vec::new();
    for row in rows {
        let named: Vec<&str> = row[2].split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            problems.push(format!("trap {} names no test", row[0]));
        }
        for name in named {
            if !tests.iter().any(|source| source.text.contains(&format!("fn {name}("))) {
                problems.push(format!("trap {}: there is no test `{name}`", row[0]));
            }
        }
    }
    none(&problems, "A trap without a test catches the next one: write the test, or name the one that holds it now.");
}
