//! The verdict on a message: one route, or none, for each recipient, or that it
//! goes round in a loop; and its bytes on the way from the cell to the worker.
//!
//! A cell may be in the hands of the message it read. Its bytes must never be
//! believed before length and every id were checked against the task.

use crate::id::{ROUTES_MAX, RouteId};

/// Bytes of one recipient in an encoded verdict.
const ENTRY_BYTES: usize = size_of::<u16>();

/// The entry of a recipient without route.
const NO_ROUTE: u16 = u16::MAX;

/// The only entry of a message that goes round in a loop.
const LOOP: u16 = u16::MAX - 1;

const _: () = assert!(ROUTES_MAX <= LOOP as usize, "no id may look like LOOP or NO_ROUTE");

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The first route that matches, in the order of the recipients; `None`
    /// for a recipient whom no route matches.
    Routes(Vec<Option<RouteId>>),
    /// It has come through more than [`Limits::hops`](crate::Limits::hops) hosts:
    /// nobody is to get it, and no route was asked.
    Loop,
}

/// Why bytes are no verdict on the message that was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerdictError {
    /// There is not one entry for each recipient.
    #[error("the verdict has {found} bytes instead of {expected}")]
    Length {
        /// What the number of recipients asks for.
        expected: usize,
        /// What came.
        found: usize,
    },
    /// An id that no route of the table has.
    #[error("the verdict sends recipient {recipient} to route {id}, but the table has {routes}")]
    NoSuchRoute {
        /// Which recipient, counted from 1.
        recipient: usize,
        /// The id.
        id: u16,
        /// How many routes the table has.
        routes: usize,
    },
}

impl Verdict {
    /// The bytes: for each recipient the id, 16 bits, little endian; 65535 for
    /// no route. One entry of 65534 for a loop, however many there are.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Routes(routes) => {
                routes.iter().flat_map(|route| route.map_or(NO_ROUTE, |id| id.0).to_le_bytes()).collect()
            }
            Self::Loop => LOOP.to_le_bytes().to_vec(),
        }
    }

    /// Reads bytes from a cell that was asked about so many recipients and
    /// has a table of so many routes.
    ///
    /// # Errors
    /// The bytes don't answer the question.
    pub fn decode(bytes: &[u8], recipients: usize, routes: usize) -> Result<Self, VerdictError> {
        if bytes == LOOP.to_le_bytes() {
            return Ok(Self::Loop);
        }
        let expected = recipients.saturating_mul(ENTRY_BYTES);
        let (entries, []) = bytes.as_chunks::<ENTRY_BYTES>() else {
            return Err(VerdictError::Length { expected, found: bytes.len() });
        };
        if entries.len() != recipients {
            return Err(VerdictError::Length { expected, found: bytes.len() });
        }
        let routes = (1..).zip(entries).map(|(recipient, entry)| match u16::from_le_bytes(*entry) {
            NO_ROUTE => Ok(None),
            id if usize::from(id) < routes => Ok(Some(RouteId(id))),
            id => Err(VerdictError::NoSuchRoute { recipient, id, routes }),
        });
        routes.collect::<Result<_, _>>().map(Self::Routes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_little_endian_and_none_is_all_ones() {
        let verdict = Verdict::Routes(vec![Some(RouteId(0x0102)), None]);
        assert_eq!(verdict.encode(), [2, 1, 255, 255]);
    }

    #[test]
    fn a_loop_is_the_only_entry() {
        assert_eq!(Verdict::Loop.encode(), [254, 255]);
        assert_eq!(Verdict::decode(&[254, 255], 1, ROUTES_MAX), Ok(Verdict::Loop));
        assert_eq!(Verdict::decode(&[254, 255], 3, 1), Ok(Verdict::Loop));
        let error = VerdictError::NoSuchRoute { recipient: 2, id: LOOP, routes: 1 };
        assert_eq!(Verdict::decode(&[0, 0, 254, 255], 2, 1), Err(error));
    }

    #[test]
    fn answers_to_another_question_are_refused() {
        let length = |expected, found| Err(VerdictError::Length { expected, found });
        assert_eq!(Verdict::decode(&[0, 0], 2, 1), length(4, 2));
        assert_eq!(Verdict::decode(&[0, 0, 0], 1, 1), length(2, 3));
        assert_eq!(Verdict::decode(&[], usize::MAX, 1), length(usize::MAX, 0));
        let error = VerdictError::NoSuchRoute { recipient: 2, id: 3, routes: 3 };
        assert_eq!(Verdict::decode(&[2, 0, 3, 0], 2, 3), Err(error));
        assert_eq!(Verdict::decode(&[255, 255], 1, 0), Ok(Verdict::Routes(vec![None])));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, recipients: usize, near in 0..40_usize, routes: usize) {
            let _ = Verdict::decode(&bytes, recipients, routes);
            let _ = Verdict::decode(&bytes, near, routes);
        }

        #[test]
        fn verdicts_round_trip(ids: Vec<Option<u16>>, routes in 1..=ROUTES_MAX) {
            let id = |id: u16| RouteId((usize::from(id) % routes) as u16);
            let recipients = ids.len();
            let verdict = Verdict::Routes(ids.into_iter().map(|route| route.map(id)).collect());
            prop_assert_eq!(Verdict::decode(&verdict.encode(), recipients, routes), Ok(verdict));
        }
    }
}
