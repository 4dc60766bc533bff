//! The ledger in Redis: one atomic script per transition, one round trip per batch.
//!
//! | Key | Holds | Kept |
//! |---|---|---|
//! | `{ns}:memory` | hash: the memory's name, the server that it was given on, and when (s) | until it is another memory |
//! | `{ns}:owner:<partition>` | hash: the epoch of the partition's owner, memory | for ever |
//! | `{ns}:effect:<effect>:<order>` | hash: state, token, memory, epoch, until, `under_way`, fingerprint, attempts, spent, crashes, result | 30 days |
//! | `{ns}:seen:<order>` | hash: fingerprint, memory, `known_since`, `handed_on` | 30 days, or until the order is given up |
//! | `{ns}:account:<digest of a customer's name>` | Account id | 400 days after it was last confirmed |
//! | `{ns}:holder:<Account id>:<digest of a subscription's name>` | sorted set: digests of names of the customers who had the Account by it, by when they were last confirmed, 16 at most | 400 days |
//!
//! The braces are written as they stand: in a cluster all keys of a namespace share a slot, so that a script reaches
//! owner and effect, and a change of the number of partitions forgets nothing. One node does this work many times over.
//!
//! The memory's name is looked at before anything else in each round trip, and is given anew where it is gone or where
//! Redis's `run_id` or `master_replid` is another one: after a flush, a restart, a restored copy or a promotion; and when the
//! first replica comes or the last has gone for an hour, where nothing was forgotten and some orders are looked up for
//! nothing. What is loaded into a Redis that runs on, such as a copy by `RESTORE` or by a pipe, is not noticed: whoever does
//! that deletes `{ns}:memory` afterwards. An operator who deletes keys deletes all of the namespace, the memory's name first
//! or in the same command.

pub(crate) mod connection;
pub(crate) mod script;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ::redis::{Cmd, RedisResult};
use async_trait::async_trait;
use domain::order::id::{Fingerprint, OrderId};
use sha2::{Digest, Sha256};

use self::connection::Connection;
pub use self::connection::Settings;
use self::script::{CLAIM, CLOSE, HANDED_ON, OWN, SENDING, SIGHT, Script, memory};
use crate::contract::{
    Attempts, Claim, ClaimAnswer, ClaimTicket, Closed, Closing, Error, HOLDER_NAMES, Holding, Identity, KnownSince,
    Ledger, Owner, Sighting, Whose,
};
use crate::effect::KEPT;

const ACCOUNT_KEPT: Duration = Duration::from_hours(400 * 24);

/// A [`Ledger`] in Redis 6.2 or later. Clones share one connection, which comes back by itself after an outage.
#[derive(Debug, Clone)]
pub struct RedisLedger {
    pub(crate) connection: Connection,
    /// The memory that answered last.
    memory: Arc<Mutex<String>>,
}

impl RedisLedger {
    /// Connects, and looks whether this Redis may be trusted to keep what it is given. The namespace separates fleets and
    /// tenants; it holds both.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be reached: try again. [`Error::Broken`] when the address or the namespace is
    /// wrong, or when Redis would evict keys.
    pub async fn connect(url: &str, namespace: &str, settings: Settings) -> Result<Self, Error> {
        Ok(Self { connection: Connection::connect(url, namespace, settings).await?, memory: Arc::default() })
    }

    fn key(&self, rest: fmt::Arguments<'_>) -> String {
        self.connection.key(rest)
    }

    fn memory_key(&self) -> String {
        self.key(format_args!("memory"))
    }

    fn owner_key(&self, partition: u16) -> String {
        self.key(format_args!("owner:{partition}"))
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

    /// One for each subscription.
    fn holder_keys(&self, holding: &Holding) -> impl Iterator<Item = String> {
        holding.subscriptions.iter().map(|subscription| {
            let digest = Fingerprint::of(Sha256::digest(subscription.as_bytes()).into()).to_string();
            self.key(format_args!("holder:{}:{digest:.32}", holding.account))
        })
    }

    /// Invokes a script, after the memory has its right name.
    async fn invoke(&self, script: &Script, invocations: &[Cmd]) -> Result<Vec<Vec<String>>, Error> {
        let named = memory(&self.memory_key());
        let (told, answers) = self.connection.invoke_after(Some(&named), script, invocations).await?;
        if let Some(name) = told.first() {
            self.notice(name);
        }
        Ok(answers)
    }

    /// Tells the operator when the memory is another one.
    fn notice(&self, name: &str) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if *memory == name {
            return;
        }
        if !memory.is_empty() {
            tracing::warn!(
                before = *memory,
                now = name,
                "Redis was emptied, restarted, restored or replaced, or its replication changed: orders handed on before are looked up"
            );
        }
        name.clone_into(&mut memory);
    }

