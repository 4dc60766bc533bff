use std::time::Duration;

use causeway_simulator::{DuplicateRule, RuleResponse, Settings};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, code, eventually, read};

/// Creates a job and answers its id.
async fn job(org: &Client, body: Value) -> String {
    let (status, answer) = org.post("jobs/ingest", body).await;
    assert_eq!(status, 200, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

async fn upload(org: &Client, id: &str, data: &str) -> (u16, Value) {
    let request = org.request(Method::PUT, &format!("jobs/ingest/{id}/batches"));
    read(request.header("Content-Type", "text/csv").body(data.to_owned()).send().await.unwrap()).await
}

async fn close(org: &Client, id: &str) -> (u16, Value) {
    org.patch(&format!("jobs/ingest/{id}"), json!({ "state": "UploadComplete" })).await
}

/// Asks until the job has ended.
async fn ended(org: &Client, id: &str) -> Value {
    for _ in 0..2_000 {
        let (_, info) = org.get(&format!("jobs/ingest/{id}")).await;
        if !["UploadComplete", "InProgress"].contains(&info["state"].as_str().unwrap()) {
            return info;
        }
        tokio::task::yield_now().await;
    }
    panic!("the job does not end");
}

/// Runs a job with its data to its end.
async fn run(org: &Client, body: Value, data: &str) -> (String, Value) {
    let id = job(org, body).await;
    assert_eq!(upload(org, &id, data).await.0, 201);
    assert_eq!(close(org, &id).await.0, 200);
    let info = ended(org, &id).await;
    (id, info)
}

async fn results(org: &Client, id: &str, which: &str) -> String {
    let response = org.request(Method::GET, &format!("jobs/ingest/{id}/{which}")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/csv"));
    response.text().await.unwrap()
}

#[tokio::test]
async fn a_job_is_created_filled_closed_and_worked_off() {
    let org = Client::new().await;
    let order = json!({ "object": "account", "operation": "upsert", "externalIdFieldName": "LimioId__c", "contentType": "CSV", "lineEnding": "LF" });
    let (status, created) = org.post("jobs/ingest", order).await;
    assert_eq!(status, 200);
    let id = created["id"].as_str().unwrap().to_owned();
    let keys: Vec<&String> = created.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "id",
            "operation",
            "object",
            "createdById",
            "createdDate",
            "systemModstamp",
            "state",
            "externalIdFieldName",
            "concurrencyMode",
            "contentType",
            "apiVersion",
            "contentUrl",
            "lineEnding",
            "columnDelimiter"
        ]
    );
    assert_eq!(
        (&created["state"], &created["apiVersion"], &created["object"]),
        (&json!("Open"), &json!(62.0), &json!("Account"))
    );
    assert_eq!(created["contentUrl"], format!("services/data/v62.0/jobs/ingest/{id}/batches"));
    assert!(id.starts_with("750"));
    assert_eq!(
        upload(&org, &id, "LimioId__c,Name,NumberOfEmployees\na,\"Acme, Inc.\",5\nb,,\n").await,
        (201, Value::Null)
    );
    let (status, body) = upload(&org, &id, "LimioId__c\nc\n").await;
    assert_eq!(status, 400);
    assert!(body[0]["message"].as_str().unwrap().starts_with("Found multiple contents for job"), "{body}");
    let (_, closed) = close(&org, &id).await;
    assert_eq!((&closed["state"], closed.get("contentUrl")), (&json!("UploadComplete"), None));
    let info = ended(&org, &id).await;
    assert_eq!(
        (
            &info["state"],
            &info["numberRecordsProcessed"],
            &info["numberRecordsFailed"],
            &info["jobType"],
            &info["retries"]
        ),
        (&json!("JobComplete"), &json!(2), &json!(1), &json!("V2Ingest"), &json!(0))
    );
    let account = org.records("Account")[0].clone();
    assert_eq!((&account["Name"], &account["NumberOfEmployees"]), (&json!("Acme, Inc."), &json!(5)));
    let row = account["Id"].as_str().unwrap();
    assert_eq!(
        results(&org, &id, "successfulResults").await,
        format!(
            "\"sf__Id\",\"sf__Created\",LimioId__c,Name,NumberOfEmployees\n\"{row}\",\"true\",a,\"Acme, Inc.\",5\n"
        )
    );
    assert_eq!(
        results(&org, &id, "failedResults").await,
        "\"sf__Id\",\"sf__Error\",LimioId__c,Name,NumberOfEmployees\n\"\",\"REQUIRED_FIELD_MISSING:Required fields are missing: \
         [Name]:Name --\",b,,\n"
    );
    assert_eq!(results(&org, &id, "unprocessedrecords").await, "LimioId__c,Name,NumberOfEmployees\n");
}

#[tokio::test]
async fn every_operation_has_its_outcome_for_each_row() {
    let org = Client::new().await;
    let id = org.create("Account", json!({ "Name": "A", "Phone": "1", "Fax": "2", "LimioId__c": "a" })).await;
    let (_, info) = run(
        &org,
        json!({ "object": "Account", "operation": "update" }),
        &format!("Id,Phone,Fax\n{id},#N/A,\n,3,4\n001,3,4\n001Sm0000000zzzAAA,3,4\n"),
    )
    .await;
    assert_eq!((&info["numberRecordsProcessed"], &info["numberRecordsFailed"]), (&json!(4), &json!(3)));
    let account = org.records("Account")[0].clone();
    assert_eq!((account.get("Phone"), &account["Fax"]), (None, &json!("2")));

    let contacts = "LastName,Account.LimioId__c,Birthdate\nOne,a,2000-01-02\nTwo,none,\nThree,#N/A,yesterday\n";
    let (job, info) = run(&org, json!({ "object": "Contact", "operation": "insert" }), contacts).await;
    assert_eq!(info["numberRecordsFailed"], 2);
    let contact = org.records("Contact")[0].clone();
    assert_eq!((&contact["AccountId"], &contact["Birthdate"]), (&json!(id), &json!("2000-01-02")));
    let failed = results(&org, &job, "failedResults").await;
    assert!(failed.contains("\"INVALID_FIELD:Foreign key external ID: none not found for field LimioId__c in entity Account:--\",Two,none,"), "{failed}");
    assert!(
        failed.contains(
            "\"INVALID_TYPE_ON_FIELD_IN_RECORD:Birthdate: value not of required type: yesterday:Birthdate --\",Three"
        ),
        "{failed}"
    );

    let (job, _) = run(&org, json!({ "object": "Account", "operation": "delete" }), &format!("Id\n{id}\n{id}\n")).await;
    assert!(org.records("Account").is_empty());
    let failed = results(&org, &job, "failedResults").await;
    assert!(failed.contains(&format!("\"{id}\",\"ENTITY_IS_DELETED:entity is deleted:--\",{id}")), "{failed}");
}

#[tokio::test]
async fn a_duplicate_is_named_in_short() {
    let org = Client::new().await;
    let rules = [DuplicateRule::standard_contact(RuleResponse::BLOCK)];
    org.control().set_duplicate_rules(&rules).unwrap();
    let data = "FirstName,LastName,Email\nA,B,a@example.com\nA,B,a@example.com\n";
    let (job, info) = run(&org, json!({ "object": "Contact", "operation": "insert" }), data).await;
    assert_eq!((&info["numberRecordsProcessed"], &info["numberRecordsFailed"]), (&json!(2), &json!(1)));
    assert!(
        results(&org, &job, "failedResults").await.contains("\"DUPLICATES_DETECTED:Use one of these records?:--\"")
    );
}

#[tokio::test]
async fn delimiters_and_line_endings_are_those_of_the_job() {
    let org = Client::new().await;
    for (name, sign) in
        [("BACKQUOTE", '`'), ("CARET", '^'), ("COMMA", ','), ("PIPE", '|'), ("SEMICOLON", ';'), ("TAB", '\t')]
    {
        let order =
            json!({ "object": "Account", "operation": "insert", "columnDelimiter": name, "lineEnding": "CRLF" });
        let data = format!("Name{sign}Phone\r\nby {name}{sign}1\r\n");
        let (job, info) = run(&org, order, &data).await;
        assert_eq!(
            (&info["state"], &info["columnDelimiter"], &info["numberRecordsFailed"]),
            (&json!("JobComplete"), &json!(name), &json!(0))
        );
        let successes = results(&org, &job, "successfulResults").await;
        assert!(successes.ends_with(&format!("{sign}\"true\"{sign}by {name}{sign}1\r\n")), "{successes:?}");
    }
}

#[tokio::test]
async fn data_that_is_not_understood_fails_the_whole_job() {
    let org = Client::new().await;
    for (operation, data, message) in [
        ("insert", "Name,Nope__c\nA,1\n", "InvalidBatch : Field name not found : Nope__c"),
        ("insert", "Name,Owner.Nope\nA,1\n", "InvalidBatch : Field name not found : Owner.Nope"),
        ("update", "Name\nA\n", "InvalidBatch : Field name not found : Id"),
        (
            "insert",
            "Name\r\nA\r\n",
            "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF",
        ),
        ("insert", "Name,Phone\nA\n", "ClientInputError : Row 1 has 1 columns, its header has 2"),
        ("insert", "Name,name\nA,B\n", "InvalidBatch : Duplicate field name : name"),
        ("insert", "", "InvalidBatch : The data has no header row"),
    ] {
        let (job, info) = run(&org, json!({ "object": "Account", "operation": operation }), data).await;
        assert_eq!((&info["state"], info["errorMessage"].as_str()), (&json!("Failed"), Some(message)), "{data:?}");
        assert_eq!(info["numberRecordsProcessed"], 0);
        assert_eq!(results(&org, &job, "unprocessedrecords").await, data);
    }
    assert!(org.records("Account").is_empty());
}

#[tokio::test]
async fn jobs_that_cannot_be_are_refused() {
    let org = Client::new().await;
    for (body, expected) in [
        (json!({ "object": "Foo", "operation": "insert" }), "INVALIDENTITY"),
        (json!({ "object": "Account", "operation": "merge" }), "INVALIDJOB"),
        (json!({ "object": "Account", "operation": "hardDelete" }), "FEATURENOTENABLED"),
        (json!({ "object": "Account", "operation": "upsert" }), "INVALIDJOB"),
        (json!({ "object": "Account", "operation": "upsert", "externalIdFieldName": "Phone" }), "INVALIDJOB"),
        (json!({ "object": "Account", "operation": "insert", "contentType": "XML" }), "INVALIDJOB"),
        (json!({ "object": "Account", "operation": "insert", "columnDelimiter": "COLON" }), "INVALIDJOB"),
        (json!({ "object": "Account", "operation": "insert", "lineEnding": "CR" }), "INVALIDJOB"),
        (json!({ "object": "Account", "operation": "insert", "nope": 1 }), "JSON_PARSER_ERROR"),
        (json!([]), "JSON_PARSER_ERROR"),
    ] {
        let (status, answer) = org.post("jobs/ingest", body.clone()).await;
        assert_eq!((status, code(&answer)), (400, expected), "{body}: {answer}");
    }
    let id = job(&org, json!({ "object": "Account", "operation": "insert" })).await;
    let request =
        org.request(Method::PUT, &format!("jobs/ingest/{id}/batches")).header("Content-Type", "application/xml");
    assert_eq!(request.body("<x/>").send().await.unwrap().status(), 415);
    assert_eq!(org.get("jobs/ingest/750000000000000AAA").await.0, 404);
    assert_eq!(org.call("PUT", "jobs/ingest", None).await.0, 405);
}

#[tokio::test]
async fn a_job_moves_only_along_its_states() {
    let org = Client::new().await;
    let order = json!({ "object": "Account", "operation": "insert" });
    let path = |id: &str| format!("jobs/ingest/{id}");
    let open = job(&org, order.clone()).await;
    let (status, body) = org.call("DELETE", &path(&open), None).await;
    assert_eq!((status, code(&body)), (400, "INVALIDJOBSTATE"));
    assert_eq!(code(&org.get(&format!("{}/failedResults", path(&open))).await.1), "INVALIDJOBSTATE");
    upload(&org, &open, "Name\nA\n").await;
    let (_, aborted) = org.patch(&path(&open), json!({ "state": "Aborted" })).await;
    assert_eq!(aborted["state"], "Aborted");
    assert_eq!(results(&org, &open, "unprocessedrecords").await, "Name\nA\n");
    assert_eq!(code(&upload(&org, &open, "Name\nA\n").await.1), "INVALIDJOBSTATE");
    assert_eq!(code(&close(&org, &open).await.1), "INVALIDJOBSTATE");
    let (done, _) = run(&org, order, "Name\nA\n").await;
    let (_, body) = org.patch(&path(&done), json!({ "state": "Aborted" })).await;
    assert_eq!(
        body,
        json!([{ "errorCode": "INVALIDJOBSTATE", "message": "Aborting already Completed Job not allowed" }])
    );
    assert_eq!(org.call("DELETE", &path(&done), None).await.0, 204);
    assert_eq!(org.get(&path(&done)).await.0, 404);
}

#[tokio::test]
async fn work_begins_after_the_jobs_delay_and_can_be_aborted_before() {
    let org = Client::with_settings(|settings| {
        settings.pace = 0.0;
        settings.bulk_delay_ms = 60_000;
    })
    .await;
    let order = json!({ "object": "Account", "operation": "insert" });
    let (first, second) = (job(&org, order.clone()).await, job(&org, order).await);
    for id in [&first, &second] {
        upload(&org, id, "Name\nA\n").await;
        assert_eq!(close(&org, id).await.1["state"], "UploadComplete");
    }
    assert_eq!(org.patch(&format!("jobs/ingest/{second}"), json!({ "state": "Aborted" })).await.1["state"], "Aborted");
    assert_eq!(org.get(&format!("jobs/ingest/{first}")).await.1["state"], "UploadComplete");
    org.control().advance_clock(Duration::from_mins(1));
    assert_eq!(ended(&org, &first).await["state"], "JobComplete");
    assert_eq!(ended(&org, &second).await["state"], "Aborted");
    assert_eq!(org.records("Account").len(), 1);
}

#[tokio::test]
async fn a_multipart_body_brings_job_and_data_at_once() {
    let org = Client::new().await;
    let send = async |body: &str| {
        let request = org
            .request(Method::POST, "jobs/ingest")
            .header("Content-Type", "multipart/form-data; boundary=\"BOUNDARY\"");
        read(request.body(body.replace('\n', "\r\n")).send().await.unwrap()).await
    };
    let job = "--BOUNDARY\nContent-Type: application/json\nContent-Disposition: form-data; name=\"job\"\n\n\
               {\"object\":\"Contact\",\"contentType\":\"CSV\",\"operation\":\"insert\",\"lineEnding\":\"CRLF\"}\n";
    let content = "--BOUNDARY\nContent-Type: text/csv\nContent-Disposition: form-data; name=\"content\"; filename=\"content\"\n\n\
                   FirstName,LastName\nAstro,Nomical\nHootie,McOwl\n--BOUNDARY--\n";
    let (status, created) = send(&format!("{job}{content}")).await;
    assert_eq!((status, &created["state"]), (200, &json!("UploadComplete")), "{created}");
    let info = ended(&org, created["id"].as_str().unwrap()).await;
    assert_eq!((&info["numberRecordsProcessed"], &info["numberRecordsFailed"]), (&json!(2), &json!(0)));
    for body in [content.to_owned(), format!("{job}--BOUNDARY--\n"), job.to_owned(), "nonsense".to_owned()] {
        assert_eq!(code(&send(&body).await.1), "INVALIDJOB", "{body}");
    }
}

#[tokio::test]
async fn jobs_are_listed_in_pages_and_forgotten_after_a_week() {
    let org = Client::with_settings(|settings: &mut Settings| settings.session_ttl_s = 10_000_000).await;
    let order = json!({ "object": "Account", "operation": "insert" });
    for _ in 0..3 {
        job(&org, order.clone()).await;
    }
    let (_, list) = org.get("jobs/ingest").await;
    assert_eq!((&list["done"], list["records"].as_array().unwrap().len()), (&json!(true), 3));
    assert_eq!(list["records"][0]["jobType"], "V2Ingest");
    let (_, rest) = org.get("jobs/ingest?queryLocator=2").await;
    assert_eq!(rest["records"].as_array().unwrap().len(), 1);
    assert_eq!(org.get("jobs/ingest?jobType=Classic").await.1["records"], json!([]));
    org.control().advance_clock(Duration::from_hours(7 * 24));
    assert_eq!(org.get("jobs/ingest").await.1["records"], json!([]));
}

#[tokio::test]
async fn batches_of_a_day_are_limited_and_each_request_is_one_call() {
    let org = Client::with_settings(|settings| settings.bulk_batch_limit = 1).await;
    let order = json!({ "object": "Account", "operation": "insert" });
    let before = org.control().usage().api_calls;
    let id = job(&org, order.clone()).await;
    upload(&org, &id, "Name\nA\n").await;
    close(&org, &id).await;
    assert_eq!(org.control().usage().api_calls, before + 3);
    assert_eq!(ended(&org, &id).await["state"], "JobComplete");
    let (_, limits) = org.get("limits").await;
    assert_eq!(limits["DailyBulkApiBatches"], json!({ "Max": 1, "Remaining": 0 }));
    let (_, info) = run(&org, order, "Name\nB\n").await;
    assert_eq!(
        (&info["state"], &info["errorMessage"]),
        (&json!("Failed"), &json!("ExceededQuota : ApiBatchItems Limit exceeded."))
    );
    assert_eq!(org.records("Account").len(), 1);
}

#[tokio::test]
async fn a_large_job_is_written_in_chunks() {
    let org = Client::new().await;
    let data: String = std::iter::once("Name\n".to_owned()).chain((0..1_001).map(|n| format!("A{n}\n"))).collect();
    let (id, info) = run(&org, json!({ "object": "Account", "operation": "insert" }), &data).await;
    assert_eq!((&info["numberRecordsProcessed"], &info["numberRecordsFailed"]), (&json!(1_001), &json!(0)));
    assert_eq!(results(&org, &id, "successfulResults").await.lines().count(), 1_002);
    assert_eq!(org.records("Account").len(), 1_001);
}

#[tokio::test]
async fn data_above_the_limit_is_refused_by_its_size_in_base64() {
    let org = Client::with_settings(|settings| settings.bulk_upload_max_bytes = 400).await;
    let id = job(&org, json!({ "object": "Account", "operation": "insert" })).await;
    let data = |bytes: usize| format!("Name\n{}\n", "A".repeat(bytes - 6));
    let (status, body) = upload(&org, &id, &data(301)).await;
    assert_eq!(status, 400);
    let message = "Failed to read request. Exceeded max size limit of 400";
    assert_eq!(body, json!([{ "errorCode": "CLIENTINPUTERROR", "message": message }]));
    assert_eq!(upload(&org, &id, &data(300)).await.0, 201);
}

#[tokio::test]
async fn a_reset_ends_jobs_and_the_work_on_them() {
    let org = Client::with_settings(|settings| {
        settings.pace = 0.0;
        settings.bulk_delay_ms = 60_000;
    })
    .await;
    let order = json!({ "object": "Account", "operation": "insert" });
    let old = job(&org, order.clone()).await;
    upload(&org, &old, "Name\nOld\n").await;
    close(&org, &old).await;
    org.control().reset();
    let org = Client { token: org.sign_in().await, simulator: org.simulator, http: org.http };
    assert_eq!(org.get(&format!("jobs/ingest/{old}")).await.0, 404);
    // Ids begin again, and the old work does not touch the new job.
    let new = job(&org, order).await;
    assert_eq!(new, old);
    upload(&org, &new, "Name\nNew\n").await;
    org.control().advance_clock(Duration::from_secs(59));
    close(&org, &new).await;
    org.control().advance_clock(Duration::from_secs(1));
    assert_eq!(org.get(&format!("jobs/ingest/{new}")).await.1["state"], "UploadComplete");
    org.control().advance_clock(Duration::from_secs(59));
    assert_eq!(ended(&org, &new).await["numberRecordsProcessed"], 1);
    assert_eq!(org.records("Account")[0]["Name"], "New");
}

#[tokio::test]
async fn a_job_asked_for_before_a_reset_is_no_job_of_the_new_org() {
    let org = Client::with_settings(|settings| settings.pace = 0.0).await;
    let order = json!({ "object": "Account", "operation": "insert" });
    let open = job(&org, order.clone()).await;
    org.control().update_settings(|settings| settings.latency_ms = 1_000);
    let inline = format!(
        "--b\r\nContent-Disposition: form-data; name=\"job\"\r\n\r\n{order}\r\n--b\r\n\
         Content-Disposition: form-data; name=\"content\"\r\n\r\nName\nA\n\r\n--b--\r\n"
    );
    let post = || org.request(Method::POST, "jobs/ingest");
    let old = [
        post().json(&order),
        post().header("Content-Type", "multipart/form-data; boundary=b").body(inline),
        org.request(Method::PUT, &format!("jobs/ingest/{open}/batches")).body("Name\nOld\n"),
        org.request(Method::PATCH, &format!("jobs/ingest/{open}")).json(&json!({ "state": "Aborted" })),
        org.request(Method::GET, &format!("jobs/ingest/{open}")),
    ];
    let count = old.len();
    let old: Vec<_> = old.map(|call| tokio::spawn(async move { read(call.send().await.unwrap()).await })).into();
    eventually(|| org.control().usage().waiting == count).await;
    org.control().reset();
    let org = Client { token: org.sign_in().await, simulator: org.simulator, http: org.http };
    assert_eq!(job(&org, order).await, open);
    org.control().advance_clock(Duration::from_secs(1));
    for call in old {
        let (status, body) = call.await.unwrap();
        assert_eq!((status, code(&body)), (503, "SERVER_UNAVAILABLE"), "{body}");
    }
    let (_, list) = org.get("jobs/ingest").await;
    assert_eq!(list["records"].as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(list["records"][0]["state"], "Open");
    assert_eq!(upload(&org, &open, "Name\nNew\n").await.0, 201);
}

#[tokio::test]
async fn lengths_of_a_job_are_counted_in_characters() {
    let org = Client::new().await;
    let order = json!({ "object": "Account", "operation": "insert" });
    let cells = |n: usize, c: &str, times: usize| vec![c.repeat(times); n].join(",");
    let names = "Description,BillingStreet,BillingCity,ShippingStreet,ShippingCity,Phone,Website";
    // Two bytes a character: 30,000 characters a cell, 210,000 a record.
    let (_, info) = run(&org, order.clone(), &format!("{names}\n{}\n", cells(7, "é", 30_000))).await;
    assert_eq!((&info["state"], &info["numberRecordsFailed"]), (&json!("JobComplete"), &json!(1)), "{info}");
    let (_, info) = run(&org, order.clone(), &format!("Description\n{}\n", cells(1, "a", 32_000))).await;
    assert_eq!(info["state"], "JobComplete");
    let (_, info) = run(&org, order, &format!("Description\n{}\n", cells(1, "a", 32_001))).await;
    assert_eq!(
        (&info["state"], &info["errorMessage"]),
        (&json!("Failed"), &json!("InvalidBatch : Row 1 exceeds the limits of a record"))
    );
}

#[tokio::test]
async fn a_multipart_job_whose_data_is_refused_does_not_stay() {
    let org = Client::with_settings(|settings| settings.bulk_upload_max_bytes = 20).await;
    let body = "--B\nContent-Type: application/json\nContent-Disposition: form-data; name=\"job\"\n\n\
                {\"object\":\"Contact\",\"operation\":\"insert\"}\n\
                --B\nContent-Type: text/csv\nContent-Disposition: form-data; name=\"content\"; filename=\"content\"\n\n\
                LastName\nNomical\nMcOwl\n\n--B--\n";
    let request = org.request(Method::POST, "jobs/ingest").header("Content-Type", "multipart/form-data; boundary=B");
    let (status, answer) = read(request.body(body.replace('\n', "\r\n")).send().await.unwrap()).await;
    assert_eq!((status, code(&answer)), (400, "CLIENTINPUTERROR"));
    assert_eq!(org.get("jobs/ingest").await.1["records"], json!([]));
}
