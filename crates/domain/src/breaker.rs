//! Whether the org as a whole is away, or one request has met its own trouble: decided from how requests end.
//!
//! What says by itself that the org is away opens the breaker at once: a connection that is not made, maintenance, a sign-in
//! that fails. A lost answer does not say so: the org may hang, or one order may make a trigger run for ever. So the question
//! is whether the org has answered anything else since that request was sent. Nothing else was asked: then a cheap question
//! is asked first. Only a request of which the org could have answered others is charged to its orders, so that an outage
//! uses up no attempt, and an order that is itself the trouble does.

use std::collections::BTreeSet;
use std::time::Duration;

/// Time since any fixed start.
pub type Time = Duration;

/// Requests without a common order that fail one after the other, and no other answered, before the org counts as away
/// although it answers questions: it takes no writes.
pub const ENOUGH: usize = 3;

/// The first pause; later ones double.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What a request whose answer was lost means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// The org is away: nobody pays.
    Away,
    /// Nothing tells: ask the org something cheap, and say with [`Breaker::asked`] whether it answered.
    Ask,
    /// The org answers others: it is this request's own trouble.
    Own,
}

/// How it stands; the numbers of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Requests go.
    Closed = 0,
    /// One request goes and tells.
    HalfOpen = 1,
    /// Nothing goes.
    Open = 2,
}

/// The breaker of one process before one org.
#[derive(Debug, Default)]
pub struct Breaker {
    /// When the org last answered a request that writes.
    answered_at: Option<Time>,
    /// Requests that failed since, by one of their orders.
    failed: BTreeSet<u64>,
    /// How many pauses there were since, and when the last one ends.
    pauses: u32,
    open_until: Option<Time>,
}

impl Breaker {
    /// The org answered a request that writes: it is there.
    pub fn answered(&mut self, now: Time) {
        *self = Self { answered_at: Some(now), ..Self::default() };
    }

    /// The answer to a request that was sent at this time was lost, or says nothing but that a server failed. `subject`
    /// stands for one of its orders.
    pub fn lost(&mut self, sent: Time, subject: u64) -> Judgement {
        let other_answered = self.answered_at.is_some_and(|at| at >= sent);
        if other_answered {
            return Judgement::Own;
        }
        self.failed.insert(subject);
        if self.failed.len() >= ENOUGH { Judgement::Away } else { Judgement::Ask }
    }

    /// Whether the org answered the question that [`Judgement::Ask`] asked for.
    pub fn asked(&self, answered: bool) -> Judgement {
        if answered { Judgement::Own } else { Judgement::Away }
    }

    /// Something said that the org is away. Returns how long to leave it alone: 1, 2, 4 … seconds, `longest` at most, and no
    /// shorter than the org asked for.
    pub fn opens(&mut self, now: Time, longest: Duration, asked_for: Duration) -> Duration {
        let pause = self.pause(longest).max(asked_for);
        self.pauses = self.pauses.saturating_add(1);
        self.open_until = Some(now + pause);
        pause
    }

    /// How long the next pause would be.
    pub fn pause(&self, longest: Duration) -> Duration {
        FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.pauses.min(20))).min(longest)
    }

    /// Nothing is known of the org being away any more.
    pub fn forgets(&mut self) {
        *self = Self { answered_at: self.answered_at, ..Self::default() };
    }

    /// How it stands.
    pub fn state(&self, now: Time) -> State {
        match self.open_until {
            None => State::Closed,
            Some(until) if now < until => State::Open,
            Some(_) => State::HalfOpen,
        }
    }
}

/// Whether the org answers questions, which change nothing. It may answer them and take no writes, or the other way round.
#[derive(Debug, Default)]
pub struct Questions {
    answered_at: Option<Time>,
}

impl Questions {
    /// The org answered a question.
    pub fn answered(&mut self, now: Time) {
        self.answered_at = Some(now);
    }

    /// The answer to a question that was asked at this time was lost. [`Judgement::Ask`] where no other was answered since:
    /// the cheapest question then tells whether the org is away.
    pub fn lost(&self, asked: Time) -> Judgement {
        if self.answered_since(asked) { Judgement::Own } else { Judgement::Ask }
    }

