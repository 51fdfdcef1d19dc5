//! The arguments of a program, with what stands for their variables.
//!
//! Addresses are untrusted. What stands for a variable stays within its
//! argument, which must never become an option because of it.

use lazaret_envelope::{Address, Line, ReversePath};

use crate::braces::{Part, Unpaired, parts};
use crate::recipient::Parts;

/// Ends the options of most programs: what follows can't be one.
const END_OF_OPTIONS: &str = "--";

/// A command with variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arguments {
    program: String,
    arguments: Vec<Argument>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Argument {
    /// One argument.
    One {
        pieces: Vec<Piece>,
        /// An argument before it ends the options.
        safe: bool,
    },
    /// As many arguments as there are recipients.
    Recipients { safe: bool },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Sender,
    Local,
    Domain,
    Address,
}

/// Why a list of texts is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no program.
    #[error("name the program with an absolute path, such as [\"/usr/bin/procmail\", \"{{recipients}}\"]")]
    NoProgram,
    /// A text that can't be an argument.
    #[error("{0:?} has a character NUL, which no argument can have")]
    Nul(String),
    /// A brace without its partner.
    #[error("{0:?}: a brace is not closed, or closes nothing")]
    Brace(String),
    /// No variable of this name is known.
    #[error(
        "unknown variable {{{0}}}: the variables are {{sender}}, {{recipients}}, and with per_recipient {{local}}, {{domain}} and {{address}}"
    )]
    Unknown(String),
    /// `{recipients}` beside something else.
    #[error("{0:?}: {{recipients}} must be an argument of its own")]
    NotAlone(String),
    /// A variable of one recipient where there may be several.
    #[error("{{{0}}} means one recipient: set per_recipient = true, or use {{recipients}}")]
    NeedsOne(String),
}

/// Who can't be passed to the program.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsafe {
    /// The sender, and so nobody.
    Sender,
    /// This recipient.
    Recipient,
}

impl Arguments {
    pub(super) fn parse(command: &[String], per_recipient: bool) -> Result<Self, CommandError> {
        let Some((program, rest)) = command.split_first().filter(|(program, _)| program.starts_with('/'))
        else {
            return Err(CommandError::NoProgram);
        };
        if let Some(nul) = command.iter().find(|text| text.contains('\0')) {
            return Err(CommandError::Nul(nul.clone()));
        }
        let mut safe = false;
        let mut arguments = Vec::with_capacity(rest.len());
        for text in rest {
            arguments.push(Argument::parse(text, per_recipient, safe)?);
            safe |= text == END_OF_OPTIONS;
        }
        Ok(Self { program: program.clone(), arguments })
    }

    pub(super) fn program(&self) -> &str {
        &self.program
    }

    /// Whether this sender, or this recipient, could pass for an option.
    pub(super) fn refuses(
        &self,
        sender: &ReversePath,
        recipient: &Address,
        hostname: &str,
    ) -> Option<Unsafe> {
        let parts = Parts::of(recipient, hostname);
        let hyphen = |text: &str| text.starts_with('-');
        self.arguments.iter().find_map(|argument| match argument {
            Argument::Recipients { safe: false } if hyphen(recipient.as_str()) => Some(Unsafe::Recipient),
            // An empty first piece would let the second begin the argument.
            Argument::One { pieces, safe: false }
                if !matches!(pieces.first(), None | Some(Piece::Text(_))) =>
            {
                let text = fill(pieces, sender, Some((recipient, &parts)));
                let by_sender = matches!(pieces[0], Piece::Sender) && hyphen(sender.as_str());
                let refused = if by_sender { Unsafe::Sender } else { Unsafe::Recipient };
                hyphen(&text).then_some(refused)
            }
            _ => None,
        })
    }

    /// The arguments for these recipients.
    pub(super) fn filled(
        &self,
        sender: &ReversePath,
        recipients: &[&Address],
        hostname: &str,
    ) -> Vec<String> {
        let only = match recipients {
            [only] => Some((*only, Parts::of(only, hostname))),
            _ => None,
        };
        let one = only.as_ref().map(|(address, parts)| (*address, parts));
        let filled = self.arguments.iter().flat_map(|argument| match argument {
            Argument::One { pieces, .. } => vec![fill(pieces, sender, one)],
            Argument::Recipients { .. } => recipients.iter().map(|to| to.as_str().to_owned()).collect(),
        });
        filled.collect()
    }
}

impl Argument {
    fn parse(text: &str, per_recipient: bool, safe: bool) -> Result<Self, CommandError> {
        let parts = parts(text).map_err(|Unpaired| CommandError::Brace(text.to_owned()))?;
        if parts == [Part::Variable("recipients")] {
            return Ok(Self::Recipients { safe });
        }
        let pieces = parts.into_iter().map(|part| {
            let (name, piece) = match part {
                Part::Text(text) => return Ok(Piece::Text(text.to_owned())),
                Part::Variable("sender") => return Ok(Piece::Sender),
                Part::Variable("recipients") => return Err(CommandError::NotAlone(text.to_owned())),
                Part::Variable("local") => ("local", Piece::Local),
                Part::Variable("domain") => ("domain", Piece::Domain),
                Part::Variable("address") => ("address", Piece::Address),
                Part::Variable(unknown) => return Err(CommandError::Unknown(unknown.to_owned())),
            };
            if per_recipient { Ok(piece) } else { Err(CommandError::NeedsOne(name.to_owned())) }
        });
        Ok(Self::One { pieces: pieces.collect::<Result<_, _>>()?, safe })
    }
}

