//! What happens to a load, and to those who wait for it.

mod support;

use std::time::Duration;

use cache_core::{Error, ErrorKind};

use self::support::{Loads, assert_empty, on_stage, users};

#[tokio::test(start_paused = true)]
async fn a_load_that_takes_too_long_times_out() {
    on_stage(async |stage| {
        let engine = stage.engine();
        let loads = Loads::default();
        let user = users(&engine)
            .get_or_load(&1, loads.value("late", Duration::from_secs(3600)))
            .await;
        assert_eq!(
            user.map_err(|error: Error| error.kind()),
            Err(ErrorKind::LoadTimeout)
        );
        assert_empty(&engine).await;
    })
    .await;
}
