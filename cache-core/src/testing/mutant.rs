//! Switches that turn one rule of the protocol off.

/// A rule of the protocol that is switched off, to see the tests of that rule fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Mutant {
    /// A load's answer is stored even if the fence refused it.
    PlainSet,
    /// A hit is shared with callers who arrived after it was asked for.
    JoinReadInFlight,
    /// A stored answer is shared with callers who arrived after its `fill` was sent.
    JoinAfterFill,
    /// An answer that the fence refused is shared with callers who arrived after its load began.
    ShareRefusedFill,
    /// A key is read although its removal is queued.
    ReadQueued,
    /// Whether the removal of a key is queued is looked at some time before the mark of an
    /// `acquire`, and not after it.
    LookBeforeMark,
    /// A put stores its value however late its `seize` was answered.
    LatePut,
}
