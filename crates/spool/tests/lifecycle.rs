//! A message's way through a spool on a real disk, and what the next owner makes
//! of one that was cut short. Crashes are made by forgetting what is in hand.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use lazaret_envelope::{Cause, Envelope, Line, MessageId, Protocol, Report, Timestamp, Transaction};
use lazaret_spool::{
    Accepted, Canonical, CheckOptions, Claim, Dir, Done, Finding, Journal, Key, Name, OperatorError, Outcome,
    Owner, Place, Recovered, Remedy, Spool, TakeError, Trouble, Twins, Unreadable, WorkerId, check,
};

const WORKER: WorkerId = WorkerId(0);

struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// A new owner, as after a restart.
    fn start(&self) -> (Owner, Recovered) {
        let owner = Owner::take(Spool::create(&self.root()).unwrap()).unwrap();
        owner.make_worker(WORKER).unwrap();
        let recovered = owner.recover().unwrap();
        (owner, recovered)
    }

    fn names(&self, dir: Dir) -> Vec<String> {
        let entries = fs::read_dir(self.root().join(dir.to_string())).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn path(&self, dir: Dir, name: &str) -> PathBuf {
        self.root().join(dir.to_string()).join(name)
    }
}

fn accept(owner: &Owner, content: &[u8]) -> Accepted {
    let recipient: lazaret_envelope::Address = "you@example.org".parse().unwrap();
    let transaction = Transaction { recipients: vec![recipient.into()], ..Transaction::default() };
    let mut draft = owner.spool().begin(Protocol::Submit.into(), transaction).unwrap();
    draft.write(content).unwrap();
    draft.commit().unwrap()
}

fn incoming(owner: &Owner) -> Vec<Name> {
    let mut names = Vec::new();
    owner.spool().scan(Dir::Incoming, |name, _| names.extend(name)).unwrap();
    names.sort();
    names
}

fn findings(owner: &Owner) -> Vec<Finding> {
    check(owner.spool(), CheckOptions::default(), &mut |_| ()).unwrap().findings
}

fn claim(owner: &Owner) -> Vec<Claim> {
    owner.claim(WORKER, &incoming(owner)).unwrap()
}

fn report(id: MessageId) -> Report {
    Report::new(id, Cause::Memory, Line::escaped("too big"), Timestamp::now())
}

#[test]
fn the_whole_way() {
    let lab = Lab::new();
    let (owner, recovered) = lab.start();
    assert_eq!(recovered, Recovered::default());
    let large = vec![b'x'; 300_000];
    let accepted = accept(&owner, &large);
    assert_eq!(lab.names(Dir::Tmp), [""; 0]);
    let claim = claim(&owner).pop().unwrap();
    let message = claim.open().unwrap();
    assert_eq!((message.envelope.id, message.envelope.content.size), (accepted.id, 300_000));
    message.verify().unwrap();
    let outbound = claim.routed().unwrap().unwrap();
    assert!(!outbound.may_repeat());
    let envelope: Envelope = outbound.open().unwrap().envelope;
    outbound.done(&envelope).unwrap();
    owner.flush().unwrap();
    assert_eq!(findings(&owner), []);
    assert_eq!(owner.spool().count().unwrap(), lazaret_spool::Counts::default());
}

#[test]
fn there_is_one_owner_and_the_other_is_told_who() {
    let lab = Lab::new();
    let (owner, _) = lab.start();
    let error = Owner::take(Spool::open(&lab.root()).unwrap()).unwrap_err();
    assert!(matches!(error, TakeError::Held { .. }));
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
    owner.stop_cleanly().unwrap();
    drop(owner);
    Owner::take(Spool::open(&lab.root()).unwrap()).unwrap();
}

/// A child that a killed owner was just starting holds the lock for a moment.
#[test]
fn a_lock_that_is_held_is_waited_for() {
    let lab = Lab::new();
    let (first, _) = lab.start();
    let spool = Spool::open(&lab.root()).unwrap();
    let (sender, taken) = std::sync::mpsc::channel();
    let second = std::thread::spawn(move || sender.send(Owner::take(spool)));
    let early = taken.recv_timeout(std::time::Duration::from_millis(200));
    assert!(early.is_err(), "refused, or taken, at once: {early:?}");
    drop(first);
    taken.recv().unwrap().unwrap();
    second.join().unwrap().unwrap();
}

