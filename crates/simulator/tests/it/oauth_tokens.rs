//! The token endpoint, one grant type after the other.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use causeway_simulator::{Config, ConnectedApp, Fault, FaultKind, OauthAction, User};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::browser::{APP, Browser, CALLBACK, CHALLENGE, VERIFIER, connected, connected_with, exchange, text};
use crate::client::{Client, read};

const TOKEN: &str = "/services/oauth2/token";
const NAME: &str = causeway_simulator::USERNAME;

async fn code(org: &Client, more: &[(&str, &str)]) -> String {
    Browser::new(org).approve(&[&[("scope", "api refresh_token")], more].concat()).await["code"].clone()
}

fn refusal((status, body): (u16, Value)) -> (u16, String, String) {
    (status, text(&body, "error").to_owned(), text(&body, "error_description").to_owned())
}

fn bad(error: &str, description: &str) -> (u16, String, String) {
    (400, error.to_owned(), description.to_owned())
}

#[tokio::test]
async fn the_answer_for_a_code_is_complete_and_signed() {
    let org = Client::new().await;
    let body = connected(&org).await;
    let keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["access_token", "refresh_token", "signature", "scope", "instance_url", "id", "token_type", "issued_at"];
    assert_eq!(keys, expected);
    let token = text(&body, "access_token");
    assert_eq!((token.len(), &token[..3], &token[15..16]), (112, "00D", "!"));
    assert!(text(&body, "refresh_token").starts_with("5Aep"));
    assert_eq!(text(&body, "scope"), "api refresh_token");
    let signed = format!("{}{}", text(&body, "id"), text(&body, "issued_at"));
    let key = EncodingKey::from_secret(APP[1].1.as_bytes());
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    assert_eq!(base64::engine::general_purpose::STANDARD.encode(signature), text(&body, "signature"));
}

#[tokio::test]
async fn a_code_is_good_once_and_its_reuse_revokes_what_it_gave() {
    let mut org = Client::new().await;
    let code = code(&org, &[]).await;
    let (_, body) = exchange(&org, &code, &[]).await;
    org.token = text(&body, "access_token").to_owned();
    assert_eq!(org.get("limits").await.0, 200);
    assert_eq!(refusal(exchange(&org, &code, &[]).await), bad("invalid_grant", "invalid authorization code"));
    assert_eq!(org.get("limits").await.0, 401);
    let refreshed = crate::browser::refresh(&org, text(&body, "refresh_token")).await;
    assert_eq!(refusal(refreshed), bad("invalid_grant", "expired access/refresh token"));
    assert!(org.control().oauth_audit().iter().any(|entry| entry.action == OauthAction::ReuseDetected));
}

#[tokio::test]
async fn a_code_is_bound_to_its_app_its_callback_its_challenge_and_its_time() {
    let apps = vec![ConnectedApp::development(), ConnectedApp::new("other", "s")];
    let org = Client::with(Config { apps, ..Config::default() }).await;
    let other = org
        .token(&[
            ("grant_type", "authorization_code"),
            ("code", &code(&org, &[]).await),
            ("client_id", "other"),
            ("client_secret", "s"),
            ("redirect_uri", CALLBACK),
        ])
        .await;
    assert_eq!(refusal(other), bad("invalid_grant", "invalid authorization code"));
    let wrong = exchange(&org, &code(&org, &[]).await, &[("redirect_uri", "http://localhost:9/other")]).await;
    assert_eq!(refusal(wrong), bad("redirect_uri_mismatch", "redirect_uri must match configuration"));
    let missing = exchange(&org, &code(&org, &[]).await, &[("redirect_uri", "")]).await;
    assert_eq!(refusal(missing), bad("redirect_uri_missing", "redirect_uri not provided"));
    let challenged = [("code_challenge", CHALLENGE), ("code_challenge_method", "S256")];
    let without = exchange(&org, &code(&org, &challenged).await, &[]).await;
    assert_eq!(refusal(without), bad("invalid_grant", "invalid code verifier"));
    for verifier in ["x", &VERIFIER.replace('d', "e"), &format!("{VERIFIER} "), &"a".repeat(200)] {
        let wrong = exchange(&org, &code(&org, &challenged).await, &[("code_verifier", verifier)]).await;
        assert_eq!(refusal(wrong), bad("invalid_request", "invalid code verifier"), "{verifier}");
    }
    let right = exchange(&org, &code(&org, &challenged).await, &[("code_verifier", VERIFIER)]).await;
    assert_eq!(right.0, 200);
    let unasked = exchange(&org, &code(&org, &[]).await, &[("code_verifier", VERIFIER)]).await;
    assert_eq!(refusal(unasked), bad("invalid_grant", "invalid code verifier"));
    let late = code(&org, &[]).await;
    org.control().advance_clock(Duration::from_mins(16));
    assert_eq!(refusal(exchange(&org, &late, &[]).await), bad("invalid_grant", "expired authorization code"));
}

