//! How large the inputs and units of each network become on readings.

use fluxlet::Weights;
use fluxlet::bijection::Layer;
use fluxlet::model::LayerWeights;

/// Of one network; empty where a layer has none.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges {
    /// Largest |input|.
    pub(super) input: f32,
    /// Largest |unit| of each hidden layer.
    pub(super) units: Vec<f32>,
}

/// Runs the layers over `inputs`, rows of `width` numbers.
pub(super) fn gather(layers: &[LayerWeights], inputs: &[f32], width: usize) -> Vec<Ranges> {
    let mut ranges = vec![Ranges::default(); layers.len()];
    let mut x = vec![0.0; width];
    for row in inputs.chunks_exact(width) {
        x.copy_from_slice(row);
        for (step, ranges) in layers.iter().zip(&mut ranges) {
            let before = x.clone();
            let len = step.shape.dim + step.shape.context;
            let mut scratch = vec![0.0; step.layer.scratch_len(step.shape)];
            let (shape, weights) = (step.shape, step.weights);
            if shape.inverted {
                step.layer.inverse(shape, weights, &mut x[..len], &mut scratch);
            } else {
                step.layer.forward(shape, weights, &mut x[..len], &mut scratch);
            }
            // A network reads the side of the data.
            let side = if shape.inverted { &x[..len] } else { &before[..len] };
            ranges.extend(step, side);
        }
    }
    ranges
}

fn largest(numbers: &[f32], so_far: f32) -> f32 {
    let sizes = numbers.iter().map(|x| x.abs()).filter(|x| x.is_finite());
    sizes.fold(so_far, f32::max)
}

impl Ranges {
    fn extend(&mut self, step: &LayerWeights, x: &[f32]) {
        let Some((network, start)) = step.layer.conditioner(step.shape) else { return };
        let (x, context) = x.split_at(step.shape.dim);
        let variables: Vec<f32> = match step.layer {
            Layer::Coupling => x[..step.shape.split].to_vec(),
            // Behind the three constants, the order of the variables.
            Layer::Autoregressive => {
                (0..x.len()).map(|i| x[step.weights.get(3 + i) as usize]).collect()
            }
            _ => Vec::new(),
        };
        let inputs = [context, &variables].concat();
        self.input = largest(&inputs, self.input);
        let mut out = vec![0.0; network.all_outputs_len()];
        let mut scratch = vec![0.0; network.scratch_len()];
        let weights = Weights::<f32>::part(step.weights, start, network.weight_len());
        network.forward(weights, &inputs, &mut out, &mut scratch);
        self.units.resize(network.layers(), 0.0);
        for (layer, range) in self.units.iter_mut().enumerate() {
            *range = largest(network.units_of(layer, &scratch), *range);
        }
    }
}
