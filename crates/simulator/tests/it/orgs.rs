use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use causeway_simulator::{Config, ConnectedApp, Error, Fault, FaultKind, SeedRecord, Simulator, User};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use crate::client::{Client, person, read};

fn named(name: &str) -> Config {
    Config { name: name.to_owned(), ..Config::default() }
}

/// Three orgs, the last one a sandbox, and a client that knows their host names.
struct Three {
    simulator: Simulator,
    http: reqwest::Client,
    port: u16,
}

impl Three {
    async fn start() -> Self {
        let app = |key: &str| ConnectedApp {
            client_id: key.to_owned(),
            public_key_pem: Some(include_str!("keys/app.pub.pem").to_owned()),
            ..ConnectedApp::development()
        };
        let orgs = vec![
            Config { apps: vec![ConnectedApp::development()], ..named("acme") },
            Config { apps: vec![ConnectedApp::development(), app("globex-app")], ..named("globex") },
            Config { apps: vec![app("uat-app")], sandbox: true, ..named("acme--uat") },
        ];
        let simulator = Simulator::start_many(orgs).await.unwrap();
        let port: u16 = simulator.base_url().rsplit(':').next().unwrap().parse().unwrap();
        let here = SocketAddr::from(([127, 0, 0, 1], port));
        let mut http = reqwest::Client::builder().redirect(Policy::none());
        for host in ["acme", "globex", "acme--uat", "login", "test", "somewhere"] {
            http = http.resolve(&format!("{host}.my.localhost"), here).resolve(&format!("{host}.localhost"), here);
        }
        Self { simulator, http: http.build().unwrap(), port }
    }

    fn root(&self, path: &str) -> String {
        format!("{}{path}", self.simulator.base_url())
    }

    fn host(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.port)
    }

    async fn form(&self, url: String, form: &[(&str, &str)]) -> (u16, Value) {
        read(self.http.post(url).form(form).send().await.unwrap()).await
    }

    async fn sign_in(&self, base: &str) -> Value {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "causeway-dev"),
            ("client_secret", "causeway-dev-secret"),
        ];
        let (status, body) = self.form(format!("{base}/services/oauth2/token"), &form).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn get(&self, url: String, token: &Value) -> (u16, Value) {
        read(self.http.get(url).bearer_auth(token.as_str().unwrap()).send().await.unwrap()).await
    }
}

#[expect(clippy::disallowed_methods, reason = "the assertion must be good at the time the test runs")]
fn assertion(client_id: &str, audience: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({ "iss": client_id, "sub": causeway_simulator::USERNAME, "aud": audience, "exp": now + 180 });
    let key = EncodingKey::from_rsa_pem(include_bytes!("keys/app.pem")).unwrap();
    jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key).unwrap()
}

#[tokio::test]
async fn each_org_has_its_own_id_rows_settings_faults_sessions_log_and_clock() {
    let three = Three::start().await;
    let (acme, globex) = (three.simulator.org("acme").unwrap(), three.simulator.org("globex").unwrap());
    assert_eq!(acme.base_url(), three.simulator.base_url());
    assert_eq!(globex.base_url(), format!("{}/orgs/globex", three.simulator.base_url()));
    assert!(three.simulator.org("nope").is_none());
    globex.control().update_settings(|settings| settings.api_limit = 7);
    globex.control().seed("Account", &[person("Smith").as_object().unwrap().clone()]).await.unwrap();
    globex.control().advance_clock(std::time::Duration::from_hours(1));
    let (here, there) = (three.sign_in(&acme.base_url()).await, three.sign_in(&globex.base_url()).await);
    let id = |answer: &Value| answer["id"].as_str().unwrap().split("/id/").nth(1).unwrap()[..18].to_owned();
    assert_ne!(id(&here), id(&there));
    assert!(there["access_token"].as_str().unwrap().starts_with(&id(&there)[..15]));
    let url = |base: &str| format!("{base}/services/data/v62.0/query?q=SELECT+Id+FROM+Account");
    assert_eq!(three.get(url(&acme.base_url()), &here["access_token"]).await.1["totalSize"], 0);
    assert_eq!(three.get(url(&globex.base_url()), &there["access_token"]).await.1["totalSize"], 1);
    let (status, body) = three.get(url(&acme.base_url()), &there["access_token"]).await;
    assert_eq!((status, &body[0]["errorCode"]), (401, &json!("INVALID_SESSION_ID")), "a token of another org");
    assert_eq!((acme.control().usage().api_limit, globex.control().usage().api_limit), (100_000, 7));
    assert_eq!((acme.control().api_calls(), globex.control().api_calls()), (1, 1));
    globex.control().arm(Fault::always(FaultKind::UnavailableJson));
    assert_eq!(three.get(url(&acme.base_url()), &here["access_token"]).await.0, 200);
    assert_eq!(three.get(url(&globex.base_url()), &there["access_token"]).await.0, 503);
    assert!(globex.control().requests().iter().all(|request| request.path.starts_with("/services/")));
    acme.control().reset();
    assert_eq!(globex.control().records("Account").unwrap().len(), 1);
}

