//! The example `observe`: what its page draws in a real browser, and what it says when it cannot
//! be started.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "observe/browser.rs"]
mod browser;
#[path = "observe/colours.rs"]
mod colours;
#[path = "observe/devtools.rs"]
mod devtools;
#[path = "observe/http.rs"]
mod http;
#[path = "observe/page.rs"]
mod page;
#[path = "observe/picture.rs"]
mod picture;
#[path = "observe/plots.rs"]
mod plots;
#[path = "observe/program.rs"]
mod program;
#[path = "observe/service.rs"]
mod service;
#[path = "observe/wait.rs"]
mod wait;

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use self::{
    browser::Browser,
    page::{Form, Page},
    service::Service,
    wait::{eventually, within},
};

/// The caches and the engine, as the page calls them.
const SECTIONS: [&str; 4] = ["product", "search", "user", "(engine)"];

/// The plots whose lines begin with the first sample.
const STEADY: [&str; 4] = [
    "user.hit_rate",
    "user.loads",
    "user.latency",
    "(engine).latency",
];

/// A page that shows some samples.
async fn open_page(service: &Service, browser: &Browser, form: Form) -> Page {
    service.wait_for_samples(4).await;
    let mut page = Page::open(browser, &service.url, form).await;
    eventually("the page shows numbers", async || {
        let state = page.text("#state").await;
        (state == "live").then_some(())
    })
    .await;
    page
}

#[tokio::test]
async fn what_is_drawn_is_what_was_counted() {
    let service = Service::start("127.0.0.1:0").await;
    let browser = Browser::start().await;
    let mut page = open_page(&service, &browser, Form::DesktopLight).await;

    for section in SECTIONS {
        assert!(page.has_section(section).await, "no section {section}");
    }
    page.totals_are_those_of(&service, "user").await;
    page.totals_are_those_of(&service, "search").await;

    let drawn = page.plots().await;
    assert_eq!(drawn.len(), 3 * SECTIONS.len(), "three plots for each");
    for plot in &drawn {
        plot.is_within_its_frame();
        plot.says_its_numbers();
        plot.is_drawn_at_its_numbers();
    }
    for id in STEADY {
        let plot = drawn.iter().find(|plot| plot.id == id);
        plot.unwrap_or_else(|| panic!("no plot {id}")).has_lines(4);
    }
    assert!(
        drawn.iter().any(plots::Plot::varies),
        "all lines are flat: {drawn:?}"
    );
    page.the_newest_point_is_at_the_rate_of(&service, "user")
        .await;
    page.complains_of_nothing();
}

#[tokio::test]
async fn it_is_live_and_nothing_moves_but_the_numbers() {
    let service = Service::start("127.0.0.1:0").await;
    let browser = Browser::start().await;
    let mut page = open_page(&service, &browser, Form::DesktopLight).await;

    page.evaluate("window.isTheSamePage = true").await;
    let places = page.places().await;
    let (lines, total) = (page.lines().await, page.number("user.total").await);
    let mut totals = BTreeSet::from([total]);
    eventually("the total grows again and again", async || {
        totals.insert(page.number("user.total").await);
        (totals.len() > 4).then_some(())
    })
    .await;
    assert_eq!(totals.first(), Some(&total), "it only grows");
    assert_ne!(page.lines().await, lines, "the lines go on as well");
    assert_eq!(page.places().await, places, "nothing jumps");
    assert_eq!(page.evaluate("window.isTheSamePage").await, true);
    page.complains_of_nothing();
}

#[tokio::test]
async fn an_outage_of_the_backend_is_seen_in_every_form() {
    let service = Service::start("127.0.0.1:0").await;
    let browser = Browser::start().await;
    let mut page = open_page(&service, &browser, Form::DesktopLight).await;

    // The first is from the twelfth second on.
    let queued = within(
        Duration::from_secs(30),
        "invalidations queue up",
        async || {
            let queued = page.number("(engine).queued").await;
            (queued > 5).then_some(queued)
        },
    )
    .await;
    let scene = page.text("#scene b").await;
    assert_eq!(scene, "The backend does not answer");
    assert_ne!(page.text("[data-value='(engine).breaker']").await, "closed");
    within(
        Duration::from_secs(20),
        "the queue is empty again",
        async || (page.number("(engine).queued").await == 0).then_some(()),
    )
    .await;
    let drawn = page.plots().await;
    let queue = drawn.iter().find(|plot| plot.id == "(engine).queue");
    let queue = queue.unwrap();
    queue.is_within_its_frame();
    queue.is_drawn_at_its_numbers();
    assert!(queue.varies(), "{queued} keys were queued: {queue:?}");
    assert!(page.number("user.outage_loads").await > 0);
    eventually("the pointer shows how many it were", async || {
        // Each second all moves to the left, and so may the highest point before it is pointed at.
        let drawn = page.plots().await;
        let queue = drawn.iter().find(|plot| plot.id == "(engine).queue")?;
        page.point_at(&queue.id, queue.highest()?).await;
        (page.number("(engine).queue.queued").await >= queued).then_some(())
    })
    .await;
    let state = page.text("#state").await;
    assert!(state.ends_with(" s ago"), "{state}");
    page.point_at_nothing().await;
    assert_eq!(page.text("#state").await, "live");

    let numbers = service.numbers().await;
    let mut pictures = Vec::new();
    for form in [Form::DesktopLight, Form::DesktopDark, Form::Phone] {
        page.take(form).await;
        page.fits_its_width().await;
        page.has_room_for_every_scene(&numbers).await;
        let colours = page.colours().await;
        colours.are_legible(form);
        let picture = page.picture(form).await;
        picture.shows_something(form);
        pictures.push((colours, picture));
    }
    let (light, dark) = (&pictures[0].0, &pictures[1].0);
    assert_ne!(light.page, dark.page);
    assert_ne!(light.ink, dark.ink);
    page.complains_of_nothing();
}

