//! A whole process, from its command line to its exit code.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgMatches, FromArgMatches};
use prometheus::{IntGauge, Opts};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::admin;
use crate::exit::{Exit, Failure, chain};
use crate::lifecycle::{ABORT_WITHIN, Lifecycle};
use crate::settings::Problems;
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
        Ok((args, common)) => start(program, &common, |problems| read(args, problems), go),
        Err(exit) => exit,
    };
    telemetry::flush();
    exit.into()
}

/// Reads the command line. Help and version are answers too, hence an `Exit` in place of arguments.
fn parse<A: clap::Parser>(program: Program) -> Result<(A, Args), Exit> {
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
        Ok((args, <Args as FromArgMatches>::from_arg_matches(&matches)?))
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
    read: impl FnOnce(&mut Problems) -> Option<C>,
    go: impl FnOnce(C, Lifecycle) -> Fut,
) -> Exit
where
    E: Failure,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
{
    let mut problems = Problems::default();
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
    let lifecycle = Lifecycle::new();
    let watched = lifecycle.clone();
    std::panic::set_hook(Box::new(move |panic| {
        telemetry::log_panic(panic);
        watched.end(Exit::Bug);
    }));
    let exit = runtime.block_on(async {
        match admin::open(common.admin_listen, lifecycle.clone()).await {
            Ok(address) => {
                tracing::info!(program = program.name, version = env!("CARGO_PKG_VERSION"), admin = %address, "started");
            }
            Err(error) => {
                let remedy = "set CAUSEWAY_ADMIN_LISTEN to a free address, or to 127.0.0.1:0";
                tracing::error!(setting = "CAUSEWAY_ADMIN_LISTEN", address = %common.admin_listen, error = chain(&error), remedy, "the admin port cannot be opened");
                return Exit::Settings;
            }
        }
        describe_build(program, &lifecycle);
        go_until_ended(common.drain, &lifecycle, go(config, lifecycle.clone())).await
    });
    // Whatever still runs has had its time.
    runtime.shutdown_timeout(Duration::from_millis(100));
    tracing::info!(program = program.name, code = exit.number(), "ended");
    exit
}

async fn go_until_ended<E: Failure>(
    drain: Duration,
    lifecycle: &Lifecycle,
    go: impl Future<Output = Result<(), E>> + Send + 'static,
) -> Exit {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hang_up)) = signals else {
        tracing::error!("signals cannot be listened to");
        return Exit::Failed;
    };
    lifecycle.spawn_program(go);
    let mut abort_at: Option<Instant> = None;
    let mut give_up_at: Option<Instant> = None;
    loop {
        tokio::select! {
            exit = lifecycle.ended() => return exit,
            () = lifecycle.draining().cancelled(), if abort_at.is_none() => {
                tracing::info!(seconds = drain.as_secs(), "draining: nothing new is taken, work in flight is finished");
                abort_at = Some(Instant::now() + drain.saturating_sub(ABORT_WITHIN));
            }
            () = at(abort_at), if give_up_at.is_none() => {
                tracing::warn!("aborting: the time for draining is over, the rest is released");
                lifecycle.abort();
                give_up_at = Some(Instant::now() + ABORT_WITHIN);
            }
            () = at(give_up_at) => {
                tracing::error!("not everything ended in time");
                return lifecycle.exit();
            }
            _ = terminate.recv() => stop(lifecycle, &mut give_up_at),
            _ = interrupt.recv() => stop(lifecycle, &mut give_up_at),
            _ = hang_up.recv() => {
                tracing::info!("asked to read files again");
                lifecycle.reload();
            }
        }
    }
}

/// The first signal drains, the second aborts, and a third finds that already done.
fn stop(lifecycle: &Lifecycle, give_up_at: &mut Option<Instant>) {
    if !lifecycle.draining().is_cancelled() {
        lifecycle.drain();
    } else if give_up_at.is_none() {
        tracing::warn!("aborting: asked to stop a second time, the rest is released");
        lifecycle.abort();
        *give_up_at = Some(Instant::now() + ABORT_WITHIN);
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
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
