//! Conversations over real sockets, with a real spool below.
//!
//! Every wait has a limit: a listener that hangs must never hang the tests.

mod tls;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::os::unix::net::{UnixListener, UnixStream};

use lazaret_envelope::{ByteSize, Envelope, Protocol};
use lazaret_spool::Dir;

use super::*;
use crate::config::LineEndPolicy;
use crate::gate::Pause;
use crate::room::Reserve;
use crate::testing::{self, contents, names};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Grace where everything is expected to end by itself.
const GRACE: Duration = Duration::from_secs(20);

const SIZE_MAX: u64 = 300_000;

const HELLO: &str = "EHLO client.example\r\n";
const TRANSACTION: &str = "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n";

/// A listener at work.
struct Lab {
    place: testing::Place,
    gate: Arc<IntakeGate>,
    size_max: SizeMax,
    handle: Option<ListenerHandle>,
}

impl Lab {
    fn new() -> Self {
        Self::with(ListenConfig::default())
    }

    fn with(config: ListenConfig) -> Self {
        let place = testing::Place::new();
        Self::on(place, config, testing::gate())
    }

    fn on(place: testing::Place, mut config: ListenConfig, gate: Arc<IntakeGate>) -> Self {
        if config.address == ListenConfig::default().address {
            config.address = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
        }
        let (spool, shared) = (place.spool.clone(), Arc::clone(&gate));
        let size_max = SizeMax::from(SIZE_MAX);
        let listener = Listener::bind(&config, spool, "mx.example".into(), size_max.clone(), shared).unwrap();
        Self { place, gate, size_max, handle: Some(listener.start().unwrap()) }
    }

    fn handle(&self) -> &ListenerHandle {
        self.handle.as_ref().unwrap()
    }

    fn connect(&self) -> Client<TcpStream> {
        let ListenAddress::Tcp(address) = self.handle().local_address() else { panic!("not TCP") };
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    }

    /// A session that was greeted and has said hello.
    fn hello(&self) -> Client<TcpStream> {
        let mut client = self.connect();
        assert!(client.reply().starts_with("220 "));
        client.say(HELLO);
        assert!(client.reply().starts_with("250 "));
        client
    }

    fn stop(&mut self, grace: Duration) -> Duration {
        let start = Instant::now();
        self.handle.take().unwrap().stop(grace);
        assert_eq!(self.gate.counters().sessions, 0);
        start.elapsed()
    }

    fn refused(&self, reason: Reason) -> u64 {
        self.gate.counters().refused[reason as usize]
    }

    #[track_caller]
    fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < end, "{what}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The client's side.
struct Client<S>(BufReader<S>);

impl<S: Read + Write> Client<S> {
    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// The last line of the next reply; empty if the connection was closed.
    fn reply(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            match self.0.read_line(&mut line) {
                Ok(0) => return String::new(),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return String::new(),
                Err(error) => panic!("no reply: {error}"),
                Ok(_) if line.as_bytes()[3] == b' ' => return line.trim_end().to_owned(),
                Ok(_) => {}
            }
        }
    }

    /// Sends `text`, and returns so many replies.
    #[track_caller]
    fn talk<const N: usize>(&mut self, text: &str) -> [String; N] {
        self.say(text);
        std::array::from_fn(|_| self.reply())
    }

    /// Sends a message and returns the replies to MAIL, RCPT, DATA and its end.
    fn send(&mut self, content: &str) -> [String; 4] {
        let [mail, rcpt, data] = self.talk(TRANSACTION);
        let [end] = self.talk(&format!("{content}.\r\n"));
        [mail, rcpt, data, end]
    }
}

fn config() -> ListenConfig {
    ListenConfig::default()
}

