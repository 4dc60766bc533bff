//! The pages people see: login, approval, errors. All that came from outside is escaped.

use std::fmt::Write;

use axum::response::Response;

use super::page;
use crate::config::User;
use crate::form::Form;
use crate::oauth::scope;
use crate::routes::page::escape;

const STYLE: &str = include_str!("pages.css");

/// A whole page around `content`, which is HTML already.
fn frame(title: &str, display: &str, content: &str) -> String {
    let narrow = if matches!(display, "popup" | "touch" | "mobile") { " class=\"narrow\"" } else { "" };
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{}</title><style>{STYLE}</style></head>\
         <body{narrow}><main><div class=\"cloud\" aria-hidden=\"true\"></div>{content}</main>\
         <footer>A simulated org. Nothing here is real.</footer></body></html>",
        escape(title)
    )
}

/// Where a person says who he is.
pub(super) fn login(source: &str, app: &str, username: &str, display: &str, problem: Option<&str>) -> String {
    let problem = problem.map_or(String::new(), |text| format!("<p role=\"alert\">{}</p>", escape(text)));
    let focus = |here: bool| if here { " autofocus" } else { "" };
    let content = format!(
        "<h1>Log in</h1><p class=\"lead\">to go on to <b>{}</b></p>{problem}\
         <form method=\"post\" action=\"../../services/oauth2/authorize\">\
         <input type=\"hidden\" name=\"source\" value=\"{}\">\
         <label for=\"username\">Username</label><input id=\"username\" name=\"username\" type=\"text\" value=\"{}\" \
         autocomplete=\"username\" autocapitalize=\"none\" spellcheck=\"false\" required{}>\
         <label for=\"password\">Password</label><input id=\"password\" name=\"password\" type=\"password\" \
         autocomplete=\"current-password\" required{}>\
         <button class=\"main\">Log In</button></form>",
        escape(app),
        escape(source),
        escape(username),
        focus(username.is_empty()),
        focus(!username.is_empty()),
    );
    frame("Login | Simulated org", display, &content)
}

/// Where he allows or denies.
pub(super) fn approval(
    source: &str,
    app: &str,
    user: &User,
    wanted: &str,
    redirect_uri: &str,
    display: &str,
) -> String {
    let mut rights = String::new();
    for name in wanted.split(' ') {
        // Writing to a String cannot fail, so the results carry nothing.
        let _ = write!(rights, "<li>{} <code>{}</code></li>", scope::meaning(name), escape(name));
    }
    let target = redirect_uri.split_once("://").map_or(redirect_uri, |(_, rest)| rest);
    let host = target.split(['/', '?']).next().unwrap_or_default();
    let content = format!(
        "<h1>Allow Access?</h1><p class=\"lead\"><b>{}</b> is asking to:</p><ul>{rights}</ul>\
         <p>Do you want to allow access for <b>{}</b>? You will go on to <b>{}</b>.</p>\
         <form method=\"post\" action=\"../../services/oauth2/authorize\">\
         <input type=\"hidden\" name=\"source\" value=\"{}\">\
         <div class=\"row\"><button name=\"decision\" value=\"deny\">Deny</button>\
         <button class=\"main\" name=\"decision\" value=\"allow\">Allow</button></div></form>\
         <p class=\"small\">Signed in as {}. Not you? <a href=\"../../secur/logout.jsp\">Log out</a></p>",
        escape(app),
        escape(&user.username),
        escape(host),
        escape(source),
        escape(&user.name()),
    );
    frame("Allow Access?", display, &content)
}

pub(crate) fn notice(title: &str, text: &str) -> String {
    frame(title, "", &format!("<h1>{}</h1><p>{}</p>", escape(title), escape(text)))
}

/// The page a refused authorization ends on.
pub(super) fn error(form: &Form) -> Response {
    let text = |key: &str| form.get(key).unwrap_or_default();
    let sentence = match text("code") {
        "OAUTH_APP_ACCESS_DENIED" => "You are not allowed to use this app. Ask your administrator for access.",
        "OAUTH_APP_BLOCKED" => "this app is blocked by admin",
        // The typo is the org's.
        _ => "An unexpected error has occured during authentication. Please try again.",
    };
    let content = format!(
        "<h1>We can't authorize you</h1><p role=\"alert\"><code>{}</code>: {sentence}</p>\
         <p class=\"small\">error={}<br>error_description={}</p>",
        escape(text("code")),
        escape(text("error")),
        escape(text("error_description")),
    );
    page(400, frame("Authorization error", "", &content))
}
