//! The client's side and the server's, connected in memory: what goes in at one
//! end comes out at the other. Sockets must never be needed for that.

#![forbid(unsafe_code)]

use std::sync::Arc;

use lazaret_envelope::{MailParams, Recipient, ReversePath, Sender, Transaction};
use lazaret_smtp::client::{Client, Do, EightBit, Finished, Mail, Outcome, Setup};
use lazaret_smtp::server::{Config, Event, Session};
use lazaret_smtp::{BareLineEnds, Dialect, Reply};
use proptest::prelude::*;

/// A server in memory that keeps what it gets.
struct Server {
    session: Session,
    open: Option<(Transaction, Vec<u8>)>,
    kept: Vec<(Transaction, Vec<u8>)>,
}

impl Server {
    /// Takes in what a client sent, in pieces of `size`; returns the replies.
    fn receive(&mut self, bytes: &[u8], size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for mut input in std::iter::once(&b""[..]).chain(bytes.chunks(size)) {
            loop {
                match self.session.step(&mut input, &mut out) {
                    Event::NeedInput | Event::Close => break,
                    Event::StartTls(_) => panic!("not offered"),
                    Event::Flush => panic!("so many replies are not expected here"),
                    Event::Offer(offer) => offer.accept(&mut out),
                    Event::Begin(begin) => self.open = Some((begin.accept(&mut out), Vec::new())),
                    Event::Content(bytes) => self.open.as_mut().expect("open").1.extend(bytes),
                    Event::Abandon(_) => self.open = None,
                    Event::End(end) => {
                        self.kept.push(self.open.take().expect("open"));
                        end.finish(&Reply::new(250, [2, 0, 0], "queued"), &mut out);
                    }
                }
            }
        }
        out
    }
}

/// Sends all mails over one connection; what the server kept, and what the
/// client believes.
fn deliver(
    mails: &[(Mail, Vec<u8>)],
    config: Config,
    size: usize,
) -> (Vec<(Transaction, Vec<u8>)>, Vec<Finished>) {
    let mut client = Client::new("c.example", config.dialect, Setup::default());
    let session = Session::new(Arc::new(config));
    let mut server = Server { session, open: None, kept: Vec::new() };
    let (mut replies, mut results) = (server.receive(b"", size), Vec::new());
    loop {
        match client.next() {
            Do::Send(bytes) => replies.extend(server.receive(&bytes, size)),
            Do::Receive(step) => {
                assert!(!replies.is_empty(), "the client waits at {step} for nothing");
                let replies = std::mem::take(&mut replies);
                replies.chunks(size).for_each(|piece| client.received(piece).expect("a reply"));
            }
            Do::Ready(ready) => match mails.get(results.len()) {
                Some((mail, _)) => ready.start(mail.clone()),
                None => ready.quit(),
            },
            Do::Content(mut content) => {
                let mut wire = Vec::new();
                mails[results.len()].1.chunks(size).for_each(|piece| content.encode(piece, &mut wire));
                content.finish();
                replies.extend(server.receive(&wire, size));
            }
            Do::Done(finished) => results.push(finished),
            Do::Refused(why) => panic!("{why}"),
            Do::Secure(_) => panic!("nobody asked for TLS"),
            Do::Close => return (server.kept, results),
        }
    }
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    let words =
        vec![&b"\r\n"[..], b".", b"x", b"\0", b"\xff", b"\r\n.\r\n", b"\r\n..", b"QUIT\r\n", b"From "];
    let content = prop::collection::vec(prop::sample::select(words), 0..40).prop_map(|words| words.concat());
    content.prop_map(|content| if content.is_empty() { content } else { [&content, &b"\r\n"[..]].concat() })
}

fn mail() -> impl Strategy<Value = (Mail, Vec<u8>)> {
    let address = || "[a-z]{1,8}@[a-z]{1,8}|\"[a-z >]{1,5}\"@b|[a-zé]{1,5}@[a-zü]{1,5}";
    let params = prop::sample::select(vec!["", " BODY=8BITMIME", " SMTPUTF8 RET=FULL ENVID=x"]);
    (prop::option::of(address()), params, prop::collection::vec(address(), 1..5), content()).prop_map(
        |(sender, params, recipients, content)| {
            let path = ReversePath(sender.map(|text| text.parse().expect("an address")));
            let mut params = MailParams::parse(params).expect("parameters");
            let texts = recipients.iter().chain(path.0.as_ref().map(|_| &recipients[0]));
            params.smtputf8 |= texts.into_iter().any(|text| !text.is_ascii()) || !path.as_str().is_ascii();
            let to = recipients
                .iter()
                .map(|text| Recipient::from(text.parse::<lazaret_envelope::Address>().expect("an address")));
            let transaction = Transaction { sender: Sender { path, params }, recipients: to.collect() };
            (
                Mail {
                    transaction: Arc::new(transaction),
                    size: content.len() as u64,
                    told: None,
                    counted: false,
                    eight_bit: EightBit::Send,
                },
                content,
            )
        },
    )
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(
        mails in prop::collection::vec(mail(), 0..4),
        size in prop::sample::select(vec![1, 2, 3, 7, 100_000]),
        lmtp: bool,
        normalize: bool,
    ) {
        let dialect = if lmtp { Dialect::Lmtp } else { Dialect::Smtp };
        let bare = if normalize { BareLineEnds::Normalize } else { BareLineEnds::Reject };
        let (kept, results) = deliver(&mails, Config { dialect, bare, ..Config::default() }, size);
        prop_assert_eq!(kept.len(), mails.len());
        for ((mail, content), (transaction, received)) in mails.iter().zip(&kept) {
            prop_assert_eq!(&*mail.transaction, transaction);
            prop_assert_eq!(content, received);
        }
        for (finished, (mail, _)) in results.iter().zip(&mails) {
            prop_assert_eq!(finished.deliveries.len(), mail.transaction.recipients.len());
            prop_assert!(finished.deliveries.iter().all(|d| matches!(d.outcome, Outcome::Delivered(_))));
        }
    }
}

#[test]
fn a_refused_message_does_not_end_the_connection() {
    let mail = |sender: &str, content: &[u8], declared| {
        let path = ReversePath(Some(sender.parse().expect("an address")));
        let sender = Sender { path, params: MailParams::default() };
        let to = Recipient::from("c@d".parse::<lazaret_envelope::Address>().expect("an address"));
        let transaction = Arc::new(Transaction { sender, recipients: vec![to.clone(), to] });
        (
            Mail { transaction, size: declared, told: None, counted: false, eight_bit: EightBit::Send },
            content.to_vec(),
        )
    };
    // The second is larger than it says; the third has a bare LF in it.
    let mails = [
        mail("a@b", b"1\r\n", 3),
        mail("large@b", b"12345678901234567890\r\n", 3),
        mail("bare@b", b"1\n.\n\r\n", 7),
        mail("last@b", b"2\r\n", 3),
    ];
    let (kept, results) = deliver(&mails, Config { size_max: 10, ..Config::default() }, 5);
    let senders: Vec<_> = kept.iter().map(|(transaction, _)| transaction.sender.path.to_string()).collect();
    assert_eq!(senders, ["<a@b>", "<last@b>"]);
    let codes = results.iter().map(|finished| match &finished.deliveries[..] {
        [first, second] if first == second => match &first.outcome {
            Outcome::Delivered(reply) | Outcome::Transient(reply) | Outcome::Permanent(reply) => reply.code,
        },
        other => panic!("{other:?}"),
    });
    assert_eq!(codes.collect::<Vec<_>>(), [250, 552, 550, 250]);
}
