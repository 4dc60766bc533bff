//! The documented org file.

use std::path::PathBuf;

use causeway_simulator::{
    AuthProvider, Config, ConnectedApp, DuplicateRule, FilterItem, KeyField, MatchField, MatchingRule,
    ObjectPermission, RuleResponse, Settings, User, read_orgs,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The keys of a struct: those that serde lists when it meets one it does not know.
fn keys<T: DeserializeOwned>() -> Vec<String> {
    let said = serde_json::from_value::<T>(json!({ "?": 0 })).err().unwrap().to_string();
    let keys: Vec<_> = said.split('`').skip(1).step_by(2).skip(1).map(str::to_owned).collect();
    assert!(said.starts_with("unknown field `?`") && keys.len() > 1, "{said}");
    keys
}

/// The keys of an `[[orgs]]` table, as the refusal of an unknown one lists them.
fn org_keys() -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orgs.toml");
    std::fs::write(&path, "[[orgs]]\nname = \"a\"\n\"?\" = 1\n").unwrap();
    let problems = read_orgs(&path, &Config::default()).unwrap_err();
    let (_, keys) = problems[0].text.split_once("known are: ").unwrap();
    keys.split(", ").map(str::to_owned).collect()
}

/// Whether a comment is a key or a table that waits to be used.
fn waiting(line: &str) -> Option<&str> {
    let code = line.strip_prefix("# ")?;
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    (code.starts_with("[[") || code.split_once(" = ").is_some_and(|(key, _)| word(key))).then_some(code)
}

fn example() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("orgs.example.toml")
}

/// The example, and the same with everything in use that stands behind a `#`.
fn examples() -> (String, String) {
    let text = std::fs::read_to_string(example()).unwrap();
    let all = text.lines().map(|line| waiting(line).unwrap_or(line)).collect::<Vec<_>>().join("\n");
    (text, all)
}

#[test]
fn every_key_of_the_org_file_is_in_the_documented_one() {
    let (_, all) = examples();
    let file: toml::Table = toml::from_str(&all).unwrap();
    let file: Value = serde_json::to_value(file).unwrap();
    let org = &file["orgs"][0];
    let rule = &org["duplicate_rules"][0];
    for (place, keys, found) in [
        ("orgs", org_keys(), org),
        ("settings", keys::<Settings>(), &org["settings"]),
        ("object_permissions", keys::<ObjectPermission>(), &org["settings"]["object_permissions"]["Contact"]),
        ("apps", keys::<ConnectedApp>(), &org["apps"][0]),
        ("users", keys::<User>(), &org["users"][0]),
        ("auth_providers", keys::<AuthProvider>(), &org["auth_providers"][0]),
        ("duplicate_rules", keys::<DuplicateRule>(), rule),
        ("fields", keys::<MatchField>(), &rule["fields"][0]),
        ("on_create", keys::<RuleResponse>(), &rule["on_create"]),
        ("keys", keys::<KeyField>(), &rule["keys"][0][0]),
        ("filter", keys::<FilterItem>(), &rule["filter"][0]),
        ("more_matching_rules", keys::<MatchingRule>(), &rule["more_matching_rules"][0]),
    ] {
        let missing: Vec<_> = keys.iter().filter(|key| found.get(key).is_none()).collect();
        assert!(missing.is_empty(), "{place}: {missing:?} are not in orgs.example.toml");
    }
}

#[test]
fn what_waits_behind_a_comment_is_good_and_settings_have_their_defaults_there() {
    let (text, all) = examples();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orgs.toml");
    std::fs::write(&path, &all).unwrap();
    let orgs = read_orgs(&path, &Config::default()).unwrap();
    let in_use = read_orgs(&example(), &Config::default()).unwrap();
    assert_eq!((orgs.len(), in_use[0].settings.api_limit), (2, 15_000));
    assert!(
        orgs[0].duplicate_rules[0].more_matching_rules.len() > in_use[0].duplicate_rules[0].more_matching_rules.len()
    );
    let defaults = serde_json::to_value(Settings::default()).unwrap();
    let shown = serde_json::to_value(&orgs[0].settings).unwrap();
    let settings = text.split_once("[orgs.settings]").unwrap().1.split_once("[[").unwrap().0;
    let waiting: Vec<_> = settings.lines().filter_map(|line| Some(waiting(line)?.split_once(" = ")?.0)).collect();
    assert!(waiting.len() > 50, "{waiting:?}");
    for key in waiting {
        let default = &defaults[key];
        let nothing = default.is_null() || *default == json!([]) || *default == json!({});
        assert_eq!(nothing, shown[key] != *default, "{key}: its default is {default}");
    }
}
