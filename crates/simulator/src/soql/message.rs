//! How the org words what is wrong with a statement.

use super::Place;
use crate::api_error::ApiError;

/// Characters shown on each side of the place, before they grow to whole words.
const SIDE: usize = 30;

pub(super) fn malformed(message: impl Into<String>) -> ApiError {
    ApiError::bad_request("MALFORMED_QUERY", message)
}

pub(super) fn unexpected(token: &str) -> ApiError {
    malformed(format!("unexpected token: {token}"))
}

/// The refusal of the token that stands at `place`, or of the end.
pub(super) fn unexpected_at(statement: &str, place: usize) -> ApiError {
    let rest = statement.get(place..).unwrap_or_default().trim_start();
    let run =
        |fits: fn(char) -> bool| rest.find(|c: char| !fits(c)).map_or(rest, |end| rest.get(..end).unwrap_or(rest));
    match rest.chars().next() {
        None => unexpected("'<EOF>'"),
        // A quote is only in the way when nothing closes it.
        Some('\'') if !closed(rest) => unexpected("'<EOF>'"),
        Some('\'') => {
            let end = rest.get(1..).and_then(|tail| tail.find('\'')).map_or(rest.len(), |end| end + 2);
            unexpected(rest.get(..end).unwrap_or(rest))
        }
        Some(c) if c.is_alphanumeric() || c == '_' => {
            unexpected(run(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | '-')))
        }
        Some(c) => unexpected(&format!("'{c}'")),
    }
}

fn closed(quoted: &str) -> bool {
    let mut escaped = false;
    quoted.chars().skip(1).any(|c| {
        let ends = c == '\'' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })
}

/// Points at a place of the statement: some of its row, a caret below, and where that is.
///
/// The excerpt is about thirty characters on each side, to the ends of words. Six recorded messages agree on that.
pub(super) fn pointed(code: &str, statement: &str, place: Place, message: &str) -> ApiError {
    let at = place.0.min(statement.len());
    let before = statement.get(..at).unwrap_or_default();
    let row = before.matches('\n').count() + 1;
    let start_of_row = before.rfind('\n').map_or(0, |newline| newline + 1);
    let row_text: Vec<char> =
        statement.get(start_of_row..).unwrap_or_default().chars().take_while(|c| !matches!(c, '\n' | '\r')).collect();
    let column = statement.get(start_of_row..at).unwrap_or_default().chars().count().min(row_text.len());
    let splits = |c: &char| c.is_whitespace() || *c == ',';
    let mut from = column.saturating_sub(SIDE);
    while from > 0 && !row_text.get(from - 1).is_none_or(splits) {
        from -= 1;
    }
    let mut to = (column + SIDE).min(row_text.len());
    while row_text.get(to).is_some_and(|c| !splits(c)) {
        to += 1;
    }
    // Indentation tells nothing; the caret moves with it.
    while from < column && row_text.get(from).is_some_and(|c| c.is_whitespace()) {
        from += 1;
    }
    let shown: String = row_text.get(from..to).unwrap_or_default().iter().collect();
    let caret = " ".repeat(column - from);
    let text = format!("\n{}\n{caret}^\nERROR at Row:{row}:Column:{}\n{message}", shown.trim_end(), column + 1);
    ApiError::bad_request(code, text)
}

pub(super) fn no_such_column(statement: &str, place: Place, name: &str, entity: &str) -> ApiError {
    let message = format!(
        "No such column '{name}' on entity '{entity}'. If you are attempting to use a custom field, be sure to append the \
         '__c' after the custom field name. Please reference your WSDL or the describe call for the appropriate names."
    );
    pointed("INVALID_FIELD", statement, place, &message)
}

pub(super) fn no_such_relationship(statement: &str, place: Place, name: &str) -> ApiError {
    let message = format!(
        "Didn't understand relationship '{name}' in field path. If you are attempting to use a custom relationship, be sure \
         to append the '__r' after the custom relationship name. Please reference your WSDL or the describe call for the \
         appropriate names."
    );
    pointed("INVALID_FIELD", statement, place, &message)
}

pub(super) fn no_such_object(statement: &str, place: Place, name: &str) -> ApiError {
    let message = format!(
        "sObject type '{name}' is not supported. If you are attempting to use a custom object, be sure to append the '__c' \
         after the entity name. Please reference your WSDL or the describe call for the appropriate names."
    );
    pointed("INVALID_TYPE", statement, place, &message)
}

#[cfg(test)]
mod tests {
    use super::{Place, pointed};

    #[test]
    fn the_excerpt_is_the_one_of_recorded_messages() {
        let long = format!(
            "SELECT {} FROM ActivityFieldHistory WHERE SystemModstamp >= 2017-01-01T00:00:00Z AND Id != null",
            "Id,CreatedDate".repeat(9)
        );
        for (statement, word, shown, column) in [
            (
                "SELECT Bacon__c FROM Account LIMIT 2",
                "Bacon__c",
                "\nSELECT Bacon__c FROM Account LIMIT 2\n       ^\n",
                8,
            ),
            (
                "select Id, ProductCode from Product2 where ProductCode = 3999",
                "ProductCode = ",
                "\nProductCode from Product2 where ProductCode = 3999\n                                ^\n",
                44,
            ),
            (
                "SELECT Id, IsPersonAccount, AccountId, Name FROM Contact WHERE Name IN ('Bryson Dechambeau')",
                "Name IN",
                "\nAccountId, Name FROM Contact WHERE Name IN ('Bryson Dechambeau')\n                                   ^\n",
                64,
            ),
            (
                &long,
                "SystemModstamp >",
                "\nFROM ActivityFieldHistory WHERE SystemModstamp >= 2017-01-01T00:00:00Z\n                                ^\n",
                167,
            ),
        ] {
            let at = statement.find(word).unwrap_or_default();
            let message = pointed("INVALID_FIELD", statement, Place(at), "no").message;
            assert_eq!(message, format!("{shown}ERROR at Row:1:Column:{column}\nno"), "{statement}");
        }
    }
}