    fn read_claim(&self, claim: &Claim, answer: &[String]) -> Result<ClaimAnswer, Error> {
        let held = |numbers: [&str; 4], memory: &str, was_unknown| {
            let [token, total, spent, crashes] = numbers;
            let (total, spent): (u32, u32) = (total.parse().ok()?, spent.parse().ok()?);
            let attempts = Attempts { total, round: total.saturating_sub(spent), crashes: crashes.parse().ok()? };
            let ticket = ClaimTicket {
                owner: claim.owner.clone(),
                order: claim.order.clone(),
                effect: claim.effect,
                token: token.parse().ok()?,
                memory: memory.to_owned(),
                was_unknown,
            };
            Some((ticket, attempts))
        };
        let words: Vec<&str> = answer.iter().map(String::as_str).collect();
        let read = match words[..] {
            ["claimed", token, total, spent, crashes, memory] => held([token, total, spent, crashes], memory, false)
                .map(|(ticket, attempts)| ClaimAnswer::Claimed { ticket, attempts }),
            ["unknown", token, total, spent, crashes, memory] => held([token, total, spent, crashes], memory, true)
                .map(|(ticket, attempts)| ClaimAnswer::Unknown { ticket, attempts }),
            ["settled", result] => Some(ClaimAnswer::Settled(result.to_owned())),
            ["busy", left] => left.parse().ok().map(|left| ClaimAnswer::Busy { left: Duration::from_millis(left) }),
            ["conflict"] => Some(ClaimAnswer::Conflict),
            ["not_owner"] => Some(ClaimAnswer::NotOwner),
            _ => None,
        };
        read.ok_or_else(|| self.connection.strange(answer))
    }
}

/// A name as it is kept: its kind, and half a digest, so that Redis packs it with its neighbours (64 bytes at most).
fn holder_name(name: &str) -> String {
    let (kind, name) = name.split_once(':').unwrap_or_default();
    let digest = Fingerprint::of(Sha256::digest(name.as_bytes()).into()).to_string();
    format!("{kind}:{digest:.32}")
}

