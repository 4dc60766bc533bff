//! What only the org knows: whether an order was written, and whose Account a Contact belongs to.
//!
//! After a lost answer, did it happen? Each order has a record of its own in the org, created in the same all-or-none unit as everything else of the order and
//! unique by the order's identity. So one query tells for many orders whether they were written, and a request that is
//! sent again cannot be executed twice.

use std::collections::HashMap;

use domain::config::ExternalIds;
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
