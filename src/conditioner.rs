//! The network that gives a conditioned layer its parameters.
//!
//! # Formula
//!
//! A dense network takes a₀, the inputs, through its hidden layers, aₗ = act(Wₗ aₗ₋₁ + bₗ), and gives
//! W a + b of the last. With residual blocks (He et al. 2016, arXiv:1512.03385; Durkan et al. 2019,
//! arXiv:1906.04032, appendix B) h = W₀ a₀ + b₀, each block adds W′ act(W act(h) + b) + b′ to h, and the
//! outputs are W h + b. The inputs are the context, then the variables that the layer conditions on.
//!
//! # Masks by degrees
//!
//! An autoregressive layer's network is masked (MADE, Germain et al. 2015, arXiv:1502.03509): a unit
//! of degree g sees the context and the first g variables only. Units stand in the order of their
//! degrees, so that a unit sees a prefix of the layer before it: what is masked out is not stored,
//! and not computed. When one more variable is known, the units of one more degree follow, and with
//! them the parameters of the next variable. Forward and inverse are the same walk, and the inverse
//! costs one pass of the network where a masked matrix product needs D of them.
//!
//! # Weights
//!
//! In the order of that walk: for each step the new units of each layer, then the outputs of the
//! step. Rows come in blocks of 8, and a rest of 4, 2 and 1: for each block the biases of its rows,
//! then for each input one weight a row. In a model they may be other [`Numbers`] than `f32`.

use crate::bijection::{Shape, option};
use crate::math::Real;
use crate::weights::{Gradient, Weights};

mod activation;
pub(crate) mod fixed;
mod halves;
pub mod integer;
mod numbers;
mod pass;
pub(crate) mod product;

pub use activation::Activation;
pub(crate) use halves::Halves;
pub use numbers::Numbers;

/// Hidden layers that a network can have.
pub const MAX_DEPTH: usize = 4;

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

/// A layer's network with all that its shape says, and the walk through it.
#[derive(Clone, Copy)]
pub struct Conditioner {
    network: Network,
    numbers: Numbers,
    residual: bool,
    skip: bool,
    spread: bool,
    context: usize,
    /// D of an autoregressive layer; 0 where all inputs are known at once.
    steps: usize,
    /// Variables beside the context.
    variables: usize,
    /// Outputs of a step.
    outputs: usize,
}

/// Rows of weights that stand together: the units of one layer, or the outputs, of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The hidden layer; `None` for the outputs.
    pub layer: Option<usize>,
    /// Variables that are known at this step.
    pub known: usize,
    /// Number of the first row's unit within its layer.
    pub first: usize,
    /// Number of rows.
    pub count: usize,
    /// Inputs of each row: a prefix of the layer before; of the outputs, then a prefix of the inputs
    /// where there are skip connections.
    pub fan_in: usize,
    /// Where the rows begin among the network's weights.
    pub start: usize,
}

impl Rows {
    /// Weights of the rows, biases included.
    #[expect(clippy::len_without_is_empty, reason = "a group always has a bias a row")]
    pub fn len(self) -> usize {
        self.count * (self.fan_in + 1)
    }

    /// Where a number of row `row` stands among the network's weights: column 0 is the bias, column
    /// i + 1 the weight of input i.
    pub fn position(self, row: usize, column: usize) -> usize {
        let mut first = 0;
        for size in [8, 4, 2, 1] {
            let blocks = (self.count - first) / size;
            if row < first + size * blocks {
                let block = first + (row - first) / size * size;
                return self.start + block * (self.fan_in + 1) + size * column + row - block;
            }
            first += size * blocks;
        }
        self.start + self.len()
    }
}

/// What a walk keeps of the network, one number for each unit of each layer.
pub(crate) struct Units<'s, R> {
    /// Context, then the variables in their order.
    pub(crate) inputs: &'s mut [R],
    /// Behind the activation; of the last layer with residual blocks, before it.
    pub(crate) active: &'s mut [R],
    /// Before the activation; may be empty for a dense network that is not asked for a gradient, or
    /// whose activation's values tell its slope.
    pub(crate) before: &'s mut [R],
}

/// The gradients of [`Units`].
pub(crate) struct UnitGradients<'s, R> {
    pub(crate) inputs: &'s mut [R],
    pub(crate) active: &'s mut [R],
}

/// Cuts `len` numbers off the front of `scratch`.
#[inline(always)]
pub(crate) fn take<'s, R>(scratch: &mut &'s mut [R], len: usize) -> &'s mut [R] {
    // A caller has compared the length; the fallback keeps a panic out of a device's image.
    let (front, rest) = core::mem::take(scratch).split_at_mut_checked(len).unwrap_or_default();
    *scratch = rest;
    front
}

