//! Networks of 8-bit weights, read as `FORMAT.md` says; part of the second reader.

use super::networks::{Kind, Record, transform};
use super::quadratic_bin;

/// A network's words that are not read yet.
pub(super) struct Integers<'w> {
    words: &'w [f32],
    scale: f32,
    pub(super) taken: usize,
}

impl<'w> Integers<'w> {
    pub(super) fn new(words: &'w [f32]) -> Self {
        Self { words, scale: words[0], taken: 1 }
    }

    fn word(&mut self) -> u32 {
        self.taken += 1;
        self.words[self.taken - 1].to_bits()
    }

    fn sum(&mut self, inputs: &[i64]) -> i64 {
        let mut sum = 0;
        for four in inputs.chunks(4) {
            let word = self.word();
            for (i, a) in four.iter().enumerate() {
                sum += i64::from((word >> (8 * i)) as u8 as i8) * a;
            }
        }
        sum
    }
}

/// 2⁻ᶠ and ln(1 + u)/u, 2¹⁶ being 1; f and u are of 2¹⁵.
fn polynomial(coefficients: &[i64], x: i64) -> i64 {
    coefficients.iter().rev().fold(0, |sum, c| c - ((sum * x) >> 15))
}

/// e^(−t): mantissa and shift.
fn exp(t: i64) -> (i64, i64) {
    let power = t.min(65_535) * 23_637;
    let f = (power >> 10) % 32_768;
    (polynomial(&[65_536, 45_421, 15_693, 3_488, 448], f), power >> 25)
}

fn slope(a: i64) -> f32 {
    let (m, n) = exp(a.abs());
    let u = (m >> 1) >> n;
    let ratio = polynomial(&[65_536, 32_738, 21_380, 13_920, 6_789, 1_621], u);
    let log = ((m * (ratio >> 1)) >> 11) >> n;
    0.001 + (512 * a.max(0) + log) as f32 * (1.0 / 1_048_576.0)
}

/// The parts of an axis.
fn parts(logits: &[i64]) -> Vec<i64> {
    let largest = logits.iter().copied().fold(-131_072, i64::max);
    let powers: Vec<i64> = logits.iter().map(|a| exp(largest - a)).map(|(m, n)| m >> n).collect();
    let floor = 65_536 / (1000 - logits.len() as i64).max(1);
    let least = ((powers.iter().sum::<i64>() >> 4) * floor) >> 12;
    powers.iter().map(|power| power + least).collect()
}

impl Kind for Integers<'_> {
    type Number = i64;

    fn input(&self, x: f32) -> i64 {
        let x = x * self.scale;
        if x >= -8191.0 { x.min(8191.0).round_ties_even() as i64 } else { -8191 }
    }

    fn rows(&mut self, count: usize, inputs: &[i64], direct: Option<&[i64]>) -> Vec<i64> {
        let most = if direct.is_some() { 131_072 } else { 8191 };
        let row = |_| {
            let bias = i64::from(self.word() as i32);
            let scale = self.word();
            let sum = bias + self.sum(inputs) + self.sum(direct.unwrap_or(&[]));
            let (m, n) = (i64::from(scale & 0xffff), scale >> 16);
            ((sum * m) >> (16 + n)).clamp(-most, most)
        };
        (0..count).map(row).collect()
    }

    fn add(a: i64, b: i64) -> i64 {
        (a + b).clamp(-8191, 8191)
    }

    fn activate(code: u8, a: i64) -> i64 {
        if code == 5 && a < 0 { (655 * a) >> 16 } else { a.max(0) }
    }

    fn transform(record: &Record, constants: [f32; 3], outputs: &[i64], x: f32) -> (f32, f32) {
        let [low, high, end] = constants;
        if record.transformer != 2 || record.has(2) {
            let outputs: Vec<f32> = outputs.iter().map(|a| *a as f32 * (1.0 / 2048.0)).collect();
            return transform(record, constants, &outputs, x);
        }
        if x < low || x > high {
            return (x, 1.0);
        }
        let bins = record.arg;
        let end = (end * 2048.0).clamp(-131_072.0, 131_072.0).round_ties_even() as i64;
        let (widths, heights) = (parts(&outputs[..bins]), parts(&outputs[bins..2 * bins]));
        let total = |parts: &[i64]| parts.iter().sum::<i64>() as f32;
        let place = ((x - low) * (1.0 / (high - low)) * total(&widths)) as i64;
        let before = |parts: &[i64], j: usize| parts[..j].iter().sum::<i64>();
        let k = (0..bins).rfind(|k| *k == 0 || before(&widths, *k) <= place).unwrap();
        let edge = |parts: &[i64], j: usize| match j {
            j if j == bins => high,
            _ => low + before(parts, j) as f32 * ((high - low) / total(parts)),
        };
        let knot = |j: usize| {
            let free = if j == 0 || j == bins { end } else { outputs[2 * bins + j - 1] };
            [edge(&widths, j), edge(&heights, j), slope(free)]
        };
        let (left, right) = (knot(k), knot(k + 1));
        let x = if x >= left[0] { x } else { left[0] };
        let x = if right[0] >= x { x } else { right[0] };
        quadratic_bin(x, left, right)
    }
}
