//! The clock is set: what earlier times have left in the spool, made by hand as a
//! clock that was ahead or behind would have made it. The machine's own clock must
//! never be touched.

use std::fs;

use super::{RECIPIENT, TIME_MAX, assert_arrive, message, page};
use crate::lab::{Config, Lab, submitted};
use crate::spooldir::id_of;
use crate::wait::until;

/// The first ten characters of an id are its time: this is in the year 2286.
const LATE: &str = "09";

/// A lab with a message in `waiting/`, stopped; the path of the message.
fn with_one_waiting() -> (Lab, String) {
    let nowhere = "[transport.nowhere]\ntype = \"maildir\"\npath = \"/proc/nowhere\"\n";
    let lab = Lab::with(&Config::default().tables(nowhere).route("deliver = \"nowhere\"\n"));
    let daemon = lab.start();
    let id = submitted(&lab, RECIPIENT, &message(0, 100));
    assert!(until(TIME_MAX, || lab.spool().ids("waiting").contains(&id)), "{:?}", lab.spool().passing());
    assert_eq!(daemon.terminate().code(), Some(0));
    lab.configure(&Config::default());
    let name = lab.spool().names("waiting").remove(0);
    (lab, name)
}

/// The message is due at another time.
fn due(name: &str, time: &str) -> String {
    let (before, rest) = name.split_once(".d").expect("it has a due time");
    let after = rest.split_once('.').map_or(String::new(), |(_, after)| format!(".{after}"));
    format!("{before}.d{time}{after}")
}

fn wakes_at(time: &str) {
    let (lab, name) = with_one_waiting();
    let waiting = lab.spool().path("waiting");
    fs::rename(waiting.join(&name), waiting.join(due(&name, time))).expect("it can be renamed");
    let daemon = lab.start();
    assert_arrive(&lab, &[id_of(&name).expect("it is a message")]);
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// A message was sent to wait while the clock was ahead; another has an id of that
/// time. Neither keeps mail from coming in and going out.
pub fn set_back() {
    page::assert_unsaid(page::CLOCK_BACK);
    wakes_at("20990101T000000Z");
    let lab = Lab::new();
    lab.prepare();
    let id = submitted(&lab, RECIPIENT, &message(0, 100));
    let later = format!("{LATE}{}", &id[LATE.len()..]);
    let incoming = lab.spool().path("incoming");
    let name = lab.spool().names("incoming").remove(0);
    let text = fs::read_to_string(incoming.join(&name)).expect("it can be read");
    fs::write(lab.path("copy"), text.replacen(&id, &later, 1)).expect("it can be written");
    fs::remove_file(incoming.join(&name)).expect("it can be removed");
    fs::rename(lab.path("copy"), incoming.join(name.replacen(&id, &later, 1))).expect("it can be renamed");
    let daemon = lab.start();
    let mut ids = vec![later];
    ids.extend((1..5).map(|number| submitted(&lab, RECIPIENT, &message(number, 100))));
    assert_arrive(&lab, &ids);
    assert!(until(TIME_MAX, || lab.spool().passing().is_empty()));
    assert!(ids.iter().all(|id| lab.mail().count(id) == 1));
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// A message that is due by a clock that went forward comes at once.
pub fn set_forward() {
    page::assert_unsaid(page::CLOCK_FORWARD);
    wakes_at("20010101T000000Z");
}
