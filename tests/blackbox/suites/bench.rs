//! The benchmark's own case: a small run of it does what it says.
//!
//! It must never assert a time.

use crate::bench::{Load, Mix, Parameters, run};
use crate::trial::{Case, Needs};

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![Case::new("bench::a_small_run_loses_nothing", small).needs(&[Needs::ReleaseBuild]).alone()]
}

fn small() {
    let parameters =
        Parameters { messages: 200, own: true, deadly: true, wait_for_rest: true, ..Parameters::default() };
    let load = Load::new(&parameters);
    for (mix, others) in [(Mix::Healthy, 0), (Mix::Ballast, 10), (Mix::Poisoned, 10)] {
        let (run, _lab) = run(&parameters, &load, mix);
        assert_eq!((run.missing, run.latencies.len()), (0, 200), "{mix:?}: healthy mail arrives: {run:?}");
        assert_eq!(run.healthy_deferred, 0, "{mix:?}: {run:?}");
        assert_eq!(run.others, others, "{mix:?}: {run:?}");
        let poison = if mix == Mix::Poisoned { others } else { 0 };
        assert_eq!(run.others_deferred, poison, "{mix:?}: {run:?}");
        assert!(run.rest.is_some(), "{mix:?}: everything is dealt with: {run:?}");
        assert!(!run.claiming_paused, "{mix:?}: {run:?}");
    }
}
