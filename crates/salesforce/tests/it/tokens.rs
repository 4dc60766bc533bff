//! The three ways to sign in, and what must never happen to a refresh token.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use causeway_salesforce::{
    AccessGrant, AccessTokenStore, ClientCredentials, GrantRefusal, JwtBearer, Lease, RefreshToken, RefreshTokenStore,
    StoreError, StoredGrant, Token, TokenError, TokenErrorKind, TokenSource,
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::server::{Seen, Server, Step, sequence};

/// An org that gives these answers to token requests.
async fn login(steps: impl IntoIterator<Item = Step>) -> Server {
    Server::start(|_| (sequence([]), sequence(steps))).await
}

fn grant(access: &str, refresh: Option<&str>) -> Step {
    let mut body =
        json!({ "access_token": access, "instance_url": "https://acme.my.salesforce.com", "id": "https://x" });
    if let Some(refresh) = refresh {
        body["refresh_token"] = json!(refresh);
    }
    Step::json(200, &body)
}

fn refusal(error: &str, description: &str) -> Step {
    Step::json(400, &json!({ "error": error, "error_description": description }))
}

fn form(seen: &Seen) -> Vec<(String, String)> {
    let url = format!("http://x/?{}", seen.text());
    let url = reqwest::Url::parse(&url).expect("a form");
    url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

fn field(seen: &Seen, name: &str) -> String {
    form(seen).into_iter().find(|(key, _)| key == name).map(|(_, value)| value).unwrap_or_default()
}

fn secret(token: &Token) -> &str {
    token.access_token().expose_secret()
}

/// A store that writes down what happens, and fails as often as told.
#[derive(Default)]
struct Store {
    grant: Mutex<Option<StoredGrant>>,
    history: Mutex<Vec<String>>,
    failures: Mutex<usize>,
    read_only: Mutex<bool>,
}

impl Store {
    fn holding(refresh: &str, access: Option<&str>) -> Arc<Self> {
        let access = access.map(|access| AccessGrant {
            instance_url: "https://acme.my.salesforce.com".to_owned(),
            access_token: access.into(),
        });
        let store = Self::default();
        *store.grant.lock().expect("lock") = Some(StoredGrant { refresh_token: refresh.into(), access, refusal: None });
        Arc::new(store)
    }

    fn refresh_token(&self) -> String {
        let grant = self.grant.lock().expect("lock").clone().expect("a grant");
        grant.refresh_token.expose_secret().to_owned()
    }

    fn history(&self) -> Vec<String> {
        self.history.lock().expect("lock").clone()
    }

    fn note(&self, what: impl Into<String>) {
        self.history.lock().expect("lock").push(what.into());
    }
}

#[async_trait]
impl RefreshTokenStore for Store {
    async fn lease(&self) -> Result<Lease, StoreError> {
        self.note("lease");
        Ok(Lease::sole())
    }

    async fn load(&self) -> Result<StoredGrant, StoreError> {
        self.grant.lock().expect("lock").clone().ok_or_else(|| StoreError("empty".to_owned()))
    }

    async fn save(&self, grant: &StoredGrant) -> Result<(), StoreError> {
        let mut failures = self.failures.lock().expect("lock");
        if *failures > 0 {
            *failures -= 1;
            return Err(StoreError("disk full".to_owned()));
        }
        self.note(format!("save {}", grant.refresh_token.expose_secret()));
        *self.grant.lock().expect("lock") = Some(grant.clone());
        Ok(())
    }

    async fn presents(&self) -> Result<(), StoreError> {
        if *self.read_only.lock().expect("lock") { Err(StoreError("read only".to_owned())) } else { Ok(()) }
    }

    async fn refused(&self, refusal: &GrantRefusal) {
        if let Some(grant) = self.grant.lock().expect("lock").as_mut() {
            grant.refusal = Some(refusal.clone());
        }
    }
}

/// A place where processes share an access token, or fail to.
#[derive(Default)]
struct Share {
    access: Mutex<Option<AccessGrant>>,
    away: bool,
}

#[async_trait]
impl AccessTokenStore for Share {
    async fn lease(&self) -> Result<Lease, StoreError> {
        if self.away { Err(StoreError("away".to_owned())) } else { Ok(Lease::sole()) }
    }

    async fn load(&self) -> Result<Option<AccessGrant>, StoreError> {
        Ok(self.access.lock().expect("lock").clone())
    }

    async fn save(&self, access: &AccessGrant) -> Result<(), StoreError> {
        *self.access.lock().expect("lock") = Some(access.clone());
        Ok(())
    }
}

fn source(org: &Server, store: &Arc<Store>) -> RefreshToken {
    RefreshToken::new(org.login(), Some("app-secret".into()), Arc::clone(store) as Arc<dyn RefreshTokenStore>)
        .expect("settings")
}

#[tokio::test]
async fn client_credentials_sign_in_by_id_and_secret() {
    let org = login([grant("a", None)]).await;
    let source = ClientCredentials::new(org.login(), "app&secret".into()).expect("settings");
    let token = source.token().await.expect("a token");
    assert_eq!((secret(&token), token.instance_url(), token.generation()), ("a", "https://acme.my.salesforce.com", 1));
    assert_eq!(source.token().await.expect("the same token").generation(), 1);
    let requests = org.token_requests();
    assert_eq!(requests.len(), 1);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        form(&requests[0]),
        [pair("grant_type", "client_credentials"), pair("client_id", "app"), pair("client_secret", "app&secret")]
    );
}

