//! The client: one method a resource.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::auth::TokenSource;
use crate::collection::{self, Row, RowAnswer, RowUpdate};
use crate::composite::{self, Part, PartAnswer};
use crate::describe::{self, Described};
use crate::duplicate::DuplicateRuleHeader;
use crate::error::{ApiError, Error, root_cause};
use crate::graph::{self, Graph, GraphAnswer, NodeWrite, event_uuid};
use crate::observer::{CallObserver, Operation};
use crate::request::{Reply, Request, Transport};
use crate::{ApiUsage, ApiVersion, envelope, limits, query, sobject};

/// How the client behaves.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// The version of the REST API.
    pub api_version: ApiVersion,
    /// How long a whole call may take: token, connection, request, one renewal, and the answer. 120 seconds is
    /// reasonable: Salesforce itself stops after ten minutes, and a call above 20 seconds counts as long-running.
    pub deadline: Duration,
    /// How long the connection may take; well below the deadline, so that an unreachable org is told from a lost
    /// answer. 5 seconds is reasonable.
    pub connect_timeout: Duration,
    /// Names this program in Salesforce's event logs.
    pub client_name: String,
}

/// What a call carries besides its data.
#[derive(Debug, Clone, Default)]
pub struct CallOptions {
    /// The W3C trace context to pass on, as the value of `traceparent`. A value that no header can hold is left out.
    pub traceparent: Option<String>,
    /// How duplicate rules treat the records.
    pub duplicate_rule: Option<DuplicateRuleHeader>,
    /// How long the call may take, where that is less than [`ClientSettings::deadline`].
    pub deadline: Option<Duration>,
}

/// A record that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Its id.
    pub id: String,
    /// Whether it was created.
    pub created: bool,
}

/// A platform event that was accepted: it is in Salesforce's queue, and not yet delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The UUID that subscribers will see as `EventUuid`; absent when the answer lacks it.
    pub event_uuid: Option<String>,
}

/// Speaks to one org. Clones share connections, token and usage.
#[derive(Clone)]
pub struct Client {
    transport: Arc<Transport>,
    options: Arc<CallOptions>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("settings", &self.transport.settings).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that signs in when its first call needs it.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the settings make no client.
    pub fn new(settings: ClientSettings, tokens: Arc<dyn TokenSource>) -> Result<Self, Error> {
        Self::observed(settings, tokens, None)
    }

    /// As [`Client::new`], with somebody who is told of each request.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the settings make no client.
    pub fn observed(
        settings: ClientSettings,
        tokens: Arc<dyn TokenSource>,
        observer: Option<Arc<dyn CallObserver>>,
    ) -> Result<Self, Error> {
        let transport = Transport::new(settings, tokens, observer)?;
        Ok(Self { transport: Arc::new(transport), options: Arc::default() })
    }

    /// The same client, whose calls carry these options.
    #[must_use]
    pub fn with(&self, options: CallOptions) -> Self {
        Self { transport: Arc::clone(&self.transport), options: Arc::new(options) }
    }

    /// The same client, whose calls carry this `traceparent` beside their other options.
    #[must_use]
    pub fn within(&self, traceparent: &str) -> Self {
        self.with(CallOptions { traceparent: Some(traceparent.to_owned()), ..(*self.options).clone() })
    }

    /// The org's request allocation as the last answer stated it; `None` before the first one.
    pub fn usage(&self) -> Option<ApiUsage> {
        self.transport.usage().map(|(_, usage)| usage)
    }

    /// The org's request allocation, where an answer has stated it since then.
    pub fn usage_since(&self, time: Instant) -> Option<ApiUsage> {
        self.transport.usage().filter(|(at, _)| *at >= time).map(|(_, usage)| usage)
    }

    /// Writes up to 75 graphs in one API call, each wholly or not at all. Answers are in the order of `graphs`.
    ///
    /// When more than 14 graphs fail, Salesforce does not try the rest: [`GraphResult::Halted`](crate::GraphResult).
    ///
    /// # Errors
    /// When the request failed as a whole. [`Error::Protocol`] when a graph or node has no answer: it was written or
    /// not, and so were its neighbours.
    pub async fn graph(&self, graphs: &[Graph]) -> Result<Vec<GraphAnswer>, Error> {
        if graphs.is_empty() {
            return Ok(Vec::new());
        }
        let body = graph::body(graphs, self.version())?;
        let reply = self.post(Operation::Graph, self.path("composite/graph"), body).await?;
        graph::answers(graphs, &reply.json()?)
    }

