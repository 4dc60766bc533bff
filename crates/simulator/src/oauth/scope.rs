//! OAuth scopes (Help, "OAuth Tokens and Scopes").

use std::collections::BTreeSet;

use super::OauthError;
use crate::config::ConnectedApp;

/// A set of granted scopes.
pub(crate) type Scopes = BTreeSet<String>;

/// What a connected app may be given, with the words of the approval page.
const KNOWN: &[(&str, &str)] = &[
    ("api", "Read and change data through the APIs"),
    ("full", "Do everything you can do"),
    ("id", "See who you are: profile, e-mail, address, phone"),
    ("openid", "Recognise you by a unique identifier"),
    ("profile", "See your profile"),
    ("email", "See your e-mail address"),
    ("address", "See your address"),
    ("phone", "See your phone number"),
    ("refresh_token", "Act for you at any time"),
    ("offline_access", "Act for you at any time"),
    ("web", "Use your session in the browser"),
    ("chatter_api", "Use Chatter"),
    ("custom_permissions", "See your custom permissions"),
    ("visualforce", "Open Visualforce pages"),
    ("lightning", "Open Lightning pages"),
    ("content", "Open content pages"),
    ("wave_api", "Use CRM Analytics"),
    ("eclair_api", "Use chart geodata"),
    ("pardot_api", "Use Account Engagement"),
    ("cdp_api", "Use Data 360"),
    ("cdp_query_api", "Query Data 360"),
    ("cdp_ingest_api", "Write to Data 360"),
    ("cdp_profile_api", "Read Data 360 profiles"),
    ("interaction_api", "Use the Interaction Service"),
    ("sfap_api", "Use the Salesforce Platform API"),
    ("einstein_gpt_api", "Use Einstein"),
    ("scrt_api", "Use Service Cloud messaging"),
    ("chatbot_api", "Use chatbots"),
    ("forgot_password", "Use headless forgotten-password pages"),
    ("user_registration_api", "Use headless registration"),
    ("pwdless_login_api", "Use headless login"),
];

pub(crate) fn is_known(name: &str) -> bool {
    KNOWN.iter().any(|(known, _)| *known == name)
}

/// What a scope lets the app do, for the approval page.
pub(crate) fn meaning(name: &str) -> &'static str {
    KNOWN.iter().find(|(known, _)| *known == name).map_or("", |(_, words)| words)
}

/// The scope an authorization is for: what is asked, or all the app has.
///
/// # Errors
/// A scope does not exist, or the app does not have it.
pub(crate) fn requested(app: &ConnectedApp, asked: Option<&str>) -> Result<String, OauthError> {
    let Some(asked) = asked.filter(|text| !text.trim().is_empty()) else { return Ok(of_app(app)) };
    let mut granted: Vec<&str> = Vec::new();
    for name in asked.split_whitespace() {
        if !is_known(name) || !has(app, name) {
            return Err(OauthError::new("invalid_scope", "the requested scope is invalid, unknown, or malformed"));
        }
        if !granted.contains(&name) {
            granted.push(name);
        }
    }
    Ok(granted.join(" "))
}

fn of_app(app: &ConnectedApp) -> String {
    if app.scopes.is_empty() { "api id refresh_token".to_owned() } else { app.scopes.join(" ") }
}

/// The scope of flows that ask for none.
pub(crate) fn without_request(app: &ConnectedApp, default: &str) -> String {
    if app.scopes.is_empty() {
        return default.to_owned();
    }
    app.scopes.iter().filter(|name| !is_refresh(name)).cloned().collect::<Vec<_>>().join(" ")
}

fn has(app: &ConnectedApp, name: &str) -> bool {
    let lists = |wanted: &str| app.scopes.iter().any(|scope| scope == wanted);
    match name {
        _ if app.scopes.is_empty() || lists(name) => true,
        "refresh_token" | "offline_access" => lists("refresh_token") || lists("offline_access"),
        "profile" | "email" | "address" | "phone" => lists("id") || lists("full"),
        _ => lists("full"),
    }
}

/// Whether the app could be given a refresh token.
pub(crate) fn may_refresh(app: &ConnectedApp) -> bool {
    has(app, "refresh_token")
}

fn is_refresh(name: &str) -> bool {
    matches!(name, "refresh_token" | "offline_access")
}

/// Whether a granted scope brings a refresh token; `full` alone does not.
pub(crate) fn refreshes(scope: &str) -> bool {
    scope.split(' ').any(is_refresh)
}

pub(crate) fn contains(scope: &str, name: &str) -> bool {
    scope.split(' ').any(|part| part == name)
}

/// Whether a session of this scope may use the REST API.
pub(crate) fn allows_rest(scope: &str) -> bool {
    scope.split(' ').any(|part| matches!(part, "api" | "full" | "web"))
}

pub(crate) fn set(scope: &str) -> Scopes {
    scope.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::requested;
    use crate::config::ConnectedApp;

    #[test]
    fn an_app_gets_no_more_than_it_has() {
        let app = ConnectedApp { scopes: vec!["api".into(), "id".into()], ..ConnectedApp::new("a", "b") };
        assert_eq!(requested(&app, Some("api  email api")).as_deref(), Ok("api email"));
        assert_eq!(requested(&app, None).as_deref(), Ok("api id"));
        for refused in ["api refresh_token", "full", "nonsense"] {
            assert_eq!(requested(&app, Some(refused)).map_err(|error| error.error), Err("invalid_scope"), "{refused}");
        }
    }
}
