//! A Prometheus that scrapes a running service.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use cache_core::{BreakerState, Cache, Engine, ErrorKind, Event, Guarantee, Recorder};
use cache_memory::Memory;
use cache_metrics::{Exporter, Listener, Stats};
use integration_tests::{Prometheus, within};

use super::{
    alerts::{Alert, alerts},
    dashboard::targets,
};

/// A rate takes two scrapes, half a second apart.
const SOON: Duration = Duration::from_secs(20);

/// A service with two caches, and a Prometheus that scrapes it.
struct Service {
    stats: Stats,
    users: Cache<u64, String>,
    orders: Cache<u64, String>,
    next: AtomicU64,
    prometheus: Prometheus,
    _listener: Listener,
    _engine: Engine,
}

impl Service {
    async fn start() -> Self {
        let stats = Stats::new();
        let memory = Memory::builder().max_entries(1_000).build().unwrap();
        let engine = Engine::builder(memory).recorder(stats.clone());
        let engine = engine.build().unwrap();
        let cache = |name| {
            let builder = engine.cache(name).ttl(Duration::from_secs(3600));
            builder.build().unwrap()
        };
        // `Memory` has no breaker, and nothing that its guarantee depends on.
        stats.record(Event::Breaker(BreakerState::Closed));
        stats.record(Event::Guarantee(Guarantee::Strict));
        let any_port = SocketAddr::new(Listener::LOOPBACK.ip(), 0);
        let listener = Exporter::new(&stats).listen(any_port).unwrap();
        Self {
            users: cache("user"),
            orders: cache("order"),
            stats,
            next: AtomicU64::new(0),
            prometheus: Prometheus::scraping(listener.address()).await,
            _listener: listener,
            _engine: engine,
        }
    }

    /// A new key in each cache, which is loaded, and then a hit; a load that fails, and a refused call.
    async fn calls(&self) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        for cache in [&self.users, &self.orders] {
            for _ in 0..2 {
                let load = async || Ok::<_, io::Error>("Ada".to_owned());
                let value = cache.get_or_load(&id, load).await.unwrap();
                assert_eq!(value.as_deref().map(String::as_str), Some("Ada"));
            }
        }
        let fails = async || Err::<String, _>(io::Error::other("the database is out"));
        let outcome = self.users.get_or_load(&u64::MAX, fails).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Loader);
        let recorder = self.stats.cache("user");
        recorder.record(Event::Failed(ErrorKind::Overloaded));
    }

    /// Goes on with calls until `query` has a sample that is like this.
    async fn until(&self, query: &str, is: impl Fn(f64) -> bool) {
        within(SOON, query, async || {
            self.calls().await;
            let samples = self.prometheus.query(query).await;
            samples.iter().any(|it| is(it.value)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_of_a_running_service_are_a_rate() {
    let service = Service::start().await;
    service
        .until("rate(cache_requests_total{result=\"hit\"}[5s])", |rate| {
            rate > 0.0
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_of_the_dashboard_has_data() {
    let service = Service::start().await;
    for target in targets() {
        service.until(&target.query, |value| !value.is_nan()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alert_can_be_asked_and_sees_what_it_is_for() {
    let service = Service::start().await;
    service.until("rate(cache_loads_total[5s])", |_| true).await;
    let alerts = alerts();
    for alert in &alerts {
        // It is not refused. What it answers depends on how fast this machine is.
        service.prometheus.query(&alert.expr).await;
    }
    let expression = |name| {
        let alert: Option<&Alert> = alerts.iter().find(|it| it.alert == name);
        alert.unwrap().expr.as_str()
    };
    let states = [
        ("CacheBreakerOpen", Event::Breaker(BreakerState::HalfOpen)),
        ("CacheBypassesAll", Event::BypassesAll(true)),
        ("CacheInvalidationsQueued", Event::QueuedInvalidations(3)),
        ("CacheUnfenced", Event::Guarantee(Guarantee::Unfenced)),
    ];
    for (name, event) in states {
        let before = service.prometheus.query(expression(name)).await;
        assert!(before.is_empty(), "{name}: {before:?}");
        service.stats.record(event);
    }
    let names = states.map(|(name, _)| name);
    for name in names
        .into_iter()
        .chain(["CacheLoadsFail", "CacheCallsRefused"])
    {
        service.until(expression(name), |_| true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_series_of_a_cache_end_with_it() {
    let Service {
        users,
        orders,
        prometheus,
        _listener: _listening,
        ..
    } = Service::start().await;
    // One query tells the end of a cache from a scrape that failed.
    let are_seen = async |expected: &[&str]| {
        within(SOON, &format!("there are {expected:?}"), async || {
            let query = "group by (cache) ({__name__=~\"cache_.+\", cache!=\"\"})";
            let samples = prometheus.query(query).await;
            let mut seen: Vec<_> = samples
                .iter()
                .map(|it| it.labels["cache"].as_str())
                .collect();
            seen.sort_unstable();
            (seen == expected).then_some(())
        })
        .await;
    };
    are_seen(&["order", "user"]).await;
    drop(users);
    are_seen(&["order"]).await;
    drop(orders);
}
