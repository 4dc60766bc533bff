use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_causeway-simulator"))
}

#[test]
fn it_prints_its_address_answers_and_ends_cleanly_on_sigterm() {
    let mut child = program().args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    assert!(ready["base_url"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_wrong_command_line_and_a_taken_address_have_their_own_codes() {
    let output = program().arg("--nope").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = program().args(["--listen", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&address));
    let help = program().arg("--help").output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("CAUSEWAY_SIMULATOR_LISTEN"));
}

#[test]
fn help_lists_the_exit_codes_and_shows_no_value_of_the_environment() {
    let help = program()
        .arg("--help")
        .env("CAUSEWAY_SIMULATOR_INSTANCE_URL", "https://user:hush@org.example")
        .env("CAUSEWAY_SIMULATOR_SEED", "4711")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&help.stdout);
    assert!(said.contains("Exit codes: 0 ok, 1 failed, 64 usage, 78"), "{said}");
    assert!(!said.contains("hush") && !said.contains("4711"), "{said}");
}
