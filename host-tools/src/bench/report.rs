//! What was measured, as a table and as JSON.

use core::fmt;

use serde::Serialize;

use super::clock::{Spread, Timing};
use super::flows::{Flow, Task};
use super::limit::Limit;

/// All measurements.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The machine's multiply-add rate, for each number of threads.
    pub limits: Vec<Limit>,
    /// Every library, flow, task and number of threads.
    pub cells: Vec<Cell>,
    /// How many times as fast as each other library ours is.
    pub ratios: Vec<Ratio>,
    /// What could not be measured.
    pub left_out: Vec<LeftOut>,
}

/// One library's speed in one task.
#[derive(Debug, Serialize)]
pub struct Cell {
    /// The library.
    pub library: String,
    /// Its version.
    pub version: String,
    /// The flow.
    pub flow: Flow,
    /// The task.
    pub task: Task,
    /// Threads that it may use.
    pub threads: usize,
    /// Rows of a call.
    pub batch: usize,
    /// What is counted: steps or rows.
    pub unit: &'static str,
    /// Floating-point operations of a call, see [`Flow::flop`].
    pub flop: f64,
    /// Calls that were timed.
    pub calls: u64,
    /// CPU seconds of a call, all threads together.
    pub cpu_seconds: Spread,
    /// Seconds of a call.
    pub wall_seconds: Spread,
    /// Steps or rows a CPU-second.
    pub per_cpu_second: Spread,
    /// Steps or rows a second.
    pub per_second: Spread,
    /// Operations a CPU-second, as a share of the machine's.
    pub share_of_limit: f64,
    /// How many times as many steps or rows a second as with one thread.
    pub speedup: Option<f64>,
}

impl Cell {
    /// Of at least one measurement.
    pub(super) fn new(
        library: &str,
        version: &str,
        flow: Flow,
        task: Task,
        limit: &Limit,
        timings: &[Timing],
    ) -> Self {
        let flop = flow.flop(task);
        let units = task.units() as f64;
        let cpu_seconds = Spread::of(timings.iter().map(Timing::cpu_each));
        let wall_seconds = Spread::of(timings.iter().map(Timing::wall_each));
        Self {
            library: library.into(),
            version: version.into(),
            flow,
            task,
            threads: limit.threads,
            batch: task.batch(),
            unit: task.unit(),
            flop,
            calls: timings.iter().map(|timing| timing.calls).sum(),
            cpu_seconds,
            wall_seconds,
            per_cpu_second: cpu_seconds.rates(units),
            per_second: wall_seconds.rates(units),
            share_of_limit: 1e-9 * flop / cpu_seconds.median / limit.gflops_per_cpu_second,
            speedup: None,
        }
    }

    fn is(&self, other: &Self) -> bool {
        (&self.library, self.flow, self.task) == (&other.library, other.flow, other.task)
    }
}

/// How many times as fast ours is, each time measured in turns.
#[derive(Debug, Serialize)]
pub struct Ratio {
    /// The other library.
    pub library: String,
    /// The flow.
    pub flow: Flow,
    /// The task.
    pub task: Task,
    /// Threads of both.
    pub threads: usize,
    /// Ratio of what a CPU-second gives.
    pub per_cpu_second: Spread,
    /// Ratio of what a second gives.
    pub per_second: Spread,
}

/// A library, or one of its tasks, that could not be measured.
#[derive(Debug, Serialize)]
pub struct LeftOut {
    /// The library.
    pub library: String,
    /// Threads that it was to use.
    pub threads: usize,
    /// The flow, where others could be measured.
    pub flow: Option<Flow>,
    /// The task, where others could be measured.
    pub task: Option<Task>,
    /// Why.
    pub reason: String,
}

impl Report {
    /// Sorts the cells and compares those of many threads with those of one.
    pub(super) fn compare_threads(&mut self) {
        self.cells
            .sort_by_key(|cell| (cell.threads, cell.flow, cell.task, cell.library != "fluxlet"));
        let single: Vec<usize> =
            (0..self.cells.len()).filter(|i| self.cells[*i].threads == 1).collect();
        for i in 0..self.cells.len() {
            let one = single.iter().find(|one| self.cells[**one].is(&self.cells[i]));
            if let Some(one) = one.filter(|one| **one != i) {
                let faster = self.cells[i].per_second.median / self.cells[*one].per_second.median;
                self.cells[i].speedup = Some(faster);
            }
        }
    }

