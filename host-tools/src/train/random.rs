//! Everything random in a run: a generator is a function of the seed, of what it is for, and of a
//! number. A run that is resumed needs nothing of the generators before.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What random numbers are for; each use has streams of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use {
    /// The start of the parameters.
    Start = 1,
    /// The order of the rows, by epoch.
    Order = 2,
    /// The noise on the rows, by step.
    Noise = 3,
}

/// The generator number `number`, below 2⁵⁶, of this seed and use.
pub(super) fn generator(seed: u64, purpose: Use, number: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream((purpose as u64) << 56 | number as u64);
    rng
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn seeds_uses_and_numbers_have_streams_of_their_own() {
        let first = |seed, purpose, number| generator(seed, purpose, number).random::<u64>();
        let drawn = [
            first(0, Use::Order, 0),
            first(1, Use::Order, 0),
            first(0, Use::Noise, 0),
            first(0, Use::Order, 1),
        ];
        for (i, one) in drawn.iter().enumerate() {
            assert!(!drawn[..i].contains(one), "{drawn:?}");
        }
        assert_eq!(first(0, Use::Order, 0), drawn[0]);
    }
}
