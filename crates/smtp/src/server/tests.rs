//! Conversations with the server's side, played in memory.

use std::sync::Arc;

use lazaret_envelope::{Line, Origin, Transaction};
use proptest::prelude::*;

use super::{
    COMMAND_BYTES_MAX, Config, Event, REPLIES_BYTES_MAX, Refusal, SWALLOW_BYTES_MAX, Session, StartTlsPolicy,
};
use crate::data::{BareByte, BareLineEnds};
use crate::{Dialect, Reply};

/// What a listener saw of a conversation.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    replies: String,
    messages: Vec<(Transaction, Vec<u8>)>,
    abandoned: Vec<Refusal>,
    closed: bool,
}

/// A size for which the listener that is played has no room.
const FULL: u64 = 4711;

/// Plays a listener that accepts everything, except what announces [`FULL`] bytes
/// and data from `busy@x`.
fn play<'a>(config: Config, pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut session = Session::new(Arc::new(config));
    let (mut seen, mut out, mut open) = (Seen::default(), Vec::new(), None);
    for mut input in std::iter::once(&b""[..]).chain(pieces) {
        loop {
            match session.step(&mut input, &mut out) {
                Event::NeedInput => break,
                Event::Flush => assert!(out.len() < REPLIES_BYTES_MAX + 1000),
                Event::Offer(offer) if offer.announced() == Some(FULL) => {
                    offer.refuse(&Reply::new(452, [4, 3, 1], "spool full"), &mut out);
                }
                Event::Offer(offer) => offer.accept(&mut out),
                Event::Begin(begin) if begin.transaction().sender.path.as_str() == "busy@x" => {
                    begin.refuse(&Reply::new(452, [4, 3, 1], "spool full"), &mut out);
                }
                Event::Begin(begin) => open = Some((begin.accept(&mut out), Vec::new())),
                Event::Content(bytes) => open.as_mut().expect("a message is open").1.extend(bytes),
                Event::Abandon(refusal) => {
                    seen.abandoned.push(refusal);
                    open = None;
                }
                Event::End(end) => {
                    seen.messages.push(open.take().expect("a message is open"));
                    end.finish(&Reply::new(250, [2, 0, 0], "queued"), &mut out);
                }
                Event::StartTls(_) => panic!("the handshake is played elsewhere"),
                Event::Close => {
                    seen.closed = true;
                    break;
                }
            }
            seen.replies.push_str(std::str::from_utf8(&std::mem::take(&mut out)).unwrap());
        }
        seen.replies.push_str(std::str::from_utf8(&std::mem::take(&mut out)).unwrap());
    }
    seen
}

fn talk(config: Config, text: &str) -> Seen {
    play(config, [text.as_bytes()])
}

/// The replies as `code status`, without the greeting.
fn codes(config: Config, text: &str) -> Vec<String> {
    let replies = talk(config, text).replies;
    let last = replies.lines().skip(1).filter(|line| line.as_bytes()[3] == b' ');
    last.map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

fn lmtp() -> Config {
    Config { dialect: Dialect::Lmtp, ..Config::default() }
}

const HELLO: &str = "EHLO c.example\r\n";

#[test]
fn a_message_comes_in_pipelined() {
    let seen = talk(
        Config { hostname: "mx.example".into(), ..Config::default() },
        "EHLO c.example\r\nMAIL FROM:<a@b> BODY=8BITMIME SIZE=5\r\nRCPT TO:<c@d>\r\nRCPT TO:<c@d> NOTIFY=NEVER\r\n\
         DATA\r\n..x\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<e@f>\r\nDATA\r\n.\r\nQUIT\r\nNOOP\r\n",
    );
    assert_eq!(
        seen.replies,
        "220 mx.example ESMTP Lazaret\r\n\
         250-mx.example\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n\
         250 ENHANCEDSTATUSCODES\r\n\
         250 2.1.0 sender ok\r\n250 2.1.5 recipient ok\r\n250 2.1.5 recipient ok\r\n\
         354 end data with <CR><LF>.<CR><LF>\r\n250 2.0.0 queued\r\n\
         250 2.1.0 sender ok\r\n250 2.1.5 recipient ok\r\n354 end data with <CR><LF>.<CR><LF>\r\n\
         250 2.0.0 queued\r\n221 2.0.0 bye\r\n"
    );
    assert!(seen.closed && seen.abandoned.is_empty());
    let shown = seen
        .messages
        .iter()
        .map(|(transaction, content)| format!("{transaction}{}", String::from_utf8_lossy(content)));
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            "sender <a@b> BODY=8BITMIME\nrecipient <c@d>\nrecipient <c@d> NOTIFY=NEVER\n.x\r\n",
            "sender <>\nrecipient <e@f>\n"
        ]
    );
}

