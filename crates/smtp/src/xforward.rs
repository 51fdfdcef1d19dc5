//! XFORWARD of Postfix (XFORWARD_README): an MTA tells a filter behind it whose
//! mail it brings.
//!
//! Values come as xtext and are checked here, once. They are what the MTA says, so
//! only a client that is trusted may tell; whether one is must never be decided
//! here.

use std::net::{IpAddr, Ipv6Addr};

use lazaret_envelope::{Forwarded, Line, is_host_name};

/// Longest value in bytes, decoded. XFORWARD_README: "attribute values must not
/// be longer than 255 characters".
const VALUE_BYTES_MAX: usize = 255;

/// Longest protocol name in bytes, as in Postfix.
const PROTOCOL_BYTES_MAX: usize = 64;

/// Longest command that we send, without its line end: XFORWARD_README wants at
/// most 512 characters.
const COMMAND_BYTES_MAX: usize = 510;

/// What stands for a value that the MTA does not have, or does not have now.
const NO_VALUES: [&str; 2] = ["[UNAVAILABLE]", "[TEMPUNAVAIL]"];

/// An attribute's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// The client's host name.
    Name,
    /// Its IP address.
    Addr,
    /// Its port.
    Port,
    /// The protocol that it spoke.
    Proto,
    /// The name that it gave itself.
    Helo,
    /// The id under which the MTA queued the message.
    Ident,
    /// `LOCAL` or `REMOTE`.
    Source,
}

impl Attribute {
    const WORDS: [(Self, &'static str); 7] = [
        (Self::Name, "NAME"),
        (Self::Addr, "ADDR"),
        (Self::Port, "PORT"),
        (Self::Proto, "PROTO"),
        (Self::Helo, "HELO"),
        (Self::Ident, "IDENT"),
        (Self::Source, "SOURCE"),
    ];

    /// The line of the answer to EHLO that offers all of them.
    pub(crate) fn offer() -> String {
        Self::WORDS.iter().fold("XFORWARD".to_owned(), |line, (_, word)| line + " " + word)
    }

    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(attribute, _)| *attribute == self).expect("every attribute has a word").1
    }
}

/// Which attributes a next hop takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(u8);

impl Attributes {
    /// Reads the words behind XFORWARD in an answer to EHLO; others are ignored.
    pub(crate) fn offered<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let known =
            |word: &str| Attribute::WORDS.iter().position(|(_, known)| known.eq_ignore_ascii_case(word));
        Self(words.filter_map(known).fold(0, |all, at| all | 1 << at))
    }

    fn contains(self, attribute: Attribute) -> bool {
        Attribute::WORDS
            .iter()
            .position(|(known, _)| *known == attribute)
            .is_some_and(|at| self.0 & 1 << at != 0)
    }
}

/// Why an XFORWARD command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XforwardError {
    /// No attribute, or one without a value.
    #[error("syntax: XFORWARD attribute=value ...")]
    Syntax,
    /// No attribute of this name is known.
    #[error("unknown attribute {0:?}")]
    Unknown(String),
    /// The value is too long, is no xtext, or does not fit the attribute.
    #[error("bad value for attribute {0}")]
    Value(&'static str),
}

/// What XFORWARD commands have told since the last transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// What is known of the client.
    pub forwarded: Forwarded,
    /// The id under which the MTA queued the message.
    pub ident: Option<Line>,
}

impl Told {
    /// Takes in what one command tells.
    pub(crate) fn add(&mut self, pairs: Vec<(Attribute, Option<Line>)>) {
        for (attribute, value) in pairs {
            let forwarded = &mut self.forwarded;
            *match attribute {
                Attribute::Name => &mut forwarded.name,
                Attribute::Addr => &mut forwarded.address,
                Attribute::Port => &mut forwarded.port,
                Attribute::Proto => &mut forwarded.protocol,
                Attribute::Helo => &mut forwarded.helo,
                Attribute::Ident => &mut self.ident,
                Attribute::Source => &mut forwarded.source,
            } = value;
        }
    }
}

