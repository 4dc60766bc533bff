//! `/services/Soap`: `login`, `logout` and `getUserInfo`, which clients use to sign in by name and password.
//!
//! Everything else of the SOAP API is not simulated and is answered as an operation that the service does not have.
//!
//! Source: SOAP API Developer Guide, the pages of these calls and "SOAP API End-of-Life Policy"; Help, "Platform SOAP
//! API `login()` Retirement"; the answer's fields and the faults are recorded, those of a locked org and of too many
//! logins apart.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::response::Response;
use quick_xml::Reader;
use quick_xml::events::Event;

use super::oauth::event;
use super::page::escape;
use super::{Incoming, text_response};
use crate::form::segments;
use crate::ids::RecordId;
use crate::oauth::audit::OauthAction;
use crate::oauth::sessions::Opening;
use crate::oauth::{OauthError, Store};
use crate::org::Org;

const XML: &str = "text/xml;charset=UTF-8";
/// The envelope is three levels above the arguments; nothing that is simulated nests deeper.
const DEPTH: usize = 16;
/// Versions below are retired.
const OLDEST: u32 = 31;
const NEWEST: u32 = 67;
/// From this version on there is no `login()`.
const WITHOUT_LOGIN: u32 = 65;

/// The API a URL names: which WSDL it follows, and its version.
struct Endpoint {
    flavour: &'static str,
    letter: &'static str,
    version: String,
}

/// What a fault says.
struct Fault {
    kind: &'static str,
    code: &'static str,
    message: String,
}

impl Fault {
    fn new(kind: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self { kind, code, message: message.into() }
    }

    fn invalid_login() -> Self {
        let message = "Invalid username, password, security token; or user locked out.";
        Self::new("LoginFault", "INVALID_LOGIN", message)
    }

    fn invalid_session() -> Self {
        let message = "Invalid Session ID found in SessionHeader: Illegal Session";
        Self::new("UnexpectedErrorFault", "INVALID_SESSION_ID", message)
    }

    /// What `login()` says to a user who is kept out (SOAP API Developer Guide, `ExceptionCode`).
    fn kept_out(error: &OauthError) -> Self {
        match (error.error, error.description.as_str()) {
            ("inactive_org", text) => Self::new("LoginFault", "ORG_LOCKED", text),
            ("rate_limit_exceeded", text) => Self::new("LoginFault", "INVALID_LOGIN", text),
            ("invalid_grant", text) if text.starts_with("ip restricted") => {
                Self::new("LoginFault", "LOGIN_DURING_RESTRICTED_DOMAIN", "cannot log in from current domain")
            }
            _ => Self::invalid_login(),
        }
    }
}

/// A SOAP request as far as it matters: the operation, its arguments, and the session of the header.
#[derive(Debug, Default, PartialEq, Eq)]
struct Envelope {
    operation: String,
    namespace: String,
    arguments: Vec<(String, String)>,
    session: Option<String>,
}

