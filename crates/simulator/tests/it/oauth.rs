use causeway_simulator::{Config, ConnectedApp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::browser::{APP, connected, refresh};
use crate::client::{Client, read};

#[tokio::test]
async fn client_credentials_need_the_right_secret() {
    let org = Client::new().await;
    let (status, body) = org.token(&[("grant_type", "client_credentials"), APP[0], ("client_secret", "x")]).await;
    assert_eq!(status, 400);
    assert_eq!(body, json!({ "error": "invalid_client", "error_description": "invalid client credentials" }));
    let (_, body) = org.token(&[("grant_type", "client_credentials"), ("client_id", "x"), APP[1]]).await;
    assert_eq!(body["error"], "invalid_client_id");
    let (_, body) = org.token(&[("grant_type", "nope"), APP[0], APP[1]]).await;
    assert_eq!(body["error"], "unsupported_grant_type");
    let request = org.http.post(org.url("/services/oauth2/token")).form(&[("grant_type", "client_credentials")]);
    let (status, body) = read(request.basic_auth(APP[0].1, Some(APP[1].1)).send().await.unwrap()).await;
    assert_eq!((status, body["issued_at"].is_string(), body.get("expires_in")), (200, true, None));
    assert_eq!(body["instance_url"], org.simulator.base_url());
}

#[tokio::test]
async fn a_bad_token_gets_the_recorded_401_without_a_limit_header() {
    let mut org = Client::new().await;
    org.control().expire_sessions();
    let response = org.request(reqwest::Method::GET, "limits").send().await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], "Token");
    assert!(response.headers().get("sforce-limit-info").is_none());
    let text = response.text().await.unwrap();
    assert_eq!(text, r#"[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]"#);
    assert_eq!(org.control().api_calls(), 0);
    org.token = org.sign_in().await;
    assert_eq!(org.get("limits").await.0, 200);
}

#[tokio::test]
async fn a_session_lives_from_use_to_use() {
    let org = Client::with_settings(|settings| settings.session_ttl_s = 100).await;
    let minute = std::time::Duration::from_mins(1);
    for _ in 0..3 {
        org.control().advance_clock(minute);
        assert_eq!(org.get("limits").await.0, 200);
    }
    org.control().advance_clock(minute * 2);
    assert_eq!(org.get("limits").await.0, 401);
}

#[tokio::test]
async fn the_web_server_flow_ends_in_a_refresh_token() {
    let org = Client::new().await;
    let tokens = connected(&org).await;
    let (status, body) = refresh(&org, tokens["refresh_token"].as_str().unwrap()).await;
    assert_eq!((status, body.get("refresh_token")), (200, None));
}

#[tokio::test]
async fn rotation_retires_the_old_token_and_its_reuse_revokes_the_family() {
    let org = Client::with_settings(|settings| settings.refresh_rotation = true).await;
    let tokens = connected(&org).await;
    let first = tokens["refresh_token"].as_str().unwrap();
    let (_, rotated) = refresh(&org, first).await;
    let second = rotated["refresh_token"].as_str().unwrap();
    assert_ne!(first, second);
    let introspect = |token: String| {
        let request =
            org.http.post(org.url("/services/oauth2/introspect")).form(&[("token", token.as_str()), APP[0], APP[1]]);
        async move { read(request.send().await.unwrap()).await.1["active"].clone() }
    };
    let access = rotated["access_token"].as_str().unwrap().to_owned();
    assert_eq!(introspect(access.clone()).await, true);
    let (status, body) = refresh(&org, first).await;
    assert_eq!(status, 400);
    assert_eq!(body, json!({ "error": "invalid_grant", "error_description": "expired access/refresh token" }));
    assert_eq!(refresh(&org, second).await.0, 400);
    assert_eq!(introspect(access).await, false);
}

#[tokio::test]
async fn without_reuse_detection_the_family_survives() {
    let org = Client::with_settings(|settings| {
        settings.refresh_rotation = true;
        settings.refresh_reuse_detection = false;
    })
    .await;
    let tokens = connected(&org).await;
    let (_, rotated) = refresh(&org, tokens["refresh_token"].as_str().unwrap()).await;
    assert_eq!(refresh(&org, tokens["refresh_token"].as_str().unwrap()).await.0, 400);
    assert_eq!(refresh(&org, rotated["refresh_token"].as_str().unwrap()).await.0, 200);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the assertion must be good at the time the test runs")]
async fn a_jwt_assertion_is_checked_against_the_registered_key() {
    let app = ConnectedApp {
        public_key_pem: Some(include_str!("keys/app.pub.pem").to_owned()),
        ..ConnectedApp::development()
    };
    let org = Client::with(Config { apps: vec![app], ..Config::default() }).await;
    let now =
        i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let good = json!({ "iss": "causeway-dev", "sub": "integration@causeway.test", "aud": org.simulator.base_url(), "exp": now + 180 });
    let with = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        claims
    };
    let (mine, other) = (include_bytes!("keys/app.pem").as_slice(), include_bytes!("keys/other.pem").as_slice());
    let cases = [
        (mine, good.clone(), None),
        (mine, with("aud", json!("https://login.salesforce.com")), None),
        (other, good.clone(), Some("invalid assertion")),
        (mine, with("aud", json!("https://example.com")), Some("Audience validation failed")),
        (mine, with("exp", json!(now - 10)), Some("expired authorization code")),
        // As simple-salesforce writes it.
        (mine, with("exp", json!((now + 180).to_string())), None),
        (mine, with("exp", json!("soon")), Some("invalid assertion")),
        (mine, with("sub", json!("someone@else")), Some("user hasn't approved this consumer")),
        (mine, with("iss", json!("nobody")), Some("client identifier invalid")),
    ];
    for (key, claims, refused) in cases {
        let key = EncodingKey::from_rsa_pem(key).unwrap();
        let assertion = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key).unwrap();
        let (status, body) = org
            .token(&[("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &assertion)])
            .await;
        match refused {
            None => {
                assert_eq!((status, body.get("refresh_token"), body.get("issued_at")), (200, None, None), "{body}");
                assert!(body["access_token"].as_str().unwrap().starts_with("00D"));
            }
            Some(description) => assert_eq!((status, body["error_description"].as_str()), (400, Some(description))),
        }
    }
}

#[tokio::test]
async fn a_revoked_token_is_dead_and_identity_says_so_in_plain_text() {
    let org = Client::new().await;
    let identity = org.request(reqwest::Method::GET, "/services/oauth2/userinfo").send().await.unwrap();
    assert_eq!(identity.json::<Value>().await.unwrap()["preferred_username"], "integration@causeway.test");
    let revoke = org.http.post(org.url("/services/oauth2/revoke")).form(&[("token", org.token.as_str())]);
    assert_eq!(revoke.send().await.unwrap().status(), 200);
    assert_eq!(org.get("limits").await.0, 401);
    let identity = org.request(reqwest::Method::GET, "/services/oauth2/userinfo").send().await.unwrap();
    assert_eq!((identity.status().as_u16(), identity.text().await.unwrap().as_str()), (403, "Bad_OAuth_Token"));
}
