use super::*;

const BINS: usize = 3;
const SHAPE: Shape = Shape::new(1, BINS, 0);
const LEN: usize = 3 * (BINS + 1) + CONSTANTS + 1;

/// Weights of one column with a bent spline.
fn bent<R: Real>(like: R, kind: Kind, low: f32, high: f32) -> [R; LEN] {
    let mut w = [like; LEN];
    Domain::neutral(SHAPE, like, &mut w);
    Domain::set_column(SHAPE, &mut w, 0, kind, like.lift(low), like.lift(high));
    let theta: [f32; 10] = [0.5, -0.3, 0.1, -0.2, 0.6, 0.4, 1.0, -0.5, 0.3, 2.0];
    Domain::constrain(SHAPE, &theta.map(|theta| like.lift(theta)), &mut w);
    w
}

/// z and ladj.
fn forward<R: Real>(w: &[R], x: R) -> (R, R) {
    let mut z = [x];
    let ladj = Domain::forward(SHAPE, w, &mut z, &mut []);
    (z[0], ladj)
}

#[test]
fn a_circle_is_read_the_same_after_any_number_of_turns() {
    let w = bent(0.0_f64, Kind::Circle, -180.0, 180.0);
    for x in [-179.0, -12.5, 0.0, 3.25, 178.5] {
        let (z, ladj) = forward(&w, x);
        for turns in [-1000.0, -2.0, -1.0, 1.0, 7.0] {
            let (same_z, same_ladj) = forward(&w, x + 360.0 * turns);
            assert!((same_z - z).abs() < 1e-8, "{x} and {turns} turns: {same_z}, {z}");
            assert!((same_ladj - ladj).abs() < 1e-8, "{x} and {turns} turns");
        }
    }
}

#[test]
fn a_reading_on_its_limit_has_a_finite_density_and_a_finite_gradient() {
    for kind in [Kind::Box, Kind::Circle] {
        let w = bent(0.0_f32, kind, 0.1, 100.3);
        for x in [0.1_f32, 100.3, 0.1_f32.next_up(), 100.3_f32.next_down()] {
            let (z, ladj) = forward(&w, x);
            assert!(z.abs() > 4.7 && z.abs() < 4.8 && ladj.is_finite(), "{x}: {z}, {ladj}");
            // log p = ln s′ − ln(high − low): the base takes back the rest.
            let above = kind == Kind::Box && x > 50.0;
            let slope = Real::ln(w[knots::at(if above { BINS } else { 0 }, SLOPE)]);
            let expected = slope - Real::ln(100.2_f32);
            let log_prob = ladj - 0.5 * z * z - HALF_LN_TAU as f32;
            assert!((log_prob - expected).abs() < 2e-3, "{x}: {log_prob}, {expected}");
            let (mut dz, mut dw) = ([1.0], [0.0; LEN]);
            Domain::backward(SHAPE, &w[..], &mut [x], &mut dz, 1.0, &mut dw[..], &mut []);
            assert!(dz[0].is_finite() && dw.iter().all(|dw| dw.is_finite()), "{x}");
        }
    }
}

#[test]
fn beyond_the_limits_of_a_box_nothing_is_possible() {
    let w = bent(0.0_f32, Kind::Box, 0.0, 100.0);
    for x in [-0.01_f32, 100.01, -1e30, f32::MAX, f32::NAN, f32::INFINITY] {
        let (z, ladj) = forward(&w, x);
        assert!(z.is_nan() && ladj.is_nan(), "{x}: {z}, {ladj}");
    }
    // What only a rounding took beyond them is on them.
    for x in [-1e-5_f32, 100.0_f32.next_up()] {
        assert!(forward(&w, x).0.is_finite(), "{x}");
    }
    // A circle has no beyond, but no place for what is not a number either.
    let w = bent(0.0_f32, Kind::Circle, 0.0, 100.0);
    assert!(forward(&w, -1e30).0.is_finite());
    assert!(forward(&w, f32::NAN).0.is_nan());
}

#[test]
fn no_latent_leaves_the_box() {
    let w = bent(0.0_f32, Kind::Box, -0.3, 0.7);
    for z in [0.0_f32, 4.0, -4.0, 5.0, -5.0, 1e30, -1e30, f32::INFINITY] {
        let mut x = [z];
        let ladj = Domain::inverse(SHAPE, &w[..], &mut x, &mut []);
        assert!(x[0] >= -0.3 && x[0] <= 0.7 && ladj.is_finite(), "{z}: {x:?}, {ladj}");
    }
    let mut x = [f32::NAN];
    assert!(Domain::inverse(SHAPE, &w[..], &mut x, &mut []).is_nan() && x[0].is_nan());
}

#[test]
fn a_flat_spline_is_the_uniform_density() {
    for kind in [Kind::Box, Kind::Circle] {
        let mut w = [0.0_f64; LEN];
        Domain::neutral(SHAPE, 0.0, &mut w);
        Domain::set_column(SHAPE, &mut w, 0, kind, -2.0, 3.0);
        for x in [-1.999, -1.0, 0.1, 0.5, 2.9] {
            let (z, ladj) = forward(&w, x);
            let log_prob = ladj - 0.5 * z * z - HALF_LN_TAU;
            assert!((log_prob + libm::log(5.0)).abs() < 1e-13, "{kind:?} {x}: {log_prob}");
        }
    }
}

#[test]
fn the_slopes_at_both_ends_of_a_circle_are_one() {
    let words = |kind, last: f32| {
        let mut w = bent(0.0_f32, kind, 0.0, 1.0);
        w[knots::at(BINS, SLOPE)] = last;
        w.map(|w: f32| w.to_bits().to_le())
    };
    let first = bent(0.0_f32, Kind::Circle, 0.0, 1.0)[SLOPE];
    for (kind, last, fine) in
        [(Kind::Circle, first, true), (Kind::Circle, 2.0 * first, false), (Kind::Box, 2.0, true)]
    {
        let words = words(kind, last);
        let w = Packed::new(bytemuck::cast_slice(&words)).unwrap();
        assert_eq!(Domain::valid(SHAPE, w), fine, "{kind:?}");
    }
}

#[test]
fn setting_a_column_keeps_the_sum_of_the_logarithms() {
    let shape = Shape::new(3, BINS, 0);
    let mut w = [0.0_f64; 3 * (LEN - 1) + 1];
    Domain::neutral(shape, 0.0, &mut w);
    Domain::set_column(shape, &mut w, 0, Kind::Box, 0.0, 2.0);
    Domain::set_column(shape, &mut w, 1, Kind::Line, 0.0, 9.0);
    Domain::set_column(shape, &mut w, 2, Kind::Circle, -4.0, 4.0);
    assert!((w[w.len() - 1] - libm::log(16.0)).abs() < 1e-14);
    Domain::set_column(shape, &mut w, 0, Kind::Line, 0.0, 2.0);
    assert!((w[w.len() - 1] - libm::log(8.0)).abs() < 1e-14);
}
