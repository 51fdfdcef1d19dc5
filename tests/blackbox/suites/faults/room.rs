//! A disk without room, in every way in which it can be: intake closes, what is
//! there goes on and makes room, intake opens. No restart.

use super::{
    Heard, NO_RESERVE, RECIPIENT, SENDER, TIME_MAX, assert_arrive, assert_logged, assert_submit_puts_off,
    connect, failing_spool, message, page, send,
};
use crate::disk::Disk;
use crate::lab::{Config, Lab, cli, submit, submitted};
use crate::sink::{Behaviour, Sink, Step};
use crate::smtp::Client;
use crate::wait::until;

/// Bytes of the small disks.
const DISK_BYTES: u64 = 16 << 20;

/// Bytes of a message that fills them soon, and is taken in before room is looked
/// at again.
const MESSAGE_BYTES: usize = 128 << 10;

/// Bytes of a message that does not fit.
const LARGE_BYTES: usize = DISK_BYTES as usize;

/// Files of the small disks, where these are what runs out.
const DISK_FILES: u64 = 150;

/// Most messages that may fit.
const MESSAGES_MAX: usize = 200;

/// Keeps a quarter of the disk.
const RESERVE: &str = "[intake]\nreserve = \"4MiB\"\nreserve_inodes = 50\n";

/// What status says of them.
const NO_ROOM: &str = "too little room in the spool";

/// A queue that is soon full.
const QUEUE: &str = "[intake]\nqueue_length = 8\n";

#[track_caller]
fn told(lab: &Lab, words: [&str; 2]) {
    let done = cli(lab, &words);
    assert_eq!(done.code, Some(0), "{words:?}: {done:?}");
}

/// Sends messages until one is put off; the ids of the others, and what was told.
fn send_until_refused(client: &mut Client, bytes: usize) -> (Vec<String>, String) {
    let mut ids = Vec::new();
    for number in 0..MESSAGES_MAX {
        match send(client, number, bytes) {
            Heard::Queued(id) => ids.push(id),
            Heard::Refused(told) => return (ids, told),
            Heard::Nothing => panic!("the session ended after {} messages", ids.len()),
        }
    }
    panic!("{MESSAGES_MAX} messages fit on a small disk")
}

/// A lab whose mail goes to a next hop.
fn lab_to(sink: &Sink, tables: &str) -> Lab {
    Lab::with(&Config::default().to(sink.address()).tables(tables))
}

/// Intake closes while deliveries stand still, and opens once they go on. What the
/// page says of the end stands in row `end`.
fn fills_up_and_goes_on(lab: &Lab, sink: &Sink, [row, end]: [&str; 2], closed: &str, bytes: usize) {
    let mut daemon = lab.start();
    let pid = daemon.pid();
    told(lab, ["pause", "routing"]);
    let (mut idle, mut client) = (connect(&daemon), connect(&daemon));
    let (mut ids, refusal) = send_until_refused(&mut client, bytes);
    assert!(ids.len() > 2, "hardly anything fits: {ids:?}");
    page::assert_told(row, &refusal);
    // Others are told the same, and nobody's session ends.
    for client in [&mut idle, &mut client] {
        match send(client, 0, 100) {
            Heard::Refused(told) => page::assert_told(row, &told),
            other => panic!("{other:?}"),
        }
    }
    assert_submit_puts_off(lab);
    assert_logged(lab, row);
    let status = cli(lab, &["status"]).stdout;
    assert!(status.contains(&format!("intake PAUSED: closed: {closed}\n")), "{status}");
    told(lab, ["resume", "routing"]);
    let opened = until(TIME_MAX, || match send(&mut idle, 1, 100) {
        Heard::Queued(id) => {
            ids.push(id);
            true
        }
        Heard::Refused(_) => false,
        Heard::Nothing => panic!("the session ended"),
    });
    assert!(opened, "intake does not open");
    let Heard::Queued(id) = send(&mut client, 2, 100) else { panic!("the other session does not go on") };
    ids.push(id);
    assert!(until(TIME_MAX, || sink.taken().len() == ids.len()), "{} of {}", sink.taken().len(), ids.len());
    assert_eq!(page::lines_of_the_end_in(end, &lab.log()), 1);
    assert!(until(TIME_MAX, || lab.spool().passing().is_empty()), "{:?}", lab.spool().passing());
    assert!(daemon.is_alive() && daemon.pid() == pid);
    assert_eq!(daemon.terminate().code(), Some(0));
}

