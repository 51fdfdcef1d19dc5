//! What a command asks of the daemon: what is understood is written as what is
//! understood alike, and names nothing outside of the spool.
//!
//! The input is what comes in on the socket, up to the end of a line. A request
//! that was cut off must never be taken for another one.

use std::path::{Component, Path};

use lazaret_operator::{REQUEST_BYTES_MAX, Request};
use lazaret_spool::Place;

use crate::cost;

/// Looks at one input.
pub fn check(data: &[u8]) {
    let data = &data[..data.len().min(REQUEST_BYTES_MAX)];
    cost::assert_linear(data.len(), || drop(Request::decode(data)));
    let Ok(request) = Request::decode(data) else { return };
    let line = request.encode();
    assert_eq!(line.iter().position(|&byte| byte == b'\n'), Some(line.len() - 1), "one line");
    assert_eq!(Request::decode(&line).expect("what we write is read"), request);
    for cut in 0..line.len() - 1 {
        assert!(Request::decode(&line[..cut]).is_err(), "the first {cut} bytes of {request:?}");
    }
    if let Request::Repair(_, place) = &request {
        inside(place);
    }
}

fn inside(place: &Place) {
    let path = place.path();
    let parts: Vec<Component<'_>> = Path::new(&path).components().collect();
    assert!((1..=3).contains(&parts.len()), "{place}");
    assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))), "{place}");
    assert_eq!(Place::at(Path::new(&path)).as_ref(), Some(place));
}
