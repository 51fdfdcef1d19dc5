//! The server's side of SMTP and LMTP: cuts make no difference, each message ends
//! where a CRLF.CRLF stands, every reply is whole, and limits are kept.
//!
//! The input is what a client sends. LHLO in it makes the server speak LMTP; what
//! stands behind the first byte of a TLS record comes encrypted. The listener here
//! must never say yes to a message that it was not given whole.

mod secured;

use std::sync::Arc;

use lazaret_envelope::{Line, Origin, Transaction};
use lazaret_smtp::server::{Config, Event, REPLIES_BYTES_MAX, Refusal, Session, StartTlsPolicy};
use lazaret_smtp::{BareLineEnds, Dialect, Reply, ReplyParser};

use crate::{cost, pieces};

/// A sender whose messages are refused at DATA.
const BUSY: &str = "busy@x";

/// A size for which there is no room.
const FULL: u64 = 299;

/// Largest message, in bytes: so few that a fuzzer gets there.
const SIZE_MAX: u64 = 300;

/// Most recipients of a message.
const RECIPIENTS_MAX: usize = 3;

/// Version and cipher suite of every encrypted session.
const TLS: &str = "TLSv1.3 TLS13_AES_256_GCM_SHA384";

/// Longest input whose cost is measured, in bytes.
const MEASURED_BYTES_MAX: usize = 100_000;

/// What a listener saw of a conversation.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    replies: Vec<u8>,
    messages: Vec<Message>,
    abandoned: Vec<Refusal>,
    /// Replies that were owed at the end of messages.
    owed: usize,
    closed: bool,
    /// Whether the conversation became an encrypted one.
    secured: bool,
}

/// A message, and what was known of its client when it began.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    transaction: Transaction,
    origin: Origin,
    content: Vec<u8>,
}

/// A listener that accepts everything, but for data from [`BUSY`].
struct Listener<'a> {
    config: &'a Config,
    session: Session,
    seen: Seen,
    out: Vec<u8>,
    open: Option<Message>,
}

/// Looks at one input.
pub fn check(data: &[u8]) {
    let lmtp = data.windows(4).any(|word| word.eq_ignore_ascii_case(b"LHLO"));
    let dialect = if lmtp { Dialect::Lmtp } else { Dialect::Smtp };
    for bare in [BareLineEnds::Reject, BareLineEnds::Normalize] {
        let config = Arc::new(Config {
            dialect,
            hostname: "mx.example".to_owned(),
            size_max: SIZE_MAX,
            recipients_max: RECIPIENTS_MAX,
            bare,
            xforward: true,
            errors_max: 9,
            ..Config::default()
        });
        let whole = play(&config, &[data]);
        assert_eq!(whole, play(&config, &pieces::cut(data)), "cuts make no difference ({bare:?})");
        judge(&whole, data, &config);
        if data.len() <= MEASURED_BYTES_MAX {
            cost::assert_linear(data.len(), || drop(play(&config, &[data])));
        }
    }
    secured::check(data, dialect);
}

/// A whole conversation in the clear.
fn play(config: &Arc<Config>, pieces: &[&[u8]]) -> Seen {
    let mut listener = Listener::new(config);
    pieces.iter().for_each(|piece| listener.hear(piece));
    listener.seen
}

impl<'a> Listener<'a> {
    /// One that has sent its greeting.
    fn new(config: &'a Arc<Config>) -> Self {
        let session = Session::new(Arc::clone(config));
        let mut listener = Self { config, session, seen: Seen::default(), out: Vec::new(), open: None };
        listener.hear(b"");
        listener
    }

    fn hear(&mut self, mut input: &[u8]) {
        let Self { config, session, seen, out, open } = self;
        loop {
            match session.step(&mut input, out) {
                Event::NeedInput => {
                    assert!(input.is_empty(), "it reads on as long as there is something");
                    break;
                }
                Event::Flush => {
                    assert!(out.len() < REPLIES_BYTES_MAX + 4096, "replies don't pile up");
                    seen.replies.append(out);
                }
                Event::Offer(offer) if offer.announced() == Some(FULL) => {
                    offer.refuse(&Reply::new(452, [4, 3, 1], "spool full"), out);
                }
                Event::Offer(offer) => offer.accept(out),
                Event::Begin(begin) if begin.transaction().sender.path.as_str() == BUSY => {
                    begin.refuse(&Reply::new(452, [4, 3, 1], "spool full"), out);
                }
                Event::Begin(begin) => {
                    assert!(open.is_none(), "one message at a time");
                    let transaction = begin.accept(out);
                    *open = Some(Message { transaction, origin: session.origin(), content: Vec::new() });
                }
                Event::Content(bytes) => open.as_mut().expect("a message is open").content.extend(bytes),
                Event::Abandon(refusal) => {
                    seen.abandoned.push(refusal);
                    seen.owed += owed(config, &open.take().expect("a message is open").transaction);
                }
                Event::End(end) => {
                    let message = open.take().expect("a message is open");
                    seen.owed += owed(config, &message.transaction);
                    seen.messages.push(message);
                    end.finish(&Reply::new(250, [2, 0, 0], "queued"), out);
                }
                Event::StartTls(starttls) => {
                    assert_ne!(config.starttls, StartTlsPolicy::Never, "TLS was not offered");
                    assert!(input.is_empty(), "what came in the clear is left for the encrypted session");
                    assert!(!std::mem::replace(&mut seen.secured, true), "it is encrypted once");
                    starttls.established(Line::escaped(TLS));
                }
                Event::Close => {
                    seen.closed = true;
                    break;
                }
            }
        }
        seen.replies.append(out);
    }
}

/// RFC 2033 section 4.2: one reply for each recipient.
fn owed(config: &Config, transaction: &Transaction) -> usize {
    if config.dialect == Dialect::Lmtp { transaction.recipients.len() } else { 1 }
}

fn judge(seen: &Seen, data: &[u8], config: &Config) {
    let ends = data.windows(5).filter(|window| window == b"\r\n.\r\n").count();
    assert!(seen.messages.len() <= ends, "no message without its own end");
    for Message { transaction, content, .. } in &seen.messages {
        assert!((1..=RECIPIENTS_MAX).contains(&transaction.recipients.len()));
        assert!(content.len() as u64 <= SIZE_MAX, "size is limited");
        assert!(content.is_empty() || content.ends_with(b"\r\n"));
        let canonical = content
            .split(|&byte| byte == b'\n')
            .rev()
            .skip(1)
            .all(|line| line.ends_with(b"\r") && !line[..line.len() - 1].contains(&b'\r'));
        assert!(canonical, "only CRLF ends a line of it");
    }
    if config.bare == BareLineEnds::Normalize {
        assert!(seen.abandoned.iter().all(|refusal| *refusal == Refusal::TooLarge));
    }
    let (mut parser, mut rest, mut replies) = (ReplyParser::default(), &seen.replies[..], Vec::new());
    while !rest.is_empty() {
        replies.extend(parser.feed(&mut rest).expect("what we answer are replies"));
    }
    assert_eq!(replies.first().map(|greeting| greeting.code), Some(220));
    let queued = replies.iter().filter(|reply| reply.to_string() == "250 2.0.0 queued").count();
    let refused = replies.iter().filter(|reply| matches!(reply.code, 550 | 552)).count();
    assert!(queued + refused + seen.abandoned.len() * RECIPIENTS_MAX >= seen.owed && queued <= seen.owed);
    assert!(!seen.closed || replies.last().is_some_and(|last| matches!(last.code, 221 | 421 | 521)));
}
