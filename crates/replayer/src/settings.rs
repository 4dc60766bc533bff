//! Where the fleet is.

use std::time::Duration;

use queue::rabbitmq::{RabbitMq, RabbitMqSettings};
use queue::topology::{Namespace, Topology};
use service::Problems;

/// How the fleet's broker is reached.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// RabbitMQ: amqp:// or amqps://, with user, password and virtual host. Keep a password in the variable.
    #[arg(long, env = "CAUSEWAY_AMQP_URL", hide_env_values = true, value_name = "URL")]
    amqp_url: Option<String>,
    /// The prefix of the fleet's queues.
    #[arg(long, env = "CAUSEWAY_NAMESPACE", default_value = "causeway")]
    namespace: String,
    /// How many partitions the fleet has; must match it.
    #[arg(long, env = "CAUSEWAY_PARTITIONS", default_value = "32", value_name = "N")]
    partitions: String,
    /// How many inboxes the fleet has; must match it.
    #[arg(long, env = "CAUSEWAY_INBOXES", default_value = "4", value_name = "N")]
    inboxes: String,
    /// How long RabbitMQ may be unreachable before this gives up.
    #[arg(long, env = "CAUSEWAY_PATIENCE", default_value = "15s", value_name = "TIME")]
    patience: String,
}

/// A broker that has not been connected to.
#[derive(Debug)]
pub struct Connection {
    /// The broker.
    pub broker: RabbitMq,
    /// What the fleet declares on it.
    pub topology: Topology,
    /// How long it may be unreachable.
    pub patience: Duration,
}

impl ConnectionArgs {
    /// Checks everything and notes every problem; nothing is opened.
    pub fn read(&self, problems: &mut Problems) -> Option<Connection> {
        let url = problems
            .required(
                "CAUSEWAY_AMQP_URL",
                self.amqp_url.as_deref(),
                "name the fleet's broker: amqp://user:password@host:5672/vhost",
            )
            .and_then(|url| problems.address("CAUSEWAY_AMQP_URL", &url, &["amqp", "amqps"]));
        let namespace = Namespace::parse(self.namespace.trim());
        if namespace.is_none() {
            problems.note("CAUSEWAY_NAMESPACE", "is no name", "write 1 to 60 letters, digits, `-`, `_` or `.`");
        }
        let partitions = small(problems, "CAUSEWAY_PARTITIONS", &self.partitions, 256);
        let inboxes = small(problems, "CAUSEWAY_INBOXES", &self.inboxes, 64);
        let patience = problems.duration("CAUSEWAY_PATIENCE", &self.patience);
        let (url, patience) = (url?, patience?);
        let topology = Topology { partitions: partitions?, inboxes: inboxes?, ..Topology::new(namespace?) };
        let settings = RabbitMqSettings {
            // So that a host that swallows packets is given up within the patience, too.
            connect_timeout: (patience / 2).clamp(Duration::from_millis(500), Duration::from_secs(10)),
            ..RabbitMqSettings::new("causeway-replayer")
        };
        match RabbitMq::new(url.expose(), topology.clone(), settings) {
            Ok(broker) => Some(Connection { broker, topology, patience }),
            Err(error) => {
                problems.note("CAUSEWAY_AMQP_URL", error.to_string(), "write amqp://user:password@host:5672/vhost");
                None
            }
        }
    }
}

fn small(problems: &mut Problems, setting: &str, raw: &str, most: u64) -> Option<u16> {
    problems.number(setting, raw, 1..=most).and_then(|number| u16::try_from(number).ok())
}
