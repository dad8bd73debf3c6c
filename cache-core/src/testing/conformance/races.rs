//! Calls at the same time: each is one step for its key.

use std::collections::HashSet;

use tokio::task::JoinSet;

use super::{
    Harness,
    report::{Report, checks},
    samples::{LONG_HOLD, assert_same, granted, key, long_ttl},
    store::{Store, empty},
};
use crate::{Acquire, Backend, Fill, Key, Lease};

pub(super) async fn run(harness: &impl Harness, report: &mut Report) {
    checks!(
        harness,
        report,
        [
            of_many_acquires_at_once_one_is_granted,
            no_lease_is_granted_twice_at_once,
            of_many_fills_under_one_lease_one_is_stored,
            of_many_seizes_at_once_one_can_fill,
            a_fill_and_a_remove_at_once_leave_nothing,
            a_fill_and_a_clear_at_once_leave_nothing,
            a_fill_and_a_seize_at_once_leave_nothing_but_the_seized_lease,
        ]
    );
}

/// How many tasks call at once.
const TASKS: u32 = 32;

/// How often two calls meet, so that they meet in both orders.
const ROUNDS: u32 = 50;

/// Runs one call in each of many tasks, and collects the answers.
async fn at_once<A: Send + 'static, F: Future<Output = A> + Send + 'static>(
    calls: impl IntoIterator<Item = F>,
) -> Vec<A> {
    let mut tasks = JoinSet::new();
    for call in calls {
        tasks.spawn(call);
    }
    tasks.join_all().await
}

async fn of_many_acquires_at_once_one_is_granted(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    for _ in 0..ROUNDS {
        let answers = at_once((0..TASKS).map(|_| {
            let (store, key) = (store.clone(), key.clone());
            async move { store.acquire(&key, LONG_HOLD).await }
        }))
        .await;
        let leases: Vec<_> = answers.iter().filter_map(lease_of).collect();
        assert_eq!(leases.len(), 1, "one of many has the lease: {answers:?}");
        store.release(&key, leases[0]).await;
    }
}

fn lease_of(answer: &Acquire) -> Option<Lease> {
    match answer {
        Acquire::Granted(lease) => Some(*lease),
        Acquire::Held { .. } => None,
        Acquire::Hit(_) => panic!("nothing is stored, but `acquire` answered {answer:?}"),
    }
}

async fn no_lease_is_granted_twice_at_once(harness: &impl Harness) {
    let store = empty(harness).await;
    let leases = at_once((0..TASKS).map(|number| {
        let store = store.clone();
        async move {
            let mut leases = Vec::new();
            for round in 0..ROUNDS {
                // A key of its own to acquire, and one that all tasks meet on to seize.
                let own = key(&format!("{number}:{round}"));
                let rule = "a key of one's own";
                leases.push(granted(store.acquire(&own, LONG_HOLD).await, rule));
                leases.push(store.seize(&key(&round.to_string()), LONG_HOLD).await);
            }
            leases
        }
    }))
    .await;

    let all: Vec<_> = leases.into_iter().flatten().collect();
    let distinct: HashSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "every grant has its own lease");
}

async fn of_many_fills_under_one_lease_one_is_stored(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    for _ in 0..ROUNDS {
        let lease = store.seize(&key, LONG_HOLD).await;
        let answers = at_once((0..TASKS).map(|number| {
            let (store, key) = (store.clone(), key.clone());
            async move {
                let value = store.value(number);
                let filled = store.fill(&key, lease, value.clone(), long_ttl()).await;
                (filled, value)
            }
        }))
        .await;
        let mut stored = answers
            .iter()
            .filter(|(filled, _)| *filled == Fill::Stored)
            .map(|(_, value)| value);
        let (winner, second) = (stored.next(), stored.next());
        assert!(winner.is_some(), "the lease is held, so one fill is stored");
        assert!(second.is_none(), "a lease fills its key once");
        assert_same(
            store.read(&key).await.as_ref(),
            winner,
            "the fill that was answered `Stored` is the one that is there",
        );
    }
}

async fn of_many_seizes_at_once_one_can_fill(harness: &impl Harness) {
    let store = empty(harness).await;
    let key = key("k");
    for _ in 0..ROUNDS {
        let leases = at_once((0..TASKS).map(|_| {
            let (store, key) = (store.clone(), key.clone());
            async move { store.seize(&key, LONG_HOLD).await }
        }))
        .await;
        let mut stored = 0;
        for lease in leases {
            let filled = store.fill(&key, lease, store.value(1), long_ttl()).await;
            stored += u32::from(filled == Fill::Stored);
        }
        assert_eq!(stored, 1, "the last to seize has the lease, and no other");
    }
}

/// Has a fill, and something that ends its lease, meet on a key. Whichever is first, nothing
/// is stored afterwards: the fill was before it, and is undone, or after it, and is refused.
async fn a_fill_meets<B: Backend, F>(
    store: &Store<B>,
    key: &Key,
    rule: &str,
    end: impl Fn(Store<B>, Key) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    for round in 0..ROUNDS {
        let lease = granted(store.acquire(key, LONG_HOLD).await, rule);
        let fill = {
            let (store, key) = (store.clone(), key.clone());
            async move {
                let value = store.value(1);
                store.fill(&key, lease, value, long_ttl()).await;
            }
        };
        let end = end(store.clone(), key.clone());
        // Whoever is spawned first is often first.
        let calls: [std::pin::Pin<Box<dyn Future<Output = ()> + Send>>; 2] = if round % 2 == 0 {
            [Box::pin(fill), Box::pin(end)]
        } else {
            [Box::pin(end), Box::pin(fill)]
        };
        at_once(calls).await;

        assert_same(store.read(key).await.as_ref(), None, rule);
    }
}

async fn a_fill_and_a_remove_at_once_leave_nothing(harness: &impl Harness) {
    let store = empty(harness).await;
    let rule = "a removal undoes a fill before it and refuses one after it";
    a_fill_meets(&store, &key("k"), rule, |store, key| async move {
        store.remove(std::slice::from_ref(&key)).await;
    })
    .await;
}

async fn a_fill_and_a_clear_at_once_leave_nothing(harness: &impl Harness) {
    let store = empty(harness).await;
    let rule = "a clear undoes a fill before it and refuses one after it";
    a_fill_meets(&store, &key("k"), rule, |store, _| async move {
        store.clear().await;
    })
    .await;
}

async fn a_fill_and_a_seize_at_once_leave_nothing_but_the_seized_lease(harness: &impl Harness) {
    let store = empty(harness).await;
    let rule = "a seize undoes a fill before it and refuses one after it";
    a_fill_meets(&store, &key("k"), rule, |store, key| async move {
        let lease = store.seize(&key, LONG_HOLD).await;
        store.release(&key, lease).await;
    })
    .await;
}
