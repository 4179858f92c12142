//! Throughput of single layers: `cargo bench -p fluxlet-tools --bench kernels [-- NAME]`.
//!
//! `device/…` is one reading by the scalar kernel that a board runs; `score/…` and `train/…` are 512
//! rows by the trainer's, without and with gradients, on one thread. Elements of a spline, a
//! rotation and a transform are numbers; elements of a network are its multiply-adds, and `train`
//! does three times as many.
//!
//! The limit is the core's own multiply-add rate, which `fluxlet bench` measures first: half of its
//! GFLOP/s in multiply-adds. A network can come near it. Scoring takes 21 multiply-adds a number in a
//! spline, 2 M in a product of M reflections and 2 + 1.5 log₂ D in a cosine transform where D is a
//! power of two (`Layer::multiply_adds`): the limit over these is the number that cannot be passed.
//! Divisions and searches count as multiply-adds there and cost more, so splines stay well below.

use core::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fluxlet::bijection::{Layer, Shape};
use fluxlet::{Base, Packed};
use fluxlet_tools::backend::{Backend, Cpu};
use fluxlet_tools::bench::{Flow, start};
use fluxlet_tools::stack::Stack;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

const ROWS: usize = 512;

/// A layer on its own.
struct Kernel {
    name: &'static str,
    stack: Stack,
    weights: Vec<f32>,
    /// [ROWS, D].
    rows: Vec<f32>,
    /// Elements of one row.
    elements: usize,
}

impl Kernel {
    fn new(name: &'static str, (layer, shape): (Layer, Shape)) -> Self {
        let stack =
            Stack { dim: shape.dim, context: 0, layers: vec![(layer, shape)], base: Base::Normal };
        let weights = start(&stack).1;
        let rng = ChaCha8Rng::seed_from_u64(2);
        let rows = rng.sample_iter(StandardNormal).take(ROWS * shape.dim).collect();
        let network = layer.conditioner(shape).map(|(network, _)| network.multiply_adds());
        Self { name, stack, weights, rows, elements: network.unwrap_or(shape.dim) }
    }

    fn id(&self) -> BenchmarkId {
        let (_, shape) = self.stack.layers[0];
        BenchmarkId::new(self.name, format!("D = {}, {}", shape.dim, shape.arg))
    }
}

/// The layers of the flows that `fluxlet bench` measures, and the cosine transform.
fn kernels() -> [Kernel; 4] {
    let of = |flow: Flow, layer| {
        let found = flow.stack().layers.into_iter().find(|(own, _)| *own == layer);
        found.expect("the flow has such a layer")
    };
    let householder = of(Flow::Rotation, Layer::Householder);
    [
        Kernel::new("spline", of(Flow::Rotation, Layer::RationalQuadratic)),
        Kernel::new("network", of(Flow::Coupling, Layer::Coupling)),
        Kernel::new("householder", householder),
        Kernel::new("dct", (Layer::Dct, Shape::new(householder.1.dim, 0, 0))),
    ]
}

fn device(c: &mut Criterion) {
    let mut group = c.benchmark_group("device");
    for kernel in kernels() {
        let (layer, shape) = kernel.stack.layers[0];
        let bytes: Vec<u8> = kernel.weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        let mut scratch = vec![0.0_f32; layer.scratch_len(shape)];
        let mut x = kernel.rows[..shape.dim].to_vec();
        group.throughput(Throughput::Elements(kernel.elements as u64));
        group.bench_function(kernel.id(), |b| {
            b.iter(|| {
                x.copy_from_slice(black_box(&kernel.rows[..shape.dim]));
                let weights = Packed::new(black_box(&bytes)).expect("a vector is aligned");
                layer.forward(shape, weights, &mut x, &mut scratch)
            });
        });
    }
}

fn trainer(c: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.expect("a pool of one thread can be made");
    let cpu = Cpu::default();
    for gradient in [false, true] {
        let mut group = c.benchmark_group(if gradient { "train" } else { "score" });
        for kernel in kernels() {
            let Kernel { stack, weights, rows, .. } = &kernel;
            let mut dw = vec![0.0; weights.len()];
            group.throughput(Throughput::Elements((ROWS * kernel.elements) as u64));
            group.bench_function(kernel.id(), |b| {
                pool.install(|| {
                    b.iter(|| {
                        let (w, rows) = (black_box(weights), black_box(rows));
                        if gradient {
                            cpu.nll_and_grad(stack, w, rows, &mut dw)
                        } else {
                            cpu.nll(stack, w, rows)
                        }
                    });
                });
            });
        }
    }
}

criterion_group!(groups, device, trainer);
criterion_main!(groups);
