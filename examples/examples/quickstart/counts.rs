//! What was counted, held against what the scenes did: Total, Hit, Miss and DbFails.

use cache_metrics::CacheSnapshot;

use crate::scenes::{Measured, Retelling};

/// Asserts that the counts are those of the scenes.
pub(crate) fn check(counts: &CacheSnapshot, measured: &[Measured], retelling: &Retelling) {
    let scenes = measured.iter().filter(|scene| scene.uses_cache);
    let (calls, queries) = scenes.fold(
        (retelling.calls, retelling.queries),
        |(calls, queries), scene| (calls + scene.calls, queries + scene.queries),
    );
    assert_eq!(counts.total(), calls, "each call counts once");
    assert_eq!(counts.miss(), queries, "each miss ran one query here");
    assert_eq!(counts.db_fails(), 3, "each failed query counts once");
    assert_eq!(
        counts.fills_superseded(),
        1,
        "the old row, which came too late"
    );
}
