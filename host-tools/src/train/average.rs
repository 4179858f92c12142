//! A running average of the parameters (Polyak and Juditsky 1992; as an exponential average, Izmailov
//! et al. 2018, arXiv:1803.05407): steadier than the last step's, and what is validated and exported.

use rayon::prelude::*;

use super::optimiser::CHUNK;

/// By which share of the way to θ the average moves after step `count`. Early steps count more, so
/// that the start is soon forgotten: the share that stays is `decay` at most, and (1 + t)/(10 + t) at
/// step t.
pub(super) fn moves(decay: f64, count: usize) -> f32 {
    let stays = decay.min((1.0 + count as f64) / (10.0 + count as f64));
    (1.0 - stays) as f32
}

/// Moves `average` towards θ after step `count`.
pub(super) fn follow(average: &mut [f32], theta: &[f32], decay: f64, count: usize) {
    let moves = moves(decay, count);
    let chunks = average.par_chunks_mut(CHUNK).zip(theta.par_chunks(CHUNK));
    chunks.for_each(|(average, theta)| {
        for (average, theta) in average.iter_mut().zip(theta) {
            *average += moves * (theta - *average);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_follows_quickly_at_first_and_slowly_later() {
        let mut average = [0.0, 4.0];
        follow(&mut average, &[11.0, 4.0], 0.99, 1);
        assert!((average[0] - 9.0).abs() < 1e-6 && average[1] == 4.0, "{average:?}");
        follow(&mut average, &[19.0, 4.0], 0.99, 100_000);
        assert!((average[0] - 9.1).abs() < 1e-6, "{average:?}");
    }
}
