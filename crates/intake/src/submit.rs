//! `lazaret submit`, also known as `sendmail`: a message from standard input
//! into the spool, without a daemon.
//!
//! An MTA bounces what this refuses, so the exit status is the interface: a
//! problem of our own must never give anything but 75. Memory is a few fixed
//! buffers, whatever the message's size: a submit that dies of memory would be
//! taken for a bounce too.

mod author;
mod conversation;
mod head;
mod login;
mod lone_dot;
#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::path::PathBuf;

use lazaret_envelope::{
    Address, AddressError, Line, MailParams, MailboxesError, MessageId, Origin, Protocol, RcptParams,
    Recipient, ReversePath, Sender, Transaction, mailboxes,
};
use lazaret_spool::{Canonical, Draft, DropDraft, OpenError, Severity, Spool, SpoolError};

use crate::canonical::Normalizer;
use crate::room::{ROOM_STEP_BYTES, Reserve};
use author::Author;
use head::{Edit, HEADER_BYTES_MAX, Head};
use lone_dot::LoneDot;

pub use conversation::converse;
pub use login::user_name;

/// Bytes read at a time.
const READ_BYTES: usize = 32 << 10;

/// `EX_USAGE` of sysexits: the command line makes no sense.
pub(crate) const EX_USAGE: u8 = 64;
/// `EX_DATAERR`: an address is none.
const EX_DATAERR: u8 = 65;
/// `EX_UNAVAILABLE`: what both Postfix and Sendmail say of a message that is too
/// large, and what makes an MTA bounce it.
const EX_UNAVAILABLE: u8 = 69;
/// `EX_TEMPFAIL`: try again later.
const EX_TEMPFAIL: u8 = 75;

/// Who sends what to whom, as the command line said.
#[derive(Debug, Clone)]
pub struct Submission {
    /// `-f`; empty or `<>` for the null sender. Default: the user's login name.
    pub sender: Option<String>,
    /// `-F`: the full name in a From field that is added.
    pub full_name: Option<String>,
    /// The recipients: addresses, or lists of them as in a To field; one without a
    /// domain is completed with the host name.
    pub recipients: Vec<String>,
    /// `-G`: from an MTA, so no byte is changed but as `-t` says. Without it, what
    /// lacks From or Date and has no Received field is completed.
    pub relayed: bool,
    /// `-t`: the header names recipients, too.
    pub from_header: bool,
    /// Parameters of the sender.
    pub mail: MailParams,
    /// Parameters of every recipient.
    pub rcpt: RcptParams,
    /// `-i`: a line that is a lone dot is a line like any other.
    pub ignore_dots: bool,
    /// The domain of addresses that have none.
    pub hostname: String,
    /// Largest message in bytes of canonical content.
    pub size_max: u64,
    /// Room that is not to be used.
    pub reserve: Reserve,
}

/// A message that is safe in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    /// Its id; `None` if it went through `drop/`, where the daemon gives it one.
    pub id: Option<MessageId>,
}

/// Why a message was not accepted. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Nobody to send it to.
    #[error("no recipient: name at least one on the command line, or say -t if the header does")]
    NoRecipient,
    /// `-t`, and the header names nobody.
    #[error("no recipient: the header names none in To, Cc or Bcc")]
    NoneInHeader,
    /// `-t`, and a field of the header can't be read.
    #[error("bad address in the header field {0}: {1}")]
    Field(Line, #[source] MailboxesError),
    /// `-t`, and the header does not end.
    #[error("the header is too long to take recipients from: at most {HEADER_BYTES_MAX} bytes")]
    LongHeader,
    /// `-f` is missing, and the user has no name.
    #[error("who sends this? user id {0} has no name here: say -f address")]
    NoSender(u32),
    /// The sender is no address.
    #[error("bad sender address \"{0}\": {1}")]
    Sender(Line, #[source] AddressError),
    /// A recipient is no address.
    #[error("bad recipient address \"{0}\": {1}")]
    Recipient(Line, #[source] AddressError),
    /// The message is too large.
    #[error("message too large: at most {0} bytes")]
    TooLarge(u64),
    /// Standard input failed.
    #[error("failed to read the message: {0}")]
    Input(#[source] io::Error),
    /// Standard output failed.
    #[error("failed to write to standard output: {0}")]
    Output(#[source] io::Error),
    /// There is too little room.
    #[error("not enough room in {0}, try again later (intake.reserve is kept for the mail that is there)")]
    NoRoom(PathBuf),
    /// Too many messages are on their way.
    #[error(
        "too many messages are queued in {0}, try again later (there are fewer soon, or intake.queue_length is too low)"
    )]
    QueueFull(PathBuf),
    /// There is no spool that can be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The spool failed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl SubmitError {
    /// The exit status, of sysexits(3).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoRecipient | Self::NoSender(_) => EX_USAGE,
            Self::Sender(..)
            | Self::Recipient(..)
            | Self::NoneInHeader
            | Self::Field(..)
            | Self::LongHeader => EX_DATAERR,
            Self::TooLarge(_) => EX_UNAVAILABLE,
            Self::Input(_)
            | Self::Output(_)
            | Self::NoRoom(_)
            | Self::QueueFull(_)
            | Self::Open(_)
            | Self::Spool(_) => EX_TEMPFAIL,
        }
    }
}

