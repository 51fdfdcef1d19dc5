//! The part of a notice for people, in plain English: who has not got the
//! message, what was said by whom, what to do.
//!
//! It must never send anybody to a document to understand it.

use std::fmt::Write;

use super::reply::Reply;
use super::{Action, Entry, NOTICE_RECIPIENTS_MAX, Notice, date};

/// Where lines are broken, in characters.
const COLUMNS: usize = 72;

/// Longest text of a reply that is told, in bytes.
const REPLY_BYTES_MAX: usize = 1000;

pub(super) fn subject(notice: &Notice<'_>) -> &'static str {
    match notice.entries.iter().map(|entry| entry.action).min() {
        Some(Action::Failed | Action::Expired) => "Your message could not be delivered",
        Some(Action::Delayed) => "Your message is delayed",
        _ => "Your message was delivered",
    }
}

/// The whole part, lines ended by CRLF.
pub(super) fn text(notice: &Notice<'_>) -> String {
    let mut text = String::new();
    paragraph(&mut text, "", &format!("This is the mail system at {}.", notice.hostname));
    for action in [Action::Failed, Action::Expired, Action::Delayed, Action::Delivered, Action::Relayed] {
        let entries = || notice.entries.iter().filter(|entry| entry.action == action);
        if entries().next().is_some() {
            paragraph(&mut text, "", &lead(notice, action));
            entries().for_each(|entry| tell(&mut text, entry));
        }
    }
    if notice.more > 0 {
        let more = format!(
            "The same has to be said of {} more recipients; a message like this one names {NOTICE_RECIPIENTS_MAX} at most.",
            notice.more
        );
        paragraph(&mut text, "", &more);
    }
    let what_to_do = match notice.entries.iter().map(|entry| entry.action).min() {
        Some(Action::Failed | Action::Expired) => {
            "What you can do: look at each address for a mistake, and at what the mail server said. If the \
             address is right, try another way to reach the recipient, or send your message again later. If \
             you need help, give this message, with all its parts, to your postmaster."
        }
        Some(Action::Delayed) => {
            "You need not do anything, and should not send your message again. You will be told if it can't \
             be delivered in the end."
        }
        _ => "You are told because you asked for it. You need not do anything.",
    };
    paragraph(&mut text, "", what_to_do);
    text
}

fn lead(notice: &Notice<'_>, action: Action) -> String {
    let arrived = date(notice.envelope.arrived);
    match action {
        Action::Failed => format!(
            "Your message, which came here on {arrived}, could not be delivered to the recipients named below. \
             It will not be tried again for them."
        ),
        Action::Expired => format!(
            "Your message, which came here on {arrived}, could not be delivered to the recipients named below \
             although it was tried for a long time. It will not be tried again for them."
        ),
        Action::Delayed => {
            let until = notice.retried_until().map_or(String::new(), |time| format!(" until {}", date(time)));
            format!(
                "Your message, which came here on {arrived}, has not been delivered yet to the recipients named \
                 below. It is still tried{until}."
            )
        }
        Action::Delivered => {
            format!(
                "Your message, which came here on {arrived}, was delivered to the recipients named below."
            )
        }
        Action::Relayed => format!(
            "Your message, which came here on {arrived}, was given to another mail system for the recipients \
             named below. That system does not tell when it is delivered."
        ),
    }
}

fn tell(text: &mut String, entry: &Entry) {
    let _ = write!(text, "<{}>\r\n", entry.recipient);
    let reply = Reply::parse(&entry.reply);
    let told = &reply.text[..reply.text.floor_char_boundary(REPLY_BYTES_MAX)];
    let said = match (entry.action, reply.host) {
        (Action::Delivered, _) => return text.push_str("\r\n"),
        (_, Some(host)) if reply.is_smtp => format!("The mail server {host} said: {told}"),
        (_, Some(host)) => format!("The mail server {host} could not be used: {told}"),
        (_, None) => told.to_owned(),
    };
    paragraph(text, "    ", &said);
}

/// Words on lines, each behind the indent, and an empty line.
fn paragraph(text: &mut String, indent: &str, words: &str) {
    let mut column = 0;
    for word in words.split_ascii_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > COLUMNS {
            text.push_str("\r\n");
            column = 0;
        }
        let before = if column == 0 { indent } else { " " };
        text.push_str(before);
        text.push_str(word);
        column += before.len() + length;
    }
    text.push_str("\r\n\r\n");
}
