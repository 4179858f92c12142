//! Where the numbers of Pyro's networks stand among our weights.
//!
//! Ours are stored row by row in the order of the walk, what a mask removes not at all. Pyro's
//! degrees do not fall from one unit to the next, so units keep their order.

use fluxlet::conditioner::{Activation, Conditioner, MAX_DEPTH, Network, Rows};

use crate::block::Link;
use crate::common::goldens::Golden;

/// The network of a case's configuration.
pub(crate) fn network(golden: &Golden) -> Network {
    let config = &golden.entry["config"];
    let name = golden.text("nonlinearity");
    let activation = Activation::ALL.into_iter().find(|activation| activation.name() == name);
    let mut hidden = [0; MAX_DEPTH];
    let widths = config["hidden_dims"].as_array().expect("hidden widths");
    assert!(widths.len() <= MAX_DEPTH, "{}: too many layers", golden.id());
    for (hidden, width) in hidden.iter_mut().zip(widths) {
        *hidden = width.as_u64().expect("a width") as u16;
    }
    let activation = activation.unwrap_or_else(|| panic!("{}: activation {name}", golden.id()));
    Network { hidden, activation }
}

/// How Pyro stores a network.
pub(crate) struct Stored<'g> {
    pub(crate) golden: &'g Golden,
    /// What the names of its tensors begin with.
    pub(crate) prefix: &'static str,
    pub(crate) network: Network,
    pub(crate) context: usize,
    /// π of a masked network; empty for a dense one.
    pub(crate) order: Vec<usize>,
}

impl Stored<'_> {
    fn tensor(&self, layer: usize, what: &str) -> String {
        format!("{}layers.{layer}.{what}", self.prefix)
    }

    /// Pyro's column of our input `i`: context first in both, then we go by π.
    fn input(&self, i: usize) -> usize {
        match i.checked_sub(self.context) {
            Some(variable) if !self.order.is_empty() => self.context + self.order[variable],
            _ => i,
        }
    }

    /// Where each weight of `network` stands; `output` is Pyro's output for a step and a row.
    pub(crate) fn links(
        &self,
        network: Conditioner,
        output: impl Fn(usize, usize) -> usize,
    ) -> Vec<Link> {
        let mut links = Vec::new();
        for group in network.groups() {
            for row in 0..group.count {
                let pyro_row = match group.layer {
                    Some(_) => group.first + row,
                    None => output(group.known, row),
                };
                self.row(network, group, row, pyro_row, &mut links);
            }
        }
        assert_eq!(links.len(), network.weight_len(), "{}: weights", self.golden.id());
        links.sort_by_key(|link| link.theta);
        self.check_masks(&links);
        links
    }

    fn row(
        &self,
        network: Conditioner,
        group: Rows,
        row: usize,
        pyro_row: usize,
        links: &mut Vec<Link>,
    ) {
        let layer = group.layer.unwrap_or(network.layers());
        let (weight, bias) = (self.tensor(layer, "weight"), self.tensor(layer, "bias"));
        let skip = format!("{}skip_layer.weight", self.prefix);
        let inputs = network.input_len();
        let columns = match layer {
            0 => inputs,
            _ => usize::from(self.network.hidden[layer - 1]),
        };
        // Inputs beyond the units below reach the outputs directly.
        let below = match (group.layer, layer) {
            (None, _) => network.width(layer - 1, group.known),
            _ => group.fan_in,
        };
        for column in 0..=group.fan_in {
            let theta = group.position(row, column);
            let (tensor, at) = match column.checked_sub(1) {
                None => (&bias, pyro_row),
                Some(i) if i >= below => (&skip, pyro_row * inputs + self.input(i - below)),
                Some(i) if layer == 0 => (&weight, pyro_row * columns + self.input(i)),
                Some(i) => (&weight, pyro_row * columns + i),
            };
            links.push(Link { theta, tensor: tensor.clone(), at, slope: 1.0 });
        }
    }

    /// What we store is what Pyro's masks let through, no more and no less.
    fn check_masks(&self, links: &[Link]) {
        for name in self.golden.names("param.") {
            let Some(layer) = name.strip_suffix(".mask") else { continue };
            let weight = format!("{layer}.weight");
            let mut mask = self.golden.parameter(&name);
            for link in links.iter().filter(|link| link.tensor == weight) {
                assert_eq!(mask[link.at], 1.0, "{}: {weight} {}", self.golden.id(), link.at);
                mask[link.at] = 0.0;
            }
            let left = mask.iter().position(|live| *live != 0.0);
            assert_eq!(left, None, "{}: {weight} is live and not stored", self.golden.id());
        }
    }
}
