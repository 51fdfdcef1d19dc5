//! Replies of a server: read alike in any pieces, never more of one than its
//! limits say, and what we write is read back.
//!
//! The input is what a server sends. A reply that was read must never, written
//! again, become two.

use lazaret_envelope::Line;
use lazaret_smtp::reply::{REPLY_LINE_BYTES_MAX, REPLY_LINE_BYTES_SENT_MAX, REPLY_LINES_MAX};
use lazaret_smtp::{Reply, ReplyError, ReplyParser};

use crate::{cost, pieces};

/// Looks at one input.
pub fn check(data: &[u8]) {
    let (replies, error) = read(&[data]);
    assert_eq!(
        (&replies, &error),
        (&read(&pieces::cut(data)).0, &read(&pieces::cut(data)).1),
        "cuts make no difference"
    );
    for reply in replies {
        assert!((200..=599).contains(&reply.code) && reply.text.len() <= REPLY_LINES_MAX);
        assert!(reply.enhanced.is_none_or(|status| status.0 == reply.code / 100), "{reply}");
        assert!(!reply.to_string().chars().any(char::is_control), "it can stand on a line of a log");
        let short = reply.clone().shortened();
        assert!(short.text.iter().map(|line| line.as_str().len()).sum::<usize>() <= 512);
        written(&reply);
    }
    cost::assert_linear(data.len(), || drop(read(&[data])));
}

fn read(pieces: &[&[u8]]) -> (Vec<Reply>, Option<ReplyError>) {
    let (mut parser, mut replies) = (ReplyParser::default(), Vec::new());
    for mut piece in pieces.iter().copied() {
        while !piece.is_empty() {
            match parser.feed(&mut piece) {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => assert!(piece.is_empty(), "it reads on until it has a reply"),
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}

/// One reply on the wire is one reply, of the same code.
fn written(reply: &Reply) {
    let mut wire = Vec::new();
    reply.write(&mut wire);
    for line in wire.split_inclusive(|&byte| byte == b'\n') {
        assert!(line.ends_with(b"\r\n") && line.len() <= REPLY_LINE_BYTES_SENT_MAX.min(REPLY_LINE_BYTES_MAX));
        assert!(line[..line.len() - 2].iter().all(|byte| matches!(byte, b' '..=b'~')), "printable ASCII");
    }
    if wire.split(|&byte| byte == b'\n').count() > REPLY_LINES_MAX {
        return;
    }
    let (again, error) = read(&[&wire]);
    let [again] = &again[..] else { panic!("{error:?}: {} replies instead of one", again.len()) };
    assert_eq!((error, again.code), (None, reply.code));
    if reply.enhanced.is_some() {
        assert_eq!(again.enhanced, reply.enhanced);
    }
    let text = |reply: &Reply| reply.text.iter().map(Line::as_str).collect::<String>();
    if reply.text.iter().all(|line| line.as_str().is_ascii() && line.as_str().len() < 400)
        && reply.enhanced.is_some()
    {
        assert_eq!(text(again).replace(' ', ""), text(reply).replace(' ', ""));
    }
}
