//! The standard normal distribution: Φ and its inverse, from [`Real`]'s own functions.

use super::Real;

/// Where AS 241 passes from its central part to its tails: ½ ± this.
const CENTRE: f64 = 0.425;
/// CENTRE².
const CENTRE_SQUARE: f64 = 0.180_625;
/// Where Cody passes from his central part to his tails: ± this.
const CORE: f64 = 0.674_489_75;
/// √2π.
const ROOT_TAU: f64 = 2.506_628_274_631_000_7;

// Coefficients from the highest power down.

/// AS 241, a₇ … a₀.
const CENTRE_ABOVE: [f64; 8] = [
    2_509.080_928_730_122_7,
    33_430.575_583_588_13,
    67_265.770_927_008_7,
    45_921.953_931_549_87,
    13_731.693_765_509_46,
    1_971.590_950_306_551_3,
    133.141_667_891_784_38,
    3.387_132_872_796_366_5,
];
/// AS 241, b₇ … b₁, 1.
const CENTRE_BELOW: [f64; 8] = [
    5_226.495_278_852_854,
    28_729.085_735_721_943,
    39_307.895_800_092_71,
    21_213.794_301_586_597,
    5_394.196_021_424_751,
    687.187_007_492_057_9,
    42.313_330_701_600_91,
    1.0,
];
/// AS 241, c₇ … c₀.
const TAIL_ABOVE: [f64; 8] = [
    0.000_774_545_014_278_341_4,
    0.022_723_844_989_269_184,
    0.241_780_725_177_450_6,
    1.270_458_252_452_368_4,
    3.647_848_324_763_204_5,
    5.769_497_221_460_691,
    4.630_337_846_156_546,
    1.423_437_110_749_683_5,
];
/// AS 241, d₇ … d₁, 1.
const TAIL_BELOW: [f64; 8] = [
    1.050_750_071_644_416_9e-09,
    0.000_547_593_808_499_534_5,
    0.015_198_666_563_616_457,
    0.148_103_976_427_480_08,
    0.689_767_334_985_1,
    1.676_384_830_183_803_8,
    2.053_191_626_637_759,
    1.0,
];
/// Cody, of |z| ≤ 0.67.
const CODY_CORE_ABOVE: [f64; 5] = [
    0.065_682_337_918_207_45,
    2.235_252_035_460_683_7,
    161.028_231_068_555_87,
    1_067.689_485_460_370_9,
    18_154.981_253_343_56,
];
/// Cody, of |z| ≤ 0.67.
const CODY_CORE_BELOW: [f64; 5] = [
    1.0,
    47.202_581_904_688_245,
    976.098_551_737_776_7,
    10_260.932_208_618_979,
    45_507.789_335_026_73,
];
/// Cody, of 0.67 ≤ |z| ≤ √32.
const CODY_TAIL_ABOVE: [f64; 9] = [
    1.076_557_677_372_019_2e-08,
    0.398_941_512_088_134_66,
    8.883_149_794_388_377,
    93.506_656_132_177_85,
    597.270_276_394_800_2,
    2_494.537_585_290_372_6,
    6_848.190_450_536_283,
    11_602.651_437_647_35,
    9_842.714_838_383_978,
];
/// Cody, of 0.67 ≤ |z| ≤ √32.
const CODY_TAIL_BELOW: [f64; 9] = [
    1.0,
    22.266_688_044_328_117,
    235.387_901_782_625,
    1_519.377_599_407_554_7,
    6_485.558_298_266_761,
    18_615.571_640_885_097,
    34_900.952_721_145_98,
    38_912.003_286_093_27,
    19_685.429_676_859_992,
];

/// Horner's scheme, the highest coefficient first.
#[inline(always)]
fn polynomial<R: Real>(x: R, coefficients: &[f64]) -> R {
    coefficients.iter().fold(x.lift(0.0), |sum, c| x.constant(*c).add_product(sum, x))
}

