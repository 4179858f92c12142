//! A reader of models in plain `f32`, written from `FORMAT.md` alone; it shares no code with the core.

#[path = "domain.rs"]
mod domain;
#[path = "integers.rs"]
mod integers;
#[path = "networks.rs"]
mod networks;

/// eˣ by the page's own formula.
fn exp(x: f32) -> f32 {
    let x = if x > 88.0 { 88.0 } else { x };
    let t = x * std::f32::consts::LOG2_E + 12_582_912.0;
    let n = t - 12_582_912.0;
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let c = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    let p = c[1..].iter().fold(c[0], |p, c| p * r + c);
    let y: f32 = p * (r * r) + r + 1.0;
    if x < -87.0 { 0.0 } else { f32::from_bits(y.to_bits().wrapping_add(t.to_bits() << 23)) }
}

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
    if n == 1 {
        return x.to_vec();
    }
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

fn quadratic_bin(x: f32, [x0, y0, d0]: [f32; 3], [x1, y1, d1]: [f32; 3]) -> [f32; 3] {
    let v = 1.0 / (x1 - x0);
    let h = y1 - y0;
    let (xi, delta) = ((x - x0) * v, h * v);
    let eta = 1.0 - xi;
    let p = d0 * eta + delta * xi;
    let q = delta * eta + d1 * xi;
    let alpha = xi * p;
    let beta = alpha + eta * q;
    let gamma = eta * p + xi * q;
    let b = 1.0 / beta;
    let rho = delta * b;
    [y0 + h * alpha * b, rho * rho * gamma, xi]
}

fn linear_bin(x: f32, [x0, y0, r0]: [f32; 3], [x1, y1, r1]: [f32; 3], lambda: f32) -> [f32; 3] {
    let w = x1 - x0;
    let delta = (y1 - y0) / w;
    let m = lambda * r0 + (1.0 - lambda) * r1;
    let xi = (x - x0) / w;
    let left = xi <= lambda;
    let (t, l, r) = if left { (xi, lambda, r0) } else { (1.0 - xi, 1.0 - lambda, r1) };
    let n = (l - t) + r * m * t / delta;
    let g = l * r / n;
    let a = w * t * r * g;
    [if left { y0 + a } else { y1 - a }, g * g, xi]
}

/// A spline of either kind; `w` are its weights of one dimension.
fn spline(x: f32, linear: bool, bins: usize, tails: u8, w: &[f32]) -> (f32, f32) {
    let (knots, lambdas) = w.split_at(3 * (bins + 1));
    let knots: Vec<[f32; 3]> = knots.chunks_exact(3).map(|knot| knot.try_into().unwrap()).collect();
    if let Some(k) = (0..bins).rfind(|k| knots[*k][0] <= x) {
        let (low, high) = (knots[k], knots[k + 1]);
        let [z, slope, xi] =
            if linear { linear_bin(x, low, high, lambdas[k]) } else { quadratic_bin(x, low, high) };
        if x <= knots[bins][0] || xi <= 1.0 {
            return (z, slope);
        }
    }
    if tails == 0 {
        return (x, 1.0);
    }
    let [from, to, d] = if x >= knots[bins][0] { knots[bins] } else { knots[0] };
    let slope = if linear { d * d } else { d };
    (to + slope * (x - from), slope)
}

fn row_times(row: &[f32], x: &[f32]) -> f32 {
    sum4(row.iter().zip(x).map(|(w, x)| w * x))
}

fn lower_upper(x: &mut [f32], w: &[f32]) {
    let dim = x.len();
    let (a, p) = w.split_at(dim * dim);
    for (i, row) in a.chunks_exact(dim).enumerate() {
        x[i] = row_times(&row[i..], &x[i..]);
    }
    for i in (1..dim).rev() {
        x[i] += row_times(&a[i * dim..][..i], x);
    }
    let z: Vec<f32> = p[..dim].iter().map(|p| x[*p as usize]).collect();
    x.copy_from_slice(&z);
}

fn lower_cholesky(x: &mut [f32], w: &[f32]) {
    let (shift, mut triangle) = w.split_at(x.len());
    let mut z = Vec::new();
    for (i, shift) in shift.iter().enumerate() {
        let (row, rest) = triangle.split_at(i + 1);
        z.push(row_times(row, x) + shift);
        triangle = rest;
    }
    x.copy_from_slice(&z);
}

fn matrix_exponential(x: &mut [f32], terms: usize, w: &[f32]) {
    let dim = x.len();
    let mut t = x.to_vec();
    for k in 1..=terms {
        let v = 1.0 / k as f32;
        t = w[..dim * dim].chunks_exact(dim).map(|row| row_times(row, &t) * v).collect();
        x.iter_mut().zip(&t).for_each(|(z, t)| *z += t);
    }
}

