//! What those who are moved out of an outage flight know, and for how long.

use std::time::Duration;

use cache_core::{BackendCall, Lookup, OutagePolicy, testing::Act};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::{
    DEADLINE, LOAD, SLACK, engine, plain,
    support::{Loads, assert_empty, caller, on_stage, settle, users},
};

const POLICY: OutagePolicy = OutagePolicy::LoadThrough { max_concurrent: 3 };

#[tokio::test(start_paused = true)]
async fn who_is_moved_out_of_an_outage_flight_pays_for_no_other_read() {
    on_stage(async |stage| {
        let engine = engine(&stage, POLICY);
        let users = users(&engine);
        stage.script.always(BackendCall::Acquire, Act::Hang);
        let loads = Loads::default();
        let first = caller(&users, 1, loads.value("ann", LOAD));
        sleep(DEADLINE + Duration::from_millis(10)).await;
        assert_eq!(loads.count(), 1);
        let began = Instant::now();
        // After the load began, so its answer is not for them.
        let late: Vec<_> = (0..3)
            .map(|_| caller(&users, 1, loads.value("bob", LOAD)))
            .collect();
        for answer in join_all(late).await {
            assert_eq!(plain(answer.unwrap()), Ok("bob".to_owned()));
        }
        assert_eq!(plain(first.await.unwrap()), Ok("ann".to_owned()));
        assert!(began.elapsed() <= 2 * LOAD + SLACK, "two loads, no read");
        assert_eq!(stage.script.calls(BackendCall::Acquire), 1);
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_never_idle_is_stored_once_the_store_is_back() {
    for call in [BackendCall::Get, BackendCall::Acquire] {
        on_stage(async |stage| {
            let engine = engine(&stage, POLICY);
            let users = users(&engine);
            stage.script.ask();
            stage.script.once(call, Act::Fail);
            let loads = Loads::default();
            // Somebody always arrives while a load runs.
            let mut callers = Vec::new();
            for _ in 0..20 {
                callers.push(caller(&users, 1, loads.value("ann", LOAD)));
                settle().await;
                sleep(LOAD / 2).await;
            }
            for answer in join_all(callers).await {
                assert_eq!(plain(answer.unwrap()), Ok("ann".to_owned()), "{call:?}");
            }
            assert!(matches!(users.get(&1).await.unwrap(), Lookup::Value(_)));
            assert!(loads.count() <= 3, "{call:?}: {} loads", loads.count());
            assert_empty(&engine).await;
        })
        .await;
    }
}
