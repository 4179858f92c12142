//! `FORMAT.md` against the code: its tables name the codes, ranges and lengths that the reader
//! knows, its model of 48 bytes is one, and a second reader, written from that page alone, computes
//! the core's bits.

mod common;

use common::Random;
use fluxlet::bijection::{Layer, Shape};
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

/// The range of an argument: `0`, or `K, 1 to 512`.
fn arguments(cell: &str) -> (usize, usize) {
    let number = |text: &str| text.parse().expect("a range is of whole numbers");
    let Some((_, range)) = cell.split_once(", ") else { return (number(cell), number(cell)) };
    let (from, to) = range.split_once(" to ").expect("a range is FROM to TO");
    (number(from), number(to))
}

/// The value of a length such as `3 (K + 1) D`: sums of products, the product without a sign.
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
            'D' => shape.dim,
            'K' | 'M' => shape.arg,
            'm' => shape.dim >> shape.dim.trailing_zeros(),
            _ => word.parse().expect("a length is of numbers, D, K, M and m"),
        };
    }
}

#[test]
fn the_table_of_layers_is_the_code_s() {
    let rows = rows("Layers", |first| first.starts_with("0x0"));
    assert_eq!(rows.len(), Layer::ALL.len(), "layers in the table");
    for (cells, layer) in rows.iter().zip(Layer::ALL) {
        assert_eq!((code(cells[0]), cells[1]), (*layer as u8, layer.name()));
        let (least, most) = arguments(cells[2]);
        let options = if cells[3] == "tails" { 2 } else { 1 };
        for dim in [1, 2, 3, 12, 64] {
            let shape = |arg, option| Shape { dim, arg, option };
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
fn the_table_of_bases_is_the_code_s() {
    let rows = rows("Layers", |first| first.starts_with("0x8"));
    let known: Vec<u8> =
        (0..=255).filter(|code| (0..=1).any(|arg| Base::from_code(*code, arg).is_some())).collect();
    assert_eq!(rows.iter().map(|cells| code(cells[0])).collect::<Vec<_>>(), known);
    for cells in rows {
        let (least, most) = arguments(cells[2]);
        let base = |arg: usize| Base::from_code(code(cells[0]), arg as u16);
        assert!(base(least).is_some() && base(most).is_some() && base(most + 1).is_none());
        assert!(least == 0 || base(least - 1).is_none());
    }
}

#[test]
fn the_table_of_sections_names_every_tag() {
    let found: Vec<&str> =
        rows("Sections", |first| first.starts_with('`')).iter().map(|cells| cells[0]).collect();
    let known = [tag::FEATURES, tag::CALIBRATION, tag::NAMES, tag::PROVENANCE];
    assert_eq!(found, known.map(|tag| format!("`{}`", tag.escape_ascii())));
}

#[test]
fn a_written_model_has_every_field_where_the_page_says() {
    let mut random = Random::new(1);
    let layers = [
        (Layer::Affine, Shape { dim: 3, arg: 0, option: 0 }),
        (Layer::Householder, Shape { dim: 3, arg: 2, option: 0 }),
    ];
    let bytes = draw(&layers, Base::Mixture(2), &[(*b"else", b"skipped")], &mut random);
    let weights: usize = 7 + 6 + 2 * 7;
    // The last offsets are expressions of L and W.
    let place = |cell: &str| cell.replace(" 4 L", " 8").replace("4 W", &(4 * weights).to_string());
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
    assert_eq!(bytes[at("sections")..], *b"else\x07\0\0\0skipped");
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
    assert_eq!(second::log_prob(&bytes, &z).to_bits(), bits);
    flow.forward(&mut z);
    assert_eq!(z, [1.0, 1.0]);
    let decimal = format!("log_prob = −{}", -f32::from_bits(bits));
    assert!(chapter.contains(&decimal), "the page says {decimal}");
}

/// A model of random weights; a Dct or permutation has its constants.
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
        let theta: Vec<f32> = (0..layer.theta_len(shape)).map(|_| random.normal() as f32).collect();
        layer.constrain(shape, &theta, &mut w);
        if layer == Layer::Permutation {
            w.rotate_left(dim / 2);
        }
        weights.extend(w);
    }
    let mut w = vec![0.0; base.weight_len(dim)];
    let theta: Vec<f32> = w.iter().map(|_| random.normal() as f32).collect();
    base.constrain(dim, &theta, &mut w);
    weights.extend(w);
    let parts = Parts { dim, layers, base, weights: &weights, sections };
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
        let expected = second::log_prob(bytes, &input);
        assert_eq!(
            reading.log_prob.to_bits(),
            expected.to_bits(),
            "{} and {expected}",
            reading.log_prob
        );
        if let Some(p_value) = second::p_value(bytes, -expected) {
            assert_eq!(reading.p_value.to_bits(), p_value.to_bits());
        }
    }
}