impl Told {
    /// The commands that tell a next hop as much of it as it takes. What is not
    /// known is told as that, or the next hop would take it from us.
    pub(crate) fn commands(&self, offered: Attributes) -> Vec<String> {
        let Forwarded { name, address, port, protocol, helo, source } = &self.forwarded;
        let values = [
            (Attribute::Name, name),
            (Attribute::Addr, address),
            (Attribute::Port, port),
            (Attribute::Proto, protocol),
            (Attribute::Helo, helo),
            (Attribute::Ident, &self.ident),
            (Attribute::Source, source),
        ];
        let mut commands: Vec<String> = Vec::new();
        for (attribute, value) in values.into_iter().filter(|(attribute, _)| offered.contains(*attribute)) {
            let value = value.as_ref().map(|value| quoted(value.as_str().as_bytes()));
            let value = value.filter(|value| value.len() <= VALUE_BYTES_MAX);
            let pair = format!(" {}={}", attribute.word(), value.as_deref().unwrap_or(NO_VALUES[0]));
            match commands.last_mut() {
                Some(command) if command.len() + pair.len() <= COMMAND_BYTES_MAX => command.push_str(&pair),
                _ => commands.push(format!("XFORWARD{pair}")),
            }
        }
        commands.iter_mut().for_each(|command| command.push_str("\r\n"));
        commands
    }
}

/// RFC 3461 section 4: what is no printable ASCII, `+` and `=` go as hexadecimal.
fn quoted(value: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'+' && byte != b'=';
    let quote = |&byte: &u8| if plain(byte) { char::from(byte).to_string() } else { format!("+{byte:02X}") };
    value.iter().map(quote).collect()
}

/// Parses what stands behind XFORWARD. A value is absent where the MTA has none.
pub(crate) fn parse(argument: &[u8]) -> Result<Vec<(Attribute, Option<Line>)>, XforwardError> {
    if argument.is_empty() {
        return Err(XforwardError::Syntax);
    }
    argument.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).map(pair).collect()
}

fn pair(word: &[u8]) -> Result<(Attribute, Option<Line>), XforwardError> {
    let equals = word.iter().position(|&byte| byte == b'=').ok_or(XforwardError::Syntax)?;
    let (name, value) = (&word[..equals], &word[equals + 1..]);
    let known = Attribute::WORDS.iter().find(|(_, known)| name.eq_ignore_ascii_case(known.as_bytes()));
    let Some(&(attribute, _)) = known else {
        let name = Line::escaped(&name[..name.len().min(PROTOCOL_BYTES_MAX)]);
        return Err(XforwardError::Unknown(name.to_string()));
    };
    if value.is_empty() {
        return Err(XforwardError::Syntax);
    }
    let bad = XforwardError::Value(attribute.word());
    let value =
        unquoted(value).filter(|value| (1..=VALUE_BYTES_MAX).contains(&value.len())).ok_or(bad.clone())?;
    if NO_VALUES.iter().any(|none| value.eq_ignore_ascii_case(none.as_bytes())) {
        return Ok((attribute, None));
    }
    checked(attribute, &value).map(|value| (attribute, Some(value))).ok_or(bad)
}

/// Takes the encoding of RFC 3461 section 4 off. Lenient as Postfix is, which
/// leaves `=` in a value as it is and reads hexadecimal digits in either case.
fn unquoted(value: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::with_capacity(value.len()), value);
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'+' {
            out.push(byte);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        out.push(u8::try_from(digit(0)? << 4 | digit(1)?).ok()?);
        rest = behind;
    }
    Some(out)
}

/// The value as it is kept, if it fits its attribute.
fn checked(attribute: Attribute, value: &[u8]) -> Option<Line> {
    let line = Line::escaped(value);
    let text = line.as_str();
    match attribute {
        Attribute::Name => is_host_name(text).then_some(line),
        Attribute::Addr => address(text).map(|address| Line::escaped(address.to_string())),
        Attribute::Port => {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|_| digits).map(|_| line)
        }
        Attribute::Proto => (value.len() <= PROTOCOL_BYTES_MAX).then_some(line),
        Attribute::Helo | Attribute::Ident => Some(line),
        Attribute::Source => {
            let known = ["LOCAL", "REMOTE"].into_iter().find(|known| text.eq_ignore_ascii_case(known));
            known.map(Line::escaped)
        }
    }
}

