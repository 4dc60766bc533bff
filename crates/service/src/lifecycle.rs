//! From start to end: tasks, signals, and the two ways of stopping.
//!
//! ```text
//! running ──first SIGTERM/SIGINT, or a task that ended──► draining ──all tasks ended──► exit
//!                                                            │
//!                                second signal, or drain time less 5 s
//!                                                            ▼
//!                                                         aborting ──all tasks ended, or 5 s──► exit 1
//! ```
//!
//! Tasks watch two tokens. *Draining*: take nothing new, finish or release what is in flight. *Aborting*: let go at once.
//! This is the only clock of a drain: work has no limit of its own, it ends when its token says so.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::exit::{Exit, Failure, chain};
use crate::health::{Dependencies, Health, LIFECYCLE};

/// How long tasks may take to end once they are told to abort.
pub const ABORT_WITHIN: Duration = Duration::from_secs(5);

/// How long a process may take to end unless told otherwise: the default of `CAUSEWAY_DRAIN`.
pub const DRAIN: Duration = Duration::from_secs(30);

/// The process, as its parts see it. Clones share one state.
#[derive(Debug, Clone)]
pub struct Lifecycle(Arc<State>);

#[derive(Debug)]
struct State {
    /// From the beginning of draining to the end of the process; the last [`ABORT_WITHIN`] of it for letting go.
    drain: Duration,
    draining: CancellationToken,
    draining_since: OnceLock<Instant>,
    aborting: CancellationToken,
    aborting_since: OnceLock<Instant>,
    tasks: TaskTracker,
    reloads: watch::Sender<u64>,
    exit: Mutex<Exit>,
    health: Health,
    registry: Registry,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    /// A process that nobody has told to stop, and that may take [`DRAIN`] to end. [`crate::run()`] makes one; tests that run a
    /// program inside their own process make theirs, and end it with [`Lifecycle::drain`] and [`Lifecycle::ended`].
    pub fn new() -> Self {
        Self::with_drain(DRAIN)
    }

    /// The same with another time to end, [`ABORT_WITHIN`] included; with no more than that it aborts as soon as it drains.
    ///
    /// # Panics
    /// Never: the prefix of the metrics and the first of them are valid.
    pub fn with_drain(drain: Duration) -> Self {
        let registry =
            Registry::new_custom(Some("causeway".to_owned()), None).expect("`causeway` is a valid metric prefix");
        let health = Health::default();
        let dependencies = Dependencies::of(health.clone()).expect("a metric with a name and a label");
        registry.register(Box::new(dependencies)).expect("nothing was registered before");
        Self(Arc::new(State {
            drain,
            draining: CancellationToken::new(),
            draining_since: OnceLock::new(),
            aborting: CancellationToken::new(),
            aborting_since: OnceLock::new(),
            tasks: TaskTracker::new(),
            reloads: watch::Sender::new(0),
            exit: Mutex::new(Exit::Done),
            health,
            registry,
        }))
    }

    /// Cancelled when nothing new may be taken.
    pub fn draining(&self) -> &CancellationToken {
        &self.0.draining
    }

    /// Cancelled when everything is to be let go at once. Draining has been cancelled before.
    pub fn aborting(&self) -> &CancellationToken {
        &self.0.aborting
    }

    /// Changes each time the process is asked to read its files again (SIGHUP).
    pub fn reloads(&self) -> watch::Receiver<u64> {
        self.0.reloads.subscribe()
    }

    /// Where parts report whether they are ready.
    pub fn health(&self) -> &Health {
        &self.0.health
    }

    /// Where parts register their metrics; the prefix `causeway_` is added to their names.
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// Runs a part of the program that is to work until the process drains. When it fails, panics, or ends before, the
    /// whole process drains, and its exit code says why.
    pub fn spawn<E: Failure>(&self, name: &'static str, task: impl Future<Output = Result<(), E>> + Send + 'static) {
        let lifecycle = self.clone();
        // Counted before it runs: it may look at the count.
        self.0.tasks.spawn(async move {
            match tokio::spawn(task).await {
                Ok(Ok(())) if lifecycle.draining().is_cancelled() => tracing::debug!(task = name, "ended"),
                Ok(Ok(())) => {
                    tracing::error!(task = name, "ended without having been asked to");
                    lifecycle.end(Exit::Failed);
                }
                Ok(Err(failure)) => {
                    tracing::error!(task = name, error = chain(&failure), "failed");
                    lifecycle.end(failure.exit());
                }
                Err(panic) => lifecycle.panicked(name, &panic),
            }
        });
    }

