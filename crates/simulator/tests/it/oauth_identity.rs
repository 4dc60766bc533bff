//! What tokens tell about themselves and their user.

use causeway_simulator::{Config, ConnectedApp, User};
use serde_json::{Value, json};

use crate::browser::{APP, connected, refresh, text};
use crate::client::{Client, read};

async fn plain(org: &Client, path: &str, token: Option<&str>) -> (u16, String) {
    let mut request = org.http.get(if path.starts_with("http") { path.to_owned() } else { org.url(path) });
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn post(org: &Client, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
    read(org.http.post(org.url(path)).form(form).send().await.unwrap()).await
}

#[tokio::test]
async fn the_identity_url_describes_the_user_and_the_orgs_services() {
    let org = Client::new().await;
    let tokens = connected(&org).await;
    let token = text(&tokens, "access_token");
    let id = text(&tokens, "id");
    let body: Value = serde_json::from_str(&plain(&org, id, Some(token)).await.1).unwrap();
    assert_eq!(text(&body, "username"), causeway_simulator::USERNAME);
    assert_eq!(body["urls"]["rest"], format!("{}/services/data/v{{version}}/", org.simulator.base_url()));
    assert_eq!(body["urls"].as_object().unwrap().len(), 16);
    for key in ["id", "asserted_user", "organization_id", "photos", "addr_street", "mobile_phone", "last_modified_date"]
    {
        assert!(body.get(key).is_some(), "{key}");
    }
    let latest = plain(&org, &format!("{id}?version=latest"), Some(token)).await.1;
    let body: Value = serde_json::from_str(&latest).unwrap();
    let rest = body["urls"]["rest"].as_str().unwrap();
    assert_eq!(org.get(rest.strip_prefix(org.simulator.base_url()).unwrap().trim_end_matches('/')).await.0, 200);
    let (_, xml) = plain(&org, &format!("{id}?format=xml&oauth_token={token}"), None).await;
    assert!(xml.contains("<user><id>http") && xml.contains("<urls><enterprise>"), "{xml}");
}

#[tokio::test]
async fn identity_refuses_in_one_word() {
    let users = vec![User::integration(), User::new("jane@causeway.test", "secret", "Jane", "Doe")];
    let org = Client::with(Config { users, ..Config::default() }).await;
    let tokens = connected(&org).await;
    let token = Some(text(&tokens, "access_token"));
    let id = text(&tokens, "id").strip_prefix(org.simulator.base_url()).unwrap().to_owned();
    let jane = org.query("SELECT Id FROM User WHERE FirstName = 'Jane'").await.1["records"][0]["Id"].clone();
    let [_, organization, user] = id.split('/').skip(1).collect::<Vec<_>>()[..] else { panic!("{id}") };
    let word = |path: String, token: Option<&'static str>| {
        let org = &org;
        async move { plain(org, &path, token).await }
    };
    assert_eq!(word(id.clone(), None).await, (403, "Missing_OAuth_Token".into()));
    assert_eq!(word(id.clone(), Some("00Dx!bad")).await, (403, "Bad_OAuth_Token".into()));
    let with = |path: String| {
        let org = &org;
        async move { plain(org, &path, token).await }
    };
    assert_eq!(with(format!("/id/00D000000000001AAA/{user}")).await, (403, "Wrong_Org".into()));
    assert_eq!(with(format!("/id/{organization}/nonsense")).await, (403, "Bad_Id".into()));
    assert_eq!(with(format!("/id/{organization}")).await, (403, "Bad_Id".into()));
    assert_eq!(with(format!("/id/{organization}/{}", jane.as_str().unwrap())).await, (403, "No_Access".into()));
    // Ids of fifteen characters are the same ids.
    assert_eq!(with(format!("/id/{}/{}", &organization[..15], &user[..15])).await.0, 200);
}

