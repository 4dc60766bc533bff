//! Exchanges, queues and the journal: their names, their arguments, and which partition a customer belongs to.

use std::fmt;

/// The prefix of every name, so that several fleets share one broker. Default `causeway`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Namespace(String);

impl Namespace {
    /// Accepts 1 to 60 characters out of letters, digits, `-`, `_` and `.`.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=60).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        fits.then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything that the fleet declares on the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The prefix of every name.
    pub namespace: Namespace,
    /// Inbox queues behind the orders exchange, 1 to 64. Default 4.
    pub inboxes: u16,
    /// Partition queues towards the writers, 1 to 256. Default 32. Part of what a customer's partition is computed from:
    /// changing it needs empty partitions.
    pub partitions: u16,
    /// What an inbox may hold before it refuses publishers, in bytes. Default 1 GiB.
    pub inbox_bytes: u64,
    /// What a partition may hold before it refuses `ingest`, in bytes. Default 256 MiB.
    pub partition_bytes: u64,
    /// Whether the fleet tells Limio which Salesforce records belong to what: then there is a queue of links.
    pub links: bool,
    /// What the queue of links may hold, in bytes. Default 64 MiB: more than a hundred thousand orders.
    pub links_bytes: u64,
    /// How long the journal keeps entries, in days. Default 90.
    pub journal_days: u32,
    /// How much the journal keeps, in bytes; the older end is dropped beyond. Default 20 GiB.
    pub journal_bytes: u64,
}

impl Topology {
    /// The default topology in a namespace.
    pub fn new(namespace: Namespace) -> Self {
        Self {
            namespace,
            inboxes: 1,
            partitions: 32,
            inbox_bytes: 1 << 30,
            partition_bytes: 256 << 20,
            links: false,
            links_bytes: 64 << 20,
            journal_days: 90,
            journal_bytes: 20 << 30,
        }
    }

    /// The exchange that publishers send to: `<ns>.orders`, `x-consistent-hash` on the `sequencekey` header.
    pub fn orders_exchange(&self) -> String {
        format!("{}.orders", self.namespace)
    }

    /// The topic exchange on which outcomes are told: `<ns>.outcomes`.
    pub fn outcomes_exchange(&self) -> String {
        format!("{}.outcomes", self.namespace)
    }

    /// The stream of dead letters and of what was done about them: `<ns>.journal`.
    pub fn journal(&self) -> String {
        format!("{}.journal", self.namespace)
    }

    /// The name of a queue: `<ns>.inbox.00`, `<ns>.orders.write.00`, `<ns>.links`.
    pub fn queue_name(&self, queue: Queue) -> String {
        match queue {
            Queue::Inbox(index) => format!("{}.inbox.{index:02}", self.namespace),
            Queue::Partition(index) => format!("{}.orders.write.{index:02}", self.namespace),
            Queue::Links => format!("{}.links", self.namespace),
        }
    }

    /// Every inbox.
    pub fn inbox_queues(&self) -> Vec<Queue> {
        (0..self.inboxes).map(Queue::Inbox).collect()
    }

    /// Every partition.
    pub fn partition_queues(&self) -> Vec<Queue> {
        (0..self.partitions).map(Queue::Partition).collect()
    }

    /// The partition of a customer: `crc32(key) mod partitions`.
    pub fn partition_of(&self, sequence_key: &str) -> u16 {
        let partition = crc32fast::hash(sequence_key.as_bytes()) % u32::from(self.partitions.max(1));
        u16::try_from(partition).expect("a remainder of a u16 fits a u16")
    }
}

/// A queue of the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Queue {
    /// In front of `ingest`.
    Inbox(u16),
    /// In front of `writer`.
    Partition(u16),
    /// What Limio is to be told of orders that are written.
    Links,
}

impl Queue {
    /// Its number among those of its kind.
    pub const fn index(self) -> u16 {
        match self {
            Self::Inbox(index) | Self::Partition(index) => index,
            Self::Links => 0,
        }
    }
}

/// Where a message is published.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// The orders exchange, as publishers do. Must be routed.
    Orders,
    /// A partition, by queue name. Must be routed.
    Partition(u16),
    /// The queue of links. Must be routed.
    Links,
    /// The journal. Must be routed.
    Journal,
    /// The outcomes exchange, with this routing key. Nobody has to listen.
    Outcomes(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_of_a_customer_is_pinned() {
        let topology = Topology::new(Namespace::parse("causeway").expect("a name"));
        assert_eq!(topology.partition_of(""), 0);
        assert_eq!(topology.partition_of("123456789"), u16::try_from(0xCBF4_3926_u32 % 32).expect("small"));
        assert_eq!(
            topology.partition_of("id-af385c5fd5a03350308ea28d073e9e26"),
            topology.partition_of("id-af385c5fd5a03350308ea28d073e9e26")
        );
    }

    #[test]
    fn names_begin_with_the_namespace() {
        let topology = Topology::new(Namespace::parse("acme").expect("a name"));
        assert_eq!(topology.queue_name(Queue::Inbox(3)), "acme.inbox.03");
        assert_eq!(topology.queue_name(Queue::Partition(31)), "acme.orders.write.31");
        assert_eq!(topology.queue_name(Queue::Links), "acme.links");
        assert_eq!(Namespace::parse("a b"), None);
        assert_eq!(Namespace::parse(""), None);
    }
}