impl Envelope {
    fn argument(&self, name: &str) -> &str {
        self.arguments.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// Whom a request is from: the session of its header, the name given to `login()`.
#[derive(Debug, Default)]
pub(crate) struct Caller {
    pub(crate) session: Option<String>,
    pub(crate) username: String,
}

/// The caller of a request, as far as it can be read.
pub(crate) fn caller(body: &[u8]) -> Caller {
    let Ok(envelope) = read(body) else { return Caller::default() };
    Caller { username: envelope.argument("username").to_owned(), session: envelope.session }
}

/// The answer of a login host that has no org at all.
pub(crate) fn without_org(path: &str, caller: &Caller) -> Response {
    let Some(endpoint) = endpoint(path) else { return not_found() };
    let fault = if caller.session.is_some() { Fault::invalid_session() } else { Fault::invalid_login() };
    refused(&endpoint, &fault)
}

fn not_found() -> Response {
    text_response(404, "text/html;charset=UTF-8", "<html><body>File not found</body></html>".to_owned())
}

pub(crate) fn handle(org: &Arc<Org>, incoming: &Incoming) -> Response {
    let Some(endpoint) = endpoint(incoming.uri.path()) else { return not_found() };
    if incoming.method != "POST" {
        let message = "HTTP Method not allowed. Only HTTP POST accepted.";
        return text_response(405, "text/plain;charset=UTF-8", message.to_owned());
    }
    let envelope = match read(&incoming.body) {
        Ok(envelope) => envelope,
        Err(message) => return client_fault(&message),
    };
    match answer(org, incoming, &endpoint, &envelope) {
        Ok(Some(body)) => enveloped(200, &endpoint, &body),
        Ok(None) => {
            let (namespace, operation) = (&envelope.namespace, &envelope.operation);
            client_fault(&format!(
                "No operation available for request {{{namespace}}}{operation}, please check the WSDL for the service."
            ))
        }
        Err(fault) => refused(&endpoint, &fault),
    }
}

/// The body of an answer; `None` for an operation that is not there.
fn answer(org: &Org, incoming: &Incoming, endpoint: &Endpoint, envelope: &Envelope) -> Result<Option<String>, Fault> {
    let version: Option<u32> =
        endpoint.version.split_once('.').filter(|(_, minor)| *minor == "0").and_then(|(major, _)| major.parse().ok());
    let Some(version) = version.filter(|version| (OLDEST..=NEWEST).contains(version)) else {
        let message = "Invalid Api version specified on URL";
        return Err(Fault::new("UnexpectedErrorFault", "UNSUPPORTED_API_VERSION", message));
    };
    match envelope.operation.as_str() {
        "login" if version >= WITHOUT_LOGIN => Ok(None),
        "login" => login(org, incoming, endpoint, envelope).map(Some),
        "logout" => {
            let (session, user) = session(org, envelope)?;
            let mut store = org.oauth.store();
            if let Some((client_id, _)) = store.revoke(session) {
                let mut entry = event(org, incoming, OauthAction::Revoked, "soap logout", &client_id);
                store.username(user).clone_into(&mut entry.username);
                store.audit.push(entry);
            }
            Ok(Some("<logoutResponse/>".to_owned()))
        }
        "getUserInfo" => {
            let (_, user) = session(org, envelope)?;
            Ok(Some(format!("<getUserInfoResponse><result>{}</result></getUserInfoResponse>", user_info(org, user))))
        }
        _ => Ok(None),
    }
}

fn login(org: &Org, incoming: &Incoming, endpoint: &Endpoint, envelope: &Envelope) -> Result<String, Fault> {
    let organization = org.organization().short();
    let settings = org.settings();
    let mut store = org.oauth.store();
    let mut entry = event(org, incoming, OauthAction::Issued, "soap login", "");
    if let Some((_, known)) = store.user_named(envelope.argument("username")) {
        entry.username.clone_from(&known.username);
    }
    let user = match sign_in(org, &mut store, incoming, envelope) {
        Ok(user) => user,
        Err(fault) => {
            entry.action = OauthAction::Refused;
            entry.error = Some(format!("{}: {}", fault.code, fault.message));
            store.audit.push(entry);
            return Err(fault);
        }
    };
    let now_ms = org.clock.now_ms();
    let opening = Opening { client_id: "", user, scope: "full", organization: &organization, now_ms };
    let issued = store.issue_session(opening, &settings);
    entry.scope.clone_from(&issued.scope);
    store.audit.push(entry);
    drop(store);
    let instance = settings.instance_url.clone().unwrap_or_else(|| org.base_url());
    let at = |letter: &str| format!("{instance}/services/Soap/{letter}/{}/{organization}", endpoint.version);
    Ok(format!(
        "<loginResponse><result><metadataServerUrl>{}</metadataServerUrl><passwordExpired>false</passwordExpired>\
         <sandbox>{}</sandbox><serverUrl>{}</serverUrl><sessionId>{}</sessionId><userId>{}</userId>\
         <userInfo>{}</userInfo></result></loginResponse>",
        escape(&at("m")),
        org.sandbox(),
        escape(&at(endpoint.letter)),
        escape(&issued.access_token),
        user,
        user_info(org, user)
    ))
}

/// The user of `login()`, whom nothing keeps out.
fn sign_in(org: &Org, store: &mut Store, incoming: &Incoming, envelope: &Envelope) -> Result<RecordId, Fault> {
    let settings = org.settings();
    if !settings.soap_login {
        let message = "SOAP API login() is disabled by default in this org. Contact the org administrator to enable \
                       SOAP API login().";
        return Err(Fault::new("LoginFault", "INVALID_OPERATION", message));
    }
    let found = store.log_in_with_token(envelope.argument("username"), envelope.argument("password"));
    let user = found.ok_or_else(Fault::invalid_login)?;
    let admitted = store.admit(None, user, incoming.peer, org.clock.now_ms(), &settings);
    admitted.map(|()| user).map_err(|error| Fault::kept_out(&error))
}

/// The session of the header, if it lives.
fn session<'a>(org: &Org, envelope: &'a Envelope) -> Result<(&'a str, RecordId), Fault> {
    let accept = |token| Some((token, org.oauth.accept(token, org.clock.now_ms(), &org.settings()).ok()?));
    envelope.session.as_deref().and_then(accept).ok_or_else(Fault::invalid_session)
}

fn user_info(org: &Org, user: RecordId) -> String {
    let settings = org.settings();
    let defaults = org.state().defaults;
    let text = |object: &str, id: RecordId, field: &str| {
        let ix = org.schema.find(object)?;
        let field = org.schema.object(ix).find(field)?;
        let row = Arc::clone(org.state().table(ix).get(id, None)?);
        row.get(field)?.as_str().map(str::to_owned)
    };
    let organization = text("Organization", defaults.organization, "Name").unwrap_or_default();
    let email = text("User", user, "Email").unwrap_or_default();
    let username = text("User", user, "Username").unwrap_or_default();
    let name = text("User", user, "Name").unwrap_or_default();
    let person_accounts = settings.person_accounts.to_string();
    let seconds = settings.session_ttl_s.to_string();
    let (organization_id, user_id) = (defaults.organization.to_string(), user.to_string());
    let profile_id = RecordId::new("00e", 1).to_string();
    let fields = [
        ("accessibilityMode", Some("false")),
        ("chatterExternal", Some("false")),
        ("currencySymbol", Some("£")),
        ("orgAttachmentFileSizeLimit", Some("5242880")),
        ("orgDefaultCurrencyIsoCode", Some("GBP")),
        ("orgDefaultCurrencyLocale", Some("en_GB")),
        ("orgDisallowHtmlAttachments", Some("false")),
        ("orgHasPersonAccounts", Some(&person_accounts)),
        ("organizationId", Some(&organization_id)),
        ("organizationMultiCurrency", Some("false")),
        ("organizationName", Some(&organization)),
        ("profileId", Some(&profile_id)),
        ("roleId", None),
        ("sessionSecondsValid", Some(&seconds)),
        ("userDefaultCurrencyIsoCode", None),
        ("userEmail", Some(&email)),
        ("userFullName", Some(&name)),
        ("userId", Some(&user_id)),
        ("userLanguage", Some("en_US")),
        ("userLocale", Some("en_GB")),
        ("userName", Some(&username)),
        ("userTimeZone", Some("Europe/London")),
        ("userType", Some("Standard")),
        ("userUiSkin", Some("Theme3")),
    ];
    let mut out = String::new();
    for (name, value) in fields {
        // Writing to a string does not fail.
        let _ = match value {
            Some(value) => write!(out, "<{name}>{}</{name}>", escape(value)),
            None => write!(out, "<{name} xsi:nil=\"true\"/>"),
        };
    }
    out
}

/// `/services/Soap/u/62.0`, with the org's id behind it or without.
fn endpoint(path: &str) -> Option<Endpoint> {
    let segments = segments(path.strip_prefix("/services/Soap/")?);
    let ([letter, version] | [letter, version, _]) = segments.as_slice() else { return None };
    let (letter, flavour) = match letter.as_str() {
        "u" => ("u", "partner"),
        "c" => ("c", "enterprise"),
        _ => return None,
    };
    Some(Endpoint { flavour, letter, version: version.clone() })
}

/// Reads an envelope, or says what is wrong with it.
fn read(body: &[u8]) -> Result<Envelope, String> {
    let body = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let mut reader = Reader::from_str(body);
    let mut envelope = Envelope::default();
    let mut path: Vec<String> = Vec::new();
    let mut text = String::new();
    let mut namespaces: Vec<(String, String)> = Vec::new();
    loop {
        let event = reader.read_event().map_err(|error| error.to_string())?;
        let (start, empty) = match event {
            Event::Eof => break,
            Event::Start(start) => (start, false),
            Event::Empty(start) => (start, true),
            Event::End(_) => {
                close(&mut envelope, &mut path, &mut text);
                continue;
            }
            Event::Text(piece) => {
                text.push_str(&piece.xml10_content());
                continue;
            }
            Event::CData(piece) => {
                text.push_str(&piece.xml10_content());
                continue;
            }
            Event::GeneralRef(reference) => {
                text.push_str(&entity(&reference)?);
                continue;
            }
            // No declarations of a document type: what they could define is not expanded.
            Event::DocType(_) => return Err("DOCTYPE is not allowed".to_owned()),
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => continue,
        };
        if path.len() == DEPTH {
            return Err("the request nests too deeply".to_owned());
        }
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|error| error.to_string())?;
            if let Some(prefix) = attribute.key.as_ref().strip_prefix("xmlns") {
                namespaces.push((prefix.trim_start_matches(':').to_owned(), attribute.value.into_owned()));
            }
        }
        let name = start.local_name().as_ref().to_owned();
        if in_body(&path) && envelope.operation.is_empty() {
            let prefix = start.name().prefix().map(|prefix| prefix.as_ref().to_owned()).unwrap_or_default();
            let namespace = namespaces.iter().rev().find(|(key, _)| *key == prefix);
            envelope.namespace = namespace.map(|(_, value)| value.clone()).unwrap_or_default();
            envelope.operation.clone_from(&name);
        }
        path.push(name);
        text.clear();
        if empty {
            close(&mut envelope, &mut path, &mut text);
        }
    }
    if !path.is_empty() || envelope.operation.is_empty() {
        return Err("the request is no SOAP envelope with an operation".to_owned());
    }
    Ok(envelope)
}