#[test]
fn cut_short_once_it_is_tried_again_and_twice_it_is_deferred() {
    let lab = Lab::new();
    let (owner, _) = lab.start();
    let id = accept(&owner, b"Subject: x\r\n\r\n").id;
    drop(claim(&owner));
    drop(owner);

    let (owner, recovered) = lab.start();
    assert_eq!((recovered.struck, recovered.deferred), (1, 0));
    assert_eq!(lab.names(Dir::Incoming), [format!("{id}.g3.s1")]);
    drop(claim(&owner));
    drop(owner);

    let (owner, recovered) = lab.start();
    assert_eq!((recovered.struck, recovered.deferred), (0, 1));
    let deferred = owner.spool().find_deferred(id).unwrap();
    assert_eq!(deferred.cause(), Cause::Interrupted);
    assert_eq!(deferred.report.unwrap().attempts.len(), 2, "each with its time");
    drop(owner);
    let (_, recovered) = lab.start();
    assert_eq!(recovered, Recovered::default(), "recovering again changes nothing");
}

#[test]
fn a_verdict_clears_the_strike_but_not_the_doubt() {
    let lab = Lab::new();
    let (owner, _) = lab.start();
    accept(&owner, b"x");
    drop(claim(&owner));
    drop(owner);
    let (owner, _) = lab.start();
    let outbound = claim(&owner).pop().unwrap().routed().unwrap().unwrap();
    assert_eq!(outbound.name().strikes, 0);
    assert!(outbound.may_repeat());
}

#[test]
fn interrupted_deliveries_are_counted_and_end_in_quarantine() {
    let lab = Lab::new();
    let (mut owner, _) = lab.start();
    let id = accept(&owner, b"x").id;
    for round in 1..=5 {
        let outbound = claim(&owner).pop().unwrap().routed().unwrap().unwrap();
        assert_eq!(outbound.may_repeat(), round > 1);
        drop(outbound);
        drop(owner);
        let (next, recovered) = lab.start();
        owner = next;
        let expected = if round < 5 { (1, 0) } else { (0, 1) };
        assert_eq!((recovered.interrupted, recovered.deferred), expected, "round {round}");
    }
    assert_eq!(owner.spool().find_deferred(id).unwrap().cause(), Cause::InterruptedDelivery);
}

#[test]
fn a_clean_stop_costs_nothing() {
    let lab = Lab::new();
    let (owner, _) = lab.start();
    accept(&owner, b"one");
    accept(&owner, b"two");
    let mut claims = claim(&owner);
    claims.pop().unwrap().routed().unwrap().unwrap().put_back().unwrap();
    claims.pop().unwrap().put_back().unwrap();
    owner.stop_cleanly().unwrap();
    drop(owner);
    let (owner, recovered) = lab.start();
    assert_eq!(recovered, Recovered::default());
    assert!(incoming(&owner).iter().all(|name| name.strikes == 0 && name.interruptions == 0));
    assert_eq!(incoming(&owner).len(), 2);
}

#[test]
fn deferred_released_and_deleted() {
    let lab = Lab::new();
    let (owner, _) = lab.start();
    let id = accept(&owner, b"x").id;
    claim(&owner).pop().unwrap().defer(&report(id)).unwrap();
    assert_eq!(owner.spool().deferred().unwrap()[0].cause(), Cause::Memory);
    owner.release(id).unwrap();
    assert_eq!(lab.names(Dir::Deferred), [""; 0]);
    assert!(matches!(owner.release(id), Err(OperatorError::Missing(_))));
    claim(&owner).pop().unwrap().defer(&report(id)).unwrap();
    owner.delete(id).unwrap();
    assert_eq!(owner.spool().count().unwrap(), lazaret_spool::Counts::default());
}

#[test]
fn a_claim_that_comes_too_late_leaves_the_report() {
    let lab = Lab::new();
    let (owner, _) = lab.start();
    let id = accept(&owner, b"Subject: x\r\n\r\n").id;
    let seen = incoming(&owner);
    claim(&owner).remove(0).defer(&report(id)).unwrap();
    assert!(owner.claim(WORKER, &seen).unwrap().is_empty(), "somebody else had it");
    assert_eq!(lab.names(Dir::Deferred).len(), 2, "message and report");
}

