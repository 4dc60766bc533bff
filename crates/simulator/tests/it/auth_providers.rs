//! The org as OAuth client, with a second org as the `OpenID` provider.

use std::time::Duration;

use causeway_simulator::{AuthProvider, Config, ConnectedApp, Fault, FaultKind};
use serde_json::{Value, json};

use crate::client::{Client, read};

/// The provider's org, and the org that signs in there.
struct Two {
    provider: Client,
    org: Client,
}

impl Two {
    async fn start(change: impl FnOnce(&mut AuthProvider, &Client)) -> Self {
        let apps = vec![ConnectedApp::development(), ConnectedApp::new("org-client", "org:secret%/")];
        let mut config = Config { apps, ..Config::default() };
        config.settings.auto_approve = true;
        let provider = Client::with(config).await;
        let mut auth_provider = AuthProvider {
            suffix: "Limio".into(),
            consumer_key: "org-client".into(),
            consumer_secret: "org:secret%/".into(),
            authorize_url: provider.url("/services/oauth2/authorize?authProvider=app&zone=a+b"),
            token_url: provider.url("/services/oauth2/token?authProvider=app"),
            user_info_url: Some(provider.url("/services/oauth2/userinfo")),
            token_issuer: None,
            default_scopes: "openid api refresh_token".into(),
            use_pkce: true,
            send_nonce: true,
            send_client_credentials_in_header: false,
            send_access_token_in_header: true,
            refresh_statuses: Vec::new(),
        };
        change(&mut auth_provider, &provider);
        let config = Config { auth_providers: vec![auth_provider], ..Config::default() };
        Self { org: Client::with(config).await, provider }
    }

    async fn redirect(&self, url: &str) -> String {
        let response = self.org.http.get(url).send().await.unwrap();
        let status = response.status();
        match response.headers().get("location") {
            Some(location) => location.to_str().unwrap().to_owned(),
            None => panic!("{status}: {}", response.text().await.unwrap()),
        }
    }

    /// Sends a person through; the text of the page at the end, or where he was sent instead.
    async fn authenticate(&self, kind: &str) -> String {
        let out = self.redirect(&self.org.url(&format!("/services/auth/{kind}/Limio"))).await;
        let back = self.redirect(&out).await;
        let response = self.org.http.get(back).send().await.unwrap();
        match response.headers().get("location") {
            Some(location) => location.to_str().unwrap().to_owned(),
            None => response.text().await.unwrap(),
        }
    }

    async fn call_out(&self, path: &str) -> (u16, Value) {
        let call = json!({ "provider": "Limio", "method": "get", "url": self.provider.url(path) });
        read(self.org.http.post(self.org.url("/_sim/callouts")).json(&call).send().await.unwrap()).await
    }
}

#[tokio::test]
async fn the_authorize_request_has_sorted_parameters_and_a_long_state() {
    let two = Two::start(|_, _| {}).await;
    let out = two.redirect(&two.org.url("/services/auth/oauth/Limio")).await;
    let (_, query) = out.split_once('?').unwrap();
    let keys: Vec<_> = query.split('&').map(|pair| pair.split('=').next().unwrap()).collect();
    assert_eq!(
        keys,
        [
            "authProvider",
            "client_id",
            "code_challenge",
            "code_challenge_method",
            "nonce",
            "redirect_uri",
            "response_type",
            "scope",
            "state",
            "zone"
        ]
    );
    assert!(query.contains("scope=openid+api+refresh_token&state=CAAAA") && query.ends_with("&zone=a+b"), "{query}");
    assert!(query.contains("%2Fservices%2Fauthcallback%2FLimio"));
    let state = query.split("state=").nth(1).unwrap().split('&').next().unwrap();
    assert!((250..=350).contains(&state.len()), "{}", state.len());
    let plain = Two::start(|provider, _| (provider.use_pkce, provider.send_nonce) = (false, false)).await;
    let out = plain.redirect(&plain.org.url("/services/auth/oauth/Limio")).await;
    assert!(!out.contains("code_challenge") && !out.contains("nonce"));
}

#[tokio::test]
async fn a_callout_carries_the_token_and_refreshes_it_once_on_401() {
    for in_header in [false, true] {
        let two = Two::start(|provider, _| provider.send_client_credentials_in_header = in_header).await;
        assert_eq!(two.call_out("/services/data/v62.0/limits").await.0, 400);
        let page = two.authenticate("oauth").await;
        assert!(page.contains("Authenticated"), "{page}");
        let (status, answer) = two.call_out("/services/data/v62.0/limits").await;
        assert_eq!((status, &answer["status"], &answer["attempts"]), (200, &json!(200), &json!(1)), "{answer}");
        two.provider.control().expire_sessions();
        let (_, answer) = two.call_out("/services/data/v62.0/limits").await;
        assert_eq!(answer["status"], 200, "{answer}");
        assert_eq!((&answer["attempts"], &answer["refreshed"]), (&json!(2), &json!(true)));
        // A refusal that a new token does not heal is repeated once and handed on.
        let refused = Fault::always(FaultKind::ExpiredSession);
        two.provider.control().arm(refused);
        let (_, answer) = two.call_out("/services/data/v62.0/limits").await;
        assert_eq!((&answer["status"], &answer["attempts"]), (&json!(401), &json!(2)));
        two.provider.control().clear_faults();
        // Other refusals refresh nothing.
        let (_, answer) = two.call_out("/services/data/v62.0/nonsense").await;
        assert_eq!((&answer["status"], &answer["attempts"]), (&json!(404), &json!(1)));
        two.provider.control().revoke_tokens(None, None).unwrap();
        let (status, answer) = two.call_out("/services/data/v62.0/limits").await;
        assert_eq!(status, 400);
        assert!(answer["error"].as_str().unwrap().contains("invalid_grant"), "{answer}");
        let listed = two.org.http.get(two.org.url("/_sim/auth-providers")).send().await.unwrap().text().await.unwrap();
        assert!(listed.contains("\"refreshed\":2") && !listed.contains("secret%"), "{listed}");
    }
}

