//! Networks in other numbers than `f32`: the flow stays an invertible map with an exact density.

mod common;

use common::numbers::{in_numbers, model, widened, words};
use common::{Random, Worst, draw::shapes};
use fluxlet::bijection::{Layer, Shape, option};
use fluxlet::conditioner::{Activation, Network, Numbers};
use fluxlet::{Model, log_prob};

const KINDS: [Numbers; 2] = [Numbers::F16, Numbers::Int8];

/// Two layers on the plane.
fn plane(layer: Layer, numbers: Numbers, random: &mut Random) -> Vec<u8> {
    let shape = Shape {
        split: usize::from(layer == Layer::Coupling),
        transformer: Layer::RationalQuadratic,
        network: Network { hidden: [9, 6, 0, 0], activation: Activation::Relu },
        numbers,
        ..Shape::new(2, 5, 0)
    };
    let weights = [(); 2].map(|()| words(layer, shape, random));
    model(&[(layer, shape); 2], &weights.concat())
}

/// ∫ over [−7, 7]², beyond which a standard normal has 5e-12, by the midpoints of n² squares.
fn integral(bytes: &[u8], n: usize) -> f64 {
    let model = Model::new_checked(bytes).unwrap();
    let mut work = vec![0.0; model.work_len()];
    let step = 14.0 / n as f64;
    let place = |i: usize| (-7.0 + (i as f64 + 0.5) * step) as f32;
    let density = |i| f64::from(log_prob(&model, &[place(i % n), place(i / n)], &mut work));
    (0..n * n).map(density).map(f64::exp).sum::<f64>() * step * step
}

#[test]
fn a_density_integrates_to_one_whatever_the_numbers() {
    // The network's steps are jumps of the density along x₁, and its knots are kinks along x₂.
    let mut law = Worst::new("integral in other numbers", 1e-3);
    for layer in [Layer::Coupling, Layer::Autoregressive] {
        for numbers in KINDS {
            for seed in 0..3 {
                let bytes = plane(layer, numbers, &mut Random::new(seed));
                let place = || format!("{} {} seed {seed}", layer.name(), numbers.name());
                law.compare(integral(&bytes, 1000), 1.0, 1.0, place);
            }
        }
    }
}

/// What a layer makes of some x, forward and back again, and both ladjs.
fn there_and_back(bytes: &[u8], x: &[f32]) -> [Vec<f32>; 2] {
    let model = Model::new_checked(bytes).unwrap();
    let mut scratch = vec![0.0; model.scratch_len()];
    let mut y = x.to_vec();
    let mut ladj = fluxlet::forward(&model, &mut y, &mut scratch);
    [true, false].map(|is_forward| {
        if !is_forward {
            ladj = fluxlet::inverse(&model, &mut y, &mut scratch);
        }
        y.iter().copied().chain([ladj]).collect()
    })
}

#[test]
fn halves_are_the_layer_of_the_widened_weights_bit_for_bit() {
    let mut random = Random::new(7);
    let mut layers = 0;
    for layer in [Layer::Coupling, Layer::Autoregressive, Layer::Conditional] {
        for plain in shapes(layer) {
            let Some(shape) = in_numbers(layer, plain, Numbers::F16) else { continue };
            let words = words(layer, shape, &mut random);
            let halves = model(&[(layer, shape)], &words);
            let floats = model(&[(layer, plain)], &widened(layer, shape, &words));
            let x = random.normals(shape.dim + shape.context);
            let x: Vec<f32> = x.iter().map(|x| *x as f32).collect();
            let bits = |bytes: &[u8]| {
                there_and_back(bytes, &x)
                    .map(|numbers| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
            };
            assert_eq!(bits(&halves), bits(&floats), "{} {shape:?}", layer.name());
            layers += 1;
        }
    }
    assert!(layers > 20, "{layers}");
}

#[test]
fn integers_have_an_inverse() {
    let mut random = Random::new(7);
    let mut law = Worst::new("inverse of int8", 1e-3);
    for layer in [Layer::Coupling, Layer::Autoregressive] {
        for plain in shapes(layer) {
            let Some(shape) = in_numbers(layer, plain, Numbers::Int8) else { continue };
            let bytes = model(&[(layer, shape)], &words(layer, shape, &mut random));
            let x = random.normals(shape.dim + shape.context);
            let x: Vec<f32> = x.iter().map(|x| *x as f32).collect();
            let [there, back] = there_and_back(&bytes, &x);
            let name = || format!("{} {shape:?}", layer.name());
            let [ladj, opposite] = [&there, &back].map(|numbers| f64::from(numbers[x.len()]));
            law.compare(ladj, -opposite, 1.0 + ladj.abs(), name);
            for (back, x) in back.iter().zip(&x) {
                law.compare(f64::from(*back), f64::from(*x), 1.0, name);
            }
        }
    }
}

#[test]
fn any_words_are_refused_or_a_density() {
    let mut random = Random::new(8);
    let (mut refused, mut read) = (0, 0);
    for layer in [Layer::Coupling, Layer::Autoregressive] {
        for round in 0..200 {
            let mut bytes = plane(layer, KINDS[round % 2], &mut random);
            let start = 20 + 4 * (4 * 2 + 1);
            // The checksum does not protect against a writer who knows it.
            for byte in &mut bytes[start + 12..] {
                if random.below(3) == 0 {
                    *byte = random.bits() as u8;
                }
            }
            common::numbers::seal(&mut bytes);
            let Ok(model) = Model::new_checked(&bytes) else {
                refused += 1;
                continue;
            };
            read += 1;
            let mut work = vec![0.0; model.work_len()];
            for _ in 0..20 {
                let x = [(); 2].map(|()| (3.0 * random.normal()) as f32);
                assert!(log_prob(&model, &x, &mut work).is_finite());
            }
        }
    }
    assert!(refused > 20 && read > 20, "{refused} {read}");
}

#[test]
fn what_32_bits_cannot_sum_does_not_exist() {
    let shape = |width: u16, activation: Activation| Shape {
        split: 1,
        transformer: Layer::RationalQuadratic,
        network: Network { hidden: [width, 8, 0, 0], activation },
        numbers: Numbers::Int8,
        ..Shape::new(2, 5, 0)
    };
    assert!(Layer::Coupling.exists(shape(1024, Activation::Relu)));
    assert!(!Layer::Coupling.exists(shape(1025, Activation::Relu)));
    assert!(!Layer::Coupling.exists(shape(8, Activation::Tanh)));
    let soft = Shape { option: option::SOFT, ..shape(8, Activation::LeakyRelu) };
    assert!(Layer::Coupling.exists(soft));
}