fn few(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

#[test]
fn a_message_is_in_the_spool_when_250_is_said() {
    let mut lab = Lab::new();
    let mut client = lab.hello();
    let local = client.0.get_ref().local_addr().unwrap();
    let replies = client.send("Subject: x\r\n\r\n..dot\r\nno more\r\n");
    assert_eq!(replies[..2], ["250 2.1.0 sender ok", "250 2.1.5 recipient ok"]);
    assert!(replies[2].starts_with("354 "), "{replies:?}");
    let id = replies[3].strip_prefix("250 2.0.0 queued as ").expect("queued").to_owned();
    assert_eq!(contents(&lab.place.spool), [b"Subject: x\r\n\r\n.dot\r\nno more\r\n"]);
    let name = names(&lab.place.spool, Dir::Incoming).remove(0);
    let file = std::fs::read(lab.place.spool.path(Dir::Incoming).join(name)).unwrap();
    let envelope = Envelope::parse(&file).unwrap().0;
    assert_eq!(envelope.id.to_string(), id);
    assert_eq!(envelope.origin.protocol, Protocol::Esmtp);
    assert_eq!(envelope.origin.client.unwrap().as_str(), local.to_string());
    assert_eq!(envelope.origin.helo.unwrap().as_str(), "client.example");
    let transaction = envelope.transaction.to_string();
    assert_eq!(transaction, "sender <a@example.org>\nrecipient <b@example.org>\n");
    assert_eq!(client.talk("QUIT\r\n"), ["221 2.0.0 bye", ""]);
    assert_eq!(lab.gate.counters().accepted, 1);
    lab.stop(GRACE);
}

#[test]
fn everything_may_come_in_one_write() {
    let mut lab = Lab::new();
    let mut client = lab.connect();
    let two = format!("{HELLO}{TRANSACTION}one\r\n.\r\n{TRANSACTION}two\r\n.\r\nQUIT\r\n");
    let replies: [String; 12] = client.talk(&two);
    let codes: Vec<&str> = replies.iter().map(|reply| reply.get(..3).unwrap_or("")).collect();
    assert_eq!(codes, ["220", "250", "250", "250", "354", "250", "250", "250", "354", "250", "221", ""]);
    assert_eq!(contents(&lab.place.spool), [b"one\r\n", b"two\r\n"]);
    lab.stop(GRACE);
}

#[test]
fn what_is_refused_leaves_nothing_and_the_session_goes_on() {
    let mut lab = Lab::new();
    let mut client = lab.hello();
    let [mail] = client.talk(&format!("MAIL FROM:<a@b> SIZE={}\r\n", SIZE_MAX + 1));
    assert!(mail.starts_with("552 5.3.4 "), "{mail}");
    let large = format!("{}\r\n", "x".repeat(usize::try_from(SIZE_MAX).unwrap()));
    assert!(client.send(&large)[3].starts_with("552 5.3.4 "));
    assert!(client.send("a\nb\r\n")[3].starts_with("550 5.6.11 "));
    assert!(client.send("a\rb\r\n")[3].starts_with("550 5.6.11 "));
    assert_eq!((lab.refused(Reason::TooLarge), lab.refused(Reason::BareLineEnds)), (1, 2));
    assert!(client.send("good\r\n")[3].starts_with("250 "));
    assert_eq!(contents(&lab.place.spool), [b"good\r\n"]);
    assert_eq!(names(&lab.place.spool, Dir::Tmp), [""; 0]);
    lab.stop(GRACE);
}

#[test]
fn another_largest_size_holds_from_the_next_session_on() {
    let mut lab = Lab::new();
    let mut before = lab.hello();
    lab.size_max.set(SIZE_MAX + 1);
    let mail = format!("MAIL FROM:<a@b> SIZE={}\r\n", SIZE_MAX + 1);
    let ([refused], [taken]) = (before.talk(&mail), lab.hello().talk(&mail));
    assert!(refused.starts_with("552 ") && taken.starts_with("250 "), "{refused}{taken}");
    lab.stop(GRACE);
}

#[test]
fn bare_line_ends_are_mended_where_that_is_configured() {
    let mut lab = Lab::with(ListenConfig { bare_line_ends: LineEndPolicy::Normalize, ..config() });
    assert!(lab.hello().send("a\nb\rc\r\n")[3].starts_with("250 "));
    assert_eq!(contents(&lab.place.spool), [b"a\r\nb c\r\n"]);
    lab.stop(GRACE);
}

#[test]
fn a_client_that_vanishes_leaves_nothing() {
    let mut lab = Lab::new();
    for content in ["half", &"x".repeat(200_000)] {
        let mut client = lab.hello();
        let _: [String; 3] = client.talk(TRANSACTION);
        client.say(content);
        lab.until("no file was begun", || names(&lab.place.spool, Dir::Tmp).len() == 1);
        drop(client);
        lab.until("the session stays", || lab.gate.counters().sessions == 0);
        assert_eq!(names(&lab.place.spool, Dir::Tmp), [""; 0]);
    }
    lab.stop(GRACE);
    assert_eq!(contents(&lab.place.spool), [b""; 0]);
}

#[test]
fn sessions_are_counted() {
    let mut lab = Lab::with(ListenConfig { sessions: few(2), ..config() });
    let clients = [lab.hello(), lab.hello()];
    let mut third = lab.connect();
    assert_eq!(third.reply(), "421 4.3.2 mx.example too many sessions");
    assert_eq!(third.reply(), "");
    assert_eq!((lab.gate.counters().sessions, lab.refused(Reason::TooManySessions)), (2, 1));
    drop(clients);
    lab.until("the sessions stay", || lab.gate.counters().sessions == 0);
    lab.hello();
    lab.stop(GRACE);
}

/// A connection to the listener from another address of this host.
fn connect_from(lab: &Lab, source: [u8; 4]) -> Client<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let ListenAddress::Tcp(address) = lab.handle().local_address() else { panic!("not TCP") };
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&fd, &std::net::SocketAddr::from((source, 0))).unwrap();
    connect(&fd, address).unwrap();
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Client(BufReader::new(stream))
}

