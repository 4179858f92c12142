//! Where the likelihood of a batch and its gradient are computed. The CPU is the referee.
//!
//! A crate of its own, because each layer's kernels are compiled for each kind of vector: that takes
//! long, and nothing else should wait for it twice.

mod bins;
mod cpu;
mod lanes;
mod ordered;
mod outer;
mod product;
mod shared;
pub mod stack;
mod tape;

pub use cpu::Cpu;
pub use stack::{Span, Stack};

/// Why a device gave no answer. What was trained before is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("compute on {device}: {reason}")]
pub struct Failed {
    device: String,
    reason: String,
}

impl Failed {
    /// Of the device of this name, for this reason.
    pub fn new(device: &str, reason: &impl core::fmt::Display) -> Self {
        Self { device: device.to_owned(), reason: reason.to_string() }
    }
}

/// Computes the negative log-likelihood of many rows and its gradient with respect to w.
///
/// Every call fails where the device does; the CPU never does.
pub trait Backend {
    /// Σ −log p of `rows` \[B, D + C\]; its gradient is then in `dw`.
    fn nll_and_grad(
        &self,
        stack: &Stack,
        w: &[f32],
        rows: &[f32],
        dw: &mut [f32],
    ) -> Result<f64, Failed>;
    /// log p of each of `rows` \[B, D + C\], into `out` \[B\].
    fn log_prob(
        &self,
        stack: &Stack,
        w: &[f32],
        rows: &[f32],
        out: &mut [f32],
    ) -> Result<(), Failed>;
    /// Latent `rows` \[B, D + C\] → data, into `out` \[B, D\].
    fn inverse(
        &self,
        stack: &Stack,
        w: &[f32],
        rows: &[f32],
        out: &mut [f32],
    ) -> Result<(), Failed>;
    /// Σ −log p of `rows` \[B, D + C\].
    fn nll(&self, stack: &Stack, w: &[f32], rows: &[f32]) -> Result<f64, Failed> {
        let mut out = vec![0.0; rows.len() / stack.row_len()];
        self.log_prob(stack, w, rows, &mut out)?;
        Ok(-out.iter().map(|log_prob| f64::from(*log_prob)).sum::<f64>())
    }
}
