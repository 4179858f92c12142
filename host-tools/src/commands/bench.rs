//! `fluxlet bench`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::bench::{self, Peak, Plan};
use crate::processor::{self, Device};

/// Measure speed and memory of training, scoring and sampling.
///
/// Three flows: five couplings and three autoregressive layers (rational-quadratic, D = 8, K = 8,
/// hidden 64-64), and a rotation stack (D = 16, L = 4, M = 4, K = 12). Training steps take 512 rows,
/// scoring 4096, sampling 1024. First the machine's own multiply-add rate is measured; every result
/// is told as a share of it, counted as two operations a multiply-add and three passes a training
/// step: 157 million operations for a coupling step.
///
/// Rates are per CPU-second, the median and the spread of five measurements; "per second" is by
/// the clock, and "faster" what more threads give by the clock. Close other programs for both.
///
/// --peers measures FlowJAX, zuko (plain and compiled), nflows and Pyro too, each in turns with
/// fluxlet, and takes about a quarter of an hour. They need a Python that has them:
/// host-tools/benches/peers/README.md tells how to make one. What is missing is named and left out.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Measure other libraries in turns with fluxlet
    #[arg(long)]
    peers: bool,
    /// The Python that has them
    #[arg(long, value_name = "PATH", default_value = "python3", requires = "peers")]
    python: PathBuf,
    /// Threads [default: one, then all]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// A glance: two short measurements each
    #[arg(long)]
    quick: bool,
    /// Peak memory of training at depth 5, 10 and 20 instead, batch 8192, a process for each (Linux)
    #[arg(long, conflicts_with_all = ["peers", "quick"])]
    memory: bool,
    /// With --memory: train reversibly
    #[arg(long, requires = "memory")]
    reversible: bool,
    /// With --memory: this depth only, in this process
    #[arg(long, value_name = "L", requires = "memory", value_parser = clap::value_parser!(u8).range(1..=64))]
    depth: Option<u8>,
    /// A GPU beside the CPU instead, by the clock: gpu, or gpu:N as `fluxlet doctor` lists them; --peers
    /// are the same steps in zuko, nflows and Pyro on torch's first CUDA device
    #[arg(long, value_name = "GPU", conflicts_with_all = ["memory", "threads"])]
    device: Option<Device>,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Depths of the training runs whose memory is compared.
const DEPTHS: [usize; 3] = [5, 10, 20];

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.memory {
        return memory(args);
    }
    if let Some(device) = args.device {
        return gpu(args, device);
    }
    let all = available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = match args.threads {
        Some(threads) => vec![threads.get()],
        None if all == 1 => vec![1],
        None => vec![1, all],
    };
    let (seconds, rounds) = if args.quick { (0.02, 2) } else { (1.0, 5) };
    let python = args.peers.then(|| args.python.clone());
    let plan = Plan { threads, seconds, rounds, python };
    let bar = spinner();
    let report = bench::run(&plan, |next| bar.set_message(next));
    bar.finish_and_clear();
    let report = report.context("measure the peers")?;
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        anstream::print!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}

fn gpu(args: &Args, device: Device) -> anyhow::Result<ExitCode> {
    let Device::Gpu(number) = device else { bail!("measure: --device names a GPU here") };
    let gpu = processor::open_gpu(number)?;
    let bar = spinner();
    let seconds = if args.quick { 0.1 } else { 1.0 };
    let say = |next| bar.set_message(next);
    let mut report = bench::on_gpu(&gpu, seconds, say).context("measure the GPU")?;
    if args.peers {
        report.compare(&gpu, &args.python, seconds, say).context("measure the peers")?;
    }
    bar.finish_and_clear();
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        anstream::print!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}

fn memory(args: &Args) -> anyhow::Result<ExitCode> {
    let threads = args.threads.map_or(0, NonZeroUsize::get);
    let bar = spinner();
    let peaks = if let Some(depth) = args.depth {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        bar.set_message(format!("training at depth {depth}"));
        vec![pool.install(|| bench::peak(depth.into(), args.reversible))?]
    } else {
        let program = std::env::current_exe().context("find the command's own file")?;
        let mut arguments = vec!["bench".into(), "--memory".into(), "--json".into()];
        arguments.extend(args.threads.map(|threads| format!("--threads={threads}")));
        arguments.extend(args.reversible.then(|| "--reversible".into()));
        bench::peaks(&program, &arguments, &DEPTHS, |depth| {
            bar.set_message(format!("training at depth {depth}"));
        })?
    };
    bar.finish_and_clear();
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&peaks)?);
        return Ok(ExitCode::SUCCESS);
    }
    let head = ["depth", "parameters", "peak, MB", "expected, MB", "excess"];
    anstream::println!(
        "{:>5} {:>11} {:>9} {:>13} {:>8}",
        head[0],
        head[1],
        head[2],
        head[3],
        head[4]
    );
    for peak in &peaks {
        let Peak { depth, parameters, peak_bytes, expected_bytes, .. } = peak;
        let mega = |bytes: u64| bytes as f64 * 1e-6;
        anstream::println!(
            "{depth:>5} {parameters:>11} {:>9.1} {:>13.1} {:>6.1} %",
            mega(*peak_bytes),
            mega(*expected_bytes),
            100.0 * peak.excess()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("  {spinner} {elapsed}  {msg}");
    let bar = ProgressBar::new_spinner().with_style(style.expect("the template is sound"));
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
