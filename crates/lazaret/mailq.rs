//! `mailq`, also as `sendmail -bp`: what is in the queue, a message after the
//! other.
//!
//! Reads the spool and needs no daemon. Memory must never depend on how many
//! messages there are.

use std::fmt::Write;

use lazaret_spool::{Dir, Name, Severity, Spool, Unreadable};

use crate::exit::{self, Failure};

/// What is said of an empty queue; programs look for these words.
const EMPTY: &str = "Mail queue is empty\n";

/// Prints every message: id, where it is, size, arrival, sender; then a line for
/// each recipient.
pub fn print(spool: &Spool) -> Result<(), Failure> {
    let (mut count, mut bytes, mut printed) = (0_u64, 0, Ok(()));
    spool.scan_messages(|dir, name| {
        if printed.is_ok()
            && let Some((text, size)) = shown(spool, dir, name)
        {
            count += 1;
            bytes += size;
            printed = exit::print(text);
        }
    })?;
    printed?;
    exit::print(match count {
        0 => EMPTY.to_owned(),
        _ => format!("-- {} KB in {count} messages\n", bytes.div_ceil(1 << 10)),
    })
}

/// `None` for one that has moved on since its directory was listed.
fn shown(spool: &Spool, dir: Dir, name: Name) -> Option<(String, u64)> {
    let id = name.id;
    let envelope = match spool.read(dir, name) {
        Ok(message) => message.envelope,
        Err(Unreadable::Io(error)) if error.severity() == Severity::Gone => return None,
        Err(error) => return Some((format!("{id}  {dir}  {error}\n\n"), 0)),
    };
    let size = envelope.content.size;
    let (arrived, sender) = (envelope.arrived.strftime("%FT%TZ"), &envelope.transaction.sender.path);
    let due = name.due.map_or(String::new(), |due| format!(", due {}", due.strftime("%FT%TZ")));
    let mut text = format!("{id}  {dir}{due}  {size}  {arrived}  {sender}\n");
    for recipient in &envelope.transaction.recipients {
        let _ = writeln!(text, "          {}", recipient.address);
    }
    Some((text + "\n", size))
}
