//! Models that train on a GPU, all of one stack, side by side: everything a step moves stays there.
//!
//! Many steps are one submission. A model whose batch is not finite waits, as it is, from that step on,
//! until [`Models::set`] lets it go on; the others do not wait for it.

use fluxlet_backend::{Failed, Stack};

use crate::Gpu;
use crate::constrain::Constrain;
use crate::device::{Buffers, Call, Device, Step, Which};
use crate::kernel::MODELS;
use crate::plan::{GROUP, PART, Plan, Task};

/// Sections of the state, in the order of `models.wgsl`.
const SECTIONS: usize = 7;
const THETA: usize = 0;
const MEAN: usize = 1;
const SQUARE: usize = 2;
const AVERAGE: usize = 3;
const UNITS: usize = 4;
const DTHETA: usize = 5;
const DECAYS: usize = 6;
/// Numbers that a step of a model is told, and that it tells.
const PACE: usize = 8;
const TOLD: usize = 2;
/// Numbers of batches that wait on the device at most.
const MOST_WAITING: usize = 1 << 23;
/// Models at most: workgroups of a kernel, one way.
const MOST_MODELS: usize = 65_535;
/// Steps of a submission at most.
const MOST_STEPS: usize = 64;

/// What one model begins with.
#[derive(Clone, Copy, Debug)]
pub struct Start<'s> {
    /// Weights, of which only constants count: the others follow from θ.
    pub w: &'s [f32],
    /// Units of the first parameters; the others have 1.
    pub units: &'s [f32],
    /// Decay of each parameter; none where it is empty.
    pub decays: &'s [f32],
}

/// All that a step moves, of one model.
#[derive(Clone, Copy, Debug)]
pub struct Moving<'s> {
    /// Free parameters.
    pub theta: &'s [f32],
    /// Means of their gradient, and of its square.
    pub moments: [&'s [f32]; 2],
    /// Running average of θ; the same as θ where there is none.
    pub average: &'s [f32],
}

/// The same, as it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// Free parameters.
    pub theta: Vec<f32>,
    /// Means of their gradient, and of its square.
    pub moments: [Vec<f32>; 2],
    /// Running average of θ.
    pub average: Vec<f32>,
}

/// How a model takes a step (Kingma and Ba 2015, algorithm 1).
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Rows of its batch; without any it takes no step.
    pub rows: usize,
    /// Learning rate.
    pub learning_rate: f32,
    /// Learning rate over 1 − β₁ᵗ.
    pub rate: f32,
    /// 1/√(1 − β₂ᵗ).
    pub root: f32,
    /// By which share of the way the average follows θ.
    pub follow: f32,
    /// Longest gradient.
    pub clip: f32,
}

/// What came of a model's step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Told {
    /// Σ −log p of its batch.
    pub nll: f64,
    /// Length of its gradient.
    pub norm: f64,
}

impl Told {
    /// Whether the step was taken.
    pub fn is_finite(self) -> bool {
        self.nll.is_finite() && self.norm.is_finite()
    }
}

/// What all parameters go through, one way: what is computed, then what is copied.
struct Way {
    compute: wgpu::ComputePipeline,
    copy: wgpu::ComputePipeline,
    /// Where the tables of what is computed and copied begin, and how many entries they have.
    calls: (usize, usize),
    copies: (usize, usize),
    /// The most numbers of a copy.
    most_copied: usize,
}

impl Way {
    /// Of a way and its module; its tables go behind `table`.
    fn new(
        device: &Device,
        way: &Constrain,
        text: &str,
        copy: &'static str,
        table: &mut Vec<u32>,
    ) -> Result<Self, Failed> {
        let calls = (table.len(), way.calls().len());
        table.extend(way.calls().flatten());
        let copies = (table.len(), way.copies.len());
        table.extend(way.copies.iter().flat_map(|copies| copies.entry()));
        Ok(Self {
            compute: device.pipeline(text)?,
            copy: device.kernel(MODELS, copy)?,
            calls,
            copies,
            most_copied: way.most_copied(),
        })
    }

