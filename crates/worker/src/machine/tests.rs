//! What fits, what is refused and how, and who gets memory first.

use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::slow::Turn;

const GIB: u64 = 1 << 30;

fn config(count: u16, spares: u16) -> WorkersConfig {
    WorkersConfig { count, spares: Some(spares), ..WorkersConfig::default() }
}

fn machine(bytes: u64) -> Available {
    Available { bytes, of: "the machine".to_owned() }
}

#[test]
fn the_default_fits_on_small_machines() {
    // A machine of 1 GiB shows less: the kernel keeps some for itself.
    for (count, bytes) in [(1, 600 * MIB), (2, 950 * MIB), (8, 2 * GIB)] {
        let config = WorkersConfig { count, ..WorkersConfig::default() };
        let permits = Fit::check(&config, &machine(bytes)).unwrap();
        let large = config.budget(config.max_size.0);
        assert!(permits.share(large) == large.memory - permits.small, "{count}");
    }
}

#[test]
fn a_refusal_has_the_numbers_and_what_would_fit() {
    let error = Fit::check(&config(2, 2), &machine(400 * MIB)).unwrap_err().to_string();
    for part in
        ["668MiB", "the machine has 400MiB", "432MiB", "max_size = 50MiB", "34MiB for each of 6", "32MiB"]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
    let (_, rest) = error.split_once("workers.max_size = \"").unwrap();
    let fits = rest.split_once("\", which would fit").unwrap().0.parse().unwrap();
    assert!(
        Fit::check(&WorkersConfig { max_size: fits, ..config(2, 2) }, &machine(400 * MIB)).is_ok(),
        "{error}"
    );
    let error = Fit::check(&config(2, 2), &machine(100 * MIB)).unwrap_err().to_string();
    assert!(error.contains("lower workers.memory"), "{error}");
    let small = ByteSize(1 << 20);
    let many = WorkersConfig { max_size: small, ..config(20, 20) };
    let error = Fit::check(&many, &machine(GIB)).unwrap_err().to_string();
    assert!(error.contains("lower workers.count"), "{error}");
    let error = Fit::check(&config(1, 0), &machine(40 * MIB)).unwrap_err().to_string();
    assert!(error.contains("lower workers.memory"), "{error}");
    let endless = WorkersConfig { memory: ByteSize(u64::MAX), ..config(9, 9) };
    assert!(Fit::check(&endless, &machine(GIB)).is_err());
}

#[test]
fn what_all_cells_may_have_is_half_of_it_or_as_configured() {
    let permits = Fit::check(&config(2, 0), &machine(8 * GIB)).unwrap();
    assert_eq!(permits.total + 4 * (permits.small + LEFT_BYTES_MAX), 4 * GIB);
    let total = |memory_total| WorkersConfig { memory_total: Some(ByteSize(memory_total)), ..config(2, 0) };
    let permits = Fit::check(&total(GIB), &machine(8 * GIB)).unwrap();
    assert_eq!(permits.total + 4 * (permits.small + LEFT_BYTES_MAX), GIB);
    let error = Fit::check(&total(100 * MIB), &machine(8 * GIB)).unwrap_err().to_string();
    assert!(error.contains("workers.memory_total has 132MiB"), "{error}");
    let permits = Fit::check(&total(99 * GIB), &machine(8 * GIB)).unwrap();
    assert_eq!(
        permits.total + 4 * (permits.small + LEFT_BYTES_MAX),
        8 * GIB - RESERVE_BYTES,
        "not more than there is"
    );
}

#[test]
fn this_machine_can_be_asked() {
    let available = Available::of_this_process().unwrap();
    assert!(available.bytes > MIB && !available.of.is_empty());
}

#[test]
fn the_lowest_limit_counts() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    assert!(Available::below(root.path()).is_err());
    write("proc/meminfo", "MemTotal:       4096 kB\nMemFree: 1 kB\n");
    assert_eq!(Available::below(root.path()).unwrap(), machine(4096 * 1024));
    write("proc/self/cgroup", "0::/a\n");
    write("proc/self/mountinfo", "1 1 0:1 / /cg rw - cgroup2 none rw\n");
    write("cg/a/memory.max", "1000000\n");
    let found = Available::below(root.path()).unwrap();
    assert!(found.bytes == 1_000_000 && found.of.contains("cg/a"), "{found:?}");
}

fn budget(memory: u64) -> Budget {
    Budget { memory, cpu: Duration::ZERO, wall: Duration::ZERO }
}

#[test]
fn small_mail_never_waits() {
    let permits = Permits::new(10, 100);
    let wait = &mut |_| panic!("it waits");
    let _all = permits.take(budget(110), wait).unwrap();
    let _small: Vec<_> = (0..1000).map(|_| permits.take(budget(10), wait).unwrap()).collect();
}

#[test]
fn large_mail_waits_its_turn_and_gets_it() {
    let permits = Permits::new(10, 100);
    let (asks, asked) = mpsc::channel();
    std::thread::scope(|scope| {
        let first = permits.take(budget(60), &mut |_| panic!("there is room")).unwrap();
        let mut waiting = Vec::new();
        // The second needs everything; the third would fit in before it, and must not.
        for (name, bytes) in [("all", 110), ("some", 20)] {
            let asks = asks.clone();
            let permits = &permits;
            let (got, gets) = mpsc::channel();
            scope.spawn(move || {
                let ask = &mut |_| {
                    asks.send(name).unwrap();
                    Ok(Turn::Its)
                };
                got.send(permits.take(budget(bytes), ask).unwrap()).unwrap();
            });
            assert_eq!(asked.recv().unwrap(), name);
            waiting.push(gets);
        }
        assert!(waiting[1].try_recv().is_err());
        drop(first);
        let all = waiting[0].recv().unwrap();
        assert!(waiting[1].try_recv().is_err());
        drop(all);
        drop(waiting[1].recv().unwrap());
    });
    assert_eq!(permits.state().free, 100);
}

#[test]
fn who_gives_way_holds_up_nobody() {
    let permits = Permits::new(10, 100);
    let first = permits.take(budget(60), &mut |_| panic!("there is room")).unwrap();
    let ask = &mut |delay| {
        assert_eq!(delay, Delay::TakesVeryLong, "nothing that is soon done");
        Err(GivesWay::Twice)
    };
    assert_eq!(permits.take(budget(110), ask).map(drop), Err(GivesWay::Twice));
    drop(permits.take(budget(20), &mut |_| panic!("nobody waits any more")).unwrap());
    drop(first);
    assert_eq!(permits.state().free, 100);
}

#[test]
fn nobody_asks_for_more_than_there_is() {
    let permits = Permits::new(10, 100);
    drop(permits.take(budget(u64::MAX), &mut |_| panic!("it waits")).unwrap());
}
