//! When queued removals are delivered.

use std::time::Duration;

use cache_core::{BackendCall, ErrorKind, Event, Invalidation, Lookup, testing::Act};
use tokio::time::{Instant, sleep};

use crate::{
    PULSE, SECOND, Scene, Stage,
    support::{EVERY_CALL, Fault, assert_empty, on_stage, settle, user_key},
};

/// The first and the longest pause between two attempts.
const BACKOFF: (Duration, Duration) = (SECOND, Duration::from_secs(60));

impl Scene {
    fn out(&self, act: &Act) {
        for call in EVERY_CALL {
            self.stage.script.always(call, act.clone());
        }
    }

    fn removes(&self) -> usize {
        self.stage.script.calls(BackendCall::Remove)
    }

    async fn assert_delivered(&self, case: &str) {
        settle().await;
        assert!(!self.is_stored(1) && !self.is_stored(2), "{case}");
        assert_empty(&self.engine).await;
        assert_eq!(self.get(1).await, Ok(Lookup::Miss), "{case}");
        assert_eq!(self.load(1).await, Ok("new".to_owned()), "{case}");
        assert!(self.is_stored(1), "the cache is used again: {case}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_queued_removal_is_delivered_at_once_when_the_store_is_back() {
    for fault in Fault::all(SECOND)
        .into_iter()
        .filter(|fault| !fault.is_answered)
    {
        on_stage(async |stage| {
            let case = format!("{fault:?}");
            let scene = Scene::new(stage, |builder| builder).await;
            scene.out(&fault.act);
            scene.queue([1]).await;
            scene.queue([2]).await;
            sleep(Duration::from_secs(600)).await;
            assert_eq!(scene.owed().await, 2, "{case}");

            // The pause between two attempts is a minute by now; a ping may be on its way.
            scene.stage.script.reset();
            let back = Instant::now();
            while scene.owed().await > 0 {
                sleep(Duration::from_millis(1)).await;
            }
            let took = back.elapsed();
            assert!(took <= PULSE + SECOND, "nobody reads: {case}, {took:?}");
            scene.assert_delivered(&case).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_answered_again_delivers_at_once() {
    for call in [BackendCall::Get, BackendCall::GetMany, BackendCall::Acquire] {
        on_stage(async |stage| {
            let scene = Scene::new(stage, |builder| builder).await;
            scene.out(&Act::Fail);
            // No ping tells of the comeback, nor of the outage.
            let silent = Act::FailAs(ErrorKind::Rejected);
            scene.stage.script.always(BackendCall::Ping, silent.clone());
            scene.queue([1, 2]).await;
            sleep(Duration::from_secs(600)).await;
            if call != BackendCall::Acquire {
                scene.stage.script.ask();
            }
            // One more that is not answered, and then one that is, of keys that are not queued.
            for is_back in [false, true] {
                if is_back {
                    scene.stage.script.reset();
                    scene.stage.script.always(BackendCall::Ping, silent.clone());
                }
                if call == BackendCall::Get {
                    assert_eq!(scene.users.get(&3).await.is_ok(), is_back);
                } else if call == BackendCall::GetMany {
                    let answers = scene.users.get_many(&[3, 4]).await;
                    assert!(answers.iter().all(|answer| answer.is_ok() == is_back));
                } else {
                    assert_eq!(scene.load(3).await, Ok("new".to_owned()));
                }
            }
            settle().await;
            assert_eq!(scene.owed().await, 0, "{call:?}");
            scene.assert_delivered(&format!("{call:?}")).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_only_refuses_writes_is_asked_again_after_pauses_alone() {
    on_stage(async |stage| {
        let scene = Scene::queued(stage).await;
        scene.stage.script.ask();
        let began = Instant::now();
        // While the entries live.
        while began.elapsed() < Duration::from_secs(3000) {
            assert_eq!(scene.get(2).await, crate::old());
            assert_eq!(scene.get(1).await, Err(ErrorKind::Unavailable));
            sleep(SECOND).await;
        }
        // 1, 2, 4, 8, 16, 32, and then each minute.
        assert!((50..60).contains(&scene.removes()), "{}", scene.removes());
        scene.stage.script.reset();
        sleep(BACKOFF.1).await;
        settle().await;
        assert_eq!(scene.owed().await, 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_comeback_of_reads_alone_is_followed_by_short_pauses() {
    on_stage(async |stage| {
        let scene = Scene::new(stage, |builder| builder).await;
        scene.out(&Act::Fail);
        scene.queue([1, 2]).await;
        sleep(Duration::from_secs(600)).await;
        // Pings are answered, removals not yet.
        scene.stage.script.reset();
        scene.stage.script.always(BackendCall::Remove, Act::Fail);
        sleep(2 * PULSE).await;
        assert_eq!(scene.owed().await, 2);
        scene.stage.script.reset();
        sleep(2 * SECOND).await;
        scene.assert_delivered("soon").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_partly_out_is_not_asked_again_by_each_read() {
    on_stage(async |stage| {
        let scene = Scene::queued(stage).await;
        scene.stage.script.ask();
        let began = Instant::now();
        let mut reads = 0;
        while began.elapsed() < Duration::from_secs(60) {
            scene.stage.script.once(BackendCall::Get, Act::Fail);
            assert_eq!(scene.get(3).await, Err(ErrorKind::Unavailable));
            assert_eq!(scene.get(2).await, crate::old());
            sleep(Duration::from_millis(10)).await;
            reads += 1;
        }
        assert!(reads > 5000);
        let (most, removes) = (60 * 2 + 10, scene.removes());
        assert!(removes <= most, "twice a second at most: {removes}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_queued_many_times_is_owed_and_delivered_once() {
    on_stage(async |stage| {
        let scene = Scene::queued(stage).await;
        for _ in 0..10 {
            scene.queue([1, 1, 2]).await;
        }
        assert_eq!(scene.owed().await, 2);
        scene.stage.script.reset();
        let before = scene.removes();
        sleep(SECOND).await;
        scene.assert_delivered("once").await;
        assert_eq!(scene.removes(), before + 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn many_keys_are_delivered_in_parts_and_an_attempt_ends_at_the_first_without_an_answer() {
    on_stage(async |stage| {
        let scene = Scene::new(stage, |builder| builder).await;
        scene.stage.script.always(BackendCall::Remove, Act::Hang);
        let keys = (1..=2500).map(|key| scene.users.key(&key));
        assert_eq!(scene.engine.invalidate(keys).await, Invalidation::Queued);
        assert_eq!(scene.owed().await, 2500);
        let before = scene.removes();
        // One attempt, after a second; the next comes a second after it was given up.
        sleep(3 * SECOND - SECOND / 2).await;
        assert_eq!(scene.removes(), before + 1);

        scene.stage.script.reset();
        sleep(2 * SECOND).await;
        scene.assert_delivered("in parts").await;
        assert_eq!(scene.removes(), before + 1 + 3, "a thousand at a time");
        let told = |event: &Event| matches!(event, Event::QueuedInvalidations(_));
        assert_eq!(scene.events.count(told), 1 + 3);
        // Half as many at first, and the thousand that were not answered come last.
        for left in [2500, 2000, 1000, 0] {
            assert_eq!(scene.events.of(Event::QueuedInvalidations(left)), 1);
        }
    })
    .await;
}

/// A scene in which the removals of keys 11 and up, which are in a part of the store that is out,
/// are queued, and after them those of keys 1 and 2, which are not.
async fn partly_out(stage: Stage, lost: u64) -> Scene {
    let scene = Scene::new(stage, |builder| builder).await;
    scene.out(&Act::Fail);
    let keys = (11..11 + lost).map(|key| scene.users.key(&key));
    assert_eq!(scene.engine.invalidate(keys).await, Invalidation::Queued);
    scene.queue([1, 2]).await;
    scene.stage.script.reset();
    let healthy = [user_key(1), user_key(2)];
    let is_lost = move |key: &[u8]| healthy.iter().all(|healthy| healthy.as_bytes() != key);
    scene.stage.script.lose(is_lost);
    scene
}

#[tokio::test(start_paused = true)]
async fn a_part_of_the_store_that_is_out_does_not_keep_what_is_owed_to_the_others() {
    for lost in [1000, 3000] {
        on_stage(async |stage| {
            let scene = partly_out(stage, lost).await;
            sleep(Duration::from_secs(60)).await;
            assert_eq!(scene.owed().await as u64, lost);
            assert_eq!(scene.get(1).await, Ok(Lookup::Miss));
            assert!(!scene.is_stored(1) && !scene.is_stored(2));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_round_goes_on_past_a_part_of_the_store_that_is_out() {
    on_stage(async |stage| {
        let scene = partly_out(stage, 3000).await;
        let report = scene.engine.shutdown(10 * SECOND).await;
        assert_eq!((report.still_running, report.undelivered), (0, 3000));
        assert!(!scene.is_stored(1) && !scene.is_stored(2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn removals_that_are_rejected_end_no_round_and_stay_owed() {
    on_stage(async |stage| {
        let scene = Scene::new(stage, |builder| builder).await;
        let rejected = Act::FailAs(ErrorKind::Rejected);
        scene.stage.script.always(BackendCall::Remove, rejected);
        let keys = (1..=2500).map(|key| scene.users.key(&key));
        assert_eq!(scene.engine.invalidate(keys).await, Invalidation::Queued);
        // After 1 s, and 2 s later.
        for (pause, rounds) in [(SECOND, 1), (2 * SECOND, 2)] {
            sleep(pause).await;
            settle().await;
            assert_eq!(scene.removes(), 1 + 3 * rounds, "the store answers");
        }
        assert_eq!(scene.owed().await, 2500);
        assert_eq!(scene.get(1).await, Err(ErrorKind::Unavailable));
        scene.stage.script.reset();
        sleep(4 * SECOND).await;
        scene.assert_delivered("rejected before").await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_too_much_for_one_deadline_is_delivered_in_smaller_parts() {
    for most in [300, 1] {
        on_stage(async |stage| {
            let scene = Scene::new(stage, |builder| builder).await;
            scene.stage.script.overtax(most);
            let keys = (1..=1200).map(|key| scene.users.key(&key));
            assert_eq!(scene.engine.invalidate(keys).await, Invalidation::Queued);
            let began = Instant::now();
            let limit = Duration::from_secs(if most == 1 { 24 * 3600 } else { 120 });
            while scene.owed().await > 0 {
                sleep(SECOND).await;
                assert!(began.elapsed() < limit, "{most}: {}", scene.owed().await);
            }
            scene.assert_delivered(&format!("{most}")).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_while_an_attempt_is_on_its_way_is_not_settled_by_it() {
    on_stage(async |stage| {
        let scene = Scene::queued(stage).await;
        // Answered long after it took effect.
        let late = Act::AnswerLate(SECOND / 2);
        scene.stage.script.once(BackendCall::Remove, late);
        sleep(SECOND + SECOND / 4).await;
        assert!(!scene.is_stored(1));
        scene.stage.script.once(BackendCall::Remove, Act::Fail);
        scene.queue([1]).await;
        sleep(SECOND / 2).await;
        assert_eq!(scene.owed().await, 1, "the later one is still owed");
        sleep(2 * SECOND).await;
        assert_empty(&scene.engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_is_owed_until_nothing_older_can_exist() {
    on_stage(async |stage| {
        let longest = Duration::from_secs(3600);
        let scene = Scene::new(stage, |builder| builder.longest_ttl(longest)).await;
        scene.stage.script.always(BackendCall::Remove, Act::Fail);
        scene.queue([1]).await;
        // A load that had just begun, its lease, and the TTL of what it stored.
        let oldest = Duration::from_secs(30 + 3) + longest;
        sleep(oldest - Duration::from_millis(1)).await;
        assert_eq!(scene.get(1).await, Err(ErrorKind::Unavailable));
        sleep(Duration::from_millis(1)).await;
        assert_eq!(scene.get(1).await, Ok(Lookup::Miss), "to the moment");
        sleep(BACKOFF.1).await;
        assert_empty(&scene.engine).await;
        assert_eq!(scene.events.of(Event::QueuedInvalidations(0)), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_store_is_asked_for_a_sign_of_life_only_while_something_is_owed() {
    on_stage(async |stage| {
        let scene = Scene::queued(stage).await;
        let pings = |scene: &Scene| scene.stage.script.calls(BackendCall::Ping);
        sleep(10 * SECOND + PULSE / 2).await;
        assert_eq!(pings(&scene), 20, "twice a second");
        scene.stage.script.reset();
        assert_eq!(scene.users.invalidate(&1).await, Invalidation::Done);
        sleep(60 * SECOND).await;
        assert_eq!(pings(&scene), 20);
        assert_empty(&scene.engine).await;
    })
    .await;
}
