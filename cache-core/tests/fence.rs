//! An invalidation, a put or a clear at each await point of a load wins over it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "fence/scene.rs"]
mod scene;
mod support;

use std::{
    future::poll_fn,
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use cache_core::testing::Mutant;
use tokio::{
    task::{spawn_local, yield_now},
    time::{Instant, sleep, sleep_until},
};

use self::{
    scene::{After, Before, By, POINTS, Point, Process, Row, Scene, Seen, Write},
    support::{assert_empty, on_stage},
};

async fn met(point: Point, write: Write, by: By, mutant: Option<Mutant>) -> Seen {
    on_stage(async |stage| Scene::new(stage, mutant).meet(point, write, by).await).await
}

async fn wins_at_each_point(write: Write) {
    for point in POINTS {
        for by in [By::Same, By::Other] {
            let seen = met(point, write, by, None).await;
            assert!(
                !seen.something_old(),
                "{write:?} {point:?} {by:?}: {seen:?}"
            );
            assert!(seen.seen.len() >= 6, "everybody was answered");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_at_each_await_of_a_load_wins() {
    wins_at_each_point(Write::Invalidate).await;
}

#[tokio::test(start_paused = true)]
async fn a_put_at_each_await_of_a_load_wins() {
    wins_at_each_point(Write::Put).await;
}

#[tokio::test(start_paused = true)]
async fn a_clear_at_each_await_of_a_load_wins() {
    wins_at_each_point(Write::Clear).await;
}

/// The points can tell a broken rule: each has one at which the old value gets through.
#[tokio::test(start_paused = true)]
async fn without_a_rule_an_old_value_gets_through_at_its_point() {
    for (mutant, point, by) in [
        (Mutant::PlainSet, Point::Load, By::Same),
        (Mutant::PlainSet, Point::Fill(Before), By::Other),
        (Mutant::JoinReadInFlight, Point::AcquireHit(After), By::Same),
        (
            Mutant::JoinReadInFlight,
            Point::AcquireHit(After),
            By::Other,
        ),
        (Mutant::JoinAfterFill, Point::Fill(After), By::Other),
        (Mutant::ShareRefusedFill, Point::Load, By::Other),
        (Mutant::ShareRefusedFill, Point::Fill(Before), By::Other),
    ] {
        let seen = met(point, Write::Invalidate, by, Some(mutant)).await;
        assert!(
            seen.something_old(),
            "{mutant:?} {point:?} {by:?}: {seen:?}"
        );
    }
}

/// Lets every other task that is ready on the stage run once.
async fn step() {
    let mut stepped = false;
    poll_fn(|cx| {
        if stepped {
            return Poll::Ready(());
        }
        stepped = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What callers saw who came after a write `steps` steps into a load; `None` if the load had
/// ended by then.
async fn met_after(steps: usize, write: Write, by: By, mutant: Option<Mutant>) -> Option<Seen> {
    on_stage(async |stage| {
        stage.script.ask();
        let scene = Rc::new(Scene::new(stage, mutant));
        let (process, row) = (scene.loading.clone(), scene.row.clone());
        let loader = row.loader(async {
            yield_now().await;
            Ok::<_, io::Error>(())
        });
        let caller = spawn_local(async move { process.rows.get_or_load(&1, loader).await });

        let writer = Rc::clone(&scene);
        let seen = spawn_local(async move {
            for _ in 0..steps {
                step().await;
            }
            if caller.is_finished() {
                return None;
            }
            let version = writer.write(write, by).await;
            let mut seen = Vec::new();
            for process in [&writer.loading, &writer.other] {
                seen.extend(process.get().await);
                seen.push(process.load(writer.row.clone()).await.unwrap());
            }
            caller.await.unwrap().unwrap();
            seen.push(writer.loading.load(writer.row.clone()).await.unwrap());
            Some(Seen { version, seen })
        })
        .await
        .unwrap();
        for process in [&scene.loading, &scene.other] {
            assert_empty(&process.engine).await;
        }
        seen
    })
    .await
}

/// Lets a write meet a load after each step; how many there were, and at how many of them
/// something old was seen.
async fn met_after_each_step(write: Write, by: By, mutant: Option<Mutant>) -> (usize, usize) {
    let (mut steps, mut old) = (0, 0);
    while let Some(seen) = met_after(steps, write, by, mutant).await {
        steps += 1;
        old += usize::from(seen.something_old());
    }
    (steps, old)
}

#[tokio::test(start_paused = true)]
async fn a_write_after_each_step_of_the_scheduler_wins() {
    for write in [Write::Invalidate, Write::Put, Write::Clear] {
        for by in [By::Same, By::Other] {
            let (steps, old) = met_after_each_step(write, by, None).await;
            assert_eq!(old, 0, "{write:?} {by:?}");
            assert!(steps >= 20, "the load was met after {steps} steps only");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_rule_an_old_value_gets_through_after_some_step() {
    for (mutant, by) in [
        (Mutant::PlainSet, By::Same),
        (Mutant::PlainSet, By::Other),
        (Mutant::ShareRefusedFill, By::Other),
    ] {
        let (_, old) = met_after_each_step(Write::Invalidate, by, Some(mutant)).await;
        assert!(old > 0, "{mutant:?} {by:?}");
    }
}

const LOAD: Duration = Duration::from_secs(1);

/// An attempt to get the lease is repeated after 16 ms at most, and each of the invalidations,
/// which come more often, frees the lease.
const ACQUIRE: Duration = Duration::from_millis(24);

/// Counts the loads that run at once in each process.
#[derive(Clone, Debug, Default)]
struct Running {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Running {
    async fn load(self) -> Result<(), io::Error> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        sleep(LOAD).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Calls `process` every 5 ms for 4 s; the longest that anybody waited, and the most loads that
/// ran at once.
async fn callers(process: Process, row: Row, floor: Row) -> (Duration, usize) {
    let running = Running::default();
    let mut callers = Vec::new();
    let start = Instant::now();
    for n in 0..800 {
        sleep_until(start + n * Duration::from_millis(5)).await;
        let (process, loader) = (process.clone(), row.loader(running.clone().load()));
        let floor = floor.read();
        callers.push(spawn_local(async move {
            let called = Instant::now();
            let version = process.rows.get_or_load(&1, loader).await.unwrap().unwrap();
            assert!(*version >= floor, "{version} after {floor}");
            called.elapsed()
        }));
    }
    let mut longest = Duration::ZERO;
    for caller in callers {
        longest = longest.max(caller.await.unwrap());
    }
    (longest, running.most.load(Ordering::SeqCst))
}

/// Calls both engines while `by` invalidates every 3 ms; what [`callers`] says of each.
async fn storm(by: By) -> Vec<(Duration, usize)> {
    on_stage(async |stage| {
        let scene = Rc::new(Scene::new(stage, None));
        let floor = Row::new();
        let (writing, confirmed) = (Rc::clone(&scene), floor.clone());
        let invalidating = spawn_local(async move {
            loop {
                sleep(Duration::from_millis(3)).await;
                let version = writing.write(Write::Invalidate, by).await;
                confirmed.set(version);
            }
        });
        let processes = [&scene.loading, &scene.other];
        let calling = processes.map(|process| {
            let (row, floor) = (scene.row.clone(), floor.clone());
            spawn_local(callers(process.clone(), row, floor))
        });
        let mut measured = Vec::new();
        for calling in calling {
            measured.push(calling.await.unwrap());
        }
        invalidating.abort();
        for process in processes {
            assert_empty(&process.engine).await;
        }
        measured
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_invalidations_never_holds_a_caller_up_beyond_two_loads() {
    // Who invalidates knows that the load which runs is of no use to those who come later, and
    // starts another; who does not learns it when the fill is refused.
    for (by, at_once) in [(By::Same, [2, 1]), (By::Other, [1, 2])] {
        for ((longest, most), at_once) in storm(by).await.into_iter().zip(at_once) {
            assert!(longest <= 2 * LOAD + 2 * ACQUIRE, "{by:?}: {longest:?}");
            assert!(longest > LOAD + LOAD / 2, "the storm is one: {longest:?}");
            assert_eq!(most, at_once, "{by:?}: loads at once");
        }
    }
}
