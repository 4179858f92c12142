//! Networks in other numbers than `f32`, of random words.

use fluxlet::Base;
use fluxlet::bijection::{Layer, Shape};
use fluxlet::conditioner::{Conditioner, Numbers};
use fluxlet::model::Parts;

use super::Random;

/// The shape with its network in these numbers, where it exists.
pub(crate) fn in_numbers(layer: Layer, shape: Shape, numbers: Numbers) -> Option<Shape> {
    let shape = Shape { numbers, ..shape };
    layer.exists(shape).then_some(shape)
}

/// Words of a layer: its constants, and a network of random weights.
pub(crate) fn words(layer: Layer, shape: Shape, random: &mut Random) -> Vec<f32> {
    let plain = Shape { numbers: Numbers::F32, ..shape };
    let mut w = vec![0.0; layer.weight_len(plain)];
    layer.neutral(plain, 0.0, &mut w);
    // Matrices whose exponential is a number.
    let scale = if layer == Layer::Conditional { 0.2 } else { 0.5 };
    let theta: Vec<f32> =
        (0..layer.theta_len(plain)).map(|_| scale * random.normal() as f32).collect();
    layer.constrain(plain, &theta, &mut w);
    let (network, start) = layer.conditioner(shape).expect("a layer with a network");
    let rest = w.split_off(start);
    w.extend(match shape.numbers {
        Numbers::F32 => rest,
        Numbers::F16 => rest
            .chunks(2)
            .map(|pair| {
                let half = |w: &f32| u32::from(half::f16::from_f32(*w).to_bits());
                f32::from_bits(pair.iter().rev().fold(0, |word, w| word << 16 | half(w)))
            })
            .collect(),
        Numbers::Int8 => integers(network, random),
    });
    w
}

/// The words of a layer of `f16` as those of the same layer in `f32`.
pub(crate) fn widened(layer: Layer, shape: Shape, words: &[f32]) -> Vec<f32> {
    let (network, start) = layer.conditioner(shape).expect("a layer with a network");
    let (constants, halves) = words.split_at(start);
    let halves = halves.iter().map(|word| word.to_bits());
    let halves = halves.flat_map(|word| [word as u16, (word >> 16) as u16]);
    let weights = halves.map(|half| half::f16::from_bits(half).to_f32());
    constants.iter().copied().chain(weights.take(network.weight_len())).collect()
}

/// Rows of random bytes; their scales keep units in the middle of their range, and logits too.
fn integers(network: Conditioner, random: &mut Random) -> Vec<f32> {
    let mut words = vec![700.0_f32.to_bits()];
    for rows in network.groups() {
        let direct = network.direct_inputs(rows);
        for _ in 0..rows.count {
            let n = if rows.layer.is_some() { 6 } else { 8 };
            words.push(((random.normal() * 2e5) as i32) as u32);
            words.push((40_000 + random.below(20_000) as u32) | (n << 16));
            for len in [rows.fan_in - direct, direct] {
                words.extend((0..len.div_ceil(4)).map(|_| random.bits() as u32));
            }
        }
    }
    words.into_iter().map(f32::from_bits).collect()
}

/// A model of these layers before a standard normal.
pub(crate) fn model(layers: &[(Layer, Shape)], weights: &[f32]) -> Vec<u8> {
    let (_, shape) = layers[0];
    let (dim, context) = (shape.dim, shape.context);
    let parts = Parts { dim, context, layers, base: Base::Normal, weights, sections: &[] };
    let mut bytes = vec![0; parts.byte_len()];
    parts.write(&mut bytes);
    bytes
}

/// Writes the checksum that belongs to the bytes.
pub(crate) fn seal(bytes: &mut [u8]) {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    let mut digest = crc.digest();
    digest.update(&bytes[..16]);
    digest.update(&bytes[20..]);
    let checksum = digest.finalize().to_le_bytes();
    bytes[16..20].copy_from_slice(&checksum);
}
