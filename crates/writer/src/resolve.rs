//! What only the org knows: whether an order was written, and whose Account a Contact belongs to.
//!
//! After a lost answer, did it happen? Each order has a record of its own in the org, created in the same all-or-none unit as everything else of the order and
//! unique by the order's identity. So one query tells for many orders whether they were written, and a request that is
//! sent again cannot be executed twice.

use std::collections::{BTreeSet, HashMap};

use domain::config::ExternalIds;
use domain::mapping::AccountTrace;
use domain::order::id::{Fingerprint, OrderId, RecordId};
use domain::outcome::Written;
use domain::plan::Reference;
use salesforce::Client;
use serde_json::Value;

/// What the org holds of an order.
pub(crate) struct Found {
    /// What was written.
    pub(crate) written: Written,
    /// What the order said that was written, where its record keeps it.
    pub(crate) fingerprint: Option<Fingerprint>,
}

/// Which of these orders have a record in the org, and what it says. One API call.
///
/// Empty when the settings name no object for the order record: then nothing can be looked up.
pub(crate) async fn written_orders(
    client: &Client,
    ids: &ExternalIds,
    orders: &[&OrderId],
) -> Result<HashMap<OrderId, Found>, salesforce::Error> {
    if orders.is_empty() || ids.order_object.is_empty() {
        return Ok(HashMap::new());
    }
    let values: Vec<String> = orders.iter().map(|order| salesforce::quote(order.as_str())).collect();
    let ExternalIds { order_object, order, order_account, order_fingerprint, .. } = ids;
    let named = ["Id", order, order_account, order_fingerprint].into_iter().filter(|field| !field.is_empty());
    let fields: Vec<&str> = named.collect();
    let soql = format!("SELECT {} FROM {order_object} WHERE {order} IN ({})", fields.join(", "), values.join(","));
    let rows = client.query(&soql).await?;
    let text =
        |row: &serde_json::Map<String, Value>, field: &str| row.get(field).and_then(Value::as_str).map(str::to_owned);
    let found = rows.iter().filter_map(|row| {
        let name = text(row, order)?;
        // External ids are compared without regard to case.
        let order = orders.iter().find(|order| order.as_str().eq_ignore_ascii_case(&name))?;
        let mut written = Written {
            crm_id: text(row, order_account).and_then(|id| RecordId::parse(&id)),
            adjustments: vec!["found written when it was looked up after a lost answer".to_owned()],
            ..Written::default()
        };
        if let Some(id) = text(row, "Id") {
            written.record_ids.insert(Reference::Order.name().into_owned(), id.into());
        }
        let fingerprint = text(row, order_fingerprint).and_then(|text| Fingerprint::parse(&text));
        Some(((*order).clone(), Found { written, fingerprint }))
    });
    Ok(found.collect())
}

/// Ids in one query: its address stays below 16 KiB, at 27 bytes an id.
const IDS: usize = 500;

/// The Account of each of these Contacts; a Contact that is gone or has none is left out. One API call for up to 500, none
/// for none.
pub(crate) async fn accounts_of_contacts(
    client: &Client,
    contacts: &[&RecordId],
) -> Result<HashMap<RecordId, RecordId>, salesforce::Error> {
    let id = |row: &serde_json::Map<String, Value>, field: &str| RecordId::parse(row.get(field)?.as_str()?);
    let rows = of_records(client, "AccountId", "Contact", contacts).await?;
    Ok(rows.iter().filter_map(|row| Some((id(row, "Id")?, id(row, "AccountId")?))).collect())
}

/// When each of these Accounts was created, as Salesforce writes it; an Account that is gone is left out. One API call for
/// up to 500, none for none.
pub(crate) async fn ages_of_accounts(
    client: &Client,
    accounts: &[&RecordId],
) -> Result<HashMap<RecordId, String>, salesforce::Error> {
    let text = |row: &serde_json::Map<String, Value>, field: &str| Some(row.get(field)?.as_str()?.to_owned());
    let rows = of_records(client, "CreatedDate", "Account", accounts).await?;
    Ok(rows.iter().filter_map(|row| Some((RecordId::parse(&text(row, "Id")?)?, text(row, "CreatedDate")?))).collect())
}

