mod support;
use fluxlet_tools::backend::{Backend, Cpu};
use fluxlet_tools::output;
use fluxlet_tools::stack::Stack;
use fluxlet_tools::train::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use support::data;
struct Timed(AtomicU64, AtomicU64);
impl Backend for Timed {
    fn nll_and_grad(&self, stack: &Stack, w: &[f32], rows: &[f32], dw: &mut [f64]) -> f64 {
        let t = Instant::now();
        // cheap stand-in: a gradient of ones
        let r = if std::env::var("REAL").is_ok() {
            Cpu.nll_and_grad(stack, w, rows, dw)
        } else {
            dw.fill(1e-3);
            1.0
        };
        self.0.fetch_add(t.elapsed().as_nanos() as u64, Ordering::Relaxed);
        self.1.fetch_add(1, Ordering::Relaxed);
        r
    }
    fn nll(&self, _: &Stack, _: &[f32], _: &[f32]) -> f64 {
        1.0
    }
}
struct P(Vec<Instant>);
impl Observer for P {
    fn step(&mut self, _: usize, _: usize) -> Next {
        self.0.push(Instant::now());
        Next::Step
    }
    fn epoch(&mut self, _: Epoch) {}
    fn save(&mut self, _: &State) -> Result<(), output::Error> {
        Ok(())
    }
}
#[test]
fn timing() {
    for threads in [1, 2] {
        for (avg, opt) in
            [(0.0, Optimiser::Adam), (0.99, Optimiser::Adam), (0.99, Optimiser::AdamW)]
        {
            let rows = data::normals::<8>(51200, 1).concat();
            let flow = FlowConfig {
                kind: Kind::Coupling,
                layers: 5,
                components: 1,
                ..FlowConfig::default()
            };
            let stack = flow.stack(8, 0, false).unwrap();
            let n = stack.theta_len();
            let config =
                TrainConfig { batch: 512, average: avg, optimiser: opt, ..TrainConfig::default() };
            let backend = Timed(0.into(), 0.into());
            let mut p = P(vec![]);
            let steps = 600;
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                fit(
                    Plan { stack, start: Start::Identity, steps, config: &config },
                    Rows { train: &rows, held_out: &rows[..800], domains: &[] },
                    &backend,
                    None,
                    &mut p,
                )
            })
            .unwrap();
            let per: f64 = backend.0.load(Ordering::Relaxed) as f64 / steps as f64;
            let mut d: Vec<f64> = p.0.windows(2).map(|w| (w[1] - w[0]).as_nanos() as f64).collect();
            d.sort_by(f64::total_cmp);
            println!(
                "threads {threads} {n} parameters average {avg} {opt:?}: step median {:.0} us, min {:.0} us; backend {:.0} us",
                d[d.len() / 2] / 1e3,
                d[0] / 1e3,
                per / 1e3
            );
        }
    }
}
