//! The process of `ingest`.

use std::process::ExitCode;

use causeway_ingest::{Config, run};

fn main() -> ExitCode {
    let program = service::Program {
        name: "ingest",
        admin_listen: "127.0.0.1:9464",
        silenced: &queue::rabbitmq::LOG_TARGETS_WITH_CONTENTS,
    };
    service::run(program, Config::read, run)
}