#[test]
fn commands_out_of_order_are_refused() {
    for (text, expected) in [
        ("MAIL FROM:<a@b>\r\n", "503 5.5.1"),
        ("EHLO c\r\nRCPT TO:<a@b>\r\n", "503 5.5.1"),
        ("EHLO c\r\nDATA\r\n", "503 5.5.1"),
        ("EHLO c\r\nMAIL FROM:<a@b>\r\nDATA\r\n", "554 5.5.1"),
        ("EHLO c\r\nMAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\n", "503 5.5.1"),
        ("EHLO c\r\nMAIL FROM:<a@b>\r\nRSET\r\nRCPT TO:<a@b>\r\n", "503 5.5.1"),
        ("EHLO c\r\nMAIL FROM:<a@b>\r\nEHLO c\r\nRCPT TO:<a@b>\r\n", "503 5.5.1"),
        ("HELO c\r\nMAIL FROM:<a@b>\r\n", "250 2.1.0"),
        ("LHLO c\r\n", "500 5.5.1"),
        ("NOOP\r\n", "250 2.0.0"),
        ("VRFY a\r\n", "252 2.5.2"),
        ("HELP\r\n", "214 2.0.0"),
        ("\r\n", "500 5.5.2"),
    ] {
        assert_eq!(codes(Config::default(), text).last().unwrap(), expected, "{text:?}");
    }
}

#[test]
fn limits_are_kept() {
    let config = || Config { size_max: 10, recipients_max: 1, ..Config::default() };
    let start = "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\n";
    assert_eq!(codes(config(), &format!("{start}RCPT TO:<c@d>\r\n")).last().unwrap(), "452 4.5.3");
    assert_eq!(codes(config(), &format!("{HELLO}MAIL FROM:<a@b> SIZE=11\r\n")).last().unwrap(), "552 5.3.4");
    assert_eq!(
        codes(config(), &format!("{HELLO}MAIL FROM:<a@b> REQUIRETLS\r\n")).last().unwrap(),
        "555 5.5.4"
    );
    let fits = talk(config(), &format!("{start}DATA\r\n12345678\r\n.\r\n"));
    assert_eq!((fits.messages.len(), fits.abandoned.len()), (1, 0));
    let large = talk(config(), &format!("{start}DATA\r\n123456789\r\n.\r\nNOOP\r\n"));
    assert_eq!((large.messages.len(), large.abandoned), (0, vec![Refusal::TooLarge]));
    assert!(large.replies.ends_with("552 5.3.4 message too large: at most 10 bytes\r\n250 2.0.0 ok\r\n"));
}

#[test]
fn bare_line_ends_are_refused_or_mended() {
    let text = "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\na\n.\nMAIL FROM:<x@y>\r\n.\r\n";
    let refused = talk(Config::default(), text);
    assert_eq!((refused.messages.len(), refused.abandoned), (0, vec![Refusal::Bare(BareByte::Lf)]));
    assert!(
        refused.replies.contains("550-5.6.11 bare <LF> in the message: lines must end in <CR><LF> (RFC 5321")
    );
    let mended = talk(Config { bare: BareLineEnds::Normalize, ..Config::default() }, text);
    assert_eq!(mended.messages[0].1, b"a\r\n.\r\nMAIL FROM:<x@y>\r\n");
}

#[test]
fn a_bare_lf_among_commands_ends_the_session() {
    let seen = talk(Config::default(), "EHLO c\r\nNOOP\nMAIL FROM:<a@b>\r\n");
    assert!(seen.closed && seen.replies.contains("\r\n521 5.5.2 "), "{}", seen.replies);
    assert!(!seen.replies.contains("sender ok"));
    assert!(talk(Config::default(), "POST / HTTP/1.1\r\nEHLO c\r\n").replies.ends_with("web server\r\n"));
}

