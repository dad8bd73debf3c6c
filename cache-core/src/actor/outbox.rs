//! Removes keys from the store, and keeps trying where it does not confirm.

use std::{convert::Infallible, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, sleep, sleep_until},
};
use tracing::warn;

use crate::{
    BackendCall, Invalidation, Key,
    engine::{Busy, Chunk, Config, Core, Ticket},
};

/// The first and the longest pause between two attempts.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How often the store is asked for a sign of life while something is owed to it. Also the time
/// after a comeback that delivered nothing in which no other counts: of a store that is partly
/// out, one part seems to come back whenever another fails.
const PULSE: Duration = Duration::from_millis(500);

/// How many keys are delivered together at most.
const CHUNK: usize = 1_000;

/// Why the task that delivers makes an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Occasion {
    /// The engine is closed: it is the last.
    Closing,
    /// The store is back, or nothing is owed any more.
    Woken,
    /// The pause is over.
    Pause,
}

/// What became of an attempt to remove keys.
struct Attempt {
    /// For each key, whether the store confirmed.
    confirmed: Vec<bool>,
    /// Whether the store said anything.
    is_answered: bool,
}

/// Removes `keys`; those that are not confirmed are queued. Runs on a shard's thread.
pub(super) async fn remove(core: &Arc<Core>, keys: Vec<Key>) -> Invalidation {
    let invalidation = remove_once(core, keys).await;
    if invalidation == Invalidation::Queued
        && let Some(wakes) = core.outbox.start()
    {
        warn!("an invalidation could not be delivered and is queued");
        tokio::task::spawn_local(deliver(Arc::clone(core), wakes, core.busy()));
    }
    invalidation
}

/// Removes `keys`; notes which are owed, and leaves it at that: for where no thread is left to
/// make a second attempt.
pub(super) async fn remove_once(core: &Core, keys: Vec<Key>) -> Invalidation {
    let ticket = core.outbox.ticket();
    let Attempt { confirmed, .. } = attempt(core, &keys).await;
    // What was owed before is delivered by this one as well.
    core.outbox.settle(only(&keys, &confirmed, true), ticket);
    let failed: Vec<Key> = only(&keys, &confirmed, false).cloned().collect();
    if failed.is_empty() {
        return Invalidation::Done;
    }
    core.outbox
        .owe(failed, Instant::now() + oldest(&core.config));
    Invalidation::Queued
}

/// How long what was loaded before now can still exist, whoever loaded it: its load may have just
/// begun, its lease outlives the load by a hold at most, and then it is stored for its TTL.
///
/// Not the longest TTL that this engine has written: others on the same store may have written
/// longer ones.
fn oldest(config: &Config) -> Duration {
    config.load_timeout + config.lease_hold + config.longest_ttl
}

/// Those of `keys` that are confirmed, or that are not.
fn only<'a>(keys: &'a [Key], confirmed: &'a [bool], which: bool) -> impl Iterator<Item = &'a Key> {
    let keys = keys.iter().zip(confirmed);
    keys.filter_map(move |(key, confirmed)| (*confirmed == which).then_some(key))
}

/// Removes `keys`, once.
async fn attempt(core: &Core, keys: &[Key]) -> Attempt {
    let remove = async { core.backend.remove(keys).await };
    let answers = core
        .call_each(BackendCall::Remove, &core.observer, remove)
        .await;
    let mut answers = answers.unwrap_or_default().into_iter();
    let mut is_answered = false;
    let confirmed = keys.iter().map(|_| {
        let answer = answers.next();
        is_answered |= match &answer {
            Some(Ok(())) => true,
            Some(Err(error)) => !error.is_silence(),
            None => false,
        };
        answer.is_some_and(|answer| answer.is_ok())
    });
    Attempt {
        confirmed: confirmed.collect(),
        is_answered,
    }
}

/// Delivers what the outbox owes; ends when it owes nothing or the engine is closed.
async fn deliver(core: Arc<Core>, wakes: watch::Receiver<()>, _busy: Busy) {
    tokio::select! {
        () = attempts(&core, wakes) => {}
        never = pings(&core) => match never {},
    }
}

/// Asks the store for signs of life, so that its comeback is noticed even if nobody reads.
async fn pings(core: &Core) -> Infallible {
    loop {
        sleep(PULSE).await;
        if core.outbox.len() > 0 {
            let ping = core.backend.ping();
            let answer = core.call(BackendCall::Ping, &core.observer, ping).await;
            core.hear(&answer);
        }
    }
}

