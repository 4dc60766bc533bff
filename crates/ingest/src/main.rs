//! The process of `ingest`.

use std::process::ExitCode;

use causeway_ingest::{Config, run};

fn main() -> ExitCode {
    service::run(service::Program { name: "ingest", admin_listen: "127.0.0.1:9464" }, Config::read, run)
}
