//! How many graph nodes a second the org takes on one core, and what a stored record costs in memory.
//!
//! The org runs in a thread of its own with a runtime of that one thread; the caller has another. What counts is the
//! processor time of the org's thread alone, so neither the caller's work nor other programs blur the figure. Wall
//! clock time is printed beside it. Requests are 75 graphs of three nodes (person account, order row, event), with
//! duplicate rules on: once an exact one, once the standard ones.

use std::fs;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use causeway_simulator::{Config, Control, DuplicateRule, RuleResponse, Simulator};
use serde_json::{Map, Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

const GRAPHS: usize = 75;
const NODES: usize = 3;
const REQUESTS: usize = 60;
const TARGET: f64 = 10_000.0;

/// Ten letters that no other customer has, so that no fuzzy rule takes two of them for one.
fn word(n: usize, salt: u64) -> String {
    let mut mixed = (n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ salt.wrapping_mul(0xD1B5_4A32_D192_ED03);
    mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (0..10)
        .map(|_| {
            mixed = mixed.rotate_left(7).wrapping_mul(0x94D0_49BB_1331_11EB);
            char::from(b'a' + u8::try_from((mixed >> 40) % 26).unwrap_or_default())
        })
        .collect()
}

/// Twelve digits that differ from the first one on, as telephone numbers of a large country do.
fn digits(n: usize) -> String {
    word(n, 7).bytes().chain(word(n, 8).bytes()).take(12).map(|letter| char::from(b'0' + letter % 10)).collect()
}

/// One order: account, order row, event.
fn order(n: usize) -> Value {
    json!({ "graphId": format!("o{n}"), "compositeRequest": [
        { "method": "PATCH", "url": format!("/services/data/v62.0/sobjects/Account/LimioId__c/id-{n}"), "referenceId": "acct",
          "body": { "FirstName": word(n, 1), "LastName": word(n, 2), "PersonEmail": format!("{}@example.com", word(n, 3)),
                    "Phone": format!("+{}", digits(n)), "BillingStreet": format!("{} Road", word(n, 4)), "BillingCity": word(n % 1_000, 6),
                    "BillingPostalCode": word(n, 5), "BillingCountry": "United Kingdom" } },
        { "method": "PATCH", "url": format!("/services/data/v62.0/sobjects/LimioOrder__c/LimioId__c/order-{n}"), "referenceId": "ord",
          "body": { "Account__c": "@{acct.id}", "OrderType__c": "new", "OrderReference__c": format!("R{n}") } },
        { "method": "POST", "url": "/services/data/v62.0/sobjects/i42as__OrderEvent__e", "referenceId": "evt",
          "body": { "i42as__AccountId__c": "@{acct.id}", "i42as__OrderNumber__c": format!("N{n}") } },
    ] })
}

fn bodies(first: usize) -> Vec<Vec<u8>> {
    (0..REQUESTS)
        .map(|request| {
            let start = first + request * GRAPHS;
            let graphs: Vec<Value> = (start..start + GRAPHS).map(order).collect();
            json!({ "graphs": graphs }).to_string().into_bytes()
        })
        .collect()
}

/// The org on its thread.
struct Server {
    base_url: String,
    control: Control,
    measure: tokio::sync::mpsc::Sender<mpsc::SyncSender<Duration>>,
}

impl Server {
    fn start(duplicate_rules: Vec<DuplicateRule>) -> Self {
        let (ready, started) = mpsc::sync_channel(1);
        let (measure, mut asked) = tokio::sync::mpsc::channel::<mpsc::SyncSender<Duration>>(1);
        thread::spawn(move || {
            runtime().block_on(async move {
                let mut config = Config::default();
                config.settings.api_limit = u64::MAX;
                config.settings.event_hourly_limit = u64::MAX;
                config.duplicate_rules = duplicate_rules;
                let simulator = Simulator::start(config).await.expect("a free port");
                let _ = ready.send((simulator.base_url().to_owned(), simulator.control()));
                while let Some(answer) = asked.recv().await {
                    let _ = answer.send(thread_time());
                }
            });
        });
        let (base_url, control) = started.recv().expect("the org starts");
        Self { base_url, control, measure }
    }

    /// Processor time its thread has used.
    fn used(&self) -> Duration {
        let (answer, measured) = mpsc::sync_channel(1);
        self.measure.blocking_send(answer).expect("the org runs");
        measured.recv().expect("the org runs")
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Processor time of this thread, by the scheduler's own count.
fn thread_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default())
}

/// Resident memory of the process in bytes.
fn resident() -> f64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or_default() * 4096.0
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-9)
}

