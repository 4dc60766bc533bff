//! When an armed fault goes off, and the requests that one holds.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::refusals::{self, RowTrouble};
use super::{ArmedFault, Fault, FaultKind, Level};
use crate::api_error::ApiError;
use crate::events::Fate;
use crate::ids::RecordId;
use crate::org::guard;
use crate::settings::Settings;
use crate::transaction::Target;

/// More armed faults than any script needs; arming one more is refused.
const MOST_ARMED: usize = 1_000;

/// The armed faults of one org.
#[derive(Debug)]
pub(crate) struct Faults {
    any: AtomicBool,
    armed: Mutex<Armed>,
    /// Requests held right now, for those who wait for one to arrive.
    held: watch::Sender<u64>,
    seed: u64,
}

#[derive(Debug)]
struct Armed {
    list: Vec<Entry>,
    rng: StdRng,
    last: u64,
}

#[derive(Debug)]
struct Entry {
    fault: ArmedFault,
    let_go: CancellationToken,
}

/// A fault that went off.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    pub(crate) kind: FaultKind,
    id: u64,
    /// Ends what this fault holds.
    pub(crate) let_go: CancellationToken,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        let armed = Armed { list: Vec::new(), rng: StdRng::seed_from_u64(seed), last: 0 };
        Self { any: AtomicBool::new(false), armed: Mutex::new(armed), held: watch::channel(0).0, seed }
    }

    /// Arms a fault and returns its id.
    pub(crate) fn arm(&self, fault: Fault) -> Result<u64, String> {
        fault.check()?;
        let mut armed = guard(&self.armed);
        if armed.list.len() >= MOST_ARMED {
            armed.list.retain(|entry| !entry.fault.is_spent() || entry.fault.held > 0);
        }
        if armed.list.len() >= MOST_ARMED {
            return Err(format!("{MOST_ARMED} faults are armed already; disarm some"));
        }
        armed.last += 1;
        let fault = ArmedFault { id: armed.last, fault, matched: 0, applied: 0, held: 0 };
        let id = fault.id;
        armed.list.push(Entry { fault, let_go: CancellationToken::new() });
        self.any.store(true, Ordering::Release);
        Ok(id)
    }

    /// Disarms all faults and lets go what they hold; the seed starts over.
    pub(crate) fn clear(&self) {
        let mut armed = guard(&self.armed);
        for entry in armed.list.drain(..) {
            entry.let_go.cancel();
        }
        armed.rng = StdRng::seed_from_u64(self.seed);
        self.any.store(false, Ordering::Release);
    }

    /// Disarms one fault and lets go what it holds; `false` when none has this id.
    pub(crate) fn disarm(&self, id: u64) -> bool {
        let mut armed = guard(&self.armed);
        let Some(at) = armed.list.iter().position(|entry| entry.fault.id == id) else { return false };
        armed.list.remove(at).let_go.cancel();
        self.any.store(!armed.list.is_empty(), Ordering::Release);
        true
    }

    /// Lets go all that is held. The faults stay armed and hold the next match.
    pub(crate) fn release(&self) -> u64 {
        let mut armed = guard(&self.armed);
        let mut released = 0;
        for entry in &mut armed.list {
            released += entry.fault.held;
            std::mem::take(&mut entry.let_go).cancel();
        }
        released
    }

    pub(crate) fn list(&self) -> Vec<ArmedFault> {
        guard(&self.armed).list.iter().map(|entry| entry.fault.clone()).collect()
    }

    /// How many requests are held, now and from now on.
    pub(crate) fn held(&self) -> watch::Receiver<u64> {
        self.held.subscribe()
    }

    /// The first fault that goes off for this request.
    pub(crate) fn request(&self, method: &str, path: &str, body: &[u8]) -> Option<Trouble> {
        self.first(Level::Request, |fault, _| {
            let path_fits = match &fault.path {
                Some(part) => path.contains(part.as_str()),
                None => path.starts_with("/services/data"),
            };
            let names = |text: &str| path.contains(text) || contains(body, text.as_bytes());
            path_fits
                && fault.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
                && fault.object.as_deref().is_none_or(names)
                && fault.containing.as_deref().is_none_or(names)
        })
    }

    /// Whether a fault halts this graph of a composite graph.
    ///
    /// `text` is the graph as text: its id, and the URLs and bodies of its nodes.
    pub(crate) fn halts_graph(&self, path: &str, text: impl Fn() -> String) -> bool {
        let trouble = self.first(Level::Graph, |fault, _| {
            let wanted: Vec<&str> =
                [&fault.object, &fault.containing].into_iter().flatten().map(String::as_str).collect();
            let names_all = || {
                let text = text();
                wanted.iter().all(|wanted| text.contains(wanted))
            };
            fault.path.as_deref().is_none_or(|part| path.contains(part)) && (wanted.is_empty() || names_all())
        });
        trouble.is_some_and(|trouble| trouble.kind == FaultKind::HaltGraph)
    }

    /// The first row fault that goes off for this row.
    pub(crate) fn row(
        &self,
        object: &str,
        path: &str,
        body: &Map<String, Value>,
        target: &Target,
        settings: &Settings,
    ) -> Option<RowTrouble> {
        let event = object.ends_with("__e");
        let trouble = self.first_of_row(Level::Row, object, path, body, target, |kind| {
            event || *kind != FaultKind::EventUnavailable
        })?;
        refusals::row(trouble.kind, target, settings)
    }

    /// The refusal of the first row fault that goes off for the deletion of this row; storage and external ids do not
    /// concern it.
    pub(crate) fn delete(&self, object: &str, path: &str, id: RecordId, settings: &Settings) -> Option<ApiError> {
        let target = Target::Id(id);
        let trouble = self.first_of_row(Level::Row, object, path, &Map::new(), &target, |kind| {
            !matches!(kind, FaultKind::EventUnavailable | FaultKind::StorageLimit | FaultKind::MultipleChoices)
        })?;
        match refusals::row(trouble.kind, &target, settings) {
            Some(RowTrouble::Refuse(error)) => Some(error),
            Some(RowTrouble::Several(_)) | None => None,
        }
    }

    /// What becomes of an accepted event.
    pub(crate) fn event(&self, object: &str, path: &str, body: &Map<String, Value>) -> Fate {
        let trouble = self.first_of_row(Level::Event, object, path, body, &Target::New, |_| true);
        match trouble.map(|trouble| trouble.kind) {
            Some(FaultKind::EventTwice) => Fate::Twice,
            Some(FaultKind::EventLost) => Fate::Lost,
            Some(_) | None => Fate::Once,
        }
    }

    fn first_of_row(
        &self,
        level: Level,
        object: &str,
        path: &str,
        body: &Map<String, Value>,
        target: &Target,
        of_kind: impl Fn(&FaultKind) -> bool,
    ) -> Option<Trouble> {
        let mut text = None;
        self.first(level, |fault, kind| {
            if !of_kind(kind)
                || fault.path.as_deref().is_some_and(|part| !path.contains(part))
                || fault.object.as_deref().is_some_and(|name| !name.eq_ignore_ascii_case(object))
            {
                return false;
            }
            fault.containing.as_deref().is_none_or(|wanted| {
                let text = text.get_or_insert_with(|| {
                    let row = serde_json::to_string(body).unwrap_or_default();
                    match target {
                        Target::ExternalId { value, .. } => format!("{value} {row}"),
                        Target::Id(id) => format!("{id} {row}"),
                        Target::New => row,
                    }
                });
                text.contains(wanted)
            })
        })
    }

    /// Counts a request as held until the answer's value is dropped.
    pub(crate) fn hold(&self, trouble: &Trouble) -> Held<'_> {
        self.count_held(trouble.id, true);
        Held { faults: self, id: trouble.id }
    }

    fn count_held(&self, id: u64, more: bool) {
        let step = |count: &mut u64| *count = if more { count.saturating_add(1) } else { count.saturating_sub(1) };
        if let Some(entry) = guard(&self.armed).list.iter_mut().find(|entry| entry.fault.id == id) {
            step(&mut entry.fault.held);
        }
        self.held.send_modify(step);
    }

    fn first(&self, level: Level, mut fits: impl FnMut(&Fault, &FaultKind) -> bool) -> Option<Trouble> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut armed = guard(&self.armed);
        let Armed { list, rng, .. } = &mut *armed;
        for Entry { fault: armed, let_go } in list {
            if armed.is_spent() || !matches!(armed.next_kind().level(), found if found == level || found == Level::Any)
            {
                continue;
            }
            if !fits(&armed.fault, armed.next_kind()) {
                continue;
            }
            armed.matched += 1;
            if armed.fault.nth.is_some_and(|nth| armed.matched < nth) {
                continue;
            }
            if armed.fault.probability.is_some_and(|chance| !rng.random_bool(chance.clamp(0.0, 1.0))) {
                continue;
            }
            let kind = armed.next_kind().clone();
            armed.applied += 1;
            return (kind != FaultKind::Pass).then(|| Trouble { kind, id: armed.id, let_go: let_go.clone() });
        }
        None
    }
}

/// A request that a fault holds.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    faults: &'a Faults,
    id: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.faults.count_held(self.id, false);
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}
