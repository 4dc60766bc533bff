//! The whole fleet, from a publisher to the org and back to an operator.

mod broker_cut;
mod intake;
mod operator;
mod order_reaches_salesforce;
mod ownership;
mod stage;
mod story;
mod two_fleets;
