//! Which fault falls when, on whom, and for how long: a pure function of the seed.
//!
//! Kinds are dealt like cards: every kind falls once before any falls twice, and where the time is short they follow each
//! other faster, so that every run shows all.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use testkit::Way;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// SIGKILL of an ingest; another takes its place.
    KillIngest,
    /// SIGKILL of a writer; another takes its place.
    KillWriter,
    /// SIGSTOP of an ingest, and SIGCONT later; of every other one the connections to RabbitMQ are closed meanwhile.
    StopIngest,
    /// SIGSTOP of a writer, and SIGCONT later: up to twice as long as its claims last; of every other one the connections to
    /// RabbitMQ are closed meanwhile, so that others take its orders up.
    StopWriter,
    /// SIGTERM of an ingest, which drains; another takes its place.
    EndIngest,
    /// SIGTERM of a writer, which drains; another takes its place.
    EndWriter,
    /// SIGHUP of a writer, which reads its settings again.
    Reload,
    /// SIGKILL of RabbitMQ, and a restart.
    KillRabbitmq,
    /// RabbitMQ's memory alarm.
    Alarm,
    /// SIGKILL of Redis, and a restart.
    KillRedis,
    /// FLUSHALL of Redis.
    Flush,
    /// A program's connections to RabbitMQ, Redis or the org are closed or reset, and new ones for a while.
    Cut,
    /// Nothing passes between a program and RabbitMQ, Redis or the org, in one direction or both.
    Blackhole,
    /// What passes is late, in one direction or both.
    Slow,
    /// Little passes in a second, in one direction or both.
    Narrow,
    /// The org carries requests out and drops the connection instead of answering.
    CommitThenDrop,
    /// The org drops connections and carries nothing out.
    DropBefore,
    /// The org carries requests out and answers with an HTML 503.
    #[value(name = "commit-then-503")]
    #[serde(rename = "commit-then-503")]
    CommitThen503,
    /// The org's answers break off in the middle.
    Truncated,
    /// Rows are locked.
    Locks,
    /// Graphs are halted behind others.
    Halted,
    /// 401: every session has expired.
    Expired,
    /// 403 `REQUEST_LIMIT_EXCEEDED`, the daily form.
    DailyLimit,
    /// 403 `REQUEST_LIMIT_EXCEEDED`, the concurrent form.
    ConcurrentLimit,
    /// 503 with an HTML body.
    Unavailable,
    /// Sessions have expired, and the answer that brings a new token is lost after the org has given it out, and rotated the
    /// refresh token where there is one.
    TokenLost,
    /// An administrator revokes the writers' connection; an operator puts a new refresh token on one machine. Only where
    /// there is one sign-in for all.
    Revoked,
}

impl Kind {
    /// The name under which it is chosen and counted.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// What a program talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Service {
    RabbitMq,
    Redis,
    Org,
}

/// Whom a fault befalls. Those of one subject follow each other and never overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Subject {
    /// An ingest, counted from 0.
    Ingest(usize),
    /// A writer, counted from 0.
    Writer(usize),
    RabbitMq,
    Redis,
    Org,
    /// A writer's line.
    WriterLine(usize, Service),
    /// An ingest's line, to anything but the org.
    IngestLine(usize, Service),
    /// The publisher's line to RabbitMQ.
    PublisherLine,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ingest(place) => write!(f, "ingest-{}", place + 1),
            Self::Writer(place) => write!(f, "writer-{}", place + 1),
            Self::RabbitMq => f.write_str("RabbitMQ"),
            Self::Redis => f.write_str("Redis"),
            Self::Org => f.write_str("the org"),
            Self::WriterLine(place, service) => write!(f, "writer-{} to {}", place + 1, service.name()),
            Self::IngestLine(place, service) => write!(f, "ingest-{} to {}", place + 1, service.name()),
            Self::PublisherLine => f.write_str("the publisher to RabbitMQ"),
        }
    }
}

impl Service {
    const ALL: [Self; 3] = [Self::RabbitMq, Self::Redis, Self::Org];

    fn name(self) -> &'static str {
        match self {
            Self::RabbitMq => "RabbitMQ",
            Self::Redis => "Redis",
            Self::Org => "the org",
        }
    }
}

