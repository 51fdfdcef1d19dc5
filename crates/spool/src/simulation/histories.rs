//! The short histories: together, every step of `queue-layout.md`.
//!
//! Each is short on purpose, since every subset of what is not durable is gone
//! through at every point of it. A history must never depend on what a disk may
//! choose.

use super::explore::History;
use super::ledger::NOTICES;
use super::life::{Life, RECIPIENTS, Refusal, Step};
use crate::{Dir, INTERRUPTIONS_MAX};

/// All of them.
pub(super) const HISTORIES: &[History] = &[
    History { name: "two sessions accept", run: two_sessions },
    History { name: "a batch is claimed, routed and delivered", run: batch },
    History { name: "recipients are done one by one", run: one_by_one },
    History { name: "a next hop that is not asked for a while", run: stands_by },
    History { name: "a fault, and an operator who releases", run: fault_and_release },
    History { name: "a fault in delivery, and an operator who deletes", run: fault_and_delete },
    History { name: "a clean stop", run: clean_stop },
    History { name: "another worker delivers", run: another_worker },
    History { name: "a strike, then a verdict", run: strike },
    History { name: "an interruption, then delivery", run: interruption },
    History { name: "a strike, then a recipient is done", run: strike_and_note },
    History { name: "a strike, then a clean stop", run: strike_put_back },
    History { name: "cut short in delivery until it is enough", run: interruptions },
    History { name: "moves by hand", run: by_hand },
    History { name: "a move by hand to quarantine, and a delete", run: by_hand_and_delete },
    History { name: "the drop-box", run: drop_box },
    History { name: "a bad file in the drop-box", run: bad_drop },
    History { name: "accepted through the drop-box and delivered", run: drop_box_to_the_end },
    History { name: "a damaged message is repaired", run: damaged_and_repaired },
    History { name: "damage in quarantine is repaired", run: damaged_in_quarantine },
    History { name: "what was left over is repaired", run: left_over_and_repaired },
    History { name: "a refusal, of which the sender is told", run: refusal },
    History { name: "a refusal while another recipient waits", run: refusal_and_wait },
    History { name: "all expire, of which the sender is told", run: expiry },
    History { name: "a refused notice, and an operator who releases", run: refused_notice },
    History { name: "an operator bounces what was delivered in part", run: bounced },
    History { name: "a second name and a lost journal are repaired", run: twins_and_journal },
    History { name: "a copy of one generation is repaired", run: copy_of_one_generation },
];

fn two_sessions(life: &mut Life) -> Step {
    let (one, two) = (life.begin(1)?, life.begin(2)?);
    life.commit(2, two)?;
    life.commit(1, one)
}

fn batch(life: &mut Life) -> Step {
    life.accept(1)?;
    life.accept(2)?;
    let mut claims = life.claim(0, &[1, 2])?;
    let (two, one) = (claims.pop().expect("two"), claims.pop().expect("two"));
    let one = life.routed(1, one)?;
    let two = life.routed(2, two)?;
    life.done(1, one)?;
    life.done(2, two)?;
    life.flush()
}

fn one_by_one(life: &mut Life) -> Step {
    life.accept(1)?;
    let outbound = life.route(0, 1)?;
    life.note(1, &outbound, 1)?;
    life.wait(1, outbound)?;
    life.sim.world().pass(60);
    life.wake(1)?;
    let outbound = life.route(1, 1)?;
    life.note(1, &outbound, 2)?;
    life.done(1, outbound)?;
    life.flush()
}

fn stands_by(life: &mut Life) -> Step {
    life.accept(1)?;
    life.stand_by(1, life.route(0, 1)?)?;
    life.wake(1)?;
    life.done(1, life.route(1, 1)?)?;
    life.flush()
}

fn fault_and_release(life: &mut Life) -> Step {
    life.accept(1)?;
    life.fault(1, life.claim_one(0, 1)?)?;
    life.release(1)?;
    life.done(1, life.route(0, 1)?)?;
    life.flush()
}

fn fault_and_delete(life: &mut Life) -> Step {
    life.accept(1)?;
    let outbound = life.route(0, 1)?;
    life.note(1, &outbound, 1)?;
    life.fault_in_delivery(1, outbound)?;
    life.delete(1)
}

fn clean_stop(life: &mut Life) -> Step {
    life.accept(1)?;
    life.accept(2)?;
    let mut claims = life.claim(0, &[1, 2])?;
    let two = claims.pop().expect("two");
    life.stop_delivery(1, life.routed(1, claims.pop().expect("two"))?)?;
    life.put_back(2, two)?;
    life.stop()
}

fn another_worker(life: &mut Life) -> Step {
    life.accept(1)?;
    life.put_back(1, life.claim_one(0, 1)?)?;
    let outbound = life.route(1, 1)?;
    life.stop_delivery(1, outbound)?;
    life.done(1, life.route(0, 1)?)?;
    life.flush()
}

/// The process is killed; its next life goes on.
fn killed(life: &mut Life) -> Step {
    let sim = life.sim.clone();
    sim.world().process_died();
    *life = Life::start(&sim)?;
    super::explore::decide(&sim);
    Ok(())
}

fn strike(life: &mut Life) -> Step {
    life.accept(1)?;
    drop(life.claim_one(0, 1)?);
    killed(life)?;
    life.done(1, life.route(0, 1)?)?;
    life.flush()
}

fn strike_and_note(life: &mut Life) -> Step {
    life.accept(1)?;
    drop(life.claim_one(0, 1)?);
    killed(life)?;
    let outbound = life.route(0, 1)?;
    life.note(1, &outbound, 1)?;
    life.wait(1, outbound)
}

