use causeway_simulator::PersonContactWrites;
use serde_json::json;

use crate::client::{Client, code, person};

#[tokio::test]
async fn an_upsert_creates_once_and_then_updates() {
    let org = Client::new().await;
    let path = "sobjects/Account/LimioId__c/id%2Fwith%20odd+signs";
    let (status, first) = org.patch(path, person("Smith")).await;
    assert_eq!((status, &first["created"]), (201, &json!(true)));
    let (status, second) = org.patch(path, json!({ "Phone": "123" })).await;
    assert_eq!((status, &second["created"]), (200, &json!(false)));
    assert_eq!(first["id"], second["id"]);
    let rows = org.records("Account");
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["LimioId__c"], "id/with odd+signs");
    assert_eq!(rows[0]["Phone"], "123");
}

#[tokio::test]
async fn external_ids_are_compared_without_case() {
    let org = Client::new().await;
    org.patch("sobjects/Account/LimioId__c/ID-1", person("Smith")).await;
    let (status, body) = org.patch("sobjects/Account/LimioId__c/id-1", person("Smith")).await;
    assert_eq!((status, &body["created"]), (200, &json!(false)));
}

#[tokio::test]
async fn old_versions_answer_an_updating_upsert_without_a_body() {
    let org = Client::new().await;
    let path = "/services/data/v45.0/sobjects/Account/LimioId__c/id-1";
    let (status, body) = org.patch(path, person("Smith")).await;
    assert_eq!((status, body.get("created")), (201, None));
    assert_eq!(org.patch(path, person("Smith")).await.0, 204);
}

#[tokio::test]
async fn a_create_with_a_used_external_id_names_the_other_record() {
    let org = Client::new().await;
    let id = org.create("Account", json!({ "Name": "A", "LimioId__c": "x" })).await;
    let (status, body) = org.post("sobjects/Account", json!({ "Name": "B", "LimioId__c": "X" })).await;
    assert_eq!((status, code(&body)), (400, "DUPLICATE_VALUE"));
    let message = format!("duplicate value found: LimioId__c duplicates value on record with id: {id}");
    assert_eq!(body[0]["message"], message);
}

#[tokio::test]
async fn a_record_can_be_read_updated_and_deleted() {
    let org = Client::new().await;
    let id = org.create("Account", json!({ "Name": "Acme", "Industry": "Media" })).await;
    let path = format!("sobjects/Account/{id}");
    let (_, body) = org.get(&format!("{path}?fields=Name,Industry,Phone")).await;
    assert_eq!(
        body,
        json!({ "attributes": { "type": "Account", "url": format!("/services/data/v62.0/{path}") },
                "Name": "Acme", "Industry": "Media", "Phone": null })
    );
    assert_eq!(org.patch(&path, json!({ "Industry": null, "Phone": "1" })).await.0, 204);
    let row = &org.records("Account")[0];
    assert_eq!((row.get("Industry"), &row["Phone"]), (None, &json!("1")));
    assert_eq!(org.call("DELETE", &path, None).await.0, 204);
    let (status, body) = org.call("DELETE", &path, None).await;
    assert_eq!(status, 404);
    assert_eq!(body, json!([{ "message": "entity is deleted", "errorCode": "ENTITY_IS_DELETED", "fields": [] }]));
    assert!(org.records("Account").is_empty());
}