/// A year is long enough for a lease, and every sum with it is exact in Lua.
fn lease(duration: Duration) -> String {
    milliseconds(duration.min(Duration::from_hours(365 * 24))).to_string()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Ledger for RedisLedger {
    async fn own(&self, owner: &Owner) -> Result<(), Error> {
        let invocation = OWN.invocation(&[&self.memory_key(), &self.owner_key(owner.partition)], &[&owner.epoch]);
        self.invoke(&OWN, &[invocation]).await.map(drop)
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<ClaimAnswer>, Error> {
        let kept = milliseconds(KEPT).to_string();
        let memory = self.memory_key();
        let invocations: Vec<Cmd> = claims
            .iter()
            .map(|claim| {
                let keys = [self.owner_key(claim.owner.partition), self.effect_key(claim.effect, &claim.order)];
                let (known_to, since) =
                    claim.known_since.as_ref().map_or(("", 0), |known| (known.memory.as_str(), known.at.as_secs()));
                let (fingerprint, lease) = (claim.fingerprint.to_string(), lease(claim.lease));
                let arguments = [&claim.owner.epoch, &fingerprint, &lease, &kept, known_to, &since.to_string()];
                CLAIM.invocation(&[&memory, &keys[0], &keys[1]], &arguments)
            })
            .collect();
        let answers = self.invoke(&CLAIM, &invocations).await?;
        claims.iter().zip(&answers).map(|(claim, answer)| self.read_claim(claim, answer)).collect()
    }

    async fn sending(&self, claims: &[ClaimTicket], takes: Duration) -> Result<Vec<bool>, Error> {
        let (memory, takes) = (self.memory_key(), lease(takes));
        let invocation = |ticket: &ClaimTicket| {
            let keys = [self.owner_key(ticket.owner.partition), self.effect_key(ticket.effect, &ticket.order)];
            let token = ticket.token.to_string();
            let arguments = [ticket.owner.epoch.as_str(), &token, &ticket.memory, &takes];
            SENDING.invocation(&[&memory, &keys[0], &keys[1]], &arguments)
        };
        let answers = self.invoke(&SENDING, &claims.iter().map(invocation).collect::<Vec<_>>()).await?;
        let read = |answer: &Vec<String>| match answer.first().map(String::as_str) {
            Some("held") => Ok(true),
            Some("stale") => Ok(false),
            Some(_) | None => Err(self.connection.strange(answer)),
        };
        answers.iter().map(read).collect()
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
                CLOSE.invocation(
                    &[&keys[0], &keys[1]],
                    &[&ticket.owner.epoch, &token, &ticket.memory, how, &kept, result],
                )
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
                let (fingerprint, redelivered) = (identity.fingerprint.to_string(), u8::from(identity.redelivered));
                let keys = [self.memory_key(), self.sighting_key(&identity.order)];
                SIGHT.invocation(&keys.each_ref().map(String::as_str), &[&fingerprint, &kept, &redelivered.to_string()])
            })
            .collect();
        let answers = self.invoke(&SIGHT, &invocations).await?;
        let read = |answer: &Vec<String>| match answer.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["first", since] => Ok(Sighting::First { known_since: KnownSince::parse(since) }),
            ["again"] => Ok(Sighting::Again),
            ["conflict"] => Ok(Sighting::Conflict),
            _ => Err(self.connection.strange(answer)),
        };
        answers.iter().map(read).collect()
    }

    async fn handed_on(&self, identities: &[Identity]) -> Result<(), Error> {
        let kept = milliseconds(KEPT).to_string();
        let invocations: Vec<Cmd> = identities
            .iter()
            .map(|identity| {
                let keys = [self.memory_key(), self.sighting_key(&identity.order)];
                HANDED_ON.invocation(&keys.each_ref().map(String::as_str), &[&identity.fingerprint.to_string(), &kept])
            })
            .collect();
        self.invoke(&HANDED_ON, &invocations).await.map(drop)
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

    async fn remember_holders(&self, holdings: &[Holding]) -> Result<(), Error> {
        // It only orders the names of one Account; clocks that differ do no harm.
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_micros();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let mut pipeline = ::redis::pipe();
        for holding in holdings.iter().filter(|holding| !holding.names.is_empty()) {
            for key in self.holder_keys(holding) {
                pipeline.cmd("ZADD").arg(&key);
                for name in &holding.names {
                    pipeline.arg(now).arg(holder_name(name));
                }
                let older = -i64::try_from(HOLDER_NAMES).unwrap_or(i64::MAX) - 1;
                pipeline.cmd("ZREMRANGEBYRANK").arg(&key).arg(0).arg(older);
                pipeline.cmd("PEXPIRE").arg(&key).arg(milliseconds(ACCOUNT_KEPT));
            }
        }
        let answers = self.connection.many::<i64>(&mut pipeline).await?;
        answers.into_iter().try_for_each(|answer| answer.map(drop)).map_err(|error| self.connection.explain(&error))
    }

    async fn whose(&self, asked: &[Holding]) -> Result<Vec<Whose>, Error> {
        let mut pipeline = ::redis::pipe();
        for key in asked.iter().flat_map(|holding| self.holder_keys(holding)) {
            pipeline.cmd("ZRANGE").arg(key).arg(0).arg(-1);
        }
        let mut answers = self.connection.many::<Vec<String>>(&mut pipeline).await?.into_iter();
        let whose = asked.iter().map(|Holding { subscriptions, names, .. }| {
            let held: RedisResult<Vec<Vec<String>>> = answers.by_ref().take(subscriptions.len()).collect();
            let names: Vec<String> = names.iter().map(|name| holder_name(name)).collect();
            Ok(Whose::of(&held?.concat(), &names))
        });
        whose.collect::<RedisResult<Vec<_>>>().map_err(|error| self.connection.explain(&error))
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