fn strike_put_back(life: &mut Life) -> Step {
    life.accept(1)?;
    drop(life.claim_one(0, 1)?);
    killed(life)?;
    life.put_back(1, life.claim_one(1, 1)?)?;
    life.stop()
}

fn interruptions(life: &mut Life) -> Step {
    life.accept(1)?;
    for _ in 0..INTERRUPTIONS_MAX {
        drop(life.route(0, 1)?);
        killed(life)?;
    }
    life.name(Dir::Deferred, 1).map(drop)
}

fn interruption(life: &mut Life) -> Step {
    life.accept(1)?;
    let outbound = life.route(0, 1)?;
    life.note(1, &outbound, 1)?;
    drop(outbound);
    killed(life)?;
    life.done(1, life.route(1, 1)?)?;
    life.flush()
}

fn by_hand(life: &mut Life) -> Step {
    life.accept(1)?;
    life.fault(1, life.claim_one(0, 1)?)?;
    life.by_hand(1, Dir::Deferred, Dir::Waiting)?;
    life.by_hand(1, Dir::Waiting, Dir::Incoming)?;
    life.done(1, life.route(0, 1)?)?;
    life.flush()
}

fn by_hand_and_delete(life: &mut Life) -> Step {
    life.accept(1)?;
    life.by_hand(1, Dir::Incoming, Dir::Deferred)?;
    life.delete(1)
}

fn drop_box(life: &mut Life) -> Step {
    life.submit(1)?;
    life.take_in()
}

fn bad_drop(life: &mut Life) -> Step {
    life.drop_in(1, "no envelope. Mail 1.\n")?;
    life.take_in()
}

fn drop_box_to_the_end(life: &mut Life) -> Step {
    life.submit(1)?;
    life.take_in()?;
    life.done(1, life.route(0, 1)?)?;
    life.flush()
}

fn damaged_and_repaired(life: &mut Life) -> Step {
    life.accept(1)?;
    life.accept(2)?;
    life.damage(1, Dir::Incoming)?;
    life.repair()?;
    life.done(2, life.route(0, 2)?)?;
    life.flush()
}

fn damaged_in_quarantine(life: &mut Life) -> Step {
    life.accept(1)?;
    life.fault(1, life.claim_one(0, 1)?)?;
    life.damage(1, Dir::Deferred)?;
    life.repair()
}

/// An unfinished message, and a report whose message has left by hand.
fn left_over_and_repaired(life: &mut Life) -> Step {
    life.accept(1)?;
    life.fault(1, life.claim_one(0, 1)?)?;
    life.by_hand(1, Dir::Deferred, Dir::Incoming)?;
    life.leave_in_tmp(2);
    life.repair()?;
    life.done(1, life.route(0, 1)?)?;
    life.flush()
}

fn refusal(life: &mut Life) -> Step {
    life.accept(1)?;
    let outbound = life.route(0, 1)?;
    life.refuse(1, &outbound.history(), &[1], Refusal::Refused)?;
    life.finish(1, outbound)?;
    life.flush()
}

/// All were tried for long enough, and another one refused before.
fn expiry(life: &mut Life) -> Step {
    life.accept(1)?;
    let outbound = life.route(0, 1)?;
    life.refuse(1, &outbound.history(), &RECIPIENTS, Refusal::Expired)?;
    life.finish(1, outbound)?;
    life.flush()
}

/// A notice that is refused is left to a person, who has it tried again.
fn refused_notice(life: &mut Life) -> Step {
    const NOTICE: u32 = NOTICES;
    refusal(life)?;
    let outbound = life.route(0, NOTICE)?;
    life.refuse(NOTICE, &outbound.history(), &[2], Refusal::Refused)?;
    life.finish(NOTICE, outbound)?;
    life.release(NOTICE)?;
    life.finish(NOTICE, life.route(0, NOTICE)?)?;
    life.flush()
}

fn bounced(life: &mut Life) -> Step {
    life.accept(1)?;
    let outbound = life.route(0, 1)?;
    life.note(1, &outbound, 1)?;
    life.fault_in_delivery(1, outbound)?;
    life.bounce(1)
}

fn refusal_and_wait(life: &mut Life) -> Step {
    life.accept(1)?;
    let outbound = life.route(0, 1)?;
    life.refuse(1, &outbound.history(), &[1], Refusal::Refused)?;
    life.tell(1, &outbound.history())?;
    life.wait(1, outbound)?;
    life.sim.world().pass(60);
    life.wake(1)?;
    let outbound = life.route(1, 1)?;
    life.note(1, &outbound, 2)?;
    life.finish(1, outbound)?;
    life.flush()
}

/// A copy made by hand, and the journal of a message that is nowhere.
fn twins_and_journal(life: &mut Life) -> Step {
    life.accept(1)?;
    let outbound = life.route(0, 1)?;
    life.note(1, &outbound, 1)?;
    life.wait(1, outbound)?;
    life.copy_by_hand(1, Dir::Waiting, Dir::Incoming)?;
    life.leave_a_journal();
    life.repair()
}

/// A copy made by hand under the same name: the message is delivered once.
fn copy_of_one_generation(life: &mut Life) -> Step {
    life.accept(1)?;
    let outbound = life.route(0, 1)?;
    life.note(1, &outbound, 1)?;
    life.wait(1, outbound)?;
    life.copy_with_its_name(1, Dir::Waiting, Dir::Incoming)?;
    life.repair()?;
    life.sim.world().pass(60);
    life.wake(1)?;
    let outbound = life.route(1, 1)?;
    life.note(1, &outbound, 2)?;
    life.done(1, outbound)?;
    life.flush()
}