#[tokio::test]
async fn refusals_carry_the_code_message_and_fields_of_the_org() {
    let org = Client::new().await;
    let cases = [
        (
            "sobjects/Account",
            json!({ "Name": "A", "Nope__c": 1 }),
            "INVALID_FIELD",
            "No such column 'Nope__c' on sobject of type Account",
        ),
        (
            "sobjects/Contact",
            json!({ "Email": "a@example.com" }),
            "REQUIRED_FIELD_MISSING",
            "Required fields are missing: [LastName]",
        ),
        (
            "sobjects/Contact",
            json!({ "LastName": "L", "Email": "123" }),
            "INVALID_EMAIL_ADDRESS",
            "Email: invalid email address: 123",
        ),
        (
            "sobjects/Account",
            json!({ "Name": "A", "Rating": "Terrible" }),
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "Account Rating: bad value for restricted picklist field: Terrible",
        ),
        (
            "sobjects/Contact",
            json!({ "LastName": "L", "AccountId": "a00000000000001" }),
            "MALFORMED_ID",
            "Account ID: id value of incorrect type: a00000000000001AAA",
        ),
        (
            "sobjects/Contact",
            json!({ "LastName": "L", "AccountId": "001000000000001" }),
            "INVALID_CROSS_REFERENCE_KEY",
            "invalid cross reference id",
        ),
        (
            "sobjects/Contact",
            json!({ "LastName": "L", "CreatedDate": "2026-01-01T00:00:00Z" }),
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            "Unable to create/update fields: CreatedDate. Please check the security settings of this field and verify that it is \
          read/write for your profile or permission set.",
        ),
        (
            "sobjects/Contact",
            json!({ "LastName": 5 }),
            "JSON_PARSER_ERROR",
            "Cannot deserialize instance of string from VALUE_NUMBER_INT value 5 or request may be missing a required field at \
          [line:1, column:1]",
        ),
        (
            "sobjects/Opportunity",
            json!({ "Name": "O" }),
            "REQUIRED_FIELD_MISSING",
            "Required fields are missing: [StageName, CloseDate]",
        ),
        (
            "sobjects/User",
            json!({ "LastName": "O" }),
            "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
            "entity type cannot be inserted or updated: User",
        ),
    ];
    for (path, body, expected, message) in cases {
        let (status, answer) = org.post(path, body).await;
        assert_eq!((status, code(&answer)), (400, expected), "{answer}");
        assert_eq!(
            answer[0]["message"].as_str().unwrap().replace("Account Rating", "Rating"),
            message.replace("Account Rating", "Rating")
        );
    }
    assert!(org.records("Account").is_empty() && org.records("Contact").is_empty());
}

#[tokio::test]
async fn unknown_objects_and_paths_answer_not_found_with_the_code_first() {
    let org = Client::new().await;
    for path in ["sobjects/Nope", "nope", "sobjects/Account/a/b/c/d", "/services/data/v99.0/limits", "/services/nope"] {
        let response = org.request(reqwest::Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), 404);
        let text = response.text().await.unwrap();
        assert_eq!(text, r#"[{"errorCode":"NOT_FOUND","message":"The requested resource does not exist"}]"#);
    }
    let (status, body) = org.patch("sobjects/Account/Namez/1", json!({ "Name": "A" })).await;
    assert_eq!(status, 404);
    assert_eq!(body[0]["message"], "Provided external ID field does not exist or is not accessible: Namez");
    assert_eq!(org.get("/services/data/v25.0/limits").await.0, 410);
}

#[tokio::test]
async fn lengths_count_utf16_units() {
    let org = Client::new().await;
    let fits = "😀".repeat(40);
    let (status, _) = org.post("sobjects/Contact", json!({ "LastName": fits })).await;
    assert_eq!(status, 201);
    let (status, body) = org.post("sobjects/Contact", json!({ "LastName": format!("{fits}x") })).await;
    assert_eq!((status, code(&body), &body[0]["fields"]), (400, "STRING_TOO_LONG", &json!(["LastName"])));
    assert!(body[0]["message"].as_str().unwrap().ends_with("(max length=80)"));
}

#[tokio::test]
async fn a_person_account_has_a_hidden_contact_that_follows_it() {
    let org = Client::new().await;
    let id = org.create("Account", person("Smith")).await;
    let account = &org.records("Account")[0];
    assert_eq!((&account["IsPersonAccount"], &account["Name"]), (&json!(true), &json!("Jane Smith")));
    org.patch(&format!("sobjects/Account/{id}"), json!({ "LastName": "Jones" })).await;
    let contacts = org.records("Contact");
    assert_eq!(contacts.len(), 1);
    assert_eq!(contacts[0]["Id"], account["PersonContactId"]);
    assert_eq!((&contacts[0]["LastName"], &contacts[0]["Email"]), (&json!("Jones"), &json!("smith@example.com")));
    let (status, body) = org.post("sobjects/Contact", json!({ "LastName": "X", "AccountId": id })).await;
    assert_eq!((status, code(&body)), (400, "INVALID_CROSS_REFERENCE_KEY"));
    org.call("DELETE", &format!("sobjects/Account/{id}"), None).await;
    assert!(org.records("Contact").is_empty());
}

