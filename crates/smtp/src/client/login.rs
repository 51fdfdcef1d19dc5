//! Who we are to a next hop that wants to know: AUTH PLAIN and AUTH LOGIN
//! (RFC 4954, RFC 4616).
//!
//! Both say the password as it is, so it is said to nobody who could be somebody
//! else. A password must never be shown: not in a log, not by `Debug`, and not in
//! what a next hop says back.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Deref;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lazaret_envelope::Line;

use super::Offer;
use crate::reply::Reply;

/// Longest command line in bytes with its CRLF (RFC 5321 section 4.5.3.1.4). RFC 4954
/// section 4: an initial response that would make it longer is sent on its own.
const COMMAND_BYTES_MAX: usize = 512;

/// So many characters of a secret, one after the other, in a reply are no accident.
const TELLTALE_BYTES: usize = 6;

/// A text that is never shown. It is not empty.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// `None` for what can't be said: nothing, or a NUL (RFC 4616 section 2).
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (!text.is_empty() && !text.contains('\0')).then(|| Self(text.to_owned()))
    }

    /// Whether a text gives away a part of it.
    fn shows_in(&self, text: &str) -> bool {
        let (secret, text) = (self.0.as_bytes(), text.as_bytes());
        let length = secret.len().min(TELLTALE_BYTES);
        secret.windows(length).any(|part| text.windows(length).any(|piece| piece == part))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A user with a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    user: String,
    password: Secret,
}

impl Login {
    /// `None` for a user that can't be said: empty, or with a NUL.
    #[must_use]
    pub fn new(user: &str, password: Secret) -> Option<Self> {
        (!user.is_empty() && !user.contains('\0')).then(|| Self { user: user.to_owned(), password })
    }

    /// Who it is.
    #[must_use]
    pub fn user(&self) -> Line {
        Line::escaped(&self.user)
    }

    /// The conversation, if the next hop offers one that is known here: PLAIN rather
    /// than LOGIN, which no RFC describes.
    pub(super) fn begin(&self, offer: &Offer) -> Option<Conversation> {
        let encoded = |text: &str| Secret(STANDARD.encode(text));
        let (mechanism, responses) = if offer.auth_plain {
            ("PLAIN", vec![encoded(&format!("\0{}\0{}", self.user, self.password.0))])
        } else if offer.auth_login {
            ("LOGIN", vec![encoded(&self.user), encoded(&self.password.0)])
        } else {
            return None;
        };
        // Not all that know LOGIN take an initial response.
        let initial =
            mechanism == "PLAIN" && responses[0].0.len() + "AUTH PLAIN \r\n".len() <= COMMAND_BYTES_MAX;
        Some(Conversation { mechanism, initial, responses: responses.into() })
    }

    /// A reply to AUTH as it may be shown: a next hop that does not know the command
    /// may repeat it.
    pub(super) fn hide(&self, offer: &Offer, mut reply: Reply) -> Reply {
        let said = self.begin(offer).into_iter().flat_map(|conversation| conversation.responses);
        let secrets: Vec<Secret> = said.chain([self.password.clone()]).collect();
        for line in &mut reply.text {
            if secrets.iter().any(|secret| secret.shows_in(line.as_str())) {
                *line = Line::escaped("(words that repeat the password)");
            }
        }
        reply
    }
}

/// What is still to be said.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    mechanism: &'static str,
    /// The first response goes with the command.
    initial: bool,
    responses: VecDeque<Secret>,
}

impl Conversation {
    /// The command.
    pub(super) fn command(&mut self) -> Bytes {
        let initial = self.initial.then(|| self.responses.pop_front()).flatten();
        let initial = initial.map_or(String::new(), |response| format!(" {}", response.0));
        Bytes(format!("AUTH {}{initial}\r\n", self.mechanism).into_bytes())
    }

    /// The answer to a challenge (334); what it says is not looked at, since both
    /// mechanisms have but one order.
    pub(super) fn respond(&mut self) -> Option<Bytes> {
        let response = self.responses.pop_front()?;
        Some(Bytes(format!("{}\r\n", response.0).into_bytes()))
    }
}

/// Bytes to be sent. A password may be among them, so `Debug` only counts them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub(super) Vec<u8>);

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: fn() -> Offer = || Offer { auth_plain: true, auth_login: true, ..Offer::default() };

    fn login(password: &str) -> Login {
        Login::new("alma", Secret::new(password).unwrap()).unwrap()
    }

    fn said(login: &Login, offer: &Offer) -> Vec<String> {
        let mut conversation = login.begin(offer).unwrap();
        let mut said = vec![conversation.command()];
        said.extend(std::iter::from_fn(|| conversation.respond()));
        said.into_iter().map(|bytes| String::from_utf8(bytes.0).unwrap()).collect()
    }

    #[test]
    fn both_mechanisms_say_what_their_descriptions_want() {
        // "\0alma\0open sesame"
        assert_eq!(said(&login("open sesame"), &BOTH()), ["AUTH PLAIN AGFsbWEAb3BlbiBzZXNhbWU=\r\n"]);
        let only_login = Offer { auth_plain: false, ..BOTH() };
        let expected = ["AUTH LOGIN\r\n", "YWxtYQ==\r\n", "b3BlbiBzZXNhbWU=\r\n"];
        assert_eq!(said(&login("open sesame"), &only_login), expected);
        assert!(login("x").begin(&Offer::default()).is_none());
        let long = said(&login(&"x".repeat(400)), &BOTH());
        assert!(long.len() == 2 && long[0] == "AUTH PLAIN\r\n", "too long for one line");
    }

    #[test]
    fn what_can_not_be_said_is_refused() {
        assert!(Secret::new("").is_none() && Secret::new("a\0b").is_none());
        let password = Secret::new("x").unwrap();
        assert!(Login::new("", password.clone()).is_none() && Login::new("a\0b", password).is_none());
    }

    #[test]
    fn the_password_is_nowhere_to_be_seen() {
        let login = login("open sesame");
        let mut conversation = login.begin(&BOTH()).unwrap();
        let shown = format!("{login:?} {conversation:?} {:?}", conversation.command());
        assert!(!shown.contains("sesame") && !shown.contains("AGFsbWE"), "{shown}");
        for (text, hidden) in [
            ("authentication failed", false),
            ("unknown command: \"AUTH PLAIN AGFsbWEAb3BlbiBzZXNhbWU=\"", true),
            ("what is AGFsbWEAb3Bl...?", true),
            ("\"open sesame\" is wrong", true),
        ] {
            let shown = login.hide(&BOTH(), Reply::new(535, [5, 7, 8], text)).to_string();
            assert_eq!(!shown.contains(text), hidden, "{shown}");
            assert!(shown.starts_with("535 5.7.8 "), "{shown}");
        }
    }
}
