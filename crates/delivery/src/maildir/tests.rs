//! Maildirs as readers find them.

use super::*;
use crate::parcel::Parcel;
use crate::test_spool::TestSpool;
use std::os::unix::fs::PermissionsExt;

struct Rig {
    spool: TestSpool,
    maildir: Maildir,
}

const CONTENT: &str = "Subject: x\r\n\r\n.dot\r\nlone\rcr and\nlf\r\n";

impl Rig {
    fn new() -> Self {
        let spool = TestSpool::new();
        let path = spool.folder().join("mail/{domain}/{local}");
        let template = Template::parse(path.to_str().unwrap()).unwrap();
        Self { spool, maildir: Maildir::new(template, "hub.example") }
    }

    fn deliver(&self, outbound: &lazaret_spool::Outbound, may_repeat: bool) -> Result<Outcome, Damaged> {
        let message = outbound.open().unwrap();
        let parcel = Parcel { message: &message, trace: "Received: by x;\r\n\tnow\r\n", may_repeat };
        self.maildir.deliver(&parcel, 0)
    }

    fn files(&self, sub: &str) -> Vec<PathBuf> {
        let folder = self.spool.folder().join("mail/b.example/a").join(sub);
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

#[test]
fn a_message_lies_in_new_with_lf_line_ends() {
    let rig = Rig::new();
    let outbound = rig.spool.routed("<>", &["a@B.example"], CONTENT);
    let Ok(Outcome::Delivered(place)) = rig.deliver(&outbound, false) else { panic!() };
    let [path] = rig.files("new").try_into().unwrap();
    assert_eq!(place.as_str(), path.to_str().unwrap());
    let seconds = outbound.open().unwrap().envelope.arrived.as_second();
    let name = format!("{seconds}.{}_0.lazaret", outbound.name().id);
    assert_eq!(path.file_name().unwrap().to_str(), Some(name.as_str()));
    let expected = "Received: by x;\n\tnow\nSubject: x\n\n.dot\nlone\rcr and\nlf\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, FILE_MODE);
    assert!(rig.files("tmp").is_empty());
}

#[test]
fn delivered_twice_is_one_file() {
    let rig = Rig::new();
    let outbound = rig.spool.routed("<>", &["a@b.example"], CONTENT);
    for may_repeat in [false, false, true] {
        assert!(matches!(rig.deliver(&outbound, may_repeat), Ok(Outcome::Delivered(_))));
        assert_eq!((rig.files("new").len(), rig.files("tmp").len()), (1, 0));
    }
    // A reader has seen it, then moved it without flags.
    for seen in [":2,FS", ""] {
        let [path] = [rig.files("new"), rig.files("cur")].concat().try_into().unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().split(':').next().unwrap().to_owned();
        let cur = path.ancestors().nth(2).unwrap().join("cur").join(name + seen);
        fs::rename(path, &cur).unwrap();
        let Ok(Outcome::Delivered(place)) = rig.deliver(&outbound, true) else { panic!() };
        assert_eq!(place.as_str(), cur.to_str().unwrap());
        assert!(rig.files("new").is_empty());
    }
}

#[test]
fn a_left_over_in_tmp_is_replaced() {
    let rig = Rig::new();
    let outbound = rig.spool.routed("<>", &["a@b.example"], CONTENT);
    rig.deliver(&outbound, false).unwrap();
    let [path] = rig.files("new").try_into().unwrap();
    fs::remove_file(&path).unwrap();
    let left = path.ancestors().nth(2).unwrap().join("tmp").join(path.file_name().unwrap());
    fs::write(&left, "half a mess").unwrap();
    rig.deliver(&outbound, false).unwrap();
    assert!(fs::read_to_string(&path).unwrap().ends_with("and\nlf\n") && !left.exists());
}

#[test]
fn damaged_bytes_are_not_delivered() {
    let rig = Rig::new();
    let long = "x".repeat(200_000);
    for content in [CONTENT, &long] {
        let outbound = rig.spool.routed("<>", &["a@b.example"], content);
        rig.spool.damage(&outbound);
        let Err(Damaged(what)) = rig.deliver(&outbound, false) else { panic!() };
        assert!(what.as_str().contains("blake3:"), "{what}");
        assert!(rig.files("new").is_empty() && rig.files("tmp").is_empty());
    }
}

#[test]
fn trouble_names_the_path_and_the_reason() {
    let rig = Rig::new();
    fs::write(rig.spool.folder().join("mail"), "a file in the way").unwrap();
    let outbound = rig.spool.routed("<>", &["a@b.example"], CONTENT);
    let Ok(Outcome::Transient(what)) = rig.deliver(&outbound, false) else { panic!() };
    assert!(what.as_str().starts_with("failed to create /"), "{what}");
    assert!(what.as_str().contains("/mail/b.example/a/tmp/") && what.as_str().contains("ot a directory"));
}

#[test]
fn where_a_rename_could_replace_a_link_does_not() {
    let rig = Rig::new();
    let [from, to] = ["from", "to"].map(|name| rig.spool.folder().join(name));
    fs::write(&from, "1").unwrap();
    fs::write(&to, "2").unwrap();
    assert_eq!(move_to(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    fs::remove_file(&to).unwrap();
    move_to(&from, &to).unwrap();
    assert!(!from.exists() && to.exists());
}
