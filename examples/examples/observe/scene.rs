//! What goes wrong, and when: the same every minute.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// What is going on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scene {
    /// Nothing in particular.
    Calm,
    /// Many callers ask for one cold key at once.
    Stampede,
    /// The store of the cache does not answer.
    BackendSilent,
    /// Most queries fail.
    DatabaseFails,
}

/// How long it takes until all of it begins again.
const ROUND: Duration = Duration::from_secs(60);

/// What is not calm: when in a round it begins, and when it is over.
const PROGRAMME: [(Scene, Duration, Duration); 3] = [
    (Scene::Stampede, secs(5), secs(7)),
    (Scene::BackendSilent, secs(12), secs(20)),
    (Scene::DatabaseFails, secs(36), secs(44)),
];

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

impl Scene {
    pub(crate) const ALL: [Self; 4] = [
        Self::Calm,
        Self::Stampede,
        Self::BackendSilent,
        Self::DatabaseFails,
    ];

    /// What is going on this long after the first round began.
    fn at(passed: Duration) -> Self {
        let place = Duration::from_secs_f64(passed.as_secs_f64() % ROUND.as_secs_f64());
        let now = PROGRAMME
            .iter()
            .find(|(_, from, to)| (*from..*to).contains(&place));
        now.map_or(Self::Calm, |(scene, ..)| *scene)
    }

    /// What it is called beside a plot, where there is little room.
    pub(crate) const fn letter(self) -> &'static str {
        match self {
            Self::Calm => "",
            Self::Stampede => "S",
            Self::BackendSilent => "B",
            Self::DatabaseFails => "D",
        }
    }

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Calm => "All is well",
            Self::Stampede => "A stampede",
            Self::BackendSilent => "The backend does not answer",
            Self::DatabaseFails => "The database fails",
        }
    }

    /// What there is to see.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Calm => {
                "Most calls are hits, and few of them load. Something goes wrong every minute, so \
                 stay a while."
            }
            Self::Stampede => {
                "150 callers ask for one cold key of search at once. One of them loads it, the others \
                 wait for that: calls jump, loads do not."
            }
            Self::BackendSilent => {
                "What was cached cannot be read, so calls load from the database, each key once at a \
                 time. Invalidations wait in the queue until they can be delivered."
            }
            Self::DatabaseFails => {
                "Most loads fail. What is cached still answers, and what failed is not remembered."
            }
        }
    }
}

/// When it all began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    began: Instant,
}

impl Schedule {
    pub(crate) fn begin() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    pub(crate) fn passed(self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn scene(self) -> Scene {
        Scene::at(self.passed())
    }

    /// When the stampedes are, from the first on.
    pub(crate) fn stampedes(self) -> impl Iterator<Item = Instant> {
        let stampede = PROGRAMME
            .iter()
            .find(|(scene, ..)| *scene == Scene::Stampede);
        let first = stampede.map(|(_, from, _)| self.began + *from);
        (0..).map_while(move |round| Some(first? + ROUND * round))
    }
}
