//! What an administrator configures: duplicate rules with their matching rules.
//!
//! Source: Metadata API Developer Guide, `DuplicateRule` and `MatchingRule`; Help, "Duplicate Rules".

use serde::{Deserialize, Serialize};

use super::score::MatchMethod;
use super::text::KeyForm;

/// What a rule does to a save that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateAction {
    /// The save is refused, whatever the header says.
    Block,
    /// The save passes, after an alert if the rule has one.
    Allow,
}

/// Action on create or on edit, with its operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleResponse {
    /// Block or allow.
    pub action: DuplicateAction,
    /// Answer 400 unless the caller sent `allowSave=true`.
    #[serde(default)]
    pub alert: bool,
    /// Write a `DuplicateRecordSet` when the save passes.
    #[serde(default)]
    pub report: bool,
}

impl RuleResponse {
    /// Refuses the save.
    pub const BLOCK: Self = Self { action: DuplicateAction::Block, alert: true, report: false };
    /// Refuses with `allowSave: true` until the caller insists.
    pub const ALERT: Self = Self { action: DuplicateAction::Allow, alert: true, report: false };
    /// Saves and reports.
    pub const REPORT: Self = Self { action: DuplicateAction::Allow, alert: false, report: true };
}

/// What a blank value means for one criterion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlankValues {
    /// Blank on either side is no match (`NullNotAllowed`).
    #[default]
    Refuse,
    /// Blank on both sides is a match (`MatchBlanks`).
    Match,
    /// Blank on either side: the criterion is left out.
    Ignore,
}

/// How one field of a matching rule is compared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchField {
    /// API name of the field.
    pub field: String,
    /// Compare with case; for the exact method.
    #[serde(default)]
    pub exact_case: bool,
    /// How values are compared.
    #[serde(default)]
    pub method: MatchMethod,
    /// What blank values mean.
    #[serde(default)]
    pub blank: BlankValues,
    /// Field of the matched object, when it has another name there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_field: Option<String>,
    /// Score out of 100 from which on values match; the method's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u8>,
}

impl MatchField {
    /// A field compared exactly but for case.
    pub fn exact(field: &str) -> Self {
        Self { field: field.to_owned(), ..Self::default() }
    }

    /// A field compared by `method`.
    pub fn fuzzy(field: &str, method: MatchMethod) -> Self {
        Self { method, ..Self::exact(field) }
    }
}

/// One field of a match key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyField {
    /// API name of the field, on the matched object.
    pub field: String,
    /// How its value goes into the key.
    pub form: KeyForm,
}

/// A further matching rule of a duplicate rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchingRule {
    /// Developer name.
    pub name: String,
    /// Object whose rows are matched; that of the duplicate rule if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// `PersonAccount`: only person accounts are matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtype: Option<String>,
    /// `FuzzyMatchEngine` or `ExactMatchEngine`, as the body names it.
    #[serde(default = "exact_engine")]
    pub engine: String,
    /// Criteria.
    pub fields: Vec<MatchField>,
    /// Logic over the criteria, `1 AND (2 OR 3)`; all of them if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logic: Option<String>,
    /// Match keys: only rows that share one of them are compared. Derived from the criteria if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Vec<KeyField>>,
    /// Also compare with first and last name swapped.
    #[serde(default, skip_serializing_if = "is_false")]
    pub swap_names: bool,
}

/// How a filter compares (`FilterOperation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FilterOperator {
    /// The same, case aside.
    Equals,
    /// Not the same.
    NotEqual,
    /// Smaller.
    LessThan,
    /// Larger.
    GreaterThan,
    /// Not larger.
    LessOrEqual,
    /// Not smaller.
    GreaterOrEqual,
    /// Has the text in it.
    Contains,
    /// Does not have the text in it.
    NotContain,
    /// Begins with the text.
    StartsWith,
}

/// A condition a row must meet for the rule to look at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterItem {
    /// API name of the field.
    pub field: String,
    /// How it is compared.
    pub operation: FilterOperator,
    /// With what; the empty text is blank.
    #[serde(default)]
    pub value: String,
}

