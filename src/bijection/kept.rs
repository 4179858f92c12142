//! What a conditioned layer computes on its way forward, and keeps for the way back if it is asked to.

use super::transformer::Transformer;
use crate::conditioner::{Conditioner, Units, take};

/// The network's numbers and the knots that they mean.
pub(super) struct Kept<'s, R> {
    pub(super) units: Units<'s, R>,
    /// Outputs of the network; of one step after the other where nothing is kept.
    pub(super) outputs: &'s mut [R],
    /// What the outputs of each map are turned into; of one map after the other where nothing is kept.
    pub(super) packed: &'s mut [R],
    /// Whether there is a way back.
    pub(super) keep: bool,
}

impl<'s, R> Kept<'s, R> {
    /// In `kept` all that the way back needs; where that is empty, in `scratch` what a pass needs.
    #[inline(always)]
    pub(super) fn in_either(
        passing: Room,
        keeping: Room,
        kept: &'s mut [R],
        scratch: &'s mut [R],
    ) -> Self {
        let (room, mut buffer) = match kept {
            [] => (passing, scratch),
            _ => (keeping, kept),
        };
        room.take(&mut buffer)
    }
}

/// Room for what [`Kept`] holds, in numbers.
#[derive(Clone, Copy)]
pub(super) struct Room {
    inputs: usize,
    active: usize,
    before: usize,
    outputs: usize,
    packed: usize,
    keep: bool,
}

impl Room {
    /// For a pass that leaves nothing.
    pub(super) fn passing(transformer: Transformer, network: Conditioner) -> Self {
        Self {
            inputs: network.input_len(),
            active: network.unit_len(),
            before: network.before_len(),
            outputs: network.output_len(),
            packed: transformer.packed_len(),
            keep: false,
        }
    }

    /// For a pass that leaves all that the gradient of `maps` numbers' maps needs.
    pub(super) fn keeping(transformer: Transformer, network: Conditioner, maps: usize) -> Self {
        Self {
            before: network.kept_before_len(),
            outputs: maps * transformer.output_len(),
            packed: maps * transformer.packed_len(),
            keep: true,
            ..Self::passing(transformer, network)
        }
    }

    pub(super) fn len(self) -> usize {
        self.inputs + self.active + self.before + self.outputs + self.packed
    }

    /// Cuts it off the front of `buffer`.
    #[inline(always)]
    pub(super) fn take<'s, R>(self, buffer: &mut &'s mut [R]) -> Kept<'s, R> {
        let inputs = take(buffer, self.inputs);
        let active = take(buffer, self.active);
        let before = take(buffer, self.before);
        let outputs = take(buffer, self.outputs);
        let packed = take(buffer, self.packed);
        Kept { units: Units { inputs, active, before }, outputs, packed, keep: self.keep }
    }
}
