//! The settings of the broker, for every program of a fleet: each is a flag and a variable.

use service::{Address, Problems};

use crate::rabbitmq::{InvalidUrl, RabbitMq, RabbitMqSettings};
use crate::topology::{Namespace, Topology};

/// Where the broker is and what the fleet has on it. Flatten it into a program's arguments.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct FleetArgs {
    /// RabbitMQ: amqp:// or amqps://, with user, password and virtual host. Keep a password in the variable.
    #[arg(
        long,
        env = "CAUSEWAY_AMQP_URL",
        value_name = "URL",
        default_value = "amqp://127.0.0.1:5672/%2f",
        hide_env_values = true
    )]
    pub amqp_url: String,
    /// The prefix of every queue and key of this fleet.
    #[arg(long, env = "CAUSEWAY_NAMESPACE", default_value = "causeway")]
    pub namespace: String,
    /// How many partitions the fleet has, 1 to 256; the same for every program.
    #[arg(long, env = "CAUSEWAY_PARTITIONS", default_value = "32")]
    pub partitions: String,
    /// How many inboxes the fleet has, 1 to 64; the same for every program. With more than one, RabbitMQ may give a customer
    /// another inbox when it restarts, and an order that waits in the old one be overtaken.
    #[arg(long, env = "CAUSEWAY_INBOXES", default_value = "1")]
    pub inboxes: String,
}

/// Checked [`FleetArgs`].
#[derive(Debug, Clone)]
pub struct Fleet {
    /// The broker's address.
    pub amqp: Address,
    /// What the fleet has on it.
    pub topology: Topology,
}

impl FleetArgs {
    /// Checks everything and notes every problem; nothing is opened.
    pub fn read(&self, problems: &mut Problems) -> Option<Fleet> {
        let amqp = problems.address("CAUSEWAY_AMQP_URL", &self.amqp_url, &["amqp", "amqps"]);
        let namespace = Namespace::parse(self.namespace.trim());
        if namespace.is_none() {
            problems.note("CAUSEWAY_NAMESPACE", "is not a name", "write 1 to 60 letters, digits, `-`, `_` or `.`");
        }
        let partitions = problems.number("CAUSEWAY_PARTITIONS", &self.partitions, 1..=256);
        let inboxes = problems.number("CAUSEWAY_INBOXES", &self.inboxes, 1..=64);
        let topology = Topology {
            partitions: u16::try_from(partitions?).ok()?,
            inboxes: u16::try_from(inboxes?).ok()?,
            ..Topology::new(namespace?)
        };
        Some(Fleet { amqp: amqp?, topology })
    }
}

impl Fleet {
    /// The broker, for a program that calls itself `name`; nothing is opened yet.
    ///
    /// # Errors
    /// The address cannot be used.
    pub fn broker(&self, name: &str) -> Result<RabbitMq, InvalidUrl> {
        RabbitMq::new(self.amqp.expose(), self.topology.clone(), RabbitMqSettings::new(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> FleetArgs {
        FleetArgs {
            amqp_url: "amqp://user:secret@rabbit:5672/%2f".into(),
            namespace: "acme".into(),
            partitions: "8".into(),
            inboxes: "2".into(),
        }
    }

    #[test]
    fn what_is_given_becomes_the_topology() {
        let mut problems = Problems::default();
        let fleet = args().read(&mut problems).expect("no problem");
        assert_eq!(fleet.topology.queue_name(crate::topology::Queue::Partition(7)), "acme.orders.write.07");
        assert_eq!((fleet.topology.partitions, fleet.topology.inboxes), (8, 2));
        assert!(!format!("{fleet:?}").contains("secret"));
    }

    #[test]
    fn a_fleet_has_one_inbox_unless_told_otherwise_since_the_exchange_deals_several_anew_when_the_broker_restarts() {
        #[derive(clap::Parser)]
        struct Program {
            #[command(flatten)]
            fleet: FleetArgs,
        }
        let program = <Program as clap::Parser>::parse_from(["program"]);
        assert_eq!(program.fleet.inboxes, "1");
        let namespace = Namespace::parse("acme").expect("a name");
        assert_eq!(Topology::new(namespace).inboxes, 1);
    }

    #[test]
    fn every_problem_is_noted_at_once() {
        let mut problems = Problems::default();
        let wrong =
            FleetArgs { amqp_url: "http://x".into(), namespace: "a b".into(), partitions: "0".into(), ..args() };
        assert!(wrong.read(&mut problems).is_none());
        let found: Vec<&str> = problems.found().iter().map(|problem| problem.setting.as_str()).collect();
        assert_eq!(found, ["CAUSEWAY_AMQP_URL", "CAUSEWAY_NAMESPACE", "CAUSEWAY_PARTITIONS"]);
    }
}
