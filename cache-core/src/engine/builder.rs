//! Builds an engine.

use std::{sync::Arc, time::Duration};

use tokio::task::LocalSet;

use super::{
    BuildError, Config, Core, Engine, Names, OutagePolicy, handle::Inner, names::Overlaps,
};
use crate::{
    Backend, Recorder,
    actor::{Placement, Shards},
    observer::Observer,
};

/// Builds an [`Engine`].
///
/// Setters only record; [`build`](Self::build) checks everything.
///
/// | setting | default |
/// |---|---|
/// | [`load_timeout`](Self::load_timeout) | 30 s |
/// | [`lease_hold`](Self::lease_hold) | 3 s, renewed at each third |
/// | [`lease_wait`](Self::lease_wait) | 5 s |
/// | [`backend_deadline`](Self::backend_deadline) | 1 s |
/// | [`longest_ttl`](Self::longest_ttl) | 7 days |
/// | [`max_key_len`](Self::max_key_len) | 512 bytes |
/// | [`max_waiting`](Self::max_waiting) | 262,144 callers |
/// | [`outage`](Self::outage) | [`LoadThrough`](OutagePolicy::LoadThrough), 64 loads at once |
/// | [`max_queued_invalidations`](Self::max_queued_invalidations) | 1,000,000 keys |
/// | [`shards`](Self::shards) | 64, started when first needed, on min(cores, 4) threads |
/// | [`recorder`](Self::recorder) | none |
/// | [`compat`](Self::compat) | off: times are exact, and no prefix begins another |
///
/// And per cache, on [`CacheBuilder`](crate::CacheBuilder):
///
/// | setting | default |
/// |---|---|
/// | `ttl` | none: it must be given |
/// | `negative_ttl` | 60 s |
/// | `jitter` | 0.10, that is ±10 % |
/// | `prefix` | the cache's name and `:` |
/// | `codec` | [`Json`](crate::codec::Json) |
#[must_use = "a builder does nothing until `build` is called"]
#[derive(Debug)]
pub struct EngineBuilder {
    backend: Arc<dyn Backend>,
    config: Config,
    placement: Placement,
    recorder: Option<Arc<dyn Recorder>>,
}

impl EngineBuilder {
    pub(super) fn new(backend: impl Backend) -> Self {
        Self {
            backend: Arc::new(backend),
            config: Config::default(),
            placement: Placement::OwnThreads,
            recorder: None,
        }
    }

    /// Sets how long a load may take. Default: 30 seconds.
    ///
    /// When it passes, all who wait get [`LoadTimeout`](crate::ErrorKind::LoadTimeout) and the
    /// loader's future is dropped, if its runtime runs.
    pub fn load_timeout(mut self, timeout: Duration) -> Self {
        self.config.load_timeout = timeout;
        self
    }

    /// Sets for how long a load holds its key's lease before it renews it. Default: 3 seconds.
    ///
    /// It is renewed at each third of this time. If this process dies, others can load the key
    /// once the hold has run out.
    pub fn lease_hold(mut self, hold: Duration) -> Self {
        self.config.lease_hold = hold;
        self
    }

    /// Sets how long to wait for a lease that another holds. Default: 5 seconds.
    ///
    /// After that the load runs without a lease, and its answer is not stored. Must be more than
    /// the lease hold.
    pub fn lease_wait(mut self, wait: Duration) -> Self {
        self.config.lease_wait = wait;
        self
    }

    /// Sets how long to wait for any one answer of the backend. Default: 1 second.
    ///
    /// A backstop: a backend keeps shorter deadlines of its own.
    pub fn backend_deadline(mut self, deadline: Duration) -> Self {
        self.config.backend_deadline = deadline;
        self
    }

    /// Sets the longest time-to-live that a cache of this engine may use. Default: 7 days.
    pub fn longest_ttl(mut self, longest: Duration) -> Self {
        self.config.longest_ttl = longest;
        self
    }

    /// Sets the longest key text, prefix included. Default: 512 bytes.
    pub fn max_key_len(mut self, bytes: usize) -> Self {
        self.config.max_key_len = bytes;
        self
    }

    /// Sets how many callers may wait for loads at once. Default: 262,144.
    ///
    /// Further ones get [`Overloaded`](crate::ErrorKind::Overloaded) at once. A caller who leaves
    /// counts no more, unless it brought the loader that runs: then until the load ends. Calls
    /// from inside a load wait under the permit of the call they serve.
    pub fn max_waiting(mut self, callers: usize) -> Self {
        self.config.max_waiting = callers;
        self
    }

