//! The authorize endpoint: checks, login page, approval page, and the way back to the app.
//!
//! Source: Help, "OAuth 2.0 Web Server Flow" and "OAuth 2.0 Error Codes"; what is shown instead of redirected is
//! recorded. A page's form names a waiting authorization by a random text and is good only in the browser that began
//! it, which a cookie tells; so no other site can log in or approve for a person.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::{ERROR_PAGE, event, page, pages};
use crate::config::ConnectedApp;
use crate::form::{Form, encode, encode_bytes};
use crate::ids::RecordId;
use crate::oauth::audit::OauthAction;
use crate::oauth::browser::Pending;
use crate::oauth::codes::Code;
use crate::oauth::{OauthError, Store, scope, text};
use crate::org::Org;
use crate::routes::data::header_text;
use crate::routes::{Incoming, text_response};
use crate::settings::Settings;

const BAD_LOGIN: &str = "Please check your username and password. If you still can't log in, contact your \
                         Salesforce administrator.";
/// Longer values than that belong to no honest request, and the org keeps them while a page waits.
const LONGEST_VALUE: usize = 16 * 1024;

/// What `prompt` asks for.
#[derive(Debug, Default, Clone, Copy)]
struct Prompt {
    login: bool,
    consent: bool,
    select_account: bool,
    none: bool,
}

impl Prompt {
    fn of(form: &Form) -> Self {
        let mut prompt = Self::default();
        for word in form.get("prompt").unwrap_or_default().split_whitespace() {
            match word {
                "login" => prompt.login = true,
                "consent" => prompt.consent = true,
                "select_account" => prompt.select_account = true,
                "none" => prompt.none = true,
                _ => {}
            }
        }
        prompt
    }
}

/// An error that the app may not be trusted with, as text.
fn shown(error: &str, description: &str) -> Response {
    let body = format!("error={error}&error_description={}", description.replace(' ', "+"));
    text_response(400, "text/html; charset=UTF-8", body)
}

/// A refusal that the app learns of.
fn sent_back(waiting: &Pending, error: &str, description: &str) -> Response {
    back(waiting, &format!("error={error}&error_description={}", encode(description).replace("%20", "+")))
}

/// Redirects to the app, its state behind everything else.
fn back(waiting: &Pending, query: &str) -> Response {
    let redirect = &waiting.redirect_uri;
    let joint = if redirect.contains('?') { '&' } else { '?' };
    let state = waiting.state.as_ref().map_or(String::new(), |state| format!("&state={}", encode_bytes(state)));
    found(&format!("{redirect}{joint}{query}{state}"))
        .unwrap_or_else(|| shown("redirect_uri_mismatch", "redirect_uri must match configuration"))
}

fn found(location: &str) -> Option<Response> {
    let location = HeaderValue::from_str(location).ok()?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(header::LOCATION, location);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache,no-store"));
    Some(response)
}

/// The page with the org's own wording of a refusal; paths are relative, as the org may live below a prefix.
fn error_page(code: &str, error: &str, description: &str) -> Response {
    let description = encode(description).replace("%20", "+");
    found(&format!("../..{ERROR_PAGE}?code={code}&error={error}&error_description={description}"))
        .unwrap_or_else(|| shown(error, "not available"))
}

/// Names a browser at all orgs of this address, as a person may begin at one and turn out to belong to another.
const COOKIE: &str = "sim_browser";

/// The browser's name.
pub(crate) fn browser(headers: &HeaderMap) -> Option<String> {
    let pairs = header_text(headers, "cookie")?.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(key, _)| *key == COOKIE).map(|(_, value)| value.to_owned()).next().filter(|value| value.len() < 200)
}

