//! What becomes of a message that is not judged at once.
//!
//! Whoever waits on its behalf says so; the backlog knows whether there is a place
//! for such messages. Nothing here decides.

/// Told when a message is not judged at once, as often as one likes.
pub(crate) type Slow<'a> = dyn FnMut(Delay) -> Result<(), GivesWay> + 'a;

/// How late it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delay {
    /// A moment: it, or the machine, is slower than usual. It is always let go on.
    Lingers,
    /// It costs more than others, or has to wait for what does: it goes on behind
    /// all others, or gives way.
    TakesLong,
}

/// So many messages take long already that this one goes back, to be tried again
/// in a slow place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GivesWay;
