//! Sylvester layer: a planar layer with M units, that is, a residual network with one hidden layer
//! whose determinant is a product of M numbers.
//!
//! # Formula
//!
//! z = x + Q R tanh(R̃ Qᵀx + b). Q \[D, M\] has orthonormal columns; R and R̃ \[M, M\] are upper
//! triangular. With v = R̃ Qᵀx + b, ladj = Σ ln(tanh² vᵢ + kᵢ (1 − tanh² vᵢ)), kᵢ = 1 + Rᵢᵢ R̃ᵢᵢ: the
//! paper's det(I + diag(1 − tanh² v) R̃ R) as sums of positive terms. (Pyro's `Sylvester` multiplies
//! by Q where Qᵀ belongs, and its log-determinant is wrong once Q leaves its small start.)
//!
//! Q is the first M columns of Hᵀ, H a product of M Householder reflections. So the layer rotates by
//! H, changes the first M numbers, and rotates back; Q itself is never formed.
//!
//! # Parameters
//!
//! `M (D + M + 2)` free parameters: v \[M, D\], R, R̃, b \[M\], a triangle row by row from its
//! diagonal on. Weights: u \[M, D\], |u|² = 2, R, R̃, b \[M\], in the same order.
//! kᵢ > 0 makes the map invertible: both diagonals are √(1 − m) tanh θ with m = 1e-3, so that
//! kᵢ ≥ m. M is at most D.
//!
//! # Inverse
//!
//! y = Qᵀx obeys Qᵀz = y + R tanh(R̃ y + b). From the last row up all but vᵢ is known:
//! vᵢ + (kᵢ − 1) tanh vᵢ = R̃ᵢᵢ ρ + e, where ρ = (Qᵀz)ᵢ − Σ_{j>i} Rᵢⱼ tanh vⱼ and
//! e = bᵢ + Σ_{j>i} R̃ᵢⱼ yⱼ. It is solved as in a planar layer; then yᵢ = ρ − Rᵢᵢ tanh vᵢ.
//!
//! # Gradient
//!
//! For dx and the weights: With t = tanh v, g = 1 − t², s = t² + k g, on the first M numbers: dR = dz tᵀ, dt = Rᵀ dz,
//! dk = dladj g/s, dv = dt g − 2 dladj (k − 1) t g/s, dR̃ = dv yᵀ, db = dv, dy = dz + R̃ᵀ dv; the
//! triangles' upper parts only, and dk to the two diagonals. The reflections as in `householder.rs`,
//! on both sides.
//!
//! # Source
//!
//! Van den Berg, Hasenclever, Tomczak and Welling 2018, arXiv:1803.05649, eqs. 8–14 and the
//! Householder variant of section 3.4.

use super::householder::{Householder, unreflect};
use super::monotone::{slope, solve};
use super::{Bijection, MIN_SLOPE, Shape};
use crate::math::{LogProduct, Real, add_multiple, artanh, dot, tanh};
use crate::weights::{Gradient, Packed, Weights};

/// z = x + Q R tanh(R̃ Qᵀx + b); see the source file's head for weights, inverse and gradient.
pub struct Sylvester;

/// The most units, as of a Householder product.
const MAX_UNITS: usize = 4096;

/// The reflections' shape: M of D numbers.
fn rotation(shape: Shape) -> Shape {
    Shape::new(shape.dim, shape.arg, 0)
}

/// Where the rows of both triangles, and b, begin in the weights and in θ.
#[derive(Clone, Copy)]
struct Layout {
    units: usize,
    outer: usize,
    inner: usize,
    bias: usize,
}

impl Layout {
    fn of(shape: Shape) -> Self {
        let units = shape.arg;
        let outer = units * shape.dim;
        let triangle = units * (units + 1) / 2;
        Self { units, outer, inner: outer + triangle, bias: outer + 2 * triangle }
    }

    /// Where row i of a triangle that begins at `start` has its diagonal; M − i numbers follow one
    /// another from there.
    fn row(self, start: usize, i: usize) -> usize {
        start + i * self.units - i * i.saturating_sub(1) / 2
    }

    /// Row i of R, from its diagonal on.
    fn outer<R: Real, W: Weights<R>>(self, w: W, i: usize) -> W {
        w.part(self.row(self.outer, i), self.units - i)
    }

    /// Row i of R̃, from its diagonal on.
    fn inner<R: Real, W: Weights<R>>(self, w: W, i: usize) -> W {
        w.part(self.row(self.inner, i), self.units - i)
    }

    /// Positions of the diagonals of R and R̃ in row i.
    fn diagonals(self, i: usize) -> [usize; 2] {
        [self.row(self.outer, i), self.row(self.inner, i)]
    }
}

/// kᵢ = 1 + Rᵢᵢ R̃ᵢᵢ.
#[inline(always)]
fn steepness<R: Real, W: Weights<R>>(layout: Layout, w: W, i: usize, like: R) -> R {
    let [outer, inner] = layout.diagonals(i).map(|at| w.at(at, like));
    like.lift(1.0) + outer * inner
}

/// The reflections' weights.
fn reflections<R: Real, W: Weights<R>>(layout: Layout, w: W) -> W {
    w.part(0, layout.outer)
}

