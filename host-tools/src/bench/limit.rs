//! The machine's own multiply-add rate: chains of fused multiply-adds on vector registers, which
//! nothing but the arithmetic units can slow down. No dense arithmetic is faster.

use core::hint::black_box;

use fearless_simd::{Level, Simd, dispatch, prelude::*};
use rayon::ThreadPool;
use serde::Serialize;

use super::clock::measure;

/// Links of each chain in one call, which takes some tens of microseconds.
const LINKS: usize = 20_000;
/// Calls of each thread between two looks at the clock.
const REPEATS: usize = 100;

/// How fast some threads multiply and add.
#[derive(Clone, Debug, Serialize)]
pub struct Limit {
    /// Threads that ran side by side.
    pub threads: usize,
    /// Instruction set that was used.
    pub instruction_set: &'static str,
    /// 10⁹ floating-point operations a second, of all threads together.
    pub gflops: f64,
    /// 10⁹ floating-point operations a CPU-second.
    pub gflops_per_cpu_second: f64,
}

/// What one call of [`chains`] came to.
struct Done {
    instruction_set: &'static str,
    flop: usize,
}

/// The best of `rounds` measurements on all threads of `pool`, for each of three numbers of chains:
/// how many links a core has under way at a time depends on its make.
pub(super) fn limit(pool: &ThreadPool, seconds: f64, rounds: usize) -> Limit {
    let threads = pool.current_num_threads();
    let mut best = Limit { threads, instruction_set: "", gflops: 0.0, gflops_per_cpu_second: 0.0 };
    for chains in [run::<8>, run::<12>, run::<24>] {
        for _ in 0..rounds {
            let Done { instruction_set, flop } = chains();
            // Long enough for the threads to come and go without being seen.
            let timing = measure(seconds, threads, &mut || {
                pool.broadcast(|_| {
                    for _ in 0..REPEATS {
                        black_box(chains());
                    }
                });
            });
            let giga = 1e-9 * (REPEATS * threads * flop) as f64;
            best.instruction_set = instruction_set;
            best.gflops = best.gflops.max(giga / timing.wall_each());
            best.gflops_per_cpu_second = best.gflops_per_cpu_second.max(giga / timing.cpu_each());
        }
    }
    best
}

fn run<const N: usize>() -> Done {
    dispatch!(Level::new(), simd => chains::<N, _>(simd))
}

/// N chains side by side, each link s ← a s + b of a vector.
#[inline(always)]
fn chains<const N: usize, S: Simd>(simd: S) -> Done {
    let vector = |value: f32| S::f32s::splat(simd, black_box(value));
    let (a, b) = (vector(0.999), vector(0.001));
    // Starts that the compiler cannot know to be equal: it would compute one chain instead of N.
    let mut sums: [S::f32s; N] = core::array::from_fn(|_| vector(1.0));
    for _ in 0..LINKS {
        for sum in &mut sums {
            *sum = sum.mul_add(a, b);
        }
    }
    let total = sums.into_iter().reduce(|sum, next| sum + next);
    black_box(total);
    let name = core::any::type_name::<S>();
    Done {
        instruction_set: name.rsplit("::").next().unwrap_or(name),
        flop: 2 * LINKS * N * S::f32s::LEN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_counts_its_own_operations() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let found = limit(&pool, 1e-3, 1);
        assert_eq!(found.threads, 2);
        assert!(found.gflops > 0.0 && found.gflops_per_cpu_second > 0.0, "{found:?}");
        assert!(!found.instruction_set.is_empty());
        assert_eq!(run::<24>().flop, 3 * run::<8>().flop);
    }
}
