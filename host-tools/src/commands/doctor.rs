//! `fluxlet doctor`.

use std::process::ExitCode;
use std::thread;

use fluxlet_gpu::{Adapter, Gpu, adapters};
use serde::Serialize;

use crate::processor::difference;
use crate::report::{bad, good, heading};
use crate::train::{FlowConfig, Kind};

/// Rows of the batch whose gradient is compared.
const ROWS: usize = 512;
/// How far a GPU's gradient may be from the CPU's, relative to its largest number.
const ALLOWED: f64 = 1e-4;

/// Show what this machine can train with: the CPU, and every GPU that can be reached.
///
/// Each GPU computes the gradient of a small flow, which is compared with that of the CPU, the
/// referee. Exit code 1 where one differs or fails.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// What is told of a GPU.
#[derive(Serialize)]
struct Finding {
    /// As `train --device` takes it.
    device: String,
    name: String,
    kind: String,
    driver: String,
    largest_buffer: u64,
    /// Largest error of the gradient, relative to its largest number.
    gradient_error: Option<f64>,
    failure: Option<String>,
}

impl Finding {
    fn of(number: usize, adapter: &Adapter) -> Self {
        let flow = FlowConfig { kind: Kind::Coupling, layers: 2, ..FlowConfig::default() };
        let stack = flow.stack(4, 0, false).expect("four numbers have two parts");
        let error = Gpu::open(adapter).and_then(|gpu| difference(&gpu, &stack, ROWS));
        let Adapter { name, kind, driver, largest_buffer, .. } = adapter;
        Self {
            device: format!("gpu:{number}"),
            name: name.clone(),
            kind: kind.to_string(),
            driver: driver.clone(),
            largest_buffer: *largest_buffer,
            gradient_error: error.as_ref().ok().copied(),
            failure: error.err().map(|error| error.to_string()),
        }
    }

    fn is_sound(&self) -> bool {
        self.gradient_error.is_some_and(|error| error <= ALLOWED)
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let threads = thread::available_parallelism()?;
    let gpus: Vec<Finding> =
        adapters().iter().enumerate().map(|(number, gpu)| Finding::of(number, gpu)).collect();
    if args.json {
        let all = serde_json::json!({ "cpu": { "threads": threads }, "gpus": gpus });
        anstream::println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        anstream::println!("{}{threads} threads", heading(format_args!("{:<8}", "cpu")));
        for gpu in &gpus {
            let Finding { device, name, kind, driver, largest_buffer, .. } = gpu;
            anstream::println!("{}{name}: {kind}, {driver}", heading(format_args!("{device:<8}")));
            anstream::println!("        buffers of up to {} MiB", largest_buffer >> 20);
            match (&gpu.failure, gpu.gradient_error) {
                (None, Some(error)) => {
                    let said = format!("a gradient differs by {error:.1e} from the CPU's");
                    let said = if gpu.is_sound() { good(said) } else { bad(said) };
                    anstream::println!("        {said}");
                }
                (failure, _) => {
                    let said = failure.as_deref().unwrap_or("it gave no gradient");
                    anstream::println!("        {}: {said}", bad("it cannot train"));
                }
            }
        }
        if gpus.is_empty() {
            anstream::println!(
                "no GPU: there is none, or no driver for it (Vulkan, Metal or DirectX 12)"
            );
        }
    }
    let sound = gpus.iter().all(Finding::is_sound);
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