    fn ratio(&self, cell: &Cell) -> Option<&Ratio> {
        self.ratios.iter().find(|ratio| {
            let same = (&ratio.library, ratio.flow, ratio.task, ratio.threads);
            same == (&cell.library, cell.flow, cell.task, cell.threads)
        })
    }
}

/// A count of threads in words.
fn threads(count: usize) -> String {
    if count == 1 { "1 thread".into() } else { format!("{count} threads") }
}

/// A rate with as many digits as are worth something.
fn rate(value: f64) -> String {
    if value < 1000.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn spread(Spread { min, median, max }: Spread) -> String {
    format!("{median:.2}× ({min:.2} to {max:.2})")
}

/// A line of the table.
fn line(first: &str, columns: [String; 7], last: &str) -> String {
    let [unit, library, cpu, range, wall, share, faster] = columns;
    let line = format!(
        "{first:<15} {unit:<11} {library:<13} {cpu:>9} {range:>16} {wall:>8} {share:>8} {faster:>6}  {last}"
    );
    line.trim_end().into()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for limit in &self.limits {
            writeln!(
                f,
                "multiply-add limit, {}, {}: {:.1} GFLOP/s, {:.1} GFLOP a CPU-second",
                threads(limit.threads),
                limit.instruction_set,
                limit.gflops,
                limit.gflops_per_cpu_second
            )?;
        }
        for limit in &self.limits {
            let mut cells = self.cells.iter().filter(|c| c.threads == limit.threads).peekable();
            if cells.peek().is_none() {
                continue;
            }
            let columns = ["", "library", "per CPU-s", "min to max", "per s", "of limit", "faster"];
            let ours = if self.ratios.is_empty() { "" } else { "ours, per CPU-s" };
            writeln!(f, "\n{}", line(&threads(limit.threads), columns.map(str::to_string), ours))?;
            for cell in cells {
                let Spread { min, median, max } = cell.per_cpu_second;
                let columns = [
                    cell.unit.into(),
                    cell.library.clone(),
                    rate(median),
                    format!("{} to {}", rate(min), rate(max)),
                    rate(cell.per_second.median),
                    format!("{:.1} %", 100.0 * cell.share_of_limit),
                    cell.speedup.map_or(String::new(), |faster| format!("{faster:.2}×")),
                ];
                let ratio = self.ratio(cell).map(|ratio| spread(ratio.per_cpu_second));
                writeln!(f, "{}", line(cell.flow.name(), columns, &ratio.unwrap_or_default()))?;
            }
        }
        if !self.left_out.is_empty() {
            writeln!(f)?;
        }
        for LeftOut { library, threads: count, flow, task, reason } in &self.left_out {
            let flow = flow.map_or(String::new(), |flow| format!(", {} flow", flow.name()));
            let task = task.map_or(String::new(), |task| format!(", {}", task.unit()));
            writeln!(f, "left out: {library}{flow}{task}, {}: {reason}", threads(*count))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(library: &str, threads: usize, wall: f64) -> Cell {
        let limit =
            Limit { threads, instruction_set: "test", gflops: 2.0, gflops_per_cpu_second: 1.0 };
        let timing = Timing { calls: 10, wall, cpu: 4.0 };
        Cell::new(library, "1", Flow::Coupling, Task::Train, &limit, &[timing])
    }

    #[test]
    fn a_share_is_operations_over_cpu_time_over_the_limit() {
        let cell = cell("fluxlet", 1, 5.0);
        assert_eq!(cell.per_cpu_second.median, 2.5);
        assert_eq!(cell.per_second.median, 2.0);
        assert!((cell.share_of_limit - 0.157_286_4 * 2.5).abs() < 1e-12, "{}", cell.share_of_limit);
    }

    #[test]
    fn threads_are_compared_within_a_library_and_ours_stands_first() {
        let cells = vec![
            cell("x", 2, 8.0),
            cell("x", 1, 10.0),
            cell("fluxlet", 1, 10.0),
            cell("fluxlet", 2, 5.0),
        ];
        let mut report = Report { cells, ..Report::default() };
        report.compare_threads();
        let found: Vec<_> =
            report.cells.iter().map(|c| (c.library.as_str(), c.threads, c.speedup)).collect();
        let expected =
            [("fluxlet", 1, None), ("x", 1, None), ("fluxlet", 2, Some(2.0)), ("x", 2, Some(1.25))];
        assert_eq!(found, expected);
    }
}