/// How a line misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    Cut {
        reset: bool,
    },
    Blocked(Way),
    Slow(Way, Duration),
    Narrow(Way, u32),
    /// A program that is stopped: RabbitMQ sees its connections closed, and gives its partitions to others.
    Unplugged,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// When it begins, from the first publish on.
    pub(crate) at: Duration,
    /// How long it lasts; zero for what is done at once.
    pub(crate) lasting: Duration,
    pub(crate) kind: Kind,
    pub(crate) subject: Subject,
    /// For a line, and for half of the programs that are stopped.
    pub(crate) trouble: Option<Trouble>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6.1} s  {:<16} {}", self.at.as_secs_f64(), self.kind.name(), self.subject)?;
        match self.trouble {
            None => {}
            Some(Trouble::Cut { reset }) => f.write_str(if reset { ", by resets" } else { ", closed" })?,
            Some(Trouble::Blocked(way)) => write!(f, ", {}", direction(way))?,
            Some(Trouble::Slow(way, delay)) => write!(f, ", {} ms {}", delay.as_millis(), direction(way))?,
            Some(Trouble::Narrow(way, bytes)) => write!(f, ", {bytes} bytes/s {}", direction(way))?,
            Some(Trouble::Unplugged) => f.write_str(", its connections to RabbitMQ closed")?,
        }
        if self.lasting.is_zero() { Ok(()) } else { write!(f, ", for {:.1} s", self.lasting.as_secs_f64()) }
    }
}

fn direction(way: Way) -> &'static str {
    match way {
        Way::ToService => "one way, there",
        Way::ToClient => "one way, back",
        Way::Both => "both ways",
    }
}

/// What a schedule is made for.
#[derive(Debug, Clone)]
pub(crate) struct Extent {
    /// How long faults fall.
    pub(crate) time: Duration,
    /// So many ingests and as many writers.
    pub(crate) programs: usize,
    /// The kinds that may fall.
    pub(crate) kinds: Vec<Kind>,
}

/// No fault falls before the fleet is at work.
const QUIET: Duration = Duration::from_millis(1_500);
/// Milliseconds between two faults.
const BETWEEN: std::ops::Range<u64> = 500..2_500;

/// All kinds have fallen once when so much of the time is over.
const ONCE: f64 = 0.9;
/// Of the kinds that are left, so many are tried before one falls on a subject that has not recovered.
const TRIES: usize = 8;

/// The faults of a seed, in the order of their times.
pub(crate) fn schedule(seed: u64, extent: &Extent) -> Vec<Fault> {
    let latest = extent.time.mul_f64(ONCE);
    let once = dealt(seed, extent, 1.0, extent.kinds.len());
    let pace = once.last().map_or(1.0, |last| latest.div_duration_f64(last.at).min(1.0));
    dealt(seed, extent, pace, usize::MAX)
}

/// The first `most` faults of a seed, or, where there are no more, all that begin within the time. Its gaps, and how long each
/// fault lasts, are `pace` times as long as by themselves.
fn dealt(seed: u64, extent: &Extent, pace: f64, most: usize) -> Vec<Fault> {
    // Not the orders' own sequence.
    let mut rng = StdRng::seed_from_u64(seed ^ 0x000C_4A05);
    let mut faults = Vec::new();
    let mut cards: Vec<Kind> = Vec::new();
    let mut busy: HashMap<Subject, Duration> = HashMap::new();
    let mut at = QUIET.mul_f64(pace);
    while (at < extent.time || most < usize::MAX) && faults.len() < most && !extent.kinds.is_empty() {
        if cards.is_empty() {
            cards.clone_from(&extent.kinds);
            cards.shuffle(&mut rng);
        }
        let Some(fault) = free(&mut cards, at, pace, extent, &busy, &mut rng) else { break };
        busy.insert(fault.subject, at + fault.lasting + recovery(fault.kind).mul_f64(pace));
        // Whatever begins ends within the time, so that draining begins with a sound fleet.
        let lasting = fault.lasting.min(extent.time.saturating_sub(at));
        faults.push(Fault { lasting, ..fault });
        at += Duration::from_millis(rng.random_range(BETWEEN)).mul_f64(pace);
    }
    faults
}

/// Takes a card whose subject is not busy; the last one that was tried where all are.
fn free(
    cards: &mut Vec<Kind>,
    at: Duration,
    pace: f64,
    extent: &Extent,
    busy: &HashMap<Subject, Duration>,
    rng: &mut StdRng,
) -> Option<Fault> {
    let mut tries = TRIES.min(cards.len());
    loop {
        let kind = cards.pop()?;
        let fault = fault(kind, at, extent.programs, rng);
        tries = tries.saturating_sub(1);
        if tries == 0 || busy.get(&fault.subject).is_none_or(|until| *until <= at) {
            return Some(Fault { lasting: fault.lasting.mul_f64(pace), ..fault });
        }
        cards.insert(0, kind);
    }
}

