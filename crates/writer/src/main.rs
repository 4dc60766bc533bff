//! The writer's process.

use std::process::ExitCode;

use causeway_writer::{Config, run};

fn main() -> ExitCode {
    let program = service::Program {
        name: "writer",
        admin_listen: "127.0.0.1:9465",
        silenced: &queue::rabbitmq::LOG_TARGETS_WITH_CONTENTS,
    };
    service::run(program, Config::read, run)
}
