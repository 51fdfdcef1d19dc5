//! One command line of a client, parsed (RFC 5321 section 4.1, RFC 2033), or
//! the reason why not and the reply that says so.
//!
//! Whoever gets a [`Command`] need not look at the line again. Lenient about
//! blanks and case, strict about brackets around addresses. It must never let a
//! control character pass.

use lazaret_envelope::{
    AddressError, Line, MailParams, ParamError, RcptParams, Recipient, Sender, take_path,
};

use crate::reply::Reply;
use crate::xforward::{self, Attribute, XforwardError};

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `EHLO name`
    Ehlo(Line),
    /// `HELO name`
    Helo(Line),
    /// `LHLO name` (RFC 2033)
    Lhlo(Line),
    /// `MAIL FROM:<path> parameters`
    Mail {
        /// The sender and what is kept of the parameters.
        sender: Sender,
        /// SIZE (RFC 1870): how many bytes the client wants to send.
        size: Option<u64>,
    },
    /// `RCPT TO:<path> parameters`
    Rcpt(Recipient),
    /// `DATA`
    Data,
    /// `RSET`
    Rset,
    /// `NOOP`
    Noop,
    /// `QUIT`
    Quit,
    /// `STARTTLS` (RFC 3207)
    StartTls,
    /// `VRFY`
    Vrfy,
    /// `HELP`
    Help,
    /// `XFORWARD attribute=value ...`; a value is absent where the MTA has none.
    Xforward(Vec<(Attribute, Option<Line>)>),
}

/// Why a line is no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The line has a control character.
    #[error("control characters are not allowed in a command")]
    Control,
    /// No such command.
    #[error("command not recognized")]
    Unknown,
    /// A command of the standards that is not offered here.
    #[error("command not implemented")]
    NotImplemented,
    /// A web browser, made to speak to a mail server by somebody else's page.
    #[error("this is not a web server")]
    Http,
    /// The command is not followed by what belongs behind it.
    #[error("syntax: {0}")]
    Syntax(&'static str),
    /// What stands behind `MAIL FROM:`.
    #[error("bad sender address: {0}")]
    Sender(PathError),
    /// What stands behind `RCPT TO:`.
    #[error("bad recipient address: {0}")]
    Recipient(PathError),
    /// A parameter of MAIL or RCPT.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// What stands behind XFORWARD.
    #[error(transparent)]
    Xforward(#[from] XforwardError),
}

/// Why a path was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// RFC 6531 section 3.3: addresses are ASCII or UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// `<>` as a recipient.
    #[error("a recipient can't be empty")]
    Null,
    /// It is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl CommandError {
    /// What to answer.
    #[must_use]
    pub fn reply(&self) -> Reply {
        let (code, status) = match self {
            Self::Control | Self::Unknown => (500, [5, 5, 2]),
            Self::NotImplemented => (502, [5, 5, 1]),
            Self::Http => (521, [5, 7, 0]),
            Self::Syntax(_) | Self::Xforward(_) => (501, [5, 5, 4]),
            Self::Sender(_) => (501, [5, 1, 7]),
            Self::Recipient(_) => (501, [5, 1, 3]),
            // RFC 5321 section 4.1.1.11: "If the server SMTP does not recognize
            // or cannot implement one or more of the parameters [...] it will
            // return code 555."
            Self::Param(ParamError::Unknown(_)) => (555, [5, 5, 4]),
            Self::Param(ParamError::Twice(_) | ParamError::Value(_)) => (501, [5, 5, 4]),
        };
        Reply::new(code, status, self.to_string())
    }
}

impl Command {
    /// Parses a line, given without its CRLF.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        if line.iter().any(u8::is_ascii_control) {
            return Err(CommandError::Control);
        }
        let length = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
        let (verb, argument) = line.split_at(length);
        let argument = argument.trim_ascii();
        match verb.to_ascii_uppercase().as_slice() {
            b"EHLO" => name(argument, "EHLO host").map(Self::Ehlo),
            b"HELO" => name(argument, "HELO host").map(Self::Helo),
            b"LHLO" => name(argument, "LHLO host").map(Self::Lhlo),
            b"MAIL" => mail(argument),
            b"RCPT" => rcpt(argument),
            b"DATA" => alone(Self::Data, argument, "DATA"),
            b"RSET" => alone(Self::Rset, argument, "RSET"),
            b"QUIT" => alone(Self::Quit, argument, "QUIT"),
            b"STARTTLS" => alone(Self::StartTls, argument, "STARTTLS"),
            b"NOOP" => Ok(Self::Noop),
            b"VRFY" => Ok(Self::Vrfy),
            b"HELP" => Ok(Self::Help),
            b"XFORWARD" => Ok(Self::Xforward(xforward::parse(argument)?)),
            b"AUTH" | b"BDAT" | b"ETRN" | b"EXPN" | b"SAML" | b"SEND" | b"SOML" | b"TURN" | b"XCLIENT" => {
                Err(CommandError::NotImplemented)
            }
            b"CONNECT" | b"GET" | b"HEAD" | b"OPTIONS" | b"POST" | b"PUT" => Err(CommandError::Http),
            _ => Err(CommandError::Unknown),
        }
    }
}