impl Conditioner {
    /// The network of `shape` that reads `variables` numbers, all at once, and gives `outputs`.
    pub fn dense(shape: Shape, variables: usize, outputs: usize) -> Self {
        Self {
            network: shape.network,
            numbers: shape.numbers,
            residual: shape.has(option::RESIDUAL),
            skip: false,
            spread: false,
            context: shape.context,
            steps: 0,
            variables,
            outputs,
        }
    }

    /// The masked network of `shape` that gives `outputs` for each of the D variables.
    pub fn masked(shape: Shape, outputs: usize) -> Self {
        Self {
            skip: shape.has(option::SKIP),
            spread: shape.has(option::SPREAD),
            steps: shape.dim,
            ..Self::dense(shape, shape.dim, outputs)
        }
    }

    /// Whether the widths make a network.
    pub(crate) fn exists(shape: Shape) -> bool {
        let [first, second, rest @ ..] = shape.network.hidden;
        if shape.has(option::RESIDUAL) {
            return first > 0 && (1..=16).contains(&second) && rest == [0; MAX_DEPTH - 2];
        }
        // No gap: behind the first width of 0 all are 0.
        first > 0 && shape.network.hidden.windows(2).all(|pair| pair[0] > 0 || pair[1] == 0)
    }

    /// Products of the hidden part.
    pub fn layers(self) -> usize {
        if self.residual {
            1 + 2 * usize::from(self.network.hidden[1])
        } else {
            self.network.hidden.iter().take_while(|width| **width > 0).count()
        }
    }

    fn full_width(self, layer: usize) -> usize {
        let layer = if self.residual { 0 } else { layer };
        usize::from(self.network.hidden.get(layer).copied().unwrap_or(0))
    }

    /// Units of a hidden layer that see no more than the context and the first `known` variables.
    pub fn width(self, layer: usize, known: usize) -> usize {
        let units = self.full_width(layer);
        if self.steps == 0 {
            return units;
        }
        // Degrees run from `low` to `high`, D − 1 of them, or D with a context.
        let low = usize::from(self.context == 0);
        let high = (self.steps - 1).max(low);
        if known < low || known >= self.steps {
            return 0;
        }
        let degrees = (high - low + 1).max(1);
        let reached = (known - low + 1).min(degrees);
        if !self.spread || units == 1 || degrees == 1 {
            // Unit i has degree low + i mod degrees.
            return units / degrees * reached + (units % degrees).min(reached);
        }
        if reached == degrees {
            return units;
        }
        // Unit i has degree low − 1 + round(1 + i (degrees − 1)/(units − 1)), halves to even: those
        // below reached − ½, and on it where reached is even.
        let (limit, per_unit) = ((2 * reached - 1) * (units - 1), (2 * (degrees - 1)).max(1));
        let (below, tie) = (limit / per_unit, limit.is_multiple_of(per_unit));
        if tie && reached % 2 == 1 { below } else { below + 1 }
    }

    /// Inputs of a hidden layer's units when `known` variables are known.
    fn fan_in(self, layer: usize, known: usize) -> usize {
        match layer {
            0 => self.context + if self.steps == 0 { self.variables } else { known },
            _ => self.width(layer - 1, known),
        }
    }

    /// Inputs that reach the outputs directly.
    fn skipped(self, known: usize) -> usize {
        if self.skip { self.context + known } else { 0 }
    }

    /// The first new unit of a layer at a step.
    fn first_new(self, layer: usize, known: usize) -> usize {
        if self.steps == 0 || known == 0 { 0 } else { self.width(layer, known - 1) }
    }

    /// Weights of the new units of step `known`.
    fn units_len(self, known: usize) -> usize {
        let rows = |l| self.width(l, known) - self.first_new(l, known);
        (0..self.layers()).map(|l| rows(l) * (self.fan_in(l, known) + 1)).sum()
    }

    /// Weights of the outputs of step `known`.
    fn outputs_len(self, known: usize) -> usize {
        let last = self.layers() - 1;
        self.outputs * (self.width(last, known) + self.skipped(known) + 1)
    }

    /// Weights of all steps.
    pub fn weight_len(self) -> usize {
        (0..self.steps.max(1)).map(|known| self.units_len(known) + self.outputs_len(known)).sum()
    }

    /// Context and variables.
    pub fn input_len(self) -> usize {
        self.context + self.variables
    }