#[test]
fn a_report_without_its_move_is_finished() {
    let lab = Lab::new();
    let (owner, _) = lab.start();
    let id = accept(&owner, b"x").id;
    drop(claim(&owner));
    fs::write(lab.path(Dir::Deferred, &format!("{id}.report")), report(id).to_string()).unwrap();
    drop(owner);
    let (owner, recovered) = lab.start();
    assert_eq!((recovered.struck, recovered.deferred), (0, 1));
    assert_eq!(owner.spool().find_deferred(id).unwrap().cause(), Cause::Memory);
}

#[test]
fn what_is_damaged_is_neither_read_nor_released() {
    let lab = Lab::new();
    let (owner, _) = lab.start();
    let id = accept(&owner, b"Subject: whole\r\n\r\n").id;
    let claim = claim(&owner).pop().unwrap();
    let path = lab.path(Dir::Claimed(WORKER), &claim.name().to_string());
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() = 0;
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(claim.open().unwrap().verify(), Err(Unreadable::Damaged(_))));
    bytes.push(0);
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(claim.open(), Err(Unreadable::Damaged(_))));
    claim.defer(&report(id)).unwrap();
    assert!(matches!(owner.release(id), Err(OperatorError::NotWhole { .. })));
    let findings = findings(&owner);
    assert!(
        findings.len() == 1 && findings[0].detail.as_str().contains("18 bytes were accepted, 19 are there"),
        "{findings:?}"
    );
}

#[test]
fn unfinished_files_are_removed_unless_their_writer_lives() {
    let lab = Lab::new();
    let (owner, _) = lab.start();
    let recipient: lazaret_envelope::Address = "you@example.org".parse().unwrap();
    let transaction = Transaction { recipients: vec![recipient.into()], ..Transaction::default() };
    let draft = owner.spool().begin(Protocol::Submit.into(), transaction).unwrap();
    fs::write(lab.path(Dir::Tmp, "01KAN97F000000000000000001.g0"), "lazaret-envelope 1\n").unwrap();
    assert_eq!(owner.recover().unwrap().removed, 1);
    assert_eq!(lab.names(Dir::Tmp).len(), 1);
    draft.commit().unwrap();
    assert_eq!(incoming(&owner).len(), 1);
}

#[test]
fn what_only_has_the_name_of_an_unfinished_file_fails_no_start() {
    let lab = Lab::new();
    let (owner, _) = lab.start();
    let names = [1, 2].map(|random| Name::first(MessageId::from_parts(7, random)).to_string());
    drop(owner);
    fs::create_dir(lab.path(Dir::Tmp, &names[0])).unwrap();
    std::os::unix::fs::symlink("nowhere", lab.path(Dir::Tmp, &names[1])).unwrap();
    let (_, recovered) = lab.start();
    assert_eq!(recovered.set_aside, 2, "{recovered:?}");
    assert_eq!(lab.names(Dir::Tmp), [""; 0]);
    assert_eq!(lab.names(Dir::Deferred).len(), 4, "two things and a report about each");
}

#[test]
fn what_only_has_the_name_of_a_report_or_a_journal_fails_no_start() {
    let lab = Lab::new();
    let (owner, _) = lab.start();
    let struck = accept(&owner, b"x").id;
    drop(claim(&owner));
    drop(owner);
    let (owner, _) = lab.start();
    drop(claim(&owner));
    drop(owner);
    fs::create_dir(lab.path(Dir::Deferred, &format!("{struck}.report"))).unwrap();
    let (owner, recovered) = lab.start();
    assert_eq!((recovered.deferred, recovered.struck), (1, 0));
    let report = owner.spool().report(struck).unwrap().expect("it has its report all the same");
    assert_eq!(report.cause, Cause::Interrupted);
    owner.delete(struck).unwrap();
    let aside = lab.names(Dir::Deferred);
    assert_eq!(aside.len(), 2, "what was in its way, and a report about that: {aside:?}");
    aside.iter().for_each(|name| {
        let path = lab.path(Dir::Deferred, name);
        if path.is_dir() { fs::remove_dir(path).unwrap() } else { fs::remove_file(path).unwrap() }
    });
    drop(owner);
    let id = MessageId::from_parts(7, 1);
    let (report, journal) = (format!("{id}.report"), format!("{id}.log"));
    fs::create_dir(lab.path(Dir::Deferred, &report)).unwrap();
    fs::create_dir(lab.path(Dir::Journal, &journal)).unwrap();
    let (owner, recovered) = lab.start();
    assert_eq!(recovered, Recovered::default());
    assert_eq!((lab.names(Dir::Deferred), lab.names(Dir::Journal)), (vec![report], vec![journal]));
    let foreign = |finding: &&Finding| finding.trouble == Trouble::Foreign;
    assert_eq!(findings(&owner).iter().filter(foreign).count(), 2, "they are told");
}

