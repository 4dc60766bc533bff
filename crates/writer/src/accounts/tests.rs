use std::time::Duration;

use domain::config::ExternalIds;
use salesforce::Error;
use serde_json::{Map, Value, json};

use super::told::{HOLDS, MOST};
use super::*;

fn id(number: u64) -> RecordId {
    RecordId::parse(&format!("001{number:012}")).expect("an id")
}

fn trace(external_id: &str, subscriptions: &[&str]) -> AccountTrace {
    AccountTrace {
        external_id: Some(external_id.to_owned()),
        subscriptions: subscriptions.iter().map(|name| (*name).to_owned()).collect(),
        presumed: None,
    }
}

fn row(value: &Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn asked(request: &mut Request, questions: &[Question]) -> usize {
    questions.iter().filter(|question| request.add(question)).count()
}

#[test]
fn both_questions_about_many_customers_are_one_request_and_each_is_asked_once() {
    let ids = ExternalIds::default();
    let mut request = Request::default();
    for _ in 0..2 {
        for customer in ["id-Ann", "id-bob"] {
            let all = questions(&trace(customer, &["S-1"]), &ids);
            assert_eq!(asked(&mut request, &all), all.len());
        }
    }
    let soql = request.soql(&ids);
    assert_eq!(soql[0], "SELECT Id, LimioId__c FROM Account WHERE LimioId__c IN ('id-Ann','id-bob') LIMIT 2000");
    assert_eq!(
        soql[1],
        "SELECT SubscriptionId__c name, Account__c found, Account__r.LimioId__c holder, MAX(CreatedDate) latest \
         FROM LimioOrder__c WHERE SubscriptionId__c IN ('S-1') AND Account__c != null \
         GROUP BY SubscriptionId__c, Account__c, Account__r.LimioId__c ORDER BY MAX(CreatedDate) DESC LIMIT 2000"
    );
    assert_eq!(soql.len(), 2);
}

#[test]
fn of_several_accounts_of_a_subscription_the_one_of_its_latest_order_answers() {
    let ids = ExternalIds::default();
    let mut request = Request::default();
    let question = Question::Subscription("s-1".to_owned());
    assert!(request.add(&question));
    let rows = [
        row(&json!({ "name": "S-1", "found": id(2).as_str(), "holder": "id-bob", "latest": "2026-02-02" })),
        row(&json!({ "name": "S-1", "found": id(1).as_str(), "holder": null, "latest": "2026-01-01" })),
    ];
    let answers = request.read(&ids, &[Some(rows.to_vec())]).expect("an answer");
    assert_eq!(answers[&question], Some(Row { account: id(2), holder: Holder::Named("id-bob".to_owned()) }));
    let answers = request.read(&ids, &[Some(Vec::new())]).expect("an answer");
    assert_eq!(answers[&question], None, "no row is an answer too");
    assert!(request.read(&ids, &[None]).expect("an answer").is_empty(), "a refusal is none");
}

#[test]
fn a_request_takes_hundreds_of_names_and_each_query_fits_its_address() {
    let ids = ExternalIds::default();
    let full = |name: fn(usize) -> String| {
        let mut request = Request::default();
        let taken = (0..10_000).take_while(|number| request.add(&Question::named(&name(*number)))).count();
        for soql in request.soql(&ids) {
            let address: usize = soql.bytes().map(|byte| if byte.is_ascii_alphanumeric() { 1 } else { 3 }).sum();
            assert!(address + 64 < salesforce::limits::ADDRESS, "{address}");
        }
        taken
    };
    let usual = full(|number| format!("id-{number:032x}"));
    assert!(usual > 1_000, "{usual}");
    let longest = full(|number| format!("{number:05}{}", "€".repeat(250)));
    assert!(longest >= salesforce::limits::QUERIES, "{longest}");
}

#[test]
fn where_the_order_record_does_not_say_its_account_only_the_name_is_asked_for() {
    let ids = ExternalIds { order_account: String::new(), ..ExternalIds::default() };
    assert_eq!(questions(&trace("id-ann", &["S-1"]), &ids), [Question::named("id-ann")]);
}

fn account(number: u64, name: &str) -> Row {
    Row { account: id(number), holder: Holder::Named(name.to_owned()) }
}

/// What these rows answer to these questions, which are one query.
fn read(ids: &ExternalIds, questions: &[Question], rows: &[Value]) -> Result<Answers, Error> {
    let mut request = Request::default();
    assert_eq!(asked(&mut request, questions), questions.len());
    request.read(ids, &[Some(rows.iter().map(row).collect())])
}

#[test]
fn a_name_is_asked_for_as_the_order_spells_it_and_found_under_any_spelling_its_own_first() {
    let ids = ExternalIds::default();
    let questions = ["id-Ann", "ID-ANN", "id-BOB"].map(Question::named);
    let rows = [
        json!({ "Id": id(1).as_str(), "LimioId__c": "ID-ANN" }),
        json!({ "Id": id(2).as_str(), "LimioId__c": "id-Ann" }),
        json!({ "Id": id(3).as_str(), "LimioId__c": "Id-Bob" }),
    ];
    let answers = read(&ids, &questions, &rows).expect("an answer");
    let found = questions.each_ref().map(|question| answers[question].clone());
    assert_eq!(found, [account(2, "id-Ann"), account(1, "ID-ANN"), account(3, "Id-Bob")].map(Some));
}

#[test]
fn a_field_is_read_however_the_settings_spell_it_and_one_that_is_not_answered_is_no_nobody() {
    let ids = ExternalIds { account: "limioid__c".to_owned(), ..ExternalIds::default() };
    for question in [Question::named("id-ann"), Question::Holder(id(1))] {
        let there =
            read(&ids, std::slice::from_ref(&question), &[json!({ "Id": id(1).as_str(), "LimioId__c": "id-ann" })]);
        assert_eq!(there.expect("an answer")[&question], Some(account(1, "id-ann")));
        let left_out = read(&ids, &[question], &[json!({ "Id": id(1).as_str() })]);
        assert!(matches!(left_out, Err(Error::Protocol(_))), "{left_out:?}");
    }
    let question = Question::Subscription("S-1".to_owned());
    let row = json!({ "name": "S-1", "found": id(1).as_str() });
    assert!(matches!(read(&ids, &[question], &[row]), Err(Error::Protocol(_))), "whose it is was asked for");
}

#[test]
fn a_question_without_a_row_stays_open_where_the_page_is_full_or_a_row_fits_no_question() {
    let ids = ExternalIds::default();
    let [known, unseen] = ["S-1", "S-2"].map(|name| Question::Subscription(name.to_owned()));
    let row = |name: &str| json!({ "name": name, "found": id(1).as_str(), "holder": null });
    let both = [known.clone(), unseen.clone()];
    for (rows, answered) in
        [(vec![row("S-1"); 1_999], 2), (vec![row("S-1"); 2_000], 1), (vec![row("S-1"), row("S-two")], 1)]
    {
        let answers = read(&ids, &both, &rows).expect("an answer");
        assert_eq!((answers.len(), answers.contains_key(&known)), (answered, true), "{} rows", rows.len());
    }
    let alone = read(&ids, std::slice::from_ref(&unseen), &[row("S-two")]).expect("an answer");
    assert_eq!(alone[&unseen], Some(Row { account: id(1), holder: Holder::Nobody }), "the org's word");
}

#[test]
fn an_answer_holds_for_five_minutes_also_that_there_is_nobody() {
    let (ids, mut told, now) = (ExternalIds::default(), told::Told::default(), Instant::now());
    let (nobody, found) = (Question::named("id-ann"), Question::named("id-bob"));
    let answers = Answers::from([(nobody.clone(), None), (found.clone(), Some(account(1, "id-bob")))]);
    told.keep(&ids, told.since(), &answers, now);
    let held = |later: Duration| told.told(&ids, [&nobody, &found], now + later).len();
    assert_eq!([held(Duration::ZERO), held(Duration::from_secs(299)), held(HOLDS)], [2, 2, 0]);
}

/// Keeps that there is nobody of this name, as asked since then.
fn nobody(accounts: &Accounts, since: Since, name: &str) {
    accounts.keep(&ExternalIds::default(), since, &Answers::from([(Question::named(name), None)]));
}

fn knows(accounts: &Accounts, name: &str) -> bool {
    !accounts.told(&ExternalIds::default(), [&Question::named(name)]).is_empty()
}

#[test]
fn answers_do_not_pile_up_and_a_customer_who_was_written_is_asked_for_anew() {
    let accounts = Accounts::default();
    for number in 0..3 * MOST {
        nobody(&accounts, accounts.since(), &format!("id-{number}"));
        assert!(accounts.memory().len() <= MOST);
    }
    let last = format!("id-{}", 3 * MOST - 1);
    assert!(knows(&accounts, &last));
    accounts.forget(&last.to_uppercase());
    assert!(!knows(&accounts, &last), "under whatever spelling");
}

#[test]
fn an_answer_to_what_was_asked_before_a_customer_was_written_is_not_kept() {
    let accounts = Accounts::default();
    let before = accounts.since();
    accounts.forget("id-ann");
    nobody(&accounts, before, "ID-ann");
    nobody(&accounts, before, "id-bob");
    assert_eq!((knows(&accounts, "ID-ann"), knows(&accounts, "id-bob")), (false, true));
    nobody(&accounts, accounts.since(), "id-ann");
    assert!(knows(&accounts, "id-ann"), "asked since");
    for number in 0..10_000 {
        accounts.forget(&format!("id-{number}"));
    }
    nobody(&accounts, before, "id-cas");
    assert!(!knows(&accounts, "id-cas"), "whether it was written since is not remembered");
}

#[test]
fn an_answer_to_what_was_asked_before_everything_was_forgotten_is_not_kept() {
    let accounts = Accounts::default();
    let before = accounts.since();
    accounts.forget_all();
    nobody(&accounts, before, "id-ann");
    assert!(!knows(&accounts, "id-ann"));
    nobody(&accounts, accounts.since(), "id-ann");
    assert!(knows(&accounts, "id-ann"));
}

#[test]
fn answers_by_other_fields_than_those_of_the_settings_are_none() {
    let accounts = Accounts::default();
    let other = ExternalIds { account: "CustomerId__c".to_owned(), ..ExternalIds::default() };
    let question = Question::named("id-ann");
    nobody(&accounts, accounts.since(), "id-ann");
    assert!(accounts.told(&other, [&question]).is_empty());
    accounts.keep(&other, accounts.since(), &Answers::from([(question.clone(), Some(account(1, "id-ann")))]));
    assert_eq!((accounts.told(&other, [&question]).len(), knows(&accounts, "id-ann")), (1, false));
}
