//! `FORMAT.md` against the code: its tables name the codes, ranges and lengths that the reader
//! knows, its model of 48 bytes is one, and a second reader, written from that page alone, computes
//! the core's bits.

mod common;
#[path = "format/second_reader.rs"]
mod second_reader;

use common::Random;
use common::draw::shapes;
use common::numbers::{self, in_numbers};
use fluxlet::bijection::domain::Kind;
use fluxlet::bijection::{Domain, Layer, Shape};
use fluxlet::conditioner::{Activation, Numbers};
use fluxlet::features::Window;
use fluxlet::model::{self, Parts, tag};
use fluxlet::{Base, Calibration, Model};

const PAGE: &str = include_str!("../FORMAT.md");

/// The page's text under a heading.
fn chapter(heading: &str) -> &'static str {
    let start =
        PAGE.find(&format!("\n## {heading}")).unwrap_or_else(|| panic!("no chapter {heading}"));
    let text = &PAGE[start + 1..];
    text.find("\n## ").map_or(text, |end| &text[..end])
}

/// Cells of the rows of a chapter's tables that begin with a cell accepted by `is_row`.
fn rows(heading: &str, is_row: impl Fn(&str) -> bool) -> Vec<Vec<&'static str>> {
    let cells = |line: &'static str| -> Vec<_> {
        line.trim_start_matches('|').trim_end_matches('|').split('|').map(str::trim).collect()
    };
    let lines = chapter(heading).lines().filter(|line| line.starts_with('|'));
    lines.map(cells).filter(|cells| is_row(cells[0])).collect()
}

fn code(cell: &str) -> u8 {
    u8::from_str_radix(&cell[2..], 16).expect("a code is hexadecimal")
}

/// The range of an argument: `0`, `K, 1 to 512` or `M, 1 to D`.
fn arguments(cell: &str, dim: usize) -> (usize, usize) {
    let number = |text: &str| match text {
        "D" => dim,
        _ => text.parse().expect("a range is of whole numbers"),
    };
    let Some((_, range)) = cell.split_once(", ") else { return (number(cell), number(cell)) };
    let (from, to) = range.split_once(" to ").expect("a range is FROM to TO");
    (number(from), number(to))
}

/// The value of a length such as `3 (K + 1) D`: sums of products, the product without a sign, and
/// `/2` behind a product.
fn length(text: &mut &str, shape: Shape) -> usize {
    let (mut sum, mut product) = (0, 1);
    loop {
        *text = text.trim_start();
        let Some(first) = text.chars().next() else { return sum + product };
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (word, rest) = text.split_at(digits.max(1));
        *text = rest;
        product *= match first {
            '+' => {
                sum += product;
                product = 1;
                1
            }
            ')' => return sum + product,
            '(' => length(text, shape),
            '/' => {
                let (divisor, rest) = text.split_at(1);
                *text = rest;
                product /= divisor.parse::<usize>().expect("one digit behind a fraction line");
                1
            }
            'D' => shape.dim,
            'K' | 'M' => shape.arg,
            'm' => shape.dim >> shape.dim.trailing_zeros(),
            _ => word.parse().expect("a length is of numbers, D, K, M and m"),
        };
    }
}

#[test]
fn the_table_of_layers_is_the_code_s() {
    let rows = rows("Layers", |first| first.starts_with("0x0") || first.starts_with("0x1"));
    let plain = Layer::ALL.iter().filter(|layer| !layer.is_conditioned());
    assert_eq!(rows.len(), plain.clone().count(), "layers in the table");
    for (cells, layer) in rows.iter().zip(plain) {
        assert_eq!((code(cells[0]), cells[1]), (*layer as u8, layer.name()));
        let options = if cells[3] == "0" { 1 } else { 2 };
        for dim in [1, 2, 3, 12, 64] {
            let (least, most) = arguments(cells[2], dim);
            let shape = |arg, option| Shape::new(dim, arg, option);
            for (arg, option, expected) in [
                (least, 0, true),
                (most, options - 1, true),
                (most, options, false),
                (most + 1, 0, false),
                (least.wrapping_sub(1), 0, false),
            ] {
                assert_eq!(layer.exists(shape(arg, option)), expected, "{layer:?} {arg} {option}");
            }
            for arg in [least, most] {
                let expected = length(&mut &*cells[4].to_string(), shape(arg, 0));
                assert_eq!(layer.weight_len(shape(arg, 0)), expected, "{layer:?}, D = {dim}");
            }
        }
    }
}

