//! A signed-in HTTP client of one private org.

use causeway_simulator::{Config, Control, Settings, Simulator};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Map, Value, json};

/// An org of its own with a token for it.
pub(crate) struct Client {
    pub(crate) simulator: Simulator,
    pub(crate) http: reqwest::Client,
    pub(crate) token: String,
}

impl Client {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default()).await
    }

    pub(crate) async fn with_settings(change: impl FnOnce(&mut Settings)) -> Self {
        let mut config = Config::default();
        change(&mut config.settings);
        Self::with(config).await
    }

    /// An org with the objects and fields of this schema file.
    pub(crate) async fn with_schema(toml: &str) -> Self {
        Self::with_schema_and(toml, |_| {}).await
    }

    pub(crate) async fn with_schema_and(toml: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("schema.toml");
        std::fs::write(&path, toml).unwrap();
        let mut config = Config { schema: vec![path.into()], ..Config::default() };
        change(&mut config.settings);
        Self::with(config).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let simulator = Simulator::start(config).await.unwrap();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let mut client = Self { simulator, http, token: String::new() };
        client.token = client.sign_in().await;
        client
    }

    pub(crate) async fn sign_in(&self) -> String {
        let (status, body) = self
            .token(&[
                ("grant_type", "client_credentials"),
                ("client_id", "causeway-dev"),
                ("client_secret", "causeway-dev-secret"),
            ])
            .await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> (u16, Value) {
        let response = self.http.post(self.url("/services/oauth2/token")).form(form).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(crate) fn control(&self) -> Control {
        self.simulator.control()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.simulator.base_url())
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/services/data/v62.0/{path}") };
        self.http.request(method, self.url(&path)).bearer_auth(&self.token)
    }

    /// Status and JSON body, null when there is none.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.request(method.parse().unwrap(), path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        read(request.send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call("POST", path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> (u16, Value) {
        self.call("PATCH", path, Some(body)).await
    }

    pub(crate) async fn query(&self, statement: &str) -> (u16, Value) {
        let request = self.request(Method::GET, "query").query(&[("q", statement)]);
        read(request.send().await.unwrap()).await
    }

    pub(crate) async fn create(&self, object: &str, body: Value) -> String {
        let (status, body) = self.post(&format!("sobjects/{object}"), body).await;
        assert_eq!(status, 201, "{body}");
        body["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn records(&self, object: &str) -> Vec<Map<String, Value>> {
        self.control().records(object).unwrap()
    }
}

pub(crate) async fn read(response: Response) -> (u16, Value) {
    let status = response.status();
    let text = response.text().await.unwrap();
    if text.is_empty() || status == StatusCode::NO_CONTENT {
        return (status.as_u16(), Value::Null);
    }
    (status.as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Waits until `holds`, at most a minute: the machine may be busy with other tests.
pub(crate) async fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "it did not happen within a minute");
        tokio::task::yield_now().await;
    }
}

/// `errorCode` of a REST error body.
pub(crate) fn code(body: &Value) -> &str {
    body[0]["errorCode"].as_str().unwrap_or_default()
}

pub(crate) fn person(last_name: &str) -> Value {
    json!({ "FirstName": "Jane", "LastName": last_name, "PersonEmail": format!("{}@example.com", last_name.to_lowercase()) })
}

/// One order as a graph: account, order row, event.
pub(crate) fn order_graph(n: usize) -> Value {
    json!({ "graphId": format!("o{n}"), "compositeRequest": [
        { "method": "PATCH", "url": format!("/services/data/v62.0/sobjects/Account/LimioId__c/id-{n}"), "referenceId": "acct",
          "body": person(&format!("Smith{n}")) },
        { "method": "PATCH", "url": format!("/services/data/v62.0/sobjects/LimioOrder__c/LimioId__c/order-{n}"), "referenceId": "ord",
          "body": { "Account__c": "@{acct.id}", "OrderType__c": "new" } },
        { "method": "POST", "url": "/services/data/v62.0/sobjects/i42as__OrderEvent__e", "referenceId": "evt",
          "body": { "i42as__AccountId__c": "@{acct.id}", "i42as__OrderNumber__c": format!("N{n}") } },
    ] })
}
