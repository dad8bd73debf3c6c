//! What the recorder is told about all nodes together: the breaker that is worst, and the guarantee
//! that is weakest.

use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use cache_core::{BreakerState, Event, Guarantee, Recorder};
use parking_lot::Mutex;

use crate::checkup::{Finding, weakness};

/// The state of all nodes, and who is told when it changes.
pub(crate) struct Health {
    recorder: Option<Arc<dyn Recorder>>,
    nodes: Mutex<Nodes>,
}

#[derive(Debug)]
struct Nodes {
    next: u64,
    states: HashMap<u64, State>,
    told: State,
}

/// The state of one node, or of all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct State {
    breaker: BreakerState,
    /// `None` before the first look.
    guarantee: Option<Guarantee>,
}

const UNKNOWN: State = State {
    breaker: BreakerState::Closed,
    guarantee: None,
};

/// One node, as it speaks for itself. When this is dropped the node counts no longer.
pub(crate) struct Voice {
    health: Arc<Health>,
    id: u64,
}

impl Health {
    pub(crate) fn new(recorder: Option<Arc<dyn Recorder>>) -> Arc<Self> {
        Arc::new(Self {
            recorder,
            nodes: Mutex::new(Nodes {
                next: 0,
                states: HashMap::new(),
                told: UNKNOWN,
            }),
        })
    }

    /// A node more.
    pub(crate) fn voice(self: &Arc<Self>) -> Voice {
        let mut nodes = self.nodes.lock();
        let id = nodes.next;
        nodes.next += 1;
        nodes.states.insert(id, UNKNOWN);
        Voice {
            health: Arc::clone(self),
            id,
        }
    }

    /// Changes the states of nodes. It is told under their lock, so that an older one is never told
    /// last.
    fn change(&self, change: impl FnOnce(&mut HashMap<u64, State>)) {
        let mut nodes = self.nodes.lock();
        change(&mut nodes.states);
        if nodes.states.is_empty() {
            // It ends; there is nothing to tell any more.
            return;
        }
        let now = together(&nodes.states);
        let before = std::mem::replace(&mut nodes.told, now);
        if now.breaker != before.breaker {
            self.tell(Event::Breaker(now.breaker));
        }
        if let Some(guarantee) = now.guarantee
            && now.guarantee != before.guarantee
        {
            self.tell(Event::Guarantee(guarantee));
        }
    }

    /// Tells the recorder, whose panics harm nobody here.
    fn tell(&self, event: Event) {
        if let Some(recorder) = &self.recorder {
            drop(catch_unwind(AssertUnwindSafe(|| recorder.record(event))));
        }
    }
}

/// The worst of all. While some were not looked at, what the others are is not all there is to it.
fn together(states: &HashMap<u64, State>) -> State {
    let breakers = states.values().map(|state| state.breaker);
    let seen = states.values().filter_map(|state| state.guarantee);
    let is_unseen = states.values().any(|state| state.guarantee.is_none());
    let weakest = seen.max_by_key(|guarantee| weakness(*guarantee));
    State {
        breaker: breakers
            .max_by_key(|breaker| severity(*breaker))
            .unwrap_or(BreakerState::Closed),
        guarantee: match weakest {
            Some(Guarantee::Strict) if is_unseen => Some(Finding::UNSEEN.allows),
            weakest => weakest,
        },
    }
}

fn severity(breaker: BreakerState) -> u8 {
    match breaker {
        BreakerState::Closed => 0,
        BreakerState::HalfOpen => 1,
        _ => 2,
    }
}

impl Voice {
    /// A number that no other node has.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn breaker(&self, breaker: BreakerState) {
        self.health.change(|states| {
            states.entry(self.id).or_insert(UNKNOWN).breaker = breaker;
        });
    }

    pub(crate) fn guarantee(&self, guarantee: Guarantee) {
        self.health.change(|states| {
            states.entry(self.id).or_insert(UNKNOWN).guarantee = Some(guarantee);
        });
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.health.change(|states| {
            states.remove(&self.id);
        });
    }
}

impl fmt::Debug for Voice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Voice")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use cache_core::CacheRecorder;

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Told(Arc<Mutex<Vec<Event>>>);

    impl Recorder for Told {
        fn cache(&self, _name: &str) -> Arc<dyn CacheRecorder> {
            unreachable!("there is no cache here")
        }

        fn record(&self, event: Event) {
            self.0.lock().push(event);
        }
    }

    impl Told {
        fn new_since_last(&self) -> Vec<Event> {
            std::mem::take(&mut self.0.lock())
        }
    }

    #[test]
    fn the_worst_breaker_is_told_when_it_changes() {
        let told = Told::default();
        let health = Health::new(Some(Arc::new(told.clone())));
        let (one, two) = (health.voice(), health.voice());
        one.breaker(BreakerState::Open);
        two.breaker(BreakerState::Open);
        assert_eq!(told.new_since_last(), [Event::Breaker(BreakerState::Open)]);
        one.breaker(BreakerState::Closed);
        assert_eq!(told.new_since_last(), [], "the other is still open");
        two.breaker(BreakerState::HalfOpen);
        drop(two);
        assert_eq!(
            told.new_since_last(),
            [
                Event::Breaker(BreakerState::HalfOpen),
                Event::Breaker(BreakerState::Closed),
            ]
        );
    }

    #[test]
    fn the_weakest_guarantee_is_told_when_it_changes() {
        let told = Told::default();
        let health = Health::new(Some(Arc::new(told.clone())));
        let (one, two) = (health.voice(), health.voice());
        one.guarantee(Guarantee::Strict);
        two.guarantee(Guarantee::Strict);
        two.guarantee(Guarantee::Unfenced);
        one.guarantee(Guarantee::StrictUntilFailover);
        drop(two);
        assert_eq!(
            told.new_since_last(),
            [
                // The other is not seen yet.
                Event::Guarantee(Guarantee::StrictUntilFailover),
                Event::Guarantee(Guarantee::Strict),
                Event::Guarantee(Guarantee::Unfenced),
                Event::Guarantee(Guarantee::StrictUntilFailover),
            ]
        );
    }
}