#[tokio::test]
async fn the_name_of_a_person_account_cannot_be_written() {
    let org = Client::new().await;
    let id = org.create("Account", person("Smith")).await;
    let (status, body) = org.patch(&format!("sobjects/Account/{id}"), json!({ "Name": "Other" })).await;
    assert_eq!((status, code(&body)), (400, "INVALID_FIELD_FOR_INSERT_UPDATE"));
    assert_eq!(body[0]["message"], "Account: bad field names on insert/update call: Name");
}

#[tokio::test]
async fn a_person_needs_a_last_name() {
    let org = Client::new().await;
    let (_, types) = org.query("SELECT Id FROM RecordType WHERE IsPersonType = true").await;
    let record_type = &types["records"][0]["Id"];
    for body in [json!({ "FirstName": "Jane" }), json!({ "RecordTypeId": record_type, "Phone": "1" })] {
        let (status, answer) = org.post("sobjects/Account", body).await;
        assert_eq!((status, code(&answer)), (400, "REQUIRED_FIELD_MISSING"), "{answer}");
    }
}

#[tokio::test]
async fn without_person_accounts_their_fields_do_not_exist() {
    let org = Client::with_settings(|settings| settings.person_accounts = false).await;
    let (status, body) = org.post("sobjects/Account", json!({ "LastName": "Smith" })).await;
    assert_eq!((status, code(&body)), (400, "INVALID_FIELD"));
    let (_, describe) = org.get("sobjects/Account/describe").await;
    assert!(!describe["fields"].as_array().unwrap().iter().any(|field| field["name"] == "IsPersonAccount"));
}

#[tokio::test]
async fn a_hidden_field_looks_unknown() {
    let org = Client::with_settings(|settings| settings.hidden_fields = vec!["Account.Phone".to_owned()]).await;
    let (status, body) = org.post("sobjects/Account", json!({ "Name": "A", "Phone": "1" })).await;
    assert_eq!((status, code(&body)), (400, "INVALID_FIELD"));
}

#[tokio::test]
async fn a_parent_can_be_named_by_its_external_id() {
    let org = Client::new().await;
    let id = org.create("Account", json!({ "Name": "A", "LimioId__c": "acc" })).await;
    let body = json!({ "LimioId__c": "o", "Account__r": { "LimioId__c": "acc" } });
    org.create("LimioOrder__c", body).await;
    assert_eq!(org.records("LimioOrder__c")[0]["Account__c"], id);
    let body = json!({ "LimioId__c": "p", "Account__r": { "LimioId__c": "nobody" } });
    let (status, answer) = org.post("sobjects/LimioOrder__c", body).await;
    assert_eq!((status, code(&answer)), (400, "INVALID_FIELD"));
    let body = json!({ "LastName": "S", "RecordType": { "Name": "Person Account" } });
    org.create("Account", body).await;
}

#[tokio::test]
async fn state_and_country_picklists_take_codes_and_refuse_codes_in_text_fields() {
    let org = Client::with_settings(|settings| settings.state_country_picklists = true).await;
    let (status, body) =
        org.post("sobjects/Account", json!({ "Name": "A", "BillingState": "CA", "BillingCountry": "US" })).await;
    assert_eq!((status, code(&body)), (400, "FIELD_INTEGRITY_EXCEPTION"));
    org.create("Account", json!({ "Name": "A", "BillingStateCode": "CA", "BillingCountryCode": "US" })).await;
    let row = &org.records("Account")[0];
    assert_eq!((&row["BillingState"], &row["BillingCountry"]), (&json!("California"), &json!("United States")));
}

#[tokio::test]
async fn a_describe_tells_what_a_client_needs_to_map() {
    let org = Client::new().await;
    let (_, describe) = org.get("sobjects/i42as__OrderEvent__e/describe").await;
    let field = |name: &str| describe["fields"].as_array().unwrap().iter().find(|f| f["name"] == name).unwrap().clone();
    assert_eq!(field("i42as__LimioOrder__c")["length"], 131_072);
    assert_eq!(field("i42as__PurchaseDate__c")["type"], "datetime");
    assert_eq!((&describe["createable"], &describe["queryable"]), (&json!(true), &json!(false)));
    let (_, order) = org.get("sobjects/LimioOrder__c/describe").await;
    let limio_id = order["fields"].as_array().unwrap().iter().find(|f| f["name"] == "LimioId__c").unwrap();
    assert_eq!(
        (&limio_id["externalId"], &limio_id["unique"], &limio_id["nillable"]),
        (&json!(true), &json!(true), &json!(false))
    );
    let (_, global) = org.get("sobjects").await;
    assert!(global["sobjects"].as_array().unwrap().iter().any(|object| object["keyPrefix"] == "a00"));
}

