//! What the shop's visitors do: a bounded number of them, each at a bounded pace.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{sleep, sleep_until},
};

use crate::{
    database::{PRODUCTS, SALE, USERS, WORDS},
    scene::Schedule,
    shop::Shop,
    zipf::Zipf,
};

/// How many callers a stampede is made of.
const STAMPEDE: usize = 150;

/// One user in this many is somebody whom nobody knows.
const UNKNOWN: u32 = 25;

/// Starts all of it; it ends when this is dropped.
///
/// What fails is counted where it fails, so nothing is done about it here.
pub(crate) fn start(shop: &Arc<Shop>, schedule: Schedule) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    read_users(&mut tasks, shop);
    read_products(&mut tasks, shop);
    search(&mut tasks, shop);
    write(&mut tasks, shop);
    tasks.spawn(stampedes(Arc::clone(shop), schedule));
    tasks
}

fn read_users(tasks: &mut JoinSet<()>, shop: &Arc<Shop>) {
    let ids = Arc::new(Zipf::new(USERS, 1.2));
    for _ in 0..12 {
        let (shop, ids) = (Arc::clone(shop), Arc::clone(&ids));
        tasks.spawn(again_and_again(per_second(30), move || {
            let id = if fastrand::u32(..UNKNOWN) == 0 {
                USERS + fastrand::u32(..40)
            } else {
                ids.draw()
            };
            let shop = Arc::clone(&shop);
            async move { drop(shop.find_user(id).await) }
        }));
    }
}

fn read_products(tasks: &mut JoinSet<()>, shop: &Arc<Shop>) {
    let ids = Arc::new(Zipf::new(PRODUCTS, 1.15));
    for _ in 0..10 {
        let (shop, ids) = (Arc::clone(shop), Arc::clone(&ids));
        tasks.spawn(again_and_again(per_second(18), move || {
            let (shop, id) = (Arc::clone(&shop), ids.draw());
            async move { drop(shop.find_product(id).await) }
        }));
    }
}

fn search(tasks: &mut JoinSet<()>, shop: &Arc<Shop>) {
    let words = Arc::new(Zipf::new(WORDS, 1.4));
    for _ in 0..8 {
        let (shop, words) = (Arc::clone(shop), Arc::clone(&words));
        tasks.spawn(again_and_again(per_second(10), move || {
            let (shop, word) = (Arc::clone(&shop), format!("word {}", words.draw()));
            async move { drop(shop.search(&word).await) }
        }));
    }
}

fn write(tasks: &mut JoinSet<()>, shop: &Arc<Shop>) {
    let users = Zipf::new(USERS, 1.2);
    let writer = Arc::clone(shop);
    tasks.spawn(again_and_again(per_second(4), move || {
        let (shop, id) = (Arc::clone(&writer), users.draw());
        let name = format!("user number {id}, also known as {}", fastrand::u16(..));
        async move { drop(shop.rename_user(id, name).await) }
    }));

    let products = Zipf::new(PRODUCTS, 1.15);
    let writer = Arc::clone(shop);
    tasks.spawn(again_and_again(per_second(6), move || {
        let (shop, id) = (Arc::clone(&writer), products.draw());
        async move { drop(shop.reprice_product(id, fastrand::u32(100..10_000)).await) }
    }));
}

/// Everybody asks at once for what nobody has asked for before.
async fn stampedes(shop: Arc<Shop>, schedule: Schedule) {
    for begin in schedule.stampedes() {
        sleep_until(begin).await;
        shop.forget(SALE).await;
        let callers: JoinSet<()> = (0..STAMPEDE)
            .map(|_| {
                let shop = Arc::clone(&shop);
                async move { drop(shop.search(SALE).await) }
            })
            .collect();
        callers.join_all().await;
    }
}

/// The time between two of so many a second.
fn per_second(times: u32) -> Duration {
    Duration::from_secs(1) / times
}

/// Does something, one at a time, and not more often than once per `pace` on average.
async fn again_and_again<F: Future<Output = ()>>(pace: Duration, something: impl Fn() -> F) {
    loop {
        sleep(pace.mul_f64(0.5 + fastrand::f64())).await;
        something().await;
    }
}
