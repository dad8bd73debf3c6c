//! Engines and processes that read and write a few hot keys of one server or one cluster at random,
//! with replies that come late and slots that move: nobody is answered with what was invalidated before they asked.
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

use std::{
    env,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use cache_core::{
    BackendCall, Event as Told,
    testing::{self, Act},
};
use cache_redis::Mutant;
use futures_util::future::join_all;
use integration_tests::{Cluster, eventually};
use tokio::time::sleep;

use self::{
    history::{Event, Row, What, check_the_check, is_there, violations},
    nodes::{
        Broken, Node,
        database::Database,
        keys,
        place::{Place, Way},
        process::{Answer, Order, Process, Setup, serve},
    },
    play::{KEYS, LOAD, Player, Workload, play},
};

/// How many operations each process does in a run, unless this variable says more.
const OPERATIONS: u64 = 4_000;

/// The same on a cluster, where each operation takes longer.
const OPERATIONS_ON_A_CLUSTER: u64 = 2_000;

/// How long each step of the move of a slot is left to work.
const MOMENT: Duration = Duration::from_millis(15);

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

async fn player(node: &Node, place: &Place) -> Player {
    Player {
        engine: node.engine.clone(),
        rows: node.rows.clone(),
        database: Database::open(&place.database()).await,
    }
}

/// A node whose answers to what a load does take even longer: whoever may not join in the meantime
/// has the time to do so.
async fn slow_node(place: &Place, seed: u64, broken: Broken, hold: Duration) -> Node {
    let node = Node::new(place, seed, broken, hold).await;
    for call in [BackendCall::Acquire, BackendCall::Fill] {
        node.script.always(call, Act::AnswerLate(SLOW));
    }
    node
}

struct Remote {
    process: Process,
    _way: Way,
}

impl Remote {
    async fn start(place: &Place, seed: u64) -> Self {
        let way = place.way(seed).await;
        let process = Process::start(Setup {
            cache: way.address(),
            database: place.database(),
            hold: HOLD,
        })
        .await;
        Self { process, _way: way }
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
async fn torture_of_three_engines_and_two_processes_shows_nothing_old() {
    is_borne(&Place::server().await, OPERATIONS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn torture_on_a_cluster_whose_slots_move_shows_nothing_old() {
    let place = Place::cluster().await;
    place.is_spread(0..KEYS).await;
    is_borne(&place, OPERATIONS_ON_A_CLUSTER).await;
}

/// Moves the slot of one key after the other to the next primary until this is `over`, and says how
/// often.
async fn move_slots(cluster: &Cluster, over: &AtomicBool) -> u64 {
    let mut moves = 0;
    while !over.load(Ordering::SeqCst) {
        let slot = Cluster::slot_of(&keys(moves % KEYS).0);
        let to = (cluster.primary_of_slot(slot).await + 1) % cluster.nodes().len();
        cluster.begin_move(slot, to).await;
        sleep(MOMENT).await;
        cluster.move_keys(slot).await;
        sleep(MOMENT).await;
        cluster.end_move(slot, to).await;
        sleep(2 * MOMENT).await;
        moves += 1;
    }
    moves
}

/// Lets all of them play, while slots move if this is a cluster. What happened, and how many slots
/// moved.
async fn run(
    place: &Place,
    operations: u64,
    nodes: &[Node],
    remotes: &[Remote],
) -> (Vec<Event>, u64) {
    let workload = |process| Workload {
        process,
        seed: 1,
        operations,
        keys: 0,
        load: LOAD,
    };
    let mut players = Vec::new();
    for node in nodes {
        players.push(player(node, place).await);
    }
    let here = (1..).zip(players).map(|(process, player)| {
        let playing = tokio::spawn(play(player, workload(process)));
        async move { playing.await.unwrap() }
    });
    let there = (11..)
        .zip(remotes)
        .map(|(process, remote)| remote.play(workload(process)));
    let over = AtomicBool::new(false);
    let playing = async {
        let played = tokio::join!(join_all(here), join_all(there));
        over.store(true, Ordering::SeqCst);
        played
    };
    let moving = async {
        match place.as_cluster() {
            Some(cluster) => move_slots(cluster, &over).await,
            None => 0,
        }
    };
    let ((here, there), moves) = tokio::join!(playing, moving);
    (here.into_iter().chain(there).flatten().collect(), moves)
}

#[expect(
    clippy::print_stdout,
    reason = "what a long run has done is worth knowing"
)]
async fn is_borne(place: &Place, operations: u64) {
    let operations = env::var(VARIABLE).map_or(operations, |text| text.parse().unwrap());
    let mut nodes = Vec::new();
    for (seed, hold) in [(1, HOLD), (2, SHORT_HOLD)] {
        nodes.push(slow_node(place, seed, Broken::default(), hold).await);
    }
    nodes.push(Node::new(place, 3, Broken::default(), HOLD).await);
    let remotes = [Remote::start(place, 4).await, Remote::start(place, 5).await];

    let (events, moves) = run(place, operations, &nodes, &remotes).await;
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
         without an answer; {refused} fills refused here; {moves} slots moved"
    );
    assert!(
        reads >= 1_000 && removals >= 500 && puts >= 50,
        "it is no torture"
    );
    assert!(place.as_cluster().is_none() || moves >= 10, "{moves}");
    assert!(refused >= 50, "fills meet removals: {refused}");
    assert!(nothing < events.len() / 3, "{nothing}");

    for node in &nodes {
        node.comes_to_rest().await;
    }
    for remote in &remotes {
        remote.process.comes_to_rest().await;
    }
    place.no_lease_is_left().await;
    everybody_sees_the_last_version(&nodes, &remotes, place).await;
}

/// When all is quiet an invalidation brings everybody to the last version, without help of TTLs.
async fn everybody_sees_the_last_version(nodes: &[Node], remotes: &[Remote], place: &Place) {
    let database = Database::open(&place.database()).await;
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
            assert_eq!(loaded(node, &database, key).await, version);
        }
        for remote in remotes {
            // What moved lately is removed once more, at any time: then it is loaded once more.
            eventually("the last version is stored", async || {
                assert_eq!(loaded(&nodes[0], &database, key).await, version);
                let seen = remote.process.ask(Order::Get { key }).await.version()?;
                assert_eq!(Row::unpacked(seen), Row { version, put: 0 });
                Some(())
            })
            .await;
        }
    }
}

