//! What a message says about itself: header fields, types and file names of its parts.
//! The only module that names mail-parser.
//!
//! Nothing is parsed before it is asked for, a single header field included,
//! and each thing once. Header fields come from `parse_headers` alone: `parse`
//! can be made to answer with the fields of a forwarded message, which would
//! let a sender choose the route.
//!
//! A parsed message is dropped by recursion, one level of the stack's depth for
//! each level of forwarded messages. This module must never clone one, and
//! never drop one before a walk without recursion has found it shallow and its
//! part tree sound; one that failed is forgotten, and its memory is lost to the
//! process.

use std::collections::BTreeSet;
use std::mem::ManuallyDrop;

use lazaret_envelope::{Cause, Stage};
use mail_parser::parsers::MessageStream;
use mail_parser::{Header, HeaderName, HeaderValue, Message, MessageParser, MessagePart, PartType};

use crate::glob::{Glob, any_matches};
use crate::header::{HeaderSize, measure};
use crate::limits::Limits;

/// Why a message can't be judged. It is the message's fault, and judging it
/// again would end the same way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// One of the [`Limits`] is exceeded.
    #[error("{name}: {found} exceeds the limit of {limit}")]
    Limit {
        /// The limit's name in the configuration.
        name: &'static str,
        /// What the message has.
        found: usize,
        /// What it may have.
        limit: usize,
    },
    /// The part tree is malformed.
    #[error("the part tree is malformed: {0}")]
    Tree(TreeFault),
}

/// What is wrong with a part tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TreeFault {
    /// The outermost message got lost: what was parsed starts inside it.
    #[error("the first part starts at byte {0} instead of 0")]
    Start(u32),
    /// A part has itself, an earlier part or one that is not there as its child.
    #[error("part {parent} contains part {child}")]
    Child {
        /// The containing part.
        parent: usize,
        /// The contained one.
        child: usize,
    },
}

impl FactsError {
    /// The cause of quarantine.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Limit { .. } => Cause::Limit,
            Self::Tree(_) => Cause::Tree,
        }
    }
}

/// The facts of one message, found out as they are asked for.
pub struct Facts<'a> {
    content: &'a [u8],
    limits: &'a Limits,
    observer: &'a mut dyn FnMut(Stage),
    measured: Option<HeaderSize>,
    /// `Some(None)` once it was found that there is no header.
    header: Option<Option<Message<'a>>>,
    parts: Option<Parts>,
}

/// What the parts of a message say of themselves, forwarded messages included.
#[doc(hidden)]
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// What they are: `type/subtype`.
    pub types: BTreeSet<String>,
    /// How the files in them are called.
    pub names: BTreeSet<String>,
}

impl<'a> Facts<'a> {
    /// The facts of the message `content`. The observer is told
    /// [`Stage::Headers`] or [`Stage::Parse`] before the parser is at work on the
    /// one or the other, and [`Stage::Route`] after it, unless it ends in an error.
    pub fn new(content: &'a [u8], limits: &'a Limits, observer: &'a mut dyn FnMut(Stage)) -> Self {
        Self { content, limits, observer, measured: None, header: None, parts: None }
    }

    /// Tests the number of recipients against its limit.
    pub(crate) fn admit(&self, recipients: usize) -> Result<(), FactsError> {
        within("recipients", recipients, self.limits.recipients)
    }

    /// Whether the message goes round in a loop.
    pub(crate) fn loops(&mut self) -> bool {
        self.measured().hops > self.limits.hops
    }

    /// Whether the text of one of the fields of that name matches.
    pub(crate) fn header_matches(&mut self, name: &str, glob: &Glob) -> Result<bool, FactsError> {
        self.any_field(name, |text| glob.matches(text))
    }

    /// The texts of the fields of that name, to compare them with what other
    /// programs read.
    ///
    /// # Errors
    /// As [`RouteTable::judge`](crate::RouteTable::judge).
    #[doc(hidden)]
    pub fn field_texts(&mut self, name: &str) -> Result<Vec<String>, FactsError> {
        let mut texts = Vec::new();
        self.any_field(name, |text| {
            texts.push(text.to_owned());
            false
        })?;
        Ok(texts)
    }

    fn any_field(&mut self, name: &str, mut holds: impl FnMut(&str) -> bool) -> Result<bool, FactsError> {
        (self.observer)(Stage::Headers);
        self.admit_header()?;
        let header = self.header.get_or_insert_with(|| header_parser().parse_headers(self.content));
        let fields = header.as_mut().and_then(|message| message.parts.first_mut());
        let fields = fields.map_or(&mut [][..], |part| &mut part.headers);
        let mut named = fields.iter_mut().filter(|field| field.name().eq_ignore_ascii_case(name));
        let holds = named.any(|field| holds(text(field, self.content)));
        (self.observer)(Stage::Route);
        Ok(holds)
    }

    /// Whether the type of one of the parts matches one of the globs.
    pub(crate) fn part_type_matches(&mut self, globs: &[Glob]) -> Result<bool, FactsError> {
        Ok(self.parts()?.types.iter().any(|found| any_matches(globs, found)))
    }

    /// Whether the file name of one of the parts matches one of the globs.
    pub(crate) fn part_name_matches(&mut self, globs: &[Glob]) -> Result<bool, FactsError> {
        Ok(self.parts()?.names.iter().any(|found| any_matches(globs, found)))
    }

