use causeway_simulator::{BusinessFields, PersonContactWrites};
use serde_json::{Value, json};

use crate::client::{Client, code, person};

fn field(describe: &Value, name: &str) -> Value {
    let fields = describe["fields"].as_array().unwrap();
    fields.iter().find(|field| field["name"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
}

#[tokio::test]
async fn a_describe_has_the_keys_that_generators_read() {
    let org = Client::new().await;
    let (_, describe) = org.get("sobjects/Account/describe").await;
    for key in
        ["actionOverrides", "childRelationships", "fields", "keyPrefix", "recordTypeInfos", "supportedScopes", "urls"]
    {
        assert!(describe.get(key).is_some(), "{key}");
    }
    let name = field(&describe, "Name");
    assert_eq!(name.as_object().unwrap().len(), 57);
    assert_eq!(
        (&name["nameField"], &name["soapType"], &name["byteLength"]),
        (&json!(true), &json!("xsd:string"), &json!(765))
    );
    let owner = field(&describe, "OwnerId");
    assert_eq!((&owner["nillable"], &owner["defaultedOnCreate"]), (&json!(false), &json!(true)));
    assert_eq!((&owner["referenceTo"], &owner["relationshipName"]), (&json!(["User"]), &json!("Owner")));
    let street = field(&describe, "BillingStreet");
    assert_eq!((&street["compoundFieldName"], &street["length"]), (&json!("BillingAddress"), &json!(255)));
    let address = field(&describe, "BillingAddress");
    assert_eq!((&address["type"], &address["createable"]), (&json!("address"), &json!(false)));
    let children = describe["childRelationships"].as_array().unwrap();
    let contacts = children.iter().find(|child| child["relationshipName"] == "Contacts").unwrap();
    assert_eq!((&contacts["childSObject"], &contacts["field"]), (&json!("Contact"), &json!("AccountId")));
}

#[tokio::test]
async fn record_types_end_with_the_master_and_follow_the_profile() {
    let org = Client::with_settings(|settings| settings.person_record_type_assigned = false).await;
    let (_, describe) = org.get("sobjects/Account/describe").await;
    let types = describe["recordTypeInfos"].as_array().unwrap();
    let names: Vec<&Value> = types.iter().map(|info| &info["developerName"]).collect();
    assert_eq!(names, [&json!("PersonAccount"), &json!("Business_Account"), &json!("Master")]);
    assert_eq!((&types[0]["available"], &types[2]["recordTypeId"]), (&json!(false), &json!("012000000000000AAA")));
    let (status, answer) = org.post("sobjects/Account", person("Smith")).await;
    assert_eq!((status, code(&answer)), (400, "UNAVAILABLE_RECORDTYPE_EXCEPTION"));
    let (_, contact) = org.get("sobjects/Contact/describe").await;
    assert_eq!(contact["recordTypeInfos"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn custom_fields_of_contact_are_on_account_for_people() {
    let org = Client::new().await;
    let (_, describe) = org.get("sobjects/Account/describe").await;
    let mirror = field(&describe, "LimioId__pc");
    assert_eq!((&mirror["custom"], &mirror["externalId"]), (&json!(true), &json!(false)));
    let mut body = person("Smith");
    body["LimioId__pc"] = json!("c1");
    org.create("Account", body).await;
    assert_eq!(org.records("Contact")[0]["LimioId__c"], "c1");
}

#[tokio::test]
async fn the_hidden_contact_is_written_through_its_account_only() {
    let org = Client::new().await;
    org.create("Account", person("Smith")).await;
    let path = format!("sobjects/Contact/{}", org.records("Contact")[0]["Id"].as_str().unwrap());
    let (status, answer) = org.patch(&path, json!({ "LastName": "Jones" })).await;
    assert_eq!((status, code(&answer)), (403, "INSUFFICIENT_ACCESS_OR_READONLY"));
    org.control().update_settings(|settings| settings.person_contact_writes = PersonContactWrites::Through);
    assert_eq!(org.patch(&path, json!({ "LastName": "Jones" })).await.0, 204);
    let account = &org.records("Account")[0];
    assert_eq!((&account["LastName"], &account["Name"]), (&json!("Jones"), &json!("Jane Jones")));
}

#[tokio::test]
async fn fields_of_businesses_on_people_follow_the_switch() {
    let org = Client::new().await;
    let mut body = person("Smith");
    body["Site"] = json!("HQ");
    let (status, answer) = org.post("sobjects/Account", body.clone()).await;
    assert_eq!((status, code(&answer)), (400, "INVALID_FIELD_FOR_INSERT_UPDATE"));
    assert_eq!(answer[0]["message"], "Account: bad field names on insert/update call: Site");
    for (choice, stored) in [(BusinessFields::Ignored, None), (BusinessFields::Kept, Some(&json!("HQ")))] {
        let org = Client::with_settings(|settings| settings.person_account_business_fields = choice).await;
        org.create("Account", body.clone()).await;
        assert_eq!(org.records("Account")[0].get("Site"), stored);
    }
}

#[tokio::test]
async fn a_row_cannot_be_given_to_a_user_who_has_left() {
    let org = Client::new().await;
    let (_, users) = org.query("SELECT Id FROM User WHERE IsActive = false").await;
    let user = users["records"][0]["Id"].as_str().unwrap().to_owned();
    let (status, answer) = org.post("sobjects/Account", json!({ "Name": "A", "OwnerId": user })).await;
    assert_eq!((status, code(&answer)), (400, "INACTIVE_OWNER_OR_USER"));
    let message = format!("operation performed with inactive user [{user}] as owner of account");
    assert_eq!(answer[0]["message"], message);
}
