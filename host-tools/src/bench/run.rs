//! The measurements in their order: the limit, then every flow and task, then every library in
//! turns with ours.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rayon::ThreadPool;

use super::clock::{Spread, Timing, measure};
use super::flows::{Flow, Task};
use super::limit::{Limit, limit};
use super::ours::{self, Call};
use super::peers::{Error, PEERS, Peer, Python};
use super::report::{Cell, LeftOut, Ratio, Report};

/// Calls before the first measurement.
const WARM_UP: usize = 3;

/// What is measured, and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Numbers of threads, one after the other.
    pub threads: Vec<usize>,
    /// CPU seconds of a measurement on one thread.
    pub seconds: f64,
    /// Repetitions of every measurement.
    pub rounds: usize,
    /// The Python that has the other libraries, if they are measured too.
    pub python: Option<PathBuf>,
}

/// Measures all of it; `progress` is told what comes next.
///
/// # Errors
///
/// [`Error::Python`] where there is none. A library that is missing is left out and named in the
/// report.
pub fn run(plan: &Plan, mut progress: impl FnMut(String)) -> Result<Report, Error> {
    let python = plan.python.as_deref().map(Python::new).transpose()?;
    let mut report = Report::default();
    for &threads in &plan.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.expect("a pool of threads can be made");
        progress(format!("{threads} threads: multiply-adds"));
        let limit = limit(&pool, plan.seconds / 5.0, plan.rounds);
        let mut bench = Bench { plan, pool, limit, ours: BTreeMap::new(), report: &mut report };
        bench.own(&mut progress);
        if let Some(python) = &python {
            for peer in &PEERS {
                bench.peer(python, peer, &mut progress);
            }
        }
        bench.finish();
    }
    report.compare_threads();
    Ok(report)
}

/// Measurements with one number of threads.
struct Bench<'p> {
    plan: &'p Plan,
    pool: ThreadPool,
    limit: Limit,
    /// Our calls, warm, and what they took so far.
    ours: BTreeMap<(Flow, Task), (Call, Vec<Timing>)>,
    report: &'p mut Report,
}

impl Bench<'_> {
    fn threads(&self) -> usize {
        self.limit.threads
    }

    /// Our own flows and tasks.
    fn own(&mut self, progress: &mut impl FnMut(String)) {
        for flow in Flow::ALL {
            for task in Task::ALL {
                let mut call = ours::call(flow, task);
                progress(self.title("fluxlet", flow, task));
                self.pool.install(|| (0..WARM_UP).for_each(|_| call()));
                self.ours.insert((flow, task), (call, Vec::new()));
                for _ in 0..self.plan.rounds {
                    self.our_turn(flow, task);
                }
            }
        }
    }

    /// One more measurement of ours, where we have the task.
    fn our_turn(&mut self, flow: Flow, task: Task) -> Option<Timing> {
        let threads = self.threads();
        let (call, timings) = self.ours.get_mut(&(flow, task))?;
        let timing = self.pool.install(|| measure(self.plan.seconds, threads, call));
        timings.push(timing);
        Some(timing)
    }

    /// A library in turns with ours.
    fn peer(&mut self, python: &Python, peer: &Peer, progress: &mut impl FnMut(String)) {
        let (threads, seconds) = (self.threads(), self.plan.seconds);
        progress(format!("{threads} threads: {} starts", peer.name));
        let mut running = match python.start(peer, threads, &[]) {
            Ok(running) => running,
            Err(error) => return self.leave_out(peer, None, &error),
        };
        let version = running.about.version.clone();
        for (flow, tasks) in running.about.tasks.clone() {
            for task in tasks {
                progress(self.title(peer.name, flow, task));
                // Builds and warms up; where that is not possible, the next task may be.
                if let Err(error) = running.measure(flow, task, 0.0) {
                    self.leave_out(peer, Some((flow, task)), &error);
                    continue;
                }
                let mut pairs = Vec::new();
                for _ in 0..self.plan.rounds {
                    let ours = self.our_turn(flow, task);
                    match running.measure(flow, task, seconds) {
                        Ok(theirs) => pairs.push((ours, theirs)),
                        Err(error) => self.leave_out(peer, Some((flow, task)), &error),
                    }
                }
                self.add_pairs(peer, &version, flow, task, &pairs);
            }
        }
    }

    /// A library's cell, and its ratios to ours measured just before each time.
    fn add_pairs(
        &mut self,
        peer: &Peer,
        version: &str,
        flow: Flow,
        task: Task,
        pairs: &[(Option<Timing>, Timing)],
    ) {
        if pairs.is_empty() {
            return;
        }
        let theirs: Vec<Timing> = pairs.iter().map(|(_, theirs)| *theirs).collect();
        let cell = Cell::new(peer.name, version, flow, task, &self.limit, &theirs);
        self.report.cells.push(cell);
        let pairs: Vec<(Timing, Timing)> =
            pairs.iter().filter_map(|(ours, theirs)| Some(((*ours)?, *theirs))).collect();
        if pairs.is_empty() {
            return;
        }
        self.report.ratios.push(Ratio {
            library: peer.name.into(),
            flow,
            task,
            threads: self.threads(),
            per_cpu_second: Spread::of(pairs.iter().map(|(o, t)| t.cpu_each() / o.cpu_each())),
            per_second: Spread::of(pairs.iter().map(|(o, t)| t.wall_each() / o.wall_each())),
        });
    }

    fn leave_out(&mut self, peer: &Peer, case: Option<(Flow, Task)>, error: &Error) {
        self.report.left_out.push(LeftOut {
            library: peer.name.into(),
            threads: self.threads(),
            flow: case.map(|(flow, _)| flow),
            task: case.map(|(_, task)| task),
            reason: error.to_string(),
        });
    }

    /// Our cells, with every turn that we had.
    fn finish(self) {
        let version = env!("CARGO_PKG_VERSION");
        for ((flow, task), (_, timings)) in &self.ours {
            let cell = Cell::new("fluxlet", version, *flow, *task, &self.limit, timings);
            self.report.cells.push(cell);
        }
        self.report.limits.push(self.limit);
    }

    fn title(&self, library: &str, flow: Flow, task: Task) -> String {
        let unit = task.unit();
        format!("{} threads: {library}, {} flow, {unit}", self.threads(), flow.name())
    }
}