#[test]
fn one_client_does_not_get_all_sessions() {
    let mut lab = Lab::with(ListenConfig { sessions: few(3), sessions_per_client: Some(few(2)), ..config() });
    let _clients = [lab.hello(), lab.hello()];
    assert_eq!(lab.connect().reply(), "421 4.3.2 mx.example too many sessions from your address");
    let mut other = connect_from(&lab, [127, 0, 0, 2]);
    assert!(other.reply().starts_with("220 "));
    lab.stop(GRACE);
}

#[test]
fn clients_that_make_no_progress_keep_nobody_out() {
    let crowded_timeout = Duration::from_millis(100);
    let mut lab = Lab::with(ListenConfig { sessions: few(2), crowded_timeout, ..config() });
    let mut silent = lab.connect();
    assert!(silent.reply().starts_with("220 "));
    let mut dripping = lab.hello();
    let _: [String; 3] = dripping.talk(TRANSACTION);
    let mut get_in = || {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "no session for a healthy client");
            let _ = dripping.0.get_mut().write_all(b"x");
            let mut client = lab.connect();
            if client.reply().starts_with("220 ") {
                return client;
            }
        }
    };
    // Turned away only until the others have had their time.
    let mut healthy = [get_in(), get_in()];
    for client in &mut healthy {
        assert!(client.talk::<1>(HELLO)[0].starts_with("250 "));
        assert!(client.send("healthy\r\n")[3].starts_with("250 "));
    }
    let last = "421 4.4.2 mx.example has no session left for clients that make no progress, closing";
    assert_eq!((silent.reply(), dripping.reply()), (last.to_owned(), last.to_owned()));
    assert_eq!(contents(&lab.place.spool), [b"healthy\r\n", b"healthy\r\n"]);
    lab.stop(GRACE);
}

#[test]
fn a_client_that_does_not_read_keeps_nobody_out() {
    let place = testing::Place::new();
    let path = place.folder.path().join("x.sock");
    let (address, crowded_timeout) = (ListenAddress::Unix(path.clone()), Duration::from_millis(100));
    let mut lab = Lab::on(
        place,
        ListenConfig { address, sessions: few(1), crowded_timeout, ..config() },
        testing::gate(),
    );
    let connect = || {
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    };
    let mut deaf = connect();
    // More replies than the kernel keeps for a client of a Unix socket.
    deaf.say(&"EHLO x\r\n".repeat(8_000));
    let end = Instant::now() + PATIENCE;
    while !connect().reply().starts_with("220 ") {
        assert!(Instant::now() < end, "no session for a healthy client");
    }
    lab.stop(GRACE);
}

#[test]
fn a_client_that_sends_byte_by_byte_is_ended() {
    let idle_timeout = Duration::from_millis(700);
    for begin in ["", TRANSACTION] {
        let mut lab = Lab::with(ListenConfig { idle_timeout, ..config() });
        let mut client = lab.hello();
        client.say(begin);
        let end = Instant::now() + PATIENCE;
        while lab.gate.counters().sessions > 0 {
            assert!(Instant::now() < end, "it goes on");
            let _ = client.0.get_mut().write_all(b"x");
            thread::sleep(idle_timeout / 20);
        }
        let replies = std::iter::repeat_with(|| client.reply()).take_while(|reply| !reply.is_empty());
        let last = replies.last().expect("it is told why");
        assert_eq!(last, "421 4.4.2 mx.example heard nothing for too long, closing");
        assert_eq!(names(&lab.place.spool, Dir::Tmp), [""; 0]);
        lab.stop(GRACE);
    }
}

