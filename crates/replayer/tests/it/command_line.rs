//! What needs no broker: usage, settings, explanations, the configuration file.

use std::io::Write;

use testkit::port;

use crate::fleet::{replayer, run};

#[tokio::test]
async fn a_mistake_on_the_command_line_is_64() {
    for arguments in [
        ["list", "--colour"].as_slice(),
        &["list", "--reason", "salesforce_refsed"],
        &["list", "--older-than", "yesterday"],
        &["discard", "3fa2b1c0"],
        &["discard", "3fa2b1c0", "--why", " "],
        &["replay"],
        &["replay", "3fa2b1c0", "--all"],
        &["replay", "--state", "closed"],
        &["list", "--limit", "-1"],
        &["show"],
        &[],
    ] {
        let ended = run(replayer(arguments)).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(64), ""), "{arguments:?} {ended:?}");
    }
    let suggested = run(replayer(&["list", "--reason", "salesforce_refsed"])).await;
    assert!(suggested.err.contains("'salesforce_refused'"), "{suggested:?}");
    let negative = run(replayer(&["list", "--limit", "-1"])).await;
    assert!(negative.err.contains("write a whole number, 0 for all"), "{negative:?}");
    let mut unnamed = replayer(&["show"]);
    unnamed.env("CAUSEWAY_NAMESPACE", "x").env("CAUSEWAY_AMQP_URL", "amqp://127.0.0.1/");
    let unnamed = run(unnamed).await;
    assert!(unnamed.err.contains("Usage: causeway-replayer show [OPTIONS] <LETTER|ORDER>\n"), "{unnamed:?}");
}

#[tokio::test]
async fn who_acts_has_to_be_known_and_how_to_say_it_is_told() {
    let mut command = replayer(&["replay", "--all", "--yes"]);
    command.env_remove("USER");
    let refused = run(command).await;
    assert_eq!(refused.code, Some(64), "{refused:?}");
    assert!(refused.err.contains("--operator NAME") && refused.err.contains("USER"), "{refused:?}");
}

#[tokio::test]
async fn help_teaches_and_shows_no_password() {
    for verb in ["list", "show", "story", "explain", "replay", "discard", "config"] {
        let mut command = replayer(&[verb, "--help"]);
        command.env("CAUSEWAY_AMQP_URL", "amqp://user:s3cret@host/");
        let ended = run(command).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(!ended.out.contains("s3cret"), "{ended:?}");
        assert!(verb == "config" || ended.out.contains("Examples:"), "{ended:?}");
    }
}

#[tokio::test]
async fn wrong_settings_are_told_all_at_once() {
    let mut command = replayer(&["list", "--partitions", "0", "--patience", "soon"]);
    command.env("CAUSEWAY_NAMESPACE", "a b");
    let ended = run(command).await;
    assert_eq!(ended.code, Some(78), "{ended:?}");
    for setting in ["CAUSEWAY_AMQP_URL", "CAUSEWAY_NAMESPACE", "CAUSEWAY_PARTITIONS", "CAUSEWAY_PATIENCE"] {
        assert!(ended.err.contains(setting), "{setting} in {ended:?}");
    }
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_69_within_the_patience_and_no_password_is_told() {
    let [port] = port::free().expect("a free port");
    let mut command = replayer(&["list", "--patience", "300ms"]);
    command.env("CAUSEWAY_AMQP_URL", format!("amqp://user:s3cret@127.0.0.1:{port}/%2f"));
    let ended = run(command).await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(69), ""), "{ended:?}");
    assert!(ended.err.contains(&format!("127.0.0.1:{port}")) && !ended.err.contains("s3cret"), "{ended:?}");
}

#[tokio::test]
async fn codes_are_explained_without_a_broker() {
    let ended = run(replayer(&["explain", "UNABLE_TO_LOCK_ROW", "--json"])).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!((ended.json()["origin"].as_str(), ended.json()["class"].as_str()), (Some("salesforce"), Some("lock")));
    let all = run(replayer(&["explain", "--json"])).await.json();
    assert!(all["codes"].as_array().is_some_and(|codes| codes.len() > 60));
    let unknown = run(replayer(&["explain", "UNABLE_TO_LOCK_ROWS"])).await;
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.err.contains("did you mean UNABLE_TO_LOCK_ROW"), "{unknown:?}");
}

#[tokio::test]
async fn a_story_needs_the_tenant_and_says_so_with_everything_else_that_is_wrong() {
    let mut command = replayer(&["story", "order-1"]);
    command.env("CAUSEWAY_NAMESPACE", "a b").env("CAUSEWAY_REDIS_URL", "http://127.0.0.1");
    let ended = run(command).await;
    assert_eq!(ended.code, Some(78), "{ended:?}");
    for setting in ["CAUSEWAY_AMQP_URL", "CAUSEWAY_NAMESPACE", "CAUSEWAY_REDIS_URL", "CAUSEWAY_TENANT"] {
        assert!(ended.err.contains(setting), "{setting} in {ended:?}");
    }
}

#[tokio::test]
async fn an_order_that_nobody_heard_of_ends_with_1_and_says_what_to_check() {
    let fleet = crate::fleet::Fleet::new().await;
    let mut command = fleet.replayer(&["story", "order-unheard-of"]);
    command.env("CAUSEWAY_TENANT", "acme").env("CAUSEWAY_REDIS_URL", testkit::redis_url());
    let ended = run(command).await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.err.contains("order-unheard-of") && ended.err.contains("namespace"), "{ended:?}");
    // Without Redis and without a letter there is nothing to tell, and that is Redis's fault.
    let mut command = fleet.replayer(&["story", "order-unheard-of"]);
    command.env("CAUSEWAY_TENANT", "acme").env("CAUSEWAY_REDIS_URL", "redis://127.0.0.1:1");
    let ended = run(command).await;
    assert_eq!(ended.code, Some(69), "{ended:?}");
}

#[tokio::test]
async fn the_default_configuration_is_in_order() {
    let default = run(replayer(&["config", "show-default"])).await;
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&default.bytes).expect("written");
    let checked = run(replayer(&["config", "check", file.path().to_str().expect("a path")])).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.out.ends_with(" is in order.\n"), "{checked:?}");
}

#[tokio::test]
async fn every_problem_of_a_configuration_is_found_with_its_place() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"createPersonAcount = true\nsendWholeOrder = \"yes\"\n\n[retry]\nmax_attempts = 0\n")
        .expect("written");
    let path = file.path().to_str().expect("a path");
    let checked = run(replayer(&["config", "check", path])).await;
    assert_eq!(checked.code, Some(1), "{checked:?}");
    for text in ["createPersonAccount", ":1:1: createPersonAcount", ":2:", ":5:", "^", "3 problems"] {
        assert!(checked.out.contains(text), "{text} in {}", checked.out);
    }
    let document = run(replayer(&["config", "check", path, "--json"])).await.json();
    assert_eq!((document["ok"].as_bool(), document["problems"].as_array().map(Vec::len)), (Some(false), Some(3)));
    let missing = run(replayer(&["config", "check", "/nowhere/at/all.toml"])).await;
    assert_eq!(missing.code, Some(78), "{missing:?}");
}
