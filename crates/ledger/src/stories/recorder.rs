//! Takes steps in without waiting, and writes them from aside.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::story::{Recorder, Step, What};
use service::Health;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{GO_ON_PERCENT, LostSteps, STOP_PERCENT, Stories, now_ms};

/// Steps that wait for Redis at most; about 200 bytes each.
const MOST: usize = 16_384;

/// Orders whose lost steps are counted by name at most.
const MOST_NAMED: usize = 4_096;

/// Steps in one round trip at most.
const BATCH: usize = 1_024;

/// So many steps are written at once, without waiting for more.
const ENOUGH: usize = 256;

/// How long a step waits for company.
const LINGER: Duration = Duration::from_millis(50);

/// How often it is looked whether Redis has room for stories.
const LOOK: Duration = Duration::from_secs(1);

/// The name of the notice that stories are not recorded.
const NOTICE: &str = "stories";

/// How long Redis is left alone after it did not answer.
const AWAY: Duration = Duration::from_secs(1);

/// Records steps of one process. What Redis does not take in time is kept in a bounded memory; what does not fit there is
/// counted, and the count becomes a step of the story. So is what happens while Redis has no room for stories.
///
/// What is in memory when a process dies, or ends while Redis is away, is lost uncounted: a reader sees it where a stage is
/// missing that an order must have gone through, and not where it was a wait or an announcement.
#[derive(Debug)]
pub struct StoryRecorder {
    stories: Stories,
    health: Health,
    by: String,
    waiting: Mutex<Waiting>,
    enough: Notify,
    ending: CancellationToken,
    ended: CancellationToken,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Redis has no room: nothing more is taken in or written, only counted.
    stopped: bool,
    steps: VecDeque<(String, Step)>,
    /// Lost steps by order.
    lost: HashMap<String, u64>,
    /// Lost steps of orders that found no room there.
    unnamed: Option<LostSteps>,
}

/// What is written in one round trip.
#[derive(Debug, Default)]
struct Batch {
    steps: Vec<(String, Vec<Step>)>,
    unnamed: Option<LostSteps>,
}

impl StoryRecorder {
    /// How long the end of a program waits for the last steps to be written.
    pub const CLOSE: Duration = Duration::from_secs(1);

    /// A recorder that writes until it is [closed](Self::close). `by` names program and instance; `health` is told while Redis
    /// has no room for stories.
    pub fn start(stories: Stories, by: &str, health: &Health) -> Arc<Self> {
        let recorder = Arc::new(Self {
            stories,
            health: health.clone(),
            by: shortened(by),
            waiting: Mutex::default(),
            enough: Notify::new(),
            ending: CancellationToken::new(),
            ended: CancellationToken::new(),
        });
        tokio::spawn(Arc::clone(&recorder).write());
        recorder
    }

    /// Writes what is left, for at most so long.
    pub async fn close(&self, within: Duration) {
        self.ending.cancel();
        if timeout(within, self.ended.cancelled()).await.is_err() {
            tracing::warn!("the last steps of some orders' stories were not recorded");
        }
    }

    async fn write(self: Arc<Self>) {
        let mut away_since: Option<Instant> = None;
        let mut look_at = Instant::now();
        loop {
            if look_at <= Instant::now() {
                self.look_for_room().await;
                look_at = Instant::now() + LOOK;
            }
            tokio::select! {
                () = self.enough.notified() => {}
                () = sleep(LINGER) => {}
                () = self.ending.cancelled() => {}
            }
            loop {
                let batch = self.waiting().take(&self.by);
                if batch.is_empty() {
                    break;
                }
                match self.stories.append(&batch.steps, batch.unnamed.as_ref()).await {
                    Ok(()) => {
                        if let Some(since) = away_since.take() {
                            tracing::info!(
                                away_ms = super::milliseconds(since.elapsed()),
                                "stories are recorded again"
                            );
                        }
                    }
                    Err(error) => {
                        if away_since.is_none() {
                            tracing::warn!(%error, "stories are not recorded; steps wait, and what finds no room is counted");
                            away_since = Some(Instant::now());
                        }
                        self.waiting().put_back(batch);
                        sleep(AWAY).await;
                    }
                }
            }
            if self.ending.is_cancelled() && self.waiting().is_empty() {
                self.ended.cancel();
                return;
            }
        }
    }

