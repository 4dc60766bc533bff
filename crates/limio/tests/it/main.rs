//! The client against Limio's stand-in, over real HTTP.

use std::collections::BTreeSet;
use std::time::Duration;

use causeway_limio::{Client, Error, Kind, Object, Settings};
use testkit::limio::{CLIENT_ID, CLIENT_SECRET, Fault, Limio};

const ACCOUNT: &str = "0015g00000ZxQ1aAAF";
const SUBSCRIPTION: &str = "sub-cde83419f67963c0b1f8edf0c0468b0e";
const CUSTOMER: &str = "cus-c8c3c4d6b4f736b86ca09915213319a5";

fn settings(limio: &Limio) -> Settings {
    Settings {
        url: limio.url().to_owned(),
        client_id: CLIENT_ID.to_owned(),
        client_secret: CLIENT_SECRET.into(),
        deadline: Duration::from_secs(20),
    }
}

fn client(limio: &Limio) -> Client {
    Client::new(settings(limio)).expect("a client")
}

/// One whose calls end soon.
fn hasty(limio: &Limio) -> Client {
    Client::new(Settings { deadline: Duration::from_millis(300), ..settings(limio) }).expect("a client")
}

#[tokio::test]
async fn a_record_is_linked_to_a_subscription_and_to_a_customer_with_one_token() {
    let limio = Limio::start().await;
    let client = client(&limio);
    client.link(Object::Subscription, SUBSCRIPTION, ACCOUNT).await.expect("linked");
    client.link(Object::Customer, CUSTOMER, ACCOUNT).await.expect("linked");
    let link = |path: &str, id: &str| (path.to_owned(), id.to_owned(), ACCOUNT.to_owned());
    assert_eq!(limio.attached(), [link("subscriptions", SUBSCRIPTION), link("customers", CUSTOMER)]);
    assert_eq!(limio.tokens_given(), 1);
    let linked = client.linked(ACCOUNT).await.expect("told");
    assert!(linked.has(Object::Subscription, SUBSCRIPTION) && linked.has(Object::Customer, CUSTOMER));
    assert!(!linked.has(Object::Customer, SUBSCRIPTION));
}

#[tokio::test]
async fn a_list_of_several_pages_is_read_to_its_end() {
    let limio = Limio::start().await;
    let client = client(&limio);
    let ids: BTreeSet<String> = (0..5).map(|number| format!("sub-{number}")).collect();
    for id in &ids {
        client.link(Object::Subscription, id, ACCOUNT).await.expect("linked");
    }
    assert_eq!(client.linked(ACCOUNT).await.expect("told").subscriptions, ids);
    assert_eq!(limio.lists(), 3);
}

#[tokio::test]
async fn a_token_that_ended_is_renewed_once_by_many_calls_that_met_it() {
    let limio = Limio::start().await;
    let client = client(&limio);
    client.link(Object::Customer, CUSTOMER, ACCOUNT).await.expect("linked");
    limio.forget_tokens();
    let ids: Vec<String> = (0..8).map(|number| format!("sub-{number}")).collect();
    let calls = ids.iter().map(|id| client.link(Object::Subscription, id, ACCOUNT));
    for answer in futures::future::join_all(calls).await {
        answer.expect("linked");
    }
    assert_eq!((limio.tokens_given(), limio.links().len()), (2, 9));
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let limio = Limio::start().await;
    let client = client(&limio);
    // Its half is the time for which it is used: none.
    limio.tokens_last(0);
    for _ in 0..3 {
        client.link(Object::Customer, CUSTOMER, ACCOUNT).await.expect("linked");
    }
    assert_eq!(limio.tokens_given(), 3);
    limio.tokens_last(3600);
    for _ in 0..3 {
        client.link(Object::Customer, CUSTOMER, ACCOUNT).await.expect("linked");
    }
    assert_eq!(limio.tokens_given(), 4);
}

