//! Conditions: compiled from their configuration, and decided with as little
//! knowledge of the message as possible.
//!
//! A condition is first asked with what the envelope says, then with the header
//! as well, then with the whole message, until its answer is certain. Asking
//! must never parse more than the answer needs, and never answer differently
//! because less was parsed.

use crate::config::{ConditionConfig, Globs};
use crate::facts::{Facts, FactsError};
use crate::glob::{GLOB_BYTES_MAX, Glob, any_matches};

/// Most levels of `all`, `any` and `not` inside each other.
pub const CONDITION_DEPTH_MAX: usize = 16;

/// What is wrong with a key of a route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A glob is longer than [`GLOB_BYTES_MAX`].
    #[error("the glob has {0} bytes; at most {GLOB_BYTES_MAX} are allowed")]
    GlobTooLong(usize),
    /// A glob that no address can match.
    #[error("{0:?} matches no address; a whole domain is written \"*@domain\"")]
    NoAddress(String),
    /// A glob that no media type can match.
    #[error("{0:?} matches no media type; these are written \"type/subtype\", or \"type/*\"")]
    NoMediaType(String),
    /// Not the name of a header field (RFC 5322 section 3.6.8).
    #[error("{0:?} is no name of a header field")]
    HeaderName(String),
    /// Something that holds nothing, and so could never match or always would.
    #[error("nothing is given; leave the key out, or name what must match")]
    Empty,
    /// More than [`CONDITION_DEPTH_MAX`] levels of combinators.
    #[error("more than {CONDITION_DEPTH_MAX} levels of all, any and not")]
    TooDeep,
    /// A route without action.
    #[error("the route says nothing to do; add deliver = \"name of a transport\"")]
    NoAction,
}

/// A [`KeyError`] and the path of keys that leads to it.
pub(crate) struct Fault {
    pub(crate) key: String,
    pub(crate) error: KeyError,
}

impl Fault {
    pub(crate) fn new(key: impl Into<String>, error: KeyError) -> Self {
        Self { key: key.into(), error }
    }

    fn inside(self, outer: &str) -> Self {
        Self::new(format!("{outer}.{}", self.key), self.error)
    }
}

/// How much of a message is looked at, in the order of what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effort {
    Envelope,
    Header,
    Message,
}

impl Effort {
    pub(crate) const ALL: [Self; 3] = [Self::Envelope, Self::Header, Self::Message];
}

/// A compiled condition.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    Recipient(Vec<Glob>),
    /// The same for all recipients; `slot` is where its answer is kept.
    Common {
        slot: usize,
        test: Test,
    },
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
}

/// What can be asked of a message, whoever receives it.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    Sender(Vec<Glob>),
    Header { name: String, glob: Glob },
    PartType(Vec<Glob>),
    PartName(Vec<Glob>),
}

impl Test {
    pub(crate) fn effort(&self) -> Effort {
        match self {
            Self::Sender(_) => Effort::Envelope,
            Self::Header { .. } => Effort::Header,
            Self::PartType(_) | Self::PartName(_) => Effort::Message,
        }
    }
}

/// What is known about one message, whoever receives it.
pub(crate) struct Common<'m, 'f> {
    pub(crate) sender: &'m str,
    /// One answer for each slot of the table.
    pub(crate) answers: Vec<Option<bool>>,
    pub(crate) facts: &'m mut Facts<'f>,
}

impl Common<'_, '_> {
    fn answer(&mut self, slot: usize, test: &Test, effort: Effort) -> Result<Option<bool>, FactsError> {
        if self.answers[slot].is_none() && test.effort() <= effort {
            self.answers[slot] = Some(match test {
                Test::Sender(globs) => any_matches(globs, self.sender),
                Test::Header { name, glob } => self.facts.header_matches(name, glob)?,
                Test::PartType(globs) => self.facts.part_type_matches(globs)?,
                Test::PartName(globs) => self.facts.part_name_matches(globs)?,
            });
        }
        Ok(self.answers[slot])
    }
}

impl Condition {
    /// Whether the condition holds; `None` if that takes more effort.
    pub(crate) fn holds(
        &self,
        recipient: &str,
        effort: Effort,
        common: &mut Common<'_, '_>,
    ) -> Result<Option<bool>, FactsError> {
        match self {
            Self::Recipient(globs) => Ok(Some(any_matches(globs, recipient))),
            Self::Common { slot, test } => common.answer(*slot, test, effort),
            Self::All(conditions) => settle(conditions, false, recipient, effort, common),
            Self::Any(conditions) => settle(conditions, true, recipient, effort, common),
            Self::Not(condition) => Ok(condition.holds(recipient, effort, common)?.map(|holds| !holds)),
        }
    }

    /// Calls `visit` for each test in the condition.
    pub(crate) fn each_test(&self, visit: &mut dyn FnMut(&Test)) {
        match self {
            Self::Recipient(_) => {}
            Self::Common { test, .. } => visit(test),
            Self::All(conditions) | Self::Any(conditions) => {
                conditions.iter().for_each(|condition| condition.each_test(visit));
            }
            Self::Not(condition) => condition.each_test(visit),
        }
    }
}