    /// Stops recording while Redis is nearly full: what it refuses next may be a claim. A Redis that does not tell has as much
    /// room as it had when it did.
    async fn look_for_room(&self) {
        let Ok(used) = self.stories.used_percent().await else { return };
        let used = used.unwrap_or(0);
        let stopped = self.waiting().stopped;
        let stops = if stopped { used >= GO_ON_PERCENT } else { used >= STOP_PERCENT };
        if stops {
            let told = format!(
                "stories of orders are not recorded: Redis has used {used} % of its maxmemory, and claims need the rest; give \
                 it more, or shorten CAUSEWAY_STORY_KEPT and CAUSEWAY_STORY_SETTLED_KEPT"
            );
            if !stopped {
                tracing::warn!(used_percent = used, "{told}");
            }
            self.health.notice(NOTICE, Some(told));
        } else if stopped {
            tracing::info!(used_percent = used, "Redis has room again: stories are recorded");
            self.health.notice(NOTICE, None);
        }
        self.waiting().stopped = stops;
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder for StoryRecorder {
    fn record(&self, order: &str, what: What) {
        let step = Step { at: now_ms(), by: self.by.clone(), what };
        let mut waiting = self.waiting();
        waiting.push(order, step);
        if waiting.steps.len() >= ENOUGH {
            self.enough.notify_one();
        }
    }
}

impl Waiting {
    fn push(&mut self, order: &str, step: Step) {
        if !self.stopped && self.steps.len() < MOST {
            if let Some(steps) = self.lost.remove(order) {
                self.steps.push_back((order.to_owned(), gap(&step, steps)));
            }
            self.steps.push_back((order.to_owned(), step));
        } else if let Some(lost) = self.lost.get_mut(order) {
            *lost += 1;
        } else if self.lost.len() < MOST_NAMED {
            self.lost.insert(order.to_owned(), 1);
        } else {
            let unnamed = self.unnamed.get_or_insert_with(|| LostSteps {
                from: step.at,
                to: step.at,
                steps: 0,
                by: step.by.clone(),
            });
            unnamed.steps += 1;
            unnamed.to = step.at;
        }
    }

    fn take(&mut self, by: &str) -> Batch {
        let mut batch = Batch::default();
        if self.stopped {
            return batch;
        }
        let mut places: HashMap<String, usize> = HashMap::new();
        let taken = self.steps.len().min(BATCH);
        for (order, step) in self.steps.drain(..taken) {
            batch.add(&mut places, order, step);
        }
        if self.steps.is_empty() {
            // All that came before them is on its way.
            let at = now_ms();
            let named: Vec<String> = self.lost.keys().take(BATCH).cloned().collect();
            for order in named {
                let steps = self.lost.remove(&order).unwrap_or_default();
                let marked = Step { at, by: by.to_owned(), what: What::Gap { steps, missing: None } };
                batch.add(&mut places, order, marked);
            }
            batch.unnamed = self.unnamed.take();
        }
        batch
    }

    /// What was not written, in front of what came since.
    fn put_back(&mut self, batch: Batch) {
        for (order, steps) in batch.steps.into_iter().rev() {
            for step in steps.into_iter().rev() {
                self.steps.push_front((order.clone(), step));
            }
        }
        if let Some(earlier) = batch.unnamed {
            self.unnamed = Some(match self.unnamed.take() {
                None => earlier,
                Some(later) => LostSteps { to: later.to, steps: earlier.steps + later.steps, ..earlier },
            });
        }
    }

    /// Whether nothing is left that could be written.
    fn is_empty(&self) -> bool {
        self.stopped || (self.steps.is_empty() && self.lost.is_empty() && self.unnamed.is_none())
    }
}

impl Batch {
    fn add(&mut self, places: &mut HashMap<String, usize>, order: String, step: Step) {
        let place = *places.entry(order.clone()).or_insert_with(|| {
            self.steps.push((order, Vec::new()));
            self.steps.len() - 1
        });
        if let Some((_, steps)) = self.steps.get_mut(place) {
            steps.push(step);
        }
    }

    fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.unnamed.is_none()
    }
}

fn gap(before: &Step, steps: u64) -> Step {
    Step { at: before.at, by: before.by.clone(), what: What::Gap { steps, missing: None } }
}

/// Program and the first characters of the instance: enough to find it in the logs.
fn shortened(by: &str) -> String {
    match by.split_once('/') {
        Some((program, instance)) => format!("{program}/{}", instance.chars().take(8).collect::<String>()),
        None => by.chars().take(24).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(at: u64) -> Step {
        Step { at, by: "writer/1".to_owned(), what: What::Folded }
    }

    #[test]
    fn what_finds_no_room_is_counted_by_order_then_as_a_time_and_the_memory_stays_bounded() {
        let mut waiting = Waiting::default();
        for at in 0..MOST as u64 {
            waiting.push("a", step(at));
        }
        for at in 0..3 {
            waiting.push("b", step(at));
        }
        for order in 0..MOST_NAMED as u64 * 2 {
            waiting.push(&format!("order-{order}"), step(order));
        }
        assert_eq!((waiting.steps.len(), waiting.lost.len()), (MOST, MOST_NAMED));
        let unnamed = waiting.unnamed.clone().expect("lost steps");
        assert_eq!(unnamed.steps, MOST_NAMED as u64 + 1);
        assert_eq!(unnamed.to, MOST_NAMED as u64 * 2 - 1);

        let (mut steps, mut gaps, mut times) = (0, 0, 0);
        loop {
            let batch = waiting.take("writer/1");
            if batch.is_empty() {
                break;
            }
            for step in batch.steps.iter().flat_map(|(_, steps)| steps) {
                if let What::Gap { steps, .. } = step.what { gaps += steps } else { steps += 1 }
            }
            times += batch.unnamed.map_or(0, |lost| lost.steps);
        }
        assert!(waiting.is_empty());
        // Every step is told, or counted where it is missing.
        assert_eq!(steps, MOST as u64);
        assert_eq!(gaps + times, 3 + MOST_NAMED as u64 * 2);
    }

    #[test]
    fn without_room_in_redis_steps_are_counted_and_told_as_a_gap_when_there_is_room_again() {
        let mut waiting = Waiting { stopped: true, ..Waiting::default() };
        for at in 0..3 {
            waiting.push("a", step(at));
        }
        assert!(waiting.take("writer/1").is_empty() && waiting.steps.is_empty());
        waiting.stopped = false;
        let batch = waiting.take("writer/1");
        let whats: Vec<&What> = batch.steps[0].1.iter().map(|step| &step.what).collect();
        assert_eq!(whats, [&What::Gap { steps: 3, missing: None }]);
    }

    #[test]
    fn a_gap_stands_before_the_next_step_of_its_order() {
        let mut waiting = Waiting::default();
        waiting.lost.insert("a".to_owned(), 2);
        waiting.push("a", step(9));
        let batch = waiting.take("writer/1");
        let whats: Vec<&What> = batch.steps[0].1.iter().map(|step| &step.what).collect();
        assert_eq!(whats, [&What::Gap { steps: 2, missing: None }, &What::Folded]);
    }

    #[test]
    fn what_was_not_written_goes_again_in_its_order() {
        let mut waiting = Waiting::default();
        for at in 0..4 {
            waiting.push(if at % 2 == 0 { "a" } else { "b" }, step(at));
        }
        let batch = waiting.take("writer/1");
        waiting.push("a", step(4));
        waiting.put_back(batch);
        let batch = waiting.take("writer/1");
        let of = |name: &str| -> Vec<u64> {
            let steps = batch.steps.iter().find(|(order, _)| order == name).expect("steps");
            steps.1.iter().map(|step| step.at).collect()
        };
        assert_eq!((of("a"), of("b")), (vec![0, 2, 4], vec![1, 3]));
    }

    #[test]
    fn an_instance_is_named_by_its_first_characters() {
        assert_eq!(shortened("writer/0123456789abcdef"), "writer/01234567");
        assert_eq!(shortened("ingest"), "ingest");
    }
}