#[tokio::test]
async fn credentials_that_limio_does_not_accept_are_told_without_them() {
    let limio = Limio::start().await;
    limio.refuse_client(true);
    let error = client(&limio).link(Object::Customer, CUSTOMER, ACCOUNT).await.expect_err("refused");
    assert_eq!(error.kind(), Kind::Credentials);
    let told = format!("{error} {error:?}");
    assert!(!told.contains(CLIENT_SECRET) && !told.contains("limio-token"), "{told}");
    assert_eq!(limio.posts(), 0);
}

#[tokio::test]
async fn a_new_token_that_is_refused_too_is_the_credentials_fault_and_is_not_renewed_for_ever() {
    let limio = Limio::start().await;
    limio.fail_always(Fault::Status(401));
    let error = client(&limio).link(Object::Customer, CUSTOMER, ACCOUNT).await.expect_err("refused");
    assert_eq!((error.kind(), limio.tokens_given(), limio.posts()), (Kind::Credentials, 2, 2));
}

#[tokio::test]
async fn a_refusal_has_its_status_and_what_limio_said() {
    let limio = Limio::start().await;
    limio.remove(CUSTOMER, true);
    let error = client(&limio).link(Object::Customer, CUSTOMER, ACCOUNT).await.expect_err("refused");
    assert_eq!(error, Error::Refused { status: 404, said: format!("{CUSTOMER} was not found") });
    assert_eq!(error.kind(), Kind::Refused);
    assert!(!error.to_string().contains(CUSTOMER), "what Limio said is not for logs");
}

#[tokio::test]
async fn a_failing_limio_is_away_and_so_is_its_failing_token_endpoint() {
    let limio = Limio::start().await;
    let client = client(&limio);
    for status in [500, 502, 503] {
        limio.fail(Fault::Status(status), 1);
        let error = client.link(Object::Customer, CUSTOMER, ACCOUNT).await.expect_err("failed");
        assert_eq!((error.kind(), error), (Kind::Away, Error::Failed { status }));
    }
    limio.fail(Fault::Status(429), 1);
    let error = client.link(Object::Customer, CUSTOMER, ACCOUNT).await.expect_err("throttled");
    assert_eq!((error.kind(), error.retry_after()), (Kind::Away, None));
    limio.forget_tokens();
    limio.fail_tokens(Some(503));
    let error = client.link(Object::Customer, CUSTOMER, ACCOUNT).await.expect_err("failed");
    assert_eq!(error, Error::Failed { status: 503 });
}

#[tokio::test]
async fn a_limio_that_hangs_ends_the_call_at_its_deadline_and_the_next_one_succeeds() {
    let limio = Limio::start().await;
    let client = hasty(&limio);
    limio.fail_always(Fault::Hang);
    let error = client.link(Object::Customer, CUSTOMER, ACCOUNT).await.expect_err("too late");
    assert!(matches!(error, Error::AnswerLost(_)), "{error}");
    limio.heal();
    testkit::eventually("Limio to answer again", async || {
        client.link(Object::Customer, CUSTOMER, ACCOUNT).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_was_lost_after_the_effect_is_told_so_and_linking_again_is_harmless() {
    let limio = Limio::start().await;
    let client = client(&limio);
    limio.fail(Fault::LoseAnswer, 1);
    let error = client.link(Object::Customer, CUSTOMER, ACCOUNT).await.expect_err("lost");
    assert!(matches!(error, Error::AnswerLost(_)), "{error}");
    assert!(!error.to_string().contains(CUSTOMER), "{error}");
    client.link(Object::Customer, CUSTOMER, ACCOUNT).await.expect("linked");
    assert_eq!((limio.attached().len(), limio.links().len()), (2, 1));
}

#[tokio::test]
async fn a_limio_that_is_not_there_is_unreachable() {
    let limio = Limio::start().await;
    let client = client(&limio);
    let url = limio.url().to_owned();
    drop(limio);
    let error = testkit::eventually_some("the port to be closed", async || {
        let error = client.link(Object::Customer, CUSTOMER, ACCOUNT).await.err();
        error.filter(|error| matches!(error, Error::Unreachable(_)))
    })
    .await;
    assert_eq!(error.kind(), Kind::Away, "{url}");
}