/// How long a subject takes, beyond the fault, until the next can befall it: a guess.
fn recovery(kind: Kind) -> Duration {
    Duration::from_secs(match kind {
        Kind::KillRabbitmq => 8,
        Kind::EndIngest | Kind::EndWriter => 3,
        Kind::KillIngest | Kind::KillWriter | Kind::StopIngest | Kind::StopWriter | Kind::KillRedis => 1,
        Kind::Reload
        | Kind::Alarm
        | Kind::Flush
        | Kind::Cut
        | Kind::Blackhole
        | Kind::Slow
        | Kind::Narrow
        | Kind::CommitThenDrop
        | Kind::DropBefore
        | Kind::CommitThen503
        | Kind::Truncated
        | Kind::Locks
        | Kind::Halted
        | Kind::Expired
        | Kind::DailyLimit
        | Kind::ConcurrentLimit
        | Kind::Unavailable
        | Kind::TokenLost
        | Kind::Revoked => 0,
    })
}

fn fault(kind: Kind, at: Duration, programs: usize, rng: &mut StdRng) -> Fault {
    let place = rng.random_range(0..programs.max(1));
    let (subject, milliseconds) = match kind {
        Kind::KillIngest => (Subject::Ingest(place), 200..2_000),
        Kind::KillWriter => (Subject::Writer(place), 200..2_000),
        Kind::EndIngest => (Subject::Ingest(place), 100..1_000),
        Kind::EndWriter => (Subject::Writer(place), 100..1_000),
        Kind::StopIngest => (Subject::Ingest(place), 1_000..10_000),
        Kind::StopWriter => (Subject::Writer(place), 1_000..10_000),
        Kind::Reload => (Subject::Writer(place), 0..1),
        Kind::KillRabbitmq => (Subject::RabbitMq, 200..2_000),
        Kind::Alarm => (Subject::RabbitMq, 1_000..5_000),
        Kind::KillRedis => (Subject::Redis, 200..3_000),
        Kind::Flush => (Subject::Redis, 0..1),
        Kind::Cut => (line(place, programs, rng), 10..2_000),
        Kind::Blackhole => (line(place, programs, rng), 500..8_000),
        Kind::Slow | Kind::Narrow => (line(place, programs, rng), 1_000..6_000),
        Kind::CommitThenDrop | Kind::DropBefore | Kind::CommitThen503 | Kind::Truncated => (Subject::Org, 300..2_000),
        Kind::Expired => (Subject::Org, 0..1),
        Kind::Locks | Kind::Halted | Kind::DailyLimit | Kind::ConcurrentLimit | Kind::Unavailable => {
            (Subject::Org, 500..4_000)
        }
        Kind::TokenLost => (Subject::Org, 500..2_000),
        Kind::Revoked => (Subject::Org, 500..3_000),
    };
    let lasting = Duration::from_millis(rng.random_range(milliseconds));
    Fault { at, lasting, kind, subject, trouble: trouble(kind, subject, rng) }
}

/// Any line, a writer's more often than the others.
fn line(place: usize, programs: usize, rng: &mut StdRng) -> Subject {
    match rng.random_range(0..10) {
        0 => Subject::PublisherLine,
        1..=2 => Subject::IngestLine(place, Service::RabbitMq),
        3 => Subject::IngestLine(place, Service::Redis),
        _ => Subject::WriterLine(rng.random_range(0..programs.max(1)), Service::ALL[rng.random_range(0..3)]),
    }
}

