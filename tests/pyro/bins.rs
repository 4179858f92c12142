//! Pyro's bins where they are not ours: less than 1e-6 above a knot.
//!
//! The difference is one of single splines: at such a place the oracle's value and gradient of Pyro's
//! bin take the place of the oracle's of our bin, and what that means for the spline's parameters
//! goes back through the network that gave them.

use fluxlet::bijection::{Layer, Shape};

use crate::block::{Block, Gradient, Sum};
use crate::common::draw::SplineTables;
use crate::common::oracle::Spline;

/// A spline of a block: the number that it maps, and where its raw parameters stand.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) coordinate: usize,
    /// First of the raw parameters: in θ, or among the network's outputs.
    pub(crate) start: usize,
    pub(crate) from_network: bool,
    pub(crate) bins: usize,
    pub(crate) bound: f64,
    pub(crate) linear: bool,
}

/// A spline for which Pyro takes another bin than we do.
pub(crate) struct Choice {
    site: Site,
    spline: Spline,
    theirs: usize,
    ours: usize,
}

impl Site {
    /// Number of raw parameters.
    pub(crate) fn len(&self) -> usize {
        if self.linear { 4 * self.bins - 1 } else { 3 * self.bins - 1 }
    }

    /// Layer and shape of one such spline.
    pub(crate) fn layer(&self) -> (Layer, Shape) {
        let layer = if self.linear { Layer::RationalLinear } else { Layer::RationalQuadratic };
        (layer, Shape::new(1, self.bins, 0))
    }

    /// The bin that our kernel takes at `x`, by its very knots, which may lie a rounding beside
    /// Pyro's.
    fn our_bin(&self, raw: &[f64], x: f64) -> usize {
        let (layer, shape) = self.layer();
        let tables = SplineTables::new(layer, shape).expect("a spline");
        let ends = [-self.bound, self.bound];
        let constants = |w: &mut [f64]| tables.set_ends(w, 0, ends, ends, 0.999);
        let block = Block::new((layer, shape), raw, Vec::new(), constants, 0.0);
        let below = tables.numbers(&block.w, 0, 0).iter().filter(|knot| x >= **knot).count();
        below.saturating_sub(1).min(self.bins - 1)
    }
}

impl Block<f64> {
    /// What the network gives at x; empty without a network.
    fn outputs(&self, x: &[f64]) -> Vec<f64> {
        let Some((network, start, _)) = self.network() else { return Vec::new() };
        let inputs: Vec<f64> = self.read_by_network().into_iter().map(|i| x[i]).collect();
        let mut outputs = vec![0.0; network.all_outputs_len()];
        let mut scratch = vec![0.0; network.scratch_len()];
        network.forward(&self.w[start..], &inputs, &mut outputs, &mut scratch);
        outputs
    }

    /// The splines at which Pyro's bin, by `values` on `axis`, is not ours at `x`.
    pub(crate) fn choices(&self, x: &[f64], axis: usize, values: &[f64]) -> Vec<Choice> {
        if self.sites.is_empty() {
            return Vec::new();
        }
        let outputs = self.outputs(x);
        let choice = |site: &Site| {
            let value = values[site.coordinate];
            let source = if site.from_network { &outputs } else { &self.theta };
            let raw = source[site.start..][..site.len()].to_vec();
            let ours = site.our_bin(&raw, x[site.coordinate]);
            let Site { bins, bound, linear, .. } = *site;
            let spline = Spline { raw, bins, bound, linear };
            let theirs = spline.bin_of_pyro(axis, value);
            let other = value.abs() <= bound && theirs != ours;
            other.then_some(Choice { site: site.clone(), spline, theirs, ours })
        };
        self.sites.iter().filter_map(choice).collect()
    }

    /// y and ladj at x as Pyro's bins give them.
    pub(crate) fn run_as_pyro(&self, x: &[f64], choices: &[Choice]) -> (Vec<f64>, f64) {
        let (mut y, mut ladj) = self.run(x, false);
        for choice in choices {
            let i = choice.site.coordinate;
            let [theirs, ours] = choice.values(x[i]);
            y[i] += theirs.0 - ours.0;
            ladj += theirs.1 - ours.1;
        }
        (y, ladj)
    }
}

impl Choice {
    pub(crate) fn coordinate(&self) -> usize {
        self.site.coordinate
    }

    /// y and ln dy/dx by the formulas of Pyro's bin, and of ours.
    pub(crate) fn values(&self, x: f64) -> [(f64, f64); 2] {
        [self.theirs, self.ours].map(|k| self.spline.forward(k, x))
    }

    /// Puts the contribution of Pyro's bin in the place of ours.
    pub(crate) fn exchange(
        &self,
        block: &Block<f64>,
        x: &[f64],
        dz: &[f64],
        dladj: f64,
        gradient: &mut Gradient,
    ) {
        let i = self.site.coordinate;
        for (k, sign) in [(self.theirs, 1.0), (self.ours, -1.0)] {
            let of_bin = self.spline.gradient(k, x[i], dz[i], dladj);
            gradient.x.exchange(i, sign * of_bin.x);
            let raw: Vec<f64> = of_bin.raw.iter().map(|d| sign * d).collect();
            if self.site.from_network {
                through_network(block, x, &raw, self.site.start, gradient);
            } else {
                add_at(&mut gradient.theta, self.site.start, &raw);
            }
        }
    }
}

fn add_at(sum: &mut Sum, start: usize, contributions: &[f64]) {
    contributions.iter().enumerate().for_each(|(j, d)| sum.exchange(start + j, *d));
}

/// Adds what the gradient `raw` of the outputs from `start` on means.
fn through_network(
    block: &Block<f64>,
    x: &[f64],
    raw: &[f64],
    start: usize,
    gradient: &mut Gradient,
) {
    let (network, in_w, in_theta) = block.network().expect("a site of the network");
    let read = block.read_by_network();
    let inputs: Vec<f64> = read.iter().map(|i| x[*i]).collect();
    let mut doutputs = vec![0.0; network.all_outputs_len()];
    doutputs[start..start + raw.len()].copy_from_slice(raw);
    let mut dinputs = vec![0.0; inputs.len()];
    let mut dw = vec![0.0; network.weight_len()];
    let mut scratch = vec![0.0; network.backward_scratch_len()];
    let w = &block.w[in_w..];
    network.backward(w, &inputs, &doutputs, &mut dinputs, &mut dw[..], &mut scratch);
    // The weights of a network are free parameters as they are.
    add_at(&mut gradient.theta, in_theta, &dw);
    read.iter().zip(dinputs).for_each(|(i, d)| gradient.x.exchange(*i, d));
}