#[test]
fn long_lines_are_swallowed_up_to_a_limit() {
    let long = format!("NOOP {}\r\nNOOP\r\n", "x".repeat(COMMAND_BYTES_MAX));
    assert_eq!(codes(Config::default(), &long), ["500 5.5.2", "250 2.0.0"]);
    let endless = talk(Config::default(), &"x".repeat(SWALLOW_BYTES_MAX + 1));
    assert!(endless.closed && endless.replies.contains("421 4.7.0"));
}

#[test]
fn many_errors_end_the_session() {
    let seen = talk(Config { errors_max: 3, ..Config::default() }, &"X\r\n".repeat(9));
    assert_eq!(seen.replies.matches("500 5.5.2").count(), 3);
    assert!(seen.closed && seen.replies.ends_with("421 4.7.0 localhost too many errors, closing\r\n"));
}

#[test]
fn many_commands_without_a_message_end_the_session() {
    let config = || Config { commands_max: 5, ..Config::default() };
    let end = "421 4.7.0 localhost too many commands without a message, closing\r\n";
    let seen = talk(config(), &"NOOP\r\n".repeat(6));
    assert!(seen.closed && seen.replies.ends_with(end), "{}", seen.replies);
    // Recipients and messages cost nothing.
    let message = format!("MAIL FROM:<a@b>\r\n{}DATA\r\n.\r\n", "RCPT TO:<c@d>\r\n".repeat(20));
    let seen = talk(config(), &format!("{HELLO}{}QUIT\r\n", message.repeat(5)));
    assert_eq!((seen.messages.len(), seen.replies.contains("421")), (5, false));
}

