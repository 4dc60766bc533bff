//! The org over real HTTP, as a client meets it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::needless_pass_by_value, reason = "JSON literals read best handed over")]

mod auth_providers;
mod batch;
mod browser;
mod bulk;
mod client;
mod clock;
mod collections;
mod composite;
mod conditional;
mod conformance_cases;
mod control;
mod deletes;
mod describe;
mod duplicates;
mod ends;
mod events;
mod faults;
mod fuzz;
mod graph;
mod grpc;
mod limits;
mod locks;
mod login_hosts;
mod matching;
mod memory;
mod oauth;
mod oauth_authorize;
mod oauth_identity;
mod oauth_policy;
mod oauth_random;
mod oauth_refresh;
mod oauth_tokens;
mod orgs;
mod page;
mod permissions;
mod picklists;
mod predupe;
mod process;
mod pubsub;
mod query;
mod query_pages;
mod random;
mod random_decoders;
mod random_soql;
mod records;
mod rows;
mod schema_files;
mod soap;
mod subscriber;
mod subscriptions;
mod surface;
mod tls;
mod tree;