#[tokio::test]
async fn a_service_that_is_gone_is_told_and_its_return_is_noticed() {
    let mut service = Service::start("127.0.0.1:0").await;
    let browser = Browser::start().await;
    let mut page = open_page(&service, &browser, Form::Phone).await;
    let total = page.number("user.total").await;
    page.complains_of_nothing();
    assert_eq!(page.text("#lost").await, "");
    page.evaluate("window.isTheSamePage = true").await;

    service.kill().await;
    let told = eventually("the page says so", async || {
        let told = page.text("#lost").await;
        (!told.is_empty()).then_some(told)
    })
    .await;
    assert!(told.contains("cannot be reached"), "{told}");
    assert!(page.is_seen("#lost").await);
    assert_eq!(page.text("#state").await, "not reachable");
    assert!(page.is_greyed("main").await);
    assert!(
        page.number("user.total").await >= total,
        "the last numbers stay"
    );
    page.fits_its_width().await;
    page.picture(Form::Lost).await.shows_something(Form::Lost);

    let _again = Service::start(&service.address()).await;
    eventually("the page goes on by itself", async || {
        (page.text("#state").await == "live").then_some(())
    })
    .await;
    assert!(!page.is_seen("#lost").await);
    assert!(!page.is_greyed("main").await);
    assert_eq!(page.evaluate("window.isTheSamePage").await, true);
}

#[tokio::test]
async fn prometheus_is_given_its_text() {
    let service = Service::start("127.0.0.1:0").await;
    let answer = service.get("/metrics").await;
    assert_eq!(answer.status, 200);
    let expected = cache_metrics::Exporter::CONTENT_TYPE;
    assert_eq!(answer.header("content-type"), Some(expected));
    let line = "# TYPE cache_requests_total counter";
    assert!(answer.body.lines().any(|it| it == line), "{}", answer.body);
}

#[tokio::test]
async fn the_page_may_ask_for_nothing_else_and_unknown_paths_are_not_found() {
    let service = Service::start("127.0.0.1:0").await;
    let page = service.get("/").await;
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let policy = page.header("content-security-policy").unwrap_or_default();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");

    let unknown = service.get("/nothing/here").await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("/metrics"), "{}", unknown.body);
}

#[tokio::test]
async fn the_numbers_keep_two_minutes_at_most_and_add_up() {
    let service = Service::start("127.0.0.1:0").await;
    let numbers = service.wait_for_samples(3).await;
    assert_eq!(numbers["kept"], 121);
    let scenes = numbers["scene"].as_array().unwrap();
    assert_eq!(Some(scenes.len() as u64), numbers["samples"].as_u64());
    for cache in numbers["caches"].as_array().unwrap() {
        let count = |name: &str| cache[name].as_u64().unwrap();
        assert_eq!(count("total"), count("hit") + count("miss"));
        for (column, values) in cache["plots"].as_object().unwrap() {
            let values = values.as_array().map(Vec::len);
            assert_eq!(values, Some(scenes.len()), "{column}");
        }
    }
    assert_eq!(numbers["engine"]["guarantee"], "strict");
    assert_eq!(numbers["engine"]["bypasses_all"], Value::Bool(false));
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_with_the_remedy() {
    for address in [
        "nonsense",
        "127.0.0.1",
        "127.0.0.1:99999",
        "localhost:80",
        "",
    ] {
        let ended = service::run_to_its_end(&[address]).await;
        assert_eq!(ended.code, Some(1), "{address}: {}", ended.errors);
        assert_eq!(
            ended.errors.trim_end(),
            format!(
                "error: ADDRESS is {address:?}, which is not an IP address with a port: give one \
                 such as 127.0.0.1:8080, [::1]:8080, or 127.0.0.1:0 for any port that is free"
            )
        );
    }
    let ended = service::run_to_its_end(&["127.0.0.1:0", "127.0.0.1:1"]).await;
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.errors.contains("the only argument"),
        "{}",
        ended.errors
    );
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused_with_the_remedy() {
    let service = Service::start("127.0.0.1:0").await;
    let address = service.address();
    let ended = service::run_to_its_end(&[&address]).await;
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.errors.trim_end(),
        format!(
            "error: cannot listen on {address}: another program listens there. Give another \
             ADDRESS, such as 127.0.0.1:0 for any port that is free"
        )
    );
}

#[tokio::test]
async fn ctrl_c_ends_it_in_good_order() {
    let mut service = Service::start("127.0.0.1:0").await;
    service.wait_for_samples(1).await;
    let (code, said) = service.interrupt().await;
    assert_eq!(code, Some(0));
    let expected = "Ended: 0 loads were still running, 0 invalidations were not delivered.";
    assert_eq!(said, expected);
}
