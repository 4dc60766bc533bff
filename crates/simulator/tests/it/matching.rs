use causeway_simulator::{
    BlankValues, Config, DuplicateRule, FilterItem, FilterOperator, MatchField, MatchMethod, MatchingRule,
    RuleResponse, UnseenRecord,
};
use serde_json::{Value, json};

use crate::client::{Client, code, person, read};

async fn org(rules: Vec<DuplicateRule>) -> Client {
    Client::with(Config { duplicate_rules: rules, ..Config::default() }).await
}

/// Creates and tells the status and the ids of the matches.
async fn matched(org: &Client, object: &str, body: Value) -> (u16, Vec<String>) {
    let (status, body) = org.post(&format!("sobjects/{object}"), body).await;
    let sets = body[0]["duplicateResut"]["matchResults"].as_array().cloned().unwrap_or_default();
    let ids = sets.iter().flat_map(|set| set["matchRecords"].as_array().cloned().unwrap_or_default());
    (status, ids.map(|record| record["record"]["Id"].as_str().unwrap().to_owned()).collect())
}

fn rule(object: &str, fields: Vec<MatchField>, logic: Option<&str>) -> DuplicateRule {
    DuplicateRule {
        fields,
        logic: logic.map(str::to_owned),
        ..DuplicateRule::exact_email(object, "Email", RuleResponse::BLOCK)
    }
}

#[tokio::test]
async fn the_standard_person_rule_knows_nicknames_sounds_and_swapped_names() {
    let org = org(vec![DuplicateRule::standard_person_account(RuleResponse::BLOCK)]).await;
    let body = json!({ "FirstName": "Robert", "LastName": "Smith", "PersonEmail": "bob@example.com" });
    let id = org.create("Account", body).await;
    for (first, last) in [("Bob", "Smyth"), ("R.", "Smith"), ("Smith", "Robert"), ("Robert", "SMITH")] {
        let body = json!({ "FirstName": first, "LastName": last, "PersonEmail": "Bob@Example.com" });
        assert_eq!(matched(&org, "Account", body).await, (400, vec![id.clone()]), "{first} {last}");
    }
    // A blank first name is left out of the comparison where the e-mail address counts.
    let body = json!({ "LastName": "Smith", "PersonEmail": "bob@example.com" });
    assert_eq!(matched(&org, "Account", body).await.0, 400);
    for (first, last, email) in [
        ("Bill", "Smith", "bob@example.com"),
        ("Robert", "Jones", "bob@example.com"),
        ("Robert", "Smith", "rob@example.com"),
    ] {
        let body = json!({ "FirstName": first, "LastName": last, "PersonEmail": email });
        assert_eq!(matched(&org, "Account", body).await.0, 201, "{first} {last} {email}");
    }
}

#[tokio::test]
async fn the_standard_person_rule_also_compares_phone_and_address() {
    let org = org(vec![DuplicateRule::standard_person_account(RuleResponse::BLOCK)]).await;
    let address =
        json!({ "BillingStreet": "123 Maple Avenue", "BillingCity": "Springfield", "BillingPostalCode": "62701" });
    let mut body = address.clone();
    body["FirstName"] = json!("Jane");
    body["LastName"] = json!("Miller");
    body["Phone"] = json!("+1 (415) 555-1234");
    org.create("Account", body).await;
    let by_phone = json!({ "FirstName": "Jane", "LastName": "Miller", "Phone": "4155551234" });
    assert_eq!(matched(&org, "Account", by_phone).await.0, 400);
    let mut by_address = json!({ "FirstName": "Jane", "LastName": "Miller", "BillingStreet": "123 Maple Ave." });
    assert_eq!(matched(&org, "Account", by_address.clone()).await.0, 201, "a street alone is too little");
    by_address["BillingPostalCode"] = json!("62701");
    assert_eq!(matched(&org, "Account", by_address).await.0, 400);
    // People are not compared with companies.
    let mut company = address;
    company["Name"] = json!("Jane Miller");
    assert_eq!(matched(&org, "Account", company).await.0, 201);
}

