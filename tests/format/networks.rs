//! Layers with a network, read as `FORMAT.md` says; part of the second reader.

use super::integers::Integers;
use super::{
    linear_bin, ln_product, lower_upper, matrix_exponential, number, quadratic_bin, reflect,
    spline, sum4,
};

fn logistic(a: f32) -> f32 {
    let e = super::exp(-a.abs());
    (if a >= 0.0 { 1.0 } else { e }) / (1.0 + e)
}

fn softplus(a: f32) -> f32 {
    (if a >= 0.0 { a } else { 0.0 }) + libm::logf(1.0 + super::exp(-a.abs()))
}

fn activate(code: u8, a: f32) -> f32 {
    match code {
        0 => a.max(0.0),
        1 => 2.0 * logistic(a + a) - 1.0,
        2 => a * logistic(a),
        3 => {
            if a >= 0.0 {
                a
            } else {
                super::exp(a) - 1.0
            }
        }
        4 => softplus(a),
        5 => {
            if a >= 0.0 {
                a
            } else {
                0.01 * a
            }
        }
        _ => logistic(a),
    }
}

/// Kinds of a network's numbers: how rows are stored and summed.
pub(super) trait Kind {
    type Number: Copy;
    /// An input of the network.
    fn input(&self, x: f32) -> Self::Number;
    /// The values of the next `count` rows, which read `inputs` and then, as outputs, `direct`.
    fn rows(
        &mut self,
        count: usize,
        inputs: &[Self::Number],
        direct: Option<&[Self::Number]>,
    ) -> Vec<Self::Number>;
    fn add(a: Self::Number, b: Self::Number) -> Self::Number;
    fn activate(code: u8, a: Self::Number) -> Self::Number;
    /// The map of one number by its outputs: z and slope.
    fn transform(
        record: &Record,
        constants: [f32; 3],
        outputs: &[Self::Number],
        x: f32,
    ) -> (f32, f32);
}

/// A record of 16 bytes.
pub(super) struct Record {
    pub(super) code: u8,
    option: u8,
    pub(super) arg: usize,
    pub(super) transformer: u8,
    activation: u8,
    numbers: u8,
    split: usize,
    widths: Vec<usize>,
}

impl Record {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self {
            code: bytes[0],
            option: bytes[1],
            arg: number(&bytes[2..4]),
            transformer: bytes[4],
            activation: bytes[5] & 15,
            numbers: bytes[5] >> 4,
            split: number(&bytes[6..8]),
            widths: bytes[8..].chunks_exact(2).map(number).collect(),
        }
    }

    pub(super) fn has(&self, bit: u8) -> bool {
        self.option >> bit & 1 == 1
    }

    /// Units of each layer.
    fn layers(&self) -> Vec<usize> {
        if self.has(3) {
            return vec![self.widths[0]; 1 + 2 * self.widths[1]];
        }
        self.widths.iter().copied().filter(|width| *width > 0).collect()
    }

    fn outputs(&self) -> usize {
        match self.transformer {
            1 => 2,
            2 => 3 * self.arg - 1,
            _ => 4 * self.arg - 1,
        }
    }
}

/// Rows of a network taken off the front of the weights.
struct Weights<'w>(&'w [f32]);

impl Weights<'_> {
    fn take(&mut self, len: usize) -> &[f32] {
        let (front, rest) = self.0.split_at(len);
        self.0 = rest;
        front
    }

    /// The network behind the layer's own numbers, as `f32`.
    fn network(self, numbers: u8) -> Floats {
        let halves = |w: &f32| {
            let word = w.to_bits();
            [word as u16, (word >> 16) as u16].map(|bits| half::f16::from_bits(bits).to_f32())
        };
        match numbers {
            0 => Floats { left: self.0.to_vec(), taken: 0 },
            _ => Floats { left: self.0.iter().flat_map(halves).collect(), taken: 0 },
        }
    }
}

/// A network's weights as floating-point numbers, whichever they are stored as.
struct Floats {
    left: Vec<f32>,
    taken: usize,
}

impl Floats {
    fn take(&mut self, len: usize) -> &[f32] {
        self.taken += len;
        &self.left[self.taken - len..self.taken]
    }
}

impl Kind for Floats {
    type Number = f32;

    fn input(&self, x: f32) -> f32 {
        x
    }

    fn rows(&mut self, mut count: usize, inputs: &[f32], direct: Option<&[f32]>) -> Vec<f32> {
        let inputs = [inputs, direct.unwrap_or(&[])].concat();
        let mut values = Vec::new();
        for size in [8, 4, 2, 1] {
            while count >= size && (size == 8 || count < 2 * size) {
                let block = self.take(size * (inputs.len() + 1));
                for row in 0..size {
                    let mut sum = block[row];
                    for (i, input) in inputs.iter().enumerate() {
                        sum += block[size * (i + 1) + row] * input;
                    }
                    values.push(sum);
                }
                count -= size;
            }
        }
        values
    }

    fn add(a: f32, b: f32) -> f32 {
        a + b
    }

    fn activate(code: u8, a: f32) -> f32 {
        activate(code, a)
    }

