//! What happens when Salesforce no longer accepts a token.

use std::sync::Arc;

use causeway_salesforce::{Error, ErrorKind, TokenErrorKind};
use serde_json::json;

use crate::server::{Server, Step, fields, numbered_tokens, sequence};

const ID: &str = "0015g00000ABCDeAAF";

#[tokio::test]
async fn an_expired_session_is_renewed_once_and_the_request_sent_again() {
    let org = Server::scripted([Step::expired(), Step::created(ID)]).await;
    let saved = org.client().create("Account", &fields(json!({ "Name": "x" }))).await.expect("written");
    assert_eq!(saved.id, ID);
    let tokens: Vec<String> = org.calls().iter().map(|call| call.header("authorization").to_owned()).collect();
    assert_eq!(tokens, ["Bearer token-1", "Bearer token-2"]);
    assert_eq!(org.calls()[0].json(), org.calls()[1].json());
    assert_eq!(org.token_requests().len(), 2);
}

#[tokio::test]
async fn a_renewed_session_that_is_refused_too_is_reported_and_not_renewed_again() {
    let org = Server::scripted([Step::expired(), Step::expired()]).await;
    let error = org.client().create("Account", &fields(json!({}))).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Session);
    assert!(!error.is_ambiguous());
    assert_eq!((org.calls().len(), org.token_requests().len()), (2, 2));
}

#[tokio::test]
async fn a_plain_text_bad_token_is_an_expired_session() {
    let org = Server::scripted([Step::text(403, "Bad_OAuth_Token"), Step::created(ID)]).await;
    org.client().create("Account", &fields(json!({}))).await.expect("written");
    assert_eq!(org.token_requests().len(), 2);
}

#[tokio::test]
async fn refusals_that_a_new_token_does_not_heal_spend_none() {
    for (text, code) in [
        ("This session is not valid for use with the REST API", "INVALID_SESSION_ID"),
        ("Connected app is not attached to Agent", "INVALID_SESSION_ID"),
        ("INVALID_AUTH_HEADER", "INVALID_AUTH_HEADER"),
    ] {
        let org = Server::scripted([Step::json(401, &json!([{ "message": text, "errorCode": code }]))]).await;
        let error = org.client().create("Account", &fields(json!({}))).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Authentication, "{text}");
        assert_eq!((org.calls().len(), org.token_requests().len()), (1, 1), "{text}");
    }
}

#[tokio::test]
async fn many_calls_that_meet_one_dead_token_renew_it_once() {
    let org = Server::start(|url| {
        let answer = Box::new(|seen: &crate::server::Seen| match seen.header("authorization") {
            "Bearer token-1" => Step::expired(),
            _ => Step::created(ID),
        });
        (answer, numbered_tokens(url.to_owned()))
    })
    .await;
    let client = org.client();
    let calls = (0..16).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.create("Account", &fields(json!({}))).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("no panic").expect("written");
    }
    assert_eq!(org.token_requests().len(), 2);
}

#[tokio::test]
async fn a_renewal_that_names_another_instance_moves_this_call_and_the_next_ones() {
    let new = Server::scripted([Step::created(ID), Step::created(ID)]).await;
    let moved = new.url.clone();
    let old = Server::start(|url| {
        let first = Step::json(200, &json!({ "access_token": "old", "instance_url": url }));
        let second = Step::json(200, &json!({ "access_token": "new", "instance_url": moved }));
        (sequence([Step::expired()]), sequence([first, second]))
    })
    .await;
    let mut login = old.login();
    login.trusted_hosts.push(new.url.trim_start_matches("http://").to_owned());
    let tokens = causeway_salesforce::ClientCredentials::new(login, "app-secret".into()).expect("settings");
    let settings = crate::server::settings(crate::server::PATIENCE);
    let client = causeway_salesforce::Client::new(settings, Arc::new(tokens)).expect("settings");
    for _ in 0..2 {
        client.create("Account", &fields(json!({}))).await.expect("written");
    }
    assert_eq!((old.calls().len(), new.calls().len()), (1, 2));
}

#[tokio::test]
async fn a_token_is_not_sent_to_a_host_that_is_neither_salesforces_nor_named() {
    let stranger = Server::scripted([]).await;
    let elsewhere = stranger.url.clone();
    let org = Server::start(|_| {
        let grant = Step::json(200, &json!({ "access_token": "t", "instance_url": elsewhere }));
        (sequence([]), sequence([grant]))
    })
    .await;
    let error = org.client().create("Account", &fields(json!({}))).await.expect_err("untrusted");
    let Error::Token(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), TokenErrorKind::Configuration);
    assert!(stranger.calls().is_empty());
}
