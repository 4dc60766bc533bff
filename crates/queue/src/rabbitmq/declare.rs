//! Declares the topology, and explains where the broker has something else.
//!
//! Declaring what exists with the same arguments changes nothing. With other arguments the broker refuses and names the
//! first that differs (RabbitMQ documentation, Queues, "Declaration and Property Equivalence").

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use super::connect::{Address, short};
use crate::error::Error;
use crate::message::SEQUENCE_KEY;
use crate::topology::{Queue, Topology};

/// Keeps requeued messages in front (RabbitMQ before 4.0 puts them behind without a limit), and is far beyond what crashes
/// cause: each counts for every message that was only prefetched.
const DELIVERY_LIMIT: i32 = 1000;
/// Retention of a stream drops whole segments.
const SEGMENT_BYTES: i64 = 20_000_000;
/// Every inbox gets the same share of the customers.
const WEIGHT: &str = "1";

const ACCESS_REFUSED: u16 = 403;
const PRECONDITION_FAILED: u16 = 406;
const COMMAND_INVALID: u16 = 503;

/// Declares everything on a channel of its own.
pub(super) async fn declare(
    connection: &Connection,
    address: &Address,
    topology: &Topology,
    deadline: Duration,
) -> Result<(), Error> {
    match tokio::time::timeout(deadline, declare_each(connection, address, topology, &things(topology))).await {
        Ok(declared) => declared,
        Err(_) => Err(address.no_answer(deadline)),
    }
}

async fn declare_each(
    connection: &Connection,
    address: &Address,
    topology: &Topology,
    things: &[Thing],
) -> Result<(), Error> {
    let channel = connection.create_channel().await.map_err(|error| address.unreachable(&error.to_string()))?;
    for thing in things {
        thing.declare(&channel).await.map_err(|error| explain(&error, thing, address, topology))?;
    }
    // A failure to close it would show at its next use; there is none.
    let _ = channel.close(lapin::protocol::constants::REPLY_SUCCESS, short("OK")).await;
    Ok(())
}

/// Declares which prefetch a fleet has, on a channel of its own.
///
/// The mark deletes itself when the last session that stands by it is gone, so that a fleet that was stopped starts with
/// any number.
pub(super) async fn agree_on_prefetch(
    connection: &Connection,
    address: &Address,
    topology: &Topology,
    kind: Queue,
    prefetch: u16,
) -> Result<(), Error> {
    declare_each(connection, address, topology, &[prefetch_thing(topology, kind, prefetch)]).await
}

/// Binds the mark to the session's connection, and so keeps it for as long as that is open. It fails when the last other
/// session went in between and took the mark along: then connecting again makes it anew.
pub(super) async fn stand_by_prefetch(
    connection: &Connection,
    address: &Address,
    topology: &Topology,
    kind: Queue,
    prefetch: u16,
) -> Result<(), Error> {
    let thing = prefetch_thing(topology, kind, prefetch);
    let mark = prefetch_mark(topology, kind);
    let mine = format!("{mark}.{}", uuid::Uuid::new_v4().simple());
    let stand_by = async {
        let channel = connection.create_channel().await?;
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(short(&mine), options, FieldTable::default()).await?;
        let options = QueueBindOptions::default();
        channel.queue_bind(short(&mine), short(&mark), short(""), options, FieldTable::default()).await?;
        channel.close(lapin::protocol::constants::REPLY_SUCCESS, short("OK")).await
    };
    stand_by.await.map_err(|error: lapin::Error| explain(&error, &thing, address, topology))
}

fn prefetch_thing(topology: &Topology, kind: Queue, prefetch: u16) -> Thing {
    // A name of the fleet's own, as its permissions want it; a short one, because the broker cuts off what it says.
    let holds = format!("{}.{prefetch}", topology.namespace);
    Thing::Prefetch { holds, name: prefetch_mark(topology, kind), kind, prefetch }
}

fn prefetch_mark(topology: &Topology, kind: Queue) -> String {
    format!("{}.{}-prefetch", mark(topology), kind_of(kind))
}

fn kind_of(queue: Queue) -> &'static str {
    match queue {
        Queue::Inbox(_) => "inbox",
        Queue::Partition(_) => "partition",
        Queue::Links => "links",
    }
}

