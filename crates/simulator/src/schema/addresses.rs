//! Addresses: the countries and states of the picklists, and the parts of each compound address.
//!
//! Sources: Help, "Integration Values for State and Country/Territory Picklists"; the shipped lists as recorded in
//! `Address.settings` of public orgs; Object Reference, "Address Compound Fields".

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{FieldIx, FieldType, Object};
use crate::records::Row;

const COUNTRIES: &str = include_str!("../../schema/countries.toml");

/// A country of the address picklists.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Country {
    pub(crate) code: String,
    /// Integration value, the text that the country field holds.
    pub(crate) name: String,
    /// Pairs of code and integration value.
    #[serde(default)]
    pub(crate) states: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Countries {
    country: Vec<Country>,
}

pub(crate) fn countries() -> Vec<Country> {
    let read: Countries = toml::from_str(COUNTRIES).expect("the embedded countries are read by a unit test");
    read.country
}

/// The places of one address's parts.
#[derive(Debug)]
pub(crate) struct AddressFields {
    pub(crate) compound: FieldIx,
    /// Key in the compound value, and the field.
    pub(crate) parts: Vec<(&'static str, FieldIx)>,
    pub(crate) country: FieldIx,
    pub(crate) state: FieldIx,
    pub(crate) country_code: Option<FieldIx>,
    pub(crate) state_code: Option<FieldIx>,
}

/// Keys of a compound address in the order the org prints them, with the ends of the fields' names.
const PARTS: [(&str, &str); 10] = [
    ("city", "City"),
    ("country", "Country"),
    ("countryCode", "CountryCode"),
    ("geocodeAccuracy", "GeocodeAccuracy"),
    ("latitude", "Latitude"),
    ("longitude", "Longitude"),
    ("postalCode", "PostalCode"),
    ("state", "State"),
    ("stateCode", "StateCode"),
    ("street", "Street"),
];

/// The addresses of an object: every field of the type, with the fields of the same beginning.
pub(crate) fn of(object: &Object) -> Vec<AddressFields> {
    let compounds = object.each_field().filter(|(_, field)| field.kind == FieldType::Address);
    compounds
        .filter_map(|(compound, field)| {
            let kind = field.name.strip_suffix("Address")?;
            let part = |end: &str| object.find(&format!("{kind}{end}"));
            Some(AddressFields {
                compound,
                parts: PARTS.iter().filter_map(|(key, end)| Some((*key, part(end)?))).collect(),
                country: part("Country")?,
                state: part("State")?,
                country_code: part("CountryCode"),
                state_code: part("StateCode"),
            })
        })
        .collect()
}

/// Makes the compound values of a row follow their parts; an address without any part is null.
pub(crate) fn compose(object: &Object, row: &mut Row, changed: impl Fn(FieldIx) -> bool, picklists: bool) {
    for address in &object.addresses {
        if !address.parts.iter().any(|(_, ix)| changed(*ix)) {
            continue;
        }
        let mut whole = Map::new();
        let mut filled = false;
        for (key, ix) in &address.parts {
            if !picklists && (Some(*ix) == address.country_code || Some(*ix) == address.state_code) {
                continue;
            }
            let value = row.get(*ix).cloned().unwrap_or(Value::Null);
            filled |= !value.is_null();
            whole.insert((*key).to_owned(), value);
        }
        row.set(address.compound, if filled { Value::Object(whole) } else { Value::Null });
    }
}

#[cfg(test)]
mod tests {
    use super::countries;

    #[test]
    fn all_countries_are_there_and_nine_have_states() {
        let all = countries();
        assert_eq!(all.len(), 239);
        let with_states: Vec<&str> = all.iter().filter(|c| !c.states.is_empty()).map(|c| c.code.as_str()).collect();
        assert_eq!(with_states, ["AU", "BR", "CA", "CN", "IE", "IN", "IT", "MX", "US"]);
        assert_eq!(all.iter().find(|c| c.code == "US").map(|c| c.states.len()), Some(51));
    }
}
