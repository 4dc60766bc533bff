use std::fs;
use std::process::Command;

use causeway_simulator::{Config, PublishedBy, Reparenting, SchemaSource, Simulator};
use serde_json::{Value, json};

use crate::client::{Client, code};

async fn org_with(sources: Vec<SchemaSource>) -> Client {
    Client::with(Config { schema: sources, ..Config::default() }).await
}

const SUBSCRIPTIONS: &str = r#"
[[object]]
name = "Subscription__c"
label = "Subscription"
auto_number = "S-{0000}"
fields = [
  { name = "Account__c", type = "MasterDetail", to = ["Account"], children = "Subscriptions__r" },
  { name = "Status__c", type = "Picklist", label = "Status", restricted = true, values = [{ value = "New", default = true }, "Ended", { value = "Old", active = false }] },
  { name = "Papers__c", type = "MultiselectPicklist", label = "Papers", restricted = true, values = ["Daily", "Weekly"] },
  { name = "Code__c", type = "Text", length = 10, label = "Code", external_id = true, unique = true, case_sensitive = true },
  { name = "Share__c", type = "Percent", precision = 5, scale = 2, label = "Share" },
  { name = "Active__c", type = "Checkbox", label = "Active", default = true },
  { name = "Reason__c", type = "LongTextArea", length = 1000 },
]

[[validation_rule]]
object = "Subscription__c"
name = "Ended_needs_reason"
when = [{ field = "Status__c", equals = "Ended" }]
requires = ["Reason__c"]
message = "Say why it ended."
field = "Reason__c"

[[trigger]]
object = "Subscription__c"
name = "SubscriptionTrigger"
at = ["after insert"]
when = [{ field = "Code__c", equals = "locked" }]
raises = "lock"
"#;

async fn subscriptions() -> (Client, String) {
    let org = Client::with_schema(SUBSCRIPTIONS).await;
    let account = org.create("Account", json!({ "Name": "Acme" })).await;
    (org, account)
}

async fn refused(org: &Client, body: Value) -> (String, String, Value) {
    let (status, answer) = org.post("sobjects/Subscription__c", body).await;
    assert_eq!(status, 400, "{answer}");
    (code(&answer).to_owned(), answer[0]["message"].as_str().unwrap().to_owned(), answer[0]["fields"].clone())
}

#[tokio::test]
async fn an_object_of_a_file_has_defaults_and_a_running_number() {
    let (org, account) = subscriptions().await;
    org.create("Subscription__c", json!({ "Account__c": account })).await;
    let row = &org.records("Subscription__c")[0];
    assert_eq!((&row["Name"], &row["Status__c"], &row["Active__c"]), (&json!("S-0001"), &json!("New"), &json!(true)));
    let (_, found) = org.query("SELECT Account__r.Name FROM Subscription__c").await;
    assert_eq!(found["records"][0]["Account__r"]["Name"], "Acme");
}

#[tokio::test]
async fn field_metadata_of_a_file_decides_what_is_refused() {
    let (org, account) = subscriptions().await;
    let cases = [
        (json!({}), "REQUIRED_FIELD_MISSING", "Required fields are missing: [Account__c]"),
        (
            json!({ "Account__c": account, "Status__c": "Old" }),
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "Status: bad value for restricted picklist field: Old",
        ),
        (
            json!({ "Account__c": account, "Papers__c": "Daily;Hourly" }),
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "Papers: bad value for restricted picklist field: Hourly",
        ),
        (
            json!({ "Account__c": account, "Share__c": 1000 }),
            "NUMBER_OUTSIDE_VALID_RANGE",
            "Share: value outside of valid range on numeric field: 1000",
        ),
        (
            json!({ "Account__c": account, "Active__c": null }),
            "INVALID_TYPE_ON_FIELD_IN_RECORD",
            "Active: value not of required type: ",
        ),
        (
            json!({ "Account__c": account, "Status__c": "ended" }),
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "Status: bad value for restricted picklist field: ended",
        ),
        (
            json!({ "Account__c": account, "Status__c": "Ended" }),
            "FIELD_CUSTOM_VALIDATION_EXCEPTION",
            "Say why it ended.",
        ),
    ];
    for (body, expected, message) in cases {
        let (found, said, _) = refused(&org, body).await;
        assert_eq!((found.as_str(), said.as_str()), (expected, message));
    }
    assert!(org.records("Subscription__c").is_empty());
    let body = json!({ "Account__c": account, "Status__c": "Ended", "Reason__c": "Moved", "Share__c": 12.345 });
    org.create("Subscription__c", body).await;
    assert_eq!(org.records("Subscription__c")[0]["Share__c"], 12.35);
}

