//! Whose turn it is, case by case.
//!
//! Values only; no case may wait.

use super::*;
use lazaret_envelope::MessageId;

const SUSPICION: Suspicion = Suspicion { repetitive: true, size: 10 };

fn name(millis: u64) -> Name {
    Name::first(MessageId::from_parts(millis, 0))
}

fn struck(millis: u64) -> Name {
    Name { strikes: 1, ..name(millis) }
}

/// As after a look into an empty directory.
fn state(workers: usize, slow_places: usize) -> State {
    let mut state = State::new(workers, slow_places);
    state.start_scan();
    state
}

/// What is handed out, in a word.
fn taken(state: &mut State) -> Option<(&'static str, Vec<Name>)> {
    Some(match state.take(Instant::now())? {
        Next::Batch(names) => ("batch", names),
        Next::Second(name) => ("second", vec![name]),
        Next::Slow(name) => ("slow", vec![name]),
        Next::Struck(name) => ("struck", vec![name]),
        other => panic!("{other:?} is not claimed"),
    })
}

fn takes_long(state: &mut State) -> Result<Pace, GivesWay> {
    state.delayed(Pace::Quick, Delay::TakesLong)
}

#[test]
fn mail_goes_out_in_batches_oldest_first() {
    let mut state = state(1, 1);
    let names: Vec<Name> = (0..20).map(name).collect();
    names.iter().rev().for_each(|&name| state.insert(name));
    assert_eq!(state.first(), Some(names[0]));
    assert_eq!(taken(&mut state), Some(("batch", names[..16].to_vec())));
    assert_eq!(taken(&mut state), None, "the one worker is busy");
    state.finished();
    assert_eq!(taken(&mut state), Some(("batch", names[16..].to_vec())));
    state.finished();
    assert!(state.is_empty() && state.is_idle());
}

#[test]
fn what_lingers_holds_up_no_other_mail_once_for_each_worker() {
    let mut state = state(1, 1);
    state.insert(name(1));
    assert!(taken(&mut state).is_some());
    assert_eq!(state.delayed(Pace::Quick, Delay::Lingers), Ok(Pace::Lingering));
    state.insert(name(2));
    assert!(taken(&mut state).is_some(), "another worker goes on");
    assert_eq!(state.delayed(Pace::Quick, Delay::Lingers), Ok(Pace::Quick), "no more than there are workers");
    state.insert(name(3));
    assert_eq!(taken(&mut state), None);
    assert_eq!(state.delayed(Pace::Lingering, Delay::TakesLong), Ok(Pace::Second));
    assert_eq!(state.delayed(Pace::Quick, Delay::Lingers), Ok(Pace::Lingering), "the place is free again");
    assert_eq!(
        state.delayed(Pace::Second, Delay::TakesLong),
        Ok(Pace::Second),
        "and told twice is told once"
    );
    state.leave(Pace::Second);
    state.leave(Pace::Lingering);
    state.finished();
    state.finished();
    assert!(state.is_idle());
}

#[test]
fn a_slow_message_goes_on_beside_others_while_there_is_a_place() {
    let mut state = state(1, 1);
    (1..=3).for_each(|millis| {
        state.insert(name(millis));
        assert_eq!(taken(&mut state), Some(("batch", vec![name(millis)])), "another worker goes on");
        assert_eq!(taken(&mut state), None);
        let place = match millis {
            1 => Ok(Pace::Second),
            2 => Ok(Pace::Slow),
            _ => Err(GivesWay::Once),
        };
        assert_eq!(takes_long(&mut state), place);
    });
    state.park(name(3).next(), SUSPICION, GivesWay::Once);
    state.finished();
    assert_eq!(taken(&mut state), None, "what gave way waits for a place");
    assert_eq!(state.delayed(Pace::Second, Delay::TakesVeryLong), Err(GivesWay::Twice));
    assert_eq!(state.delayed(Pace::Quick, Delay::TakesVeryLong), Err(GivesWay::Twice), "at once");
    state.leave(Pace::Second);
    state.park(name(1).next(), SUSPICION, GivesWay::Twice);
    state.finished();
    assert_eq!(taken(&mut state), Some(("second", vec![name(3).next()])));
    state.insert(name(4));
    assert_eq!(taken(&mut state), Some(("batch", vec![name(4)])), "and holds up no other");
    assert_eq!(taken(&mut state), None, "the first looked at is not looked at again");
    state.leave(Pace::Slow);
    state.finished();
    assert_eq!(taken(&mut state), Some(("slow", vec![name(1).next()])));
    state.leave(Pace::Slow);
    state.finished();
    assert_eq!(state.delayed(Pace::Second, Delay::TakesVeryLong), Ok(Pace::Slow), "it moves up");
}

#[test]
fn it_is_others_turn_while_there_is_other_mail() {
    let (mut state, now) = (state(1, 1), Instant::now());
    assert_eq!(state.turn(Pace::Second, now), Turn::Its);
    state.insert(name(1));
    assert!(state.take(now).is_some());
    assert_eq!(state.turn(Pace::Second, now + 2 * BUSTLE), Turn::Others, "a worker is at it");
    state.finished();
    let lately = state.turn(Pace::Second, now + BUSTLE / 2);
    assert_eq!(lately, Turn::Others, "it is delivered now, and more may come");
    assert_eq!(state.turn(Pace::Second, now + 2 * BUSTLE), Turn::Its);
    state.insert(name(2));
    assert!(state.take(now).is_some());
    state.insert(struck(3));
    assert_eq!(state.turn(Pace::Second, now), Turn::Its, "the struck one waits for its end");
}

