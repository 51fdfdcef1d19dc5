//! The command line.
//!
//! Names, defaults and help texts; what the commands do is elsewhere. `submit`
//! stands here for the help only: sendmail's options are not clap's kind.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use lazaret_envelope::MessageId;

use crate::control::Part;
use crate::log;

/// A crash-safe mail router with a quarantine queue.
///
/// Lazaret stands behind an MTA. It takes each message into a durable spool,
/// decides in a jailed process with a hard memory and time budget where it
/// goes, and delivers it. What faults goes into quarantine, for a person to
/// look at. No message can stop mail for the others.
#[derive(Debug, Parser)]
#[command(name = "lazaret", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    /// The configuration file
    /// [default: what LAZARET_CONFIG names, else /etc/lazaret/lazaret.toml if it is
    /// there, else an embedded one: spool in ./spool, SMTP on 127.0.0.1:10025, Maildirs below ./mail]
    #[arg(long, value_name = "FILE", global = true, verbatim_doc_comment)]
    pub config: Option<PathBuf>,
    /// How log lines on standard error look
    #[arg(long, value_name = "FORMAT", global = true, value_enum, default_value = "text")]
    pub log_format: log::Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `--help` ends with.
const EXAMPLES: &str = "\
First steps:
  lazaret run                                     start the router
  printf 'Subject: hi\\n\\nHello.\\n' | lazaret submit -f me@example.org you@example.org
  lazaret status                                  what it has, what it does
  lazaret deferred list                           what faulted
  lazaret deferred show ID                        why, and what to do next
  lazaret init                                    a configuration with every key

