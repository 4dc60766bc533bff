//! The error atlas is whole: each reason, kind and code stands in it once, in sentences, with its source; and the page
//! that readers see says what the table says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use causeway_domain::atlas::{Atlas, ErrorKind, LiesIn, Surface};
use causeway_domain::failure::{Failure, Reason};
use causeway_domain::outcome::Outcome;
use causeway_domain::retry::RetryPolicy;
use causeway_domain::settlement::{Settlement, settle};

const CLASSES: [&str; 5] = ["permanent", "transient", "ambiguous", "outage", "rejection"];

#[test]
fn every_reason_stands_in_the_atlas_once() {
    let listed: Vec<Reason> = Atlas::reasons().iter().map(|entry| entry.reason).collect();
    assert_eq!(listed, Reason::ALL, "the atlas lists the reasons in the order of Reason::ALL");
    for reason in Reason::ALL {
        assert_eq!(Atlas::reason(reason).map(|entry| entry.reason), Some(reason));
        assert!(!reason.remedy().is_empty(), "{reason}");
    }
    for entry in Atlas::reasons() {
        assert!(CLASSES.contains(&entry.class.as_str()), "{}: {}", entry.reason, entry.class);
    }
}

/// The entry's own words are what a story, `explain` and the page show.
#[test]
fn what_limio_tells_its_users_of_a_reason_stands_in_what_the_reason_means() {
    let told: Vec<_> = Atlas::reasons().iter().filter_map(|entry| Some((entry, entry.in_limio.as_deref()?))).collect();
    assert!(told.iter().any(|(entry, _)| entry.reason == Reason::AuthenticationFailed));
    for (entry, words) in told {
        assert!(entry.meaning.contains(words), "{}: {}", entry.reason, entry.meaning);
        assert_eq!(Atlas::reason_in_limio(words).map(|found| found.reason), Some(entry.reason));
    }
}

#[test]
fn every_kind_says_what_causeway_does_about_it() {
    for kind in ErrorKind::ALL {
        assert!(Atlas::does(kind).ends_with('.'), "{kind}");
    }
    assert!(Atlas::does_when_ambiguous().contains("looked up"));
}

#[test]
fn every_code_that_somebody_has_to_set_right_says_whether_one_order_can_be_its_cause() {
    for code in Atlas::codes() {
        let configuration = code.kind == ErrorKind::Configuration;
        assert_eq!(code.lies_in.is_some(), configuration, "{}", code.code);
        // What comes in rows and nodes alone is about them.
        let whole = !code.http.is_empty() || code.lies_in != Some(LiesIn::Org);
        assert!(whole, "{} never refuses a whole request", code.code);
    }
    let of = |code: &str| Atlas::code(code).and_then(|code| code.lies_in);
    assert_eq!(of("API_DISABLED_FOR_ORG"), Some(LiesIn::Org));
    assert_eq!(of("FUNCTIONALITY_NOT_ENABLED"), Some(LiesIn::Resource));
    assert_eq!(of("INVALID_FIELD"), Some(LiesIn::Record));
}

/// Lookups forgive case, so two entries may not differ by case alone.
#[test]
fn no_name_stands_for_two_entries() {
    let codes = Atlas::codes().iter().map(|code| code.code.clone());
    let answers = Atlas::answers().iter().map(|answer| answer.name.clone());
    let reasons = Reason::ALL.into_iter().map(|reason| reason.as_str().to_owned());
    let errors: BTreeSet<String> = Atlas::sign_ins().iter().map(|entry| entry.error.clone()).collect();
    let mut seen = BTreeSet::new();
    for name in codes.chain(answers).chain(reasons).chain(errors) {
        assert!(seen.insert(name.to_ascii_lowercase()), "{name} stands for two entries");
    }
    let mut descriptions = BTreeSet::new();
    for entry in Atlas::sign_ins() {
        let name = (&entry.error, entry.description.to_ascii_lowercase());
        assert!(descriptions.insert(name), "{} {:?} stands twice", entry.error, entry.description);
    }
}

#[test]
fn every_error_of_the_token_endpoint_has_an_entry_for_descriptions_that_nobody_listed() {
    for entry in Atlas::sign_ins() {
        let has_plain =
            Atlas::sign_ins().iter().any(|other| other.error == entry.error && other.description.is_empty());
        assert!(has_plain, "{}", entry.error);
    }
}

