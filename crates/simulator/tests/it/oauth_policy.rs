//! Who is kept out, and how.

use std::time::Duration;

use causeway_simulator::{Config, ConnectedApp, Settings, User};
use serde_json::{Value, json};

use crate::browser::{APP, Browser, connected, refresh, text};
use crate::client::{Client, read};

const NAME: &str = causeway_simulator::USERNAME;
const PASSWORD: &str = causeway_simulator::PASSWORD;

async fn client_credentials(org: &Client) -> (u16, Value) {
    org.token(&[("grant_type", "client_credentials"), APP[0], APP[1]]).await
}

#[tokio::test]
async fn every_switch_keeps_the_user_out_with_its_own_words() {
    type Change = fn(&mut Settings);
    let cases: [(Change, &str, &str); 4] = [
        (|settings| settings.org_locked = true, "inactive_org", "organization locked, closed, or suspended"),
        (|settings| settings.user_active = false, "invalid_grant", "inactive user"),
        (|settings| settings.app_installed = false, "invalid_client", "app must be installed into org"),
        (|settings| settings.logins_per_hour = 1, "rate_limit_exceeded", "login rate exceeded"),
    ];
    for (change, error, description) in cases {
        let org = Client::new().await;
        org.control().update_settings(change);
        let (status, body) = client_credentials(&org).await;
        assert_eq!((status, text(&body, "error"), text(&body, "error_description")), (400, error, description));
    }
}

#[tokio::test]
async fn an_app_that_is_not_installed_serves_only_who_approved_it_before() {
    let org = Client::new().await;
    let tokens = connected(&org).await;
    org.control().update_settings(|settings| settings.app_installed = false);
    assert_eq!(refresh(&org, text(&tokens, "refresh_token")).await.0, 200);
    org.control().put_user(User::new("new@causeway.test", "secret", "New", "User")).unwrap();
    let browser = Browser::new(&org);
    let page = browser.authorize(&[]).await;
    let seen = browser.log_in(&page, "new@causeway.test", "secret").await;
    assert_eq!(seen.query()["error_description"], "app must be installed into org");
    assert_eq!(seen.query()["error"], "invalid_client");
    let location = seen.location.unwrap();
    assert!(location.contains("error=invalid_client&error_description=app+must+be+installed+into+org"), "{location}");
    let url = reqwest::Url::parse(&org.url("/services/oauth2/authorize")).unwrap().join(&location).unwrap();
    let html = org.http.get(url).send().await.unwrap().text().await.unwrap();
    assert!(html.contains("OAUTH_APPROVAL_ERROR_GENERIC") && html.contains("has occured during"), "{html}");
}

#[tokio::test]
async fn only_approved_users_pass_when_an_administrator_says_so() {
    let org = Client::new().await;
    org.control().put_user(User::new("new@causeway.test", "secret", "New", "User")).unwrap();
    org.control().update_settings(|settings| settings.admin_approved_only = true);
    // The built-in user is pre-authorised and is not even asked.
    let browser = Browser::new(&org);
    let page = browser.authorize(&[]).await;
    assert!(browser.log_in(&page, NAME, PASSWORD).await.query().contains_key("code"));
    for (redirects, code) in [(false, Some("OAUTH_APP_ACCESS_DENIED")), (true, None)] {
        org.control().update_settings(|settings| settings.access_denied_redirects = redirects);
        let browser = Browser::new(&org);
        let page = browser.authorize(&[]).await;
        let query = browser.log_in(&page, "new@causeway.test", "secret").await.query();
        assert_eq!((query["error"].as_str(), query.get("code").map(String::as_str)), ("invalid_app_access", code));
        assert_eq!(query["error_description"], "user is not admin approved to access this app");
    }
    org.control().register_app(ConnectedApp { blocked: true, ..ConnectedApp::development() }).unwrap();
    let page = browser.authorize(&[]).await;
    assert_eq!(page.query()["code"], "OAUTH_APP_BLOCKED");
}

#[tokio::test]
async fn a_frozen_or_deactivated_user_loses_his_sessions_and_gets_no_new_ones() {
    let org = Client::new().await;
    let tokens = connected(&org).await;
    for user in [User { frozen: true, ..User::integration() }, User { active: false, ..User::integration() }] {
        let mut org_user = user.clone();
        org.control().put_user(user).unwrap();
        assert_eq!(org.get("limits").await.0, 401);
        let (status, body) = refresh(&org, text(&tokens, "refresh_token")).await;
        assert_eq!((status, text(&body, "error_description")), (400, "inactive user"));
        let browser = Browser::new(&org);
        let page = browser.authorize(&[]).await;
        assert!(browser.log_in(&page, NAME, PASSWORD).await.is_login());
        (org_user.active, org_user.frozen) = (true, false);
        org.control().put_user(org_user).unwrap();
    }
    assert_eq!(refresh(&org, text(&tokens, "refresh_token")).await.0, 200);
    org.control().update_settings(|settings| settings.user_active = false);
    assert_eq!(org.get("limits").await.0, 401);
}