/// What is declared, in this order: first the mark, so that a wrong count creates nothing; the journal before the queues
/// that give up into it.
pub(super) fn things(topology: &Topology) -> Vec<Thing> {
    let mut things = vec![
        Thing::Mark { name: mark(topology), holds: counts(topology) },
        Thing::Journal { name: topology.journal(), arguments: journal_arguments(topology) },
        Thing::Orders(topology.orders_exchange()),
        Thing::Outcomes(topology.outcomes_exchange()),
    ];
    for queue in topology.inbox_queues() {
        let name = topology.queue_name(queue);
        things.push(Thing::Queue {
            arguments: queue_arguments(topology, topology.inbox_bytes),
            queue,
            name: name.clone(),
        });
        things.push(Thing::Binding { queue: name, exchange: topology.orders_exchange() });
    }
    for queue in topology.partition_queues() {
        let name = topology.queue_name(queue);
        things.push(Thing::Queue { arguments: queue_arguments(topology, topology.partition_bytes), queue, name });
    }
    if topology.links {
        let name = topology.queue_name(Queue::Links);
        let arguments = queue_arguments(topology, topology.links_bytes);
        things.push(Thing::Queue { arguments, queue: Queue::Links, name });
    }
    things
}

/// `<ns>.topology`: an exchange to which nothing is published. The broker compares few arguments of an exchange; the
/// alternate exchange is one of them on every version, so its name holds the counts.
fn mark(topology: &Topology) -> String {
    format!("{}.topology", topology.namespace)
}

fn counts(topology: &Topology) -> String {
    format!("{}.topology.{}-partitions.{}-inboxes", topology.namespace, topology.partitions, topology.inboxes)
}

pub(super) enum Thing {
    Mark { name: String, holds: String },
    Prefetch { name: String, holds: String, kind: Queue, prefetch: u16 },
    Journal { name: String, arguments: FieldTable },
    Orders(String),
    Outcomes(String),
    Queue { queue: Queue, name: String, arguments: FieldTable },
    Binding { queue: String, exchange: String },
}

impl Thing {
    pub(super) async fn declare(&self, channel: &Channel) -> lapin::Result<()> {
        let exchange = |name: &str, kind, internal, arguments| {
            let options = ExchangeDeclareOptions { durable: true, internal, ..ExchangeDeclareOptions::default() };
            channel.exchange_declare(short(name), kind, options, arguments)
        };
        match self {
            Self::Mark { name, holds } => {
                exchange(name, ExchangeKind::Fanout, true, table([("alternate-exchange", text(holds))])).await
            }
            Self::Prefetch { name, holds, .. } => {
                let options =
                    ExchangeDeclareOptions { auto_delete: true, internal: true, ..ExchangeDeclareOptions::default() };
                let arguments = table([("alternate-exchange", text(holds))]);
                channel.exchange_declare(short(name), ExchangeKind::Fanout, options, arguments).await
            }
            Self::Orders(name) => {
                let kind = ExchangeKind::Custom("x-consistent-hash".to_owned());
                exchange(name, kind, false, table([("hash-header", text(SEQUENCE_KEY))])).await
            }
            Self::Outcomes(name) => exchange(name, ExchangeKind::Topic, false, FieldTable::default()).await,
            Self::Journal { name, arguments } | Self::Queue { name, arguments, queue: _ } => {
                let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
                channel.queue_declare(short(name), options, arguments.clone()).await.map(|_| ())
            }
            Self::Binding { queue, exchange } => {
                let options = QueueBindOptions::default();
                channel.queue_bind(short(queue), short(exchange), short(WEIGHT), options, FieldTable::default()).await
            }
        }
    }

    /// Asks for it without creating anything. A binding cannot be asked for.
    pub(super) async fn look(&self, channel: &Channel) -> lapin::Result<()> {
        match self {
            Self::Mark { name, .. } | Self::Prefetch { name, .. } | Self::Orders(name) | Self::Outcomes(name) => {
                let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
                channel.exchange_declare(short(name), ExchangeKind::Direct, options, FieldTable::default()).await
            }
            Self::Journal { name, arguments: _ } | Self::Queue { name, queue: _, arguments: _ } => {
                let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
                channel.queue_declare(short(name), options, FieldTable::default()).await.map(|_| ())
            }
            Self::Binding { .. } => Ok(()),
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Mark { name, .. } | Self::Prefetch { name, .. } | Self::Orders(name) | Self::Outcomes(name) => {
                format!("exchange '{name}'")
            }
            Self::Journal { name, arguments: _ } => format!("stream '{name}'"),
            Self::Queue { name, queue: _, arguments: _ } => format!("queue '{name}'"),
            Self::Binding { queue, exchange } => format!("the binding of queue '{queue}' to exchange '{exchange}'"),
        }
    }
}

