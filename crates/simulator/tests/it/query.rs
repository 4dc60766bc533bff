use serde_json::{Map, Value, json};

use crate::client::{Client, code};

pub(crate) async fn seeded() -> Client {
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

/// The Names of the accounts that a clause chooses.
async fn names(org: &Client, clause: &str) -> Vec<String> {
    let (status, body) = org.query(&format!("SELECT Name FROM Account {clause}")).await;
    assert_eq!(status, 200, "{clause}: {body}");
    let names: Vec<String> =
        body["records"].as_array().unwrap().iter().map(|r| r["Name"].as_str().unwrap().to_owned()).collect();
    assert_eq!((&body["done"], &body["totalSize"]), (&json!(true), &json!(names.len())));
    names
}

#[tokio::test]
async fn filters_order_and_limits_choose_rows() {
    let org = seeded().await;
    for (clause, expected) in [
        ("WHERE Name = 'ACME'", vec!["Acme"]),
        ("WHERE Name LIKE 'ac%' ORDER BY Name", vec!["Acme", "acorn"]),
        ("where name like '%\\'n__l'", vec!["O'Neil"]),
        ("WHERE Name = 'O\\'Neil'", vec!["O'Neil"]),
        ("WHERE NumberOfEmployees >= 20 ORDER BY NumberOfEmployees DESC", vec!["acorn", "Bolt"]),
        ("WHERE Industry IN ('Retail', 'Other') ORDER BY Name ASC", vec!["Bolt", "O'Neil"]),
        ("WHERE Industry NOT IN ('Media') AND (NOT Name = 'Bolt')", vec!["O'Neil"]),
        ("WHERE (Name = 'Acme' OR Name = 'Bolt') AND NumberOfEmployees > 10", vec!["Bolt"]),
        ("WHERE Phone = null AND Name != 'Acme' ORDER BY NumberOfEmployees LIMIT 2", vec!["O'Neil", "Bolt"]),
        ("WHERE Phone != '1' AND Name <> 'Acme' ORDER BY NumberOfEmployees LIMIT 1", vec!["O'Neil"]),
        ("ORDER BY Name LIMIT 2 OFFSET 1", vec!["acorn", "Bolt"]),
        ("WHERE LimioId__c IN ('id-acme', 'id-bolt')", vec!["Acme", "Bolt"]),
        ("WHERE CreatedDate = TODAY AND CreatedDate > 2020-01-01T00:00:00Z AND Name < 'Ad'", vec!["Acme", "acorn"]),
        (
            "WHERE CreatedDate = THIS_MONTH AND CreatedDate < NEXT_N_DAYS:1 AND CreatedDate != LAST_YEAR AND Name = 'Bolt'",
            vec!["Bolt"],
        ),
        ("WHERE Owner.Username = 'integration@causeway.test' AND Industry = 'Retail'", vec!["Bolt"]),
        ("USING SCOPE mine WHERE Industry = 'Retail'", vec!["Bolt"]),
        ("WHERE Industry = 'Retail' WITH SECURITY_ENFORCED", vec!["Bolt"]),
        ("WHERE Industry = 'Retail' FOR VIEW", vec!["Bolt"]),
        ("WHERE Industry = 'Retail' LIMIT 1 FOR UPDATE", vec!["Bolt"]),
        ("a WHERE a.Industry = 'Retail' AND Account.Name = 'bolt'", vec!["Bolt"]),
    ] {
        assert_eq!(names(&org, clause).await, expected, "{clause}");
    }
}

#[tokio::test]
async fn ids_compare_in_both_lengths() {
    let org = seeded().await;
    let (_, body) = org.query("SELECT Id FROM Account WHERE Name = 'Bolt'").await;
    let id = body["records"][0]["Id"].as_str().unwrap().to_owned();
    assert_eq!(names(&org, &format!("WHERE Id = '{id}'")).await, ["Bolt"]);
    assert_eq!(names(&org, &format!("WHERE Id IN ('{}')", &id[..15])).await, ["Bolt"]);
    let (status, body) = org.query("SELECT Id FROM Account WHERE Id = 'abc'").await;
    assert_eq!((status, code(&body)), (400, "INVALID_QUERY_FILTER_OPERATOR"));
    assert!(body[0]["message"].as_str().unwrap().ends_with("Column:30\ninvalid ID field: abc"), "{body}");
}

#[tokio::test]
async fn nulls_stand_first_unless_they_are_sent_last() {
    let org = Client::new().await;
    org.create("Account", json!({ "Name": "A", "NumberOfEmployees": 1 })).await;
    org.create("Account", json!({ "Name": "B" })).await;
    org.create("Account", json!({ "Name": "C", "NumberOfEmployees": 2 })).await;
    for (order, expected) in [
        ("NumberOfEmployees", ["B", "A", "C"]),
        ("NumberOfEmployees DESC", ["B", "C", "A"]),
        ("NumberOfEmployees NULLS LAST", ["A", "C", "B"]),
        ("NumberOfEmployees DESC NULLS LAST", ["C", "A", "B"]),
    ] {
        assert_eq!(names(&org, &format!("ORDER BY {order}")).await, expected, "{order}");
    }
}

#[tokio::test]
async fn parents_are_printed_with_their_attributes() {
    let org = seeded().await;
    let (_, body) = org.query("SELECT Owner.Name, Id, Parent.Name FROM Account WHERE Name = 'Acme'").await;
    let record = &body["records"][0];
    assert_eq!(record.as_object().unwrap().keys().collect::<Vec<_>>(), ["attributes", "Owner", "Id", "Parent"]);
    assert_eq!(record["attributes"]["type"], "Account");
    assert_eq!(
        (&record["Owner"]["Name"], &record["Owner"]["attributes"]["type"]),
        (&json!("Integration User"), &json!("User"))
    );
    assert_eq!(record["Parent"], Value::Null);
    let deep = |levels: usize| format!("SELECT {}Name FROM Account", "Parent.".repeat(levels));
    assert_eq!(org.query(&deep(5)).await.0, 200);
    let (status, body) = org.query(&deep(6)).await;
    assert_eq!((status, code(&body)), (400, "MALFORMED_QUERY"));
}

#[tokio::test]
async fn children_come_in_envelopes_of_their_own() {
    let org = seeded().await;
    let (_, body) = org.query("SELECT Id FROM Account WHERE Name = 'Acme'").await;
    let account = body["records"][0]["Id"].clone();
    for last in ["Zed", "Young", "Xu"] {
        org.create("Contact", json!({ "LastName": last, "AccountId": account })).await;
    }
    let children = "(SELECT LastName, Account.Name FROM Contacts WHERE LastName != 'Xu' ORDER BY LastName LIMIT 5)";
    let (status, body) =
        org.query(&format!("SELECT Name, {children} FROM Account WHERE Name IN ('Acme', 'Bolt') ORDER BY Name")).await;
    assert_eq!(status, 200, "{body}");
    let contacts = &body["records"][0]["Contacts"];
    assert_eq!((&contacts["totalSize"], &contacts["done"]), (&json!(2), &json!(true)));
    assert_eq!(contacts["records"][0]["LastName"], "Young");
    assert_eq!(contacts["records"][0]["Account"]["Name"], "Acme");
    assert_eq!(contacts["records"][1]["attributes"]["type"], "Contact");
    assert_eq!(body["records"][1]["Contacts"], Value::Null);
    for (statement, expected) in [
        ("SELECT Id, (SELECT Id FROM Contact) FROM Account", "INVALID_TYPE"),
        ("SELECT Id, (SELECT COUNT(Id) FROM Contacts) FROM Account", "MALFORMED_QUERY"),
        ("SELECT Id, (SELECT Id FROM Contacts OFFSET 1) FROM Account", "MALFORMED_QUERY"),
    ] {
        let (status, body) = org.query(statement).await;
        assert_eq!((status, code(&body)), (400, expected), "{statement}: {body}");
    }
}

#[tokio::test]
async fn a_semi_join_chooses_by_another_object() {
    let org = seeded().await;
    let (_, body) = org.query("SELECT Id FROM Account WHERE Name = 'Acme'").await;
    org.create("Contact", json!({ "LastName": "Zed", "AccountId": body["records"][0]["Id"] })).await;
    assert_eq!(names(&org, "WHERE Id IN (SELECT AccountId FROM Contact WHERE LastName = 'zed')").await, ["Acme"]);
    let others = names(&org, "WHERE Id NOT IN (SELECT AccountId FROM Contact) ORDER BY Name").await;
    assert_eq!(others, ["acorn", "Bolt", "O'Neil"]);
    for (clause, message) in [
        ("Id IN (SELECT Id FROM Contact)", "should point to the same object type"),
        ("Id IN (SELECT Id FROM Account)", "The inner and outer selects should not be on the same object type"),
        (
            "Name = 'a' OR Id IN (SELECT AccountId FROM Contact)",
            "Semi join sub-selects are only allowed at the top level",
        ),
        ("Id IN (SELECT AccountId FROM Contact LIMIT 1)", "not allowed in a semi join"),
        ("Id IN (SELECT AccountId, Id FROM Contact)", "exactly one field"),
    ] {
        let (status, body) = org.query(&format!("SELECT Id FROM Account WHERE {clause}")).await;
        assert_eq!((status, code(&body)), (400, "MALFORMED_QUERY"), "{clause}");
        assert!(body[0]["message"].as_str().unwrap().contains(message), "{clause}: {body}");
    }
}

#[tokio::test]
async fn fields_expands_to_what_the_user_sees() {
    let org = seeded().await;
    let keys = async |statement: &str| -> Vec<String> {
        let (status, body) = org.query(statement).await;
        assert_eq!(status, 200, "{statement}: {body}");
        body["records"][0].as_object().unwrap().keys().cloned().collect()
    };
    let all = keys("SELECT FIELDS(ALL) FROM Account LIMIT 200").await;
    let standard = keys("SELECT FIELDS(STANDARD) FROM Account").await;
    let custom = keys("SELECT Name, FIELDS(CUSTOM) FROM Account LIMIT 1").await;
    assert!(all.contains(&"LimioId__c".to_owned()) && all.contains(&"Name".to_owned()));
    assert!(standard.contains(&"Name".to_owned()) && standard.iter().all(|name| !name.ends_with("__c")));
    assert_eq!(custom[..2], ["attributes", "Name"]);
    assert!(custom[2..].iter().all(|name| name.ends_with("__c")));
    for (statement, expected, message) in [
        (
            "SELECT FIELDS(ALL) FROM Account",
            "MALFORMED_QUERY",
            "The SOQL FIELDS function must have a LIMIT of at most 200",
        ),
        (
            "SELECT FIELDS(CUSTOM) FROM Account LIMIT 201",
            "MALFORMED_QUERY",
            "The SOQL FIELDS function must have a LIMIT of at most 200",
        ),
        ("SELECT Id, FIELDS(ALL) FROM User LIMIT 200", "INVALID_FIELD", "duplicate field selected: Id"),
    ] {
        let (_, body) = org.query(statement).await;
        assert_eq!((code(&body), body[0]["message"].as_str()), (expected, Some(message)), "{statement}");
    }
}

#[tokio::test]
async fn a_count_answers_only_the_total() {
    let org = seeded().await;
    let (_, body) = org.query("SELECT COUNT() FROM Account WHERE Industry = 'Media'").await;
    assert_eq!(body, json!({ "totalSize": 2, "done": true, "records": [] }));
    assert_eq!(org.query("SELECT count() FROM Account LIMIT 3").await.1["totalSize"], 3);
}

#[tokio::test]
async fn aggregates_answer_one_row_for_each_group() {
    let org = seeded().await;
    let statement = "SELECT Industry, COUNT(Id), SUM(NumberOfEmployees) staff, AVG(NumberOfEmployees), MIN(Name), \
                     COUNT_DISTINCT(OwnerId) FROM Account GROUP BY Industry HAVING COUNT(Id) > 0 AND Industry != 'Other' \
                     ORDER BY COUNT(Id) DESC";
    let (status, body) = org.query(statement).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        body["records"],
        json!([
            { "attributes": { "type": "AggregateResult" }, "Industry": "Media", "expr0": 2, "staff": 40, "expr1": 20.0, "expr2": "Acme", "expr3": 1 },
            { "attributes": { "type": "AggregateResult" }, "Industry": "Retail", "expr0": 1, "staff": 20, "expr1": 20.0, "expr2": "Bolt", "expr3": 1 },
        ])
    );
    let (_, body) = org.query("SELECT COUNT(Id) n, MAX(NumberOfEmployees) most FROM Account WHERE Name = 'none'").await;
    assert_eq!(body["records"], json!([{ "attributes": { "type": "AggregateResult" }, "n": 0, "most": null }]));
    let (_, body) = org.query("SELECT Owner.Name FROM Account GROUP BY Owner.Name").await;
    assert_eq!(body["records"][0]["Name"], "Integration User");
    for (statement, message) in [
        ("SELECT Name, COUNT(Id) FROM Account GROUP BY Industry", "Field must be grouped or aggregated: Name"),
        (
            "SELECT MAX(Name) FROM Account LIMIT 1",
            "Non-grouped query that uses overall aggregate functions cannot also use LIMIT",
        ),
        ("SELECT SUM(Name) FROM Account", "field Name does not support aggregate operator SUM"),
        ("SELECT COUNT(Id) a, MAX(Name) a FROM Account", "duplicate alias: a"),
        ("SELECT Name n FROM Account", "only aggregate expressions use field aliasing"),
        (
            "SELECT Industry FROM Account GROUP BY Industry ORDER BY Name",
            "Ordered field must be grouped or aggregated: Name",
        ),
    ] {
        let (status, body) = org.query(statement).await;
        assert_eq!(
            (status, code(&body), body[0]["message"].as_str()),
            (400, "MALFORMED_QUERY", Some(message)),
            "{statement}"
        );
    }
}

