//! What can be asked of a daemon: one line of JSON.
//!
//! Ids, places and findings are read once, here. A request must never name
//! anything outside of the spool.

use std::ffi::OsString;
use std::path::Path;

use lazaret_envelope::MessageId;
use lazaret_spool::{Place, Trouble};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest request, in bytes with its line end: room for a name of 255 bytes, each
/// of which takes up to four, and for its directory.
pub const REQUEST_BYTES_MAX: usize = 4 << 10;

/// What can be asked of a daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// What it has and does.
    Status,
    /// Take a message out of quarantine.
    Release(#[serde(with = "id")] MessageId),
    /// Delete a message in quarantine.
    Delete(#[serde(with = "id")] MessageId),
    /// Tell the sender of a message in quarantine that it is given up, and delete it.
    Bounce(#[serde(with = "id")] MessageId),
    /// Repair what `lazaret check` has found there.
    Repair(#[serde(with = "trouble")] Trouble, #[serde(with = "place")] Place),
    /// Stop a part of the work for now.
    Pause(Part),
    /// Go on with it.
    Resume(Part),
    /// Read the configuration again.
    Reload,
    /// Try all mail that waits now.
    Retry,
}

/// Why a line is no request.
#[derive(Debug, thiserror::Error)]
#[error("the daemon does not understand the request: {0}")]
pub struct RequestError(serde_json::Error);

impl Request {
    /// Reads a request; a line end behind it may be missing.
    ///
    /// # Errors
    /// It is no request, or not of this version.
    pub fn decode(line: &[u8]) -> Result<Self, RequestError> {
        serde_json::from_slice(line).map_err(RequestError)
    }

    /// The request with its line end.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("words, texts and bytes are JSON");
        line.push(b'\n');
        line
    }
}

/// A part of the work that can be paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Taking mail in.
    Intake,
    /// Claiming and routing.
    Routing,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 2] = [Self::Intake, Self::Routing];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Routing => "routing",
        }
    }

    /// What it is, and what its pause means.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::Intake => {
                "Listeners and drop/: while paused, clients are told to come back; `lazaret submit` goes on"
            }
            Self::Routing => "Claiming and routing: while paused, mail stays in incoming/",
        }
    }
}

/// Ids as their text.
mod id {
    use super::*;

    pub(super) fn serialize<S: Serializer>(id: &MessageId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<MessageId, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Findings as their words.
mod trouble {
    use super::*;

    pub(super) fn serialize<S: Serializer>(trouble: &Trouble, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(trouble.word())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Trouble, D::Error> {
        let word = String::deserialize(from)?;
        let trouble = Trouble::ALL.into_iter().find(|trouble| trouble.word() == word);
        trouble.ok_or_else(|| D::Error::custom(format_args!("{word:?} is no finding")))
    }
}

/// Places as their paths from the top of the spool: bytes, which may be any.
mod place {
    use super::*;

    pub(super) fn serialize<S: Serializer>(place: &Place, to: S) -> Result<S::Ok, S::Error> {
        place.path().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Place, D::Error> {
        let path = OsString::deserialize(from)?;
        Place::at(Path::new(&path))
            .ok_or_else(|| D::Error::custom(format_args!("nothing of a spool is at {path:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_understood() {
        let id = MessageId::from_parts(1_795_334_400_000, 1);
        let place = Place::at(Path::new("claimed/7/x\u{e9}")).unwrap();
        let mut requests = vec![
            Request::Status,
            Request::Release(id),
            Request::Delete(id),
            Request::Bounce(id),
            Request::Reload,
            Request::Retry,
        ];
        requests.extend(Part::ALL.into_iter().flat_map(|part| [Request::Pause(part), Request::Resume(part)]));
        requests.extend(Trouble::ALL.map(|trouble| Request::Repair(trouble, place.clone())));
        for request in requests {
            assert_eq!(Request::decode(&request.encode()).unwrap(), request);
        }
    }

    #[test]
    fn the_words_stay_what_they_are() {
        let id = MessageId::from_parts(1_795_334_400_000, 1);
        let text = |request: Request| String::from_utf8(request.encode()).unwrap();
        assert_eq!(text(Request::Status), "\"status\"\n");
        assert_eq!(text(Request::Pause(Part::Intake)), "{\"pause\":\"intake\"}\n");
        assert_eq!(text(Request::Release(id)), format!("{{\"release\":\"{id}\"}}\n"));
        let place = Place::at(Path::new("tmp/x")).unwrap();
        let word = Trouble::Mode.word();
        let bytes = "116,109,112,47,120";
        assert_eq!(
            text(Request::Repair(Trouble::Mode, place)),
            format!("{{\"repair\":[\"{word}\",{{\"Unix\":[{bytes}]}}]}}\n")
        );
    }

    #[test]
    fn the_longest_name_fits() {
        let place = Place::at(Path::new(&format!("claimed/65535/{}", "\u{ff}".repeat(127)))).unwrap();
        for trouble in Trouble::ALL {
            assert!(Request::Repair(trouble, place.clone()).encode().len() < REQUEST_BYTES_MAX);
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for line in [
            "",
            "status",
            "\"stat\"",
            "{\"release\":\"../x\"}",
            "{\"repair\":[\"mode\",{\"Unix\":[46,46,47,120]}]}",
            "{\"repair\":[\"mode\",{\"Unix\":[47,120]}]}",
            "{\"repair\":[\"x\",{\"Unix\":[116,109,112,47,120]}]}",
            "{\"pause\":\"delivery\"}",
            "\"status\"\n\"status\"",
        ] {
            let error = Request::decode(line.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("the daemon does not understand the request: "), "{line}: {error}");
        }
    }

    #[test]
    fn parts_have_one_word_each() {
        for part in Part::ALL {
            assert_eq!(serde_json::to_value(part).unwrap(), part.word());
        }
    }
}