#[test]
fn every_layer_gives_the_bits_of_the_page_s_arithmetic() {
    let mut random = Random::new(2);
    for dim in [1, 2, 3, 7, 8, 12, 20] {
        for &layer in Layer::ALL {
            let args = match layer {
                Layer::RationalQuadratic | Layer::RationalLinear => {
                    vec![(1, 0), (7, 0), (7, 1), (12, 1)]
                }
                Layer::Householder => vec![(1, 0), (5, 0)],
                _ => vec![(0, 0)],
            };
            for (arg, option) in args {
                let shape = Shape { dim, arg, option };
                for base in [Base::Normal, Base::Mixture(3)] {
                    agree(&draw(&[(layer, shape); 2], base, &[], &mut random), 100, &mut random);
                }
            }
        }
    }
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
    let shape = |arg, option| Shape { dim: window.feature_len(), arg, option };
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

/// A reader of models in plain `f32` that shares no code with the core.
mod second {
    fn sum4(terms: impl Iterator<Item = f32>) -> f32 {
        let mut lanes = [0.0; 4];
        terms.enumerate().for_each(|(i, t)| lanes[i % 4] += t);
        (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
    }

    fn floats(bytes: &[u8]) -> Vec<f32> {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    fn number(bytes: &[u8]) -> usize {
        bytes.iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte))
    }

    /// Σ ln of the factors.
    fn ln_product(factors: &[f32]) -> f32 {
        let (mut f, mut e) = (1.0_f32, 0);
        for s in factors {
            let bits = (f * s).to_bits();
            e += (bits >> 23) as i32 - 127;
            f = f32::from_bits(bits & 0x007f_ffff | 0x3f80_0000);
        }
        e as f32 * std::f32::consts::LN_2 + libm::logf(f)
    }

    fn odd_part(n: usize) -> usize {
        if n % 2 == 1 { n } else { odd_part(n / 2) }
    }

    fn cosine_transform(x: &[f32], tables: &[f32]) -> Vec<f32> {
        let n = x.len();
        if n % 2 == 1 {
            let sum = |k| (0..n).fold(0.0, |sum, i| sum + x[i] * tables[k * (2 * i + 1) % (4 * n)]);
            return (0..n).map(sum).collect();
        }
        let (c, rest) = tables.split_at(n / 2);
        let even: Vec<f32> = (0..n / 2).map(|i| x[i] + x[n - 1 - i]).collect();
        let odd: Vec<f32> = (0..n / 2).map(|i| (x[i] - x[n - 1 - i]) * c[i]).collect();
        let (even, odd) = (cosine_transform(&even, rest), cosine_transform(&odd, rest));
        let next = |i: usize| odd.get(i + 1).map_or(odd[i], |next| odd[i] + next);
        (0..n / 2).flat_map(|i| [even[i], next(i)]).collect()
    }

    fn dct(x: &[f32], w: &[f32]) -> Vec<f32> {
        let (gain, tables) = w.split_at(x.len());
        cosine_transform(x, tables).iter().zip(gain).map(|(z, g)| z * g).collect()
    }

    fn quadratic_bin(x: f32, [x0, y0, d0]: [f32; 3], [x1, y1, d1]: [f32; 3]) -> (f32, f32) {
        let v = 1.0 / (x1 - x0);
        let h = y1 - y0;
        let (xi, delta) = ((x - x0) * v, h * v);
        let r = 1.0 - xi;
        let phi = xi * r;
        let t = 2.0 * delta;
        let s = d0 + d1 - t;
        let alpha = delta * (xi * xi) + d0 * phi;
        let beta = delta + s * phi;
        let gamma = d1 * (xi * xi) + t * phi + d0 * (r * r);
        let b = 1.0 / beta;
        let q = delta * b;
        let z = y0 + h * alpha * b;
        (if y1 >= z { z } else { y1 }, q * q * gamma)
    }

    fn linear_bin(
        x: f32,
        [x0, y0, r0]: [f32; 3],
        [x1, y1, r1]: [f32; 3],
        lambda: f32,
    ) -> (f32, f32) {
        let w = x1 - x0;
        let delta = (y1 - y0) / w;
        let m = lambda * r0 + (1.0 - lambda) * r1;
        let xi = (x - x0) / w;
        let left = xi <= lambda;
        let (t, l, r) = if left { (xi, lambda, r0) } else { (1.0 - xi, 1.0 - lambda, r1) };
        let n = (l - t) + r * m * t / delta;
        let g = l * r / n;
        let a = w * t * r * g;
        (if left { y0 + a } else { y1 - a }, g * g)
    }

    /// A spline of either kind; `w` are its weights of one dimension.
    fn spline(x: f32, linear: bool, bins: usize, tails: u8, w: &[f32]) -> (f32, f32) {
        let (knots, lambdas) = w.split_at(3 * (bins + 1));
        let knots: Vec<[f32; 3]> =
            knots.chunks_exact(3).map(|knot| knot.try_into().unwrap()).collect();
        if knots[0][0] <= x && x <= knots[bins][0] {
            let k = (0..bins).rfind(|k| knots[*k][0] <= x).unwrap();
            let (low, high) = (knots[k], knots[k + 1]);
            return if linear {
                linear_bin(x, low, high, lambdas[k])
            } else {
                quadratic_bin(x, low, high)
            };
        }
        if tails == 0 {
            return (x, 1.0);
        }
        let [from, to, d] = if x >= knots[bins][0] { knots[bins] } else { knots[0] };
        let slope = if linear { d * d } else { d };
        (to + slope * (x - from), slope)
    }

    /// One layer: the next x, and how many weights it read; adds to ladj.
    fn layer(
        [code, option, low, high]: [u8; 4],
        x: &mut [f32],
        w: &[f32],
        ladj: &mut f32,
    ) -> usize {
        let (dim, arg) = (x.len(), number(&[low, high]));
        match code {
            1 => {
                for i in 0..dim {
                    x[i] = (x[i] - w[i]) * w[dim + i];
                }
                *ladj += w[2 * dim];
                2 * dim + 1
            }
            2 | 3 => {
                let each = if code == 3 { 4 * arg + 3 } else { 3 * (arg + 1) };
                let pairs = x
                    .iter()
                    .zip(w.chunks_exact(each))
                    .map(|(x, w)| spline(*x, code == 3, arg, option, w));
                let (z, slopes): (Vec<f32>, Vec<f32>) = pairs.unzip();
                x.copy_from_slice(&z);
                *ladj += ln_product(&slopes);
                each * dim
            }
            4 => {
                for u in w[..arg * dim].chunks_exact(dim) {
                    let a = sum4(u.iter().zip(&*x).map(|(u, x)| u * x));
                    x.iter_mut().zip(u).for_each(|(x, u)| *x -= a * u);
                }
                arg * dim
            }
            5 => {
                let z = dct(x, w);
                x.copy_from_slice(&z);
                2 * dim + 3 * odd_part(dim)
            }
            6 => {
                let z: Vec<f32> = w[..dim].iter().map(|p| x[*p as usize]).collect();
                x.copy_from_slice(&z);
                dim
            }
            _ => panic!("the page has no layer {code}"),
        }
    }

    fn base([code, _, low, high]: [u8; 4], z: &[f32], w: &[f32]) -> (f32, usize) {
        let (dim, components) = (z.len(), number(&[low, high]));
        if code == 0x80 {
            let half_ln_tau = 0.918_938_533_204_672_8_f64 as f32;
            return (-(0.5 * sum4(z.iter().map(|z| z * z))) - half_ln_tau * dim as f32, 0);
        }
        let len = components * (2 * dim + 1);
        let log = |w: &[f32]| {
            let e = |i: usize| (z[i] - w[1 + i]) * w[1 + dim + i];
            w[0] - 0.5 * sum4((0..dim).map(|i| e(i) * e(i)))
        };
        let logs: Vec<f32> = w[..len].chunks_exact(2 * dim + 1).map(log).collect();
        let largest = logs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        (
            largest + libm::logf(logs.iter().fold(0.0, |sum, log| sum + libm::expf(log - largest))),
            len,
        )
    }

    fn features(payload: &[u8], input: &[f32]) -> Vec<f32> {
        let [channels, n, bands] = [0, 2, 4].map(|at| number(&payload[at..at + 2]));
        let (floor, w) = (floats(&payload[8..12])[0], floats(&payload[12..]));
        let v = 1.0 / n as f32;
        let mut features = Vec::new();
        for channel in 0..channels {
            let x: Vec<f32> = input.iter().skip(channel).step_by(channels).copied().collect();
            let mean = sum4(x.iter().copied()) * v;
            let x: Vec<f32> = x.iter().map(|x| x - mean).collect();
            let power = sum4(x.iter().map(|x| x * x)) * v + floor;
            let peak = x.iter().fold(0.0_f32, |peak, x| peak.max(x.abs()));
            features.extend([0.5 * libm::logf(power), peak / libm::sqrtf(power)]);
            let c = dct(&x, &w);
            let mut from = 1;
            for b in 0..bands {
                let to = n >> (bands - 1 - b);
                features.push(libm::logf(sum4(c[from..to].iter().map(|c| c * c)) * v + floor));
                from = to;
            }
        }
        features
    }

    /// Everything behind the header: records, and weights with the sections behind them.
    fn parts(bytes: &[u8]) -> (Vec<[u8; 4]>, &[u8]) {
        let (records, rest) = bytes[20..].split_at(4 * (number(&bytes[10..12]) + 1));
        (records.chunks_exact(4).map(|r| r.try_into().unwrap()).collect(), rest)
    }

    /// The payload of a section. Its place is found by running the layers once on zeros.
    fn section<'b>(bytes: &'b [u8], tag: &[u8]) -> Option<&'b [u8]> {
        let mut rest = bytes;
        run(bytes, &vec![0.0; number(&bytes[6..8])], &mut rest);
        while !rest.is_empty() {
            let (payload, after) = rest[8..].split_at(number(&rest[4..8]));
            if &rest[..4] == tag {
                return Some(payload);
            }
            rest = after;
        }
        None
    }

    fn run<'b>(bytes: &'b [u8], x: &[f32], sections: &mut &'b [u8]) -> f32 {
        let (records, rest) = parts(bytes);
        let (weights, mut x) = (floats(rest), x.to_vec());
        let (mut at, mut ladj) = (0, 0.0);
        let (last, layers) = records.split_last().unwrap();
        for record in layers {
            at += layer(*record, &mut x, &weights[at..], &mut ladj);
        }
        let (log_prob, len) = base(*last, &x, &weights[at..]);
        *sections = &rest[4 * (at + len)..];
        log_prob + ladj
    }

    pub(super) fn log_prob(bytes: &[u8], input: &[f32]) -> f32 {
        let features = section(bytes, b"FEAT").map(|payload| features(payload, input));
        run(bytes, features.as_deref().unwrap_or(input), &mut &bytes[..])
    }

    pub(super) fn p_value(bytes: &[u8], score: f32) -> Option<f32> {
        let table = section(bytes, b"CALI")?;
        let n = number(&table[..4]);
        let entries: Vec<(usize, f32)> =
            table[8..].chunks_exact(8).map(|e| (number(&e[..4]), floats(&e[4..])[0])).collect();
        let below = entries.iter().rfind(|(_, entry)| *entry <= score);
        let above_all = entries.iter().all(|(_, entry)| *entry < score);
        let count = if above_all { 0 } else { below.map_or(n, |(count, _)| *count) };
        Some((count as f32 + 1.0) / (n as f32 + 1.0))
    }
}
