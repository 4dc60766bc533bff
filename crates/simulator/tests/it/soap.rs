//! Signing in by the SOAP API's `login()`.

use causeway_simulator::{Config, OauthAction, Settings, Simulator, User};
use reqwest::Response;

use crate::client::Client;

/// Posts an envelope with this body and, if there is a session, its header.
pub(crate) async fn call(client: &Client, path: &str, session: Option<&str>, body: &str) -> (u16, String) {
    let header = session.map_or(String::new(), |id| {
        format!("<e:Header><u:SessionHeader><u:sessionId>{id}</u:sessionId></u:SessionHeader></e:Header>")
    });
    let text = format!(
        r#"<?xml version="1.0"?><e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"
        xmlns:u="urn:partner.soap.sforce.com">{header}<e:Body>{body}</e:Body></e:Envelope>"#
    );
    send(client, path, text).await
}

async fn send(client: &Client, path: &str, text: String) -> (u16, String) {
    let request = client.http.post(client.url(path)).header("content-type", "text/xml").header("SOAPAction", "\"\"");
    let answer: Response = request.body(text).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/xml;charset=UTF-8");
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn login(password: &str) -> String {
    login_as(causeway_simulator::USERNAME, password)
}

pub(crate) fn login_as(username: &str, password: &str) -> String {
    format!("<u:login><u:username>{username}</u:username><u:password>{password}</u:password></u:login>")
}

/// The text of the first element of this name.
pub(crate) fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {xml}"));
    rest.split_once('<').unwrap().0
}

#[tokio::test]
async fn name_and_password_become_a_session_that_rest_takes() {
    let mut client = Client::new().await;
    let (status, xml) = call(&client, "/services/Soap/u/59.0", None, &login("causeway")).await;
    assert_eq!(status, 200, "{xml}");
    assert_eq!(element(&xml, "passwordExpired"), "false");
    let organization = element(&xml, "organizationId").to_owned();
    assert!(organization.starts_with("00D") && organization.len() == 18, "{organization}");
    let short = &organization[..15];
    assert_eq!(element(&xml, "serverUrl"), client.url(&format!("/services/Soap/u/59.0/{short}")));
    assert_eq!(element(&xml, "metadataServerUrl"), client.url(&format!("/services/Soap/m/59.0/{short}")));
    assert_eq!(element(&xml, "userName"), "integration@causeway.test");
    assert_eq!(element(&xml, "organizationName"), "Causeway Simulator");
    assert!(xml.contains("<roleId xsi:nil=\"true\"/>"), "{xml}");

    client.token = element(&xml, "sessionId").to_owned();
    let (status, body) = client.get("query?q=SELECT+Id+FROM+Organization").await;
    assert_eq!((status, &body["records"][0]["Id"]), (200, &organization.clone().into()));
    let (status, xml) = call(&client, "/services/Soap/u/59.0", Some(&client.token), "<u:getUserInfo/>").await;
    assert_eq!((status, element(&xml, "organizationId")), (200, organization.as_str()));

    let (status, xml) = call(&client, "/services/Soap/u/59.0", Some(&client.token), "<u:logout/>").await;
    assert_eq!(status, 200);
    assert!(xml.contains("<logoutResponse/>"), "{xml}");
    assert_eq!(client.get("limits").await.0, 401);
    let (status, xml) = call(&client, "/services/Soap/u/59.0", Some(&client.token), "<u:getUserInfo/>").await;
    assert_eq!((status, element(&xml, "faultcode")), (500, "sf:INVALID_SESSION_ID"));
}

#[tokio::test]
async fn a_wrong_password_or_an_inactive_user_is_a_login_fault() {
    let client = Client::new().await;
    let (status, wrong) = call(&client, "/services/Soap/u/59.0", None, &login("wrong")).await;
    assert_eq!(status, 500);
    assert_eq!(element(&wrong, "faultcode"), "INVALID_LOGIN");
    let message = "INVALID_LOGIN: Invalid username, password, security token; or user locked out.";
    assert_eq!(element(&wrong, "faultstring"), message);
    assert!(wrong.contains("<sf:LoginFault xsi:type=\"sf:LoginFault\"><sf:exceptionCode>INVALID_LOGIN<"), "{wrong}");
    assert!(wrong.contains("xmlns:sf=\"urn:fault.partner.soap.sforce.com\""), "{wrong}");
    client.control().update_settings(|settings| settings.user_active = false);
    let (_, inactive) = call(&client, "/services/Soap/c/59.0", None, &login("causeway")).await;
    assert_eq!(element(&inactive, "faultcode"), "INVALID_LOGIN");
    assert!(inactive.contains("xmlns:sf=\"urn:fault.enterprise.soap.sforce.com\""), "{inactive}");
}

#[tokio::test]
async fn login_is_gone_from_version_65_and_can_be_switched_off() {
    let client = Client::new().await;
    let (status, gone) = call(&client, "/services/Soap/u/65.0", None, &login("causeway")).await;
    assert_eq!((status, element(&gone, "faultcode")), (500, "soapenv:Client"));
    let message = "No operation available for request {urn:partner.soap.sforce.com}login, please check the WSDL for the \
                   service.";
    assert_eq!(element(&gone, "faultstring"), message);
    for version in ["30.0", "68.0", "59.1", "x"] {
        let (status, xml) = call(&client, &format!("/services/Soap/u/{version}"), None, &login("causeway")).await;
        assert_eq!((status, element(&xml, "faultcode")), (500, "sf:UNSUPPORTED_API_VERSION"), "{version}");
    }
    client.control().update_settings(|settings| settings.soap_login = false);
    let (_, off) = call(&client, "/services/Soap/u/59.0", None, &login("causeway")).await;
    assert!(element(&off, "faultstring").starts_with("INVALID_OPERATION: SOAP API login() is disabled by default"));
}

