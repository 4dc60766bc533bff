use serde_json::{Value, json};

use crate::client::{Client, code};

async fn org() -> Client {
    Client::with_settings(|settings| settings.state_country_picklists = true).await
}

async fn refused(org: &Client, mut body: Value) -> (String, Value) {
    body["Name"] = json!("A");
    let (status, answer) = org.post("sobjects/Account", body).await;
    assert_eq!((status, code(&answer)), (400, "FIELD_INTEGRITY_EXCEPTION"), "{answer}");
    (answer[0]["message"].as_str().unwrap().to_owned(), answer[0]["fields"].clone())
}

#[tokio::test]
async fn what_the_picklists_do_not_have_is_refused_in_the_words_of_the_org() {
    let org = org().await;
    let cases = [
        (
            json!({ "BillingCountry": "USA" }),
            "There's a problem with this country, even though it may appear correct. Please select a country/territory \
             from the list of valid countries.: Billing Country",
            "BillingCountry",
        ),
        (
            json!({ "BillingCountryCode": "US", "BillingState": "Calif." }),
            "There's a problem with this state, even though it may appear correct. Please select a state from the list \
             of valid states.: Billing State/Province",
            "BillingState",
        ),
        (
            json!({ "BillingCountryCode": "US", "BillingStateCode": "EP" }),
            "The BillingStateCode field contains EP, which isn't an available state. Your administrator can add it for you.",
            "BillingStateCode",
        ),
        (
            json!({ "BillingCountryCode": "XX" }),
            "The BillingCountryCode field contains XX, which isn't an available country/territory.",
            "BillingCountryCode",
        ),
        (
            json!({ "BillingState": "California" }),
            "A country/territory must be specified before specifying a state value for field: Billing State/Province",
            "BillingState",
        ),
        (
            json!({ "BillingCountryCode": "DE", "BillingStateCode": "BY" }),
            "The BillingStateCode field contains BY, which isn't an available state. Your administrator can add it for you.",
            "BillingStateCode",
        ),
    ];
    for (body, message, field) in cases {
        let (said, fields) = refused(&org, body).await;
        assert_eq!((said.as_str(), fields), (message, json!([field])));
    }
}

#[tokio::test]
async fn on_create_the_code_wins_and_on_update_both_must_agree() {
    let org = org().await;
    let body = json!({ "Name": "A", "BillingCountryCode": "US", "BillingCountry": "Canada", "BillingStateCode": "OR" });
    let id = org.create("Account", body).await;
    let path = format!("sobjects/Account/{id}");
    let row = org.records("Account").remove(0);
    assert_eq!((&row["BillingCountry"], &row["BillingState"]), (&json!("United States"), &json!("Oregon")));
    assert_eq!((&row["BillingAddress"]["stateCode"], &row["BillingAddress"]["city"]), (&json!("OR"), &Value::Null));
    let (status, answer) = org.patch(&path, json!({ "BillingStateCode": "CA", "BillingState": "Oregon" })).await;
    assert_eq!((status, code(&answer)), (400, "FIELD_INTEGRITY_EXCEPTION"));
    assert_eq!(org.patch(&path, json!({ "BillingState": "California" })).await.0, 204);
    assert_eq!(org.records("Account")[0]["BillingStateCode"], "CA");
    let (status, _) = org.patch(&path, json!({ "BillingCountryCode": "DE" })).await;
    assert_eq!(status, 400);
    assert_eq!(org.patch(&path, json!({ "BillingCountryCode": null })).await.0, 204);
    let row = org.records("Account").remove(0);
    assert!(
        ["BillingCountry", "BillingState", "BillingStateCode", "BillingAddress"].iter().all(|f| row.get(*f).is_none())
    );
}

#[tokio::test]
async fn people_have_codes_too_and_their_contact_follows() {
    let org = org().await;
    let body = json!({ "LastName": "S", "PersonMailingCountryCode": "IE", "PersonMailingStateCode": "D" });
    org.create("Account", body).await;
    let contact = org.records("Contact").remove(0);
    assert_eq!((&contact["MailingState"], &contact["MailingCountryCode"]), (&json!("Dublin"), &json!("IE")));
}

#[tokio::test]
async fn a_describe_says_which_states_a_country_has() {
    use base64::Engine as _;
    let org = org().await;
    let (_, describe) = org.get("sobjects/Account/describe").await;
    let field = |name: &str| describe["fields"].as_array().unwrap().iter().find(|f| f["name"] == name).unwrap().clone();
    let countries = field("BillingCountryCode")["picklistValues"].as_array().unwrap().clone();
    let states = field("BillingStateCode");
    assert_eq!((countries.len(), &states["controllerName"]), (239, &json!("BillingCountryCode")));
    let oregon = states["picklistValues"].as_array().unwrap().iter().find(|s| s["label"] == "Oregon").unwrap().clone();
    let bits = base64::engine::general_purpose::STANDARD.decode(oregon["validFor"].as_str().unwrap()).unwrap();
    let valid = |at: usize| bits[at / 8] & (0x80 >> (at % 8)) != 0;
    let named: Vec<&Value> = (0..countries.len()).filter(|at| valid(*at)).map(|at| &countries[at]["value"]).collect();
    assert_eq!(named, [&json!("US")]);
}
