//! `POST /services/oauth2/token`, one function for each grant type.
//!
//! Source: Help, "OAuth 2.0 Web Server Flow", "OAuth 2.0 Refresh Token Flow", "OAuth 2.0 JWT Bearer Flow", "OAuth 2.0
//! Client Credentials Flow", "OAuth 2.0 Username-Password Flow"; error texts from "OAuth 2.0 Error Codes" and recorded.

use std::sync::Arc;

use axum::response::Response;
use serde_json::{Map, Value, json};

use super::format::Format;
use super::{Incoming, body, event, identity_url, instance_url, refused};
use crate::config::ConnectedApp;
use crate::form::Form;
use crate::oauth::audit::OauthAction;
use crate::oauth::codes::Presented;
use crate::oauth::grants::Issued;
use crate::oauth::id_token::IdToken;
use crate::oauth::sessions::Opening;
use crate::oauth::{OauthError, Store, assertion, policy, scope, text};
use crate::org::Org;
use crate::routes::data::header_text;
use crate::settings::Settings;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const CLIENT_JWT: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Words of the recorded refusal of an app that was never given the scope the flow needs.
const NEEDS_REFRESH_SCOPE: &str = "The JWT bearer and SAML assertion bearer flows require a refresh_token scope. \
                                   Install and preauthorize the app.";

type Outcome = Result<Map<String, Value>, OauthError>;

/// What all grant types need to know.
struct Asked<'a> {
    org: &'a Arc<Org>,
    incoming: &'a Incoming,
    form: &'a Form,
    settings: Arc<Settings>,
    organization: String,
    now_ms: i64,
}

/// Which fields an answer has besides those every answer has.
#[derive(Default)]
struct Extras<'a> {
    /// Consumer secret: the answer is signed with it and dated.
    secret: Option<&'a str>,
    nonce: Option<&'a str>,
    api_instance: bool,
}

pub(super) fn answer(org: &Arc<Org>, incoming: &Incoming) -> Response {
    let form = body(incoming);
    let format = Format::asked(&form, incoming);
    let asked = Asked {
        org,
        incoming,
        form: &form,
        settings: org.settings(),
        organization: org.state().defaults.organization.short(),
        now_ms: org.clock.now_ms(),
    };
    match grant(&asked) {
        Ok(answer) => format.response(200, &Value::Object(answer)),
        Err(error) => {
            let (grant_type, client_id) = (form.get("grant_type").unwrap_or_default(), asked.client_id());
            let mut entry = event(org, incoming, OauthAction::Refused, grant_type, &client_id);
            entry.error = Some(format!("{}: {}", error.error, error.description));
            org.oauth.store().audit.push(entry);
            refused(org, &error, format)
        }
    }
}

fn grant(asked: &Asked<'_>) -> Outcome {
    for key in ["grant_type", "client_id", "client_secret", "code", "refresh_token", "assertion"] {
        if asked.form.repeats(key) {
            return Err(OauthError::new("invalid_request", format!("duplicate parameter: {key}")));
        }
    }
    match asked.form.filled("grant_type") {
        Some("client_credentials") => client_credentials(asked),
        Some(JWT_BEARER) => jwt_bearer(asked),
        Some("refresh_token") => refresh(asked),
        Some("authorization_code") => authorization_code(asked),
        Some("password") => password(asked),
        Some(_) | None => Err(OauthError::new("unsupported_grant_type", "grant type not supported")),
    }
}

impl Asked<'_> {
    fn basic(&self) -> Option<(String, String)> {
        header_text(&self.incoming.headers, "authorization").and_then(text::basic)
    }

    fn client_id(&self) -> String {
        self.basic().map_or_else(|| self.form.get("client_id").unwrap_or_default().to_owned(), |(id, _)| id)
    }

    /// The app that asks, once it has shown that it is the one.
    fn client(&self, store: &Store, secret_needed: impl Fn(&ConnectedApp) -> bool) -> Result<ConnectedApp, OauthError> {
        authenticate(self.org, store, self.incoming, self.form, secret_needed)
    }

    fn required(&self, key: &str) -> Result<&str, OauthError> {
        self.form.filled(key).ok_or_else(|| OauthError::new("invalid_request", "missing required parameters"))
    }

    fn opening<'a>(&'a self, app: &'a ConnectedApp, user: crate::ids::RecordId, scope: &'a str) -> Opening<'a> {
        Opening { client_id: &app.client_id, user, scope, organization: &self.organization, now_ms: self.now_ms }
    }

    /// Lets the user in, or says why not.
    fn admit(&self, store: &mut Store, app: &ConnectedApp, user: crate::ids::RecordId) -> Result<(), OauthError> {
        store.admit(Some(app), user, self.incoming.peer, self.now_ms, &self.settings)
    }

    fn audit(&self, store: &mut Store, action: OauthAction, app: &ConnectedApp, issued: &Issued) {
        let grant_type = self.form.get("grant_type").unwrap_or_default();
        let mut entry = event(self.org, self.incoming, action, grant_type, &app.client_id);
        store.username(issued.user).clone_into(&mut entry.username);
        entry.scope.clone_from(&issued.scope);
        store.audit.push(entry);
    }

    fn audit_reuse(&self, store: &mut Store, client_id: &str) {
        let grant_type = self.form.get("grant_type").unwrap_or_default();
        let entry = event(self.org, self.incoming, OauthAction::ReuseDetected, grant_type, client_id);
        store.audit.push(entry);
    }
}

