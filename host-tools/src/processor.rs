//! Which processor trains: the CPU, or a GPU.

use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use fluxlet_gpu::{Adapter, AdapterKind, Gpu, adapters};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::backend::{Backend, Cpu, Failed};
use crate::bench;
use crate::stack::Stack;

/// Steps that each processor takes before `auto` chooses, the first of them not counted.
const TRIALS: usize = 4;

/// What `--device` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The CPU, on as many threads as are allowed.
    #[default]
    Cpu,
    /// The GPU of this number among the [`adapters`].
    Gpu(usize),
    /// Whichever is faster for the flow and the batch.
    Auto,
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "gpu" => Ok(Self::Gpu(0)),
            "auto" => Ok(Self::Auto),
            _ => text
                .strip_prefix("gpu:")
                .and_then(|number| number.parse().ok())
                .map(Self::Gpu)
                .ok_or_else(|| "it is none of auto, cpu, gpu, gpu:0, gpu:1, …".to_string()),
        }
    }
}

/// A processor that is ready to train.
pub enum Processor {
    /// The CPU.
    Cpu(Cpu),
    /// A GPU.
    Gpu(Box<Gpu>),
}

impl Processor {
    /// Opens what `device` names, or `cpu`; where the choice is open, whichever takes steps of `stack`
    /// with batches of `batch` rows faster. Also what to tell of it.
    ///
    /// # Errors
    ///
    /// There is no such GPU, or it cannot be opened.
    pub fn open(
        device: Device,
        cpu: Cpu,
        stack: &Stack,
        batch: usize,
    ) -> anyhow::Result<(Self, Option<String>)> {
        match device {
            Device::Cpu => Ok((Self::Cpu(cpu), None)),
            Device::Gpu(number) => {
                let gpu = open_gpu(number)?;
                let note = format!("trained on {}", gpu.name());
                Ok((Self::Gpu(Box::new(gpu)), Some(note)))
            }
            Device::Auto => {
                let (gpu, note) = choose(&cpu, stack, batch);
                Ok((gpu.map_or(Self::Cpu(cpu), |gpu| Self::Gpu(Box::new(gpu))), Some(note)))
            }
        }
    }
}

/// The GPUs that a fleet is trained on, none for the CPU: `auto` takes all of the fastest kind. Also what
/// to tell of it.
///
/// # Errors
///
/// There is no such GPU, or one cannot be opened.
pub fn open_gpus(device: Device) -> anyhow::Result<(Vec<Gpu>, Option<String>)> {
    let gpus = match device {
        Device::Cpu => return Ok((Vec::new(), None)),
        Device::Gpu(number) => vec![open_gpu(number)?],
        Device::Auto => {
            let found = adapters();
            let hardware = found.iter().filter(|adapter| adapter.kind != AdapterKind::Software);
            let fastest = hardware.clone().map(|adapter| adapter.kind).min();
            let open = |adapter| Gpu::open(adapter).context("open a GPU");
            hardware
                .filter(|adapter| Some(adapter.kind) == fastest)
                .map(open)
                .collect::<Result<_, _>>()?
        }
    };
    let names: Vec<&str> = gpus.iter().map(Gpu::name).collect();
    let note = match names[..] {
        [] => "trained on the CPU: there is no GPU".to_string(),
        _ => format!("trained on {}", names.join(", ")),
    };
    Ok((gpus, Some(note)))
}

/// Opens the GPU of this number among the [`adapters`].
///
/// # Errors
///
/// There is none, or it cannot be opened.
pub fn open_gpu(number: usize) -> anyhow::Result<Gpu> {
    let found = adapters();
    let Some(adapter) = found.get(number) else { bail!("{}", missing(number, &found)) };
    Gpu::open(adapter).context("open the GPU")
}

fn missing(number: usize, found: &[Adapter]) -> String {
    match found {
        [] => "find a GPU: this machine has none, or no driver for it (Vulkan, Metal or \
               DirectX 12); train with --device cpu"
            .to_string(),
        _ => format!(
            "find GPU {number}: this machine has {}, counted from 0 (see fluxlet doctor)",
            found.len()
        ),
    }
}

/// A GPU where one is faster than `cpu`, and why.
fn choose(cpu: &Cpu, stack: &Stack, batch: usize) -> (Option<Gpu>, String) {
    let found = adapters();
    // A program on the CPU is never faster than the CPU's own way.
    let Some(adapter) = found.iter().find(|adapter| adapter.kind != AdapterKind::Software) else {
        return (None, "trained on the CPU: there is no GPU".to_string());
    };
    let name = &adapter.name;
    let timed = Gpu::open(adapter).and_then(|gpu| {
        let times = [time(&gpu, stack, batch)?, time(cpu, stack, batch)?];
        Ok((gpu, times))
    });
    match timed {
        Ok((gpu, [on_gpu, on_cpu])) if on_gpu < on_cpu => {
            (Some(gpu), format!("trained on {name}: {on_gpu:.1?} a step, {on_cpu:.1?} on the CPU"))
        }
        Ok((_, [on_gpu, on_cpu])) => {
            (None, format!("trained on the CPU: {on_cpu:.1?} a step, {on_gpu:.1?} on {name}"))
        }
        Err(error) => (None, format!("trained on the CPU: {error}")),
    }
}

/// Weights near those of a new flow, and normal rows.
fn trial(stack: &Stack, batch: usize) -> (Vec<f32>, Vec<f32>) {
    let rng = ChaCha8Rng::seed_from_u64(0);
    let rows = rng.sample_iter(StandardNormal).take(batch * stack.row_len()).collect();
    (bench::start(stack).1, rows)
}

/// The shortest time of a batch's gradient.
fn time(backend: &dyn Backend, stack: &Stack, batch: usize) -> Result<Duration, Failed> {
    let (w, rows) = trial(stack, batch);
    let mut dw = vec![0.0; w.len()];
    let mut shortest = Duration::MAX;
    for trial in 0..TRIALS {
        let begin = Instant::now();
        backend.nll_and_grad(stack, &w, &rows, &mut dw)?;
        if trial > 0 {
            shortest = shortest.min(begin.elapsed());
        }
    }
    Ok(shortest)
}

/// What a GPU's gradient of a batch differs from the CPU's by at most, relative to its largest number.
///
/// # Errors
///
/// The GPU failed.
pub fn difference(gpu: &Gpu, stack: &Stack, batch: usize) -> Result<f64, Failed> {
    let (w, rows) = trial(stack, batch);
    let [mut own, mut expected] = [(); 2].map(|()| vec![0.0; w.len()]);
    gpu.nll_and_grad(stack, &w, &rows, &mut own)?;
    Cpu::default().nll_and_grad(stack, &w, &rows, &mut expected)?;
    let size = expected.iter().fold(f32::MIN_POSITIVE, |most, d| most.max(d.abs()));
    // A NaN is worse than any number.
    let worse =
        |most: f32, error: f32| if error.is_nan() { f32::INFINITY } else { most.max(error) };
    let errors = own.iter().zip(&expected).map(|(own, expected)| (own - expected).abs() / size);
    Ok(f64::from(errors.fold(0.0, worse)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_by_kind_and_number() {
        let parse = |text: &str| text.parse::<Device>();
        assert_eq!(parse("cpu"), Ok(Device::Cpu));
        assert_eq!(parse("gpu"), parse("gpu:0"));
        assert_eq!(parse("gpu:3"), Ok(Device::Gpu(3)));
        assert_eq!(parse("auto"), Ok(Device::Auto));
        for bad in ["", "GPU", "gpu:", "gpu:-1", "cuda", "gpu:x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
