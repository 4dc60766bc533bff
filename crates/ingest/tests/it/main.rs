//! `ingest` between a real broker and a real Redis.

mod faults;
mod refusals;
mod relay;
mod stage;
