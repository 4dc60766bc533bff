//! Messages of refusals in the user's language.
//!
//! Salesforce words them in the language of the user who calls; a Portuguese duplicate alert is on record. Codes, field
//! names and values stay, so a client that reads codes notices nothing. Texts that an administrator wrote (validation
//! rules, alerts) are nobody's to translate.

use serde_json::Value;

use crate::reply::Reply;
use crate::settings::Language;

/// Parts of an English message around its values, and the same parts in Portuguese.
type Phrase = (&'static str, &'static [&'static str], &'static [&'static str]);

const PORTUGUESE: [Phrase; 11] = [
    ("REQUIRED_FIELD_MISSING", &["Required fields are missing: ", ""], &["Campos obrigatórios ausentes: ", ""]),
    (
        "STRING_TOO_LONG",
        &["", ": data value too large: ", " (max length=", ")"],
        &["", ": valor de dados muito grande: ", " (comprimento máx.=", ")"],
    ),
    ("INVALID_EMAIL_ADDRESS", &["", ": invalid email address: ", ""], &["", ": endereço de email inválido: ", ""]),
    (
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        &["", ": bad value for restricted picklist field: ", ""],
        &["", ": valor inválido para o campo de lista de opções restrita: ", ""],
    ),
    ("DUPLICATES_DETECTED", &["Use one of these records?"], &["Usar um destes registros?"]),
    (
        "DUPLICATE_VALUE",
        &["duplicate value found: ", " duplicates value on record with id: ", ""],
        &["valor duplicado encontrado: ", " duplica o valor no registro com ID: ", ""],
    ),
    (
        "UNABLE_TO_LOCK_ROW",
        &["unable to obtain exclusive access to this record or 1 records: ", ""],
        &["não é possível obter acesso exclusivo a este registro ou 1 registros: ", ""],
    ),
    ("ENTITY_IS_DELETED", &["entity is deleted"], &["a entidade foi excluída"]),
    ("INVALID_CROSS_REFERENCE_KEY", &["invalid cross reference id"], &["ID de referência cruzada inválido"]),
    (
        "INSUFFICIENT_ACCESS_OR_READONLY",
        &["insufficient access rights on object id"],
        &["direitos de acesso insuficientes no ID do objeto"],
    ),
    ("STORAGE_LIMIT_EXCEEDED", &["storage limit exceeded"], &["limite de armazenamento excedido"]),
];

/// The reply with the messages of its refusals in `language`.
pub(crate) fn reply(mut reply: Reply, language: Language) -> Reply {
    match language {
        Language::English => {}
        Language::Portuguese => {
            if let Some(body) = &mut reply.body {
                translate(body);
            }
        }
    }
    reply
}

/// Refusals are objects with a code and a message, wherever an envelope has them.
///
/// The walk goes as deep as a body that the org itself made, which no caller can nest.
fn translate(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(translate),
        Value::Object(object) => {
            let code = object.get("errorCode").or_else(|| object.get("statusCode")).and_then(Value::as_str);
            let phrase = code.and_then(|code| PORTUGUESE.iter().find(|phrase| phrase.0 == code));
            if let Some((_, english, portuguese)) = phrase {
                for key in ["message", "errorMessage"] {
                    if let Some(Value::String(text)) = object.get_mut(key)
                        && let Some(told) = reword(text, english, portuguese)
                    {
                        *text = told;
                    }
                }
            }
            object.values_mut().for_each(translate);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `text` with the parts `from` replaced by the parts `to`; `None` when it is another text.
fn reword(text: &str, from: &[&str], to: &[&str]) -> Option<String> {
    let (first, rest) = from.split_first()?;
    let mut out = (*to.first()?).to_owned();
    let mut left = text.strip_prefix(first)?;
    for (at, part) in rest.iter().enumerate() {
        // An empty last part takes all that is left.
        let end = if part.is_empty() { left.len() } else { left.find(part)? };
        let (value, after) = left.split_at_checked(end)?;
        out.push_str(value);
        out.push_str(to.get(at + 1)?);
        left = after.strip_prefix(part)?;
    }
    left.is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::{PORTUGUESE, reword};

    #[test]
    fn a_message_keeps_its_values_and_an_administrators_text_stays() {
        let (_, from, to) = PORTUGUESE[1];
        assert_eq!(
            reword("City: data value too large: Llanfair (max length=4)", from, to).as_deref(),
            Some("City: valor de dados muito grande: Llanfair (comprimento máx.=4)")
        );
        assert_eq!(reword("Not on Sundays", from, to), None);
    }

    #[test]
    fn every_phrase_has_the_same_number_of_values_in_both_languages() {
        for (code, from, to) in PORTUGUESE {
            assert_eq!(from.len(), to.len(), "{code}");
        }
    }
}
