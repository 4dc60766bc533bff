use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::client::{Client, code, read};

#[tokio::test]
async fn dates_decide_whether_a_row_is_sent_or_written() {
    let org = Client::new().await;
    let id = org.create("Contact", json!({ "LastName": "A" })).await;
    let path = format!("sobjects/Contact/{id}");
    let response = org.request(Method::GET, &path).send().await.unwrap();
    let modified = response.headers()["last-modified"].to_str().unwrap().to_owned();
    assert!(!response.headers().contains_key("etag"), "tags are for accounts only");
    let response = org.request(Method::GET, &path).header("If-Modified-Since", &modified).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.text().await.unwrap()), (304, String::new()));
    let write = async || {
        let request = org.request(Method::PATCH, &path).json(&json!({ "Phone": "1" }));
        read(request.header("If-Unmodified-Since", &modified).send().await.unwrap()).await
    };
    assert_eq!(write().await.0, 204);
    org.control().advance_clock(Duration::from_secs(2));
    org.patch(&path, json!({ "Phone": "2" })).await;
    let (status, body) = write().await;
    assert_eq!((status, code(&body)), (412, "PRECONDITION_FAILED"));
    let response = org.request(Method::GET, &path).header("If-Modified-Since", &modified).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn tags_of_accounts_follow_their_content() {
    let org = Client::new().await;
    let id = org.create("Account", json!({ "Name": "A" })).await;
    let path = format!("sobjects/Account/{id}");
    let plain = reqwest::Client::builder().no_gzip().build().unwrap();
    let tag = async || {
        let response = plain.get(org.url(&format!("/services/data/v62.0/{path}"))).bearer_auth(&org.token).send().await;
        response.unwrap().headers()["etag"].to_str().unwrap().to_owned()
    };
    let first = tag().await;
    let with = async |method: Method, name: &str, value: &str| {
        let request = org.request(method.clone(), &path).header(name, value);
        let request = if method == Method::PATCH { request.json(&json!({ "Phone": "1" })) } else { request };
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(with(Method::GET, "If-None-Match", &first).await, 304);
    assert_eq!(with(Method::GET, "If-Match", "\"other\"").await, 412);
    assert_eq!(with(Method::PATCH, "If-None-Match", "*").await, 412);
    assert_eq!(with(Method::PATCH, "If-Match", "no tag").await, 400);
    // The tag is the same with the mark of a compressed answer.
    let zipped = format!("\"x\", {}-gzip\"", first.trim_end_matches('"'));
    assert_eq!(with(Method::PATCH, "If-Match", &zipped).await, 204);
    assert_eq!(with(Method::PATCH, "If-Match", &first).await, 412);
    assert_ne!(tag().await, first);
    assert_eq!(with(Method::DELETE, "If-Match", &first).await, 204, "deletes know no conditions");
}

#[tokio::test]
async fn descriptions_are_as_old_as_the_org() {
    let org = Client::new().await;
    for path in ["sobjects", "sobjects/Account", "sobjects/Account/describe"] {
        let response = org.request(Method::GET, path).send().await.unwrap();
        let modified = response.headers()["last-modified"].to_str().unwrap().to_owned();
        let response = org.request(Method::GET, path).header("If-Modified-Since", modified).send().await.unwrap();
        assert_eq!(response.status(), 304, "{path}");
    }
}