#[test]
fn only_what_has_an_end_is_progress() {
    let mut session = Session::new(Arc::new(Config::default()));
    let mut progress = |mut text: &[u8]| {
        let mut out = Vec::new();
        loop {
            match session.step(&mut text, &mut out) {
                Event::NeedInput => return session.progress(),
                Event::Offer(offer) => offer.accept(&mut out),
                Event::Begin(begin) => drop(begin.accept(&mut out)),
                Event::End(end) => end.finish(&Reply::new(250, [2, 0, 0], "queued"), &mut out),
                _ => {}
            }
        }
    };
    assert_eq!([&b"EHLO"[..], b" c", b"\r", b"\n"].map(&mut progress), [0, 0, 0, 1]);
    assert_eq!(progress(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"), 4);
    assert_eq!([&b"x"[..], b"\r\n", b".", b"\r\n"].map(&mut progress), [4, 4, 4, 5]);
}

#[test]
fn a_refused_offer_is_no_transaction() {
    let text =
        "EHLO c\r\nMAIL FROM:<a@b> SIZE=4711\r\nRCPT TO:<c@d>\r\nDATA\r\nMAIL FROM:<a@b> SIZE=4710\r\n";
    let codes = codes(Config::default(), text);
    assert_eq!(codes[1..], ["452 4.3.1", "503 5.5.1", "503 5.5.1", "250 2.1.0"]);
}

#[test]
fn a_refused_beginning_ends_the_transaction() {
    let text = "EHLO c\r\nMAIL FROM:<busy@x>\r\nRCPT TO:<a@b>\r\nDATA\r\nMAIL FROM:<a@b>\r\n";
    assert_eq!(codes(Config::default(), text)[3..], ["452 4.3.1", "250 2.1.0"]);
}

#[test]
fn a_421_of_the_caller_ends_the_session() {
    let (mut session, mut out) = (Session::new(Arc::new(Config::default())), Vec::new());
    let mut input = &b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\nx\r\n.\r\nNOOP\r\n"[..];
    assert!(matches!(session.step(&mut input, &mut out), Event::Offer(_)));
    let Event::Offer(offer) = session.step(&mut input, &mut out) else { panic!("asked again") };
    offer.accept(&mut out);
    assert!(matches!(session.step(&mut input, &mut out), Event::Begin(_)));
    let Event::Begin(begin) = session.step(&mut input, &mut out) else { panic!("asked again") };
    begin.accept(&mut out);
    assert!(matches!(session.step(&mut input, &mut out), Event::Content(b"x\r\n")));
    let Event::End(end) = session.step(&mut input, &mut out) else { panic!("it is complete") };
    end.finish(&Config::default().closing_reply("shutting down"), &mut out);
    assert!(matches!(session.step(&mut input, &mut out), Event::Close));
    assert_eq!(input, b"NOOP\r\n");
}

#[test]
fn replies_do_not_pile_up() {
    assert_eq!(codes(Config::default(), &"HELP\r\n".repeat(5000)).len(), 5000);
}

#[test]
fn lmtp_answers_for_each_recipient() {
    let text = "LHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n";
    let last = ["354 end", "250 2.0.0", "250 2.0.0", "221 2.0.0"];
    assert_eq!(codes(lmtp(), text)[5..], last);
    let large = codes(Config { size_max: 1, ..lmtp() }, text);
    assert_eq!(large[5..], ["354 end", "552 5.3.4", "552 5.3.4", "221 2.0.0"]);
    assert_eq!(codes(lmtp(), "EHLO c\r\nHELO c\r\n"), ["500 5.5.1"; 2]);
    assert_eq!(codes(lmtp(), "LHLO c\r\nMAIL FROM:<a@b>\r\nDATA\r\n").last().unwrap(), "503 5.5.1");
    assert!(talk(lmtp(), "").replies.starts_with("220 localhost LMTP"));
}

#[test]
fn a_shutdown_is_announced() {
    assert_eq!(
        Config::default().closing_reply("shutting down").to_string(),
        "421 4.3.2 localhost shutting down"
    );
}

#[test]
fn the_origin_tells_how_the_client_said_hello() {
    let mut session = Session::new(Arc::new(Config::default()));
    let mut origin = |mut text: &[u8]| {
        session.step(&mut text, &mut Vec::new());
        let origin = session.origin();
        (origin.protocol.to_string(), origin.helo.map(|helo| helo.to_string()))
    };
    assert_eq!(origin(b""), ("smtp".into(), None));
    assert_eq!(origin(b"EHLO a\x1b\r\n"), ("smtp".into(), None));
    assert_eq!(origin(b"EHLO a\xff\r\n"), ("esmtp".into(), Some("a\\xff".into())));
    assert_eq!(origin(b"HELO b\r\n"), ("smtp".into(), Some("b".into())));
}

fn with_tls(starttls: StartTlsPolicy) -> Config {
    Config { starttls, ..Config::default() }
}

#[test]
fn nothing_that_came_before_the_handshake_counts_behind_it() {
    let config = Config { xforward: true, ..with_tls(StartTlsPolicy::Offered) };
    let (mut session, mut out) = (Session::new(Arc::new(config)), Vec::new());
    let mut before = &b"EHLO c\r\nXFORWARD NAME=x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nSTARTTLS\r\n"[..];
    let Event::Offer(offer) = session.step(&mut before, &mut out) else { panic!("a sender") };
    offer.accept(&mut out);
    assert!(matches!(session.step(&mut before, &mut out), Event::StartTls(_)));
    let mut behind = &b"RCPT TO:<e@f>\r\n"[..];
    let Event::StartTls(starttls) = session.step(&mut behind, &mut out) else { panic!("asked again") };
    assert_eq!(behind.len(), 15, "nothing is read before the handshake is done");
    starttls.established(Line::escaped("TLSv1.3 TLS_X"));
    out.clear();
    let origin = session.origin();
    assert_eq!(
        (origin.helo, origin.forwarded, origin.tls.unwrap().as_str()),
        (None, Default::default(), "TLSv1.3 TLS_X")
    );
    let mut behind =
        &b"RCPT TO:<e@f>\r\nMAIL FROM:<a@b>\r\nSTARTTLS\r\nEHLO c\r\nMAIL FROM:<a@b> REQUIRETLS\r\n"[..];
    let Event::Offer(offer) = session.step(&mut behind, &mut out) else { panic!("a sender") };
    offer.accept(&mut out);
    assert!(matches!(session.step(&mut behind, &mut out), Event::NeedInput));
    let replies = String::from_utf8(out).unwrap();
    let codes: Vec<&str> =
        replies.lines().map(|line| &line[..4]).filter(|code| code.ends_with(' ')).collect();
    assert_eq!(codes, ["503 ", "503 ", "503 ", "250 ", "250 "]);
    assert!(replies.contains("250-REQUIRETLS\r\n") && !replies.contains("250-STARTTLS"), "{replies}");
}

#[test]
fn commands_behind_starttls_are_not_looked_at() {
    for behind in ["NOOP\r\n", "x", "\r\n", "EHLO evil\r\nMAIL FROM:<a@b>\r\n"] {
        let seen = talk(with_tls(StartTlsPolicy::Offered), &format!("{HELLO}STARTTLS\r\n{behind}"));
        let end = "521 5.5.1 nothing may follow STARTTLS before its reply (RFC 3207 section 4), closing\r\n";
        assert!(seen.closed && seen.replies.ends_with(end), "{behind:?}: {}", seen.replies);
    }
}

#[test]
fn tls_is_offered_and_required_where_that_is_configured() {
    let offered = |policy| talk(with_tls(policy), HELLO).replies.contains("250 STARTTLS\r\n");
    use StartTlsPolicy::*;
    assert_eq!([Never, Offered, Required].map(offered), [false, true, true]);
    assert_eq!(codes(with_tls(Never), "STARTTLS\r\n"), ["502 5.5.1"]);
    let mail = format!("{HELLO}MAIL FROM:<a@b>\r\nXFORWARD NAME=x\r\nNOOP\r\n");
    assert_eq!(codes(with_tls(Required), &mail)[1..], ["530 5.7.0", "530 5.7.0", "250 2.0.0"]);
    assert_eq!(codes(with_tls(Offered), &mail)[1..2], ["250 2.1.0"]);
}

/// The transaction that comes of MAIL and RCPT with these arguments.
fn transaction(from: &str, to: &str) -> String {
    let text = format!("{HELLO}MAIL FROM:{from}\r\nRCPT TO:{to}\r\nDATA\r\n.\r\n");
    let seen = talk(Config::default(), &text);
    let [(transaction, _)] = &seen.messages[..] else { panic!("{from} {to}: {}", seen.replies) };
    transaction.to_string()
}

#[test]
fn addresses_and_parameters_of_all_kinds_get_into_the_envelope() {
    for (from, to, sender, recipient) in [
        ("<>", "<Postmaster>", "<>", "<Postmaster>"),
        ("<postmaster>", "<postmaster@[192.0.2.1]>", "<postmaster>", "<postmaster@[192.0.2.1]>"),
        ("<\"a b\"@c>", "<\"x>y\\\"@z\"@d>", "<\"a b\"@c>", "<\"x>y\\\"@z\"@d>"),
        ("<@x.example:a@b>", "<@x.example,@y.example:c@d>", "<a@b>", "<c@d>"),
        ("<a@[IPv6:2001:db8::1]>", "<c+d=e@f>", "<a@[IPv6:2001:db8::1]>", "<c+d=e@f>"),
        ("<ä@b> SMTPUTF8 BODY=8BITMIME", "<ü@ö.example>", "<ä@b> BODY=8BITMIME SMTPUTF8", "<ü@ö.example>"),
        (
            "<a@b> SIZE=3 RET=HDRS ENVID=QQ+3D314 BODY=7BIT",
            "<c@d> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;Dana+2Bx@d",
            "<a@b> BODY=7BIT RET=HDRS ENVID=QQ+3D314",
            "<c@d> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;Dana+2Bx@d",
        ),
        ("<a@b> ret=full", "<c@d> notify=never", "<a@b> RET=FULL", "<c@d> NOTIFY=NEVER"),
        ("<a@b> SMTPUTF8", "<c@d> ORCPT=utf-8;x", "<a@b> SMTPUTF8", "<c@d> ORCPT=utf-8;x"),
    ] {
        assert_eq!(transaction(from, to), format!("sender {sender}\nrecipient {recipient}\n"));
    }
}

#[test]
fn an_address_that_is_not_ascii_must_be_asked_for() {
    assert_eq!(codes(Config::default(), &format!("{HELLO}MAIL FROM:<ä@b>\r\n")).last().unwrap(), "553 5.6.7");
    let text = format!("{HELLO}MAIL FROM:<a@b>\r\nRCPT TO:<c@ü.example>\r\nRCPT TO:<c@d>\r\n");
    assert_eq!(codes(Config::default(), &text)[2..], ["553 5.6.7", "250 2.1.5"]);
}

/// What the listener would know of the client at the DATA of `text`.
fn told(config: Config, text: &str) -> (Vec<String>, Option<String>) {
    let (mut session, mut out, mut input) = (Session::new(Arc::new(config)), Vec::new(), text.as_bytes());
    loop {
        match session.step(&mut input, &mut out) {
            Event::Begin(begin) if input.is_empty() => {
                let Origin { forwarded: told, upstream_id, .. } = begin.origin();
                let told = [told.name, told.address, told.port, told.protocol, told.helo, told.source];
                return (
                    told.into_iter().flatten().map(|line| line.to_string()).collect(),
                    upstream_id.map(|id| id.to_string()),
                );
            }
            Event::Offer(offer) => offer.accept(&mut out),
            Event::Begin(begin) => drop(begin.accept(&mut out)),
            Event::End(end) => end.finish(&Reply::new(250, [2, 0, 0], "queued"), &mut out),
            Event::Content(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_mta_tells_whose_mail_it_brings_for_one_transaction() {
    let config = || Config { xforward: true, ..Config::default() };
    let mail = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n";
    let tell = "XFORWARD NAME=spike.example ADDR=192.0.2.7 PORT=3025\r\n\
        XFORWARD PROTO=ESMTP HELO=spike IDENT=4Xy SOURCE=REMOTE\r\n";
    let all = ["spike.example", "192.0.2.7", "3025", "ESMTP", "spike", "REMOTE"].map(str::to_owned).to_vec();
    let nothing = (Vec::new(), None);
    assert_eq!(told(config(), &format!("{HELLO}{tell}{mail}")), (all.clone(), Some("4Xy".into())));
    // It ends with the transaction, however that ends.
    for end in [&format!("{mail}x\r\n.\r\n"), "MAIL FROM:<a@b>\r\nRSET\r\n", "RSET\r\n", HELLO] {
        assert_eq!(told(config(), &format!("{HELLO}{tell}{end}{mail}")), nothing, "{end:?}");
    }
    // A refused MAIL has begun none.
    let refused = format!("{HELLO}{tell}MAIL FROM:<a>\r\n{mail}");
    assert_eq!(told(config(), &refused).0, all);
    // What is told to be unknown is.
    let unknown = format!("{HELLO}{tell}XFORWARD NAME=[UNAVAILABLE] IDENT=[UNAVAILABLE]\r\n{mail}");
    assert_eq!(told(config(), &unknown), (all[1..].to_vec(), None));
    assert!(
        talk(config(), HELLO).replies.ends_with("250 XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\r\n")
    );
    let late = format!("{HELLO}MAIL FROM:<a@b>\r\nXFORWARD NAME=x\r\n");
    assert_eq!(codes(config(), &late).last().unwrap(), "503 5.5.1");
    assert_eq!(codes(config(), "XFORWARD NAME=x\r\nXFORWARD NAME=..\r\n"), ["250 2.0.0", "501 5.5.4"]);
}

#[test]
fn a_client_that_is_not_trusted_can_tell_nothing() {
    assert!(!talk(Config::default(), HELLO).replies.contains("XFORWARD"));
    assert_eq!(codes(Config::default(), &format!("{HELLO}XFORWARD NAME=x\r\n")).last().unwrap(), "550 5.7.0");
}

/// Every text of up to `length` bytes of CR, LF, dot and x.
fn texts(length: u32) -> impl Iterator<Item = Vec<u8>> {
    (0..=length).flat_map(|length| {
        (0..4_usize.pow(length))
            .map(move |number| (0..length).map(|place| b"\r\n.x"[number >> (2 * place) & 3]).collect())
    })
}

/// How many bytes of `data` belong to the message, its end included: the rule of RFC
/// 5321 section 4.1.1.4 by the letter. The CRLF of the DATA command counts as the
/// first.
fn through_the_end(data: &[u8]) -> usize {
    let whole = [b"\r\n", data].concat();
    whole.windows(5).position(|window| window == b"\r\n.\r\n").expect("it has an end") + 3
}

/// The message of `data`, if each of its line ends is CRLF: without its end, and
/// without the first dot of each line.
fn unstuffed(data: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(&data[..data.len() - 3]).unwrap();
    let lines = text.split_inclusive("\r\n").map(|line| line.strip_prefix('.').unwrap_or(line));
    let message: String = lines.collect();
    (!text.replace("\r\n", "").contains(['\r', '\n'])).then(|| message.into_bytes())
}

/// What a text means between known text, with another message behind it.
fn ends_where_it_should(text: &[u8], bare: BareLineEnds) {
    const START: &[u8] = b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n";
    const SECOND: &[u8] = b"MAIL FROM:<x@y>\r\nRCPT TO:<c@d>\r\nDATA\r\nsecond\r\n.\r\n";
    let data = [b"a", text, b"b\r\n.\r\n"].concat();
    let end = through_the_end(&data);
    let config = || Config { bare, ..Config::default() };
    let wire = [START, &data, SECOND].concat();
    let seen = play(config(), [wire.as_slice()]);
    let expected = unstuffed(&data[..end]);
    let taken = seen.messages.first().filter(|(first, _)| first.sender.path.as_str() == "a@b");
    match (&expected, bare) {
        (Some(content), _) => assert_eq!(&taken.expect("taken").1, content, "{text:?}"),
        (None, BareLineEnds::Reject) => assert!(taken.is_none() && seen.abandoned.len() == 1, "{text:?}"),
        (None, BareLineEnds::Normalize) => assert!(taken.is_some(), "{text:?}"),
    }
    // Nothing but its own end makes commands of what stands behind a text.
    if end == data.len() {
        let [.., (second, content)] = &seen.messages[..] else { panic!("{text:?}: {seen:?}") };
        assert_eq!((second.sender.path.as_str(), &content[..]), ("x@y", &b"second\r\n"[..]), "{text:?}");
        assert_eq!(seen.messages.len(), 1 + usize::from(taken.is_some()), "{text:?}");
    }
    // Cut once at each place, and everywhere.
    let from = START.len();
    for cut in from..=from + data.len() {
        assert_eq!(play(config(), [&wire[..cut], &wire[cut..]]), seen, "{text:?} cut at {}", cut - from);
    }
    assert_eq!(play(config(), wire.chunks(1)), seen, "{text:?} in bytes");
}

#[test]
fn only_its_own_end_ends_a_message_whatever_stands_before() {
    for text in texts(5) {
        ends_where_it_should(&text, BareLineEnds::Reject);
        ends_where_it_should(&text, BareLineEnds::Normalize);
    }
}

/// Pieces of conversations, good and bad.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "EHLO c\r\n",
        "LHLO c\r\n",
        "MAIL FROM:<a@b>\r\n",
        "MAIL FROM:<busy@x>\r\n",
        "RCPT TO:<c@d>\r\n",
        "DATA\r\n",
        ".\r\n",
        "..\r\n",
        "text\r\n",
        "\r\n.\r\n",
        "RSET\r\n",
        "QUIT\r\n",
        "bad\r\n",
        "\n",
        "\r",
        ".",
        "\r\n",
        "x",
    ]);
    prop::collection::vec(word, 0..30).prop_map(|words| words.concat().into_bytes())
}

fn started() -> impl Strategy<Value = Vec<u8>> {
    words().prop_map(|words| {
        [b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", words.as_slice()].concat()
    })
}

proptest! {
    #[test]
    fn each_reply_has_an_enhanced_status_but_those_that_have_none(text in started(), lmtp: bool) {
        let dialect = if lmtp { Dialect::Lmtp } else { Dialect::Smtp };
        let replies = play(Config { dialect, hostname: "mx".into(), ..Config::default() }, [text.as_slice()]).replies;
        // RFC 2034 section 4: not on the greeting, the answer to a hello, and 3xx.
        let hello = ["mx", "PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"];
        for line in replies.lines() {
            let (class, rest) = (&line[..1], &line[4..]);
            let bare = ["220", "354"].contains(&&line[..3]) || (line.starts_with("250") && hello.contains(&rest));
            prop_assert!(bare || rest.starts_with(&format!("{class}.")), "{}", line);
        }
    }

    #[test]
    fn pieces_make_no_difference(
        text in prop_oneof![words(), started()],
        size in 1_usize..20,
        lmtp: bool,
        normalize: bool,
    ) {
        let config = || Config {
            dialect: if lmtp { Dialect::Lmtp } else { Dialect::Smtp },
            bare: if normalize { BareLineEnds::Normalize } else { BareLineEnds::Reject },
            size_max: 20,
            errors_max: 4,
            ..Config::default()
        };
        prop_assert_eq!(play(config(), text.chunks(size)), play(config(), [text.as_slice()]));
    }

    #[test]
    fn no_bytes_panic(pieces: Vec<Vec<u8>>) {
        play(Config::default(), pieces.iter().map(Vec::as_slice));
    }
}
