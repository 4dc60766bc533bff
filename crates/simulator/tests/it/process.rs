use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

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

/// What the program says when it cannot start, and its exit code.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = program().args(["--listen", "127.0.0.1:0"]).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_ready_line_names_the_certificate_and_the_orgs_and_the_certificate_goes_with_the_program() {
    let mut child = program()
        .args(["--listen", "127.0.0.1:0", "--tls", "--org", "acme", "--org", "acme--uat", "--sandbox", "acme--uat"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let base = ready["base_url"].as_str().unwrap();
    assert!(base.starts_with("https://127.0.0.1:"), "{ready}");
    assert_eq!(ready["orgs"][1]["base_url"].as_str().unwrap(), format!("{base}/orgs/acme--uat"));
    let certificate = std::path::PathBuf::from(ready["certificate"].as_str().unwrap());
    assert!(std::fs::read_to_string(&certificate).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!certificate.exists());
}

#[test]
fn everything_wrong_with_files_and_flags_is_said_at_once_with_its_place_and_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let wrong = file(
        "wrong.toml",
        r#"
orgz = 1
[[orgs]]
name = "acme"
seeed = 1
records = { Account = [7] }
record_files = ["nowhere.json"]
settings = { api_limt = 1, latency_ms = "x" }
apps = [{ client_ide = "x" }, { client_id = "a", client_secret = "b" }]
users = [{ username = "", last_name = "B" }, { username = "c", last_name = "C", ip_ranges = ["::1/129"] }]
[[orgs]]
name = "acme"
[[orgs]]
name = "Not A Name"
"#,
    );
    let (code, said) = refused(&["--config", &wrong, "--sandbox", "nope", "--seed-records", "/nowhere.json"]);
    assert_eq!(code, Some(78), "{said}");
    for part in [
        "wrong.toml: orgz: unknown key; did you mean orgs?",
        "wrong.toml: orgs[0].seeed: unknown key; did you mean seed?",
        "wrong.toml: orgs[0].settings.api_limt: api_limt: unknown key; did you mean api_limit?",
        "wrong.toml: orgs[0].settings.latency_ms: invalid type",
        "wrong.toml: orgs[0].apps[0]: client_ide: unknown key; did you mean client_id?",
        "wrong.toml: orgs[0].users: user B: username: must not be empty",
        "wrong.toml: orgs[0].users: user c: ip_ranges: \"::1/129\" is no address or range",
        "wrong.toml: orgs[0].records.Account: invalid type",
        "nowhere.json: cannot be read",
        "wrong.toml: orgs[1].name: another org is called acme",
        "wrong.toml: orgs[2].name: a name is 1 to 63 lower-case letters",
        "--sandbox nope: there is no such org",
    ] {
        assert!(said.contains(part), "{part} is missing in:\n{said}");
    }
    let (code, said) = refused(&["--config", &file("bad.toml", "[[orgs]]\nname = ")]);
    assert!(code == Some(78) && said.contains("bad.toml: line 2, column 8: not TOML"), "{said}");
    let (code, said) = refused(&["--seed-records", &file("row.json", r#"{"Account":[{"Nope":1}]}"#)]);
    assert!(code == Some(78) && said.contains("seed records: record 1 (Account): INVALID_FIELD"), "{said}");
    let (code, said) = refused(&["--seed-records", &file("bad.json", r#"{"Account":[{]}"#)]);
    assert!(code == Some(78) && said.contains("bad.json: line 1, column 14: not JSON"), "{said}");
    let (code, said) = refused(&["--tls-cert", "/nowhere.pem", "--tls-key", "/nowhere.key"]);
    assert!(code == Some(78) && said.contains("--tls-cert /nowhere.pem: cannot be read"), "{said}");
    let (code, said) = refused(&["--tls-cert-out", "x.pem"]);
    assert!(code == Some(78) && said.contains("add --tls"), "{said}");
    for usage in [&["--tls-cert", "x"][..], &["--tls-name", "x"], &["--org", "a", "--config", "x"]] {
        assert_eq!(refused(usage).0, Some(64), "{usage:?}");
    }
}

#[test]
fn every_flag_is_a_variable_and_stands_under_a_heading() {
    let help = program().arg("--help").output().unwrap();
    let said = String::from_utf8_lossy(&help.stdout).into_owned();
    for heading in [
        "Address:",
        "TLS:",
        "Orgs and what they hold:",
        "Time and chance:",
        "How the orgs behave:",
        "Operation:",
        "Examples:",
    ] {
        assert!(said.contains(heading), "{heading}\n{said}");
    }
    let flags = said.split("Examples:").next().unwrap().lines().map(str::trim_start);
    for flag in flags.filter_map(|line| line.strip_prefix("--")).map(|line| line.split(' ').next().unwrap()) {
        // Logs have the same variables in all programs.
        let variable = match flag {
            "log" | "log-format" => format!("CAUSEWAY_{}", flag.to_uppercase().replace('-', "_")),
            flag => format!("CAUSEWAY_SIMULATOR_{}", flag.to_uppercase().replace('-', "_")),
        };
        assert!(said.contains(&variable), "{flag} has no {variable}");
    }
}

/// A running program, ended with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_org_calls_out_by_itself_whatever_proxy_the_environment_names() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let mut command = program();
    command.args(["--listen", "127.0.0.1:0", "--org", "acme", "--org", "idp"]).stdout(Stdio::piped());
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(name, &proxy);
    }
    let mut running = Running(command.env_remove("no_proxy").env_remove("NO_PROXY").spawn().unwrap());
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let base = ready["base_url"].as_str().unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = async |path: &str, body: Value| {
        let answer = http.post(format!("{base}{path}")).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(post("/orgs/idp/_sim/settings", json!({ "auto_approve": true })).await.0, 200);
    let provider = json!({
        "suffix": "Idp", "consumer_key": "causeway-dev", "consumer_secret": "causeway-dev-secret",
        "authorize_url": format!("{base}/orgs/idp/services/oauth2/authorize"),
        "token_url": format!("{base}/orgs/idp/services/oauth2/token"), "default_scopes": "api refresh_token",
    });
    assert_eq!(post("/_sim/auth-providers", provider).await.0, 201);
    let page = http.get(format!("{base}/services/auth/oauth/Idp")).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("Authenticated"), "{page}");
    let call =
        json!({ "provider": "Idp", "method": "GET", "url": format!("{base}/orgs/idp/services/data/v62.0/limits") });
    let (status, answer) = post("/_sim/callouts", call).await;
    assert_eq!((status, &answer["status"]), (200, &json!(200)), "{answer}");
}

#[test]
fn warnings_are_logged_on_standard_error_as_the_filter_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let fields = folder.path().join("objects/Account/fields");
    std::fs::create_dir_all(&fields).unwrap();
    let field = "<CustomField><fullName>Nope</fullName><type>Picklist</type><valueSet><valueSetDefinition><value>\
                 <fullName>a</fullName><label>a</label></value></valueSetDefinition></valueSet></CustomField>";
    std::fs::write(fields.join("Nope.field-meta.xml"), field).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    // The warning comes while the org is made ready; then its address is found taken.
    let said_in = |format: Option<&str>, filter: Option<&str>| {
        let mut program = program();
        program.args(["--listen", &address, "--schema"]).arg(folder.path());
        program.env_remove("CAUSEWAY_LOG").env_remove("CAUSEWAY_LOG_FORMAT");
        program.envs(format.map(|format| ("CAUSEWAY_LOG_FORMAT", format)));
        let output = program.envs(filter.map(|filter| ("CAUSEWAY_LOG", filter))).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(78), 0));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = |filter| said_in(None, filter);
    let warning = "a standard field this org does not have is left out";
    for filter in [None, Some("warn"), Some("off,causeway_simulator=debug")] {
        let said = said(filter);
        assert!(
            said.contains("WARN") && said.contains(warning) && said.contains("cannot listen"),
            "{filter:?}: {said}"
        );
    }
    for filter in ["error", "causeway_simulator=off"] {
        let said = said(Some(filter));
        assert!(!said.contains(warning) && said.contains("cannot listen"), "{filter}: {said}");
    }
    let said = said(Some("causeway_simulator=loud"));
    assert!(
        said.contains("CAUSEWAY_LOG: \"causeway_simulator=loud\" is no filter") && said.contains("write a level"),
        "{said}"
    );
    for format in [None, Some("json")] {
        let said = said_in(format, None);
        let line: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
        assert_eq!((&line["level"], line["message"].as_str()), (&json!("WARN"), Some(warning)), "{line}");
    }
    assert!(!said_in(Some("pretty"), None).contains("{\""));
}
