//! Takes the address that a listener is to listen on, TCP or Unix.
//!
//! A Unix socket is a file, and outlives a process that was killed. One that
//! nobody listens on any more is removed; it must never remove one that somebody
//! listens on, nor anything that is no socket, nor at the end one that is not its
//! own.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::config::{ListenAddress, SOCKET_PATH_BYTES_MAX, SocketMode};

/// Connections that may wait for accept(2); the kernel has a limit of its own
/// (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// How long another program may hold the lock of the socket's directory: it
/// takes it, as we do, for a few system calls.
const LOCK_TIME_MAX: Duration = Duration::from_secs(2);

/// Pause before the lock is tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A socket that is bound and listens.
pub(super) struct Bound {
    pub(super) socket: OwnedFd,
    /// Where, with the port that the kernel chose.
    pub(super) address: ListenAddress,
    /// The file of a Unix socket.
    pub(super) file: Option<SocketFile>,
}

impl Bound {
    /// Takes an address.
    ///
    /// # Errors
    /// It can't be used; which one it is the caller says.
    pub(super) fn bind(address: &ListenAddress, mode: SocketMode) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => tcp(*address),
            ListenAddress::Unix(path) => {
                let (socket, file) = unix(path, mode)?;
                Ok(Self { socket, address: address.clone(), file: Some(file) })
            }
        }
    }
}

fn tcp(address: SocketAddr) -> io::Result<Bound> {
    let listener = TcpListener::bind(address).map_err(with_way_out)?;
    let address = ListenAddress::Tcp(listener.local_addr()?);
    Ok(Bound { socket: listener.into(), address, file: None })
}

/// Says more than the kernel does.
fn with_way_out(error: io::Error) -> io::Error {
    let what = match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there: stop it, or choose another port",
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address: choose one that it has",
        _ => return error,
    };
    io::Error::new(error.kind(), what)
}

/// The file of a socket of ours.
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    /// Removes it, unless another one stands in its place by now.
    pub(super) fn remove(&self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn unix(path: &Path, mode: SocketMode) -> io::Result<(OwnedFd, SocketFile)> {
    let address = SocketAddrUnix::new(path).map_err(|_| {
        let text = format!("the path is longer than {SOCKET_PATH_BYTES_MAX} bytes");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Two programs that start at a time must not take each other's new socket,
    // which does not listen yet, for one that was left over.
    let _lock = lock_folder(path)?;
    remove_left_over(path, &address)?;
    rustix::net::bind(&socket, &address)?;
    let made = fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.to_owned(), identity: (made.dev(), made.ino()) };
    // Nobody can connect before it listens, so nobody does with another mode.
    let listening = fs::set_permissions(path, Permissions::from_mode(mode.bits()))
        .and_then(|()| Ok(rustix::net::listen(&socket, BACKLOG)?));
    match listening {
        Ok(()) => Ok((socket, file)),
        Err(error) => {
            file.remove();
            Err(error)
        }
    }
}

/// Keeps others who do the same out of the folder of `path`, while the file is open.
fn lock_folder(path: &Path) -> io::Result<File> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", folder.display()));
    let file = File::open(folder).map_err(named)?;
    let end = Instant::now() + LOCK_TIME_MAX;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < end => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => {
                let text = format!("another program holds the lock of {}", folder.display());
                return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
            }
            Err(TryLockError::Error(error)) => return Err(named(error)),
        }
    }
}

/// Removes the socket of a program that is gone.
fn remove_left_over(path: &Path, address: &SocketAddrUnix) -> io::Result<()> {
    let in_use = |why| Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            return in_use(
                "there is a file of that name, and it is no socket: move it away, or choose another path",
            );
        }
        Ok(_) => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let caller = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&caller, address) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path),
        Err(Errno::NOENT) => Ok(()),
        // AGAIN: it listens, and many wait already.
        Ok(()) | Err(Errno::AGAIN) => {
            in_use("another program listens there: stop it, or choose another path")
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    const MODE: SocketMode = SocketMode::DEFAULT;

    fn refusal(path: &Path) -> io::Error {
        unix(path, MODE).err().expect("it is refused")
    }

    #[test]
    fn what_a_dead_program_left_is_replaced_and_what_lives_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        drop(UnixListener::bind(&path).unwrap());
        let (_socket, file) = unix(&path, MODE).unwrap();
        assert_eq!(refusal(&path).kind(), io::ErrorKind::AddrInUse);
        assert!(refusal(&path).to_string().contains("another program listens there"));
        UnixStream::connect(&path).unwrap();
        file.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_port_that_is_taken_and_an_address_of_others_are_named() {
        let living = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = tcp(living.local_addr().unwrap()).err().expect("it is refused");
        assert!(taken.to_string().contains("another program listens there"), "{taken}");
        let others = with_way_out(Errno::ADDRNOTAVAIL.into());
        assert!(others.to_string().contains("does not have that address"), "{others}");
    }

    #[test]
    fn nothing_but_a_socket_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        fs::write(&path, "precious").unwrap();
        assert!(refusal(&path).to_string().contains("no socket"));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
        assert!(refusal(&link).to_string().contains("no socket"));
    }

    #[test]
    fn at_the_end_only_the_own_file_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        let (_socket, file) = unix(&path, MODE).unwrap();
        fs::rename(&path, folder.path().join("aside")).unwrap();
        let (_other, _) = unix(&path, MODE).unwrap();
        file.remove();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn the_mode_is_what_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        let _bound = unix(&path, "0620".to_owned().try_into().unwrap()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o620);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = refusal(Path::new("/nowhere/at/all/x.sock")).to_string();
        assert!(error.starts_with("/nowhere/at/all: "), "{error}");
    }

    #[test]
    fn a_lock_that_stays_is_waited_for_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        let lock = lock_folder(&path).unwrap();
        assert!(refusal(&path).to_string().starts_with("another program holds the lock of "));
        drop(lock);
        unix(&path, MODE).unwrap();
    }
}