#[test]
fn the_table_of_layers_with_a_network_is_the_code_s() {
    let rows = rows("Layers", |first| first.starts_with("0x2"));
    let layers = Layer::ALL.iter().filter(|layer| layer.is_conditioned());
    let known: Vec<(u8, &str)> = layers.map(|layer| (*layer as u8, layer.name())).collect();
    assert_eq!(rows.iter().map(|cells| (code(cells[0]), cells[1])).collect::<Vec<_>>(), known);
    for cells in rows {
        let layer = Layer::from_code(code(cells[0])).expect("a layer");
        let named: Vec<u8> = cells[2].split(", ").map(code).collect();
        let shapes = shapes(layer);
        let found = (0..=u8::MAX)
            .filter(|code| shapes.iter().any(|shape| shape.transformer as u8 == *code));
        assert_eq!(found.collect::<Vec<_>>(), named, "transformers of {}", layer.name());
    }
}

#[test]
fn the_table_of_bases_is_the_code_s() {
    let rows = rows("Layers", |first| first.starts_with("0x8"));
    let known: Vec<u8> =
        (0..=255).filter(|code| (0..=1).any(|arg| Base::from_code(*code, arg).is_some())).collect();
    assert_eq!(rows.iter().map(|cells| code(cells[0])).collect::<Vec<_>>(), known);
    for cells in rows {
        let (least, most) = arguments(cells[2], 0);
        let base = |arg: usize| Base::from_code(code(cells[0]), arg as u16);
        assert!(base(least).is_some() && base(most).is_some() && base(most + 1).is_none());
        assert!(least == 0 || base(least - 1).is_none());
    }
}

#[test]
fn the_table_of_sections_names_every_tag() {
    let found: Vec<&str> =
        rows("Sections", |first| first.starts_with('`')).iter().map(|cells| cells[0]).collect();
    let known = [tag::FEATURES, tag::CALIBRATION, tag::CONTEXT, tag::NAMES, tag::PROVENANCE];
    assert_eq!(found, known.map(|tag| format!("`{}`", tag.escape_ascii())));
}

#[test]
fn a_written_model_has_every_field_where_the_page_says() {
    let mut random = Random::new(1);
    let layers = [(Layer::Affine, Shape::new(3, 0, 0)), (Layer::Householder, Shape::new(3, 2, 0))];
    let bytes = draw(&layers, Base::Mixture(2), &[(*b"else", b"skipped")], &mut random);
    let weights: usize = 7 + 6 + 2 * 7;
    // The last offsets are expressions of R and W.
    let place = |cell: &str| cell.replace(" 4 R", " 8").replace("4 W", &(4 * weights).to_string());
    let sum =
        |cell: &str| place(cell).split(" + ").map(|n| n.parse::<usize>().expect("an offset")).sum();
    let header = rows("Header", |first| first.starts_with(|c: char| c.is_ascii_digit()));
    let at = |field: &str| -> usize {
        sum(header.iter().find(|cells| cells[2] == field).expect(field)[0])
    };
    let number = |field: &str| -> u32 {
        let cells = header.iter().find(|cells| cells[2] == field).expect(field);
        let len: usize = cells[1].parse().expect("a size");
        (0..len).fold(0, |n, i| n | u32::from(bytes[at(field) + i]) << (8 * i))
    };
    assert_eq!(bytes[at("magic")..][..4], model::MAGIC);
    assert_eq!(number("magic").to_le_bytes(), *b"FLXM");
    assert_eq!(number("version"), u32::from(model::VERSION));
    assert_eq!([number("D"), number("context"), number("L")], [3, 0, 2]);
    assert_eq!(number("bytes") as usize, bytes.len());
    assert_eq!(number("checksum"), crc32(bytes[..16].iter().chain(&bytes[20..])));
    assert_eq!(crc32(b"123456789".iter()), 0xcbf4_3926);
    assert_eq!(bytes[at("layer records")..][..8], [1, 0, 0, 0, 4, 0, 2, 0]);
    assert_eq!(bytes[at("base record")..][..4], [0x81, 0, 2, 0]);
    let read = Model::new_checked(&bytes).expect("the model is sound");
    let weight = f32::from_le_bytes(bytes[at("weights")..][..4].try_into().unwrap());
    assert_eq!(weight, read.layers().next().unwrap().weights.get(0));
    assert_eq!(bytes[at("sections")..], *b"else\x07\0\0\0skipped\0");
}

