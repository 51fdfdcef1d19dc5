//! No descriptor left: those who connect are told so, those who are connected are
//! put off, and all goes on once some are free.

use super::{Heard, RECIPIENT, SENDER, TIME_MAX, assert_arrive, assert_logged, connect, message, page, send};
use crate::lab::Lab;
use crate::process::{limit_open_files, open_files};
use crate::smtp::Client;
use crate::wait::until;

/// Descriptors that are left when the limit comes.
const LEFT: usize = 20;

/// What the limit is before and after.
const ENOUGH: usize = 4_096;

/// Connections that are more than these.
const CONNECTIONS: usize = 60;

pub fn too_many() {
    let lab = Lab::new();
    let mut daemon = lab.start();
    let mut first = connect(&daemon);
    let mut ids = Vec::new();
    let Heard::Queued(id) = send(&mut first, 0, 100) else { panic!("is not taken") };
    assert_arrive(&lab, std::slice::from_ref(&id));
    ids.push(id);
    limit_open_files(daemon.pid(), open_files(daemon.pid()) + LEFT);
    let (mut connected, mut turned_away) = (Vec::new(), 0);
    for _ in 0..CONNECTIONS {
        let mut client = Client::dial(daemon.smtp()).expect("the kernel connects");
        let greeting = client.reply().expect("nobody is left to wait");
        if greeting.code == 220 {
            connected.push(client);
        } else {
            page::assert_told(page::NO_FILES, &format!("{} {}", greeting.code, greeting.text));
            turned_away += 1;
        }
    }
    assert!(turned_away > 0 && !connected.is_empty(), "{turned_away} of {CONNECTIONS} were turned away");
    let mut number = 0;
    let mut put_off = 0;
    // A spare descriptor may be free now and then; most are not.
    assert!(until(TIME_MAX, || {
        number += 1;
        match send(&mut first, number, 100) {
            Heard::Queued(id) => ids.push(id),
            Heard::Refused(told) => {
                page::assert_told(page::NO_FILES, &told);
                put_off += 1;
            }
            Heard::Nothing => panic!("the session ended"),
        }
        put_off >= 3
    }));
    drop(connected);
    limit_open_files(daemon.pid(), ENOUGH);
    let again = until(TIME_MAX, || match Client::connect(daemon.smtp()) {
        Ok(mut client) => match client.deliver(SENDER, &[RECIPIENT], &message(99, 100)) {
            Ok(id) => {
                ids.push(id);
                true
            }
            Err(_) => false,
        },
        Err(_) => false,
    });
    assert!(again, "intake does not go on");
    let Heard::Queued(id) = send(&mut first, 100, 100) else { panic!("the session does not go on") };
    ids.push(id);
    assert_arrive(&lab, &ids);
    assert_logged(&lab, page::NO_FILES);
    assert!(daemon.is_alive());
    assert_eq!(daemon.terminate().code(), Some(0));
}