/// Checks consumer key and secret, from the Basic header or the body, or a signed client assertion.
pub(super) fn authenticate(
    org: &Org,
    store: &Store,
    incoming: &Incoming,
    form: &Form,
    secret_needed: impl Fn(&ConnectedApp) -> bool,
) -> Result<ConnectedApp, OauthError> {
    let bad_secret = || OauthError::new("invalid_client", "invalid client credentials");
    if let Some(signed) = form.filled("client_assertion") {
        if form.get("client_assertion_type") != Some(CLIENT_JWT) {
            return Err(OauthError::new("invalid_assertion_type", "client assertion type not supported"));
        }
        let mut audiences = audiences(org);
        audiences.push(format!("{}/services/oauth2/token", org.host_url()));
        let (app, subject) = assertion::check(store, signed, &audiences, org.clock.now_ms(), &org.settings())
            .map_err(|error| if error.error == "invalid_client_id" { error } else { bad_secret() })?;
        return if subject == app.client_id { Ok(app) } else { Err(bad_secret()) };
    }
    let (client_id, secret) = match header_text(&incoming.headers, "authorization").and_then(text::basic) {
        Some(pair) => pair,
        None => (
            form.get("client_id").unwrap_or_default().to_owned(),
            form.get("client_secret").unwrap_or_default().to_owned(),
        ),
    };
    let app = store.app(&client_id)?;
    let good = if app.public {
        // An app that keeps no secret must not send one.
        secret.is_empty()
    } else if secret.is_empty() {
        !secret_needed(&app)
    } else {
        app.client_secret == secret
    };
    if good { Ok(app) } else { Err(bad_secret()) }
}

/// Hosts that an assertion may be meant for.
fn audiences(org: &Org) -> Vec<String> {
    let fixed = ["https://login.salesforce.com", "https://test.salesforce.com"].map(str::to_owned);
    fixed.into_iter().chain(org.audiences()).chain([instance_url(org).trim_end_matches('/').to_owned()]).collect()
}

fn client_credentials(asked: &Asked<'_>) -> Outcome {
    let mut store = asked.org.oauth.store();
    let app = asked.client(&store, |_| true)?;
    let no_user = || OauthError::new("invalid_grant", "no client credentials user enabled");
    let user = app.run_as.as_deref().and_then(|name| store.user_named(name)).ok_or_else(no_user)?.0;
    asked.admit(&mut store, &app, user)?;
    let granted = scope::without_request(&app, "api id web");
    let issued = store.issue_session(asked.opening(&app, user, &granted), &asked.settings);
    asked.audit(&mut store, OauthAction::Issued, &app, &issued);
    drop(store);
    Ok(fields(asked, &app, &issued, &Extras { secret: Some(&app.client_secret), api_instance: true, nonce: None }))
}

fn jwt_bearer(asked: &Asked<'_>) -> Outcome {
    let signed = asked.required("assertion")?;
    let mut store = asked.org.oauth.store();
    let (app, subject) = assertion::check(&store, signed, &audiences(asked.org), asked.now_ms, &asked.settings)?;
    if !scope::may_refresh(&app) {
        return Err(OauthError::new("invalid_request", NEEDS_REFRESH_SCOPE));
    }
    let unapproved = || OauthError::new("invalid_grant", "user hasn't approved this consumer");
    let user = store.user_named(&subject).ok_or_else(unapproved)?.0;
    let by_admin = asked.settings.admin_approved_only || app.admin_approved_only;
    if !by_admin && !store.approved_for_assertions(&app, user) {
        return Err(unapproved());
    }
    asked.admit(&mut store, &app, user)?;
    let granted = scope::without_request(&app, "web api");
    let issued = store.issue_session(asked.opening(&app, user, &granted), &asked.settings);
    asked.audit(&mut store, OauthAction::Issued, &app, &issued);
    drop(store);
    Ok(fields(asked, &app, &issued, &Extras::default()))
}