#[tokio::test]
async fn an_account_stays_a_person_or_a_business() {
    let org = Client::new().await;
    let (_, types) = org.query("SELECT Id, IsPersonType FROM RecordType ORDER BY IsPersonType").await;
    let (business, personal) = (&types["records"][0]["Id"], &types["records"][1]["Id"]);
    let company = org.create("Account", json!({ "Name": "Acme" })).await;
    let human = org.create("Account", person("Smith")).await;
    for (id, to) in [(&company, personal), (&human, business)] {
        let path = format!("sobjects/Account/{id}");
        let (status, answer) = org.patch(&path, json!({ "RecordTypeId": to })).await;
        assert_eq!((status, code(&answer)), (400, "INVALID_PERSON_ACCOUNT_OPERATION"));
        let (status, answer) = org.patch(&path, json!({ "RecordTypeId": to, "Phone": "1" })).await;
        assert_eq!((status, code(&answer)), (400, "INVALID_FIELD_FOR_INSERT_UPDATE"));
        let message = "Cannot specify any additional fields when marrying or separating a Person-Account";
        assert_eq!(answer[0]["message"], message);
    }
    assert_eq!(org.patch(&format!("sobjects/Account/{human}"), json!({ "RecordTypeId": personal })).await.0, 204);
    let people: Vec<bool> = org.records("Account").iter().map(|row| row["IsPersonAccount"] == true).collect();
    assert_eq!(people, [false, true]);
}

#[tokio::test]
async fn an_individual_belongs_to_a_contact_or_a_person() {
    let org = Client::new().await;
    let individual = org.create("Individual", json!({ "FirstName": "Jane", "LastName": "Smith" })).await;
    let mut body = person("Smith");
    body["PersonIndividualId"] = json!(individual);
    org.create("Account", body).await;
    assert_eq!(org.records("Contact")[0]["IndividualId"], json!(individual));
    let (_, found) = org.query("SELECT PersonIndividual.Name FROM Account").await;
    assert_eq!(found["records"][0]["PersonIndividual"]["Name"], "Jane Smith");
    assert_eq!(org.call("DELETE", &format!("sobjects/Individual/{individual}"), None).await.0, 204);
    assert_eq!(org.records("Contact")[0].get("IndividualId"), None);
    assert_eq!(org.records("Account")[0].get("PersonIndividualId"), None);
    let (status, answer) = org.post("sobjects/Contact", json!({ "LastName": "S", "IndividualId": individual })).await;
    assert_eq!((status, code(&answer)), (400, "ENTITY_IS_DELETED"));
}

#[tokio::test]
async fn a_hidden_contact_stays_with_its_account_and_its_record_type() {
    let org = Client::with_settings(|settings| settings.person_contact_writes = PersonContactWrites::Through).await;
    let person = org.create("Account", person("Smith")).await;
    let company = org.create("Account", json!({ "Name": "Company" })).await;
    let contact = org.records("Contact")[0]["Id"].as_str().unwrap().to_owned();
    let path = format!("sobjects/Contact/{contact}");
    for body in
        [json!({ "AccountId": company }), json!({ "AccountId": null }), json!({ "RecordTypeId": "012000000000001AAA" })]
    {
        let (status, answer) = org.patch(&path, body.clone()).await;
        assert_eq!((status, code(&answer)), (403, "INSUFFICIENT_ACCESS_OR_READONLY"), "{body}");
    }
    assert_eq!(org.patch(&path, json!({ "Phone": "1" })).await.0, 204);
    let accounts = org.records("Account");
    assert_eq!((&accounts[0]["Id"], &accounts[0]["PersonContactId"]), (&json!(person), &json!(contact)));
    assert_eq!((&accounts[1]["Name"], accounts[1].get("LastName")), (&json!("Company"), None));
    assert_eq!(org.records("Contact")[0]["AccountId"], json!(person));
}
