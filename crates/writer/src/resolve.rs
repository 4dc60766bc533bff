//! After a lost answer: did it happen?
//!
//! Each order has a record of its own in the org, created in the same all-or-none unit as everything else of the order and
//! unique by the order's identity. So one query tells for many orders whether they were written, and a request that is
//! sent again cannot be executed twice.

use std::collections::HashMap;

use domain::config::ExternalIds;
use domain::order::id::{OrderId, RecordId};
use domain::outcome::Written;
use domain::plan::Reference;
use salesforce::Client;
use serde_json::Value;

/// Which of these orders have a record in the org, and what it says. One API call.
///
/// Empty when the settings name no object for the order record: then nothing can be looked up.
pub(crate) async fn written_orders(
    client: &Client,
    ids: &ExternalIds,
    orders: &[&OrderId],
) -> Result<HashMap<OrderId, Written>, salesforce::Error> {
    if orders.is_empty() || ids.order_object.is_empty() {
        return Ok(HashMap::new());
    }
    let values: Vec<String> = orders.iter().map(|order| salesforce::quote(order.as_str())).collect();
    let ExternalIds { order_object, order, order_account, .. } = ids;
    let soql =
        format!("SELECT Id, {order}, {order_account} FROM {order_object} WHERE {order} IN ({})", values.join(","));
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
            written.record_ids.insert(Reference::Order.as_str().to_owned(), id.into());
        }
        Some(((*order).clone(), written))
    });
    Ok(found.collect())
}
