//! What every process needs and no process should write twice: settings, logs, signals, an admin port, exit codes.
//!
//! A program is three things: its arguments, a function that turns them into a configuration, and a function that works
//! until it is told to stop.
//!
//! ```no_run
//! #[derive(clap::Parser)]
//! #[command(name = "causeway-example", version, about = "Waits.")]
//! struct Args {
//!     /// How long to wait between two looks.
//!     #[arg(long, env = "CAUSEWAY_EXAMPLE_PAUSE", default_value = "250ms")]
//!     pause: String,
//! }
//!
//! struct Config {
//!     pause: std::time::Duration,
//! }
//!
//! fn read(args: Args, problems: &mut service::Problems) -> Option<Config> {
//!     let pause = problems.duration("CAUSEWAY_EXAMPLE_PAUSE", &args.pause);
//!     Some(Config { pause: pause? })
//! }
//!
//! async fn go(config: Config, lifecycle: service::Lifecycle) -> Result<(), service::Stopped> {
//!     lifecycle.health().set("example", service::Condition::Ready);
//!     tracing::info!(pause = ?config.pause, "waiting");
//!     lifecycle.draining().cancelled().await;
//!     Ok(())
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     service::run(service::Program { name: "example", admin_listen: "127.0.0.1:9469", silenced: &[] }, read, go)
//! }
//! # use causeway_service as service;
//! ```
//!
//! What happens, in this order: the command line is read (a mistake there is exit code 64); the settings are checked, and
//! *all* problems are told at once, before anything is opened (78); logs start; the admin port opens; the program goes.
//! The first SIGTERM or SIGINT drains: take nothing new, finish what is in flight. A second one, or the end of the time
//! for it, aborts: let go of everything unsettled. See [`Lifecycle`] for the clock, [`Exit`] for what the code tells.
//!
//! Invariants:
//! - A task that ends without having been asked to makes the process end, and not with success.
//! - A panic anywhere is a bug: the process drains and ends with 70.
//! - The environment is read by clap and by [`Problems`], nowhere else.
//! - No message of this crate shows a secret or the credentials inside an address.

mod admin;
pub mod exit;
pub mod health;
pub mod hints;
pub mod intervals;
pub mod lifecycle;
pub mod patience;
mod run;
pub mod settings;
pub mod telemetry;

pub use exit::{Exit, Failure, Stopped};
pub use health::{Condition, Health};
pub use lifecycle::Lifecycle;
pub use run::{Args, Program, run};
pub use settings::{Address, Problems};
