//! A GPU beside the CPU: steps of one model, of many side by side, and rows scored, by the clock; and other
//! libraries on the same GPU, in turns with ours.

use core::fmt;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread::{self, available_parallelism};
use std::time::Instant;

use fluxlet_gpu::{Gpu, Moving, Pace, Start};
use serde::Serialize;

use super::clock::{Spread, measure};
use super::flows::{Flow, Task};
use super::ours::{normal, start, training_step};
use super::peers::{Error, PEERS, Peer, Python};
use crate::backend::{Backend, Cpu, Failed};
use crate::stack::Stack;

/// Rows of a batch: what a trainer of small flows takes, and what keeps a large device busy.
const BATCHES: [usize; 2] = [512, 8192];
/// Models of a fleet, and rows of their batches.
const FLEET: usize = 256;
const FLEET_BATCH: usize = 128;
/// Flows whose steps are compared with other libraries', and how often. An autoregressive one takes their
/// compiler minutes.
const COMPARED: [Flow; 3] = [Flow::Coupling, Flow::Rotation, Flow::Fleet];
const ROUNDS: usize = 3;
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

/// Steps of another library on the same GPU.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// The library.
    pub library: String,
    /// Its version.
    pub version: String,
    /// The flow.
    pub flow: Flow,
    /// Rows of a batch.
    pub batch: usize,
    /// Steps a second of ours; of a fleet those of all models.
    pub ours: Spread,
    /// Steps a second of the library.
    pub theirs: Spread,
    /// Ours over theirs, each measured just before.
    pub ratio: Spread,
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
    /// Other libraries.
    pub compared: Vec<Compared>,
    /// Libraries that could not be measured, and why.
    pub left_out: Vec<(String, String)>,
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
    for flow in Flow::ALL {
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
    let on_gpu = our_steps(gpu, Flow::Fleet, seconds)?;
    let cpu = on_all_threads(Flow::Fleet, FLEET_BATCH, seconds)?;
    let flop = Flow::Fleet.flop(Task::LogProb) / Task::LogProb.batch() as f64;
    let gflops = 1e-9 * STEP * flop * FLEET_BATCH as f64 * on_gpu;
    let work = format!("steps of {FLEET} rotation stacks, D = 8");
    lines.push(OnGpu { work, batch: FLEET_BATCH, gpu: on_gpu, cpu, gflops });
    let (compared, left_out) = (Vec::new(), Vec::new());
    Ok(GpuReport { name: gpu.name().to_string(), limit_gflops, lines, compared, left_out })
}

/// Steps a second of the CPU, each of whose threads trains models of its own.
fn on_all_threads(flow: Flow, batch: usize, seconds: f64) -> Result<f64, Failed> {
    let train = || {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread();
        let _pool = pool.build().expect("a pool of one thread can be made");
        let mut call = training_step(flow.stack(), batch);
        let mut call = || {
            call();
            Ok(())
        };
        Ok(1.0 / by_the_clock(seconds, &mut call)?)
    };
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..rayon::current_num_threads()).map(|_| scope.spawn(train)).collect();
        workers.into_iter().map(|w| w.join().unwrap_or_else(|panic| resume_unwind(panic))).sum()
    })
}

/// Steps a second of a flow that is compared, of all models of a fleet.
fn our_steps(gpu: &Gpu, flow: Flow, seconds: f64) -> Result<f64, Failed> {
    let (count, batch) = compared_size(flow);
    Ok(count as f64 * steps(gpu, &flow.stack(), count, batch, seconds)?)
}

/// Models side by side, and rows of a batch.
fn compared_size(flow: Flow) -> (usize, usize) {
    if flow == Flow::Fleet { (FLEET, FLEET_BATCH) } else { (1, BATCHES[1]) }
}

impl GpuReport {
    /// Measures the same steps in other libraries, on torch's first CUDA device.
    ///
    /// # Errors
    ///
    /// [`Error::Python`] where there is none, or the device failed. A library that is missing is left out
    /// and named.
    pub fn compare(
        &mut self,
        gpu: &Gpu,
        python: &Path,
        seconds: f64,
        say: impl Fn(String),
    ) -> anyhow::Result<()> {
        let python = Python::new(python)?;
        for peer in PEERS.iter().filter(|peer| peer.on_gpu) {
            if let Err(error) = self.compare_with(gpu, peer, &python, seconds, &say) {
                match error.downcast::<Error>() {
                    Ok(error) => self.left_out.push((peer.name.into(), error.to_string())),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn compare_with(
        &mut self,
        gpu: &Gpu,
        peer: &Peer,
        python: &Python,
        seconds: f64,
        say: impl Fn(String),
    ) -> anyhow::Result<()> {
        say(format!("{} starts", peer.name));
        // All threads, for their compilers; a step waits on one.
        let threads = available_parallelism().map_or(1, core::num::NonZero::get);
        let arguments = ["--device", "cuda", "--batch", &BATCHES[1].to_string()].map(String::from);
        let mut running = python.start(peer, threads, &arguments)?;
        let version = running.about.version.clone();
        for flow in COMPARED {
            if !running.about.tasks.contains_key(&flow) {
                continue;
            }
            say(format!("{}, {} steps", peer.name, flow.name()));
            // Builds and warms up.
            running.measure(flow, Task::Train, 0.0)?;
            let mut pairs = Vec::new();
            for _ in 0..ROUNDS {
                let ours = our_steps(gpu, flow, seconds)?;
                let theirs = running.measure(flow, Task::Train, seconds / threads as f64)?;
                pairs.push((ours, 1.0 / theirs.wall_each()));
            }
            self.compared.push(Compared {
                library: peer.name.into(),
                version: version.clone(),
                flow,
                batch: compared_size(flow).1,
                ours: Spread::of(pairs.iter().map(|(ours, _)| *ours)),
                theirs: Spread::of(pairs.iter().map(|(_, theirs)| *theirs)),
                ratio: Spread::of(pairs.iter().map(|(ours, theirs)| ours / theirs)),
            });
        }
        Ok(())
    }
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

/// Seconds of a call. The first one, which compiles, is not counted, nor half a second behind it: a device
/// that had nothing to do wakes up slowly.
fn by_the_clock(
    seconds: f64,
    call: &mut impl FnMut() -> Result<(), Failed>,
) -> Result<f64, Failed> {
    call()?;
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < seconds.min(0.5) {
        call()?;
    }
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
        if !self.compared.is_empty() {
            writeln!(
                f,
                "{:<40}{:>7}{:>13}{:>13}{:>8}",
                "steps a second, in turns", "batch", "fluxlet", "theirs", "ratio"
            )?;
        }
        for Compared { library, version, flow, batch, ours, theirs, ratio } in &self.compared {
            let work = format!("{library} {version}, {}", flow.name());
            writeln!(
                f,
                "{work:<40}{batch:>7}{:>13.1}{:>13.1}{:>7.1}x ({:.1} to {:.1})",
                ours.median, theirs.median, ratio.median, ratio.min, ratio.max
            )?;
        }
        for (library, reason) in &self.left_out {
            writeln!(f, "{library} was left out: failed to {reason}")?;
        }
        Ok(())
    }
}
