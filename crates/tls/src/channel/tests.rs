//! Both sides of a channel over a pair of sockets.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::*;

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Short enough to be waited for.
const BRIEF: Duration = Duration::from_millis(200);

/// A folder with `cert.pem` and `key.pem`, signed by itself.
pub(crate) struct Made(tempfile::TempDir);

impl Made {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Makes a certificate for `name`.
pub(crate) fn made(name: &str) -> Made {
    let folder = Made(tempfile::tempdir().unwrap());
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    std::fs::write(folder.path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    folder
}

struct Pipe(UnixStream);

impl Pipe {
    fn left(deadline: Instant) -> io::Result<Option<Duration>> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Carrier for Pipe {
    fn read(&self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        self.0.set_read_timeout(Self::left(deadline)?)?;
        (&self.0).read(buffer)
    }

    fn write(&self, bytes: &[u8], deadline: Instant) -> io::Result<usize> {
        self.0.set_write_timeout(Self::left(deadline)?)?;
        (&self.0).write(bytes)
    }
}

fn pair() -> (Pipe, Pipe) {
    let (near, far) = UnixStream::pair().unwrap();
    (Pipe(near), Pipe(far))
}

fn soon() -> Instant {
    Instant::now() + SOON
}

fn identity(made: &Made) -> Identity {
    Identity::read(&made.path("cert.pem"), &made.path("key.pem")).unwrap()
}

/// What a client of this trust, asking for `name`, makes of `mx.example`.
fn meet(trust: &Trust, made: &Made, name: &str) -> io::Result<Line> {
    let (near, far) = pair();
    let identity = identity(made);
    thread::scope(|scope| {
        scope.spawn(move || drop(Channel::accept(&identity, &far, soon())));
        let name = PeerName::parse(name).unwrap();
        Channel::connect(trust, &name, &near, soon()).map(|channel| channel.description())
    })
}

#[test]
fn only_who_is_known_and_bears_the_name_is_believed() {
    let (made, stranger) = (made("mx.example"), made("stranger.example"));
    let trust = Trust::read(&made.path("cert.pem")).unwrap();
    assert!(meet(&trust, &made, "mx.example").unwrap().as_str().starts_with("TLSv1.3 TLS_"));
    let error = meet(&trust, &made, "other.example").unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidData && error.to_string().contains("other.example"), "{error}");
    let error = meet(&trust, &stranger, "stranger.example").unwrap_err();
    assert!(error.to_string().starts_with("invalid peer certificate: "), "{error}");
    // Somebody who only uses the name of a known one.
    assert!(meet(&trust, &self::made("mx.example"), "mx.example").is_err());
    meet(&Trust::blind(), &stranger, "192.0.2.1").map(drop).unwrap();
}

#[test]
fn bytes_go_both_ways_however_many_there_are() {
    let (made, (near, far)) = (made("mx.example"), pair());
    let sent: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let identity = identity(&made);
    let echoed = thread::scope(|scope| {
        scope.spawn(move || {
            let mut channel = Channel::accept(&identity, &far, soon()).unwrap();
            let (mut buffer, mut all) = ([0; 5000], Vec::new());
            while all.len() < 1_000_000 {
                let count = channel.read(&far, &mut buffer, soon()).unwrap();
                all.extend_from_slice(&buffer[..count]);
            }
            put(&mut channel, &far, &all);
            channel.close(&far, soon());
        });
        let name = PeerName::parse("mx.example").unwrap();
        let mut channel = Channel::connect(&Trust::blind(), &name, &near, soon()).unwrap();
        put(&mut channel, &near, &sent);
        let (mut buffer, mut all) = (vec![0; 70_000], Vec::new());
        loop {
            match channel.read(&near, &mut buffer, soon()).unwrap() {
                0 => break all,
                count => all.extend_from_slice(&buffer[..count]),
            }
        }
    });
    assert!(echoed == sent);
}

fn put(channel: &mut Channel, carrier: &Pipe, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        bytes = &bytes[channel.take(bytes).unwrap()..];
        channel.flush(carrier, soon()).unwrap();
    }
}

#[test]
fn neither_silence_nor_a_byte_now_and_then_buys_time() {
    let name = PeerName::parse("mx.example").unwrap();
    let brief = || Instant::now() + BRIEF;
    let (near, _far) = pair();
    let error = Channel::connect(&Trust::blind(), &name, &near, brief()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    // The beginning of a hello that fills a record, and a byte of it now and then.
    let (near, far) = pair();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut stream = &far.0;
            let _ = stream.write_all(&[22, 3, 3, 0x40, 0, 2, 0, 0x3f, 0xfc]);
            while stream.write_all(&[2]).is_ok() {
                thread::sleep(Duration::from_millis(5));
            }
        });
        let error = Channel::connect(&Trust::blind(), &name, &near, brief()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        drop(near);
    });
}

#[test]
fn what_came_before_the_handshake_is_no_part_of_it() {
    let (near, far) = pair();
    (&far.0).write_all(b"250 this was not encrypted\r\n").unwrap();
    let name = PeerName::parse("mx.example").unwrap();
    let error = Channel::connect(&Trust::blind(), &name, &near, soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
}