#[test]
fn the_model_of_48_bytes_gives_the_log_density_that_the_page_states() {
    let chapter = chapter("A model in 48 bytes");
    let dump = chapter
        .split("```")
        .nth(1)
        .expect("a block")
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_hexdigit()));
    let bytes: Vec<u8> = dump
        .flat_map(|line| line.split_whitespace().skip(1))
        .map(|byte| u8::from_str_radix(byte, 16).expect("a byte"))
        .collect();
    assert_eq!(bytes.len(), 48);
    let (_, bits) = chapter.rsplit_once("0x").expect("bits");
    let bits = u32::from_str_radix(&bits[..8], 16).expect("eight digits");
    let flow = fluxlet::Flow::<2>::new(&bytes).expect("the model is sound");
    let mut z = [1.5, -0.75];
    assert_eq!(flow.log_prob(&z).to_bits(), bits, "{:#010x}", flow.log_prob(&z).to_bits());
    assert_eq!(second_reader::log_prob(&bytes, &z).to_bits(), bits);
    flow.forward(&mut z);
    assert_eq!(z, [1.0, 1.0]);
    let decimal = format!("log_prob = −{}", -f32::from_bits(bits));
    assert!(chapter.contains(&decimal), "the page says {decimal}");
}

/// A model of random weights; a layer without parameters has its constants, and a permutation is a
/// rotation.
fn draw(
    layers: &[(Layer, Shape)],
    base: Base,
    sections: &[([u8; 4], &[u8])],
    random: &mut Random,
) -> Vec<u8> {
    let dim = layers[0].1.dim;
    let mut weights: Vec<f32> = Vec::new();
    for &(layer, shape) in layers {
        let mut w = vec![0.0; layer.weight_len(shape)];
        layer.neutral(shape, 0.0, &mut w);
        // The series of an exponential has to converge in its terms, of which there may be one.
        let scale = match layer {
            Layer::MatrixExponential => 0.3 / (dim as f64).sqrt(),
            layer if layer.is_conditioned() => 0.5,
            _ => 1.0,
        };
        let draw = |_| (scale * random.normal()) as f32;
        let theta: Vec<f32> = (0..layer.theta_len(shape)).map(draw).collect();
        layer.constrain(shape, &theta, &mut w);
        match layer {
            Layer::Autoregressive => w[3..3 + dim].rotate_left(dim / 3),
            Layer::Permutation => w.rotate_left(dim / 2),
            Layer::LowerUpper => w[dim * dim..dim * (dim + 1)].rotate_left(dim / 2),
            Layer::LeakyRelu => w[0] = 0.01,
            Layer::Power => w[0] = [0.7, 1.0, 1.8][random.below(3)],
            Layer::Domain => {
                for i in 0..dim {
                    // A box that holds every input, a circle that most are beyond.
                    let columns = [(Kind::Line, 1.0), (Kind::Box, 25.0), (Kind::Circle, 1.5)];
                    let (kind, size) = columns[random.below(3)];
                    Domain::set_column(shape, &mut w, i, kind, -size, size);
                }
            }
            _ => {}
        }
        weights.extend(w);
    }
    let mut w = vec![0.0; base.weight_len(dim)];
    let theta: Vec<f32> = w.iter().map(|_| random.normal() as f32).collect();
    base.constrain(dim, &theta, &mut w);
    weights.extend(w);
    let context = layers.iter().map(|(_, shape)| shape.context).max().unwrap_or(0);
    let parts = Parts { dim, context, layers, base, weights: &weights, sections };
    let mut bytes = vec![0; parts.byte_len()];
    parts.write(&mut bytes);
    bytes
}

fn agree(bytes: &[u8], inputs: usize, random: &mut Random) {
    let model = Model::new_checked(bytes).expect("the model is sound");
    let mut work = vec![0.0; model.work_len()];
    for _ in 0..inputs {
        let input: Vec<f32> =
            (0..model.input_len()).map(|_| 3.0 * random.normal() as f32).collect();
        let reading = fluxlet::read(&model, &input, &mut work);
        assert!(reading.log_prob > fluxlet::LOG_PROB_MIN);
        let expected = second_reader::log_prob(bytes, &input);
        assert_eq!(
            reading.log_prob.to_bits(),
            expected.to_bits(),
            "{} and {expected}",
            reading.log_prob
        );
        if let Some(p_value) = second_reader::p_value(bytes, -expected) {
            assert_eq!(reading.p_value.to_bits(), p_value.to_bits());
        }
    }
}

