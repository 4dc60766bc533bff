use serde_json::{Map, Value, json};

use crate::client::{Client, code};

async fn seeded() -> Client {
    let org = Client::new().await;
    let rows: Vec<Map<String, Value>> = [("Acme", "Media", 10), ("Bolt", "Retail", 20), ("acorn", "Media", 30), ("O'Neil", "Other", 5)]
        .iter()
        .map(|(name, industry, size)| {
            let row = json!({ "Name": name, "Industry": industry, "NumberOfEmployees": size, "LimioId__c": format!("id-{name}") });
            row.as_object().unwrap().clone()
        })
        .collect();
    org.control().seed("Account", &rows).await.unwrap();
    org
}

#[tokio::test]
async fn filters_order_and_limits_choose_rows() {
    let org = seeded().await;
    for (clause, expected) in [
        ("WHERE Name = 'ACME'", vec!["Acme"]),
        ("WHERE Name LIKE 'ac%' ORDER BY Name", vec!["Acme", "acorn"]),
        ("WHERE Name = 'O\\'Neil'", vec!["O'Neil"]),
        ("WHERE NumberOfEmployees >= 20 ORDER BY NumberOfEmployees DESC", vec!["acorn", "Bolt"]),
        ("WHERE Industry IN ('Retail', 'Other') ORDER BY Name ASC", vec!["Bolt", "O'Neil"]),
        ("WHERE Industry NOT IN ('Media') AND NOT Name = 'Bolt'", vec!["O'Neil"]),
        ("WHERE (Name = 'Acme' OR Name = 'Bolt') AND NumberOfEmployees > 10", vec!["Bolt"]),
        ("WHERE Phone = null AND Name != 'Acme' ORDER BY NumberOfEmployees LIMIT 2", vec!["O'Neil", "Bolt"]),
        ("ORDER BY Name LIMIT 2 OFFSET 1", vec!["acorn", "Bolt"]),
        ("WHERE LimioId__c IN ('id-acme', 'id-bolt')", vec!["Acme", "Bolt"]),
        ("WHERE CreatedDate = TODAY AND CreatedDate > 2020-01-01T00:00:00Z AND Name < 'Ad'", vec!["Acme", "acorn"]),
        ("WHERE Owner.Username = 'integration@causeway.test' AND Industry = 'Retail'", vec!["Bolt"]),
    ] {
        let (status, body) = org.query(&format!("SELECT Name FROM Account {clause}")).await;
        assert_eq!(status, 200, "{clause}: {body}");
        let names: Vec<_> = body["records"].as_array().unwrap().iter().map(|r| r["Name"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{clause}");
        assert_eq!((&body["done"], &body["totalSize"]), (&json!(true), &json!(expected.len())));
    }
}

#[tokio::test]
async fn parents_are_printed_with_their_attributes() {
    let org = seeded().await;
    let (_, body) = org.query("SELECT Id, Owner.Name, Parent.Name FROM Account WHERE Name = 'Acme'").await;
    let record = &body["records"][0];
    assert_eq!(record["attributes"]["type"], "Account");
    assert_eq!(
        (&record["Owner"]["Name"], &record["Owner"]["attributes"]["type"]),
        (&json!("Integration User"), &json!("User"))
    );
    assert_eq!(record["Parent"], Value::Null);
}

#[tokio::test]
async fn a_count_answers_only_the_total() {
    let org = seeded().await;
    let (_, body) = org.query("SELECT COUNT() FROM Account WHERE Industry = 'Media'").await;
    assert_eq!(body, json!({ "totalSize": 2, "done": true, "records": [] }));
}

#[tokio::test]
async fn large_results_come_in_pages() {
    let org = Client::new().await;
    let rows: Vec<Map<String, Value>> =
        (0..450).map(|n| json!({ "Name": format!("A{n:03}") }).as_object().unwrap().clone()).collect();
    org.control().seed("Account", &rows).await.unwrap();
    let request = org.request(reqwest::Method::GET, "query").query(&[("q", "SELECT Name FROM Account")]);
    let first: Value =
        request.header("Sforce-Query-Options", "batchSize=200").send().await.unwrap().json().await.unwrap();
    assert_eq!((&first["totalSize"], &first["done"]), (&json!(450), &json!(false)));
    let mut seen = first["records"].as_array().unwrap().len();
    let mut next = first["nextRecordsUrl"].as_str().map(str::to_owned);
    assert!(
        next.as_deref().unwrap().starts_with("/services/data/v62.0/query/01g")
            && next.as_deref().unwrap().ends_with("-200")
    );
    while let Some(url) = next {
        let (_, page) = org.get(&url).await;
        seen += page["records"].as_array().unwrap().len();
        next = page["nextRecordsUrl"].as_str().map(str::to_owned);
    }
    assert_eq!(seen, 450);
    let (status, body) = org.get("query/01g000000000000AAA-200").await;
    assert_eq!((status, code(&body)), (400, "INVALID_QUERY_LOCATOR"));
}

#[tokio::test]
async fn an_unknown_column_is_pointed_at() {
    let org = Client::new().await;
    let (status, body) = org.query("SELECT Bacon__c FROM Account LIMIT 2").await;
    assert_eq!((status, code(&body)), (400, "INVALID_FIELD"));
    assert_eq!(
        body[0]["message"],
        "\nSELECT Bacon__c FROM Account LIMIT 2\n       ^\nERROR at Row:1:Column:8\nNo such column 'Bacon__c' on entity \
         'Account'. If you are attempting to use a custom field, be sure to append the '__c' after the custom field name. \
         Please reference your WSDL or the describe call for the appropriate names."
    );
    let (_, body) = org.query("SELEKT Id FROM Account").await;
    assert_eq!((code(&body), body[0]["message"].as_str()), ("MALFORMED_QUERY", Some("unexpected token: SELEKT")));
    let (_, body) = org.query("SELECT Id FROM Foo").await;
    assert_eq!(code(&body), "INVALID_TYPE");
}

#[tokio::test]
async fn deleted_rows_are_found_by_query_all_only() {
    let org = Client::new().await;
    let id = org.create("Account", json!({ "Name": "A" })).await;
    org.call("DELETE", &format!("sobjects/Account/{id}"), None).await;
    assert_eq!(org.query("SELECT Id FROM Account").await.1["totalSize"], 0);
    let (_, body) = org.get("queryAll?q=SELECT+Id+FROM+Account+WHERE+IsDeleted=true").await;
    assert_eq!(body["totalSize"], 1);
}