#[tokio::test]
async fn values_must_be_of_the_fields_type() {
    let org = Client::new().await;
    for (condition, expected, message) in [
        (
            "Name = 5",
            "INVALID_FIELD",
            "value of filter criterion for field 'Name' must be of type string and should be enclosed in quotes",
        ),
        (
            "CreatedDate = 'x'",
            "INVALID_FIELD",
            "value of filter criterion for field 'CreatedDate' must be of type dateTime and should not be enclosed in quotes",
        ),
        (
            "CreatedDate > 2026-01-01",
            "INVALID_FIELD",
            "value of filter criterion for field 'CreatedDate' must be of type dateTime and should not be enclosed in quotes",
        ),
        (
            "PersonBirthdate = 'x'",
            "INVALID_FIELD",
            "value of filter criterion for field 'PersonBirthdate' must be of type date and should not be enclosed in quotes",
        ),
        (
            "NumberOfEmployees = '5'",
            "INVALID_FIELD",
            "value of filter criterion for field 'NumberOfEmployees' must be of type int and should not be enclosed in quotes",
        ),
        (
            "IsDeleted = 1",
            "INVALID_FIELD",
            "value of filter criterion for field 'IsDeleted' must be of type boolean and should not be enclosed in quotes",
        ),
        ("NumberOfEmployees LIKE '5%'", "INVALID_QUERY_FILTER_OPERATOR", "invalid operator on int field"),
        ("Industry INCLUDES ('Media')", "INVALID_QUERY_FILTER_OPERATOR", "invalid operator on picklist field"),
        ("Description = 'x'", "INVALID_FIELD", "field 'Description' can not be filtered in a query call"),
    ] {
        let (status, body) = org.query(&format!("SELECT Id FROM Account WHERE {condition}")).await;
        assert_eq!((status, code(&body)), (400, expected), "{condition}: {body}");
        let lines: Vec<&str> = body[0]["message"].as_str().unwrap().lines().collect();
        assert_eq!((lines[3], lines[4]), ("ERROR at Row:1:Column:30", message), "{condition}");
    }
    let (_, body) = org.query("SELECT Id FROM Account ORDER BY Description").await;
    assert!(body[0]["message"].as_str().unwrap().ends_with("field 'Description' can not be sorted in a query call"));
    let (_, body) = org.query("SELECT AnnualRevenue FROM Account GROUP BY AnnualRevenue").await;
    assert!(body[0]["message"].as_str().unwrap().ends_with("field 'AnnualRevenue' can not be grouped in a query call"));
}