#[tokio::test]
async fn jwt_bearer_signs_an_assertion_that_the_apps_certificate_verifies() {
    let org = login([grant("a", None)]).await;
    let key = include_str!("fixtures/jwt_key.pem").into();
    let audience = "https://login.salesforce.com".to_owned();
    let source = JwtBearer::new(org.login(), "integration@acme.example".to_owned(), audience, &key).expect("settings");
    assert_eq!(secret(&source.token().await.expect("a token")), "a");
    let request = &org.token_requests()[0];
    assert_eq!(field(request, "grant_type"), "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.set_audience(&["https://login.salesforce.com"]);
    let public = jsonwebtoken::DecodingKey::from_rsa_pem(include_bytes!("fixtures/jwt_public.pem")).expect("a key");
    let claims =
        jsonwebtoken::decode::<Value>(field(request, "assertion"), &public, &validation).expect("valid").claims;
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("app"), &json!("integration@acme.example")));
    let left = claims["exp"].as_u64().expect("an expiry") - jsonwebtoken::get_current_timestamp();
    assert!((60..=180).contains(&left), "{left}");
    assert!(!format!("{source:?}").contains("PRIVATE"));
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_without_showing_it() {
    let org = login([]).await;
    let key = "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----".into();
    let error = JwtBearer::new(org.login(), "u".into(), "a".into(), &key).expect_err("no key");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_rotated_refresh_token_is_stored_before_the_access_token_is_used() {
    let org = login([grant("a1", Some("r2")), grant("a2", None), grant("a3", Some("r3"))]).await;
    let store = Store::holding("r1", None);
    let source = source(&org, &store);
    let mut token = source.token().await.expect("a token");
    assert_eq!((secret(&token), store.refresh_token().as_str()), ("a1", "r2"));
    // The second answer names no new refresh token, so the present one stays.
    for access in ["a2", "a3"] {
        token = source.renew(&token).await.expect("a token");
        assert_eq!(secret(&token), access);
    }
    let sent: Vec<String> = org.token_requests().iter().map(|seen| field(seen, "refresh_token")).collect();
    assert_eq!(sent, ["r1", "r2", "r2"]);
    assert_eq!(store.history(), ["lease", "save r2", "lease", "save r2", "lease", "save r3"]);
}

#[tokio::test]
async fn a_rotated_token_that_cannot_be_stored_is_kept_and_its_access_token_waits() {
    let org = login([grant("a1", Some("r2"))]).await;
    let store = Store::holding("r1", None);
    *store.failures.lock().expect("lock") = 4;
    let source = source(&org, &store);
    // Three tries of the first request, one of the second.
    let error = source.token().await.expect_err("not stored");
    assert!(matches!(error, TokenError::Store(_)), "{error}");
    assert_eq!((error.kind(), store.refresh_token().as_str()), (TokenErrorKind::Transient, "r1"));
    let token = source.token().await.expect("stored at last");
    assert_eq!((secret(&token), store.refresh_token().as_str()), ("a1", "r2"));
    assert_eq!(org.token_requests().len(), 1);
}

#[tokio::test]
async fn a_caller_who_leaves_does_not_lose_the_rotated_token() {
    let gate = Arc::new(Notify::new());
    let org = login([Step::Gated(Arc::clone(&gate), Box::new(grant("a1", Some("r2"))))]).await;
    let store = Store::holding("r1", None);
    let source = Arc::new(source(&org, &store));
    let leaving = tokio::spawn({
        let source = Arc::clone(&source);
        async move { source.token().await }
    });
    org.until_seen(1).await;
    leaving.abort();
    assert!(leaving.await.expect_err("aborted").is_cancelled());
    gate.notify_one();
    let token = source.token().await.expect("the token that the other asked for");
    assert_eq!((secret(&token), store.refresh_token().as_str()), ("a1", "r2"));
    assert_eq!(org.token_requests().len(), 1);
}

#[tokio::test]
async fn a_refresh_whose_answer_is_lost_is_not_repeated_by_itself() {
    let org = login([Step::Close, Step::text(502, ""), grant("a1", Some("r2"))]).await;
    let store = Store::holding("r1", None);
    let source = source(&org, &store);
    assert!(matches!(source.token().await, Err(TokenError::AnswerLost(_))));
    assert_eq!((org.token_requests().len(), store.refresh_token().as_str()), (1, "r1"));
    assert_eq!(source.token().await.expect_err("unavailable"), TokenError::Unavailable { status: 502 });
    assert_eq!(org.token_requests().len(), 2);
    assert_eq!(secret(&source.token().await.expect("a token")), "a1");
}

#[tokio::test]
async fn a_token_that_another_process_renewed_is_used_and_none_is_spent() {
    let org = login([]).await;
    let store = Store::holding("r1", Some("a1"));
    let source = source(&org, &store);
    let first = source.token().await.expect("the stored token");
    assert_eq!(secret(&first), "a1");
    let other = AccessGrant { instance_url: "https://acme.my.salesforce.com".into(), access_token: "a2".into() };
    let theirs = StoredGrant { refresh_token: "r2".into(), access: Some(other), refusal: None };
    store.save(&theirs).await.expect("stored");
    let second = source.renew(&first).await.expect("their token");
    assert_eq!((secret(&second), second.generation()), ("a2", 2));
    assert!(org.token_requests().is_empty());
}

#[tokio::test]
async fn a_token_already_renewed_is_not_renewed_again() {
    let org = login([grant("a1", None), grant("a2", None)]).await;
    let source = ClientCredentials::new(org.login(), "s".into()).expect("settings");
    let old = source.token().await.expect("a token");
    let new = source.renew(&old).await.expect("a token");
    for _ in 0..3 {
        assert_eq!(source.renew(&old).await.expect("the same token").generation(), new.generation());
    }
    assert_eq!(org.token_requests().len(), 2);
}

#[tokio::test]
async fn those_who_wait_for_a_failing_request_share_its_failure() {
    let gate = Arc::new(Notify::new());
    let failure = refusal("invalid_grant", "expired access/refresh token");
    let org = login([Step::Gated(Arc::clone(&gate), Box::new(failure))]).await;
    let store = Store::holding("r1", None);
    let source = Arc::new(source(&org, &store));
    let ask = || {
        let source = Arc::clone(&source);
        async move { source.token().await.map(|token| token.generation()) }
    };
    let (first, second, third, ()) = tokio::join!(ask(), ask(), ask(), async {
        org.until_seen(1).await;
        gate.notify_one();
    });
    let kinds: Vec<_> = [first, second, third].map(|result| result.expect_err("refused").kind()).into();
    assert_eq!(kinds, [TokenErrorKind::Dead; 3]);
    assert_eq!(org.token_requests().len(), 1);
    assert_eq!(store.refresh_token(), "r1");
}

#[tokio::test]
async fn only_failures_that_heal_by_waiting_are_tried_again_and_not_for_ever() {
    let unknown = || refusal("unknown_error", "retry your request");
    let json = |status, error: &str| Step::json(status, &json!({ "error": error }));
    for (steps, requests, kind, is_final) in [
        (vec![unknown(), unknown(), unknown()], 3, TokenErrorKind::Transient, false),
        (vec![Step::text(503, "<html>"), Step::Close, Step::text(500, "")], 3, TokenErrorKind::Transient, false),
        (
            vec![json(408, "timeout"), json(420, "slow"), json(502, "invalid_client")],
            3,
            TokenErrorKind::Transient,
            false,
        ),
        (vec![refusal("invalid_client", "invalid client credentials")], 1, TokenErrorKind::Configuration, true),
        (vec![refusal("invalid_grant", "expired access/refresh token")], 1, TokenErrorKind::Dead, true),
        (vec![refusal("invalid_grant", "inactive user")], 1, TokenErrorKind::Administrator, false),
        (vec![refusal("unsupported_grant_type", "grant type not supported")], 1, TokenErrorKind::Defect, true),
        // Known after ten minutes, chosen by the administrator, right with the clock.
        (vec![refusal("invalid_client_id", "client identifier invalid")], 1, TokenErrorKind::Configuration, false),
        (vec![refusal("invalid_grant", "no client credentials user enabled")], 1, TokenErrorKind::Configuration, false),
        (vec![refusal("invalid_grant", "invalid assertion")], 1, TokenErrorKind::Configuration, false),
        // A proxy's, in JSON or not.
        (vec![json(403, "forbidden")], 1, TokenErrorKind::Configuration, false),
        (vec![Step::text(404, "<html>")], 1, TokenErrorKind::Configuration, false),
        // The pause that Salesforce wants is longer than the patience of these settings.
        (vec![refusal("rate_limit_exceeded", "login rate exceeded")], 1, TokenErrorKind::RateLimited, false),
        (
            vec![Step::json(200, &json!({ "instance_url": "https://x.my.salesforce.com" }))],
            1,
            TokenErrorKind::Defect,
            true,
        ),
    ] {
        let org = login(steps).await;
        let source = ClientCredentials::new(org.login(), "s".into()).expect("settings");
        let error = source.token().await.expect_err("no token");
        assert_eq!((error.kind(), org.token_requests().len()), (kind, requests), "{error}");
        assert_eq!(error.retry_after().is_some(), kind == TokenErrorKind::RateLimited);
        assert_eq!(error.is_final(), is_final, "{error}");
    }
}

#[tokio::test]
async fn a_passing_failure_is_survived_without_the_caller_noticing() {
    let org =
        login([refusal("unknown_error", "retry your request"), Step::text(503, ""), grant("a1", Some("r2"))]).await;
    let store = Store::holding("r1", None);
    assert_eq!(secret(&source(&org, &store).token().await.expect("a token")), "a1");
    let sent: Vec<String> = org.token_requests().iter().map(|seen| field(seen, "refresh_token")).collect();
    assert_eq!(sent, ["r1", "r1", "r1"]);
}

#[tokio::test]
async fn processes_that_share_an_access_token_sign_in_once_and_renew_once() {
    let org = login([grant("a1", None), grant("a2", None)]).await;
    let share: Arc<dyn AccessTokenStore> = Arc::new(Share::default());
    let process = || ClientCredentials::sharing(org.login(), "s".into(), Arc::clone(&share)).expect("settings");
    let processes = [process(), process(), process()];
    let mut tokens = Vec::new();
    for process in &processes {
        tokens.push(process.token().await.expect("a token"));
    }
    assert!(tokens.iter().all(|token| secret(token) == "a1") && org.token_requests().len() == 1);
    for (process, token) in processes.iter().zip(&tokens) {
        assert_eq!(secret(&process.renew(token).await.expect("a token")), "a2");
    }
    assert_eq!(org.token_requests().len(), 2);
}

#[tokio::test]
async fn a_process_that_cannot_share_its_access_token_signs_in_alone() {
    let org = login([grant("a1", None)]).await;
    let share = Share { away: true, ..Share::default() };
    let source = ClientCredentials::sharing(org.login(), "s".into(), Arc::new(share)).expect("settings");
    assert_eq!(secret(&source.token().await.expect("a token")), "a1");
}

#[tokio::test]
async fn a_shared_token_for_a_host_that_is_not_trusted_is_not_used() {
    let org = login([grant("a1", None)]).await;
    let planted = AccessGrant { instance_url: "https://evil.example".into(), access_token: "x".into() };
    let share = Share { access: Mutex::new(Some(planted)), away: false };
    let source = ClientCredentials::sharing(org.login(), "s".into(), Arc::new(share)).expect("settings");
    assert_eq!(secret(&source.token().await.expect("a token")), "a1");
}

#[tokio::test]
async fn a_refresh_token_is_not_presented_while_its_successor_could_not_be_stored() {
    let org = login([grant("a1", Some("r2"))]).await;
    let store = Store::holding("r1", None);
    *store.read_only.lock().expect("lock") = true;
    let source = source(&org, &store);
    assert!(matches!(source.token().await, Err(TokenError::Store(_))));
    assert!(org.token_requests().is_empty());
    *store.read_only.lock().expect("lock") = false;
    assert_eq!(secret(&source.token().await.expect("a token")), "a1");
}

#[tokio::test]
async fn a_dead_grant_is_not_presented_again_until_another_is_there() {
    let org = login([refusal("invalid_grant", "expired access/refresh token"), grant("a1", None)]).await;
    let store = Store::holding("r1", None);
    let source = source(&org, &store);
    for _ in 0..3 {
        let error = source.token().await.expect_err("dead");
        assert!(error.kind() == TokenErrorKind::Dead && error.to_string().contains("Authorise"), "{error}");
    }
    assert_eq!(org.token_requests().len(), 1);
    let authorised = StoredGrant { refresh_token: "r9".into(), access: None, refusal: None };
    store.save(&authorised).await.expect("stored");
    assert_eq!(secret(&source.token().await.expect("a token")), "a1");
    assert_eq!(field(&org.token_requests()[1], "refresh_token"), "r9");
}
