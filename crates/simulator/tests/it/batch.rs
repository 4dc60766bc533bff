use serde_json::json;

use crate::client::{Client, code};

#[tokio::test]
async fn parts_of_a_batch_stand_alone_and_each_one_counts() {
    let org = Client::new().await;
    let id = org.create("Account", json!({ "Name": "A" })).await;
    let calls = org.control().api_calls();
    let (status, body) = org
        .post(
            "composite/batch",
            json!({ "batchRequests": [
                { "method": "PATCH", "url": format!("v62.0/sobjects/Account/{id}"), "richInput": { "Name": "B" } },
                { "method": "POST", "url": "v62.0/sobjects/Account", "richInput": {} },
                { "method": "GET", "url": format!("v62.0/sobjects/Account/{id}?fields=Name") },
                { "method": "GET", "url": "v62.0/query?q=SELECT+Id+FROM+Account" },
            ] }),
        )
        .await;
    assert_eq!((status, &body["hasErrors"]), (200, &json!(true)));
    assert_eq!(body["results"][0], json!({ "statusCode": 204, "result": null }));
    assert_eq!(
        (&body["results"][1]["statusCode"], code(&body["results"][1]["result"])),
        (&json!(400), "REQUIRED_FIELD_MISSING")
    );
    assert_eq!(body["results"][2]["result"]["Name"], "B");
    assert_eq!(body["results"][3]["result"]["totalSize"], 1);
    assert_eq!(org.control().api_calls(), calls + 4);
}

#[tokio::test]
async fn a_halting_batch_stops_at_the_first_refusal() {
    let org = Client::new().await;
    let create =
        |name: &str| json!({ "method": "POST", "url": "v62.0/sobjects/Account", "richInput": { "Name": name } });
    let wrong = json!({ "method": "GET", "url": "v62.0/sobjects/Nope" });
    let body = json!({ "haltOnError": true, "batchRequests": [create("A"), wrong, create("B")] });
    let (status, body) = org.post("composite/batch", body).await;
    assert_eq!(status, 200);
    let codes: Vec<_> = body["results"].as_array().unwrap().iter().map(|part| part["statusCode"].clone()).collect();
    assert_eq!(codes, [201, 404, 412]);
    assert_eq!(
        body["results"][2]["result"],
        json!([{ "errorCode": "BATCH_PROCESSING_HALTED", "message": "Batch processing halted per request" }])
    );
    assert_eq!(org.records("Account").len(), 1, "what came before stays");
}

#[tokio::test]
async fn a_batch_is_refused_as_a_whole_for_its_form_only() {
    let org = Client::new().await;
    let good = json!({ "method": "POST", "url": "v62.0/sobjects/Account", "richInput": { "Name": "A" } });
    let bad = [
        json!({ "method": "GET", "url": "/services/data/v62.0/limits" }),
        json!({ "method": "NOPE", "url": "v62.0/limits" }),
        json!({ "method": "GET" }),
        json!({ "method": "POST", "url": "v62.0/sobjects/Document", "binaryPartName": "b", "binaryPartNameAlias": "Body" }),
    ];
    for part in bad {
        let (status, _) = org.post("composite/batch", json!({ "batchRequests": [good.clone(), part] })).await;
        assert_eq!(status, 400);
    }
    let many: Vec<_> = (0..26).map(|_| good.clone()).collect();
    assert_eq!(org.post("composite/batch", json!({ "batchRequests": many })).await.0, 400);
    assert!(org.records("Account").is_empty());
    let nested = json!({ "method": "POST", "url": "v62.0/composite/batch", "richInput": {} });
    let (_, body) = org.post("composite/batch", json!({ "batchRequests": [nested] })).await;
    assert_eq!(body["results"][0]["statusCode"], 404);
}

#[tokio::test]
async fn a_batch_can_spend_the_last_calls_halfway() {
    let org = Client::with_settings(|settings| settings.api_limit = 2).await;
    let part = json!({ "method": "GET", "url": "v62.0/limits" });
    let (_, body) = org.post("composite/batch", json!({ "batchRequests": [part, part, part] })).await;
    let codes: Vec<_> = body["results"].as_array().unwrap().iter().map(|part| part["statusCode"].clone()).collect();
    assert_eq!(codes, [200, 200, 403]);
}