#[tokio::test]
async fn an_unknown_name_is_pointed_at() {
    let org = Client::new().await;
    let (status, body) = org.query("SELECT Bacon__c FROM Account LIMIT 2").await;
    assert_eq!((status, code(&body)), (400, "INVALID_FIELD"));
    assert_eq!(
        body[0]["message"],
        "\nSELECT Bacon__c FROM Account LIMIT 2\n       ^\nERROR at Row:1:Column:8\nNo such column 'Bacon__c' on entity \
         'Account'. If you are attempting to use a custom field, be sure to append the '__c' after the custom field name. \
         Please reference your WSDL or the describe call for the appropriate names."
    );
    let (_, body) = org.query("SELECT Id,\nMeal.Name FROM Account").await;
    let message = body[0]["message"].as_str().unwrap();
    assert!(
        message
            .starts_with("\nMeal.Name FROM Account\n^\nERROR at Row:2:Column:1\nDidn't understand relationship 'Meal'"),
        "{message}"
    );
    let (_, body) = org.query("SELEKT Id FROM Account").await;
    assert_eq!((code(&body), body[0]["message"].as_str()), ("MALFORMED_QUERY", Some("unexpected token: SELEKT")));
    let (_, body) = org.query("SELECT Id FROM Foo").await;
    assert_eq!(code(&body), "INVALID_TYPE");
    assert!(
        body[0]["message"].as_str().unwrap().contains("ERROR at Row:1:Column:16\nsObject type 'Foo' is not supported.")
    );
}

