//! Drops users' things off the actors' threads.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::Entry;

/// Something to drop, and the runtime it came from, if any: its `Drop` may want to spawn.
type Garbage = (Option<Handle>, Box<dyn Any + Send>);

/// The thread that drops; started when there is first something to drop.
static BIN: Mutex<Option<Sender<Garbage>>> = Mutex::new(None);

/// Drops `garbage`, which came from `runtime`, on a thread of its own.
///
/// Loaders, values and errors are the user's: their `Drop` may take its time, or panic. Their
/// runtime would be the place for it, but one that was dropped drops in place whatever is spawned
/// on it, and one that nobody drives never does.
pub(super) fn discard(runtime: Option<Handle>, garbage: impl Any + Send) {
    let garbage: Garbage = (runtime, Box::new(garbage));
    match bin() {
        // The thread never ends, so nothing comes back.
        Some(bin) => drop(bin.send(garbage)),
        None => empty(garbage),
    }
}

/// Drops what was stored, on the thread of its own if it may be the last of a value.
pub(super) fn discard_entry(runtime: Option<Handle>, entry: Option<Entry>) {
    let Some(Entry::Decoded { value, .. }) = entry else {
        return;
    };
    if Arc::strong_count(&value) == 1 {
        discard(runtime, value);
    } else {
        // Others have it. If they drop it in this very moment, this is the last after all.
        empty((runtime, Box::new(value)));
    }
}

fn bin() -> Option<Sender<Garbage>> {
    let mut bin = BIN.lock();
    if bin.is_none() {
        *bin = start();
    }
    bin.clone()
}

fn start() -> Option<Sender<Garbage>> {
    let (sender, garbage): (_, Receiver<Garbage>) = channel();
    thread::Builder::new()
        .name("cache-discard".to_owned())
        .spawn(move || garbage.into_iter().for_each(empty))
        .ok()?;
    Some(sender)
}

fn empty((runtime, garbage): Garbage) {
    let _entered = runtime.as_ref().map(Handle::enter);
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(garbage))) {
        // The panic hook has reported it, and its payload may throw in turn when it is dropped.
        #[expect(clippy::mem_forget, reason = "this thread is to outlive every drop")]
        mem::forget(payload);
    }
}
