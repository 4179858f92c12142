//! The network that gives a conditioned layer its parameters.

/// Hidden layers that a network can have.
pub const MAX_DEPTH: usize = 4;

/// What stands between the products of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Activation {
    /// max(a, 0).
    Relu = 0,
    /// tanh a.
    Tanh = 1,
    /// a σ(a).
    Silu = 2,
    /// a above 0, eᵃ − 1 below.
    Elu = 3,
    /// ln(1 + eᵃ).
    Softplus = 4,
    /// a above 0, a/100 below.
    LeakyRelu = 5,
    /// σ(a).
    Sigmoid = 6,
}

/// Widths of a network's hidden layers, and its activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Units of each hidden layer, 0 behind the last. With residual blocks: units, number of blocks.
    pub hidden: [u16; MAX_DEPTH],
    /// What stands between the products.
    pub activation: Activation,
}

impl Network {
    /// No network.
    pub const NONE: Self = Self { hidden: [0; MAX_DEPTH], activation: Activation::Relu };
}
