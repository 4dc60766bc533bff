//! What the fleet keeps of a connection to an org: one sealed text with a version, and a lease for whoever renews it.
//!
//! | Key | Holds | Kept |
//! |---|---|---|
//! | `{ns}:grant:<name>` | hash: version, sealed, `seeded_at` | for ever |
//! | `{ns}:grant:<name>:lease` | who renews it now | the lease |
//!
//! The lease keeps two processes from renewing at the same time, as long as neither is frozen. What protects the text is its
//! version: an older one never replaces a younger one, whoever holds the lease.

use std::time::Duration;

use redis::Cmd;

use crate::contract::Error;
use crate::redis::RedisLedger;
use crate::redis::connection::Connection;
use crate::redis::script::{GRANT, LEASE, PUT};
use crate::seal::digest;

/// How many notes a generation may have.
const STEPS: u64 = 1 << 14;

/// How many versions an era has: a million generations. Half a million eras fit into what is exact as a double.
const ERA: u64 = STEPS << 20;

/// Which of two texts is younger: an era for each grant that an operator gives, a generation for each renewal, and a step for
/// each note about it.
///
/// A renewal that took long beats the notes that others made about its predecessor meanwhile, and never a grant that an
/// operator gave meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(u64);

impl Version {
    /// From its number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number; exact as a double.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Of a grant that an operator gives: younger than every renewal of the one before, also those that are under way.
    #[must_use]
    pub const fn next_era(self) -> Self {
        Self((self.0 / ERA + 1) * ERA)
    }

    /// Of the next renewal.
    #[must_use]
    pub const fn next_generation(self) -> Self {
        Self((self.0 / STEPS + 1) * STEPS)
    }

    /// Of the next note; after 16,383 of them the last one stays.
    #[must_use]
    pub const fn next_step(self) -> Self {
        if self.0 % STEPS == STEPS - 1 { self } else { Self(self.0 + 1) }
    }
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its version.
    pub version: Version,
    /// The sealed text.
    pub sealed: String,
    /// How long ago it, or what it replaced, was put where nothing was.
    pub seeded: Duration,
}

/// What became of a text that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is kept.
    Kept,
    /// One of the same or a younger version is there, and stays.
    Older,
}

/// What became of the wish to renew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leased {
    /// Nobody else renews for the time of the lease.
    Held,
    /// Somebody else does, for so long at most.
    Busy(Duration),
}

/// One connection's grant in Redis. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Grants {
    connection: Connection,
    name: String,
}

impl RedisLedger {
    /// The grant of the connection that is told by these: login host, app, user. Only their digest is kept.
    pub fn grants(&self, connection: &[&str]) -> Grants {
        Grants { connection: self.connection.clone(), name: digest(connection) }
    }
}

impl Grants {
    /// The digest of what the connection is told by.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn key(&self) -> String {
        self.connection.key(format_args!("grant:{}", self.name))
    }

    fn lease_key(&self) -> String {
        self.connection.key(format_args!("grant:{}:lease", self.name))
    }

    async fn ask(&self, script: &crate::redis::script::Script, invocation: Cmd) -> Result<Vec<String>, Error> {
        let mut answers = self.connection.invoke(script, &[invocation]).await?;
        answers.pop().ok_or_else(|| self.connection.strange(&[]))
    }

    /// What is kept now.
    ///
    /// # Errors
    /// Redis is away, or answers what it never should.
    pub async fn load(&self) -> Result<Option<Kept>, Error> {
        let answer = self.ask(&GRANT, GRANT.invocation(&[&self.key()], &[])).await?;
        let words: Vec<&str> = answer.iter().map(String::as_str).collect();
        let kept = match words[..] {
            ["absent"] => return Ok(None),
            ["kept", version, sealed, seeded] => {
                version.parse().ok().zip(seeded.parse().ok()).map(|(version, seeded)| {
                    let (version, seeded) = (Version::new(version), Duration::from_millis(seeded));
                    Kept { version, sealed: sealed.to_owned(), seeded }
                })
            }
            _ => None,
        };
        kept.map(Some).ok_or_else(|| self.connection.strange(&answer))
    }

    /// Keeps a text, unless a younger one is there.
    ///
    /// # Errors
    /// Redis is away, or answers what it never should.
    pub async fn put(&self, version: Version, sealed: &str) -> Result<Put, Error> {
        let version = version.number().to_string();
        let answer = self.ask(&PUT, PUT.invocation(&[&self.key()], &[&version, sealed])).await?;
        match answer.first().map(String::as_str) {
            Some("kept") => Ok(Put::Kept),
            Some("older") => Ok(Put::Older),
            Some(_) | None => Err(self.connection.strange(&answer)),
        }
    }

    /// Takes the lease, or lengthens it.
    ///
    /// # Errors
    /// Redis is away, or answers what it never should.
    pub async fn lease(&self, holder: &str, time: Duration) -> Result<Leased, Error> {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1).to_string();
        let answer = self.ask(&LEASE, LEASE.invocation(&[&self.lease_key()], &[holder, &time])).await?;
        let words: Vec<&str> = answer.iter().map(String::as_str).collect();
        match words[..] {
            ["held"] => Ok(Leased::Held),
            ["busy", left] => {
                let left = left.parse().map_err(|_| self.connection.strange(&answer))?;
                Ok(Leased::Busy(Duration::from_millis(left)))
            }
            _ => Err(self.connection.strange(&answer)),
        }
    }

    /// Gives the lease back; nothing happens when somebody else holds it.
    ///
    /// # Errors
    /// Redis is away: the lease ends by itself.
    pub async fn release(&self, holder: &str) -> Result<(), Error> {
        self.ask(&LEASE, LEASE.invocation(&[&self.lease_key()], &[holder, "0"])).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_is_younger_than_every_note_about_its_predecessor() {
        let first = Version::default().next_era().next_generation();
        let mut noted = first;
        for _ in 0..100 {
            let next = noted.next_step();
            assert!(next > noted);
            noted = next;
        }
        assert!(first.next_generation() > noted);
        assert_eq!(first.next_generation(), noted.next_generation());
        let last = Version::new(first.number() + STEPS - 1);
        assert_eq!(last.next_step(), last, "notes never make a generation");
    }

    #[test]
    fn a_grant_of_an_operator_is_younger_than_every_renewal_of_the_one_before() {
        let before = Version::default().next_era();
        let mut renewed = before;
        for _ in 0..100 {
            renewed = renewed.next_generation().next_step();
        }
        assert!(before.next_era() > renewed.next_generation());
        assert_eq!(before.next_era(), renewed.next_era());
        let last = Version::new((1 << 53) - 1);
        assert_eq!(
            Version::new(last.number() / ERA * ERA).next_era().number(),
            1 << 53,
            "an era ends where doubles do"
        );
    }
}