#[test]
fn second_names_of_one_message_are_told_from_different_messages() {
    let lab = Lab::new();
    let (owner, _) = lab.start();
    let link = accept(&owner, b"linked").id;
    let copy = accept(&owner, b"copied").id;
    let clash = accept(&owner, b"clashing").id;
    let at = |id: MessageId, dir, generation: u32| lab.path(dir, &format!("{id}.g{generation}"));
    fs::hard_link(at(link, Dir::Incoming, 1), at(link, Dir::Claimed(WORKER), 2)).unwrap();
    fs::copy(at(copy, Dir::Incoming, 1), at(copy, Dir::Waiting, 2)).unwrap();
    fs::write(at(clash, Dir::Waiting, 2), "something else").unwrap();
    drop(owner);
    let (owner, recovered) = lab.start();
    assert_eq!((recovered.twins, recovered.struck, recovered.deferred), (2, 1, 2));
    assert_eq!(lab.names(Dir::Incoming), [format!("{link}.g3.s1")]);
    assert_eq!(lab.names(Dir::Waiting), [format!("{copy}.g2")]);
    assert!(matches!(owner.spool().find_deferred(clash), Err(OperatorError::Ambiguous(_))));
    assert_eq!(lab.names(Dir::Deferred).len(), 3, "both files and one report");
    let report = owner.spool().report(clash).unwrap().unwrap();
    assert!(report.detail.as_str().contains("waiting/"), "it says where they lay: {}", report.detail);
    drop(owner);
    let (owner, recovered) = lab.start();
    assert_eq!((recovered.twins, recovered.deferred), (0, 0), "they were told apart");
    assert_eq!(owner.spool().report(clash).unwrap(), Some(report), "which still says where they lay");
}

/// Row by row: which of two names of one message stays.
#[test]
fn of_two_copies_of_one_message_that_in_the_later_state_stays() {
    let worker = Dir::Claimed(WORKER);
    let rows = [
        ((Dir::Incoming, "g1"), (Dir::Incoming, "g2")),
        ((Dir::Tmp, "g9.t"), (Dir::Incoming, "g1")),
        ((Dir::Incoming, "g1"), (worker, "g1")),
        ((worker, "g1"), (Dir::Outbound, "g1")),
        ((Dir::Outbound, "g1"), (Dir::Waiting, "g1")),
        ((Dir::Incoming, "g1"), (Dir::Waiting, "g1")),
        ((Dir::Waiting, "g1"), (Dir::Deferred, "g1")),
        ((Dir::Incoming, "g1"), (Dir::Incoming, "g1.s1")),
        ((Dir::Incoming, "g1.i1"), (Dir::Incoming, "g1.s1")),
        ((Dir::Waiting, "g1.a1"), (Dir::Waiting, "g1.a2")),
    ];
    for ((goes, older), (stays, newer)) in rows {
        let lab = Lab::new();
        let (owner, _) = lab.start();
        let id = accept(&owner, b"copied").id;
        let whole = fs::read(lab.path(Dir::Incoming, &format!("{id}.g1"))).unwrap();
        fs::remove_file(lab.path(Dir::Incoming, &format!("{id}.g1"))).unwrap();
        drop(owner);
        fs::write(lab.path(goes, &format!("{id}.{older}")), &whole).unwrap();
        fs::write(lab.path(stays, &format!("{id}.{newer}")), &whole).unwrap();
        let owner = Owner::take(Spool::create(&lab.root()).unwrap()).unwrap();
        let repaired = owner.repair_all(CheckOptions::default(), &mut |_| ()).unwrap();
        let done: Vec<_> = repaired.done.iter().map(|(finding, outcome)| (&finding.place, outcome)).collect();
        let place = Place::at(Path::new(&format!("{stays}/{id}.{newer}"))).unwrap();
        let same = Outcome::Done(Remedy::Twins(Twins::Same));
        assert!(done.contains(&(&place, &same)), "{goes}/{older}, {stays}/{newer}: {done:?}");
        assert!(!lab.path(goes, &format!("{id}.{older}")).exists(), "{goes}/{older} goes");
        assert_eq!(fs::read(lab.path(stays, &format!("{id}.{newer}"))).unwrap(), whole);
    }
}

