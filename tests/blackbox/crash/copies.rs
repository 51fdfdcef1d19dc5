//! Every copy that was delivered: of which message, to whom, and by which
//! daemon, as its `Received:` field tells.
//!
//! Two of the Maildirs have readers. A copy must never be looked at without its
//! bytes being compared with what was sent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ledger::{BOXES, Ledger, Target, number_in};
use super::stage::Stage;
use crate::content::carries;
use crate::lab::Lab;
use crate::maildir;
use crate::sink::Sink;
use crate::wait::Watch;

/// Longest wait for a file before a reader looks whether all is over.
const READER_WAIT: Duration = Duration::from_millis(200);

/// The folder to which one reader takes what it has read.
const TAKEN: &str = "taken";

/// One delivery to one recipient.
#[derive(Clone, Debug)]
pub struct Copy {
    /// The message's number.
    pub number: usize,
    /// Its id.
    pub id: String,
    /// Who got it.
    pub recipient: String,
    /// Which daemon delivered it.
    pub life: usize,
}

/// The name that a daemon bears in what it delivers.
pub fn hostname(life: usize) -> String {
    format!("life{life}.example.net")
}

/// Makes the Maildirs, so that they can be watched.
pub fn make_boxes(lab: &Lab) {
    for local in ["left", "read", "emptied"] {
        for sub in ["tmp", "new", "cur"] {
            std::fs::create_dir_all(folder(lab, local).join(sub)).expect("failed to make a Maildir");
        }
    }
    std::fs::create_dir_all(lab.path(TAKEN)).expect("failed to make a folder");
}

/// One of them.
pub fn folder(lab: &Lab, local: &str) -> PathBuf {
    lab.path("mail").join(BOXES).join(local)
}

/// A reader who moves each file to `cur/` with a flag, as mail programs do.
pub fn read(lab: &Lab, stage: &Stage) {
    let folder = folder(lab, "read");
    for_each_new(&folder, stage, |file, name| {
        std::fs::rename(file, folder.join("cur").join(format!("{name}:2,S")))
    });
}

/// A reader who takes each file away, so that a repeat finds nothing.
pub fn empty(lab: &Lab, stage: &Stage) {
    let mut count = 0;
    for_each_new(&folder(lab, "emptied"), stage, |file, name| {
        count += 1;
        std::fs::rename(file, lab.path(TAKEN).join(format!("{count}-{name}")))
    });
}

fn for_each_new(folder: &Path, stage: &Stage, mut act: impl FnMut(&Path, &str) -> std::io::Result<()>) {
    let new = folder.join("new");
    let mut watch = Watch::on(&[&new]);
    while !stage.is_over() {
        if let Some(name) = watch.next(READER_WAIT) {
            act(&new.join(&name), &name).unwrap_or_else(|error| panic!("failed to move {name}: {error}"));
        }
    }
}

/// Everything that was delivered, and what is wrong with it.
pub fn collect(lab: &Lab, sink: &Sink, ledger: &Ledger) -> (Vec<Copy>, Vec<String>) {
    let (mut copies, mut wrong) = (Vec::new(), Vec::new());
    let mut take = |recipients: &[String], bytes: &[u8], id: Option<String>| match copy(bytes, id, ledger) {
        Ok(copy) => copies.extend(recipients.iter().map(|to| Copy { recipient: to.clone(), ..copy.clone() })),
        Err(why) => wrong.push(format!("delivered to {}: {why}", recipients.join(", "))),
    };
    for taken in sink.taken() {
        take(&taken.recipients, &taken.content, None);
    }
    let of_box = |local: &'static str, path: PathBuf| (format!("{local}@{BOXES}"), path);
    let mut folders: Vec<(String, PathBuf)> = ["left", "read", "emptied"]
        .iter()
        .flat_map(|local| ["new", "cur"].map(|sub| of_box(local, folder(lab, local).join(sub))))
        .collect();
    folders.push(of_box("emptied", lab.path(TAKEN)));
    for (recipient, folder) in folders {
        for entry in std::fs::read_dir(&folder).expect("failed to list a Maildir").flatten() {
            let bytes = std::fs::read(entry.path()).expect("failed to read a delivered file");
            let id = maildir::id_of(&entry.file_name().to_string_lossy());
            take(std::slice::from_ref(&recipient), &bytes, Some(id.unwrap_or_default()));
        }
    }
    (copies, wrong)
}

/// Reads a delivered message, and compares it with what was sent. `id` is the
/// one in its file name, which must be the one that it tells itself.
fn copy(bytes: &[u8], id: Option<String>, ledger: &Ledger) -> Result<Copy, String> {
    let number = number_in(bytes).ok_or("it has no number")?;
    let kind = ledger.kind(number).ok_or_else(|| format!("number {number} was never sent"))?;
    carries(bytes, &ledger.content(number, kind)).map_err(|why| format!("number {number}: {why}"))?;
    let top = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]).into_owned();
    let words: Vec<&str> = top.split(|c: char| c.is_whitespace() || c == ';').collect();
    let after = |word: &str| words.iter().position(|found| *found == word).and_then(|at| words.get(at + 1));
    let life = after("by").and_then(|host| host.strip_prefix("life")?.split('.').next()?.parse().ok());
    let told = after("id").map(|id| (*id).to_owned());
    match (life, told) {
        (Some(life), Some(told)) if id.as_ref().is_none_or(|id| *id == told) => {
            Ok(Copy { number, id: told, recipient: String::new(), life })
        }
        found => Err(format!("number {number}: its Received: field and its name say {found:?} and {id:?}")),
    }
}

impl Copy {
    /// Where it went.
    pub fn target(&self) -> Target {
        Target::of(&self.recipient)
    }
}