    /// Units of all hidden layers.
    pub(crate) fn unit_len(self) -> usize {
        (0..self.layers()).map(|l| self.full_width(l)).sum()
    }

    /// Numbers of [`Units::before`] that a walk without gradient keeps.
    pub(crate) fn before_len(self) -> usize {
        if self.residual { self.unit_len() } else { 0 }
    }

    /// Numbers of [`Units::before`] that the gradient needs.
    pub(crate) fn kept_before_len(self) -> usize {
        if self.network.activation.keeps_slope() { self.before_len() } else { self.unit_len() }
    }

    /// Outputs of a step.
    pub(crate) fn output_len(self) -> usize {
        self.outputs
    }

    /// The groups of rows in the order of the weights.
    pub fn groups(self) -> impl Iterator<Item = Rows> {
        let mut start = 0;
        (0..self.steps.max(1))
            .flat_map(move |known| (0..=self.layers()).map(move |layer| (known, layer)))
            .map(move |(known, layer)| {
                let hidden = layer < self.layers();
                let (first, count) = if hidden {
                    let first = self.first_new(layer, known);
                    (first, self.width(layer, known) - first)
                } else {
                    (0, self.outputs)
                };
                let (last, skipped) = self.sources(known);
                let fan_in = if hidden { self.fan_in(layer, known) } else { last.len() + skipped };
                let layer = hidden.then_some(layer);
                let rows = Rows { layer, known, first, count, fan_in, start };
                start += rows.len();
                rows
            })
    }

    /// Writes weights of 0, and biases that make every output what `output` says of its position
    /// within its step.
    pub(crate) fn neutral<R: Real>(self, like: R, output: impl Fn(usize) -> R, w: &mut [R]) {
        w.fill(like.lift(0.0));
        for group in self.groups().filter(|group| group.layer.is_none()) {
            for row in 0..group.count {
                w[group.position(row, 0)] = output(row);
            }
        }
    }

    /// Multiply-adds of all steps: a pass of the network.
    pub fn multiply_adds(self) -> usize {
        // A bias is an addition alone.
        let rows = |l: usize, k| self.width(l, k) - self.first_new(l, k);
        let hidden = |k| (0..self.layers()).map(|l| rows(l, k) * self.fan_in(l, k)).sum::<usize>();
        let steps = 0..self.steps.max(1);
        steps.map(|k| hidden(k) + self.outputs_len(k) - self.outputs).sum()
    }

    /// The walk through the units that `known` variables unlock, whatever their numbers are: `product`
    /// gives new units what their sources sum up to, `add` adds to a unit its value before a residual
    /// block, `activate` is the activation of some units.
    #[inline(always)]
    fn walk<A: Copy>(
        self,
        known: usize,
        units: &mut Units<A>,
        mut product: impl FnMut(&[A], &mut [A]),
        add: impl Fn(A, A) -> A,
        activate: impl Fn(&mut [A]),
    ) {
        let mut start = 0;
        for layer in 0..self.layers() {
            let (from, to) = (self.first_new(layer, known), self.width(layer, known));
            // As in [`take`], no length is another than its shape's.
            let (below, own) = units.active.split_at_mut_checked(start).unwrap_or_default();
            let own = own.get_mut(from..to).unwrap_or_default();
            let source = match layer {
                0 => &*units.inputs,
                _ => below.get(start - self.full_width(layer - 1)..).unwrap_or_default(),
            };
            product(source.get(..self.fan_in(layer, known)).unwrap_or_default(), own);
            if self.residual && layer > 0 && layer % 2 == 0 {
                // h grows by the block; its earlier value is kept two layers below.
                let h = units.before.get(start - 2 * self.full_width(0) + from..);
                for (own, h) in own.iter_mut().zip(h.unwrap_or_default()) {
                    *own = add(*own, *h);
                }
            }
            if !units.before.is_empty() {
                let before = units.before.get_mut(start + from..).unwrap_or_default();
                before.iter_mut().zip(&*own).for_each(|(before, own)| *before = *own);
            }
            if !(self.residual && layer + 1 == self.layers()) {
                activate(own);
            }
            start += self.full_width(layer);
        }
    }

    /// Evaluates the units that `known` variables unlock; `at` is where their weights begin, then
    /// where they end.
    #[inline(always)]
    pub(crate) fn unlock<R: Real, W: Weights<R>>(
        self,
        w: W,
        at: &mut usize,
        known: usize,
        units: &mut Units<R>,
    ) {
        self.walk(
            known,
            units,
            #[inline(always)]
            |source, own| {
                let len = own.len() * (source.len() + 1);
                w.part(*at, len).product(source, &[], own);
                *at += len;
            },
            #[inline(always)]
            |own, h| own + h,
            #[inline(always)]
            |own| self.network.activation.forward_all(own),
        );
    }