fn table<const N: usize>(arguments: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert(short(name), value);
    }
    table
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn bytes(value: u64) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(value).unwrap_or(i64::MAX))
}

fn queue_arguments(topology: &Topology, max_bytes: u64) -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-single-active-consumer", AMQPValue::Boolean(true)),
        ("x-delivery-limit", AMQPValue::LongInt(DELIVERY_LIMIT)),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(&topology.journal())),
        // One without the other falls back to losing letters (RabbitMQ documentation, Quorum Queues, "At-least-once
        // dead lettering").
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
        ("x-max-length-bytes", bytes(max_bytes)),
    ])
}

fn journal_arguments(topology: &Topology) -> FieldTable {
    table([
        ("x-queue-type", text("stream")),
        ("x-max-age", text(&format!("{}D", topology.journal_days))),
        ("x-max-length-bytes", bytes(topology.journal_bytes)),
        ("x-stream-max-segment-size-bytes", AMQPValue::LongLongInt(SEGMENT_BYTES)),
    ])
}

/// What an operator has to know and do. Whatever may pass by itself is [`Error::Unreachable`].
pub(super) fn explain(error: &lapin::Error, thing: &Thing, address: &Address, topology: &Topology) -> Error {
    let ErrorKind::ProtocolError(refusal) = error.kind() else {
        return address.unreachable(&format!("declaring {}: {error}", thing.name()));
    };
    let said = refusal.get_message().to_string();
    let vhost = address.vhost();
    match refusal.get_id() {
        PRECONDITION_FAILED => {
            // The broker refuses a stream for a while after its node has started; that is no difference.
            let Some(difference) = Difference::parse(&said) else {
                return address.unreachable(&format!("declaring {}: {said}", thing.name()));
            };
            Error::Topology {
                thing: thing.name(),
                difference: difference.text(thing, topology),
                remedy: thing.remedy(vhost, topology),
            }
        }
        ACCESS_REFUSED => Error::Topology {
            thing: thing.name(),
            difference: format!("the user may not declare it ({said})"),
            remedy: format!(
                "Allow it: rabbitmqctl set_permissions -p '{vhost}' '{}' '^{ns}\\.' '^({ns}\\.|amq\\.default$)' '^{ns}\\.'",
                address.user(),
                ns = topology.namespace.as_str().replace('.', "\\."),
            ),
        },
        COMMAND_INVALID if matches!(thing, Thing::Orders(_)) && said.contains("exchange type") => Error::Topology {
            thing: thing.name(),
            difference: "the broker does not know exchanges of type x-consistent-hash".to_owned(),
            remedy: "Enable the plugin on every node, then start again: \
                     rabbitmq-plugins enable rabbitmq_consistent_hash_exchange"
                .to_owned(),
        },
        _ => address.unreachable(&format!("declaring {}: {said}", thing.name())),
    }
}

