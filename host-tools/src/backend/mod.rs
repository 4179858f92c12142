//! Where the likelihood of a batch and its gradient are computed. The CPU is the referee.

mod cpu;
mod lanes;

pub use cpu::Cpu;

use crate::stack::Stack;

/// Computes the negative log-likelihood of many rows and its gradient with respect to w.
pub trait Backend {
    /// Σ −log p of `rows` \[B, D\]; adds its gradient to `dw`.
    fn nll_and_grad(&self, stack: &Stack, w: &[f32], rows: &[f32], dw: &mut [f64]) -> f64;
    /// Σ −log p of `rows` \[B, D\].
    fn nll(&self, stack: &Stack, w: &[f32], rows: &[f32]) -> f64;
}
