//! The ledger in this process: for simulated schedules and for tests without services.

#[cfg(test)]
mod model;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use domain::order::id::{Fingerprint, OrderId};

use crate::contract::{
    Claim, ClaimAnswer, ClaimTicket, Closed, Closing, Error, HOLDER_NAMES, Holding, Identity, KnownSince, Ledger,
    Owner, Sighting, Whose,
};
use crate::effect::{Answer, Asked, Effect, KEPT, vouches};

/// What time it is for a [`MemoryLedger`].
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The system's.
    #[default]
    System,
    /// Stands still until it is moved; milliseconds since 1970.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// One that stands at `now` since 1970.
    pub fn manual(now: Duration) -> Self {
        let clock = Arc::new(AtomicU64::new(0));
        let manual = Self::Manual(clock);
        manual.advance(now);
        manual
    }

    /// Moves a manual clock forward. The system's clock moves by itself.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(clock) = self {
            clock.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this clock is the wall clock, unless a test sets another one")]
    fn now(&self) -> Duration {
        match self {
            Self::System => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Self::Manual(clock) => Duration::from_millis(clock.load(Ordering::SeqCst)),
        }
    }
}

/// A [`Ledger`] that forgets everything when it is dropped. Clones share one memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryLedger {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct State {
    /// Counts the memories that this ledger has had: each has a name of its own.
    memory: u64,
    data: Data,
}

/// What is remembered, and what a copy of it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Data {
    /// Which epoch owns a partition, and since which memory.
    owners: BTreeMap<u16, (String, String)>,
    effects: BTreeMap<(OrderId, &'static str), Kept<Effect>>,
    sightings: BTreeMap<OrderId, Kept<Seen>>,
    accounts: BTreeMap<String, String>,
    /// Names of an Account's customers by a subscription, the newest last.
    holders: BTreeMap<(String, String), Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Seen {
    fingerprint: Fingerprint,
    memory: String,
    known_since: Option<KnownSince>,
    handed_on: bool,
}

/// What a [`MemoryLedger`] held at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot(Data);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kept<T> {
    value: T,
    until: Duration,
}