    /// Creates a record. Not repeatable: after a lost answer, look for it first.
    ///
    /// # Errors
    /// [`Error::Refused`] with the record's errors, or a failure of the call.
    pub async fn create(&self, object: &str, fields: &Map<String, Value>) -> Result<Saved, Error> {
        let write = NodeWrite::Create { object: object.to_owned() };
        let reply = self.write(Operation::Create, &write, fields).await?;
        saved(&reply)
    }

    /// Updates the record with this id. Repeatable.
    ///
    /// # Errors
    /// [`Error::Refused`] with the record's errors, or a failure of the call.
    pub async fn update(&self, object: &str, id: &str, fields: &Map<String, Value>) -> Result<(), Error> {
        let write = NodeWrite::Update { object: object.to_owned(), id: id.to_owned() };
        let reply = self.write(Operation::Update, &write, fields).await?;
        if reply.is_empty() {
            return Ok(());
        }
        // Salesforce answers nothing. Whatever is answered may be somebody else's page.
        let body = reply.json()?;
        if body.get("success") == Some(&Value::Bool(true)) { Ok(()) } else { Err(unsaved(reply.status, &body)) }
    }

    /// Creates the record, or updates the one whose external id field has this value. Repeatable. `fields` does not
    /// hold the external id.
    ///
    /// # Errors
    /// [`Error::Refused`] with the record's errors, `DUPLICATE_EXTERNAL_ID` when several records have the value, or a
    /// failure of the call.
    pub async fn upsert(
        &self,
        object: &str,
        field: &str,
        value: &str,
        fields: &Map<String, Value>,
    ) -> Result<Saved, Error> {
        let write = NodeWrite::Upsert { object: object.to_owned(), field: field.to_owned(), value: value.to_owned() };
        let reply = self.write(Operation::Upsert, &write, fields).await?;
        saved(&reply)
    }

    /// Sends up to 25 linked parts in one API call. Answers are in the order of `parts`.
    ///
    /// # Errors
    /// When the request failed as a whole.
    pub async fn composite(&self, all_or_none: bool, parts: &[Part]) -> Result<Vec<PartAnswer>, Error> {
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        let body = composite::body(all_or_none, parts, self.version())?;
        let reply = self.post(Operation::Composite, self.path("composite"), body).await?;
        composite::answers(parts, &reply.json()?)
    }

    /// Creates up to 200 rows in one API call. Answers are in the order of `rows`. Not repeatable.
    ///
    /// # Errors
    /// When the request failed as a whole.
    pub async fn create_rows(&self, all_or_none: bool, rows: &[Row]) -> Result<Vec<RowAnswer>, Error> {
        let objects: Vec<&str> = rows.iter().map(|row| row.object.as_str()).collect();
        let rows = rows.iter().map(|row| collection::row(&row.object, None, &row.fields)).collect::<Result<_, _>>()?;
        self.rows(Operation::Collection, Method::POST, "composite/sobjects", all_or_none, rows, &objects).await
    }

    /// Updates up to 200 rows by id in one API call. Answers are in the order of `rows`. Repeatable.
    ///
    /// # Errors
    /// When the request failed as a whole.
    pub async fn update_rows(&self, all_or_none: bool, rows: &[RowUpdate]) -> Result<Vec<RowAnswer>, Error> {
        let objects: Vec<&str> = rows.iter().map(|row| row.object.as_str()).collect();
        let rows = rows
            .iter()
            .map(|row| collection::row(&row.object, Some(&row.id), &row.fields))
            .collect::<Result<_, _>>()?;
        self.rows(Operation::Collection, Method::PATCH, "composite/sobjects", all_or_none, rows, &objects).await
    }

