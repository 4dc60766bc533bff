//! What operators are given to run the fleet by speaks of what is there.

use std::collections::{BTreeMap, BTreeSet};

use crate::{entries, name, none, read, root, sources};

/// Where the programs' metrics are made.
const CRATES: [&str; 3] = ["crates/ingest/src", "crates/writer/src", "crates/service/src"];

/// What a metric's name stands behind, and whether it is a histogram. The last two are the writer's own short words.
const MAKERS: [(&str, bool); 6] = [
    ("HistogramOpts::new(", true),
    (" Opts::new(", false),
    ("(Opts::new(", false),
    ("Gauge::new(", false),
    (": counter(", false),
    (": by(", false),
];
const COUNTERS: &str = "IntCounter::new(";

/// A metric's name without the prefix that all have, as on the wire, with the source that makes it.
fn metrics() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for source in CRATES.into_iter().flat_map(sources) {
        let shipped: String = source.shipped().flat_map(|(_, line)| [line, "\n"]).collect();
        for (maker, histogram) in MAKERS.into_iter().chain([(COUNTERS, false)]) {
            for (at, _) in shipped.match_indices(maker) {
                let after = shipped[at + maker.len()..].trim_start();
                let Some(name) = after.strip_prefix('"').and_then(|rest| rest.split('"').next()) else { continue };
                let told = if histogram { &["_bucket", "_sum", "_count"][..] } else { &[""] };
                found.extend(told.iter().map(|suffix| (format!("{name}{suffix}"), shipped.clone())));
            }
        }
    }
    assert!(found.len() > 40, "only {:?} were found", found.keys());
    found
}

/// What begins with the programs' prefix, with what stands in braces behind it.
fn named(text: &str) -> Vec<(&str, &str)> {
    let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices("causeway_")
        .filter(|(at, _)| !text[..*at].ends_with(|c: char| in_name(c) || c == '-'))
        .map(|(at, prefix)| {
            let rest = &text[at + prefix.len()..];
            let (name, behind) = rest.split_at(rest.find(|c| !in_name(c)).unwrap_or(rest.len()));
            let labels = behind.strip_prefix('{').and_then(|labels| labels.split('}').next());
            (name, labels.unwrap_or_default())
        })
        .collect()
}

/// `label="one|other"`, each with what it may be.
fn labels(selector: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    selector.split(',').filter_map(|matcher| {
        let (label, value) = matcher.split_once('=')?;
        let value = value.trim_start_matches('~').trim_matches('"');
        Some((label.trim_end_matches('!').trim(), value.split('|').collect()))
    })
}

#[test]
fn alerts_and_the_guide_name_only_metrics_labels_and_values_that_the_programs_have() {
    let metrics = metrics();
    let programs: Vec<_> =
        CRATES.into_iter().chain(["crates/domain/src", "crates/ledger/src", "crates/queue/src"]).collect();
    let words: Vec<_> = programs.into_iter().flat_map(sources).collect();
    let alerts = read(&root().join("deploy/alerts.yml"));
    let guide = read(&root().join("deploy/README.md"));
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for (file, text) in [("alerts.yml", &alerts), ("README.md", &guide)] {
        for (name, selector) in named(text) {
            let Some(source) = metrics.get(name) else {
                problems.push(format!("deploy/{file}: no program has the metric causeway_{name}"));
                continue;
            };
            seen.insert(name);
            for (label, values) in labels(selector) {
                if !source.contains(&format!("\"{label}\"")) {
                    problems.push(format!("deploy/{file}: causeway_{name} has no label {label}"));
                }
                for value in values {
                    if !words.iter().any(|source| source.text.contains(&format!("\"{value}\""))) {
                        problems.push(format!("deploy/{file}: causeway_{name} is never {label}=\"{value}\""));
                    }
                }
            }
        }
    }
    none(&problems, "An alert on what does not exist never fires: name what /metrics shows.");
    for needed in ["partition_stalled", "inbox_stalled", "breaker_state", "intake_paused", "letters_open"] {
        assert!(seen.contains(needed), "no alert looks at {needed}");
    }
}

#[test]
fn every_alert_says_who_has_to_come_and_the_sections_that_it_sends_them_to_exist() {
    let alerts = read(&root().join("deploy/alerts.yml"));
    let guide = read(&root().join("deploy/README.md"));
    let mut problems = Vec::new();
    for rule in alerts.split("- alert: ").skip(1) {
        let rule = rule.split("\n\n").next().unwrap_or(rule);
        let title = rule.lines().next().unwrap_or_default();
        for part in ["expr:", "severity: ", "annotations:"] {
            if !rule.contains(part) {
                problems.push(format!("{title} has no {part}"));
            }
        }
        if !["{ severity: page }", "{ severity: ticket }"].iter().any(|severity| rule.contains(severity)) {
            problems.push(format!("{title} is neither a page nor a ticket"));
        }
    }
    let flowing = alerts.replace('#', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    let sections: Vec<&str> = flowing.split('"').skip(1).step_by(2).filter(|text| text.contains(' ')).collect();
    assert!(sections.len() >= 3, "{sections:?}");
    for section in sections {
        if !guide.contains(&format!("\n## {section}\n")) {
            problems.push(format!("deploy/README.md has no section {section:?}"));
        }
    }
    none(&problems, "Whoever is woken needs to know what to do: say it in deploy/alerts.yml and deploy/README.md.");
}

/// What is unacknowledged is work, and a fleet that waits for the org is not to be scaled out (trap 16).
#[test]
fn what_the_guide_scales_on_counts_what_is_unacknowledged_and_is_nothing_while_the_org_is_waited_for() {
    let guide = read(&root().join("deploy/README.md"));
    let alerts = read(&root().join("deploy/alerts.yml"));
    let signal = guide.split("```promql\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a signal");
    assert!(signal.contains("rabbitmq_detailed_queue_messages{"), "ready and unacknowledged: {signal}");
    let helps = signal.split_whitespace().find(|word| word.starts_with("causeway:")).expect("times what may be zero");
    let (_, rule) = alerts.split_once(&format!("- record: {helps}\n")).expect("it is recorded");
    for gauge in ["causeway_breaker_state", "causeway_intake_paused"] {
        assert!(rule.contains(gauge), "{helps} looks at {gauge}");
    }
}

#[test]
fn the_broker_on_one_machine_is_set_as_the_guide_asks_and_every_file_beside_it_is_used() {
    let compose = read(&root().join("docker-compose.yml"));
    let guide = read(&root().join("deploy/README.md"));
    let mut problems = Vec::new();
    for file in entries(&root().join("deploy/compose")) {
        if !compose.contains(&format!("deploy/compose/{}", name(&file))) {
            problems.push(format!("docker-compose.yml does not use deploy/compose/{}", name(&file)));
        }
    }
    let settings = read(&root().join("deploy/compose/rabbitmq.conf"));
    for setting in settings.lines().filter(|line| !line.starts_with('#')) {
        if !guide.contains(&format!("`{setting}`")) {
            problems.push(format!("deploy/README.md does not ask for `{setting}`"));
        }
    }
    none(&problems, "Say the same in deploy/compose, docker-compose.yml and deploy/README.md.");
}
