//! What others see on the wire, and what they may send.

use futures::StreamExt;
use lapin::BasicProperties;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicRejectOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use queue::message::SEQUENCE_KEY;
use queue::session::JournalStart;
use queue::topology::{Queue, Target};
use testkit::eventually::eventually_some;

use crate::stage::{PARTITION, Stage, TO_PARTITION, message, next, plain, publish, subscribe, within};

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_reaches_whoever_listens() {
    let stage = Stage::rabbitmq(|_| {}).await;
    let session = stage.connect().await;
    let connection = plain().await;
    let channel = connection.create_channel().await.expect("a channel");
    let own = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let listener = channel.queue_declare("".into(), own, FieldTable::default()).await.expect("a queue");
    let exchange = stage.topology().outcomes_exchange();
    channel
        .queue_bind(
            listener.name().clone(),
            exchange.into(),
            "order.*".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .expect("bound");
    within(session.publish(&Target::Outcomes("order.written"), &message(1, "k"))).await.expect("told");
    let heard = eventually_some("the outcome", async || {
        channel.basic_get(listener.name().clone(), BasicGetOptions { no_ack: true }).await.expect("asked")
    })
    .await;
    assert_eq!(heard.routing_key.as_str(), "order.written");
    assert_eq!(heard.data, b"body of 1");
    assert_eq!(*heard.properties.delivery_mode(), Some(2));
    assert_eq!(heard.properties.app_id().as_ref().map(lapin::types::ShortString::as_str), Some("causeway-queue tests"));
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_may_send_headers_of_any_type() {
    let stage = Stage::rabbitmq(|topology| topology.inboxes = 1).await;
    let session = stage.connect().await;
    let mut inbox = subscribe(&session, Queue::Inbox(0), 5).await;
    let connection = plain().await;
    let channel = connection.create_channel().await.expect("a channel");
    let mut headers = FieldTable::default();
    headers.insert(SEQUENCE_KEY.into(), AMQPValue::LongLongInt(4711));
    headers.insert("flag".into(), AMQPValue::Boolean(true));
    headers.insert("nested".into(), AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::Boolean(true)])));
    channel
        .basic_publish(
            stage.topology().orders_exchange().into(),
            "anything".into(),
            BasicPublishOptions::default(),
            b"{}",
            BasicProperties::default().with_headers(headers),
        )
        .await
        .expect("published");
    let delivery = next(&mut inbox).await;
    assert_eq!(delivery.message.id, "");
    assert_eq!(delivery.message.header(SEQUENCE_KEY), Some("4711"));
    assert_eq!(delivery.message.header("flag"), Some("true"));
    assert_eq!(delivery.message.header("nested"), None);
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_gives_up_lands_in_the_journal() {
    let stage = Stage::rabbitmq(|_| {}).await;
    let session = stage.connect().await;
    publish(&session, &TO_PARTITION, [1]).await;
    let connection = plain().await;
    let channel = connection.create_channel().await.expect("a channel");
    let name = stage.topology().queue_name(PARTITION);
    let mut consumer = channel
        .basic_consume(name.as_str().into(), "".into(), BasicConsumeOptions::default(), FieldTable::default())
        .await
        .expect("a consumer");
    let given_up = within(consumer.next()).await.expect("a delivery").expect("no error");
    given_up.reject(BasicRejectOptions { requeue: false }).await.expect("rejected");
    let mut journal = within(session.read_journal(JournalStart::First)).await.expect("a reader");
    let (_, letter) = within(journal.next()).await.expect("an entry");
    assert_eq!(letter.body, "body of 1");
    assert_eq!(letter.header("x-first-death-reason"), Some("rejected"));
    assert_eq!(letter.header("x-first-death-queue"), Some(name.as_str()));
    session.close().await;
}