/// A duplicate rule with its first matching rule: all criteria must match unless `logic` says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DuplicateRule {
    /// Developer name of the duplicate rule.
    pub name: String,
    /// Object whose saves it watches.
    pub object: String,
    /// Criteria of the matching rule.
    pub fields: Vec<MatchField>,
    /// Developer name of the matching rule.
    pub matching_rule: String,
    /// `FuzzyMatchEngine` or `ExactMatchEngine`, as the body names it.
    #[serde(default = "exact_engine")]
    pub engine: String,
    /// Alert text, `message` of the error.
    #[serde(default = "alert_text")]
    pub message: String,
    /// What happens on create; absent means nothing.
    #[serde(default)]
    pub on_create: Option<RuleResponse>,
    /// What happens on edit; absent means nothing.
    #[serde(default)]
    pub on_edit: Option<RuleResponse>,
    /// Inactive rules do nothing.
    #[serde(default = "active")]
    pub active: bool,
    /// Rules are looked at in this order, then in that of the list.
    #[serde(default)]
    pub sort_order: u32,
    /// `PersonAccount`: only person accounts are looked at. Told from the criteria if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtype: Option<String>,
    /// Logic over the criteria, `1 AND (2 OR 3)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logic: Option<String>,
    /// Match keys of the matching rule; derived if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Vec<KeyField>>,
    /// Also compare with first and last name swapped.
    #[serde(default, skip_serializing_if = "is_false")]
    pub swap_names: bool,
    /// Object whose rows are matched, when it is not `object`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched_object: Option<String>,
    /// Further matching rules; each adds its matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_matching_rules: Vec<MatchingRule>,
    /// Conditions on the saved row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter: Vec<FilterItem>,
    /// Logic over the conditions; all of them if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_logic: Option<String>,
    /// Matches that sharing hides from the user do not count (`EnforceSharingRules`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub enforce_sharing: bool,
}

fn exact_engine() -> String {
    "ExactMatchEngine".to_owned()
}

fn alert_text() -> String {
    "Use one of these records?".to_owned()
}

fn active() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl DuplicateRule {
    /// A rule of `object` on create, with these criteria.
    pub(crate) fn basic(
        name: &str,
        object: &str,
        matching_rule: &str,
        fields: Vec<MatchField>,
        on_create: RuleResponse,
    ) -> Self {
        Self {
            name: name.to_owned(),
            object: object.to_owned(),
            fields,
            matching_rule: matching_rule.to_owned(),
            engine: exact_engine(),
            message: alert_text(),
            on_create: Some(on_create),
            on_edit: None,
            active: true,
            sort_order: 0,
            subtype: None,
            logic: None,
            keys: Vec::new(),
            swap_names: false,
            matched_object: None,
            more_matching_rules: Vec::new(),
            filter: Vec::new(),
            filter_logic: None,
            enforce_sharing: false,
        }
    }

    /// One e-mail field, compared exactly but for case.
    pub fn exact_email(object: &str, field: &str, on_create: RuleResponse) -> Self {
        let fields = vec![MatchField::exact(field)];
        Self::basic("Exact_Email_Duplicate_Rule", object, "Exact_Email_Match_Rule", fields, on_create)
    }

    /// The label an administrator sees.
    pub(crate) fn label(&self) -> String {
        self.name.replace('_', " ")
    }

    /// All matching rules, the first one included.
    pub(crate) fn matching_rules(&self) -> Vec<MatchingRule> {
        let first = MatchingRule {
            name: self.matching_rule.clone(),
            object: self.matched_object.clone(),
            subtype: if self.matched_object.is_none() { self.subtype.clone() } else { None },
            engine: self.engine.clone(),
            fields: self.fields.clone(),
            logic: self.logic.clone(),
            keys: self.keys.clone(),
            swap_names: self.swap_names,
        };
        std::iter::once(first).chain(self.more_matching_rules.iter().cloned()).collect()
    }
}
