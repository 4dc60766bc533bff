//! The ledger in this process: for simulated schedules and for tests without services.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use domain::order::id::{Fingerprint, OrderId};

use crate::contract::{Claim, ClaimAnswer, ClaimTicket, Closed, Closing, Error, Identity, Ledger, Owner, Sighting};
use crate::effect::{Answer, Effect, KEPT};

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

#[derive(Debug, Default)]
struct State {
    owners: HashMap<u16, String>,
    effects: HashMap<(OrderId, &'static str), Kept<Effect>>,
    sightings: HashMap<OrderId, Kept<(Fingerprint, bool)>>,
    accounts: HashMap<String, String>,
}

#[derive(Debug)]
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
        *self.state() = State::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_owner(&self, owner: &Owner) -> bool {
        self.owners.get(&owner.partition) == Some(&owner.epoch)
    }

    fn claim(&mut self, claim: &Claim, now: Duration) -> ClaimAnswer {
        let Claim { owner, order, effect, fingerprint, lease } = claim;
        if !self.is_owner(owner) {
            return ClaimAnswer::NotOwner;
        }
        let fresh = || Kept { value: Effect::absent(*fingerprint), until: now + KEPT };
        let kept = self.effects.entry((order.clone(), effect)).or_insert_with(fresh);
        if kept.until <= now {
            *kept = fresh();
        }
        let ticket =
            |token, was_unknown| ClaimTicket { owner: owner.clone(), order: order.clone(), effect, token, was_unknown };
        match kept.value.claim(&owner.epoch, *fingerprint, *lease, now) {
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
        if !self.is_owner(&ticket.owner) {
            return Closed::Stale;
        }
        match self.effects.get_mut(&(ticket.order.clone(), ticket.effect)).filter(|kept| now < kept.until) {
            Some(kept) => {
                let closed = kept.value.close(ticket.token, closing);
                if closed == Closed::Done {
                    kept.until = now + KEPT;
                }
                closed
            }
            None => Closed::Stale,
        }
    }

    fn sight(&mut self, identity: &Identity, now: Duration) -> Sighting {
        match self.sightings.get(&identity.order).filter(|kept| now < kept.until).map(|kept| kept.value) {
            Some((fingerprint, _)) if fingerprint != identity.fingerprint => Sighting::Conflict,
            Some((_, true)) => Sighting::Again,
            Some((_, false)) => Sighting::First,
            None => {
                let value = (identity.fingerprint, false);
                self.sightings.insert(identity.order.clone(), Kept { value, until: now + KEPT });
                Sighting::First
            }
        }
    }

    fn handed_on(&mut self, identity: &Identity, now: Duration) {
        let seen = self.sightings.get(&identity.order).filter(|kept| now < kept.until);
        if seen.is_none_or(|kept| kept.value.0 == identity.fingerprint) {
            let value = (identity.fingerprint, true);
            self.sightings.insert(identity.order.clone(), Kept { value, until: now + KEPT });
        }
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn own(&self, owner: &Owner) -> Result<(), Error> {
        self.state().owners.insert(owner.partition, owner.epoch.clone());
        Ok(())
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<ClaimAnswer>, Error> {
        let now = self.clock.now();
        let mut state = self.state();
        Ok(claims.iter().map(|claim| state.claim(claim, now)).collect())
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
            state.sightings.remove(order);
        }
        Ok(())
    }

    async fn accounts(&self, names: &[Vec<String>]) -> Result<Vec<Option<String>>, Error> {
        let state = self.state();
        Ok(names.iter().map(|names| names.iter().find_map(|name| state.accounts.get(name).cloned())).collect())
    }

    async fn remember_accounts(&self, entries: &[(Vec<String>, String)]) -> Result<(), Error> {
        let mut state = self.state();
        for (names, account) in entries {
            state.accounts.extend(names.iter().map(|name| (name.clone(), account.clone())));
        }
        Ok(())
    }

    async fn forget_accounts(&self, names: &[String]) -> Result<(), Error> {
        let mut state = self.state();
        for name in names {
            state.accounts.remove(name);
        }
        Ok(())
    }

    async fn ping(&self) -> Result<(), Error> {
        Ok(())
    }
}