impl Thing {
    fn remedy(&self, vhost: &str, topology: &Topology) -> String {
        let ns = &topology.namespace;
        match self {
            Self::Mark { name, holds: _ } => format!(
                "Start with the former counts, or change them: stop every program of '{ns}' and every publisher, after \
                 all queues are empty (rabbitmqctl list_queues -p '{vhost}' name messages); delete the queues \
                 {ns}.inbox.* and {ns}.orders.write.* (rabbitmqctl delete_queue -p '{vhost}' NAME) and the exchange \
                 (rabbitmqadmin --vhost='{vhost}' delete exchange name='{name}'); start again"
            ),
            Self::Prefetch { name, kind, .. } => {
                let who = match kind {
                    Queue::Inbox(_) => "ingest",
                    Queue::Partition(_) | Queue::Links => "writer",
                };
                format!(
                    "Start with the number that the fleet has (CAUSEWAY_PREFETCH, --prefetch). To change it: stop every {who} \
                     of '{ns}', and start them with the new number; if none runs and it is refused still, one died while \
                     it started: rabbitmqadmin --vhost='{vhost}' delete exchange name='{name}'"
                )
            }
            Self::Journal { name, arguments: _ } => format!(
                "Start with the value that the broker has. To change it, the journal has to be made anew, which forgets \
                 every dead letter: only when none is open and every program of '{ns}' is stopped, rabbitmqctl \
                 delete_queue -p '{vhost}' '{name}', then start again"
            ),
            Self::Queue { name, queue, arguments: _ } => {
                let before = match queue {
                    Queue::Inbox(_) => "the publishers, let ingest empty it, and stop ingest",
                    Queue::Partition(_) => "ingest, let the writers empty it, and stop the writers",
                    Queue::Links => "ingest, let the writers empty it and the partitions, and stop the writers",
                };
                format!(
                    "Start with the value that the broker has; or stop {before}; when rabbitmqctl list_queues -p \
                     '{vhost}' name messages shows 0 for it, rabbitmqctl delete_queue -p '{vhost}' '{name}', and start \
                     again: it is declared anew"
                )
            }
            Self::Orders(name) | Self::Outcomes(name) => format!(
                "Something else declared an exchange with this name. Stop what publishes to it, rabbitmqadmin \
                 --vhost='{vhost}' delete exchange name='{name}', and start again: it is declared anew"
            ),
            Self::Binding { queue: _, exchange: _ } => "Start again".to_owned(),
        }
    }
}

/// What the broker says about an argument that differs. `None` where it cut its text off.
#[derive(Debug, PartialEq, Eq)]
struct Difference<'a> {
    argument: &'a str,
    wanted: Option<&'a str>,
    found: Option<&'a str>,
}

impl<'a> Difference<'a> {
    /// Reads `inequivalent arg 'A' for queue 'Q' in vhost '/': received … but current is …`.
    fn parse(said: &'a str) -> Option<Self> {
        let (_, rest) = said.split_once("inequivalent arg '")?;
        let (argument, rest) = rest.split_once('\'')?;
        let values = rest.split_once(": received ").and_then(|(_, values)| values.split_once(" but current is "));
        let (wanted, found) = values.map_or((None, None), |(wanted, found)| (value(wanted), value(found)));
        Some(Self { argument, wanted, found })
    }

    fn text(&self, thing: &Thing, topology: &Topology) -> String {
        let (wanted, found) = (self.wanted.unwrap_or("something else"), self.found.unwrap_or("something else"));
        match thing {
            Thing::Mark { name: _, holds: _ } => {
                let found =
                    self.found.and_then(|found| found.strip_prefix(&format!("{}.topology.", topology.namespace)));
                format!(
                    "the broker has {}, the settings say {} partitions and {} inboxes",
                    found.map_or_else(
                        || "other counts".to_owned(),
                        |found| found.replace('-', " ").replace('.', " and ")
                    ),
                    topology.partitions,
                    topology.inboxes
                )
            }
            Thing::Prefetch { kind, prefetch, .. } => {
                let found = self.found.and_then(|found| found.strip_prefix(&format!("{}.", topology.namespace)));
                format!(
                    "the fleet has {} unacknowledged messages per {}, the settings say {prefetch}; with both, orders of a \
                     customer could change their places",
                    found.unwrap_or("another number of"),
                    kind_of(*kind)
                )
            }
            Thing::Journal { .. }
            | Thing::Orders(_)
            | Thing::Outcomes(_)
            | Thing::Queue { .. }
            | Thing::Binding { .. } => {
                format!("{} is {found} on the broker and should be {wanted}", self.argument)
            }
        }
    }
}

