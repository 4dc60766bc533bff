//! What a ledger does, whatever keeps it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use domain::order::id::{Fingerprint, OrderId};
use thiserror::Error;

/// Who claims: the active writer of a partition, for as long as nobody else takes the partition over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The partition.
    pub partition: u16,
    /// Unique for one taking-over of the partition.
    pub epoch: String,
}

/// Since when the ledger knows an order, and in which memory: `name@seconds`.
///
/// A ledger gives its memory a new name whenever it may have forgotten something: it is empty, or it is another server or
/// another run of one, so that it may have been restored from a copy or promoted from a replica. What is absent from the
/// memory that knows an order since before it was handed on certainly did not happen. No clock but the ledger's own counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KnownSince {
    /// The memory's name: 1 to 64 letters and digits.
    pub(crate) memory: String,
    /// On the ledger's clock, since 1970.
    pub(crate) at: Duration,
}

impl KnownSince {
    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (memory, seconds) = text.split_once('@')?;
        let named = (1..=64).contains(&memory.len()) && memory.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let at = Duration::from_secs(seconds.parse::<u32>().ok()?.into());
        named.then(|| Self { memory: memory.to_owned(), at })
    }
}

impl fmt::Display for KnownSince {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.memory, self.at.as_secs())
    }
}

/// Asks for the right to make an effect happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who asks.
    pub owner: Owner,
    /// The effect: an order's identity, and what is done for it (`order`, `event`).
    pub order: OrderId,
    /// What is done for the order; a short word.
    pub effect: &'static str,
    /// What the order says. Another content under the same identity is a conflict, unless what was claimed before
    /// certainly did not happen: then it is a corrected order, sent again.
    pub fingerprint: Fingerprint,
    /// What [`Ledger::sight`] said before the order was handed on. `None`: nobody knows, so what looks absent is unknown.
    pub known_since: Option<KnownSince>,
    /// How long the effect may take to happen once it was sent. When it has passed, the effect is unknown.
    pub lease: Duration,
}

/// Proof of a claim. It ends with the claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClaimTicket {
    /// Who claimed.
    pub owner: Owner,
    /// The order.
    pub order: OrderId,
    /// The effect.
    pub effect: &'static str,
    /// Which claim of the effect this is; grows with each.
    pub token: u64,
    /// The memory in which it was claimed: a copy that is restored counts tokens anew.
    pub(crate) memory: String,
    /// Whether the effect was unknown before: giving the claim back unused makes it unknown again.
    pub was_unknown: bool,
}

/// The answer to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimAnswer {
    /// Nobody has made it happen: send it.
    Claimed {
        /// For closing the claim.
        ticket: ClaimTicket,
        /// Failed attempts so far.
        attempts: Attempts,
    },
    /// An earlier claim's answer was lost, its lease ran out, or the ledger may have forgotten it: look it up before
    /// sending. The caller holds a new claim.
    Unknown {
        /// For closing the claim.
        ticket: ClaimTicket,
        /// Failed attempts so far.
        attempts: Attempts,
    },
    /// It happened; this is what was stored with it.
    Settled(String),
    /// Another owner's claim may still take effect; or this owner's own, where something that cannot be sent twice was
    /// sent under it ([`Ledger::sending`]).
    Busy {
        /// What is left of the time that this may take.
        left: Duration,
    },
    /// The identity was used before for another content, which happened or may have: it is settled, unknown or claimed.
    /// Never because of a content that certainly did not happen ([`Closing::Failed`], a [`Closing::GiveUp`] that is not
    /// unknown, or [`Closing::Release`] of an effect that was not unknown): the new content takes its place, and its
    /// attempts count from zero. Nor because of what another memory says that is not settled: then it is unknown.
    Conflict,
    /// Another process has taken the partition over since, or the memory is another one and has no owners yet.
    NotOwner,
}

/// Attempts with one content that failed or whose answer was lost, and claims that their owner left open and took again
/// itself. Claims that their owner's end left open are counted apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Since this content was claimed first.
    pub total: u32,
    /// Since it was given up last ([`Closing::GiveUp`]): what counts towards giving it up.
    pub round: u32,
    /// Claims that another owner found left open when their lease had passed, since it was given up last: so often a
    /// process died, or froze, with the order in hand.
    pub crashes: u32,
}

/// How a claim ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Closing {
    /// It happened; keep this with it.
    Settle(String),
    /// It certainly did not happen. Counts as an attempt.
    Failed,
    /// Its answer was lost. Counts as an attempt.
    Unknown,
    /// It failed for the last time: the order is given up. Counts as an attempt; the next one begins a new round.
    GiveUp {
        /// Whether it may have happened all the same.
        unknown: bool,
    },
    /// It may have happened, and that is not known because everything was away. Unknown, and no attempt.
    Doubt,
    /// It was not tried. Costs nothing; an effect that was unknown before is unknown again.
    Release,
}

/// Whether a closing was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// It was.
    Done,
    /// The claim has ended otherwise meanwhile: expired and claimed anew, or its partition was taken over. Nothing was
    /// settled. A claim of a partition that was taken over and that nobody has claimed anew is unknown from now on: its
    /// owner lives, so nobody waits for its lease, and no crash is counted.
    Stale,
}

/// One order as `ingest` sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its identity.
    pub order: OrderId,
    /// What it says.
    pub fingerprint: Fingerprint,
    /// Whether it was delivered before: then it may have been handed on, although the ledger does not know it.
    pub redelivered: bool,
}