fn haar(x: &mut [f32], flip: bool) {
    let q = std::f64::consts::FRAC_1_SQRT_2 as f32;
    if flip {
        x.reverse();
    }
    let mut n = x.len();
    while n >= 2 {
        let pairs = x[..n].chunks_exact(2);
        let (low, high): (Vec<f32>, Vec<f32>) =
            pairs.map(|pair| ((pair[0] + pair[1]) * q, (pair[0] - pair[1]) * q)).unzip();
        n /= 2;
        x[..n].copy_from_slice(&low);
        x[n..2 * n].copy_from_slice(&high);
    }
}

/// tanh v and its derivative g(v).
fn tanh(v: f32) -> (f32, f32) {
    let e = exp(v.abs() * -2.0);
    let h = 1.0 / (1.0 + e);
    let size = (1.0 - e) * h;
    (if v < 0.0 { -size } else { size }, 4.0 * e * h * h)
}

/// Number by number: tanh, softplus, leaky rectifier or power. `a` is the only weight, if any.
fn element_wise(code: u8, a: f32, x: &mut [f32]) -> f32 {
    let old = x.to_vec();
    let terms: Vec<f32> = x
        .iter_mut()
        .map(|x| match code {
            0x0b => {
                *x = tanh(*x).0;
                1.0 + x.abs()
            }
            0x0c => {
                let e = exp(-x.abs());
                let u = 1.0 + e;
                let l = libm::logf(u) + (e - (u - 1.0)) / u;
                let term = x.min(0.0) - l;
                *x = x.max(0.0) + l;
                term
            }
            0x0d => {
                let slope = if *x >= 0.0 { 1.0 } else { a };
                *x *= slope;
                slope
            }
            _ => {
                let tiny = x.abs() <= f32::MIN_POSITIVE;
                let l = if tiny { f32::NEG_INFINITY } else { libm::logf(x.abs()) };
                let size = exp(a * l);
                *x = if *x < 0.0 { -size } else { size };
                l
            }
        })
        .collect();
    match code {
        0x0b => 2.0 * (ln_product(&terms) - sum4(old.iter().map(|x| x.abs()))),
        0x0c => sum4(terms.into_iter()),
        0x0d => ln_product(&terms),
        _ => {
            let bend = if a == 1.0 { 0.0 } else { (a - 1.0) * sum4(terms.into_iter()) };
            x.len() as f32 * libm::logf(a) + bend
        }
    }
}

fn planar(x: &mut [f32], w: &[f32]) -> f32 {
    let dim = x.len();
    let v = sum4(w[dim..].iter().zip(&*x).map(|(w, x)| w * x)) + w[2 * dim];
    let (t, g) = tanh(v);
    x.iter_mut().zip(w).for_each(|(x, u)| *x += t * u);
    libm::logf(t * t + w[2 * dim + 1] * g)
}

fn radial(x: &mut [f32], w: &[f32]) -> f32 {
    let dim = x.len();
    let (alpha, gamma) = (w[dim], w[dim + 1]);
    let r = libm::sqrtf(sum4(x.iter().zip(w).map(|(x, c)| (x - c) * (x - c))));
    let s = (gamma + r) / (alpha + r);
    x.iter_mut().zip(w).for_each(|(x, c)| *x = c + s * (*x - c));
    let h = 1.0 / (alpha + r);
    let q = alpha * gamma + (alpha + alpha + r) * r;
    let mut factors = vec![q * h * h];
    factors.resize(dim, (gamma + r) * h);
    ln_product(&factors)
}

fn reflect(u: &[f32], x: &mut [f32]) {
    let a = sum4(u.iter().zip(&*x).map(|(u, x)| u * x));
    x.iter_mut().zip(u).for_each(|(x, u)| *x -= a * u);
}

fn sylvester(units: usize, x: &mut [f32], w: &[f32]) -> f32 {
    let (u, rest) = w.split_at(units * x.len());
    let triangle = |mut numbers: &[f32]| -> Vec<Vec<f32>> {
        let mut row = |len| {
            let (row, rest) = numbers.split_at(len);
            numbers = rest;
            row.to_vec()
        };
        (1..=units).rev().map(&mut row).collect()
    };
    let (outer, rest) = rest.split_at(units * (units + 1) / 2);
    let (inner, b) = rest.split_at(units * (units + 1) / 2);
    let (outer, inner) = (triangle(outer), triangle(inner));
    let times = |row: &[f32], x: &[f32]| sum4(row.iter().zip(x).map(|(a, x)| a * x));
    let u = u.chunks_exact(x.len());
    u.clone().for_each(|u| reflect(u, x));
    let mut factors = Vec::new();
    let mut t = Vec::new();
    for i in 0..units {
        let (tanh, g) = tanh(times(&inner[i], &x[i..]) + b[i]);
        factors.push(tanh * tanh + (1.0 + outer[i][0] * inner[i][0]) * g);
        t.push(tanh);
    }
    for i in 0..units {
        x[i] += times(&outer[i], &t[i..]);
    }
    u.rev().for_each(|u| reflect(u, x));
    ln_product(&factors)
}