/// Takes a message in. When this returns, the message is durable.
///
/// # Errors
/// It was not accepted, and nothing of it is kept.
pub fn submit(spool: &Spool, submission: &Submission, input: impl Read) -> Result<Queued, SubmitError> {
    let mut text = Text::new(input, submission.ignore_dots);
    // What is wrong on the command line is said before anything is read.
    let mut transaction = submission.transaction()?;
    let (content, recipients) = submission.head(&mut text, &transaction.sender.path)?;
    submission.add_recipients(&mut transaction, &recipients)?;
    submission.expect_room(spool, None)?;
    let origin = Origin { client: client(), ..Origin::from(Protocol::Submit) };
    let mut target = Target::open(spool, origin, transaction)?;
    submission.copy(content, &mut text, &mut target, spool)?;
    Ok(Queued { id: target.commit()? })
}

/// Who runs this program.
fn client() -> Option<Line> {
    Some(Line::escaped(format!("uid {}", rustix::process::getuid().as_raw())))
}

impl Submission {
    /// What the command line says.
    fn transaction(&self) -> Result<Transaction, SubmitError> {
        if self.recipients.is_empty() && !self.from_header {
            return Err(SubmitError::NoRecipient);
        }
        let path = self.reverse_path()?;
        let mut params = self.mail.clone();
        // RFC 6531 section 3.4: an address beyond ASCII needs SMTPUTF8.
        params.smtputf8 |= path.0.as_ref().is_some_and(Address::is_international);
        let mut transaction = Transaction { sender: Sender { path, params }, recipients: Vec::new() };
        for text in &self.recipients {
            self.add_recipients(&mut transaction, &self.listed(text))?;
        }
        Ok(transaction)
    }

    /// The beginning of the content, and whom it names.
    fn head(
        &self,
        text: &mut Text<impl Read>,
        sender: &ReversePath,
    ) -> Result<(Vec<u8>, Vec<String>), SubmitError> {
        if self.relayed && !self.from_header {
            return Ok(Default::default());
        }
        let author = Author { name: self.full_name.as_deref(), sender, hostname: &self.hostname };
        let edit = Edit { recipients: self.from_header, author: (!self.relayed).then_some(author) };
        Head::read(text, &edit)
    }

    /// The addresses of an argument, which may be written as in a To field. What an
    /// MTA hands on is one address, whatever is quoted in it: that is tried first.
    fn listed(&self, text: &str) -> Vec<String> {
        let list = || mailboxes(text).ok().filter(|list| !list.is_empty());
        let is_list = self.address(text).is_err() && !text.contains(char::is_control);
        is_list.then(list).flatten().unwrap_or_else(|| vec![text.to_owned()])
    }

    fn add_recipients(&self, transaction: &mut Transaction, more: &[String]) -> Result<(), SubmitError> {
        for text in more {
            let address = self.address(text).map_err(|why| SubmitError::Recipient(shown(text), why))?;
            transaction.sender.params.smtputf8 |= address.is_international();
            transaction.recipients.push(Recipient { address, params: self.rcpt.clone() });
        }
        Ok(())
    }

    fn reverse_path(&self) -> Result<ReversePath, SubmitError> {
        let text = match &self.sender {
            Some(text) if text.is_empty() || text == "<>" => return Ok(ReversePath(None)),
            Some(text) => text.clone(),
            None => login::name().map_err(SubmitError::NoSender)?,
        };
        let listed = self.listed(&text);
        let text = if let [only] = &listed[..] { only } else { &text };
        let address = self.address(text).map_err(|why| SubmitError::Sender(shown(text), why))?;
        Ok(ReversePath(Some(address)))
    }