    fn steps(&self, call: Call) -> impl Iterator<Item = Step> {
        let step = |pipeline: &wgpu::ComputePipeline, table_at: usize, groups| Step {
            pipeline: pipeline.clone(),
            call: Call { table_at: table_at as u32, ..call },
            groups,
        };
        let ((calls_at, calls), (copies_at, copies)) = (self.calls, self.copies);
        let by_models = [call.models.div_ceil(GROUP), calls as u32, 1];
        let by_numbers = [(self.most_copied as u32).div_ceil(GROUP), copies as u32, call.models];
        let compute = step(&self.compute, calls_at, by_models);
        let copy = step(&self.copy, copies_at, by_numbers);
        [(calls, compute), (copies, copy)]
            .into_iter()
            .filter_map(|(count, step)| (count > 0).then_some(step))
    }
}

/// Models of one stack on a device.
pub struct Models<'g> {
    device: &'g Device,
    count: usize,
    batch: usize,
    /// Steps of a submission at most.
    steps: usize,
    gradient: Plan,
    scoring: Plan,
    forward: Way,
    backward: Way,
    buffers: Buffers,
    judge: wgpu::ComputePipeline,
    advance: wgpu::ComputePipeline,
}

impl Gpu {
    /// How many models of `stack` with batches of `batch` rows train side by side, at most.
    ///
    /// # Errors
    ///
    /// The device failed, or not even one fits.
    pub fn most_models(&self, stack: &Stack, w: &[f32], batch: usize) -> Result<usize, Failed> {
        self.most_models_of(&Plan::new(&self.device, stack, w, Task::Gradient)?, batch)
    }

    /// The same, of a plan that is there.
    fn most_models_of(&self, plan: &Plan, batch: usize) -> Result<usize, Failed> {
        let stack = &plan.stack;
        let rows = self.most_rows(plan).max(PART);
        let numbers = (self.limit_bytes() / 4) as usize;
        let state = SECTIONS * stack.theta_len() + 1 + MOST_STEPS * (PACE + TOLD);
        let sums = batch.div_ceil(PART) * stack.weight_len();
        let most = (rows / batch).min(numbers / state.max(sums).max(1)).min(MOST_MODELS);
        match most {
            0 => Err(self.device.failed(format_args!(
                "a batch of {batch} rows of this flow is too large for it, {rows} fit; take smaller ones, \
                 or train it on the CPU",
            ))),
            most => Ok(most),
        }
    }

    /// Models of `stack`, one for each start, with batches of `batch` rows.
    ///
    /// # Errors
    ///
    /// The device failed, or they do not fit.
    ///
    /// # Panics
    ///
    /// There are none, or their constants that are positions differ.
    pub fn models<'g>(
        &'g self,
        stack: &Stack,
        starts: &[Start],
        batch: usize,
    ) -> Result<Models<'g>, Failed> {
        Models::new(self, stack, starts, batch)
    }
}

