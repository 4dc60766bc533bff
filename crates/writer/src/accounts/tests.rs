use domain::config::ExternalIds;
use serde_json::{Map, Value, json};

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
    assert_eq!(soql[0], "SELECT Id, LimioId__c FROM Account WHERE LimioId__c IN ('id-ann','id-bob') LIMIT 2000");
    assert_eq!(
        soql[1],
        "SELECT SubscriptionId__c name, Account__c found, Account__r.LimioId__c holder, MAX(CreatedDate) latest \
         FROM LimioOrder__c WHERE SubscriptionId__c IN ('s-1') AND Account__c != null \
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
    let answers = request.read(&ids, &[rows.to_vec()]);
    assert_eq!(answers[&question], Some(Row { account: id(2), holder: Holder::Named("id-bob".to_owned()) }));
    assert_eq!(request.read(&ids, &[Vec::new()])[&question], None, "no row is an answer too");
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

#[test]
fn an_answer_holds_for_five_minutes_also_that_there_is_nobody() {
    let accounts = Accounts::default();
    let (nobody, found) = (Question::named("id-ann"), Question::named("id-bob"));
    let row = Row { account: id(1), holder: Holder::Named("id-bob".to_owned()) };
    accounts.keep(&Answers::from([(nobody.clone(), None), (found.clone(), Some(row))]));
    let now = Instant::now();
    let told = |later: Duration| accounts.told_at([&nobody, &found], now + later).len();
    assert_eq!([told(Duration::ZERO), told(Duration::from_secs(299)), told(HOLDS)], [2, 2, 0]);
}

#[test]
fn answers_do_not_pile_up_and_a_customer_who_was_written_is_asked_for_anew() {
    let accounts = Accounts::default();
    for number in 0..3 * MOST {
        accounts.keep(&Answers::from([(Question::named(&number.to_string()), None)]));
        assert!(accounts.told.lock().expect("a lock").len() <= MOST);
    }
    let last = Question::named(&(3 * MOST - 1).to_string());
    assert_eq!(accounts.told([&last]).len(), 1);
    accounts.forget(&(3 * MOST - 1).to_string());
    assert!(accounts.told([&last]).is_empty());
}
