//! Reads that go together in one command: whom its reply is for, and how many there are.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod nodes;

use std::time::Duration;

use bytes::Bytes;
use cache_core::{Backend, Entry, ErrorKind, Key};
use cache_redis::{Mutant, Redis};
use futures_util::{
    future::join_all,
    stream::{FuturesUnordered, StreamExt},
};
use integration_tests::{Direction, Proxy, Server, eventually};
use tokio::time::timeout;

use self::nodes::{Broken, calls, connect, place::Address};

fn key(number: usize) -> Key {
    Key::new(format!("key:{number}").as_bytes())
}

fn text(entry: Option<&Entry>) -> Option<Bytes> {
    match entry {
        Some(Entry::Encoded(bytes)) => Some(bytes.clone()),
        None => None,
        Some(other) => panic!("no value: {other:?}"),
    }
}

async fn write(server: &Server, count: usize) {
    let mut client = server.client().await;
    let mut command = redis::cmd("MSET");
    for number in 0..count {
        command.arg(format!("key:{number}")).arg(number);
    }
    command.exec_async(&mut client).await.unwrap();
}

/// So many reads at once make a lane busy: the rest is gathered.
const BUSY: usize = 8;

/// A batch is on its way when its key is changed, and read again. What the late read is answered.
async fn a_late_read(broken: impl Into<Broken>) -> Option<Bytes> {
    let server = Server::builder().owned().start().await;
    let proxy = Proxy::before(&server).await;
    let redis = connect(&Address::Server(proxy.url().to_owned()), broken.into()).await;
    write(&server, BUSY + 1).await;
    proxy.hold(Direction::Replies);

    let read = |number: usize| {
        let redis = redis.clone();
        tokio::spawn(async move { redis.get(&key(number)).await.unwrap() })
    };
    let mut early: Vec<_> = (0..BUSY).map(read).collect();
    eventually("the lane is busy", async || {
        (calls(&server, "get").await >= u64::try_from(BUSY).unwrap()).then_some(())
    })
    .await;
    early.push(read(BUSY));
    eventually("the batch is at the server", async || {
        (calls(&server, "mget").await >= 1).then_some(())
    })
    .await;

    server.cmd(&["SET", &format!("key:{BUSY}"), "new"]).await;
    let late = read(BUSY);
    // With the rule off there is no second command; else there is.
    let end = tokio::time::Instant::now() + Duration::from_millis(500);
    while calls(&server, "mget").await < 2 && tokio::time::Instant::now() < end {}
    proxy.release(Direction::Replies);

    for (number, early) in early.into_iter().enumerate() {
        let found = text(early.await.unwrap().as_ref());
        assert_eq!(found, Some(Bytes::from(number.to_string())));
    }
    text(late.await.unwrap().as_ref())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_never_for_a_read_that_came_after_its_command_was_sent() {
    let seen = a_late_read(Broken::default()).await;
    assert_eq!(seen, Some(Bytes::from_static(b"new")));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_replies_that_are_shared_a_read_sees_what_was_there_before_it() {
    let seen = a_late_read(Mutant::SharedReads).await;
    assert_eq!(seen, Some(Bytes::from(BUSY.to_string())));
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_beyond_the_longest_queue_are_turned_away() {
    /// How many batches are on their way, and what they hold.
    const SENT: usize = 64 * 64;
    const QUEUED: usize = 65_536;
    const TOO_MANY: usize = 100;

    let server = Server::builder().owned().start().await;
    let proxy = Proxy::before(&server).await;
    let redis = Redis::builder()
        .url(proxy.url())
        .lanes(1)
        .read_timeout(Duration::from_secs(60))
        .connect()
        .await
        .unwrap();
    proxy.hold(Direction::Replies);
    let mut reads: FuturesUnordered<_> = (0..BUSY + SENT + QUEUED + TOO_MANY)
        .map(|number| {
            let redis = redis.clone();
            async move { redis.get(&key(number)).await }
        })
        .collect();
    // Only those who are turned away are answered. The batches take some out of the queue, and
    // how many that is depends on when they are sent.
    for _ in 0..TOO_MANY {
        let answer = timeout(Duration::from_secs(60), reads.next()).await;
        let error = answer.unwrap().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    proxy.release(Direction::Replies);
    let mut answered = 0;
    while let Some(answer) = reads.next().await {
        match answer {
            Ok(found) => {
                assert!(found.is_none());
                answered += 1;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
        }
    }
    assert!(answered >= QUEUED, "{answered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_are_answered_in_order_with_duplicates() {
    let server = Server::builder().owned().start().await;
    let redis = connect(&Address::Server(server.url()), Broken::default()).await;
    write(&server, 1_500).await;
    for count in [0, 1, 512, 513, 2_000] {
        // Every third is asked for twice; those from 1,500 on are not there.
        let numbers: Vec<usize> = (0..count)
            .map(|n| if n % 3 == 2 { n - 1 } else { n })
            .collect();
        let keys: Vec<_> = numbers.iter().map(|&number| key(number)).collect();
        let before = calls(&server, "mget").await;
        let answers = redis.get_many(&keys).await;
        let commands = calls(&server, "mget").await - before;
        assert_eq!(commands, u64::try_from(count.div_ceil(512)).unwrap());
        assert_eq!(answers.len(), count);
        for (number, answer) in numbers.into_iter().zip(answers) {
            let expected = (number < 1_500).then(|| Bytes::from(number.to_string()));
            assert_eq!(text(answer.unwrap().as_ref()), expected);
        }
    }
}

/// How many `GET`s and `MGET`s it takes to let so many readers read 50 times each.
async fn commands_of(server: &Server, readers: usize) -> (u64, u64) {
    let redis = connect(&Address::Server(server.url()), Broken::default()).await;
    let before = (calls(server, "get").await, calls(server, "mget").await);
    let reading = (0..readers).map(|reader| {
        let redis = redis.clone();
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                let number = (reader + round) % 600;
                let found = redis.get(&key(number)).await.unwrap();
                assert_eq!(text(found.as_ref()), Some(Bytes::from(number.to_string())));
            }
        })
    });
    for read in join_all(reading).await {
        read.unwrap();
    }
    let after = (calls(server, "get").await, calls(server, "mget").await);
    (after.0 - before.0, after.1 - before.1)
}

const ROUNDS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_many_are_gathered_and_reads_of_few_are_not() {
    let server = Server::builder().owned().start().await;
    write(&server, 600).await;
    let (gets, batches) = commands_of(&server, 512).await;
    let reads = u64::try_from(512 * ROUNDS).unwrap();
    assert!(gets + batches < reads / 4, "{gets} and {batches}");

    let (gets, batches) = commands_of(&server, 8).await;
    assert_eq!((gets, batches), (u64::try_from(8 * ROUNDS).unwrap(), 0));
}
