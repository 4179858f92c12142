//! The products of a network over sixteen samples, against sums in `f64` written out.

#[expect(dead_code, reason = "the kernels use the rest")]
#[path = "../src/lanes.rs"]
mod lanes;
#[path = "../src/outer.rs"]
mod outer;
#[path = "../src/product.rs"]
mod product;

use fearless_simd::{Simd, f32x16, prelude::*};
use lanes::{LANES, Lanes, with_lanes};
use outer::Outer;

/// Where weight (row, column) of `rows` rows of `len` weights stands: blocks of 8, 4, 2 and 1 rows, in
/// each column by column.
fn place(rows: usize, len: usize, row: usize, column: usize) -> usize {
    let mut first = 0;
    for size in [8, 4, 2, 1] {
        while first + size <= rows {
            if row < first + size {
                return first * len + size * column + row - first;
            }
            first += size;
        }
    }
    unreachable!("row {row} of {rows}")
}

/// Numbers in ±1 that differ from each other and are the same on every machine.
fn number(i: usize) -> f32 {
    ((i * 7919 + 13) % 2003) as f32 / 1001.0 - 1.0
}

/// \[n, 16\] numbers, and the same as vectors.
fn numbers<S: Simd>(simd: S, n: usize, from: usize) -> (Vec<[f32; LANES]>, Vec<Lanes<S>>) {
    let plain = |i| core::array::from_fn(|s| number(from + LANES * i + s));
    let plain: Vec<[f32; LANES]> = (0..n).map(plain).collect();
    let lanes = plain.iter().map(|x| Lanes(f32x16::simd_from(simd, *x))).collect();
    (plain, lanes)
}

fn near(got: f32, exact: f64, size: usize, what: &str) {
    // Half an ulp a term, terms below 1.
    let allowed = (size + 2) as f64 * f64::from(f32::EPSILON);
    assert!(
        (f64::from(got) - exact).abs() <= allowed * (1.0 + exact.abs()),
        "{what}: {got} {exact}"
    );
}

fn check<S: Simd>(simd: S, rows: usize, width: usize, direct: usize) {
    let len = width + direct + 1;
    let w: Vec<f32> = (0..rows * len).map(number).collect();
    let at = |row: usize, column: usize| f64::from(w[place(rows, len, row, column)]);
    let (x, x_lanes) = numbers(simd, width + direct, 31);
    let (dout, dout_lanes) = numbers(simd, rows, 77);
    let (x_lanes, y_lanes) = x_lanes.split_at(width);
    let name = format!("{rows} rows, {width} + {direct} inputs");

    let mut out = dout_lanes.clone();
    product::forward(&w, x_lanes, y_lanes, &mut out);
    for (row, out) in out.iter().enumerate() {
        for (s, got) in out.0.to_array().into_iter().enumerate() {
            let terms = x.iter().enumerate().map(|(i, x)| at(row, i + 1) * f64::from(x[s]));
            near(got, at(row, 0) + terms.sum::<f64>(), len, &format!("{name}: row {row} forward"));
        }
    }

    let (before, mut dx) = numbers(simd, width + direct, 5);
    let (dx_part, dy_part) = dx.split_at_mut(width);
    product::backward(&w, &dout_lanes, dx_part, dy_part);
    for (i, dx) in dx.iter().enumerate() {
        for (s, got) in dx.0.to_array().into_iter().enumerate() {
            let terms = dout.iter().enumerate().map(|(row, d)| at(row, i + 1) * f64::from(d[s]));
            let exact = f64::from(before[i][s]) + terms.sum::<f64>();
            near(got, exact, rows, &format!("{name}: input {i} backward"));
        }
    }
}

/// Outer products of `groups` groups of samples, each of them with these rows and inputs and then with
/// the two exchanged.
fn check_outer<S: Simd>(simd: S, groups: usize, rows: usize, width: usize, direct: usize) {
    let inputs = width + direct;
    let all: Vec<_> = (0..groups)
        .map(|g| (numbers(simd, rows, 77 + 1000 * g), numbers(simd, inputs, 31 + 1000 * g)))
        .collect();
    let before: Vec<f32> = (0..rows * (inputs + 1)).map(number).collect();
    let exchanged: Vec<f32> = (0..inputs * (rows + 1)).map(number).collect();
    let (mut dw, mut dw_exchanged) = (before.clone(), exchanged.clone());
    let mut outer = Outer::default();
    for (g, ((_, dout), (_, x))) in all.iter().enumerate() {
        outer.begin(g, groups);
        outer.add(&mut dw, dout, &x[..width], &x[width..]);
        outer.add(&mut dw_exchanged, x, dout, &[]);
    }
    let name = format!("{groups} groups, {rows} rows, {width} + {direct} inputs");
    let one = [1.0; LANES];
    let sum = |a: &dyn Fn(usize) -> [f32; LANES], b: &dyn Fn(usize) -> [f32; LANES]| -> f64 {
        let product = |g| a(g).into_iter().zip(b(g)).map(|(a, b)| f64::from(a) * f64::from(b));
        (0..groups).flat_map(product).sum()
    };
    for row in 0..rows {
        for column in 0..=inputs {
            let at = place(rows, inputs + 1, row, column);
            let input = |g: usize| if column == 0 { one } else { all[g].1.0[column - 1] };
            let exact = f64::from(before[at]) + sum(&|g| all[g].0.0[row], &input);
            near(dw[at], exact, LANES * groups, &format!("{name}: weight ({row}, {column})"));
        }
    }
    for row in 0..inputs {
        for column in 0..=rows {
            let at = place(inputs, rows + 1, row, column);
            let input = |g: usize| if column == 0 { one } else { all[g].0.0[column - 1] };
            let exact = f64::from(exchanged[at]) + sum(&|g| all[g].1.0[row], &input);
            let what = format!("{name}, exchanged: weight ({row}, {column})");
            near(dw_exchanged[at], exact, LANES * groups, &what);
        }
    }
}

#[test]
fn outer_products_of_every_number_of_rows_are_the_sums_written_out() {
    for rows in 1..=41 {
        for (groups, width, direct) in [(1, 1, 0), (2, 3, 2), (4, 4, 9), (3, 8, 0), (4, 64, 0)] {
            with_lanes!(simd => check_outer(simd, groups, rows, width, direct));
        }
    }
}

#[test]
fn products_of_every_number_of_rows_are_the_sums_written_out() {
    for rows in 1..=41 {
        for (width, direct) in [(0, 0), (1, 0), (3, 2), (4, 9), (8, 0), (13, 5), (64, 0)] {
            with_lanes!(simd => check(simd, rows, width, direct));
        }
    }
}

#[test]
fn totals_are_those_of_each_vector_in_its_place() {
    with_lanes!(simd => {
        let (plain, lanes) = numbers(simd, LANES, 3);
        let lanes = core::array::from_fn(|i| lanes[i].0);
        let totals = [&product::totals::<LANES, _>(&lanes)[..], &product::totals::<8, _>(&lanes)[..8]];
        for totals in totals {
            for (got, x) in totals.iter().zip(&plain) {
                near(*got, x.iter().map(|x| f64::from(*x)).sum(), LANES, "total");
            }
        }
    });
}
