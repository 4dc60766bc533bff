//! The pages a person sees, and what comes back to the app.

use causeway_simulator::{Config, ConnectedApp, OauthAction, User};

use crate::browser::{Browser, CALLBACK, CHALLENGE, exchange};
use crate::client::Client;

const NAME: &str = causeway_simulator::USERNAME;
const PASSWORD: &str = causeway_simulator::PASSWORD;

#[tokio::test]
async fn a_person_logs_in_and_allows_and_is_asked_only_once() {
    let org = Client::new().await;
    let browser = Browser::new(&org);
    let page = browser.authorize(&[("state", "s"), ("scope", "api refresh_token")]).await;
    assert!(page.is_login() && page.html.contains("causeway-dev"), "{}", page.html);
    let page = browser.log_in(&page, NAME, "wrong").await;
    assert!(page.is_login() && page.html.contains("role=\"alert\"") && !page.html.contains("wrong"));
    let page = browser.log_in(&page, NAME, PASSWORD).await;
    assert!(page.is_approval() && page.html.contains("Act for you at any time") && page.html.contains("localhost:9"));
    let callback = browser.decide(&page, "allow").await.query();
    assert!(callback["code"].starts_with("aPrx"));
    // Logged in and approved: no page at all, unless the app asks for one or for more.
    assert!(browser.authorize(&[("scope", "api")]).await.query().contains_key("code"));
    assert!(browser.authorize(&[("scope", "api"), ("prompt", "consent")]).await.is_approval());
    assert!(browser.authorize(&[("scope", "api web")]).await.is_approval());
    assert!(browser.authorize(&[("scope", "api"), ("prompt", "login")]).await.is_login());
    let choose = browser.authorize(&[("scope", "api"), ("prompt", "select_account")]).await;
    assert!(choose.is_login() && choose.html.contains(&format!("value=\"{NAME}\"")));
    // Another browser knows nothing of that login.
    assert!(Browser::new(&org).authorize(&[("scope", "api")]).await.is_login());
    browser.open("/secur/logout.jsp").await;
    assert!(browser.authorize(&[("scope", "api")]).await.is_login());
    let actions: Vec<_> = org.control().oauth_audit().iter().map(|entry| entry.action).collect();
    assert!(actions.contains(&OauthAction::LoggedIn) && actions.contains(&OauthAction::Approved));
}

#[tokio::test]
async fn who_denies_sends_the_app_away_with_access_denied() {
    let org = Client::new().await;
    let browser = Browser::new(&org);
    let page = browser.authorize(&[("state", "x")]).await;
    let page = browser.log_in(&page, NAME, PASSWORD).await;
    let seen = browser.decide(&page, "deny").await;
    let expected = format!("{CALLBACK}?error=access_denied&error_description=end-user+denied+authorization&state=x");
    assert_eq!(seen.location, Some(expected));
    // The page is used up.
    assert_eq!(browser.decide(&page, "allow").await.status, 400);
}

#[tokio::test]
async fn state_comes_back_byte_for_byte() {
    let org = Client::with_settings(|settings| settings.auto_approve = true).await;
    let path = |state: &str| {
        format!(
            "/services/oauth2/authorize?response_type=code&client_id=causeway-dev&redirect_uri={CALLBACK}&state={state}"
        )
    };
    let browser = Browser::new(&org);
    for state in ["CAAA%2Bb%2F%3D%3D", "%FF%00%0D%0Ax", "a%26b%3Dc%23", "%F0%9F%8D%8B"] {
        let location = browser.open(&path(state)).await.location.unwrap();
        assert!(location.ends_with(&format!("&state={state}")), "{state} became {location}");
    }
    // A plus and a space are the same to a form reader.
    assert!(browser.open(&path("a+b")).await.location.unwrap().ends_with("&state=a%20b"));
    let long = "A".repeat(5000);
    assert!(browser.open(&path(&long)).await.location.unwrap().ends_with(&long));
    assert!(!browser.open(&path("")).await.location.unwrap().contains("state"));
}