impl<'g> Models<'g> {
    fn new(gpu: &'g Gpu, stack: &Stack, starts: &[Start], batch: usize) -> Result<Self, Failed> {
        let device = &gpu.device;
        let (count, w) = (starts.len(), starts[0].w);
        let gradient = Plan::new(device, stack, w, Task::Gradient)?;
        let scoring = Plan::new(device, stack, w, Task::LogProb)?;
        for start in starts {
            assert!(
                gradient.fits(stack, start.w),
                "models of one stack have the same permutations"
            );
        }
        let most = gpu.most_models_of(&gradient, batch)?;
        if count > most {
            return Err(device.failed(format_args!("{count} models do not fit, {most} do")));
        }
        let width = stack.row_len();
        let rows = count * batch;
        let steps = (MOST_WAITING / (rows * width)).clamp(1, MOST_STEPS);
        let (w_len, theta_len) = (stack.weight_len(), stack.theta_len());
        let mut table = gradient.table.clone();
        let ways = [Constrain::forward(stack, w), Constrain::backward(stack, w)];
        let texts = ways.each_ref().map(Constrain::text);
        device.compile_all(texts.iter().map(String::as_str))?;
        let forward = Way::new(device, &ways[0], &texts[0], "spread", &mut table)?;
        let backward = Way::new(device, &ways[1], &texts[1], "gather", &mut table)?;
        let numbers = [
            steps * rows * width,
            count * w_len,
            rows * gradient.columns,
            rows * gradient.kept,
            table.len(),
            count * batch.div_ceil(PART) * w_len,
            count * w_len,
            count * (SECTIONS * theta_len + 1 + steps * (PACE + TOLD)),
        ];
        // Both ways of the parameters, the judge and the step.
        let buffers = device.buffers(numbers, steps * (gradient.calls() + 6))?;
        device.write(&buffers, Which::TABLE, 0, &table);
        let new = Self {
            device,
            count,
            batch,
            steps,
            gradient,
            scoring,
            forward,
            backward,
            buffers,
            judge: device.kernel(MODELS, "judge")?,
            advance: device.kernel(MODELS, "advance")?,
        };
        for (model, Start { w, units, decays }) in starts.iter().enumerate() {
            new.write(Which::WEIGHTS, model * w_len, w);
            let mut all = vec![1.0; theta_len];
            all[..units.len()].copy_from_slice(units);
            new.write(Which::STATE, new.section(UNITS, model), &all);
            new.write(Which::STATE, new.section(DECAYS, model), decays);
        }
        Ok(new)
    }

    /// Steps that one call of [`Self::step`] takes at most.
    pub fn steps(&self) -> usize {
        self.steps
    }

    fn stack(&self) -> &Stack {
        &self.gradient.stack
    }

    fn write(&self, which: Which, first: usize, numbers: &[f32]) {
        if !numbers.is_empty() {
            self.device.write(&self.buffers, which, first, numbers);
        }
    }

    /// Where a section of the state has a model's numbers.
    fn section(&self, section: usize, model: usize) -> usize {
        (section * self.count + model) * self.stack().theta_len()
    }

    fn waits(&self) -> usize {
        self.section(SECTIONS, 0)
    }

    fn pace(&self, step: usize) -> usize {
        self.waits() + self.count * (1 + step * PACE)
    }

    fn told(&self, step: usize) -> usize {
        self.pace(self.steps) + self.count * step * TOLD
    }

    /// Puts a model where `moving` says, and lets it go on.
    pub fn set(&mut self, model: usize, moving: Moving) {
        let Moving { theta, moments: [mean, square], average } = moving;
        let sections = [(THETA, theta), (MEAN, mean), (SQUARE, square), (AVERAGE, average)];
        for (section, numbers) in sections {
            self.write(Which::STATE, self.section(section, model), numbers);
        }
        self.write(Which::STATE, self.waits() + model, &[0.0]);
    }

