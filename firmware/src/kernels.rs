//! Single kernels, each called once, to be measured alone.

use core::hint::black_box;

use fluxlet::bijection::{Bijection, Dct, Shape};
use fluxlet::{Packed, Real, Weights};

use crate::self_test::{Digest, Generator};

/// Rows and columns of the product, and numbers that exponentials are taken of.
const WIDTH: usize = 64;
/// Length of the cosine transform, a power of two.
const WINDOW: usize = 128;
/// Weights of a layer of a network: a bias and `WIDTH` factors a row.
const WEIGHT_LEN: usize = WIDTH * (WIDTH + 1);

/// In flash, where a model's weights are.
static WEIGHTS: [f32; WEIGHT_LEN] = {
    let mut generator = Generator::new();
    let mut weights = [0.0; WEIGHT_LEN];
    let mut i = 0;
    while i < WEIGHT_LEN {
        weights[i] = generator.next();
        i += 1;
    }
    weights
};

/// Weights, numbers that it reads and changes, and numbers that it writes.
type Kernel = fn(Packed, &mut [f32], &mut [f32]);

fn product(w: Packed, x: &mut [f32], out: &mut [f32]) {
    // A network's layer has two inputs; the second is empty where nothing is skipped.
    w.product(x, black_box(&[]), out);
}

fn cosine_transform(w: Packed, x: &mut [f32], scratch: &mut [f32]) {
    let shape = Shape::new(x.len(), 0, 0);
    if !x.is_empty() {
        Dct::forward(shape, w, x, scratch);
    }
}

fn exponentials(_: Packed, x: &mut [f32], _: &mut [f32]) {
    Real::exp_all(x);
}

/// Runs every kernel once, on the same numbers on every machine, by way of `measure`; tells `report`
/// its name and the digest of the results' bits.
pub fn run(measure: impl Fn(&mut dyn FnMut()), mut report: impl FnMut(&'static str, u64)) {
    let mut tables = [0.0; 2 * WINDOW + 3];
    Dct::neutral(Shape::new(WINDOW, 0, 0), 0.0, &mut tables);
    let kernels: [(_, Kernel, &[f32], _); _] = [
        ("product 64x64", product, &WEIGHTS, WIDTH),
        ("cosine transform 128", cosine_transform, &tables, WINDOW),
        ("exponential 64", exponentials, &[], WIDTH),
    ];
    let mut generator = Generator::new();
    for (name, kernel, weights, len) in kernels {
        let (mut x, mut out) = ([0.0; WINDOW], [0.0; WINDOW]);
        let (x, out) = (&mut x[..len], &mut out[..len]);
        x.fill_with(|| generator.next());
        let Some(weights) = Packed::new(bytemuck::cast_slice(weights)) else { continue };
        measure(&mut || black_box(kernel)(black_box(weights), black_box(x), black_box(out)));
        let mut digest = Digest::new();
        x.iter().chain(&*out).for_each(|number| digest.add(number.to_bits()));
        report(name, digest.value());
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::{format, string::String};

    #[test]
    fn this_machine_computes_what_the_boards_print() {
        let mut printed = String::new();
        run(|kernel| kernel(), |name, digest| printed += &format!("{name}: {digest:016x}\n"));
        assert_eq!(printed, include_str!("../kernels.out"));
    }
}
