//! The ledger in Redis: one atomic script per transition, one round trip per batch.
//!
//! | Key | Holds | Kept |
//! |---|---|---|
//! | `{ns}:own:<partition>` | the epoch of the partition's owner | for ever |
//! | `{ns}:effect:<effect>:<order>` | hash: state, token, epoch, until, fingerprint, attempts, spent, result | 30 days |
//! | `{ns}:seen:<order>` | hash: fingerprint, `handed_on` | 30 days, or until the order is given up |
//! | `{ns}:account:<digest of a customer's name>` | Account id | 400 days after it was last confirmed |
//!
//! The braces are written as they stand: in a cluster all keys of a namespace share a slot, so that a script reaches
//! owner and effect, and a change of the number of partitions forgets nothing. One node does this work many times over.

pub(crate) mod connection;
pub(crate) mod script;

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use ::redis::{Cmd, RedisResult};
use async_trait::async_trait;
use domain::order::id::{Fingerprint, OrderId};
use sha2::{Digest, Sha256};

use self::connection::Connection;
pub use self::connection::Settings;
use self::script::{CLAIM, CLOSE, HANDED_ON, OWN, SIGHT};
use crate::contract::{
    Attempts, Claim, ClaimAnswer, ClaimTicket, Closed, Closing, Error, Identity, Ledger, Owner, Sighting,
};
use crate::effect::KEPT;

const ACCOUNT_KEPT: Duration = Duration::from_hours(400 * 24);

/// A [`Ledger`] in Redis 6.2 or later. Clones share one connection, which comes back by itself after an outage.
#[derive(Debug, Clone)]
pub struct RedisLedger {
    pub(crate) connection: Connection,
}

impl RedisLedger {
    /// Connects, and looks whether this Redis may be trusted to keep what it is given. The namespace separates fleets and
    /// tenants; it holds both.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be reached: try again. [`Error::Broken`] when the address or the namespace is
    /// wrong, or when Redis would evict keys.
    pub async fn connect(url: &str, namespace: &str, settings: Settings) -> Result<Self, Error> {
        Ok(Self { connection: Connection::connect(url, namespace, settings).await? })
    }

    fn key(&self, rest: fmt::Arguments<'_>) -> String {
        self.connection.key(rest)
    }

    fn owner_key(&self, partition: u16) -> String {
        self.key(format_args!("own:{partition}"))
    }

    fn effect_key(&self, effect: &str, order: &OrderId) -> String {
        self.key(format_args!("effect:{effect}:{order}"))
    }

    fn sighting_key(&self, order: &OrderId) -> String {
        self.key(format_args!("seen:{order}"))
    }

    /// Names of customers may be e-mail addresses: only their digest is kept.
    fn account_key(&self, name: &str) -> String {
        let digest = Fingerprint::of(Sha256::digest(name.as_bytes()).into());
        self.key(format_args!("account:{digest}"))
    }

