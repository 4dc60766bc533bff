//! What the exit code tells whoever restarts the process.

use std::process::ExitCode;

/// How a process ends. The numbers are those of `sysexits.h`, where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: it was asked to end, and everything was finished or handed back.
    Done,
    /// 1: it could not go on, or not everything was finished when it was made to end. Start it again.
    Failed,
    /// 64: the command line is wrong. Starting it again does not help.
    Usage,
    /// 69: something it needs could not be reached, for as long as it was patient. Start it again later.
    Unavailable,
    /// 70: a bug; the log says where. Start it again, and report it.
    Bug,
    /// 78: a setting is wrong. Starting it again does not help.
    Settings,
}

impl Exit {
    /// The number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Bug => 70,
            Self::Settings => 78,
        }
    }

    /// The graver of two: what the process reports when more than one thing went wrong.
    #[must_use]
    pub const fn or_worse(self, other: Self) -> Self {
        if self.gravity() >= other.gravity() { self } else { other }
    }

    const fn gravity(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Unavailable => 2,
            Self::Usage => 3,
            Self::Settings => 4,
            Self::Bug => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// An error that ends a task, and with it the process. It says itself how.
pub trait Failure: std::error::Error + Send + Sync + 'static {
    /// How the process ends because of it.
    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// A ready-made [`Failure`], for programs that need no enum of their own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Stopped {
    /// How the process ends.
    pub exit: Exit,
    /// What happened, for the log: no secrets, no personal data.
    pub message: String,
}

impl Stopped {
    /// Something could not be reached.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { exit: Exit::Unavailable, message: message.into() }
    }

    /// It could not go on.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into() }
    }

    /// A setting turned out to be wrong, on a closer look than [`crate::Problems`] could take.
    pub fn settings(message: impl Into<String>) -> Self {
        Self { exit: Exit::Settings, message: message.into() }
    }
}

impl Failure for Stopped {
    fn exit(&self) -> Exit {
        self.exit
    }
}

/// An error with everything below it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Many errors repeat what is below them.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_outweighs_every_other_end() {
        for exit in [Exit::Done, Exit::Failed, Exit::Usage, Exit::Unavailable, Exit::Settings] {
            assert_eq!(exit.or_worse(Exit::Bug), Exit::Bug);
            assert_eq!(Exit::Bug.or_worse(exit), Exit::Bug);
        }
        assert_eq!(Exit::Done.or_worse(Exit::Failed), Exit::Failed);
    }
}
