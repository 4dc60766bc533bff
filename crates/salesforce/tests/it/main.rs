//! The client against a scripted server, byte by byte, and against the simulated org.

mod bodies;
mod graphs;
mod limits;
mod org;
mod records;
mod server;
mod sessions;
mod tokens;
mod wire;