#[test]
fn a_session_that_has_sent_too_much_ends() {
    let mut lab = Lab::with(ListenConfig { session_bytes: ByteSize(1000), ..config() });
    let mut client = lab.hello();
    assert!(client.send(&format!("{}\r\n", "x".repeat(500)))[3].starts_with("250 "));
    client.say(&"NOOP\r\n".repeat(100));
    let replies = std::iter::repeat_with(|| client.reply()).take_while(|reply| !reply.is_empty());
    let last = replies.last().expect("it is told why");
    assert_eq!(last, "421 4.4.2 mx.example was sent too many bytes in this session, closing");
    lab.stop(GRACE);
}

#[test]
fn a_closed_gate_is_said_politely() {
    let mut lab = Lab::new();
    let mut client = lab.hello();
    lab.gate.pause(Pause::Operator);
    let [mail, _, data] = client.talk(TRANSACTION);
    assert_eq!(mail, "451 4.3.2 intake is paused by an operator");
    assert!(data.starts_with("503 "), "{data}");
    assert_eq!(lab.connect().reply(), "421 4.3.2 mx.example intake is paused by an operator");
    lab.gate.resume(Pause::Operator);
    assert!(client.send("later\r\n")[3].starts_with("250 "));
    lab.stop(GRACE);
}

#[test]
fn without_room_mail_is_put_off() {
    let place = testing::Place::new();
    let nothing_fits = Reserve { bytes: u64::MAX, inodes: 0 };
    let mut lab = Lab::on(place, config(), Arc::new(IntakeGate::new(nothing_fits, |_| {})));
    let [mail] = lab.hello().talk("MAIL FROM:<a@example.org>\r\n");
    assert!(mail.starts_with("452 4.3.1 "), "{mail}");
    lab.stop(GRACE);
    for what in ["create tmp", "append", "sync_file"] {
        let mut lab = Lab::new();
        lab.place.faults.fail(what, Errno::NOSPC);
        let mut client = lab.hello();
        let [_, _, data] = client.talk(TRANSACTION);
        let refusal = if data.starts_with("354") {
            client.talk::<1>(&format!("{}\r\n.\r\n", "x".repeat(100_000)))[0].clone()
        } else {
            data
        };
        assert!(refusal.starts_with("452 4.3.1 "), "{what}: {refusal}");
        assert_eq!(names(&lab.place.spool, Dir::Tmp), [""; 0]);
        lab.place.faults.mend();
        assert!(client.send("now\r\n")[3].starts_with("250 "));
        assert_eq!(lab.refused(Reason::NoRoom), 1);
        lab.stop(GRACE);
    }
}

#[test]
fn while_the_queue_is_full_mail_is_put_off() {
    let mut lab = Lab::new();
    let mut client = lab.hello();
    let [_, _, data] = client.talk(TRANSACTION);
    assert!(data.starts_with("354"), "{data}");
    testing::fill(&lab.place.spool);
    let [end, mail] = client.talk("has begun\r\n.\r\nMAIL FROM:<a@example.org>\r\n");
    assert!(end.starts_with("250 ") && mail.starts_with("452 4.3.1 too many messages"), "{end} {mail}");
    assert_eq!(lab.refused(Reason::QueueFull), 1);
    assert_eq!(lab.gate.closed(&lab.place.spool), Some("closed: too many messages in the queue"));
    testing::unfill(&lab.place.spool);
    assert!(client.send("now\r\n")[3].starts_with("250 "));
    lab.stop(GRACE);
}

