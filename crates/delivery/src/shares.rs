//! How many connections each transport may have: fair shares of a total.
//!
//! Each transport has a share that is its own, used or not. Beyond it a transport
//! may take what nobody has a share in, or what is free. Pure. It must never let
//! a transport have what another one could still claim.

/// Who has how many.
#[derive(Debug)]
pub(crate) struct Shares {
    total: usize,
    /// What each may have at any time: the total, divided equally.
    share: usize,
    used: Vec<usize>,
}

impl Shares {
    /// For so many transports; each has a share of at least one.
    pub(crate) fn new(total: usize, transports: usize) -> Self {
        let share = (total / transports.max(1)).max(1);
        Self { total, share, used: vec![0; transports] }
    }

    /// One more for a transport; whether it may have it.
    pub(crate) fn take(&mut self, transport: usize) -> bool {
        let own = self.used[transport] < self.share;
        let claimed: usize = self.used.iter().map(|&used| used.max(self.share)).sum();
        let fits = own || claimed < self.total;
        if fits {
            self.used[transport] += 1;
        }
        fits
    }

    /// One less.
    pub(crate) fn give_back(&mut self, transport: usize) {
        self.used[transport] = self.used[transport].saturating_sub(1);
    }

    /// All that are in use.
    pub(crate) fn used(&self) -> usize {
        self.used.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_may_take_what_is_nobodys_share() {
        let mut shares = Shares::new(10, 3);
        assert_eq!((0..20).filter(|_| shares.take(0)).count(), 4, "its three, and the one that is left over");
        assert!((0..3).all(|_| shares.take(1)) && !shares.take(1));
        shares.give_back(0);
        assert!(shares.take(1), "what is free again is anybody's");
        assert!((0..3).all(|_| shares.take(2)) && !shares.take(2));
        assert_eq!(shares.used(), 10);
    }

    #[test]
    fn a_transport_alone_may_have_all() {
        let mut shares = Shares::new(7, 1);
        assert_eq!((0..20).filter(|_| shares.take(0)).count(), 7);
    }

    proptest! {
        #[test]
        fn never_more_than_the_total_and_never_less_than_a_share(
            total in 1..40_usize, transports in 1..6_usize, steps in prop::collection::vec((0..6_usize, any::<bool>()), 0..200),
        ) {
            let total = total.max(transports);
            let mut shares = Shares::new(total, transports);
            for (transport, takes) in steps {
                let transport = transport % transports;
                if takes {
                    let below = shares.used[transport] < total / transports;
                    prop_assert!(shares.take(transport) || !below, "its share is its own");
                } else {
                    shares.give_back(transport);
                }
                prop_assert!(shares.used() <= total);
            }
        }
    }
}
