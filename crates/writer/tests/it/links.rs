//! Limio is told which Salesforce records belong to an order's subscription and customer, and no order waits for it.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::failure::Reason;
use domain::order::id::OrderId;
use domain::story::What;
use ledger::RedisLedger;
use ledger::stories::Stories;
use nix::sys::signal::Signal;
use queue::session::Broker as _;
use queue::topology::Queue;
use serde_json::{Value, json};
use simulator::{Fault, FaultKind};
use testkit::fleet::failure;
use testkit::limio::{Attached, Fault as LimioFault, Limio};
use testkit::orders::new_order;
use testkit::{TcpProxy, Way, eventually, eventually_some};

use crate::stage::{QUICK, Stage, id_of, text};

const GRAPH: &str = "/composite/graph";
const PATIENT: ledger::Settings =
    ledger::Settings { response_timeout: Duration::from_secs(10), connect_timeout: Duration::from_secs(10) };

fn subscription(customer: &str) -> String {
    format!("sub-{customer}")
}

fn customer_id(customer: &str) -> String {
    format!("cus-{customer}")
}

/// An order of a customer that names its subscription and customer as Limio does.
fn order(customer: &str, number: u32) -> Value {
    let mut order = new_order(customer, number);
    order["subscriptionId"] = json!(subscription(customer));
    order["customerId"] = json!(customer_id(customer));
    order
}

/// Subscription and customer of these customers, each with these records.
fn links(of: &[(&str, &[&str])]) -> BTreeSet<Attached> {
    let objects = |customer: &str| {
        [("subscriptions", subscription(customer)), ("customers", customer_id(customer))]
            .map(|(path, id)| (path.to_owned(), id))
    };
    of.iter()
        .flat_map(|(customer, records)| {
            let linked = |record: &&str| objects(customer).map(|(path, id)| (path, id, (*record).to_owned()));
            records.iter().flat_map(linked).collect::<Vec<_>>()
        })
        .collect()
}

/// The Account of an order's outcome.
fn account(told: &[testkit::fleet::Told], order: &Value) -> String {
    let told = told.iter().find(|told| told.order_id == id_of(order)).expect("told");
    told.data()["crm_id"].as_str().expect("an Account").to_owned()
}

async fn until_linked(limio: &Limio, expected: &BTreeSet<Attached>) {
    eventually(&format!("{} links", expected.len()), async || limio.links() == *expected).await;
}

/// What Redis holds of an order's story, by its titles.
async fn story(stage: &Stage, order: &Value) -> Vec<What> {
    let namespace = format!("{}:{}", stage.fleet.namespace(), stage.tenant());
    let ledger = RedisLedger::connect(stage.fleet.redis_url(), &namespace, PATIENT).await.expect("Redis answers");
    let order = OrderId::parse(&id_of(order)).expect("an id");
    let recorded = Stories::beside(&ledger, Duration::ZERO).read(&order).await.expect("Redis answers");
    recorded.steps.into_iter().map(|step| step.what).collect()
}

