//! Cuts bytes into pieces, in another way for each input, always the same for one.
//!
//! The cuts are drawn from the bytes themselves, so that an input needs no bytes
//! of its own to say where. A cut must never lose or add a byte.

/// Longest piece but for one in eight, in bytes.
const SHORT_MAX: u64 = 7;

/// Longest piece, in bytes.
const LONG_MAX: u64 = 40_000;

/// The bytes in pieces.
pub(crate) fn cut(bytes: &[u8]) -> Vec<&[u8]> {
    let mut state = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let most = if draw(8) == 0 { LONG_MAX } else { SHORT_MAX };
        let length = usize::try_from(1 + draw(most)).map_or(rest.len(), |length| length.min(rest.len()));
        let (piece, after) = rest.split_at(length);
        pieces.push(piece);
        rest = after;
    }
    pieces
}