#[tokio::test]
async fn callouts_at_once_refresh_a_rotating_token_once() {
    let two = Two::start(|_, _| {}).await;
    two.provider.control().update_settings(|settings| settings.refresh_rotation = true);
    two.authenticate("oauth").await;
    two.provider.control().expire_sessions();
    let calls = (0..5).map(|_| two.call_out("/services/data/v62.0/limits"));
    for (_, answer) in futures::future::join_all(calls).await {
        assert_eq!(answer["status"], 200, "{answer}");
    }
    let refreshes = two.provider.control().oauth_audit();
    assert_eq!(refreshes.iter().filter(|entry| entry.flow == "refresh_token").count(), 1);
}

#[tokio::test]
async fn a_login_reads_the_users_claims() {
    for in_header in [false, true] {
        let two = Two::start(|provider, _| provider.send_access_token_in_header = in_header).await;
        let page = two.authenticate("sso").await;
        assert!(page.contains(causeway_simulator::USERNAME), "{page}");
    }
    let two = Two::start(|provider, _| provider.user_info_url = None).await;
    assert!(two.authenticate("test").await.contains("ErrorCode=Configuration_Error"));
    assert!(two.authenticate("oauth").await.contains("Authenticated"));
}

#[tokio::test]
async fn what_goes_wrong_ends_on_the_error_page_with_its_code() {
    let two = Two::start(|_, _| {}).await;
    let error = "/_nc_external/identity/sso/ui/AuthorizationError?ErrorCode=No_Oauth_State\
                 &ErrorDescription=State+was+not+valid&ProviderId=0SO";
    let lost = two.redirect(&two.org.url("/services/authcallback/Limio?code=x&state=y")).await;
    assert!(lost.starts_with(&two.org.url(error)), "{lost}");
    let shown = two.org.http.get(&lost).send().await.unwrap().text().await.unwrap();
    assert!(shown.contains("State was not valid"));
    // A state is good once and for fifteen minutes.
    let out = two.redirect(&two.org.url("/services/auth/oauth/Limio")).await;
    let back = two.redirect(&out).await;
    assert_eq!(two.org.http.get(&back).send().await.unwrap().status(), 200);
    assert!(two.redirect(&back).await.contains("No_Oauth_State"));
    let out = two.redirect(&two.org.url("/services/auth/oauth/Limio")).await;
    two.org.control().advance_clock(Duration::from_mins(16));
    let back = two.redirect(&out).await;
    assert!(two.redirect(&back).await.contains("No_Oauth_State"));
    // Errors of the provider, at the door and at its token endpoint.
    let out = two.redirect(&two.org.url("/services/auth/oauth/Limio")).await;
    let state = out.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let denied = format!("/services/authcallback/Limio?error=access_denied&error_description=no&state={state}");
    assert!(
        two.redirect(&two.org.url(&denied)).await.contains("ErrorCode=Remote_Error&ErrorDescription=access_denied")
    );
    two.provider.control().arm(Fault::once(FaultKind::UnknownOauthError).on_path("/oauth2/token"));
    assert!(two.authenticate("oauth").await.contains("ErrorCode=Remote_Error&ErrorDescription=unknown_error"));
    two.provider.control().arm(Fault::once(FaultKind::UnavailableHtml).on_path("/oauth2/token"));
    assert!(two.authenticate("oauth").await.contains("ErrorCode=No_Oauth_Token"));
}

#[tokio::test]
async fn the_id_token_must_come_from_the_configured_issuer() {
    let two = Two::start(|provider, org| provider.token_issuer = Some(org.simulator.base_url().to_owned())).await;
    assert!(two.authenticate("oauth").await.contains("Authenticated"));
    let two = Two::start(|provider, _| provider.token_issuer = Some("https://other.example".into())).await;
    assert!(two.authenticate("oauth").await.contains("ErrorCode=Invalid_Issuer"));
    assert_eq!(two.call_out("/services/data/v62.0/limits").await.0, 400);
}

#[tokio::test]
async fn providers_are_checked_when_they_are_added() {
    let org = Client::new().await;
    let put = |body: Value| {
        let org = &org;
        async move { read(org.http.post(org.url("/_sim/auth-providers")).json(&body).send().await.unwrap()).await.0 }
    };
    let good = json!({ "suffix": "P", "consumer_key": "k", "authorize_url": "http://x/a", "token_url": "http://x/t" });
    assert_eq!(put(good.clone()).await, 201);
    for (key, value) in [("suffix", "a/b"), ("suffix", ""), ("token_url", "ftp://x"), ("authorize_url", "x")] {
        let mut bad = good.clone();
        bad[key] = json!(value);
        assert_eq!(put(bad).await, 400, "{key} {value}");
    }
    assert_eq!(org.http.get(org.url("/services/auth/oauth/None")).send().await.unwrap().status(), 404);
}
