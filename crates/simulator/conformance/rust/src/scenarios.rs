//! One function for each scenario.

mod composite;

use std::sync::Arc;

use cirrus::auth::RefreshTokenAuth;
use cirrus::{Cirrus, CirrusError, QueryOptions};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::{CLIENT_ID, CLIENT_SECRET, EVENT, Newest, Org, USERNAME, Verdict, client, code, same};

/// Carries out one scenario.
pub(crate) async fn run(id: &str, org: &Org) -> Verdict {
    match id {
        "client-credentials" => works(&org.connect()?).await,
        "jwt-bearer" => jwt_bearer(org).await,
        "web-server" => web_server(org).await,
        "sign-in-refused" => same(code(org.by_secret("wrong")?.limits().await)?, "invalid_client"),
        "refresh" => refresh(org).await,
        "refresh-rotation" => refresh_rotation(org).await,
        "revoke" => revoke(org).await,
        "row-life" => row_life(org).await,
        "row-upsert" => row_upsert(org).await,
        "row-refused" => row_refused(org).await,
        "describe" => describe(org).await,
        "versions-and-limits" => versions_and_limits(org).await,
        "query-paging" => query_paging(org).await,
        "query-parents" => query_parents(org).await,
        "query-groups" => query_groups(org).await,
        "query-children" => query_children(org).await,
        "query-deleted" => query_deleted(org).await,
        "query-refused" => query_refused(org).await,
        "collection-partial" => composite::collection_partial(org).await,
        "collection-all-or-none" => composite::collection_all_or_none(org).await,
        "collection-upsert" => composite::collection_upsert(org).await,
        "composite-references" => composite::composite_references(org).await,
        "composite-tree" => composite::composite_tree(org).await,
        "composite-batch" => composite::composite_batch(org).await,
        "composite-graph" => composite::composite_graph(org).await,
        "duplicate-blocked" => duplicate_blocked(org).await,
        "predupe" => predupe(org).await,
        "duplicate-allowed" => duplicate_allowed(org).await,
        "event-publish" => event_publish(org).await,
        "bulk-ingest" => composite::bulk_ingest(org).await,
        "event-refused" => event_refused(org).await,
        "session-expired" => session_expired(org).await,
        "api-limit" => api_limit(org).await,
        "unavailable" => unavailable(org).await,
        "row-lock" => row_lock(org).await,
        _ => Err("this runner has no such scenario".into()),
    }
}

async fn works(sf: &Cirrus) -> Verdict {
    same(sf.query("SELECT Id FROM Organization").await?.total_size, 1)
}

async fn count(sf: &Cirrus, object: &str) -> Result<u64, CirrusError> {
    Ok(u64::try_from(sf.query(&format!("SELECT COUNT() FROM {object}")).await?.total_size).unwrap_or(u64::MAX))
}

async fn jwt_bearer(org: &Org) -> Verdict {
    works(&org.by_key(USERNAME)?).await?;
    same(code(org.by_key("nobody@causeway.test")?.limits().await)?, "invalid_grant")
}

async fn web_server(org: &Org) -> Verdict {
    let session = org.sign_in().await?;
    same(&session.instance_url, &org.base)?;
    same(session.refresh_token.is_some(), true)?;
    works(&client(Arc::new(org.flow()?.refresh_auth(&session)?.build()?))?).await
}

/// A client that has nothing but a refresh token.
fn by_refresh_token(org: &Org, token: &str, newest: &Arc<Newest>) -> Result<Cirrus, Box<dyn std::error::Error>> {
    let auth = RefreshTokenAuth::builder().consumer_key(CLIENT_ID).consumer_secret(CLIENT_SECRET).refresh_token(token);
    let auth = auth.login_url(&org.base).instance_url(&org.base).on_rotation(Arc::<Newest>::clone(newest));
    client(Arc::new(auth.build()?))
}

