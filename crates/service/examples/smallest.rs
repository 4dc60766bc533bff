//! The smallest program that does everything a process of the fleet does: settings, a loop that drains, a condition, a
//! metric, files read again on SIGHUP. The tests of this crate start it.

use std::process::ExitCode;
use std::time::Duration;

use causeway_service as service;
use prometheus::IntCounter;
use secrecy::{ExposeSecret, SecretString};
use service::{Address, Condition, Lifecycle, Problems, Program, Stopped};

/// Counts, until it is told to stop.
#[derive(Debug, clap::Parser)]
#[command(
    name = "smallest",
    version,
    after_help = "CAUSEWAY_SMALLEST_KEY (or CAUSEWAY_SMALLEST_KEY_FILE) holds the key."
)]
struct Args {
    /// How long to rest between two counts.
    #[arg(long, env = "CAUSEWAY_SMALLEST_REST", default_value = "10ms", value_name = "TIME")]
    rest: String,
    /// Where to count to, as an address.
    #[arg(long, env = "CAUSEWAY_SMALLEST_URL", default_value = "redis://localhost/", value_name = "URL")]
    url: String,
    /// How it goes wrong: `never`, `panic`, `end`, `hang` (drains never), `away` (something is unreachable).
    #[arg(long, env = "CAUSEWAY_SMALLEST_TROUBLE", default_value = "never")]
    trouble: String,
}

#[derive(Debug, Clone, Copy)]
enum Trouble {
    Never,
    Panic,
    End,
    Hang,
    Away,
}

struct Config {
    key: SecretString,
    url: Address,
    rest: Duration,
    trouble: Trouble,
}

#[expect(clippy::needless_pass_by_value, reason = "the arguments become the configuration")]
fn read(args: Args, problems: &mut Problems) -> Option<Config> {
    let key = problems.secret("CAUSEWAY_SMALLEST_KEY");
    let url = problems.address("CAUSEWAY_SMALLEST_URL", &args.url, &["redis", "rediss"]);
    let rest = problems.duration("CAUSEWAY_SMALLEST_REST", &args.rest);
    let troubles = [
        ("never", Trouble::Never),
        ("panic", Trouble::Panic),
        ("end", Trouble::End),
        ("hang", Trouble::Hang),
        ("away", Trouble::Away),
    ];
    let trouble = problems.choice("CAUSEWAY_SMALLEST_TROUBLE", &args.trouble, &troubles);
    Some(Config { key: key?, url: url?, rest: rest?, trouble: trouble? })
}

async fn go(config: Config, lifecycle: Lifecycle) -> Result<(), Stopped> {
    lifecycle.health().not_ready("counting", "starting");
    let counted = IntCounter::new("counted_total", "How often it counted.")
        .map_err(|error| Stopped::failed(error.to_string()))?;
    lifecycle.registry().register(Box::new(counted.clone())).map_err(|error| Stopped::failed(error.to_string()))?;
    if let Trouble::Away = config.trouble {
        return Err(Stopped::unavailable("the counter is away"));
    }
    tracing::info!(url = %config.url, key_length = config.key.expose_secret().len(), "counting");
    lifecycle.spawn("count", count(config, counted, lifecycle.clone()));
    Ok(())
}

async fn count(config: Config, counted: IntCounter, lifecycle: Lifecycle) -> Result<(), Stopped> {
    lifecycle.health().set("counting", Condition::Ready);
    match config.trouble {
        Trouble::Panic => panic!("trouble was asked for"),
        Trouble::End => return Ok(()),
        Trouble::Never | Trouble::Hang | Trouble::Away => {}
    }
    let mut reloads = lifecycle.reloads();
    loop {
        lifecycle.health().beat();
        counted.inc();
        tokio::select! {
            () = tokio::time::sleep(config.rest) => {}
            Ok(()) = reloads.changed() => tracing::info!(reloads = *reloads.borrow_and_update(), "read again"),
            () = lifecycle.draining().cancelled() => break,
        }
    }
    if let Trouble::Hang = config.trouble {
        lifecycle.aborting().cancelled().await;
    }
    Ok(())
}

fn main() -> ExitCode {
    service::run(Program { name: "smallest", admin_listen: "127.0.0.1:9469", silenced: &[] }, read, go)
}
