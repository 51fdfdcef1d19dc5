//! One transaction: which commands it needs, and what each reply means for
//! each recipient.
//!
//! Its commands are numbered: MAIL is 0, then one RCPT for each recipient, then
//! DATA, unless the content is sent with its length (BDAT). Replies come in the same order (RFC 2920), so two counters, what was
//! sent and what was answered, hold all there is to know about pipelining. It
//! must never let a message be delivered to nobody's knowledge: no final dot
//! unless a recipient was accepted, or nothing stands before that dot.

use std::collections::VecDeque;

use lazaret_envelope::{Body, MailParams, RcptParams, Recipient};

use super::{Delivery, EightBit, Finished, Mail, Offer, Outcome, ProtocolError, Step};
use crate::Dialect;
use crate::data::Encoder;
use crate::reply::{EnhancedStatus, Reply};

/// Most commands that are sent before their replies are read. RFC 2920 section
/// 3.1: a client that does not read while it sends must keep both sides' buffers
/// from filling up; this many replies fit into any.
pub const RCPT_WINDOW: usize = 100;

/// A transaction.
#[derive(Debug)]
pub(super) struct Exchange {
    mail: Mail,
    offer: Offer,
    dialect: Dialect,
    /// The recipients that the next hop is asked about, by their place in the
    /// transaction.
    asked: Vec<usize>,
    /// What is decided, for each recipient of the transaction.
    deliveries: Vec<Option<Delivery>>,
    /// The recipients that were accepted and wait for the end, by their place.
    accepted: VecDeque<usize>,
    /// MAIL was refused.
    refused: bool,
    /// MAIL was refused, and a RCPT behind it accepted all the same.
    confused: bool,
    /// How many commands were sent.
    sent: usize,
    /// How many commands were answered.
    answered: usize,
    phase: Phase,
}

/// How the next hop can tell where the content ends.
#[derive(Debug)]
pub(super) enum Framing {
    /// By a lone dot.
    Dot(Encoder),
    /// By its length, which was told before (RFC 3030). Bytes go as they are.
    Length,
}

impl Framing {
    /// Appends the wire form of the next bytes.
    pub(super) fn encode(&mut self, content: &[u8], wire: &mut Vec<u8>) {
        match self {
            Self::Dot(encoder) => encoder.encode(content, wire),
            Self::Length => wire.extend_from_slice(content),
        }
    }
}

/// How far a transaction is.
#[derive(Debug)]
enum Phase {
    /// It is told whose mail this is, in these commands, the next one first.
    Telling(VecDeque<String>),
    /// Commands are sent and answered.
    Commands,
    /// The next hop waits for content.
    Content(Framing),
    /// The final dot was sent behind the content.
    Ending,
    /// The final dot was sent behind nothing, and nobody was accepted.
    LoneDot,
}

/// How it goes on after a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More replies are due, or there is something to send.
    On,
    /// All is decided; the next hop has forgotten the transaction.
    Over,
    /// All is decided, but the next hop must be told to forget it.
    Reset,
    /// All is decided, and only closing the connection is safe.
    Abort,
}

impl Exchange {
    /// A transaction, of which nothing was sent yet. Recipients that this next
    /// hop can't serve are decided already.
    pub(super) fn new(mail: Mail, offer: Offer, dialect: Dialect) -> Self {
        let recipients = &mail.transaction.recipients;
        let all = missing(&mail, &offer);
        let refusals = recipients.iter().map(|to| all.clone().or_else(|| missing_for(to, &offer)));
        let deliveries: Vec<Option<Delivery>> = refusals
            .map(|reply| {
                reply.map(|reply| Delivery { step: Step::Offer, outcome: Outcome::Permanent(reply) })
            })
            .collect();
        let commands = mail.told.as_ref().map(|told| told.commands(offer.xforward)).unwrap_or_default();
        Self {
            asked: (0..recipients.len()).filter(|&place| deliveries[place].is_none()).collect(),
            accepted: VecDeque::new(),
            refused: false,
            confused: false,
            sent: 0,
            answered: 0,
            phase: if commands.is_empty() { Phase::Commands } else { Phase::Telling(commands.into()) },
            mail,
            offer,
            dialect,
            deliveries,
        }
    }