#[tokio::test]
async fn what_rest_does_not_take_is_refused() {
    let org = Client::new().await;
    let (_, body) = org.query("SELECT Id FROM Account ALL ROWS").await;
    assert_eq!(
        (code(&body), body[0]["message"].as_str()),
        ("MALFORMED_QUERY", Some("ALL ROWS not allowed in this context"))
    );
    let (status, body) = org.query("SELECT Id FROM Account LIMIT 1 OFFSET 2001").await;
    assert_eq!((status, code(&body)), (400, "NUMBER_OUTSIDE_VALID_RANGE"));
    assert_eq!(org.query("SELECT Id FROM Account LIMIT 1 OFFSET 2000").await.0, 200);
    let deep = format!("SELECT Id FROM Account WHERE {}Name = 'x'{}", "(".repeat(1_500), ")".repeat(1_500));
    let (status, body) = org.query(&deep).await;
    assert_eq!((status, code(&body)), (400, "MALFORMED_QUERY"));
    // As deep as is allowed runs on a server thread's stack.
    let deep = format!("SELECT Id FROM Account WHERE {}Name = 'x'{}", "(".repeat(50), ")".repeat(50));
    assert_eq!(org.query(&deep).await.0, 200);
    assert_eq!(code(&org.get("query").await.1), "MALFORMED_QUERY");
    assert_eq!(org.post("query", json!({ "q": "SELECT Id FROM Account" })).await.0, 405);
}

