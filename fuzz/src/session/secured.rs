//! STARTTLS: nothing that was said in the clear counts in the encrypted session, and
//! where TLS is required there is no mail without it.
//!
//! The reference is a session that said STARTTLS first and heard nothing else in
//! the clear; what is encrypted must never be answered in another way than there.

use std::sync::Arc;

use lazaret_smtp::Dialect;
use lazaret_smtp::server::{Config, StartTlsPolicy};

use super::{Listener, RECIPIENTS_MAX, SIZE_MAX, Seen, TLS};
use crate::pieces;

/// First byte of a TLS record that begins a handshake (RFC 8446 section 5.1): what
/// stands behind the first one in an input is what the client says encrypted.
const HANDSHAKE: u8 = 0x16;

/// Looks at an input that crosses the border.
pub(super) fn check(data: &[u8], dialect: Dialect) {
    let Some(border) = data.iter().position(|&byte| byte == HANDSHAKE) else { return };
    let (clear, encrypted) = (&data[..border], &data[border + 1..]);
    for starttls in [StartTlsPolicy::Offered, StartTlsPolicy::Required] {
        let config = Arc::new(Config {
            dialect,
            hostname: "mx.example".to_owned(),
            size_max: SIZE_MAX,
            recipients_max: RECIPIENTS_MAX,
            xforward: true,
            starttls,
            // Errors in the clear count on; they would be a difference.
            errors_max: usize::MAX,
            ..Config::default()
        });
        for clear in [vec![clear], pieces::cut(clear)] {
            cross(&config, &clear, encrypted);
        }
    }
}

fn cross(config: &Arc<Config>, clear: &[&[u8]], encrypted: &[u8]) {
    let mut listener = Listener::new(config);
    let mut rest = clear.iter();
    while !listener.seen.secured {
        let Some(piece) = rest.next() else { break };
        listener.hear(piece);
    }
    let said = std::mem::take(&mut listener.seen);
    if config.starttls == StartTlsPolicy::Required {
        assert!(said.messages.is_empty() && said.owed == 0, "there is no mail without TLS");
    }
    assert!(said.messages.iter().all(|message| message.origin.tls.is_none()));
    // Any more in the clear is no handshake: it ends the connection.
    if !said.secured || rest.any(|piece| !piece.is_empty()) {
        return;
    }
    listener.hear(encrypted);
    let reference = reference(config, &[encrypted]);
    assert_eq!(listener.seen, reference, "what was said in the clear makes no difference");
    assert_eq!(reference, self::reference(config, &pieces::cut(encrypted)), "cuts make no difference");
    assert!(
        reference
            .messages
            .iter()
            .all(|message| { message.origin.tls.as_ref().is_some_and(|tls| tls.as_str() == TLS) })
    );
}

/// What a session that says nothing in the clear but STARTTLS sees behind it.
fn reference(config: &Arc<Config>, encrypted: &[&[u8]]) -> Seen {
    let mut listener = Listener::new(config);
    listener.hear(b"STARTTLS\r\n");
    assert!(std::mem::take(&mut listener.seen).secured, "it is offered");
    encrypted.iter().for_each(|piece| listener.hear(piece));
    listener.seen
}