    fn transform(record: &Record, constants: [f32; 3], outputs: &[f32], x: f32) -> (f32, f32) {
        transform(record, constants, outputs, x)
    }
}

/// The units of a network that are known so far.
struct Walk<'r, K: Kind> {
    record: &'r Record,
    /// What a layer's successors read.
    active: Vec<Vec<K::Number>>,
    /// h of each residual layer.
    h: Vec<Vec<K::Number>>,
}

impl<'r, K: Kind> Walk<'r, K> {
    fn new(record: &'r Record) -> Self {
        let layers = record.layers().len();
        Self { record, active: vec![Vec::new(); layers], h: vec![Vec::new(); layers] }
    }

    /// Adds units until layer l has `target(l)`, each reading `inputs` or all units before it.
    fn unlock(&mut self, w: &mut K, inputs: &[K::Number], target: impl Fn(usize) -> usize) {
        let (layers, residual) = (self.active.len(), self.record.has(3));
        for l in 0..layers {
            let from = self.active[l].len();
            let source = if l == 0 { inputs.to_vec() } else { self.active[l - 1].clone() };
            let mut new = w.rows(target(l) - from, &source, None);
            if residual && l > 0 && l % 2 == 0 {
                let h = &self.h[l - 2][from..];
                new.iter_mut().zip(h).for_each(|(new, h)| *new = K::add(*new, *h));
            }
            self.h[l].extend(&new);
            if !(residual && l + 1 == layers) {
                new.iter_mut().for_each(|a| *a = K::activate(self.record.activation, *a));
            }
            self.active[l].extend(new);
        }
    }

    fn outputs(&self, w: &mut K, count: usize, direct: &[K::Number]) -> Vec<K::Number> {
        w.rows(count, self.active.last().unwrap(), Some(direct))
    }
}

/// Whole networks: all inputs known at once.
fn dense<K: Kind>(record: &Record, w: &mut K, inputs: &[f32], count: usize) -> Vec<K::Number> {
    let mut walk = Walk::<K>::new(record);
    let widths = record.layers();
    let inputs: Vec<_> = inputs.iter().map(|x| w.input(*x)).collect();
    walk.unlock(w, &inputs, |l| widths[l]);
    walk.outputs(w, count, &[])
}

fn knots(record: &Record, [low, high, end]: [f32; 3], outputs: &[f32]) -> Vec<[f32; 3]> {
    let bins = record.arg;
    let soft = record.has(2);
    let axis = |logits: &[f32]| {
        let clip = |u: f32| u / (1.0 + (u / 3.453_877_6).abs());
        let logits: Vec<f32> = logits.iter().map(|u| if soft { clip(*u) } else { *u }).collect();
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = logits.iter().map(|u| super::exp(u - largest)).collect();
        let floor = if soft { 0.0 } else { 0.001 };
        let c = (1.0 - floor * bins as f32) / powers.iter().fold(0.0, |sum, p| sum + p);
        let mut share = 0.0;
        let mut places = vec![low];
        for power in &powers[..bins - 1] {
            share = share + floor + c * power;
            places.push(low + (high - low) * share);
        }
        places.push(high);
        places
    };
    let slope = |a: f32| {
        let slope = if soft {
            super::exp(a / (1.0 + (a / 6.907_755_4).abs()))
        } else {
            0.001 + softplus(a)
        };
        if record.transformer == 3 { libm::sqrtf(slope) } else { slope }
    };
    let (x, y) = (axis(&outputs[..bins]), axis(&outputs[bins..2 * bins]));
    let inner = &outputs[2 * bins..3 * bins - 1];
    let slopes = [&[end], inner, &[end]].concat();
    (0..=bins).map(|j| [x[j], y[j], slope(slopes[j])]).collect()
}

/// The map of one number: z and slope.
pub(super) fn transform(
    record: &Record,
    constants: [f32; 3],
    outputs: &[f32],
    x: f32,
) -> (f32, f32) {
    let [low, high, end] = constants;
    if record.transformer == 1 {
        let (t, s) = (outputs[0], outputs[1]);
        if record.has(2) {
            let g = logistic(s + end);
            return (x * g + (1.0 - g) * t, g);
        }
        let scale = super::exp(s.max(low).min(high));
        return (x * scale + t, scale);
    }
    if x < low {
        return (x, 1.0);
    }
    let knots = knots(record, constants, outputs);
    let k = (0..record.arg).rfind(|k| knots[*k][0] <= x).unwrap();
    let [z, slope, xi] = if record.transformer == 2 {
        quadratic_bin(x, knots[k], knots[k + 1])
    } else {
        let lambda = 0.025 + 0.95 * logistic(outputs[3 * record.arg - 1 + k]);
        linear_bin(x, knots[k], knots[k + 1], lambda)
    };
    if x > high && xi > 1.0 { (x, 1.0) } else { (z, slope) }
}