#[tokio::test]
async fn the_standard_account_rule_needs_a_city_or_a_postal_code() {
    let org = org(vec![DuplicateRule::standard_account(RuleResponse::BLOCK)]).await;
    let body = json!({ "Name": "Acme Inc.", "Phone": "415-555-1234", "BillingCity": "Springfield", "BillingPostalCode": "62701" });
    org.create("Account", body).await;
    org.create("Account", json!({ "Name": "Acme Inc.", "Phone": "415-555-1234" })).await;
    let body = json!({ "Name": "ACME Corporation", "BillingPostalCode": "62701" });
    assert_eq!(matched(&org, "Account", body).await.0, 400);
    let body = json!({ "Name": "Globex", "BillingPostalCode": "62701", "BillingCity": "Springfield" });
    assert_eq!(matched(&org, "Account", body).await.0, 201);
}

#[tokio::test]
async fn the_standard_contact_rule_compares_name_with_email_phone_or_account() {
    let org = org(vec![DuplicateRule::standard_contact(RuleResponse::BLOCK)]).await;
    let account = org.create("Account", json!({ "Name": "Acme" })).await;
    let id = org
        .create("Contact", json!({ "FirstName": "Jon", "LastName": "Benioff", "Email": "j@acme.example", "Title": "Vice President", "AccountId": account }))
        .await;
    let body = json!({ "FirstName": "Jonathan", "LastName": "Benioff", "Email": "J@acme.example" });
    assert_eq!(matched(&org, "Contact", body).await, (400, vec![id.clone()]));
    let body = json!({ "FirstName": "Jonathan", "LastName": "Benioff", "Title": "VP", "AccountId": account });
    assert_eq!(matched(&org, "Contact", body).await, (400, vec![id]));
    let body = json!({ "FirstName": "Jonathan", "LastName": "Benioff", "Title": "VP" });
    assert_eq!(matched(&org, "Contact", body).await.0, 201);
}

#[tokio::test]
async fn criteria_follow_their_logic_and_their_blanks() {
    let fields = vec![
        MatchField::fuzzy("LastName", MatchMethod::LastName),
        MatchField::exact("Email"),
        MatchField { blank: BlankValues::Match, ..MatchField::exact("Title") },
    ];
    let org = org(vec![rule("Contact", fields, Some("1 AND (2 OR 3)"))]).await;
    org.create("Contact", json!({ "LastName": "Meyer", "Email": "a@example.com" })).await;
    let create = async |body: Value| org.post("sobjects/Contact", body).await.0;
    assert_eq!(create(json!({ "LastName": "Meyer", "Email": "a@example.com", "Title": "Boss" })).await, 400);
    assert_eq!(create(json!({ "LastName": "Meyer", "Email": "b@example.com" })).await, 400, "both titles are blank");
    assert_eq!(create(json!({ "LastName": "Meyer", "Email": "b@example.com", "Title": "Boss" })).await, 201);
    assert_eq!(create(json!({ "LastName": "Larsen", "Email": "a@example.com" })).await, 201);
}

#[tokio::test]
async fn a_rule_may_be_filtered_and_case_may_count() {
    let fields = vec![MatchField { exact_case: true, ..MatchField::exact("Department") }];
    let filter = |field: &str, operation, value: &str| FilterItem {
        field: field.to_owned(),
        operation,
        value: value.to_owned(),
    };
    let filtered = DuplicateRule {
        filter: vec![
            filter("LeadSource", FilterOperator::Equals, "web"),
            filter("Title", FilterOperator::StartsWith, "Chief"),
        ],
        filter_logic: Some("1 OR 2".to_owned()),
        ..rule("Contact", fields, None)
    };
    let org = org(vec![filtered]).await;
    org.create("Contact", json!({ "LastName": "A", "Department": "Sales" })).await;
    let create = async |body: Value| org.post("sobjects/Contact", body).await.0;
    assert_eq!(create(json!({ "LastName": "B", "Department": "Sales" })).await, 201);
    assert_eq!(create(json!({ "LastName": "B", "Department": "Sales", "LeadSource": "Web" })).await, 400);
    assert_eq!(create(json!({ "LastName": "B", "Department": "Sales", "Title": "Chief Cook" })).await, 400);
    assert_eq!(create(json!({ "LastName": "B", "Department": "sales", "LeadSource": "Web" })).await, 201);
}