    /// Sets what a `get_or_load` does when the backend does not answer its read, or when the key is
    /// not read because its removal is [queued](crate::Invalidation::Queued). Default:
    /// [`OutagePolicy::LoadThrough`] with at most 64 loads at once.
    pub fn outage(mut self, policy: OutagePolicy) -> Self {
        self.config.outage = policy;
        self
    }

    /// Sets how many keys may be queued whose removal the backend has not confirmed. Default:
    /// 1,000,000.
    ///
    /// Their texts are kept in memory, each once. Beyond that the engine loses track of removals:
    /// it reads nothing from the backend for as long as what should have been removed can exist,
    /// which is the [longest TTL](Self::longest_ttl), the [load timeout](Self::load_timeout) and
    /// the [lease hold](Self::lease_hold) after the last one that was lost, or until [`Engine::clear`] succeeds.
    pub fn max_queued_invalidations(mut self, keys: usize) -> Self {
        self.config.max_queued_invalidations = keys;
        self
    }

    /// Sets the number of shards. Default: 64.
    pub fn shards(mut self, shards: usize) -> Self {
        self.config.shards = shards;
        self
    }

    /// Sets who is told about events. Default: nobody.
    pub fn recorder(mut self, recorder: impl Recorder) -> Self {
        self.recorder = Some(Arc::new(recorder));
        self
    }

    /// Makes concessions to programs of go-zero that share the store. Default: off.
    ///
    /// - A time-to-live is a whole number of seconds: after jitter it is rounded up, so that 1 ms
    ///   becomes 1 s. That holds for values and negative entries, for
    ///   [`put_with_ttl`](crate::Cache::put_with_ttl) and for a
    ///   [`Load`](crate::Load) with a time of its own. What would be longer than the
    ///   [longest TTL](Self::longest_ttl) is rounded down to whole seconds instead; that must be
    ///   a second at least.
    /// - The prefixes of two caches may be one, or one may begin the other, as `cache:user:id:` and
    ///   `cache:user:id:name:` do, or a cache of rows and one of primary keys: it is logged as a
    ///   warning. Two caches of different types under one key take each other's entries for
    ///   unreadable, remove them and load again.
    ///
    /// Besides, choose per cache the codec [`GoJson`](crate::codec::GoJson), the key prefix, and
    /// a jitter of 0.05.
    pub fn compat(mut self) -> Self {
        self.config.compat = true;
        self
    }

    /// Runs the shard actors on the current thread's actix system instead of on threads of the
    /// library's own. The system must outlive the engine.
    pub fn on_current_system(mut self) -> Self {
        self.placement = Placement::CurrentSystem;
        self
    }

    /// Runs the shard actors on `local` instead of on threads of the library's own, which is what
    /// a test on a paused clock needs. Everything but a hit is answered only while `local` is
    /// driven: misses, writes, invalidations, and a shutdown with its deadline.
    pub fn on_local_set(mut self, local: &LocalSet) -> Self {
        self.placement = Placement::on_local_set(local);
        self
    }

    /// Switches a rule of the protocol off, to see tests fail.
    #[cfg(feature = "testing")]
    pub fn mutant(mut self, mutant: crate::testing::Mutant) -> Self {
        self.config.rules.mutant = Some(mutant);
        self
    }

    /// Checks the settings and builds the engine.
    ///
    /// # Errors
    ///
    /// [`BuildError`], with the name of the setting and the remedy.
    pub fn build(self) -> Result<Engine, BuildError> {
        let Self {
            backend,
            config,
            placement,
            recorder,
        } = self;
        config.check()?;
        let threads = placement.threads()?;
        let observer = recorder.as_ref().map_or(Observer::Nobody, |recorder| {
            Observer::Engine(Arc::clone(recorder))
        });
        let overlaps = if config.compat {
            Overlaps::Logged
        } else {
            Overlaps::Refused
        };
        let core = Arc::new(Core::new(backend, config, observer));
        Ok(Engine {
            inner: Arc::new(Inner {
                shards: Shards::new(Arc::clone(&core), threads),
                core,
                names: Arc::new(Names::new(overlaps)),
                recorder,
            }),
        })
    }
}