/// The value in `'V'`, `''V''`, `the value 'V' of type 'T'` or `none`.
fn value(said: &str) -> Option<&str> {
    if said.starts_with("none") {
        return Some("not set");
    }
    let quoted = said.strip_prefix("the value ").unwrap_or(said).strip_prefix('\'')?.trim_start_matches('\'');
    quoted.split_once('\'').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;

    use super::*;
    use crate::topology::Namespace;

    fn check(said: &str, argument: &str, wanted: Option<&str>, found: Option<&str>) {
        assert_eq!(Difference::parse(said), Some(Difference { argument, wanted, found }), "{said}");
    }

    #[test]
    fn every_queue_has_every_argument_that_keeps_order_and_loses_nothing() {
        let topology = Topology { links: true, ..Topology::new(Namespace::parse("a").expect("a name")) };
        let arguments = queue_arguments(&topology, 7);
        let expected = [
            ("x-queue-type", text("quorum")),
            ("x-single-active-consumer", AMQPValue::Boolean(true)),
            ("x-delivery-limit", AMQPValue::LongInt(1_000)),
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text("a.journal")),
            ("x-dead-letter-strategy", text("at-least-once")),
            ("x-overflow", text("reject-publish")),
            ("x-max-length-bytes", bytes(7)),
        ];
        assert_eq!(arguments, table(expected.clone()));
        for thing in things(&topology) {
            if let Thing::Queue { arguments, .. } = &thing {
                assert_eq!(arguments.inner().len(), expected.len(), "{}", thing.name());
            }
        }
    }

    #[test]
    fn the_brokers_words_are_understood() {
        let of_type = "PRECONDITION_FAILED - inequivalent arg 'x-max-length-bytes' for queue 'a.inbox.00' in vhost '/': \
                       received the value '5' of type 'long' but current is the value '6' of type 'long'";
        check(of_type, "x-max-length-bytes", Some("5"), Some("6"));
        let plain = "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'true' but current \
                     is 'false'";
        check(plain, "durable", Some("true"), Some("false"));
        let twice = "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'x' in vhost '/': received \
                     ''x-consistent-hash'' but current is 'direct'";
        check(twice, "type", Some("x-consistent-hash"), Some("direct"));
        let none = "PRECONDITION_FAILED - inequivalent arg 'x-overflow' for queue 'q' in vhost '/': received the value \
                    'reject-publish' of type 'longstr' but current is none";
        check(none, "x-overflow", Some("reject-publish"), Some("not set"));
    }

    fn explained(id: u16, said: &str, thing: &Thing) -> Error {
        let topology = Topology::new(Namespace::parse("fleet").expect("a name"));
        let address = Address::parse("amqp://causeway:s3cret@broker/orders").expect("an address");
        let refusal = AMQPError::from_id(id, said.into()).expect("a code");
        explain(&ErrorKind::ProtocolError(refusal).into(), thing, &address, &topology)
    }

    #[test]
    fn a_missing_plugin_is_named_with_the_command_that_enables_it() {
        let said = "COMMAND_INVALID - unknown exchange type 'x-consistent-hash'";
        let error = explained(COMMAND_INVALID, said, &Thing::Orders("fleet.orders".to_owned()));
        let Error::Topology { thing, difference, remedy } = error else { panic!("{error}") };
        assert_eq!(thing, "exchange 'fleet.orders'");
        assert_eq!(difference, "the broker does not know exchanges of type x-consistent-hash");
        assert!(remedy.ends_with("rabbitmq-plugins enable rabbitmq_consistent_hash_exchange"), "{remedy}");
    }

    #[test]
    fn missing_permissions_are_named_with_the_command_that_gives_them() {
        let said = "ACCESS_REFUSED - access to exchange 'fleet.outcomes' in vhost 'orders' refused for user 'causeway'";
        let error = explained(ACCESS_REFUSED, said, &Thing::Outcomes("fleet.outcomes".to_owned()));
        let Error::Topology { thing: _, difference: _, remedy } = error else { panic!("{error}") };
        let command =
            "rabbitmqctl set_permissions -p 'orders' 'causeway' '^fleet\\.' '^(fleet\\.|amq\\.default$)' '^fleet\\.'";
        assert!(remedy.ends_with(command), "{remedy}");
    }

    #[test]
    fn what_may_pass_by_itself_is_tried_again() {
        let journal = Thing::Journal { name: "fleet.journal".to_owned(), arguments: FieldTable::default() };
        for (id, said) in [(PRECONDITION_FAILED, "PRECONDITION_FAILED - no leader yet"), (541, "INTERNAL_ERROR")] {
            let error = explained(id, said, &journal);
            assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        }
    }

    #[test]
    fn words_that_were_cut_off_still_name_the_argument() {
        let cut = "PRECONDITION_FAILED - inequivalent arg 'x-dead-letter-routing-key' for queue 'a' in vhost '/': received 'a.j";
        check(cut, "x-dead-letter-routing-key", None, None);
        assert_eq!(Difference::parse("PRECONDITION_FAILED - stream is not running"), None);
    }
}