/// The version that is read, or else loaded.
async fn loaded(node: &Node, database: &Database, key: u64) -> u64 {
    let database = database.clone();
    let loader = async move || {
        let version = database.version(key).await;
        Ok::<_, nodes::Never>(Row { version, put: 0 }.packed())
    };
    let row = node.rows.get_or_load(&key, loader).await;
    Row::unpacked(*row.unwrap().unwrap()).version
}

/// In which round something old is seen, with this rule off.
async fn caught_in(
    place: &Place,
    broken: Broken,
    (seed, load): (u64, Duration),
    keys: &mut u64,
) -> Option<u64> {
    let mut nodes = Vec::new();
    for n in 0..2 {
        nodes.push(slow_node(place, 10 * seed + n, broken, HOLD).await);
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
            players.push(tokio::spawn(play(player(node, place).await, workload)));
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
async fn is_caught(place: &Place, keys: &mut u64, broken: impl Into<Broken>, load: Duration) {
    let broken = broken.into();
    let seeds = if place.as_cluster().is_some() { 1 } else { 2 };
    for seed in 1..=seeds {
        let caught = caught_in(place, broken, (seed, load), keys).await;
        println!("{broken:?}, seed {seed}: round {caught:?}");
        assert!(caught.is_some(), "{broken:?} escaped with seed {seed}");
    }
}

async fn a_fill_without_the_fence_is_caught(place: &Place, keys: &mut u64) {
    is_caught(place, keys, testing::Mutant::PlainSet, LOAD).await;
    is_caught(place, keys, Mutant::UncheckedFill, LOAD).await;
    is_caught(place, keys, Mutant::RemoveKeepsLease, LOAD).await;
}

async fn what_is_shared_with_late_comers_is_caught(place: &Place, keys: &mut u64) {
    is_caught(place, keys, testing::Mutant::JoinReadInFlight, LOAD).await;
    is_caught(place, keys, testing::Mutant::JoinAfterFill, LOAD).await;
    is_caught(place, keys, testing::Mutant::ShareRefusedFill, LOAD).await;
}

/// Two loads of one process are to overlap: they take longer than a removal and an `acquire`.
async fn a_token_that_is_used_again_is_caught(place: &Place, keys: &mut u64) {
    is_caught(place, keys, Mutant::ReusedToken, 8 * LOAD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn torture_catches_a_fill_without_the_fence_within_60_rounds() {
    a_fill_without_the_fence_is_caught(&Place::server().await, &mut 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn torture_catches_what_is_shared_with_late_comers_within_60_rounds() {
    what_is_shared_with_late_comers_is_caught(&Place::server().await, &mut 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn torture_catches_a_token_that_is_used_again_within_60_rounds() {
    a_token_that_is_used_again_is_caught(&Place::server().await, &mut 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn torture_on_a_cluster_catches_each_breach_within_60_rounds() {
    let (place, mut keys) = (Place::cluster().await, 0);
    a_fill_without_the_fence_is_caught(&place, &mut keys).await;
    what_is_shared_with_late_comers_is_caught(&place, &mut keys).await;
    a_token_that_is_used_again_is_caught(&place, &mut keys).await;
}

#[test]
fn the_check_accepts_what_was_true_since_the_read_began_and_nothing_else() {
    check_the_check();
}
