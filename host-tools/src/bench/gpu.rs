//! A GPU beside the CPU: steps of one model, of many side by side, and rows scored, by the clock.

use core::fmt;
use std::time::Instant;

use fluxlet_gpu::{Gpu, Moving, Pace, Start};
use serde::Serialize;

use super::clock::measure;
use super::flows::{Flow, Task};
use super::ours::{normal, start, training_step};
use crate::backend::{Backend, Cpu, Failed};
use crate::stack::Stack;
use crate::train::FlowConfig;

/// Rows of a batch: what a trainer of small flows takes, and what keeps a large device busy.
const BATCHES: [usize; 2] = [512, 8192];
/// The autoregressive flow is left out: its kernels have a spline for each number, one behind the other, and a
/// driver may take minutes to compile them.
const FLOWS: [Flow; 2] = [Flow::Coupling, Flow::Rotation];
/// Models of a fleet, numbers of each one's rows, and rows of their batches.
const FLEET: usize = 256;
const FLEET_DIM: usize = 8;
const FLEET_BATCH: usize = 128;
/// Rows scored at once.
const SCORED: usize = 1 << 16;
/// Steps of one submission at most.
const STEPS: usize = 16;
/// Floating-point operations of a step for each of a forward pass.
const STEP: f64 = 3.0;

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct OnGpu {
    /// What was done.
    pub work: String,
    /// Rows of a batch.
    pub batch: usize,
    /// How often a second on the GPU.
    pub gpu: f64,
    /// How often a second on the CPU, on all its threads.
    pub cpu: f64,
    /// 10⁹ floating-point operations a second on the GPU.
    pub gflops: f64,
}

/// A GPU and what it does.
#[derive(Clone, Debug, Serialize)]
pub struct GpuReport {
    /// Its name.
    pub name: String,
    /// 10⁹ floating-point operations a second that its multiply-adds reach.
    pub limit_gflops: f64,
    /// The table.
    pub lines: Vec<OnGpu>,
}

/// Measures for `seconds` of each work; `say` is told what comes next.
///
/// # Errors
///
/// The device failed.
pub fn on_gpu(gpu: &Gpu, seconds: f64, say: impl Fn(String)) -> Result<GpuReport, Failed> {
    say("multiply-adds".to_string());
    let limit_gflops = 1e-9 * gpu.multiply_adds_a_second(seconds)? * 2.0;
    let mut lines = Vec::new();
    for flow in FLOWS {
        let stack = flow.stack();
        let flop = flow.flop(Task::LogProb) / Task::LogProb.batch() as f64;
        for batch in BATCHES {
            say(format!("{} steps, batch {batch}", flow.name()));
            let on_gpu = steps(gpu, &stack, 1, batch, seconds)?;
            let mut call = training_step(stack.clone(), batch);
            let cpu = 1.0 / measure(seconds, 1, &mut call).wall_each();
            let gflops = 1e-9 * STEP * flop * batch as f64 * on_gpu;
            let work = format!("{} steps", flow.name());
            lines.push(OnGpu { work, batch, gpu: on_gpu, cpu, gflops });
        }
        say(format!("{} rows scored", flow.name()));
        let on_gpu = scored(gpu, &stack, seconds)?;
        let cpu = scored(&Cpu::default(), &stack, seconds)?;
        let work = format!("{} rows scored", flow.name());
        let gflops = 1e-9 * flop * on_gpu;
        lines.push(OnGpu { work, batch: SCORED, gpu: on_gpu, cpu, gflops });
    }
    say(format!("a fleet of {FLEET}"));
    let stack = FlowConfig::default().stack(FLEET_DIM, 0, false).expect("a stack of this size");
    let models = FLEET as f64;
    let on_gpu = models * steps(gpu, &stack, FLEET, FLEET_BATCH, seconds)?;
    let mut call = training_step(stack.clone(), FLEET_BATCH);
    // Each thread would train models of its own.
    let threads = rayon::current_num_threads() as f64;
    let cpu = threads / measure(seconds, 1, &mut call).cpu_each();
    let flop: usize = stack.layers.iter().map(|(layer, shape)| layer.multiply_adds(*shape)).sum();
    let gflops = 1e-9 * STEP * 2.0 * (flop * FLEET_BATCH) as f64 * on_gpu;
    let work = format!("steps of {FLEET} rotation stacks, D = {FLEET_DIM}");
    lines.push(OnGpu { work, batch: FLEET_BATCH, gpu: on_gpu, cpu, gflops });
    Ok(GpuReport { name: gpu.name().to_string(), limit_gflops, lines })
}

/// Steps a second of each of `count` models that train side by side.
fn steps(
    gpu: &Gpu,
    stack: &Stack,
    count: usize,
    batch: usize,
    seconds: f64,
) -> Result<f64, Failed> {
    let (theta, w) = start(stack);
    let (zeros, start) = (vec![0.0; theta.len()], Start { w: &w, units: &[], decays: &[] });
    let mut models = gpu.models(stack, &vec![start; count], batch)?;
    let moving = Moving { theta: &theta, moments: [&zeros; 2], average: &theta };
    (0..count).for_each(|model| models.set(model, moving));
    let most = models.steps().min(STEPS);
    let rows = normal(stack, most * count * batch);
    let pace = Pace { rows: batch, rate: 1e-3, root: 1.0, clip: 5.0, ..Pace::default() };
    let paces = vec![pace; most * count];
    let mut take = |steps: usize| {
        let rows = &rows[..steps * count * batch * stack.row_len()];
        models.step(rows, &paces[..steps * count]).map(|_| ())
    };
    // As many at once as a slow device takes in the time.
    let one = by_the_clock(0.0, &mut || take(1))?;
    let steps = ((seconds / one) as usize).clamp(1, most);
    Ok(steps as f64 / by_the_clock(seconds, &mut || take(steps))?)
}

/// Rows scored a second.
fn scored(backend: &impl Backend, stack: &Stack, seconds: f64) -> Result<f64, Failed> {
    let (w, rows) = (start(stack).1, normal(stack, SCORED));
    let mut out = vec![0.0; SCORED];
    let mut call = || backend.log_prob(stack, &w, &rows, &mut out);
    Ok(SCORED as f64 / by_the_clock(seconds, &mut call)?)
}

/// Seconds of a call; the first one, which compiles, is not counted.
fn by_the_clock(
    seconds: f64,
    call: &mut impl FnMut() -> Result<(), Failed>,
) -> Result<f64, Failed> {
    call()?;
    let (begin, mut calls) = (Instant::now(), 0);
    loop {
        call()?;
        calls += 1;
        let elapsed = begin.elapsed().as_secs_f64();
        if elapsed >= seconds {
            return Ok(elapsed / f64::from(calls));
        }
    }
}

impl fmt::Display for GpuReport {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "{}: multiply-adds {:.1} GFLOP/s", self.name, self.limit_gflops)?;
        writeln!(
            f,
            "{:<40}{:>7}{:>13}{:>13}{:>8}{:>10}{:>8}",
            "a second", "batch", "GPU", "CPU", "ratio", "GFLOP/s", "limit"
        )?;
        for OnGpu { work, batch, gpu, cpu, gflops } in &self.lines {
            let share = 100.0 * gflops / self.limit_gflops;
            let ratio = gpu / cpu;
            writeln!(
                f,
                "{work:<40}{batch:>7}{gpu:>13.1}{cpu:>13.1}{ratio:>7.2}x{gflops:>10.1}{share:>6.1} %"
            )?;
        }
        Ok(())
    }
}