#[test]
fn room_is_looked_at_from_the_sender_on() {
    let (enough, nothing_fits) = (Reserve { bytes: 0, inodes: 0 }, Reserve { bytes: u64::MAX, inodes: 0 });
    let mut lab = Lab::new();
    let mut client = lab.hello();
    let [mail] = client.talk("MAIL FROM:<a@example.org> SIZE=1\r\n");
    assert!(mail.starts_with("250 2.1.0 "), "{mail}");
    lab.gate.keep_free(nothing_fits);
    let again = "RCPT TO:<b@example.org>\r\nDATA\r\nMAIL FROM:<a@example.org>\r\n";
    let [_, data, mail] = client.talk(again);
    assert!(data.starts_with("452 4.3.1 ") && mail.starts_with("452 4.3.1 "), "{data} {mail}");
    lab.gate.keep_free(enough);
    let [_, _, data] = client.talk(TRANSACTION);
    assert!(data.starts_with("354"), "{data}");
    lab.gate.keep_free(nothing_fits);
    let large = usize::try_from(crate::room::ROOM_STEP_BYTES).unwrap();
    let [end] = client.talk(&format!("{}\r\n.\r\n", "x".repeat(large)));
    assert!(end.starts_with("452 4.3.1 "), "{end}");
    assert_eq!((names(&lab.place.spool, Dir::Tmp), lab.refused(Reason::NoRoom)), (vec![], 3));
    lab.gate.keep_free(enough);
    assert!(client.send("now\r\n")[3].starts_with("250 "));
    lab.stop(GRACE);
}

#[test]
fn nothing_is_answered_when_it_is_not_known_whether_the_message_is_durable() {
    for what in ["sync_file", "rename incoming", "sync_dir incoming"] {
        let (told, heard) = std::sync::mpsc::channel();
        let gate = IntakeGate::new(Reserve { bytes: 0, inodes: 0 }, move |error| {
            told.send(error.to_string()).unwrap();
        });
        let mut lab = Lab::on(testing::Place::new(), config(), Arc::new(gate));
        lab.place.faults.fail(what, Errno::IO);
        let mut other = lab.hello();
        assert_eq!(lab.hello().send("x\r\n")[3], "", "{what}");
        assert!(heard.recv_timeout(PATIENCE).unwrap().starts_with("failed to "), "{what}");
        lab.place.faults.mend();
        let [mail] = other.talk("MAIL FROM:<a@example.org>\r\n");
        assert!(mail.starts_with("451 4.3.0 "), "{mail}");
        lab.stop(GRACE);
    }
}

#[test]
fn idle_sessions_end_at_once_when_the_listener_stops() {
    let mut lab = Lab::new();
    let mut greeted = lab.connect();
    assert!(greeted.reply().starts_with("220 "));
    let mut busy = lab.hello();
    let [_] = busy.talk("MAIL FROM:<a@b>\r\n");
    assert!(lab.stop(GRACE) < GRACE / 2);
    for client in [&mut greeted, &mut busy] {
        assert_eq!(client.reply(), "421 4.3.2 mx.example is stopping, try again later");
        assert_eq!(client.reply(), "");
    }
}

#[test]
fn a_message_that_was_begun_may_be_finished() {
    let mut lab = Lab::new();
    let mut client = lab.hello();
    let _: [String; 3] = client.talk(TRANSACTION);
    lab.handle().close();
    client.say("rest\r\n.\r\nMAIL FROM:<a@b>\r\n");
    assert!(client.reply().starts_with("250 2.0.0 queued as "));
    let mut last = client.reply();
    if last.starts_with("250 2.1.0") {
        last = client.reply();
    }
    assert_eq!(last, "421 4.3.2 mx.example is stopping, try again later");
    assert!(lab.stop(GRACE) < GRACE / 2);
    assert_eq!(contents(&lab.place.spool), [b"rest\r\n"]);
}

#[test]
fn a_message_that_is_not_finished_in_time_is_cut_off() {
    let mut lab = Lab::new();
    let mut client = lab.hello();
    let _: [String; 3] = client.talk(TRANSACTION);
    client.say("never finished");
    let grace = Duration::from_millis(200);
    let took = lab.stop(grace);
    assert!(took >= grace && took < GRACE / 2, "{took:?}");
    assert_eq!(client.reply(), "");
    assert_eq!(names(&lab.place.spool, Dir::Tmp), [""; 0]);
}