/// The five entities that every document has, and characters by number.
fn entity(reference: &quick_xml::events::BytesRef<'_>) -> Result<String, String> {
    if let Some(character) = reference.resolve_char_ref().map_err(|error| error.to_string())? {
        return Ok(character.to_string());
    }
    let resolved = quick_xml::escape::resolve_predefined_entity(reference);
    resolved.map(str::to_owned).ok_or_else(|| format!("unknown entity {}", &**reference))
}

fn in_body(path: &[String]) -> bool {
    matches!(path, [envelope, body] if envelope == "Envelope" && body == "Body")
}

/// Takes the text of the element that ends, where it is one that matters.
fn close(envelope: &mut Envelope, path: &mut Vec<String>, text: &mut String) {
    let text = std::mem::take(text);
    match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["Envelope", "Body", _, argument] => envelope.arguments.push(((*argument).to_owned(), text)),
        ["Envelope", "Header", "SessionHeader", "sessionId"] => envelope.session = Some(text),
        _ => {}
    }
    path.pop();
}

fn enveloped(status: u16, endpoint: &Endpoint, body: &str) -> Response {
    let flavour = endpoint.flavour;
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soapenv:Envelope \
         xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns=\"urn:{flavour}.soap.sforce.com\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>"
    );
    text_response(status, XML, text)
}

