//! Consent to what cannot be taken back.

use std::io::{BufRead, Write};

use service::{Exit, Stopped};

use crate::shown;

/// Somebody agreed. It takes no room, and only [`confirm`] makes it: whatever destroys or sends takes one.
#[derive(Debug)]
#[must_use]
pub struct Confirmed(());

/// What is to be agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Letters go through the normal path again.
    Replay,
    /// Letters are thrown away.
    Discard,
}

impl Act {
    /// The verb.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
        }
    }
}

/// How consent is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// `--yes`
    Given,
    /// A person is asked.
    Ask,
    /// Nobody is there to be asked.
    Nobody,
}

/// Asks for consent to an act on so many letters. A person has to type the number, so that a habit of pressing `y` does
/// not decide over more letters than were looked at.
///
/// # Errors
/// Nobody can be asked (exit 64), or the answer was another (exit 1); nothing was done.
pub fn confirm(
    act: Act,
    letters: usize,
    consent: Consent,
    answers: &mut dyn BufRead,
    prompt: &mut dyn Write,
) -> Result<Confirmed, Stopped> {
    match consent {
        Consent::Given => Ok(Confirmed(())),
        Consent::Nobody => Err(Stopped {
            exit: Exit::Usage,
            message: format!(
                "nobody can be asked, because this is no terminal: look with --dry-run, then say --yes to {} {}",
                act.as_str(),
                shown::counted(letters, "letter")
            ),
        }),
        Consent::Ask => {
            let asked = write!(prompt, "Type {letters} to {} {}: ", act.as_str(), shown::counted(letters, "letter"));
            let mut answer = String::new();
            let read = asked.and_then(|()| prompt.flush()).and_then(|()| answers.read_line(&mut answer));
            if read.is_ok() && answer.trim() == letters.to_string() {
                Ok(Confirmed(()))
            } else {
                Err(Stopped::failed("not confirmed; nothing was done"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(act: Act, letters: usize, consent: Consent, answer: &str) -> (Result<Confirmed, Stopped>, String) {
        let mut prompt = Vec::new();
        let result = confirm(act, letters, consent, &mut answer.as_bytes(), &mut prompt);
        (result, String::from_utf8(prompt).expect("text"))
    }

    #[test]
    fn the_proof_takes_no_room() {
        assert_eq!(size_of::<Confirmed>(), 0);
    }

    #[test]
    fn a_person_types_the_number_and_nothing_else_will_do() {
        let (result, prompt) = ask(Act::Discard, 12, Consent::Ask, "12\n");
        assert!(result.is_ok());
        assert_eq!(prompt, "Type 12 to discard 12 letters: ");
        for answer in ["y\n", "yes\n", "1\n", "", "\n", "120\n"] {
            let stopped = ask(Act::Replay, 12, Consent::Ask, answer).0.expect_err(answer);
            assert_eq!(stopped.exit, Exit::Failed);
        }
        assert_eq!(ask(Act::Replay, 1, Consent::Ask, "1\n").1, "Type 1 to replay 1 letter: ");
    }

    #[test]
    fn without_a_terminal_only_an_explicit_yes_counts() {
        let (result, prompt) = ask(Act::Discard, 2, Consent::Nobody, "2\n");
        let stopped = result.expect_err("nobody agreed");
        assert_eq!((stopped.exit, prompt.as_str()), (Exit::Usage, ""));
        assert!(stopped.message.contains("--yes to discard 2 letters"), "{}", stopped.message);
        assert!(ask(Act::Discard, 2, Consent::Given, "").0.is_ok());
    }
}
