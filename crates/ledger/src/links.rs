//! Which identities Limio was told of, so that it is asked once.
//!
//! | Key | Holds | Kept |
//! |---|---|---|
//! | `{ns}:link:<digest of object, id and record>` | a mark | 30 days after Limio was told |
//!
//! Nothing depends on it: what is forgotten is linked again, which does no harm.

use domain::link::IdentityLink;
use domain::order::id::Fingerprint;
use sha2::{Digest, Sha256};

use crate::contract::Error;
use crate::effect::KEPT;
use crate::redis::RedisLedger;
use crate::redis::connection::Connection;

/// What is remembered of links, over the ledger's connection.
#[derive(Debug, Clone)]
pub struct KnownLinks {
    connection: Connection,
}

impl KnownLinks {
    /// Beside a ledger.
    pub fn beside(ledger: &RedisLedger) -> Self {
        Self { connection: ledger.connection.clone() }
    }

    fn key(&self, link: &IdentityLink) -> String {
        let named = format!("{}:{}:{}", link.object.as_str(), link.id, link.record.as_str());
        let digest = Fingerprint::of(Sha256::digest(named.as_bytes()).into());
        self.connection.key(format_args!("link:{digest}"))
    }

    /// Which of these Limio was told of.
    ///
    /// # Errors
    /// Redis did not answer.
    pub async fn known(&self, links: &[IdentityLink]) -> Result<Vec<bool>, Error> {
        let mut pipeline = ::redis::pipe();
        for link in links {
            pipeline.cmd("EXISTS").arg(self.key(link));
        }
        let answers = self.connection.many::<bool>(&mut pipeline).await?;
        answers.into_iter().collect::<Result<_, _>>().map_err(|error| self.connection.explain(&error))
    }

    /// Remembers that Limio was told of this.
    ///
    /// # Errors
    /// Redis did not answer.
    pub async fn remember(&self, link: &IdentityLink) -> Result<(), Error> {
        let mut set = ::redis::Cmd::new();
        set.arg("SET").arg(self.key(link)).arg(1).arg("EX").arg(KEPT.as_secs());
        self.connection.one::<()>(&set).await
    }
}
