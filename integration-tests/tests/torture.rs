//! Engines and processes that read and write a few hot keys of one server at random, with replies
//! that come late: nobody is answered with what was invalidated before they asked.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "what is not expected is treated alike"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "torture/history.rs"]
mod history;
mod nodes;
#[path = "torture/play.rs"]
mod play;

use std::{env, time::Duration};

use cache_core::{
    BackendCall, Event as Told,
    testing::{self, Act},
};
use futures_util::future::join_all;
use integration_tests::{Proxy, Server};

use self::{
    history::{Event, Row, What, check_the_check, is_there, violations},
    nodes::{
        Broken, Node,
        database::Database,
        no_lease_is_left,
        process::{Answer, Order, Process, Setup, serve},
        proxy,
    },
    play::{KEYS, LOAD, Player, Workload, play},
};

/// How many operations each process does in a run, unless this variable says more.
const OPERATIONS: u64 = 4_000;
const VARIABLE: &str = "FENCE_TORTURE_OPERATIONS";

/// A broken rule is seen within so many rounds of so many operations in each of two engines.
const ROUNDS: u64 = 60;
const ROUND: u64 = 400;

const HOLD: Duration = Duration::from_secs(3);

/// What answers to what a load does take besides: a few replies of others are that fast.
const SLOW: Duration = Duration::from_millis(10);

/// Leases that run out while loads run, if the machine is slow.
const SHORT_HOLD: Duration = Duration::from_millis(30);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes orders from the other tests here"]
async fn a_process_of_its_own() {
    serve(|served, workload| async move {
        let player = Player {
            engine: served.engine.clone(),
            rows: served.rows.clone(),
            database: served.database.clone(),
        };
        let workload = serde_json::from_value(workload).unwrap();
        serde_json::to_value(play(player, workload).await).unwrap()
    })
    .await;
}

async fn player(node: &Node, server: &Server) -> Player {
    Player {
        engine: node.engine.clone(),
        rows: node.rows.clone(),
        database: Database::open(&server.url()).await,
    }
}

/// A node whose answers to what a load does take even longer: whoever may not join in the meantime
/// has the time to do so.
async fn slow_node(server: &Server, seed: u64, broken: Broken, hold: Duration) -> Node {
    let node = Node::new(server, seed, broken, hold).await;
    for call in [BackendCall::Acquire, BackendCall::Fill] {
        node.script.always(call, Act::AnswerLate(SLOW));
    }
    node
}

struct Remote {
    process: Process,
    _proxy: Proxy,
}

impl Remote {
    async fn start(server: &Server, seed: u64) -> Self {
        let proxy = proxy(server, seed).await;
        let process = Process::start(Setup {
            url: proxy.url().to_owned(),
            database: server.url(),
            hold: HOLD,
        })
        .await;
        Self {
            process,
            _proxy: proxy,
        }
    }

    async fn play(&self, workload: Workload) -> Vec<Event> {
        let workload = serde_json::to_value(workload).unwrap();
        match self.process.ask(Order::Play(workload)).await {
            Answer::Played(events) => serde_json::from_value(events).unwrap(),
            other => panic!("it did not play: {other:?}"),
        }
    }
}

fn count(events: &[Event], is_meant: impl Fn(What) -> bool) -> usize {
    events.iter().filter(|event| is_meant(event.what)).count()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::print_stdout,
    reason = "what a long run has done is worth knowing"
)]
async fn torture_of_three_engines_and_two_processes_shows_nothing_old() {
    let operations = env::var(VARIABLE).map_or(OPERATIONS, |text| text.parse().unwrap());
    let server = Server::builder().owned().start().await;
    let mut nodes = Vec::new();
    for (seed, hold) in [(1, HOLD), (2, SHORT_HOLD)] {
        nodes.push(slow_node(&server, seed, Broken::default(), hold).await);
    }
    nodes.push(Node::new(&server, 3, Broken::default(), HOLD).await);
    let remotes = [
        Remote::start(&server, 4).await,
        Remote::start(&server, 5).await,
    ];

    let workload = |process| Workload {
        process,
        seed: 1,
        operations,
        keys: 0,
        load: LOAD,
    };
    let mut players = Vec::new();
    for node in &nodes {
        players.push(player(node, &server).await);
    }
    let here = (1..).zip(players).map(|(process, player)| {
        let playing = tokio::spawn(play(player, workload(process)));
        async move { playing.await.unwrap() }
    });
    let there = (11..)
        .zip(&remotes)
        .map(|(process, remote)| remote.play(workload(process)));
    let (here, there) = tokio::join!(join_all(here), join_all(there));
    let events: Vec<Event> = here.into_iter().chain(there).flatten().collect();
    assert_eq!(violations(&events), Vec::<String>::new());

    let reads = count(&events, |what| matches!(what, What::Read(_)));
    let removals = count(&events, |what| matches!(what, What::Removed(_)));
    let puts = count(&events, |what| matches!(what, What::Put(_)));
    let of_puts = count(
        &events,
        |what| matches!(what, What::Read(Some(row)) if row.put != 0),
    );
    let nothing = count(&events, |what| matches!(what, What::Nothing));
    let mut refused = 0;
    for node in &nodes {
        refused += node
            .events
            .count(|event| matches!(event, Told::FillSuperseded));
    }
    println!(
        "{reads} reads ({of_puts} of what was put), {removals} removals, {puts} puts, {nothing} \
         without an answer; {refused} fills refused here"
    );
    assert!(
        reads >= 1_000 && removals >= 500 && puts >= 50,
        "it is no torture"
    );
    assert!(refused >= 50, "fills meet removals: {refused}");
    assert!(nothing < events.len() / 3, "{nothing}");

    for node in &nodes {
        node.comes_to_rest().await;
    }
    for remote in &remotes {
        remote.process.comes_to_rest().await;
    }
    no_lease_is_left(&server).await;
    everybody_sees_the_last_version(&nodes, &remotes, &server).await;
}

