//! ESMTP parameters of MAIL and RCPT, as values: BODY (RFC 6152), SMTPUTF8
//! (RFC 6531), RET, ENVID, NOTIFY and ORCPT (RFC 3461), REQUIRETLS (RFC 8689).
//!
//! SMTP commands and envelope lines write them alike, so this is the one parser
//! and printer for both. SIZE is not here: it speaks of one session only. What
//! is kept is written back unchanged; a parameter must never be dropped.

use std::fmt;

use crate::line::Line;

/// Why a parameter was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// No parameter of this name is known here.
    #[error("unknown parameter {0:?}")]
    Unknown(String),
    /// The parameter stands there twice.
    #[error("parameter {0} is given twice")]
    Twice(&'static str),
    /// The value does not fit the parameter.
    #[error("bad value for parameter {0}")]
    Value(&'static str),
}

/// Longest xtext value in bytes (RFC 3461 section 4.4: ENVID at most 100,
/// section 4.2: ORCPT at most 500).
const XTEXT_BYTES_MAX: usize = 500;

/// Text in the encoding of RFC 3461 section 4, kept encoded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Xtext(String);

impl Xtext {
    /// Checks that `text` is xtext: printable ASCII without `=`, and `+` only
    /// before two upper-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let hex = |at: usize| bytes.get(at).is_some_and(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
        let fine = bytes.iter().enumerate().all(|(at, &byte)| match byte {
            b'+' => hex(at + 1) && hex(at + 2),
            byte => matches!(byte, b'!'..=b'~') && byte != b'=',
        });
        (fine && bytes.len() <= XTEXT_BYTES_MAX).then(|| Self(text.to_owned()))
    }

    /// The text, still encoded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text that was meant, with what is unsafe to show escaped.
    #[must_use]
    pub fn decoded(&self) -> Line {
        let mut bytes = Vec::with_capacity(self.0.len());
        let mut rest = self.0.as_str();
        while let Some((plain, hex)) = rest.split_once('+') {
            bytes.extend_from_slice(plain.as_bytes());
            let (digits, behind) = hex.split_at(2);
            bytes.push(u8::from_str_radix(digits, 16).expect("xtext has two digits there"));
            rest = behind;
        }
        bytes.extend_from_slice(rest.as_bytes());
        Line::escaped(bytes)
    }
}

/// BODY of RFC 6152.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Body {
    /// `7BIT`
    SevenBit,
    /// `8BITMIME`
    EightBitMime,
}

/// RET of RFC 3461: how much of the message a bounce returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ret {
    /// `FULL`
    Full,
    /// `HDRS`
    Headers,
}

/// Parameters of MAIL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct MailParams {
    /// BODY
    pub body: Option<Body>,
    /// SMTPUTF8
    pub smtputf8: bool,
    /// RET
    pub ret: Option<Ret>,
    /// ENVID
    pub envid: Option<Xtext>,
    /// REQUIRETLS
    pub requiretls: bool,
}

/// Fills `slot` once.
fn once<T>(slot: &mut Option<T>, name: &'static str, value: Option<T>) -> Result<(), ParamError> {
    if slot.is_some() {
        return Err(ParamError::Twice(name));
    }
    *slot = Some(value.ok_or(ParamError::Value(name))?);
    Ok(())
}

/// Raises `flag` once; a flag takes no value.
fn raise(flag: &mut bool, name: &'static str, value: Option<&str>) -> Result<(), ParamError> {
    match (*flag, value) {
        (true, _) => Err(ParamError::Twice(name)),
        (_, Some(_)) => Err(ParamError::Value(name)),
        (false, None) => {
            *flag = true;
            Ok(())
        }
    }
}

/// Splits `KEY=value` parameters at blanks.
fn split(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.split_ascii_whitespace().map(|word| match word.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (word, None),
    })
}

impl MailParams {
    /// Takes in one parameter.
    ///
    /// # Errors
    /// Unknown, given twice, or with a value that does not fit.
    pub fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), ParamError> {
        let word = value.unwrap_or_default().to_ascii_uppercase();
        match key.to_ascii_uppercase().as_str() {
            "BODY" => once(
                &mut self.body,
                "BODY",
                match word.as_str() {
                    "7BIT" => Some(Body::SevenBit),
                    "8BITMIME" => Some(Body::EightBitMime),
                    _ => None,
                },
            ),
            "RET" => once(
                &mut self.ret,
                "RET",
                match word.as_str() {
                    "FULL" => Some(Ret::Full),
                    "HDRS" => Some(Ret::Headers),
                    _ => None,
                },
            ),
            "ENVID" => {
                once(&mut self.envid, "ENVID", value.and_then(Xtext::parse).filter(|x| !x.0.is_empty()))
            }
            "SMTPUTF8" => raise(&mut self.smtputf8, "SMTPUTF8", value),
            "REQUIRETLS" => raise(&mut self.requiretls, "REQUIRETLS", value),
            _ => Err(ParamError::Unknown(key.chars().take(64).collect())),
        }
    }

    /// Parses parameters separated by blanks.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn parse(text: &str) -> Result<Self, ParamError> {
        let mut params = Self::default();
        split(text).try_for_each(|(key, value)| params.set(key, value))?;
        Ok(params)
    }
}

