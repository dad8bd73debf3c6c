//! The typed front: what a service calls.
//!
//! The way of a read: [`handle`] writes the key's text on the stack and peeks into the store; a
//! hit is answered there and then. A miss becomes a [`call`], which takes a seat in
//! the key's flight: see [`crate::flight`], then [`crate::actor`].

mod builder;
mod call;
mod coding;
mod handle;
mod lookup;
mod span;
mod values;
mod writes;

pub use self::{
    builder::CacheBuilder,
    handle::Cache,
    lookup::{Lookup, Put},
};