fn refresh(asked: &Asked<'_>) -> Outcome {
    let mut store = asked.org.oauth.store();
    let app = asked.client(&store, |app| app.refresh_secret_required)?;
    let token = asked.required("refresh_token")?;
    let user = store.refresh_owner(&app.client_id, token)?;
    let ranges = &asked.settings.refresh_ip_ranges;
    if !ranges.is_empty() && !policy::in_ranges(asked.incoming.peer, ranges) {
        return Err(OauthError::new("invalid_grant", "ip restricted or invalid login hours"));
    }
    asked.admit(&mut store, &app, user)?;
    let refreshed = store.refresh(&app.client_id, token, &asked.organization, asked.now_ms, &asked.settings);
    let issued = match refreshed {
        Ok(issued) => issued,
        Err((error, reused)) => {
            if reused {
                asked.audit_reuse(&mut store, &app.client_id);
            }
            return Err(error);
        }
    };
    let action = if issued.forgiven { OauthAction::Forgiven } else { OauthAction::Refreshed };
    asked.audit(&mut store, action, &app, &issued);
    drop(store);
    Ok(fields(asked, &app, &issued, &Extras { secret: Some(&app.client_secret), ..Extras::default() }))
}

fn authorization_code(asked: &Asked<'_>) -> Outcome {
    let mut store = asked.org.oauth.store();
    let app = asked.client(&store, |_| true)?;
    let text = asked.required("code")?;
    let presented = Presented {
        code: text,
        client_id: &app.client_id,
        redirect_uri: asked.form.get("redirect_uri").unwrap_or_default(),
        verifier: asked.form.filled("code_verifier"),
    };
    let code = match store.redeem(presented, asked.now_ms) {
        Ok(code) => code,
        Err((error, reused)) => {
            if reused {
                asked.audit_reuse(&mut store, &app.client_id);
            }
            return Err(error);
        }
    };
    asked.admit(&mut store, &app, code.user)?;
    let issued = store.issue_family(asked.opening(&app, code.user, &code.scope), &asked.settings);
    store.code_gave(text, issued.grant);
    asked.audit(&mut store, OauthAction::Issued, &app, &issued);
    drop(store);
    let extras = Extras { secret: Some(&app.client_secret), nonce: code.nonce.as_deref(), api_instance: false };
    Ok(fields(asked, &app, &issued, &extras))
}

fn password(asked: &Asked<'_>) -> Outcome {
    let failed = || OauthError::new("invalid_grant", "authentication failure");
    let mut store = asked.org.oauth.store();
    let app = asked.client(&store, |_| true)?;
    if !asked.settings.username_password_flow {
        return Err(failed());
    }
    let (username, password) = (asked.required("username")?, asked.required("password")?);
    let user = store.log_in_with_token(username, password).ok_or_else(failed)?;
    asked.admit(&mut store, &app, user)?;
    let granted = scope::without_request(&app, "api id web");
    let issued = store.issue_session(asked.opening(&app, user, &granted), &asked.settings);
    asked.audit(&mut store, OauthAction::Issued, &app, &issued);
    drop(store);
    Ok(fields(asked, &app, &issued, &Extras { secret: Some(&app.client_secret), ..Extras::default() }))
}

/// The answer's fields; there is no `expires_in`.
fn fields(asked: &Asked<'_>, app: &ConnectedApp, issued: &Issued, extras: &Extras<'_>) -> Map<String, Value> {
    let id = identity_url(asked.org, issued.user);
    let issued_at = issued.at_ms.to_string();
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| {
        fields.insert(key.to_owned(), value);
    };
    put("access_token", json!(issued.access_token));
    if let Some(token) = &issued.refresh_token {
        put("refresh_token", json!(token));
    }
    if let Some(secret) = extras.secret {
        put("signature", json!(text::signature(secret, &id, &issued_at)));
    }
    put("scope", json!(issued.scope));
    if scope::contains(&issued.scope, "openid") {
        let token = IdToken {
            issuer: &asked.org.host_url(),
            subject: &id,
            audience: &app.client_id,
            access_token: &issued.access_token,
            nonce: extras.nonce,
            now_ms: issued.at_ms,
        };
        if let Some(token) = asked.org.oauth.signer.sign(token) {
            put("id_token", json!(token));
        }
    }
    put("instance_url", json!(instance_url(asked.org)));
    put("id", json!(id));
    put("token_type", json!("Bearer"));
    if extras.secret.is_some() {
        put("issued_at", json!(issued_at));
    }
    if extras.api_instance {
        put("api_instance_url", json!(instance_url(asked.org)));
    }
    fields
}
