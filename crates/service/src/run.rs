//! A whole process, from its command line to its exit code.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgMatches, FromArgMatches};
use prometheus::{IntGauge, Opts};
use tokio::signal::unix::{SignalKind, signal};

use crate::admin;
use crate::exit::{Exit, Failure, chain};
use crate::lifecycle::{ABORT_WITHIN, Lifecycle};
use crate::settings::{Address, Problems};
use crate::telemetry::{self, Log, LogArgs};

/// What a process is called and where its admin port is unless told otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The bare word: `writer`.
    pub name: &'static str,
    /// The default of `--admin-listen`; another one for each program, so that all of them run on one machine.
    pub admin_listen: &'static str,
    /// Modules of libraries that would log message contents: never logged, whatever the filter.
    pub silenced: &'static [&'static str],
}

/// The settings that every process has. [`run`] adds them to the program's own.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Logs.
    #[command(flatten)]
    pub log: LogArgs,
    /// Where /live, /ready and /metrics are served; port 0 takes a free one, which the log names.
    #[arg(long, env = "CAUSEWAY_ADMIN_LISTEN", value_name = "ADDR", help_heading = "Operation")]
    pub admin_listen: Option<String>,
    /// How long work in flight may take to finish after SIGTERM, the last 5 s for letting go of what has not.
    ///
    /// Give the process longer than that before it is killed (Kubernetes: terminationGracePeriodSeconds of 40).
    #[arg(long, env = "CAUSEWAY_DRAIN", default_value = "30s", value_name = "TIME", help_heading = "Operation")]
    pub drain: String,
}

struct Common {
    log: Log,
    admin_listen: SocketAddr,
    drain: Duration,
}

impl Args {
    fn read(&self, program: Program, problems: &mut Problems) -> Option<Common> {
        let log = self.log.read(problems);
        let listen = self.admin_listen.as_deref().unwrap_or(program.admin_listen);
        let admin_listen = problems.parsed(
            "CAUSEWAY_ADMIN_LISTEN",
            listen,
            "write an IP address and a port: 0.0.0.0:9464, or 127.0.0.1:0 for a free port",
        );
        let drain = problems.duration("CAUSEWAY_DRAIN", &self.drain).filter(|drain| {
            let enough = *drain > ABORT_WITHIN;
            if !enough {
                problems.note(
                    "CAUSEWAY_DRAIN",
                    format!("{:?} leaves no time", self.drain),
                    "write more than 5s, which are kept for aborting",
                );
            }
            enough
        });
        Some(Common { log: log?, admin_listen: admin_listen?, drain: drain? })
    }
}

/// Runs a program: `read` turns its arguments into a configuration and notes every problem, `go` works until the
/// lifecycle drains. `go` is a task like those that it spawns: when it ends before, the process ends with a failure,
/// unless it has spawned others, which then are the program.
pub fn run<A, C, E, Fut>(
    program: Program,
    read: impl FnOnce(A, &mut Problems) -> Option<C>,
    go: impl FnOnce(C, Lifecycle) -> Fut,
) -> ExitCode
where
    A: clap::Parser,
    E: Failure,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
{
    let exit = match parse::<A>(program) {
        Ok(parsed) => {
            let Parsed { args, common, place, problems } = parsed;
            start(program, &common, &place, problems, |problems| read(args, problems), go)
        }
        Err(exit) => exit,
    };
    telemetry::flush();
    exit.into()
}

/// A command line that was understood.
struct Parsed<A> {
    args: A,
    common: Args,
    place: Place,
    problems: Problems,
}

/// Where in the world the process works, as far as its settings say so: for the first line of its log.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    tenant: Option<String>,
    namespace: Option<String>,
    broker: Option<String>,
    ledger: Option<String>,
    salesforce: Option<String>,
}

impl Place {
    /// Reads the settings that the whole fleet shares, by their variables. Addresses are shown without credentials.
    fn of(command: &clap::Command, matches: &ArgMatches) -> Self {
        let text = |variable: &str| {
            let argument = command.get_arguments().find(|arg| arg.get_env().is_some_and(|env| env == variable))?;
            matches.try_get_one::<String>(argument.get_id().as_str()).ok()?.cloned()
        };
        let address = |variable: &str, schemes: &[&str]| {
            let address = Address::parse(&text(variable)?, schemes).ok()?;
            Some(address.to_string())
        };
        Self {
            tenant: text("CAUSEWAY_TENANT"),
            namespace: text("CAUSEWAY_NAMESPACE"),
            broker: address("CAUSEWAY_AMQP_URL", &["amqp", "amqps"]),
            ledger: address("CAUSEWAY_REDIS_URL", &["redis", "rediss"]),
            salesforce: address("CAUSEWAY_SALESFORCE_LOGIN_URL", &["http", "https"]),
        }
    }
}

