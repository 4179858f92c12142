//! Layers of ours with their weights, before they become a stack.

use fluxlet::bijection::{Layer, Shape, Tails};

/// A layer and its weights, constants included.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) layer: Layer,
    pub(super) shape: Shape,
    pub(super) w: Vec<f64>,
}

impl Part {
    /// A layer with neutral weights.
    pub(super) fn neutral(layer: Layer, shape: Shape) -> Result<Self, String> {
        if !layer.exists(shape) {
            return Err(format!("{} of this size does not exist here", layer.name()));
        }
        let mut w = vec![0.0; layer.weight_len(shape)];
        layer.neutral(shape, 0.0, &mut w);
        Ok(Self { layer, shape, w })
    }
}

/// z = (x − shift) scale; a negative scale takes a diagonal matrix behind it.
pub(super) fn affine(shift: &[f64], scale: &[f64]) -> Result<Vec<Part>, String> {
    let dim = shift.len();
    if scale.contains(&0.0) {
        return Err("a scale of zero".into());
    }
    let mut part = Part::neutral(Layer::Affine, Shape::new(dim, 0, 0))?;
    part.w[..dim].copy_from_slice(shift);
    for (w, scale) in part.w[dim..].iter_mut().zip(scale) {
        *w = scale.abs();
    }
    part.w[2 * dim] = scale.iter().map(|scale| ln(scale.abs())).sum();
    let mut parts = vec![part];
    if scale.iter().any(|scale| *scale < 0.0) {
        let mut signs = Part::neutral(Layer::LowerUpper, Shape::new(dim, 0, 0))?;
        for (i, scale) in scale.iter().enumerate() {
            signs.w[i * dim + i] = scale.signum();
        }
        parts.push(signs);
    }
    Ok(parts)
}

/// z = x + bias.
pub(super) fn shift(bias: &[f64]) -> Result<Vec<Part>, String> {
    let minus: Vec<f64> = bias.iter().map(|bias| -bias).collect();
    affine(&minus, &vec![1.0; bias.len()])
}

/// zᵢ = x\[pᵢ\]; nothing where that changes nothing.
pub(super) fn permutation(order: &[usize]) -> Result<Vec<Part>, String> {
    if order.iter().copied().eq(0..order.len()) {
        return Ok(Vec::new());
    }
    let mut part = Part::neutral(Layer::Permutation, Shape::new(order.len(), 0, 0))?;
    part.w = order.iter().map(|place| *place as f64).collect();
    Ok(vec![part])
}

/// The positions that undo `order`.
pub(super) fn inverse_order(order: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; order.len()];
    for (i, place) in order.iter().enumerate() {
        inverse[*place] = i;
    }
    inverse
}

/// A product of reflections along `u` \[M, D\], of any length but 0.
pub(super) fn householder(u: &[f64], dim: usize) -> Result<Part, String> {
    let mut part = Part::neutral(Layer::Householder, Shape::new(dim, u.len() / dim, 0))?;
    part.layer.constrain(part.shape, u, &mut part.w);
    Ok(part)
}

/// z = P L U x: `matrix` \[n, n\] holds L below its unit diagonal and U on and above it; `order` is P.
/// Each channel stands for `copies` numbers that follow one another.
pub(super) fn lower_upper(matrix: &[f64], order: &[usize], copies: usize) -> Result<Part, String> {
    let channels = order.len();
    let dim = channels * copies;
    let mut part = Part::neutral(Layer::LowerUpper, Shape::new(dim, 0, 0))?;
    part.w[..dim * dim].fill(0.0);
    let mut sum = 0.0;
    for i in 0..channels {
        for j in 0..channels {
            for copy in 0..copies {
                let (row, column) = (i * copies + copy, j * copies + copy);
                part.w[row * dim + column] = matrix[i * channels + j];
            }
        }
        sum += ln(matrix[i * channels + i].abs()) * copies as f64;
        for copy in 0..copies {
            part.w[dim * dim + i * copies + copy] = (order[i] * copies + copy) as f64;
        }
    }
    part.w[dim * dim + dim] = sum;
    Ok(part)
}

/// Splines with outer knots at ±`bound`, outer slopes `slope`, and identity tails. `theta` has each
/// dimension's widths, heights, inner slopes and, linear-rational, λ.
pub(super) fn spline(
    layer: Layer,
    (dim, bins): (usize, usize),
    bound: f64,
    slope: f64,
    theta: &[f64],
) -> Result<Part, String> {
    let shape = Shape::new(dim, bins, Tails::Identity as u8);
    let mut part = Part::neutral(layer, shape)?;
    spline_ends(layer, bins, bound, slope, &mut part.w);
    layer.constrain(shape, theta, &mut part.w);
    Ok(part)
}

/// Writes the outer knots of splines.
pub(super) fn spline_ends(layer: Layer, bins: usize, bound: f64, slope: f64, w: &mut [f64]) {
    let (stride, slope) = match layer {
        Layer::RationalLinear => (4 * bins + 3, slope.sqrt()),
        _ => (3 * bins + 3, slope),
    };
    for w in w.chunks_exact_mut(stride) {
        w[..3].copy_from_slice(&[-bound, -bound, slope]);
        w[3 * bins..3 * bins + 3].copy_from_slice(&[bound, bound, slope]);
    }
}

/// Turns a sequence of layers into its inverse.
pub(super) fn turn_round(parts: &mut [Part]) {
    parts.reverse();
    for Part { layer, shape, w } in parts {
        let dim = shape.dim;
        match layer {
            // Their inverses are layers of the same kind, and no slower.
            Layer::Affine => {
                let (shift, rest) = w.split_at_mut(dim);
                for (shift, scale) in shift.iter_mut().zip(rest) {
                    *shift *= -*scale;
                    *scale = 1.0 / *scale;
                }
                w[2 * dim] = -w[2 * dim];
            }
            Layer::Permutation => {
                let order: Vec<usize> = w.iter().map(|place| *place as usize).collect();
                *w = inverse_order(&order).into_iter().map(|place| place as f64).collect();
            }
            Layer::Householder => {
                *w = w.rchunks_exact(dim).flatten().copied().collect();
            }
            _ => shape.inverted = !shape.inverted,
        }
    }
}

pub(super) fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// The free number of a slope: m + softplus(a) = slope, m = 1e-3.
pub(super) fn free_slope(slope: f64) -> f64 {
    ln(libm::expm1(slope - fluxlet::bijection::MIN_SLOPE))
}
