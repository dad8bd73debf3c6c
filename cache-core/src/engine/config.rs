//! The settings of an engine, checked.

use std::time::Duration;

use super::{BuildError, OutagePolicy};
use crate::flight::Rules;

/// The longest of any duration, so that a moment and a few of them can always be added up.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The settings of an engine.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) load_timeout: Duration,
    pub(crate) lease_hold: Duration,
    pub(crate) lease_wait: Duration,
    pub(crate) backend_deadline: Duration,
    pub(crate) longest_ttl: Duration,
    pub(crate) max_key_len: usize,
    pub(crate) max_waiting: usize,
    pub(crate) shards: usize,
    pub(crate) outage: OutagePolicy,
    pub(crate) max_queued_invalidations: usize,
    /// Whether other programs that share the store are of go-zero.
    pub(crate) compat: bool,
    pub(crate) rules: Rules,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            load_timeout: Duration::from_secs(30),
            lease_hold: Duration::from_secs(3),
            lease_wait: Duration::from_secs(5),
            backend_deadline: Duration::from_secs(1),
            longest_ttl: Duration::from_secs(7 * 24 * 3600),
            max_key_len: 512,
            max_waiting: 262_144,
            shards: 64,
            outage: OutagePolicy::default(),
            max_queued_invalidations: 1_000_000,
            compat: false,
            rules: Rules::default(),
        }
    }
}

impl Config {
    pub(super) fn check(&self) -> Result<(), BuildError> {
        for (setting, is_zero) in [
            ("load_timeout", self.load_timeout.is_zero()),
            ("lease_hold", self.lease_hold.is_zero()),
            ("backend_deadline", self.backend_deadline.is_zero()),
            ("longest_ttl", self.longest_ttl.is_zero()),
            ("max_key_len", self.max_key_len == 0),
            ("max_waiting", self.max_waiting == 0),
            ("shards", self.shards == 0),
            (
                "max_queued_invalidations",
                self.max_queued_invalidations == 0,
            ),
        ] {
            if is_zero {
                return Err(BuildError::Zero { setting });
            }
        }
        if self.outage == (OutagePolicy::LoadThrough { max_concurrent: 0 }) {
            return Err(BuildError::NoOutageLoads);
        }
        for (setting, duration) in [
            ("load_timeout", self.load_timeout),
            ("lease_hold", self.lease_hold),
            ("lease_wait", self.lease_wait),
            ("backend_deadline", self.backend_deadline),
            ("longest_ttl", self.longest_ttl),
        ] {
            if duration > LONGEST {
                return Err(BuildError::TooLong { setting });
            }
        }
        if self.compat && self.longest_ttl < Duration::from_secs(1) {
            return Err(BuildError::NoWholeSecond);
        }
        if self.lease_wait <= self.lease_hold {
            return Err(BuildError::LeaseWaitTooShort);
        }
        Ok(())
    }
}
