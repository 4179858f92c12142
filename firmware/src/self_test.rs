//! The same rows and the same digest on every machine.

/// Rows that a self-test scores.
pub const ROWS: u32 = 256;

/// Scores [`ROWS`] pseudo-random rows; returns the digest of the scores' bits.
pub fn run(row: &mut [f32], mut score: impl FnMut(&[f32]) -> f32) -> u64 {
    let mut generator = Generator::new();
    let mut digest = Digest::new();
    for _ in 0..ROWS {
        row.fill_with(|| generator.next());
        digest.add(score(row).to_bits());
    }
    digest.value()
}

/// Marsaglia's 32-bit xorshift with the shifts 13, 17, 5 ("Xorshift RNGs", 2003).
pub(crate) struct Generator(u32);

impl Generator {
    pub(crate) const fn new() -> Self {
        Self(0x9e37_79b9)
    }

    /// A number in [-4, 4) with 24 bits, so that the conversion and the product are exact.
    pub(crate) const fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        (self.0 as i32 >> 8) as f32 * (4.0 / 8_388_608.0)
    }
}

/// FNV-1a with 64 bits over little-endian words.
pub(crate) struct Digest(u64);

impl Digest {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn value(&self) -> u64 {
        self.0
    }

    pub(crate) fn add(&mut self, word: u32) {
        for byte in word.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::format;
    use std::vec;

    #[test]
    fn this_machine_computes_the_digests_that_the_boards_print() {
        for (bytes, printed) in [
            (fluxlet::include_model!("../models/self-test.flx"), include_str!("../self-test.out")),
            (fluxlet::include_model!("../models/numbers.flx"), include_str!("../numbers.out")),
        ] {
            let model = fluxlet::Model::new_checked(bytes).unwrap();
            let mut row = vec![0.0; model.input_len()];
            let mut work = vec![0.0; model.work_len()];
            let digest = run(&mut row, |row| {
                let log_prob = fluxlet::log_prob(&model, row, &mut work);
                assert!(log_prob > fluxlet::LOG_PROB_MIN, "a row is out of the layers' range");
                log_prob
            });
            let expected = format!("digest {digest:016x}");
            assert!(printed.lines().any(|line| line == expected), "{expected} not in:\n{printed}");
        }
    }

    #[test]
    fn digest_is_fnv_1a() {
        let mut digest = Digest::new();
        digest.add(u32::from_le_bytes(*b"foob"));
        // Two steps more than a word: the published value of "foobar".
        for byte in *b"ar" {
            digest.0 = (digest.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        assert_eq!(digest.0, 0x85944171f73967e8);
    }
}