#[test]
fn different_files_of_the_last_generation_are_told_apart_too() {
    let lab = Lab::new();
    drop(lab.start());
    let id = MessageId::from_parts(7, 1);
    let name = format!("{id}.g{}", u32::MAX);
    for dir in [Dir::Incoming, Dir::Waiting, Dir::Outbound] {
        fs::write(lab.path(dir, &name), dir.to_string()).unwrap();
    }
    let (_, recovered) = lab.start();
    assert_eq!(recovered.deferred, 3);
    assert_eq!(lab.names(Dir::Deferred).len(), 4, "three files and one report");
}

/// The copy goes because its original is taken in again; the message must not have
/// gone before because of the copy.
#[test]
fn a_copy_of_a_dropped_file_is_no_later_name_of_an_accepted_message() {
    let lab = Lab::new();
    let (owner, _) = lab.start();
    let id = accept(&owner, b"accepted").id;
    drop(owner);
    let accepted = lab.path(Dir::Incoming, &format!("{id}.g1"));
    fs::copy(&accepted, lab.path(Dir::Tmp, &format!("{id}.g9.t"))).unwrap();
    fs::write(lab.path(Dir::Tmp, &format!("taken.{id}")), "something else").unwrap();
    let whole = fs::read(&accepted).unwrap();
    let (_, recovered) = lab.start();
    let kept = lab.names(Dir::Incoming).into_iter().map(|name| lab.path(Dir::Incoming, &name));
    let kept = kept.chain(lab.names(Dir::Deferred).into_iter().map(|name| lab.path(Dir::Deferred, &name)));
    assert!(kept.into_iter().any(|path| fs::read(path).unwrap() == whole), "{recovered:?}");
}

#[test]
fn the_journal_remembers_who_has_it() {
    let lab = Lab::new();
    let (owner, _) = lab.start();
    accept(&owner, b"x");
    let outbound = claim(&owner).pop().unwrap().routed().unwrap().unwrap();
    let key = |to: &str| Key {
        original: to.parse().unwrap(),
        transport: Line::escaped("reinject"),
        final_address: to.parse().unwrap(),
    };
    let (time, reply) = (Timestamp::now(), Line::escaped("250 ok"));
    outbound.note(&[Done::Delivered { time, key: key("a@b"), reply: reply.clone() }]).unwrap();
    outbound.note(&[Done::Failed { time, key: key("c@d"), reply }]).unwrap();
    let waiting = outbound.wait_until(time, &Line::default()).unwrap();
    assert!(waiting.name.due.is_some() && waiting.name.attempts == 1);
    assert!(owner.wake(waiting.name).unwrap());
    let claim = claim(&owner).pop().unwrap();
    let journal: Journal = claim.journal().unwrap();
    assert!(journal.is_settled(&key("a@b")) && !journal.is_settled(&key("c@d")));
    assert_eq!((journal.delivered(), journal.attempts.len()), (1, 1));
    let outbound = claim.routed().unwrap().unwrap();
    assert!(outbound.may_repeat());
    let envelope = outbound.open().unwrap().envelope;
    outbound.done(&envelope).unwrap();
    owner.flush().unwrap();
    assert_eq!(lab.names(Dir::Journal), [""; 0]);
}

/// Bytes as they are.
struct AsIs;

