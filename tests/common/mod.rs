//! What several test files share: exact derivatives, seeded numbers, and weights of every layer.

#![allow(dead_code, reason = "every test file uses its own part")]

pub(crate) mod counted;
pub(crate) mod draw;
pub(crate) mod dual;
pub(crate) mod goldens;
pub(crate) mod numbers;
pub(crate) mod oracle;

use fluxlet::math::Real;

/// A seeded generator (SplitMix64, Steele, Lea and Flood 2014), so that a failure can be repeated.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in 0..n.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize
    }

    /// A number in [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A standard normal number (Marsaglia's polar method).
    pub(crate) fn normal(&mut self) -> f64 {
        loop {
            let (a, b) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = a * a + b * b;
            if square < 1.0 && square > 0.0 {
                return a * Real::sqrt(-2.0 * Real::ln(square) / square);
            }
        }
    }

    pub(crate) fn normals(&mut self, len: usize) -> Vec<f64> {
        (0..len).map(|_| self.normal()).collect()
    }
}

/// Weights as a model stores them.
pub(crate) fn packed(w: &[f64]) -> Vec<u8> {
    w.iter().flat_map(|w| (*w as f32).to_le_bytes()).collect()
}

/// The largest deviation seen of one law or quantity, next to what is allowed; printed at the end
/// (`cargo test -- --nocapture` shows it).
pub(crate) struct Worst {
    name: String,
    tolerance: f64,
    checks: usize,
    error: f64,
    place: String,
}

impl Worst {
    pub(crate) fn new(name: impl Into<String>, tolerance: f64) -> Self {
        Self { name: name.into(), tolerance, checks: 0, error: 0.0, place: String::new() }
    }

    /// Compares two numbers; the allowed difference is the tolerance times `scale`.
    pub(crate) fn compare(
        &mut self,
        got: f64,
        expected: f64,
        scale: f64,
        place: impl Fn() -> String,
    ) {
        self.checks += 1;
        let error = if got == expected { 0.0 } else { (got - expected).abs() / scale };
        // Written so that NaN fails.
        assert!(
            error <= self.tolerance,
            "{}: {}: got {got:e}, expected {expected:e}, error {error:e} > {:e}",
            self.name,
            place(),
            self.tolerance,
        );
        if error > self.error {
            self.error = error;
            self.place = place();
        }
    }
}

impl Drop for Worst {
    fn drop(&mut self) {
        let Self { name, tolerance, checks, error, place } = self;
        let place: String = place.chars().take(90).collect();
        println!(
            "{name}: {checks} checks, worst {error:.2e} of {tolerance:.0e} allowed at {place}"
        );
        if !std::thread::panicking() {
            assert!(*checks > 0, "{name}: nothing was checked");
        }
    }
}
