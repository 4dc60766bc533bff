//! What the org told, for as long as it holds.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use domain::config::ExternalIds;
use tokio::time::Instant;

use super::{Answer, Answers, Question};

/// How long an answer holds: longer than an order waits that was asked for ahead of its turn. An Account that is made
/// elsewhere meanwhile is found this late; one that is gone refuses its order, and everything is asked anew.
pub(super) const HOLDS: Duration = Duration::from_mins(5);

/// The most answers that are kept.
pub(super) const MOST: usize = 16_384;

/// So many customers are remembered as written since others were asked for. Who asked before the oldest keeps nothing.
const WRITTEN: usize = 4_096;

/// When the org was asked: what was forgotten since is not learned from its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Since(u64);

#[derive(Debug)]
struct Held {
    question: Question,
    answer: Answer,
    until: Instant,
}

/// Answers, by question without regard to case.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// By which fields the org was asked. An answer by others is none.
    ids: ExternalIds,
    held: HashMap<Question, Held>,
    /// Counts what was forgotten.
    count: u64,
    /// Answers to what was asked before are not kept.
    from: u64,
    /// What was forgotten since then, by the count.
    written: VecDeque<(u64, Question)>,
}

impl Told {
    pub(super) fn since(&self) -> Since {
        Since(self.count)
    }

    pub(super) fn told<'a>(
        &self,
        ids: &ExternalIds,
        questions: impl IntoIterator<Item = &'a Question>,
        now: Instant,
    ) -> Answers {
        let known = questions.into_iter().filter(|_| self.ids == *ids).filter_map(|question| {
            let held = self.held.get(&question.folded())?;
            (held.until > now && held.question == *question).then(|| (question.clone(), held.answer.clone()))
        });
        known.collect()
    }

    pub(super) fn keep(&mut self, ids: &ExternalIds, Since(since): Since, answers: &Answers, now: Instant) {
        if self.ids != *ids {
            self.held.clear();
            self.ids.clone_from(ids);
        }
        if since < self.from {
            return;
        }
        let written = self.written.iter().rev().take_while(|(count, _)| *count > since);
        let written: HashSet<&Question> = written.map(|(_, question)| question).collect();
        if self.held.len() + answers.len() > MOST {
            self.held.retain(|_, held| held.until > now);
        }
        if self.held.len() + answers.len() > MOST {
            self.held.clear();
        }
        let kept = answers.iter().map(|(question, answer)| (question.folded(), question, answer));
        let kept = kept.filter(|(folded, _, _)| !written.contains(folded));
        self.held.extend(kept.map(|(folded, question, answer)| {
            (folded, Held { question: question.clone(), answer: answer.clone(), until: now + HOLDS })
        }));
    }

    pub(super) fn forget(&mut self, question: &Question) {
        let folded = question.folded();
        self.held.remove(&folded);
        self.count += 1;
        self.written.push_back((self.count, folded));
        if self.written.len() > WRITTEN
            && let Some((count, _)) = self.written.pop_front()
        {
            self.from = self.from.max(count);
        }
    }

    pub(super) fn forget_all(&mut self) {
        self.count += 1;
        self.from = self.count;
        self.held.clear();
        self.written.clear();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }
}
