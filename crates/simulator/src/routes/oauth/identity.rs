//! Who a token belongs to: userinfo and the identity URL. Their refusals are 403 in plain text.
//!
//! Source: Help, "Identity URLs" and "User Info Endpoint"; `Bad_OAuth_Token` recorded.

use axum::response::Response;
use serde_json::{Map, Value, json};

use super::format::Format;
use super::{Incoming, body, identity_url};
use crate::config::User;
use crate::form::{Form, segments};
use crate::ids::RecordId;
use crate::org::Org;
use crate::routes::data::bearer;
use crate::routes::text_response;

/// The newest API version that `version=latest` stands for.
const LATEST: &str = "67.0";

fn forbidden(word: &str) -> Response {
    text_response(403, "text/html; charset=UTF-8", word.to_owned())
}

/// The user of a good token of any scope, from the header or the form.
fn signed_in(org: &Org, incoming: &Incoming, form: &Form) -> Result<(RecordId, User), Response> {
    let posted = body(incoming);
    let token = bearer(&incoming.headers)
        .or_else(|| posted.filled("access_token"))
        .or_else(|| form.filled("oauth_token"))
        .or_else(|| form.filled("access_token"))
        .ok_or_else(|| forbidden("Missing_OAuth_Token"))?;
    let settings = org.settings();
    // A session of any scope is good here, and its use counts as use.
    let _ = org.oauth.accept(token, org.clock.now_ms(), &settings);
    let store = org.oauth.store();
    let session = store.session(token, org.clock.now_ms(), &settings).ok_or_else(|| forbidden("Bad_OAuth_Token"))?;
    let user = store.user(session.user).cloned().ok_or_else(|| forbidden("Bad_Id"))?;
    if user.usable() { Ok((session.user, user)) } else { Err(forbidden("Inactive")) }
}

/// URLs of the org's services for `version`.
fn urls(org: &Org, user: RecordId, version: &str) -> Value {
    let base = org.base_url();
    let organization = org.state().defaults.organization;
    let rest = format!("{base}/services/data/v{version}/");
    json!({
        "enterprise": format!("{base}/services/Soap/c/{version}/{}", organization.short()),
        "metadata": format!("{base}/services/Soap/m/{version}/{}", organization.short()),
        "partner": format!("{base}/services/Soap/u/{version}/{}", organization.short()),
        "rest": rest, "sobjects": format!("{rest}sobjects/"), "search": format!("{rest}search/"),
        "query": format!("{rest}query/"), "recent": format!("{rest}recent/"),
        "tooling_soap": format!("{base}/services/Soap/T/{version}/{}", organization.short()),
        "tooling_rest": format!("{rest}tooling/"), "profile": format!("{base}/{user}"),
        "feeds": format!("{rest}chatter/feeds"), "groups": format!("{rest}chatter/groups"),
        "users": format!("{rest}chatter/users"), "feed_items": format!("{rest}chatter/feed-items"),
        "custom_domain": base,
    })
}

fn photo(org: &Org, letter: &str) -> String {
    format!("{}/profilephoto/005/{letter}", org.base_url())
}

fn nickname(user: &User) -> &str {
    user.username.split('@').next().unwrap_or_default()
}

pub(super) fn userinfo(org: &Org, incoming: &Incoming) -> Response {
    let form = Form::parse(incoming.uri.query().unwrap_or_default());
    let (id, user) = match signed_in(org, incoming, &form) {
        Ok(found) => found,
        Err(response) => return response,
    };
    let url = identity_url(org, id);
    let answer = json!({
        "sub": url, "user_id": id.to_string(), "organization_id": org.state().defaults.organization.to_string(),
        "preferred_username": user.username, "nickname": nickname(&user), "name": user.name(), "email": user.email(),
        "email_verified": true, "given_name": user.first_name, "family_name": user.last_name,
        "zoneinfo": "Europe/London",
        "photos": { "picture": photo(org, "F"), "thumbnail": photo(org, "T") },
        "profile": format!("{}/{id}", org.base_url()), "picture": photo(org, "F"), "address": { "country": "GB" },
        "is_salesforce_integration_user": false, "urls": urls(org, id, "{version}"), "active": user.active,
        "user_type": "STANDARD", "language": "en_US", "locale": "en_GB", "utcOffset": 0,
        "updated_at": changed(org, id), "is_app_installed": org.settings().app_installed,
    });
    Format::asked(&form, incoming).rooted(200, "user", &answer)
}

/// When the user's row was last changed.
fn changed(org: &Org, id: RecordId) -> Option<String> {
    let field = org.schema.object(org.schema.user).find("LastModifiedDate")?;
    org.state().table(org.schema.user).get(id, None).and_then(|row| row.text(field).map(str::to_owned))
}

pub(super) fn identity(org: &Org, incoming: &Incoming) -> Response {
    let form = Form::parse(incoming.uri.query().unwrap_or_default());
    let (me, user) = match signed_in(org, incoming, &form) {
        Ok(found) => found,
        Err(response) => return response,
    };
    let organization = org.state().defaults.organization;
    let wanted = segments(incoming.uri.path());
    let [_, wanted_org, wanted_user] = wanted.as_slice() else { return forbidden("Bad_Id") };
    if RecordId::parse(wanted_org).is_none_or(|id| id != organization) {
        return forbidden("Wrong_Org");
    }
    let Some(wanted_user) = RecordId::parse(wanted_user).filter(|id| org.oauth.store().user(*id).is_some()) else {
        return forbidden("Bad_Id");
    };
    if wanted_user != me {
        return forbidden("No_Access");
    }
    let version = match form.filled("version") {
        Some("latest") => LATEST,
        Some(version) => version,
        None => "{version}",
    };
    let mut answer = Map::new();
    let fields = json!({
        "id": identity_url(org, me), "asserted_user": true, "user_id": me.to_string(),
        "organization_id": organization.to_string(), "username": user.username, "nick_name": nickname(&user),
        "display_name": user.name(), "email": user.email(), "email_verified": true, "first_name": user.first_name,
        "last_name": user.last_name, "timezone": "Europe/London",
        "photos": { "picture": photo(org, "F"), "thumbnail": photo(org, "T") },
        "addr_street": null, "addr_city": null, "addr_state": null, "addr_country": "GB", "addr_zip": null,
        "mobile_phone": null, "mobile_phone_verified": false, "is_lightning_login_user": false,
        "status": { "created_date": null, "body": null }, "urls": urls(org, me, version), "active": user.active,
        "user_type": "STANDARD", "language": "en_US", "locale": "en_GB", "utcOffset": 0,
        "last_modified_date": changed(org, me), "is_app_installed": org.settings().app_installed,
    });
    if let Value::Object(fields) = fields {
        answer.extend(fields);
    }
    Format::asked(&form, incoming).rooted(200, "user", &Value::Object(answer))
}
