//! What becomes of a message that is not judged at once.
//!
//! Whoever waits on its behalf says so; the backlog knows whether there is a place
//! for such messages, and whose turn it is. Nothing here decides.

/// Told when a message is not judged at once, as often as one likes; whose turn it
/// is then.
pub(crate) type Slow<'a> = dyn FnMut(Delay) -> Result<Turn, GivesWay> + 'a;

/// How late it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delay {
    /// A moment: it, or the machine, is slower than usual. It is always let go on.
    Lingers,
    /// It costs more than others, or has to wait for what does: it goes on behind
    /// all others, or gives way.
    TakesLong,
    /// It costs so much more that bad luck can't be why.
    TakesVeryLong,
}

/// Whose turn it is, for a message that takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nobody else's: it goes on.
    Its,
    /// That of other mail: it rests, but for a small share of the time.
    Others,
}

/// So many messages take long already that this one goes back, to be tried again
/// in a place for such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GivesWay {
    /// To be looked at once more.
    Once,
    /// It was, and is to take as long as it takes.
    Twice,
}