/// A command that takes nothing.
fn alone(command: Command, argument: &[u8], syntax: &'static str) -> Result<Command, CommandError> {
    if argument.is_empty() { Ok(command) } else { Err(CommandError::Syntax(syntax)) }
}

/// The name behind a hello: whatever it is, mail is not refused because of it.
fn name(argument: &[u8], syntax: &'static str) -> Result<Line, CommandError> {
    if argument.is_empty() { Err(CommandError::Syntax(syntax)) } else { Ok(Line::escaped(argument)) }
}

fn mail(argument: &[u8]) -> Result<Command, CommandError> {
    const SYNTAX: CommandError = CommandError::Syntax("MAIL FROM:<address> [parameters]");
    let path = after_keyword(argument, b"FROM:").ok_or(SYNTAX)?;
    let path = std::str::from_utf8(path).map_err(|_| CommandError::Sender(PathError::NotUtf8))?;
    let (path, rest) = take_path(path).map_err(|error| CommandError::Sender(error.into()))?;
    let (mut params, mut size) = (MailParams::default(), None);
    for (key, value) in parameters(rest).ok_or(SYNTAX)? {
        if !key.eq_ignore_ascii_case("SIZE") {
            params.set(key, value)?;
        } else if size.replace(size_value(value)?).is_some() {
            return Err(ParamError::Twice("SIZE").into());
        }
    }
    Ok(Command::Mail { sender: Sender { path, params }, size })
}

fn rcpt(argument: &[u8]) -> Result<Command, CommandError> {
    const SYNTAX: CommandError = CommandError::Syntax("RCPT TO:<address> [parameters]");
    let path = after_keyword(argument, b"TO:").ok_or(SYNTAX)?;
    let path = std::str::from_utf8(path).map_err(|_| CommandError::Recipient(PathError::NotUtf8))?;
    let (path, rest) = take_path(path).map_err(|error| CommandError::Recipient(error.into()))?;
    let address = path.0.ok_or(CommandError::Recipient(PathError::Null))?;
    let mut params = RcptParams::default();
    for (key, value) in parameters(rest).ok_or(SYNTAX)? {
        params.set(key, value)?;
    }
    Ok(Command::Rcpt(Recipient { address, params }))
}

/// What stands behind `FROM:` or `TO:`. RFC 5321 section 3.3: "spaces are not
/// permitted on either side of the colon"; after it they are common.
fn after_keyword<'a>(argument: &'a [u8], keyword: &[u8]) -> Option<&'a [u8]> {
    let (word, rest) = argument.split_at_checked(keyword.len())?;
    word.eq_ignore_ascii_case(keyword).then(|| rest.trim_ascii_start())
}

/// The `KEY=value` words behind a path, from which a blank divides them.
fn parameters(rest: &str) -> Option<impl Iterator<Item = (&str, Option<&str>)>> {
    let divided = rest.is_empty() || rest.starts_with(' ');
    divided.then(|| {
        rest.split_ascii_whitespace().map(|word| match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        })
    })
}

