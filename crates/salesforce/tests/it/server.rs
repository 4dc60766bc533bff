//! An HTTP/1.1 server that answers, breaks or stays silent as a test tells it.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use causeway_salesforce::{
    ApiVersion, CallObserver, Client, ClientCredentials, ClientSettings, LoginSettings, TokenRetry, TokenSource,
};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What the server does with one request.
#[derive(Clone)]
pub(crate) enum Step {
    /// Answers.
    Reply { status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8> },
    /// Answers as a reply does, but closes after this many bytes of the body.
    Torn { status: u16, body: Vec<u8>, sent: usize },
    /// Reads the request and closes the connection.
    Close,
    /// Reads the request and never answers.
    Hang,
    /// Answers once the gate opens.
    Gated(Arc<Notify>, Box<Step>),
}

impl Step {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json;charset=UTF-8".to_owned())];
        Self::Reply { status, headers, body: body.to_string().into_bytes() }
    }

    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self::Reply { status, headers: vec![("content-type", "text/html".to_owned())], body: body.as_bytes().to_vec() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Reply { headers, .. } = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }

    /// A record created.
    pub(crate) fn created(id: &str) -> Self {
        Self::json(201, &json!({ "id": id, "success": true, "errors": [] }))
    }

    /// A session that expired, as Salesforce says it.
    pub(crate) fn expired() -> Self {
        Self::json(401, &json!([{ "message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID" }]))
    }
}

/// A request that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) wire_body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body, decompressed.
    pub(crate) fn json(&self) -> Value {
        let mut plain = Vec::new();
        if self.header("content-encoding") == "gzip" {
            flate2::read::GzDecoder::new(&self.wire_body[..]).read_to_end(&mut plain).expect("gzip");
        } else {
            plain.clone_from(&self.wire_body);
        }
        serde_json::from_slice(&plain).expect("a JSON body")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.wire_body.clone()).expect("a text body")
    }

    fn is_token_request(&self) -> bool {
        self.path == "/services/oauth2/token"
    }
}

type Answer = Box<dyn Fn(&Seen) -> Step + Send>;

struct Script {
    org: Answer,
    tokens: Answer,
}

pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    arrived: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Each step once, in order.
pub(crate) fn sequence(steps: impl IntoIterator<Item = Step>) -> Answer {
    let steps = Mutex::new(steps.into_iter().collect::<VecDeque<_>>());
    Box::new(move |seen| {
        let step = steps.lock().expect("no test panics with the lock").pop_front();
        step.unwrap_or_else(|| Step::text(418, &format!("unexpected {} {}", seen.method, seen.path)))
    })
}

/// The answer to a token request: token `token-1`, `token-2` and so on, for this org.
pub(crate) fn numbered_tokens(instance_url: String) -> Answer {
    let count = Mutex::new(0);
    Box::new(move |_| {
        let mut count = count.lock().expect("no test panics with the lock");
        *count += 1;
        Step::json(200, &json!({ "access_token": format!("token-{count}"), "instance_url": instance_url }))
    })
}

impl Server {
    /// An org that answers with these steps, one a request, and gives a new token whenever it is asked.
    pub(crate) async fn scripted(steps: impl IntoIterator<Item = Step>) -> Self {
        Self::start(|url| (sequence(steps), numbered_tokens(url.to_owned()))).await
    }

