//! Which worker a queue belongs to, and which queue a worker should give up: pure.
//!
//! RabbitMQ makes the first that subscribes the active one, and leaves it so. Consumer priorities would move queues about,
//! and on RabbitMQ 4.3 they leave ghosts behind: queues that deliver to nobody. So the workers spread the queues themselves.
//! Each announces itself; a queue belongs to the member that has the highest weight for it (rendezvous hashing), which every
//! worker computes alike. A worker that has been active on a queue for a while although it belongs to another gives it up:
//! it closes its channel and subscribes again, which puts it at the end of the waiting list.
//!
//! Who the members are is a hint, never a lock: a wrong view moves a queue once too often, and nothing else. A worker that
//! sees nobody keeps what it has.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::topology::Queue;

#[cfg(test)]
mod tests;

/// Time since the driver's start.
pub type Time = Duration;

/// How queues are spread over the workers of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpreadSettings {
    /// How often a worker announces itself, and looks who else is there.
    pub announce_every: Duration,
    /// How long an announcement lasts.
    pub announcement_lasts: Duration,
    /// How long a worker waits between its first announcement and its first look at the others, so that workers that start
    /// together see each other.
    pub settle: Duration,
    /// How long after its own queues a worker subscribes to those of others.
    pub second_wave: Duration,
    /// How long a worker keeps a queue that belongs to another.
    pub patience: Duration,
    /// How long the lanes of a queue that is given up may take to run empty. What is in flight then is waited for.
    pub run_empty: Duration,
    /// The least time between two queues that a worker gives up.
    pub pace: Duration,
}

impl SpreadSettings {
    /// Announces every 3 s for 10 s, settles for a quarter of a second, subscribes to what belongs to others after 5 s, gives
    /// up after 30 s with 5 s for the lanes, at most two per second.
    pub const STANDARD: Self = Self {
        announce_every: Duration::from_secs(3),
        announcement_lasts: Duration::from_secs(10),
        settle: Duration::from_millis(250),
        second_wave: Duration::from_secs(5),
        patience: Duration::from_secs(30),
        run_empty: Duration::from_secs(5),
        pace: Duration::from_millis(500),
    };
}

/// Each time a queue comes back that was given up for the same member, the patience doubles, at most so often: whoever
/// announces itself and takes nothing does not keep a queue going round.
const MOST_DOUBLINGS: u32 = 5;

/// What one worker knows of the others, and makes of it.
#[derive(Debug)]
pub struct Spread {
    me: String,
    settings: SpreadSettings,
    /// Every member, with when it was seen last.
    members: BTreeMap<String, Time>,
    /// Queues on which this worker is active and that belong to another: to whom, and since when.
    foreign: HashMap<Queue, (String, Time)>,
    /// For whom each queue was given up last, and how often in a row.
    given_up: HashMap<Queue, (String, u32)>,
    last_move: Option<Time>,
}

impl Spread {
    /// A worker that has seen nobody yet.
    pub fn new(me: &str, settings: SpreadSettings) -> Self {
        Self {
            me: me.to_owned(),
            settings,
            members: BTreeMap::new(),
            foreign: HashMap::new(),
            given_up: HashMap::new(),
            last_move: None,
        }
    }

    /// These members are announced. Those that are not among them any more count for as long as an announcement lasts: a
    /// memory that was just emptied fills again by then.
    pub fn saw(&mut self, now: Time, members: impl IntoIterator<Item = String>) {
        self.members.extend(members.into_iter().map(|member| (member, now)));
        let lasts = self.settings.announcement_lasts;
        self.members.retain(|_, seen| now.saturating_sub(*seen) < lasts);
    }

    /// To whom a queue belongs, as far as this worker sees; to itself when it sees nobody.
    pub fn owner_of(&self, now: Time, queue: Queue) -> &str {
        let lasts = self.settings.announcement_lasts;
        let live = self.members.iter().filter(|(_, seen)| now.saturating_sub(**seen) < lasts);
        let live = live.map(|(member, _)| member.as_str());
        best(live.chain([self.me.as_str()]), queue).unwrap_or(&self.me)
    }

    /// Whether a queue belongs to this worker, as far as it sees.
    pub fn is_mine(&self, now: Time, queue: Queue) -> bool {
        self.owner_of(now, queue) == self.me
    }

    /// The queue to give up now, if there is one. `active` are those that this worker is active on and not giving up already.
    /// `held_up` says that something is away, so that nobody else would do better.
    pub fn gives_up(&mut self, now: Time, active: &[Queue], held_up: bool) -> Option<Queue> {
        self.foreign.retain(|queue, _| active.contains(queue));
        for queue in active {
            let owner = self.owner_of(now, *queue).to_owned();
            if owner == self.me {
                self.foreign.remove(queue);
                self.given_up.remove(queue);
            } else {
                let known = self.foreign.entry(*queue).or_insert_with(|| (owner.clone(), now));
                if known.0 != owner {
                    *known = (owner, now);
                }
            }
        }
        let paced = self.last_move.is_none_or(|last| now.saturating_sub(last) >= self.settings.pace);
        if held_up || !paced {
            return None;
        }
        let (queue, owner) = self
            .foreign
            .iter()
            .filter(|(queue, (owner, since))| now.saturating_sub(*since) >= self.patience(**queue, owner))
            .min_by_key(|(queue, (_, since))| (*since, **queue))
            .map(|(queue, (owner, _))| (*queue, owner.clone()))?;
        self.foreign.remove(&queue);
        self.last_move = Some(now);
        let given_up = self.given_up.entry(queue).or_insert_with(|| (owner.clone(), 0));
        *given_up = if given_up.0 == owner { (owner, given_up.1.saturating_add(1)) } else { (owner, 1) };
        Some(queue)
    }

    fn patience(&self, queue: Queue, owner: &str) -> Duration {
        let times = self.given_up.get(&queue).filter(|(before, _)| before == owner).map_or(0, |(_, times)| *times);
        self.settings.patience * 2_u32.pow(times.min(MOST_DOUBLINGS))
    }
}

/// Who of these has the highest weight for a queue.
pub fn best<'a>(members: impl IntoIterator<Item = &'a str>, queue: Queue) -> Option<&'a str> {
    members.into_iter().max_by_key(|member| (weight(member, queue), *member))
}

/// A member's weight for a queue: FNV-1a over the member's name and the queue's kind and number, mixed as in `SplitMix64`.
/// Every version of every program has to compute the same; tests pin it.
pub fn weight(member: &str, queue: Queue) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let (kind, index) = match queue {
        Queue::Inbox(index) => (b'i', index),
        Queue::Partition(index) => (b'p', index),
        Queue::Links => (b'l', 0),
    };
    let [high, low] = index.to_be_bytes();
    let bytes = member.bytes().chain([0, kind, high, low]);
    let hash = bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