async fn sign_in(http: &reqwest::Client, base_url: &str) -> String {
    let form =
        [("grant_type", "client_credentials"), ("client_id", "causeway-dev"), ("client_secret", "causeway-dev-secret")];
    let answer = http.post(format!("{base_url}/services/oauth2/token")).form(&form).send().await.expect("an answer");
    let answer: Value = answer.json().await.expect("JSON");
    answer["access_token"].as_str().expect("a token").to_owned()
}

/// Sends all bodies one after the other; prints and returns nodes a second of the org's processor time.
fn http(
    name: &str,
    server: &Server,
    caller: &Runtime,
    http: &reqwest::Client,
    token: &str,
    bodies: Vec<Vec<u8>>,
) -> f64 {
    let nodes = bodies.len() * GRAPHS * NODES;
    let url = format!("{}/services/data/v62.0/composite/graph", server.base_url);
    let (used, wall) = (server.used(), Instant::now());
    let failed = caller.block_on(async {
        let mut failed = 0;
        for body in bodies {
            let request = http.post(&url).bearer_auth(token).header("content-type", "application/json").body(body);
            let answer = request.send().await.expect("an answer").bytes().await.expect("a body");
            failed += answer.windows(b"\"isSuccessful\":true".len()).filter(|w| w == b"\"isSuccessful\":true").count();
        }
        nodes / NODES - failed
    });
    let (used, wall) = (server.used().saturating_sub(used), wall.elapsed());
    assert_eq!(failed, 0, "every graph succeeds");
    let by_core = rate(nodes, used);
    println!("{name:<34} {by_core:>9.0} nodes/s of one core   {:>9.0} nodes/s on the clock", rate(nodes, wall));
    by_core
}

/// Rows straight into the engine, without HTTP, JSON text or duplicate rules.
fn engine(control: &Control) {
    let rows: Vec<Map<String, Value>> = (0..REQUESTS * GRAPHS)
        .filter_map(|n| {
            json!({ "LastName": format!("Roe{n}"), "Email": format!("roe{n}@example.com") }).as_object().cloned()
        })
        .collect();
    let runtime = runtime();
    let start = thread_time();
    for rows in rows.chunks(GRAPHS) {
        runtime.block_on(control.seed("Contact", rows)).expect("the rows are good");
    }
    let used = thread_time().saturating_sub(start);
    println!("{:<34} {:>9.0} rows/s of one core", "  engine alone, new contacts", rate(rows.len(), used));
}

/// One org with these rules: fresh orders, the same orders again, rows without HTTP, memory.
fn run(name: &str, rules: Vec<DuplicateRule>) -> bool {
    println!("{name}");
    let server = Server::start(rules);
    let caller = runtime();
    let client = reqwest::Client::builder().no_gzip().build().expect("a client");
    let token = caller.block_on(sign_in(&client, &server.base_url));
    let (warm, first, second) = (bodies(10_000_000), bodies(0), bodies(0));
    http("  warm-up, new rows", &server, &caller, &client, &token, warm);
    let before = resident();
    let fresh = http("  graphs over HTTP, new rows", &server, &caller, &client, &token, first);
    let grown = resident() - before;
    let again = http("  graphs over HTTP, the same rows", &server, &caller, &client, &token, second);
    engine(&server.control);
    let orders = f64::from(u32::try_from(REQUESTS * GRAPHS).unwrap_or(u32::MAX));
    // An order leaves an account, its hidden contact, an order row and an event.
    println!(
        "  memory: {:.0} bytes resident for each of {:.0} records and events",
        grown / (orders * 4.0),
        orders * 4.0
    );
    fresh >= TARGET && again >= TARGET
}

fn main() {
    let exact = run(
        "an exact rule on the e-mail address",
        vec![DuplicateRule::exact_email("Account", "PersonEmail", RuleResponse::BLOCK)],
    );
    let fuzzy = run(
        "the standard, fuzzy rules",
        vec![
            DuplicateRule::standard_person_account(RuleResponse::BLOCK),
            DuplicateRule::standard_account(RuleResponse::BLOCK),
            DuplicateRule::standard_contact(RuleResponse::BLOCK),
        ],
    );
    let verdict = |met| if met { "met" } else { "MISSED" };
    println!("target of {TARGET:.0} nodes/s on one core: exact {}, fuzzy {}", verdict(exact), verdict(fuzzy));
}
