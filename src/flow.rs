//! A flow: the layers of a model one after the other, and the density that they give.
//!
//! log p(x) = log p_base(z) + Σ ladj, where z is x after all layers: the change of variables
//! (Rezende and Mohamed 2015, arXiv:1505.05770, eq. 6). The functions here take slices, so that
//! their code stands once in flash; [`Flow`] puts the buffers on the stack.
//!
//! # Training
//!
//! `fluxlet train` moves the free parameters θ of all layers by gradient descent. The gradient is
//! written by hand, layer by layer: each layer's `backward` stands beside its `forward`.
//!
//! ## The cost
//!
//! It is the mean negative log-likelihood (NLL) of the n rows of a batch, in nats:
//!
//! ```text
//! cost = −(1/n) Σ log p(x), over the rows
//! log p(x) = log p_base(z) + Σ ladj, over the layers
//! log p_base(z) = −½ |z|² − ½ D ln 2π, a standard normal base
//! ```
//!
//! A small cost means that the rows are probable: z lies in the middle of the base, and the layers
//! do not squeeze x (a small ladj) to bring it there.
//!
//! ## Backward through the layers
//!
//! Each row pulls at its z and, with one strength, at the ladj of every layer:
//!
//! ```text
//! dz = z/n
//! dladj = −1/n
//! ```
//!
//! From the last layer to the first, `backward` turns dz into dx, which is the dz of the layer
//! before, and adds to dw what the row means for the layer's weights. Between layers only the D
//! numbers of each row are kept; what happened inside a layer is computed again.
//!
//! ## From weights to parameters
//!
//! Weights obey constraints (knots rise, slopes are positive, |u|² = 2) that an optimiser knows
//! nothing of; θ is free. `constrain` takes θ to w before the forward pass; once the rows' dw are
//! summed up, `constrain_backward` takes dw to dθ. For an inner slope of a spline:
//!
//! ```text
//! slope = s (m + softplus(θ))
//! dθ = dslope s σ(θ)
//! ```
//!
//! with the mean slope s, which the outer knots fix, the floor m = 1e-3 and the logistic function
//! σ.
//!
//! ## The step
//!
//! All of dθ is clipped to a greatest length. Adam keeps a running mean of each parameter's
//! gradient and of its square, and divides the one by the root of the other: every parameter moves
//! by about the learning rate, whatever the size of its gradient, and the first step by just that.
//! Then θ goes through `constrain` again.

use crate::detector::{Alarm, LOG_PROB_MIN};
use crate::model::{Error, Model};

/// What a model says of one reading.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Reading {
    /// log p(x) in nats, at least [`LOG_PROB_MIN`]; never NaN.
    pub log_prob: f32,
    /// Share of normal readings that are as improbable; 1 where the model has no calibration table.
    pub p_value: f32,
    /// The decision.
    pub alarm: Alarm,
}

impl Reading {
    /// −log p(x): the larger, the less probable.
    pub fn score(&self) -> f32 {
        -self.log_prob
    }
}

/// x → z in place; returns the sum of the layers' ladj. `x` \[D + C\], the context behind the
/// data and left as it is; `scratch` \[[`Model::scratch_len`]\].
pub fn forward(model: &Model, x: &mut [f32], scratch: &mut [f32]) -> f32 {
    model.layers().fold(0.0, |ladj, step| ladj + step.forward(x, scratch))
}

/// z → x in place; returns the sum of the inverses' ladj. Shapes as in [`forward`].
#[cfg(feature = "inverse")]
pub fn inverse(model: &Model, z: &mut [f32], scratch: &mut [f32]) -> f32 {
    // The layers are found from the front only; a stack is short, and sampling is the rare case.
    (0..model.layers().len()).rev().fold(0.0, |ladj, index| {
        model.layers().nth(index).map_or(ladj, |step| ladj + step.inverse(z, scratch))
    })
}

/// log p of one input in nats; [`LOG_PROB_MIN`] where the input is not finite or so far outside
/// that the arithmetic overflows.
///
/// `input` has [`Model::input_len`] numbers, its context last; `work` [`Model::work_len`] or more. Of
/// other sizes nothing can be said but [`LOG_PROB_MIN`]: an alarm, where a panic would stop the device.
pub fn log_prob(model: &Model, input: &[f32], work: &mut [f32]) -> f32 {
    match work.split_at_mut_checked(model.dim() + model.context_len()) {
        Some((x, scratch)) => log_prob_in(model, input, x, scratch),
        None => LOG_PROB_MIN,
    }
}