pub fn disk_is_full() {
    let sink = Sink::start(Vec::new());
    let lab = lab_to(&sink, RESERVE);
    let _disk = Disk::in_memory(lab.path("spool"), DISK_BYTES, 10_000);
    fills_up_and_goes_on(&lab, &sink, [page::DISK_FULL; 2], NO_ROOM, MESSAGE_BYTES);
}

pub fn no_inodes() {
    let sink = Sink::start(Vec::new());
    let lab = lab_to(&sink, RESERVE);
    let _disk = Disk::in_memory(lab.path("spool"), DISK_BYTES, DISK_FILES);
    fills_up_and_goes_on(&lab, &sink, [page::NO_INODES, page::DISK_FULL], NO_ROOM, 100);
}

pub fn queue_is_full() {
    let sink = Sink::start(Vec::new());
    let lab = lab_to(&sink, QUEUE);
    fills_up_and_goes_on(&lab, &sink, [page::QUEUE_FULL; 2], "too many messages in the queue", 100);
}

/// What others have put into `drop/` stays there, a stop and a start change nothing,
/// and `--drain` works off what there is.
pub fn queue_is_full_for_drop() {
    let sink = Sink::start(Vec::new());
    let lab = lab_to(&sink, QUEUE);
    let drop_in = |name: &str| {
        let text = format!("lazaret-envelope 1\nsender <{SENDER}>\nrecipient <{RECIPIENT}>\nend\n");
        let hidden = lab.path("spool/drop").join(format!(".{name}"));
        std::fs::write(&hidden, text).expect("failed to write a file");
        std::fs::rename(&hidden, lab.path("spool/drop").join(name)).expect("failed to rename it");
    };
    let daemon = lab.start();
    told(&lab, ["pause", "routing"]);
    let (ids, _) = send_until_refused(&mut connect(&daemon), 100);
    drop_in("first");
    assert_eq!(daemon.terminate().code(), Some(0));
    assert_submit_puts_off(&lab);
    let dropped = || lab.spool().names("drop");
    assert_eq!(dropped(), ["first"]);
    assert!(lab.path("spool/full").exists() && sink.taken().is_empty());
    lab.drain();
    assert!(!lab.path("spool/full").exists());
    let total = ids.len() + 1;
    assert!(until(TIME_MAX, || sink.taken().len() == total), "{} of {total}", sink.taken().len());
    assert_eq!(dropped(), Vec::<String>::new());
}