fn trouble(kind: Kind, subject: Subject, rng: &mut StdRng) -> Option<Trouble> {
    let way = [Way::ToService, Way::ToClient, Way::Both][rng.random_range(0..3)];
    // Redis has 250 ms to answer, so that a slow line is one on which some commands fail.
    let latest = if matches!(subject, Subject::WriterLine(_, Service::Redis) | Subject::IngestLine(_, Service::Redis)) {
        300
    } else {
        600
    };
    let (reset, delay): (bool, _) = (rng.random(), Duration::from_millis(rng.random_range(50..latest)));
    let bytes = rng.random_range(20_000..200_000);
    if matches!(kind, Kind::StopIngest | Kind::StopWriter) {
        return reset.then_some(Trouble::Unplugged);
    }
    [
        (Kind::Cut, Trouble::Cut { reset }),
        (Kind::Blackhole, Trouble::Blocked(way)),
        (Kind::Slow, Trouble::Slow(way, delay)),
        (Kind::Narrow, Trouble::Narrow(way, bytes)),
    ]
    .into_iter()
    .find_map(|(of, trouble)| (of == kind).then_some(trouble))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn extent(seconds: u64) -> Extent {
        Extent { time: Duration::from_secs(seconds), programs: 3, kinds: Kind::value_variants().to_vec() }
    }

    #[test]
    fn a_seed_gives_the_same_faults_each_time_and_another_seed_others() {
        assert_eq!(schedule(7, &extent(60)), schedule(7, &extent(60)));
        assert_ne!(schedule(7, &extent(60)), schedule(8, &extent(60)));
    }

    #[test]
    fn a_longer_run_begins_as_a_shorter_one() {
        let (short, long) = (schedule(7, &extent(60)), schedule(7, &extent(120)));
        let begins =
            |faults: &[Fault]| faults.iter().map(|fault| (fault.at, fault.kind, fault.subject)).collect::<Vec<_>>();
        assert_eq!(begins(&short), begins(&long)[..short.len()]);
    }

    #[test]
    fn every_kind_falls_before_any_falls_twice_more_often_than_another() {
        let mut counts: HashMap<Kind, usize> = HashMap::new();
        for fault in schedule(3, &extent(600)) {
            *counts.entry(fault.kind).or_default() += 1;
        }
        let (least, most) = (counts.values().min(), counts.values().max());
        assert_eq!(counts.len(), Kind::value_variants().len());
        assert!(least.zip(most).is_some_and(|(least, most)| most - least <= 1), "{counts:?}");
    }

    #[test]
    fn whatever_begins_ends_within_the_time() {
        for seed in 0..50 {
            let extent = extent(30);
            assert!(schedule(seed, &extent).iter().all(|fault| fault.at + fault.lasting <= extent.time));
        }
    }

    #[test]
    fn only_the_kinds_that_were_asked_for_fall_and_only_on_programs_that_are_there() {
        let extent = Extent { time: Duration::from_mins(2), programs: 2, kinds: vec![Kind::KillWriter, Kind::Flush] };
        let faults = schedule(1, &extent);
        assert!(faults.len() > 20);
        for fault in faults {
            let expected = [Subject::Writer(0), Subject::Writer(1), Subject::Redis];
            assert!(expected.contains(&fault.subject), "{fault}");
        }
        assert!(schedule(1, &Extent { kinds: Vec::new(), ..extent }).is_empty());
    }

    #[test]
    fn every_kind_falls_in_a_run_that_is_too_short_for_the_usual_gaps() {
        for (seed, seconds) in [(1, 5), (2, 12), (3, 30), (4, 45)] {
            let faults = schedule(seed, &extent(seconds));
            let kinds: HashSet<Kind> = faults.iter().map(|fault| fault.kind).collect();
            assert_eq!(kinds.len(), Kind::value_variants().len(), "{seconds} s");
        }
    }

    #[test]
    fn a_kind_whose_subject_is_busy_lets_others_go_first() {
        let mut on_a_busy_one = 0;
        let mut all = 0;
        for seed in 0..20 {
            let mut busy: HashMap<Subject, Duration> = HashMap::new();
            for fault in schedule(seed, &extent(60)) {
                let until = busy.insert(fault.subject, fault.at + fault.lasting).unwrap_or_default();
                on_a_busy_one += usize::from(until > fault.at);
                all += 1;
            }
        }
        assert!(on_a_busy_one * 6 < all, "{on_a_busy_one} of {all}");
    }

    #[test]
    fn lines_have_a_trouble_and_half_of_the_stopped_programs_are_unplugged_and_nothing_else_has_any() {
        let mut stopped = [0, 0];
        for fault in schedule(5, &extent(1_200)) {
            let is_line =
                matches!(fault.subject, Subject::WriterLine(..) | Subject::IngestLine(..) | Subject::PublisherLine);
            if matches!(fault.kind, Kind::StopIngest | Kind::StopWriter) {
                assert!(matches!(fault.trouble, None | Some(Trouble::Unplugged)), "{fault}");
                stopped[usize::from(fault.trouble.is_some())] += 1;
            } else {
                assert_eq!(fault.trouble.is_some(), is_line, "{fault}");
            }
        }
        assert!(stopped.iter().all(|count| *count * 4 >= stopped.iter().sum()), "{stopped:?}");
    }
}
