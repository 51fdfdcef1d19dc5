//! What the service manager is told, by sd_notify(3): that mail is taken in, that
//! the configuration is read again, that the end has begun, and that all is well.
//!
//! Without one (no `NOTIFY_SOCKET`) nobody is told. A manager that does not listen
//! must never keep the daemon from its work.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never, tick};
use sd_notify::NotifyState;
use tracing::debug;

/// Mail is taken in, by the configuration in force.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is read again; [`ready`] follows.
pub fn reloading() {
    // The time is what systemd.service(5) asks for with Type=notify-reload.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The end has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The supervisor is alive: to be told each time that [`heartbeat`] asks for it.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often the manager is told within the time after which it gives up:
/// sd_watchdog_enabled(3) recommends every half of it.
const BEATS: u32 = 2;

/// Asks for a sign of life as often as the manager wants one (`WATCHDOG_USEC`);
/// never, if it wants none.
pub fn heartbeat() -> Receiver<Instant> {
    let every = sd_notify::watchdog_enabled().map(|limit| limit / BEATS);
    every.filter(|every| *every > Duration::ZERO).map_or_else(never, tick)
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!(%error, "the service manager could not be told");
    }
}
