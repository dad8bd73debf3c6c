//! A real Prometheus for one test, and `promtool`.
//!
//! `find` looks for the programs, `process` runs one, `http` asks it; [`Prometheus`] is what the test
//! holds, and [`promtool()`] checks files without any server.

mod find;
mod handle;
mod http;
mod process;
mod promtool;

pub use self::{
    handle::{Prometheus, Sample},
    promtool::{Verdict, promtool},
};
