//! One Redis node for one test.
//!
//! [`Builder`] says what the test wants, `find` where it comes from, `command` how it is called;
//! `docker`, `process` and `external` are the three ways, and [`Server`] is what the test holds.

mod builder;
mod command;
mod docker;
mod external;
mod find;
mod handle;
mod node;
mod port;
mod process;
mod replica;
pub(crate) mod sweep;

pub use self::{builder::Builder, find::Way, handle::Server};
pub(crate) use self::{builder::Network, find::on_the_path, handle::expect, port::Port};
