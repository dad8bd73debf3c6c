//! The steps of the fence, each a script that the server runs as a whole.
//!
//! A value's key `K` holds the payload or `*` and nothing else, so that a hit is a plain `GET`.
//! The lease's key `L` holds the token of whoever may fill `K`, or does not exist. The invariants
//! that all of them together keep:
//!
//! 1. `L` holds a token only from the grant of that very token on.
//! 2. Whatever removes or writes `K` ends the lease, that is deletes or replaces `L`, in the same
//!    step. The plain removal is `DEL K L`, one command.
//! 3. So a token that is still in `L` proves that nothing happened to `K` since it was granted.
//!
//! All time is the server's. Each script touches keys of one slot only.

use std::sync::LazyLock;

use redis::Script;

/// One step: its source, and the digest that the server knows it by once it has run it.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) source: &'static str,
    pub(crate) digest: String,
}

impl Step {
    fn new(source: &'static str) -> Self {
        Self {
            source,
            digest: Script::new(source).get_hash().to_owned(),
        }
    }
}

/// Hits, or grants the lease, or says for how many milliseconds it is held.
///
/// Keys: `K`, `L`. Arguments: the token, the hold in ms. Invariant 1: `NX` leaves another's token
/// alone. An entry of another type is there, but nobody can read it: it is answered as an empty
/// payload, which no codec writes. It writes last, so a hit is answered also when memory is full.
pub(crate) static ACQUIRE: LazyLock<Step> = LazyLock::new(|| {
    Step::new(
        "local v = redis.pcall('GET', KEYS[1])
if type(v) == 'table' then
  if string.find(v.err, 'WRONGTYPE', 1, true) then return {1, ''} end
  return v
end
if v then return {1, v} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {2} end
return {3, redis.call('PTTL', KEYS[2])}",
    )
});

/// Removes the value and takes the lease from whoever has it.
///
/// Keys: `K`, `L`. Arguments: the token, the hold in ms. Invariant 2. It removes first: a
/// script that has written is not stopped by a memory that is full, and a `SET` first would be.
pub(crate) static SEIZE: LazyLock<Step> = LazyLock::new(|| {
    Step::new(
        "redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1",
    )
});

/// Stores the payload and ends the lease, if the token is still there: the fence itself.
///
/// Keys: `K`, `L`. Arguments: the token, the payload, the TTL in ms. Invariant 3 is what it checks
/// and invariant 2 what it keeps; a second fill under the same token finds nothing.
pub(crate) static FILL: LazyLock<Step> = LazyLock::new(|| {
    Step::new(
        "if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1",
    )
});

/// [`FILL`] without the fence, for [`Mutant::UncheckedFill`](crate::Mutant::UncheckedFill).
#[cfg(feature = "testing")]
pub(crate) static UNCHECKED_FILL: LazyLock<Step> = LazyLock::new(|| {
    Step::new(
        "redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1",
    )
});

/// Keeps the lease for the hold from now, if the token is still there.
///
/// Keys: `L`. Arguments: the token, the hold in ms. Invariant 1: it revives nothing.
pub(crate) static EXTEND: LazyLock<Step> = LazyLock::new(|| {
    Step::new(
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])",
    )
});

/// Ends the lease, if the token is still there: a late one ends no successor's.
///
/// Keys: `L`. Arguments: the token.
pub(crate) static RELEASE: LazyLock<Step> = LazyLock::new(|| {
    Step::new(
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])",
    )
});

/// Does nothing, to find out whether scripts may run at all.
pub(crate) static NOTHING: LazyLock<Step> = LazyLock::new(|| Step::new("return 1"));