#[tokio::test]
async fn what_must_not_be_redirected_is_shown() {
    let mut apps = vec![ConnectedApp::development()];
    apps.push(ConnectedApp {
        redirect_uris: vec![CALLBACK.into()],
        pkce_required: true,
        ..ConnectedApp::new("strict", "s")
    });
    let org = Client::with(Config { apps, ..Config::default() }).await;
    let browser = Browser::new(&org);
    let cases: [(&[(&str, &str)], &str); 7] = [
        (&[("client_id", "nobody")], "error=invalid_client_id&error_description=client+identifier+invalid"),
        (&[("redirect_uri", "")], "error=redirect_uri_missing&error_description=redirect_uri+not+provided"),
        (
            &[("client_id", "strict"), ("redirect_uri", "http://localhost:9/callback/")],
            "error=redirect_uri_mismatch&error_description=redirect_uri+must+match+configuration",
        ),
        (
            &[("redirect_uri", "javascript:alert(1)")],
            "error=redirect_uri_mismatch&error_description=redirect_uri+must+match+configuration",
        ),
        (&[("client_id", "strict")], "error=invalid_request&error_description=missing required code challenge"),
        (
            &[("code_challenge", CHALLENGE), ("code_challenge_method", "plain")],
            "error=invalid_request&error_description=code+challenge+method+not+supported",
        ),
        (&[("code_challenge", "short")], "error=invalid_request&error_description=invalid+code+challenge"),
    ];
    for (changes, expected) in cases {
        let seen = browser.authorize(changes).await;
        assert_eq!((seen.status.as_u16(), seen.location, seen.html.as_str()), (400, None, expected));
    }
    let plain = org.http.get(org.url("/services/oauth2/authorize"));
    let plain = plain.query(&[("client_id", "strict"), ("redirect_uri", CALLBACK), ("response_type", "code")]);
    assert!(plain.send().await.unwrap().headers().get("content-type").is_none());
}

#[tokio::test]
async fn what_the_app_got_wrong_is_sent_back_to_it() {
    let app = ConnectedApp { scopes: vec!["api".into(), "id".into()], ..ConnectedApp::development() };
    let org = Client::with(Config { apps: vec![app], ..Config::default() }).await;
    let browser = Browser::new(&org);
    let cases: [(&[(&str, &str)], &str); 6] = [
        (&[("response_type", "token")], "unsupported_response_type"),
        (&[("scope", "api refresh_token")], "invalid_scope"),
        (&[("scope", "nonsense")], "invalid_scope"),
        (&[("prompt", "none")], "login_required"),
        (&[("immediate", "true")], "immediate_unsuccessful"),
        (&[("scope", "api"), ("prompt", "none login")], "login_required"),
    ];
    for (changes, expected) in cases {
        let query = browser.authorize(&[changes, &[("state", "s")]].concat()).await.query();
        assert_eq!((query["error"].as_str(), query["state"].as_str()), (expected, "s"), "{changes:?}");
    }
    let page = browser.authorize(&[("scope", "api")]).await;
    browser.log_in(&page, NAME, PASSWORD).await;
    assert_eq!(browser.authorize(&[("prompt", "none")]).await.query()["error"], "consent_required");
    assert!(browser.approve(&[("scope", "api")]).await.contains_key("code"));
    assert!(browser.authorize(&[("prompt", "none"), ("scope", "api")]).await.query().contains_key("code"));
    assert!(browser.authorize(&[("immediate", "true"), ("scope", "api")]).await.query().contains_key("code"));
}

#[tokio::test]
async fn no_other_browser_can_answer_a_page() {
    let org = Client::new().await;
    let (mine, theirs) = (Browser::new(&org), Browser::new(&org));
    let page = mine.authorize(&[]).await;
    assert_eq!(theirs.log_in(&page, NAME, PASSWORD).await.status, 400);
    let approval = mine.log_in(&page, NAME, PASSWORD).await;
    theirs.approve(&[]).await;
    assert_eq!(theirs.decide(&approval, "allow").await.status, 400);
    assert!(mine.decide(&approval, "allow").await.query().contains_key("code"));
}

#[tokio::test]
async fn a_page_waits_fifteen_minutes() {
    let org = Client::new().await;
    let browser = Browser::new(&org);
    let page = browser.authorize(&[]).await;
    org.control().advance_clock(std::time::Duration::from_mins(16));
    assert_eq!(browser.log_in(&page, NAME, PASSWORD).await.status, 400);
}

