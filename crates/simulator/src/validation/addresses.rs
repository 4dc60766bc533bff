//! State and Country/Territory picklists: codes and integration values of an address follow each other.
//!
//! Sources: Help, "State and Country/Territory Picklist Field-Syncing Logic" (who follows whom) and the texts of
//! `FIELD_INTEGRITY_EXCEPTION` as recorded in public bug reports.

use serde_json::Value;

use super::Changes;
use crate::api_error::ApiError;
use crate::records::Row;
use crate::schema::addresses::{AddressFields, Country};
use crate::schema::{FieldIx, Object, ObjectIx, Schema};
use crate::settings::Settings;

/// Checks the addresses a save touches and fills in what follows.
pub(crate) fn check_addresses(
    schema: &Schema,
    object: ObjectIx,
    before: Option<&Row>,
    row: &mut Row,
    changes: &Changes,
    settings: &Settings,
) -> Result<(), ApiError> {
    if !settings.state_country_picklists {
        return Ok(());
    }
    let definition = schema.object(object);
    for address in &definition.addresses {
        let (Some(country_code), Some(state_code)) = (address.country_code, address.state_code) else { continue };
        let parts = [country_code, address.country, state_code, address.state];
        if parts.iter().any(|ix| changes.get(*ix).is_some()) {
            one(&schema.countries, definition, address, (country_code, state_code), before, row, changes)?;
        }
    }
    Ok(())
}

fn one(
    countries: &[Country],
    definition: &Object,
    address: &AddressFields,
    (country_code, state_code): (FieldIx, FieldIx),
    before: Option<&Row>,
    row: &mut Row,
    changes: &Changes,
) -> Result<(), ApiError> {
    let country = Pair { code: country_code, name: address.country, what: "country" };
    let state = Pair { code: state_code, name: address.state, what: "state" };
    // A country taken away takes the state with it, unless a state is given.
    let cleared = |ix: FieldIx| changes.get(ix).is_some_and(Value::is_null);
    let state_given = changes.fills(Some(state_code)) || changes.fills(Some(address.state));
    if cleared(country_code) && !changes.fills(Some(address.country)) && !state_given {
        for ix in [country_code, address.country, state_code, address.state] {
            row.set(ix, Value::Null);
        }
        return Ok(());
    }
    let names = |found: &Country| (found.code.clone(), found.name.clone());
    let found = country.find(definition, before, row, changes, || countries.iter().map(names))?;
    let shown = found.as_ref().and_then(|(code, _)| countries.iter().find(|c| c.code == *code));
    country.set(row, found);
    let wants_state = row.get(state_code).is_some() || row.get(address.state).is_some();
    let found = match shown {
        None if wants_state && state_given => {
            let at = if row.get(address.state).is_some() { address.state } else { state_code };
            let field = definition.field(at);
            let label = &definition.field(address.state).label;
            let message =
                format!("A country/territory must be specified before specifying a state value for field: {label}");
            return Err(ApiError::bad_request("FIELD_INTEGRITY_EXCEPTION", message).with_fields([field.name.clone()]));
        }
        None => None,
        Some(shown) => state.find(definition, before, row, changes, || shown.states.iter().cloned())?,
    };
    state.set(row, found);
    Ok(())
}

/// A code with its integration value.
struct Pair {
    code: FieldIx,
    name: FieldIx,
    what: &'static str,
}

impl Pair {
    /// The entry the row names: by the code it has, or by the text where only that is written.
    fn find<I: Iterator<Item = (String, String)>>(
        &self,
        definition: &Object,
        before: Option<&Row>,
        row: &Row,
        changes: &Changes,
        list: impl Fn() -> I,
    ) -> Result<Option<(String, String)>, ApiError> {
        let written = |ix: FieldIx| changes.get(ix).is_some();
        let (code, name) = (row.text(self.code), row.text(self.name));
        let by_name = written(self.name) && !written(self.code);
        if by_name || code.is_none() && !written(self.code) {
            let Some(name) = name else { return Ok(None) };
            let found = list().find(|(_, known)| known.eq_ignore_ascii_case(name));
            return found.map(Some).ok_or_else(|| self.unknown_name(definition));
        }
        let Some(code) = code else { return Ok(None) };
        let found = list().find(|(known, _)| known.eq_ignore_ascii_case(code));
        let found = found.ok_or_else(|| self.unknown_code(definition, code))?;
        // On create the code wins; on an update the two must agree.
        let disagree =
            before.is_some() && written(self.name) && name.is_some_and(|name| !found.1.eq_ignore_ascii_case(name));
        if disagree { Err(self.unknown_name(definition)) } else { Ok(Some(found)) }
    }

    fn set(&self, row: &mut Row, found: Option<(String, String)>) {
        let (code, name) = found.map_or((Value::Null, Value::Null), |(code, name)| (code.into(), name.into()));
        row.set(self.code, code);
        row.set(self.name, name);
    }

    fn unknown_name(&self, definition: &Object) -> ApiError {
        let field = definition.field(self.name);
        let list = if self.what == "country" {
            "country/territory from the list of valid countries"
        } else {
            "state from the list of valid states"
        };
        let message = format!(
            "There's a problem with this {}, even though it may appear correct. Please select a {list}.: {}",
            self.what, field.label
        );
        ApiError::bad_request("FIELD_INTEGRITY_EXCEPTION", message).with_fields([field.name.clone()])
    }

    fn unknown_code(&self, definition: &Object, code: &str) -> ApiError {
        let name = &definition.field(self.code).name;
        let message = if self.what == "country" {
            format!("The {name} field contains {code}, which isn't an available country/territory.")
        } else {
            format!(
                "The {name} field contains {code}, which isn't an available state. Your administrator can add it for you."
            )
        };
        ApiError::bad_request("FIELD_INTEGRITY_EXCEPTION", message).with_fields([name.clone()])
    }
}