/// One layer with a network; `x` has the context behind its numbers.
pub(super) fn layer(
    record: &Record,
    x: &mut [f32],
    dim: usize,
    w: &[f32],
    ladj: &mut f32,
) -> usize {
    let (x, context) = x.split_at_mut(dim);
    let context = if record.has(6) { &*context } else { &[] };
    let mut slopes = Vec::new();
    let mut weights = Weights(w);
    let constants = if record.code == 0x22 { &[0.0; 3] } else { weights.take(3) };
    let constants = constants.try_into().unwrap();
    let order: Vec<usize> = match record.code {
        0x21 => weights.take(dim).iter().map(|place| *place as usize).collect(),
        _ => Vec::new(),
    };
    let inputs = [context, &x[..record.split]].concat();
    if record.code == 0x20 && record.has(5) {
        let linear = record.transformer == 3;
        let each = if linear { 4 * record.arg + 3 } else { 3 * (record.arg + 1) };
        for x in &mut x[..record.split] {
            let (z, slope) = spline(*x, linear, record.arg, 0, weights.take(each));
            *x = z;
            slopes.push(slope);
        }
    }
    let head = w.len() - weights.0.len();
    let taken = if record.numbers == 2 {
        let mut w = Integers::new(weights.0);
        conditioned(record, constants, &order, &inputs, x, context, &mut w, &mut slopes);
        w.taken
    } else {
        let mut w = weights.network(record.numbers);
        if record.code == 0x22 {
            conditional(record, x, context, &mut w, ladj);
        } else {
            conditioned(record, constants, &order, &inputs, x, context, &mut w, &mut slopes);
        }
        if record.numbers == 1 { w.taken.div_ceil(2) } else { w.taken }
    };
    if record.code != 0x22 {
        *ladj += ln_product(&slopes);
    }
    head + taken
}

#[expect(clippy::too_many_arguments, reason = "all that a layer's head says, and its numbers")]
fn conditioned<K: Kind>(
    record: &Record,
    constants: [f32; 3],
    order: &[usize],
    inputs: &[f32],
    x: &mut [f32],
    context: &[f32],
    w: &mut K,
    slopes: &mut Vec<f32>,
) {
    if record.code == 0x21 {
        return autoregressive(record, constants, order, x, context, w, slopes);
    }
    let second = &mut x[record.split..];
    let outputs = dense(record, w, inputs, second.len() * record.outputs());
    for (x, outputs) in second.iter_mut().zip(outputs.chunks_exact(record.outputs())) {
        let (z, slope) = K::transform(record, constants, outputs, *x);
        *x = z;
        slopes.push(slope);
    }
}

fn autoregressive<K: Kind>(
    record: &Record,
    constants: [f32; 3],
    order: &[usize],
    x: &mut [f32],
    context: &[f32],
    w: &mut K,
    slopes: &mut Vec<f32>,
) {
    let low = usize::from(context.is_empty());
    let degrees = (x.len() - low).max(1);
    let widths = record.layers();
    let degree = |i: usize, h: usize| {
        if !record.has(5) || h == 1 || degrees == 1 {
            return low + i % degrees;
        }
        // Exact: an odd multiple of one half is the only tie.
        let (above, by) = (i * (degrees - 1), h - 1);
        let tie = 2 * above % by == 0 && 2 * above / by % 2 == 1;
        let whole = 1 + above / by;
        let rounded =
            if tie { whole + whole % 2 } else { whole + usize::from(2 * (above % by) > by) };
        low + rounded - 1
    };
    let mut inputs: Vec<_> = context.iter().map(|x| w.input(*x)).collect();
    let mut walk = Walk::<K>::new(record);
    for (known, place) in order.iter().enumerate() {
        let target = |l: usize| {
            let h: usize = widths[l];
            (0..h).filter(|i| degree(*i, h) <= known).count()
        };
        walk.unlock(w, &inputs, target);
        let direct = if record.has(4) { &inputs[..] } else { &[] };
        let outputs = walk.outputs(w, record.outputs(), direct);
        inputs.push(w.input(x[*place]));
        let (z, slope) = K::transform(record, constants, &outputs, x[*place]);
        x[*place] = z;
        slopes.push(slope);
    }
}

fn conditional(record: &Record, x: &mut [f32], context: &[f32], w: &mut Floats, ladj: &mut f32) {
    let dim = x.len();
    let count = if record.transformer == 4 { record.arg * dim } else { dim * dim };
    let outputs = dense(record, w, context, count);
    let diagonal = || outputs.iter().step_by(dim + 1);
    match record.transformer {
        4 => {
            for v in outputs.chunks_exact(dim) {
                let length = libm::sqrtf(sum4(v.iter().map(|v| v * v)));
                let factor = std::f32::consts::SQRT_2 / length;
                let u: Vec<f32> = v.iter().map(|v| v * factor).collect();
                reflect(&u, x);
            }
        }
        7 => {
            let identity = (0..dim).map(|i| i as f32);
            let whole: Vec<f32> = outputs.iter().copied().chain(identity).collect();
            lower_upper(x, &whole);
            *ladj += ln_product(&diagonal().map(|u| u.abs()).collect::<Vec<_>>());
        }
        _ => {
            matrix_exponential(x, record.arg, &outputs);
            *ladj += sum4(diagonal().copied());
        }
    }
}