fn refused(endpoint: &Endpoint, fault: &Fault) -> Response {
    let Fault { kind, code, message } = fault;
    let (flavour, message) = (endpoint.flavour, escape(message));
    // The code of a failed login has no prefix, that of every other fault has.
    let prefix = if *kind == "LoginFault" { "" } else { "sf:" };
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soapenv:Envelope \
         xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:sf=\"urn:fault.{flavour}.soap.sforce.com\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><soapenv:Body><soapenv:Fault>\
         <faultcode>{prefix}{code}</faultcode><faultstring>{code}: {message}</faultstring><detail>\
         <sf:{kind} xsi:type=\"sf:{kind}\"><sf:exceptionCode>{code}</sf:exceptionCode>\
         <sf:exceptionMessage>{message}</sf:exceptionMessage></sf:{kind}></detail></soapenv:Fault></soapenv:Body>\
         </soapenv:Envelope>"
    );
    text_response(500, XML, text)
}

/// A request that never reached an operation.
fn client_fault(message: &str) -> Response {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soapenv:Envelope \
         xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\"><soapenv:Body><soapenv:Fault>\
         <faultcode>soapenv:Client</faultcode><faultstring>{}</faultstring></soapenv:Fault></soapenv:Body>\
         </soapenv:Envelope>",
        escape(message)
    );
    text_response(500, XML, text)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn operation_arguments_and_session_are_read_whatever_the_prefixes() {
        let text = r#"<?xml version="1.0"?><e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" xmlns:u="urn:x">
            <e:Header><u:SessionHeader><u:sessionId>00D!a</u:sessionId></u:SessionHeader></e:Header>
            <e:Body><u:login><u:username>a&amp;b</u:username><u:password><![CDATA[<p>]]>&#33;</u:password></u:login></e:Body>
            </e:Envelope>"#;
        let envelope = read(text.as_bytes()).expect("an envelope");
        assert_eq!((envelope.operation.as_str(), envelope.namespace.as_str()), ("login", "urn:x"));
        assert_eq!((envelope.argument("username"), envelope.argument("password")), ("a&b", "<p>!"));
        assert_eq!(envelope.session.as_deref(), Some("00D!a"));
    }

    #[test]
    fn what_is_no_envelope_is_refused_and_never_read_without_end() {
        let deep = format!("<Envelope><Body>{}", "<a>".repeat(100_000));
        let bomb = "<!DOCTYPE a [<!ENTITY b \"bb\">]><Envelope><Body><login>&b;</login></Body></Envelope>";
        let unknown = "<Envelope><Body><login><username>&b;</username></login></Body></Envelope>";
        for text in ["", "no xml", "<Envelope>", "<Envelope><Body/></Envelope>", "<a></b>", &deep, bomb, unknown] {
            assert!(read(text.as_bytes()).is_err(), "{}", text.get(..40).unwrap_or(text));
        }
        assert!(read(&[0xff, 0xfe, 0x00]).is_err());
    }
}