/// Φ⁻¹(p), the z below which a standard normal lies with probability p, for 1e-10 ≤ p ≤ 1 − 1e-10.
///
/// Wichura 1988, algorithm AS 241 (PPND16), relative error 1e-16; without its third part, for p
/// below 1.4e-11.
#[inline(always)]
pub(crate) fn normal_quantile<R: Real>(p: R) -> R {
    let centred = p - p.lift(0.5);
    let central = p.constant(CENTRE).ge(centred.abs());
    let r = p.constant(CENTRE_SQUARE) - centred * centred;
    let middle = centred * polynomial(r, &CENTRE_ABOVE) / polynomial(r, &CENTRE_BELOW);
    if R::all(central) {
        return middle;
    }
    let tail = p.min(p.lift(1.0) - p);
    let r = (-tail.ln()).sqrt() - p.constant(1.6);
    let size = polynomial(r, &TAIL_ABOVE) / polynomial(r, &TAIL_BELOW);
    let signed = R::select(centred.ge(p.lift(0.0)), size, -size);
    R::select(central, middle, signed)
}

/// dΦ⁻¹/dp at p = Φ(z): √2π e^(z²/2).
#[inline(always)]
pub(crate) fn normal_quantile_slope<R: Real>(z: R) -> R {
    z.constant(ROOT_TAU) * (z.lift(0.5) * z * z).exp()
}

/// Φ(z), the probability that a standard normal is below z, for |z| ≤ √32.
///
/// Cody 1969, "Rational Chebyshev approximations for the error function", in the form of his
/// algorithm 715 (ANORM); without its third part, for |z| > √32.
#[inline(always)]
pub(crate) fn normal_cdf<R: Real>(z: R) -> R {
    let (half, one, size) = (z.lift(0.5), z.lift(1.0), z.abs());
    let square = z * z;
    let middle =
        half + z * polynomial(square, &CODY_CORE_ABOVE) / polynomial(square, &CODY_CORE_BELOW);
    let decay = (-(half * square)).exp();
    let tail = decay * polynomial(size, &CODY_TAIL_ABOVE) / polynomial(size, &CODY_TAIL_BELOW);
    let signed = R::select(z.ge(z.lift(0.0)), one - tail, tail);
    R::select(z.constant(CORE).ge(size), middle, signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Φ by the C library's erfc.
    fn cdf(z: f64) -> f64 {
        0.5 * libm::erfc(-z * core::f64::consts::FRAC_1_SQRT_2)
    }

    #[test]
    fn phi_is_that_of_erfc() {
        for i in -5656..=5656 {
            let z = 1e-3 * f64::from(i);
            let (got, expected) = (normal_cdf(z), cdf(z));
            // Both round e^(−z²/2), whose exponent is up to 16.
            assert!((got - expected).abs() <= 8e-15 * expected, "Φ({z}) = {got:e}");
            assert!((got - expected).abs() <= 4e-16, "Φ({z}) = {got:e}");
        }
        assert!(normal_cdf(f64::NAN).is_nan());
    }

    #[test]
    fn the_quantile_undoes_erfc_and_its_slope_is_one_over_the_density() {
        for i in -6000..=6000 {
            let z = 1e-3 * f64::from(i);
            let p = cdf(z);
            // A rounding of p near 1 is a long way of z.
            let slope = normal_quantile_slope(z);
            let allowed = 4e-15 * (1.0 + z.abs()) + 2.0 * f64::EPSILON * p * slope;
            let got = normal_quantile(p);
            assert!((got - z).abs() <= allowed, "Φ⁻¹({p:e}) = {got}, not {z}");
            let density = libm::exp(-0.5 * z * z) / ROOT_TAU;
            assert!((slope * density - 1.0).abs() < 1e-14, "slope at {z}");
        }
        // Published values of Φ⁻¹ (Wichura's check values).
        assert!((normal_quantile(0.25_f64) + 0.674_489_750_196_081_7).abs() < 1e-15);
        assert!((normal_quantile(0.001_f64) + 3.090_232_306_167_813_5).abs() < 1e-14);
    }

    #[test]
    fn f32_loses_no_more_than_its_roundings() {
        for i in 1..1000 {
            let p = 1e-3 * i as f32;
            let expected = normal_quantile(f64::from(p));
            let slope = normal_quantile_slope(expected);
            let error = (f64::from(normal_quantile(p)) - expected).abs();
            assert!(error < 6e-7 * (1.0 + expected.abs()) + 1e-7 * slope * f64::from(p), "{p}");
        }
    }
}
