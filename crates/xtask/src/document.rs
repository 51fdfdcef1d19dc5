//! `docs/crash-safety.md`: a template and rows, and back again.
//!
//! The document holds nothing but this text and tables, so that what lies in the
//! tree can be held against what would be written. It must never be edited by
//! hand: a test finds that.

use std::fmt::Write;

use crate::row::Row;

/// The table of power cuts.
pub const POWER: &str = "power cuts";

/// Kills of a full run.
pub const KILLS: u64 = 10_000;

/// The column that says why a table is empty.
pub const NOT_RUN: &str = "not run";

/// What stands where a row has no such column.
const NO_CELL: &str = "–";

/// Tables whose rows come in any order, from tests that run side by side.
const ANY_ORDER: [&str; 2] = ["simulation", "deliberate errors"];

/// What stands above everything.
const TOP: &str = "\
# Crash safety, measured

<!-- Written whole by `cargo xtask crash-table`; a test finds every edit by hand. -->

What happens to mail when processes, or the machine, go down at the worst moment. Every table was printed by a run that
anybody can repeat:

    cargo xtask crash-table                 # everything: a quarter of an hour on two processors
    cargo xtask crash-table --kills 300     # the same with as few kills as in `cargo xtask check`

A seed is printed at the start; `LAZARET_SEED` draws the same kills again (though a machine never does the same twice).
";

/// A table and what is said about it.
struct Section {
    table: &'static str,
    heading: &'static str,
    text: &'static str,
}

const SECTIONS: [Section; 10] = [
    Section {
        table: "machine",
        heading: "Where it ran",
        text: "",
    },
    Section {
        table: "kills",
        heading: "Random kills",
        text: "\
Four spools side by side, each with a daemon under load: SMTP sessions, `lazaret submit` and files renamed into `drop/`, to
one recipient or several, into Maildirs and by SMTP to a next hop that now and then refuses a recipient. One message in
about 30 keeps a parser busy, one in 40 is poison. Each daemon was killed with SIGKILL at a random moment or right behind
an event that tells what it is doing (0 to 3 ms behind it), and followed by the next, on the same spool. Its cells,
`lazaret submit` and `lazaret deferred release` (with and without a daemon) were killed beside it. Every daemon that was
not killed in its start became ready.
",
    },
    Section {
        table: "states",
        heading: "What the kills cut",
        text: "\
What lay in a spool when its daemon had been killed: how many kills found something in that state, and how many
messages, all kills together.
",
    },
    Section {
        table: "mail",
        heading: "What became of the mail",
        text: "\
*Acknowledged*: the client has read 250, `lazaret submit` ended with 0, or the file was renamed into `drop/`.
*Delivered*: every recipient has it, and each copy is byte for byte what was sent. *Deferred*: it lies whole in
`deferred/`, with a report, for a cause that the run gave it. *Lost*: a recipient does not have it, and it is not in
quarantine. *Unaccounted*: anything else that has no explanation: a message under two ids, in part, in two places, with
a mark that no kill gave it, in quarantine for a cause that nothing gave it. *Cut short, and there all the same*: sent, but
the sender or the daemon was killed before the answer was read; such a message may be there, whole, or not at all.
In the end the spool was idle and `lazaret check` found nothing.
",
    },
    Section {
        table: "quarantine",
        heading: "What lies in quarantine",
        text: "\
`memory` and `tree` are the poison. `interrupted`: a daemon was killed twice while it was claimed;
`interrupted-delivery`: five times while it was delivered; `killed`: its cell was killed, and so was the next one. Each
was held against what the kills had cut before. `lazaret deferred release` took all but the poison out again, until the end.
",
    },
    Section {
        table: "repeats",
        heading: "What was delivered twice",
        text: "\
The window is described in [queue-layout.md](../queue-layout.md#repeats). *Found delivered and not noted*: how often a
kill found a message still in `outbound/` though a recipient had it and the journal did not say so. Only such a message
can be repeated; a Maildir repeats one only if its reader has taken the first file away. *Repeated by one kill, at most*: of
as many deliveries as the transport makes at a time. *Outside the window*: copies too many that no such kill explains.
",
    },
    Section {
        table: "windows",
        heading: "How long the window is",
        text: "\
From where a copy can be seen (a name in `new/`, the final dot at the next hop) to where the message is gone from
`outbound/`; one message after the other, nothing else to do. A power cut can bring back, beyond that, what was finished
in the last 100 ms.
",
    },
    Section {
        table: "simulation",
        heading: "Simulation",
        text: "\
The spool's own code on a disk in memory that loses, tears and reorders what was not synced
(`LAZARET_SIMULATION=long cargo test -p lazaret-spool simulation`): every crash point of short histories with every state
that the disk may be in, every change failing, and long histories drawn at random.
",
    },
    Section {
        table: "deliberate errors",
        heading: "What the simulation finds if the protocol is wrong",
        text: "\
The same with one deliberate error in the spool at a time.
",
    },
    Section {
        table: POWER,
        heading: "Power cuts",
        text: "\
The daemon on real file systems whose power is cut under it, and what it finds again after that. *Not mounted*: beside
the others, states in which the cut tore one of the file system's own writes into sectors and its driver refuses what is
left, so that there is nothing to ask the daemon. One that does not mount after any other cut counts as broken.
",
    },
];

