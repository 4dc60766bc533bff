//! What came of the items that were sent: done, tried again, or everything waits.

use domain::story::What;

use super::Generation;
use crate::error::Error;
use crate::handler::{Handler, note};
use crate::lanes::{ItemId, Next};
use crate::settle::{Answer, in_time};
use crate::work::intake::Intake;

impl<H: Handler> Generation<H> {
    pub(super) fn answer_all(&mut self, answers: Vec<(ItemId, Answer)>, intake: &mut Intake) -> Result<(), Error> {
        self.note_pause(&answers);
        answers.into_iter().try_for_each(|(id, answer)| self.answer(id, answer, intake))
    }

    /// When intake begins to pause, every order here waits for that; a probe that fails is one more step of its order.
    fn note_pause(&self, answers: &[(ItemId, Answer)]) {
        let pause = answers.iter().find_map(|(_, answer)| match answer {
            Answer::Pause(after, failure) => Some((*after, failure.reason)),
            Answer::Settled | Answer::Again(_) | Answer::ChainStopped | Answer::Lost(_) => None,
        });
        let Some((after, reason)) = pause else { return };
        let (until, begins) = (in_time(after), !self.lanes.is_paused());
        let tried = |id: &ItemId| answers.iter().any(|(one, answer)| one == id && matches!(answer, Answer::Pause(..)));
        for (_, job) in self.jobs.iter().filter(|(id, _)| begins || tried(id)) {
            note(self.handler.as_ref(), job, || What::Paused { until, reason });
        }
    }

    fn answer(&mut self, id: ItemId, answer: Answer, intake: &mut Intake) -> Result<(), Error> {
        let now = self.now();
        match answer {
            Answer::Settled => {
                let job = self.jobs.remove(&id);
                self.lanes.answered(now, id, Next::Done);
                if let Some(job) = job {
                    self.company.moved(job.queue);
                    self.was_settled(&job);
                }
            }
            Answer::Again(after) => self.lanes.answered(now, id, Next::At(now + after)),
            Answer::Pause(after, failure) => {
                intake.pauses(&failure, after);
                self.lanes.answered(now, id, Next::PauseUntil(now + after));
                return Ok(());
            }
            Answer::ChainStopped => self.stop_chain(id),
            Answer::Lost(why) => return Err(Error::Lost(why)),
        }
        self.resume(intake);
        Ok(())
    }

    /// Intake resumes, unless something still holds it up.
    pub(super) fn resume(&self, intake: &mut Intake) {
        if !self.is_held_up() {
            intake.resumes();
        }
    }
}