fn log_prob_in(model: &Model, input: &[f32], x: &mut [f32], scratch: &mut [f32]) -> f32 {
    let fits = input.len() == model.input_len() && model.work_len() <= x.len() + scratch.len();
    if !fits {
        return LOG_PROB_MIN;
    }
    let given = input.len().wrapping_sub(model.context_len());
    let (Some((reading, given)), Some((data, context))) =
        (input.split_at_checked(given), x.split_at_mut_checked(model.dim()))
    else {
        return LOG_PROB_MIN;
    };
    if !given.iter().all(|x| x.is_finite()) {
        return LOG_PROB_MIN;
    }
    match model.front_end() {
        Some(_) if !reading.iter().all(|x| x.is_finite()) => return LOG_PROB_MIN,
        Some(front_end) => front_end.extract_checked(reading, data, scratch),
        None => {
            for (data, reading) in data.iter_mut().zip(reading) {
                if !reading.is_finite() {
                    return LOG_PROB_MIN;
                }
                *data = *reading;
            }
        }
    }
    // Without layers that have a network nobody looks at it.
    if cfg!(any(feature = "coupling", feature = "autoregressive", feature = "conditional")) {
        model.read_context(given, context);
    }
    let ladj = forward(model, x, scratch);
    let (base, weights) = model.base();
    let Some(z @ [_, ..]) = x.get(..model.dim()) else { return LOG_PROB_MIN };
    let log_prob = base.log_prob(weights, z, scratch) + ladj;
    // An infinite density is as little to be trusted as none.
    if log_prob > LOG_PROB_MIN && log_prob < f32::INFINITY { log_prob } else { LOG_PROB_MIN }
}

/// Density, p-value and alarm of one input; slices as in [`log_prob`].
pub fn read(model: &Model, input: &[f32], work: &mut [f32]) -> Reading {
    judge(model, input, log_prob(model, input, work))
}

fn judge(model: &Model, input: &[f32], log_prob: f32) -> Reading {
    // Only the lowest density of all can mean an input that is not finite.
    let finite = log_prob > LOG_PROB_MIN || input.iter().all(|x| x.is_finite());
    let (p_value, alarm) = match model.calibration() {
        Some(table) => {
            let p_value = table.p_value(-log_prob);
            (p_value, table.alarm_at(p_value))
        }
        None => (1.0, Alarm::None),
    };
    Reading { log_prob, p_value, alarm: if finite { alarm } else { Alarm::NotFinite } }
}

/// A sample of the density: `noise` \[D + C\] holds independent standard normals on entry, x on
/// return, and behind them the context as the layers see it ([`Model::read_context`]).
/// `choice` in [0, 1) picks the component of a mixture base. Shapes as in [`forward`].
///
/// For a model with a front end x are features, not a window.
#[cfg(feature = "inverse")]
pub fn sample(model: &Model, noise: &mut [f32], choice: f32, scratch: &mut [f32]) {
    let (base, weights) = model.base();
    base.sample(weights, &mut noise[..model.dim()], choice);
    inverse(model, noise, scratch);
}

impl Model<'_> {
    /// Numbers of work space that [`log_prob`] needs.
    pub fn work_len(&self) -> usize {
        let front_end = self.front_end().map_or(0, |front_end| front_end.scratch_len());
        self.dim() + self.context_len() + self.scratch_len().max(front_end)
    }
}

/// A model without front end whose dimension is known when the program is compiled: scoring without
/// a buffer of the caller's.
///
/// `D` counts a model's context too: it stands behind the data, and stays as it is. `S` is the
/// scratch space on the stack; the default suits every layer without a network and a mixture of up
/// to D components.
#[derive(Clone, Copy, Debug)]
pub struct Flow<'m, const D: usize, const S: usize = D> {
    model: Model<'m>,
}

impl<'m, const D: usize, const S: usize> Flow<'m, D, S> {
    /// A flow over a model's bytes.
    ///
    /// # Errors
    ///
    /// Those of [`Model::new_checked`], and [`Error::Sizes`] where `D` is not the model's input or
    /// `S` is too small.
    pub fn new(bytes: &'m [u8]) -> Result<Self, Error> {
        let model = Model::new_checked(bytes)?;
        if model.input_len() != D || model.front_end().is_some() || model.scratch_len() > S {
            return Err(Error::Sizes { input: model.input_len(), scratch: model.scratch_len() });
        }
        Ok(Self { model })
    }

    /// The model.
    pub fn model(&self) -> &Model<'m> {
        &self.model
    }

    /// x → z in place; returns ladj.
    pub fn forward(&self, x: &mut [f32; D]) -> f32 {
        forward(&self.model, x, &mut [0.0; S])
    }

    /// z → x in place; returns the ladj of the inverse.
    #[cfg(feature = "inverse")]
    pub fn inverse(&self, z: &mut [f32; D]) -> f32 {
        inverse(&self.model, z, &mut [0.0; S])
    }

    /// log p(x) in nats; see [`log_prob`].
    pub fn log_prob(&self, x: &[f32; D]) -> f32 {
        log_prob_in(&self.model, x, &mut [0.0; D], &mut [0.0; S])
    }

    /// Density, p-value and alarm of one reading.
    pub fn read(&self, x: &[f32; D]) -> Reading {
        judge(&self.model, x, self.log_prob(x))
    }

    /// A sample from `noise` of independent standard normals; see [`sample`].
    #[cfg(feature = "inverse")]
    pub fn sample(&self, mut noise: [f32; D], choice: f32) -> [f32; D] {
        sample(&self.model, &mut noise, choice, &mut [0.0; S]);
        noise
    }
}
