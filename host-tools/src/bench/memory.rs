//! Peak memory of a training run, against depth.
//!
//! Between layers a trainer has to keep the D numbers of every row, 4·D bytes a row and layer;
//! whatever else grows with depth is waste. Each depth runs in a process of its own: a peak never
//! falls again, and memory that one run freed would hide the next one's.

use std::fs;
use std::io;
use std::num::ParseIntError;
use std::path::Path;
use std::process::Command;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use super::flows;
use crate::backend::Cpu;
use crate::train::{FitError, Plan, Rows, Silent, Start, TrainConfig, fit};

/// Rows of a mini-batch.
const BATCH: usize = 8192;
/// Mini-batches of the training rows, each taken twice.
const BATCHES: usize = 2;

/// Why a peak could not be told; a fragment that reads after "failed to".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the text of a variant says what its fields are")]
pub enum Error {
    /// The system is not Linux.
    #[error("read the peak memory from /proc/self/status, which Linux has")]
    Status { source: io::Error },
    /// The file has no such line.
    #[error("read the peak memory from /proc/self/status: it has no line VmHWM in kB")]
    NoPeak,
    /// The number is none.
    #[error("read the peak memory from /proc/self/status")]
    Number(#[from] ParseIntError),
    /// Training ended before its time.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// The process of a depth did not start.
    #[error("run {program} at depth {depth}")]
    Child { program: String, depth: usize, source: io::Error },
    /// It failed.
    #[error("train at depth {depth}: {said}")]
    Failed { depth: usize, said: String },
}

/// Peak memory of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Peak {
    /// Couplings of the flow.
    pub depth: usize,
    /// Free parameters.
    pub parameters: usize,
    /// Rows of a mini-batch.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
    /// Peak resident memory of the process.
    pub peak_bytes: u64,
    /// 4·D bytes a row and coupling beyond the shallowest run's, on top of its peak; the peak itself
    /// for that run.
    pub expected_bytes: u64,
}

impl Peak {
    /// How far the peak lies above what is expected, as a share.
    pub fn excess(&self) -> f64 {
        self.peak_bytes as f64 / self.expected_bytes as f64 - 1.0
    }
}

/// Trains the reference flow with `depth` couplings for some steps, reversibly or as usual; the peak is
/// this process's.
///
/// # Errors
///
/// [`Error`] where the system does not tell.
pub fn peak(depth: usize, reversible: bool) -> Result<Peak, Error> {
    let stack = flows::coupling(depth);
    let parameters = stack.theta_len();
    let len = (BATCHES + 1) * BATCH * stack.row_len();
    let values: Vec<f32> =
        ChaCha8Rng::seed_from_u64(0).sample_iter(StandardNormal).take(len).collect();
    let (train_rows, held_out) = values.split_at(BATCHES * BATCH * stack.row_len());
    let rows = Rows { train: train_rows, held_out, domains: &[] };
    let config = TrainConfig { batch: BATCH, ..TrainConfig::default() };
    let plan = Plan { stack, start: Start::Identity, steps: 2 * BATCHES, config: &config };
    let cpu = if reversible { Cpu::reversible() } else { Cpu::default() };
    fit(plan, rows, &cpu, None, &mut Silent)?;
    let peak_bytes = peak_bytes()?;
    let threads = rayon::current_num_threads();
    Ok(Peak { depth, parameters, batch: BATCH, threads, peak_bytes, expected_bytes: peak_bytes })
}

/// [`peak`] of every depth, from the shallowest on, each by `program` with these arguments and
/// `--depth`; `progress` is told the depth that comes next.
///
/// # Errors
///
/// [`Error`] where a process fails.
pub fn peaks(
    program: &Path,
    arguments: &[String],
    depths: &[usize],
    mut progress: impl FnMut(usize),
) -> Result<Vec<Peak>, Error> {
    let mut peaks: Vec<Peak> = Vec::new();
    for &depth in depths {
        progress(depth);
        let mut command = Command::new(program);
        command.args(arguments).arg("--depth").arg(depth.to_string());
        let program = program.display().to_string();
        let output = command.output().map_err(|source| Error::Child { program, depth, source })?;
        let failed = || {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
            Error::Failed { depth, said }
        };
        let found: Vec<Peak> = serde_json::from_slice(&output.stdout).map_err(|_| failed())?;
        let mut peak = found.into_iter().next().ok_or_else(failed)?;
        if let Some(first) = peaks.first() {
            let row_bytes = 4 * flows::coupling(1).row_len() * BATCH;
            peak.expected_bytes = first.peak_bytes + ((depth - first.depth) * row_bytes) as u64;
        }
        peaks.push(peak);
    }
    Ok(peaks)
}

/// Peak resident memory of this process. The system call `getrusage` is no help: it counts what
/// the process that started this one had before.
fn peak_bytes() -> Result<u64, Error> {
    let status =
        fs::read_to_string("/proc/self/status").map_err(|source| Error::Status { source })?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.strip_suffix("kB")).ok_or(Error::NoPeak)?;
    Ok(1024 * kilobytes.trim().parse::<u64>()?)
}
