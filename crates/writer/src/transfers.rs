//! Which records of a subscription belong to another Account than their order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use domain::config::TransferObject;
use domain::order::id::RecordId;
use domain::plan::Transfer;
use salesforce::{Client, Part, PartAnswer};

use crate::rows::text;

/// Bytes of quoted names in one query: encoded, at most three each, its address stays below 16 KiB.
const NAMES: usize = 4_000;

/// The first page of a query, which is all that a composite request reads: no look-up that fills it is believed.
const PAGE: usize = 2_000;

/// Why the records of some orders are not known.
pub(crate) enum Unknown {
    /// There are more than one request tells of. Fewer names may do.
    TooMany,
    /// The org does not answer, or not this.
    Failed(salesforce::Error),
    /// The org refuses to be asked for an object.
    Refused(salesforce::ApiError),
}

/// A record and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    /// The record, as it would move.
    pub(crate) transfer: Transfer,
    /// Whose it is now.
    pub(crate) account: Option<RecordId>,
}

/// The records of these subscriptions, by the subscription's name in lower case: Salesforce compares without regard to case.
/// One API call for all objects, as long as the names together have no more than 4,000 bytes.
pub(crate) async fn held(
    client: &Client,
    objects: &BTreeMap<String, TransferObject>,
    names: &BTreeSet<&str>,
) -> Result<HashMap<String, Vec<Held>>, Unknown> {
    let mut found: HashMap<String, Vec<Held>> = HashMap::new();
    for names in groups(names) {
        let parts: Vec<Part> = objects
            .iter()
            .enumerate()
            .map(|(index, (object, TransferObject { subscription, account }))| Part::Query {
                reference: format!("q{index}"),
                soql: format!("SELECT Id, {account}, {subscription} FROM {object} WHERE {subscription} IN ({names})"),
            })
            .collect();
        let answers = client.composite(false, &parts).await.map_err(Unknown::Failed)?;
        for ((object, TransferObject { subscription, account }), answer) in objects.iter().zip(answers) {
            let rows = match answer {
                PartAnswer::Records(rows) if rows.len() >= PAGE => return Err(Unknown::TooMany),
                PartAnswer::Records(rows) => rows,
                PartAnswer::Refused(refusal) => return Err(Unknown::Refused(refusal.error)),
                PartAnswer::Written(_) | PartAnswer::Halted => {
                    return Err(Unknown::Refused(salesforce::ApiError::new("PROCESSING_HALTED", "")));
                }
            };
            for row in rows {
                let id = text(&row, "Id").and_then(RecordId::parse);
                let (Some(id), Some(name)) = (id, text(&row, subscription)) else { continue };
                let transfer = Transfer { object: object.clone(), id, account_field: account.clone() };
                let account = text(&row, account).and_then(RecordId::parse);
                found.entry(name.to_lowercase()).or_default().push(Held { transfer, account });
            }
        }
    }
    Ok(found)
}

/// The names as lists of literals, each short enough for a query.
fn groups(names: &BTreeSet<&str>) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    for name in names {
        let quoted = salesforce::quote(name);
        match groups.last_mut() {
            Some(group) if group.len() + quoted.len() < NAMES => {
                group.push(',');
                group.push_str(&quoted);
            }
            Some(_) | None => groups.push(quoted),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_a_query_holds_no_more_than_its_address_takes() {
        let names: Vec<String> = (0..300).map(|number| format!("sub-{number:032}")).collect();
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let groups = groups(&names);
        assert_eq!(groups.len(), 3);
        assert!(groups.iter().all(|group| group.len() <= NAMES));
        assert_eq!(super::groups(&BTreeSet::from(["O'Brien"])), [r"'O\'Brien'"]);
        assert!(super::groups(&BTreeSet::new()).is_empty());
    }
}
