//! A look at the org before the first order: does it have what the settings name?
//!
//! A field that the order's record needs and the org does not have would make a dead letter of every order. It is found
//! here, named, with what to do. It costs one API call per start, a second one where the settings name a field for the
//! event's key. An org that is away, or that does not let this user look, stops nobody.

use std::time::Duration;

use domain::config::OrderProcessing;
use salesforce::{Client, Error, Field};
use service::{Problems, Stopped};

/// How long an org may take that answers slowly.
const PATIENCE: Duration = Duration::from_secs(10);

/// The setting that all of this is about.
const SETTING: &str = "CAUSEWAY_ORDER_PROCESSING";

/// A field that the settings name.
struct Named<'a> {
    setting: &'static str,
    field: &'a str,
    unique: bool,
    length: u64,
}

/// Looks whether the org has the fields of the order's record, and that of the event's key.
///
/// # Errors
/// It lacks some. Each is named (exit code 78).
pub(crate) async fn fields(client: &Client, processing: &OrderProcessing) -> Result<(), Stopped> {
    let mut problems = Problems::default();
    let ids = &processing.external_ids;
    if !ids.order_object.is_empty() {
        let text = |setting, field| Named { setting, field, unique: false, length: 0 };
        let named = [
            Named { setting: "external_ids.order", field: &ids.order, unique: true, length: 0 },
            Named {
                setting: "external_ids.order_fingerprint",
                field: &ids.order_fingerprint,
                unique: false,
                length: 64,
            },
            text("external_ids.order_account", &ids.order_account),
            text("external_ids.order_type", &ids.order_type),
            text("external_ids.order_reference", &ids.order_reference),
            text("external_ids.subscription", &ids.subscription),
        ];
        check(client, "external_ids.order_object", &ids.order_object, &named, &mut problems).await;
    }
    let events = &processing.platform_events;
    if events.enabled && !events.event_key.is_empty() {
        let named =
            [Named { setting: "platform_events.event_key", field: &events.event_key, unique: false, length: 255 }];
        check(client, "platform_events.api_name", &events.api_name, &named, &mut problems).await;
    }
    if problems.is_empty() { Ok(()) } else { Err(Stopped::settings(problems.to_string())) }
}

async fn check(client: &Client, setting: &str, object: &str, named: &[Named<'_>], problems: &mut Problems) {
    let described = tokio::time::timeout(PATIENCE, client.describe(object)).await;
    let fields = match described {
        Ok(Ok(fields)) => fields,
        Ok(Err(error)) if is_missing(&error) => {
            let remedy = "create the object, let the integration user see it, or name another one";
            problems.note(SETTING, format!("names {object} ({setting}), which this org does not show"), remedy);
            return;
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, object, "whether the org has the fields that the settings name was not found out");
            return;
        }
        Err(_) => {
            tracing::warn!(object, "whether the org has the fields that the settings name was not found out in time");
            return;
        }
    };
    for Named { setting, field, unique, length } in named.iter().filter(|named| !named.field.is_empty()) {
        let found = fields.iter().find(|found| found.name.eq_ignore_ascii_case(field));
        let lacks = match found {
            None => "which the org does not have or does not show to the integration user",
            Some(Field { createable: false, .. }) => "which the integration user may not fill",
            Some(Field { unique: false, .. }) if *unique => "which is not unique: an order could be written twice",
            Some(Field { length: holds, .. }) if *holds > 0 && holds < length => "which is too short",
            Some(_) => continue,
        };
        let remedy = if *unique {
            "create it as a unique external id, give the user access to it, or name another one".to_owned()
        } else {
            format!("create it, give the user access to it, or set {setting} = \"\" to do without")
        };
        problems.note(SETTING, format!("names {object}.{field} ({setting}), {lacks}"), remedy);
    }
}

fn is_missing(error: &Error) -> bool {
    error.cause().is_some_and(|cause| matches!(cause.code.as_str(), "NOT_FOUND" | "INVALID_TYPE"))
}
