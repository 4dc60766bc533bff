//! The error atlas knows every code with which the simulator can answer: the simulator words its refusals from Salesforce's
//! documentation, and shares nothing with our client, so the two keep each other whole.

use std::collections::BTreeSet;

use domain::atlas::Atlas;

use crate::{Source, none, sources};

/// In capitals, and yet no error code.
const NO_CODES: [(&str, &str); 5] = [
    ("OPERATION_ENQUEUED", "how an event's success is told"),
    ("COUNT_DISTINCT", "a function of SOQL"),
    ("OUT_DIR", "a variable of the build"),
    ("START_ARRAY", "a token in the text of JSON_PARSER_ERROR"),
    ("START_OBJECT", "a token in the text of JSON_PARSER_ERROR"),
];

/// How date literals of SOQL, tokens of JSON and our own variables begin.
const NO_CODES_PREFIXED: [&str; 6] = ["CAUSEWAY_", "VALUE_", "THIS_", "NEXT_", "LAST_", "N_"];

/// Calls that make a refusal; the first text in capitals behind them is its code.
const REFUSALS: [&str; 3] = ["ApiError::new(", "bad_request(", "Fault::new("];

#[test]
fn the_atlas_knows_every_code_that_the_simulator_can_answer_with() {
    let mut codes = BTreeSet::new();
    for source in sources("crates/simulator/src") {
        let shipped = answering(&source);
        codes.extend(quoted(&shipped).filter(|text| is_code(text)).map(str::to_owned));
        // Codes of one word, as bulk jobs have them, stand where refusals are made.
        for refusal in REFUSALS {
            for (at, _) in shipped.match_indices(refusal) {
                let statement = shipped[at..].split(';').next().unwrap_or_default();
                let named = quoted(statement).next().filter(|text| is_word(text));
                codes.extend(named.map(str::to_owned));
            }
        }
        if source.path.ends_with("pubsub/rpc.rs") {
            let dotted = quoted(&shipped)
                .filter(|text| text.contains('.') && text.bytes().all(|b| b == b'.' || b.is_ascii_lowercase()));
            codes.extend(
                dotted.filter(|text| !text.ends_with('.')).map(|text| format!("sfdc.platform.eventbus.grpc.{text}")),
            );
        }
        codes.extend(quoted(&shipped).filter(|text| PLAIN.contains(text)).map(str::to_owned));
    }
    assert!(codes.len() > 80, "only {} codes were found in the simulator: {codes:?}", codes.len());
    for known in ["UNABLE_TO_LOCK_ROW", "INVALIDJOBSTATE", "GONE", "Bad_OAuth_Token"] {
        assert!(codes.contains(known), "{known} was not found in the simulator's sources");
    }
    let problems: Vec<String> = codes.into_iter().filter(|code| Atlas::code(code).is_none()).collect();
    none(&problems, "Give each an entry in crates/domain/src/atlas.toml, or say in NO_CODES why it is none.");
}

/// What identity resources answer in plain text.
const PLAIN: [&str; 6] = ["Bad_OAuth_Token", "Missing_OAuth_Token", "Wrong_Org", "Bad_Id", "Inactive", "No_Access"];

#[test]
fn the_atlas_knows_every_sign_in_error_that_the_simulator_can_answer_with() {
    let mut found = BTreeSet::new();
    for source in sources("crates/simulator/src") {
        let shipped = answering(&source);
        for (at, _) in shipped.match_indices("OauthError::new(\"") {
            found.extend(quoted(&shipped[at..]).next().map(str::to_owned));
        }
    }
    assert!(found.len() > 12, "only {found:?} were found in the simulator");
    let unlisted = |error: &String| Atlas::sign_ins().iter().all(|entry| entry.error != *error);
    let problems: Vec<String> = found.into_iter().filter(unlisted).collect();
    none(&problems, "Give each a [[sign_in]] in crates/domain/src/atlas.toml.");
}

/// A source without its comments and without tests of its own.
fn answering(source: &Source) -> String {
    let module = source.path.split_once("/src/").map_or("", |(_, module)| module);
    if module.ends_with("tests.rs") || module.contains("tests/") {
        return String::new();
    }
    let text = source.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Words in capitals with an underscore between them.
fn is_code(text: &str) -> bool {
    let formed = text.contains('_') && is_word(text) && !text.starts_with('_') && !text.ends_with('_');
    formed
        && !NO_CODES.iter().any(|(word, _)| *word == text)
        && !NO_CODES_PREFIXED.iter().any(|prefix| text.starts_with(prefix))
}

fn is_word(text: &str) -> bool {
    text.len() > 3 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// What stands between two quotes on one line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('"').skip(1).step_by(2))
}
