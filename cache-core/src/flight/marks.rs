//! Marks: the moments that decide who may accept an outcome.

#[cfg(feature = "testing")]
use crate::testing::Mutant;

/// The place of a caller, or of a mark, in the order of the shard's mailbox.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Arrival(pub(super) u64);

/// A command that is about to be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mark {
    /// `acquire`; posted anew for each attempt.
    Acquire,
    /// The loader; posted anew if the load passes to another loader.
    Load,
    /// `fill`.
    Fill,
}

/// How a flight ended, as far as it matters for who may accept its outcome.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Landing {
    /// `acquire` found the entry.
    Hit,
    /// The load was stored.
    Stored,
    /// The load was not stored: refused by the fence, unknown, or not to be stored at all.
    Unstored,
    /// An error.
    Failed,
}

/// Who may accept an outcome.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Covered {
    Everybody,
    Nobody,
    Before(Arrival),
}

impl Covered {
    pub(super) fn includes(self, arrival: Arrival) -> bool {
        match self {
            Self::Everybody => true,
            Self::Nobody => false,
            Self::Before(mark) => arrival < mark,
        }
    }
}

/// The last mark of each kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    acquire: Option<Arrival>,
    load: Option<Arrival>,
    fill: Option<Arrival>,
}

impl Marks {
    pub(super) fn set(&mut self, mark: Mark, at: Arrival) {
        match mark {
            Mark::Acquire => self.acquire = Some(at),
            Mark::Load => self.load = Some(at),
            Mark::Fill => self.fill = Some(at),
        }
    }

    pub(super) fn load_began(&self) -> bool {
        self.load.is_some()
    }

    /// Who may accept the outcome of a flight with these marks.
    ///
    /// A doomed flight stays at the mark of its load: an invalidation was asked for while it ran,
    /// and nothing says on which side of the removal its `fill` fell.
    pub(super) fn covered(&self, landing: Landing, doomed: bool, rules: Rules) -> Covered {
        #[cfg(feature = "testing")]
        if rules.broken_for(landing) {
            return Covered::Everybody;
        }
        #[cfg(not(feature = "testing"))]
        let Rules {} = rules;

        let mark = match landing {
            Landing::Failed => return Covered::Everybody,
            Landing::Hit => self.acquire,
            Landing::Stored if !doomed => self.fill,
            Landing::Stored | Landing::Unstored => self.load,
        };
        mark.map_or(Covered::Nobody, Covered::Before)
    }
}

/// The rules in force: all of them, unless a test switched one off.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    #[cfg(feature = "testing")]
    pub(crate) mutant: Option<Mutant>,
}

#[cfg(feature = "testing")]
impl Rules {
    fn broken_for(self, landing: Landing) -> bool {
        matches!(
            (self.mutant, landing),
            (Some(Mutant::JoinReadInFlight), Landing::Hit)
                | (Some(Mutant::JoinAfterFill), Landing::Stored)
                | (Some(Mutant::ShareRefusedFill), Landing::Unstored)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks() -> Marks {
        Marks {
            acquire: Some(Arrival(10)),
            load: Some(Arrival(20)),
            fill: Some(Arrival(30)),
        }
    }

    #[test]
    fn each_outcome_is_good_for_those_before_its_mark() {
        for (landing, doomed, mark) in [
            (Landing::Hit, false, 10),
            (Landing::Hit, true, 10),
            (Landing::Stored, false, 30),
            (Landing::Stored, true, 20),
            (Landing::Unstored, false, 20),
            (Landing::Unstored, true, 20),
        ] {
            let covered = marks().covered(landing, doomed, Rules::default());
            assert!(covered.includes(Arrival(mark - 1)), "{landing:?} {doomed}");
            assert!(!covered.includes(Arrival(mark)), "{landing:?} {doomed}");
        }
    }

    #[test]
    fn an_error_is_for_everybody() {
        let covered = Marks::default().covered(Landing::Failed, true, Rules::default());
        assert!(covered.includes(Arrival(u64::MAX)));
    }

    #[test]
    fn without_its_mark_an_outcome_is_for_nobody() {
        for landing in [Landing::Hit, Landing::Stored, Landing::Unstored] {
            let covered = Marks::default().covered(landing, false, Rules::default());
            assert!(!covered.includes(Arrival(0)), "{landing:?}");
        }
    }
}