#[tokio::test]
async fn an_org_is_reached_by_host_name_by_prefix_and_the_first_by_anything_else() {
    let three = Three::start().await;
    let organization = |answer: &Value| answer["id"].as_str().unwrap().split("/id/").nth(1).unwrap()[..18].to_owned();
    let mut ids = Vec::new();
    for (base, instance) in [
        (three.host("globex.my.localhost", ""), three.host("globex.my.localhost", "")),
        (three.host("globex.localhost", ""), three.host("globex.localhost", "")),
        (three.root("/orgs/globex"), three.root("/orgs/globex")),
        (three.root("/orgs/GLOBEX"), three.root("/orgs/globex")),
        (three.root(""), three.root("")),
        (three.host("somewhere.localhost", ""), three.host("somewhere.localhost", "")),
        (three.root("/orgs/acme"), three.root("/orgs/acme")),
    ] {
        let answer = three.sign_in(&base).await;
        assert_eq!(answer["instance_url"], json!(instance), "{base}");
        assert!(answer["id"].as_str().unwrap().starts_with(&format!("{instance}/id/00D")), "{answer}");
        let (status, _) = three.get(answer["id"].as_str().unwrap().to_owned(), &answer["access_token"]).await;
        assert_eq!(status, 200);
        let (_, discovery) =
            three.get(format!("{base}/.well-known/openid-configuration"), &answer["access_token"]).await;
        assert_eq!(discovery["token_endpoint"], json!(format!("{instance}/services/oauth2/token")));
        ids.push(organization(&answer));
    }
    assert!(ids[..4].iter().all(|id| *id == ids[0]) && ids[4..].iter().all(|id| *id == ids[4]) && ids[0] != ids[4]);
    let (status, body) = read(three.http.get(three.root("/orgs/nope/services/data")).send().await.unwrap()).await;
    assert_eq!(status, 404);
    assert!(body["error"].as_str().unwrap().contains("acme, globex, acme--uat"), "{body}");
    let folder = three.http.get(three.root("/orgs/globex")).send().await.unwrap();
    assert_eq!((folder.status().as_u16(), folder.headers()["location"].to_str().unwrap()), (308, "/orgs/globex/"));
}

#[tokio::test]
async fn pages_of_a_query_follow_the_instance_url_as_clients_join_them() {
    let three = Three::start().await;
    let rows: Vec<_> = (0..450).map(|n| json!({ "Name": format!("A{n}") }).as_object().unwrap().clone()).collect();
    three.simulator.org("globex").unwrap().control().seed("Account", &rows).await.unwrap();
    for base in [three.root("/orgs/globex"), three.host("globex.my.localhost", "")] {
        let answer = three.sign_in(&base).await;
        let mut next = "/services/data/v62.0/query?q=SELECT+Id+FROM+Account".to_owned();
        let mut seen = 0;
        loop {
            let url = format!("{}{next}", answer["instance_url"].as_str().unwrap());
            let request = three.http.get(url).bearer_auth(answer["access_token"].as_str().unwrap());
            let (status, page) =
                read(request.header("Sforce-Query-Options", "batchSize=200").send().await.unwrap()).await;
            assert_eq!(status, 200, "{page}");
            seen += page["records"].as_array().unwrap().len();
            let Some(url) = page["nextRecordsUrl"].as_str() else { break };
            assert!(url.starts_with("/services/data/v62.0/query/"), "{url}");
            next = url.to_owned();
        }
        assert_eq!(seen, 450);
    }
}

