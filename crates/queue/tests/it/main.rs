//! What both backends promise, what only RabbitMQ does, and how a lost broker is found again.

extern crate causeway_queue as queue;

mod company;
mod conformance;
mod draining;
mod giving_up;
mod links;
mod observing;
mod overflow;
mod rabbitmq;
mod reconnect;
mod stage;
mod work;