    /// Runs the program itself, which may be done once it has spawned its parts.
    pub(crate) fn spawn_program<E: Failure>(&self, go: impl Future<Output = Result<(), E>> + Send + 'static) {
        let lifecycle = self.clone();
        self.spawn("program", async move {
            go.await?;
            // This task is the one that is counted besides the parts.
            if lifecycle.0.tasks.len() > 1 {
                lifecycle.draining().cancelled().await;
            }
            Ok::<_, E>(())
        });
    }

    /// Runs something that ends by itself, such as one batch. The process waits for it; only a panic is a failure.
    pub fn spawn_job(&self, name: &'static str, job: impl Future<Output = ()> + Send + 'static) {
        let lifecycle = self.clone();
        self.0.tasks.spawn(async move {
            if let Err(panic) = tokio::spawn(job).await {
                lifecycle.panicked(name, &panic);
            }
        });
    }

    /// Take nothing new from now on; what a first SIGTERM does.
    pub fn drain(&self) {
        if self.0.draining_since.set(Instant::now()).is_ok() {
            self.0.health.not_ready(LIFECYCLE, "draining");
            if self.0.health.was_ready() {
                tracing::info!(
                    seconds = self.0.drain.as_secs(),
                    "draining: nothing new is taken, work in flight is finished"
                );
            } else {
                tracing::info!("stopping before it was ready: there is nothing to finish");
            }
            self.0.draining.cancel();
        }
    }

    /// Let go of everything; what a second SIGTERM does. The process ends with a failure.
    pub fn abort(&self) {
        self.end(Exit::Failed);
        let _ = self.0.aborting_since.set(Instant::now());
        self.0.aborting.cancel();
    }

    /// Ask for files to be read again; what a SIGHUP does. Returns whether any part of the program reads files again.
    pub fn reload(&self) -> bool {
        self.0.reloads.send_modify(|count| *count += 1);
        self.0.reloads.receiver_count() > 0
    }

    /// Waits until every task has ended. Before draining it waits for that. Aborts when the time for draining is over, and
    /// gives up on tasks that have not ended [`ABORT_WITHIN`] later. May be dropped and called again: the times stay.
    pub async fn ended(&self) -> Exit {
        let state = &self.0;
        state.draining.cancelled().await;
        state.tasks.close();
        let mut ended = std::pin::pin!(state.tasks.wait());
        let abort_at = since(&state.draining_since) + state.drain.saturating_sub(ABORT_WITHIN);
        tokio::select! {
            biased;
            () = &mut ended => return self.exit(),
            () = state.aborting.cancelled() => {}
            () = sleep_until(abort_at) => {
                tracing::warn!("aborting: the time for draining is over, the rest is released");
                self.abort();
            }
        }
        tokio::select! {
            biased;
            () = &mut ended => {}
            () = sleep_until(since(&state.aborting_since) + ABORT_WITHIN) => tracing::error!("not everything ended in time"),
        }
        self.exit()
    }