    /// Whether nobody is left whom the next hop could be asked about.
    pub(super) fn is_decided(&self) -> bool {
        self.asked.is_empty()
    }

    /// The number of the command DATA.
    fn data(&self) -> usize {
        self.asked.len() + 1
    }

    /// Whether the content is sent with its length.
    fn is_counted(&self) -> bool {
        self.mail.counted && self.offer.chunking
    }

    /// How many commands stand before the content, but for BDAT: that is told only
    /// when it is known that somebody was accepted, since the content follows at once.
    fn commands(&self) -> usize {
        self.data() + usize::from(!self.is_counted())
    }

    /// Appends the commands that may be sent before a reply is read. RFC 2920
    /// section 3.1: MAIL and RCPT may stand anywhere in a group, DATA only at
    /// its end.
    pub(super) fn send(&mut self, out: &mut Vec<u8>) {
        if let Phase::Telling(commands) = &mut self.phase {
            if let Some(command) = commands.pop_front() {
                return out.extend_from_slice(command.as_bytes());
            }
            self.phase = Phase::Commands;
        }
        let window = if self.offer.pipelining { RCPT_WINDOW } else { 1 };
        let end = (self.sent + window).min(self.commands());
        for number in self.sent..end {
            out.extend_from_slice(self.command(number).as_bytes());
        }
        self.sent = end;
    }

    fn command(&self, number: usize) -> String {
        if number == 0 {
            return self.mail_command();
        }
        let Some(&place) = self.asked.get(number - 1) else { return "DATA\r\n".to_owned() };
        let Recipient { address, params } = &self.mail.transaction.recipients[place];
        let params = if self.offer.dsn { params.clone() } else { RcptParams::default() };
        format!("RCPT TO:<{address}>{params}\r\n")
    }

    fn mail_command(&self) -> String {
        let sender = &self.mail.transaction.sender;
        let mut recipients = self.asked.iter().map(|&place| &self.mail.transaction.recipients[place]);
        let international = sender.path.0.as_ref().is_some_and(|address| address.is_international())
            || recipients.any(|to| to.address.is_international());
        let params = sender.params.clone();
        let params = MailParams {
            body: params.body.filter(|_: &Body| self.offer.eight_bit_mime),
            smtputf8: params.smtputf8 || international,
            ret: params.ret.filter(|_| self.offer.dsn),
            envid: params.envid.filter(|_| self.offer.dsn),
            requiretls: params.requiretls,
        };
        let size = self.offer.size.map(|_| format!(" SIZE={}", self.mail.size)).unwrap_or_default();
        format!("MAIL FROM:{}{size}{params}\r\n", sender.path)
    }

    /// What a reply would be an answer to.
    pub(super) fn step(&self) -> Step {
        match self.phase {
            Phase::Telling(_) => Step::Mail,
            Phase::Commands if self.answered == 0 => Step::Mail,
            Phase::Commands if self.answered < self.data() => Step::Rcpt,
            Phase::Commands => Step::Data,
            Phase::Content(_) | Phase::Ending | Phase::LoneDot => Step::DataEnd,
        }
    }

    /// Whether the next hop waits for content.
    pub(super) fn wants_content(&self) -> bool {
        matches!(self.phase, Phase::Content(_))
    }

    /// How content goes, while the next hop waits for it.
    pub(super) fn framing(&mut self) -> Option<&mut Framing> {
        if let Phase::Content(framing) = &mut self.phase { Some(framing) } else { None }
    }

    /// Appends the end of the data.
    pub(super) fn end_content(&mut self, out: &mut Vec<u8>) {
        if let Phase::Content(Framing::Dot(encoder)) = std::mem::replace(&mut self.phase, Phase::Ending) {
            encoder.finish(out);
        }
    }

