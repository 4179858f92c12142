//! A layer of ours that stands for a transform of Pyro's, or for a part of it.

use std::collections::BTreeMap;

use fluxlet::bijection::{Layer, Shape};
use fluxlet::conditioner::Conditioner;
use fluxlet::math::Real;

use crate::bins::{Choice, Site};
use crate::common::goldens::Golden;

/// A parameter of Pyro's on which a free parameter of ours depends.
#[derive(Clone)]
pub(crate) struct Link {
    /// Position in θ.
    pub(crate) theta: usize,
    /// Pyro's tensor, and the position in it.
    pub(crate) tensor: String,
    pub(crate) at: usize,
    /// ∂θ/∂parameter; 1 where θ is the parameter.
    pub(crate) slope: f64,
}

/// The values of the parameters that `links` name.
pub(crate) fn values(golden: &Golden, links: &[Link]) -> Vec<f64> {
    let mut tensors: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for link in links {
        tensors.entry(&link.tensor).or_insert_with(|| golden.parameter(&link.tensor));
    }
    links.iter().map(|link| tensors[link.tensor.as_str()][link.at]).collect()
}

/// Part of a transform that has one log determinant a row: one dimension of a spline, all dimensions
/// of a rotation.
pub(crate) struct Block<R> {
    pub(crate) layer: Layer,
    pub(crate) shape: Shape,
    pub(crate) w: Vec<R>,
    pub(crate) theta: Vec<R>,
    pub(crate) links: Vec<Link>,
    /// Where its D numbers stand in a row of x, and in a row of y.
    pub(crate) from: Vec<usize>,
    pub(crate) to: Vec<usize>,
    /// −1 where Pyro's y is −z: an affine layer of ours keeps the direction.
    pub(crate) sign: f64,
    /// Its splines.
    pub(crate) sites: Vec<Site>,
    /// Lends its kind of number.
    pub(crate) like: R,
}

/// A gradient, with the size of what was exchanged for Pyro's bins: steep bins come and go, and leave
/// their roundings.
pub(crate) struct Gradient {
    /// With respect to the D numbers, then the context.
    pub(crate) x: Sum,
    pub(crate) theta: Sum,
}

/// Numbers that contributions are added to.
pub(crate) struct Sum {
    pub(crate) total: Vec<f64>,
    pub(crate) exchanged: Vec<f64>,
}

impl Sum {
    pub(crate) fn new(len: usize) -> Self {
        Self { total: vec![0.0; len], exchanged: vec![0.0; len] }
    }

    /// Adds a contribution of Pyro's bin, or takes one of ours away.
    pub(crate) fn exchange(&mut self, i: usize, by: f64) {
        self.total[i] += by;
        self.exchanged[i] += by.abs();
    }

    /// Adds `factor` times entry `from` of `other` to entry `to`.
    pub(crate) fn add(&mut self, to: usize, other: &Self, from: usize, factor: f64) {
        self.total[to] += factor * other.total[from];
        self.exchanged[to] += factor.abs() * other.exchanged[from];
    }
}

impl<R: Real> Block<R> {
    /// A layer with these weights, constants of Pyro's; it maps the first D numbers of a row.
    pub(crate) fn constant(layer: Layer, shape: Shape, w: &[f64], like: R) -> Self {
        assert!(layer.exists(shape), "{layer:?} {shape:?}");
        let w: Vec<R> = w.iter().map(|w| like.constant(*w)).collect();
        let mut theta = vec![like; layer.theta_len(shape)];
        layer.unconstrain(shape, &w, &mut theta);
        let places: Vec<usize> = (0..shape.dim).collect();
        let (links, sites) = (Vec::new(), Vec::new());
        Self {
            layer,
            shape,
            w,
            theta,
            links,
            from: places.clone(),
            to: places,
            sign: 1.0,
            sites,
            like,
        }
    }

    /// A layer with these free parameters; `constants` writes what is no parameter.
    pub(crate) fn new(
        (layer, shape): (Layer, Shape),
        theta: &[f64],
        links: Vec<Link>,
        constants: impl FnOnce(&mut [R]),
        like: R,
    ) -> Self {
        assert!(layer.exists(shape), "{layer:?} {shape:?}");
        assert_eq!(theta.len(), layer.theta_len(shape), "{layer:?} {shape:?}: parameters");
        let theta: Vec<R> = theta.iter().map(|theta| like.constant(*theta)).collect();
        let mut w = vec![like; layer.weight_len(shape)];
        layer.neutral(shape, like, &mut w);
        constants(&mut w);
        layer.constrain(shape, &theta, &mut w);
        let places: Vec<usize> = (0..shape.dim).collect();
        let sites = Vec::new();
        Self {
            layer,
            shape,
            w,
            theta,
            links,
            from: places.clone(),
            to: places,
            sign: 1.0,
            sites,
            like,
        }
    }

    /// Maps the numbers at `places` of a row.
    pub(crate) fn at(mut self, places: Vec<usize>) -> Self {
        (self.from, self.to) = (places.clone(), places);
        self
    }

    /// z and ladj of the D numbers and the context, or u and the inverse's ladj.
    pub(crate) fn run(&self, x: &[f64], inverse: bool) -> (Vec<R>, R) {
        let like = self.like;
        let mut x: Vec<R> = x.iter().map(|x| like.constant(*x)).collect();
        let mut scratch = vec![like; self.layer.scratch_len(self.shape)];
        let w = &self.w[..];
        let ladj = if inverse {
            self.layer.inverse(self.shape, w, &mut x, &mut scratch)
        } else {
            self.layer.forward(self.shape, w, &mut x, &mut scratch)
        };
        x.truncate(self.shape.dim);
        (x, ladj)
    }

