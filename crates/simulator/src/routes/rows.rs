//! Which rows a request names, for the log: by their address, or by what its body says of a row that is to be made.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::composite::Part;
use crate::org::Org;
use crate::settings::Settings;

/// What a part of a composite request or of a graph names.
pub(super) fn of_part(org: &Org, part: &Part, settings: &Settings) -> Vec<String> {
    let path = part.url.split('?').next().unwrap_or_default();
    match (path.split_once("/sobjects/"), part.body.as_ref()) {
        _ if is_describe(part) => Vec::new(),
        (Some((_, address)), body) => of_address(org, &percent_decode_str(address).decode_utf8_lossy(), body, settings),
        (None, Some(body)) if path.ends_with("/composite/sobjects") => of_records(org, body, settings),
        (None, _) => Vec::new(),
    }
}

/// Whether a part asks what an object is made of: `Account/describe` names no row of it.
pub(super) fn is_describe(part: &Part) -> bool {
    let path = part.url.split('?').next().unwrap_or_default();
    let address = path.split_once("/sobjects/").and_then(|(_, address)| address.split_once('/'));
    address.is_some_and(|(_, what)| what == "describe")
}

/// `Account/LimioId__c/id-1` as it stands; of `Account` the values in the body by which the new row can be told.
pub(super) fn of_address(org: &Org, address: &str, body: Option<&Value>, settings: &Settings) -> Vec<String> {
    if address.contains('/') {
        return vec![address.to_owned()];
    }
    body.and_then(Value::as_object).map_or_else(Vec::new, |fields| of_fields(org, address, fields, settings))
}

/// The same for each record of a collection, also by the id that it brings.
pub(super) fn of_records(org: &Org, body: &Value, settings: &Settings) -> Vec<String> {
    let records = body.get("records").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
    let typed = records.filter_map(|record| Some((record.get("attributes")?.get("type")?.as_str()?, record)));
    typed
        .flat_map(|(object, record)| {
            let id = record.iter().find(|(name, _)| name.eq_ignore_ascii_case("Id"));
            let id = id.and_then(|(_, id)| id.as_str()).map(|id| format!("{object}/{id}"));
            id.into_iter().chain(of_fields(org, object, record, settings))
        })
        .collect()
}

/// The texts in quotes of a statement, as they are meant.
pub(super) fn of_statement(statement: &str) -> Vec<String> {
    let (mut texts, mut text) = (Vec::new(), None::<String>);
    let mut rest = statement.chars();
    while let Some(next) = rest.next() {
        match (next, &mut text) {
            ('\'', Some(_)) => texts.extend(text.take()),
            ('\'', None) => text = Some(String::new()),
            ('\\', Some(text)) => text.extend(rest.next()),
            (other, Some(text)) => text.push(other),
            (_, None) => {}
        }
    }
    texts
}

fn of_fields(org: &Org, object: &str, fields: &Map<String, Value>, settings: &Settings) -> Vec<String> {
    let Some(object) = org.schema.find(object).map(|ix| org.schema.object(ix)) else { return Vec::new() };
    let told = fields.iter().filter_map(|(name, value)| {
        let field = object.field(object.find(name)?);
        let told = field.external_id || settings.logs(&object.name, &field.name);
        Some(format!("{}/{}/{}", object.name, field.name, value.as_str().filter(|_| told)?))
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_statement_asks_for_the_texts_between_its_quotes() {
        let asked = super::of_statement(r"SELECT Id FROM A WHERE B IN ('order-1','O\'Neil') AND C = 'x");
        assert_eq!(asked, ["order-1", "O'Neil"]);
        assert!(super::of_statement("SELECT Id FROM A").is_empty());
    }
}