#[tokio::test]
async fn what_is_no_envelope_is_refused_as_the_clients_mistake() {
    let client = Client::new().await;
    let deep = format!("<Envelope><Body>{}", "<a>".repeat(10_000));
    for text in [String::new(), "{}".to_owned(), "<Envelope>".to_owned(), deep] {
        let (status, xml) = send(&client, "/services/Soap/u/59.0", text).await;
        assert_eq!((status, element(&xml, "faultcode")), (500, "soapenv:Client"));
    }
    assert_eq!(client.http.get(client.url("/services/Soap/u/59.0")).send().await.unwrap().status(), 405);
    assert_eq!(client.http.post(client.url("/services/Soap/x/59.0")).send().await.unwrap().status(), 404);
}

/// An org to which nobody has signed in yet.
async fn untouched(config: Config) -> Client {
    let simulator = Simulator::start(config).await.unwrap();
    Client { simulator, http: reqwest::Client::builder().build().unwrap(), token: String::new() }
}

#[tokio::test]
async fn what_keeps_a_user_out_of_apps_keeps_him_out_of_login_and_what_keeps_apps_out_does_not() {
    type Change = fn(&mut Settings);
    let cases: [(Change, &str, &str); 4] = [
        (|settings| settings.org_locked = true, "ORG_LOCKED", "organization locked, closed, or suspended"),
        (|settings| settings.logins_per_hour = 0, "INVALID_LOGIN", "login rate exceeded"),
        (|settings| settings.app_installed = false, "", ""),
        (|settings| settings.admin_approved_only = true, "", ""),
    ];
    for (change, code, message) in cases {
        let client = untouched(Config::default()).await;
        client.control().update_settings(change);
        let (status, xml) = call(&client, "/services/Soap/u/59.0", None, &login("causeway")).await;
        if code.is_empty() {
            assert_eq!(status, 200, "{xml}");
            continue;
        }
        assert_eq!((status, element(&xml, "faultcode")), (500, code));
        assert_eq!(element(&xml, "faultstring"), format!("{code}: {message}"));
        assert_eq!(client.control().live_sessions(), 0);
    }
    let users = vec![User { ip_ranges: vec!["10.0.0.0/8".into()], ..User::integration() }];
    let client = untouched(Config { users, ..Config::default() }).await;
    let (_, xml) = call(&client, "/services/Soap/u/59.0", None, &login("causeway")).await;
    let message = "LOGIN_DURING_RESTRICTED_DOMAIN: cannot log in from current domain";
    assert_eq!(
        (element(&xml, "faultcode"), element(&xml, "faultstring")),
        (message.split(':').next().unwrap(), message)
    );
    // A wrong password says so from anywhere.
    let (_, xml) = call(&client, "/services/Soap/u/59.0", None, &login("wrong")).await;
    assert_eq!(element(&xml, "faultcode"), "INVALID_LOGIN");
}

#[tokio::test]
async fn logins_by_soap_and_by_apps_are_counted_together() {
    let client = untouched(Config::default()).await;
    client.control().update_settings(|settings| settings.logins_per_hour = 2);
    client.sign_in().await;
    assert_eq!(call(&client, "/services/Soap/u/59.0", None, &login("causeway")).await.0, 200);
    let (_, xml) = call(&client, "/services/Soap/u/59.0", None, &login("causeway")).await;
    assert_eq!(element(&xml, "faultstring"), "INVALID_LOGIN: login rate exceeded");
    client.control().advance_clock(std::time::Duration::from_hours(1));
    assert_eq!(call(&client, "/services/Soap/u/59.0", None, &login("causeway")).await.0, 200);
}

#[tokio::test]
async fn login_and_logout_stand_in_the_audit_without_their_secrets() {
    let client = untouched(Config::default()).await;
    call(&client, "/services/Soap/u/59.0", None, &login("hush")).await;
    call(&client, "/services/Soap/u/59.0", None, &login_as("nobody@causeway.test", "hush")).await;
    let (_, xml) = call(&client, "/services/Soap/u/59.0", None, &login("causeway")).await;
    let session = element(&xml, "sessionId").to_owned();
    call(&client, "/services/Soap/u/59.0", Some(&session), "<u:logout/>").await;
    let audit = client.control().oauth_audit();
    let told: Vec<_> = audit.iter().map(|entry| (entry.action, entry.flow.as_str(), entry.username.as_str())).collect();
    let name = causeway_simulator::USERNAME;
    assert_eq!(
        told,
        [
            (OauthAction::Refused, "soap login", name),
            (OauthAction::Refused, "soap login", ""),
            (OauthAction::Issued, "soap login", name),
            (OauthAction::Revoked, "soap logout", name),
        ]
    );
    assert!(audit[0].error.as_deref().unwrap().starts_with("INVALID_LOGIN: "), "{audit:?}");
    let printed = format!("{audit:?}");
    assert!(!printed.contains("hush") && !printed.contains(&session));
}

#[tokio::test]
async fn login_tells_a_sandbox_from_another_org() {
    for sandbox in [false, true] {
        let client = untouched(Config { sandbox, ..Config::default() }).await;
        let (_, xml) = call(&client, "/services/Soap/u/59.0", None, &login("causeway")).await;
        assert_eq!(element(&xml, "sandbox"), sandbox.to_string());
    }
}