#[test]
fn every_layer_gives_the_bits_of_the_page_s_arithmetic() {
    let mut random = Random::new(2);
    for dim in [1, 2, 3, 7, 8, 12, 20] {
        for &layer in Layer::ALL.iter().filter(|layer| !layer.is_conditioned()) {
            let args = match layer {
                Layer::RationalQuadratic | Layer::RationalLinear => {
                    vec![(1, 0), (7, 0), (7, 1), (12, 1)]
                }
                Layer::Householder => vec![(1, 0), (5, 0)],
                Layer::MatrixExponential => vec![(1, 0), (8, 0), (32, 0)],
                Layer::Haar => vec![(0, 0), (0, 1)],
                Layer::Sylvester => vec![(1, 0), (dim.min(7), 0)],
                Layer::Domain => vec![(1, 0), (9, 0)],
                _ => vec![(0, 0)],
            };
            for (arg, option) in args {
                let shape = Shape::new(dim, arg, option);
                for base in [Base::Normal, Base::Mixture(3)] {
                    // Two exponentials are beyond every number.
                    let count = if layer == Layer::Exp { 1 } else { 2 };
                    let layers = vec![(layer, shape); count];
                    agree(&draw(&layers, base, &[], &mut random), 100, &mut random);
                }
            }
        }
    }
}

#[test]
fn networks_give_the_bits_of_the_page_s_arithmetic() {
    let mut random = Random::new(5);
    for layer in Layer::ALL.iter().filter(|layer| layer.is_conditioned()) {
        for shape in shapes(*layer).into_iter().filter(|shape| shape.dim < 64) {
            let numbers: &[f32] = match shape.context {
                0 => &[],
                1 => &[0.5, 0.8],
                _ => &[0.5, -1.0, 0.8, 1.25],
            };
            let scale: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            let sections = [(tag::CONTEXT, &scale[..])];
            let sections = if shape.context > 0 { &sections[..] } else { &[] };
            let bytes = draw(&[(*layer, shape); 2], Base::Normal, sections, &mut random);
            agree(&bytes, 30, &mut random);
        }
    }
}

#[test]
fn networks_of_other_numbers_give_the_bits_of_the_page_s_arithmetic() {
    let mut random = Random::new(6);
    let mut checked = [0; 3];
    for layer in Layer::ALL.iter().filter(|layer| layer.is_conditioned()) {
        for shape in shapes(*layer).into_iter().filter(|shape| shape.dim < 64) {
            let mut shape = shape;
            for numbers in [Numbers::F16, Numbers::Int8] {
                if numbers == Numbers::Int8 {
                    let piecewise = [Activation::Relu, Activation::LeakyRelu];
                    shape.network.activation = piecewise[random.below(2)];
                }
                let Some(shape) = in_numbers(*layer, shape, numbers) else { continue };
                let weights = [(); 2].map(|()| numbers::words(*layer, shape, &mut random));
                let bytes = numbers::model(&[(*layer, shape); 2], &weights.concat());
                agree(&bytes, 30, &mut random);
                checked[numbers as usize] += 1;
            }
        }
    }
    assert!(checked[1] > 20 && checked[2] > 20, "{checked:?}");
}

#[test]
fn features_and_p_values_have_the_bits_of_the_page_s_arithmetic() {
    let mut random = Random::new(3);
    let window = Window { channels: 2, window: 56, bands: 4, floor: 1e-4 };
    let mut payload = vec![0; window.payload_len()];
    window.write(&mut vec![0.0; (window.payload_len() - 12) / 4], &mut payload);
    let mut scores: Vec<f32> = (0..500).map(|_| 80.0 + 30.0 * random.normal() as f32).collect();
    let mut table = vec![0; Calibration::payload_len(scores.len())];
    let len = Calibration::write(&mut scores, 0.01, &mut table);
    let sections = [(tag::FEATURES, &payload[..]), (tag::CALIBRATION, &table[..len])];
    let shape = |arg, option| Shape::new(window.feature_len(), arg, option);
    let layers = [
        (Layer::Affine, shape(0, 0)),
        (Layer::Householder, shape(3, 0)),
        (Layer::RationalQuadratic, shape(8, 1)),
    ];
    agree(&draw(&layers, Base::Normal, &sections, &mut random), 300, &mut random);
}

fn crc32<'b>(bytes: impl Iterator<Item = &'b u8>) -> u32 {
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}
