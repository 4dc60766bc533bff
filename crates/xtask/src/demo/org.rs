//! The simulated org, read and prepared from behind: its control plane under `/_sim`, which costs no API calls.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Client, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::customers::Customer;
use super::reconcile::{Account, Event, Record};

/// How long one answer may take; the largest holds every event of a long run.
const ANSWER: Duration = Duration::from_mins(1);

/// The control plane of a running simulator.
#[derive(Debug, Clone)]
pub(crate) struct Org {
    client: Client,
    base_url: String,
}

/// What the org counted.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Usage {
    /// API calls since it started.
    pub(crate) api_calls_total: u64,
}

#[derive(Deserialize)]
struct OrderRecord {
    #[serde(rename = "LimioId__c")]
    limio_id: String,
    #[serde(rename = "Account__c")]
    account: Option<String>,
    #[serde(rename = "SubscriptionId__c")]
    subscription: Option<String>,
}

#[derive(Deserialize)]
struct AccountRecord {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "LimioId__c")]
    limio_id: Option<String>,
    #[serde(rename = "PersonEmail")]
    email: Option<String>,
}

#[derive(Deserialize)]
struct PublishedEvent {
    payload: Payload,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "i42as__OrderNumber__c", default)]
    order_number: String,
    #[serde(rename = "i42as__OrderType__c", default)]
    order_type: String,
    #[serde(rename = "i42as__AccountId__c")]
    account: Option<String>,
}

impl Org {
    /// The org at this address.
    pub(crate) fn new(base_url: String) -> Result<Self> {
        let client = Client::builder().no_proxy().timeout(ANSWER).build().context("cannot make an HTTP client")?;
        Ok(Self { client, base_url })
    }

    /// Where a person finds it, and where programs sign in.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Whether it answers.
    pub(crate) async fn answers(&self) -> bool {
        self.usage().await.is_ok()
    }

    /// Two duplicate rules, and an Account for every customer who has a twin.
    pub(crate) async fn prepare(&self, customers: &[Customer]) -> Result<()> {
        let rule = |name: &str, field: &str, response: Value| {
            json!({
                "name": name, "object": "Account", "subtype": "PersonAccount", "fields": [{ "field": field }],
                "matching_rule": format!("{name}_Match"), "on_create": response,
            })
        };
        let rules = json!([
            rule("Known_Reader", "PersonEmail", json!({ "action": "allow", "alert": true })),
            rule("Known_Debtor", "Phone", json!({ "action": "block", "alert": true })),
        ]);
        self.post("duplicate-rules", &rules).await?;
        let twins: Vec<Value> = customers.iter().filter_map(Customer::twin_account).collect();
        self.post("records/Account", &Value::Array(twins)).await
    }

    /// What it counted so far.
    pub(crate) async fn usage(&self) -> Result<Usage> {
        self.get("usage").await
    }

    /// All order records in the sequence of their creation.
    pub(crate) async fn order_records(&self) -> Result<Vec<Record>> {
        let records: Vec<OrderRecord> = self.get("records/LimioOrder__c").await?;
        let of = |OrderRecord { limio_id, account, subscription }| Record { order: limio_id, account, subscription };
        Ok(records.into_iter().map(of).collect())
    }

    /// All Accounts.
    pub(crate) async fn accounts(&self) -> Result<Vec<Account>> {
        let records: Vec<AccountRecord> = self.get("records/Account").await?;
        let of = |AccountRecord { id, limio_id, email }| Account { id, limio_id, email };
        Ok(records.into_iter().map(of).collect())
    }

    /// All events in replay order.
    pub(crate) async fn events(&self) -> Result<Vec<Event>> {
        let events: Vec<PublishedEvent> = self.get("events").await?;
        let of = |event: PublishedEvent| Event {
            order_number: event.payload.order_number,
            order_type: event.payload.order_type,
            account: event.payload.account,
        };
        Ok(events.into_iter().map(of).collect())
    }

    /// Reads from the control plane.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let asking = || format!("asking the org for {path}");
        let response = self.client.get(self.url(path)).send().await.with_context(asking)?;
        let body = succeeded(response).await.with_context(asking)?.bytes().await.with_context(asking)?;
        serde_json::from_slice(&body).with_context(asking)
    }

    /// Tells the control plane something.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<()> {
        self.posted(path, body).await.map(drop)
    }

    /// Tells the control plane something, and reads what came of it.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        let telling = || format!("telling the org: {path}");
        let answer = self.posted(path, body).await?.bytes().await.with_context(telling)?;
        serde_json::from_slice(&answer).with_context(telling)
    }

    async fn posted(&self, path: &str, body: &Value) -> Result<Response> {
        let telling = || format!("telling the org: {path}");
        let response = self.client.post(self.url(path)).json(body).send().await.with_context(telling)?;
        succeeded(response).await.with_context(telling)
    }

    /// Removes something by the control plane.
    pub(crate) async fn delete(&self, path: &str) -> Result<()> {
        let telling = || format!("telling the org: {path}");
        let response = self.client.delete(self.url(path)).send().await.with_context(telling)?;
        succeeded(response).await.with_context(telling)?;
        Ok(())
    }

    fn url(&self, path: &str) -> String {
        format!("{}/_sim/{path}", self.base_url)
    }
}

async fn succeeded(response: Response) -> Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    bail!("it answered {status}: {}", response.text().await.unwrap_or_default())
}
