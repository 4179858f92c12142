//! Splines on boxes and circles, read as `FORMAT.md` says; part of the second reader.

use super::{ln_product, spline, sum4};

fn polynomial(coefficients: [f64; 8], r: f32) -> f32 {
    coefficients.iter().fold(0.0, |q, a| *a as f32 + q * r)
}

fn normal_quantile(v: f32) -> f32 {
    let a = [
        2509.0809287301227,
        33430.57558358813,
        67265.7709270087,
        45921.95393154987,
        13731.69376550946,
        1971.5909503065513,
        133.14166789178438,
        3.3871328727963665,
    ];
    let b = [
        5226.495278852854,
        28729.085735721943,
        39307.89580009271,
        21213.794301586597,
        5394.196021424751,
        687.1870074920579,
        42.31333070160091,
        1.0,
    ];
    let c = [
        0.0007745450142783414,
        0.022723844989269184,
        0.2417807251774506,
        1.2704582524523684,
        3.6478483247632045,
        5.769497221460691,
        4.630337846156546,
        1.4234371107496835,
    ];
    let d = [
        1.0507500716444169e-09,
        0.0005475938084995345,
        0.015198666563616457,
        0.14810397642748008,
        0.6897673349851,
        1.6763848301838038,
        2.053191626637759,
        1.0,
    ];
    let t = v - 0.5;
    if t.abs() <= 0.425 {
        let r = 0.180_625 - t * t;
        return t * polynomial(a, r) / polynomial(b, r);
    }
    let r = libm::sqrtf(-libm::logf(v.min(1.0 - v))) - 1.6;
    let size = polynomial(c, r) / polynomial(d, r);
    if t < 0.0 { -size } else { size }
}

pub(super) fn domain(bins: usize, x: &mut [f32], w: &[f32]) -> f32 {
    let (splines, constants) = w.split_at(x.len() * 3 * (bins + 1));
    let (mut squares, mut slopes) = (Vec::new(), Vec::new());
    let columns = splines.chunks_exact(3 * (bins + 1)).zip(constants.chunks_exact(3));
    for (x, (knots, constants)) in x.iter_mut().zip(columns) {
        let [kind, low, high] = constants.try_into().unwrap();
        if kind == 0.0 {
            squares.push(0.0);
            continue;
        }
        let mut u = (*x - low) / (high - low);
        if kind == 2.0 {
            u -= libm::floorf(u);
        }
        assert!((-1e-6..=1.0 + 1e-6).contains(&u), "u = {u}");
        let (v, slope) = spline(u.clamp(0.0, 1.0), false, bins, 0, knots);
        *x = normal_quantile(v.clamp(1e-6, 0.999_999));
        squares.push(*x * *x);
        slopes.push(slope);
    }
    let last = constants[3 * x.len()];
    let half_ln_tau = 0.918_938_533_204_672_8_f64 as f32;
    0.5 * sum4(squares.into_iter()) + half_ln_tau * slopes.len() as f32 - last + ln_product(&slopes)
}
