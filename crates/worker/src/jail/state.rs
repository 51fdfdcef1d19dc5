//! How a cell is to be jailed, and how far that went, as it is configured,
//! handed over and read.
//!
//! The order of [`Piece::ALL`] is the layout of a number on the shared page, but
//! both its sides are always of one program. A state must never say that a part
//! holds which was not seen to succeed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The `jail` key of the `[workers]` table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JailMode {
    /// No cell without a jail, and no daemon without cells.
    Required,
    /// All that the kernel has; what it lacks is logged.
    #[default]
    BestEffort,
    /// None, for debugging.
    Off,
}

impl JailMode {
    /// What an operator who checks the configuration should be told.
    #[must_use]
    pub fn warning(self) -> Option<&'static str> {
        (self == Self::Off).then_some(
            "[workers] jail = \"off\" is for debugging: a message that takes over the parser has all rights \
             of the daemon; set \"best-effort\" or \"required\"",
        )
    }

    /// Whether a cell whose jail is in this state may be given mail.
    pub(crate) fn accepts(self, state: JailState) -> bool {
        self != Self::Required || state.confines()
    }
}

/// A part of the jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// The kernel's first choice when memory runs out.
    OomScore,
    /// No descriptor but the socket.
    Descriptors,
    /// No core file, no debugger.
    Undumpable,
    /// Limits on resources.
    Limits,
    /// No capabilities.
    Capabilities,
    /// No new privileges.
    NoNewPrivs,
    /// No path.
    Landlock,
    /// No TCP port, nobody to signal, no abstract socket.
    LandlockNewer,
    /// No system call but those on the list.
    Seccomp,
}

impl Piece {
    /// All parts.
    pub const ALL: [Self; 9] = [
        Self::OomScore,
        Self::Descriptors,
        Self::Undumpable,
        Self::Limits,
        Self::Capabilities,
        Self::NoNewPrivs,
        Self::Landlock,
        Self::LandlockNewer,
        Self::Seccomp,
    ];

    /// Whether a cell is at large without it. Of the two others one guards the
    /// machine, and the other's rights are all behind system calls that are not
    /// on the list.
    #[must_use]
    pub fn confines(self) -> bool {
        !matches!(self, Self::OomScore | Self::LandlockNewer)
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }

    fn name(self) -> &'static str {
        match self {
            Self::OomScore => "oom_score_adj",
            Self::Descriptors => "closing of descriptors",
            Self::Undumpable => "PR_SET_DUMPABLE",
            Self::Limits => "resource limits",
            Self::Capabilities => "dropping of capabilities",
            Self::NoNewPrivs => "no_new_privs",
            Self::Landlock => "Landlock",
            Self::LandlockNewer => "Landlock for TCP, signals and abstract sockets (ABI 6)",
            Self::Seccomp => "seccomp",
        }
    }
}

/// How far a cell's jail went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JailState {
    missing: u32,
}

/// Set on the shared page together with what is missing: zero is no state.
const SAID: u32 = 1 << 31;

impl JailState {
    /// Nothing is missing.
    pub(super) const FULL: Self = Self { missing: 0 };

    /// There is no jail.
    pub(crate) const NONE: Self = Self { missing: (1 << Piece::ALL.len()) - 1 };

    /// A part that failed is missing.
    pub(super) fn note<T, E>(&mut self, piece: Piece, done: Result<T, E>) {
        if done.is_err() {
            self.missing |= piece.bit();
        }
    }

    /// The parts that are missing.
    pub fn missing(self) -> impl Iterator<Item = Piece> {
        Piece::ALL.into_iter().filter(move |piece| self.missing & piece.bit() != 0)
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_full(self) -> bool {
        self == Self::FULL
    }

    /// Whether everything holds that keeps a cell from doing harm.
    #[must_use]
    pub fn confines(self) -> bool {
        self.missing().all(|piece| !piece.confines())
    }

    /// As a number on the shared page.
    pub(crate) fn encode(self) -> u32 {
        self.missing | SAID
    }

    /// From the shared page; `None` if nothing was said, or nonsense.
    pub(crate) fn decode(number: u32) -> Option<Self> {
        let missing = number & !SAID;
        (number & SAID != 0 && missing & !Self::NONE.missing == 0).then_some(Self { missing })
    }
}

impl fmt::Display for JailState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::FULL => f.write_str("full"),
            Self::NONE => f.write_str("none"),
            _ => {
                let missing: Vec<_> = self.missing().map(Piece::name).collect();
                write!(f, "partial, without {}", missing.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bit_of_each_piece_is_its_own() {
        for (at, piece) in Piece::ALL.into_iter().enumerate() {
            assert_eq!(piece.bit(), 1 << at, "{piece:?}");
            let mut state = JailState::FULL;
            state.note(piece, Err::<(), ()>(()));
            assert_eq!(JailState::decode(state.encode()), Some(state));
            assert_eq!(state.missing().collect::<Vec<_>>(), [piece]);
            assert_eq!(state.confines(), matches!(piece, Piece::OomScore | Piece::LandlockNewer));
        }
    }

    #[test]
    fn what_is_no_state_is_none() {
        for number in [0, 1, SAID | 1 << Piece::ALL.len(), u32::MAX] {
            assert_eq!(JailState::decode(number), None, "{number:x}");
        }
    }

    #[test]
    fn only_what_is_required_refuses() {
        for (mode, full, none) in [
            (JailMode::Required, true, false),
            (JailMode::BestEffort, true, true),
            (JailMode::Off, true, true),
        ] {
            assert_eq!((mode.accepts(JailState::FULL), mode.accepts(JailState::NONE)), (full, none));
        }
        assert!(JailMode::Off.warning().is_some());
        assert!(JailMode::default().warning().is_none());
    }

    #[test]
    fn says_what_is_missing() {
        let mut state = JailState::FULL;
        assert_eq!(state.to_string(), "full");
        state.note(Piece::Seccomp, Err::<(), ()>(()));
        state.note(Piece::Landlock, Err::<(), ()>(()));
        assert_eq!(state.to_string(), "partial, without Landlock, seccomp");
        assert_eq!(JailState::NONE.to_string(), "none");
    }
}
