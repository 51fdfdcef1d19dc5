//! Landlock: a cell has no path, no TCP port, and nobody to signal.
//!
//! Every right that the kernel knows is taken, and no rule gives one back; there
//! must never be such a rule.

use ::landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};

use super::state::{JailState, Piece};

/// The newest rights that are asked for; older kernels take what they know.
const NEWEST: ABI = ABI::V9;

/// From here on files, TCP, signals and abstract sockets are covered.
const COMPLETE: ABI = ABI::V6;

/// Restricts this thread and those that it will start.
pub(super) fn restrict(state: &mut JailState) {
    let enforced = enforce();
    let newest = matches!(
        &enforced,
        Ok(RestrictionStatus { landlock: LandlockStatus::Available { effective_abi, .. }, .. })
            if *effective_abi >= COMPLETE
    );
    let at_all = enforced.is_ok_and(|status| status.ruleset != RulesetStatus::NotEnforced);
    state.note(Piece::Landlock, at_all.then_some(()).ok_or(()));
    state.note(Piece::LandlockNewer, (at_all && newest).then_some(()).ok_or(()));
}

fn enforce() -> Result<RestrictionStatus, RulesetError> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .restrict_self()
}