/// Reads the command line. Help and version are answers too, hence an `Exit` in place of arguments.
fn parse<A: clap::Parser>(program: Program) -> Result<Parsed<A>, Exit> {
    let own = A::command();
    let (about, long_about) = (own.get_about().cloned(), own.get_long_about().cloned());
    let mut command = <Args as clap::Args>::augment_args(own)
        .about(about.unwrap_or_default())
        .mut_arg("admin_listen", |arg| arg.default_value(program.admin_listen))
        // Addresses hold passwords; help is shown to anybody.
        .mut_args(|arg| arg.hide_env_values(true));
    if let Some(text) = long_about {
        command = command.long_about(text);
    }
    let parsed = command.clone().try_get_matches().and_then(|matches: ArgMatches| {
        let args = A::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        let common = <Args as FromArgMatches>::from_arg_matches(&matches)?;
        let place = Place::of(&command, &matches);
        Ok(Parsed { args, common, place, problems: Problems::of_command(&command) })
    });
    parsed.map_err(|error| {
        // Nobody is left to tell when standard output or error is closed.
        let _ = error.print();
        if error.use_stderr() { Exit::Usage } else { Exit::Done }
    })
}

fn start<C, E, Fut>(
    program: Program,
    args: &Args,
    place: &Place,
    mut problems: Problems,
    read: impl FnOnce(&mut Problems) -> Option<C>,
    go: impl FnOnce(C, Lifecycle) -> Fut,
) -> Exit
where
    E: Failure,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
{
    let common = args.read(program, &mut problems);
    let config = read(&mut problems);
    let (Some(common), Some(config), true) = (common, config, problems.is_empty()) else {
        eprint!("causeway-{}: {problems}", program.name);
        return Exit::Settings;
    };
    common.log.start(program.silenced);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(error = chain(&error), "the runtime cannot be started");
            return Exit::Failed;
        }
    };
    let lifecycle = Lifecycle::with_drain(common.drain);
    let watched = lifecycle.clone();
    std::panic::set_hook(Box::new(move |panic| {
        telemetry::log_panic(panic);
        watched.end(Exit::Bug);
    }));
    let exit = runtime.block_on(async {
        match admin::open(common.admin_listen, lifecycle.clone()).await {
            Ok(address) => {
                let Place { tenant, namespace, broker, ledger, salesforce } = place;
                tracing::info!(
                    program = program.name,
                    version = env!("CARGO_PKG_VERSION"),
                    admin = %address,
                    tenant,
                    namespace,
                    broker,
                    ledger,
                    salesforce,
                    "started"
                );
            }
            Err(error) => {
                let remedy = "set CAUSEWAY_ADMIN_LISTEN to a free address, or to 127.0.0.1:0";
                tracing::error!(setting = "CAUSEWAY_ADMIN_LISTEN", address = %common.admin_listen, error = chain(&error), remedy, "the admin port cannot be opened");
                return Exit::Settings;
            }
        }
        describe_build(program, &lifecycle);
        go_until_ended(&lifecycle, go(config, lifecycle.clone())).await
    });
    // Whatever still runs has had its time.
    runtime.shutdown_timeout(Duration::from_millis(100));
    tracing::info!(program = program.name, code = exit.number(), "ended");
    exit
}

async fn go_until_ended<E: Failure>(
    lifecycle: &Lifecycle,
    go: impl Future<Output = Result<(), E>> + Send + 'static,
) -> Exit {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hang_up)) = signals else {
        tracing::error!("signals cannot be listened to");
        return Exit::Failed;
    };
    lifecycle.spawn_program(go);
    loop {
        tokio::select! {
            exit = lifecycle.ended() => return exit,
            _ = terminate.recv() => stop(lifecycle),
            _ = interrupt.recv() => stop(lifecycle),
            _ = hang_up.recv() => {
                if lifecycle.reload() {
                    tracing::info!("asked to read files again");
                } else {
                    tracing::info!("SIGHUP: there is no file that this process would read again");
                }
            }
        }
    }
}

/// The first signal drains, the second aborts, and a third finds that already done.
fn stop(lifecycle: &Lifecycle) {
    if !lifecycle.draining().is_cancelled() {
        lifecycle.drain();
    } else if !lifecycle.aborting().is_cancelled() {
        tracing::warn!("aborting: asked to stop a second time, the rest is released");
        lifecycle.abort();
    }
}

fn describe_build(program: Program, lifecycle: &Lifecycle) {
    let labels = Opts::new("build_info", "Always 1; the labels tell what runs.")
        .const_label("program", program.name)
        .const_label("version", env!("CARGO_PKG_VERSION"));
    let registered = IntGauge::with_opts(labels).and_then(|gauge| {
        gauge.set(1);
        lifecycle.registry().register(Box::new(gauge))
    });
    if let Err(error) = registered {
        tracing::error!(%error, "the build cannot be told among the metrics");
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    #[test]
    fn a_place_names_tenant_namespace_and_hosts_and_no_credentials() {
        let setting = |name: &'static str, variable: &'static str| Arg::new(name).long(name).env(variable);
        let command = Command::new("x")
            .arg(setting("tenant", "CAUSEWAY_TENANT"))
            .arg(setting("namespace", "CAUSEWAY_NAMESPACE").default_value("causeway"))
            .arg(setting("amqp-url", "CAUSEWAY_AMQP_URL"))
            .arg(setting("redis-url", "CAUSEWAY_REDIS_URL"));
        let given = ["x", "--tenant", "acme", "--amqp-url", "amqp://user:hunter2@broker/%2f", "--redis-url", "hunter2"];
        let matches = command.clone().try_get_matches_from(given).expect("understood");
        let place = Place::of(&command, &matches);
        let expected = Place {
            tenant: Some("acme".into()),
            namespace: Some("causeway".into()),
            broker: Some("amqp://broker/%2f".into()),
            ..Place::default()
        };
        assert_eq!(place, expected);
    }
}