    /// Reads `local@domain`, with or without angle brackets; a name without a
    /// domain is one of this host.
    fn address(&self, text: &str) -> Result<Address, AddressError> {
        let inside = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
        let text = inside.unwrap_or(text);
        match text.parse::<Address>() {
            Err(AddressError::NoDomain) => {}
            Ok(address) if address.domain().is_none() => {}
            other => return other,
        }
        format!("{text}@{}", self.hostname).parse()
    }

    /// Whether a message may come in, of `size` bytes if that is known.
    fn expect_room(&self, spool: &Spool, size: Option<u64>) -> Result<(), SubmitError> {
        self.look_for_room(spool, size)?;
        if spool.is_full()? { Err(SubmitError::QueueFull(spool.root().to_owned())) } else { Ok(()) }
    }

    /// Whether there is room on the disk, for a message of `size` bytes if that is known.
    fn look_for_room(&self, spool: &Spool, size: Option<u64>) -> Result<(), SubmitError> {
        let kept = self.reserve.is_kept(spool.room()?, size.unwrap_or(0));
        if kept { Ok(()) } else { Err(SubmitError::NoRoom(spool.root().to_owned())) }
    }

    /// Writes what was read already, and the rest.
    fn copy(
        &self,
        mut content: Vec<u8>,
        text: &mut Text<impl Read>,
        target: &mut Target,
        spool: &Spool,
    ) -> Result<(), SubmitError> {
        let (mut size, mut looked) = (0, 0);
        loop {
            size += content.len() as u64;
            if size > self.size_max {
                return Err(SubmitError::TooLarge(self.size_max));
            }
            target.write(&content)?;
            if size - looked >= ROOM_STEP_BYTES {
                self.look_for_room(spool, None)?;
                looked = size;
            }
            if text.ended {
                return Ok(());
            }
            content.clear();
            text.next(&mut content)?;
        }
    }
}

/// Standard input as canonical content, piece by piece.
struct Text<R> {
    input: R,
    /// Looks for the lone dot, unless that is a line like any other.
    dots: Option<LoneDot>,
    normalizer: Normalizer,
    buffer: Vec<u8>,
    piece: Vec<u8>,
    ended: bool,
}

impl<R: Read> Text<R> {
    fn new(input: R, ignore_dots: bool) -> Self {
        Self {
            input,
            dots: (!ignore_dots).then(LoneDot::default),
            normalizer: Normalizer::default(),
            buffer: vec![0; READ_BYTES],
            piece: Vec::new(),
            ended: false,
        }
    }

    /// Appends the next piece to `content`.
    fn next(&mut self, content: &mut Vec<u8>) -> Result<(), SubmitError> {
        let count = read(&mut self.input, &mut self.buffer)?;
        self.piece.clear();
        self.ended = match &mut self.dots {
            Some(dots) if count == 0 => {
                dots.finish(&mut self.piece);
                true
            }
            Some(dots) => dots.push(&self.buffer[..count], &mut self.piece),
            None => {
                self.piece.extend_from_slice(&self.buffer[..count]);
                count == 0
            }
        };
        self.normalizer.push(&self.piece, content);
        if self.ended {
            self.normalizer.finish(content);
        }
        Ok(())
    }
}

fn shown(text: &str) -> Line {
    Line::escaped(text)
}

fn read(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, SubmitError> {
    loop {
        match input.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map_err(SubmitError::Input),
        }
    }
}

/// Where the message goes: who may write to `tmp/` accepts it, everybody else
/// leaves it in `drop/`.
enum Target {
    Draft(Box<Draft>),
    Drop(DropDraft),
}

impl Target {
    fn open(spool: &Spool, origin: Origin, transaction: Transaction) -> Result<Self, SpoolError> {
        match spool.begin(origin, transaction.clone()) {
            Ok(draft) => Ok(Self::Draft(Box::new(draft))),
            Err(error) if error.severity() == Severity::Forbidden => {
                spool.begin_drop(transaction).map(Self::Drop)
            }
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        match self {
            Self::Draft(draft) => draft.write(bytes),
            Self::Drop(draft) => draft.write(bytes),
        }
    }

    fn commit(self) -> Result<Option<MessageId>, SpoolError> {
        match self {
            Self::Draft(draft) => draft.commit().map(|accepted| Some(accepted.id)),
            Self::Drop(draft) => draft.commit().map(|()| None),
        }
    }
}
