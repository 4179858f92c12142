//! Mini-batches: which rows a step sees, and the noise on them, both a function of the seed and the
//! step.

use rand::RngExt;
use rand_distr::StandardNormal;
use rayon::prelude::*;

use super::random::{Use, generator};
use super::{Rows, TrainConfig, init};
use crate::data::{self, Domain, Order};

/// Rows whose noise comes from one part of a step's stream: threads share a batch in these.
const CHUNK: usize = 64;
/// Words of the stream from one chunk to the next; more than a chunk of the widest rows draws.
const CHUNK_WORDS: u128 = 1 << 32;

/// The training rows, batch by batch.
pub(super) struct Batches<'r> {
    rows: &'r [f32],
    domains: &'r [Domain],
    width: usize,
    size: usize,
    seed: u64,
    /// Standard deviation of the noise on each column.
    blur: Vec<f32>,
    /// The epoch that was asked for last, and its order.
    order: Option<(usize, Order)>,
    chosen: Vec<u32>,
    batch: Vec<f32>,
}

/// What a step sees.
#[derive(Clone, Copy)]
pub(crate) struct Batch<'b> {
    /// Numbers of its rows among the training rows.
    pub(crate) chosen: &'b [u32],
    /// The rows with their noise, \[B, D + C\].
    pub(crate) rows: &'b [f32],
}

impl<'r> Batches<'r> {
    /// Batches of `rows` of D + C = `width` numbers; the C have no density, and no noise.
    pub(super) fn new(rows: Rows<'r>, dim: usize, width: usize, config: &TrainConfig) -> Self {
        let noise = |deviation: f64| (deviation * config.noise) as f32;
        let mut blur: Vec<f32> = init::deviations(rows.train, width).map(noise).collect();
        blur[dim..].fill(0.0);
        Self {
            rows: rows.train,
            domains: rows.domains,
            width,
            size: config.batch,
            seed: config.seed,
            blur,
            order: None,
            chosen: Vec::new(),
            batch: Vec::new(),
        }
    }

    fn count(&self) -> usize {
        self.rows.len() / self.width
    }

    /// Batches that all rows make.
    pub(super) fn per_epoch(&self) -> usize {
        self.count().div_ceil(self.size)
    }

    /// The batch of a step, counted from 0 over all epochs.
    pub(super) fn at(&mut self, step: usize) -> Batch<'_> {
        let (epoch, place) = (step / self.per_epoch(), step % self.per_epoch());
        let Self { rows, domains, width, seed, ref blur, .. } = *self;
        if self.order.as_ref().is_none_or(|(of, _)| *of != epoch) {
            let mut rng = generator(seed, Use::Order, epoch);
            self.order = Some((epoch, Order::new(self.count(), width, &mut rng)));
        }
        if let Some((_, order)) = &mut self.order {
            self.chosen = order.batch(place * self.size, self.size);
        }
        let chosen = &self.chosen[..];
        self.batch.resize(chosen.len() * width, 0.0);
        let chunks = self.batch.par_chunks_mut(CHUNK * width).zip(chosen.par_chunks(CHUNK));
        chunks.enumerate().for_each(|(i, (batch, chosen))| {
            for (row, &number) in batch.chunks_exact_mut(width).zip(chosen) {
                row.copy_from_slice(&rows[number as usize * width..][..width]);
            }
            if blur.iter().any(|blur| *blur > 0.0) {
                let mut rng = generator(seed, Use::Noise, step);
                rng.set_word_pos(i as u128 * CHUNK_WORDS);
                for (x, blur) in batch.iter_mut().zip(blur.iter().cycle()) {
                    *x += blur * rng.sample::<f32, _>(StandardNormal);
                }
                data::keep_inside(domains, batch, width);
            }
        });
        Batch { chosen, rows: &self.batch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: usize = 300;

    fn rows() -> Vec<f32> {
        (0..2 * ROWS).map(|i| i as f32).collect()
    }

    fn batches<'r>(rows: &'r [f32], config: &TrainConfig) -> Batches<'r> {
        Batches::new(Rows { train: rows, held_out: &[], domains: &[] }, 1, 2, config)
    }

    #[test]
    fn an_epoch_shows_every_row_once_and_the_next_one_in_another_order() {
        let (rows, config) = (rows(), TrainConfig { noise: 0.0, ..TrainConfig::default() });
        let mut batches = batches(&rows, &config);
        assert_eq!(batches.per_epoch(), 3);
        let mut epoch = |steps: core::ops::Range<usize>| -> Vec<u32> {
            steps.flat_map(|step| batches.at(step).chosen.to_vec()).collect()
        };
        let (mut first, mut second) = (epoch(0..3), epoch(3..6));
        assert_ne!(first, second);
        first.sort_unstable();
        second.sort_unstable();
        assert_eq!(first, (0..ROWS as u32).collect::<Vec<_>>());
        assert_eq!(first, second);
    }

    #[test]
    fn a_batch_depends_on_its_step_alone() {
        let (rows, config) = (rows(), TrainConfig::default());
        let mut walked = batches(&rows, &config);
        let all: Vec<Vec<f32>> = (0..9).map(|step| walked.at(step).rows.to_vec()).collect();
        for step in [7, 2, 8] {
            assert_eq!(batches(&rows, &config).at(step).rows, all[step], "step {step}");
        }
    }

    #[test]
    fn noise_is_on_every_row_and_on_no_context() {
        let (rows, config) = (rows(), TrainConfig::default());
        let mut batches = batches(&rows, &config);
        let Batch { chosen, rows } = batches.at(0);
        let mut noises = Vec::new();
        for (row, &number) in rows.chunks_exact(2).zip(chosen) {
            assert_eq!(row[1], (2 * number + 1) as f32);
            noises.push(row[0] - (2 * number) as f32);
        }
        noises.sort_unstable_by(f32::total_cmp);
        noises.dedup();
        assert!(noises.len() > 120, "{} of {} noises differ", noises.len(), chosen.len());
        // 5 % of 173, the deviation of 0, 2, ... 598.
        let square = noises.iter().map(|x| f64::from(x * x)).sum::<f64>() / noises.len() as f64;
        assert!((square.sqrt() - 8.7).abs() < 2.0, "{}", square.sqrt());
    }
}