/// √(1 − m), the bound of the diagonals.
fn bound<R: Real>(like: R) -> R {
    like.constant(1.0 - MIN_SLOPE).sqrt()
}

impl Bijection for Sylvester {
    fn exists(shape: Shape) -> bool {
        (1..=shape.dim.min(MAX_UNITS)).contains(&shape.arg) && shape.option == 0
    }
    fn weight_len(shape: Shape) -> usize {
        shape.arg * (shape.dim + shape.arg + 2)
    }
    fn scratch_len(shape: Shape) -> usize {
        shape.arg
    }
    fn backward_scratch_len(shape: Shape) -> usize {
        4 * shape.arg
    }
    fn multiply_adds(shape: Shape) -> usize {
        4 * shape.arg * shape.dim + shape.arg * (shape.arg + 10)
    }
    fn valid(shape: Shape, w: Packed) -> bool {
        let layout = Layout::of(shape);
        let positive = |i| steepness(layout, w, i, 0.0_f32) > 0.0;
        Householder::valid(rotation(shape), reflections::<f32, _>(layout, w))
            && (0..shape.arg).all(positive)
    }

    #[inline(always)]
    fn forward<R: Real, W: Weights<R>>(shape: Shape, w: W, x: &mut [R], scratch: &mut [R]) -> R {
        let layout = Layout::of(shape);
        let like = x[0];
        Householder::forward(rotation(shape), reflections(layout, w), x, &mut []);
        let (y, t) = (&mut x[..layout.units], &mut scratch[..layout.units]);
        let mut slopes = LogProduct::new(like);
        for (i, t) in t.iter_mut().enumerate() {
            let v = dot(layout.inner(w, i), &y[i..]) + w.at(layout.bias + i, like);
            let (tanh, g) = tanh(v);
            slopes.multiply(slope(steepness(layout, w, i, like), tanh, g));
            *t = tanh;
        }
        for (i, y) in y.iter_mut().enumerate() {
            *y = *y + dot(layout.outer(w, i), &t[i..]);
        }
        Householder::inverse(rotation(shape), reflections(layout, w), x, &mut []);
        slopes.ln()
    }

    #[inline(always)]
    fn inverse<R: Real, W: Weights<R>>(shape: Shape, w: W, z: &mut [R], scratch: &mut [R]) -> R {
        let layout = Layout::of(shape);
        let like = z[0];
        Householder::forward(rotation(shape), reflections(layout, w), z, &mut []);
        let (y, t) = (&mut z[..layout.units], &mut scratch[..layout.units]);
        let mut slopes = LogProduct::new(like);
        for i in (0..layout.units).rev() {
            // Row i with 0 in place of what is sought gives the part that is known.
            let rho = {
                t[i] = like.lift(0.0);
                y[i] - dot(layout.outer(w, i), &t[i..])
            };
            y[i] = rho;
            let r = dot(layout.inner(w, i), &y[i..]) + w.at(layout.bias + i, like);
            let k = steepness(layout, w, i, like);
            let (tanh, g) = solve(k, r);
            slopes.multiply(slope(k, tanh, g));
            t[i] = tanh;
            y[i] = rho - w.at(layout.diagonals(i)[0], like) * tanh;
        }
        Householder::inverse(rotation(shape), reflections(layout, w), z, &mut []);
        -slopes.ln()
    }

    #[inline(always)]
    fn backward<R: Real, W: Weights<R>, G: Gradient<R>>(
        shape: Shape,
        w: W,
        x: &mut [R],
        dz: &mut [R],
        dladj: R,
        mut dw: G,
        scratch: &mut [R],
    ) {
        let layout = Layout::of(shape);
        let (units, like) = (layout.units, x[0]);
        let (rotation, u) = (rotation(shape), reflections(layout, w));
        let (y, rest) = scratch.split_at_mut(units);
        let (t, rest) = rest.split_at_mut(units);
        let (g, rest) = rest.split_at_mut(units);
        let dt = &mut rest[..units];

        // Forward to the layer's output, keeping y, t and g.
        Householder::forward(rotation, u, x, &mut []);
        y.copy_from_slice(&x[..units]);
        for i in 0..units {
            let v = dot(layout.inner(w, i), &y[i..]) + w.at(layout.bias + i, like);
            (t[i], g[i]) = tanh(v);
        }
        for i in 0..units {
            x[i] = x[i] + dot(layout.outer(w, i), &t[i..]);
        }
        Householder::inverse(rotation, u, x, &mut []);

        // Back through the second rotation, which ended with the first reflection.
        for m in 0..units {
            let own = m * shape.dim;
            unreflect(w.part(own, shape.dim), x, dz, dw.part(own, shape.dim));
        }
        x[..units].copy_from_slice(y);
        units_backward(layout, w, Kept { y, t, g }, &mut dz[..units], dladj, &mut dw, dt);
        for m in (0..units).rev() {
            let own = m * shape.dim;
            unreflect(w.part(own, shape.dim), x, dz, dw.part(own, shape.dim));
        }
    }

    fn theta_len(shape: Shape) -> usize {
        Self::weight_len(shape)
    }