async fn of_records(
    client: &Client,
    field: &str,
    object: &str,
    ids: &[&RecordId],
) -> Result<Vec<serde_json::Map<String, Value>>, salesforce::Error> {
    let mut rows = Vec::new();
    for ids in ids.chunks(IDS) {
        let values: Vec<String> = ids.iter().map(|id| salesforce::quote(id.as_str())).collect();
        let soql = format!("SELECT Id, {field} FROM {object} WHERE Id IN ({})", values.join(","));
        rows.extend(client.query(&soql).await?);
    }
    Ok(rows)
}

/// Bytes of values in one query: its address stays below 16 KiB, though each byte may take three.
const VALUE_BYTES: usize = 4_500;

/// The Accounts of these customers, each by its trace: by the external id first, then by the latest record of an earlier
/// order of the subscription. Who is nowhere is left out. An API call or two, none for none.
///
/// An Account that a duplicate rule or an agent chose has no external id of ours, so only earlier orders tell of it.
pub(crate) async fn accounts_of_customers(
    client: &Client,
    ids: &ExternalIds,
    customers: &[AccountTrace],
) -> Result<HashMap<AccountTrace, RecordId>, salesforce::Error> {
    let names: Vec<&str> = customers.iter().filter_map(|trace| trace.external_id.as_deref()).collect();
    let by_name = ids_by(client, "Account", "Id", &ids.account, &names).await?;
    // External ids are compared without regard to case.
    let found = |trace: &AccountTrace| by_name.get(&trace.external_id.as_ref()?.to_lowercase()).cloned();
    let rest: Vec<&AccountTrace> = customers.iter().filter(|trace| found(trace).is_none()).collect();
    let ExternalIds { order_object, order_account, subscription, .. } = ids;
    let recorded = ![order_object, order_account, subscription].into_iter().any(String::is_empty);
    let subscriptions: Vec<&str> =
        rest.iter().flat_map(|trace| trace.subscriptions.iter().map(String::as_str)).collect();
    let by_subscription = if recorded {
        ids_by(client, order_object, order_account, subscription, &subscriptions).await?
    } else {
        HashMap::new()
    };
    let earlier = |trace: &AccountTrace| {
        trace.subscriptions.iter().find_map(|name| by_subscription.get(&name.to_lowercase())).cloned()
    };
    let accounts = customers.iter().filter_map(|trace| Some((trace.clone(), found(trace).or_else(|| earlier(trace))?)));
    Ok(accounts.collect())
}

/// The id that stands in `field` of the latest record for each value of `by`, under the value in lower case.
async fn ids_by(
    client: &Client,
    object: &str,
    field: &str,
    by: &str,
    values: &[&str],
) -> Result<HashMap<String, RecordId>, salesforce::Error> {
    let values: BTreeSet<&str> = values.iter().copied().collect();
    let mut values = values.into_iter().map(salesforce::quote).peekable();
    let mut found = HashMap::new();
    while values.peek().is_some() {
        let mut list = String::new();
        while let Some(value) = values.next_if(|value| list.is_empty() || list.len() + value.len() < VALUE_BYTES) {
            if !list.is_empty() {
                list.push(',');
            }
            list.push_str(&value);
        }
        let soql = format!(
            "SELECT {field}, {by} FROM {object} WHERE {by} IN ({list}) AND {field} != null ORDER BY CreatedDate"
        );
        for row in client.query(&soql).await? {
            let text = |field: &str| row.get(field).and_then(Value::as_str);
            if let (Some(value), Some(id)) = (text(by), text(field).and_then(RecordId::parse)) {
                found.insert(value.to_lowercase(), id);
            }
        }
    }
    Ok(found)
}
