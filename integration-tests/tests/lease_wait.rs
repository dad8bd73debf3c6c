//! How soon one engine learns what another has loaded, and what the waiting costs the server.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod nodes;

use std::time::Duration;

use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use self::nodes::{Broken, Never, Node, calls, place::Place};

const ROUNDS: u64 = 60;

/// What the median is to be, and what fails the test.
const AIM: Duration = Duration::from_millis(10);
const CEILING: Duration = Duration::from_millis(100);

/// How many commands per second one who waits for a key may send.
const MOST_COMMANDS: f64 = 150.0;

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the times are worth knowing")]
async fn who_waits_for_a_lease_of_another_engine_is_answered_soon_and_asks_seldom() {
    let place = Place::server().await;
    let hold = Duration::from_secs(3);
    let loading = Node::new(&place, 1, Broken::default(), hold).await;
    let waiting = Node::new(&place, 2, Broken::default(), hold).await;
    loading.way.no_delay();
    waiting.way.no_delay();
    let mut rng = fastrand::Rng::with_seed(6);
    let (mut lags, mut commands, mut waited) = (Vec::new(), 0, Duration::ZERO);
    for key in 0..ROUNDS {
        let load = Duration::from_millis(rng.u64(50..=200));
        let (begins, begun) = oneshot::channel();
        let rows = loading.rows.clone();
        let leader = tokio::spawn(async move {
            let loader = async move || {
                begins.send(()).ok();
                sleep(load).await;
                Ok::<_, Never>(key)
            };
            rows.get_or_load(&key, loader).await.unwrap();
            // It is answered when the fill is.
            Instant::now()
        });
        begun.await.unwrap();
        let before = calls(place.server_of(key).await, "evalsha").await;
        let began = Instant::now();
        let loader = async || Err::<u64, _>(Never::other("one load is enough"));
        let row = waiting.rows.get_or_load(&key, loader).await.unwrap();
        let answered = Instant::now();
        assert_eq!(*row.unwrap(), key);
        let filled = leader.await.unwrap();
        lags.push(answered.saturating_duration_since(filled));
        waited += answered - began;
        // Without the fill.
        commands += calls(place.server_of(key).await, "evalsha").await - before - 1;
    }
    lags.sort();
    let median = lags[lags.len() / 2];
    let rate = f64::from(u32::try_from(commands).unwrap()) / waited.as_secs_f64();
    println!(
        "median {median:?} (aim {AIM:?}), p90 {:?}, most {:?}; {rate:.0} commands/s",
        lags[lags.len() * 9 / 10],
        lags.last()
    );
    assert!(median <= CEILING, "{median:?}: {lags:?}");
    assert!(rate <= MOST_COMMANDS, "{rate} commands per second");
    for node in [&loading, &waiting] {
        node.comes_to_rest().await;
    }
    place.no_lease_is_left().await;
}
