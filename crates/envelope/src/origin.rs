//! Where a message came from: who brought it, how, and what the MTA before us
//! told of its own client.
//!
//! What we saw ourselves and what another program told are kept apart: the one must
//! never be filled up with the other.

use std::fmt;
use std::str::FromStr;

use crate::line::Line;

/// How a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HELO (RFC 5321).
    Smtp,
    /// EHLO (RFC 5321).
    Esmtp,
    /// LHLO (RFC 2033).
    Lmtp,
    /// The `lazaret submit` or `sendmail` command.
    Submit,
    /// A file in `drop/`.
    Drop,
    /// Made here: a notice to the sender of a message, whose id is the upstream's.
    Notice,
}

impl Protocol {
    pub(crate) const WORDS: [(Self, &'static str); 6] = [
        (Self::Smtp, "smtp"),
        (Self::Esmtp, "esmtp"),
        (Self::Lmtp, "lmtp"),
        (Self::Submit, "submit"),
        (Self::Drop, "drop"),
        (Self::Notice, "notice"),
    ];
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::WORDS.iter().find(|(protocol, _)| protocol == self);
        f.write_str(word.expect("every protocol has a word").1)
    }
}

impl FromStr for Protocol {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::WORDS.iter().find(|(_, word)| *word == text);
        known.map(|(protocol, _)| *protocol).ok_or("expected smtp, esmtp, lmtp, submit, drop or notice")
    }
}

/// What the MTA before us told of the client that it has the message from
/// (XFORWARD of Postfix); what it did not tell, or did not know, is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forwarded {
    /// The client's host name.
    pub name: Option<Line>,
    /// Its IP address.
    pub address: Option<Line>,
    /// Its port.
    pub port: Option<Line>,
    /// The protocol that it spoke.
    pub protocol: Option<Line>,
    /// The name that it gave itself.
    pub helo: Option<Line>,
    /// `LOCAL` or `REMOTE`.
    pub source: Option<Line>,
}

/// Where a message came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// How it came in.
    pub protocol: Protocol,
    /// Who brought it: the address of an SMTP client, the user id of a local one.
    pub client: Option<Line>,
    /// The name that an SMTP client gave itself.
    pub helo: Option<Line>,
    /// Version and cipher suite, if the session was encrypted.
    pub tls: Option<Line>,
    /// The id under which the MTA before us queued it.
    pub upstream_id: Option<Line>,
    /// The user who authenticated to the MTA before us.
    pub user: Option<Line>,
    /// Where that MTA has it from.
    pub forwarded: Forwarded,
}

impl From<Protocol> for Origin {
    fn from(protocol: Protocol) -> Self {
        let forwarded = Forwarded::default();
        Self { protocol, client: None, helo: None, tls: None, upstream_id: None, user: None, forwarded }
    }
}

/// Lists the optional facts once, for reading and for writing.
macro_rules! facts {
    ($($key:literal => $($field:ident).+),+ $(,)?) => {
        impl Origin {
            /// The facts with the keys of their lines, in the order in which they are written.
            pub(crate) fn facts(&self) -> impl Iterator<Item = (&'static str, &Line)> {
                [$(($key, &self.$($field).+)),+].into_iter().filter_map(|(key, fact)| Some((key, fact.as_ref()?)))
            }

            /// The place of the fact that a key names.
            pub(crate) fn place(&mut self, key: &str) -> Option<(&'static str, &mut Option<Line>)> {
                match key {
                    $($key => Some(($key, &mut self.$($field).+)),)+
                    _ => None,
                }
            }
        }
    };
}

facts! {
    "client" => client,
    "helo" => helo,
    "tls" => tls,
    "upstream-id" => upstream_id,
    "user" => user,
    "forwarded-name" => forwarded.name,
    "forwarded-address" => forwarded.address,
    "forwarded-port" => forwarded.port,
    "forwarded-protocol" => forwarded.protocol,
    "forwarded-helo" => forwarded.helo,
    "forwarded-source" => forwarded.source,
}
