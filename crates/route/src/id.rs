//! How routes are called.
//!
//! An id must never be believed to be one of a table that it was not made for.

/// Most routes of a table: their ids, and two numbers that are no ids
/// (see [`Verdict::encode`](crate::Verdict::encode)), fit into 16 bits.
pub const ROUTES_MAX: usize = u16::MAX as usize - 2;

/// A route, by its place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u16);
