//! The org's time. It is virtual: it runs at a pace and can be pushed forward.
//!
//! Whatever in the org sleeps, waits for another or measures an age does it by the one [`Clock`] of that org. A push
//! wakes at once those whose moment has come: sleepers, lock waiters, and everything that is counted by the hour.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

/// A century is further than any window the org keeps.
const FURTHEST: Duration = Duration::from_hours(100 * 365 * 24);
/// The fastest pace: an hour in less than four milliseconds.
pub(crate) const FASTEST: f64 = 1_000_000.0;

/// Above this pace a call may end late for no reason of its own: a wait takes a tick of the runtime's timer more than
/// it asked for, a millisecond, and a call of many waits adds these up.
const COARSE: f64 = 100.0;

/// The clock stops at the turn to the year 9000, which every date-time can print.
const LAST: i64 = 221_845_392_000_000_000;

/// A point in the org's time, in microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(i64);

impl Moment {
    /// This much later.
    pub(crate) fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)).min(LAST))
    }

    /// How long ago `earlier` was; nothing when it lies ahead.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn ms(self) -> i64 {
        self.0.div_euclid(1_000)
    }
}

/// What the clock showed at one real instant, and how fast it has gone since.
#[derive(Debug, Clone, Copy)]
struct Face {
    real: Instant,
    shown: Moment,
    pace: f64,
}

impl Face {
    fn at(&self, real: Instant) -> Moment {
        let passed = real.saturating_duration_since(self.real);
        self.shown.plus(if self.is_real_pace() { passed } else { passed.mul_f64(self.pace) })
    }

    /// The real wait until `due`; `None` when the clock stands still.
    fn until(&self, due: Moment, real: Instant) -> Option<Duration> {
        let left = due.since(self.at(real));
        if self.is_real_pace() || left.is_zero() {
            return Some(left);
        }
        (self.pace > 0.0).then(|| Duration::try_from_secs_f64(left.as_secs_f64() / self.pace).unwrap_or(FURTHEST))
    }

    fn is_real_pace(&self) -> bool {
        (self.pace - 1.0).abs() < f64::EPSILON
    }
}

/// The org's only source of time.
#[derive(Debug)]
pub(crate) struct Clock {
    face: watch::Sender<Face>,
    waiting: AtomicUsize,
}

impl Clock {
    /// A clock that shows the wall clock's time and runs at `pace`.
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the org reads the wall clock")]
    pub(crate) fn new(pace: f64) -> Self {
        let shown = Moment(Timestamp::now().as_microsecond());
        let face = Face { real: Instant::now(), shown, pace: sane(pace) };
        Self { face: watch::Sender::new(face), waiting: AtomicUsize::new(0) }
    }

    pub(crate) fn now(&self) -> Moment {
        let face = *self.face.borrow();
        face.at(Instant::now())
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> i64 {
        self.now().ms()
    }

    /// Now, as a date-time field prints it.
    pub(crate) fn now_text(&self) -> String {
        datetime_text(self.now_ms())
    }

    /// The time as the system fields of rows have it: in whole seconds.
    pub(crate) fn stamp_text(&self) -> String {
        let now = self.now_ms();
        datetime_text(now - now.rem_euclid(1000))
    }

    /// Moves the clock forward and wakes whoever waited for a moment up to then.
    pub(crate) fn advance(&self, by: Duration) {
        self.face.send_modify(|face| {
            let real = Instant::now();
            *face = Face { real, shown: face.at(real).plus(by.min(FURTHEST)), pace: face.pace };
        });
    }

    /// From now on the clock runs at `pace` virtual seconds in a real second; at 0 only [`Clock::advance`] moves it.
    pub(crate) fn set_pace(&self, pace: f64) {
        let pace = sane(pace);
        self.face.send_if_modified(|face| {
            let changed = (face.pace - pace).abs() > 0.0;
            if changed {
                let real = Instant::now();
                *face = Face { real, shown: face.at(real), pace };
            }
            changed
        });
    }

    /// How many sleep or wait by this clock.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Sleeps for `by` of the org's time.
    pub(crate) async fn sleep(&self, by: Duration) {
        if !by.is_zero() {
            self.sleep_until(self.now().plus(by)).await;
        }
    }

    /// Sleeps until `due`, however the clock gets there.
    pub(crate) async fn sleep_until(&self, due: Moment) {
        let _waiting = Waiting::count(&self.waiting);
        self.reach(due).await;
    }

    async fn reach(&self, due: Moment) {
        let mut changes = self.face.subscribe();
        loop {
            let face = *changes.borrow_and_update();
            match face.until(due, Instant::now()) {
                Some(Duration::ZERO) => return,
                Some(wait) => {
                    tokio::select! {
                        _ = changes.changed() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                }
                None => {
                    // The sender lives as long as this borrow of it, so an error cannot keep this loop busy.
                    if changes.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Runs `work` and drops it at `due`. Work that needs no wait is never dropped, and the limit is no wait of its own.
    ///
    /// At a pace at which the ticks of the runtime's timer add up to minutes there is no limit.
    pub(crate) async fn within<T>(&self, due: Moment, work: impl Future<Output = T>) -> Option<T> {
        if self.face.borrow().pace > COARSE {
            return Some(work.await);
        }
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.reach(due) => None,
        }
    }

    /// Runs `work` until `due`; `None` when it did not end in time.
    pub(crate) async fn before<T>(&self, due: Moment, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.sleep_until(due) => None,
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(1.0)
    }
}

fn sane(pace: f64) -> f64 {
    if pace.is_finite() { pace.clamp(0.0, FASTEST) } else { 1.0 }
}

/// Counts one who waits, as long as the wait lasts.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn count(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `2026-02-03T16:13:57.820+0000`, as REST responses print date-times.
pub(crate) fn datetime_text(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%S.%3f+0000").to_string(),
        Err(_) => "1970-01-01T00:00:00.000+0000".to_owned(),
    }
}

/// Reads a date-time in the forms REST accepts; `None` when it is none.
pub(crate) fn parse_datetime(text: &str) -> Option<i64> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_millisecond());
    }
    if let Some((head, zone)) = text.len().checked_sub(5).and_then(|at| text.split_at_checked(at))
        && let [b'+' | b'-', digits @ ..] = zone.as_bytes()
        && digits.iter().all(u8::is_ascii_digit)
    {
        let (hours, minutes) = zone.split_at(3);
        return format!("{head}{hours}:{minutes}").parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
    }
    if let Ok(local) = text.parse::<jiff::civil::DateTime>() {
        return local.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp().as_millisecond());
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Clock, datetime_text, parse_datetime};