#[tokio::test]
async fn the_first_rule_by_sort_order_that_fires_is_told() {
    let named = |name: &str, order, response| DuplicateRule {
        name: name.to_owned(),
        sort_order: order,
        ..DuplicateRule::exact_email("Contact", "Email", response)
    };
    let org = org(vec![named("Second", 2, RuleResponse::BLOCK), named("First", 1, RuleResponse::ALERT)]).await;
    let body = json!({ "LastName": "A", "Email": "a@example.com" });
    org.create("Contact", body.clone()).await;
    let (_, told) = org.post("sobjects/Contact", body.clone()).await;
    assert_eq!(told[0]["duplicateResut"]["duplicateRule"], "First");
    let insisting = org.request(reqwest::Method::POST, "sobjects/Contact").json(&body);
    let (status, told) =
        read(insisting.header("Sforce-Duplicate-Rule-Header", "allowSave=true").send().await.unwrap()).await;
    assert_eq!((status, &told[0]["duplicateResut"]["duplicateRule"]), (400, &json!("Second")));
}

#[tokio::test]
async fn a_contact_may_match_people_among_the_accounts_and_each_matching_rule_tells_its_own() {
    let across = MatchingRule {
        name: "Contact_To_Person".to_owned(),
        object: Some("Account".to_owned()),
        subtype: None,
        engine: "ExactMatchEngine".to_owned(),
        fields: vec![MatchField { other_field: Some("PersonEmail".to_owned()), ..MatchField::exact("Email") }],
        logic: None,
        keys: Vec::new(),
        swap_names: false,
    };
    let both = DuplicateRule {
        more_matching_rules: vec![across],
        ..DuplicateRule::exact_email("Contact", "Email", RuleResponse::ALERT)
    };
    let org = org(vec![both]).await;
    let account = org.create("Account", person("Smith")).await;
    let (status, body) = org.post("sobjects/Contact", json!({ "LastName": "X", "Email": "smith@example.com" })).await;
    assert_eq!((status, code(&body)), (400, "DUPLICATES_DETECTED"));
    let result = &body[0]["duplicateResut"];
    assert_eq!(result["duplicateRuleEntityType"], "Contact");
    let sets = result["matchResults"].as_array().unwrap();
    assert_eq!(sets.len(), 1, "the contact behind the person is none of the contacts that match");
    assert_eq!((&sets[0]["entityType"], &sets[0]["rule"]), (&json!("Account"), &json!("Contact_To_Person")));
    assert_eq!(sets[0]["matchRecords"][0]["record"]["Id"], account);
}

#[tokio::test]
async fn rows_earlier_in_the_same_transaction_count() {
    let org = org(vec![DuplicateRule::exact_email("Contact", "Email", RuleResponse::BLOCK)]).await;
    let row = |name: &str| json!({ "attributes": { "type": "Contact" }, "LastName": name, "Email": "a@example.com" });
    let (_, body) = org.post("composite/sobjects", json!({ "records": [row("A"), row("B")] })).await;
    assert_eq!(
        (&body[0]["success"], &body[1]["errors"][0]["statusCode"]),
        (&json!(true), &json!("DUPLICATES_DETECTED"))
    );
}