/// One `decisive` answer settles the matter; without one, all must be known.
fn settle(
    conditions: &[Condition],
    decisive: bool,
    recipient: &str,
    effort: Effort,
    common: &mut Common<'_, '_>,
) -> Result<Option<bool>, FactsError> {
    let mut answer = Some(!decisive);
    for condition in conditions {
        match condition.holds(recipient, effort, common)? {
            Some(holds) if holds == decisive => return Ok(Some(decisive)),
            Some(_) => {}
            None => answer = None,
        }
    }
    Ok(answer)
}

/// Compiles the conditions of one table and hands out the slots.
#[derive(Default)]
pub(crate) struct Compiler {
    pub(crate) slots: usize,
}

impl Compiler {
    /// The conditions of one route: all must hold; none at all always holds.
    pub(crate) fn route(&mut self, config: &ConditionConfig) -> Result<Vec<Condition>, Fault> {
        self.keys(config, 0)
    }

    fn keys(&mut self, config: &ConditionConfig, depth: usize) -> Result<Vec<Condition>, Fault> {
        // Taken apart, so that a new key can't be forgotten here.
        let ConditionConfig { recipient, sender, header, part_type, part_name, all, any, not } = config;
        let mut keys = Vec::new();
        if let Some(globs) = recipient {
            keys.push(Condition::Recipient(compile("recipient", globs, address)?));
        }
        if let Some(globs) = sender {
            keys.push(self.common(Test::Sender(compile("sender", globs, reverse_path)?)));
        }
        for (name, text) in header.iter().flatten() {
            keys.push(self.common(field(name, text).map_err(|error| Fault::new("header", error))?));
        }
        if header.as_ref().is_some_and(|fields| fields.is_empty()) {
            return Err(Fault::new("header", KeyError::Empty));
        }
        if let Some(globs) = part_type {
            keys.push(self.common(Test::PartType(compile("part_type", globs, media_type)?)));
        }
        if let Some(globs) = part_name {
            keys.push(self.common(Test::PartName(compile("part_name", globs, file_name)?)));
        }
        if let Some(list) = all {
            keys.push(Condition::All(self.list("all", list, depth)?));
        }
        if let Some(list) = any {
            keys.push(Condition::Any(self.list("any", list, depth)?));
        }
        if let Some(inner) = not {
            keys.push(Condition::Not(Box::new(self.nested("not", inner, depth)?)));
        }
        Ok(keys)
    }

    fn common(&mut self, test: Test) -> Condition {
        self.slots += 1;
        Condition::Common { slot: self.slots - 1, test }
    }

    fn list(
        &mut self,
        key: &'static str,
        list: &[ConditionConfig],
        depth: usize,
    ) -> Result<Vec<Condition>, Fault> {
        if list.is_empty() {
            return Err(Fault::new(key, KeyError::Empty));
        }
        let numbered = (1..).zip(list);
        numbered.map(|(number, inner)| self.nested(&format!("{key}[{number}]"), inner, depth)).collect()
    }

    fn nested(&mut self, key: &str, config: &ConditionConfig, depth: usize) -> Result<Condition, Fault> {
        if depth == CONDITION_DEPTH_MAX {
            return Err(Fault::new(key, KeyError::TooDeep));
        }
        let keys = self.keys(config, depth + 1).map_err(|fault| fault.inside(key))?;
        if keys.is_empty() {
            return Err(Fault::new(key, KeyError::Empty));
        }
        Ok(Condition::All(keys))
    }
}

/// Compiles the globs of a key, each by `read`.
fn compile(
    key: &'static str,
    globs: &Globs,
    read: fn(&str) -> Result<Glob, KeyError>,
) -> Result<Vec<Glob>, Fault> {
    if globs.as_slice().is_empty() {
        return Err(Fault::new(key, KeyError::Empty));
    }
    globs
        .as_slice()
        .iter()
        .map(|text| read(text))
        .collect::<Result<_, _>>()
        .map_err(|error| Fault::new(key, error))
}

fn glob(text: &str) -> Result<Glob, KeyError> {
    Glob::new(text).ok_or(KeyError::GlobTooLong(text.len()))
}

/// An address has a domain, but for `postmaster` (RFC 5321 section 4.1.1.3).
fn address(text: &str) -> Result<Glob, KeyError> {
    let glob = glob(text)?;
    if text.contains(['*', '@']) || glob.matches("postmaster") {
        return Ok(glob);
    }
    Err(KeyError::NoAddress(text.to_owned()))
}

fn reverse_path(text: &str) -> Result<Glob, KeyError> {
    if matches!(text, "" | "<>") { glob("") } else { address(text) }
}

fn media_type(text: &str) -> Result<Glob, KeyError> {
    if text.contains(['*', '/']) { glob(text) } else { Err(KeyError::NoMediaType(text.to_owned())) }
}

/// A file name that is empty is none.
fn file_name(text: &str) -> Result<Glob, KeyError> {
    if text.is_empty() { Err(KeyError::Empty) } else { glob(text) }
}

/// RFC 5322 section 3.6.8: a name has printable ASCII without the colon.
fn field(name: &str, text: &str) -> Result<Test, KeyError> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
        return Err(KeyError::HeaderName(name.to_owned()));
    }
    Ok(Test::Header { name: name.to_owned(), glob: glob(text)? })
}
