// What every kernel sees: the call, the buffers, and the core's functions.
//
// Rows are stored by column: number `c` of row `r` is `x[c * p.rows + r]`.

// Rows of a workgroup, all of one model.
const GROUP: u32 = 64u;

struct Call {
    // Rows of all models; rows of each model; parts that a model's rows are summed in.
    rows: u32,
    per_model: u32,
    parts: u32,
    // Numbers of a row as it is loaded, and where the first row begins.
    width: u32,
    input_at: u32,
    // First columns of what a layer reads, of what it writes, of the context, of the gradient, and that
    // of the log densities.
    reads: u32,
    writes: u32,
    context: u32,
    gradient: u32,
    log_prob: u32,
    // Whether log densities begin here, and sums.
    begins: u32,
    // Where the layer's weights begin; weights of a model.
    w_at: u32,
    w_len: u32,
    // Where the layer's table begins.
    table_at: u32,
    // Column of what a row counts: -1, or 0 where it only fills a batch.
    share: u32,
    // Models, and numbers of each one's theta.
    models: u32,
    theta_len: u32,
    // Where in `s` theta (or its average) begins, and its gradient.
    theta: u32,
    dtheta: u32,
    // Where in `s` what this step is told begins, and what it tells; 0 for no step.
    pace: u32,
    told: u32,
    // The lowest column of `g` that a kernel of the rows uses.
    first: u32,
    // Outputs and inputs of a product; `reads` and `writes` are its columns of `g`.
    outputs: u32,
    inputs: u32,
    // The bits of a NaN and of the infinity, which no expression may be.
    nan: u32,
    infinity: u32,
}

@group(0) @binding(0) var<uniform> p: Call;
// Rows as they come, [rows, width].
@group(0) @binding(1) var<storage, read_write> input: array<f32>;
// Weights, [models, w_len].
@group(0) @binding(2) var<storage, read_write> w: array<f32>;
// Rows on their way, by column.
@group(0) @binding(3) var<storage, read_write> x: array<f32>;
// What rows keep for the sums, by column.
@group(0) @binding(4) var<storage, read_write> g: array<f32>;
// Which of it is added to what.
@group(0) @binding(5) var<storage, read_write> table: array<u32>;
// Sums of parts of the rows, [models, parts, w_len].
@group(0) @binding(6) var<storage, read_write> sums: array<f32>;
// Gradient of the weights, [models, w_len].
@group(0) @binding(7) var<storage, read_write> dw: array<f32>;
// What models in training are: see `models.wgsl`.
@group(0) @binding(8) var<storage, read_write> s: array<f32>;

// Of row `j` of the weights of a product: where its bias stands, and how far it is from there to the weight
// of the first input, and from each to the next. Rows come in blocks of 8, and a rest of 4, 2 and 1: the
// biases of a block, then for each input one weight a row.
fn place(j: u32, rows: u32, columns: u32) -> vec2<u32> {
    let eights = rows & ~7u;
    let fours = eights + (rows & 4u);
    let twos = fours + (rows & 2u);
    var block = vec2(j & ~7u, 8u);
    if (j >= eights) { block = vec2(eights, 4u); }
    if (j >= fours) { block = vec2(fours, 2u); }
    if (j >= twos) { block = vec2(twos, 1u); }
    return vec2(block.x * (columns + 1u) + j - block.x, block.y);
}

fn nan() -> f32 {
    return bitcast<f32>(p.nan);
}

fn infinity() -> f32 {
    return bitcast<f32>(p.infinity);
}

// Power of two of a positive normal number.
fn exponent(a: f32) -> f32 {
    return f32(bitcast<u32>(a) >> 23u) - 127.0;
}

// The number in [1, 2) that is left.
fn mantissa(a: f32) -> f32 {
    return bitcast<f32>((bitcast<u32>(a) & 0x007fffffu) | 0x3f800000u);
}

// With a = m 2^e and m in [sqrt(1/2), sqrt(2)): ln m = 2 artanh s, s = (m - 1)/(m + 1).
fn ln(a: f32) -> f32 {
    var m = mantissa(a);
    var e = exponent(a);
    if (m >= 1.4142135) {
        m = 0.5 * m;
        e = e + 1.0;
    }
    let s = (m - 1.0) / (m + 1.0);
    let q = s * s;
    let series = fma(fma(fma(0.22222222, q, 0.2857143), q, 0.4), q, 0.6666667);
    let ln = e * 0.6933594 + (s + s + fma(e, -2.1219444e-4, s * q * series));
    // Of what is not positive there is none.
    return select(nan(), ln, a > 0.0);
}

// ln(1 + u) for u in [0, 1] = 2 artanh s, s = u/(2 + u).
fn ln_one_plus(u: f32) -> f32 {
    let s = u / (2.0 + u);
    let q = s * s;
    return s * fma(fma(fma(fma(0.2815778, q, 0.27965158), q, 0.40024596), q, 0.6666632), q, 2.0);
}

// e^a, clamped to what a normal number holds.
fn power_of_e(a: f32) -> f32 {
    let c = clamp(a, -87.0, 88.0);
    let n = round(c * 1.442695);
    let r = fma(n, 2.1219444e-4, fma(n, -0.6933594, c));
    let series = fma(fma(fma(fma(fma(fma(1.3926182e-3, r, 8.363178e-3), r, 4.1666556e-2), r, 1.6666576e-1), r, 0.5), r, 1.0), r, 1.0);
    return bitcast<f32>(bitcast<u32>(series) + (bitcast<u32>(i32(n)) << 23u));
}
