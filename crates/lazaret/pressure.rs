//! Memory pressure: closes intake before the machine suffers, opens it again.
//!
//! The kernel tells which share of the last ten seconds something had to wait for
//! memory (PSI). Above a threshold new mail is answered 4xx, so that it waits
//! where it is; below half of it mail comes in again. Mail that is in the spool
//! goes on: working it off is what gives memory back. Where the kernel tells
//! nothing, or stops telling, intake must never stay closed for it.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use lazaret_intake::{IntakeGate, Pause};
use lazaret_operator::{IntakeConfig, Percent};
use rustix::io::Errno;
use tracing::{info, warn};

/// How often is looked: the kernel's numbers change every two seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Intake opens below this part of the threshold: one of so many.
const OPEN_BELOW: f64 = 2.0;

/// Looks after the gate until it is dropped.
#[derive(Debug)]
pub struct PressureWatch {
    /// Its end is the thread's.
    stop: Option<Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl PressureWatch {
    /// Starts to look.
    pub fn start(config: &IntakeConfig, gate: Arc<IntakeGate>) -> io::Result<Self> {
        let threshold = config.memory_pressure;
        let files = lazaret_worker::memory_pressure_files();
        let (stop, stopped) = bounded(0);
        let tick = move || wait(&stopped);
        let watch = move || watch(threshold, &gate, || highest(&files), tick);
        let thread = thread::Builder::new().name("pressure".into()).spawn(watch)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for PressureWatch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            warn!("the thread that looks for memory pressure had ended by a panic");
        }
    }
}

/// Waits for the time of the next look; `false` if there is to be none.
fn wait(stopped: &Receiver<Infallible>) -> bool {
    stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout)
}

/// Looks with `read`, at each `tick`, until there is no further one or nothing to
/// be read.
fn watch(threshold: Percent, gate: &IntakeGate, read: impl Fn() -> io::Result<f64>, tick: impl Fn() -> bool) {
    let close = f64::from(threshold.get());
    loop {
        match read() {
            Ok(now) if now > close => {
                if gate.pause(Pause::Pressure) {
                    warn!(waited_percent = now, %threshold, "memory is short: no new mail until it is not");
                }
            }
            Ok(now) if now < close / OPEN_BELOW => {
                if gate.resume(Pause::Pressure) {
                    info!(waited_percent = now, "memory is there again");
                }
            }
            Ok(_) => {}
            // Says nothing about memory; the next look may work.
            Err(error) if is_out_of_files(&error) => {}
            Err(error) => {
                info!(%error, "the kernel does not tell of memory pressure: intake does not depend on it");
                gate.resume(Pause::Pressure);
                return;
            }
        }
        if !tick() {
            return;
        }
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// The highest of what the files tell.
fn highest(files: &[PathBuf]) -> io::Result<f64> {
    let told = files.iter().map(|file| {
        let text = fs::read_to_string(file)?;
        let odd =
            || io::Error::new(io::ErrorKind::InvalidData, format!("{}: not understood", file.display()));
        waited(&text).ok_or_else(odd)
    });
    // A file that fails, such as that of a group without memory, leaves the others.
    let told: Vec<io::Result<f64>> = told.collect();
    let highest = told.iter().flatten().copied().reduce(f64::max);
    let first = told.into_iter().find_map(Result::err);
    let none =
        || first.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no /proc/pressure/memory"));
    highest.ok_or_else(none)
}

/// `some avg10=0.12 avg60=…`: percent of ten seconds in which something waited.
fn waited(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split(' ').find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// What the gate is after each of the readings; an empty text can't be read.
    fn states(threshold: &str, readings: &[&str]) -> Vec<bool> {
        let gate = IntakeGate::new(IntakeConfig::default().reserve(), |_| {});
        let (states, left) = (RefCell::default(), RefCell::new(readings.iter()));
        let closed = || gate.paused() == Some(Pause::Pressure);
        let read = || {
            let text = left.borrow_mut().next().expect("no further reading");
            if *text == "no descriptor" {
                Err(Errno::MFILE)?
            }
            waited(text).ok_or_else(|| io::Error::other("nothing"))
        };
        let tick = || {
            Vec::push(&mut *states.borrow_mut(), closed());
            left.borrow().len() > 0
        };
        watch(threshold.parse().unwrap(), &gate, read, tick);
        let mut states = states.into_inner();
        if states.len() < readings.len() {
            states.push(closed());
        }
        states
    }

    fn some(percent: &str) -> String {
        format!(
            "some avg10={percent} avg60=99.00 avg300=99.00 total=1\nfull avg10=99.00 avg60=0.00 total=0\n"
        )
    }

    #[test]
    fn intake_closes_above_the_threshold_and_opens_below_half_of_it() {
        let readings = ["0.00", "10.00", "10.01", "7.00", "5.00", "4.99", "9.00", "80.00"].map(some);
        let readings = readings.each_ref().map(String::as_str);
        assert_eq!(states("10%", &readings), [false, false, true, true, true, false, false, true]);
        assert_eq!(states("100%", &[&some("100.00")]), [false]);
    }

    #[test]
    fn intake_does_not_stay_closed_when_nothing_is_told_any_more() {
        assert_eq!(states("10%", &[&some("50.00"), ""]), [true, false]);
        assert_eq!(states("10%", &["some avg10=much"]), [false]);
        assert_eq!(states("10%", &[&some("50.00"), "no descriptor", &some("0.00")]), [true, true, false]);
    }

    #[test]
    fn the_highest_of_what_can_be_read_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let (low, high) = (file("low", &some("1.50")), file("high", &some("2.50")));
        let missing = folder.path().join("missing");
        assert_eq!(highest(&[low, high, missing.clone()]).unwrap(), 2.5);
        assert_eq!(highest(&[missing]).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(highest(&[]).unwrap_err().to_string().contains("/proc/pressure/memory"));
        assert!(highest(&[file("odd", "?")]).unwrap_err().to_string().contains("odd"));
    }

    #[test]
    fn a_watch_ends_with_its_value() {
        let gate = Arc::new(IntakeGate::new(IntakeConfig::default().reserve(), |_| {}));
        drop(PressureWatch::start(&IntakeConfig::default(), Arc::clone(&gate)).unwrap());
        assert_eq!(Arc::strong_count(&gate), 1);
    }
}
