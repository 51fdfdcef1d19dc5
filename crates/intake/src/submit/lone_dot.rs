//! Finds the line that is a lone dot, at which a message from standard input
//! ends unless `-i` was given.
//!
//! This is no SMTP: nothing is stuffed, so nothing is taken off. It must never
//! hold more than the dot and a CR behind it.

/// What came before the next byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// The start of the text, or an LF.
    #[default]
    LineStart,
    /// A dot at the start of a line, held back.
    Dot,
    /// A dot and a CR at the start of a line, held back.
    DotCr,
    /// Anything else.
    Text,
}

/// Lets text pass up to a lone dot.
#[derive(Debug, Default)]
pub(super) struct LoneDot {
    state: State,
}

impl LoneDot {
    /// Appends what is before the lone dot to `output`; `true` if it was met.
    pub(super) fn push(&mut self, input: &[u8], output: &mut Vec<u8>) -> bool {
        let mut rest = input;
        while let Some(&byte) = rest.first() {
            let length = match (self.state, byte) {
                (State::LineStart, b'.') => self.hold(State::Dot),
                (State::Dot, b'\r') => self.hold(State::DotCr),
                (State::Dot | State::DotCr, b'\n') => return true,
                _ => {
                    output.extend_from_slice(self.held());
                    let line = rest.iter().position(|&byte| byte == b'\n');
                    self.state = if line.is_some() { State::LineStart } else { State::Text };
                    let length = line.map_or(rest.len(), |place| place + 1);
                    output.extend_from_slice(&rest[..length]);
                    length
                }
            };
            rest = &rest[length..];
        }
        false
    }

    /// The input is over. A lone dot without a line end is one all the same.
    pub(super) fn finish(&mut self, output: &mut Vec<u8>) {
        if self.state == State::DotCr {
            output.extend_from_slice(self.held());
        }
    }

    fn hold(&mut self, state: State) -> usize {
        self.state = state;
        1
    }

    fn held(&self) -> &'static [u8] {
        match self.state {
            State::LineStart | State::Text => b"",
            State::Dot => b".",
            State::DotCr => b".\r",
        }
    }
}