    /// Upserts up to 200 rows of one object in one API call; each row holds its external id field. Answers are in the
    /// order of `rows`. Repeatable.
    ///
    /// # Errors
    /// When the request failed as a whole.
    pub async fn upsert_rows(
        &self,
        all_or_none: bool,
        object: &str,
        field: &str,
        rows: &[Map<String, Value>],
    ) -> Result<Vec<RowAnswer>, Error> {
        let path =
            format!("composite/sobjects/{}/{}", sobject::name("an object", object)?, sobject::name("a field", field)?);
        let rows = rows.iter().map(|fields| collection::row(object, None, fields)).collect::<Result<_, _>>()?;
        self.rows(Operation::Collection, Method::PATCH, &path, all_or_none, rows, &[object]).await
    }

    /// Every record of a query, over at most 50 pages; each page is an API call. Values from outside have to be
    /// [`quote`](crate::quote)d.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more pages, [`Error::Refused`] for a query that Salesforce does not take, or a failure
    /// of the call.
    pub async fn query(&self, soql: &str) -> Result<Vec<Map<String, Value>>, Error> {
        let mut address = query::address(self.version(), soql);
        let mut found = Vec::new();
        for _ in 0..limits::PAGES {
            let page = self.get(Operation::Query, address.clone()).await?.json()?;
            let records = query::records(&page);
            found.extend(records.ok_or_else(|| Error::Protocol("a page of a query without records".to_owned()))?);
            match (page.get("done").and_then(Value::as_bool), query::next(&page)) {
                (Some(true), _) => return Ok(found),
                (_, Some(next)) => next.clone_into(&mut address),
                (_, None) => {
                    return Err(Error::Protocol("a page of a query that is neither last nor continued".to_owned()));
                }
            }
        }
        Err(Error::TooLarge { limit: "pages of a query", max: limits::PAGES, found: limits::PAGES + 1 })
    }

    /// The records whose `field` has this value, with their `Id` and these further fields. It asks by query, because
    /// the address of a record answers alike for a missing record and a missing object.
    ///
    /// # Errors
    /// [`Error::Refused`] for an unknown object or field, or a failure of the call.
    pub async fn find(
        &self,
        object: &str,
        field: &str,
        value: &str,
        select: &[&str],
    ) -> Result<Vec<Map<String, Value>>, Error> {
        let object = sobject::name("an object", object)?;
        let field = sobject::name("a field", field)?;
        let mut columns = String::from("Id");
        for column in select.iter().filter(|column| **column != "Id") {
            columns.push(',');
            columns.push_str(sobject::name("a field", column)?);
        }
        self.query(&format!("SELECT {columns} FROM {object} WHERE {field} = {}", query::quote(value))).await
    }

