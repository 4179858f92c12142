//! Models that train side by side on a GPU.
//!
//! The loop is [`fit`](super::fit())'s, for all of them at once: each round takes every model through
//! one of its epochs, many steps in a submission, and only then the device is asked where they are.
//! What a model learns does not depend on the others.

use fluxlet_gpu::{Gpu, Models, Moving, Pace, Start, Told};
use rayon::prelude::*;

use super::average;
use super::batch::Batches;
use super::constrain::constrain;
use super::fit::{Error, Next, Observer, Plan, Rows, Trained, begin, is_over};
use super::init::{self, Begin};
use super::optimiser::corrected;
use super::random::{Use, generator};
use super::schedule;
use super::state::State;
use super::step::decays;
use crate::backend::Failed;

/// One of the models.
pub struct Member<'m> {
    /// What is trained.
    pub plan: Plan<'m>,
    /// On which rows.
    pub rows: Rows<'m>,
    /// The state to resume from.
    pub resumed: Option<State>,
    /// Who watches it.
    pub observer: &'m mut (dyn Observer + Send),
}

/// A model under way.
struct Runner<'m> {
    plan: Plan<'m>,
    rows: Rows<'m>,
    batches: Batches<'m>,
    w: Vec<f32>,
    units: Vec<f32>,
    decays: Vec<f32>,
    epochs: usize,
    state: State,
    /// The state when the device was last asked.
    known: State,
    observer: &'m mut (dyn Observer + Send),
}

impl<'m> Runner<'m> {
    fn new(member: Member<'m>) -> Result<Self, Error> {
        let Member { plan, rows, resumed, observer } = member;
        let Plan { stack, start, steps, config } = &plan;
        let mut rng = generator(config.seed, Use::Start, 0);
        let Begin { theta, w, units } =
            init::start(stack, *start, rows.train, rows.domains, &mut rng);
        let state = begin(resumed, theta, config)?;
        let batches = Batches::new(rows, stack.dim, stack.row_len(), config);
        let epochs = steps.div_ceil(batches.per_epoch());
        let decays = decays(stack, config);
        let known = state.clone();
        Ok(Self { plan, rows, batches, w, units, decays, epochs, state, known, observer })
    }

    fn is_over(&self) -> bool {
        is_over(&self.state, self.epochs, self.plan.config)
    }

    /// Steps up to the end of the epoch.
    fn left(&self) -> usize {
        if self.is_over() {
            return 0;
        }
        let end = (self.state.history.len() + 1) * self.batches.per_epoch();
        end.min(self.plan.steps).saturating_sub(self.state.step)
    }

    fn learning_rate(&self, step: usize) -> f64 {
        let Plan { config, steps, .. } = self.plan;
        self.state.rate_factor * schedule::learning_rate(config, step, steps)
    }

    /// Writes the batch of the `ahead`th next step to `rows` \[B, D + C\], and says how it is taken.
    fn next(&mut self, ahead: usize, rows: &mut [f32]) -> Pace {
        if ahead >= self.left() {
            return Pace::default();
        }
        let config = self.plan.config;
        let step = self.state.step + ahead;
        let learning_rate = self.learning_rate(step);
        let batch = self.batches.at(step);
        rows.iter_mut().zip(batch.rows.iter().cycle()).for_each(|(to, x)| *to = *x);
        let count = self.state.moments.count + ahead + 1;
        let (rate, root) = corrected(learning_rate, count);
        Pace {
            rows: batch.chosen.len(),
            learning_rate: learning_rate as f32,
            rate,
            root,
            follow: if config.average > 0.0 { average::moves(config.average, count) } else { 0.0 },
            clip: config.clip as f32,
        }
    }

    /// Counts a step that the device took.
    fn count(&mut self, told: Told, rows: usize) {
        let learning_rate = self.learning_rate(self.state.step);
        self.state.pass.add(told.nll, rows, learning_rate);
        self.state.moments.count += 1;
        self.state.skipped.in_a_row = 0;
        self.state.step += 1;
    }

