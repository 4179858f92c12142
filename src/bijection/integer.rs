//! The map of a conditioned layer whose network computes in whole numbers.
//!
//! # Formula
//!
//! An axis of a rational-quadratic spline is cut into parts, whole numbers: 2¹⁶ times the softmax before
//! its division, and the floor. The number's bin is found by their running sum; only that bin's six
//! numbers become floating-point ones, and from there on the spline is the one that
//! [`super::rational_quadratic`] describes. Other maps get the outputs as `f32`.
//!
//! However coarse the outputs are, the map increases and its slope is that of this very map: the density
//! stays exact.

use super::knots::{Bin, MIN_SLOPE, X, Y};
use super::rational_quadratic::RationalQuadratic;
use super::spline::Piece;
use super::transformer::{CONSTANTS, Transformer};
use super::walk::{Walk, stride};
use crate::conditioner::integer::{MAX_UNIT, OUTPUT_STEP, whole};
use crate::conditioner::{Conditioner, Units, fixed, take};
use crate::weights::Packed;

/// A network of 8-bit weights under way.
pub(super) struct Integer<'s, 'm> {
    transformer: Transformer,
    network: Conditioner,
    constants: [f32; CONSTANTS],
    /// 1 over the length of the spline's interval.
    per_range: f32,
    /// `constants[2]` as an output.
    end: i32,
    /// The smallest share of a bin, 2¹⁶ being what the softmax shares out.
    floor: u32,
    scale: f32,
    /// Rows of the next step, and what follows.
    w: &'m [u32],
    units: Units<'s, i32>,
    outputs: &'s mut [i32],
    /// Knots of one number where its map reads the outputs as `f32`.
    packed: &'s mut [f32],
    stride: usize,
}

/// Numbers of scratch space beside the units'.
fn packed_len(transformer: Transformer) -> usize {
    if transformer.has_integer_form() { 0 } else { transformer.packed_len() }
}

/// Numbers of scratch space.
pub(super) fn scratch_len(transformer: Transformer, network: Conditioner) -> usize {
    let units = network.input_len() + network.unit_len() + network.before_len();
    units + network.output_len() + packed_len(transformer)
}

impl<'s, 'm> Integer<'s, 'm> {
    #[inline(always)]
    pub(super) fn new(
        transformer: Transformer,
        network: Conditioner,
        constants: [f32; CONSTANTS],
        w: Packed<'m>,
        mut scratch: &'s mut [f32],
    ) -> Self {
        let packed = take(&mut scratch, packed_len(transformer));
        let mut scratch: &mut [i32] = bytemuck::must_cast_slice_mut(scratch);
        let inputs = take(&mut scratch, network.input_len());
        let active = take(&mut scratch, network.unit_len());
        let before = take(&mut scratch, network.before_len());
        let outputs = take(&mut scratch, network.output_len());
        let [low, high, end] = constants;
        // The floor m of K bins is m/(1 − m K) of the rest; m = 1e-3.
        let rest = 1000_u32.saturating_sub(transformer.bins() as u32).max(1);
        Self {
            per_range: 1.0 / (high - low),
            end: whole(end * (1.0 / OUTPUT_STEP), fixed::MAX_OUTPUT),
            floor: (1 << 16) / rest,
            scale: w.get(0),
            w: w.words().get(1..).unwrap_or(&[]),
            stride: stride(outputs.len(), transformer.output_len()),
            units: Units { inputs, active, before },
            transformer,
            network,
            constants,
            outputs,
            packed,
        }
    }

    /// The bin of `v` along `axis`; turns logits into parts.
    #[inline(always)]
    fn find(
        [low, high, _]: [f32; CONSTANTS],
        (per_range, end, floor): (f32, i32, u32),
        outputs: &mut [i32],
        bins: usize,
        v: f32,
        axis: usize,
    ) -> Option<Bin<f32>> {
        let (widths, rest) = outputs.split_at_mut_checked(bins)?;
        let (heights, slopes) = rest.split_at_mut_checked(bins)?;
        let totals = [fixed::shares(widths, floor), fixed::shares(heights, floor)];
        let axes = [&*widths, &*heights];
        let along = *axes.get(axis)?;
        let place = ((v - low) * per_range * totals[axis] as f32) as u32;
        let (mut k, mut sum) = (0, 0);
        for part in along.iter().take(bins - 1) {
            let next = sum + *part as u32;
            if next > place {
                break;
            }
            (k, sum) = (k + 1, next);
        }
        let range = high - low;
        let edges = |axis: usize| {
            let unit = range / totals[axis] as f32;
            let start: u32 = axes[axis].iter().take(k).map(|part| *part as u32).sum();
            let stop = start + *axes[axis].get(k).unwrap_or(&0) as u32;
            let last = k + 1 == bins;
            (low + start as f32 * unit, if last { high } else { low + stop as f32 * unit })
        };
        let ((x0, x1), (y0, y1)) = (edges(X), edges(Y));
        let slope = |j: usize| {
            let free = j.checked_sub(1).and_then(|j| slopes.get(j)).unwrap_or(&end);
            MIN_SLOPE as f32 + fixed::softplus(*free)
        };
        Some(Bin { k, x0, y0, d0: slope(k), x1, y1, d1: slope(k + 1), lambda: 0.5 })
    }
}

impl Walk<f32> for Integer<'_, '_> {
    #[inline(always)]
    fn zero(&self) -> f32 {
        0.0
    }
    #[inline(always)]
    fn read(&mut self, start: usize, x: &[f32]) {
        let inputs = self.units.inputs.get_mut(start..).unwrap_or_default();
        for (input, x) in inputs.iter_mut().zip(x) {
            *input = whole(*x * self.scale, MAX_UNIT);
        }
    }
    #[inline(always)]
    fn step(&mut self, known: usize) {
        self.network.unlock_integer(&mut self.w, known, &mut self.units);
        self.network.outputs_integer(&mut self.w, known, &self.units, self.outputs);
    }
    #[inline(always)]
    fn map<const INVERSE: bool>(&mut self, i: usize, x: f32) -> (f32, f32) {
        let Self { transformer, constants, per_range, end, floor, .. } = *self;
        let outputs = self.outputs.get_mut(i * self.stride..).unwrap_or_default();
        let outputs = outputs.get_mut(..transformer.output_len()).unwrap_or_default();
        if !transformer.has_integer_form() {
            for output in outputs.iter_mut() {
                *output = (*output as f32 * OUTPUT_STEP).to_bits() as i32;
            }
            let outputs: &[f32] = bytemuck::must_cast_slice(outputs);
            return if INVERSE {
                transformer.inverse(constants, outputs, self.packed, x)
            } else {
                transformer.forward(constants, outputs, self.packed, false, x)
            };
        }
        let [low, high, _] = constants;
        if !(x >= low && x <= high) {
            return (x, 1.0);
        }
        let (axis, bins) = (if INVERSE { Y } else { X }, transformer.bins());
        let bin = Self::find(constants, (per_range, end, floor), outputs, bins, x, axis);
        let Some(bin) = bin else { return (x, 1.0) };
        // The bin was found by a whole number; it may begin a rounding beyond x.
        if INVERSE {
            RationalQuadratic::inverse(&bin, x.max(bin.y0).min(bin.y1))
        } else {
            RationalQuadratic::forward(&bin, x.max(bin.x0).min(bin.x1))
        }
    }
}