#[tokio::test]
async fn the_login_hosts_find_the_org_of_a_code_a_token_and_a_user_and_know_only_their_own() {
    let three = Three::start().await;
    let globex = three.simulator.org("globex").unwrap();
    globex.control().update_settings(|settings| settings.auto_approve = true);
    let authorize = "/services/oauth2/authorize?response_type=code&client_id=globex-app&redirect_uri=https://app.test/back&scope=api+refresh_token";
    for (login, instance) in [
        (three.root("/login"), three.root("/orgs/globex")),
        (three.host("login.my.localhost", ""), three.host("globex.my.localhost", "")),
        (three.host("login.localhost", ""), three.host("globex.localhost", "")),
    ] {
        let back = three.http.get(format!("{login}{authorize}")).send().await.unwrap();
        let location = back.headers()["location"].to_str().unwrap().to_owned();
        assert!(location.starts_with("https://app.test/back?code="), "{location}");
        let code = location.split("code=").nth(1).unwrap().split('&').next().unwrap().replace("%3D", "=");
        let token = format!("{login}/services/oauth2/token");
        let app = [("client_id", "globex-app"), ("client_secret", "causeway-dev-secret")];
        let mut form =
            vec![("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", "https://app.test/back")];
        form.extend(app);
        let (status, answer) = three.form(token.clone(), &form).await;
        assert_eq!((status, &answer["instance_url"]), (200, &json!(instance)), "{answer}");
        let refresh = answer["refresh_token"].as_str().unwrap().to_owned();
        let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", &refresh)];
        form.extend(app);
        let (status, answer) = three.form(token.clone(), &form).await;
        assert_eq!((status, &answer["instance_url"]), (200, &json!(instance)), "{answer}");
        let (status, _) = three.get(format!("{login}/services/oauth2/userinfo"), &answer["access_token"]).await;
        assert_eq!(status, 200);
        let signed = assertion("globex-app", &login);
        let grant = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", signed.as_str())];
        let (status, answer) = three.form(token.clone(), &grant).await;
        assert_eq!((status, &answer["instance_url"]), (200, &json!(instance)), "{answer}");
        let (_, discovery) = three.get(format!("{login}/.well-known/openid-configuration"), &json!("")).await;
        assert_eq!(discovery["issuer"], json!(login));
        let (status, body) = three
            .form(
                token,
                &[
                    ("grant_type", "client_credentials"),
                    ("client_id", "causeway-dev"),
                    ("client_secret", "causeway-dev-secret"),
                ],
            )
            .await;
        assert_eq!((status, &body["error_description"]), (400, &json!("request not supported on this domain")));
    }
    let signed = assertion("uat-app", "https://test.salesforce.com");
    let grant = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", signed.as_str())];
    let (status, answer) = three.form(three.root("/test/services/oauth2/token"), &grant).await;
    assert_eq!((status, &answer["instance_url"]), (200, &json!(three.root("/orgs/acme--uat"))), "{answer}");
    let (status, answer) = three.form(three.root("/login/services/oauth2/token"), &grant).await;
    assert_eq!(status, 400, "an app of a sandbox is unknown at login: {answer}");
}

#[tokio::test]
async fn orgs_come_and_go_while_the_process_runs() {
    let org = Client::new().await;
    let admin = |method: reqwest::Method, path: &str, body: Value| {
        let request = org.http.request(method, org.url(path)).json(&body);
        async move { read(request.send().await.unwrap()).await }
    };
    let (get, post, delete) = (reqwest::Method::GET, reqwest::Method::POST, reqwest::Method::DELETE);
    let (status, made) = admin(
        post.clone(),
        "/_sim/orgs",
        json!({ "name": "initech", "sandbox": true, "settings": { "api_limit": 3 } }),
    )
    .await;
    assert_eq!((status, &made["sandbox"], &made["base_url"]), (201, &json!(true), &json!(org.url("/orgs/initech"))));
    let (_, list) = admin(get.clone(), "/orgs/initech/_sim/orgs", json!(null)).await;
    assert_eq!((&list[0]["name"], &list[1]["name"]), (&json!("causeway"), &json!("initech")));
    assert_eq!(list[1]["organization_id"], made["organization_id"]);
    assert_eq!(admin(get.clone(), "/orgs/initech/_sim/settings", json!(null)).await.1["api_limit"], 3);
    assert_eq!(admin(get.clone(), "/_sim/settings", json!(null)).await.1["api_limit"], 100_000);
    for wrong in [
        json!({ "name": "initech" }),
        json!({ "name": "Not A Name" }),
        json!({ "name": "login" }),
        json!({ "name": "x", "nope": 1 }),
        json!({ "name": "x", "settings": { "nope": 1 } }),
        json!([]),
    ] {
        assert_eq!(admin(post.clone(), "/_sim/orgs", wrong.clone()).await.0, 400, "{wrong}");
    }
    assert_eq!(admin(delete.clone(), "/_sim/orgs/causeway", json!(null)).await.0, 400, "the first one stays");
    assert_eq!(admin(delete, "/_sim/orgs/initech", json!(null)).await.0, 200);
    assert_eq!(admin(get, "/orgs/initech/_sim/settings", json!(null)).await.0, 404);
    let again = org.simulator.add_org(named("initech")).unwrap();
    assert_ne!(json!(again.control().records("Organization").unwrap()[0]["Id"]), made["organization_id"]);
}

