//! What can go wrong between a program and its broker.

use thiserror::Error;

/// A failure of the broker, or of what stands between.
#[derive(Debug, Clone, Error)]
pub enum Error {
    /// The broker cannot be reached or does not accept the credentials. `place` is host, port and virtual host, never a password.
    #[error("RabbitMQ at {place} cannot be reached: {cause}")]
    Unreachable {
        /// Where.
        place: String,
        /// What it said.
        cause: String,
    },
    /// The session ended; a new one has to be made. Whatever was unconfirmed is unknown, whatever was unacknowledged comes again.
    #[error("the connection to RabbitMQ was lost: {0}")]
    Lost(String),
    /// Something on the broker differs from what the fleet declares.
    #[error("{thing} differs: {difference}. {remedy}")]
    Topology {
        /// Queue or exchange.
        thing: String,
        /// Which argument, what it is and what it should be.
        difference: String,
        /// What an operator has to do.
        remedy: String,
    },
}

/// Why a guest ([`crate::session::Broker::visit`]) was not let in.
#[derive(Debug, Clone, Error)]
pub enum VisitError {
    /// No fleet has declared anything under this namespace: most likely it is mistyped, or the broker is another one.
    #[error(
        "there is no fleet under namespace '{namespace}' on RabbitMQ at {place}, and nothing was created. Check \
         CAUSEWAY_NAMESPACE (--namespace) and CAUSEWAY_AMQP_URL (--amqp-url); if the fleet is new, start its programs first: \
         they declare what it needs"
    )]
    NoFleet {
        /// Where, without a password.
        place: String,
        /// The namespace asked for.
        namespace: String,
    },
    /// As when a program of the fleet connects.
    #[error(transparent)]
    Broker(#[from] Error),
}

/// Why a publish did not succeed.
#[derive(Debug, Clone, Error)]
pub enum PublishError {
    /// The broker refused it: the queue is full. Try again later, in order.
    #[error("RabbitMQ refused the message: the queue is full")]
    Refused,
    /// No queue is bound where it went. The topology is broken.
    #[error("RabbitMQ could not route the message to {0}")]
    Unroutable(String),
    /// No confirm came before the session ended or its deadline passed: it may be stored or not.
    #[error("the confirm was lost: {0}")]
    Unknown(String),
}
