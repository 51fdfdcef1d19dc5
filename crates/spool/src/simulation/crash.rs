//! What a power cut can make of a disk: every state that the assumptions of
//! `queue-layout.md` allow, or one of them drawn at random.
//!
//! Of each name any number of its undurable changes may have become durable, of
//! each file its undurable bytes may be there, missing, zero or torn. No state
//! must come out of here that loses a rename at both ends.

use std::collections::BTreeMap;

use super::disk::{Bytes, Inode, Key, Slot, State};
use super::random::Random;

/// Most states that one crash point of a short history may have: beyond, the
/// history is not short.
const STATES_MAX: usize = 20_000;

/// How many of a name's changes became durable.
type Kept = BTreeMap<Key, usize>;

impl State {
    /// Every state that a power cut can leave.
    pub(super) fn power_cuts(&self) -> Vec<Self> {
        let mut choices = Vec::new();
        let mut pending: Vec<(&Key, &Slot)> =
            self.slots.iter().filter(|(_, slot)| !slot.changes.is_empty()).collect();
        // The halves of a rename next to each other: contradictions end early.
        pending.sort_by_key(|(_, slot)| slot.first_serial());
        self.choose(&pending, &mut Kept::new(), &mut choices);
        let states: Vec<Self> = choices.iter().flat_map(|kept| self.with_bytes(self.keep(kept))).collect();
        assert!(states.len() <= STATES_MAX, "{} states: the history is too long", states.len());
        states
    }

    fn choose(&self, pending: &[(&Key, &Slot)], kept: &mut Kept, choices: &mut Vec<Kept>) {
        let Some(((key, slot), rest)) = pending.split_first() else {
            choices.push(kept.clone());
            return;
        };
        for count in 0..=slot.changes.len() {
            kept.insert((*key).clone(), count);
            if kept.keys().all(|key| self.missing(key, kept).is_none()) {
                self.choose(rest, kept, choices);
            }
        }
        kept.remove(*key);
    }

    /// What the kept changes of a name need, if a choice was made against it.
    fn missing(&self, key: &Key, kept: &Kept) -> Option<(Key, usize)> {
        let removals = self.slots[key].changes[..kept[key]].iter();
        removals.filter_map(|change| change.needs.as_ref()).find_map(|(other, serial)| {
            let needed = self.slots.get(other)?.position(*serial)? + 1;
            (*kept.get(other)? < needed).then(|| (other.clone(), needed))
        })
    }

    /// The disk with the kept changes only; the bytes of files are still open.
    fn keep(&self, kept: &Kept) -> Self {
        let mut state = self.clone();
        for (key, slot) in &mut state.slots {
            if let Some(count) = kept.get(key).copied().and_then(|count| count.checked_sub(1)) {
                slot.base = slot.changes[count].value;
            }
            slot.changes.clear();
        }
        state.slots.retain(|_, slot| slot.base.is_some());
        let named: Vec<u64> = state.slots.values().filter_map(|slot| slot.base).collect();
        state.inodes.retain(|inode, _| named.contains(inode));
        state
    }

    /// The same with everything that may have become of the files' bytes.
    fn with_bytes(&self, state: Self) -> Vec<Self> {
        let mut states = vec![state];
        let files: Vec<u64> = states[0].inodes.keys().copied().collect();
        for number in files {
            let fates = fates(&self.inodes[&number]);
            states = states
                .iter()
                .flat_map(|state| fates.iter().map(|bytes| state.with_file(number, bytes)))
                .collect();
        }
        states
    }

    fn with_file(&self, number: u64, bytes: &Bytes) -> Self {
        let mut state = self.clone();
        state.settle_file(number, bytes.clone());
        state
    }

    /// The least that a power cut can leave: nothing but what is durable.
    pub(super) fn least(&self) -> Self {
        self.cut(&Kept::new(), |file| file.durable.clone())
    }

    /// Both ends of every rename, and nothing removed.
    pub(super) fn both_names(&self) -> Self {
        let keep = |slot: &Slot| slot.changes.iter().rposition(|change| change.value.is_some());
        let kept = self.slots.iter().filter_map(|(key, slot)| Some((key.clone(), keep(slot)? + 1)));
        let mut kept: Kept = kept.collect();
        self.repair(&mut kept);
        self.cut(&kept, Inode::persisted)
    }

    /// A state that a power cut can leave, drawn at random.
    pub(super) fn any_cut(&self, random: &mut Random) -> Self {
        let habit = random.below(4);
        let mut draw = |most: usize| match habit {
            0 => 0,
            1 => most,
            _ => random.below(most + 1),
        };
        let mut kept: Kept =
            self.slots.iter().map(|(key, slot)| (key.clone(), draw(slot.changes.len()))).collect();
        self.repair(&mut kept);
        let fates: BTreeMap<u64, Bytes> = (self.inodes.iter())
            .map(|(number, file)| {
                let fates = fates(file);
                (*number, fates[random.below(fates.len())].clone())
            })
            .collect();
        let mut state = self.keep(&kept);
        let named: Vec<u64> = state.inodes.keys().copied().collect();
        named.into_iter().for_each(|number| state.settle_file(number, fates[&number].clone()));
        state
    }

    /// Keeps what the kept changes need.
    fn repair(&self, kept: &mut Kept) {
        for key in self.slots.keys() {
            kept.entry(key.clone()).or_insert(0);
        }
        while let Some((key, needed)) = self.slots.keys().find_map(|key| self.missing(key, kept)) {
            kept.insert(key, needed);
        }
    }

    fn cut(&self, kept: &Kept, bytes: impl Fn(&Inode) -> Bytes) -> Self {
        let mut state = self.keep(kept);
        let named: Vec<u64> = state.inodes.keys().copied().collect();
        named.into_iter().for_each(|number| state.settle_file(number, bytes(&self.inodes[&number])));
        state
    }
}

/// What may be there of a file's bytes.
fn fates(file: &Inode) -> Vec<Bytes> {
    let whole = file.persisted();
    if whole == file.durable && file.cached == file.durable {
        return vec![whole];
    }
    let same = file.durable.iter().zip(whole.iter()).take_while(|(a, b)| a == b).count();
    let mut zero = whole.to_vec();
    zero[same..].fill(0);
    let torn = whole[..same + (whole.len() - same) / 2].to_vec();
    let cut = whole[..same].to_vec();
    let mut fates = vec![file.durable.clone(), whole, Bytes::new(cut), Bytes::new(torn), Bytes::new(zero)];
    for place in (1..fates.len()).rev() {
        if fates[..place].contains(&fates[place]) {
            fates.remove(place);
        }
    }
    fates
}