#[test]
fn every_entry_explains_itself_in_sentences() {
    let codes = Atlas::codes().iter().flat_map(|code| {
        let texts = code.texts.iter().flat_map(|text| [&text.meaning, &text.action]);
        [&code.meaning, &code.often, &code.action].into_iter().chain(texts).map(|text| (code.code.as_str(), text))
    });
    let answers = Atlas::answers()
        .iter()
        .flat_map(|entry| [&entry.meaning, &entry.often, &entry.action].map(|text| (entry.name.as_str(), text)));
    let sign_ins = Atlas::sign_ins()
        .iter()
        .flat_map(|entry| [&entry.meaning, &entry.often].map(|text| (entry.error.as_str(), text)));
    let reasons = Atlas::reasons().iter().flat_map(|entry| {
        [&entry.meaning, &entry.often, &entry.does, &entry.action].map(|text| (entry.reason.as_str(), text))
    });
    for (name, text) in codes.chain(answers).chain(sign_ins).chain(reasons) {
        assert!(text.ends_with('.') && text.len() > 8, "{name}: {text}");
        assert!(text.starts_with(|c: char| c.is_ascii_uppercase()) || text.starts_with("order-"), "{name}: {text}");
        assert!(!text.contains(".md") && !text.contains('§'), "{name}: {text}");
    }
    for code in Atlas::codes() {
        assert_ne!(code.meaning, code.often, "{}", code.code);
        assert!(code.http.iter().all(|status| (300..600).contains(status)), "{}", code.code);
    }
}

#[test]
fn every_entry_names_the_public_page_where_it_is_documented() {
    let codes = Atlas::codes().iter().map(|code| (code.code.as_str(), &code.documented));
    let answers = Atlas::answers().iter().map(|answer| (answer.name.as_str(), &answer.documented));
    let sign_ins = Atlas::sign_ins().iter().map(|entry| (entry.error.as_str(), &entry.documented));
    for (name, source) in codes.chain(answers).chain(sign_ins) {
        assert!(Atlas::source(source).is_some(), "{name} names the source {source}, which [sources] does not have");
    }
}

#[test]
fn every_error_status_means_something_and_the_nearest_entry_decides() {
    for status in 300..1000 {
        assert!(Atlas::status(status).is_some(), "{status}");
    }
    let kind = |status| Atlas::status(status).map(|answer| (answer.kind, answer.ambiguous));
    assert_eq!(kind(401), Some((ErrorKind::Session, false)));
    assert_eq!(kind(408), Some((ErrorKind::Transient, true)));
    assert_eq!(kind(420), Some((ErrorKind::Transient, false)));
    assert_eq!(kind(429), Some((ErrorKind::Throttled, false)));
    assert_eq!(kind(418), Some((ErrorKind::Unknown, false)));
    for status in 500..600 {
        assert_eq!(kind(status), Some((ErrorKind::Transient, true)), "{status}");
    }
}

#[test]
fn a_code_that_nobody_catalogued_is_tried_again_and_then_given_up_by_that_name() {
    assert!(Atlas::code("NEVER_HEARD_OF").is_none());
    let policy = RetryPolicy::default();
    let failure = Failure::transient(Reason::UnknownSalesforceCode, "a code").coded("NEVER_HEARD_OF");
    let outcome = Outcome::Failed(failure);
    assert!(matches!(settle(&outcome, 1, &policy), Settlement::Retry { .. }));
    let last = (1..1000).map(|attempts| settle(&outcome, attempts, &policy)).find_map(|settlement| match settlement {
        Settlement::DeadLetter(failure) => Some(failure),
        Settlement::Ack | Settlement::Retry { .. } | Settlement::Again { .. } | Settlement::Pause { .. } => None,
    });
    let last = last.expect("it is given up");
    assert_eq!((last.reason, last.salesforce_code.as_deref()), (Reason::UnknownSalesforceCode, Some("NEVER_HEARD_OF")));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it is no setting: it makes this test write what it compares")]
fn the_page_for_readers_says_what_the_table_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/atlas.md");
    let page = page();
    if std::env::var_os("CAUSEWAY_WRITE_ATLAS").is_some() {
        std::fs::write(&file, &page).expect("the page is written");
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == page,
        "src/atlas.md is not what atlas.toml says; run: CAUSEWAY_WRITE_ATLAS=1 cargo test -p causeway-domain --test atlas"
    );
}

