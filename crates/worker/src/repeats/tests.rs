//! What is known again, and what must not be.

use super::known::LOWEST;
use super::*;
use crate::slow::Turn;
use lazaret_envelope::{
    Address, ByteSize, Line, MailParams, Origin, Protocol, Recipient, ReversePath, Sender,
};
use lazaret_envelope::{MessageId, Span, Transaction};
use lazaret_spool::{Owner, WorkerId};

const WORKER: WorkerId = WorkerId(0);
const POISON: &str = "Subject: poison\r\n\r\nboom\r\n";

struct Place {
    owner: Owner,
    _folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let owner = Owner::take(Spool::create(&folder.path().join("spool")).unwrap()).unwrap();
        owner.make_worker(WORKER).unwrap();
        Self { owner, _folder: folder }
    }

    fn now(&self) -> Timestamp {
        self.owner.spool().now()
    }

    fn accept(&self, recipients: usize, content: &str) -> lazaret_spool::Claim {
        let to: Address = "a@example.org".parse().unwrap();
        let sender = Sender { path: ReversePath(None), params: MailParams::default() };
        let recipients = vec![Recipient::from(to); recipients];
        let transaction = Transaction { sender, recipients };
        let mut draft = self.owner.spool().begin(Origin::from(Protocol::Esmtp), transaction).unwrap();
        draft.write(content.as_bytes()).unwrap();
        draft.commit().unwrap();
        let mut newest = None;
        self.owner.spool().scan(Dir::Incoming, |name, _| newest = newest.max(name)).unwrap();
        self.owner.claim(WORKER, newest.as_slice()).unwrap().pop().unwrap()
    }

    /// Has a message fault in a cell; gives its id.
    fn fault(&self, repeats: &Repeats, cause: Cause, content: &str) -> MessageId {
        let claim = self.accept(1, content);
        let message = claim.open().unwrap();
        let mut report = Report::new(message.envelope.id, cause, Line::escaped("boom"), self.now());
        report.stage = Some(Stage::Parse);
        repeats.remember(&Likeness::of(&message), &mut report);
        claim.defer(&report).unwrap();
        repeats.deferred(&report);
        report.id
    }

    fn recall(&self, repeats: &Repeats, content: &str) -> Option<Repeat> {
        let claim = self.accept(1, content);
        let recalled = repeats
            .recall(&Likeness::of(&claim.open().unwrap()), self.now(), &mut |_| Ok(Turn::Its))
            .unwrap();
        claim.put_back().unwrap();
        recalled
    }
}

fn setup() -> Setup {
    Setup { routes: Vec::new(), limits: lazaret_route::Limits::default(), jail: crate::jail::JailMode::Off }
}

fn with(place: &Place, config: &WorkersConfig) -> Repeats {
    Repeats::new(place.owner.spool().clone(), config, &setup())
}

fn place() -> (Place, Repeats) {
    let place = Place::new();
    let repeats = with(&place, &WorkersConfig::default());
    (place, repeats)
}

#[test]
fn a_copy_is_known_whatever_hops_put_on_top() {
    let (place, repeats) = place();
    assert_eq!(place.recall(&repeats, POISON), None);
    let first = place.fault(&repeats, Cause::Memory, POISON);
    let copy = place.recall(&repeats, &format!("Received: by b\r\n{POISON}")).unwrap();
    assert_eq!(copy.cause, Cause::Memory);
    assert!(copy.detail.starts_with(&format!("same content as {first}, deferred at ")), "{}", copy.detail);
    assert!(copy.detail.ends_with(" for memory: boom"), "{}", copy.detail);
    assert_eq!(copy.fingerprint.bytes, POISON.len() as u64);
    for other in [&POISON.replace("boom", "bang"), &format!("X: y\r\n{POISON}"), &format!("{POISON}\r\n"), ""]
    {
        assert_eq!(place.recall(&repeats, other), None, "{other}");
    }
    assert_eq!(repeats.status(), RepeatsStatus { known: 1, on_sight: 1 });
}

#[test]
fn only_a_message_that_is_to_blame_is_remembered() {
    let (place, repeats) = place();
    for cause in Cause::ALL.into_iter().filter(|cause| cause.blame() != Blame::Message) {
        place.fault(&repeats, cause, POISON);
    }
    assert_eq!(place.recall(&repeats, POISON), None);
}

#[test]
fn many_recipients_are_no_fault_of_the_content() {
    let mut config = WorkersConfig::default();
    config.limits.recipients = 2 * ROUTED_MAX;
    let place = Place::new();
    for (recipients, stage, remembered) in [
        (1, Stage::Route, true),
        (ROUTED_MAX, Stage::Route, true),
        (ROUTED_MAX + 1, Stage::Route, false),
        (ROUTED_MAX + 1, Stage::Parse, true),
        (2 * ROUTED_MAX + 1, Stage::Answer, false),
    ] {
        let repeats = with(&place, &config);
        let claim = place.accept(recipients, POISON);
        let mut report = Report::new(claim.name().id, Cause::CpuTime, Line::escaped("boom"), place.now());
        report.stage = Some(stage);
        repeats.remember(&Likeness::of(&claim.open().unwrap()), &mut report);
        assert_eq!(report.fingerprint.is_some(), remembered, "{recipients} {stage}");
        assert_eq!(repeats.status().known, u64::from(remembered), "{recipients} {stage}");
    }
}