    /// An org and a token endpoint that answer as told; the closure is given the server's address.
    pub(crate) async fn start(answers: impl FnOnce(&str) -> (Answer, Answer)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (org, tokens) = answers(&url);
        let script = Arc::new(Mutex::new(Script { org, tokens }));
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (count, arrived) = watch::channel(0);
        let log = Arc::clone(&seen);
        let count = Arc::new(count);
        let task = tokio::spawn(async move {
            // Connections end with the listener's task.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&script), Arc::clone(&log), Arc::clone(&count)));
            }
        });
        Self { url, seen, arrived, task }
    }

    /// Requests to the org, in the order they arrived.
    pub(crate) fn calls(&self) -> Vec<Seen> {
        self.requests().into_iter().filter(|seen| !seen.is_token_request()).collect()
    }

    /// Requests for tokens, in the order they arrived.
    pub(crate) fn token_requests(&self) -> Vec<Seen> {
        self.requests().into_iter().filter(Seen::is_token_request).collect()
    }

    fn requests(&self) -> Vec<Seen> {
        self.seen.lock().expect("no test panics with the lock").clone()
    }

    /// Waits until so many requests of either kind arrived.
    pub(crate) async fn until_seen(&self, requests: usize) {
        let mut arrived = self.arrived.clone();
        let enough = arrived.wait_for(|count| *count >= requests);
        tokio::time::timeout(PATIENCE, enough).await.expect("the requests arrive").expect("the server runs");
    }

    pub(crate) fn login(&self) -> LoginSettings {
        LoginSettings {
            login_url: self.url.clone(),
            client_id: "app".to_owned(),
            trusted_hosts: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(10),
            retry: TokenRetry {
                tries: 3,
                first: Duration::from_millis(1),
                longest: Duration::from_millis(2),
                patience: Duration::from_secs(1),
            },
        }
    }

    pub(crate) fn tokens(&self) -> Arc<dyn TokenSource> {
        Arc::new(ClientCredentials::new(self.login(), "app-secret".into()).expect("settings"))
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(settings(PATIENCE), self.tokens()).expect("settings")
    }

    pub(crate) fn client_within(&self, deadline: Duration) -> Client {
        Client::new(settings(deadline), self.tokens()).expect("settings")
    }

    pub(crate) fn client_observed(&self, observer: Arc<dyn CallObserver>) -> Client {
        Client::observed(settings(PATIENCE), self.tokens(), Some(observer)).expect("settings")
    }
}

pub(crate) fn settings(deadline: Duration) -> ClientSettings {
    ClientSettings {
        api_version: ApiVersion::V62,
        deadline,
        connect_timeout: Duration::from_secs(5),
        client_name: "causeway-test/1".to_owned(),
    }
}

/// The fields of a record.
pub(crate) fn fields(value: Value) -> Map<String, Value> {
    let Value::Object(fields) = value else { panic!("{value} is no object") };
    fields
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<Mutex<Script>>,
    log: Arc<Mutex<Vec<Seen>>>,
    count: Arc<watch::Sender<usize>>,
) {
    let mut buffer = Vec::new();
    while let Some(seen) = request(&mut stream, &mut buffer).await {
        let step = {
            let script = script.lock().expect("no test panics with the lock");
            if seen.is_token_request() { (script.tokens)(&seen) } else { (script.org)(&seen) }
        };
        log.lock().expect("no test panics with the lock").push(seen);
        count.send_modify(|count| *count += 1);
        if !answer(&mut stream, step).await {
            return;
        }
    }
}

/// Answers; false when the connection is over.
async fn answer(stream: &mut TcpStream, step: Step) -> bool {
    let (status, headers, body, sent) = match step {
        Step::Close => return false,
        Step::Hang => std::future::pending().await,
        Step::Gated(gate, then) => {
            gate.notified().await;
            return Box::pin(answer(stream, *then)).await;
        }
        Step::Torn { status, body, sent } => (status, Vec::new(), body, Some(sent)),
        Step::Reply { status, headers, body } => (status, headers, body, None),
    };
    let mut head = format!("HTTP/1.1 {status} Scripted\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.extend([name, ": ", &value, "\r\n"]);
    }
    head.push_str("\r\n");
    let body = &body[..sent.unwrap_or(body.len())];
    let written = stream.write_all(head.as_bytes()).await.is_ok() && stream.write_all(body).await.is_ok();
    written && stream.flush().await.is_ok() && sent.is_none()
}

/// The next request on a connection; `None` when the other side closed it.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        read_more(stream, buffer).await?;
    };
    let head = String::from_utf8(buffer[..end].to_vec()).expect("a readable head");
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while buffer.len() < end + 4 + length {
        read_more(stream, buffer).await?;
    }
    let wire_body = buffer[end + 4..end + 4 + length].to_vec();
    buffer.drain(..end + 4 + length);
    Some(Seen { method, path, headers, wire_body })
}

async fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut chunk = vec![0; 16 * 1024];
    match stream.read(&mut chunk).await {
        Ok(read) if read > 0 => {
            buffer.extend_from_slice(&chunk[..read]);
            Some(())
        }
        Ok(_) | Err(_) => None,
    }
}
