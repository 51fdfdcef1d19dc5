//! What a sender asks to be told of a recipient.
//!
//! What was not asked for must never be told.

use lazaret_envelope::{Notify, RcptParams};

/// What NOTIFY asks for. RFC 3461 section 4.1: without it, failures are told, and
/// delays may be; here they are not, since whoever wants to know of them can ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asks {
    pub(crate) success: bool,
    pub(crate) failure: bool,
    pub(crate) delay: bool,
}

impl From<&RcptParams> for Asks {
    fn from(params: &RcptParams) -> Self {
        match params.notify {
            None => Self { success: false, failure: true, delay: false },
            Some(Notify::Never) => Self { success: false, failure: false, delay: false },
            Some(Notify::On { success, failure, delay }) => Self { success, failure, delay },
        }
    }
}
