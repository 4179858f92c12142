//! A network in 8-bit weights, each row with a scale of its own.

use fluxlet::conditioner::integer::{MAX_UNIT, OUTPUT_STEP};
use fluxlet::conditioner::{Conditioner, Rows};

use super::ranges::Ranges;

/// Inputs and units may become so many times as large as the readings made them before they saturate.
const HEADROOM: f64 = 2.0;
/// Largest weight.
const MAX_WEIGHT: f64 = 127.0;
/// Largest bias, so that no sum leaves 32 bits.
const MAX_BIAS: f64 = (1 << 29) as f64;

/// The words of a network whose `f32` weights are `w`; `None` where a row's unit would be more than
/// an output's.
pub(super) fn quantise(network: Conditioner, w: &[f32], ranges: &Ranges) -> Option<Vec<u32>> {
    let unit = |range: f32| HEADROOM * f64::from(range).max(1e-6) / f64::from(MAX_UNIT);
    // What a step of an input is worth as the device scales it, rounding included.
    let scale = (1.0 / unit(ranges.input)) as f32;
    let input = 1.0 / f64::from(scale);
    let units: Vec<f64> = (0..network.layers())
        // All h of residual blocks add up, in one measure.
        .map(|layer| network.added_up(layer).map(|l| ranges.units[l]).fold(0.0, f32::max))
        .map(unit)
        .collect();
    let mut words = vec![scale.to_bits()];
    for rows in network.groups() {
        let direct = network.direct_inputs(rows);
        let (own, step) = match rows.layer {
            Some(0) => (input, units[0]),
            Some(layer) => (units[layer - 1], units[layer]),
            None => (*units.last()?, f64::from(OUTPUT_STEP)),
        };
        for row in 0..rows.count {
            let weight = |i: usize| {
                let value = if i < rows.fan_in - direct { own } else { input };
                f64::from(w[rows.position(row, i + 1)]) * value
            };
            push_row(&mut words, w[rows.position(row, 0)], weight, rows, direct, step)?;
        }
    }
    Some(words)
}

/// Appends a row. `weight` is what a step of each input adds to it, `step` a step of its result.
fn push_row(
    words: &mut Vec<u32>,
    bias: f32,
    weight: impl Fn(usize) -> f64,
    rows: Rows,
    direct: usize,
    step: f64,
) -> Option<()> {
    let bias = f64::from(bias);
    let largest = (0..rows.fan_in).map(|i| weight(i).abs()).fold(0.0, f64::max);
    // A row of small weights still has to hold its bias, and its scale.
    let unit = (largest / MAX_WEIGHT).max(bias.abs() / MAX_BIAS).max(step * 2_f64.powi(-30));
    let ratio = unit / step;
    // ratio = m 2^(−16 − n), m as long as it can be.
    let n = (0..32).rev().find(|n| ratio * 2_f64.powi(16 + n) < 65_535.5)?;
    let m = (ratio * 2_f64.powi(16 + n)).round();
    // The device rounds down; half a step on top makes that the nearest.
    let bias = (bias / unit + 0.5 / ratio).round().clamp(-2.0 * MAX_BIAS, 2.0 * MAX_BIAS);
    words.push(bias as i32 as u32);
    words.push(m as u32 | (n as u32) << 16);
    let byte = |i: usize| (weight(i) / unit).round() as i8;
    for part in [0..rows.fan_in - direct, rows.fan_in - direct..rows.fan_in] {
        let bytes: Vec<i8> = part.map(byte).collect();
        words.extend(bytes.chunks(4).map(|four| {
            let mut word = [0; 4];
            word.iter_mut().zip(four).for_each(|(byte, w)| *byte = *w as u8);
            u32::from_le_bytes(word)
        }));
    }
    Some(())
}