    /// What up to 25 objects, platform events among them, are made of, as far as this user can see, in one API call.
    /// Answers are in the order of `objects`; one that the org does not have or does not show to the user is refused with
    /// `NOT_FOUND`.
    ///
    /// # Errors
    /// When the request failed as a whole.
    pub async fn describe(&self, objects: &[&str]) -> Result<Vec<Result<Described, ApiError>>, Error> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let body = describe::body(objects, self.version())?;
        let reply = self.post(Operation::Describe, self.path("composite"), body).await?;
        describe::answers(objects.len(), &reply.json()?)
    }

    /// The org's limits: `DailyApiRequests` and its neighbours, each with `Max` and `Remaining`, at most five minutes
    /// old. It is an API call; [`Client::usage`] is none.
    ///
    /// # Errors
    /// [`Error::Refused`] when the user lacks *View Setup and Configuration*, or a failure of the call.
    pub async fn limits(&self) -> Result<Map<String, Value>, Error> {
        match self.get(Operation::Limits, self.path("limits")).await?.json()? {
            Value::Object(limits) => Ok(limits),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(Error::Protocol("limits that are no object".to_owned()))
            }
        }
    }

    /// Publishes a platform event. Not repeatable: subscribers see each one.
    ///
    /// # Errors
    /// [`Error::Refused`] with the event's errors, or a failure of the call.
    pub async fn publish(&self, event: &str, fields: &Map<String, Value>) -> Result<Published, Error> {
        let write = NodeWrite::Create { object: event.to_owned() };
        let reply = self.write(Operation::Publish, &write, fields).await?;
        let body = reply.json()?;
        // A published event lists OPERATION_ENQUEUED among its errors: only `success` tells.
        if body.get("success") == Some(&Value::Bool(true)) {
            Ok(Published { event_uuid: event_uuid(&body) })
        } else {
            Err(unsaved(reply.status, &body))
        }
    }

    /// Publishes up to 200 platform events of one kind in one API call. Answers are in the order of `rows`. Not
    /// repeatable.
    ///
    /// # Errors
    /// When the request failed as a whole.
    pub async fn publish_many(
        &self,
        event: &str,
        rows: &[Map<String, Value>],
    ) -> Result<Vec<Result<Published, ApiError>>, Error> {
        let rows = rows.iter().map(|fields| collection::row(event, None, fields)).collect::<Result<_, _>>()?;
        let answers =
            self.rows(Operation::PublishMany, Method::POST, "composite/sobjects", false, rows, &[event]).await?;
        Ok(answers
            .into_iter()
            .map(|answer| match answer {
                RowAnswer::Saved { event_uuid, .. } => Ok(Published { event_uuid }),
                RowAnswer::Refused(refusal) => Err(refusal.error),
                RowAnswer::Halted => Err(ApiError::new("ALL_OR_NONE_OPERATION_ROLLED_BACK", "")),
            })
            .collect())
    }

    fn version(&self) -> ApiVersion {
        self.transport.settings.api_version
    }

    fn path(&self, resource: &str) -> String {
        format!("/services/data/v{}/{resource}", self.version())
    }

    async fn rows(
        &self,
        operation: Operation,
        method: Method,
        resource: &str,
        all_or_none: bool,
        rows: Vec<Map<String, Value>>,
        objects: &[&str],
    ) -> Result<Vec<RowAnswer>, Error> {
        let count = rows.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let body = collection::body(all_or_none, &rows, objects)?;
        let reply = self.send(operation, method, self.path(resource), Some(body)).await?;
        collection::answers(count, &reply.json()?)
    }

    async fn write(
        &self,
        operation: Operation,
        write: &NodeWrite,
        fields: &Map<String, Value>,
    ) -> Result<Reply, Error> {
        let method = match write {
            NodeWrite::Create { .. } => Method::POST,
            NodeWrite::Update { .. } | NodeWrite::Upsert { .. } => Method::PATCH,
        };
        let address = write.address(self.version())?;
        self.send(operation, method, address, Some(Value::Object(fields.clone()))).await
    }

    async fn post(&self, operation: Operation, address: String, body: Value) -> Result<Reply, Error> {
        self.send(operation, Method::POST, address, Some(body)).await
    }

    async fn get(&self, operation: Operation, address: String) -> Result<Reply, Error> {
        self.send(operation, Method::GET, address, None).await
    }

    async fn send(
        &self,
        operation: Operation,
        method: Method,
        address: String,
        body: Option<Value>,
    ) -> Result<Reply, Error> {
        let mut headers = HeaderMap::new();
        let traceparent = self.options.traceparent.as_deref().and_then(|value| HeaderValue::from_str(value).ok());
        if let Some(value) = traceparent {
            headers.insert(HeaderName::from_static("traceparent"), value);
        }
        if let Some(rule) = self.options.duplicate_rule
            && let Ok(value) = HeaderValue::from_str(&rule.value())
        {
            headers.insert(HeaderName::from_static("sforce-duplicate-rule-header"), value);
        }
        let deadline = self.options.deadline;
        self.transport.send(Request { operation, method, address, body, headers, deadline }).await
    }
}

fn saved(reply: &Reply) -> Result<Saved, Error> {
    let body = reply.json()?;
    if body.get("success") == Some(&Value::Bool(false)) {
        return Err(unsaved(reply.status, &body));
    }
    let id = body.get("id").and_then(Value::as_str).filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| Error::Protocol("a written record without an id".to_owned()))?;
    let created = body.get("created").and_then(Value::as_bool).unwrap_or(reply.status == 201);
    Ok(Saved { id: id.to_owned(), created })
}

/// A success status whose body says otherwise.
fn unsaved(status: u16, body: &Value) -> Error {
    let errors = envelope::errors(body);
    match root_cause(&errors) {
        Some(_) => Error::Refused { status, errors },
        None => Error::Protocol("a record that is neither written nor refused".to_owned()),
    }
}