#[tokio::test]
async fn the_header_is_read_from_version_52_on() {
    let org = org(vec![DuplicateRule::exact_email("Contact", "Email", RuleResponse::ALERT)]).await;
    let body = json!({ "LastName": "A", "Email": "a@example.com" });
    org.create("Contact", body.clone()).await;
    for (version, expected) in [("51.0", 400), ("52.0", 201)] {
        let request = org.request(reqwest::Method::POST, &format!("/services/data/v{version}/sobjects/Contact"));
        let answer = request.header("Sforce-Duplicate-Rule-Header", "allowSave=true").json(&body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{version}");
    }
}

#[tokio::test]
async fn record_details_carry_what_the_user_may_read() {
    let org = org(vec![DuplicateRule::exact_email("Contact", "Email", RuleResponse::ALERT)]).await;
    let body = json!({ "LastName": "A", "Email": "a@example.com", "Phone": "1" });
    org.create("Contact", body.clone()).await;
    org.control().update_settings(|settings| settings.hidden_fields = vec!["Contact.Phone".to_owned()]);
    let create = json!({ "LastName": "B", "Email": "a@example.com" });
    let request = org.request(reqwest::Method::POST, "sobjects/Contact").json(&create);
    let header = "includeRecordDetails=true;runAsCurrentUser=false";
    let (_, answer) = read(request.header("Sforce-Duplicate-Rule-Header", header).send().await.unwrap()).await;
    let record = &answer[0]["duplicateResut"]["matchResults"][0]["matchRecords"][0]["record"];
    assert_eq!((&record["LastName"], record.get("Phone")), (&json!("A"), None));
}

#[tokio::test]
async fn matches_the_user_cannot_see_are_masked_or_not_looked_for() {
    let org = org(vec![DuplicateRule::exact_email("Contact", "Email", RuleResponse::ALERT)]).await;
    let body = json!({ "LastName": "A", "Email": "a@example.com" });
    let id = org.create("Contact", body.clone()).await;
    org.control().update_settings(|settings| settings.unshared_records = vec![id.clone()]);
    for (switch, expected) in
        [(UnseenRecord::Null, Some(Value::Null)), (UnseenRecord::Absent, None), (UnseenRecord::Id, Some(json!(id)))]
    {
        org.control().update_settings(|settings| settings.duplicate_unseen_record = switch);
        let (_, answer) = org.post("sobjects/Contact", body.clone()).await;
        let record = &answer[0]["duplicateResut"]["matchResults"][0]["matchRecords"][0];
        let shown =
            record.get("record").map(|record| if record.is_null() { Value::Null } else { record["Id"].clone() });
        assert_eq!(shown, expected);
    }
    let request = org.request(reqwest::Method::POST, "sobjects/Contact").json(&body);
    let answer = request.header("Sforce-Duplicate-Rule-Header", "runAsCurrentUser=true").send().await.unwrap();
    assert_eq!(answer.status(), 201);
}

#[tokio::test]
async fn reports_of_one_rule_grow_one_set() {
    let org = org(vec![DuplicateRule::exact_email("Contact", "Email", RuleResponse::REPORT)]).await;
    for _ in 0..3 {
        org.create("Contact", json!({ "LastName": "A", "Email": "a@example.com" })).await;
    }
    let sets = org.records("DuplicateRecordSet");
    assert_eq!((sets.len(), &sets[0]["RecordCount"]), (1, &json!(3)));
    let items = org.records("DuplicateRecordItem");
    assert!(items.iter().all(|item| item["DuplicateRecordSetId"] == sets[0]["Id"]) && items.len() == 3);
    assert!(sets[0]["DuplicateRuleId"].as_str().unwrap().starts_with("0Bm"));
}

#[tokio::test]
async fn a_rule_keeps_its_meaning_through_the_control_plane() {
    let org = org(vec![DuplicateRule::standard_person_account(RuleResponse::ALERT)]).await;
    let text = serde_json::to_string(&org.control().duplicate_rules()).unwrap();
    let back: Vec<DuplicateRule> = serde_json::from_str(&text).unwrap();
    org.control().set_duplicate_rules(&back).unwrap();
    assert_eq!(back, org.control().duplicate_rules());
    let old = json!([{ "name": "R", "object": "Contact", "matching_rule": "M", "fields": [{ "field": "Email" }],
                       "on_create": { "action": "block" } }]);
    org.control().set_duplicate_rules(&serde_json::from_value::<Vec<DuplicateRule>>(old).unwrap()).unwrap();
    let body = json!({ "LastName": "A", "Email": "a@example.com" });
    org.create("Contact", body.clone()).await;
    assert_eq!(matched(&org, "Contact", body).await.0, 400);
}

#[tokio::test]
async fn rules_that_make_no_sense_are_refused() {
    let org = Client::new().await;
    let email = || vec![MatchField::exact("Email")];
    let wrong = [
        rule("Nope", email(), None),
        rule("Contact", Vec::new(), None),
        rule("Contact", email(), Some("1 AND 2")),
        rule("Contact", vec![MatchField { blank: BlankValues::Match, ..MatchField::exact("Email") }], None),
        rule("i42as__OrderEvent__e", vec![MatchField::exact("EventUuid")], None),
        DuplicateRule { filter_logic: Some("1".to_owned()), ..rule("Contact", email(), None) },
    ];
    for rule in wrong {
        assert!(org.control().set_duplicate_rules(std::slice::from_ref(&rule)).is_err(), "{rule:?}");
    }
}