async fn refresh(org: &Org) -> Verdict {
    let token = org.sign_in().await?.refresh_token.ok_or("no refresh token")?;
    let newest = Arc::new(Newest::default());
    works(&by_refresh_token(org, &token, &newest)?).await?;
    same(newest.0.lock().map(|tokens| tokens.len()).unwrap_or(9), 0)
}

async fn refresh_rotation(org: &Org) -> Verdict {
    let token = org.sign_in().await?.refresh_token.ok_or("no refresh token")?;
    let newest = Arc::new(Newest::default());
    works(&by_refresh_token(org, &token, &newest)?).await?;
    let successor = newest.0.lock().ok().and_then(|tokens| tokens.last().cloned()).ok_or("no successor was told")?;
    same(code(by_refresh_token(org, &token, &newest)?.limits().await)?, "invalid_grant")?;
    same(code(by_refresh_token(org, &successor, &newest)?.limits().await)?, "invalid_grant")
}

async fn revoke(org: &Org) -> Verdict {
    let session = org.sign_in().await?;
    let token = session.refresh_token.clone().ok_or("no refresh token")?;
    org.flow()?.revoke(&token).await?;
    let auth = cirrus::auth::StaticTokenAuth::new(&session.access_token, &org.base);
    same(code(client(Arc::new(auth))?.limits().await)?, "INVALID_SESSION_ID")?;
    // A dead token counts as revoked for the library, whatever the org says.
    match org.flow()?.revoke("nonsense").await {
        Ok(()) => Ok(()),
        Err(error) => same(error.to_string().contains("invalid_token"), true),
    }
}

async fn row_life(org: &Org) -> Verdict {
    let sf = org.connect()?;
    let contacts = sf.sobject("Contact");
    let created = contacts.create(&json!({ "FirstName": "Ada", "LastName": "Lovelace" })).await?;
    same((created.success, created.errors.len()), (true, 0))?;
    same(&contacts.retrieve(&created.id).await?["Name"], "Ada Lovelace")?;
    contacts.update(&created.id, &json!({ "Title": "Countess" })).await?;
    let read = contacts.retrieve_with_fields(&created.id, &["Title", "LastModifiedDate"]).await?;
    same(&read["Title"], "Countess")?;
    contacts.delete(&created.id).await?;
    same(code(contacts.retrieve(&created.id).await)?, "ENTITY_IS_DELETED")?;
    same(code(contacts.delete(&created.id).await)?, "ENTITY_IS_DELETED")
}

async fn row_upsert(org: &Org) -> Verdict {
    let sf = org.connect()?;
    let orders = sf.sobject("LimioOrder__c");
    // The library encodes what stands between slashes, a slash included.
    let key = "O/1 ä+#";
    let first = orders.upsert("LimioId__c", key, &json!({ "OrderType__c": "new" })).await?;
    let second = orders.upsert("LimioId__c", key, &json!({ "OrderType__c": "renew" })).await?;
    same((first.created, second.created), (Some(true), Some(false)))?;
    let row = orders.retrieve_by_external_id("LimioId__c", key).await?;
    same((&row["Id"], &row["OrderType__c"], &row["LimioId__c"]), (&json!(first.id), &json!("renew"), &json!(key)))?;
    let options = cirrus::UpsertOptions { update_only: true };
    same(code(orders.upsert_with("LimioId__c", "unknown", &json!({}), options).await)?, "NOT_FOUND")?;
    orders.delete_by_external_id("LimioId__c", key).await?;
    same(count(&sf, "LimioOrder__c").await?, 0)
}

async fn row_refused(org: &Org) -> Verdict {
    let sf = org.connect()?;
    let create = async |body: Value| code(sf.sobject("Contact").create(&body).await);
    same(create(json!({ "LastName": "A", "Emial": "a" })).await?, "INVALID_FIELD")?;
    same(create(json!({ "LastName": "x".repeat(81) })).await?, "STRING_TOO_LONG")?;
    same(code(sf.sobject("Kontakt").create(&json!({})).await)?, "NOT_FOUND")?;
    match sf.sobject("Contact").create(&json!({ "FirstName": "A" })).await {
        Err(CirrusError::Api { status, errors, .. }) => {
            let first = errors.first().ok_or("no error")?;
            same((status, first.error_code.as_str()), (400, "REQUIRED_FIELD_MISSING"))?;
            same(&first.fields, &["LastName".to_owned()])
        }
        other => Err(format!("{other:?}").into()),
    }
}