/// Announced or not, a message that would use up the reserve is put off, and the
/// next one is taken in.
pub fn large_message() {
    let lab = Lab::with(&Config::default().tables(RESERVE));
    let _disk = Disk::in_memory(lab.path("spool"), DISK_BYTES, 10_000);
    let daemon = lab.start();
    let mut client = connect(&daemon);
    let announced = format!("MAIL FROM:<{SENDER}> SIZE={LARGE_BYTES}");
    let reply = client.command(&announced).expect("a reply");
    page::assert_told(page::TOO_LARGE_NOW, &format!("{} {}", reply.code, reply.text));
    match send(&mut client, 1, LARGE_BYTES) {
        Heard::Refused(told) => page::assert_told(page::TOO_LARGE_NOW, &told),
        other => panic!("{other:?}"),
    }
    assert_eq!(submit(&lab, SENDER, &[RECIPIENT], &message(2, LARGE_BYTES)).exit, Some(75));
    let Heard::Queued(id) = send(&mut client, 3, 100) else { panic!("the next one is not taken") };
    assert_arrive(&lab, &[id]);
    assert_logged(&lab, page::TOO_LARGE_NOW);
    assert_eq!(lab.spool().names("tmp"), Vec::<String>::new(), "something is left");
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// Not one byte is left, not even of the reserve: a journal waits for room, a
/// report goes into a name, and deliveries go on.
pub fn nothing_fits() {
    let busy = "busy@example.org";
    let sink = Sink::start(vec![(Step::Recipient, Some(busy), Behaviour::Reply("450 4.2.1 busy"))]);
    let config = Config::default().to(sink.address()).tables(NO_RESERVE);
    let by_subject = "header = { Subject = \"never so\" }\ndeliver = \"hop\"\n";
    let lab = Lab::with(&config.workers("limits = { header_count = 5 }\n").route(by_subject));
    let disk = Disk::in_memory(lab.path("spool"), DISK_BYTES, 10_000);
    let daemon = lab.start();
    let mut client = connect(&daemon);
    told(&lab, ["pause", "routing"]);
    let put_off = client.deliver(SENDER, &[busy], &message(1, 10)).expect("is taken");
    let too_many_fields = [b"X: 1\r\n".repeat(6), message(2, 10)].concat();
    let deferred = client.deliver(SENDER, &[RECIPIENT], &too_many_fields).expect("is taken");
    let filler = disk.fill();
    match send(&mut client, 3, 100) {
        Heard::Refused(told) => page::assert_told(page::NO_JOURNAL, &told),
        other => panic!("{other:?}"),
    }
    told(&lab, ["resume", "routing"]);
    let rows = [page::NO_JOURNAL, page::NO_REPORT];
    let said = || rows.iter().all(|row| page::lines_in(row, &lab.log()) > 0);
    assert!(until(TIME_MAX, || said() && lab.spool().ids("deferred").contains(&deferred)));
    rows.iter().for_each(|row| assert_logged(&lab, row));
    assert!(lab.spool().names("deferred")[0].ends_with(".climit"), "{:?}", lab.spool().names("deferred"));
    drop(filler);
    assert!(until(TIME_MAX, || lab.spool().ids("waiting").contains(&put_off)), "{:?}", lab.spool().passing());

    told(&lab, ["pause", "routing"]);
    let queued = (4..9).filter(|number| matches!(send(&mut client, *number, 100), Heard::Queued(_))).count();
    assert_eq!(queued, 5);
    let filler = disk.fill();
    drop(client);
    assert_eq!(daemon.terminate().code(), Some(0));
    // What an administrator may try first.
    let daemon = lab.start();
    assert!(until(TIME_MAX, || sink.taken().len() == queued), "deliveries stand still");
    assert!(until(TIME_MAX, || lab.spool().passing().is_empty()), "{:?}", lab.spool().passing());
    drop(filler);
    let again = send(&mut connect(&daemon), 9, 100);
    assert!(matches!(again, Heard::Queued(_)), "intake does not go on: {again:?}");
    assert_eq!(daemon.terminate().code(), Some(0));
}

/// A file system on which operations fail for want of room, and deliveries to
/// Maildirs elsewhere.
fn on_failing(row: &str, faults: &[&str]) {
    let lab = Lab::new();
    let _disk = failing_spool(&lab, faults);
    let daemon = lab.start();
    let mut client = connect(&daemon);
    let (mut ids, mut refused) = (Vec::new(), 0);
    for number in 0..10 {
        match send(&mut client, number, 100) {
            Heard::Queued(id) => ids.push(id),
            Heard::Refused(told) => {
                page::assert_told(row, &told);
                refused += 1;
            }
            Heard::Nothing => panic!("the session ended"),
        }
    }
    ids.push(submitted(&lab, RECIPIENT, &message(10, 100)));
    assert_arrive(&lab, &ids);
    assert_logged(&lab, row);
    // A move within the spool concerns no client.
    assert_eq!(refused, faults.iter().filter(|fault| fault.ends_with("/tmp/")).count());
    assert_eq!(daemon.terminate().code(), Some(0));
}

pub fn quota() {
    on_failing(page::QUOTA, &["write:2:EDQUOT:/tmp/", "create:4:EDQUOT:/tmp/"]);
}

pub fn no_name() {
    on_failing(page::NO_NAME, &["rename:2:ENOSPC:/claimed/", "rename:3:ENOSPC:/outbound/"]);
}