fn with_cookie(mut response: Response, value: &str) -> Response {
    let cookie = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// An authorization from its parameters.
pub(super) fn begin(org: &Arc<Org>, incoming: &Incoming, parameters: &str) -> Response {
    let form = Form::parse(parameters);
    let settings = org.settings();
    let (app, mut waiting) = match checked(org, &form, parameters, &settings) {
        Ok(found) => found,
        Err(response) => return *response,
    };
    if form.filled("response_type") != Some("code") {
        return sent_back(&waiting, "unsupported_response_type", "response type not supported");
    }
    match scope::requested(&app, form.get("scope")) {
        Ok(scope) => waiting.scope = scope,
        Err(error) => return sent_back(&waiting, error.error, &error.description),
    }
    let prompt = Prompt::of(&form);
    waiting.ask_again = prompt.consent;
    let now_ms = org.clock.now_ms();
    if settings.auto_approve {
        let mut store = org.oauth.store();
        let hinted = store.user_named(&waiting.login_hint).map(|(id, _)| id);
        let user = hinted.unwrap_or_else(crate::oauth::first_user);
        let admitted = store.admit(Some(&app), user, incoming.peer, now_ms, &settings);
        return match admitted {
            Ok(()) => allow(org, &mut store, incoming, &waiting, user),
            Err(error) => kept_out(&waiting, &error, &settings),
        };
    }
    let known = browser(&incoming.headers);
    let user = known.as_deref().and_then(|known| org.oauth.store().browsers.user(known, now_ms));
    let quiet = prompt.none || form.get("immediate") == Some("true");
    if quiet {
        let (no_login, no_consent) = if prompt.none {
            ("login_required", "consent_required")
        } else {
            ("immediate_unsuccessful", "immediate_unsuccessful")
        };
        let Some(user) = user else { return sent_back(&waiting, no_login, "the user is not logged in") };
        let mut store = org.oauth.store();
        if !store.approved(&app, user, &waiting.scope, &settings) {
            return sent_back(&waiting, no_consent, "the user has not approved the application");
        }
        let admitted = store.admit(Some(&app), user, incoming.peer, now_ms, &settings);
        return match admitted {
            Ok(()) => allow(org, &mut store, incoming, &waiting, user),
            Err(error) => kept_out(&waiting, &error, &settings),
        };
    }
    let name = known.unwrap_or_else(text::secret);
    waiting.browser.clone_from(&name);
    let source = org.oauth.store().browsers.wait(waiting.clone(), now_ms);
    let response = if let Some(user) = user.filter(|_| !prompt.login && !prompt.select_account) {
        ask(org, incoming, &app, &waiting, &source, user)
    } else {
        let suggested = if waiting.login_hint.is_empty() && prompt.select_account {
            user.map_or(String::new(), |user| org.oauth.store().username(user).to_owned())
        } else {
            waiting.login_hint.clone()
        };
        page(200, pages::login(&source, app.label(), &suggested, &waiting.display, None))
    };
    with_cookie(response, &name)
}

/// The app and what it asks for; refusals that must not be redirected.
fn checked(
    org: &Org,
    form: &Form,
    parameters: &str,
    settings: &Settings,
) -> Result<(ConnectedApp, Pending), Box<Response>> {
    let text = |key: &str| form.get(key).unwrap_or_default();
    let refuse = |error: &str, description: &str| Err(Box::new(shown(error, description)));
    let Ok(app) = org.oauth.store().app(text("client_id")) else {
        return refuse("invalid_client_id", "client identifier invalid");
    };
    let redirect = text("redirect_uri");
    if redirect.is_empty() {
        return refuse("redirect_uri_missing", "redirect_uri not provided");
    }
    let registered = app.redirect_uris.iter().any(|uri| uri == redirect);
    let plausible = redirect.contains("://") && HeaderValue::from_str(redirect).is_ok() && !redirect.contains('#');
    if !(registered || app.redirect_uris.is_empty() && plausible) {
        return refuse("redirect_uri_mismatch", "redirect_uri must match configuration");
    }
    let challenge = form.filled("code_challenge");
    if challenge.is_none() && (settings.pkce_required || app.pkce_required || app.public) {
        // Recorded with an empty content type and no redirect.
        let mut response = text_response(
            400,
            "",
            "error=invalid_request&error_description=missing required code challenge".to_owned(),
        );
        response.headers_mut().remove(header::CONTENT_TYPE);
        return Err(Box::new(response));
    }
    let method = form.filled("code_challenge_method");
    if challenge.is_some() && method.is_some_and(|method| method != "S256") {
        return refuse("invalid_request", "code challenge method not supported");
    }
    let good_challenge = |text: &str| {
        (43..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if challenge.is_some_and(|challenge| !good_challenge(challenge)) {
        return refuse("invalid_request", "invalid code challenge");
    }
    let state = Form::bytes(parameters, "state").filter(|state| !state.is_empty());
    if state.as_ref().is_some_and(|state| state.len() > LONGEST_VALUE)
        || ["nonce", "login_hint", "scope", "redirect_uri"].iter().any(|key| text(key).len() > LONGEST_VALUE)
    {
        return refuse("invalid_request", "a parameter is too long");
    }
    let waiting = Pending {
        client_id: app.client_id.clone(),
        redirect_uri: redirect.to_owned(),
        scope: String::new(),
        state,
        nonce: form.filled("nonce").map(str::to_owned),
        challenge: challenge.map(str::to_owned),
        ask_again: false,
        login_hint: text("login_hint").to_owned(),
        display: text("display").chars().take(10).collect(),
        browser: String::new(),
        expires_at_ms: 0,
    };
    Ok((app, waiting))
}

/// A person's answer to the login page or to the approval page. A form of neither is an authorize request by POST.
pub(super) fn answer(org: &Arc<Org>, incoming: &Incoming, text: &str) -> Response {
    let form = Form::parse(text);
    let Some(source) = form.get("source") else { return begin(org, incoming, text) };
    let now_ms = org.clock.now_ms();
    let settings = org.settings();
    let browser = browser(&incoming.headers).unwrap_or_default();
    let mut store = org.oauth.store();
    let Some(waiting) = store.browsers.page(source, &browser, now_ms) else {
        drop(store);
        return page(400, pages::notice("This page has expired", "Go back to the app and start again."));
    };
    let Ok(app) = store.app(&waiting.client_id) else {
        drop(store);
        return shown("invalid_client_id", "client identifier invalid");
    };
    let Some(decision) = form.get("decision") else {
        let user = store.log_in(form.get("username").unwrap_or_default(), form.get("password").unwrap_or_default());
        let user = user.filter(|user| store.user(*user).is_some_and(crate::config::User::usable));
        let Some(user) = user else {
            drop(store);
            let typed = form.get("username").unwrap_or_default();
            return page(200, pages::login(source, app.label(), typed, &waiting.display, Some(BAD_LOGIN)));
        };
        let name = store.browsers.log_in(source, user, now_ms);
        let mut entry = event(org, incoming, OauthAction::LoggedIn, "login", &app.client_id);
        store.username(user).clone_into(&mut entry.username);
        store.audit.push(entry);
        drop(store);
        return with_cookie(ask(org, incoming, &app, &waiting, source, user), &name);
    };
    let Some(user) = store.browsers.user(&browser, now_ms) else {
        drop(store);
        return page(200, pages::login(source, app.label(), &waiting.login_hint, &waiting.display, None));
    };
    store.browsers.done(source);
    if decision != "allow" {
        let mut entry = event(org, incoming, OauthAction::Denied, "authorize", &app.client_id);
        store.username(user).clone_into(&mut entry.username);
        store.audit.push(entry);
        drop(store);
        return sent_back(&waiting, "access_denied", "end-user denied authorization");
    }
    let admitted = store.admit(Some(&app), user, incoming.peer, now_ms, &settings);
    match admitted {
        Ok(()) => allow(org, &mut store, incoming, &waiting, user),
        Err(error) => kept_out(&waiting, &error, &settings),
    }
}

/// The approval page, or the code at once when the user approved before.
fn ask(
    org: &Arc<Org>,
    incoming: &Incoming,
    app: &ConnectedApp,
    waiting: &Pending,
    source: &str,
    user: RecordId,
) -> Response {
    let settings = org.settings();
    let mut store = org.oauth.store();
    let Some(person) = store.user(user).cloned() else {
        return error_page("OAUTH_APPROVAL_ERROR_GENERIC", "invalid_grant", "inactive user");
    };
    let admitted = store.admit(Some(app), user, incoming.peer, org.clock.now_ms(), &settings);
    if let Err(error) = admitted {
        store.browsers.done(source);
        drop(store);
        return kept_out(waiting, &error, &settings);
    }
    if person.api_only && !settings.api_only_users_may_authorize {
        store.browsers.done(source);
        drop(store);
        return error_page("OAUTH_APPROVAL_ERROR_GENERIC", "invalid_grant", "api only user");
    }
    if !waiting.ask_again && store.approved(app, user, &waiting.scope, &settings) {
        store.browsers.done(source);
        return allow(org, &mut store, incoming, waiting, user);
    }
    drop(store);
    page(200, pages::approval(source, app.label(), &person, &waiting.scope, &waiting.redirect_uri, &waiting.display))
}

/// Why the org gives no code: shown on a page of its own, or sent back where the org does that.
fn kept_out(waiting: &Pending, error: &OauthError, settings: &Settings) -> Response {
    match error.error {
        "invalid_app_access" if settings.access_denied_redirects => sent_back(waiting, error.error, &error.description),
        "invalid_app_access" => error_page("OAUTH_APP_ACCESS_DENIED", error.error, &error.description),
        "invalid_client" if error.description.contains("blocked") => {
            error_page("OAUTH_APP_BLOCKED", error.error, &error.description)
        }
        _ => error_page("OAUTH_APPROVAL_ERROR_GENERIC", error.error, &error.description),
    }
}

/// Gives the app its code.
fn allow(org: &Org, store: &mut Store, incoming: &Incoming, waiting: &Pending, user: RecordId) -> Response {
    store.approve(&waiting.client_id, user, &waiting.scope);
    let mut entry = event(org, incoming, OauthAction::Approved, "authorize", &waiting.client_id);
    store.username(user).clone_into(&mut entry.username);
    entry.scope.clone_from(&waiting.scope);
    store.audit.push(entry);
    let code = Code {
        client_id: waiting.client_id.clone(),
        user,
        redirect_uri: waiting.redirect_uri.clone(),
        scope: waiting.scope.clone(),
        challenge: waiting.challenge.clone(),
        nonce: waiting.nonce.clone(),
        expires_at_ms: 0,
        used: false,
        grant: None,
    };
    let code = store.add_code(code, org.clock.now_ms());
    back(waiting, &format!("code={}", encode(&code)))
}

/// Ends the browser's login, and its name with it; tokens stay good.
pub(super) fn log_out(org: &Org, incoming: &Incoming) -> Response {
    if let Some(browser) = browser(&incoming.headers) {
        org.oauth.store().browsers.log_out(&browser);
    }
    with_cookie(page(200, pages::notice("You are logged out", "You can close this page.")), &text::secret())
}