    fn neutral<R: Real>(shape: Shape, like: R, w: &mut [R]) {
        // R = 0 changes nothing; R̃ is not 0, or there would be no way out.
        let layout = Layout::of(shape);
        w.fill(like.lift(0.0));
        Householder::neutral(rotation(shape), like, &mut w[..layout.outer]);
        for i in 0..layout.units {
            w[layout.diagonals(i)[1]] = like.lift(0.5);
        }
    }

    fn constrain<R: Real>(shape: Shape, theta: &[R], w: &mut [R]) {
        let layout = Layout::of(shape);
        w.copy_from_slice(theta);
        let end = layout.outer;
        Householder::constrain(rotation(shape), &theta[..end], &mut w[..end]);
        for at in (0..layout.units).flat_map(|i| layout.diagonals(i)) {
            w[at] = bound(theta[at]) * tanh(theta[at]).0;
        }
    }

    fn constrain_backward<R: Real>(shape: Shape, theta: &[R], w: &[R], dw: &[R], dtheta: &mut [R]) {
        let layout = Layout::of(shape);
        let end = layout.outer;
        Householder::constrain_backward(
            rotation(shape),
            &theta[..end],
            &w[..end],
            &dw[..end],
            &mut dtheta[..end],
        );
        let one = w[0].lift(1.0);
        add_multiple(one, &dw[end..], &mut dtheta[end..]);
        for at in (0..layout.units).flat_map(|i| layout.diagonals(i)) {
            let slope = bound(one) * tanh(theta[at]).1;
            dtheta[at] = dtheta[at] + dw[at] * (slope - one);
        }
    }

    fn unconstrain<R: Real>(shape: Shape, w: &[R], theta: &mut [R]) {
        let layout = Layout::of(shape);
        theta.copy_from_slice(w);
        // A diagonal at its bound or beyond has no θ; it gets that of the largest below.
        let most = w[0].constant(1.0 - 1e-7);
        for at in (0..layout.units).flat_map(|i| layout.diagonals(i)) {
            theta[at] = artanh((w[at] / bound(w[at])).max(-most).min(most));
        }
    }
}

/// What a forward pass leaves for the way back.
struct Kept<'s, R> {
    y: &'s [R],
    t: &'s [R],
    g: &'s [R],
}

/// Turns the gradient `d` of z's first M rotated numbers into that of y.
#[inline(always)]
fn units_backward<R: Real, W: Weights<R>>(
    layout: Layout,
    w: W,
    kept: Kept<R>,
    d: &mut [R],
    dladj: R,
    dw: &mut impl Gradient<R>,
    dt: &mut [R],
) {
    let Kept { y, t, g } = kept;
    let units = layout.units;
    dt.fill(dladj.lift(0.0));
    for i in 0..units {
        let at = layout.row(layout.outer, i);
        add_multiple(d[i], layout.outer(w, i), &mut dt[i..]);
        dw.add_each(
            at,
            units - i,
            #[inline(always)]
            |j| d[i] * t[i + j],
        );
    }
    for i in 0..units {
        let k = steepness(layout, w, i, dladj);
        let dk = dladj * g[i] / slope(k, t[i], g[i]);
        let dv = dt[i] * g[i] - dk.lift(2.0) * (k - k.lift(1.0)) * t[i] * dk;
        let [outer, inner] = layout.diagonals(i);
        dw.add(outer, dk * w.at(inner, dk));
        dw.add(inner, dk * w.at(outer, dk));
        dw.add_each(
            inner,
            units - i,
            #[inline(always)]
            |j| dv * y[i + j],
        );
        dw.add(layout.bias + i, dv);
        add_multiple(dv, layout.inner(w, i), &mut d[i..]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Planar;
    use super::*;

    #[test]
    fn one_unit_is_a_planar_layer() {
        // u = (√2, 0, 0) reflects the first axis, so Q = (−1, 0, 0); R = 2, R̃ = 0.7, b = 0.3.
        let root = core::f64::consts::SQRT_2;
        let w = [root, 0.0, 0.0, 2.0, 0.7, 0.3];
        let planar = [-2.0, 0.0, 0.0, -0.7, 0.0, 0.0, 0.3, 2.4];
        let (mut x, mut y) = ([0.4, 5.0, -1.0], [0.4, 5.0, -1.0]);
        let ladj = Sylvester::forward(Shape::new(3, 1, 0), &w[..], &mut x, &mut [0.0]);
        let expected = Planar::forward(Shape::new(3, 0, 0), &planar[..], &mut y, &mut []);
        assert!((ladj - expected).abs() < 1e-14);
        assert!(x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-14));
    }

    #[test]
    fn rows_of_a_triangle_follow_one_another() {
        let layout = Layout::of(Shape::new(5, 3, 0));
        assert_eq!([0, 1, 2].map(|i| layout.row(layout.outer, i)), [15, 18, 20]);
        assert_eq!([0, 1, 2].map(|i| layout.row(layout.inner, i)), [21, 24, 26]);
        assert_eq!(layout.bias + 3, Sylvester::weight_len(Shape::new(5, 3, 0)));
    }
}
