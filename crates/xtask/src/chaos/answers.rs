//! Whether the answer to a request reached the writer that made it, by the org's log and the faults that fell.

use super::journal::Span;
use super::requests::Request;
use super::schedule::{Kind, Service, Subject};

/// Whether a writer may not have had the answer: the org's fault took it, it came after the writer's `deadline_ms`, or while
/// the writer itself or its own line to the org was in trouble.
pub(super) fn may_be_lost(request: &Request, spans: &[Span], deadline_ms: i64) -> bool {
    if request.unanswered() || request.duration_ms >= deadline_ms {
        return true;
    }
    let (Some((begin, end)), Some(writer)) = (request.span(), request.writer()) else { return false };
    let until = end.max(begin.saturating_add(deadline_ms));
    spans.iter().any(|span| takes_answers_of(writer, span) && span.touches(begin, until))
}

/// Whether a fault takes answers that the org gave to this writer.
fn takes_answers_of(writer: usize, span: &Span) -> bool {
    match span.subject {
        Subject::Writer(place) => place == writer && matches!(span.kind, Kind::KillWriter | Kind::StopWriter),
        Subject::WriterLine(place, Service::Org) => place == writer,
        Subject::WriterLine(_, Service::RabbitMq | Service::Redis)
        | Subject::Ingest(_)
        | Subject::IngestLine(..)
        | Subject::PublisherLine
        | Subject::RabbitMq
        | Subject::Redis
        | Subject::Org => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::requests::made_by;

    /// When the requests begin.
    const BEGIN: i64 = 1_770_134_400_000;
    const DEADLINE: i64 = 3_000;

    fn lost(request: &Request, kind: Kind, subject: Subject, from: i64, to: i64) -> bool {
        may_be_lost(request, &[Span::of(kind, subject, BEGIN + from, BEGIN + to)], DEADLINE)
    }

    #[test]
    fn an_answer_is_lost_by_the_org_by_the_deadline_and_with_the_writer_or_its_own_line() {
        let request = made_by(0, 1, &[]);
        assert!(!may_be_lost(&request, &[], DEADLINE));
        for fault in ["commit_then_drop", "commit_then_503", "truncated_body"] {
            assert!(may_be_lost(&Request { fault: Some(fault.to_owned()), ..request.clone() }, &[], DEADLINE));
        }
        assert!(!may_be_lost(&Request { fault: Some("lock".to_owned()), ..request.clone() }, &[], DEADLINE));
        assert!(may_be_lost(&Request { duration_ms: 3_500, ..request.clone() }, &[], DEADLINE));
        for (kind, subject) in [
            (Kind::Cut, Subject::WriterLine(0, Service::Org)),
            (Kind::Narrow, Subject::WriterLine(0, Service::Org)),
            (Kind::KillWriter, Subject::Writer(0)),
            (Kind::StopWriter, Subject::Writer(0)),
        ] {
            assert!(lost(&request, kind, subject, 50, 60), "{kind:?}");
            assert!(!lost(&request, kind, subject, -20, -10), "{kind:?} before");
            assert!(!lost(&request, kind, subject, 3_001, 4_000), "{kind:?} after its deadline");
        }
    }

    #[test]
    fn an_answer_is_not_lost_by_what_befalls_another_writer_or_another_line() {
        let request = made_by(0, 1, &[]);
        for (kind, subject) in [
            (Kind::Cut, Subject::WriterLine(1, Service::Org)),
            (Kind::KillWriter, Subject::Writer(1)),
            (Kind::Cut, Subject::WriterLine(0, Service::RabbitMq)),
            (Kind::Reload, Subject::Writer(0)),
            (Kind::EndWriter, Subject::Writer(0)),
            (Kind::KillIngest, Subject::Ingest(0)),
        ] {
            assert!(!lost(&request, kind, subject, 0, 100), "{kind:?}");
        }
        let nobodys = Request { from: String::new(), ..request };
        assert!(!lost(&nobodys, Kind::KillWriter, Subject::Writer(0), 0, 100));
    }
}