    /// Takes in the next reply, and appends what is to be sent then.
    pub(super) fn reply(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Result<Progress, ProtocolError> {
        let step = self.step();
        match (&self.phase, step) {
            // Whatever it says to this: the message goes on without.
            (Phase::Telling(_), _) => {
                self.send(out);
                return Ok(Progress::On);
            }
            (Phase::Commands, Step::Mail) => self.mail_reply(reply)?,
            (Phase::Commands, Step::Rcpt) => self.rcpt_reply(reply)?,
            (Phase::Commands, _) => return self.data_reply(reply, out),
            (Phase::Content(_), _) => return self.early_reply(reply),
            (Phase::Ending, _) => return self.end_reply(reply),
            (Phase::LoneDot, _) => return Ok(Progress::Over),
        }
        self.answered += 1;
        if self.answered < self.sent {
            return Ok(Progress::On);
        }
        // Nothing is under way: is there anybody left to send for?
        if self.refused || (self.sent == self.data() && self.accepted.is_empty()) {
            return Ok(Progress::Reset);
        }
        if self.is_counted() && self.sent == self.data() {
            // RFC 3030 section 2: no answer is waited for before the content.
            out.extend_from_slice(format!("BDAT {} LAST\r\n", self.mail.size).as_bytes());
            self.phase = Phase::Content(Framing::Length);
        } else {
            self.send(out);
        }
        Ok(Progress::On)
    }

    fn mail_reply(&mut self, reply: &Reply) -> Result<(), ProtocolError> {
        let outcome = outcome(Step::Mail, reply)?;
        if !reply.is_positive() {
            self.refused = true;
            self.decide_rest(Step::Mail, &outcome);
        }
        Ok(())
    }

    fn rcpt_reply(&mut self, reply: &Reply) -> Result<(), ProtocolError> {
        let place = self.asked[self.answered - 1];
        let outcome = match outcome(Step::Rcpt, reply)? {
            Outcome::Permanent(reply) if self.is_too_many(&reply) => Outcome::Transient(reply),
            outcome => outcome,
        };
        match (self.refused, reply.is_positive()) {
            (true, positive) => self.confused |= positive,
            (false, true) => self.accepted.push_back(place),
            (false, false) => self.deliveries[place] = Some(Delivery { step: Step::Rcpt, outcome }),
        }
        Ok(())
    }

    /// RFC 5321 section 4.5.3.1.10: 552 for too many recipients is the code of
    /// RFC 821; "Clients SHOULD treat a 552 code in this case as a temporary,
    /// rather than permanent, failure". A mailbox that is full (x.2.x) is not
    /// this case, nor is it if nobody was accepted.
    fn is_too_many(&self, reply: &Reply) -> bool {
        let mailbox = matches!(reply.enhanced, Some(EnhancedStatus(_, 2, _)));
        reply.code == 552 && !mailbox && !self.accepted.is_empty()
    }

    fn data_reply(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Result<Progress, ProtocolError> {
        let step = Step::Data;
        if reply.code != 354 {
            let outcome = outcome(step, reply)?;
            if reply.is_positive() {
                return Err(ProtocolError::Unexpected { step, reply: reply.clone() });
            }
            self.decide_rest(step, &outcome);
            return Ok(Progress::Reset);
        }
        self.answered += 1;
        if !self.accepted.is_empty() {
            self.phase = Phase::Content(Framing::Dot(Encoder::new()));
        } else if self.confused || self.dialect == Dialect::Lmtp {
            // An empty message would go to somebody; and an LMTP server that
            // owes a reply to nobody (RFC 2033 section 4.2) will never say
            // when it is done.
            return Ok(Progress::Abort);
        } else {
            // RFC 2920 section 3.1: "If the DATA command was properly rejected
            // the client SMTP can just issue RSET, but if the DATA command was
            // accepted the client SMTP should send a single dot."
            Encoder::new().finish(out);
            self.phase = Phase::LoneDot;
        }
        Ok(Progress::On)
    }

    /// A reply before the end of the content: the next hop has given up, and where the
    /// next reply belongs is anybody's guess.
    fn early_reply(&mut self, reply: &Reply) -> Result<Progress, ProtocolError> {
        if !reply.is_transient() && !reply.is_permanent() {
            return Err(ProtocolError::Unsolicited(reply.clone()));
        }
        self.decide_rest(Step::DataEnd, &outcome(Step::DataEnd, reply)?);
        Ok(Progress::Abort)
    }

    fn end_reply(&mut self, reply: &Reply) -> Result<Progress, ProtocolError> {
        let outcome = outcome(Step::DataEnd, reply)?;
        // RFC 2033 section 4.2: one reply for each accepted recipient, in the
        // order of their RCPT commands.
        let replied = if self.dialect == Dialect::Lmtp { 1 } else { self.accepted.len() };
        for place in self.accepted.drain(..replied.min(self.accepted.len())) {
            self.deliveries[place] = Some(Delivery { step: Step::DataEnd, outcome: outcome.clone() });
        }
        Ok(if self.accepted.is_empty() { Progress::Over } else { Progress::On })
    }

    fn decide_rest(&mut self, step: Step, outcome: &Outcome) {
        for delivery in &mut self.deliveries {
            delivery.get_or_insert_with(|| Delivery { step, outcome: outcome.clone() });
        }
    }

    /// The end; whoever is undecided is transient because of `reply`.
    pub(super) fn finish(mut self, reply: &Reply) -> Finished {
        self.decide_rest(self.step(), &Outcome::Transient(reply.clone()));
        Finished { deliveries: self.deliveries.into_iter().flatten().collect(), uncertain: false }
    }

    /// The end, because the connection broke.
    pub(super) fn broken(self, reply: &Reply) -> Finished {
        let uncertain = matches!(self.phase, Phase::Ending) && !self.accepted.is_empty();
        Finished { uncertain, ..self.finish(reply) }
    }
}

/// What a final reply means.
fn outcome(step: Step, reply: &Reply) -> Result<Outcome, ProtocolError> {
    match reply.code / 100 {
        2 => Ok(Outcome::Delivered(reply.clone())),
        4 => Ok(Outcome::Transient(reply.clone())),
        5 => Ok(Outcome::Permanent(reply.clone())),
        _ => Err(ProtocolError::Unexpected { step, reply: reply.clone() }),
    }
}

/// Why a message can't be sent to a next hop with this offer at all.
fn missing(mail: &Mail, offer: &Offer) -> Option<Reply> {
    let sender = &mail.transaction.sender;
    let international = sender.path.0.as_ref().is_some_and(|address| address.is_international());
    if (sender.params.smtputf8 || international) && !offer.smtputf8 {
        return Some(no_smtputf8());
    }
    if sender.params.requiretls && !offer.requiretls {
        // RFC 8689 section 4.2.1: it goes only where the certificate was verified and
        // REQUIRETLS is offered.
        return Some(Reply::new(
            550,
            [5, 7, 30],
            "the next hop does not offer REQUIRETLS under verified TLS",
        ));
    }
    if mail.eight_bit == EightBit::Fail
        && sender.params.body == Some(Body::EightBitMime)
        && !offer.eight_bit_mime
    {
        return Some(Reply::new(554, [5, 6, 3], "the next hop does not offer 8BITMIME"));
    }
    // RFC 1870: 0 means that no fixed maximum is in force.
    let max = offer.size.filter(|&max| max > 0 && mail.size > max)?;
    Some(Reply::new(
        552,
        [5, 3, 4],
        format!("the next hop takes at most {max} bytes, these are {}", mail.size),
    ))
}

/// Why one recipient can't be named to a next hop with this offer.
fn missing_for(recipient: &Recipient, offer: &Offer) -> Option<Reply> {
    (recipient.address.is_international() && !offer.smtputf8).then(no_smtputf8)
}

/// RFC 6531 section 3.2: where SMTPUTF8 is not offered, a client MUST NOT send
/// what needs it.
fn no_smtputf8() -> Reply {
    Reply::new(550, [5, 6, 7], "the next hop does not offer SMTPUTF8")
}