/// No link is left in the queue.
async fn none_waits(stage: &Stage) -> bool {
    stage.session.ready(Queue::Links).await.expect("the queue of links is there") == 0
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_written_is_linked_by_subscription_and_customer_to_account_and_contact() {
    let limio = Limio::start().await;
    let mut stage = Stage::new(&format!("createPersonAccount = false\n{QUICK}")).await.linked_to(&limio);
    let writer = stage.writer();
    let order = order("ann", 1);
    let told = stage.written(std::slice::from_ref(&order)).await;
    let contact = text(&stage.records("Contact")[0], "Id");
    assert!(contact.starts_with("003"), "{contact}");
    until_linked(&limio, &links(&[("ann", &[&account(&told, &order), &contact])])).await;
    eventually("the story to end with the link", async || {
        story(&stage, &order).await.last() == Some(&What::Linked { links: 4 })
    })
    .await;
    assert!(story(&stage, &order).await.contains(&What::LinkWaits { reason: None }));
    eventually("the queue of links to be empty", async || none_waits(&stage).await).await;
    assert_eq!(limio.attached().len(), 4, "each was asked for once");
    assert_eq!(limio.tokens_given(), 1);
    stage.end(writer).await;
    assert!(none_waits(&stage).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limio_that_hangs_delays_no_order_and_is_told_when_it_is_back() {
    let limio = Limio::start().await;
    let stage = Stage::new(QUICK).await.linked_to(&limio);
    let mut stage = stage.set("CAUSEWAY_LIMIO_DEADLINE", "300ms");
    limio.fail_always(LimioFault::Hang);
    let writer = stage.writer();
    let orders: Vec<Value> = (1..=3).map(|number| order("ann", number)).collect();
    let told = stage.written(&orders).await;
    eventually("links to wait for Limio", async || writer.metric("identity_links_paused") > 0.0).await;
    assert!(limio.links().is_empty());
    assert_eq!(writer.paused_by(), None, "intake goes on");
    let notice = writer.notice("limio").expect("a notice of /ready");
    assert!(notice.contains("orders go on"), "{notice}");
    let more = order("bob", 1);
    let told_more = stage.written(std::slice::from_ref(&more)).await;

    limio.heal();
    let expected = links(&[("ann", &[&account(&told, &orders[0])]), ("bob", &[&account(&told_more, &more)])]);
    until_linked(&limio, &expected).await;
    eventually("the notice to go", async || writer.notice("limio").is_none()).await;
    assert!(
        story(&stage, &orders[0]).await.contains(&What::LinkWaits { reason: Some(Reason::LimioUnavailable) }),
        "what it waits for is in its story"
    );
    assert_eq!(stage.fleet.letters().await.len(), 0);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_killed_after_it_settled_an_order_leaves_its_links_to_the_next() {
    let limio = Limio::start().await;
    let mut stage = Stage::new(QUICK).await.linked_to(&limio);
    let url = stage.fleet.amqp_url().to_owned();
    let port = url.split('@').next_back().and_then(|rest| rest.split(':').nth(1)).expect("an address");
    let port = port.split('/').next().and_then(|port| port.parse().ok()).expect("a port");
    let proxy = TcpProxy::before(port).await.expect("a proxy");
    let first = stage.process_with(&[(testkit::AMQP_URL, &proxy.url(&url, port))]);
    first.says("started").await;
    stage.org().arm(Fault::once(FaultKind::Hold).on_path(GRAPH));
    let order = order("ann", 1);
    stage.hand_on(std::slice::from_ref(&order)).await;
    stage.org().until_held(1).await;
    // From here on nothing reaches the broker: the order is settled in the ledger, and neither its links nor its
    // acknowledgement leave the process.
    proxy.block(Way::ToService);
    stage.org().release_held();
    eventually("the order to be settled", async || {
        story(&stage, &order).await.iter().any(|what| matches!(what, What::Settled { .. }))
    })
    .await;
    first.signal(Signal::SIGKILL);
    drop(first);
    assert!(limio.links().is_empty());
    let second = stage.process();
    let told = stage.told.until("order.written", [id_of(&order)]).await;
    until_linked(&limio, &links(&[("ann", &[&account(&told, &order)])])).await;
    assert_eq!(stage.order_records().len(), 1);
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_a_killed_writer_had_in_hand_are_made_by_the_next() {
    let limio = Limio::start().await;
    let mut stage = Stage::new(QUICK).await.linked_to(&limio);
    limio.fail_always(LimioFault::Hang);
    let first = stage.process();
    first.says("started").await;
    let order = order("ann", 1);
    let told = stage.written(std::slice::from_ref(&order)).await;
    eventually("Limio to be asked", async || limio.posts() > 0).await;
    first.signal(Signal::SIGKILL);
    drop(first);
    limio.heal();
    let second = stage.process();
    until_linked(&limio, &links(&[("ann", &[&account(&told, &order)])])).await;
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_of_one_subscription_and_orders_that_come_twice_are_linked_once() {
    let limio = Limio::start().await;
    let mut stage = Stage::new(QUICK).await.linked_to(&limio);
    let writer = stage.writer();
    let orders: Vec<Value> = (1..=3).map(|number| order("ann", number)).collect();
    let told = stage.written(&orders[..1]).await;
    let expected = links(&[("ann", &[&account(&told, &orders[0])])]);
    until_linked(&limio, &expected).await;
    stage.written(&orders).await;
    eventually("every order's links to be dealt with", async || writer.links("known") >= 6.0).await;
    assert_eq!(limio.attached().len(), 2, "each was asked for once");
    // Whoever forgets asks again, and nothing comes of it.
    stage.fleet.forget().await;
    stage.written(&orders[..1]).await;
    eventually("the links to be asked for again", async || limio.attached().len() == 4).await;
    assert_eq!(limio.links(), expected);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ended_is_renewed_once() {
    let limio = Limio::start().await;
    let mut stage = Stage::new(QUICK).await.linked_to(&limio);
    let writer = stage.writer();
    stage.written(&[order("ann", 1)]).await;
    eventually("the first links", async || limio.links().len() == 2).await;
    limio.forget_tokens();
    stage.written(&[order("bob", 1), order("cleo", 1)]).await;
    eventually("all links", async || limio.links().len() == 6).await;
    assert_eq!(limio.tokens_given(), 2);
    assert!(writer.links("refused") < 1.0);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_refused_make_links_wait_and_no_letter() {
    let limio = Limio::start().await;
    let mut stage = Stage::new(QUICK).await.linked_to(&limio);
    limio.refuse_client(true);
    let writer = stage.writer();
    stage.written(&[order("ann", 1)]).await;
    let notice = eventually_some("a notice", async || writer.notice("limio")).await;
    assert!(notice.contains("credentials"), "{notice}");
    limio.refuse_client(false);
    eventually("the links", async || limio.links().len() == 2).await;
    assert_eq!(stage.fleet.letters().await.len(), 0);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_limio_does_not_have_becomes_a_letter_of_nobody_and_is_linked_when_it_is_replayed() {
    let limio = Limio::start().await;
    let mut stage = Stage::new(QUICK).await.linked_to(&limio);
    limio.remove(&subscription("ann"), true);
    let writer = stage.writer();
    let first = order("ann", 1);
    let told = stage.written(std::slice::from_ref(&first)).await;
    let letter = eventually_some("a letter", async || stage.fleet.letters().await.into_iter().next()).await;
    let failed = failure(&letter);
    assert_eq!((failed.reason, failed.attempts), (Reason::IdentityLinkRefused, Some(5)));
    assert!(failed.message.contains(&subscription("ann")) && failed.message.contains("404"), "{failed}");
    assert!(failed.message.contains(&id_of(&first)), "{failed}");
    assert_eq!((letter.key.as_ref(), letter.order_id.as_ref()), (None, None), "nobody waits behind it");
    let told_of = async || story(&stage, &first).await.iter().any(|what| matches!(what, What::NotLinked { .. }));
    eventually("the story to tell of it", told_of).await;
    // The customer's next order is written, and the customer of another subscription is linked.
    stage.written(&[order("ann", 2), order("bob", 1)]).await;
    eventually("the others to be linked", async || limio.links().len() == 2).await;

    limio.remove(&subscription("ann"), false);
    let letters = stage.fleet.dead_letters().await;
    let open = letters.letters();
    for (id, message) in letters.messages(&open).await.expect("the journal can be read") {
        let letter = open.iter().find(|letter| letter.id == id).expect("it is open");
        letters.publish_again(letter, &message).await.expect("published");
    }
    letters.close().await;
    let expected = links(&[("ann", &[&account(&told, &first)])]);
    eventually("the link", async || expected.is_subset(&limio.links())).await;
    assert_eq!(stage.fleet.letters().await.len(), 0);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limio_that_fails_at_one_subscription_links_the_others_and_gives_that_one_up() {
    let limio = Limio::start().await;
    let mut stage = Stage::new(QUICK).await.linked_to(&limio);
    limio.fail_at(&subscription("ann"), 502);
    let writer = stage.writer();
    stage.written(&[order("ann", 1), order("bob", 1)]).await;
    let letter = eventually_some("a letter", async || stage.fleet.letters().await.into_iter().next()).await;
    assert_eq!(failure(&letter).reason, Reason::IdentityLinkRefused);
    eventually("the other to be linked", async || limio.links().len() == 2).await;
    assert!(writer.metric("identity_links_paused") < 1.0, "Limio is not away");
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_whose_answer_was_lost_is_looked_for_and_not_asked_for_again() {
    let limio = Limio::start().await;
    let mut stage = Stage::new(QUICK).await.linked_to(&limio);
    limio.fail(LimioFault::LoseAnswer, 1);
    let writer = stage.writer();
    stage.written(&[order("ann", 1)]).await;
    eventually("both links", async || limio.links().len() == 2).await;
    eventually("nothing to wait", async || none_waits(&stage).await).await;
    assert_eq!((limio.attached().len(), limio.lists()), (2, 1));
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_limio_in_the_settings_there_is_no_queue_of_links() {
    let mut stage = Stage::new(QUICK).await;
    let writer = stage.writer();
    stage.written(&[order("ann", 1)]).await;
    let session = stage.fleet.broker().connect().await.expect("RabbitMQ answers");
    assert!(session.ready(Queue::Links).await.is_err(), "there is no such queue");
    session.close().await;
    stage.end(writer).await;
}