For packages: `lazaret man FOLDER` writes the man pages, `lazaret completions SHELL`
prints what completes the command line.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the router
    ///
    /// Runs in the foreground until SIGTERM or SIGINT, which stop it cleanly
    /// within seconds; SIGHUP is `lazaret reload`. Logs to standard error;
    /// LAZARET_LOG chooses what, such as `LAZARET_LOG=debug`. Exit status: 0
    /// after a clean stop; 71 when the system refuses what is needed, such as
    /// an address to listen on; 74 when the spool can't keep its promises any
    /// more; 75 when another one has the spool; 77 when this user may not have
    /// it; 78 when the configuration is wrong.
    #[command(verbatim_doc_comment)]
    Run {
        /// Route and deliver what is there, then end: with 0, or with 1 if
        /// anything is left waiting or was newly deferred
        #[arg(long)]
        drain: bool,
    },
    /// Put a message from standard input into the spool
    ///
    /// Takes sendmail's options; also runs when the program is called
    /// `sendmail`. The message is safe when this exits with 0. Any problem of
    /// Lazaret's own is 75 (EX_TEMPFAIL): the caller keeps the message and
    /// tries again. No spool is made here: `lazaret run` does that.
    ///
    /// What is typed need not be a whole message. Where From or Date is
    /// missing they are added, and a Message-ID; an empty line goes before
    /// the first line that is no header field; a line `From ` in front is
    /// dropped. What has From and Date and an empty line, or a Received
    /// field, passes unchanged.
    #[command(verbatim_doc_comment, override_usage = "lazaret submit [--config FILE] [SENDMAIL OPTIONS] [--] RECIPIENT…",
        after_help = SUBMIT_HELP)]
    Submit {
        /// Options of sendmail, then the recipients
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        arguments: Vec<OsString>,
    },
    /// Show what the spool holds and what the router does
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Look into the quarantine, and let messages out of it
    #[command(subcommand)]
    Deferred(DeferredCommand),
    /// Stop a part of the work for now
    ///
    /// It lasts until `lazaret resume` or the router's next start. What is under way
    /// goes on, and so does delivery of what is routed.
    #[command(verbatim_doc_comment)]
    Pause {
        /// Which part stops
        #[arg(value_parser = parts())]
        part: Part,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Go on with what was paused
    ///
    /// Says why, if the part does not go on all the same: intake closes by itself, and
    /// opens again, when there is too little room or memory, and routing while no cell
    /// works. Such a pause of routing ends here as well.
    #[command(verbatim_doc_comment)]
    Resume {
        /// Which part goes on
        #[arg(value_parser = parts())]
        part: Part,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Have the router read its configuration again
    ///
    /// Says what has changed, and what of it needs a restart (`spool`, `hostname`,
    /// `[[listen]]`). If anything is wrong, the configuration in force stays, and
    /// the exit status is 78. Intake goes on meanwhile, and no message is lost,
    /// marked or delivered twice. SIGHUP does the same and logs it.
    #[command(verbatim_doc_comment)]
    Reload {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Look at every file of the spool and name what is wrong
    ///
    /// Reads only, unless asked to repair; the router may run meanwhile. Each
    /// finding has a path, a word for its kind, and what a repair does about it;
    /// queue-layout.md lists the kinds. Exit status: 0 if all is well or all was
    /// repaired, 1 if something is wrong and left.
    #[command(verbatim_doc_comment)]
    Check(CheckOptions),
    /// Write a configuration to begin with: every key, its meaning, its default
    Init {
        /// The file to write, which must not be there yet; `-` for standard output
        /// [default: what --config or LAZARET_CONFIG names, else lazaret.toml]
        #[arg(verbatim_doc_comment)]
        file: Option<PathBuf>,
    },
    /// Look after the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write the man pages, for a package to install
    #[command(hide = true)]
    Man {
        /// Where to
        folder: PathBuf,
    },
    /// Print a script that completes the command line
    #[command(hide = true)]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

/// `lazaret check`
#[derive(Debug, Args)]
pub struct CheckOptions {
    /// Repair what is found, by moving: no mail is deleted
    ///
    /// With the router running it is the one that repairs: messages and foreign
    /// files in incoming/, waiting/ and deferred/, and modes and owners. The rest
    /// is repaired only while no router runs.
    #[arg(long)]
    pub repair: bool,
    /// Leave out the digests: names, modes, envelopes and sizes only
    #[arg(long)]
    pub quick: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

const SUBMIT_HELP: &str = "\
Options:
  -f SENDER   the envelope's sender; `-f ''` or `-f '<>'` for none (a bounce)
  -F NAME     the full name in a From field that is added
  -G          from an MTA: the message passes unchanged, whatever it lacks
  -t          the recipients stand in To, Cc and Bcc as well; Bcc is removed
  -i, -oi     a line with a single dot does not end the message
  -B TYPE     7BIT or 8BITMIME      -N WHEN   NOTIFY, such as never
  -R RET      full or hdrs          -V ENVID  ENVID
  -v          say under which id the message is queued, also as `sendmail`
  -C FILE     the configuration file, as --config
  -bs         speak SMTP on standard input and output
  -bp         list the queue; also as `mailq`
  A recipient may be a list, or have a name: 'a@example.org, Bo <b@example.org>'.
  Other options of sendmail that say nothing about delivery are accepted.";

/// `lazaret deferred …`
#[derive(Debug, Subcommand)]
pub enum DeferredCommand {
    /// List the messages in quarantine, oldest first
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show why a message is there, and what to do next
    Show {
        /// The message's id
        id: MessageId,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Try messages again: back to `incoming/`, all counts cleared
    Release {
        /// The messages' ids
        #[arg(required = true)]
        ids: Vec<MessageId>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give messages up: tell their senders, then delete them
    ///
    /// A sender is told who has not got the message, as far as NOTIFY asks for
    /// that. One that came from <> can't be bounced.
    #[command(verbatim_doc_comment)]
    Bounce {
        /// The messages' ids
        #[arg(required = true)]
        ids: Vec<MessageId>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete messages for good
    Delete {
        /// The messages' ids
        #[arg(required = true)]
        ids: Vec<MessageId>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// `lazaret config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say whether the configuration is right; if not: file, line, column, and what to do
    ///
    /// Looks at this machine as well, as the user who asks: whether there is enough
    /// memory, and whether the files and users that are named are there. What is wrong
    /// would keep the router from starting: exit status 78. Whether the spool can be
    /// had, and the addresses to listen on, only `lazaret run` finds out.
    #[command(verbatim_doc_comment)]
    Check {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show every value in force, and where it comes from
    Show {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// The parts of the work, by their words.
fn parts() -> impl TypedValueParser<Value = Part> {
    let words = Part::ALL.map(|part| PossibleValue::new(part.word()).help(part.help()));
    PossibleValuesParser::new(words).map(|word| {
        let part = Part::ALL.into_iter().find(|part| part.word() == word);
        part.expect("clap lets no other word through")
    })
}
