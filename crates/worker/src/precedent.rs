//! What is to be expected of a message before a cell has looked at it.
//!
//! A large message takes milliseconds of a first look until it is known to take long, and in
//! an attack that is most of what it costs others. What attacks a parser is large and says the
//! same again and again; logs and tables may, too, and take no time. So such a message is
//! expected to fare like the last of its kind that a cell had: after one that took long the
//! next go behind all other mail at once, and after one that did not they are looked at like
//! others. What is expected is no fault, and must never keep a message from being judged.

use std::sync::atomic::{AtomicBool, Ordering};

/// How the last message fared that is large and repetitive.
#[derive(Debug, Default)]
pub(crate) struct Precedent {
    took_long: AtomicBool,
}

impl Precedent {
    /// Whether a message is expected to take long; it is asked whether it is of the kind
    /// only if that matters.
    pub(crate) fn expects_long(&self, of_the_kind: impl FnOnce() -> bool) -> bool {
        self.took_long() && of_the_kind()
    }

    /// Takes note of how a message fared in a cell.
    pub(crate) fn note(&self, took_long: bool, of_the_kind: impl FnOnce() -> bool) {
        if took_long != self.took_long() && of_the_kind() {
            self.took_long.store(took_long, Ordering::Relaxed);
        }
    }

    fn took_long(&self) -> bool {
        self.took_long.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_of_the_kind_is_expected_to_fare_like_the_last() {
        let (yes, no) = (|| true, || false);
        let precedent = Precedent::default();
        assert!(!precedent.expects_long(|| unreachable!("nothing is known of the kind")));
        precedent.note(false, || unreachable!("that changes nothing"));
        precedent.note(true, no);
        assert!(!precedent.expects_long(yes), "it was another kind");
        precedent.note(true, yes);
        assert!(precedent.expects_long(yes) && !precedent.expects_long(no));
        precedent.note(false, no);
        assert!(precedent.expects_long(yes));
        precedent.note(false, yes);
        assert!(!precedent.expects_long(yes));
    }
}