#[tokio::test]
async fn an_app_shows_who_it_is_in_the_body_in_a_header_or_by_its_key() {
    let key = include_str!("keys/app.pub.pem").to_owned();
    let apps = vec![
        ConnectedApp { public_key_pem: Some(key), ..ConnectedApp::development() },
        ConnectedApp { public: true, ..ConnectedApp::new("phone", "") },
    ];
    let org = Client::with(Config { apps, ..Config::default() }).await;
    let post = |form: Vec<(&'static str, String)>| org.http.post(org.url(TOKEN)).form(&form);
    let grant = || vec![("grant_type", "client_credentials".to_owned())];
    let basic = post(grant()).basic_auth(APP[0].1, Some(APP[1].1)).send().await.unwrap();
    assert_eq!(read(basic).await.0, 200);
    let wrong = read(post(grant()).basic_auth(APP[0].1, Some("x")).send().await.unwrap()).await;
    assert_eq!(refusal(wrong), bad("invalid_client", "invalid client credentials"));
    let claims = |aud: String, sub: &str| json!({ "iss": "causeway-dev", "sub": sub, "aud": aud, "exp": now() + 120 });
    let sign = |claims: Value| {
        let key = EncodingKey::from_rsa_pem(include_bytes!("keys/app.pem")).unwrap();
        jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key).unwrap()
    };
    let by_key = |assertion: String| {
        let mut form = grant();
        form.push(("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned()));
        form.push(("client_assertion", assertion));
        post(form)
    };
    let good = by_key(sign(claims(org.url(TOKEN), "causeway-dev"))).send().await.unwrap();
    assert_eq!(read(good).await.0, 200);
    let foreign = by_key(sign(claims("https://example.com".into(), "causeway-dev"))).send().await.unwrap();
    assert_eq!(refusal(read(foreign).await), bad("invalid_client", "invalid client credentials"));
    let subject = by_key(sign(claims(org.url(TOKEN), "somebody"))).send().await.unwrap();
    assert_eq!(refusal(read(subject).await), bad("invalid_client", "invalid client credentials"));
    // An app without a secret must use PKCE, and must not send one.
    let browser = Browser::new(&org);
    assert!(browser.authorize(&[("client_id", "phone")]).await.html.contains("missing required code challenge"));
    for (secret, expected) in [(None, 200), (Some("x"), 400)] {
        let code = browser.approve(&[("client_id", "phone"), ("code_challenge", CHALLENGE)]).await["code"].clone();
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("client_id", "phone"),
            ("code", &code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        form.extend(secret.map(|secret| ("client_secret", secret)));
        assert_eq!(org.token(&form).await.0, expected);
    }
}

#[tokio::test]
async fn client_credentials_act_as_their_run_as_user_on_the_my_domain_only() {
    let apps = vec![ConnectedApp::development(), ConnectedApp::new("nobody", "s")];
    let org = Client::with(Config { apps, ..Config::default() }).await;
    let ask = |id: &'static str, secret: &'static str| {
        let org = &org;
        async move {
            let form = [("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)];
            org.token(&form).await
        }
    };
    assert_eq!(refusal(ask("nobody", "s").await), bad("invalid_grant", "no client credentials user enabled"));
    assert_eq!(ask(APP[0].1, APP[1].1).await.0, 200);
    let form = [("grant_type", "client_credentials"), APP[0], APP[1]];
    let shared = org.http.post(org.url("/login/services/oauth2/token")).form(&form).send().await.unwrap();
    assert_eq!(refusal(read(shared).await), bad("invalid_grant", "request not supported on this domain"));
}

#[expect(clippy::disallowed_methods, reason = "the assertion must be good at the time the test runs")]
fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

async fn bearer(org: &Client, claims: Value) -> (u16, Value) {
    let key = EncodingKey::from_rsa_pem(include_bytes!("keys/app.pem")).unwrap();
    let assertion = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key).unwrap();
    org.token(&[("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &assertion)]).await
}

#[tokio::test]
async fn jwt_bearer_needs_an_approval_a_fresh_assertion_and_the_refresh_scope() {
    let key = include_str!("keys/app.pub.pem").to_owned();
    let app = |id: &str, scopes: &[&str]| ConnectedApp {
        public_key_pem: Some(key.clone()),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        ..ConnectedApp::new(id, "causeway-dev-secret")
    };
    let apps = vec![ConnectedApp::development(), app("unapproved", &[]), app("no-refresh", &["api"])];
    let org = Client::with(Config { apps, ..Config::default() }).await;
    let claims =
        |iss: &str| json!({ "iss": iss, "sub": NAME, "aud": "https://login.salesforce.com", "exp": now() + 180 });
    let unapproved = || bad("invalid_grant", "user hasn't approved this consumer");
    assert_eq!(refusal(bearer(&org, claims("unapproved")).await), unapproved());
    // An approval without access at any time is not enough; one with it is.
    let browser = Browser::new(&org);
    browser.approve(&[("client_id", "unapproved"), ("scope", "api")]).await;
    assert_eq!(refusal(bearer(&org, claims("unapproved")).await), unapproved());
    browser.approve(&[("client_id", "unapproved"), ("scope", "api refresh_token")]).await;
    let (status, body) = bearer(&org, claims("unapproved")).await;
    let keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!((status, keys), (200, vec!["access_token", "scope", "instance_url", "id", "token_type"]));
    let (_, error, description) = refusal(bearer(&org, claims("no-refresh")).await);
    assert_eq!(error, "invalid_request");
    assert!(description.starts_with("The JWT bearer and SAML assertion bearer flows require a refresh_token scope."));
    let mut long = claims("unapproved");
    long["exp"] = json!(now() + 3_600);
    assert_eq!(refusal(bearer(&org, long).await), bad("invalid_grant", "invalid assertion"));
    let mut older = claims("unapproved");
    older["prn"] = older["sub"].take();
    older["aud"] = json!(["https://example.com", org.simulator.base_url()]);
    assert_eq!(bearer(&org, older).await.0, 200);
}

#[tokio::test]
async fn passwords_are_refused_until_the_org_allows_them() {
    let users = vec![
        User::integration(),
        User { security_token: "TOKEN".into(), ..User::new("jane@causeway.test", "secret", "Jane", "Doe") },
    ];
    let org = Client::with(Config { users, ..Config::default() }).await;
    let ask = |password: &'static str| async {
        let password = password.to_owned();
        org.token(&[
            ("grant_type", "password"),
            ("username", "jane@causeway.test"),
            ("password", &password),
            APP[0],
            APP[1],
        ])
        .await
    };
    let failure = || bad("invalid_grant", "authentication failure");
    assert_eq!(refusal(ask("secret").await), failure());
    org.control().update_settings(|settings| settings.username_password_flow = true);
    assert_eq!(ask("secret").await.0, 200);
    assert_eq!(ask("secretTOKEN").await.0, 200);
    assert_eq!(refusal(ask("secretTOKE").await), failure());
    assert_eq!(refusal(ask("wrong").await), failure());
}

#[tokio::test]
async fn an_openid_scope_brings_an_id_token_that_the_published_key_verifies() {
    let org = Client::new().await;
    let scope = "openid api refresh_token";
    let callback = Browser::new(&org).approve(&[("scope", scope), ("nonce", "n-0S6")]).await;
    let (_, body) = exchange(&org, &callback["code"], &[]).await;
    let (_, keys) = read(org.http.get(org.url("/id/keys")).send().await.unwrap()).await;
    let key = &keys["keys"][0];
    assert_eq!((&key["kty"], &key["alg"], &key["use"]), (&json!("RSA"), &json!("RS256"), &json!("sig")));
    let header = jsonwebtoken::decode_header(text(&body, "id_token")).unwrap();
    assert_eq!(header.kid.as_deref(), key["kid"].as_str());
    let key = DecodingKey::from_rsa_components(text(key, "n"), text(key, "e")).unwrap();
    let mut rules = Validation::new(Algorithm::RS256);
    rules.set_audience(&["causeway-dev"]);
    rules.set_issuer(&[org.simulator.base_url()]);
    let claims = jsonwebtoken::decode::<Value>(text(&body, "id_token"), &key, &rules).unwrap().claims;
    assert_eq!((text(&claims, "nonce"), text(&claims, "sub")), ("n-0S6", text(&body, "id")));
    let digest = Sha256::digest(text(&body, "access_token").as_bytes());
    assert_eq!(text(&claims, "at_hash"), URL_SAFE_NO_PAD.encode(&digest[..16]));
    let (_, refreshed) = crate::browser::refresh(&org, text(&body, "refresh_token")).await;
    assert!(refreshed.get("id_token").is_some());
    assert!(connected(&org).await.get("id_token").is_none());
}

#[tokio::test]
async fn the_endpoint_takes_posts_only_and_writes_three_formats() {
    let org = Client::new().await;
    let (status, body) = read(org.http.get(org.url(TOKEN)).send().await.unwrap()).await;
    assert_eq!(refusal((status, body)), bad("invalid_request", "must use HTTP POST"));
    let form = [("grant_type", "client_credentials"), APP[0], APP[1]];
    let url_encoded = org.http.post(org.url(TOKEN)).form(&[&form[..], &[("format", "urlencoded")]].concat());
    let answer = url_encoded.send().await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/x-www-form-urlencoded"));
    let answer = answer.text().await.unwrap();
    assert!(answer.contains("&token_type=Bearer") && answer.contains("access_token=00D"), "{answer}");
    let xml = org.http.post(org.url(TOKEN)).form(&form).header("accept", "application/xml").send().await.unwrap();
    assert!(xml.headers()["content-type"].to_str().unwrap().starts_with("application/xml"));
    let xml = xml.text().await.unwrap();
    assert!(xml.contains("<OAuth><access_token>00D") && xml.ends_with("</OAuth>"), "{xml}");
    let twice = [&form[..], &form[..1]].concat();
    assert_eq!(org.token(&twice).await.1["error"], "invalid_request");
    org.control().update_settings(|settings| settings.invalid_client_status = 401);
    assert_eq!(org.token(&[form[0], form[1], ("client_secret", "x")]).await.0, 401);
}

#[tokio::test]
async fn a_session_without_an_api_scope_is_not_for_rest() {
    let mut org = Client::new().await;
    let body = connected_with(&org, "openid refresh_token").await;
    org.token = text(&body, "access_token").to_owned();
    let (status, body) = org.get("limits").await;
    assert_eq!(
        (status, body),
        (
            401,
            json!([{ "message": "This session is not valid for use with the REST API", "errorCode": "INVALID_SESSION_ID" }])
        )
    );
    assert_eq!(org.get("/services/oauth2/userinfo").await.0, 200);
}

#[tokio::test]
async fn faults_reach_the_token_endpoint_by_its_path() {
    let org = Client::new().await;
    let form = [("grant_type", "client_credentials"), APP[0], APP[1]];
    org.control().arm(Fault::always(FaultKind::UnknownOauthError).on_path(TOKEN).times(2));
    for _ in 0..2 {
        assert_eq!(refusal(org.token(&form).await), bad("unknown_error", "retry your request"));
    }
    assert_eq!(org.token(&form).await.0, 200);
    org.control().arm(Fault::once(FaultKind::UnavailableHtml).on_path(TOKEN));
    let response = org.http.post(org.url(TOKEN)).form(&form).send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    assert_eq!(org.token(&form).await.0, 200);
}

#[tokio::test]
async fn the_audit_tells_who_got_what_and_holds_no_secret() {
    let org = Client::new().await;
    let body = connected(&org).await;
    crate::browser::refresh(&org, text(&body, "refresh_token")).await;
    org.token(&[("grant_type", "client_credentials"), APP[0], ("client_secret", "hunter2")]).await;
    let (_, audit) = read(org.http.get(org.url("/_sim/oauth/audit")).send().await.unwrap()).await;
    let printed = audit.to_string();
    for secret in [text(&body, "access_token"), text(&body, "refresh_token"), "hunter2", APP[1].1, "aPrx", "5Aep"] {
        assert!(!printed.contains(secret));
    }
    let entries = audit.as_array().unwrap();
    let actions: Vec<_> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["issued", "logged_in", "approved", "issued", "refreshed", "refused"]);
    let refreshed = &entries[4];
    assert_eq!(
        (&refreshed["username"], &refreshed["client_id"], &refreshed["flow"], &refreshed["from"]),
        (&json!(NAME), &json!("causeway-dev"), &json!("refresh_token"), &json!("127.0.0.1"))
    );
    assert_eq!(entries[5]["error"], "invalid_client: invalid client credentials");
}