    /// Counts a step that was not taken, looks for the rows to blame, and goes back to the best
    /// weights if there were too many of them.
    fn skip(&mut self, gpu: &Gpu) {
        let Self { plan, batches, w, state, .. } = self;
        let stack = &plan.stack;
        constrain(stack, &state.theta, w);
        let batch = batches.at(state.step);
        state.skipped.blame(batch, stack, w, gpu, &mut vec![0.0; w.len()]);
        state.step += 1;
        if state.is_stuck() {
            state.restore(state.history.len() + 1);
        }
    }

    /// Moves the model on the device to where the state is.
    fn put(&self, models: &mut Models, model: usize) {
        let State { theta, moments, .. } = &self.state;
        models.set(model, Moving { theta, moments: moments.parts(), average: self.state.kept() });
    }

    fn finish(self) -> Trained {
        let Self { plan, state, mut w, .. } = self;
        constrain(&plan.stack, &state.best.theta, &mut w);
        Trained::new(plan.stack, state, w)
    }
}

/// Trains models of one stack and one batch size on a GPU, as many side by side as it has room for.
///
/// What comes of each is that of [`fit`](super::fit()) but for roundings, and the same in every run on
/// one device. Those that had room together are `done` together, in the order of the members.
///
/// # Errors
///
/// Those of [`fit`](super::fit()). Where one observer stops its model, all stop; every state was saved.
/// Models that were `done` before stay so.
pub fn fit_together(
    members: Vec<Member>,
    gpu: &Gpu,
    mut done: impl FnMut(Vec<Trained>),
) -> Result<(), Error> {
    let mut runners = members.into_par_iter().map(Runner::new).collect::<Result<Vec<_>, _>>()?;
    let mut most = 1;
    if let Some(Runner { plan, w, .. }) = runners.first() {
        match gpu.most_models(&plan.stack, w, batch(&runners)) {
            Ok(found) => most = found,
            Err(failed) => return Err(abandon(failed, &mut runners)),
        }
    }
    while !runners.is_empty() {
        let mut some: Vec<Runner> = runners.drain(..most.min(runners.len())).collect();
        match train(&mut some, gpu) {
            Ok(Next::Stop) => {
                some.append(&mut runners);
                let (step, steps) = steps(&some);
                return Err(Error::Stopped { step, steps });
            }
            Ok(_) => done(some.into_iter().map(Runner::finish).collect()),
            Err(Halt::Error(error)) => return Err(error),
            Err(Halt::Failed(failed)) => return Err(abandon(failed, &mut some)),
        }
    }
    Ok(())
}

/// Rows of a batch: the configuration's, or as many as the model with most of them has.
fn batch(runners: &[Runner]) -> usize {
    let rows = |runner: &Runner| runner.rows.train.len() / runner.plan.stack.row_len();
    let most = runners.iter().map(rows).max().unwrap_or(0);
    runners.first().map_or(most, |runner| runner.plan.config.batch.min(most)).max(1)
}

/// Steps that are known to be taken, and all.
fn steps(runners: &[Runner]) -> (usize, usize) {
    let pair = |runner: &Runner| (runner.known.step, runner.plan.steps);
    runners.iter().map(pair).fold((0, 0), |(a, b), (step, steps)| (a + step, b + steps))
}

/// Saves what is known of models whose device failed.
fn abandon(failed: Failed, runners: &mut [Runner]) -> Error {
    for Runner { observer, known, .. } in runners.iter_mut() {
        if let Err(error) = observer.save(known) {
            return error.into();
        }
    }
    let (step, steps) = steps(runners);
    Error::Device { failed, step, steps }
}

/// Why models do not train to their end.
enum Halt {
    Error(Error),
    Failed(Failed),
}

