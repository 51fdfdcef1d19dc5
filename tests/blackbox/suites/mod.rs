//! The list of suites. A suite that is not listed here must never exist.

mod advice;
mod bad_input;
mod bench;
mod blame;
mod bounce;
mod budget;
mod check;
mod commands;
mod config;
mod costs;
mod crash;
mod dovecot;
mod exim;
mod faults;
mod harness;
mod interop;
mod listeners;
mod loops;
mod mail;
mod nexthop;
mod nexthop_sasl;
mod nexthop_tls;
mod noise;
mod notices;
mod operator;
mod pipe;
mod poison;
mod postfix;
mod power;
mod pressure;
mod recipients;
mod recipients_in;
mod reload;
mod sandwich;
mod sendmail;
mod service;
mod signed;
mod smuggling;
mod smuggling_onward;
mod storm;

use crate::trial::Case;

/// Every case of every suite.
pub fn all() -> Vec<Case> {
    let suites = [
        harness::cases(),
        mail::cases(),
        nexthop::cases(),
        nexthop_tls::cases(),
        nexthop_sasl::cases(),
        bad_input::cases(),
        operator::cases(),
        config::cases(),
        commands::cases(),
        advice::cases(),
        pipe::cases(),
        service::cases(),
        bounce::cases(),
        loops::cases(),
        check::cases(),
        interop::cases(),
        listeners::cases(),
        smuggling::cases(),
        noise::cases(),
        postfix::cases(),
        sandwich::cases(),
        signed::cases(),
        smuggling_onward::cases(),
        exim::cases(),
        notices::cases(),
        dovecot::cases(),
        sendmail::cases(),
        poison::cases(),
        budget::cases(),
        storm::cases(),
        recipients::cases(),
        recipients_in::cases(),
        reload::cases(),
        pressure::cases(),
        blame::cases(),
        costs::cases(),
        bench::cases(),
        crash::cases(),
        faults::cases(),
        power::cases(),
    ];
    suites.into_iter().flatten().collect()
}
