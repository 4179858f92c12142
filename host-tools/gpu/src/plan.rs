//! How a stack runs on a device: its kernels, their tables, and where its rows' numbers stand.

use std::collections::BTreeMap;

use fluxlet_backend::{Failed, Stack};

use crate::device::{Call, Device, Step};
use crate::kernel::{Kernel, PRODUCT, ROWS, Way};
use crate::memory::Share;
use crate::script::{Product, Stage};

/// Rows of a workgroup.
pub(crate) const GROUP: u32 = 64;
/// Rows of a part of a sum, as in `rows.wgsl`.
pub(crate) const PART: usize = 256;
/// Rows and columns of a tile of a network's gradient, as there, and outputs of one of `product.wgsl`.
const TILE: usize = 32;

/// What is asked of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    LogProb,
    Inverse,
    Gradient,
}

/// A kernel that is ready to run, and the sums behind it.
struct Pass {
    kernel: Kernel,
    /// Of each stage that does something.
    pipelines: Vec<Option<wgpu::ComputePipeline>>,
    /// First columns of what it reads and writes.
    reads: usize,
    writes: usize,
    /// Where its weights begin.
    w_at: usize,
    /// Whether it is the first of those that add to the log densities.
    begins: bool,
    /// Where the tables begin, and how many sums they describe.
    numbers: (usize, usize),
    tiles: (usize, usize),
}

/// The passes of one task, in their order.
pub(crate) struct Plan {
    pub(crate) task: Task,
    pub(crate) stack: Stack,
    passes: Vec<Pass>,
    /// Of all passes.
    pub(crate) table: Vec<u32>,
    /// Columns of rows on their way, and of what they keep.
    pub(crate) columns: usize,
    pub(crate) kept: usize,
    gradient: usize,
    pub(crate) log_prob: usize,
    share: usize,
    load: wgpu::ComputePipeline,
    product: wgpu::ComputePipeline,
    product_backward: wgpu::ComputePipeline,
    sum: wgpu::ComputePipeline,
    outer: wgpu::ComputePipeline,
    join: wgpu::ComputePipeline,
}

impl Plan {
    pub(crate) fn new(
        device: &Device,
        stack: &Stack,
        w: &[f32],
        task: Task,
    ) -> Result<Self, Failed> {
        let (dim, width) = (stack.dim, stack.row_len());
        let layers = stack.layers.len();
        // Behind the rows as they come, z of every layer if there is a way back.
        let level = |l: usize| match (task, l) {
            (Task::Gradient, 1..) => width + (l - 1) * dim,
            _ => 0,
        };
        let gradient = level(layers).max(width) + dim;
        let log_prob = gradient + dim;
        let mut plan = Self {
            task,
            stack: stack.clone(),
            passes: Vec::new(),
            table: Vec::new(),
            columns: log_prob + 2,
            kept: 0,
            gradient,
            log_prob,
            share: log_prob + 1,
            load: device.kernel(ROWS, "load")?,
            product: device.kernel(PRODUCT, "product")?,
            product_backward: device.kernel(PRODUCT, "product_backward")?,
            sum: device.kernel(ROWS, "sum")?,
            outer: device.kernel(ROWS, "outer")?,
            join: device.kernel(ROWS, "join")?,
        };
        let spans: Vec<_> = stack.spans().collect();
        let (_, base) = stack.base_spans();
        let layer = |l: usize, way| {
            let span = &spans[l];
            Kernel::of_layer(span.layer, span.shape, &w[span.weights.clone()], way)
        };
        let of_base = |way| Kernel::of_base(stack.base, dim, &w[base.clone()], way);
        // Kernels, the first columns of what they read and write, and where their weights begin.
        let mut passes = Vec::new();
        if task == Task::Inverse {
            for l in (0..layers).rev() {
                passes.push((layer(l, Way::Inverse), [0, 0], spans[l].weights.start));
            }
        } else {
            for (l, span) in spans.iter().enumerate() {
                let levels = [level(l), level(l + 1)];
                passes.push((layer(l, Way::Forward), levels, span.weights.start));
            }
            passes.push((of_base(Way::Forward), [level(layers); 2], base.start));
        }
        if task == Task::Gradient {
            passes.push((of_base(Way::Backward), [level(layers); 2], base.start));
            for l in (0..layers).rev() {
                passes.push((layer(l, Way::Backward), [level(l); 2], spans[l].weights.start));
            }
        }
        let stages = passes.iter().flat_map(|(kernel, ..)| &kernel.stages);
        device.compile_all(stages.map(|stage| stage.text.as_str()))?;
        for (kernel, levels, w_at) in passes {
            plan.push(device, kernel, levels, w_at)?;
        }
        plan.passes[0].begins = true;
        Ok(plan)
    }

    /// Whether it is the plan of this stack with these weights.
    pub(crate) fn fits(&self, stack: &Stack, w: &[f32]) -> bool {
        self.stack == *stack && self.passes.iter().all(|pass| pass.kernel.fits(&w[pass.w_at..]))
    }