impl From<Failed> for Halt {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

/// Trains models to their ends; the last word of their observers.
fn train(runners: &mut [Runner], gpu: &Gpu) -> Result<Next, Halt> {
    let Plan { stack, config, .. } = runners[0].plan.clone();
    let starts: Vec<Start> = runners
        .iter()
        .map(|runner| Start { w: &runner.w, units: &runner.units, decays: &runner.decays })
        .collect();
    let mut models = gpu.models(&stack, &starts, batch(runners))?;
    for (model, runner) in runners.iter().enumerate() {
        runner.put(&mut models, model);
    }
    let held_out: Vec<&[f32]> = runners.iter().map(|runner| runner.rows.held_out).collect();
    let per_row = |sums: Vec<f64>| -> Vec<f64> {
        let rows = held_out.iter().map(|rows| (rows.len() / stack.row_len()) as f64);
        sums.iter().zip(rows).map(|(sum, rows)| sum / rows).collect()
    };
    let averaged = config.average > 0.0;
    for (runner, nll) in runners.iter_mut().zip(per_row(models.nll(&held_out, averaged)?)) {
        if runner.state.step == 0 {
            runner.state.best.validation_nll = nll;
        }
    }
    while runners.iter().any(|runner| !runner.is_over()) {
        while runners.iter().any(|runner| runner.left() > 0) {
            take_steps(runners, gpu, &mut models)?;
            let next = watch(runners);
            if next != Next::Step {
                ask(runners, &models)?;
                for Runner { observer, state, .. } in &mut *runners {
                    observer.save(state).map_err(|error| Halt::Error(error.into()))?;
                }
            }
            if next == Next::Stop {
                return Ok(next);
            }
        }
        ask(runners, &models)?;
        let nlls = per_row(models.nll(&held_out, averaged)?);
        for (model, (runner, nll)) in runners.iter_mut().zip(nlls).enumerate() {
            if runner.is_over() {
                continue;
            }
            let epoch = runner.state.end_epoch(nll);
            runner.observer.epoch(epoch);
            if runner.state.mend(runner.plan.config, stack.dim) {
                runner.put(&mut models, model);
            }
            runner.known.clone_from(&runner.state);
        }
    }
    Ok(Next::Step)
}

/// Tells every observer how far its model is; what one wants, all get.
fn watch(runners: &mut [Runner]) -> Next {
    let mut next = Next::Step;
    for Runner { observer, state, plan, .. } in runners {
        match observer.step(state.step, plan.steps) {
            Next::Stop => next = Next::Stop,
            Next::Save if next == Next::Step => next = Next::Save,
            _ => {}
        }
    }
    next
}

/// Takes each model some steps further, at most to the end of its epoch.
fn take_steps(runners: &mut [Runner], gpu: &Gpu, models: &mut Models) -> Result<(), Failed> {
    let most = runners.iter().map(Runner::left).max().unwrap_or(0).min(models.steps());
    let (count, batch) = (runners.len(), batch(runners) * runners[0].plan.stack.row_len());
    let mut rows = vec![0.0; most * count * batch];
    let mut paces = vec![Pace::default(); most * count];
    for (ahead, (rows, paces)) in
        rows.chunks_exact_mut(count * batch).zip(paces.chunks_exact_mut(count)).enumerate()
    {
        let own = rows.par_chunks_exact_mut(batch).zip(paces).zip(&mut *runners);
        own.for_each(|((rows, pace), runner)| *pace = runner.next(ahead, rows));
    }
    let told = models.step(&rows, &paces)?;
    for (model, runner) in runners.iter_mut().enumerate() {
        let own = told.iter().zip(&paces).skip(model).step_by(count);
        for (told, pace) in own.filter(|(_, pace)| pace.rows > 0) {
            if told.is_finite() {
                runner.count(*told, pace.rows);
                continue;
            }
            // The steps behind it were not taken.
            let moved = models.get()?.swap_remove(model);
            runner.state.moved(moved);
            runner.skip(gpu);
            runner.put(models, model);
            break;
        }
    }
    Ok(())
}

/// Asks the device where the models are.
fn ask(runners: &mut [Runner], models: &Models) -> Result<(), Failed> {
    for (runner, moved) in runners.iter_mut().zip(models.get()?) {
        runner.state.moved(moved);
        runner.known.clone_from(&runner.state);
    }
    Ok(())
}
