//! What kind of numbers a network's weights are in a model file.

use super::{Activation, Conditioner};
use crate::weights::Packed;

/// Kind of a network's weights; its number is the code in a model file.
///
/// A network that is stored in fewer bits is another network, so that its outputs change. The map
/// that they are given to stays an invertible one, with the exact derivative of that map: the density
/// integrates to 1 whatever the kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Numbers {
    /// IEEE binary32.
    #[default]
    F32 = 0,
    /// IEEE binary16, two in a word; computed with as `f32`.
    F16 = 1,
    /// Whole numbers of 8 bits, computed with as such: see [`super::integer`].
    Int8 = 2,
}

/// Most inputs of a row of 8-bit weights, so that no sum leaves 32 bits: 1024 products of at most
/// 128 · 8191 and a bias of at most 2³⁰.
pub(crate) const MAX_FAN_IN: usize = 1024;

impl Numbers {
    /// Every kind, in the order of the codes.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Int8];

    /// The kind of this code in a model file.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Its name in lower case, also that of the cargo feature that includes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }

    /// Whether this build can read networks of the kind.
    #[inline(always)]
    pub fn is_included(self) -> bool {
        match self {
            Self::F32 => cfg!(feature = "f32"),
            Self::F16 => cfg!(feature = "f16"),
            Self::Int8 => cfg!(feature = "int8"),
        }
    }
}

impl Conditioner {
    /// Words of four bytes that the network's weights take in a model.
    pub fn word_len(self) -> usize {
        match self.numbers {
            Numbers::F32 => self.weight_len(),
            Numbers::F16 => self.weight_len().div_ceil(2),
            Numbers::Int8 => self.integer_len(),
        }
    }

    /// Whether a network of these numbers can be computed with.
    pub(crate) fn fits_numbers(self) -> bool {
        let whole = matches!(self.network.activation, Activation::Relu | Activation::LeakyRelu);
        let fan_in = self.groups().map(|rows| rows.fan_in).max().unwrap_or(0);
        self.numbers != Numbers::Int8 || whole && fan_in <= MAX_FAN_IN
    }

    /// Whether the network's words, `w`, are numbers that it can have.
    pub(crate) fn valid(self, w: Packed) -> bool {
        match self.numbers {
            Numbers::F32 => w.iter().all(f32::is_finite),
            // An exponent of 31 is an infinity or a NaN.
            Numbers::F16 => {
                let finite =
                    |word: &u32| word & 0x7c00 != 0x7c00 && word & 0x7c00_0000 != 0x7c00_0000;
                w.words().iter().all(|word| finite(&u32::from_le(*word)))
            }
            Numbers::Int8 => w.get(0).is_finite(),
        }
    }
}