#[test]
fn silence_and_long_sessions_have_their_limits() {
    let mut idle = Lab::with(ListenConfig { idle_timeout: Duration::from_millis(100), ..config() });
    let mut client = idle.hello();
    assert_eq!(client.reply(), "421 4.4.2 mx.example heard nothing for too long, closing");
    idle.stop(GRACE);
    let mut long = Lab::with(ListenConfig { session_time: Duration::from_millis(300), ..config() });
    let mut client = long.hello();
    let [_, _, data] = client.talk(TRANSACTION);
    assert!(data.starts_with("354 "));
    let end = Instant::now() + PATIENCE;
    while long.gate.counters().sessions > 0 && Instant::now() < end {
        let _ = client.0.get_mut().write_all(b"drip\r\n");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(client.reply(), "421 4.4.2 mx.example has no more time for this session, closing");
    assert_eq!(names(&long.place.spool, Dir::Tmp), [""; 0]);
    long.stop(GRACE);
}

#[test]
fn lmtp_on_a_unix_socket_answers_for_each_recipient() {
    let place = testing::Place::new();
    let path = place.folder.path().join("lmtp.sock");
    // What a process that was killed left behind.
    drop(UnixListener::bind(&path).unwrap());
    let address = ListenAddress::Unix(path.clone());
    let config = ListenConfig { protocol: ListenProtocol::Lmtp, address, ..config() };
    let mut lab = Lab::on(place, config.clone(), testing::gate());
    let again = Listener::bind(&config, lab.place.spool.clone(), "x".into(), 1, testing::gate());
    assert_eq!(again.err().expect("it is in use").kind(), io::ErrorKind::AddrInUse);
    let stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Client(BufReader::new(stream));
    let replies: [String; 8] =
        client.talk("LHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\nx\r\n.\r\n");
    assert!(replies[6].starts_with("250 2.0.0 queued as ") && replies[6] == replies[7], "{replies:?}");
    let name = names(&lab.place.spool, Dir::Incoming).remove(0);
    let file = std::fs::read(lab.place.spool.path(Dir::Incoming).join(name)).unwrap();
    let origin = Envelope::parse(&file).unwrap().0.origin;
    assert_eq!((origin.protocol, origin.client.unwrap().as_str()), (Protocol::Lmtp, "unix"));
    lab.stop(GRACE);
    assert!(!path.exists());
}

#[test]
fn who_may_tell_whose_mail_it_brings_is_configured() {
    let mut lab =
        Lab::with(ListenConfig { xforward: vec!["127.0.0.0/8".to_owned().try_into().unwrap()], ..config() });
    let mut client = lab.hello();
    assert_eq!(client.talk("XFORWARD NAME=far.example ADDR=192.0.2.7 IDENT=4Xy\r\n"), ["250 2.0.0 ok"]);
    assert!(client.send("x\r\n")[3].starts_with("250 "));
    let name = names(&lab.place.spool, Dir::Incoming).remove(0);
    let file = std::fs::read(lab.place.spool.path(Dir::Incoming).join(name)).unwrap();
    let origin = Envelope::parse(&file).unwrap().0.origin;
    let told = [origin.forwarded.name, origin.forwarded.address, origin.upstream_id];
    assert_eq!(told.map(|told| told.unwrap().to_string()), ["far.example", "192.0.2.7", "4Xy"]);
    assert!(origin.client.unwrap().as_str().starts_with("127.0.0.1:"));
    lab.stop(GRACE);
    let mut lab =
        Lab::with(ListenConfig { xforward: vec!["192.0.2.0/24".to_owned().try_into().unwrap()], ..config() });
    assert!(lab.hello().talk::<1>("XFORWARD NAME=x\r\n")[0].starts_with("550 5.7.0 "));
    lab.stop(GRACE);
}

#[test]
fn many_clients_at_once_each_get_their_message_in() {
    let mut lab = Lab::new();
    thread::scope(|scope| {
        for number in 0..16 {
            let lab = &lab;
            scope.spawn(move || {
                let mut client = lab.hello();
                for _ in 0..5 {
                    assert!(client.send(&format!("client {number}\r\n"))[3].starts_with("250 "));
                }
            });
        }
    });
    assert_eq!(lab.gate.counters().accepted, 80);
    assert_eq!(names(&lab.place.spool, Dir::Incoming).len(), 80);
    lab.stop(GRACE);
}

#[test]
fn sessions_come_after_mail_that_is_here() {
    let mut lab = Lab::new();
    let _client = lab.hello();
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
    let niceness = |thread: std::path::PathBuf| {
        let is_session = fs::read_to_string(thread.join("comm")).is_ok_and(|name| name == "session\n");
        let thread = thread.file_name()?.to_str()?.parse().ok().filter(|_| is_session)?;
        getpriority_process(rustix::process::Pid::from_raw(thread)).ok()
    };
    let own = getpriority_process(None).unwrap();
    assert!(threads.filter_map(niceness).any(|session| session == own + NICENESS));
    lab.stop(GRACE);
}
