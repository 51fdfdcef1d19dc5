//! Ways into `deferred/`: the report first, durably, then the move.
//!
//! A message must never be deferred without its cause: where there is no room for
//! a report, that goes into the name.

use std::ffi::OsStr;
use std::io;

use lazaret_envelope::{Cause, Line, MessageId, Report};
use tracing::{error, info};

use crate::error::{Context, Severity, SpoolError};
use crate::layout::{Dir, report_name};
use crate::name::Name;
use crate::owner::Owner;

impl Owner {
    /// Moves what is no message of ours out of the way, to `deferred/`, with a
    /// report. It is never opened.
    ///
    /// # Errors
    /// The report or the rename failed.
    pub fn set_aside(&self, dir: Dir, raw: &OsStr) -> Result<(), SpoolError> {
        let shown = Line::escaped(raw.as_encoded_bytes());
        let status = match self.spool.storage.status(dir, raw) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.context(|| format!("look at {dir}/{shown}"))?,
        };
        let detail = format!("{dir}/{shown} is {} and no message of the spool", status.kind.words());
        self.set_aside_because(dir, raw, self.spool.new_id(), Cause::Foreign, &detail)
    }

    /// Moves a file to `deferred/` under a new name, with a report.
    pub(crate) fn set_aside_because(
        &self,
        dir: Dir,
        raw: &OsStr,
        id: MessageId,
        cause: Cause,
        detail: &str,
    ) -> Result<(), SpoolError> {
        let report = Report::new(id, cause, Line::escaped(detail), self.spool.now());
        let name = self.write_report(Name::first(id), &report)?;
        let to = Name { cause: name.cause, ..name.next() }.to_string();
        let moved = self.spool.storage.rename_foreign((dir, raw), (Dir::Deferred, &to));
        moved
            .context(|| format!("rename {dir}/{} to deferred/{to}", Line::escaped(raw.as_encoded_bytes())))?;
        self.sync_dir(Dir::Deferred)?;
        self.sync_dir(dir)?;
        log_deferred(&report);
        Ok(())
    }

    /// Defers a message: first its report, durably, then the move. Without room
    /// for a report the cause goes into the name. `false` if the message is gone,
    /// and only its report is there.
    pub(crate) fn defer(&self, from: (Dir, Name), report: &Report) -> Result<bool, SpoolError> {
        let name = self.write_report(from.1, report)?;
        let cause = name.cause;
        let moved = self.move_durably(from, (Dir::Deferred, Name { cause, ..name.next() }))?;
        log_deferred(report);
        Ok(moved)
    }

    /// Whether there is a whole report about a message, durably: one that was being
    /// written when only the process went down can be seen, and a power cut takes
    /// it away again.
    pub(crate) fn has_report(&self, id: MessageId) -> Result<bool, SpoolError> {
        if self.spool.report(id)?.is_none() {
            return Ok(false);
        }
        let name = report_name(id);
        let synced = self.spool.storage.open(Dir::Deferred, &name).and_then(|file| file.sync());
        synced.context(|| format!("sync deferred/{name}")).map(|()| true)
    }

    /// Writes a report durably; returns the name, bearing the cause if there
    /// was no room for the report.
    pub(crate) fn write_report(&self, name: Name, report: &Report) -> Result<Name, SpoolError> {
        match self.write_report_file(report) {
            Ok(()) => Ok(name),
            Err(error) if error.severity() == Severity::NoRoom => {
                error!(id = %name.id, %error, "no room for a report: its cause goes into the name");
                self.remove_if_there(Dir::Deferred, &report_name(name.id))?;
                Ok(Name { cause: Some(report.cause), ..name })
            }
            Err(error) => Err(error),
        }
    }

    fn write_report_file(&self, report: &Report) -> Result<(), SpoolError> {
        let file_name = report_name(report.id);
        if self.spool.is_no_file(Dir::Deferred, file_name.as_ref())? {
            self.set_aside(Dir::Deferred, file_name.as_ref())?;
        }
        self.remove_if_there(Dir::Deferred, &file_name)?;
        let operation = || format!("write deferred/{file_name}");
        let created = self.spool.storage.create(Dir::Deferred, &file_name).context(operation);
        let mut file = created.map_err(|error| self.spool.or_displaced(&[Dir::Deferred], error))?;
        file.append(report.to_string().as_bytes()).context(operation)?;
        file.sync().context(operation)
    }

    /// Writes the report about a message that lies in `deferred/` already.
    pub(crate) fn write_report_beside(&self, report: &Report) -> Result<(), SpoolError> {
        let _ = self.write_report(Name::first(report.id), report)?;
        self.sync_dir(Dir::Deferred)?;
        info!(id = %report.id, cause = %report.cause, detail = %Line::escaped(report.detail.as_str()), "deferred");
        Ok(())
    }
}

fn log_deferred(report: &Report) {
    info!(id = %report.id, cause = %report.cause, blame = %report.cause.blame(),
        detail = %report.detail, "deferred");
}