async fn describe(org: &Org) -> Verdict {
    let sf = org.connect()?;
    let all = sf.sobjects().describe_global().await?;
    let contact = all.sobjects.iter().find(|object| object.name == "Contact").ok_or("no Contact")?;
    same(contact.key_prefix.as_deref(), Some("003"))?;
    let described = sf.sobject("Contact").describe().await?;
    let fields = described["fields"].as_array().ok_or("no fields")?;
    let account = fields.iter().find(|field| field["name"] == "AccountId").ok_or("no AccountId")?;
    same((&account["type"], &account["referenceTo"]), (&json!("reference"), &json!(["Account"])))
}

async fn versions_and_limits(org: &Org) -> Verdict {
    let sf = org.connect()?;
    same(sf.versions().await?.iter().any(|version| version.version == "62.0"), true)?;
    same(sf.latest_api_version().await?.starts_with('v'), true)?;
    let limits = sf.limits().await?;
    let daily = limits.get("DailyApiRequests").ok_or("no DailyApiRequests")?;
    same(daily.max, 100_000)?;
    let told = sf.last_limit_info().ok_or("no Sforce-Limit-Info")?;
    same((i64::from(told.allowed), i64::from(told.remaining())), (daily.max, daily.remaining))
}

async fn query_paging(org: &Org) -> Verdict {
    let rows: Vec<_> = (0..450).map(|n| json!({ "Name": format!("Account {n:03}") })).collect();
    org.tell("records/Account", json!(rows)).await?;
    let sf = org.connect()?;
    let soql = "SELECT Id, Name FROM Account ORDER BY Name";
    let options = QueryOptions::new().batch_size(200);
    let first = sf.query_with_options(soql, &options).await?;
    same((first.total_size, first.done, first.records.len()), (450, false, 200))?;
    let second = sf.query_more(first.next_records_url.as_deref().ok_or("no next page")?).await?;
    same(&second.records.first().ok_or("no row")?["Name"], "Account 200")?;
    let all: Vec<_> = sf.query_stream_with_options(soql, &options).collect().await;
    let names: Result<std::collections::BTreeSet<String>, CirrusError> =
        all.into_iter().map(|row| row.map(|row| row["Name"].to_string())).collect();
    same(names?.len(), 450)?;
    let unknown = sf.query_more("/services/data/v62.0/query/01g000000000000AAA-200").await;
    same(code(unknown)?, "INVALID_QUERY_LOCATOR")
}

async fn query_parents(org: &Org) -> Verdict {
    let sf = org.connect()?;
    let account = sf.sobject("Account").create(&json!({ "Name": "Ac'me" })).await?.id;
    for name in ["Beta", "Alpha"] {
        sf.sobject("Contact").create(&json!({ "LastName": name, "AccountId": account })).await?;
    }
    let name = cirrus::soql::quote("Ac'me");
    let soql =
        format!("SELECT LastName, Account.Name FROM Contact WHERE Account.Name = {name} ORDER BY LastName LIMIT 5");
    let rows = sf.query(&soql).await?.records;
    let found: Vec<_> = rows.iter().map(|row| (row["LastName"].as_str(), row["Account"]["Name"].as_str())).collect();
    same(found, [(Some("Alpha"), Some("Ac'me")), (Some("Beta"), Some("Ac'me"))])
}

