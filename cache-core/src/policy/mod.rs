//! How long entries live: TTLs, and the jitter that keeps them from ending together.

mod jitter;
mod ttl;

pub use self::{
    jitter::{InvalidJitter, Jitter},
    ttl::{InvalidTtl, Ttl},
};
