//! Addresses, ESMTP parameters and command lines: what is accepted prints to what
//! parses to the same, never holds a control character, costs in proportion to its
//! length, and is what another program reads in it.
//!
//! The input is an address, a path with its parameters, and a command line. The
//! other program's word must count only where it is known to be right: plain
//! addresses without quotes, routes and parameters.

use std::borrow::Cow;

use lazaret_envelope::{ADDRESS_BYTES_MAX, Address, LINE_BYTES_MAX, Line, MailParams, RcptParams, take_path};
use lazaret_smtp::Command;
use lazaret_smtp::server::COMMAND_BYTES_MAX;
use smtp_proto::Request;

use crate::cost;

/// Longest address that smtp-proto takes, in bytes. (Local part and domain may have
/// 320 together, RFC 5321 section 4.5.3.1; in a path of 256 they can't.)
const ANOTHERS_ADDRESS_BYTES_MAX: usize = 256;

/// Looks at one input.
pub fn check(data: &[u8]) {
    command(data);
    assert_eq!(Line::parse(Line::escaped(data).as_str()), Ok(Line::escaped(data)));
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(address) = text.parse::<Address>() {
        built(&address, text);
    }
    if let Ok((path, rest)) = take_path(text) {
        assert_eq!(take_path(&path.to_string()), Ok((path, "")));
        params(rest);
    }
    params(text);
    long(text);
}

fn built(address: &Address, text: &str) {
    assert_eq!(address.as_str(), text);
    let (local, domain) = (address.local(), address.domain());
    assert_eq!(domain.map_or(local.to_owned(), |domain| format!("{local}@{domain}")), text);
    assert!(!local.is_empty() && text.len() <= ADDRESS_BYTES_MAX && !text.chars().any(char::is_control));
    let path = format!("<{address}> X=1");
    let (again, rest) = take_path(&path).expect("an address in brackets is a path");
    assert_eq!((again.0.as_ref(), rest), (Some(address), " X=1"));
    another_program(address);
}

fn params(text: &str) {
    if let Ok(params) = MailParams::parse(text) {
        assert_eq!(MailParams::parse(&params.to_string()), Ok(params));
    }
    if let Ok(params) = RcptParams::parse(text) {
        assert_eq!(RcptParams::parse(&params.to_string()), Ok(params));
    }
}

fn command(line: &[u8]) {
    let shown = match Command::parse(line) {
        Ok(Command::Mail { sender, size }) => {
            let size = size.map_or(String::new(), |size| format!(" SIZE={size}"));
            format!("MAIL FROM:{}{}{size}", sender.path, sender.params)
        }
        Ok(Command::Rcpt(to)) => format!("RCPT TO:<{}>{}", to.address, to.params),
        Ok(Command::Ehlo(name)) => return assert!(!name.as_str().is_empty()),
        Ok(_) => return,
        Err(error) => {
            let reply = error.reply();
            return assert!(reply.is_permanent() && reply.enhanced.is_some_and(|status| status.0 == 5));
        }
    };
    assert!(!line.iter().any(u8::is_ascii_control));
    assert_eq!(Command::parse(shown.as_bytes()), Command::parse(line), "{shown}");
}

/// smtp-proto reads the same address in a command; of quotes it loses some.
fn another_program(address: &Address) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_+=.".contains(c);
    let labels = address.domain().is_some_and(|domain| {
        let fine = |label: &str| {
            !label.is_empty()
                && label.len() < 64
                && !label.starts_with(['-', '_'])
                && !label.ends_with(['-', '_'])
        };
        domain.len() < 255 && domain.contains('.') && domain.split('.').all(fine)
    });
    let dots = address.local().split('.').all(|word| !word.is_empty()) && address.local().len() <= 64;
    if address.as_str().len() > ANOTHERS_ADDRESS_BYTES_MAX {
        return;
    }
    let domain_plain = address.domain().is_some_and(|domain| !domain.contains(['+', '=', '_']));
    if !labels || !dots || !domain_plain || !address.as_str().replace('@', "").chars().all(plain) {
        return;
    }
    let line = format!("RCPT TO:<{address}>\r\n");
    match Request::parse(&mut line.as_bytes().iter()) {
        Ok(Request::Rcpt { to }) => assert_eq!(to.address, Cow::Borrowed(address.as_str())),
        other => panic!("{line:?}: smtp-proto reads {other:?}"),
    }
}

/// The input with its middle part many times over, as long as there is room for.
fn long(text: &str) {
    let (a, b) = (text.floor_char_boundary(text.len() / 3), text.floor_char_boundary(text.len() * 2 / 3));
    let (head, unit, tail) = (&text[..a], &text[a..b], &text[b..]);
    if unit.is_empty() {
        return;
    }
    let times = |room: usize| unit.repeat(room.saturating_sub(text.len() + 16) / unit.len());
    let address = format!("{head}{}{tail}", times(ADDRESS_BYTES_MAX));
    for address in [format!("{address}@b.example"), format!("a@{address}"), format!("\"{address}\"@b")] {
        cost::assert_linear(address.len(), || drop(address.parse::<Address>()));
    }
    let many = times(LINE_BYTES_MAX);
    for path in [
        format!("<{head}{many}{tail}>"),
        format!("<@{many}:{head}@{tail}>"),
        format!("<a@b> {head}{many}{tail}"),
    ] {
        cost::assert_linear(path.len(), || drop(take_path(&path)));
    }
    let words = format!("{head}{many}{tail}");
    cost::assert_linear(words.len(), || drop(MailParams::parse(&words)));
    cost::assert_linear(words.len(), || drop(RcptParams::parse(&words)));
    let line = format!("RCPT TO:<{head}{}{tail}", times(COMMAND_BYTES_MAX));
    cost::assert_linear(line.len(), || drop(Command::parse(line.as_bytes())));
}