/// The rows of all tables.
pub struct Document {
    rows: Vec<Row>,
}

impl Document {
    /// A document of these rows; those of tables that it does not have are left out.
    pub fn new(mut rows: Vec<Row>) -> Self {
        let what = |row: &Row| row.cells.first().cloned();
        rows.sort_by_cached_key(|row| ANY_ORDER.contains(&row.table.as_str()).then(|| what(row)));
        Self { rows }
    }

    fn rows(&self, table: &str) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.table == table)
    }

    fn sum(&self, table: &str, column: &str) -> u64 {
        self.rows(table).map(|row| row.number(column)).sum()
    }

    /// The whole text.
    pub fn text(&self) -> String {
        let mut text = format!("{TOP}\n{}", self.summary());
        for Section { table, heading, text: about } in &SECTIONS {
            let _ = write!(text, "\n## {heading}\n\n");
            if !about.is_empty() {
                let _ = writeln!(text, "{about}");
            }
            text += &self.table(table);
        }
        text
    }

    /// The sentence that most readers come for.
    fn summary(&self) -> String {
        format!(
            "**{} kills: {} messages acknowledged, {} delivered, {} deferred; {} lost, {} unaccounted, {} copies repeated, \
             {} of them outside the window.**\n",
            self.sum("kills", "kills"),
            self.sum("mail", "acknowledged"),
            self.sum("mail", "delivered"),
            self.sum("mail", "deferred"),
            self.sum("mail", "lost"),
            self.sum("mail", "unaccounted"),
            self.sum("repeats", "copies repeated"),
            self.sum("repeats", "outside the window"),
        )
    }

    fn table(&self, table: &str) -> String {
        let mut columns: Vec<&str> = Vec::new();
        for (name, _) in self.rows(table).flat_map(|row| &row.cells) {
            if !columns.contains(&name.as_str()) {
                columns.push(name);
            }
        }
        if columns.is_empty() {
            return "Nothing.\n".to_owned();
        }
        let line = |cells: &[&str]| format!("| {} |\n", cells.join(" | "));
        let mut text = line(&columns) + &line(&vec!["---"; columns.len()]);
        for row in self.rows(table) {
            let cells: Vec<&str> = columns.iter().map(|column| row.get(column).unwrap_or(NO_CELL)).collect();
            text += &line(&cells);
        }
        text
    }

    /// Reads the tables out of a document.
    ///
    /// # Errors
    /// A line of a table that has no heading, or too few cells.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut rows, mut section, mut columns): (_, Option<&Section>, Vec<&str>) =
            (Vec::new(), None, Vec::new());
        for line in text.lines() {
            if let Some(heading) = line.strip_prefix("## ") {
                section = SECTIONS.iter().find(|section| section.heading == heading);
                columns.clear();
            }
            let Some(cells) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else {
                continue;
            };
            let cells: Vec<&str> = cells.split(" | ").collect();
            let section = section.ok_or_else(|| format!("no heading above {line}"))?;
            if columns.is_empty() {
                columns = cells;
            } else if cells.len() != columns.len() {
                return Err(format!("{} cells instead of {} in {line}", cells.len(), columns.len()));
            } else if cells.iter().any(|cell| *cell != "---") {
                let cells = columns.iter().copied().zip(cells).filter(|(_, cell)| *cell != NO_CELL);
                rows.push(Row::new(section.table, &cells.collect::<Vec<_>>()));
            }
        }
        Ok(Self::new(rows))
    }

    /// Why this must not be the document of the project.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for Section { table, heading, .. } in &SECTIONS {
            if self.rows(table).next().is_none() {
                faults.push(format!("nothing under {heading}"));
            }
        }
        let kills = self.sum("kills", "kills");
        if kills < KILLS {
            faults.push(format!("{kills} kills instead of {KILLS}"));
        }
        for (table, column) in [
            ("mail", "lost"),
            ("mail", "unaccounted"),
            ("repeats", "outside the window"),
            ("simulation", "violations"),
            (POWER, "lost"),
            (POWER, "unaccounted"),
        ] {
            let sum = self.sum(table, column);
            if sum > 0 {
                faults.push(format!("{table}: {column}: {sum}"));
            }
        }
        for (table, column) in
            [("kills", "kills"), ("states", "kills"), ("deliberate errors", "violations found")]
        {
            let never = self.rows(table).filter(|row| row.number(column) == 0);
            faults.extend(never.map(|row| format!("{table}: never hit: {:?}", row.cells)));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_the_tree() -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/crash-safety.md");
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("failed to read {path:?}: {error}"))
    }

    #[test]
    fn the_document_in_the_tree_is_what_a_full_run_has_written() {
        let text = in_the_tree();
        let document = Document::parse(&text).unwrap();
        assert_eq!(document.faults(), Vec::<String>::new());
        assert_eq!(document.text(), text, "edited by hand? `cargo xtask crash-table --text` writes it anew");
    }

    #[test]
    fn a_stub_and_a_bad_figure_are_found() {
        assert!(!Document::parse(TOP).unwrap().faults().is_empty());
        assert_eq!(Document::new(Vec::new()).faults().len(), SECTIONS.len() + 1);
        let text = in_the_tree();
        assert!(
            Document::parse(&text.replacen("## What became of the mail", "## Something else", 1)).is_err()
        );
        let mut document = Document::parse(&text).unwrap();
        for (table, column) in [("mail", "lost"), ("mail", "unaccounted"), ("simulation", "violations")] {
            document.rows.push(Row::new(table, &[(column, "1")]));
            assert_eq!(document.faults(), [format!("{table}: {column}: 1")]);
            document.rows.pop();
        }
        document.rows.push(Row::new("states", &[("kills", "0")]));
        assert_eq!(document.faults().len(), 1);
    }

    #[test]
    fn rows_with_other_columns_stand_in_one_table() {
        let rows = vec![
            Row::new("simulation", &[("what", "a"), ("starts", "1"), ("violations", "0")]),
            Row::new("simulation", &[("what", "b"), ("lives", "2"), ("violations", "0")]),
        ];
        let text = Document::new(rows.clone()).text();
        assert!(text.contains("| what | starts | violations | lives |\n"), "{text}");
        let again = Document::parse(&text).unwrap();
        assert_eq!((again.text(), again.rows[0].clone()), (text, rows[0].clone()));
    }
}
