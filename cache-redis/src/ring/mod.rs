//! Which server of a ring owns a key: consistent hashing with weights, byte for byte as go-zero
//! does it, so that programs of both kinds find the same key on the same server.
//!
//! # Model
//!
//! An entry of the configuration is a host and a weight. Its host is a text and nothing more: what
//! go-zero is given as `Host`, spaces and commas included, is what is hashed. An entry of weight `w`
//! has `w` points on a circle of 64 bits, at most 100: the hashes of its host followed by `0`, `1`
//! and so on. A key belongs to the entry whose point is the first at or behind the key's hash.
//!
//! # Invariants
//!
//! 1. The same entries in the same order give the same owners, in every process and in go-zero.
//! 2. A [`Ring`] has an owner for every key.
//! 3. To find one takes no lock, and no memory unless entries share the point that was found.

mod murmur3;
mod placement;
mod surprises;

pub(crate) use self::{placement::Ring, surprises::surprises};

#[cfg(test)]
mod movement;
#[cfg(test)]
mod tests;
