//! What stands between a network's products, and its derivative.

use crate::math::{Real, logistic, softplus};

/// What stands between the products of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Activation {
    /// max(a, 0).
    Relu = 0,
    /// tanh a.
    Tanh = 1,
    /// a σ(a), also called swish.
    Silu = 2,
    /// a above 0, eᵃ − 1 below.
    Elu = 3,
    /// ln(1 + eᵃ).
    Softplus = 4,
    /// a above 0, a/100 below.
    LeakyRelu = 5,
    /// σ(a) = 1/(1 + e⁻ᵃ).
    Sigmoid = 6,
}

/// Slope of [`Activation::LeakyRelu`] below 0.
const LEAK: f64 = 0.01;

impl Activation {
    /// Every activation, in the order of the codes.
    pub const ALL: [Self; 7] = [
        Self::Relu,
        Self::Tanh,
        Self::Silu,
        Self::Elu,
        Self::Softplus,
        Self::LeakyRelu,
        Self::Sigmoid,
    ];

    /// The activation of this code in a model file.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Tanh => "tanh",
            Self::Silu => "silu",
            Self::Elu => "elu",
            Self::Softplus => "softplus",
            Self::LeakyRelu => "leaky_relu",
            Self::Sigmoid => "sigmoid",
        }
    }

    /// The activation at `a`.
    #[inline(always)]
    pub fn forward<R: Real>(self, a: R) -> R {
        let (zero, one) = (a.lift(0.0), a.lift(1.0));
        match self {
            Self::Relu => a.max(zero),
            // σ takes its exponential of a number below 0, so nothing overflows.
            Self::Tanh => a.lift(2.0) * logistic(a + a) - one,
            Self::Silu => a * logistic(a),
            Self::Elu => R::select(a.ge(zero), a, a.min(zero).exp() - one),
            Self::Softplus => softplus(a),
            Self::LeakyRelu => R::select(a.ge(zero), a, a.constant(LEAK) * a),
            Self::Sigmoid => logistic(a),
        }
    }

    /// [`Self::forward`] of each; the cheapest does not ask every number which it is.
    #[inline(always)]
    pub(super) fn forward_all<R: Real>(self, a: &mut [R]) {
        if self == Self::Relu {
            a.iter_mut().for_each(|a| *a = Self::Relu.forward(*a));
        } else {
            a.iter_mut().for_each(|a| *a = self.forward(*a));
        }
    }

    /// Whether its value at `a` has the derivative that `a` has.
    pub(super) fn keeps_slope(self) -> bool {
        matches!(self, Self::Relu | Self::LeakyRelu)
    }

    /// Its derivative at `a`.
    #[inline(always)]
    pub fn backward<R: Real>(self, a: R) -> R {
        let (zero, one) = (a.lift(0.0), a.lift(1.0));
        match self {
            Self::Relu => R::select(zero.ge(a), zero, one),
            Self::Tanh => {
                let t = self.forward(a);
                one - t * t
            }
            Self::Silu => {
                let share = logistic(a);
                share * (one + a * (one - share))
            }
            Self::Elu => R::select(a.ge(zero), one, a.min(zero).exp()),
            Self::Softplus => logistic(a),
            Self::LeakyRelu => R::select(a.ge(zero), one, a.constant(LEAK)),
            Self::Sigmoid => {
                let share = logistic(a);
                share * (one - share)
            }
        }
    }
}