    /// The network, and where its weights begin in w and in θ.
    pub(crate) fn network(&self) -> Option<(Conditioner, usize, usize)> {
        let (network, start) = self.layer.conditioner(self.shape)?;
        Some((network, start, self.theta.len() - network.weight_len()))
    }

    /// Which of the D + C numbers the network reads, in its order.
    pub(crate) fn read_by_network(&self) -> Vec<usize> {
        let Shape { dim, context, split, .. } = self.shape;
        let order = self.w[3..].iter().take(dim).map(|position| position.to_index());
        let variables: Vec<usize> = match self.layer {
            Layer::Coupling => (0..split).collect(),
            Layer::Autoregressive => order.collect(),
            _ => Vec::new(),
        };
        (dim..dim + context).chain(variables).collect()
    }
}

impl Block<f64> {
    /// Gradient of dz · z + dladj · ladj at x (with the context), as if the bins were Pyro's.
    pub(crate) fn gradient(
        &self,
        x: &[f64],
        dz: &[f64],
        dladj: f64,
        choices: &[Choice],
    ) -> Gradient {
        let (layer, shape) = (self.layer, self.shape);
        let mut gradient = Gradient { x: Sum::new(x.len()), theta: Sum::new(self.theta.len()) };
        let dx = &mut gradient.x.total;
        dx[..dz.len()].copy_from_slice(dz);
        let mut dw = vec![0.0; self.w.len()];
        let mut scratch = vec![0.0; layer.backward_scratch_len(shape)];
        let w = &self.w[..];
        layer.backward(shape, w, &mut x.to_vec(), dx, dladj, &mut dw, &mut scratch);
        layer.constrain_backward(shape, &self.theta, w, &dw, &mut gradient.theta.total);
        for choice in choices {
            choice.exchange(self, x, dz, dladj, &mut gradient);
        }
        gradient
    }

    /// Gradient of du · u + dladj · ladj⁻¹ at u = T⁻¹(v), with respect to v, the context and θ. With L
    /// the forward ladj and J its Jacobian, dv = J⁻ᵀ (du − dladj ∂L/∂u), and θ and context, which move
    /// u by −J⁻¹ ∂T, get the forward gradient of −dv and −dladj.
    pub(crate) fn inverse_gradient(
        &self,
        v: &[f64],
        u: &[f64],
        du: &[f64],
        dladj: f64,
        choices: &[Choice],
    ) -> Gradient {
        if let Some((turned, signs)) = self.turned() {
            let mut gradient = turned.gradient(v, du, dladj, &[]);
            let theta = gradient.theta.total.iter_mut().zip(signs);
            theta.for_each(|(d, sign)| *d *= sign);
            return gradient;
        }
        let dim = self.shape.dim;
        let forward = |dz: &[f64], dladj| self.gradient(u, dz, dladj, choices);
        let along = forward(&vec![0.0; dim], 1.0).x.total;
        let right = du.iter().zip(&along).map(|(du, l)| du - dladj * l).collect();
        let unit = |i| (0..dim).map(|j| if i == j { 1.0 } else { 0.0 }).collect::<Vec<_>>();
        // J row by row: the gradient of one zᵢ is row i.
        let jacobian = (0..dim).map(|i| forward(&unit(i), 0.0).x.total).collect();
        let dv = solve_transposed(jacobian, right);
        let minus: Vec<f64> = dv.iter().map(|dv| -dv).collect();
        let mut gradient = forward(&minus, -dladj);
        gradient.x.total[..dim].copy_from_slice(&dv);
        gradient
    }

    /// Pyro's inverse of a matrix exponential is the series of −M itself, not quite the inverse of
    /// that of M: the layer of −M, and the sign that each θ changes by.
    fn turned(&self) -> Option<(Self, Vec<f64>)> {
        let mut signs = vec![1.0; self.theta.len()];
        match (self.layer, self.shape.transformer) {
            (Layer::MatrixExponential, _) => signs.fill(-1.0),
            (Layer::Conditional, Layer::MatrixExponential) => {
                // The network's outputs are M.
                let (network, _, start) = self.network()?;
                for group in network.groups().filter(|group| group.layer.is_none()) {
                    signs[start + group.start..][..group.len()].fill(-1.0);
                }
            }
            _ => return None,
        }
        let theta: Vec<f64> = self.theta.iter().zip(&signs).map(|(t, sign)| t * sign).collect();
        let turned = Self::new((self.layer, self.shape), &theta, Vec::new(), |_| {}, self.like);
        Some((turned, signs))
    }
}

/// y of Jᵀ y = b, by Gaussian elimination with row exchanges.
fn solve_transposed(jacobian: Vec<Vec<f64>>, b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    // Rows of Jᵀ with b behind them.
    let mut a: Vec<Vec<f64>> =
        (0..n).map(|i| jacobian.iter().map(|row| row[i]).chain([b[i]]).collect()).collect();
    for k in 0..n {
        let pivot = (k..n).max_by(|i, j| a[*i][k].abs().total_cmp(&a[*j][k].abs())).unwrap_or(k);
        a.swap(k, pivot);
        let top = a[k].clone();
        // Above the diagonal too, so that nothing is left to substitute.
        for (i, row) in a.iter_mut().enumerate() {
            let factor = if i == k { 0.0 } else { row[k] / top[k] };
            row[k..].iter_mut().zip(&top[k..]).for_each(|(a, top)| *a -= factor * top);
        }
    }
    a.iter().enumerate().map(|(i, row)| row[n] / row[i]).collect()
}
