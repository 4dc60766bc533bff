//! The shared login hosts: which org a call or a browser meets there.

use causeway_simulator::{Config, OrgHandle, User};

use crate::browser::{APP, Browser, CALLBACK, Seen};
use crate::client::Client;
use crate::soap::{call, element, login_as};

const ADA: &str = "ada@globex.test";

/// Two orgs with the same app. Ada is a user of the second alone.
async fn two() -> (Client, OrgHandle) {
    let client = Client::new().await;
    let globex = client.simulator.add_org(Config { name: "globex".to_owned(), ..Config::default() }).unwrap();
    globex.control().put_user(User::new(ADA, "secret", "Ada", "Byron")).unwrap();
    (client, globex)
}

async fn authorize(browser: &Browser<'_>) -> Seen {
    let path = "/login/services/oauth2/authorize?response_type=code";
    browser.open(&format!("{path}&client_id={}&redirect_uri={CALLBACK}", APP[0].1)).await
}

async fn submit(browser: &Browser<'_>, page: &Seen, more: &[(&str, &str)]) -> Seen {
    let source = page.source();
    let form: Vec<_> = [("source", source.as_str())].into_iter().chain(more.iter().copied()).collect();
    browser.submit_to("/login/services/oauth2/authorize", &form).await
}

#[tokio::test]
async fn a_soap_call_meets_the_org_of_its_user_and_then_of_its_session() {
    let (client, globex) = two().await;
    let path = "/login/services/Soap/u/59.0";
    let (status, xml) = call(&client, path, None, &login_as(ADA, "secret")).await;
    assert_eq!((status, element(&xml, "userName")), (200, ADA), "{xml}");
    assert!(element(&xml, "serverUrl").starts_with(&client.url("/orgs/globex/services/Soap/u/59.0/00D")), "{xml}");
    let session = element(&xml, "sessionId").to_owned();
    let (status, xml) = call(&client, path, Some(&session), "<u:getUserInfo/>").await;
    assert_eq!((status, element(&xml, "userName")), (200, ADA), "{xml}");
    assert_eq!(globex.control().live_sessions(), 1);
    assert_eq!(call(&client, path, Some(&session), "<u:logout/>").await.0, 200);
    assert_eq!(globex.control().live_sessions(), 0);
    for (session, body, code) in [
        (None, login_as("nobody@globex.test", "secret"), "INVALID_LOGIN"),
        (None, login_as(ADA, "wrong"), "INVALID_LOGIN"),
        (Some("00D!gone"), "<u:getUserInfo/>".to_owned(), "sf:INVALID_SESSION_ID"),
        (None, "<u:".to_owned(), "soapenv:Client"),
    ] {
        let (status, xml) = call(&client, path, session, &body).await;
        assert_eq!((status, element(&xml, "faultcode")), (500, code), "{body}");
    }
}

#[tokio::test]
async fn a_zipped_soap_call_meets_the_org_of_its_user_too() {
    use std::io::Write as _;
    let (client, _) = two().await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let body = login_as(ADA, "secret");
    write!(encoder, "<e:Envelope xmlns:e=\"e\" xmlns:u=\"u\"><e:Body>{body}</e:Body></e:Envelope>").unwrap();
    let request = client.http.post(client.url("/login/services/Soap/u/59.0")).header("content-encoding", "gzip");
    let xml = request.body(encoder.finish().unwrap()).send().await.unwrap().text().await.unwrap();
    assert_eq!(element(&xml, "userName"), ADA, "{xml}");
}

#[tokio::test]
async fn a_login_host_without_an_org_refuses_a_soap_call_in_soap() {
    let client = Client::new().await;
    let path = "/test/services/Soap/u/59.0";
    let (status, xml) = call(&client, path, None, &login_as(causeway_simulator::USERNAME, "causeway")).await;
    assert_eq!((status, element(&xml, "faultcode")), (500, "INVALID_LOGIN"));
    let (status, xml) = call(&client, path, Some(&client.token), "<u:getUserInfo/>").await;
    assert_eq!((status, element(&xml, "faultcode")), (500, "sf:INVALID_SESSION_ID"));
}

#[tokio::test]
async fn a_browser_meets_the_org_it_is_logged_in_to_until_it_logs_out_and_gets_a_new_name() {
    let (client, globex) = two().await;
    let browser = Browser::new(&client);
    let page = authorize(&browser).await;
    let page = submit(&browser, &page, &[("username", ADA), ("password", "secret")]).await;
    assert!(page.is_approval(), "{}", page.html);
    assert!(submit(&browser, &page, &[("decision", "allow")]).await.query().contains_key("code"));
    // The app is known to the first org too; Ada is not asked again, as she is known to the second.
    let code = authorize(&browser).await.query()["code"].clone();
    assert!(code.starts_with("aPrx"), "{code}");
    let approved = globex.control().oauth_audit().iter().filter(|entry| entry.flow == "authorize").count();
    assert_eq!(approved, 2);
    assert!(authorize(&Browser::new(&client)).await.is_login(), "another browser is nobody's");

    let before = browser.cookie("sim_browser").unwrap();
    assert_eq!(browser.open("/login/secur/logout.jsp").await.status, 200);
    let after = browser.cookie("sim_browser").unwrap();
    assert_ne!(before, after);
    browser.set_cookie("sim_browser", &before);
    assert!(authorize(&browser).await.is_login(), "the old name is worth nothing");
}

#[tokio::test]
async fn an_app_its_org_does_not_have_leads_a_browser_to_the_org_that_has() {
    let (client, _) = two().await;
    let browser = Browser::new(&client);
    let page = authorize(&browser).await;
    assert!(submit(&browser, &page, &[("username", ADA), ("password", "secret")]).await.is_approval());
    let app = causeway_simulator::ConnectedApp::new("only-the-first", "s");
    client.control().register_app(app).unwrap();
    let path = "/login/services/oauth2/authorize?response_type=code&client_id=only-the-first";
    let page = browser.open(&format!("{path}&redirect_uri={CALLBACK}")).await;
    assert!(page.is_login(), "{}", page.html);
}

#[tokio::test]
async fn a_page_handed_to_another_org_waits_by_that_orgs_clock() {
    let (client, globex) = two().await;
    globex.control().advance_clock(std::time::Duration::from_hours(24));
    let browser = Browser::new(&client);
    let page = authorize(&browser).await;
    let page = submit(&browser, &page, &[("username", ADA), ("password", "secret")]).await;
    assert!(page.is_approval(), "{}", page.html);
}