/// Whether `ingest` has seen an order before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// It was not handed on yet, as far as is known: hand it on, then [`Ledger::handed_on`]. What another memory says does
    /// not count: a double that is handed on folds at its claim.
    First {
        /// For its claim. `None`: it may have been handed on before this memory began.
        known_since: Option<KnownSince>,
    },
    /// The same order was handed on before: nothing is left to do.
    Again,
    /// Another content was seen under this identity, handed on or not, and not taken back since
    /// ([`Ledger::forget_sightings`]).
    Conflict,
}

/// So many names of customers are remembered of an Account and one of its subscriptions.
pub const HOLDER_NAMES: usize = 16;

/// A customer who has an Account by way of subscriptions. An Account may be several customers': only one that had another
/// customer by the same subscription shows that the subscription passed on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holding {
    /// The Account's id.
    pub account: String,
    /// Names of the subscription.
    pub subscriptions: Vec<String>,
    /// Names of the customer, each as `kind:name`.
    pub names: Vec<String>,
}

/// Whose an Account is by way of a subscription, as far as it is remembered ([`Ledger::remember_holders`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// One of the names is remembered with it.
    Theirs,
    /// None of them is, and another name of the same kind is.
    Anothers,
    /// Nothing is remembered that could be compared: names of another kind tell nothing.
    Unknown,
}

impl Whose {
    /// By the names that are remembered, each behind its kind and a colon as those of the customer are.
    pub(crate) fn of(held: &[String], names: &[String]) -> Self {
        let kind = |name: &String| name.split(':').next().map(str::to_owned);
        if names.iter().any(|name| held.contains(name)) {
            Self::Theirs
        } else if names.iter().any(|name| held.iter().any(|held| kind(held) == kind(name))) {
            Self::Anothers
        } else {
            Self::Unknown
        }
    }
}

/// Why the ledger did not answer.
#[derive(Debug, Clone, Error)]
pub enum Error {
    /// It cannot be reached, is loading, or did not answer in time. What was asked may have been done. Try again later.
    #[error("Redis at {place} is not available: {cause}")]
    Unavailable {
        /// Host and port, never a password.
        place: String,
        /// What it said.
        cause: String,
    },
    /// It answered what it never should: wrong type under a key, wrong script result. An operator has to look.
    #[error("the ledger is broken: {0}")]
    Broken(String),
}

/// The fleet's memory. Every transition of an effect is one atomic step; answers come in the order of the questions.
///
/// ```text
/// absent  ── claim ──► claimed          claimed ── settle ──► settled
/// claimed ── failed, given up or release ──► absent (attempts kept)
/// absent  ── claim with another fingerprint ──► claimed (that fingerprint from now on, attempts from zero)
/// claimed ── unknown, doubt, or lease passed ──► unknown   (never absent: it may have happened)
/// claimed ── any closing by an owner whose partition was taken over ──► unknown, answered Stale
/// claimed ── sending ──► claimed anew; until it is answered or its time has passed, also once it is unknown, answered Busy
/// unknown ── claim ──► claimed, answered Unknown
/// absent, but in another memory than the one that knows the order ── claim ──► claimed, answered Unknown
/// absent, claimed or unknown in another memory ── claim with another fingerprint ──► claimed, answered Unknown
/// claimed, unknown or settled ── claim with another fingerprint ──► unchanged, answered Conflict
/// ```
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Makes this epoch the owner of its partition, in this memory. Claims and closings of others are refused from now on.
    async fn own(&self, owner: &Owner) -> Result<(), Error>;

    /// Claims effects, in one round trip.
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<ClaimAnswer>, Error>;

    /// Something that is not refused when it comes twice is about to be sent under these claims, and may take so long to
    /// happen: each claim lasts so long from now. Until then nobody claims the effect, its owner neither, unless a closing
    /// says what became of it. No time at all says that it was answered, and that nothing of it can happen any more.
    ///
    /// Returns which claims are still held. Under one that is not, nothing may be sent: the effect is somebody else's, or
    /// what was remembered of it is lost. In one round trip.
    async fn sending(&self, claims: &[ClaimTicket], takes: Duration) -> Result<Vec<bool>, Error>;

    /// Closes claims, in one round trip. Closing one twice the same way is harmless.
    async fn close(&self, closings: &[(ClaimTicket, Closing)]) -> Result<Vec<Closed>, Error>;

    /// Notes orders as seen with their fingerprint, and says whether they were handed on before. In one round trip.
    async fn sight(&self, identities: &[Identity]) -> Result<Vec<Sighting>, Error>;

    /// Notes that orders were handed on durably. In one round trip.
    async fn handed_on(&self, identities: &[Identity]) -> Result<(), Error>;

    /// Takes back that orders were seen and handed on: they were given up, and may be sent again, corrected or not. In one
    /// round trip.
    async fn forget_sightings(&self, orders: &[OrderId]) -> Result<(), Error>;

    /// For each list of names of a customer, the Account id that was remembered under the first known one.
    async fn accounts(&self, names: &[Vec<String>]) -> Result<Vec<Option<String>>, Error>;

    /// Remembers an Account id under each of a customer's names.
    async fn remember_accounts(&self, entries: &[(Vec<String>, String)]) -> Result<(), Error>;

    /// Remembers whose Accounts are. Of an Account and a subscription the newest [`HOLDER_NAMES`] names are kept.
    async fn remember_holders(&self, holdings: &[Holding]) -> Result<(), Error>;

    /// For each Account, whether it is known to be that customer's by one of those subscriptions.
    async fn whose(&self, asked: &[Holding]) -> Result<Vec<Whose>, Error>;

    /// Forgets what is remembered under these names: the Account is gone.
    async fn forget_accounts(&self, names: &[String]) -> Result<(), Error>;

    /// Whether it answers.
    async fn ping(&self) -> Result<(), Error>;
}