#[tokio::test]
async fn a_case_sensitive_external_id_tells_cases_apart() {
    let (org, account) = subscriptions().await;
    for name in ["abc", "ABC"] {
        let path = format!("sobjects/Subscription__c/Code__c/{name}");
        let (status, answer) = org.patch(&path, json!({ "Account__c": account })).await;
        assert_eq!((status, &answer["created"]), (201, &json!(true)));
    }
    let (found, _, _) = refused(&org, json!({ "Account__c": account, "Code__c": "abc" })).await;
    assert_eq!(found, "DUPLICATE_VALUE");
}

#[tokio::test]
async fn a_detail_stays_with_its_master() {
    let (org, account) = subscriptions().await;
    let id = org.create("Subscription__c", json!({ "Account__c": account })).await;
    let path = format!("sobjects/Subscription__c/{id}");
    let (status, answer) = org.patch(&path, json!({ "Account__c": account })).await;
    assert_eq!((status, code(&answer)), (400, "INVALID_FIELD_FOR_INSERT_UPDATE"));
}

#[tokio::test]
async fn a_trigger_that_meets_a_lock_wraps_it_and_writes_nothing() {
    let (org, account) = subscriptions().await;
    let (found, said, fields) = refused(&org, json!({ "Account__c": account, "Code__c": "locked" })).await;
    assert_eq!((found.as_str(), fields), ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", json!([])));
    assert!(
        said.starts_with("SubscriptionTrigger: execution of AfterInsert\n\ncaused by: System.DmlException"),
        "{said}"
    );
    assert!(said.contains("UNABLE_TO_LOCK_ROW") && said.contains(&account), "{said}");
    assert!(org.records("Subscription__c").is_empty());
}

#[tokio::test]
async fn salesforce_metadata_makes_objects_and_fields_in_a_namespace() {
    let folder = tempfile::tempdir().unwrap();
    let objects = folder.path().join("objects");
    for part in ["Order__c/fields", "Contact/fields"] {
        fs::create_dir_all(objects.join(part)).unwrap();
    }
    let head = r#"<?xml version="1.0" encoding="UTF-8"?>"#;
    let write = |path: &str, body: &str| fs::write(objects.join(path), format!("{head}\n{body}")).unwrap();
    write(
        "Order__c/Order__c.object-meta.xml",
        r#"<CustomObject xmlns="http://soap.sforce.com/2006/04/metadata"><label>Order</label><pluralLabel>Orders</pluralLabel>
           <nameField><label>Order No</label><type>AutoNumber</type><displayFormat>O-{000}</displayFormat></nameField>
           <fields><fullName>Kind__c</fullName><label>Kind</label><type>Picklist</type><valueSet><restricted>true</restricted>
           <valueSetDefinition><sorted>false</sorted><value><fullName>a</fullName><default>true</default><label>A</label></value>
           </valueSetDefinition></valueSet></fields></CustomObject>"#,
    );
    write(
        "Order__c/fields/Ref__c.field-meta.xml",
        r#"<CustomField xmlns="http://soap.sforce.com/2006/04/metadata"><fullName>Ref__c</fullName><externalId>true</externalId>
           <label>Ref</label><length>20</length><required>true</required><type>Text</type><unique>true</unique></CustomField>"#,
    );
    write(
        "Contact/fields/Tier__c.field-meta.xml",
        r#"<CustomField xmlns="http://soap.sforce.com/2006/04/metadata"><fullName>Tier__c</fullName><label>Tier</label>
           <precision>3</precision><scale>0</scale><type>Number</type></CustomField>"#,
    );
    let source = SchemaSource { namespace: Some("acme".to_owned()), ..folder.path().into() };
    let org = org_with(vec![source]).await;
    let (status, answer) = org.patch("sobjects/acme__Order__c/acme__Ref__c/r1", json!({})).await;
    assert_eq!(status, 201, "{answer}");
    let row = &org.records("acme__Order__c")[0];
    assert_eq!((&row["Name"], &row["acme__Kind__c"]), (&json!("O-001"), &json!("a")));
    org.create("Account", json!({ "LastName": "Smith", "acme__Tier__pc": 7 })).await;
    assert_eq!(org.records("Contact")[0]["acme__Tier__c"], 7.0);
}

#[test]
fn a_schema_that_cannot_be_used_ends_the_program_with_the_place_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.toml");
    let run = |text: &str| {
        fs::write(&path, text).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_causeway-simulator"));
        let output = program.args(["--listen", "127.0.0.1:0", "--schema"]).arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(78));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = run("[[object]]\nname = \"A__c\"\nfeilds = []\n");
    assert!(said.contains("bad.toml:3:1: unknown key `feilds`; did you mean `fields`?"), "{said}");
    let said =
        run("[[object]]\nname = \"A__c\"\nfields = [{ name = \"B__c\", type = \"Lookup\", to = [\"Acount\"] }]\n");
    assert!(said.contains("A__c.B__c") && said.contains("did you mean `Account`?"), "{said}");
    let said = run(
        "[[validation_rule]]\nobject = \"Account\"\nname = \"R\"\nmessage = \"m\"\nwhen = [{ field = \"Phon\", blank = true }]\n",
    );
    assert!(said.contains("validation_rule R") && said.contains("did you mean `Phone`?"), "{said}");
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let error = Simulator::start(Config { schema: vec!["/no/such/file.toml".into()], ..Config::default() }).await;
    assert!(error.unwrap_err().to_string().contains("/no/such/file.toml"));
}