#[tokio::test]
async fn nothing_from_outside_reaches_a_page_unescaped() {
    let evil = "\"><script>alert(1)</script>";
    let app = ConnectedApp { name: evil.into(), ..ConnectedApp::development() };
    let org = Client::with(Config { apps: vec![app], ..Config::default() }).await;
    let browser = Browser::new(&org);
    let page = browser
        .authorize(&[
            ("login_hint", evil),
            ("display", evil),
            ("state", evil),
            ("nonce", evil),
            ("redirect_uri", &format!("http://{evil}/")),
        ])
        .await;
    assert!(page.is_login() && !page.html.contains("<script"), "{}", page.html);
    let page = browser.log_in(&page, evil, evil).await;
    assert!(page.is_login() && !page.html.contains("<script"), "{}", page.html);
    let page = browser.log_in(&page, NAME, PASSWORD).await;
    assert!(page.is_approval() && !page.html.contains("<script"), "{}", page.html);
    let error = reqwest::Url::parse_with_params(
        &org.url("/setup/secur/RemoteAccessErrorPage.apexp"),
        [("code", evil), ("error", evil), ("error_description", evil)],
    );
    let response = org.http.get(error.unwrap()).send().await.unwrap();
    assert!(response.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    assert!(!response.text().await.unwrap().contains("<script"));
    let shown = browser.authorize(&[("client_id", evil)]).await;
    assert!(!shown.html.contains("<script"));
}

#[tokio::test]
async fn the_user_who_logged_in_is_the_one_who_writes() {
    let mut users = vec![User::integration()];
    users.push(User::new("jane@causeway.test", "secret", "Jane", "Doe"));
    let mut org = Client::with(Config { users, ..Config::default() }).await;
    let browser = Browser::new(&org);
    let page = browser.authorize(&[("scope", "api id"), ("login_hint", "jane@causeway.test")]).await;
    assert!(page.html.contains("value=\"jane@causeway.test\""));
    let page = browser.log_in(&page, "jane@causeway.test", "secret").await;
    let code = browser.decide(&page, "allow").await.query()["code"].clone();
    let (_, body) = exchange(&org, &code, &[]).await;
    org.token = body["access_token"].as_str().unwrap().to_owned();
    let jane =
        org.query("SELECT Id, Name FROM User WHERE Username = 'jane@causeway.test'").await.1["records"][0].clone();
    assert_eq!(jane["Name"], "Jane Doe");
    let id = org.create("Account", crate::client::person("Smith")).await;
    let (_, row) = org.get(&format!("sobjects/Account/{id}")).await;
    for field in ["CreatedById", "LastModifiedById", "OwnerId"] {
        assert_eq!(row[field], jane["Id"], "{field}");
    }
    assert_eq!(org.records("Contact")[0]["CreatedById"], jane["Id"]);
    // Somebody else's edit leaves the creator.
    org.token = org.sign_in().await;
    org.patch(&format!("sobjects/Account/{id}"), serde_json::json!({ "LastName": "Jones" })).await;
    let (_, row) = org.get(&format!("sobjects/Account/{id}")).await;
    assert_eq!((row["CreatedById"] == jane["Id"], row["LastModifiedById"] == jane["Id"]), (true, false));
}

#[tokio::test]
async fn at_a_login_host_the_user_decides_which_org_the_app_gets() {
    let named = |name: &str| Config { name: name.to_owned(), ..Config::default() };
    let users = vec![User::integration(), User::new("jane@globex.test", "secret", "Jane", "Doe")];
    let orgs = vec![named("acme"), Config { users, ..named("globex") }];
    let simulator = causeway_simulator::Simulator::start_many(orgs).await.unwrap();
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let org = Client { simulator, http, token: String::new() };
    let browser = Browser::new(&org);
    let path = "/login/services/oauth2/authorize";
    let query = format!("{path}?response_type=code&client_id=causeway-dev&redirect_uri={CALLBACK}&scope=api");
    let page = browser.open(&query).await;
    let login = [("source", &*page.source()), ("username", "jane@globex.test"), ("password", "secret")];
    let page = browser.submit_to(path, &login).await;
    assert!(page.is_approval() && page.html.contains("Jane Doe"), "{}", page.html);
    let code =
        browser.submit_to(path, &[("source", &page.source()), ("decision", "allow")]).await.query()["code"].clone();
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", CALLBACK),
        crate::browser::APP[0],
        crate::browser::APP[1],
    ];
    let answer = org.http.post(org.url("/login/services/oauth2/token")).form(&form).send().await.unwrap();
    let (status, body) = crate::client::read(answer).await;
    assert_eq!((status, &body["instance_url"]), (200, &org.url("/orgs/globex").into()));
}
