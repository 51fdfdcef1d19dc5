//! A spool for tests, and messages that are routed already.

use std::fs;
use std::path::Path;

use lazaret_envelope::{Address, Origin, Protocol, Recipient, Sender, Transaction, take_path};
use lazaret_spool::{Dir, Name, Outbound, Owner, Spool, WorkerId};
use tempfile::TempDir;

const WORKER: WorkerId = WorkerId(1);

/// A spool that goes away with the test.
pub(crate) struct TestSpool {
    dir: TempDir,
    pub(crate) owner: Owner,
}

impl TestSpool {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let owner = Owner::take(Spool::create(&dir.path().join("spool")).unwrap()).unwrap();
        owner.make_worker(WORKER).unwrap();
        Self { dir, owner }
    }

    /// A folder for whatever else the test needs.
    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// A routed message; recipients may have NOTIFY behind them.
    pub(crate) fn routed(&self, sender: &str, recipients: &[&str], content: &str) -> Outbound {
        let (path, params) = take_path(sender).unwrap();
        let params = lazaret_envelope::MailParams::parse(params).unwrap();
        let recipients = recipients.iter().map(|to| {
            let (address, params) = to.split_at(to.find(" NOTIFY=").unwrap_or(to.len()));
            let params = lazaret_envelope::RcptParams::parse(params).unwrap();
            Recipient { address: address.parse::<Address>().unwrap(), params }
        });
        let sender = Sender { path, params };
        let transaction = Transaction { sender, recipients: recipients.collect() };
        let mut draft = self.owner.spool().begin(Origin::from(Protocol::Esmtp), transaction).unwrap();
        draft.write(content.as_bytes()).unwrap();
        draft.commit().unwrap();
        self.claimed()
    }

    /// Routes a message in `incoming/`, the newest.
    pub(crate) fn claimed(&self) -> Outbound {
        let newest = self.names(Dir::Incoming).into_iter().max();
        let claim = self.owner.claim(WORKER, newest.as_slice()).unwrap().pop().unwrap();
        claim.routed().unwrap().unwrap()
    }

    /// Brings the one message in `waiting/` back and routes it again.
    pub(crate) fn woken(&self) -> Outbound {
        assert!(self.owner.wake(self.names(Dir::Waiting)[0]).unwrap());
        self.claimed()
    }

    pub(crate) fn names(&self, dir: Dir) -> Vec<Name> {
        let mut names = Vec::new();
        self.owner.spool().scan(dir, |name, _| names.extend(name)).unwrap();
        names
    }

    /// Numbers of messages in `incoming/`, `outbound/`, `waiting/` and `deferred/`.
    pub(crate) fn counts(&self) -> [usize; 4] {
        [Dir::Incoming, Dir::Outbound, Dir::Waiting, Dir::Deferred].map(|dir| self.names(dir).len())
    }

    /// The report on the one message in `deferred/`.
    pub(crate) fn report(&self) -> String {
        let name = lazaret_spool::layout::report_name(self.names(Dir::Deferred)[0].id);
        fs::read_to_string(self.owner.spool().path(Dir::Deferred).join(name)).unwrap()
    }

    /// All journals.
    pub(crate) fn journals(&self) -> String {
        let files = fs::read_dir(self.owner.spool().path(Dir::Journal)).unwrap();
        files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
    }

    /// Changes the last byte of a routed message, as a bad disk may.
    pub(crate) fn damage(&self, outbound: &Outbound) {
        let path = self.owner.spool().path(Dir::Outbound).join(outbound.name().to_string());
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
    }
}
