use std::time::Duration;

use causeway_simulator::Settings;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::client::{Client, code, read};

async fn with_accounts(n: usize, change: impl FnOnce(&mut Settings)) -> Client {
    let org = Client::with_settings(change).await;
    let rows: Vec<Map<String, Value>> =
        (0..n).map(|n| json!({ "Name": format!("A{n:03}") }).as_object().unwrap().clone()).collect();
    org.control().seed("Account", &rows).await.unwrap();
    org
}

/// A first page of 200 and the path of the next.
async fn first_page(org: &Client) -> (Value, String) {
    let request = org.request(Method::GET, "query").query(&[("q", "SELECT Name FROM Account")]);
    let (status, page) = read(request.header("Sforce-Query-Options", "batchSize=200").send().await.unwrap()).await;
    assert_eq!(status, 200, "{page}");
    let next = page["nextRecordsUrl"].as_str().unwrap().to_owned();
    (page, next)
}

#[tokio::test]
async fn large_results_come_in_pages() {
    let org = with_accounts(450, |_| {}).await;
    let (first, next) = first_page(&org).await;
    assert_eq!((&first["totalSize"], &first["done"]), (&json!(450), &json!(false)));
    assert!(next.starts_with("/services/data/v62.0/query/01g") && next.ends_with("-200"), "{next}");
    let mut seen = first["records"].as_array().unwrap().len();
    let mut next = Some(next);
    while let Some(url) = next {
        let (_, page) = org.get(&url).await;
        seen += page["records"].as_array().unwrap().len();
        assert_eq!(page["done"], page.get("nextRecordsUrl").is_none());
        next = page["nextRecordsUrl"].as_str().map(str::to_owned);
    }
    assert_eq!(seen, 450);
    let (status, body) = org.get("query/01g000000000000AAA-200").await;
    assert_eq!((status, code(&body)), (400, "INVALID_QUERY_LOCATOR"));
}

#[tokio::test]
async fn a_cursor_lives_two_days_and_not_beyond_a_reset() {
    let org = with_accounts(250, |settings| settings.session_ttl_s = 10_000_000).await;
    let (_, next) = first_page(&org).await;
    org.control().advance_clock(Duration::from_hours(47));
    assert_eq!(org.get(&next).await.0, 200);
    org.control().advance_clock(Duration::from_secs(3_601));
    assert_eq!(code(&org.get(&next).await.1), "INVALID_QUERY_LOCATOR");
    let (_, next) = first_page(&org).await;
    org.control().reset();
    let org = Client { token: org.sign_in().await, simulator: org.simulator, http: org.http };
    assert_eq!(code(&org.get(&next).await.1), "INVALID_QUERY_LOCATOR");
}

#[tokio::test]
async fn cursors_may_be_limited_to_the_ten_of_old() {
    let org = with_accounts(250, |settings| settings.query_cursor_limit = Some(10)).await;
    let (_, oldest) = first_page(&org).await;
    for _ in 0..9 {
        first_page(&org).await;
    }
    assert_eq!(org.get(&oldest).await.0, 200);
    let (_, newest) = first_page(&org).await;
    assert_eq!(code(&org.get(&oldest).await.1), "INVALID_QUERY_LOCATOR");
    assert_eq!(org.get(&newest).await.0, 200);
}

#[tokio::test]
async fn a_locator_may_start_as_help_says() {
    let org = with_accounts(250, |settings| settings.query_locator_prefix = "0r8".to_owned()).await;
    let (_, next) = first_page(&org).await;
    assert!(next.starts_with("/services/data/v62.0/query/0r8"), "{next}");
    assert_eq!(org.get(&next).await.1["records"].as_array().unwrap().len(), 50);
}

#[tokio::test]
async fn a_page_shows_rows_as_they_were_when_the_query_ran() {
    let org = with_accounts(201, |_| {}).await;
    let (_, body) = org.query("SELECT Id FROM Account WHERE Name = 'A200'").await;
    let (_, next) = first_page(&org).await;
    let id = body["records"][0]["Id"].as_str().unwrap();
    org.patch(&format!("sobjects/Account/{id}"), json!({ "Name": "changed" })).await;
    assert_eq!(org.get(&next).await.1["records"][0]["Name"], "A200");
}

#[tokio::test]
async fn a_query_inside_a_composite_sees_its_own_transaction() {
    let org = Client::new().await;
    let (_, body) = org
        .post(
            "composite",
            json!({ "allOrNone": true, "compositeRequest": [
                { "method": "POST", "url": "/services/data/v62.0/sobjects/Account", "referenceId": "a", "body": { "Name": "Acme" } },
                { "method": "GET", "url": "/services/data/v62.0/query?q=SELECT+Name+FROM+Account+WHERE+Id='@{a.id}'", "referenceId": "q" },
            ] }),
        )
        .await;
    assert_eq!(body["compositeResponse"][1]["body"]["records"][0]["Name"], "Acme", "{body}");
}

#[tokio::test]
async fn a_query_inside_a_batch_answers_as_alone() {
    let org = with_accounts(3, |_| {}).await;
    let part = |url: &str| json!({ "method": "GET", "url": url });
    let batch = json!({ "batchRequests": [
        part("v62.0/query?q=SELECT+Name+FROM+Account+WHERE+Name='A002'"), part("v62.0/query?q=SELECT+Nope+FROM+Account"),
    ] });
    let (status, body) = org.post("composite/batch", batch).await;
    assert_eq!((status, &body["hasErrors"]), (200, &json!(true)), "{body}");
    assert_eq!(body["results"][0]["result"]["records"][0]["Name"], "A002");
    assert_eq!(
        (&body["results"][1]["statusCode"], code(&body["results"][1]["result"])),
        (&json!(400), "INVALID_FIELD")
    );
}

#[tokio::test]
async fn paging_by_id_meets_every_row_once() {
    // Ids that differ in nothing but the case of their last characters are among these.
    let org = with_accounts(70, |_| {}).await;
    let all: Vec<String> = org.records("Account").iter().map(|row| row["Id"].as_str().unwrap().to_owned()).collect();
    let contacts: Vec<Map<String, Value>> =
        all.iter().rev().map(|id| json!({ "LastName": "L", "AccountId": id }).as_object().unwrap().clone()).collect();
    org.control().seed("Contact", &contacts).await.unwrap();
    for (object, field) in [("Account", "Id"), ("Contact", "AccountId")] {
        for size in [1, 7] {
            let (mut seen, mut last) = (Vec::new(), "000000000000000".to_owned());
            loop {
                let page =
                    format!("SELECT {field} FROM {object} WHERE {field} > '{last}' ORDER BY {field} LIMIT {size}");
                let (_, body) = org.query(&page).await;
                let records = body["records"].as_array().unwrap().clone();
                seen.extend(records.iter().map(|row| row[field].as_str().unwrap().to_owned()));
                match seen.last() {
                    Some(id) if !records.is_empty() => last.clone_from(id),
                    _ => break,
                }
                assert!(seen.len() <= all.len(), "{object}: {seen:?}");
            }
            assert_eq!(seen, all, "{object}");
        }
    }
}
