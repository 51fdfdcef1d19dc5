//! What an operator can do next about a message in quarantine, in commands that can be
//! typed as they are: with the configuration, the values and the files that they are
//! about.
//!
//! Which advice belongs to which cause is `lazaret_envelope`'s to say. No command here
//! may delete anything but what its sentence names.

use std::path::{Path, PathBuf};

use lazaret_envelope::{Advice, Step, advice, raise};
use lazaret_spool::storage::Kind;
use lazaret_spool::{Deferred, Dir, Spool};

use crate::config::Config;
use crate::{paths, shell};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// In a sentence.
    pub what: String,
    /// What is typed for it.
    pub command: Option<String>,
}

impl std::fmt::Display for Next {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        self.command.as_ref().map_or(Ok(()), |command| write!(f, ": {command}"))
    }
}

/// Whose spool and configuration it is.
pub struct Guide<'a> {
    pub config: &'a Config,
    pub spool: &'a Spool,
}

impl Guide<'_> {
    /// What can be done about the files of one id, of which there are several only if
    /// nobody can tell which is the message.
    pub fn next(&self, files: &[Deferred]) -> Vec<Next> {
        let Some(first) = files.first() else { return Vec::new() };
        if files.len() > 1 {
            return self.choose(files);
        }
        let is_bounce = first.report.as_ref().is_some_and(lazaret_envelope::Report::is_bounce);
        advice(first.cause(), is_bounce).flat_map(|advice| self.say(advice, first)).collect()
    }

    fn say(&self, advice: Advice, deferred: &Deferred) -> Vec<Next> {
        let next = |what: &str, command| vec![Next { what: what.to_owned(), command }];
        let id = deferred.name.id;
        let step = |step: Step| Some(format!("{} {}", self.program(), step.arguments(id)));
        match advice {
            Advice::Say(what) => next(what, None),
            Advice::Give(when, then) => next(when, step(then)),
            Advice::Raise => next(&raise(&self.keys(deferred)), step(Step::Reload)),
            Advice::Mend => self.mend(deferred),
            Advice::Choose => self.choose(std::slice::from_ref(deferred)),
            Advice::Remove if deferred.kind == Kind::Directory => {
                let report = self.spool.path(Dir::Deferred).join(format!("{id}.report"));
                let command =
                    format!("rm -rf -- {} {}", shell::path(&self.file(deferred)), shell::path(&report));
                next("if nobody wants what is in it, remove the folder and its report", Some(command))
            }
            Advice::Remove => next("if nobody wants it", step(Step::Delete)),
        }
    }

    /// The program, with the configuration unless that is found by itself.
    fn program(&self) -> String {
        let named = self.config.file.as_deref().filter(|file| *file != Path::new(paths::SYSTEM_FILE));
        let named = named.map(|file| std::path::absolute(file).unwrap_or_else(|_| file.to_owned()));
        named.map_or("lazaret".to_owned(), |file| format!("lazaret --config {}", shell::path(&file)))
    }

    fn file(&self, deferred: &Deferred) -> PathBuf {
        self.spool.path(Dir::Deferred).join(deferred.name.to_string())
    }

    /// The keys that the message has exceeded one of, with their values.
    fn keys(&self, deferred: &Deferred) -> String {
        let detail = deferred.report.as_ref().map_or("", |report| report.detail.as_str());
        let whole = serde_json::to_value(self.config).expect("a configuration has keys that are text");
        let with_value = |key: String| match whole.pointer(&format!("/{}", key.replace('.', "/"))) {
            Some(value) if !value.is_object() => format!("{key} (now {value})"),
            _ => key,
        };
        let keys: Vec<_> = deferred.cause().keys(detail).into_iter().map(with_value).collect();
        let place = match &self.config.file {
            Some(file) => format!("in {}", file.display()),
            None => format!("in {}, which `lazaret init {0}` writes", paths::SYSTEM_FILE),
        };
        format!("{} {place}", keys.join(" or "))
    }

    /// A copy in `drop/` under a name that is not looked at, and then under another.
    fn mend(&self, deferred: &Deferred) -> Vec<Next> {
        let id = deferred.name.id;
        let drop = self.spool.path(Dir::Drop);
        let (hidden, seen) =
            (shell::path(&drop.join(format!(".{id}"))), shell::path(&drop.join(id.to_string())));
        let next = |what: &str, command| Next { what: what.to_owned(), command: Some(command) };
        vec![
            next(
                "it can't be released as it is; to mend it, make a copy that is not taken in yet",
                format!("cp -- {} {hidden}", shell::path(&self.file(deferred))),
            ),
            next(
                "once the copy is mended, hand it in, and delete this one",
                format!("mv -- {hidden} {seen}"),
            ),
        ]
    }

    /// Different files with one id.
    fn choose(&self, files: &[Deferred]) -> Vec<Next> {
        let paths: Vec<_> = files.iter().map(|file| shell::path(&self.file(file))).collect();
        let next = |what: &str, command| Next { what: what.to_owned(), command: Some(command) };
        let mut all = vec![next("compare the files of this id", format!("ls -l -- {}", paths.join(" ")))];
        match &paths[..] {
            [.., one, last] => {
                let [one, last] = [one, last].map(|file| format!("rm -- {file}"));
                all.push(Next {
                    what: format!("keep one and remove the other by hand, `{last}` or"),
                    command: Some(one),
                });
            }
            _ => all.push(next(
                "the other files of this id are gone; try this one",
                format!("{} {}", self.program(), Step::Release.arguments(files[0].name.id)),
            )),
        }
        all
    }
}
