//! `fluxlet cost`.

mod kernels;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use fluxlet::bijection::{Layer, Shape};
use fluxlet::{Base, Model};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde::Serialize;

use crate::bench::Flow;
use crate::device::{Bench, Board};
use crate::explain::measured::Measured;
use crate::explain::shape;
use crate::output;
use crate::stack::Stack;

/// Measure flash, stack and instructions of a model on emulated microcontrollers.
///
/// Without MODEL, the reference stack is measured: D = 16, L = 4, M = 4, K = 12 with random weights.
/// Instructions are counted one by one in QEMU over 100 rows; the stack is painted and scanned.
///
/// `--layers` measures each layer alone instead: what a stack of one layer takes beyond a stack of
/// none. That is the table that `fluxlet explain` shows. `--kernels` measures single kernels, one call
/// each, beside those of CMSIS-DSP.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Packed model [default: the reference stack]
    model: Option<PathBuf>,
    /// Microcontroller [default: m4f and m0]
    #[arg(long, value_enum)]
    target: Vec<Board>,
    /// Measure every layer alone, as JSON
    #[arg(long, conflicts_with_all = ["model", "target"])]
    layers: bool,
    /// Measure single kernels on the targets
    #[arg(long, conflicts_with_all = ["model", "layers"])]
    kernels: bool,
    /// File for the table of --layers [default: standard output]
    #[arg(short, long, value_name = "FILE", requires = "layers")]
    out: Option<PathBuf>,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    target: Board,
    code_bytes: u64,
    model_bytes: u64,
    stack_bytes: u64,
    instructions_mean: u64,
    instructions_max: u64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.layers {
        return layers(args.out.as_deref());
    }
    let targets: &[Board] = if args.target.is_empty() { &Board::USUAL } else { &args.target };
    if args.kernels {
        return kernels::run(targets, args.json);
    }
    let folder = tempfile::tempdir()?;
    let reference = folder.path().join("reference.flx");
    let path: &Path = match &args.model {
        Some(path) => path,
        None => {
            std::fs::write(&reference, reference_model())?;
            &reference
        }
    };
    let bytes = super::read_model(path)?;
    let model = super::model(&bytes);
    let inputs = super::verify::random_inputs(&model, 100);
    let bench = Bench::set_up()?;
    let mut rows = Vec::new();
    for &target in targets {
        let scorer = bench.build(target, path)?;
        let counts = scorer.score(&inputs, true)?.instructions;
        anyhow::ensure!(!counts.is_empty(), "count instructions on {}: none were", target.name());
        rows.push(Row {
            target,
            code_bytes: bench.code_bytes(target, path)?,
            model_bytes: bytes.len() as u64,
            stack_bytes: scorer.peak_stack()?,
            instructions_mean: counts.iter().sum::<u64>() / counts.len() as u64,
            instructions_max: counts.iter().copied().max().unwrap_or(0),
        });
    }
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    anstream::println!(
        "| core | code, bytes | model, bytes | stack, bytes | instructions a score | at most |"
    );
    anstream::println!("|---|---:|---:|---:|---:|---:|");
    for row in rows {
        let Row {
            target,
            code_bytes,
            model_bytes,
            stack_bytes,
            instructions_mean,
            instructions_max,
        } = row;
        anstream::println!(
            "| {} | {code_bytes} | {model_bytes} | {stack_bytes} | {instructions_mean} | {instructions_max} |",
            target.name()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures each layer at the shape at which it is explained.
fn layers(out: Option<&Path>) -> anyhow::Result<ExitCode> {
    let bench = Bench::set_up()?;
    let none = instructions(&bench, Vec::new())?;
    let mut table = Vec::new();
    for &layer in Layer::ALL {
        let shape = shape::example(layer, shape::DIM, None)
            .with_context(|| format!("find a shape of {}", layer.name()))?;
        let one = instructions(&bench, vec![(layer, shape)])?;
        let [m4f, m0] = [0, 1].map(|board| one[board].saturating_sub(none[board]));
        let (dim, arg) = (shape.dim, shape.arg);
        table.push(Measured { layer: layer.name().into(), dim, arg, m4f, m0 });
    }
    let mut text = serde_json::to_string_pretty(&table)?;
    text.push('\n');
    match out {
        Some(path) => output::write_atomically(path, |file| file.write_all(text.as_bytes()))?,
        None => anstream::print!("{text}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Mean instructions of a score by these layers, on each board.
fn instructions(bench: &Bench, layers: Vec<(Layer, Shape)>) -> anyhow::Result<[u64; 2]> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("layers.flx");
    let context = layers.iter().map(|(_, shape)| shape.context).max().unwrap_or(0);
    let stack = Stack { dim: shape::DIM, context, layers, base: Base::Normal };
    // Not every layer exists with large weights.
    let mut models = [0.5, 0.1, 0.02].into_iter().map(|spread| random_model(&stack, spread));
    let bytes = models.find(|bytes| Model::new_checked(bytes).is_ok());
    let bytes = bytes.context("find weights that the reader accepts")?;
    std::fs::write(&path, &bytes)?;
    // Normals, not the model's own samples: a layer need not reach every z.
    let rng = ChaCha8Rng::seed_from_u64(7);
    let count = 100 * super::model(&bytes).input_len();
    let inputs: Vec<f32> = rng.sample_iter(StandardNormal).take(count).collect();
    let mut means = [0; 2];
    for (mean, board) in means.iter_mut().zip(Board::USUAL) {
        let counts = bench.build(board, &path)?.score(&inputs, true)?.instructions;
        anyhow::ensure!(!counts.is_empty(), "count instructions on {}: none were", board.name());
        *mean = counts.iter().sum::<u64>() / counts.len() as u64;
    }
    Ok(means)
}

/// A rotation stack of four layers and a standard normal base.
fn reference_model() -> Vec<u8> {
    random_model(&Flow::Rotation.stack(), 0.5)
}

/// A stack with random weights, θ drawn from ±`spread`.
fn random_model(stack: &Stack, spread: f64) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let theta: Vec<f64> =
        (0..stack.theta_len()).map(|_| rng.random_range(-spread..spread)).collect();
    let mut w = vec![0.0; stack.weight_len()];
    for span in stack.spans() {
        span.layer.neutral(span.shape, 0.0, &mut w[span.weights]);
    }
    stack.constrain(&theta, &mut w);
    let weights: Vec<f32> = w.iter().map(|w| *w as f32).collect();
    stack.pack(&weights, &[])
}