    fn read_claim(&self, claim: &Claim, answer: &[String]) -> Result<ClaimAnswer, Error> {
        let ticket = |token, was_unknown| ClaimTicket {
            owner: claim.owner.clone(),
            order: claim.order.clone(),
            effect: claim.effect,
            token,
            was_unknown,
        };
        let numbers = |token: &str, total: &str, spent: &str| {
            let (total, spent): (u32, u32) = (total.parse().ok()?, spent.parse().ok()?);
            Some((token.parse().ok()?, Attempts { total, round: total.saturating_sub(spent) }))
        };
        let words: Vec<&str> = answer.iter().map(String::as_str).collect();
        let read = match words[..] {
            ["claimed", token, total, spent] => numbers(token, total, spent)
                .map(|(token, attempts)| ClaimAnswer::Claimed { ticket: ticket(token, false), attempts }),
            ["unknown", token, total, spent] => numbers(token, total, spent)
                .map(|(token, attempts)| ClaimAnswer::Unknown { ticket: ticket(token, true), attempts }),
            ["settled", result] => Some(ClaimAnswer::Settled(result.to_owned())),
            ["busy", left] => left.parse().ok().map(|left| ClaimAnswer::Busy { left: Duration::from_millis(left) }),
            ["conflict"] => Some(ClaimAnswer::Conflict),
            ["not_owner"] => Some(ClaimAnswer::NotOwner),
            _ => None,
        };
        read.ok_or_else(|| self.connection.strange(answer))
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Ledger for RedisLedger {
    async fn own(&self, owner: &Owner) -> Result<(), Error> {
        let invocation = OWN.invocation(&[&self.owner_key(owner.partition)], &[&owner.epoch]);
        self.connection.invoke(&OWN, &[invocation]).await.map(drop)
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<ClaimAnswer>, Error> {
        let kept = milliseconds(KEPT).to_string();
        let invocations: Vec<Cmd> = claims
            .iter()
            .map(|claim| {
                let keys = [self.owner_key(claim.owner.partition), self.effect_key(claim.effect, &claim.order)];
                // A year is long enough for a lease, and every sum with it is exact in Lua.
                let lease = claim.lease.min(Duration::from_hours(365 * 24));
                let arguments =
                    [&claim.owner.epoch, &claim.fingerprint.to_string(), &milliseconds(lease).to_string(), &kept];
                CLAIM.invocation(&[&keys[0], &keys[1]], &arguments.map(String::as_str))
            })
            .collect();
        let answers = self.connection.invoke(&CLAIM, &invocations).await?;
        claims.iter().zip(&answers).map(|(claim, answer)| self.read_claim(claim, answer)).collect()
    }

    async fn close(&self, closings: &[(ClaimTicket, Closing)]) -> Result<Vec<Closed>, Error> {
        let kept = milliseconds(KEPT).to_string();
        let invocations: Vec<Cmd> = closings
            .iter()
            .map(|(ticket, closing)| {
                let keys = [self.owner_key(ticket.owner.partition), self.effect_key(ticket.effect, &ticket.order)];
                let (how, result) = match closing {
                    Closing::Settle(result) => ("settle", result.as_str()),
                    Closing::Failed => ("failed", ""),
                    Closing::Unknown => ("unknown", ""),
                    Closing::GiveUp { unknown: false } => ("given_up", ""),
                    Closing::GiveUp { unknown: true } => ("given_up_unknown", ""),
                    Closing::Doubt => ("doubt", ""),
                    Closing::Release => ("release", ""),
                };
                let token = ticket.token.to_string();
                CLOSE.invocation(&[&keys[0], &keys[1]], &[&ticket.owner.epoch, &token, how, &kept, result])
            })
            .collect();
        let answers = self.connection.invoke(&CLOSE, &invocations).await?;
        let read = |answer: &Vec<String>| match answer.first().map(String::as_str) {
            Some("done") => Ok(Closed::Done),
            Some("stale") => Ok(Closed::Stale),
            Some(_) | None => Err(self.connection.strange(answer)),
        };
        answers.iter().map(read).collect()
    }

    async fn sight(&self, identities: &[Identity]) -> Result<Vec<Sighting>, Error> {
        let kept = milliseconds(KEPT).to_string();
        let invocations: Vec<Cmd> = identities
            .iter()
            .map(|identity| {
                SIGHT.invocation(&[&self.sighting_key(&identity.order)], &[&identity.fingerprint.to_string(), &kept])
            })
            .collect();
        let answers = self.connection.invoke(&SIGHT, &invocations).await?;
        let read = |answer: &Vec<String>| match answer.first().map(String::as_str) {
            Some("first") => Ok(Sighting::First),
            Some("again") => Ok(Sighting::Again),
            Some("conflict") => Ok(Sighting::Conflict),
            Some(_) | None => Err(self.connection.strange(answer)),
        };
        answers.iter().map(read).collect()
    }

    async fn handed_on(&self, identities: &[Identity]) -> Result<(), Error> {
        let kept = milliseconds(KEPT).to_string();
        let invocations: Vec<Cmd> = identities
            .iter()
            .map(|identity| {
                HANDED_ON
                    .invocation(&[&self.sighting_key(&identity.order)], &[&identity.fingerprint.to_string(), &kept])
            })
            .collect();
        self.connection.invoke(&HANDED_ON, &invocations).await.map(drop)
    }

    async fn forget_sightings(&self, orders: &[OrderId]) -> Result<(), Error> {
        let mut pipeline = ::redis::pipe();
        for order in orders {
            pipeline.cmd("DEL").arg(self.sighting_key(order));
        }
        let answers = self.connection.many::<()>(&mut pipeline).await?;
        answers.into_iter().collect::<RedisResult<()>>().map_err(|error| self.connection.explain(&error))
    }

    async fn accounts(&self, names: &[Vec<String>]) -> Result<Vec<Option<String>>, Error> {
        let mut pipeline = ::redis::pipe();
        for name in names.iter().flatten() {
            pipeline.cmd("GET").arg(self.account_key(name));
        }
        let mut found = self.connection.many::<Option<String>>(&mut pipeline).await?.into_iter();
        let mut accounts = Vec::with_capacity(names.len());
        for names in names {
            // Every answer of this customer is taken, so that the next one's are next.
            let known: Vec<RedisResult<Option<String>>> = found.by_ref().take(names.len()).collect();
            let known =
                known.into_iter().collect::<RedisResult<Vec<_>>>().map_err(|error| self.connection.explain(&error))?;
            accounts.push(known.into_iter().flatten().next());
        }
        Ok(accounts)
    }

    async fn remember_accounts(&self, entries: &[(Vec<String>, String)]) -> Result<(), Error> {
        let mut pipeline = ::redis::pipe();
        for (names, account) in entries {
            for name in names {
                pipeline.cmd("SET").arg(self.account_key(name)).arg(account).arg("PX").arg(milliseconds(ACCOUNT_KEPT));
            }
        }
        let answers = self.connection.many::<()>(&mut pipeline).await?;
        answers.into_iter().collect::<RedisResult<()>>().map_err(|error| self.connection.explain(&error))
    }

    async fn forget_accounts(&self, names: &[String]) -> Result<(), Error> {
        let keys: HashSet<String> = names.iter().map(|name| self.account_key(name)).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let mut forget = Cmd::new();
        forget.arg("DEL").arg(keys.into_iter().collect::<Vec<_>>());
        self.connection.one::<u64>(&forget).await.map(drop)
    }

    async fn ping(&self) -> Result<(), Error> {
        self.connection.ping().await
    }
}