impl MemoryLedger {
    /// An empty one on this clock.
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default() }
    }

    /// Forgets everything, as a flushed Redis does.
    pub fn flush(&self) {
        self.restore(Snapshot(Data::default()));
    }

    /// Copies what it holds, as Redis saves itself to its disk.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.state().data.clone())
    }

    /// Holds nothing but that copy from now on, as a Redis that was started from it.
    pub fn restore(&self, snapshot: Snapshot) {
        self.state().restore(snapshot.0);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn name(&self) -> String {
        format!("memory{}", self.memory)
    }

    fn restore(&mut self, data: Data) {
        self.memory += 1;
        self.data = data;
    }

    fn own(&mut self, owner: &Owner) {
        let memory = self.name();
        self.data.owners.insert(owner.partition, (owner.epoch.clone(), memory));
    }

    fn claim(&mut self, claim: &Claim, now: Duration) -> ClaimAnswer {
        let Claim { owner, order, effect, fingerprint, known_since, lease } = claim;
        let memory = self.name();
        if self.data.owners.get(&owner.partition) != Some(&(owner.epoch.clone(), memory.clone())) {
            return ClaimAnswer::NotOwner;
        }
        let vouched = known_since.as_ref().is_some_and(|known| vouches(known, &memory, now));
        let fresh =
            || Kept { value: Effect::absent(*fingerprint, vouched.then_some(memory.as_str())), until: now + KEPT };
        let kept = self.data.effects.entry((order.clone(), effect)).or_insert_with(fresh);
        if kept.until <= now {
            *kept = fresh();
        }
        let ticket = |token, was_unknown| ClaimTicket {
            owner: owner.clone(),
            order: order.clone(),
            effect,
            token,
            memory: memory.clone(),
            was_unknown,
        };
        let asked = Asked { epoch: &owner.epoch, fingerprint: *fingerprint, lease: *lease, memory: &memory, now };
        match kept.value.claim(asked) {
            Answer::Claimed { token, attempts } => {
                kept.until = now + KEPT;
                ClaimAnswer::Claimed { ticket: ticket(token, false), attempts }
            }
            Answer::Unknown { token, attempts } => {
                kept.until = now + KEPT;
                ClaimAnswer::Unknown { ticket: ticket(token, true), attempts }
            }
            Answer::Settled(result) => ClaimAnswer::Settled(result),
            Answer::Busy { left } => ClaimAnswer::Busy { left },
            Answer::Conflict => ClaimAnswer::Conflict,
        }
    }

    fn close(&mut self, ticket: &ClaimTicket, closing: &Closing, now: Duration) -> Closed {
        let ClaimTicket { owner: Owner { partition, epoch }, order, effect, token, memory, was_unknown: _ } = ticket;
        let owns = self.data.owners.get(partition).is_some_and(|(owner, _)| owner == epoch);
        let kept = self.data.effects.get_mut(&(order.clone(), *effect)).filter(|kept| now < kept.until);
        let Some(kept) = kept else { return Closed::Stale };
        if !owns {
            kept.value.let_go(epoch, *token, memory, closing);
            return Closed::Stale;
        }
        let closed = kept.value.close(*token, memory, closing);
        if closed == Closed::Done {
            kept.until = now + KEPT;
        }
        closed
    }

    fn sending(&mut self, ticket: &ClaimTicket, takes: Duration, now: Duration) -> bool {
        let ClaimTicket { owner: Owner { partition, epoch }, order, effect, token, memory, was_unknown: _ } = ticket;
        let owner = (epoch.clone(), self.name());
        let owns = *memory == owner.1 && self.data.owners.get(partition) == Some(&owner);
        let kept = self.data.effects.get_mut(&(order.clone(), *effect)).filter(|kept| owns && now < kept.until);
        kept.is_some_and(|kept| kept.value.send(*token, memory, takes, now))
    }

    fn sight(&mut self, identity: &Identity, now: Duration) -> Sighting {
        let Identity { order, fingerprint, redelivered } = identity;
        let memory = self.name();
        let seen = self.data.sightings.get(order).filter(|kept| now < kept.until).map(|kept| &kept.value);
        match seen.filter(|seen| seen.memory == memory) {
            Some(seen) if seen.fingerprint != *fingerprint => Sighting::Conflict,
            Some(seen) if seen.handed_on => Sighting::Again,
            Some(seen) => Sighting::First { known_since: seen.known_since.clone() },
            None => {
                let news = seen.is_none() && !redelivered;
                let at = Duration::from_secs(now.as_secs());
                let known_since = news.then(|| KnownSince { memory: memory.clone(), at });
                let value =
                    Seen { fingerprint: *fingerprint, memory, known_since: known_since.clone(), handed_on: false };
                self.data.sightings.insert(order.clone(), Kept { value, until: now + KEPT });
                Sighting::First { known_since }
            }
        }
    }

    fn handed_on(&mut self, identity: &Identity, now: Duration) {
        let seen = self.data.sightings.get(&identity.order).filter(|kept| now < kept.until);
        if seen.is_none_or(|kept| kept.value.fingerprint == identity.fingerprint) {
            let (fingerprint, memory) = (identity.fingerprint, self.name());
            let value = Seen { fingerprint, memory, known_since: None, handed_on: true };
            self.data.sightings.insert(identity.order.clone(), Kept { value, until: now + KEPT });
        }
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn own(&self, owner: &Owner) -> Result<(), Error> {
        self.state().own(owner);
        Ok(())
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<ClaimAnswer>, Error> {
        let now = self.clock.now();
        let mut state = self.state();
        Ok(claims.iter().map(|claim| state.claim(claim, now)).collect())
    }

    async fn sending(&self, claims: &[ClaimTicket], takes: Duration) -> Result<Vec<bool>, Error> {
        let now = self.clock.now();
        let mut state = self.state();
        Ok(claims.iter().map(|ticket| state.sending(ticket, takes, now)).collect())
    }

    async fn close(&self, closings: &[(ClaimTicket, Closing)]) -> Result<Vec<Closed>, Error> {
        let now = self.clock.now();
        let mut state = self.state();
        Ok(closings.iter().map(|(ticket, closing)| state.close(ticket, closing, now)).collect())
    }

    async fn sight(&self, identities: &[Identity]) -> Result<Vec<Sighting>, Error> {
        let now = self.clock.now();
        let mut state = self.state();
        Ok(identities.iter().map(|identity| state.sight(identity, now)).collect())
    }

    async fn handed_on(&self, identities: &[Identity]) -> Result<(), Error> {
        let now = self.clock.now();
        let mut state = self.state();
        for identity in identities {
            state.handed_on(identity, now);
        }
        Ok(())
    }

    async fn forget_sightings(&self, orders: &[OrderId]) -> Result<(), Error> {
        let mut state = self.state();
        for order in orders {
            state.data.sightings.remove(order);
        }
        Ok(())
    }

    async fn accounts(&self, names: &[Vec<String>]) -> Result<Vec<Option<String>>, Error> {
        let state = self.state();
        Ok(names.iter().map(|names| names.iter().find_map(|name| state.data.accounts.get(name).cloned())).collect())
    }

    async fn remember_accounts(&self, entries: &[(Vec<String>, String)]) -> Result<(), Error> {
        let mut state = self.state();
        for (names, account) in entries {
            state.data.accounts.extend(names.iter().map(|name| (name.clone(), account.clone())));
        }
        Ok(())
    }

    async fn remember_holders(&self, holdings: &[Holding]) -> Result<(), Error> {
        let mut state = self.state();
        for Holding { account, subscriptions, names } in holdings.iter().filter(|holding| !holding.names.is_empty()) {
            for subscription in subscriptions {
                let held = state.data.holders.entry((account.clone(), subscription.clone())).or_default();
                held.retain(|name| !names.contains(name));
                for name in names {
                    if !held.contains(name) {
                        held.push(name.clone());
                    }
                }
                held.drain(..held.len().saturating_sub(HOLDER_NAMES));
            }
        }
        Ok(())
    }

    async fn whose(&self, asked: &[Holding]) -> Result<Vec<Whose>, Error> {
        let state = self.state();
        let whose = |Holding { account, subscriptions, names }: &Holding| {
            let of = |subscription: &String| state.data.holders.get(&(account.clone(), subscription.clone()));
            let held: Vec<String> = subscriptions.iter().filter_map(of).flatten().cloned().collect();
            Whose::of(&held, names)
        };
        Ok(asked.iter().map(whose).collect())
    }

    async fn forget_accounts(&self, names: &[String]) -> Result<(), Error> {
        let mut state = self.state();
        for name in names {
            state.data.accounts.remove(name);
        }
        Ok(())
    }

    async fn ping(&self) -> Result<(), Error> {
        Ok(())
    }
}