async fn query_groups(org: &Org) -> Verdict {
    let row = |amount: u32, stage: &str| json!({ "Name": "A", "CloseDate": "2026-12-31", "Amount": amount, "StageName": stage });
    let rows = json!([row(1, "Prospecting"), row(2, "Closed Won"), row(4, "Closed Won")]);
    org.tell("records/Opportunity", rows).await?;
    let soql = "SELECT StageName, COUNT(Id) n, SUM(Amount) FROM Opportunity GROUP BY StageName ORDER BY StageName";
    let rows = org.connect()?.query(soql).await?.records;
    let found: Vec<_> =
        rows.iter().map(|row| (row["StageName"].as_str(), row["n"].as_i64(), row["expr0"].as_f64())).collect();
    same(found, [(Some("Closed Won"), Some(2), Some(6.0)), (Some("Prospecting"), Some(1), Some(1.0))])
}

async fn query_children(org: &Org) -> Verdict {
    let sf = org.connect()?;
    let full = sf.sobject("Account").create(&json!({ "Name": "Full" })).await?.id;
    sf.sobject("Account").create(&json!({ "Name": "Sole" })).await?;
    for name in ["A", "B"] {
        sf.sobject("Contact").create(&json!({ "LastName": name, "AccountId": full })).await?;
    }
    let soql = "SELECT Name, (SELECT LastName FROM Contacts ORDER BY LastName) FROM Account ORDER BY Name";
    let rows = sf.query(soql).await?.records;
    let inner: cirrus::QueryResult<Value> = serde_json::from_value(rows.first().ok_or("no row")?["Contacts"].clone())?;
    same(inner.records.iter().map(|row| row["LastName"].as_str()).collect::<Vec<_>>(), [Some("A"), Some("B")])?;
    same(rows.get(1).map(|row| row["Contacts"].is_null()), Some(true))
}

async fn query_deleted(org: &Org) -> Verdict {
    let sf = org.connect()?;
    let gone = sf.sobject("Account").create(&json!({ "Name": "Gone" })).await?.id;
    sf.sobject("Account").delete(&gone).await?;
    let soql = "SELECT Id, IsDeleted FROM Account WHERE Name = 'Gone'";
    same(sf.query(soql).await?.total_size, 0)?;
    same(&sf.query_all(soql).await?.records.first().ok_or("no row")?["IsDeleted"], true)
}

async fn query_refused(org: &Org) -> Verdict {
    let sf = org.connect()?;
    same(code(sf.query("SELECT FROM Account").await)?, "MALFORMED_QUERY")?;
    same(code(sf.query("SELECT Nmae FROM Account").await)?, "INVALID_FIELD")?;
    same(code(sf.query("SELECT Id FROM Accont").await)?, "INVALID_TYPE")
}

/// The duplicate result of a save that has to be refused.
async fn duplicate(sf: &Cirrus, body: Value) -> Result<Value, Box<dyn std::error::Error>> {
    match sf.sobject("Contact").create(&body).await {
        Err(CirrusError::Api { errors, .. }) => {
            let first = errors.into_iter().next().ok_or("no error")?;
            same(first.error_code.as_str(), "DUPLICATES_DETECTED")?;
            Ok(first.extra.get("duplicateResut").cloned().ok_or("no duplicate result")?)
        }
        other => Err(format!("{other:?}").into()),
    }
}

async fn duplicate_blocked(org: &Org) -> Verdict {
    let sf = org.connect()?;
    let first = sf.sobject("Contact").create(&json!({ "LastName": "A", "Email": "a@example.org" })).await?.id;
    let result = duplicate(&sf, json!({ "LastName": "B", "Email": "A@example.org" })).await?;
    same(&result["allowSave"], false)?;
    same(&result["matchResults"][0]["matchRecords"][0]["record"]["Id"], first.as_str())
}

async fn duplicate_allowed(org: &Org) -> Verdict {
    let sf = org.connect()?;
    let body = json!({ "LastName": "A", "Email": "a@example.org" });
    sf.sobject("Contact").create(&body).await?;
    same(&duplicate(&sf, body.clone()).await?["allowSave"], true)?;
    let headers = [("Sforce-Duplicate-Rule-Header", "allowSave=true")];
    same(sf.sobject("Contact").create_with_headers(&body, &headers).await?.success, true)
}

