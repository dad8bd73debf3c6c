//! While all is well, the log holds nothing.

use std::{io, time::Duration};

use cache_core::{Cache, Load, Lookup};
use tracing::Level;

use crate::{
    SECOND,
    listener::Listener,
    support::{Loads, assert_empty, caller, on_stage, settle, users},
};

#[tokio::test(start_paused = true)]
async fn nothing_is_told_above_debug_while_all_is_well() {
    let (listener, _in_force) = Listener::in_force(Level::TRACE);
    on_stage(async |stage| {
        let engine = stage.scripted_engine();
        let (users, loads) = (users(&engine), Loads::default());
        // What the process knows, then what it has to ask for.
        for _ in 0..2 {
            let calls = [(); 3].map(|()| caller(&users, 1, loads.value("ann", 9 * SECOND)));
            for call in calls {
                call.await.unwrap().unwrap();
            }
            let nobody = || async { Ok::<_, io::Error>(Load::absent()) };
            assert_eq!(users.get_or_load(&2, nobody).await.unwrap(), None);
            assert_eq!(users.get(&2).await.unwrap(), Lookup::Absent);
            assert_eq!(users.get(&3).await.unwrap(), Lookup::Miss);
            users.put(&3, "eve".to_owned()).await.unwrap();
            let ttl = Duration::from_secs(9);
            users.put_with_ttl(&4, "bob".to_owned(), ttl).await.unwrap();
            for lookup in users.get_many(&[1, 2, 3, 4, 5]).await {
                lookup.unwrap();
            }
            users.invalidate(&1).await;
            engine.invalidate([users.key(&3), users.key(&9)]).await;

            // An entry of another type, which is loaded anew.
            users.put(&6, "joe".to_owned()).await.unwrap();
            let other: Cache<u64, u64> = {
                let other = stage.engine();
                other.cache("user").ttl(ttl).build().unwrap()
            };
            let found = other.get_or_load(&6, || async { Ok::<_, io::Error>(6) });
            assert_eq!(*found.await.unwrap().unwrap(), 6);
            stage.script.ask();
        }
        engine.clear().await.unwrap();
        assert_empty(&engine).await;
        engine.shutdown(SECOND).await;
        settle().await;
    })
    .await;
    let levels = listener.levels();
    assert!(levels.len() > 10, "it listens: {levels:?}");
    // The most severe level is the least.
    assert_eq!(levels.iter().min(), Some(&Level::DEBUG));
}