    /// Types and file names of all parts.
    ///
    /// # Errors
    /// As [`RouteTable::judge`](crate::RouteTable::judge).
    #[doc(hidden)]
    pub fn parts(&mut self) -> Result<&Parts, FactsError> {
        if self.parts.is_none() {
            (self.observer)(Stage::Parse);
            self.admit_header()?;
            self.parts = Some(parse_parts(self.content, self.limits)?);
            (self.observer)(Stage::Route);
        }
        Ok(self.parts.get_or_insert_default())
    }

    /// Tests the limits that must hold before the parser is at work.
    fn admit_header(&mut self) -> Result<(), FactsError> {
        let limits = self.limits;
        let &HeaderSize { bytes, fields, address_tokens, .. } = self.measured();
        within("header_bytes", bytes, limits.header_bytes)?;
        within("header_count", fields, limits.header_count)?;
        within("address_tokens", address_tokens, limits.address_tokens)
    }

    /// The header's size, found out once.
    fn measured(&mut self) -> &HeaderSize {
        self.measured.get_or_insert_with(|| measure(self.content))
    }
}

fn within(name: &'static str, found: usize, limit: usize) -> Result<(), FactsError> {
    if found > limit { Err(FactsError::Limit { name, found, limit }) } else { Ok(()) }
}

/// A parser that only finds the fields; [`text`] reads those that are asked
/// for. It obeys its default only if one field is named beside it.
fn header_parser() -> MessageParser {
    MessageParser::new().ignore_header(HeaderName::Subject).default_header_ignore()
}

/// The readable text of a field that [`header_parser`] found: encoded words
/// decoded, folds removed, whatever the field. Decoding can take its time, so
/// the text stays in the field. One that ends with the message instead of a
/// line end is lost on the decoder, and taken as it is.
fn text<'t, 'a>(field: &'t mut Header<'a>, content: &'a [u8]) -> &'t str {
    if field.value.is_empty() {
        let raw = content.get(field.offset_start as usize..field.offset_end as usize).unwrap_or_default();
        field.value = match MessageStream::new(raw).parse_unstructured() {
            HeaderValue::Empty => HeaderValue::Text(String::from_utf8_lossy(raw.trim_ascii())),
            text => text,
        };
    }
    field.value.as_text().unwrap_or_default()
}

/// Parses the whole message for what its parts say of themselves. A message without
/// any header field is text (RFC 2045 section 5.2).
fn parse_parts(content: &[u8], limits: &Limits) -> Result<Parts, FactsError> {
    let message = ManuallyDrop::new(MessageParser::new().parse(content));
    let Some(root) = message.as_ref() else {
        return Ok(Parts { types: BTreeSet::from([TEXT.to_owned()]), ..Parts::default() });
    };
    // An error leaves here, and the message is never dropped.
    let parts = walk(root, limits)?;
    drop(ManuallyDrop::into_inner(message));
    Ok(parts)
}

/// What a part is that doesn't say (RFC 2045 section 5.2).
const TEXT: &str = "text/plain";

/// What a forwarded message is that doesn't say: in a digest it need not (RFC
/// 2046 section 5.1.5).
const MESSAGE: &str = "message/rfc822";

/// Walks all messages inside `root` without recursion; returns what their parts
/// say once the tree is known to be sound and within the limits.
fn walk(root: &Message<'_>, limits: &Limits) -> Result<Parts, FactsError> {
    if let Some(start) = root.parts.first().map(|part| part.offset_header).filter(|&start| start != 0) {
        return Err(FactsError::Tree(TreeFault::Start(start)));
    }
    let mut parts = Parts::default();
    let mut count = 0;
    let mut ahead = vec![(root, 1)];
    while let Some((message, level)) = ahead.pop() {
        count += message.parts.len();
        within("parts", count, limits.parts)?;
        for (part, level) in message.parts.iter().zip(levels(message, level)?) {
            within("nesting", level, limits.nesting)?;
            parts.note(part);
            if let PartType::Message(inner) = &part.body {
                ahead.push((inner, level + 1));
            }
        }
    }
    Ok(parts)
}

/// How deep each part of one message lies, if its first part lies at `top`.
/// A child must have a greater number than its parent, as it has in every tree
/// that is none but a tree, so that one pass meets all parents before their
/// children and can't go round in circles.
fn levels(message: &Message<'_>, top: usize) -> Result<Vec<usize>, FactsError> {
    let mut levels = vec![top; message.parts.len()];
    for (parent, part) in message.parts.iter().enumerate() {
        let PartType::Multipart(children) = &part.body else { continue };
        let below = levels[parent] + 1;
        for child in children.iter().map(|&child| child as usize) {
            match levels.get_mut(child) {
                Some(level) if child > parent => *level = below,
                _ => return Err(FactsError::Tree(TreeFault::Child { parent, child })),
            }
        }
    }
    Ok(levels)
}

impl Parts {
    /// Notes what a part says. Programs differ in which of several fields of a name
    /// they believe, and in which of two names of a file: all count.
    fn note(&mut self, part: &MessagePart<'_>) {
        let mut said = false;
        for field in &part.headers {
            let (attribute, is_type) = match field.name {
                HeaderName::ContentType => ("name", true),
                HeaderName::ContentDisposition => ("filename", false),
                _ => continue,
            };
            let Some(value) = field.value.as_content_type() else { continue };
            if let Some(sub) = value.subtype().filter(|_| is_type) {
                self.types.insert(format!("{}/{sub}", value.ctype()));
                said = true;
            }
            let named = value.attributes().into_iter().flatten();
            let names = named.filter(|found| found.name == attribute && !found.value.is_empty());
            self.names.extend(names.map(|found| found.value.clone().into_owned()));
        }
        if !said {
            let unsaid = if matches!(part.body, PartType::Message(_)) { MESSAGE } else { TEXT };
            self.types.insert(unsaid.to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