/// When all is quiet an invalidation brings everybody to the last version, without help of TTLs.
async fn everybody_sees_the_last_version(nodes: &[Node], remotes: &[Remote], server: &Server) {
    let database = Database::open(&server.url()).await;
    for key in 0..KEYS {
        let mut version = database.commit(key).await;
        while !is_there(version) {
            version = database.commit(key).await;
        }
        remotes[0]
            .process
            .ask(Order::Invalidate { key })
            .await
            .done();
        for node in nodes {
            let database = database.clone();
            let loader = async move || {
                let version = database.version(key).await;
                Ok::<_, nodes::Never>(Row { version, put: 0 }.packed())
            };
            let row = node.rows.get_or_load(&key, loader).await.unwrap().unwrap();
            assert_eq!(Row::unpacked(*row).version, version);
        }
        for remote in remotes {
            let seen = remote.process.ask(Order::Get { key }).await.version();
            assert_eq!(seen.map(Row::unpacked), Some(Row { version, put: 0 }));
        }
    }
}

/// In which round something old is seen, with this rule off.
async fn caught_in(
    server: &Server,
    broken: Broken,
    (seed, load): (u64, Duration),
    keys: &mut u64,
) -> Option<u64> {
    let mut nodes = Vec::new();
    for n in 0..2 {
        nodes.push(slow_node(server, 10 * seed + n, broken, HOLD).await);
    }
    for round in 1..=ROUNDS {
        let mut players = Vec::new();
        for (process, node) in (1..).zip(&nodes) {
            let workload = Workload {
                process,
                seed: 1_000 * seed + round,
                operations: ROUND,
                keys: *keys,
                load,
            };
            players.push(tokio::spawn(play(player(node, server).await, workload)));
        }
        *keys += KEYS;
        let mut events = Vec::new();
        for player in players {
            events.extend(player.await.unwrap());
        }
        if !violations(&events).is_empty() {
            return Some(round);
        }
    }
    None
}

#[expect(
    clippy::print_stdout,
    reason = "how soon each is caught is worth knowing"
)]
async fn is_caught(broken: impl Into<Broken>, load: Duration) {
    let broken = broken.into();
    let server = Server::builder().owned().start().await;
    let mut keys = 0;
    for seed in 1..=2 {
        let caught = caught_in(&server, broken, (seed, load), &mut keys).await;
        println!("{broken:?}, seed {seed}: round {caught:?}");
        assert!(caught.is_some(), "{broken:?} escaped with seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn torture_catches_a_fill_without_the_fence_within_60_rounds() {
    is_caught(testing::Mutant::PlainSet, LOAD).await;
    is_caught(cache_redis::Mutant::UncheckedFill, LOAD).await;
    is_caught(cache_redis::Mutant::RemoveKeepsLease, LOAD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn torture_catches_what_is_shared_with_late_comers_within_60_rounds() {
    is_caught(testing::Mutant::JoinReadInFlight, LOAD).await;
    is_caught(testing::Mutant::JoinAfterFill, LOAD).await;
    is_caught(testing::Mutant::ShareRefusedFill, LOAD).await;
}

/// Two loads of one process are to overlap: they take longer than a removal and an `acquire`.
#[tokio::test(flavor = "multi_thread")]
async fn torture_catches_a_token_that_is_used_again_within_60_rounds() {
    is_caught(cache_redis::Mutant::ReusedToken, 8 * LOAD).await;
}

#[test]
fn the_check_accepts_what_was_true_since_the_read_began_and_nothing_else() {
    check_the_check();
}
