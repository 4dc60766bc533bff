//! Many rows at once: collections, composite resources and bulk jobs.

use serde_json::{Value, json};

use super::count;
use crate::{Org, Verdict, same};

pub(super) async fn collection_partial(org: &Org) -> Verdict {
    let sf = org.connect()?;
    let bad = |n: usize| n % 20 == 7;
    let row = |n: usize| if bad(n) { json!({ "FirstName": "x" }) } else { json!({ "LastName": format!("Row {n}") }) };
    let rows: Vec<_> = (0..200).map(row).collect();
    let results = sf.composite().sobjects().create_records("Contact", &rows, false).await?;
    for (n, result) in results.iter().enumerate() {
        same((n, result.success, result.id.is_some()), (n, !bad(n), !bad(n)))?;
        let code = result.errors.first().map(|error| error.status_code.as_str());
        same(code, bad(n).then_some("REQUIRED_FIELD_MISSING"))?;
    }
    same(count(&sf, "Contact").await?, 190)
}

pub(super) async fn collection_all_or_none(org: &Org) -> Verdict {
    let sf = org.connect()?;
    let rows = [json!({ "LastName": "A" }), json!({ "FirstName": "B" })];
    let results = sf.composite().sobjects().create_records("Contact", &rows, true).await?;
    let codes: Vec<_> =
        results.iter().flat_map(|result| &result.errors).map(|error| error.status_code.as_str()).collect();
    same(codes, ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "REQUIRED_FIELD_MISSING"])?;
    same(count(&sf, "Contact").await?, 0)
}

pub(super) async fn collection_upsert(org: &Org) -> Verdict {
    let sf = org.connect()?;
    let rows = |keys: [&str; 2]| keys.map(|key| json!({ "LimioId__c": key }));
    let collections = sf.composite().sobjects();
    let first = collections.upsert_records("LimioOrder__c", "LimioId__c", &rows(["A", "B"]), false).await?;
    same(first.iter().map(|row| row.created).collect::<Vec<_>>(), [Some(true), Some(true)])?;
    let second = collections.upsert_records("LimioOrder__c", "LimioId__c", &rows(["B", "C"]), false).await?;
    same(second.iter().map(|row| row.created).collect::<Vec<_>>(), [Some(false), Some(true)])?;
    let mut ids: Vec<_> = second.iter().rev().filter_map(|row| row.id.clone()).collect();
    ids.push("a00000000000000AAA".to_owned());
    for read in [
        collections.retrieve("LimioOrder__c", &ids, &["LimioId__c"]).await?,
        collections.retrieve_with_body("LimioOrder__c", &ids, &["LimioId__c"]).await?,
    ] {
        same(read.iter().map(|row| row["LimioId__c"].as_str()).collect::<Vec<_>>(), [Some("C"), Some("B"), None])?;
    }
    let gone = collections.delete(&ids, false).await?;
    same(gone.iter().map(|row| row.success).collect::<Vec<_>>(), [true, true, false])
}

fn part(method: &str, path: &str, reference: &str, body: Option<Value>) -> Value {
    let mut part = json!({ "method": method, "url": format!("/services/data/v62.0/{path}"), "referenceId": reference });
    if let Some(body) = body {
        part["body"] = body;
    }
    part
}

pub(super) async fn composite_references(org: &Org) -> Verdict {
    let sf = org.connect()?;
    let account = part("POST", "sobjects/Account", "account", Some(json!({ "Name": "Acme" })));
    let contact = |body: Value| part("POST", "sobjects/Contact", "contact", Some(body));
    let read = part("GET", "sobjects/Contact/@{contact.id}?fields=AccountId", "read", None);
    let good = contact(json!({ "LastName": "A", "AccountId": "@{account.id}" }));
    let body = json!({ "allOrNone": true, "compositeRequest": [account, good, read] });
    let parts = sf.composite().execute(&body).await?.composite_response;
    same(parts.iter().map(|part| part.http_status_code).collect::<Vec<_>>(), [201, 201, 200])?;
    let location = parts.first().and_then(|part| part.http_headers.get("location")).ok_or("no Location")?;
    same(location.to_str()?.starts_with("/services/data/v62.0/sobjects/Account/001"), true)?;
    let body = json!({ "allOrNone": true, "compositeRequest": [account, contact(json!({ "FirstName": "A" }))] });
    let parts = sf.composite().execute(&body).await?.composite_response;
    let codes: Vec<_> = parts.iter().map(|part| part.body[0]["errorCode"].as_str()).collect();
    same(codes, [Some("PROCESSING_HALTED"), Some("REQUIRED_FIELD_MISSING")])?;
    same(count(&sf, "Account").await?, 1)
}

