//! What only the org knows: whether an order was written, and whose Account a Contact belongs to.
//!
//! After a lost answer, did it happen? Each order has a record of its own in the org, created in the same all-or-none unit
//! as everything else of the order and unique by the order's identity. So one query tells for many orders whether they
//! were written, and a request that is sent again cannot be executed twice.

use std::collections::HashMap;

use domain::config::{ExternalIds, OrderProcessing};
use domain::order::id::{Fingerprint, OrderId, RecordId};
use domain::outcome::Written;
use domain::plan::Reference;
use salesforce::{Client, Part, PartAnswer};

use crate::accounts;
use crate::rows::{self, Row};

/// What the org holds of an order.
pub(crate) struct Found {
    /// What was written.
    pub(crate) written: Written,
    /// What the order said that was written, where its record keeps it.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Its record says that its event was published.
    pub(crate) event_published: bool,
}

/// Which of these orders have a record in the org, and what it says. One API call; two where the orders' names fill more than
/// one address.
///
/// Empty when the settings name no object for the order record: then nothing can be looked up.
pub(crate) async fn written_orders(
    client: &Client,
    processing: &OrderProcessing,
    orders: &[&OrderId],
) -> Result<HashMap<OrderId, Found>, salesforce::Error> {
    let ExternalIds { order_object, order, order_account, order_fingerprint, .. } = &processing.external_ids;
    if orders.is_empty() || order_object.is_empty() {
        return Ok(HashMap::new());
    }
    let published = processing.event_noted_in();
    let named = ["Id", order, order_account, order_fingerprint, published.unwrap_or_default()];
    let named = named.into_iter().filter(|field| !field.is_empty());
    let fields: Vec<&str> = named.collect();
    let mut rows = Vec::new();
    // A name has at most 128 bytes, of which each may take three in an address; most have 38.
    for values in within(orders.iter().map(|order| salesforce::quote(order.as_str()))) {
        let soql = format!("SELECT {} FROM {order_object} WHERE {order} IN ({values})", fields.join(", "));
        rows.extend(client.query(&soql).await?);
    }
    let mut found = HashMap::new();
    for row in &rows {
        // Without its name it cannot be told which order was written, so none may count as not written.
        let Some(name) = rows::asked(row, order)? else { continue };
        // External ids are compared without regard to case.
        let Some(order) = orders.iter().find(|order| order.as_str().eq_ignore_ascii_case(name)) else { continue };
        let mut written = Written {
            crm_id: rows::text(row, order_account).and_then(RecordId::parse),
            adjustments: vec!["found written when it was looked up after a lost answer".to_owned()],
            ..Written::default()
        };
        if let Some(id) = rows::text(row, "Id") {
            written.record_ids.insert(Reference::Order.name().into_owned(), id.into());
        }
        let fingerprint = rows::text(row, order_fingerprint).and_then(Fingerprint::parse);
        // Not knowing is not "no": the event would go out once more.
        let event_published = published.map_or(Ok(false), |field| rows::is_set(row, field))?;
        found.insert((*order).clone(), Found { written, fingerprint, event_published });
    }
    Ok(found)
}

/// Bytes of values in one query: its address stays below 16 KiB, though each byte may take three.
const VALUE_BYTES: usize = 4_500;

/// Lists of values, each for one query.
fn within(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut lists: Vec<String> = Vec::new();
    for value in values {
        match lists.last_mut() {
            Some(list) if list.len() + value.len() < VALUE_BYTES => {
                list.push(',');
                list.push_str(&value);
            }
            Some(_) | None => lists.push(value),
        }
    }
    lists
}

/// Ids in one query: its address stays below 16 KiB, at 27 bytes an id.
const IDS: usize = 500;

/// The Account of each of these Contacts; a Contact that is gone or has none is left out. One API call for up to 500, none
/// for none.
pub(crate) async fn accounts_of_contacts(
    client: &Client,
    contacts: &[&RecordId],
) -> Result<HashMap<RecordId, RecordId>, salesforce::Error> {
    let id = |row: &Row, field: &str| RecordId::parse(rows::text(row, field)?);
    let rows = of_records(client, "AccountId", "Contact", contacts).await?;
    Ok(rows.iter().filter_map(|row| Some((id(row, "Id")?, id(row, "AccountId")?))).collect())
}

/// When each of these Accounts was created, as Salesforce writes it; an Account that is gone is left out. One API call for
/// up to 500, none for none.
pub(crate) async fn ages_of_accounts(
    client: &Client,
    accounts: &[&RecordId],
) -> Result<HashMap<RecordId, String>, salesforce::Error> {
    let text = |row: &Row, field: &str| Some(rows::text(row, field)?.to_owned());
    let rows = of_records(client, "CreatedDate", "Account", accounts).await?;
    Ok(rows.iter().filter_map(|row| Some((RecordId::parse(&text(row, "Id")?)?, text(row, "CreatedDate")?))).collect())
}

async fn of_records(
    client: &Client,
    field: &str,
    object: &str,
    ids: &[&RecordId],
) -> Result<Vec<Row>, salesforce::Error> {
    let mut rows = Vec::new();
    for ids in ids.chunks(IDS) {
        let values: Vec<String> = ids.iter().map(|id| salesforce::quote(id.as_str())).collect();
        let soql = format!("SELECT Id, {field} FROM {object} WHERE Id IN ({})", values.join(","));
        rows.extend(client.query(&soql).await?);
    }
    Ok(rows)
}

/// What the org told of these questions.
pub(crate) struct Told {
    /// The answers, as far as there are any.
    pub(crate) answers: accounts::Answers,
    /// Why there are none to the others, where the org refused some.
    pub(crate) refused: Option<salesforce::Error>,
}

/// What the org answers to these questions. One API call.
pub(crate) async fn ask(
    client: &Client,
    ids: &ExternalIds,
    request: &accounts::Request,
) -> Result<Told, salesforce::Error> {
    let queries = request.soql(ids);
    let (mut rows, mut refused) = (Vec::new(), None);
    match queries.as_slice() {
        [] => {}
        [query] => rows.push(Some(client.query(query).await?)),
        queries => {
            let part = |(number, soql): (usize, &String)| Part::Query {
                reference: format!("accounts{number}"),
                soql: soql.clone(),
            };
            let parts: Vec<Part> = queries.iter().enumerate().map(part).collect();
            for answer in client.composite(false, &parts).await? {
                match rows_of(answer) {
                    Ok(records) => rows.push(Some(records)),
                    Err(error) => {
                        rows.push(None);
                        refused = refused.or(Some(error));
                    }
                }
            }
        }
    }
    Ok(Told { answers: request.read(ids, &rows)?, refused })
}

fn rows_of(answer: PartAnswer) -> Result<Vec<Row>, salesforce::Error> {
    match answer {
        PartAnswer::Records(rows) => Ok(rows),
        PartAnswer::Refused(refusal) => Err(salesforce::Error::Refused { status: 400, errors: vec![refusal.error] }),
        PartAnswer::Written(_) | PartAnswer::Halted => {
            Err(salesforce::Error::Protocol("a query of a composite request without records".to_owned()))
        }
    }
}
