//! In which tracing span a loader runs.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock},
};

use tokio::time::sleep;
use tracing::{
    Event, Instrument, Metadata, Subscriber, info_span,
    span::{Attributes, Id, Record},
    subscriber::set_default,
};
use tracing_core::span::Current;

use crate::{
    SECOND,
    support::{Loads, assert_empty, caller, on_stage, settle, users},
};

/// Knows which spans it is in, and nothing else.
#[derive(Default)]
struct Spans {
    entered: Mutex<Vec<u64>>,
    made: Mutex<u64>,
    metadata: OnceLock<&'static Metadata<'static>>,
}

impl Spans {
    fn innermost(&self) -> Option<u64> {
        self.entered.lock().unwrap().last().copied()
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span()
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.metadata.get_or_init(|| span.metadata());
        let mut made = self.made.lock().unwrap();
        *made += 1;
        Id::from_u64(*made)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, span: &Id) {
        self.entered.lock().unwrap().push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        let left = self.entered.lock().unwrap().pop();
        assert_eq!(left, Some(span.into_u64()));
    }

    fn current_span(&self) -> Current {
        match (self.innermost(), self.metadata.get()) {
            (Some(span), Some(metadata)) => Current::new(Id::from_u64(span), metadata),
            _ => Current::none(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_loader_runs_inside_the_span_of_the_caller_who_brought_it() {
    let spans = Arc::new(Spans::default());
    let _in_force = set_default(Arc::clone(&spans));
    on_stage(async |stage| {
        let engine = stage.engine();
        let users = users(&engine);
        let (leaders, waiters) = (info_span!("leader"), info_span!("waiter"));
        let id = leaders.id().unwrap().into_u64();
        assert_ne!(Some(id), waiters.id().map(|waiters| waiters.into_u64()));

        let seen = Arc::new(Mutex::new(Vec::new()));
        let see = {
            let (spans, seen) = (Arc::clone(&spans), Arc::clone(&seen));
            move || seen.lock().unwrap().push(spans.innermost())
        };
        let call = users.get_or_load(&1, || {
            see();
            async move {
                see();
                sleep(SECOND).await;
                see();
                Ok::<_, io::Error>("ann".to_owned())
            }
        });
        let waiter = tokio::task::spawn_local({
            let users = users.clone();
            let waits = async move {
                settle().await;
                let loader = Loads::default().value("unused", SECOND);
                users.get_or_load(&1, loader).await
            };
            waits.instrument(waiters)
        });
        call.instrument(leaders).await.unwrap();
        waiter.await.unwrap().unwrap();

        assert_eq!(*seen.lock().unwrap(), [Some(id); 3]);
        assert_eq!(spans.innermost(), None, "no span is left entered");
        assert_empty(&engine).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_loader_outside_any_span_runs_outside_any_span() {
    let spans = Arc::new(Spans::default());
    let _in_force = set_default(Arc::clone(&spans));
    on_stage(async |stage| {
        let engine = stage.engine();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let see = Arc::clone(&seen);
        let inside = Arc::clone(&spans);
        let call = caller(&users(&engine), 1, move || async move {
            see.lock().unwrap().push(inside.innermost());
            Ok::<_, io::Error>("ann".to_owned())
        });
        call.await.unwrap().unwrap();
        assert_eq!(*seen.lock().unwrap(), [None]);
    })
    .await;
}