pub(super) async fn composite_tree(org: &Org) -> Verdict {
    let sf = org.connect()?;
    let tree = |mut contact: Value| {
        contact["attributes"] = json!({ "type": "Contact", "referenceId": "contact" });
        let account = json!({ "type": "Account", "referenceId": "account" });
        json!({ "records": [{ "attributes": account, "Name": "Acme", "Contacts": { "records": [contact] } }] })
    };
    let good = sf.composite().tree("Account", &tree(json!({ "LastName": "A" }))).await?;
    same((good.has_errors, good.results.iter().all(|row| row.is_success())), (false, true))?;
    let bad = sf.composite().tree("Account", &tree(json!({ "FirstName": "A" }))).await?;
    same((bad.has_errors, bad.results.iter().all(|row| row.is_success())), (true, false))?;
    same(count(&sf, "Account").await?, 1)
}

pub(super) async fn composite_batch(org: &Org) -> Verdict {
    let sf = org.connect()?;
    let id = sf.sobject("Account").create(&json!({ "Name": "Acme" })).await?.id;
    let requests = json!([
        { "method": "PATCH", "url": format!("v62.0/sobjects/Account/{id}"), "richInput": { "Name": "New" } },
        { "method": "GET", "url": format!("v62.0/sobjects/Account/{id}?fields=Name") },
        { "method": "GET", "url": "v62.0/sobjects/Account/001000000000000AAA" },
    ]);
    let answer = sf.composite().batch(&json!({ "batchRequests": requests })).await?;
    same(answer.has_errors, true)?;
    same(answer.results.iter().map(|part| part.status_code).collect::<Vec<_>>(), [204, 200, 404])
}

pub(super) async fn composite_graph(org: &Org) -> Verdict {
    let sf = org.connect()?;
    let graph = |name: &str, mut contact: Value| {
        contact["AccountId"] = json!("@{account.id}");
        let account = part("POST", "sobjects/Account", "account", Some(json!({ "Name": name })));
        json!({ "graphId": name, "compositeRequest": [account, part("POST", "sobjects/Contact", "contact", Some(contact))] })
    };
    let body =
        json!({ "graphs": [graph("good", json!({ "LastName": "A" })), graph("bad", json!({ "FirstName": "B" }))] });
    let graphs = sf.composite().graph(&body).await?.graphs;
    let found: Vec<_> = graphs.iter().map(|graph| (graph.graph_id.as_str(), graph.is_successful)).collect();
    same(found, [("good", true), ("bad", false)])?;
    same(count(&sf, "Account").await?, 1)
}

pub(super) async fn bulk_ingest(org: &Org) -> Verdict {
    let sf = org.connect()?;
    let ingest = sf.bulk().ingest();
    let spec = cirrus::BulkIngestSpec::new("Contact", cirrus::BulkOperation::Insert);
    let job = ingest.create(&spec).await?;
    let csv = "LastName,Email\n\"A, \"\"B\"\"\",a@example.org\n,b@example.org\n";
    ingest.upload(&job.id, csv.into()).await?;
    ingest.close(&job.id).await?;
    let mut state = ingest.get(&job.id).await?;
    while !state.state.is_terminal() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        state = ingest.get(&job.id).await?;
    }
    same(state.state, cirrus::BulkJobState::JobComplete)?;
    same((state.number_records_processed, state.number_records_failed), (Some(2), Some(1)))?;
    let good = String::from_utf8(ingest.successful_results(&job.id).await?.to_vec())?;
    same(good.lines().nth(1).map(|line| line.starts_with("\"003")), Some(true))?;
    let bad = String::from_utf8(ingest.failed_results(&job.id).await?.to_vec())?;
    same(bad.contains("REQUIRED_FIELD_MISSING:"), true)?;
    ingest.delete(&job.id).await?;
    Ok(())
}