/// RFC 1870: `size-value ::= 1*20DIGIT`.
fn size_value(value: Option<&str>) -> Result<u64, ParamError> {
    let digits = value.filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or(ParamError::Value("SIZE"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mail_line(line: &str) -> (String, Option<u64>) {
        match Command::parse(line.as_bytes()) {
            Ok(Command::Mail { sender, size }) => (format!("{}{}", sender.path, sender.params), size),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn commands_are_read_in_any_case_and_with_blanks() {
        for (line, command) in [
            ("ehlo a.example ", Command::Ehlo(Line::escaped("a.example"))),
            ("HELO [192.0.2.1]", Command::Helo(Line::escaped("[192.0.2.1]"))),
            ("LHLO x y", Command::Lhlo(Line::escaped("x y"))),
            ("data", Command::Data),
            ("RSET ", Command::Rset),
            ("NOOP whatever", Command::Noop),
            ("Quit", Command::Quit),
            ("VRFY <a@b>", Command::Vrfy),
            ("HELP", Command::Help),
        ] {
            assert_eq!(Command::parse(line.as_bytes()), Ok(command), "{line}");
        }
    }

    #[test]
    fn mail_and_rcpt_keep_their_parameters() {
        assert_eq!(mail_line("MAIL FROM:<>"), ("<>".into(), None));
        assert_eq!(mail_line("mail from: <a@b> size=12"), ("<a@b>".into(), Some(12)));
        let line = "MAIL FROM:<ä@b> BODY=8BITMIME SMTPUTF8 SIZE=18446744073709551615 RET=HDRS ENVID=x";
        assert_eq!(mail_line(line), ("<ä@b> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x".into(), Some(u64::MAX)));
        let Ok(Command::Rcpt(to)) = Command::parse(b"RCPT TO: <\"a >\"@b>  NOTIFY=NEVER ORCPT=rfc822;c")
        else {
            panic!()
        };
        assert_eq!(format!("{}{}", to.address, to.params), "\"a >\"@b NOTIFY=NEVER ORCPT=rfc822;c");
    }

    #[test]
    fn each_mistake_has_its_reply() {
        for (line, reply) in [
            ("", "500 5.5.2 command not recognized"),
            ("MAIL\0", "500 5.5.2 control characters are not allowed in a command"),
            ("RCPT TO:<a\r@b>", "500 5.5.2 control characters are not allowed in a command"),
            ("BDAT 3 LAST", "502 5.5.1 command not implemented"),
            ("STARTTLS now", "501 5.5.4 syntax: STARTTLS"),
            ("POST / HTTP/1.1", "521 5.7.0 this is not a web server"),
            ("EHLO", "501 5.5.4 syntax: EHLO host"),
            ("DATA now", "501 5.5.4 syntax: DATA"),
            ("MAIL <a@b>", "501 5.5.4 syntax: MAIL FROM:<address> [parameters]"),
            ("MAIL FROM :<a@b>", "501 5.5.4 syntax: MAIL FROM:<address> [parameters]"),
            ("MAIL FROM:<a@b>SIZE=1", "501 5.5.4 syntax: MAIL FROM:<address> [parameters]"),
            ("MAIL FROM:a@b", "501 5.1.7 bad sender address: expected an address in angle brackets"),
            (
                "MAIL FROM:<a@>",
                "501 5.1.7 bad sender address: the domain is not a host name and not an address literal",
            ),
            ("RCPT TO:a@b", "501 5.1.3 bad recipient address: expected an address in angle brackets"),
            ("RCPT TO:<>", "501 5.1.3 bad recipient address: a recipient can't be empty"),
            ("MAIL FROM:<a@b> SIZE=+1", "501 5.5.4 bad value for parameter SIZE"),
            ("MAIL FROM:<a@b> SIZE=", "501 5.5.4 bad value for parameter SIZE"),
            ("MAIL FROM:<a@b> SIZE=1 SIZE=1", "501 5.5.4 parameter SIZE is given twice"),
            ("MAIL FROM:<a@b> BODY=9BIT", "501 5.5.4 bad value for parameter BODY"),
            ("MAIL FROM:<a@b> X=1", "555 5.5.4 unknown parameter \"X\""),
            ("RCPT TO:<a@b> SIZE=1", "555 5.5.4 unknown parameter \"SIZE\""),
        ] {
            assert_eq!(Command::parse(line.as_bytes()).unwrap_err().reply().to_string(), reply, "{line:?}");
        }
        let replies = ["MAIL FROM:<", "RCPT TO:<"].map(|start| {
            let line = [start.as_bytes(), b"\xff@b>"].concat();
            Command::parse(&line).unwrap_err().reply().to_string()
        });
        assert_eq!(
            replies,
            ["501 5.1.7 bad sender address: not UTF-8", "501 5.1.3 bad recipient address: not UTF-8"]
        );
    }

    proptest! {
        #[test]
        fn no_line_panics(line: Vec<u8>, words in "(MAIL FROM:|RCPT TO:|EHLO )[<a@b\"> =SIZE\\\\:,\u{85}é]{0,20}") {
            let _ = (Command::parse(&line), Command::parse(words.as_bytes()));
        }
    }
}
