//! The stack of layers that is trained: its shape, where each layer's numbers stand in θ and w, and
//! how they turn into a packed model.

use core::ops::Range;

use fluxlet::bijection::{Layer, Shape};
use fluxlet::model::Parts;
use fluxlet::{Base, Real};

/// Layers from data to latent, and the density of the latent.
#[derive(Clone, Debug, PartialEq)]
pub struct Stack {
    /// D.
    pub dim: usize,
    /// C, numbers of context behind the D of each row.
    pub context: usize,
    /// The layers; every shape's `dim` is D.
    pub layers: Vec<(Layer, Shape)>,
    /// Density of the latent.
    pub base: Base,
}

/// Where one layer's numbers stand.
#[derive(Clone, Debug)]
pub struct Span {
    /// The layer.
    pub layer: Layer,
    /// Its shape.
    pub shape: Shape,
    /// Its free parameters in θ.
    pub theta: Range<usize>,
    /// Its packed weights in w.
    pub weights: Range<usize>,
}

impl Stack {
    /// D + C: numbers of one row.
    pub fn row_len(&self) -> usize {
        self.dim + self.context
    }

    /// Layers with the places of their numbers.
    pub fn spans(&self) -> impl Iterator<Item = Span> {
        let (mut theta, mut weights) = (0, 0);
        self.layers.iter().map(move |&(layer, shape)| {
            let span = Span {
                layer,
                shape,
                theta: theta..theta + layer.theta_len(shape),
                weights: weights..weights + layer.weight_len(shape),
            };
            (theta, weights) = (span.theta.end, span.weights.end);
            span
        })
    }

    /// Places of the base's numbers in θ and w, behind those of the layers.
    pub fn base_spans(&self) -> (Range<usize>, Range<usize>) {
        let (theta, weights) = self.spans().last().map_or((0, 0), |s| (s.theta.end, s.weights.end));
        let theta_len = self.base.theta_len(self.dim);
        let weight_len = self.base.weight_len(self.dim);
        (theta..theta + theta_len, weights..weights + weight_len)
    }

    /// Number of free parameters.
    pub fn theta_len(&self) -> usize {
        self.base_spans().0.end
    }

    /// Number of packed weights.
    pub fn weight_len(&self) -> usize {
        self.base_spans().1.end
    }

    /// θ → w; constants in `w` stay.
    pub fn constrain<R: Real>(&self, theta: &[R], w: &mut [R]) {
        for Span { layer, shape, theta: t, weights } in self.spans() {
            layer.constrain(shape, &theta[t], &mut w[weights]);
        }
        let (t, weights) = self.base_spans();
        self.base.constrain(self.dim, &theta[t], &mut w[weights]);
    }

    /// dw → dθ.
    pub fn constrain_backward<R: Real>(&self, theta: &[R], w: &[R], dw: &[R], dtheta: &mut [R]) {
        if let Some(first) = dtheta.first() {
            let zero = first.lift(0.0);
            dtheta.fill(zero);
        }
        for Span { layer, shape, theta: t, weights } in self.spans() {
            let (w, dw) = (&w[weights.clone()], &dw[weights]);
            layer.constrain_backward(shape, &theta[t.clone()], w, dw, &mut dtheta[t]);
        }
        let (t, weights) = self.base_spans();
        let (w, dw) = (&w[weights.clone()], &dw[weights]);
        self.base.constrain_backward(self.dim, &theta[t.clone()], w, dw, &mut dtheta[t]);
    }

    /// The packed model of these weights.
    pub fn pack(&self, weights: &[f32], sections: &[([u8; 4], &[u8])]) -> Vec<u8> {
        let Self { dim, context, layers, base } = self;
        let (dim, context, base) = (*dim, *context, *base);
        let parts = Parts { dim, context, layers, base, weights, sections };
        let mut bytes = vec![0; parts.byte_len()];
        parts.write(&mut bytes);
        bytes
    }
}
