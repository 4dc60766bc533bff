//! The writer's process.

use std::process::ExitCode;

use causeway_writer::{Config, run};

fn main() -> ExitCode {
    service::run(service::Program { name: "writer", admin_listen: "127.0.0.1:9465" }, Config::read, run)
}