    fn push(
        &mut self,
        device: &Device,
        kernel: Kernel,
        [reads, writes]: [usize; 2],
        w_at: usize,
    ) -> Result<(), Failed> {
        let pipelines = kernel
            .stages
            .iter()
            .map(|Stage { text, .. }| match text.is_empty() {
                true => Ok(None),
                false => device.pipeline(text).map(Some),
            })
            .collect::<Result<_, Failed>>()?;
        let numbers = self.tabulate_numbers(&kernel.shares);
        let tiles = self.tabulate_tiles(&kernel.shares);
        self.kept = self.kept.max(kernel.columns);
        self.passes.push(Pass {
            kernel,
            pipelines,
            reads,
            writes,
            w_at,
            begins: false,
            numbers,
            tiles,
        });
        Ok(())
    }

    /// Sums of single numbers: a head for each weight, then the entries.
    fn tabulate_numbers(&mut self, shares: &[Share]) -> (usize, usize) {
        let mut entries: BTreeMap<usize, Vec<[u32; 3]>> = BTreeMap::new();
        for share in shares {
            if let Share::Number { weight, column, index } = *share {
                let (index, k) = index.map_or((0, 0), |(index, k)| (index + 1, k));
                entries.entry(weight).or_default().push([column, index, k].map(|n| n as u32));
            }
        }
        let begin = self.table.len();
        let mut at = begin + 3 * entries.len();
        for (weight, entries) in &entries {
            self.table.extend([*weight, at, entries.len()].map(|n| n as u32));
            at += 3 * entries.len();
        }
        self.table.extend(entries.values().flatten().flatten());
        (begin, entries.len())
    }

    /// Tiles of products.
    fn tabulate_tiles(&mut self, shares: &[Share]) -> (usize, usize) {
        let (begin, mut count) = (self.table.len(), 0);
        for share in shares {
            let Share::Outer { weight, dout, rows, x, columns } = *share else { continue };
            for row in (0..rows).step_by(TILE) {
                for column in (0..=columns).step_by(TILE) {
                    let tile = [weight, dout, rows, x, columns, row, column];
                    self.table.extend(tile.map(|n| n as u32));
                    count += 1;
                }
            }
        }
        (begin, count)
    }

    /// Numbers of the largest buffer that a row needs.
    pub(crate) fn numbers_per_row(&self) -> usize {
        self.columns.max(self.kept)
    }

    /// Calls in a submission, at most.
    pub(crate) fn calls(&self) -> usize {
        let own = |pass: &Pass| 2 + 2 * pass.pipelines.len();
        2 + self.passes.iter().map(own).sum::<usize>()
    }

    /// What every kernel is told that sees `rows` rows of each of `models`.
    pub(crate) fn call(&self, models: usize, rows: usize) -> Call {
        Call {
            rows: (models * rows) as u32,
            per_model: rows as u32,
            parts: rows.div_ceil(PART) as u32,
            width: self.stack.row_len() as u32,
            context: self.stack.dim as u32,
            gradient: self.gradient as u32,
            log_prob: self.log_prob as u32,
            share: self.share as u32,
            models: models as u32,
            w_len: self.stack.weight_len() as u32,
            theta_len: self.stack.theta_len() as u32,
            nan: f32::NAN.to_bits(),
            infinity: f32::INFINITY.to_bits(),
            ..Call::default()
        }
    }

    /// A product of the network of a pass.
    fn product(&self, product: Product, call: Call) -> Step {
        let Product { backward, weight, outputs, inputs, reads, writes, begins } = product;
        let pipeline = if backward { &self.product_backward } else { &self.product };
        let call = Call {
            w_at: call.w_at + weight as u32,
            outputs: outputs as u32,
            inputs: inputs as u32,
            reads: reads as u32,
            writes: writes as u32,
            begins: u32::from(begins),
            ..call
        };
        let groups =
            [call.per_model.div_ceil(GROUP), product.written().div_ceil(TILE) as u32, call.models];
        Step { pipeline: pipeline.clone(), call, groups }
    }

    /// The steps of a call; `first` where its sums are not added to those of another.
    pub(crate) fn steps(&self, call: Call, first: bool) -> Vec<Step> {
        let by_rows = [call.rows.div_ceil(GROUP), 1, 1];
        let by_models = [call.per_model.div_ceil(GROUP), call.models, 1];
        let step = |pipeline: &wgpu::ComputePipeline, call, groups| Step {
            pipeline: pipeline.clone(),
            call,
            groups,
        };
        let mut steps = vec![step(&self.load, call, by_rows)];
        for pass in &self.passes {
            let call = Call {
                reads: pass.reads as u32,
                writes: pass.writes as u32,
                w_at: pass.w_at as u32,
                begins: u32::from(pass.begins),
                ..call
            };
            for (Stage { first, product, .. }, pipeline) in
                pass.kernel.stages.iter().zip(&pass.pipelines)
            {
                if let Some(pipeline) = pipeline {
                    let call = Call { first: *first as u32, ..call };
                    steps.push(step(pipeline, call, by_models));
                }
                let products = product.filter(|product| product.written() > 0);
                steps.extend(products.map(|product| self.product(product, call)));
            }
            for (pipeline, (at, count)) in [(&self.sum, pass.numbers), (&self.outer, pass.tiles)] {
                if count > 0 {
                    let call = Call { table_at: at as u32, ..call };
                    steps.push(step(pipeline, call, [count as u32, call.parts, call.models]));
                }
            }
        }
        if self.task == Task::Gradient {
            let call = Call { begins: u32::from(first), ..call };
            steps.push(step(&self.join, call, [call.w_len.div_ceil(GROUP), call.models, 1]));
        }
        steps
    }
}
