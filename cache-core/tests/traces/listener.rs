//! A subscriber that keeps all it is told.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    sync::{Arc, Mutex},
    thread::{self, ThreadId},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::{DefaultGuard, set_default},
};
use tracing_core::span::Current;

type Fields = BTreeMap<&'static str, String>;

/// Hears everything up to a level, on the thread on which it was put in force. Clones share it.
#[derive(Clone)]
pub(crate) struct Listener {
    level: Level,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    spans: Vec<Opened>,
    lines: Vec<Line>,
    /// The spans that each thread is in.
    entered: HashMap<ThreadId, Vec<usize>>,
}

/// A span that was opened.
struct Opened {
    metadata: &'static Metadata<'static>,
    parent: Option<usize>,
    fields: Fields,
    handles: usize,
}

/// A line of the log.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) fields: Fields,
}

impl Line {
    /// A field of this line, as text.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

impl Listener {
    /// Puts one in force on this thread for as long as the guard lives.
    pub(crate) fn in_force(level: Level) -> (Self, DefaultGuard) {
        let listener = Self {
            level,
            heard: Arc::default(),
        };
        let guard = set_default(listener.clone());
        (listener, guard)
    }

    /// All spans, each as the way to it: names, and fields in their order.
    pub(crate) fn spans(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        let ways = 0..heard.spans.len();
        ways.map(|span| heard.way(span)).collect()
    }

    /// The way to the span that this thread is in.
    pub(crate) fn here(&self) -> Option<String> {
        let heard = self.heard.lock().unwrap();
        Some(heard.way(heard.innermost()?))
    }

    /// The lines so far; begins anew.
    pub(crate) fn take_lines(&self) -> Vec<Line> {
        std::mem::take(&mut self.heard.lock().unwrap().lines)
    }

    /// The levels of all spans and lines so far.
    pub(crate) fn levels(&self) -> Vec<Level> {
        let heard = self.heard.lock().unwrap();
        let spans = heard.spans.iter().map(|span| *span.metadata.level());
        spans
            .chain(heard.lines.iter().map(|line| line.level))
            .collect()
    }

    /// Asserts that each span has been closed, and that no thread is in one.
    pub(crate) fn assert_closed(&self) {
        let heard = self.heard.lock().unwrap();
        for (span, opened) in heard.spans.iter().enumerate() {
            assert_eq!(opened.handles, 0, "still open: {}", heard.way(span));
        }
        assert!(heard.entered.values().all(Vec::is_empty));
    }
}

impl Heard {
    fn innermost(&self) -> Option<usize> {
        self.entered.get(&thread::current().id())?.last().copied()
    }

    fn way(&self, span: usize) -> String {
        let opened = &self.spans[span];
        let mut way = opened.parent.map_or(String::new(), |parent| {
            let name = self.way(parent);
            let name = name.split_once('{').map_or(&*name, |(name, _)| name);
            format!("{name} > ")
        });
        way.push_str(opened.metadata.name());
        if !opened.fields.is_empty() {
            let fields: Vec<_> = opened
                .fields
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            way.push_str(&format!("{{{}}}", fields.join(" ")));
        }
        way
    }

    fn opened(&mut self, span: &Id) -> &mut Opened {
        &mut self.spans[place(span)]
    }
}

fn place(span: &Id) -> usize {
    usize::try_from(span.into_u64()).unwrap() - 1
}

fn id(place: usize) -> Id {
    Id::from_u64(place as u64 + 1)
}

/// Writes fields down.
struct Write<'a>(&'a mut Fields);

impl Visit for Write<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.into())
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut heard = self.heard.lock().unwrap();
        let parent = if span.is_contextual() {
            heard.innermost()
        } else {
            span.parent().map(place)
        };
        let mut fields = Fields::new();
        span.record(&mut Write(&mut fields));
        heard.spans.push(Opened {
            metadata: span.metadata(),
            parent,
            fields,
            handles: 1,
        });
        id(heard.spans.len() - 1)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut heard = self.heard.lock().unwrap();
        values.record(&mut Write(&mut heard.opened(span).fields));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Write(&mut fields));
        self.heard.lock().unwrap().lines.push(Line {
            level: *event.metadata().level(),
            fields,
        });
    }

    fn enter(&self, span: &Id) {
        let mut heard = self.heard.lock().unwrap();
        let entered = heard.entered.entry(thread::current().id());
        entered.or_default().push(place(span));
    }

    fn exit(&self, span: &Id) {
        let mut heard = self.heard.lock().unwrap();
        let entered = heard.entered.entry(thread::current().id());
        assert_eq!(entered.or_default().pop(), Some(place(span)));
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.heard.lock().unwrap().opened(span).handles += 1;
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let mut heard = self.heard.lock().unwrap();
        let opened = heard.opened(&span);
        opened.handles -= 1;
        opened.handles == 0
    }

    fn current_span(&self) -> Current {
        let heard = self.heard.lock().unwrap();
        match heard.innermost() {
            Some(span) => Current::new(id(span), heard.spans[span].metadata),
            None => Current::none(),
        }
    }
}
