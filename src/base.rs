//! Base densities: what the latent z is distributed like.
//!
//! * Standard normal: no weights.
//! * Mixture of C Gaussians with diagonal covariance, for data of several regimes. Weights per
//!   component: k \[1\], mean \[D\], 1/σ \[D\], where k = ln π − Σ ln σ − D/2 ln 2π.
//!   log p(z) = ln Σ_c exp(k_c − ½ Σᵢ ((zᵢ − μ_cᵢ)/σ_cᵢ)²).
//!   θ per component: logit \[1\], mean \[D\], ln(σ − 0.05) \[D\]; C·(2·D + 1) parameters.
//!
//! Gradient of the mixture, with the responsibility ρ_c = share of component c in the sum and
//! e = (z − μ)/σ: dz = −Σ_c ρ_c e/σ, dμ = ρ_c e/σ, d(1/σ) = −ρ_c e (z − μ), dk = ρ_c.

use crate::math::{HALF_LN_TAU, Real, sum4};
use crate::weights::{Gradient, Packed, Weights};

/// Smallest σ of a component: a mixture must not collapse onto repeated readings.
const MIN_SIGMA: f64 = 0.05;
/// Most components of a mixture.
const MAX_COMPONENTS: usize = 256;

/// The density of the latent z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// N(0, I).
    Normal,
    /// This many Gaussians with diagonal covariance.
    Mixture(usize),
}

/// Weights of component `c`: k, mean \[D\], 1/σ \[D\].
#[inline(always)]
fn component<R: Real, W: Weights<R>>(w: W, c: usize, dim: usize, like: R) -> (R, W, W) {
    let start = c * (2 * dim + 1);
    (w.at(start, like), w.part(start + 1, dim), w.part(start + 1 + dim, dim))
}

/// The largest of some logarithms, and the sum of what they are the logarithms of, divided by the
/// largest; these quotients then stand in their places.
#[inline(always)]
fn largest_and_sum<R: Real>(logs: &mut [R]) -> (R, R) {
    let mut largest = logs[0];
    for log in &*logs {
        largest = largest.max(*log);
    }
    for log in &mut *logs {
        *log = *log - largest;
    }
    R::exp_all(logs);
    (largest, logs.iter().fold(largest.lift(0.0), |sum, quotient| sum + *quotient))
}

impl Base {
    /// Code and argument in a model file.
    pub fn to_code(self) -> (u8, u16) {
        match self {
            Self::Normal => (0x80, 0),
            Self::Mixture(components) => (0x81, components as u16),
        }
    }

    /// The base of this code and argument.
    pub fn from_code(code: u8, arg: u16) -> Option<Self> {
        match (code, usize::from(arg)) {
            (0x80, 0) => Some(Self::Normal),
            (0x81, components @ 1..=MAX_COMPONENTS) => Some(Self::Mixture(components)),
            _ => None,
        }
    }

    fn components(self) -> usize {
        match self {
            Self::Normal => 0,
            Self::Mixture(components) => components,
        }
    }

    /// Packed weights that the density reads.
    pub fn weight_len(self, dim: usize) -> usize {
        self.components() * (2 * dim + 1)
    }

    /// Number of free parameters.
    pub fn theta_len(self, dim: usize) -> usize {
        self.weight_len(dim)
    }

    /// Numbers of scratch space that a call needs.
    pub fn scratch_len(self) -> usize {
        self.components()
    }

    /// Multiply-adds of one evaluation.
    pub fn multiply_adds(self, dim: usize) -> usize {
        dim * (1 + 2 * self.components().saturating_sub(1)).max(1)
    }

    /// Whether finite weights describe a density.
    pub fn valid(self, dim: usize, w: Packed) -> bool {
        (0..self.components()).all(|c| {
            let (_, _, per_sigma) = component::<f32, _>(w, c, dim, 0.0);
            per_sigma.iter().all(|s| s > 0.0)
        })
    }