/// One argument; pieces of a recipient are empty where there is not just one,
/// which parsing rules out.
fn fill(pieces: &[Piece], sender: &ReversePath, one: Option<(&Address, &Parts)>) -> String {
    let texts = pieces.iter().map(|piece| match piece {
        Piece::Text(text) => text.as_str(),
        Piece::Sender => sender.as_str(),
        Piece::Local => one.map_or("", |(_, parts)| &parts.local),
        Piece::Domain => one.map_or("", |(_, parts)| &parts.domain),
        Piece::Address => one.map_or("", |(address, _)| address.as_str()),
    });
    texts.collect()
}

impl Unsafe {
    /// What is told.
    pub(super) fn reply(&self, recipient: &Address, sender: &ReversePath) -> Line {
        Line::escaped(match self {
            Self::Recipient => {
                format!("5.1.3 <{recipient}> begins with a hyphen: it could pass for an option")
            }
            Self::Sender => {
                format!("5.1.7 sender {sender} begins with a hyphen: it could pass for an option")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(command: &[&str], per_recipient: bool) -> Result<Arguments, CommandError> {
        let command: Vec<String> = command.iter().map(|&text| text.to_owned()).collect();
        Arguments::parse(&command, per_recipient)
    }

    fn filled(command: &[&str], per_recipient: bool, sender: &str, recipients: &[&str]) -> Vec<String> {
        let sender = lazaret_envelope::take_path(sender).unwrap().0;
        let recipients: Vec<Address> = recipients.iter().map(|to| to.parse().unwrap()).collect();
        let recipients: Vec<&Address> = recipients.iter().collect();
        parse(command, per_recipient).unwrap().filled(&sender, &recipients, "hub.example")
    }

    #[test]
    fn variables_are_filled_in_and_nothing_is_split() {
        let command = ["/p", "-f", "{sender}", "--", "{recipients}", "x{sender}y"];
        assert_eq!(
            filled(&command, false, "<\"a b\"@c>", &["d@e", "\"$(f) g\"@h"]),
            ["-f", "\"a b\"@c", "--", "d@e", "\"$(f) g\"@h", "x\"a b\"@cy"]
        );
        assert_eq!(filled(&["/p", "-f", "{sender}"], false, "<>", &["d@e"]), ["-f", ""]);
        let command = ["/p", "{local}+{domain}", "{address}", "{recipients}", "plain", ""];
        let expected = ["a b+c.example", "\"a b\"@C.example", "\"a b\"@C.example", "plain", ""];
        assert_eq!(filled(&command, true, "<>", &["\"a b\"@C.example"]), expected);
        assert_eq!(
            filled(&["/p", "{local}@{domain}"], true, "<>", &["PostMaster"]),
            ["postmaster@hub.example"]
        );
    }

    #[test]
    fn commands_that_make_no_sense_are_refused() {
        use CommandError as E;
        let odd = |text: &str| text.to_owned();
        for (command, error) in [
            (&[][..], E::NoProgram),
            (&["procmail"], E::NoProgram),
            (&["/p", "a\0b"], E::Nul(odd("a\0b"))),
            (&["/p", "{x"], E::Brace(odd("{x"))),
            (&["/p", "{user}"], E::Unknown(odd("user"))),
            (&["/p", "-t{recipients}"], E::NotAlone(odd("-t{recipients}"))),
            (&["/p", "{local}"], E::NeedsOne(odd("local"))),
        ] {
            assert_eq!(parse(command, false), Err(error), "{command:?}");
        }
    }

    #[test]
    fn no_address_becomes_an_option() {
        let refused = |command: &[&str], sender: &str, to: &str| {
            let (sender, _) = lazaret_envelope::take_path(sender).unwrap();
            let arguments = parse(command, true).unwrap();
            arguments.refuses(&sender, &to.parse().unwrap(), "-hub")
        };
        let recipient = Some(Unsafe::Recipient);
        for command in ["{recipients}", "{local}", "{address}", "{local}{domain}"] {
            assert_eq!(refused(&["/p", command], "<>", "-oX@b"), recipient, "{command}");
            assert_eq!(refused(&["/p", "--", command], "<>", "-oX@b"), None, "{command}");
            assert_eq!(refused(&["/p", command, "--"], "<>", "-oX@b"), recipient, "{command}");
        }
        assert_eq!(refused(&["/p", "{local}"], "<>", "\"-oX\"@b"), recipient);
        assert_eq!(refused(&["/p", "{address}"], "<>", "\"-oX\"@b"), None);
        assert_eq!(refused(&["/p", "{domain}"], "<>", "postmaster"), recipient);
        assert_eq!(refused(&["/p", "to={local}"], "<>", "-oX@b"), None);
        assert_eq!(refused(&["/p", "-f", "{sender}", "{recipients}"], "<-x@y>", "a@b"), Some(Unsafe::Sender));
        assert_eq!(
            refused(&["/p", "{sender}{local}"], "<>", "-oX@b"),
            recipient,
            "an empty sender hides nothing"
        );
        assert_eq!(refused(&["/p", "-f{sender}", "{recipients}"], "<-x@y>", "a@b"), None);
    }
}
