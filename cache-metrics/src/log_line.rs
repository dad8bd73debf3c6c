//! The line in the log, as go-zero writes it every minute.

use std::{collections::HashMap, mem, sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::info;

use crate::{CacheSnapshot, Snapshot, counters::CacheId};

/// What was told of each cache up to now, and when that was.
#[derive(Debug)]
pub(crate) struct Told {
    at: Instant,
    counts: HashMap<CacheId, Counts>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Counts {
    hit: u64,
    miss: u64,
    db_fails: u64,
}

/// One line about one cache.
#[derive(Debug)]
pub(crate) struct Line {
    cache: Arc<str>,
    qpm: u64,
    counts: Counts,
}

impl Told {
    /// Begins with what was counted up to now, of which nothing will be told.
    pub(crate) fn begin(snapshot: &Snapshot) -> Self {
        let counts = snapshot.caches.iter();
        Self {
            at: Instant::now(),
            counts: counts.map(|it| (it.id, Counts::of(it))).collect(),
        }
    }

    /// A line about each cache that was called since the last time.
    pub(crate) fn lines(&mut self, snapshot: &Snapshot) -> Vec<Line> {
        let now = Instant::now();
        let passed = now - self.at;
        self.at = now;
        let before = mem::take(&mut self.counts);
        let mut lines = Vec::new();
        for cache in &snapshot.caches {
            // Of a cache that began since then, even under the name of another, nothing was told.
            let before = before.get(&cache.id).copied().unwrap_or_default();
            let now = Counts::of(cache);
            let new = now.since(before);
            let is_quiet = new.total() == 0;
            self.counts
                .insert(cache.id, if is_quiet { before } else { now });
            if !is_quiet {
                lines.push(Line {
                    cache: Arc::clone(&cache.name),
                    qpm: per_minute(new.total(), passed),
                    counts: new,
                });
            }
        }
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

    fn since(self, before: Self) -> Self {
        Self {
            hit: self.hit.wrapping_sub(before.hit),
            miss: self.miss.wrapping_sub(before.miss),
            db_fails: self.db_fails.wrapping_sub(before.db_fails),
        }
    }
}

impl Line {
    #[expect(
        clippy::cast_precision_loss,
        reason = "one decimal of a percentage is no worse for the 2^53rd of something"
    )]
    pub(crate) fn log(&self, engine: Option<&str>) {
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
}
