//! Speaks to one Salesforce org over its REST API, and knows nothing of orders.
//!
//! # What is covered
//!
//! | Method | Resource | At most | Repeatable |
//! |---|---|---|---|
//! | [`Client::graph`] | composite graph | 75 graphs, 500 nodes, 15 different nodes, 15 deep | if its nodes are |
//! | [`Client::create`] | sObject | 1 record | no |
//! | [`Client::update`], [`Client::upsert`] | sObject | 1 record | yes |
//! | [`Client::composite`] | composite | 25 parts, 5 of them queries | if its parts are |
//! | [`Client::create_rows`] | sObject Collections | 200 rows in 10 runs of one object | no |
//! | [`Client::update_rows`], [`Client::upsert_rows`] | sObject Collections | 200 rows | yes |
//! | [`Client::publish`], [`Client::publish_many`] | platform events | 1 event, 200 events | no |
//! | [`Client::query`], [`Client::find`] | query | 50 pages of 2,000 records | yes |
//! | [`Client::limits`], [`Client::usage`] | limits; the usage header | | yes |
//!
//! Each is one API call, a query one for each page. The limits are constants in [`limits`]; a larger request is refused
//! here and not sent. Deliberately absent: Bulk API, sObject Tree, `composite/batch`, streaming.
//!
//! Tokens come from a [`TokenSource`]: [`ClientCredentials`], [`JwtBearer`] or [`RefreshToken`]. Many processes share one
//! by a [`RefreshTokenStore`] or an [`AccessTokenStore`].
//!
//! # Three layers of failure
//!
//! 1. The call failed as a whole: [`Error`]. [`Error::is_ambiguous`] tells whether it may have been executed.
//! 2. A graph, part or row was refused, and its neighbours were not: a value ([`GraphResult::Refused`],
//!    [`PartAnswer::Refused`], [`RowAnswer::Refused`]) with the [`ApiError`] that caused it.
//! 3. It was halted because a neighbour failed: a value too, and no failure of its own.
//!
//! [`Error::kind`] and [`ApiError::kind`] say what to do, by one table: the [error atlas](domain::atlas), all that this
//! crate takes from `domain`.
//!
//! # Example
//!
//! ```no_run
//! # async fn example() -> Result<(), causeway_salesforce::Error> {
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use causeway_salesforce::{
//!     ApiVersion, Client, ClientCredentials, ClientSettings, Graph, GraphResult, LoginSettings, Node, NodeWrite,
//!     TokenRetry,
//! };
//! use serde_json::{Map, json};
//!
//! let login = LoginSettings {
//!     login_url: "https://acme.my.salesforce.com".to_owned(),
//!     client_id: "3MVG…".to_owned(),
//!     trusted_hosts: Vec::new(),
//!     connect_timeout: Duration::from_secs(5),
//!     answer_timeout: Duration::from_secs(20),
//!     retry: TokenRetry::STANDARD,
//! };
//! let tokens = ClientCredentials::new(login, "secret".into())?;
//! let settings = ClientSettings {
//!     api_version: ApiVersion::V62,
//!     deadline: Duration::from_secs(120),
//!     connect_timeout: Duration::from_secs(5),
//!     client_name: "causeway-writer/1".to_owned(),
//! };
//! let client = Client::new(settings, Arc::new(tokens))?;
//!
//! let account = NodeWrite::Upsert { object: "Account".into(), field: "LimioId__c".into(), value: "id-123".into() };
//! let fields = Map::from_iter([("LastName".to_owned(), json!("Smith"))]);
//! let node = Node { reference: "account".into(), write: account, body: fields };
//! let answers = client.graph(&[Graph { id: "order-1".into(), nodes: vec![node] }]).await?;
//! for answer in answers {
//!     match answer.result {
//!         GraphResult::Written(nodes) => println!("{}: {:?}", answer.id, nodes[0].id),
//!         GraphResult::Refused(refusal) => println!("{}: {} {}", answer.id, refusal.error.kind(), refusal.error),
//!         GraphResult::Halted => println!("{}: not tried, send it again", answer.id),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - Every request to the org passes one function: deadline, token, trace and usage are not optional.
//! - A request is sent at most twice, and the second time only after Salesforce refused its session: nothing else is
//!   retried here. Waiting and retrying are the caller's.
//! - [`Error::Unreachable`] means not executed; an answer that is not known is never reported as a refusal.
//! - A token goes to Salesforce's hosts under https, to the login host and to hosts that the settings name, nowhere
//!   else: redirects are not followed, cookies not kept, pages of other hosts not fetched.
//! - No refresh token is lost: it is stored before its access token is used, by a task that no caller can abort, and one
//!   whose answer was lost is not presented again by itself.
//! - No bytes that Salesforce sends make this crate panic; answers are read up to 32 MiB.
//! - Neither `Debug` nor `Display` nor a log line shows a token or a record's values.

mod auth;
mod catalogue;
mod client;
mod collection;
mod composite;
mod describe;
mod duplicate;
mod envelope;
mod error;
mod graph;
mod http;
pub mod limits;
mod observer;
mod query;
mod request;
mod sobject;
mod usage;

pub use auth::{
    AccessGrant, AccessTokenStore, ClientCredentials, GrantRefusal, JwtBearer, Lease, LoginSettings, RefreshToken,
    RefreshTokenStore, SignInSetting, StoreError, StoredGrant, Token, TokenError, TokenErrorKind, TokenFault,
    TokenRetry, TokenSource, token_faults,
};
pub use client::{CallOptions, Client, ClientSettings, Published, Saved};
pub use collection::{Row, RowAnswer, RowUpdate};
pub use composite::{Part, PartAnswer};
pub use describe::{Described, Field};
pub use duplicate::{DuplicateMatch, DuplicateResult, DuplicateRuleHeader};
pub use error::{ApiError, BodyKind, Error, ErrorKind, RawBody};
pub use graph::{Graph, GraphAnswer, GraphResult, Node, NodeAnswer, NodeWrite, Refusal, contains_reference};
pub use observer::{CallEnd, CallObserver, Operation};
pub use query::quote;
pub use sobject::{ApiVersion, same_record};
pub use usage::ApiUsage;