const MORE: &str = r#"
[[object]]
name = "Case__c"
fields = [
  { name = "Account__c", type = "MasterDetail", to = ["Account"], reparentable = true },
  { name = "Body__c", type = "Html", length = 200 },
  { name = "No__c", type = "AutoNumber", format = "C-{000}" },
  { name = "Key__c", type = "Number", precision = 5, scale = 1, external_id = true, unique = true },
  { name = "Sum__c", type = "Currency", precision = 6, scale = 2 },
]

[[validation_rule]]
object = "Case__c"
name = "Not_small"
when = [{ field = "Sum__c", below = -100 }]
message = "Too small."
field = "Sum__c"

[[validation_rule]]
object = "Case__c"
name = "Asleep"
inactive = true
when = [{ field = "Sum__c", below = 0 }]
message = "Never said."

[[validation_rule]]
object = "Case__c"
name = "Has_body"
when = [{ field = "Sum__c", below = 0 }]
requires = ["Body__c"]
message = "Say why."
"#;

async fn cases() -> (Client, String) {
    let org = Client::with_schema(MORE).await;
    let account = org.create("Account", json!({ "Name": "Acme" })).await;
    (org, account)
}

#[tokio::test]
async fn every_rule_a_row_breaks_is_reported() {
    let (org, account) = cases().await;
    let body = json!({ "Account__c": account, "Sum__c": -101 });
    let (status, answer) = org.post("sobjects/Case__c", body.clone()).await;
    let entry = |message: &str, fields: Value| json!({ "message": message, "errorCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "fields": fields });
    assert_eq!(
        (status, &answer),
        (400, &json!([entry("Too small.", json!(["Sum__c"])), entry("Say why.", json!([]))]))
    );
    let mut row = body.clone();
    row["attributes"] = json!({ "type": "Case__c" });
    let (_, answer) = org.post("composite/sobjects", json!({ "allOrNone": false, "records": [row] })).await;
    let codes: Vec<&Value> = answer[0]["errors"].as_array().unwrap().iter().map(|error| &error["message"]).collect();
    assert_eq!(codes, ["Too small.", "Say why."]);
    let body = json!({ "Account__c": account, "Sum__c": -99.995, "Body__c": "<b>late</b>" });
    org.create("Case__c", body).await;
    assert_eq!(org.records("Case__c")[0]["Sum__c"], -100.0);
}

#[tokio::test]
async fn html_and_running_numbers_are_described_and_kept() {
    let (org, account) = cases().await;
    let (status, answer) = org.post("sobjects/Case__c", json!({ "Account__c": account, "No__c": "C-9" })).await;
    assert_eq!((status, code(&answer)), (400, "INVALID_FIELD_FOR_INSERT_UPDATE"));
    let long = "x".repeat(201);
    let (_, answer) = org.post("sobjects/Case__c", json!({ "Account__c": account, "Body__c": long })).await;
    assert_eq!(code(&answer), "STRING_TOO_LONG");
    for (body, number) in [("<p>a</p>", "C-001"), ("<p>b</p>", "C-002")] {
        let id = org.create("Case__c", json!({ "Account__c": account, "Body__c": body })).await;
        let (_, row) = org.get(&format!("sobjects/Case__c/{id}")).await;
        assert_eq!((&row["Body__c"], &row["No__c"]), (&json!(body), &json!(number)));
    }
    let (_, describe) = org.get("sobjects/Case__c/describe").await;
    let fields = describe["fields"].as_array().unwrap();
    let find = |name: &str| fields.iter().find(|field| field["name"] == name).unwrap();
    assert_eq!(
        (&find("Body__c")["htmlFormatted"], &find("Body__c")["extraTypeInfo"]),
        (&json!(true), &json!("richtextarea"))
    );
    assert_eq!((&find("No__c")["autoNumber"], &find("No__c")["createable"]), (&json!(true), &json!(false)));
}

#[tokio::test]
async fn a_number_that_is_an_external_id_finds_its_row_however_it_is_written() {
    let (org, account) = cases().await;
    for (key, created) in [("7", true), ("7.0", false), ("-7.5", true)] {
        let path = format!("sobjects/Case__c/Key__c/{key}");
        let (status, answer) = org.patch(&path, json!({ "Account__c": account })).await;
        assert_eq!((status, &answer["created"]), (if created { 201 } else { 200 }, &json!(created)), "{key}");
    }
    let (status, answer) = org.post("sobjects/Case__c", json!({ "Account__c": account, "Key__c": 7 })).await;
    assert_eq!((status, code(&answer)), (400, "DUPLICATE_VALUE"));
}

#[tokio::test]
async fn a_detail_moves_only_where_its_field_says_so() {
    let (org, account) = cases().await;
    let other = org.create("Account", json!({ "Name": "Other" })).await;
    let case = org.create("Case__c", json!({ "Account__c": account })).await;
    assert_eq!(org.patch(&format!("sobjects/Case__c/{case}"), json!({ "Account__c": other })).await.0, 204);
    assert_eq!(org.records("Case__c")[0]["Account__c"], json!(other));
    let (org, account) = subscriptions().await;
    org.control().update_settings(|settings| settings.reparenting = Reparenting::CannotReparent);
    let id = org.create("Subscription__c", json!({ "Account__c": account })).await;
    let (status, answer) = org.patch(&format!("sobjects/Subscription__c/{id}"), json!({ "Account__c": account })).await;
    assert_eq!((status, code(&answer), &answer[0]["fields"]), (400, "CANNOT_REPARENT_RECORD", &json!(["Account__c"])));
}

#[tokio::test]
async fn metadata_says_when_an_event_is_published() {
    let folder = tempfile::tempdir().unwrap();
    for (name, behavior) in [("Now__e", "PublishImmediately"), ("Later__e", "PublishAfterCommit")] {
        let object = folder.path().join("objects").join(name);
        fs::create_dir_all(&object).unwrap();
        let text = format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
            <CustomObject xmlns="http://soap.sforce.com/2006/04/metadata"><deploymentStatus>Deployed</deploymentStatus>
            <eventType>HighVolume</eventType><label>{name}</label><pluralLabel>{name}</pluralLabel>
            <publishBehavior>{behavior}</publishBehavior></CustomObject>"#
        );
        fs::write(object.join(format!("{name}.object-meta.xml")), text).unwrap();
    }
    let org = org_with(vec![folder.path().into()]).await;
    let post = |object: &str| json!({ "method": "POST", "url": format!("/services/data/v62.0/sobjects/{object}"), "referenceId": object.trim_end_matches("__e"), "body": {} });
    let bad =
        json!({ "method": "POST", "url": "/services/data/v62.0/sobjects/Account", "referenceId": "bad", "body": {} });
    let parts = json!([post("Now__e"), post("Later__e"), bad]);
    org.post("composite", json!({ "allOrNone": true, "compositeRequest": parts })).await;
    let events = org.control().events();
    let topics: Vec<&str> = events.iter().map(|event| event.topic.as_str()).collect();
    assert_eq!((topics, events[0].published), (vec!["/event/Now__e"], PublishedBy::Immediately));
}

#[tokio::test]
async fn a_field_that_tells_case_apart_is_queried_with_its_case() {
    let (org, account) = subscriptions().await;
    for code in ["abc", "ABC", "B"] {
        org.create("Subscription__c", json!({ "Account__c": account, "Code__c": code })).await;
    }
    for (clause, expected) in [
        ("WHERE Code__c = 'ABC'", vec!["ABC"]),
        ("WHERE Code__c = 'abc'", vec!["abc"]),
        ("WHERE Code__c = 'Abc'", vec![]),
        ("WHERE Code__c IN ('abc', 'b')", vec!["abc"]),
        ("WHERE Code__c != 'ABC' ORDER BY Code__c", vec!["B", "abc"]),
        ("WHERE Code__c > 'ABC' ORDER BY Code__c", vec!["B", "abc"]),
        ("WHERE Code__c LIKE 'A%' ORDER BY Code__c", vec!["ABC", "abc"]),
        ("WHERE Share__c = null AND Code__c = 'ABC'", vec!["ABC"]),
        ("GROUP BY Code__c HAVING Code__c = 'ABC'", vec!["ABC"]),
        ("GROUP BY Code__c ORDER BY Code__c DESC", vec!["abc", "B", "ABC"]),
    ] {
        let (status, body) = org.query(&format!("SELECT Code__c FROM Subscription__c {clause}")).await;
        assert_eq!(status, 200, "{clause}: {body}");
        let found: Vec<&str> =
            body["records"].as_array().unwrap().iter().map(|row| row["Code__c"].as_str().unwrap()).collect();
        assert_eq!(found, expected, "{clause}");
    }
    let (_, body) = org.query("SELECT MIN(Code__c) low, COUNT_DISTINCT(Code__c) codes FROM Subscription__c").await;
    assert_eq!((&body["records"][0]["low"], &body["records"][0]["codes"]), (&json!("ABC"), &json!(3)));
}