impl fmt::Display for MailParams {
    /// Each parameter with a blank before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(body) = self.body {
            f.write_str(match body {
                Body::SevenBit => " BODY=7BIT",
                Body::EightBitMime => " BODY=8BITMIME",
            })?;
        }
        if self.smtputf8 {
            f.write_str(" SMTPUTF8")?;
        }
        if let Some(ret) = self.ret {
            f.write_str(match ret {
                Ret::Full => " RET=FULL",
                Ret::Headers => " RET=HDRS",
            })?;
        }
        if let Some(envid) = &self.envid {
            write!(f, " ENVID={}", envid.0)?;
        }
        if self.requiretls {
            f.write_str(" REQUIRETLS")?;
        }
        Ok(())
    }
}

/// NOTIFY of RFC 3461 section 4.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Notify {
    /// `NEVER`
    Never,
    /// Any of `SUCCESS`, `FAILURE`, `DELAY`; at least one.
    On {
        /// `SUCCESS`
        success: bool,
        /// `FAILURE`
        failure: bool,
        /// `DELAY`
        delay: bool,
    },
}

impl Notify {
    fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("NEVER") {
            return Some(Self::Never);
        }
        let (mut success, mut failure, mut delay) = (false, false, false);
        for word in text.split(',') {
            match word.to_ascii_uppercase().as_str() {
                "SUCCESS" => success = true,
                "FAILURE" => failure = true,
                "DELAY" => delay = true,
                _ => return None,
            }
        }
        Some(Self::On { success, failure, delay })
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::On { success, failure, delay } = *self else {
            return f.write_str("NEVER");
        };
        let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
        let words: Vec<&str> = words.into_iter().filter_map(|(on, word)| on.then_some(word)).collect();
        f.write_str(&words.join(","))
    }
}

/// ORCPT of RFC 3461 section 4.2: `type;xtext`, kept encoded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Orcpt {
    /// The address type, such as `rfc822`.
    pub kind: String,
    /// The original recipient.
    pub address: Xtext,
}

impl Orcpt {
    fn parse(text: &str) -> Option<Self> {
        let (kind, address) = text.split_once(';')?;
        let atom = !kind.is_empty()
            && kind.len() <= 64
            && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let address = Xtext::parse(address)?;
        atom.then(|| Self { kind: kind.to_owned(), address })
    }
}

/// Parameters of RCPT.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RcptParams {
    /// NOTIFY
    pub notify: Option<Notify>,
    /// ORCPT
    pub orcpt: Option<Orcpt>,
}

impl RcptParams {
    /// Takes in one parameter.
    ///
    /// # Errors
    /// Unknown, given twice, or with a value that does not fit.
    pub fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), ParamError> {
        match key.to_ascii_uppercase().as_str() {
            "NOTIFY" => once(&mut self.notify, "NOTIFY", value.and_then(Notify::parse)),
            "ORCPT" => once(&mut self.orcpt, "ORCPT", value.and_then(Orcpt::parse)),
            _ => Err(ParamError::Unknown(key.chars().take(64).collect())),
        }
    }

    /// Parses parameters separated by blanks.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn parse(text: &str) -> Result<Self, ParamError> {
        let mut params = Self::default();
        split(text).try_for_each(|(key, value)| params.set(key, value))?;
        Ok(params)
    }
}

impl fmt::Display for RcptParams {
    /// Each parameter with a blank before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(notify) = self.notify {
            write!(f, " NOTIFY={notify}")?;
        }
        if let Some(orcpt) = &self.orcpt {
            write!(f, " ORCPT={};{}", orcpt.kind, orcpt.address.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_round_trip() {
        for text in ["", " BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+3Db REQUIRETLS", " BODY=7BIT RET=FULL"] {
            assert_eq!(MailParams::parse(text).unwrap().to_string(), text);
        }
        for text in ["", " NOTIFY=NEVER", " NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;a+2Bb@c"] {
            assert_eq!(RcptParams::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn xtext_is_decoded_and_stays_harmless() {
        for (text, meant) in [("a+2Bb@c", "a+b@c"), ("+0D+0Ax", "\\r\\nx"), ("+C3+A9", "é"), ("", "")] {
            assert_eq!(Xtext::parse(text).unwrap().decoded().as_str(), meant);
        }
    }

    #[test]
    fn bad_parameters_are_named() {
        use ParamError::*;
        for (text, error) in [
            ("BODY=9BIT", Value("BODY")),
            ("BODY", Value("BODY")),
            ("BODY=7BIT body=7bit", Twice("BODY")),
            ("SMTPUTF8=1", Value("SMTPUTF8")),
            ("SMTPUTF8 SMTPUTF8", Twice("SMTPUTF8")),
            ("ENVID=a=b", Value("ENVID")),
            ("ENVID=a+3db", Value("ENVID")),
            ("X=1", Unknown("X".into())),
        ] {
            assert_eq!(MailParams::parse(text), Err(error), "{text}");
        }
        for (text, error) in [
            ("NOTIFY=NEVER,SUCCESS", Value("NOTIFY")),
            ("NOTIFY=", Value("NOTIFY")),
            ("ORCPT=a@b", Value("ORCPT")),
            ("ORCPT=rfc822;a\u{e9}", Value("ORCPT")),
        ] {
            assert_eq!(RcptParams::parse(text), Err(error), "{text}");
        }
    }
}
