//! Random kills under load: of the daemon, its cells, `lazaret submit` and
//! operator's commands, and what must hold of every message through all of it.
//!
//! A [`campaign`] runs one spool: [`load`] sends mail, [`moment`] chooses when
//! the daemon dies, [`census`] reads what each kill left, and [`account`] says in
//! the end what became of each message. What is killed is always a process that
//! a campaign started, or a child of one.

pub mod account;
pub mod campaign;
pub mod census;
pub mod copies;
pub mod ledger;
mod load;
mod moment;
mod stage;
pub mod window;