#[tokio::test]
async fn two_orgs_of_one_name_and_no_org_at_all_do_not_start() {
    let error = Simulator::start_many(vec![named("acme"), named("acme")]).await.unwrap_err();
    assert!(error.to_string().contains("org acme: another org has this name"), "{error}");
    assert!(Simulator::start_many(Vec::new()).await.is_err());
}

#[tokio::test]
async fn users_that_an_org_cannot_have_are_refused_with_org_user_and_remedy() {
    let user = |name: &str| User::new(name, "secret", "A", "B");
    let ranged =
        |range: &str| User { ip_ranges: vec!["10.0.0.0/8".to_owned(), range.to_owned()], ..user("a@acme.test") };
    let org = Client::new().await;
    for (users, said) in [
        (vec![], "an org needs a user, who owns its first rows; give one, or leave users out"),
        (vec![user(" ")], "user A B: username: must not be empty; give a name such as integration@causeway.test"),
        (
            vec![user("a@acme.test"), user("A@acme.test")],
            "user A@acme.test: username: another user has this name; choose another",
        ),
        (
            vec![user("former@causeway.test")],
            "user former@causeway.test: username: the org's own inactive user has this name; choose another",
        ),
        (
            vec![ranged("10.0.0.0/33")],
            "user a@acme.test: ip_ranges: \"10.0.0.0/33\" is no address or range; write one such as 10.0.0.1 or 10.0.0.0/8",
        ),
        (
            vec![ranged("ten")],
            "user a@acme.test: ip_ranges: \"ten\" is no address or range; write one such as 10.0.0.1 or 10.0.0.0/8",
        ),
    ] {
        let printed = serde_json::to_value(&users).unwrap();
        let error = Simulator::start(Config { users: users.clone(), ..named("acme") }).await.unwrap_err();
        assert!(matches!(error, Error::User { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("org acme: {said}"));
        let error = org.simulator.add_org(Config { users: users.clone(), ..named("acme") }).unwrap_err();
        assert_eq!(error.to_string(), format!("org acme: {said}"));
        let (status, body) = org.call("POST", "/_sim/orgs", Some(json!({ "name": "acme", "users": printed }))).await;
        assert_eq!((status, body), (400, json!({ "error": format!("users: {said}") })));
        if let [user] = users.as_slice() {
            assert_eq!(org.control().put_user(user.clone()).unwrap_err().to_string(), said);
        }
    }
}

#[tokio::test]
async fn everything_is_checked_before_the_address_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let row = SeedRecord { object: "Account".to_owned(), reference: None, fields: serde_json::Map::new() };
    for wrong in [
        Config { users: vec![User::new("", "", "", "B")], ..named("globex") },
        Config { records: vec![row], ..named("globex") },
        named("acme"),
        named("login"),
    ] {
        let error = Simulator::start_many(vec![Config { listen, ..named("acme") }, wrong]).await.unwrap_err();
        assert!(!matches!(error, Error::Listen { .. }), "{error}");
    }
    let error = Simulator::start(Config { listen, ..named("acme") }).await.unwrap_err();
    assert!(matches!(error, Error::Listen { .. }), "{error}");
}

#[tokio::test]
async fn hosts_that_are_no_hosts_reach_the_first_org() {
    let org = Client::new().await;
    for host in ["", "@", "user@acme.localhost", "[::1", "a b", "%%%", &"x".repeat(300)] {
        let address = org.simulator.base_url().trim_start_matches("http://").to_owned();
        let request =
            format!("GET /.well-known/openid-configuration HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = tokio::task::spawn_blocking(move || {
            use std::io::{Read as _, Write as _};
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        })
        .await
        .unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 400"), "{host:?}: {answer}");
        assert!(!answer.contains("user@"), "{answer}");
    }
    let text = URL_SAFE_NO_PAD.encode("{}");
    let broken = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", text.as_str())];
    let (status, _) =
        read(org.http.post(org.url("/login/services/oauth2/token")).form(&broken).send().await.unwrap()).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn the_documented_org_file_starts_its_orgs_with_their_rows_and_goes_back_to_them() {
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("orgs.example.toml");
    let orgs = causeway_simulator::read_orgs(&example, &Config::default()).unwrap();
    let simulator = Simulator::start_many(orgs).await.unwrap();
    let acme = simulator.org("acme").unwrap().control();
    assert_eq!((acme.settings().api_limit, acme.settings().latency_ms), (15_000, 40));
    assert_eq!(acme.duplicate_rules()[0].name, "Standard_Account_Duplicate_Rule");
    for _ in 0..2 {
        let (accounts, contacts) = (acme.records("Account").unwrap(), acme.records("Contact").unwrap());
        assert_eq!((accounts.len(), &contacts[0]["AccountId"]), (1, &accounts[0]["Id"]));
        acme.seed("Account", &[person("Smith").as_object().unwrap().clone()]).await.unwrap();
        acme.reset();
    }
    let uat = simulator.org("acme--uat").unwrap().control();
    assert_eq!(uat.records("Organization").unwrap()[0]["IsSandbox"], true);
    assert!(uat.records("Account").unwrap().is_empty());
}

#[test]
fn rows_to_start_with_are_read_in_three_forms() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.json");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        causeway_simulator::read_records(&path)
    };
    for text in [
        r#"{"records":[{"attributes":{"type":"Account","referenceId":"a"},"Name":"A"}]}"#,
        r#"[{"attributes":{"type":"Account","referenceId":"a"},"Name":"A"}]"#,
        r#"{"Account":[{"attributes":{"referenceId":"a"},"Name":"A"}]}"#,
    ] {
        let records = read(text).unwrap();
        assert_eq!((records[0].object.as_str(), records[0].reference.as_deref()), ("Account", Some("a")));
        assert_eq!(json!(records[0].fields), json!({ "Name": "A" }));
    }
    for (text, said) in [
        (r#"[{"Name":"A"}]"#, "[0]: a record needs attributes with a type"),
        (r#"{"Account":[{"Contacts":{"records":[]}}]}"#, "Account[0]: Contacts: nested children are not read"),
        (r#"{"Account":{}}"#, "Account: expected a list"),
        ("7", "expected {"),
    ] {
        assert!(read(text).unwrap_err().to_string().contains(said), "{text}");
    }
}

#[tokio::test]
async fn a_schema_of_the_org_file_is_found_beside_it_and_is_for_its_org_alone() {
    let folder = tempfile::tempdir().unwrap();
    let fields = folder.path().join("objects/Account/fields");
    std::fs::create_dir_all(&fields).unwrap();
    let field = "<CustomField><fullName>Tier__c</fullName><label>Tier</label><type>Text</type><length>20</length></CustomField>";
    std::fs::write(fields.join("Tier__c.field-meta.xml"), field).unwrap();
    let file = folder.path().join("orgs.toml");
    let text = "[[orgs]]\nname = \"a\"\nschema = [\"objects\"]\n[[orgs]]\nname = \"b\"\n";
    std::fs::write(&file, text).unwrap();
    let orgs = causeway_simulator::read_orgs(&file, &Config::default()).unwrap();
    let simulator = Simulator::start_many(orgs).await.unwrap();
    let row = [json!({ "Name": "A", "Tier__c": "gold" }).as_object().unwrap().clone()];
    simulator.org("a").unwrap().control().seed("Account", &row).await.unwrap();
    assert!(simulator.org("b").unwrap().control().seed("Account", &row).await.is_err());
}
