use std::net::SocketAddr;

use causeway_simulator::{Config, Fault, FaultKind, Simulator, Tls};
use reqwest::{Certificate, ClientBuilder, Version};
use serde_json::{Value, json};

async fn org(tls: Option<Tls>) -> Simulator {
    Simulator::start(Config { name: "acme".to_owned(), tls, ..Config::default() }).await.unwrap()
}

fn made() -> Tls {
    Tls::Made { names: vec!["org.test".to_owned()] }
}

/// A client that trusts this org's certificate and nothing else.
fn trusting(org: &Simulator) -> ClientBuilder {
    let builder = reqwest::Client::builder();
    match org.certificate() {
        Some(pem) => builder.tls_certs_only([Certificate::from_pem(pem.as_bytes()).unwrap()]),
        None => builder,
    }
}

async fn sign_in(http: &reqwest::Client, base: &str) -> Value {
    let form =
        [("grant_type", "client_credentials"), ("client_id", "causeway-dev"), ("client_secret", "causeway-dev-secret")];
    http.post(format!("{base}/services/oauth2/token")).form(&form).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn with_tls_the_org_speaks_both_versions_of_http_and_names_itself_https() {
    let org = org(Some(made())).await;
    assert!(org.base_url().starts_with("https://127.0.0.1:"), "{}", org.base_url());
    for (client, version) in [
        (trusting(&org).build().unwrap(), Version::HTTP_2),
        (trusting(&org).http1_only().build().unwrap(), Version::HTTP_11),
    ] {
        let answer = client.get(format!("{}/services/data", org.base_url())).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
        assert_eq!(sign_in(&client, org.base_url()).await["instance_url"], json!(org.base_url()));
    }
    let stranger = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
    assert!(stranger.get(org.base_url()).send().await.unwrap_err().is_connect());
    let plain = org.base_url().replace("https:", "http:");
    let client = reqwest::Client::builder().http1_only().build().unwrap();
    assert!(client.get(plain).send().await.is_err());
}

#[tokio::test]
async fn the_made_certificate_holds_for_host_names_of_orgs_and_for_names_asked_for() {
    let org = org(Some(made())).await;
    let port: u16 = org.base_url().rsplit(':').next().unwrap().parse().unwrap();
    let here = SocketAddr::from(([127, 0, 0, 1], port));
    for host in
        ["localhost", "acme.localhost", "acme.my.localhost", "later.my.localhost", "login.localhost", "org.test"]
    {
        let client = trusting(&org).resolve(host, here).build().unwrap();
        let url = format!("https://{host}:{port}");
        let answer = client.get(format!("{url}/.well-known/openid-configuration")).send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap()["issuer"], json!(url), "{host}");
    }
    let client = trusting(&org).resolve("elsewhere.test", here).build().unwrap();
    assert!(client.get(format!("https://elsewhere.test:{port}/")).send().await.is_err());
}

#[tokio::test]
async fn plain_http_2_is_spoken_too() {
    let org = org(None).await;
    assert_eq!(org.certificate(), None);
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let answer = client.get(format!("{}/services/data", org.base_url())).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
    assert_eq!(sign_in(&client, org.base_url()).await["instance_url"], json!(org.base_url()));
}

#[tokio::test]
async fn a_connection_is_cut_through_tls_and_http_2_as_without() {
    for tls in [None, Some(made())] {
        let org = org(tls).await;
        for two in [false, true] {
            let builder = trusting(&org);
            let builder = if two { builder.http2_prior_knowledge() } else { builder.http1_only() };
            let client = builder.retry(reqwest::retry::never()).build().unwrap();
            let token = sign_in(&client, org.base_url()).await["access_token"].as_str().unwrap().to_owned();
            let url = format!("{}/services/data/v62.0/sobjects/Account", org.base_url());
            let create = async || client.post(&url).bearer_auth(&token).json(&json!({ "Name": "A" })).send().await;
            let before = org.control().records("Account").unwrap().len();
            org.control().arm(Fault::once(FaultKind::CommitThenDrop).on_path("/sobjects/"));
            assert!(create().await.is_err(), "two: {two}");
            assert_eq!(org.control().records("Account").unwrap().len(), before + 1, "committed, then dropped");
            org.control().arm(Fault::once(FaultKind::DropBefore).on_path("/sobjects/"));
            assert!(create().await.is_err(), "two: {two}");
            assert_eq!(org.control().records("Account").unwrap().len(), before + 1, "dropped before");
            assert_eq!(create().await.unwrap().status(), 201, "a new connection works");
            let dropped = org.control().requests().iter().rev().take(3).filter(|request| request.status == 0).count();
            assert_eq!(dropped, 2);
        }
    }
}

#[tokio::test]
async fn ones_own_certificate_is_served_and_a_wrong_one_is_refused_in_words() {
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let given =
        |certificate: &str, key: &str| Some(Tls::Given { certificate: certificate.to_owned(), key: key.to_owned() });
    let org = org(given(&own, &key.serialize_pem())).await;
    assert_eq!(org.certificate(), Some(own.as_str()));
    let client = trusting(&org).build().unwrap();
    assert_eq!(client.get(format!("{}/services/data", org.base_url())).send().await.unwrap().status(), 200);
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    for (certificate, key, said) in [
        ("", key.serialize_pem().as_str(), "no CERTIFICATE block"),
        (own.as_str(), "no key", "no private key"),
        (own.as_str(), other.as_str(), "do not go together"),
    ] {
        let config = Config { tls: given(certificate, key), ..Config::default() };
        let error = Simulator::start(config).await.unwrap_err().to_string();
        assert!(error.starts_with("TLS: ") && error.contains(said), "{error}");
    }
}

#[tokio::test]
async fn strict_transport_security_is_asked_for_over_tls_whatever_the_name_and_never_over_plain_http() {
    for (tls, expected) in [(Some(made()), Some("max-age=63072000; includeSubDomains")), (None, None)] {
        let org = org(tls).await;
        let (scheme, address) = org.base_url().split_once("://").unwrap();
        let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
        for host in ["127.0.0.1", "localhost", "acme.localhost", "acme.my.localhost", "login.localhost"] {
            let client = trusting(&org).resolve(host, SocketAddr::from(([127, 0, 0, 1], port))).build().unwrap();
            for path in ["/services/data", "/services/data/v62.0/limits", "/services/oauth2/userinfo"] {
                let answer = client.get(format!("{scheme}://{host}:{port}{path}")).send().await.unwrap();
                let hsts = answer.headers().get("strict-transport-security").map(|value| value.to_str().unwrap());
                assert_eq!(hsts, expected, "{scheme} {host} {path}");
            }
        }
    }
}
