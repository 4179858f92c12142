#![no_std]
#![forbid(unsafe_code)]
//! Normalizing flows small enough for a microcontroller.
//!
//! A normalizing flow is an invertible map from data x to Gaussian noise z. The change of variables
//! gives every reading an exact density, log p(x) = log p_base(z) + ladj with
//! ladj = log|det ∂z/∂x|, and a reading that is far too improbable is an anomaly.
//!
//! # Direction and letters
//!
//! `forward` is data x → latent z, everywhere; scoring is one forward pass. D is the dimension, K the
//! bins of a spline, M the reflections of a Householder product, N the terms of a matrix
//! exponential, C the components of a mixture.
//! `weights` (w) are the packed numbers that a kernel reads; `theta` (θ) the free parameters that
//! an optimiser moves; `constrain` takes θ to w.
//!
//! # Guarantees
//!
//! * No heap, no `std`, no `unsafe`; every buffer is the caller's, of a size that the model states.
//! * Any bytes are refused with an [`Error`] that says why, or are a model that is safe to evaluate.
//! * The log density of an input is a number, never NaN, and scoring never panics.
//! * The same input gives the same `f32` bits on every target: kernels use `+ - * /` and the
//!   functions of [`math::Real`] only, sums have a written order, and `libm` is pinned.
//!
//! # Scoring
//!
//! ```
//! # fn main() -> Result<(), fluxlet::Error> {
//! // On a device: fluxlet::include_model!("model.flx").
//! # let mut bytes = vec![0; 20 + 8 + 20];
//! # use fluxlet::{Base, model::Parts, bijection::{Layer, Shape}};
//! # let shape = Shape::new(2, 0, 0);
//! # Parts { dim: 2, context: 0, layers: &[(Layer::Affine, shape)], base: Base::Normal,
//! #         weights: &[1.0, -1.0, 1.0, 1.0, 0.0], sections: &[] }.write(&mut bytes);
//! let flow = fluxlet::Flow::<2>::new(&bytes)?;
//! let reading = flow.read(&[1.0, -1.0]);
//! assert_eq!(reading.log_prob, -1.837_877_f32); // −ln 2π: the middle of a Gaussian
//! # Ok(())
//! # }
//! ```

/// The bytes of a model file, `&'static [u8]`, where a reader wants them: at a multiple of four.
///
/// The path is [`include_bytes!`]'s.
#[macro_export]
macro_rules! include_model {
    ($path:expr) => {{
        #[repr(C, align(4))]
        struct Aligned<T: ?Sized>(T);
        static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!($path));
        &MODEL.0
    }};
}

pub mod base;
pub mod bijection;
pub mod conditioner;
pub mod detector;
pub mod features;
pub mod flow;
pub mod math;
pub mod model;
pub mod weights;

pub use base::Base;
pub use detector::{Alarm, Calibration, LOG_PROB_MIN};
pub use flow::{Flow, Reading, forward, log_prob, read};
#[cfg(feature = "inverse")]
pub use flow::{inverse, sample};
pub use math::Real;
pub use model::{Error, Model};
pub use weights::{Gradient, Packed, Weights};
