//! As a service: what the service manager is told, and the unit file as shipped.
//!
//! The manager's side is a socket of the test. Nothing here must ever reach the
//! manager of the machine.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::daemon::STOP_TIME_MAX;
use crate::lab::{LAZARET, Lab};
use crate::process::{Owned, finish};
use crate::trial::Case;

/// Longest time between two things that a manager is told.
const TOLD_TIME_MAX: Duration = Duration::from_secs(30);

const UNIT: &str = include_str!("../../../examples/systemd/lazaret.service");

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("service::the_manager_is_told", the_manager_is_told),
        Case::new("service::the_unit_runs_what_there_is", the_unit_runs_what_there_is),
    ]
}

/// Reads what the manager is told until a word of it.
fn await_word(manager: &UnixDatagram, word: &str) {
    let mut told = [0; 256];
    let mut before = Vec::new();
    loop {
        let length =
            manager.recv(&mut told).unwrap_or_else(|error| panic!("{error}: {word} after {before:?}"));
        let text = String::from_utf8_lossy(&told[..length]).into_owned();
        if text.lines().any(|line| line == word) {
            return;
        }
        before.push(text);
    }
}

fn the_manager_is_told() {
    let lab = Lab::new();
    lab.prepare();
    let socket = lab.path("notify");
    let manager = UnixDatagram::bind(&socket).expect("a socket");
    manager.set_read_timeout(Some(TOLD_TIME_MAX)).expect("a limit");
    let mut command = Command::new(LAZARET);
    command.args(["run", "--config"]).arg(lab.config()).env("NOTIFY_SOCKET", &socket);
    // In microseconds. WATCHDOG_PID names the process that is meant, if it is not the one.
    command.env("WATCHDOG_USEC", "200000").env_remove("WATCHDOG_PID");
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut daemon = Owned(child.expect("it starts"));
    await_word(&manager, "READY=1");
    await_word(&manager, "WATCHDOG=1");
    daemon.hang_up();
    await_word(&manager, "RELOADING=1");
    await_word(&manager, "READY=1");
    daemon.terminate();
    await_word(&manager, "STOPPING=1");
    assert_eq!(daemon.wait(STOP_TIME_MAX).and_then(|status| status.code()), Some(0));
}

fn the_unit_runs_what_there_is() {
    let commands: Vec<&str> = UNIT
        .lines()
        .filter_map(|line| line.strip_prefix("ExecStart=").or_else(|| line.strip_prefix("ExecReload=")))
        .collect();
    assert_eq!(commands.len(), 2, "{commands:?}");
    for command in commands {
        let arguments = command.strip_prefix("/usr/bin/lazaret ").expect("our program");
        let mut command = Command::new(LAZARET);
        let help = finish(command.args(arguments.split(' ')).arg("--help"), b"", TOLD_TIME_MAX);
        assert_eq!(help.code, Some(0), "{arguments}: {help:?}");
    }
}
