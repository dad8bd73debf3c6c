//! The line in the log, as go-zero writes it every minute.

use std::{collections::HashMap, ops::ControlFlow, sync::Arc, time::Duration};

use tracing::info;

use crate::{CacheSnapshot, Snapshot};

/// What logs a line about each cache whenever it is called, with the time since it was called
/// last, until there is no `snapshot` any more.
pub(crate) fn logger<F: Fn() -> Option<Snapshot>>(
    engine: Option<&str>,
    snapshot: F,
) -> impl FnMut(Duration) -> ControlFlow<()> + use<F> {
    let engine = engine.map(str::to_owned);
    let mut last = Last::default();
    move |passed| {
        let Some(snapshot) = snapshot() else {
            return ControlFlow::Break(());
        };
        for line in last.lines(&snapshot, passed) {
            line.log(engine.as_deref());
        }
        ControlFlow::Continue(())
    }
}

/// What the last line of each cache has told already.
#[derive(Debug, Default)]
struct Last(HashMap<Arc<str>, Counts>);

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Counts {
    hit: u64,
    miss: u64,
    db_fails: u64,
}

/// One line about one cache.
#[derive(Debug)]
struct Line {
    cache: Arc<str>,
    qpm: u64,
    counts: Counts,
}

impl Last {
    /// The lines about those that were called since the last time, which is so long ago.
    fn lines(&mut self, snapshot: &Snapshot, passed: Duration) -> Vec<Line> {
        let mut told = HashMap::with_capacity(snapshot.caches.len());
        let mut lines = Vec::new();
        for cache in &snapshot.caches {
            let now = Counts::of(cache);
            let before = self.0.get(&cache.name).copied().unwrap_or_default();
            let new = now.since(before);
            if new.total() == 0 {
                told.insert(Arc::clone(&cache.name), before);
                continue;
            }
            told.insert(Arc::clone(&cache.name), now);
            lines.push(Line {
                cache: Arc::clone(&cache.name),
                qpm: per_minute(new.total(), passed),
                counts: new,
            });
        }
        self.0 = told;
        lines
    }
}

impl Counts {
    fn of(cache: &CacheSnapshot) -> Self {
        Self {
            hit: cache.hit(),
            miss: cache.miss(),
            db_fails: cache.db_fails(),
        }
    }

    fn total(self) -> u64 {
        self.hit + self.miss
    }

    /// What came since `before`; all of it, if the cache began anew under its name.
    fn since(self, before: Self) -> Self {
        let is_later =
            self.hit >= before.hit && self.miss >= before.miss && self.db_fails >= before.db_fails;
        if !is_later {
            return self;
        }
        Self {
            hit: self.hit - before.hit,
            miss: self.miss - before.miss,
            db_fails: self.db_fails - before.db_fails,
        }
    }
}

impl Line {
    #[expect(
        clippy::cast_precision_loss,
        reason = "one decimal of a percentage is no worse for the 2^53rd of something"
    )]
    fn log(&self, engine: Option<&str>) {
        let Self { cache, qpm, counts } = self;
        let Counts {
            hit,
            miss,
            db_fails,
        } = *counts;
        let hit_ratio = 100.0 * hit as f64 / counts.total() as f64;
        info!(
            engine,
            cache = &**cache,
            qpm,
            hit_ratio,
            hit,
            miss,
            db_fails,
            "dbcache({cache}) - qpm: {qpm}, hit_ratio: {hit_ratio:.1}%, hit: {hit}, miss: {miss}, \
             db_fails: {db_fails}"
        );
    }
}

/// `count` in `passed`, per minute.
fn per_minute(count: u64, passed: Duration) -> u64 {
    let per_minute = u128::from(count) * Duration::from_secs(60).as_nanos();
    let nanos = passed.as_nanos().max(1);
    // To the nearest.
    u64::try_from((per_minute + nanos / 2) / nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_per_minute_do_not_depend_on_the_interval() {
        const MINUTE: Duration = Duration::from_secs(60);
        for (count, passed, qpm) in [
            (5_057, MINUTE, 5_057),
            (10, MINUTE / 6, 60),
            (1, MINUTE * 3, 0),
            (2, MINUTE * 3, 1),
            (1, Duration::ZERO, 60_000_000_000),
        ] {
            assert_eq!(per_minute(count, passed), qpm, "{count} in {passed:?}");
        }
    }

    #[test]
    fn a_cache_that_began_anew_counts_from_zero() {
        let (before, now) = (
            Counts {
                hit: 9,
                miss: 1,
                db_fails: 1,
            },
            Counts {
                hit: 2,
                miss: 1,
                db_fails: 0,
            },
        );
        assert_eq!(now.since(before), now);
        assert_eq!(before.since(before), Counts::default());
    }
}
