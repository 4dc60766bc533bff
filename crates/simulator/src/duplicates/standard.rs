//! The rules every org is delivered with.
//!
//! Source: Help, "Standard Person Account Matching Rule", "Standard Account Matching Rule", "Standard Contact Matching
//! Rule and Standard Lead Matching Rule": match keys, equations and thresholds are theirs. Leads are not in this org.

use super::rule::{BlankValues, DuplicateRule, KeyField, MatchField, RuleResponse};
use super::score::MatchMethod;
use super::text::KeyForm;

fn key(parts: &[(&str, KeyForm)]) -> Vec<KeyField> {
    parts.iter().map(|(field, form)| KeyField { field: (*field).to_owned(), form: *form }).collect()
}

fn fuzzy(field: &str, method: MatchMethod) -> MatchField {
    MatchField::fuzzy(field, method)
}

/// A name that may be blank, as in the alternative with the e-mail address.
fn loose(field: &str, method: MatchMethod) -> MatchField {
    MatchField { blank: BlankValues::Ignore, ..fuzzy(field, method) }
}

/// The same criterion with the lower bar of the person account rule's last alternative.
fn low(field: &str, method: MatchMethod) -> MatchField {
    MatchField { threshold: Some(75), ..fuzzy(field, method) }
}

impl DuplicateRule {
    /// `Standard_Person_Account_Duplicate_Rule`: name with e-mail, billing address or phone.
    pub fn standard_person_account(on_create: RuleResponse) -> Self {
        use MatchMethod::{City, Email, FirstName, LastName, Phone, Street, Zip};
        let fields = vec![
            loose("FirstName", FirstName),
            loose("LastName", LastName),
            fuzzy("PersonEmail", Email),
            fuzzy("FirstName", FirstName),
            fuzzy("LastName", LastName),
            fuzzy("BillingStreet", Street),
            fuzzy("BillingCity", City),
            fuzzy("BillingPostalCode", Zip),
            fuzzy("Phone", Phone),
            low("FirstName", FirstName),
            low("LastName", LastName),
            low("Phone", Phone),
            low("BillingCity", City),
            low("BillingPostalCode", Zip),
            low("PersonMailingStreet", Street),
        ];
        let logic = "(1 AND 2 AND 3) OR (4 AND 5 AND 6 AND (7 OR 8)) OR (4 AND 5 AND 9) \
                     OR (10 AND 11 AND 12 AND (13 OR 14) AND 15)";
        Self {
            engine: "FuzzyMatchEngine".to_owned(),
            subtype: Some("PersonAccount".to_owned()),
            logic: Some(logic.to_owned()),
            swap_names: true,
            keys: vec![
                key(&[("PersonEmail", KeyForm::Email)]),
                key(&[("FirstName", KeyForm::Initial), ("LastName", KeyForm::Sound), ("BillingCity", KeyForm::City)]),
                key(&[
                    ("FirstName", KeyForm::Initial),
                    ("LastName", KeyForm::Sound),
                    ("BillingPostalCode", KeyForm::Zip),
                ]),
                key(&[("BillingStreet", KeyForm::Street)]),
                key(&[("Phone", KeyForm::Phone)]),
            ],
            ..Self::basic(
                "Standard_Person_Account_Duplicate_Rule",
                "Account",
                "Standard_Person_Account_Match_Rule_v1_0",
                fields,
                on_create,
            )
        }
    }

    /// `Standard_Account_Duplicate_Rule` of business accounts: name or web site with address or phone.
    ///
    /// As in the org, accounts that have neither a billing city nor a postal code are never compared.
    pub fn standard_account(on_create: RuleResponse) -> Self {
        use MatchMethod::{City, CompanyName, Exact, Phone, Street, Website, Zip};
        let fields = vec![
            fuzzy("Name", CompanyName),
            fuzzy("BillingStreet", Street),
            fuzzy("BillingCity", City),
            fuzzy("BillingState", Exact),
            fuzzy("BillingPostalCode", Zip),
            fuzzy("Phone", Phone),
            fuzzy("Website", Website),
        ];
        let logic = "(1 AND 2) OR (1 AND 3 AND 4) OR (1 AND 5) OR (1 AND 6) OR (7 AND 6) OR (7 AND 2)";
        Self {
            engine: "FuzzyMatchEngine".to_owned(),
            logic: Some(logic.to_owned()),
            keys: vec![
                key(&[("Name", KeyForm::Company), ("BillingCity", KeyForm::City)]),
                key(&[("Name", KeyForm::Company), ("BillingPostalCode", KeyForm::Zip)]),
                key(&[("Website", KeyForm::Website), ("BillingCity", KeyForm::City)]),
                key(&[("Website", KeyForm::Website), ("BillingPostalCode", KeyForm::Zip)]),
            ],
            ..Self::basic(
                "Standard_Account_Duplicate_Rule",
                "Account",
                "Standard_Account_Match_Rule_v1_0",
                fields,
                on_create,
            )
        }
    }

    /// `Standard_Contact_Duplicate_Rule`: name with e-mail, phone, mailing address, or title at one account.
    ///
    /// The account's name is compared by its id: contacts of one account match, those of like-named ones do not.
    pub fn standard_contact(on_create: RuleResponse) -> Self {
        use MatchMethod::{City, Email, Exact, FirstName, LastName, Phone, Street, Title, Zip};
        let fields = vec![
            loose("FirstName", FirstName),
            loose("LastName", LastName),
            fuzzy("Email", Email),
            fuzzy("FirstName", FirstName),
            fuzzy("LastName", LastName),
            fuzzy("Title", Title),
            fuzzy("AccountId", Exact),
            fuzzy("Phone", Phone),
            fuzzy("MailingStreet", Street),
            fuzzy("MailingCity", City),
            fuzzy("MailingPostalCode", Zip),
        ];
        let logic = "(4 AND 5 AND 6 AND 7) OR (1 AND 2 AND 3) OR (4 AND 5 AND 8 AND 7) \
                     OR (4 AND 5 AND 9 AND (10 OR 11 OR 8)) OR (4 AND 5 AND 9 AND 6) OR (1 AND 2 AND 6 AND 3) \
                     OR (4 AND 5 AND 8)";
        Self {
            engine: "FuzzyMatchEngine".to_owned(),
            logic: Some(logic.to_owned()),
            swap_names: true,
            keys: vec![
                key(&[("Email", KeyForm::Email)]),
                key(&[("FirstName", KeyForm::Initial), ("LastName", KeyForm::Sound), ("AccountId", KeyForm::Folded)]),
                key(&[("FirstName", KeyForm::Initial), ("LastName", KeyForm::Sound), ("Phone", KeyForm::Phone)]),
            ],
            ..Self::basic(
                "Standard_Contact_Duplicate_Rule",
                "Contact",
                "Standard_Contact_Match_Rule_v1_1",
                fields,
                on_create,
            )
        }
    }
}