/// The atlas as a page.
fn page() -> String {
    let mut out = String::from(
        "# Error atlas\n\n\
         Every code that an order may meet: what it means, what it usually is, what Causeway does about it, and what you do.\n\
         Made from `atlas.toml` beside it; `causeway-replayer explain CODE` says the same.\n\n\
         ## What Causeway does about each class\n\n| Class | What Causeway does |\n|---|---|\n",
    );
    for kind in ErrorKind::ALL {
        let _ = writeln!(out, "| {kind} | {} |", cell(Atlas::does(kind)));
    }
    out.push_str("\n## Reasons of Causeway's own\n\n| Reason | Class | It means | It often is | Causeway does | You do |\n|---|---|---|---|---|---|\n");
    for entry in Atlas::reasons() {
        let words = [&entry.meaning, &entry.often, &entry.does, &entry.action].map(|text| cell(text)).join(" | ");
        let _ = writeln!(out, "| `{}` | {} | {words} |", entry.reason, entry.class);
    }
    out.push_str("\n## Salesforce's codes\n\n| Code | Class | It means | It often is | You do | Documented |\n|---|---|---|---|---|---|\n");
    let mut sources = BTreeMap::new();
    for code in Atlas::codes().iter().filter(|code| code.surface == Surface::Rest) {
        let words = [&code.meaning, &code.often, &code.action].map(|text| cell(text)).join(" | ");
        let ambiguous = if code.ambiguous { ", may have been executed" } else { "" };
        let _ = writeln!(out, "| `{}` | {}{ambiguous} | {words} | {} |", code.code, code.kind, code.documented);
        for text in &code.texts {
            let words = [&text.meaning, "", &text.action].map(cell).join(" | ");
            let _ = writeln!(out, "| … with \"{}\" | {} | {words} | |", cell(&text.contains), text.kind);
        }
        sources.insert(code.documented.as_str(), Atlas::source(&code.documented).unwrap_or_default());
    }
    out.push_str(
        "\n## Answers without a code\n\n| Name | Class | It means | It often is | You do |\n|---|---|---|---|---|\n",
    );
    for entry in Atlas::answers() {
        let words = [&entry.meaning, &entry.often, &entry.action].map(|text| cell(text)).join(" | ");
        let ambiguous = if entry.ambiguous { ", may have been executed" } else { "" };
        let _ = writeln!(out, "| `{}` | {}{ambiguous} | {words} |", entry.name, entry.kind);
        sources.insert(entry.documented.as_str(), Atlas::source(&entry.documented).unwrap_or_default());
    }
    out.push_str("\n## Errors of the token endpoint\n\n| Error | Description begins with | Class | It means | It often is | You do |\n|---|---|---|---|---|---|\n");
    for entry in Atlas::sign_ins() {
        let words = [&entry.meaning, &entry.often, &entry.action].map(|text| cell(text)).join(" | ");
        let _ = writeln!(out, "| `{}` | {} | {} | {words} |", entry.error, cell(&entry.description), entry.kind);
        sources.insert(entry.documented.as_str(), Atlas::source(&entry.documented).unwrap_or_default());
    }
    out.push_str("\n## Codes of surfaces that the fleet does not call\n\n| Code | Surface | Class | It means | It often is | You do | Documented |\n|---|---|---|---|---|---|---|\n");
    for code in Atlas::codes().iter().filter(|code| code.surface != Surface::Rest) {
        let words = [&code.meaning, &code.often, &code.action].map(|text| cell(text)).join(" | ");
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {words} | {} |",
            code.code,
            code.surface.words(),
            code.kind,
            code.documented
        );
        sources.insert(code.documented.as_str(), Atlas::source(&code.documented).unwrap_or_default());
    }
    out.push_str("\n## Where they are documented\n\n");
    for (key, source) in sources {
        let _ = writeln!(out, "- {key}: {source}");
    }
    out
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