async fn attempts(core: &Core, mut wakes: watch::Receiver<()>) {
    let mut closed = core.outbox.closed();
    let mut pause = BACKOFF.0;
    let mut deaf = Duration::ZERO;
    let mut course = Course::FIRST;
    while core.outbox.goes_on() {
        let occasion = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => Occasion::Closing,
            () = woken(&mut wakes, deaf) => Occasion::Woken,
            () = over(core, pause) => Occasion::Pause,
        };
        if occasion == Occasion::Closing {
            last_round(core, course).await;
            return;
        }
        let Round {
            is_back,
            is_complete,
        } = round(core, &mut course).await;
        deaf = if occasion == Occasion::Woken && !is_back {
            PULSE
        } else {
            Duration::ZERO
        };
        // A comeback that came too early must not be used up by the round that it caused: the reads
        // go on being answered, and so no other follows.
        pause = if is_back || occasion == Occasion::Woken {
            BACKOFF.0
        } else if is_complete {
            (pause * 2).min(BACKOFF.1)
        } else {
            // The silence of one chunk says nothing of those that were not tried yet.
            pause
        };
    }
}

/// Waits until the store is back; what is heard while `deaf` counts afterwards.
async fn woken(wakes: &mut watch::Receiver<()>, deaf: Duration) {
    if !deaf.is_zero() {
        sleep(deaf).await;
    }
    wakes.changed().await.ok();
}

/// Waits until `pause` is over, or the time in which all keys are bypassed.
async fn over(core: &Core, pause: Duration) {
    let over = Instant::now() + pause;
    let all = core.outbox.bypasses_all_until();
    sleep_until(all.map_or(over, |all| all.min(over))).await;
}

/// How the task that delivers goes about it, from round to round.
struct Course {
    /// Where the next round starts.
    next: Ticket,
    /// How many keys are sent together: what was not answered may have been too much for one
    /// deadline.
    size: usize,
}

impl Course {
    const FIRST: Self = Self {
        next: Ticket::FIRST,
        size: CHUNK,
    };

    /// Takes note of whether a chunk was answered.
    fn learn(&mut self, is_answered: bool) {
        self.size = match self.size {
            size if is_answered => (size * 2).min(CHUNK),
            // Not one key was answered, so it was not the size; and where a part of the store is
            // out, that part is to be left behind soon.
            0 | 1 => CHUNK,
            size => size / 2,
        };
    }
}

/// What a round came to.
#[derive(Default)]
struct Round {
    /// Whether the store confirmed any removal.
    is_back: bool,
    /// Whether all that is owed has been tried since the course began anew.
    is_complete: bool,
}

/// Tries to deliver all that is owed now, up to the first chunk without an answer.
///
/// The next round starts behind that one: of a store that is partly out, one part must not keep
/// what is owed to the others.
async fn round(core: &Core, course: &mut Course) -> Round {
    let (start, end) = (course.next, core.outbox.ticket());
    let mut round = Round::default();
    for (mut from, end) in [(start, end), (Ticket::FIRST, start)] {
        while let Some(chunk) = core.outbox.chunk(from, end, course.size) {
            from = chunk.next;
            let attempt = deliver_chunk(core, &chunk).await;
            course.learn(attempt.is_answered);
            round.is_back |= attempt.confirmed.contains(&true);
            if !attempt.is_answered {
                let is_last = core.outbox.chunk(from, core.outbox.ticket(), 1).is_none();
                round.is_complete |= is_last;
                course.next = if is_last { Ticket::FIRST } else { from };
                return round;
            }
        }
        round.is_complete = true;
    }
    course.next = Ticket::FIRST;
    round
}

/// Tries all that is owed once more, and what is queued meanwhile. No other round follows, so
/// silence does not end it, but it takes no longer than a load may.
async fn last_round(core: &Core, mut course: Course) {
    let give_up = Instant::now() + core.config.load_timeout;
    let (mut from, mut end) = (Ticket::FIRST, core.outbox.ticket());
    loop {
        while Instant::now() < give_up
            && let Some(chunk) = core.outbox.chunk(from, end, course.size)
        {
            from = chunk.next;
            let attempt = deliver_chunk(core, &chunk).await;
            course.learn(attempt.is_answered);
        }
        if core.outbox.ends(end) {
            return;
        }
        (from, end) = (end, core.outbox.ticket());
    }
}

async fn deliver_chunk(core: &Core, chunk: &Chunk) -> Attempt {
    let attempt = attempt(core, &chunk.keys).await;
    let delivered = only(&chunk.keys, &attempt.confirmed, true);
    core.outbox.settle(delivered, chunk.ticket);
    // A store that is always ready must not keep the thread from everybody else.
    yield_now().await;
    attempt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_halves_a_chunk_down_to_one_key_and_answers_double_it() {
        let mut course = Course::FIRST;
        let mut sizes = |is_answered: bool, times: usize| {
            let size = |_| {
                course.learn(is_answered);
                course.size
            };
            (0..times).map(size).collect::<Vec<_>>()
        };
        assert_eq!(sizes(true, 1), [1000]);
        assert_eq!(sizes(false, 10), [500, 250, 125, 62, 31, 15, 7, 3, 1, 1000]);
        assert_eq!(sizes(false, 9), [500, 250, 125, 62, 31, 15, 7, 3, 1]);
        assert_eq!(sizes(true, 3), [2, 4, 8]);
        assert_eq!(sizes(true, 8), [16, 32, 64, 128, 256, 512, 1000, 1000]);
    }
}