#[tokio::test]
async fn users_are_added_and_changed_while_the_org_runs() {
    let client = Client::new().await;
    let org = &client;
    let put = |body: Value| async move {
        read(org.http.post(org.url("/_sim/users")).json(&body).send().await.unwrap()).await
    };
    let (status, made) = put(
        json!({ "username": "jane@causeway.test", "password": "secret", "first_name": "Jane", "last_name": "Doe" }),
    )
    .await;
    assert_eq!(status, 201, "{made}");
    let (_, rows) = org.query("SELECT Id, Email, IsActive FROM User WHERE Username = 'jane@causeway.test'").await;
    assert_eq!((&rows["records"][0]["Id"], &rows["records"][0]["Email"]), (&made["id"], &json!("jane@causeway.test")));
    // Without a password the old one stays.
    let (_, same) = put(json!({ "username": "jane@causeway.test", "last_name": "Roe", "active": false })).await;
    assert_eq!(same, made);
    let (_, rows) = org.query("SELECT LastName, IsActive FROM User WHERE Username = 'jane@causeway.test'").await;
    assert_eq!((&rows["records"][0]["LastName"], &rows["records"][0]["IsActive"]), (&json!("Roe"), &json!(false)));
    put(json!({ "username": "jane@causeway.test", "last_name": "Roe" })).await;
    let browser = Browser::new(org);
    let page = browser.authorize(&[]).await;
    assert!(browser.log_in(&page, "jane@causeway.test", "secret").await.is_approval());
    let (_, users) = read(org.http.get(org.url("/_sim/users")).send().await.unwrap()).await;
    assert!(!users.to_string().contains("secret") && users.as_array().unwrap().len() == 2);
    let (status, _) = put(json!({ "username": "x@y.z", "last_name": "X", "ip_ranges": ["nonsense"] })).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_user_signs_in_only_from_his_profiles_addresses() {
    let users = vec![User { ip_ranges: vec!["10.0.0.0/8".into()], ..User::integration() }];
    let simulator = causeway_simulator::Simulator::start(Config { users, ..Config::default() }).await.unwrap();
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let org = Client { simulator, http, token: String::new() };
    let (status, body) = client_credentials(&org).await;
    assert_eq!((status, text(&body, "error")), (400, "invalid_grant"));
    assert_eq!(text(&body, "error_description"), "ip restricted or invalid login hours");
}

#[tokio::test]
async fn api_only_users_may_be_kept_off_the_page() {
    let users = vec![User { api_only: true, ..User::integration() }];
    let org = Client::with(Config { users, ..Config::default() }).await;
    let browser = Browser::new(&org);
    let page = browser.authorize(&[]).await;
    assert!(browser.log_in(&page, NAME, PASSWORD).await.is_approval());
    org.control().update_settings(|settings| settings.api_only_users_may_authorize = false);
    assert_eq!(browser.authorize(&[]).await.query()["code"], "OAUTH_APPROVAL_ERROR_GENERIC");
}

#[tokio::test]
async fn the_login_rate_is_counted_over_a_rolling_hour() {
    let org = Client::with_settings(|settings| settings.logins_per_hour = 3).await;
    assert_eq!(client_credentials(&org).await.0, 200);
    assert_eq!(client_credentials(&org).await.0, 200);
    assert_eq!(client_credentials(&org).await.1["error"], "rate_limit_exceeded");
    org.control().advance_clock(Duration::from_mins(61));
    assert_eq!(client_credentials(&org).await.0, 200);
}

#[tokio::test]
async fn an_app_may_have_sessions_of_its_own_length() {
    let app = ConnectedApp { session_ttl_s: Some(60), ..ConnectedApp::development() };
    let org = Client::with(Config { apps: vec![app], ..Config::default() }).await;
    org.control().advance_clock(Duration::from_secs(50));
    assert_eq!(org.get("limits").await.0, 200);
    org.control().advance_clock(Duration::from_secs(61));
    assert_eq!(org.get("limits").await.0, 401);
}

#[tokio::test]
async fn pkce_may_be_required_of_all_apps() {
    let org = Client::with_settings(|settings| settings.pkce_required = true).await;
    let browser = Browser::new(&org);
    assert!(browser.authorize(&[]).await.html.contains("missing required code challenge"));
    assert!(browser.authorize(&[("code_challenge", crate::browser::CHALLENGE)]).await.is_login());
}