/// One layer: the next x, and how many weights it read; adds to ladj.
fn layer([code, option, low, high]: [u8; 4], x: &mut [f32], w: &[f32], ladj: &mut f32) -> usize {
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
            w[..arg * dim].chunks_exact(dim).for_each(|u| reflect(u, x));
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
        7 => {
            lower_upper(x, w);
            *ladj += w[dim * dim + dim];
            dim * dim + dim + 1
        }
        8 => {
            lower_cholesky(x, w);
            let len = (dim + 1) * (dim + 2) / 2;
            *ladj += w[len - 1];
            len
        }
        9 => {
            matrix_exponential(x, arg, w);
            *ladj += w[dim * dim];
            dim * dim + 1
        }
        10 => {
            haar(x, option == 1);
            0
        }
        0x0b..=0x0e => {
            let len = usize::from(code >= 0x0d);
            *ladj += element_wise(code, if len == 1 { w[0] } else { 0.0 }, x);
            len
        }
        0x0f => {
            *ladj += planar(x, w);
            2 * dim + 2
        }
        0x10 => {
            *ladj += radial(x, w);
            dim + 2
        }
        0x11 => {
            *ladj += sylvester(arg, x, w);
            arg * (dim + arg + 2)
        }
        0x12 => {
            let len = 3 * (arg + 2) * dim + 1;
            *ladj += domain::domain(arg, x, &w[..len]);
            len
        }
        0x13 => {
            *ladj += sum4(x.iter().copied());
            x.iter_mut().for_each(|x| *x = exp(*x));
            0
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
    (largest + libm::logf(logs.iter().fold(0.0, |sum, log| sum + exp(log - largest))), len)
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

/// Everything behind the header: records of 4 or 16 bytes, and weights with the sections behind them.
fn parts(bytes: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut rest = &bytes[20..];
    let mut records = Vec::new();
    for _ in 0..=number(&bytes[10..12]) {
        let network = (0x20..0x40).contains(&rest[0]);
        let (record, after) = rest.split_at(if network { 16 } else { 4 });
        records.push(record);
        rest = after;
    }
    (records, rest)
}

/// The payload of a section. Its place is found by running the layers once on zeros.
fn section<'b>(bytes: &'b [u8], tag: &[u8]) -> Option<&'b [u8]> {
    let mut rest = bytes;
    run(bytes, &vec![0.0; number(&bytes[6..8]) + number(&bytes[8..10])], &mut rest);
    while !rest.is_empty() {
        let len = number(&rest[4..8]);
        let (payload, after) = rest[8..].split_at(len);
        let after = &after[len.next_multiple_of(4) - len..];
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
    let dim = number(&bytes[6..8]);
    let (mut at, mut ladj) = (0, 0.0);
    let (last, layers) = records.split_last().unwrap();
    for record in layers {
        at += if record.len() == 16 {
            let record = networks::Record::new(record);
            networks::layer(&record, &mut x, dim, &weights[at..], &mut ladj)
        } else {
            layer((*record).try_into().unwrap(), &mut x[..dim], &weights[at..], &mut ladj)
        };
    }
    let (log_prob, len) = base((*last).try_into().unwrap(), &x[..dim], &weights[at..]);
    *sections = &rest[4 * (at + len)..];
    log_prob + ladj
}

pub(crate) fn log_prob(bytes: &[u8], input: &[f32]) -> f32 {
    let (reading, given) = input.split_at(input.len() - number(&bytes[8..10]));
    let mut x = match section(bytes, b"FEAT") {
        Some(payload) => features(payload, reading),
        None => reading.to_vec(),
    };
    let scale = section(bytes, b"CNTX").map(floats);
    x.extend(given.iter().enumerate().map(|(i, given)| match &scale {
        Some(numbers) => (given - numbers[i]) * numbers[numbers.len() / 2 + i],
        None => *given,
    }));
    run(bytes, &x, &mut &bytes[..])
}

pub(crate) fn p_value(bytes: &[u8], score: f32) -> Option<f32> {
    let table = section(bytes, b"CALI")?;
    let n = number(&table[..4]);
    let entries: Vec<(usize, f32)> =
        table[8..].chunks_exact(8).map(|e| (number(&e[..4]), floats(&e[4..])[0])).collect();
    let below = entries.iter().rfind(|(_, entry)| *entry <= score);
    let above_all = entries.iter().all(|(_, entry)| *entry < score);
    let count = if above_all { 0 } else { below.map_or(n, |(count, _)| *count) };
    Some((count as f32 + 1.0) / (n as f32 + 1.0))
}