/// As MTAs write one: IPv6 with or without the prefix of RFC 5321 section 4.1.3.
fn address(text: &str) -> Option<IpAddr> {
    const PREFIX: &str = "IPv6:";
    match text.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => {
            rest.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(argument: &str) -> Result<Vec<(Attribute, Option<String>)>, String> {
        let pairs = parse(argument.as_bytes()).map_err(|error| error.to_string())?;
        Ok(pairs
            .into_iter()
            .map(|(attribute, value)| (attribute, value.map(|value| value.to_string())))
            .collect())
    }

    #[test]
    fn what_is_told_is_what_was_offered_and_reads_back() {
        let line = |text: &str| Some(Line::escaped(text));
        let mut told = Told { ident: line("01M8"), ..Told::default() };
        told.forwarded.address = line("192.0.2.7");
        told.forwarded.helo = line("a b+c=d");
        let offered = Attributes::offered("helo ADDR NAME X IDENT".split(' '));
        let expected = "XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.7 HELO=a+20b+2Bc+3Dd IDENT=01M8\r\n";
        assert_eq!(told.commands(offered), [expected]);
        let mut back = Told::default();
        back.add(parse(expected.trim_end().strip_prefix("XFORWARD ").unwrap().as_bytes()).unwrap());
        assert_eq!(back, told);
        assert_eq!(told.commands(Attributes::default()), [""; 0]);
        let long = "x".repeat(VALUE_BYTES_MAX);
        (told.forwarded.helo, told.ident) = (line(&long), line(&long));
        let commands = told.commands(offered);
        assert!(commands.len() == 2 && commands.iter().all(|one| one.len() <= 512), "{commands:?}");
    }

    #[test]
    fn values_are_decoded_and_checked() {
        for (pair, value) in [
            ("NAME=spike.example", Some("spike.example")),
            ("name=[UNAVAILABLE]", None),
            ("NAME=[TEMPUNAVAIL]", None),
            ("ADDR=168.100.189.2", Some("168.100.189.2")),
            ("ADDR=IPv6:2001:DB8::1", Some("2001:db8::1")),
            ("ADDR=2001:db8::1", Some("2001:db8::1")),
            ("PORT=65535", Some("65535")),
            ("PROTO=ESMTP", Some("ESMTP")),
            ("HELO=a+2Bb=c+3d", Some("a+b=c=")),
            ("HELO=x+0D+0Ay+FF", Some("x\\r\\ny\\xff")),
            ("IDENT=4Xy12", Some("4Xy12")),
            ("SOURCE=remote", Some("REMOTE")),
            ("SOURCE=[unavailable]", None),
        ] {
            let pairs = told(pair).unwrap_or_else(|error| panic!("{pair}: {error}"));
            assert_eq!(pairs[0].1.as_deref(), value, "{pair}");
        }
        assert_eq!(told("NAME=a  PORT=1").unwrap().len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = format!("HELO={}", "x".repeat(VALUE_BYTES_MAX + 1));
        for (argument, error) in [
            ("", "syntax: XFORWARD attribute=value ..."),
            ("NAME", "syntax: XFORWARD attribute=value ..."),
            ("NAME=", "syntax: XFORWARD attribute=value ..."),
            ("LOGIN=x", "unknown attribute \"LOGIN\""),
            ("NAME=a..b", "bad value for attribute NAME"),
            ("NAME=a+0Ab", "bad value for attribute NAME"),
            ("ADDR=300.1.1.1", "bad value for attribute ADDR"),
            ("ADDR=IPv6:127.0.0.1", "bad value for attribute ADDR"),
            ("PORT=65536", "bad value for attribute PORT"),
            ("PORT=+2B1", "bad value for attribute PORT"),
            ("SOURCE=here", "bad value for attribute SOURCE"),
            ("HELO=+", "bad value for attribute HELO"),
            ("HELO=+4", "bad value for attribute HELO"),
            ("HELO=+xy", "bad value for attribute HELO"),
            (&long, "bad value for attribute HELO"),
        ] {
            assert_eq!(told(argument).unwrap_err(), error, "{argument}");
        }
    }
}
