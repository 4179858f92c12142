//! Models that no training makes, and inputs that none should meet.

use fluxlet::bijection::domain::Kind;
use fluxlet::bijection::{Domain, Layer, Shape, Tails};
use fluxlet::conditioner::{Activation, Network};
use fluxlet::features::Window;
use fluxlet::model::tag;
use fluxlet::{Base, Calibration, Model};
use fluxlet_tools::stack::Stack;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Every layer once, splines of both kinds with tails of both kinds, and a mixture.
pub(crate) fn every_layer(dim: usize) -> Stack {
    let shape = |arg, option| Shape::new(dim, arg, option);
    let network = Network { hidden: [5, 4, 0, 0], activation: Activation::Tanh };
    let conditioned =
        |split, arg, transformer| Shape { split, transformer, network, ..shape(arg, 0) };
    let (identity, linear) = (Tails::Identity as u8, Tails::Linear as u8);
    let mut layers = vec![
        (Layer::Affine, shape(0, 0)),
        (Layer::Dct, shape(0, 0)),
        (Layer::RationalQuadratic, shape(5, identity)),
        (Layer::Householder, shape(3, 0)),
        (Layer::Power, shape(0, 0)),
        (Layer::Planar, shape(0, 0)),
        (Layer::RationalLinear, shape(4, linear)),
        (Layer::Permutation, shape(0, 0)),
        (Layer::RationalQuadratic, shape(7, linear)),
        (Layer::Coupling, conditioned(dim / 2, 4, Layer::RationalQuadratic)),
        (Layer::LowerUpper, shape(0, 0)),
        (Layer::Autoregressive, conditioned(0, 0, Layer::Affine)),
        (Layer::Radial, shape(0, 0)),
        (Layer::LeakyRelu, shape(0, 0)),
        (Layer::Sylvester, shape(dim.min(3), 0)),
        (Layer::Softplus, shape(0, 0)),
        (Layer::Tanh, shape(0, 0)),
        (Layer::Exp, shape(0, 0)),
        (Layer::Affine, shape(0, 0)),
        (Layer::RationalLinear, shape(6, identity)),
        (Layer::MatrixExponential, shape(6, 0)),
        (Layer::LowerCholesky, shape(0, 0)),
        (Layer::Haar, shape(0, 1)),
        (Layer::Domain, shape(5, 0)),
    ];
    // Without a context there is nothing for a conditional layer to read, and one number has no two
    // parts.
    layers.retain(|(layer, shape)| layer.exists(*shape));
    for layer in Layer::ALL {
        let absent = *layer == Layer::Conditional || (*layer == Layer::Coupling && dim == 1);
        let found = layers.iter().any(|(own, _)| own == layer);
        assert!(found != absent, "{} at D = {dim}", layer.name());
    }
    Stack { dim, context: 0, layers, base: Base::Mixture(3) }
}

/// Weights of a stack with θ drawn from ±`spread`; permutations turn the order round, and the
/// constants of a leaky rectifier and a power are not the neutral ones.
pub(crate) fn random_weights(stack: &Stack, spread: f64, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let draw = |_| rng.random_range(-spread..spread);
    let mut theta: Vec<f64> = (0..stack.theta_len()).map(draw).collect();
    let mut w = vec![0.0; stack.weight_len()];
    for span in stack.spans() {
        let w = &mut w[span.weights];
        span.layer.neutral(span.shape, 0.0, w);
        match span.layer {
            Layer::Permutation => w.reverse(),
            Layer::LowerUpper => {
                let dim = span.shape.dim;
                w[dim * dim..dim * (dim + 1)].reverse();
            }
            Layer::MatrixExponential => {
                // Row sums below 1, which six terms are enough for.
                let factor = 1.0 / (spread * stack.dim as f64);
                theta[span.theta].iter_mut().for_each(|m| *m *= factor);
            }
            Layer::LeakyRelu => w[0] = 0.25,
            Layer::Power => w[0] = 1.5,
            // A circle of ordinary length, and a box that most numbers are within.
            Layer::Domain => {
                Domain::set_column(span.shape, w, 0, Kind::Circle, -1.0, 2.0);
                if span.shape.dim > 1 {
                    Domain::set_column(span.shape, w, 1, Kind::Box, -1e4, 1e4);
                }
            }
            _ => {}
        }
    }
    stack.constrain(&theta, &mut w);
    w.into_iter().map(|w| w as f32).collect()
}

/// Every layer and every section: 16 features of two channels in windows of 32.
pub(crate) fn with_all_sections() -> Vec<u8> {
    let window = Window { channels: 2, window: 32, bands: 4, floor: 1e-6 };
    let stack = every_layer(window.feature_len());
    let mut features = vec![0; window.payload_len()];
    let mut dct = vec![0.0; (features.len() - 12) / 4];
    window.write(&mut dct, &mut features);
    let mut scores: Vec<f32> = (0..60).map(|i| 3.0 + 0.25 * i as f32).collect();
    let mut table = vec![0; Calibration::payload_len(scores.len())];
    let len = Calibration::write(&mut scores, 0.05, &mut table);
    let sections: [([u8; 4], &[u8]); 5] = [
        (tag::FEATURES, &features),
        (tag::CALIBRATION, &table[..len]),
        (tag::NAMES, b"left\nright"),
        (tag::PROVENANCE, b"a test"),
        (*b"NEWS", b"of a later version"),
    ];
    stack.pack(&random_weights(&stack, 0.7, 11), &sections)
}

/// Writes the checksum that fits the other bytes, as a hostile writer would.
pub(crate) fn fix_checksum(bytes: &mut [u8]) {
    // CRC-32 of zip and Ethernet, bit by bit, over all bytes but its own at 16..20.
    let mut crc = u32::MAX;
    for byte in bytes[..16].iter().chain(&bytes[20..]) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    bytes[16..20].copy_from_slice(&(!crc).to_le_bytes());
}

/// Numbers at the edges of `f32`: signed zeros, subnormals, huge ones, infinities and NaN.
pub(crate) const EDGES: [f32; 16] = [
    0.0,
    -0.0,
    1e-45,
    -1e-45,
    1.1e-38,
    -1.1e-38,
    f32::MIN_POSITIVE,
    f32::EPSILON,
    1e38,
    -1e38,
    f32::MAX,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    16_777_217.0,
];

/// An input of ordinary numbers, of edges, of any bits, or of one of the others in ordinary ones.
pub(crate) fn odd_input(len: usize, rng: &mut impl Rng) -> Vec<f32> {
    let ordinary = |rng: &mut _| RngExt::random_range(rng, -6.0..6.0_f32);
    let edge = |rng: &mut _| EDGES[RngExt::random_range(rng, 0..EDGES.len())];
    let finite = |rng: &mut _| match RngExt::random_range(rng, 0..3) {
        0 => EDGES[RngExt::random_range(rng, 0..12)],
        _ => RngExt::random_range(rng, -1e4..1e4_f32),
    };
    let any = |rng: &mut _| f32::from_bits(Rng::next_u32(rng));
    let choice = rng.random_range(0..5);
    let mut input: Vec<f32> = (0..len)
        .map(|_| match choice {
            0 => edge(rng),
            1 => any(rng),
            2 => finite(rng),
            _ => ordinary(rng),
        })
        .collect();
    if choice == 3 {
        let place = rng.random_range(0..len);
        input[place] = edge(rng);
    }
    input
}

/// log p of an input by the core.
pub(crate) fn log_prob(model: &Model, input: &[f32]) -> f32 {
    fluxlet::log_prob(model, input, &mut vec![0.0; model.work_len()])
}
