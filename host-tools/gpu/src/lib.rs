//! Likelihood and gradient of a stack of layers on a GPU.
//!
//! Nothing of a layer's mathematics stands here. The core's kernels, which are written over any kind of
//! number, run once with a number that writes down what is done with it (`script`); what it wrote is
//! the WGSL that the GPU runs for each row. So every layer of the core, forward, inverse and gradient,
//! is there from the day it is written, and one formula stands in one place.
//!
//! A row is a thread, but for the products of networks, where many threads share what they load
//! (`product.wgsl`): a script ends a stage at each of them. What the gradient sums over the rows, rows keep in
//! columns, and kernels of `rows.wgsl` add them in an order that depends on nothing but their number: there
//! are no atomics, and two runs on one device give the same bits.

mod adapter;
mod constrain;
mod device;
mod kernel;
mod limit;
mod memory;
mod models;
mod plan;
mod script;

use std::sync::{Mutex, PoisonError};

use fluxlet_backend::{Backend, Failed, Stack};

pub use adapter::{Adapter, AdapterKind, adapters};
use device::{Buffers, Device, Which};
pub use models::{Models, Moved, Moving, Pace, Start, Told};
use plan::{PART, Plan, Task};

/// Most bytes of a buffer: rows beyond go through the flow later.
const MOST_BYTES: u64 = 1 << 28;
/// Most rows at once: 65535 workgroups.
const MOST_ROWS: usize = 65_535 * 64;

/// A GPU that computes what the CPU would.
pub struct Gpu {
    device: Device,
    /// The plans of the stack that was asked for last, one for each task.
    plans: Mutex<Vec<Ready>>,
}

/// A plan and its memory.
struct Ready {
    plan: Plan,
    buffers: Buffers,
    /// Rows that fit into it.
    rows: usize,
}

impl Gpu {
    /// Opens an adapter.
    ///
    /// # Errors
    ///
    /// It is taken, or lacks what every GPU of the last ten years has.
    pub fn open(adapter: &Adapter) -> Result<Self, Failed> {
        Ok(Self { device: Device::open(adapter)?, plans: Mutex::default() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.device.name()
    }

    /// Gives the device up, as if it were pulled out: from now on every call fails.
    pub fn lose(&self) {
        self.device.lose();
    }

    /// Does `work` with the plan of a task, whose memory holds as many of `rows` rows as the device allows.
    fn with<T>(
        &self,
        task: Task,
        stack: &Stack,
        w: &[f32],
        rows: usize,
        work: impl FnOnce(&Ready) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let known = plans.iter().position(|ready| ready.plan.task == task);
        let plan = match known.map(|at| plans.swap_remove(at)) {
            Some(ready) if ready.plan.fits(stack, w) => {
                if ready.rows >= rows.min(self.most_rows(&ready.plan)) {
                    plans.push(ready);
                    return work(&plans[plans.len() - 1]);
                }
                ready.plan
            }
            _ => Plan::new(&self.device, stack, w, task)?,
        };
        plans.push(self.ready(plan, rows)?);
        work(&plans[plans.len() - 1])
    }

    /// Bytes of a buffer, at most.
    fn limit_bytes(&self) -> u64 {
        self.device.limit().min(MOST_BYTES)
    }

    /// Rows that go through a flow at once, at most.
    fn most_rows(&self, plan: &Plan) -> usize {
        let numbers = self.limit_bytes() as usize / 4;
        (numbers / plan.numbers_per_row()).min(MOST_ROWS) / PART * PART
    }

    fn ready(&self, plan: Plan, rows: usize) -> Result<Ready, Failed> {
        let most = self.most_rows(&plan);
        if most == 0 {
            let bytes = 4 * PART * plan.numbers_per_row();
            return Err(self.device.failed(format_args!(
                "{PART} rows of this flow need {} MB at once, {} at most are given out; train it on the CPU",
                bytes.div_ceil(1 << 20),
                self.limit_bytes() >> 20,
            )));
        }
        let rows = rows.min(most).next_multiple_of(PART);
        let gradient = usize::from(plan.task == Task::Gradient);
        let (width, weights) = (plan.stack.row_len(), plan.stack.weight_len());
        let numbers = [
            rows * width,
            weights,
            rows * plan.columns,
            rows * plan.kept,
            plan.table.len(),
            gradient * rows / PART * weights,
            gradient * weights,
            0,
        ];
        let buffers = self.device.buffers(numbers, plan.calls())?;
        self.device.write(&buffers, Which::TABLE, 0, &plan.table);
        Ok(Ready { plan, buffers, rows })
    }

    /// Takes `rows` through a plan, as many at once as fit, and hands what of each is asked for to
    /// `each`, column by column.
    fn columns(
        &self,
        ready: &Ready,
        w: &[f32],
        rows: &[f32],
        first: usize,
        len: usize,
        mut each: impl FnMut(&[f32], usize),
    ) -> Result<(), Failed> {
        let Ready { plan, buffers, rows: most } = ready;
        let width = plan.stack.row_len();
        self.device.write(buffers, Which::WEIGHTS, 0, w);
        for (i, rows) in rows.chunks(most * width).enumerate() {
            let count = rows.len() / width;
            self.device.write(buffers, Which::INPUT, 0, rows);
            let read = (Which::ROWS, first * count, len * count);
            let read = self.device.run(buffers, &plan.steps(plan.call(1, count), i == 0), read)?;
            each(&read, count);
        }
        Ok(())
    }
}

impl Backend for Gpu {
    fn nll_and_grad(
        &self,
        stack: &Stack,
        w: &[f32],
        rows: &[f32],
        dw: &mut [f32],
    ) -> Result<f64, Failed> {
        if rows.is_empty() {
            dw.fill(0.0);
            return Ok(0.0);
        }
        self.with(Task::Gradient, stack, w, rows.len() / stack.row_len(), |ready| {
            let mut nll = 0.0;
            self.columns(ready, w, rows, ready.plan.log_prob, 1, |log_prob, _| {
                nll -= log_prob.iter().map(|log_prob| f64::from(*log_prob)).sum::<f64>();
            })?;
            dw.copy_from_slice(&self.device.run(
                &ready.buffers,
                &[],
                (Which::GRADIENT, 0, dw.len()),
            )?);
            Ok(nll)
        })
    }

    fn log_prob(
        &self,
        stack: &Stack,
        w: &[f32],
        rows: &[f32],
        mut out: &mut [f32],
    ) -> Result<(), Failed> {
        self.with(Task::LogProb, stack, w, out.len(), |ready| {
            self.columns(ready, w, rows, ready.plan.log_prob, 1, |log_prob, count| {
                let own = out.split_off_mut(..count).unwrap_or_default();
                own.copy_from_slice(log_prob);
            })
        })
    }

    fn inverse(
        &self,
        stack: &Stack,
        w: &[f32],
        rows: &[f32],
        mut out: &mut [f32],
    ) -> Result<(), Failed> {
        let dim = stack.dim;
        self.with(Task::Inverse, stack, w, out.len() / dim, |ready| {
            self.columns(ready, w, rows, 0, dim, |columns, count| {
                let own = out.split_off_mut(..count * dim).unwrap_or_default();
                for (row, out) in own.chunks_exact_mut(dim).enumerate() {
                    let column = columns[row..].iter().step_by(count);
                    out.iter_mut().zip(column).for_each(|(out, x)| *out = *x);
                }
            })
        })
    }
}