    /// log p(z).
    #[inline(always)]
    pub fn log_prob<R: Real, W: Weights<R>>(self, w: W, z: &[R], scratch: &mut [R]) -> R {
        let like = z[0];
        let half = like.lift(0.5);
        if cfg!(feature = "mixture")
            && let Self::Mixture(components) = self
            && let Some(logs @ [_, ..]) = scratch.get_mut(..components)
        {
            mixture_logs(w, z, logs);
            let (largest, sum) = largest_and_sum(logs);
            return largest + sum.ln();
        }
        let normalizer = like.constant(HALF_LN_TAU) * like.lift(z.len() as f32);
        -(half
            * sum4(
                z,
                like,
                #[inline(always)]
                |z, _| z * z,
            ))
            - normalizer
    }

    /// log p(z); turns its gradient `dlog_prob` into dz (written over `z`) and adds to `dw`.
    #[inline(always)]
    pub fn backward<R: Real, W: Weights<R>, G: Gradient<R>>(
        self,
        w: W,
        z: &mut [R],
        dlog_prob: R,
        mut dw: G,
        scratch: &mut [R],
    ) -> R {
        let dim = z.len();
        let Self::Mixture(components) = self else {
            let log_prob = self.log_prob(w, z, scratch);
            for z in z {
                *z = -(*z * dlog_prob);
            }
            return log_prob;
        };
        let (shares, rest) = scratch.split_at_mut(components);
        let (dz, pulls) = rest.split_at_mut(dim);
        let pulls = &mut pulls[..dim];
        mixture_logs(w, z, shares);
        let zero = z[0].lift(0.0);
        let (largest, sum) = largest_and_sum(shares);
        dz.fill(zero);
        let per_sum = dlog_prob / sum;
        for (c, share) in shares.iter().enumerate() {
            let mut dw = dw.part(c * (2 * dim + 1), 2 * dim + 1);
            let rho = *share * per_sum;
            let (_, mean, per_sigma) = component(w, c, dim, rho);
            dw.add(0, rho);
            // What draws the mean towards z, in units of 1/σ.
            for (i, pull) in pulls.iter_mut().enumerate() {
                *pull = rho * (z[i] - mean.at(i, rho)) * per_sigma.at(i, rho);
                dz[i] = dz[i].add_product(-*pull, per_sigma.at(i, rho));
            }
            // Of the mean, then of 1/σ.
            dw.add_each(
                1,
                2 * dim,
                #[inline(always)]
                |i| match i.checked_sub(dim) {
                    None => pulls[i] * per_sigma.at(i, rho),
                    Some(i) => pulls[i] * (mean.at(i, rho) - z[i]),
                },
            );
        }
        z.copy_from_slice(dz);
        largest + sum.ln()
    }

    /// Numbers of scratch space that [`Base::backward`] needs.
    pub fn backward_scratch_len(self, dim: usize) -> usize {
        match self {
            Self::Normal => 0,
            Self::Mixture(components) => components + 2 * dim,
        }
    }

    /// Turns standard normal `noise` into a sample of the base, in place. `choice` in [0, 1)
    /// picks the component.
    pub fn sample<W: Weights<f32>>(self, w: W, noise: &mut [f32], choice: f32) {
        let Self::Mixture(components) = self else { return };
        let dim = noise.len();
        // π = exp(k + Σ ln σ + D/2 ln 2π); they sum to one only up to rounding, hence the last one
        // takes what is left.
        let weight = |c: usize| {
            let (k, _, per_sigma) = component(w, c, dim, 0.0_f32);
            let log_sigmas = (0..dim).fold(0.0, |sum, i| sum - libm::logf(per_sigma.at(i, 0.0)));
            Real::exp(k + log_sigmas + dim as f32 * HALF_LN_TAU as f32)
        };
        let mut left = choice;
        let mut chosen = components - 1;
        for c in 0..components - 1 {
            left -= weight(c);
            if left < 0.0 {
                chosen = c;
                break;
            }
        }
        let (_, mean, per_sigma) = component(w, chosen, dim, 0.0_f32);
        for (i, z) in noise.iter_mut().enumerate() {
            *z = mean.at(i, 0.0) + *z / per_sigma.at(i, 0.0);
        }
    }