async fn predupe(org: &Org) -> Verdict {
    let sf = org.connect()?;
    let id = sf.sobject("Contact").create(&json!({ "LastName": "A", "Email": "a@example.org" })).await?.id;
    let ask = async |field: &str, email: &str| {
        let body = json!({ "apiName": "Contact", "fields": { "LastName": "B", field: email } });
        sf.post::<Value, _>("ui-api/predupe", &body).await
    };
    let found = ask("Email", "A@example.org").await?;
    same((&found["allowSave"], &found["duplicateError"]), (&json!(false), &json!(true)))?;
    same(&found["duplicateRules"], &json!(["Standard_Contact_Duplicate_Rule"]))?;
    same(&found["matches"][0]["recordIds"], &json!([id]))?;
    let none = ask("Email", "b@example.org").await?;
    same((&none["duplicateError"], &none["matches"]), (&json!(false), &json!([])))?;
    same(code(ask("Emial", "b@example.org").await)?, "INVALID_FIELD")?;
    same(count(&sf, "Contact").await?, 1)?;
    let rules: Value = sf.get("ui-api/duplicates/Contact").await?;
    same(&rules["duplicateRules"][0]["actionOnInsert"], "Block")
}

async fn event_publish(org: &Org) -> Verdict {
    let sf = org.connect()?;
    // By the collection: the library reads the errors of a single create as REST errors, which have another key, and so
    // cannot read the answer to an event that was published.
    let rows = [json!({ "i42as__OrderNumber__c": "SO-1" })];
    let sent = sf.composite().sobjects().create_records(EVENT, &rows, false).await?;
    let first = sent.first().ok_or("no result")?;
    let note = first.errors.first().ok_or("no UUID")?;
    same((first.success, note.status_code.as_str()), (true, "OPERATION_ENQUEUED"))?;
    let events = org.ask("events").await?;
    same(events.first().map(|event| &event["event_uuid"]), Some(&json!(note.message)))?;
    same(events.first().map(|event| &event["payload"]["i42as__OrderNumber__c"]), Some(&json!("SO-1")))
}

async fn event_refused(org: &Org) -> Verdict {
    let sf = org.connect()?;
    same(code(sf.sobject(EVENT).create(&json!({ "OrderNumber": "SO-1" })).await)?, "INVALID_FIELD")?;
    same(org.ask("events").await?.len(), 0)
}

async fn session_expired(org: &Org) -> Verdict {
    let session = org.sign_in().await?;
    let by_code = client(Arc::new(org.flow()?.refresh_auth(&session)?.build()?))?;
    for sf in [org.connect()?, org.by_key(USERNAME)?, by_code] {
        works(&sf).await?;
        org.tell("sessions/expire", json!({})).await?;
        same(sf.sobject("Account").create(&json!({ "Name": "After" })).await?.success, true)?;
    }
    Ok(())
}

async fn api_limit(org: &Org) -> Verdict {
    let sf = org.connect()?;
    org.tell("settings", json!({ "api_limit": 2 })).await?;
    works(&sf).await?;
    works(&sf).await?;
    same(code(sf.query("SELECT Id FROM Account").await)?, "REQUEST_LIMIT_EXCEEDED")?;
    same(sf.last_limit_info().map(|info| (info.used, info.allowed)), Some((2, 2)))
}

async fn unavailable(org: &Org) -> Verdict {
    let sf = org.connect()?;
    for kind in ["unavailable_html", "drop_before"] {
        org.tell("faults", json!({ "kind": kind, "times": 1 })).await?;
        works(&sf).await?;
    }
    org.tell("faults", json!({ "kind": "unavailable_json", "times": 1 })).await?;
    same(code(sf.sobject("Account").create(&json!({ "Name": "A" })).await)?, "SERVER_UNAVAILABLE")?;
    same(count(&sf, "Account").await?, 0)
}

async fn row_lock(org: &Org) -> Verdict {
    let sf = org.connect()?;
    same(code(sf.sobject("Account").create(&json!({ "Name": "A" })).await)?, "UNABLE_TO_LOCK_ROW")?;
    same(sf.sobject("Account").create(&json!({ "Name": "A" })).await?.success, true)
}
