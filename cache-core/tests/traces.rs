//! What the log and a trace show: spans, and lines about a store in trouble.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "traces/calls.rs"]
mod calls;
#[path = "traces/listener.rs"]
mod listener;
#[path = "traces/loaders.rs"]
mod loaders;
#[path = "traces/quiet.rs"]
mod quiet;
mod support;
#[path = "traces/trouble.rs"]
mod trouble;

use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
