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

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::exit::{Exit, Failure, chain};
use crate::health::Health;

/// How long tasks may take to end once they are told to abort.
pub const ABORT_WITHIN: Duration = Duration::from_secs(5);

/// The process, as its parts see it. Clones share one state.
#[derive(Debug, Clone)]
pub struct Lifecycle(Arc<State>);

#[derive(Debug)]
struct State {
    draining: CancellationToken,
    aborting: CancellationToken,
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
    /// A process that nobody has told to stop. [`crate::run`] makes one; tests that run a program inside their own process
    /// make theirs, and end it with [`Lifecycle::drain`] and [`Lifecycle::ended`].
    ///
    /// # Panics
    /// Never: the prefix of the metrics is a valid one.
    pub fn new() -> Self {
        let registry =
            Registry::new_custom(Some("causeway".to_owned()), None).expect("`causeway` is a valid metric prefix");
        Self(Arc::new(State {
            draining: CancellationToken::new(),
            aborting: CancellationToken::new(),
            tasks: TaskTracker::new(),
            reloads: watch::Sender::new(0),
            exit: Mutex::new(Exit::Done),
            health: Health::default(),
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
        if !self.0.draining.is_cancelled() {
            self.0.health.not_ready("lifecycle", "draining");
            self.0.draining.cancel();
        }
    }

    /// Let go of everything; what a second SIGTERM does. The process ends with a failure.
    pub fn abort(&self) {
        self.end(Exit::Failed);
        self.0.aborting.cancel();
    }

    /// Ask for files to be read again; what a SIGHUP does.
    pub fn reload(&self) {
        self.0.reloads.send_modify(|count| *count += 1);
    }

    /// Waits until every task has ended. Before draining it waits for that.
    pub async fn ended(&self) -> Exit {
        self.0.draining.cancelled().await;
        self.0.tasks.close();
        self.0.tasks.wait().await;
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
        let mut reloads = lifecycle.reloads();
        lifecycle.reload();
        lifecycle.reload();
        reloads.changed().await.expect("the process lives");
        assert_eq!(*reloads.borrow_and_update(), 2);
    }
}