#[test]
fn notice_of_what_gives_way_is_no_news() {
    let mut state = state(1, 1);
    let names @ [before, between, after] = [1, 2, 3].map(name);
    names.iter().for_each(|&name| state.gives_way(name));
    state.insert(before);
    names.iter().for_each(|&name| state.park(name, SUSPICION, GivesWay::Once));
    state.insert(between);
    for name in names {
        assert_eq!(taken(&mut state), Some(("second", vec![name])), "and nothing else");
        state.leave(Pace::Second);
        state.finished();
    }
    state.insert(after);
    assert_eq!(taken(&mut state), None, "its notice is late, and it is in hand");
    state.start_scan();
    state.gives_way(before);
    state.found(before);
    assert_eq!(taken(&mut state), None, "it lies there already, and is not parked yet");
}

#[test]
fn while_there_is_no_other_mail_there_are_as_many_second_looks_as_workers() {
    let (mut state, now) = (state(2, 1), Instant::now());
    state.insert(name(9));
    assert!(matches!(state.take(now), Some(Next::Batch(_))));
    (1..=4).for_each(|millis| state.park(name(millis), SUSPICION, GivesWay::Once));
    assert!(matches!(state.take(now), Some(Next::Second(_))));
    assert!(state.take(now).is_none(), "one at a time beside other mail");
    state.finished();
    assert!(state.take(now + BUSTLE / 2).is_none(), "there may be more");
    assert!(matches!(state.take(now + 2 * BUSTLE), Some(Next::Second(_))));
    assert!(state.take(now + 2 * BUSTLE).is_none());
}

#[test]
fn second_looks_go_before_what_takes_as_long_as_it_takes() {
    let (mut state, now) = (state(1, 1), Instant::now());
    assert_eq!(state.turn(Pace::Slow, now), Turn::Its);
    state.park(name(1), SUSPICION, GivesWay::Once);
    assert_eq!([Pace::Slow, Pace::Second].map(|pace| state.turn(pace, now)), [Turn::Others, Turn::Its]);
    assert_eq!(taken(&mut state), Some(("second", vec![name(1)])));
    assert_eq!(state.turn(Pace::Slow, now), Turn::Others, "it is being looked at");
    state.leave(Pace::Second);
    state.finished();
    assert_eq!(state.turn(Pace::Slow, now), Turn::Its);
}

#[test]
fn what_is_parked_is_in_no_other_queue() {
    let mut state = state(1, 1);
    state.insert(name(0));
    assert!(taken(&mut state).is_some() && takes_long(&mut state).is_ok());
    state.gives_way(name(1));
    state.insert(name(1));
    state.park(name(1), SUSPICION, GivesWay::Once);
    state.insert(name(1));
    state.start_scan();
    state.found(name(1));
    assert_eq!(taken(&mut state), None);
    assert_eq!(state.first(), Some(name(1)));
    // An operator took it out and put it back: it is another name.
    state.found(name(1).next());
    assert_eq!(taken(&mut state), Some(("batch", vec![name(1).next()])));
}

#[test]
fn without_slow_places_a_message_keeps_its_worker() {
    let mut state = state(2, 0);
    assert_eq!([takes_long(&mut state), takes_long(&mut state)], [Ok(Pace::Slow); 2]);
}

#[test]
fn the_struck_are_alone_and_not_starved_by_slow_mail() {
    let mut state = state(2, 2);
    state.insert(name(1));
    assert!(taken(&mut state).is_some() && takes_long(&mut state).is_ok());
    state.park(name(2), SUSPICION, GivesWay::Twice);
    state.insert(struck(3));
    assert_eq!(taken(&mut state), None, "no slow one starts, and the struck one waits for the other");
    state.leave(Pace::Second);
    state.finished();
    assert_eq!(taken(&mut state), Some(("struck", vec![struck(3)])));
    assert_eq!(taken(&mut state), None, "it is alone");
    state.finished_struck();
    assert_eq!(taken(&mut state), Some(("slow", vec![name(2)])));
}

#[test]
fn other_workers_begin_with_a_look_and_an_operators_pause_goes_on() {
    let mut state = state(1, 1);
    state.insert(name(1));
    assert!(taken(&mut state).is_some() && takes_long(&mut state).is_ok());
    state.park(name(1), SUSPICION, GivesWay::Once);
    (state.paused, state.storm, state.stopped) = (true, true, true);
    state.restart(2, 0);
    assert!((state.paused, state.storm, state.stopped) == (true, false, false));
    assert!(state.wants_scan() && state.is_empty() && state.is_idle());
    state.start_scan();
    (1..=34).map(name).for_each(|name| state.found(name));
    assert_eq!(taken(&mut state).unwrap().1.len(), BATCH_MAX);
    assert_eq!(taken(&mut state).unwrap().1.len(), BATCH_MAX);
    assert_eq!(taken(&mut state), None, "two workers, no place beside them");
}

#[test]
fn the_struck_and_other_mail_take_turns() {
    let mut state = state(1, 1);
    (0..20).map(name).chain([struck(100), struck(101)]).for_each(|name| state.insert(name));
    let mut turns = Vec::new();
    while let Some((turn, _)) = taken(&mut state) {
        turns.push(turn);
        if turn == "struck" { state.finished_struck() } else { state.finished() }
    }
    assert_eq!(turns, ["struck", "batch", "struck", "batch"]);
}
