//! Invertible layers: the trait that each implements, and the one table that lists them.
//!
//! Adding a layer takes two places: its file, and its row in the table below. The row gives
//! decoding, dispatch, training and every law test.

pub mod affine;
pub mod autoregressive;
pub mod conditional;
pub mod coupling;
pub mod dct;
pub mod domain;
pub mod exp;
pub mod haar;
pub mod householder;
pub mod integer;
mod kept;
pub mod knots;
pub mod leaky_relu;
pub mod lower_cholesky;
pub mod lower_upper;
pub mod matrix_exponential;
mod monotone;
pub mod permutation;
pub mod planar;
pub mod power;
pub mod radial;
pub mod rational_linear;
pub mod rational_quadratic;
mod scan;
mod side_by_side;
pub mod softplus;
mod spline;
pub mod sylvester;
pub mod tanh;
pub mod transformer;
mod walk;

pub use affine::Affine;
pub use autoregressive::Autoregressive;
pub use conditional::Conditional;
pub use coupling::Coupling;
pub use dct::Dct;
pub use domain::Domain;
pub use exp::Exp;
pub use haar::Haar;
pub use householder::Householder;
pub use knots::{MIN_BIN, MIN_SLOPE, Tails};
pub use leaky_relu::LeakyRelu;
pub use lower_cholesky::LowerCholesky;
pub use lower_upper::LowerUpper;
pub use matrix_exponential::MatrixExponential;
pub use permutation::Permutation;
pub use planar::Planar;
pub use power::Power;
pub use radial::Radial;
pub use rational_linear::RationalLinear;
pub use rational_quadratic::RationalQuadratic;
pub use softplus::Softplus;
pub use sylvester::Sylvester;
pub use tanh::Tanh;

use crate::conditioner::{Conditioner, Network, Numbers};
use crate::math::Real;
use crate::weights::{Gradient, Packed, Weights};

/// Flags of a conditioned layer in [`Shape::option`], above the two bits of its spline's [`Tails`].
pub mod option {
    /// The bits of a spline's [`Tails`](super::Tails).
    pub const TAILS: u8 = 0b11;
    /// The transformer's other parameterisation: a spline's as in zuko, an affine map's gated.
    pub const SOFT: u8 = 1 << 2;
    /// The network is made of residual blocks.
    pub const RESIDUAL: u8 = 1 << 3;
    /// An autoregressive network's inputs reach its outputs directly too.
    pub const SKIP: u8 = 1 << 4;
    /// A coupling's first part has a spline of its own.
    pub const FIRST_SPLINE: u8 = 1 << 5;
    /// An autoregressive network's degrees are spread as Pyro spreads them.
    pub const SPREAD: u8 = 1 << 5;
    /// The network reads the context.
    pub const CONTEXT: u8 = 1 << 6;
    /// In a model's record: the layer runs backwards, from z to x.
    pub const INVERTED: u8 = 1 << 7;
}

/// What a layer needs to know beside its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// D, the dimension of the data.
    pub dim: usize,
    /// K bins of a spline, M reflections or Sylvester units, N terms of a matrix exponential; 0
    /// elsewhere.
    pub arg: usize,
    /// [`Tails`] of a spline, 1 for a Haar transform of the reversed data, and flags of a conditioned
    /// layer (see [`option`]); 0 elsewhere.
    pub option: u8,
    /// C, numbers of context that a conditioned layer reads behind the D of the data; 0 elsewhere.
    pub context: usize,
    /// d, numbers of a coupling's first part; 0 elsewhere.
    pub split: usize,
    /// The layer whose parameters a conditioned layer's network gives; `Affine` elsewhere.
    pub transformer: Layer,
    /// The network of a conditioned layer; [`Network::NONE`] elsewhere.
    pub network: Network,
    /// Kind of the network's weights in a model, `F32` elsewhere. The layer's own functions read `F32`;
    /// [`Bijection::score`] reads any.
    pub numbers: Numbers,
    /// Whether a model runs the layer backwards, its [`Bijection::inverse`] towards the latent. So
    /// run the layers of a flow that was trained in the direction of sampling. The layer's own
    /// functions do not look at it.
    pub inverted: bool,
}

impl Shape {
    /// The shape of a layer without a network.
    pub const fn new(dim: usize, arg: usize, option: u8) -> Self {
        Self {
            dim,
            arg,
            option,
            context: 0,
            split: 0,
            transformer: Layer::Affine,
            network: Network::NONE,
            numbers: Numbers::F32,
            inverted: false,
        }
    }

    /// Whether the layer has this flag of [`option`].
    pub const fn has(self, flag: u8) -> bool {
        self.option & flag != 0
    }
}

