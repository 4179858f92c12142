//! `fluxlet cost`.

mod kernels;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use fluxlet::bijection::{Layer, Shape};
use fluxlet::conditioner::Numbers;
use fluxlet::{Base, Model};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde::Serialize;

use crate::bench::Flow;
use crate::device::{Bench, Board, DoesNotFit, Footprint};
use crate::explain::measured::Measured;
use crate::explain::shape;
use crate::export::export;
use crate::output;
use crate::stack::Stack;

/// Measure flash, memory and instructions of a model on emulated microcontrollers.
///
/// Without MODEL, the reference models are measured, with random weights: the rotation stack (D = 16,
/// L = 4, M = 4, K = 12) and the coupling flow (five layers, D = 8, K = 8, networks [64, 64]), which is
/// measured in int8 too.
/// Instructions are counted one by one in QEMU over 100 rows; the stack is painted and scanned. Cycles
/// are LLVM's estimate for the first row, where it has a model of the core and llvm-mca 19 or newer is
/// installed.
///
/// `--layers` measures each layer alone instead: what a stack of one layer takes beyond a stack of
/// none. That is the table that `fluxlet explain` shows. `--kernels` measures single kernels, one call
/// each, beside those of CMSIS-DSP.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Packed model [default: the reference models]
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

/// What a model takes of a board.
#[derive(Serialize)]
struct Row {
    model: String,
    target: Board,
    model_bytes: u64,
    /// None where the board is too small.
    #[serde(flatten)]
    cost: Option<Cost>,
}

#[derive(Serialize)]
struct Cost {
    #[serde(flatten)]
    footprint: Footprint,
    stack_bytes: u64,
    instructions_mean: u64,
    instructions_max: u64,
    /// None where LLVM has no model of the core.
    cycles_estimated: Option<u64>,
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
    let models = match &args.model {
        Some(path) => {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            vec![(name.into_owned(), super::read_model(path)?)]
        }
        None => references()?,
    };
    let bench = Bench::set_up()?;
    let mut rows = Vec::new();
    for (name, bytes) in models {
        let path = folder.path().join("model.flx");
        std::fs::write(&path, &bytes)?;
        let model = super::model(&bytes);
        let inputs = super::verify::random_inputs(&model, 100);
        let first = &inputs[..model.input_len()];
        for &target in targets {
            let cost = match cost(&bench, target, &path, &inputs, first) {
                Ok(cost) => Some(cost),
                // In a table of several models that is a figure like another.
                Err(error) if args.model.is_none() && error.is::<DoesNotFit>() => None,
                Err(error) => return Err(error),
            };
            rows.push(Row { model: name.clone(), target, model_bytes: bytes.len() as u64, cost });
        }
    }
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print_table(&rows);
    }
    Ok(ExitCode::SUCCESS)
}

/// Two of the flows that are benchmarked, with random weights, and one of them in whole numbers.
fn references() -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let [rotation, coupling] =
        [Flow::Rotation, Flow::Coupling].map(|flow| random_model(&flow.stack(), 0.5));
    let model = super::model(&coupling);
    let readings = super::verify::random_inputs(&model, 1000);
    let int8 = export(&model, Numbers::Int8, &readings)?.bytes;
    let models = [("rotation", rotation), ("coupling", coupling), ("coupling int8", int8)];
    Ok(models.map(|(name, bytes)| (name.into(), bytes)).into())
}

/// Measures one model on one board: instructions over all `inputs`, cycles over the `first` row of them.
fn cost(
    bench: &Bench,
    target: Board,
    path: &Path,
    inputs: &[f32],
    first: &[f32],
) -> anyhow::Result<Cost> {
    let scorer = bench.build(target, path)?;
    let counts = scorer.score(inputs, true)?.instructions;
    anyhow::ensure!(!counts.is_empty(), "count instructions on {}: none were", target.name());
    Ok(Cost {
        footprint: bench.footprint(target, path)?,
        stack_bytes: scorer.peak_stack()?,
        instructions_mean: counts.iter().sum::<u64>() / counts.len() as u64,
        instructions_max: counts.iter().copied().max().unwrap_or(0),
        cycles_estimated: scorer.cycles(first)?,
    })
}

fn print_table(rows: &[Row]) {
    anstream::println!(
        "| model, bytes | core | code, bytes | static RAM | stack, bytes | instructions a score | at most | cycles, estimated |"
    );
    anstream::println!("|---|---|---:|---:|---:|---:|---:|---:|");
    for Row { model, target, model_bytes, cost } in rows {
        let target = target.name();
        let Some(cost) = cost else {
            anstream::println!("| {model}, {model_bytes} | {target} | does not fit | | | | | |");
            continue;
        };
        let Footprint { code_bytes, static_ram_bytes } = cost.footprint;
        let Cost { stack_bytes, instructions_mean, instructions_max, .. } = cost;
        let cycles = cost.cycles_estimated.map_or("-".into(), |cycles| cycles.to_string());
        anstream::println!(
            "| {model}, {model_bytes} | {target} | {code_bytes} | {static_ram_bytes} | {stack_bytes} | \
             {instructions_mean} | {instructions_max} | {cycles} |"
        );
    }
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
