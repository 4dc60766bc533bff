//! Whether intake is paused, why, and since when. It outlasts sessions: a pause may end in another one than it began in.

use std::sync::Arc;
use std::time::Duration;

use domain::failure::{Failure, Reason};
use tokio::time::Instant;

use crate::handler::Observer;
use crate::settle::milliseconds;

/// Tells the log and the observer when a pause begins, when its reason changes, and when it ends.
pub(super) struct Intake {
    observer: Arc<dyn Observer>,
    paused: Option<(Instant, Reason)>,
}

impl Intake {
    pub(super) fn new(observer: Arc<dyn Observer>) -> Self {
        Self { observer, paused: None }
    }

    /// Something is away; it is asked again after this time.
    pub(super) fn pauses(&mut self, failure: &Failure, after: Duration) {
        if self.paused.is_none_or(|(_, reason)| reason != failure.reason) {
            tracing::warn!(
                reason = %failure.reason,
                retry_after_ms = milliseconds(after),
                "intake pauses: {}",
                failure.message
            );
        }
        let since = self.paused.map_or_else(Instant::now, |(since, _)| since);
        self.paused = Some((since, failure.reason));
        self.observer.paused(Some(failure));
    }

    /// Why it is paused.
    pub(super) fn paused_by(&self) -> Option<Reason> {
        self.paused.map(|(_, reason)| reason)
    }

    /// It is back, or nothing waits for it here any more.
    pub(super) fn resumes(&mut self) {
        if let Some((since, reason)) = self.paused.take() {
            tracing::info!(%reason, paused_ms = milliseconds(since.elapsed()), "intake resumes");
            self.observer.paused(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::{self, Write as _};
    use std::sync::{Mutex, PoisonError};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;

    /// The log, as lines of fields.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<String>>>);

    struct Line(String);

    impl Visit for Line {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            let _ = write!(self.0, "{field}={value:?};");
        }
    }

    impl Subscriber for Log {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut line = Line(String::new());
            event.record(&mut line);
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[derive(Default)]
    struct Told(Mutex<Vec<Option<Reason>>>);

    impl Observer for Told {
        fn paused(&self, why: Option<&Failure>) {
            self.0.lock().expect("no panic").push(why.map(|failure| failure.reason));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_logged_when_it_begins_when_its_reason_changes_and_when_it_ends_with_how_long_it_was() {
        let (log, told) = (Log::default(), Arc::new(Told::default()));
        let lines = Arc::clone(&log.0);
        let guard = tracing::subscriber::set_default(log);
        let mut intake = Intake::new(Arc::clone(&told) as Arc<dyn Observer>);
        let org = Failure::transient(Reason::SalesforceUnavailable, "maintenance");
        let quota = Failure::transient(Reason::QuotaExhausted, "spent");
        intake.resumes();
        intake.pauses(&org, Duration::from_nanos(1_240_321_989));
        tokio::time::sleep(Duration::from_secs(2)).await;
        intake.pauses(&org, Duration::from_secs(2));
        intake.pauses(&quota, Duration::from_mins(15));
        tokio::time::sleep(Duration::from_mins(15)).await;
        intake.resumes();
        intake.resumes();
        drop(guard);
        let lines = lines.lock().expect("no panic").clone();
        let expected = [
            "message=intake pauses: maintenance;reason=salesforce_unavailable;retry_after_ms=1240;",
            "message=intake pauses: spent;reason=quota_exhausted;retry_after_ms=900000;",
            "message=intake resumes;reason=quota_exhausted;paused_ms=902000;",
        ];
        assert_eq!(lines, expected);
        let [org, quota] = [org, quota].map(|failure| Some(failure.reason));
        assert_eq!(*told.0.lock().expect("no panic"), [org, org, quota, None]);
    }
}
