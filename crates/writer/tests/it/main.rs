//! The writer between a real broker, a real Redis and a simulated org.

mod accounts;
mod calls;
mod customers;
mod duplicates;
mod events;
mod letters;
mod links;
mod lost_answers;
mod memories;
mod org_check;
mod outages;
mod processes;
mod questions;
mod quota;
mod refusals;
mod sign_in;
mod stage;
mod stories;
mod suspects;
mod switches;
mod transfers;