    /// The outputs of a step, once its units are unlocked; `at` moves as in [`Self::unlock`].
    #[inline(always)]
    pub(crate) fn outputs<R: Real, W: Weights<R>>(
        self,
        w: W,
        at: &mut usize,
        known: usize,
        units: &Units<R>,
        out: &mut [R],
    ) {
        let len = self.outputs_len(known);
        let (last, direct) = self.reaching_outputs(known, units);
        w.part(*at, len).product(last, direct, out);
        *at += len;
    }

    /// What the outputs of a step are made of: units of the last layer, and inputs that reach them
    /// directly.
    #[inline(always)]
    fn reaching_outputs<'u, A>(self, known: usize, units: &'u Units<A>) -> (&'u [A], &'u [A]) {
        let (last, skipped) = self.sources(known);
        let last = units.active.get(last).unwrap_or_default();
        (last, units.inputs.get(..skipped).unwrap_or_default())
    }

    /// Where the outputs' inputs stand among the units, and how many inputs reach them directly.
    fn sources(self, known: usize) -> (core::ops::Range<usize>, usize) {
        let last = self.layers() - 1;
        let start = self.unit_len() - self.full_width(last);
        (start..start + self.width(last, known), self.skipped(known))
    }

    /// Adds to the units' gradients and to `dw` what `dout` means; steps are walked backwards, and
    /// `at` moves from where the step's weights end to where they begin.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "values and gradients of both ends")]
    pub(crate) fn outputs_backward<R: Real, W: Weights<R>, G: Gradient<R>>(
        self,
        w: W,
        at: &mut usize,
        known: usize,
        units: &Units<R>,
        dout: &[R],
        dunits: &mut UnitGradients<R>,
        dw: &mut G,
    ) {
        let len = self.outputs_len(known);
        *at -= len;
        let (last, skipped) = self.sources(known);
        let (active, inputs) = (&units.active[last.clone()], &units.inputs[..skipped]);
        dw.part(*at, len).add_product(dout, active, inputs);
        let (dactive, dinputs) = (&mut dunits.active[last], &mut dunits.inputs[..skipped]);
        w.part(*at, len).product_backward(dout, dactive, dinputs);
    }

    /// [`Self::unlock`] backwards: from the gradients of the units that a step unlocked to those of
    /// the units before them, of the inputs, and of the weights.
    #[inline(always)]
    pub(crate) fn unlock_backward<R: Real, W: Weights<R>, G: Gradient<R>>(
        self,
        w: W,
        at: &mut usize,
        known: usize,
        units: &Units<R>,
        dunits: &mut UnitGradients<R>,
        dw: &mut G,
    ) {
        let mut start = self.unit_len();
        for layer in (0..self.layers()).rev() {
            let full = self.full_width(layer);
            start -= full;
            let (from, to) = (self.first_new(layer, known), self.width(layer, known));
            let fan_in = self.fan_in(layer, known);
            let len = (to - from) * (fan_in + 1);
            *at -= len;
            let (below, own) = dunits.active.split_at_mut(start);
            let new = start + from..start + to;
            if !(self.residual && layer + 1 == self.layers()) {
                let before = if units.before.is_empty() { &units.active } else { &units.before };
                for (d, a) in own[from..to].iter_mut().zip(&before[new]) {
                    *d = *d * self.network.activation.backward(*a);
                }
            }
            if self.residual && layer % 2 == 0 && layer + 2 < self.layers() {
                // h goes on into the next block: what came back of it there is kept two layers up.
                let (own, above) = own.split_at_mut(2 * full);
                for (d, above) in own[from..to].iter_mut().zip(&above[from..to]) {
                    *d = *d + *above;
                }
            }
            let (w, mut dw, dout) = (w.part(*at, len), dw.part(*at, len), &own[from..to]);
            if layer == 0 {
                dw.add_product(dout, &units.inputs[..fan_in], &[]);
                w.product_backward(dout, &mut dunits.inputs[..fan_in], &mut []);
            } else {
                let source = start - self.full_width(layer - 1);
                dw.add_product(dout, &units.active[source..][..fan_in], &[]);
                w.product_backward(dout, &mut below[source..][..fan_in], &mut []);
            }
        }
    }
}
