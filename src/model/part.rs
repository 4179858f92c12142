//! What a model may need, each part by itself, and whether a build has it.

use super::Error;
use crate::bijection::{Layer, Shape};
use crate::conditioner::Numbers;

/// A part of this crate that a model may need and a build may leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Part {
    /// A layer.
    Layer(Layer),
    /// Layers that run backwards.
    Inverse,
    /// Networks of a kind of numbers.
    Numbers(Numbers),
    /// The base density of several Gaussians.
    Mixture,
    /// The feature front end.
    Windows,
}

impl Part {
    /// Name of the cargo feature that includes it.
    pub fn feature(self) -> &'static str {
        match self {
            Self::Layer(layer) => layer.feature(),
            Self::Inverse => "inverse",
            Self::Numbers(numbers) => numbers.name(),
            Self::Mixture => "mixture",
            Self::Windows => "windows",
        }
    }

    /// Whether this build has it.
    #[inline(always)]
    pub fn is_included(self) -> bool {
        match self {
            Self::Layer(layer) => layer.is_included(),
            Self::Inverse => cfg!(feature = "inverse"),
            Self::Numbers(numbers) => numbers.is_included(),
            Self::Mixture => cfg!(feature = "mixture"),
            Self::Windows => cfg!(feature = "windows"),
        }
    }

    pub(super) fn must_be_included(self) -> Result<(), Error> {
        if self.is_included() { Ok(()) } else { Err(Error::LeftOut { part: self }) }
    }

    /// Those that a layer needs.
    #[inline(always)]
    pub(super) fn of(layer: Layer, shape: Shape) -> impl Iterator<Item = Self> {
        let own = Some(Self::Layer(layer));
        let inner = layer.is_conditioned().then_some(Self::Layer(shape.transformer));
        let numbers = layer.is_conditioned().then_some(Self::Numbers(shape.numbers));
        let inverse = shape.inverted.then_some(Self::Inverse);
        [own, inner, numbers, inverse].into_iter().flatten()
    }
}
