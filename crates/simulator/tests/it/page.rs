use serde_json::{Value, json};

use crate::client::{Client, read};

async fn view(org: &Client, query: &str) -> (u16, Value) {
    read(org.http.get(org.url(&format!("/_sim/view{query}"))).send().await.unwrap()).await
}

#[tokio::test]
async fn the_page_is_whole_in_itself_and_runs_no_script_but_its_own() {
    let org = Client::new().await;
    let second = causeway_simulator::Config { name: "second".to_owned(), ..causeway_simulator::Config::default() };
    org.simulator.add_org(second).unwrap();
    for prefix in ["/", "/orgs/second/"] {
        let page = org.http.get(org.url(prefix)).send().await.unwrap();
        assert_eq!(page.status(), 200);
        let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let html = page.text().await.unwrap();
        let handler = html.split_whitespace().find(|word| word.starts_with("on") && word.contains("=\""));
        assert!(!html.contains("http://") && !html.contains("https://") && handler.is_none(), "{handler:?}");
        let mut files = 0;
        for part in html.split(['"']).filter(|part| part.starts_with("_sim/page/")) {
            let file = org.http.get(org.url(&format!("{prefix}{part}"))).send().await.unwrap();
            assert_eq!(file.status(), 200, "{part}");
            let kind = file.headers()["content-type"].to_str().unwrap().to_owned();
            let text = file.text().await.unwrap();
            assert!(kind.starts_with("text/") || kind.starts_with("image/svg"), "{kind}");
            assert!(!text.contains("innerHTML") && !text.contains("https://"), "{part}");
            files += 1;
        }
        assert_eq!(files, 3);
    }
}

#[tokio::test]
async fn the_view_tells_everything_newest_first_and_bounded() {
    let org = Client::with_settings(|settings| settings.api_limit = 500).await;
    for n in 0..3 {
        org.create("Account", json!({ "Name": format!("<script>{n}") })).await;
    }
    let rows: Vec<_> = (0..150).map(|n| json!({ "LastName": format!("L{n}") }).as_object().unwrap().clone()).collect();
    org.control().seed("Contact", &rows).await.unwrap();
    org.post("sobjects/i42as__OrderEvent__e", json!({ "i42as__OrderNumber__c": "1" })).await;
    org.control().arm(causeway_simulator::Fault::once(causeway_simulator::FaultKind::DropBefore).on_path("/never"));
    let (status, view_of) = view(&org, "").await;
    assert_eq!(status, 200);
    assert_eq!(
        (&view_of["records"]["total"], &view_of["records"]["rows"][0]["Name"]),
        (&json!(3), &json!("<script>2"))
    );
    assert_eq!((&view_of["usage"]["api_calls"], &view_of["usage"]["api_limit"]), (&json!(4), &json!(500)));
    assert_eq!((&view_of["events"]["total"], &view_of["faults"][0]["kind"]), (&json!(1), &json!("drop_before")));
    assert_eq!(view_of["settings"], json!([{ "key": "api_limit", "value": 500, "default": 100_000 }]));
    let given = &view_of["audit"][0];
    assert_eq!((&given["action"], &given["client_id"]), (&json!("issued"), &json!("causeway-dev")), "{given}");
    assert!(!view_of.to_string().contains(&org.token), "no token is shown");
    assert_eq!(view_of["requests"]["rows"][0]["path"], "/services/data/v62.0/sobjects/i42as__OrderEvent__e");
    let counts = view_of["objects"].as_array().unwrap();
    assert!(counts.contains(&json!({ "setup": false, "name": "Contact", "count": 150 })), "{counts:?}");
    let (_, contacts) = view(&org, "?object=contact").await;
    assert_eq!(contacts["records"]["rows"].as_array().unwrap().len(), 100, "the newest hundred of 150");
    assert_eq!(contacts["records"]["rows"][0]["LastName"], "L149");
    assert_eq!(view(&org, "?object=%3Cscript%3E").await.0, 404);
    let text = view_of.to_string();
    assert!(!text.contains(&org.token) && !text.contains("causeway-dev-secret"), "no secret is shown");
}