    const HOUR: Duration = Duration::from_hours(1);

    /// Lets the other tasks of a current-thread runtime run until `holds`.
    async fn settled(mut holds: impl FnMut() -> bool) {
        for _ in 0..10_000 {
            if holds() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("it did not settle");
    }

    #[tokio::test]
    async fn a_push_wakes_those_whose_moment_has_come_and_no_others() {
        let clock = Arc::new(Clock::new(0.0));
        let sleeper = |by: Duration| {
            let clock = Arc::clone(&clock);
            tokio::spawn(async move { clock.sleep(by).await })
        };
        let (short, long) = (sleeper(HOUR), sleeper(HOUR * 3));
        settled(|| clock.waiting() == 2).await;
        clock.advance(HOUR * 2);
        settled(|| short.is_finished()).await;
        assert!(!long.is_finished());
        clock.advance(HOUR);
        settled(|| long.is_finished()).await;
        assert_eq!(clock.waiting(), 0);
    }

    #[tokio::test]
    async fn a_clock_that_stands_still_is_moved_by_pushes_alone() {
        let clock = Clock::new(0.0);
        let start = clock.now();
        assert_eq!(clock.now(), start);
        clock.advance(HOUR);
        assert_eq!(clock.now().since(start), HOUR);
        assert_eq!(start.since(clock.now()), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_new_pace_holds_for_those_who_already_sleep() {
        let clock = Arc::new(Clock::new(0.0));
        let task = {
            let clock = Arc::clone(&clock);
            tokio::spawn(async move { clock.sleep(HOUR).await })
        };
        settled(|| clock.waiting() == 1).await;
        let start = clock.now();
        clock.set_pace(super::FASTEST);
        task.await.unwrap_or_default();
        assert!(clock.now().since(start) >= HOUR);
    }

    #[tokio::test]
    async fn what_ends_in_time_is_kept() {
        let clock = Clock::new(super::FASTEST);
        let due = clock.now().plus(HOUR);
        assert_eq!(clock.before(due, async { 7 }).await, Some(7));
        assert_eq!(clock.before(due, std::future::pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn work_is_dropped_at_its_end_unless_the_pace_is_so_high_that_waits_alone_reach_it() {
        for (pace, kept) in [(0.0, None), (super::COARSE, None), (super::COARSE + 1.0, Some(())), (10_000.0, Some(()))]
        {
            let clock = Clock::new(pace);
            let overslept = async {
                clock.advance(HOUR * 2);
                tokio::task::yield_now().await;
            };
            assert_eq!(clock.within(clock.now().plus(HOUR), overslept).await, kept, "{pace}");
        }
    }

    #[test]
    fn the_forms_of_a_date_time_name_one_instant() {
        for text in [
            "2026-02-03T16:13:57.820Z",
            "2026-02-03T16:13:57.820+0000",
            "2026-02-03T17:13:57.820+01:00",
            "2026-02-03T16:13:57.820",
        ] {
            assert_eq!(
                parse_datetime(text).map(datetime_text).as_deref(),
                Some("2026-02-03T16:13:57.820+0000"),
                "{text}"
            );
        }
        assert_eq!(parse_datetime("yesterday"), None);
    }
}