    /// Whether the org has answered a question since then, and was not found to be away since.
    pub fn answered_since(&self, time: Time) -> bool {
        self.answered_at.is_some_and(|at| at >= time)
    }

    /// The org is away: what it answered before tells nothing any more.
    pub fn away(&mut self) {
        self.answered_at = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Time = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(30);

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_an_answer() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.state(Time::ZERO), State::Closed);
        let pauses: Vec<u64> = (0..7).map(|_| breaker.opens(Time::ZERO, LONGEST, Duration::ZERO).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!((breaker.state(29 * SECOND), breaker.state(30 * SECOND)), (State::Open, State::HalfOpen));
        breaker.answered(31 * SECOND);
        assert_eq!(breaker.state(31 * SECOND), State::Closed);
        assert_eq!(breaker.opens(31 * SECOND, LONGEST, Duration::ZERO), SECOND);
        assert_eq!(breaker.opens(31 * SECOND, LONGEST, 90 * SECOND), 90 * SECOND, "as long as the org asks");
        breaker.forgets();
        assert_eq!((breaker.state(40 * SECOND), breaker.pause(LONGEST)), (State::Closed, SECOND));
    }

    #[test]
    fn a_lost_answer_is_the_requests_own_trouble_only_if_the_org_answers_others() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.lost(SECOND, 1), Judgement::Ask);
        assert_eq!((breaker.asked(true), breaker.asked(false)), (Judgement::Own, Judgement::Away));
        breaker.answered(2 * SECOND);
        assert_eq!(breaker.lost(SECOND, 1), Judgement::Own, "another request was answered meanwhile");
        assert_eq!(breaker.lost(3 * SECOND, 1), Judgement::Ask, "nothing was answered since it was sent");
    }

    #[test]
    fn a_lost_question_tells_nothing_of_the_org_once_another_was_answered_after_it_was_asked() {
        let mut questions = Questions::default();
        assert_eq!(questions.lost(SECOND), Judgement::Ask, "none was answered yet");
        questions.answered(2 * SECOND);
        assert_eq!((questions.lost(SECOND), questions.lost(2 * SECOND)), (Judgement::Own, Judgement::Own));
        assert_eq!(questions.lost(3 * SECOND), Judgement::Ask, "none since");
        questions.away();
        assert_eq!(questions.lost(SECOND), Judgement::Ask, "that was before it went away");
    }

    #[test]
    fn an_org_that_answers_questions_but_no_writes_is_away_and_one_order_that_always_fails_is_not_the_org() {
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            assert_eq!(breaker.lost(SECOND, 7), Judgement::Ask, "the same order again");
        }
        assert_eq!(breaker.lost(SECOND, 8), Judgement::Ask);
        assert_eq!(breaker.lost(SECOND, 9), Judgement::Away);
    }

    proptest! {
        #[test]
        fn a_pause_is_never_longer_than_the_longest_and_never_shorter_than_asked(
            opens in 0..100_u32, longest in 1..100_u64, asked in 0..200_u64,
        ) {
            let mut breaker = Breaker::default();
            let (longest, asked) = (Duration::from_secs(longest), Duration::from_secs(asked));
            for _ in 0..opens {
                let pause = breaker.opens(Time::ZERO, longest, asked);
                prop_assert!(pause >= asked && pause <= longest.max(asked));
            }
        }

        #[test]
        fn an_order_pays_for_a_lost_answer_only_when_the_org_answered_something(
            events in proptest::collection::vec((0..2_u8, 0..5_u64, proptest::bool::ANY), 0..50),
        ) {
            let (mut breaker, mut now, mut answered) = (Breaker::default(), Time::ZERO, None);
            for (event, subject, answers) in events {
                let sent = now;
                now += SECOND;
                if event == 0 {
                    breaker.answered(now);
                    answered = Some(now);
                    continue;
                }
                let mut judgement = breaker.lost(sent, subject);
                if judgement == Judgement::Ask {
                    judgement = breaker.asked(answers);
                    prop_assert_eq!(judgement == Judgement::Own, answers);
                } else if judgement == Judgement::Own {
                    prop_assert!(answered.is_some_and(|at| at >= sent));
                }
            }
        }
    }
}