/// An invertible map of D numbers, in place, without state.
///
/// `w` are the packed weights of [`Bijection::weight_len`] numbers, `theta` the free parameters
/// that an optimiser moves; `scratch` has [`Bijection::scratch_len`] numbers of any content.
/// Some weights are constants (a spline's outer knots, a cosine table): [`Bijection::neutral`]
/// writes them and [`Bijection::constrain`] leaves them as they are.
///
/// A layer sees `x` \[D + C\]: the D numbers that it maps, and behind them the C numbers of context
/// that it reads and leaves as they are ([`Shape::context`]; most layers read none, and see D).
pub trait Bijection {
    /// Whether a network gives the layer's parameters.
    const CONDITIONED: bool = false;

    /// Whether a layer of this shape exists.
    fn exists(shape: Shape) -> bool;
    /// The network that gives the layer's parameters, and where its weights begin.
    fn conditioner(_: Shape) -> Option<(Conditioner, usize)> {
        None
    }
    /// Packed weights that a layer of this shape reads.
    fn weight_len(shape: Shape) -> usize;
    /// Numbers of scratch space that [`Bijection::forward`] and [`Bijection::inverse`] need.
    fn scratch_len(shape: Shape) -> usize;
    /// Numbers of scratch space that [`Bijection::backward`] needs.
    fn backward_scratch_len(shape: Shape) -> usize {
        Self::scratch_len(shape)
    }
    /// Multiply-adds of one forward pass, divisions counted as one each.
    fn multiply_adds(shape: Shape) -> usize;
    /// Whether finite weights describe a bijection.
    fn valid(shape: Shape, w: Packed) -> bool;

    /// x → z in place; returns ladj = log|det ∂z/∂x|.
    fn forward<R: Real, W: Weights<R>>(shape: Shape, w: W, x: &mut [R], scratch: &mut [R]) -> R;
    /// z → x in place; returns the ladj of the inverse, log|det ∂x/∂z|.
    fn inverse<R: Real, W: Weights<R>>(shape: Shape, w: W, z: &mut [R], scratch: &mut [R]) -> R;
    /// One of the two.
    #[inline(always)]
    fn pass<const INVERSE: bool, R: Real, W: Weights<R>>(
        shape: Shape,
        w: W,
        x: &mut [R],
        scratch: &mut [R],
    ) -> R {
        if INVERSE {
            Self::inverse(shape, w, x, scratch)
        } else {
            Self::forward(shape, w, x, scratch)
        }
    }
    /// [`Bijection::pass`] by a model's packed weights, whatever kind of [`Numbers`] a network has.
    #[inline(always)]
    fn score<const INVERSE: bool>(
        shape: Shape,
        w: Packed,
        x: &mut [f32],
        scratch: &mut [f32],
    ) -> f32 {
        Self::pass::<INVERSE, f32, Packed>(shape, w, x, scratch)
    }
    /// Turns `dz` into dx and adds to `dw`; adds to the C numbers of `dz` behind the D what the
    /// context is worth. `x` is the layer's input on entry, scrap on return.
    fn backward<R: Real, W: Weights<R>, G: Gradient<R>>(
        shape: Shape,
        w: W,
        x: &mut [R],
        dz: &mut [R],
        dladj: R,
        dw: G,
        scratch: &mut [R],
    );
    /// Numbers that [`Bijection::forward_kept`] leaves for [`Bijection::backward_kept`].
    fn kept_len(_: Shape) -> usize {
        0
    }
    /// [`Bijection::forward`], which leaves in `kept` what the way back would else compute again;
    /// nothing in an empty one.
    #[inline(always)]
    fn forward_kept<R: Real, W: Weights<R>>(
        shape: Shape,
        w: W,
        x: &mut [R],
        _kept: &mut [R],
        scratch: &mut [R],
    ) -> R {
        Self::forward(shape, w, x, scratch)
    }
    /// [`Bijection::backward`] with what forward left in `kept`, which is scrap on return.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "those of `backward`, and what was kept")]
    fn backward_kept<R: Real, W: Weights<R>, G: Gradient<R>>(
        shape: Shape,
        w: W,
        x: &mut [R],
        dz: &mut [R],
        dladj: R,
        dw: G,
        _kept: &mut [R],
        scratch: &mut [R],
    ) {
        Self::backward(shape, w, x, dz, dladj, dw, scratch);
    }

    /// Number of free parameters: at most [`Self::weight_len`].
    fn theta_len(shape: Shape) -> usize;
    /// Weights of a layer that changes nothing or as little as it can, constants included.
    fn neutral<R: Real>(shape: Shape, like: R, w: &mut [R]);
    /// θ → w; constants in `w` stay.
    fn constrain<R: Real>(shape: Shape, theta: &[R], w: &mut [R]);
    /// Adds to `dtheta` the gradient that `dw` means for θ; `w` is what `constrain` made of it.
    fn constrain_backward<R: Real>(shape: Shape, theta: &[R], w: &[R], dw: &[R], dtheta: &mut [R]);
    /// w → θ, so that `constrain` gives `w` again (to within its floors).
    fn unconstrain<R: Real>(shape: Shape, w: &[R], theta: &mut [R]);
}