    /// Where the models are.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn get(&self) -> Result<Vec<Moved>, Failed> {
        let len = self.stack().theta_len();
        let all = self.read(Which::STATE, 0, self.section(UNITS, 0))?;
        let own = |section, model| all[self.section(section, model)..][..len].to_vec();
        let moved = |model| Moved {
            theta: own(THETA, model),
            moments: [own(MEAN, model), own(SQUARE, model)],
            average: own(AVERAGE, model),
        };
        Ok((0..self.count).map(moved).collect())
    }

    fn read(&self, which: Which, first: usize, len: usize) -> Result<Vec<f32>, Failed> {
        self.device.run(&self.buffers, &[], (which, first, len))
    }

    /// What all steps are told.
    fn call(&self, rows: usize) -> Call {
        Call { dtheta: self.section(DTHETA, 0) as u32, ..self.gradient.call(self.count, rows) }
    }

    /// θ, or its average, → w of all models.
    fn constrain(&self, call: Call, averaged: bool, steps: &mut Vec<Step>) {
        let section = if averaged { AVERAGE } else { THETA };
        let call = Call { theta: self.section(section, 0) as u32, ..call };
        steps.extend(self.forward.steps(call));
    }

    /// Takes as many steps as there are of `paces` \[steps, models\], with batches `rows`
    /// \[steps, models, B, D + C\]; a batch that is not full ends in copies of its rows.
    ///
    /// # Errors
    ///
    /// The device failed.
    ///
    /// # Panics
    ///
    /// There are more than [`Self::steps`].
    pub fn step(&mut self, rows: &[f32], paces: &[Pace]) -> Result<Vec<Told>, Failed> {
        let steps = paces.len() / self.count;
        assert!(steps <= self.steps, "{steps} steps at once, {} at most", self.steps);
        self.write(Which::INPUT, 0, rows);
        self.tell(paces);
        let (models, theta_len) = (self.count as u32, self.stack().theta_len() as u32);
        let mut all = Vec::new();
        self.constrain(self.call(self.batch), false, &mut all);
        for step in 0..steps {
            let call = Call {
                input_at: (step * self.count * self.batch * self.stack().row_len()) as u32,
                theta: self.section(THETA, 0) as u32,
                pace: self.pace(step) as u32,
                told: self.told(step) as u32,
                ..self.call(self.batch)
            };
            all.extend(self.gradient.steps(call, true));
            all.extend(self.backward.steps(call));
            let groups = [models, 1, 1];
            all.push(Step { pipeline: self.judge.clone(), call, groups });
            let groups = [theta_len.div_ceil(GROUP), models, 1];
            all.push(Step { pipeline: self.advance.clone(), call, groups });
            if step + 1 < steps {
                self.constrain(call, false, &mut all);
            }
        }
        let read = (Which::STATE, self.told(0), steps * self.count * TOLD);
        let told = self.device.run(&self.buffers, &all, read)?;
        Ok(told
            .chunks_exact(TOLD)
            .map(|told| Told { nll: f64::from(told[0]), norm: f64::from(told[1]) })
            .collect())
    }

    /// Writes what the steps are told.
    fn tell(&self, paces: &[Pace]) {
        let numbers: Vec<f32> = paces
            .iter()
            .flat_map(|pace| {
                let Pace { rows, learning_rate, rate, root, follow, clip } = *pace;
                let rows = rows as f32;
                let per_row = if rows > 0.0 { 1.0 / rows } else { 0.0 };
                [rows, per_row, learning_rate, rate, root, follow, clip, 0.0]
            })
            .collect();
        self.write(Which::STATE, self.pace(0), &numbers);
    }

    /// Σ −log p of each model's own `rows` \[n, D + C\], with θ or its average.
    ///
    /// # Errors
    ///
    /// The device failed.
    pub fn nll(&mut self, rows: &[&[f32]], averaged: bool) -> Result<Vec<f64>, Failed> {
        let width = self.stack().row_len();
        let mut sums = vec![0.0; self.count];
        let mut steps = Vec::new();
        self.constrain(self.call(self.batch), averaged, &mut steps);
        let most = rows.iter().map(|rows| rows.len() / width).max().unwrap_or(0);
        for first in (0..most).step_by(self.batch) {
            let mut input = vec![0.0; self.count * self.batch * width];
            let mut counts = Vec::with_capacity(self.count);
            for (rows, input) in rows.iter().zip(input.chunks_exact_mut(self.batch * width)) {
                let own = rows.get(first * width..).unwrap_or_default();
                let len = own.len().min(input.len());
                input[..len].copy_from_slice(&own[..len]);
                counts.push(len / width);
            }
            self.write(Which::INPUT, 0, &input);
            let call = self.scoring.call(self.count, self.batch);
            steps.extend(self.scoring.steps(call, true));
            let all = self.count * self.batch;
            let read = (Which::ROWS, self.scoring.log_prob * all, all);
            let log_prob = self.device.run(&self.buffers, &steps, read)?;
            steps.clear();
            let own = log_prob.chunks_exact(self.batch).zip(counts);
            for (sum, (log_prob, count)) in sums.iter_mut().zip(own) {
                *sum -= log_prob[..count].iter().map(|p| f64::from(*p)).sum::<f64>();
            }
        }
        Ok(sums)
    }
}