#[test]
fn what_is_forgotten_or_too_old_or_not_wanted_is_tried_again() {
    let (place, known) = place();
    place.fault(&known, Cause::Memory, POISON);
    let copy = place.recall(&known, POISON).unwrap();
    assert!(known.forget(copy.fingerprint.digest) && !known.forget(copy.fingerprint.digest));
    assert_eq!(place.recall(&known, POISON), None);
    place.fault(&known, Cause::Memory, POISON);
    let claim = place.accept(1, POISON);
    let later = |days: u64| place.now() + Duration::from_secs(days * 86_400);
    assert!(
        known
            .recall(&Likeness::of(&claim.open().unwrap()), later(0), &mut |_| Ok(Turn::Its))
            .unwrap()
            .is_some()
    );
    assert_eq!(
        known.recall(&Likeness::of(&claim.open().unwrap()), later(2), &mut |_| Ok(Turn::Its)),
        Ok(None)
    );
    assert_eq!(known.status().known, 0);
    let off = with(&place, &WorkersConfig { repeats: Span(Duration::ZERO), ..WorkersConfig::default() });
    place.fault(&off, Cause::Memory, POISON);
    assert_eq!(place.recall(&off, POISON), None);
}

#[test]
fn a_start_remembers_what_the_reports_tell_unless_the_terms_have_changed() {
    let (place, config) = (Place::new(), WorkersConfig::default());
    let first = place.fault(&with(&place, &config), Cause::Crash, POISON);
    let started = |config: &WorkersConfig| {
        let repeats = with(&place, config);
        repeats.rebuild().unwrap();
        place.recall(&repeats, POISON)
    };
    let copy = started(&config).unwrap();
    assert!(copy.cause == Cause::Crash && copy.detail.contains(&first.to_string()), "{copy:?}");
    assert_eq!(started(&WorkersConfig { memory: ByteSize(1 << 30), ..config.clone() }), None);
    assert!(
        started(&WorkersConfig { count: 7, ..config.clone() }).is_some(),
        "the number of workers is no term"
    );
    place.owner.release(first).unwrap();
    assert_eq!(started(&config), None);
}

#[test]
fn a_report_about_a_copy_keeps_nothing_alive() {
    let (place, known) = place();
    let first = place.fault(&known, Cause::Memory, POISON);
    let claim = place.accept(1, POISON);
    let copy = known
        .recall(&Likeness::of(&claim.open().unwrap()), place.now(), &mut |_| Ok(Turn::Its))
        .unwrap()
        .unwrap();
    let mut report = Report::new(claim.name().id, copy.cause, Line::escaped(copy.detail), place.now());
    report.fingerprint = Some(copy.fingerprint);
    claim.defer(&report).unwrap();
    place.owner.delete(first).unwrap();
    let started = with(&place, &WorkersConfig::default());
    started.rebuild().unwrap();
    assert_eq!(started.status().known, 0);
}

#[test]
fn the_latest_are_kept() {
    let (_place, known) = place();
    let start: Timestamp = "2026-11-22T08:00:00Z".parse().unwrap();
    for number in 0..REPEATS_MAX as u64 + 5 {
        let time = start + Duration::from_millis(number);
        let first = MessageId::from_parts(number, 0);
        let fault = Fault { first, time, cause: Cause::Panic, detail: Line::default() };
        known.lock().insert((number, LOWEST), fault);
    }
    let kept = known.lock();
    assert_eq!((kept.faults.len(), kept.ages.len()), (REPEATS_MAX, REPEATS_MAX));
    assert!(!kept.has_within(0, 4) && kept.has_within(5, 5));
}

/// Has a copy asked about while the first is on trial; what it is told.
fn beside_a_trial(place: &Place, known: &Repeats, cause: Cause) -> Option<Repeat> {
    let (first, copy) = (place.accept(1, POISON), place.accept(1, POISON));
    let message = first.open().unwrap();
    let trial = known.on_trial(&Likeness::of(&message), Delay::TakesLong);
    let now = place.now();
    std::thread::scope(|scope| {
        let (waits, waiting) = std::sync::mpsc::channel();
        let copy = copy.open().unwrap();
        let wait = move |_| {
            waits.send(()).unwrap();
            Ok(Turn::Its)
        };
        let told = scope.spawn(move || known.recall(&Likeness::of(&copy), now, &mut { wait }).unwrap());
        waiting.recv().unwrap();
        let mut report = Report::new(message.envelope.id, cause, Line::escaped("boom"), now);
        known.remember(&Likeness::of(&message), &mut report);
        drop(trial);
        told.join().unwrap()
    })
}