/// [`Bijection::backward`] of a layer whose way back begins with what forward kept.
#[inline(always)]
fn keep_and_go_back<B: Bijection, R: Real, W: Weights<R>, G: Gradient<R>>(
    shape: Shape,
    w: W,
    x: &mut [R],
    dz: &mut [R],
    dladj: R,
    dw: G,
    scratch: &mut [R],
) {
    let (kept, scratch) = scratch.split_at_mut(B::kept_len(shape));
    let (z, scratch) = scratch.split_at_mut(x.len());
    z.copy_from_slice(x);
    B::forward_kept(shape, w, z, kept, scratch);
    B::backward_kept(shape, w, x, dz, dladj, dw, kept, scratch);
}

/// Something to be done with the type of a layer that is known as a [`Layer`] only.
pub trait Visitor {
    /// What comes of it.
    type Output;
    /// Does it with the layer `B`.
    fn visit<B: Bijection>(self) -> Self::Output;
}

/// The table: code in a model file, the layer of that code, its file, and the feature that includes it.
/// A code is never given away twice.
macro_rules! layers {
    ($($code:literal => $name:ident in $file:ident as $feature:literal,)*) => {
        /// Which bijection a layer is; its number is the code in a model file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Layer {
            $(
                #[doc = concat!("[`", stringify!($name), "`].")]
                $name = $code,
            )*
        }

        impl Layer {
            /// Every layer, in the order of the codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The layer of this code.
            #[inline(always)]
            pub fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Name of the layer.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Name of its file, `rational_quadratic` for instance.
            pub fn file(self) -> &'static str {
                match self { $(Self::$name => stringify!($file),)* }
            }

            /// Its source file, whose head explains the layer. Nothing of it reaches a device that
            /// does not ask for it.
            pub fn source(self) -> &'static str {
                match self { $(Self::$name => include_str!(concat!(stringify!($file), ".rs")),)* }
            }

            /// Name of the cargo feature that includes the layer in what reads models.
            pub fn feature(self) -> &'static str {
                match self { $(Self::$name => $feature,)* }
            }

            /// Whether this build can read models that have the layer. What it left out is known by
            /// name only.
            #[inline(always)]
            pub fn is_included(self) -> bool {
                match self { $(Self::$name => cfg!(feature = $feature),)* }
            }

            /// Whether a network gives its parameters.
            pub fn is_conditioned(self) -> bool {
                match self { $(Self::$name => $name::CONDITIONED,)* }
            }

            /// Does something with the layer's type.
            pub fn visit<V: Visitor>(self, visitor: V) -> V::Output {
                match self { $(Self::$name => visitor.visit::<$name>(),)* }
            }

            /// See [`Bijection::exists`].
            pub fn exists(self, shape: Shape) -> bool {
                match self { $(Self::$name if cfg!(feature = $feature) => $name::exists(shape),)* _ => false }
            }

            /// See [`Bijection::conditioner`].
            pub fn conditioner(self, shape: Shape) -> Option<(Conditioner, usize)> {
                match self { $(Self::$name if cfg!(feature = $feature) => $name::conditioner(shape),)* _ => None }
            }

            /// See [`Bijection::weight_len`].
            pub fn weight_len(self, shape: Shape) -> usize {
                match self { $(Self::$name if cfg!(feature = $feature) => $name::weight_len(shape),)* _ => 0 }
            }

            /// See [`Bijection::scratch_len`].
            pub fn scratch_len(self, shape: Shape) -> usize {
                match self { $(Self::$name if cfg!(feature = $feature) => $name::scratch_len(shape),)* _ => 0 }
            }

            /// See [`Bijection::backward_scratch_len`].
            pub fn backward_scratch_len(self, shape: Shape) -> usize {
                match self { $(Self::$name => $name::backward_scratch_len(shape),)* }
            }

            /// See [`Bijection::kept_len`].
            pub fn kept_len(self, shape: Shape) -> usize {
                match self { $(Self::$name => $name::kept_len(shape),)* }
            }

            /// See [`Bijection::multiply_adds`].
            pub fn multiply_adds(self, shape: Shape) -> usize {
                match self { $(Self::$name => $name::multiply_adds(shape),)* }
            }

            /// See [`Bijection::valid`].
            pub fn valid(self, shape: Shape, w: Packed) -> bool {
                match self { $(Self::$name if cfg!(feature = $feature) => $name::valid(shape, w),)* _ => false }
            }

            /// See [`Bijection::theta_len`].
            pub fn theta_len(self, shape: Shape) -> usize {
                match self { $(Self::$name => $name::theta_len(shape),)* }
            }

            /// See [`Bijection::forward`].
            #[inline(always)]
            pub fn forward<R: Real, W: Weights<R>>(self, shape: Shape, w: W, x: &mut [R], scratch: &mut [R]) -> R {
                match self { $(Self::$name => $name::forward(shape, w, x, scratch),)* }
            }

            /// Either direction as a function of its own for each layer: scoring calls it, so that a
            /// kernel has a small core's registers to itself and stands in flash once.
            pub(crate) fn score(
                self, shape: Shape, w: Packed, x: &mut [f32], scratch: &mut [f32], inverse: bool,
            ) -> f32 {
                // No x is empty; said to the compiler, it leaves every check of the first number out.
                #[inline(never)]
                fn forward<B: Bijection>(shape: Shape, w: Packed, x: &mut [f32], scratch: &mut [f32]) -> f32 {
                    if x.is_empty() { 0.0 } else { B::score::<false>(shape, w, x, scratch) }
                }
                #[inline(never)]
                fn inverted<B: Bijection>(shape: Shape, w: Packed, x: &mut [f32], scratch: &mut [f32]) -> f32 {
                    if x.is_empty() { 0.0 } else { B::score::<true>(shape, w, x, scratch) }
                }
                match self {
                    $(
                        Self::$name if inverse && cfg!(all(feature = $feature, feature = "inverse")) =>
                            inverted::<$name>(shape, w, x, scratch),
                        Self::$name if cfg!(feature = $feature) => forward::<$name>(shape, w, x, scratch),
                    )*
                    // No model with such a layer is read.
                    _ => 0.0,
                }
            }

            /// See [`Bijection::inverse`].
            #[inline(always)]
            pub fn inverse<R: Real, W: Weights<R>>(self, shape: Shape, w: W, z: &mut [R], scratch: &mut [R]) -> R {
                match self { $(Self::$name => $name::inverse(shape, w, z, scratch),)* }
            }

            /// See [`Bijection::backward`].
            #[expect(clippy::too_many_arguments, reason = "the trait's, and the layer")]
            #[inline(always)]
            pub fn backward<R: Real, W: Weights<R>>(
                self, shape: Shape, w: W, x: &mut [R], dz: &mut [R], dladj: R, dw: &mut [R], scratch: &mut [R],
            ) {
                match self { $(Self::$name => $name::backward(shape, w, x, dz, dladj, dw, scratch),)* }
            }

            /// See [`Bijection::neutral`].
            pub fn neutral<R: Real>(self, shape: Shape, like: R, w: &mut [R]) {
                match self { $(Self::$name => $name::neutral(shape, like, w),)* }
            }

            /// See [`Bijection::constrain`].
            pub fn constrain<R: Real>(self, shape: Shape, theta: &[R], w: &mut [R]) {
                match self { $(Self::$name => $name::constrain(shape, theta, w),)* }
            }

            /// See [`Bijection::constrain_backward`].
            pub fn constrain_backward<R: Real>(self, shape: Shape, theta: &[R], w: &[R], dw: &[R], dtheta: &mut [R]) {
                match self { $(Self::$name => $name::constrain_backward(shape, theta, w, dw, dtheta),)* }
            }

            /// See [`Bijection::unconstrain`].
            pub fn unconstrain<R: Real>(self, shape: Shape, w: &[R], theta: &mut [R]) {
                match self { $(Self::$name => $name::unconstrain(shape, w, theta),)* }
            }
        }
    };
}

layers! {
    0x01 => Affine in affine as "affine",
    0x02 => RationalQuadratic in rational_quadratic as "rational-quadratic",
    0x03 => RationalLinear in rational_linear as "rational-linear",
    0x04 => Householder in householder as "householder",
    0x05 => Dct in dct as "dct",
    0x06 => Permutation in permutation as "permutation",
    0x07 => LowerUpper in lower_upper as "lower-upper",
    0x08 => LowerCholesky in lower_cholesky as "lower-cholesky",
    0x09 => MatrixExponential in matrix_exponential as "matrix-exponential",
    0x0a => Haar in haar as "haar",
    0x0b => Tanh in tanh as "tanh",
    0x0c => Softplus in softplus as "softplus",
    0x0d => LeakyRelu in leaky_relu as "leaky-relu",
    0x0e => Power in power as "power",
    0x0f => Planar in planar as "planar",
    0x10 => Radial in radial as "radial",
    0x11 => Sylvester in sylvester as "sylvester",
    0x12 => Domain in domain as "domain",
    0x13 => Exp in exp as "exp",
    0x20 => Coupling in coupling as "coupling",
    0x21 => Autoregressive in autoregressive as "autoregressive",
    0x22 => Conditional in conditional as "conditional",
}
