//! Functions made of [`Real`]'s own: softplus, logistic, tanh, and logarithms beside 1.

use super::Real;

/// ln(1 + eᵃ) without overflow.
#[inline(always)]
pub(crate) fn softplus<R: Real>(a: R) -> R {
    a.max(a.lift(0.0)) + (-a.abs()).exp().ln_one_plus()
}

/// 1 / (1 + e⁻ᵃ), the derivative of [`softplus`].
#[inline(always)]
pub(crate) fn logistic<R: Real>(a: R) -> R {
    let one = a.lift(1.0);
    let e = (-a.abs()).exp();
    R::select(a.ge(a.lift(0.0)), one, e) / (one + e)
}

/// tanh a, and its derivative 1 − tanh² a.
///
/// Both from e^(−2|a|), so that nothing overflows and the derivative does not cancel. The error of
/// tanh is a rounding of 1, also where tanh is small.
#[inline(always)]
pub(crate) fn tanh<R: Real>(a: R) -> (R, R) {
    let one = a.lift(1.0);
    let e = (a.abs() * a.lift(-2.0)).exp();
    let per = one / (one + e);
    let size = (one - e) * per;
    (R::select(a.ge(a.lift(0.0)), size, -size), a.lift(4.0) * e * per * per)
}

/// artanh a, the inverse of [`tanh`], for |a| < 1; NaN elsewhere.
#[inline(always)]
pub(crate) fn artanh<R: Real>(a: R) -> R {
    let one = a.lift(1.0);
    let size = a.abs();
    let room = one - size;
    let artanh = a.lift(0.5) * ((one + size) / room).ln();
    let signed = R::select(a.ge(a.lift(0.0)), artanh, -artanh);
    // Written out, because not every kind of number has a NaN for the logarithm of what is not
    // positive; `room` is 0 or at least a rounding of 1.
    R::select(room.ge(a.lift(1e-30)), signed, a.constant(f64::NAN))
}

/// ln(1 + a) for a ≥ 0, accurate for small a too: what rounding 1 + a lost is added back.
#[inline(always)]
pub(crate) fn ln_1p<R: Real>(a: R) -> R {
    let one = a.lift(1.0);
    let u = one + a;
    u.ln() + (a - (u - one)) / u
}

/// ln(1 − e⁻ᵃ) for a > 0, accurate for small a too; NaN elsewhere.
///
/// 1 − e⁻ᵃ = a (1 − u)/(−ln u) with u = e⁻ᵃ as it was rounded (Kahan): the error of u is in both
/// factors.
#[inline(always)]
pub(crate) fn ln_one_minus_exp<R: Real>(a: R) -> R {
    let (zero, one) = (a.lift(0.0), a.lift(1.0));
    let u = (-a).exp();
    let lost = one - u;
    // u is 1 for the smallest a, and 0 for the largest, where ln u has no bottom.
    let ratio = R::select(zero.ge(lost), one, lost / -u.ln());
    let share = R::select(u.ge(a.lift(1e-10)), a * ratio, lost);
    R::select(zero.ge(a), a.constant(f64::NAN), share.ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softplus_and_logistic_hold_at_both_ends() {
        assert_eq!(softplus(1000.0_f64), 1000.0);
        assert_eq!(softplus(-1000.0_f64), 0.0);
        assert_eq!(logistic(1000.0_f64), 1.0);
        assert_eq!(logistic(-1000.0_f64), 0.0);
        assert!((logistic(0.3_f64) - 0.574_442_516_811_659_2).abs() < 1e-15);
    }

    /// Numbers from 1e-15 to 316, ten a decade, and their opposites.
    fn decades() -> impl Iterator<Item = f64> {
        (-150..=25).flat_map(|i| {
            let a = libm::exp(0.1 * f64::from(i) * core::f64::consts::LN_10);
            [a, -a]
        })
    }

    #[test]
    fn tanh_and_its_derivative_are_those_of_libm() {
        for a in decades() {
            let (t, g) = tanh(a);
            assert!((t - libm::tanh(a)).abs() < 3e-16, "tanh {a}");
            let expected = 1.0 / (libm::cosh(a) * libm::cosh(a));
            assert!((g - expected).abs() <= 1e-13 * expected, "derivative at {a}: {g:e}");
            if a.abs() < 2.0 {
                assert!((artanh(t) - a).abs() < 1e-14, "artanh tanh {a}");
            }
        }
        assert_eq!((tanh(f64::INFINITY), tanh(f64::NEG_INFINITY)), ((1.0, 0.0), (-1.0, 0.0)));
        assert!(tanh(f64::NAN).0.is_nan());
        assert!([1.0, -1.0, 1.5, f64::NAN].map(artanh).iter().all(|x| x.is_nan()));
    }

    #[test]
    fn logarithms_beside_1_lose_no_digits() {
        for a in decades().filter(|a| *a > 0.0) {
            let expected = libm::log1p(a);
            assert!((ln_1p(a) - expected).abs() <= 4e-16 * expected, "ln(1 + {a:e})");
            let expected = libm::log(-libm::expm1(-a));
            let error = (ln_one_minus_exp(a) - expected).abs();
            assert!(error <= 1e-15 * (1.0 + expected.abs()), "ln(1 − e^−{a:e})");
        }
        assert!([0.0, -1.0, f64::NAN].map(ln_one_minus_exp).iter().all(|x| x.is_nan()));
    }
}