    /// The exit code, as things stand.
    pub fn exit(&self) -> Exit {
        *self.0.exit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how the process ends, and drains. The gravest reason counts.
    pub(crate) fn end(&self, exit: Exit) {
        {
            let mut noted = self.0.exit.lock().unwrap_or_else(PoisonError::into_inner);
            *noted = noted.or_worse(exit);
        }
        self.drain();
    }

    fn panicked(&self, name: &'static str, panic: &tokio::task::JoinError) {
        // Cancelled only when the runtime is shut down under it.
        if panic.is_panic() {
            tracing::error!(task = name, "panicked");
            self.end(Exit::Bug);
        }
    }
}

/// When a token was cancelled that is known to be.
fn since(noted: &OnceLock<Instant>) -> Instant {
    noted.get().copied().unwrap_or_else(Instant::now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Stopped;

    #[tokio::test]
    async fn a_task_that_ends_after_draining_began_is_a_good_end() {
        let lifecycle = Lifecycle::new();
        let draining = lifecycle.draining().clone();
        lifecycle.spawn("loop", async move {
            draining.cancelled().await;
            Ok::<_, Stopped>(())
        });
        lifecycle.drain();
        assert_eq!(lifecycle.ended().await, Exit::Done);
    }

    #[tokio::test]
    async fn a_task_that_ends_on_its_own_drains_the_process_and_fails_it() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("loop", async { Ok::<_, Stopped>(()) });
        assert_eq!(lifecycle.ended().await, Exit::Failed);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_program_that_has_spawned_its_parts_may_be_done() {
        for _ in 0..500 {
            let lifecycle = Lifecycle::new();
            let parts = lifecycle.clone();
            let (started, running) = tokio::sync::oneshot::channel();
            lifecycle.spawn_program(async move {
                let draining = parts.draining().clone();
                parts.spawn("part", async move {
                    // The program that spawned it is done by then, or about to be.
                    tokio::task::yield_now().await;
                    let _ = started.send(());
                    draining.cancelled().await;
                    Ok::<_, Stopped>(())
                });
                Ok::<_, Stopped>(())
            });
            running.await.expect("the part runs");
            lifecycle.drain();
            assert_eq!(lifecycle.ended().await, Exit::Done);
        }
    }

    #[tokio::test]
    async fn a_task_says_by_its_error_how_the_process_ends() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("loop", async { Err(Stopped::unavailable("no broker")) });
        assert_eq!(lifecycle.ended().await, Exit::Unavailable);
    }

    #[tokio::test]
    async fn a_job_may_end_and_may_not_panic() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn_job("batch", async {});
        lifecycle.spawn_job("batch", async { panic!("on purpose") });
        assert_eq!(lifecycle.ended().await, Exit::Bug);
    }

    #[tokio::test]
    async fn a_reload_reaches_everyone_who_asked_before() {
        let lifecycle = Lifecycle::new();
        assert!(!lifecycle.reload(), "nobody reads files");
        let mut reloads = lifecycle.reloads();
        assert!(lifecycle.reload() && lifecycle.reload());
        reloads.changed().await.expect("the process lives");
        assert_eq!(*reloads.borrow_and_update(), 3);
    }

    /// A task that needs this long to finish once it is told to, and minds an abort.
    fn busy_for(lifecycle: &Lifecycle, time: Duration) {
        let own = lifecycle.clone();
        lifecycle.spawn("busy", async move {
            own.draining().cancelled().await;
            tokio::select! {
                () = tokio::time::sleep(time) => {}
                () = own.aborting().cancelled() => {}
            }
            Ok::<_, Stopped>(())
        });
    }

    #[tokio::test(start_paused = true)]
    async fn work_has_the_time_for_draining_less_that_for_aborting() {
        for (drain, work, expected, seconds) in
            [(60, 50, Exit::Done, 50), (30, 24, Exit::Done, 24), (30, 26, Exit::Failed, 25), (10, 24, Exit::Failed, 5)]
        {
            let lifecycle = Lifecycle::with_drain(Duration::from_secs(drain));
            busy_for(&lifecycle, Duration::from_secs(work));
            let began = Instant::now();
            lifecycle.drain();
            assert_eq!(lifecycle.ended().await, expected, "{work} s of work, {drain} s to drain");
            assert_eq!(began.elapsed().as_secs(), seconds, "{work} s of work, {drain} s to drain");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_minds_nothing_is_given_up_when_all_time_is_over() {
        let lifecycle = Lifecycle::with_drain(Duration::from_secs(20));
        lifecycle.spawn("hung", std::future::pending::<Result<(), Stopped>>());
        let began = Instant::now();
        lifecycle.drain();
        // Whoever waits may look away in between.
        let looked = tokio::time::timeout(Duration::from_secs(17), lifecycle.ended()).await;
        assert!(looked.is_err());
        assert_eq!(lifecycle.ended().await, Exit::Failed);
        assert_eq!(began.elapsed().as_secs(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn an_abort_leaves_five_seconds_from_when_it_was_asked_for() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("hung", std::future::pending::<Result<(), Stopped>>());
        let began = Instant::now();
        lifecycle.drain();
        tokio::time::sleep(Duration::from_secs(3)).await;
        lifecycle.abort();
        assert_eq!(lifecycle.ended().await, Exit::Failed);
        assert_eq!(began.elapsed().as_secs(), 8);
    }
}
