//! Bytes over a socket, with descriptors beside them.
//!
//! One message on one side is one on the other: as many descriptors as were
//! promised, or an error. Nothing here may keep a descriptor open that is not
//! handed on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

/// Most descriptors of a message.
const DESCRIPTORS_MAX: usize = 2;

/// Sends all of `bytes` and copies of `files`.
pub(crate) fn send<const FILES: usize>(
    socket: &impl AsFd,
    bytes: &[u8],
    files: [BorrowedFd<'_>; FILES],
) -> io::Result<()> {
    const { assert!(FILES <= DESCRIPTORS_MAX) };
    let mut room = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    control.push(SendAncillaryMessage::ScmRights(&files));
    let sent = rustix::net::sendmsg(socket, &[io::IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Waits for the next message; `None` when there will be no more.
pub(crate) fn receive<const BYTES: usize, const FILES: usize>(
    socket: &impl AsFd,
) -> io::Result<Option<([u8; BYTES], [OwnedFd; FILES])>> {
    const { assert!(FILES <= DESCRIPTORS_MAX) };
    let mut bytes = [0; BYTES];
    let mut room = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut [io::IoSliceMut::new(&mut bytes)], &mut control, flags)
    })?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut files = control
        .drain()
        .flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        })
        .flatten();
    let all: [Option<OwnedFd>; FILES] = std::array::from_fn(|_| files.next());
    if received.bytes != BYTES || all.iter().any(Option::is_none) || files.next().is_some() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Some((bytes, all.map(|file| file.expect("all are there")))))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_sent_is_received() {
        let (here, there) = UnixStream::pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        send(&here, b"two", [reader.as_fd(), writer.as_fd()]).unwrap();
        let (bytes, [reader, writer]) = receive(&there).unwrap().unwrap();
        assert_eq!(&bytes, b"two");
        rustix::io::write(&writer, b"x").unwrap();
        let mut byte = [0];
        File::from(reader).read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        drop(here);
        assert!(receive::<3, 2>(&there).unwrap().is_none(), "it has hung up");
    }

    #[test]
    fn what_was_not_promised_is_an_error() {
        let (here, there) = UnixStream::pair().unwrap();
        send(&here, b"two", [here.as_fd()]).unwrap();
        assert!(receive::<3, 2>(&there).is_err(), "one descriptor less");
        send(&here, b"two", [here.as_fd(), here.as_fd()]).unwrap();
        assert!(receive::<3, 1>(&there).is_err(), "one more");
        send(&here, b"tw", [here.as_fd()]).unwrap();
        drop(here);
        assert!(receive::<3, 1>(&there).is_err(), "too short");
    }
}
