//! How long entries live: TTLs, and the jitter that keeps them from ending together.

mod jitter;
#[cfg(feature = "actor")]
mod lifetimes;
mod ttl;

#[cfg(feature = "actor")]
pub use self::lifetimes::Policy;
#[cfg(feature = "actor")]
pub(crate) use self::lifetimes::{Kind, Lifetime};

pub use self::{
    jitter::{InvalidJitter, Jitter},
    ttl::{InvalidTtl, Ttl},
};
