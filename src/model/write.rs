//! Writing a model.

use super::{MAGIC, VERSION, checksum, field, record_words};
use crate::base::Base;
use crate::bijection::{Layer, Shape, option};

/// What [`Parts::write`] packs.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'p> {
    /// D.
    pub dim: usize,
    /// C; every shape's `context` is C or 0.
    pub context: usize,
    /// Layers from data to latent; every shape's `dim` is D.
    pub layers: &'p [(Layer, Shape)],
    /// Density of the latent.
    pub base: Base,
    /// Weights of the layers in order, then of the base; words of other
    /// [`Numbers`](crate::conditioner::Numbers) by their bits.
    pub weights: &'p [f32],
    /// Tag and payload of each section.
    pub sections: &'p [([u8; 4], &'p [u8])],
}

impl Parts<'_> {
    /// Bytes that the model takes.
    pub fn byte_len(&self) -> usize {
        let len =
            |(_, payload): &([u8; 4], &[u8])| field::SECTION + payload.len().next_multiple_of(4);
        let sections: usize = self.sections.iter().map(len).sum();
        let words = 1 + self.layers.iter().map(|(layer, _)| record_words(*layer)).sum::<usize>();
        field::HEADER + field::RECORD * words + 4 * self.weights.len() + sections
    }

    /// Writes the model into `out`.
    ///
    /// # Panics
    ///
    /// When `out` has not [`Parts::byte_len`] bytes, or a count does not fit its field.
    pub fn write(&self, out: &mut [u8]) {
        assert_eq!(out.len(), self.byte_len(), "the buffer has another size than the model");
        let count = |n: usize| u16::try_from(n).expect("a count fits 16 bits").to_le_bytes();
        let long = |n: usize| u32::try_from(n).expect("a length fits 32 bits").to_le_bytes();
        out[field::MAGIC].copy_from_slice(&MAGIC);
        out[field::VERSION].copy_from_slice(&VERSION.to_le_bytes());
        out[field::DIM].copy_from_slice(&count(self.dim));
        out[field::CONTEXT].copy_from_slice(&count(self.context));
        out[field::LAYERS].copy_from_slice(&count(self.layers.len()));
        out[field::BYTES].copy_from_slice(&long(self.byte_len()));

        let mut at = field::HEADER;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        for (layer, shape) in self.layers {
            let [low, high] = count(shape.arg);
            let inverted = if shape.inverted { option::INVERTED } else { 0 };
            put(&[*layer as u8, shape.option | inverted, low, high]);
            if layer.is_conditioned() {
                let [low, high] = count(shape.split);
                let network = shape.network;
                let kinds = network.activation as u8 | (shape.numbers as u8) << 4;
                put(&[shape.transformer as u8, kinds, low, high]);
                network.hidden.iter().for_each(|width| put(&width.to_le_bytes()));
            }
        }
        let (code, arg) = self.base.to_code();
        let [low, high] = arg.to_le_bytes();
        put(&[code, 0, low, high]);
        for weight in self.weights {
            put(&weight.to_le_bytes());
        }
        for (tag, payload) in self.sections {
            put(tag);
            put(&long(payload.len()));
            put(payload);
            put(&[0; 3][..payload.len().wrapping_neg() % 4]);
        }
        let checksum = checksum(out).to_le_bytes();
        out[field::CHECKSUM].copy_from_slice(&checksum);
    }
}
