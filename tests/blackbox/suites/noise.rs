//! Random and mutated bytes in sessions: nothing breaks, nothing grows, and good mail
//! goes on.
//!
//! How many bytes is for the environment to say. A run must never be without a seed
//! that repeats it, nor without an end.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::content::carries;
use crate::daemon::Daemon;
use crate::lab::{Config, Lab};
use crate::memory::Sampler;
use crate::process;
use crate::random::Random;
use crate::smtp::{self, Client};
use crate::trial::{Case, figures};
use crate::wait::until;

/// `long` sends [`LONG_BYTES`] instead of [`USUAL_BYTES`].
const NOISE_VARIABLE: &str = "LAZARET_NOISE";

/// Bytes sent in every run.
const USUAL_BYTES: usize = 300_000;

/// Bytes sent in a long run.
const LONG_BYTES: usize = 10_000_000;

/// Longest run of either.
const RUN_TIME_MAX: Duration = Duration::from_secs(600);

/// One part of so many warms up caches and threads before memory is compared.
const WARM_UP: usize = 5;

/// By how much the daemon's memory may grow after that: pages of its heap that are in
/// use by chance, not a function of what was sent.
const GROWTH_BYTES_MAX: u64 = 16 << 20;

/// Most bytes of one session.
const SESSION_BYTES_MAX: usize = 16 << 10;

/// Most changes to one conversation.
const CHANGES_MAX: usize = 12;

/// Longest time for the last mail to arrive.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(60);

/// What conversations are made of.
const WORDS: [&[u8]; 34] = [
    b"EHLO a.example\r\n",
    b"LHLO a.example\r\n",
    b"HELO a\r\n",
    b"MAIL FROM:<>\r\n",
    b"MAIL FROM:<a@example.org> SIZE=10 BODY=8BITMIME RET=HDRS ENVID=x+2Bz\r\n",
    b"MAIL FROM:<\xc3\xa4@example.org> SMTPUTF8\r\n",
    b"RCPT TO:<desk@example.org>\r\n",
    b"RCPT TO:<\"a b\\\"\"@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@y\r\n",
    b"RCPT TO:<@x,@y:desk@example.org>\r\n",
    b"RCPT TO:<Postmaster>\r\n",
    b"DATA\r\n",
    b"Subject: x\r\n",
    b"Received: from a by b; x\r\n",
    b"Content-Type: multipart/mixed; boundary=\"x\"\r\n",
    b"\r\n--x\r\n",
    b"\r\n.\r\n",
    b".\r\n",
    b"..\r\n",
    b"\n.\n",
    b"\r",
    b"\n",
    b"\0",
    b"\xff\xfe",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"VRFY a\r\n",
    b"HELP\r\n",
    b"STARTTLS\r\n",
    b"XFORWARD NAME=a.example ADDR=192.0.2.1 IDENT=+41+42\r\n",
    b"XFORWARD HELO=[UNAVAILABLE] SOURCE=LOCAL\r\n",
    b"BDAT 5 LAST\r\n",
    b"<<<<>>>>@@@@::::\"\"\"\"\\\\\\\\",
    b"=====+++++;;;;;",
    b"QUIT\r\n",
];

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![Case::new("noise::in_smtp_and_lmtp_sessions", in_smtp_and_lmtp_sessions)]
}

/// What is sent in one session.
fn noise(random: &mut Random) -> Vec<u8> {
    let length = 1 + random.below(SESSION_BYTES_MAX);
    let byte = |random: &mut Random| random.below(256) as u8;
    match random.below(4) {
        // Bytes of any kind; and more of those that mean something.
        0 => heard((0..length).map(|_| byte(random)).collect(), random),
        1 => {
            let likely = |random: &mut Random| b"\r\n. <>@:=+\"\\"[random.below(12)];
            let either = |random: &mut Random| if random.one_in(3) { byte(random) } else { likely(random) };
            heard((0..length).map(|_| either(random)).collect(), random)
        }
        // A conversation of words in any order; and one that makes sense, changed.
        2 => words(random, length),
        _ => {
            let mut text = beginning(random);
            text.extend(words(random, length));
            text.extend(b"\r\n.\r\nQUIT\r\n");
            (0..random.below(CHANGES_MAX)).for_each(|_| change(&mut text, random));
            text
        }
    }
}

/// What leads to DATA.
fn beginning(random: &mut Random) -> Vec<u8> {
    [WORDS[random.below(2)], WORDS[4], WORDS[6], WORDS[10], WORDS[11]].concat()
}