#[tokio::test]
async fn introspection_tells_an_app_about_its_own_tokens_only() {
    let mut apps = vec![ConnectedApp::development(), ConnectedApp::new("other", "s")];
    apps.push(ConnectedApp { introspect_all_tokens: true, ..ConnectedApp::new("auditor", "s") });
    let org = Client::with(Config { apps, ..Config::default() }).await;
    let tokens = connected(&org).await;
    let ask = |token: String, app: [(&'static str, &'static str); 2]| {
        let org = &org;
        async move { post(org, "/services/oauth2/introspect", &[("token", token.as_str()), app[0], app[1]]).await }
    };
    let access = text(&tokens, "access_token").to_owned();
    let (status, body) = ask(access.clone(), APP).await;
    assert_eq!((status, &body["active"], &body["client_id"]), (200, &json!(true), &json!("causeway-dev")));
    assert_eq!((text(&body, "token_type"), text(&body, "sub")), ("access_token", text(&tokens, "id")));
    assert_eq!(body["exp"].as_i64().unwrap() - body["iat"].as_i64().unwrap(), 7_200);
    let (_, body) = ask(text(&tokens, "refresh_token").to_owned(), APP).await;
    assert_eq!((&body["active"], text(&body, "token_type")), (&json!(true), "refresh_token"));
    assert_eq!(ask("nonsense".into(), APP).await.1, json!({ "active": false }));
    let secret = ("client_secret", "s");
    assert_eq!(ask(access.clone(), [("client_id", "other"), secret]).await.1, json!({ "active": false }));
    assert_eq!(ask(access.clone(), [("client_id", "auditor"), secret]).await.1["active"], true);
    let (status, body) = ask(access, [APP[0], secret]).await;
    assert_eq!((status, text(&body, "error")), (400, "invalid_client"));
    assert_eq!(plain(&org, "/services/oauth2/introspect", None).await.0, 400);
}

#[tokio::test]
async fn revocation_works_by_post_and_get_and_follows_the_family() {
    let mut org = Client::new().await;
    let tokens = connected(&org).await;
    let (status, body) = post(&org, "/services/oauth2/revoke", &[("token", text(&tokens, "access_token"))]).await;
    assert_eq!((status, body), (200, Value::Null));
    let (status, second) = refresh(&org, text(&tokens, "refresh_token")).await;
    assert_eq!(status, 200);
    let path = format!("/services/oauth2/revoke?token={}", text(&tokens, "refresh_token"));
    assert_eq!(plain(&org, &path, None).await, (200, String::new()));
    org.token = text(&second, "access_token").to_owned();
    assert_eq!(org.get("limits").await.0, 401);
    let (status, body) = post(&org, "/services/oauth2/revoke", &[("token", text(&tokens, "refresh_token"))]).await;
    assert_eq!((status, text(&body, "error")), (400, "invalid_token"));
    let odd = [("token", "x"), ("token_type_hint", "cheese")];
    assert_eq!(post(&org, "/services/oauth2/revoke", &odd).await.1["error"], "unsupported_token_type");
    // Access was taken away, so the next connection asks again.
    let page = crate::browser::Browser::new(&org);
    let login = page.authorize(&[("scope", "api refresh_token")]).await;
    assert!(page.log_in(&login, causeway_simulator::USERNAME, causeway_simulator::PASSWORD).await.is_approval());
}

#[tokio::test]
async fn discovery_names_the_endpoints_that_answer() {
    let org = Client::new().await;
    let (_, body) = plain(&org, "/.well-known/openid-configuration", None).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(text(&body, "issuer"), org.simulator.base_url());
    for key in ["authorization_endpoint", "token_endpoint", "userinfo_endpoint", "introspection_endpoint", "jwks_uri"] {
        assert_ne!(plain(&org, text(&body, key), None).await.0, 404, "{key}");
    }
    let (status, body) = plain(&org, "/.well-known/auth-configuration", None).await;
    assert_eq!(status, 200);
    assert!(body.contains("\"OrgId\":\"00D"));
}

#[tokio::test]
async fn browsers_of_listed_origins_may_call_the_endpoints() {
    let org = Client::with_settings(|settings| settings.cors_origins = vec!["https://app.example".into()]).await;
    for (origin, expected) in [("https://app.example", Some("https://app.example")), ("https://evil.example", None)] {
        let request = org.http.get(org.url("/services/oauth2/userinfo")).header("origin", origin);
        let response = request.send().await.unwrap();
        let allowed = response.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap());
        assert_eq!(allowed, expected);
        let preflight = org.http.request(reqwest::Method::OPTIONS, org.url("/services/oauth2/token"));
        let preflight = preflight.header("origin", origin).send().await.unwrap();
        assert_eq!(preflight.status().as_u16(), if expected.is_some() { 200 } else { 403 });
    }
    let page = org.http.get(org.url("/services/oauth2/authorize")).header("origin", "https://app.example");
    assert!(page.send().await.unwrap().headers().get("access-control-allow-origin").is_none());
}
