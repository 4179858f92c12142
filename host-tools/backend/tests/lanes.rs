//! The functions of sixteen numbers side by side, against those of one `f64`.
//!
//! The file under test is compiled here by itself: the crate's own test build would compile every
//! layer's kernels a second time.

#[expect(dead_code, reason = "the kernels use the rest")]
#[path = "../src/lanes.rs"]
mod lanes;

use fearless_simd::Simd;
use fearless_simd::prelude::*;
use fluxlet::Real;
use lanes::{Lanes, with_lanes};

/// What `$function` makes of `$x` in one of the lanes.
macro_rules! in_a_lane {
    ($x:expr, $function:ident) => {
        with_lanes!(simd => lane(Lanes::splat(simd, $x).$function()))
    };
}

fn lane<S: Simd>(lanes: Lanes<S>) -> f32 {
    lanes.0.to_array()[3]
}

fn worst(x: impl Iterator<Item = f32>, exact: fn(f64) -> f64, lane: fn(f32) -> f32) -> f64 {
    x.fold(0.0, |worst: f64, x| {
        let exact = exact(f64::from(x));
        worst.max(((f64::from(lane(x)) - exact) / exact).abs())
    })
}

#[test]
fn exp_is_within_a_few_ulp() {
    let x = (-8600_i16..8700).map(|i| f32::from(i) * 0.01 + 0.001);
    let worst = worst(x, f64::exp, |x| in_a_lane!(x, exp));
    assert!(worst < 3e-7, "relative error {worst:e}");
}

#[test]
fn ln_is_within_a_few_ulp_away_from_one_and_exact_at_one() {
    let x = (-80..80).map(|i| (1.37_f64.powi(i) * 1.01) as f32);
    let worst = worst(x, f64::ln, |x| in_a_lane!(x, ln));
    assert!(worst < 3e-7, "relative error {worst:e}");
    assert_eq!(in_a_lane!(1.0, ln), 0.0);
}

#[test]
fn recip_is_within_an_ulp() {
    let x = (-600..620)
        .map(|i| (1.15_f64.powi(i) * 1.003) as f32)
        .chain((0..1000).map(|i| 1.0 + 0.001 * i as f32));
    let worst = worst(x, f64::recip, |x| in_a_lane!(x, recip));
    assert!(worst < 1.2e-7, "relative error {worst:e}");
    assert_eq!(in_a_lane!(-4.0, recip), -0.25);
}

#[test]
fn ln_one_plus_is_within_a_few_ulp() {
    let x = (0..=200).map(|i| (0.9_f64.powi(i)) as f32);
    let worst = worst(x, f64::ln_1p, |x| in_a_lane!(x, ln_one_plus));
    assert!(worst < 3e-7, "relative error {worst:e}");
    assert_eq!(in_a_lane!(0.0, ln_one_plus), 0.0);
}

#[test]
fn floor_goes_down_on_both_sides_of_zero() {
    for (x, floor) in [(2.75, 2.0), (-0.25, -1.0), (-3.0, -3.0), (0.0, 0.0), (1e9, 1e9)] {
        assert_eq!(in_a_lane!(x, floor), floor, "{x}");
    }
}