impl Canonical for AsIs {
    fn push(&mut self, input: &[u8], output: &mut Vec<u8>) {
        output.extend_from_slice(input);
    }

    fn finish(&mut self, _: &mut Vec<u8>) {}
}

#[test]
fn a_dropped_file_is_accepted_once_wherever_it_is_cut_short() {
    let lab = Lab::new();
    let (owner, _) = lab.start();
    let text = "lazaret-envelope 1\nsender <a@b>\nrecipient <c@d>\nend\nSubject: x\r\n";
    fs::write(lab.path(Dir::Drop, "mail"), text).unwrap();
    let taken = owner.take_dropped("mail".as_ref()).unwrap().unwrap();
    drop(taken);
    assert_eq!((lab.names(Dir::Drop).len(), lab.names(Dir::Tmp).len()), (0, 1));
    drop(owner);
    let (owner, recovered) = lab.start();
    assert_eq!(recovered, Recovered::default());
    let again = owner.take_unfinished().unwrap().pop().unwrap();
    again.accept(&mut AsIs, 1000).unwrap();
    assert_eq!((lab.names(Dir::Tmp).len(), incoming(&owner).len()), (0, 1));

    // Cut short between the removal of the original and the acceptance of the copy.
    let name = incoming(&owner)[0];
    let copy = format!("{}.g1.t", name.id);
    fs::rename(lab.path(Dir::Incoming, &name.to_string()), lab.path(Dir::Tmp, &copy)).unwrap();
    drop(owner);
    let (owner, recovered) = lab.start();
    assert_eq!((recovered.accepted, incoming(&owner).len()), (1, 1));

    // Cut short before the removal of the original.
    fs::rename(lab.path(Dir::Incoming, &incoming(&owner)[0].to_string()), lab.path(Dir::Tmp, &copy)).unwrap();
    fs::write(lab.path(Dir::Tmp, &format!("taken.{}", name.id)), text).unwrap();
    drop(owner);
    let (owner, recovered) = lab.start();
    assert_eq!((recovered.removed, recovered.accepted), (1, 0));
    let taken = owner.take_unfinished().unwrap().pop().unwrap();
    assert_eq!(taken.accept(&mut AsIs, 1000).unwrap().id, name.id);
    assert_eq!(incoming(&owner).len(), 1);
}

/// A cut may leave the name that it was written under, the one that it was dropped
/// under, and the one that it was taken under.
#[test]
fn of_a_dropped_file_that_was_taken_no_name_is_left() {
    let lab = Lab::new();
    drop(lab.start());
    let name = format!("taken.{}", MessageId::from_parts(1, 2));
    let written = lab.path(Dir::Drop, ".written");
    fs::write(&written, "lazaret-envelope 1\n").unwrap();
    fs::hard_link(&written, lab.path(Dir::Drop, "written")).unwrap();
    fs::hard_link(&written, lab.path(Dir::Tmp, &name)).unwrap();
    fs::write(lab.path(Dir::Drop, "other"), "lazaret-envelope 1\n").unwrap();
    let (_, recovered) = lab.start();
    assert_eq!(
        (recovered.twins, lab.names(Dir::Drop), lab.names(Dir::Tmp)),
        (2, vec!["other".into()], vec![name])
    );
}

#[test]
fn a_dropped_file_that_is_too_large_is_set_aside() {
    let lab = Lab::new();
    let (owner, _) = lab.start();
    let text = "lazaret-envelope 1\nsender <a@b>\nrecipient <c@d>\nend\nSubject: x\r\n";
    fs::write(lab.path(Dir::Drop, "mail"), text).unwrap();
    let taken = owner.take_dropped("mail".as_ref()).unwrap().unwrap();
    let refused = taken.accept(&mut AsIs, 5).unwrap_err();
    assert!(refused.to_string().contains("larger than max_size"), "{refused}");
    let [deferred] = &owner.spool().deferred().unwrap()[..] else { panic!("it is not there") };
    let detail = deferred.report.as_ref().unwrap().detail.to_string();
    assert_eq!(deferred.cause(), Cause::BadDrop);
    assert!(detail.starts_with("drop/mail was refused: it is larger"), "{detail}");
    assert_eq!(lab.names(Dir::Tmp), [""; 0]);
}
