//! Whatever the OAuth endpoints are sent, they answer as an org: no failure of their own, nothing reflected into HTML.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use causeway_simulator::{Config as OrgConfig, ConnectedApp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use crate::client::Client;

const EVIL: &str = "\"'><script>alert(1)</script>";

fn key() -> impl Strategy<Value = String> {
    let names = [
        "grant_type",
        "client_id",
        "client_secret",
        "code",
        "redirect_uri",
        "code_verifier",
        "refresh_token",
        "assertion",
        "username",
        "password",
        "scope",
        "state",
        "response_type",
        "code_challenge",
        "code_challenge_method",
        "prompt",
        "login_hint",
        "display",
        "nonce",
        "immediate",
        "token",
        "token_type_hint",
        "format",
        "source",
        "decision",
        "client_assertion",
        "client_assertion_type",
        "error",
        "error_description",
        "ErrorCode",
        "ProviderId",
    ];
    prop_oneof![6 => prop::sample::select(names.to_vec()).prop_map(str::to_owned), 1 => ".{0,8}"]
}

fn value() -> impl Strategy<Value = String> {
    let values = [
        "authorization_code",
        "refresh_token",
        "client_credentials",
        "password",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "causeway-dev",
        "causeway-dev-secret",
        "http://localhost/cb",
        "code",
        "token",
        "S256",
        "plain",
        "login",
        "none",
        "consent",
        "api",
        "openid",
        "allow",
        "deny",
        "true",
        "xml",
        "urlencoded",
        "integration@causeway.test",
        "causeway",
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        "a.b.c",
        "",
        EVIL,
    ];
    prop_oneof![6 => prop::sample::select(values.to_vec()).prop_map(str::to_owned), 2 => ".{0,20}"]
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec((key(), value()), 0..9)
}

/// Pairs of an authorize request that gets as far as a page, most of the time.
fn near_authorize() -> impl Strategy<Value = Vec<(String, String)>> {
    pairs().prop_map(|mut all| {
        for (key, value) in
            [("response_type", "code"), ("client_id", "causeway-dev"), ("redirect_uri", "http://localhost/cb")]
        {
            if !all.iter().any(|(name, _)| name == key) {
                all.push((key.to_owned(), value.to_owned()));
            }
        }
        all
    })
}

const PATHS: [&str; 9] = [
    "/services/oauth2/token",
    "/services/oauth2/revoke",
    "/services/oauth2/introspect",
    "/services/oauth2/userinfo",
    "/services/oauth2/authorize",
    "/setup/secur/RemoteAccessErrorPage.apexp",
    "/services/auth/oauth/x",
    "/services/authcallback/x",
    "/_nc_external/identity/sso/ui/AuthorizationError",
];

/// Runs `send` for generated inputs; the answer must be below 500 and hold no script.
fn harmless<S, F>(strategy: &S, send: F)
where
    S: Strategy,
    F: AsyncFn(&Client, S::Value) -> Option<reqwest::Response>,
{
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let app = ConnectedApp {
        public_key_pem: Some(include_str!("keys/app.pub.pem").to_owned()),
        ..ConnectedApp::development()
    };
    let org = runtime.block_on(Client::with(OrgConfig { apps: vec![app], ..OrgConfig::default() }));
    let mut runner = TestRunner::new(Config { cases: 256, failure_persistence: None, ..Config::default() });
    runner
        .run(strategy, |input| {
            let Some(response) = runtime.block_on(send(&org, input)) else { return Ok(()) };
            let status = response.status().as_u16();
            prop_assert!(status < 500, "answered {status}");
            let html =
                response.headers().get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
            let body = runtime.block_on(response.text()).unwrap();
            prop_assert!(!html || !body.contains("<script"), "{body}");
            Ok(())
        })
        .unwrap();
}

#[test]
fn random_forms_are_answered() {
    let path = prop::sample::select(PATHS.to_vec());
    harmless(&(path, pairs()), async |org: &Client, (path, form)| {
        Some(org.http.post(org.url(path)).form(&form).send().await.unwrap())
    });
}

#[test]
fn random_queries_are_answered() {
    let path = prop::sample::select(PATHS.to_vec());
    harmless(&(path, pairs()), async |org: &Client, (path, query)| {
        Some(org.http.get(org.url(path)).query(&query).send().await.unwrap())
    });
}

#[test]
fn random_authorize_requests_are_answered() {
    harmless(&near_authorize(), async |org: &Client, query| {
        Some(org.http.get(org.url("/services/oauth2/authorize")).query(&query).send().await.unwrap())
    });
}

#[test]
fn random_bytes_are_answered() {
    let path = prop::sample::select(PATHS.to_vec());
    let cookie = "[ -~]{0,30}";
    harmless(&(path, prop::collection::vec(any::<u8>(), 0..80), cookie), async |org: &Client, (path, body, cookie)| {
        let request = org.http.post(org.url(path)).header("cookie", format!("sim_browser={cookie}")).body(body);
        Some(org.http.execute(request.build().ok()?).await.unwrap())
    });
}

#[test]
fn random_authorization_headers_are_answered() {
    let encoded =
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| format!("Basic {}", STANDARD.encode(bytes)));
    let header = prop_oneof![encoded, "[ -~]{0,40}", "Basic [A-Za-z0-9+/=]{0,20}", "Bearer [ -~]{0,30}"];
    let path = prop::sample::select(PATHS.to_vec());
    harmless(&(path, header, pairs()), async |org: &Client, (path, header, form)| {
        let request = org.http.post(org.url(path)).header("authorization", header).form(&form);
        Some(org.http.execute(request.build().ok()?).await.unwrap())
    });
}

fn claim() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!("causeway-dev")),
        Just(json!("integration@causeway.test")),
        Just(json!("https://login.salesforce.com")),
        Just(json!(4_000_000_000_u64)),
        Just(json!(1e300)),
        Just(json!(-1)),
        Just(json!(i64::MAX)),
        Just(json!(["https://test.salesforce.com", 5, null])),
        Just(json!({})),
        Just(Value::Null),
        ".{0,12}".prop_map(Value::from),
    ]
}

#[test]
fn random_assertions_are_answered() {
    let claims = || {
        let names = prop::sample::select(vec!["iss", "sub", "prn", "aud", "exp", "jti"]);
        prop::collection::vec((names, claim()), 0..6)
            .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
    };
    let signed = claims().prop_map(|claims| {
        let key = EncodingKey::from_rsa_pem(include_bytes!("keys/app.pem")).unwrap();
        jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key).unwrap()
    });
    let unsigned = (claims(), "[a-z.]{0,9}").prop_map(|(claims, rest)| {
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": "none" }).to_string());
        format!("{header}.{}.{rest}", URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string()))
    });
    let assertion = prop_oneof![signed, unsigned, "[A-Za-z0-9._-]{0,60}", ".{0,20}"];
    harmless(&(assertion, any::<bool>()), async |org: &Client, (assertion, of_client)| {
        let form = if of_client {
            vec![
                ("grant_type", "client_credentials"),
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                ("client_assertion", &assertion),
            ]
        } else {
            vec![("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &assertion)]
        };
        Some(org.http.post(org.url("/services/oauth2/token")).form(&form).send().await.unwrap())
    });
}
