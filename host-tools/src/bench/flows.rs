//! The flows that are measured, the same in every library, and how many floating-point operations
//! they cost.

use fluxlet::bijection::Layer;
use serde::{Deserialize, Serialize};

use crate::stack::Stack;
use crate::train::{FlowConfig, Kind, Rotation};

/// A flow that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flow {
    /// Five rational-quadratic couplings: D = 8, K = 8, two hidden layers of 64.
    Coupling,
    /// Three rational-quadratic autoregressive layers with networks of the same widths.
    Autoregressive,
    /// L = 4 times a Householder product of M = 4 and a rational-quadratic spline of K = 12; D = 16.
    Rotation,
    /// One of many small models: L = 2 times such a product and a spline of K = 8; D = 8. On GPUs only.
    Fleet,
}

/// What is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// A step of the optimiser.
    Train,
    /// The log density of rows.
    LogProb,
    /// New rows from noise.
    Sample,
}

impl Flow {
    /// Every flow that a CPU is measured with.
    pub const ALL: [Self; 3] = [Self::Coupling, Self::Autoregressive, Self::Rotation];

    /// Its name, as on the command line of the peers' scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coupling => "coupling",
            Self::Autoregressive => "autoregressive",
            Self::Rotation => "rotation",
            Self::Fleet => "fleet",
        }
    }

    /// Its layers. Each flow begins with the affine layer that standardises the data, which no
    /// other library's has.
    pub fn stack(self) -> Stack {
        match self {
            Self::Coupling => coupling(5),
            Self::Autoregressive => conditioned(Kind::Autoregressive, 3),
            Self::Rotation => {
                let flow = FlowConfig {
                    layers: 4,
                    reflections: 4,
                    bins: 12,
                    components: 1,
                    ..Default::default()
                };
                flow.stack(16, 0, false).expect("a rotation stack has no limits here")
            }
            Self::Fleet => {
                let flow = FlowConfig { components: 1, ..Default::default() };
                flow.stack(8, 0, false).expect("a rotation stack has no limits here")
            }
        }
    }

    /// Floating-point operations of one call of a task: two a multiply-add, three passes a
    /// training step (forward, and backward with respect to numbers and to weights). With networks
    /// their products alone are counted, of masked networks the live ones; the rotation stack has
    /// none, and all of its layers' operations are.
    pub fn flop(self, task: Task) -> f64 {
        let passes = if task == Task::Train { 3 } else { 1 };
        2.0 * (passes * task.batch() * multiply_adds(&self.stack())) as f64
    }
}

impl Task {
    /// Every task.
    pub const ALL: [Self; 3] = [Self::Train, Self::LogProb, Self::Sample];

    /// Its name, as on the command line of the peers' scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::LogProb => "log_prob",
            Self::Sample => "sample",
        }
    }

    /// Rows of one call.
    pub fn batch(self) -> usize {
        match self {
            Self::Train => 512,
            Self::LogProb => 4096,
            Self::Sample => 1024,
        }
    }

    /// What is counted of a call: steps, or rows.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Train => "steps",
            Self::LogProb => "rows scored",
            Self::Sample => "rows drawn",
        }
    }

    /// How many of them a call makes.
    pub fn units(self) -> usize {
        if self == Self::Train { 1 } else { self.batch() }
    }
}

/// The reference flow with this many couplings.
pub(super) fn coupling(depth: usize) -> Stack {
    conditioned(Kind::Coupling, depth)
}

fn conditioned(kind: Kind, layers: usize) -> Stack {
    let rotation = Some(Rotation::Reverse);
    let flow = FlowConfig { kind, layers, rotation, components: 1, ..Default::default() };
    flow.stack(8, 0, false).expect("eight numbers have two parts")
}

/// Multiply-adds of one row's forward pass: those of the networks, where there are some.
fn multiply_adds(stack: &Stack) -> usize {
    let network = |layer: Layer, shape| layer.conditioner(shape).map(|(n, _)| n.multiply_adds());
    let networks: Option<usize> =
        stack.layers.iter().filter_map(|(l, s)| network(*l, *s)).reduce(|a, b| a + b);
    let all = || stack.layers.iter().map(|(layer, shape)| layer.multiply_adds(*shape)).sum();
    networks.unwrap_or_else(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_step_of_the_reference_flow_is_157_million_operations() {
        // Five networks 4 → 64 → 64 → 4 (3·8 − 1), three passes, two operations, 512 rows.
        let network = 4 * 64 + 64 * 64 + 64 * 4 * 23;
        assert_eq!(Flow::Coupling.flop(Task::Train), (5 * network * 3 * 2 * 512) as f64);
        assert_eq!(Flow::Coupling.flop(Task::LogProb), (5 * network * 2 * 4096) as f64);
    }

    #[test]
    fn defaults_of_a_configuration_do_not_change_what_is_measured() {
        let sizes = |flow: Flow| {
            let stack = flow.stack();
            (stack.dim, stack.layers.len(), stack.theta_len())
        };
        let network = 5 * 64 + 65 * 64 + 65 * 4 * 23;
        assert_eq!(sizes(Flow::Coupling), (8, 10, 2 * 8 + 5 * network));
        assert_eq!(sizes(Flow::Rotation), (16, 12, 4 * (2 * 16 + 4 * 16 + 16 * (3 * 12 - 1))));
        assert_eq!(sizes(Flow::Fleet), (8, 6, 2 * (2 * 8 + 4 * 8 + 8 * (3 * 8 - 1))));
        assert_eq!(sizes(Flow::Autoregressive).1, 6);
    }
}