#[test]
fn a_copy_of_what_takes_long_waits_for_what_comes_of_it() {
    let (place, known) = place();
    assert_eq!(beside_a_trial(&place, &known, Cause::CpuTime).unwrap().cause, Cause::CpuTime);
}

#[test]
fn what_took_long_and_was_not_to_blame_is_waited_for_once() {
    let (place, known) = place();
    assert_eq!(beside_a_trial(&place, &known, Cause::WallTime), None);
    let (first, copy) = (place.accept(1, POISON), place.accept(1, POISON));
    let trial = known.on_trial(&Likeness::of(&first.open().unwrap()), Delay::TakesLong);
    let no_wait = &mut |_| panic!("waits again");
    assert_eq!(known.recall(&Likeness::of(&copy.open().unwrap()), place.now(), no_wait), Ok(None));
    drop(trial);
}

#[test]
fn a_copy_is_as_late_as_the_message_in_the_cell() {
    let (place, known) = place();
    let (first, copy) = (place.accept(1, POISON), place.accept(1, POISON));
    let (first, copy) = (first.open().unwrap(), copy.open().unwrap());
    let mut trial = Some(known.on_trial(&Likeness::of(&first), Delay::Lingers));
    let mut told = Vec::new();
    let recalled = known.recall(&Likeness::of(&copy), place.now(), &mut |delay| {
        told.push(delay);
        match delay {
            Delay::Lingers => trial.as_ref().expect("it is still on trial").delayed(Delay::TakesLong),
            _ => drop(trial.take()),
        }
        Ok(Turn::Its)
    });
    assert_eq!(recalled, Ok(None));
    assert_eq!(told, [Delay::Lingers, Delay::TakesLong]);
}

#[test]
fn copies_of_what_gave_way_give_way_until_one_is_tried() {
    let (place, known) = place();
    let (first, copy) = (place.accept(1, POISON), place.accept(1, POISON));
    let (first, copy) = (first.open().unwrap(), copy.open().unwrap());
    for (gave, asked) in [(GivesWay::Once, Delay::TakesLong), (GivesWay::Twice, Delay::TakesVeryLong)] {
        known.on_trial(&Likeness::of(&first), Delay::TakesLong).gives_way(gave);
        let told = known.recall(&Likeness::of(&copy), place.now(), &mut |delay| {
            assert_eq!(delay, asked);
            Err(gave)
        });
        assert_eq!(told, Err(gave), "it costs no cell");
    }
    let told = known.recall(&Likeness::of(&copy), place.now(), &mut |_| Ok(Turn::Its));
    assert_eq!(told, Ok(None), "in a slow place it is tried instead of the first");
    drop(known.on_trial(&Likeness::of(&copy), Delay::TakesLong));
    let no_wait = &mut |_| panic!("it waits");
    assert_eq!(known.recall(&Likeness::of(&first), place.now(), no_wait), Ok(None), "and was not to blame");
}

#[test]
fn what_only_looks_alike_is_as_late_and_never_blamed() {
    let (place, known) = place();
    let long = |end: &str| format!("Subject: poison\r\n\r\n{}{end}\r\n", "x".repeat(16 << 10));
    let (first, other) = (place.accept(1, &long("boom")), place.accept(1, &long("bang")));
    let (first, other) = (first.open().unwrap(), other.open().unwrap());
    known.on_trial(&Likeness::of(&first), Delay::TakesLong).gives_way(GivesWay::Once);
    let gave = known.recall(&Likeness::of(&other), place.now(), &mut |_| Err(GivesWay::Once));
    assert_eq!(gave, Err(GivesWay::Once));
    let trial = known.on_trial(&Likeness::of(&first), Delay::TakesLong);
    let mut report = Report::new(first.envelope.id, Cause::CpuTime, Line::escaped("boom"), place.now());
    known.remember(&Likeness::of(&first), &mut report);
    drop(trial);
    assert_eq!(place.recall(&known, &long("bang")), None);
    assert_eq!(place.recall(&known, &long("boom")).unwrap().cause, Cause::CpuTime);
}

#[test]
fn a_message_that_was_moved_back_by_hand_is_tried_again() {
    let (place, known) = place();
    let first = place.fault(&known, Cause::Memory, POISON);
    let names = |dir| {
        let mut names: Vec<Name> = Vec::new();
        place.owner.spool().scan(dir, |name, _| names.extend(name)).unwrap();
        names
    };
    let name = names(Dir::Deferred)[0].to_string();
    let path = |dir| place.owner.spool().path(dir).join(&name);
    std::fs::rename(path(Dir::Deferred), path(Dir::Incoming)).unwrap();
    let claim = place.owner.claim(WORKER, &names(Dir::Incoming)).unwrap().pop().unwrap();
    assert_eq!(claim.name().id, first);
    assert_eq!(
        known.recall(&Likeness::of(&claim.open().unwrap()), place.now(), &mut |_| Ok(Turn::Its)),
        Ok(None)
    );
    assert_eq!(known.status(), RepeatsStatus { known: 0, on_sight: 0 });
}
