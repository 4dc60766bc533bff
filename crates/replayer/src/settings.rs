//! Where the fleet is.

use std::time::Duration;

use queue::rabbitmq::{RabbitMq, RabbitMqSettings};
use queue::settings::FleetArgs;
use queue::topology::Topology;
use service::Problems;

/// How the fleet's broker is reached.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    #[command(flatten)]
    fleet: FleetArgs,
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
        let fleet = self.fleet.read(problems);
        let patience = problems.duration("CAUSEWAY_PATIENCE", &self.patience);
        let (fleet, patience) = (fleet?, patience?);
        let settings = RabbitMqSettings {
            // So that a host that swallows packets is given up within the patience, too.
            connect_timeout: (patience / 2).clamp(Duration::from_millis(500), Duration::from_secs(10)),
            ..RabbitMqSettings::new("causeway-replayer")
        };
        match RabbitMq::new(fleet.amqp.expose(), fleet.topology.clone(), settings) {
            Ok(broker) => Some(Connection { broker, topology: fleet.topology, patience }),
            Err(error) => {
                problems.note("CAUSEWAY_AMQP_URL", error.to_string(), "write amqp://user:password@host:5672/vhost");
                None
            }
        }
    }
}

/// Takes the default address from the verbs that need a broker: an operator who forgets to name the fleet must not be told
/// that some other broker has no dead letters.
pub fn without_default_address(command: clap::Command) -> clap::Command {
    ["list", "show", "story", "replay", "discard"].into_iter().fold(command, |command, verb| {
        command
            .mut_subcommand(verb, |verb| verb.mut_arg("amqp_url", |arg| arg.default_value("").hide_default_value(true)))
    })
}