#[tokio::test]
async fn deleted_rows_are_found_by_query_all_only() {
    let org = Client::new().await;
    let id = org.create("Account", json!({ "Name": "A", "LimioId__c": "x" })).await;
    org.call("DELETE", &format!("sobjects/Account/{id}"), None).await;
    assert_eq!(org.query("SELECT Id FROM Account").await.1["totalSize"], 0);
    for condition in ["IsDeleted=true".to_owned(), format!("Id='{id}'"), "LimioId__c='x'".to_owned()] {
        let (_, body) = org.get(&format!("queryAll?q=SELECT+Id+FROM+Account+WHERE+{condition}")).await;
        assert_eq!(body["totalSize"], 1, "{condition}");
    }
}

#[tokio::test]
async fn values_of_a_multi_select_picklist_are_included_or_excluded() {
    let field = r#"{ name = "Papers__c", type = "MultiselectPicklist", values = ["Daily", "Weekly", "Sunday"] }"#;
    let org = Client::with_schema(&format!("[[object]]\nname = \"Account\"\nfields = [{field}]\n")).await;
    for (name, papers) in
        [("D", json!("Daily")), ("DW", json!("Daily;Weekly")), ("S", json!("Sunday")), ("N", Value::Null)]
    {
        org.create("Account", json!({ "Name": name, "Papers__c": papers })).await;
    }
    for (clause, expected) in [
        ("Papers__c INCLUDES ('Daily')", vec!["D", "DW"]),
        ("Papers__c INCLUDES ('Daily;Weekly', 'Sunday')", vec!["DW", "S"]),
        ("Papers__c includes ('weekly;daily')", vec!["DW"]),
        ("Papers__c EXCLUDES ('Daily;Weekly', 'Sunday')", vec!["D", "N"]),
        ("Papers__c = 'Daily;Weekly'", vec!["DW"]),
        ("Papers__c != null AND Papers__c EXCLUDES ('Daily')", vec!["S"]),
    ] {
        assert_eq!(names(&org, &format!("WHERE {clause} ORDER BY Name")).await, expected, "{clause}");
    }
    for (statement, message) in [
        ("SELECT Id FROM Account ORDER BY Papers__c", "field 'Papers__c' can not be sorted in a query call"),
        ("SELECT Papers__c FROM Account GROUP BY Papers__c", "field 'Papers__c' can not be grouped in a query call"),
        (
            "SELECT Id FROM Account WHERE BillingAddress = 'x'",
            "field 'BillingAddress' can not be filtered in a query call",
        ),
    ] {
        let (status, body) = org.query(statement).await;
        assert_eq!((status, code(&body)), (400, "INVALID_FIELD"), "{statement}");
        assert!(body[0]["message"].as_str().unwrap().ends_with(message), "{body}");
    }
}

#[tokio::test]
async fn the_request_log_tells_which_texts_a_query_asks_for() {
    let org = seeded().await;
    assert_eq!(names(&org, "WHERE Name IN ('Acme','O\\'Neil')").await.len(), 2);
    let logged = org.control().requests();
    let last = logged.last().expect("the query's");
    assert_eq!((&last.asked[..], last.rows.len()), (&["Acme".to_owned(), "O'Neil".to_owned()][..], 0));
}
