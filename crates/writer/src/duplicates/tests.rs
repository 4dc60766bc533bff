use domain::plan::{Effect, Reference, Write};
use serde_json::json;

use super::*;

const OLD: &str = "001B000001Lp1G2IAJ";
const NEW: &str = "001B000001Lp1FzIAJ";
const PERSON: &str = "003B000001Lp1FzIAJ";

fn processing(policy: SeveralMatches) -> OrderProcessing {
    let mut processing = OrderProcessing { include_duplicate_check: true, ..OrderProcessing::default() };
    processing.duplicates.several_matches = policy;
    processing
}

fn found(id: &str, fields: &Value) -> DuplicateMatch {
    DuplicateMatch {
        object: None,
        id: Some(id.to_owned()),
        confidence: Some(100.0),
        rule: Some("Match".to_owned()),
        engine: None,
        same_fields: Vec::new(),
        record: fields.as_object().cloned().unwrap_or_default(),
    }
}

fn error(allow_save: Option<bool>, matches: Vec<DuplicateMatch>) -> ApiError {
    let duplicate =
        DuplicateResult { allow_save, rule: Some("Rule".to_owned()), matches, ..DuplicateResult::default() };
    ApiError { duplicate: Some(Box::new(duplicate)), ..ApiError::new("DUPLICATES_DETECTED", "Use one of these?") }
}

fn id(text: &str) -> RecordId {
    RecordId::parse(text).expect("an id")
}

fn question(processing: &OrderProcessing, error: &ApiError) -> Question {
    match weigh(processing, error, true) {
        Weighed::Open(question) => question,
        other @ (Weighed::Decided(_) | Weighed::AskAlone) => panic!("{other:?}"),
    }
}

fn attached(decision: Decision) -> (RecordId, MatchExplanation) {
    match decision {
        Decision::Attach { account, explanation } => (account, explanation),
        Decision::Reject(rejected) => panic!("{rejected:?}"),
    }
}

fn reason(decision: &Decision) -> Reason {
    match decision {
        Decision::Reject(rejected) => rejected.failure.reason,
        Decision::Attach { account, .. } => panic!("attached to {account}"),
    }
}

#[test]
fn an_answer_that_does_not_say_whether_its_rule_blocks_attaches_nothing() {
    let on = processing(SeveralMatches::Oldest);
    let silent = error(None, vec![found(OLD, &json!({}))]);
    assert!(matches!(weigh(&on, &silent, true), Weighed::AskAlone));
    let Weighed::Decided(decision) = weigh(&on, &silent, false) else { panic!("not decided") };
    assert_eq!(reason(&decision), Reason::DuplicateDetected);
    let Weighed::Decided(decision) = weigh(&on, &error(Some(false), Vec::new()), true) else { panic!("not decided") };
    assert_eq!(reason(&decision), Reason::DuplicateBlocked);
}

#[test]
fn several_matches_are_decided_by_the_ages_in_the_answer_and_nothing_is_looked_up() {
    let matches = || {
        vec![
            found(NEW, &json!({ "CreatedDate": "2026-02-02T00:00:00.000+0000" })),
            found(OLD, &json!({ "CreatedDate": "2026-02-01T00:00:00.000+0000" })),
        ]
    };
    for (policy, expected) in [(SeveralMatches::Oldest, OLD), (SeveralMatches::Newest, NEW)] {
        let on = processing(policy);
        let question = question(&on, &error(Some(true), matches()));
        assert!(question.ages_wanted(policy).is_empty());
        let (account, explanation) = attached(question.decide(&on, &HashMap::new(), None));
        assert_eq!(account, id(expected));
        assert_eq!(explanation.policy.as_deref(), Some(policy.as_str()));
        assert_eq!(explanation.matched.len(), 2);
    }
    let on = processing(SeveralMatches::Reject);
    let decision = question(&on, &error(Some(true), matches())).decide(&on, &HashMap::new(), None);
    assert_eq!(reason(&decision), Reason::DuplicateAmbiguous);
    let Decision::Reject(rejected) = decision else { panic!("attached") };
    assert_eq!(rejected.explanation.expect("an explanation").policy.as_deref(), Some("reject"));
}

#[test]
fn ages_that_the_answer_leaves_out_are_asked_for_all_together() {
    let on = processing(SeveralMatches::Oldest);
    let half = vec![found(NEW, &json!({ "CreatedDate": "2026-02-02T00:00:00.000+0000" })), found(OLD, &json!({}))];
    let question = question(&on, &error(Some(true), half));
    assert_eq!(question.ages_wanted(SeveralMatches::Oldest).len(), 2);
    let ages = HashMap::from([(id(OLD), "2026-01".to_owned()), (id(NEW), "2026-02".to_owned())]);
    assert_eq!(attached(question.decide(&on, &ages, None)).0, id(OLD));
    assert!([id(OLD), id(NEW)].contains(&attached(question.decide(&on, &HashMap::new(), None)).0), "all are gone");
}

#[test]
fn a_matched_contact_counts_as_its_account_and_two_of_one_account_are_one_match() {
    let on = processing(SeveralMatches::Reject);
    let other = "003B000001Lp1G2IAJ";
    let matches = vec![found(PERSON, &json!({})), found(other, &json!({}))];
    let mut question = question(&on, &error(Some(true), matches));
    assert_eq!(question.contacts().len(), 2);
    assert_eq!(reason(&question.decide(&on, &HashMap::new(), None)), Reason::DuplicateDetected);
    question.belong_to(&HashMap::from([(id(PERSON), id(OLD)), (id(other), id(OLD))]));
    assert_eq!(attached(question.decide(&on, &HashMap::new(), None)).0, id(OLD));
}

#[test]
fn the_explanation_names_the_fields_that_agree_and_the_kind_of_their_values_only() {
    let on = processing(SeveralMatches::Reject);
    let field = |name: &str, value: &str| (name.to_owned(), FieldValue::Json(value.into()));
    let plan = WritePlan {
        effects: vec![Effect {
            reference: Reference::Account,
            write: Write::Upsert { object: "Account".into(), field: "LimioId__c".into(), value: "id-1".into() },
            fields: vec![field("LastName", "Quist"), field("PersonEmail", "Nora@example.org"), field("Phone", "1")],
        }],
        adjustments: Vec::new(),
    };
    let mut one = found(OLD, &json!({ "LastName": "quist ", "PersonEmail": "nora@example.org", "Phone": "2" }));
    let explain = |one: &DuplicateMatch| {
        let question = question(&on, &error(Some(true), vec![one.clone()]));
        attached(question.decide(&on, &HashMap::new(), Some(&plan))).1
    };
    let explanation = explain(&one);
    let names = |explanation: &MatchExplanation| -> Vec<(String, String)> {
        explanation.fields.iter().map(|field| (field.name.clone(), field.shape.clone())).collect()
    };
    let expected = [("LastName", "text of 5"), ("PersonEmail", "e-mail address")];
    assert_eq!(names(&explanation), expected.map(|(name, shape)| (name.to_owned(), shape.to_owned())));
    let told = serde_json::to_string(&explanation).expect("JSON").to_lowercase();
    assert!(!told.contains("quist") && !told.contains("nora"), "{told}");
    one.same_fields = vec!["Phone".to_owned()];
    assert!(names(&explain(&one)).contains(&("Phone".to_owned(), "text of 1".to_owned())), "the answer says so");
}