/// A bare LF between commands ends a session: so that more than its start is heard,
/// noise becomes lines, or the content of a message, or else is left as it is.
fn heard(noise: Vec<u8>, random: &mut Random) -> Vec<u8> {
    match random.below(3) {
        0 => noise,
        1 => [beginning(random), noise].concat(),
        _ => noise.split(|&byte| byte == b'\n').flat_map(|line| [line, b"\r\n"].concat()).collect(),
    }
}

fn words(random: &mut Random, length: usize) -> Vec<u8> {
    let mut text = Vec::new();
    while text.len() < length {
        text.extend_from_slice(WORDS[random.below(WORDS.len())]);
    }
    text
}

fn change(text: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(text.len().max(1)).min(text.len().saturating_sub(1));
    let end = (at + 1 + random.below(64)).min(text.len());
    match random.below(4) {
        0 => drop(text.drain(at..end)),
        1 => text[at..end].iter_mut().for_each(|byte| *byte ^= 1 << random.below(8)),
        2 => text.extend_from_within(at..end),
        _ => drop(text.splice(at..at, WORDS[random.below(WORDS.len())].iter().copied())),
    }
}

/// Sends one session's noise in pieces; whether all of it. The server may close before
/// it has heard everything.
fn send<S: Read + Write>(client: &mut Client<S>, text: &[u8], random: &mut Random) -> bool {
    let piece = [text.len(), 1 + random.below(700), 1 + random.below(3000)][random.below(3)].max(1);
    text.chunks(piece).try_for_each(|piece| client.send(piece)).is_ok()
}

/// Sends so many bytes, in sessions of either protocol.
fn make_noise(lab: &Lab, daemon: &mut Daemon, bytes: usize, random: &mut Random, end: Instant) -> usize {
    let (mut sent, mut sessions) = (0, 0);
    while sent < bytes {
        assert!(Instant::now() < end, "{sent} of {bytes} bytes were sent in {RUN_TIME_MAX:?}");
        let text = noise(random);
        let text = &text[..text.len().min(bytes - sent)];
        if random.one_in(2) {
            let mut client = Client::dial(daemon.smtp()).expect("a session");
            if send(&mut client, text, random) && random.one_in(8) {
                client.vanish();
            } else {
                client.hear_out();
            }
        } else {
            let mut client = Client::dial_unix(&lab.path("lmtp.sock")).expect("a session");
            send(&mut client, text, random);
            client.hear_out();
        }
        sent += text.len();
        sessions += 1;
    }
    assert!(daemon.is_alive(), "the daemon ended");
    sessions
}

fn in_smtp_and_lmtp_sessions() {
    let long = std::env::var(NOISE_VARIABLE).is_ok_and(|value| value == "long");
    let bytes = if long { LONG_BYTES } else { USUAL_BYTES };
    let lmtp = "[[listen]]\nprotocol = \"lmtp\"\naddress = \"unix:lmtp.sock\"\nbare_line_ends = \"normalize\"\n\
        xforward = [\"unix\"]\nerrors = 100000\n";
    let smtp = "xforward = [\"127.0.0.0/8\"]\nerrors = 100000\n";
    let lab = Lab::with(&Config::default().listen(smtp).tables(lmtp));
    let mut daemon = lab.start();
    let mut random = Random::new("noise");
    let (start, resident) = (Instant::now(), |daemon: &Daemon| process::memory_resident(daemon.pid()));
    let end = start + RUN_TIME_MAX;
    let mut sessions = make_noise(&lab, &mut daemon, bytes / WARM_UP, &mut random, end);
    let before = resident(&daemon).expect("the daemon runs");
    let sampler = Sampler::start(daemon.pid());
    sessions += make_noise(&lab, &mut daemon, bytes - bytes / WARM_UP, &mut random, end);
    let after = resident(&daemon).expect("the daemon runs");
    let peak = sampler.finish().daemon.max(after);
    figures(&format!(
        "noise: {bytes} bytes in {sessions} sessions in {} s; daemon: {} KiB after the first fifth, {} KiB at the end, \
         {} KiB at most",
        start.elapsed().as_secs(),
        before >> 10,
        after >> 10,
        peak >> 10
    ));
    assert!(after <= before + GROWTH_BYTES_MAX, "the daemon has grown from {before} to {after} bytes");
    let message = b"Subject: good\r\n\r\nstill here\r\n";
    let id = smtp::deliver(daemon.smtp(), "sender@example.com", &["last@example.org"], message)
        .expect("good mail is taken");
    assert!(until(ARRIVAL_TIME_MAX, || lab.mail().count(&id) > 0), "good mail does not arrive");
    assert_eq!(carries(&lab.mail().only(&id), message), Ok(()));
    assert!(until(ARRIVAL_TIME_MAX, || lab.spool().names("tmp").is_empty()), "something is left in tmp/");
    assert_eq!(daemon.terminate().code(), Some(0));
}