    /// θ → w.
    pub fn constrain<R: Real>(self, dim: usize, theta: &[R], w: &mut [R]) {
        let Some(&like) = theta.first() else { return };
        let stride = 2 * dim + 1;
        let logit = |theta: &[R]| theta[0];
        let largest = theta.chunks_exact(stride).fold(like, |a, b| a.max(logit(b)));
        let sum = theta
            .chunks_exact(stride)
            .fold(like.lift(0.0), |sum, theta| sum + (logit(theta) - largest).exp());
        let normalizer = like.constant(HALF_LN_TAU) * like.lift(dim as f32);
        let log_sum = sum.ln();
        for (theta, w) in theta.chunks_exact(stride).zip(w.chunks_exact_mut(stride)) {
            w[0] = theta[0] - largest - log_sum - normalizer;
            for i in 0..dim {
                let sigma = like.constant(MIN_SIGMA) + theta[1 + dim + i].exp();
                w[1 + i] = theta[1 + i];
                w[1 + dim + i] = like.lift(1.0) / sigma;
                w[0] = w[0] - sigma.ln();
            }
        }
    }

    /// Adds to `dtheta` the gradient that `dw` means for θ.
    pub fn constrain_backward<R: Real>(
        self,
        dim: usize,
        theta: &[R],
        w: &[R],
        dw: &[R],
        dtheta: &mut [R],
    ) {
        let Some(&like) = theta.first() else { return };
        let stride = 2 * dim + 1;
        let largest = theta.chunks_exact(stride).fold(like, |a, b| a.max(b[0]));
        let zero = like.lift(0.0);
        let sum = theta.chunks_exact(stride).fold(zero, |sum, b| sum + (b[0] - largest).exp());
        let total = dw.chunks_exact(stride).fold(zero, |sum, dw| sum + dw[0]);
        for c in 0..self.components() {
            let range = c * stride..(c + 1) * stride;
            let (theta, w, dw) = (&theta[range.clone()], &w[range.clone()], &dw[range.clone()]);
            let dtheta = &mut dtheta[range];
            let pi = (theta[0] - largest).exp() / sum;
            dtheta[0] = dtheta[0] + dw[0] - pi * total;
            for i in 0..dim {
                let per_sigma = w[1 + dim + i];
                dtheta[1 + i] = dtheta[1 + i] + dw[1 + i];
                let dsigma = -(dw[1 + dim + i] * per_sigma + dw[0]) * per_sigma;
                let at = 1 + dim + i;
                dtheta[at] = dtheta[at] + dsigma * theta[at].exp();
            }
        }
    }

    /// Writes the θ of one component: its share of the mixture, means and standard deviations.
    pub fn unconstrain_component(share: f64, means: &[f64], sigmas: &[f64], theta: &mut [f64]) {
        let dim = means.len();
        theta[0] = libm::log(share.max(1e-6));
        theta[1..=dim].copy_from_slice(means);
        for (theta, sigma) in theta[1 + dim..].iter_mut().zip(sigmas) {
            *theta = libm::log((sigma - MIN_SIGMA).max(1e-3));
        }
    }
}

/// Logarithm of each component's term at z.
#[inline(always)]
fn mixture_logs<R: Real, W: Weights<R>>(w: W, z: &[R], logs: &mut [R]) {
    let like = z[0];
    for (c, log) in logs.iter_mut().enumerate() {
        let (k, mean, per_sigma) = component(w, c, z.len(), like);
        let square = sum4(
            z,
            like,
            #[inline(always)]
            |z, i| {
                let e = (z - mean.at(i, like)) * per_sigma.at(i, like);
                e * e
            },
        );
        *log = k - like.lift(0.5) * square;
    }
}
