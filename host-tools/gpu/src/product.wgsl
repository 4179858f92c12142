// The products of a network: 64 rows and 32 outputs a workgroup, which loads 16 terms of their sums at a
// time, 4 side by side. A thread has 4 outputs of 8 rows. Every sum is one chain of multiply-adds, in
// the order of its terms.
//
// Inputs and outputs are columns of `g`. Weights come in blocks of 8 rows, see `place`.

const OUTPUTS: u32 = 32u;
const DEPTH: u32 = 16u;

// [DEPTH, GROUP] numbers of the rows, and [DEPTH, OUTPUTS] weights.
var<workgroup> terms: array<vec4<f32>, 256>;
var<workgroup> factors: array<vec4<f32>, 128>;

// A thread's sums: an output is a column; rows 4 * (lane % 8) on, and the same of the other half.
struct Sums {
    low: mat4x4<f32>,
    high: mat4x4<f32>,
}

// 4 rows of a workgroup, from its `first` on: instead of those behind the model's last one, that one.
fn rows_of(first: u32, group: vec3<u32>) -> vec4<u32> {
    let rows = vec4(GROUP * group.x + first) + vec4(0u, 1u, 2u, 3u);
    return vec4(group.z * p.per_model) + min(rows, vec4(p.per_model - 1u));
}

// A column of 4 rows.
fn four(column: u32, rows: vec4<u32>) -> vec4<f32> {
    let at = column * p.rows;
    return vec4(g[at + rows.x], g[at + rows.y], g[at + rows.z], g[at + rows.w]);
}

// What a thread loads for the next terms, while it adds those before.
struct Loaded {
    terms: mat4x4<f32>,
    factors: mat2x4<f32>,
}

// Column `first` + k for every fourth k, and 0 behind the last of them.
fn load_terms(first: u32, depth: u32, lane: u32, rows: vec4<u32>) -> mat4x4<f32> {
    let k = lane / 16u;
    return mat4x4(
        load_term(first, depth, k, rows),
        load_term(first, depth, k + 4u, rows),
        load_term(first, depth, k + 8u, rows),
        load_term(first, depth, k + 12u, rows),
    );
}

fn load_term(first: u32, depth: u32, k: u32, rows: vec4<u32>) -> vec4<f32> {
    let term = four(first + min(k, max(depth, 1u) - 1u), rows);
    return select(vec4(0.0), term, k < depth);
}

fn store_terms(loaded: mat4x4<f32>, lane: u32) {
    terms[lane] = loaded[0];
    terms[lane + 64u] = loaded[1];
    terms[lane + 128u] = loaded[2];
    terms[lane + 192u] = loaded[3];
}

fn add_term(k: u32, lane: u32, before: Sums) -> Sums {
    var sums = before;
    let low = terms[16u * k + lane % 8u];
    let high = terms[16u * k + 8u + lane % 8u];
    let factor = factors[8u * k + lane / 8u];
    sums.low[0] = fma(vec4(factor.x), low, sums.low[0]);
    sums.low[1] = fma(vec4(factor.y), low, sums.low[1]);
    sums.low[2] = fma(vec4(factor.z), low, sums.low[2]);
    sums.low[3] = fma(vec4(factor.w), low, sums.low[3]);
    sums.high[0] = fma(vec4(factor.x), high, sums.high[0]);
    sums.high[1] = fma(vec4(factor.y), high, sums.high[1]);
    sums.high[2] = fma(vec4(factor.z), high, sums.high[2]);
    sums.high[3] = fma(vec4(factor.w), high, sums.high[3]);
    return sums;
}

// As many terms as there are, up to the next multiple of 4.
fn add_terms(depth: u32, lane: u32, before: Sums) -> Sums {
    var sums = before;
    for (var k = 0u; k < depth; k += 4u) {
        sums = add_term(k, lane, sums);
        sums = add_term(k + 1u, lane, sums);
        sums = add_term(k + 2u, lane, sums);
        sums = add_term(k + 3u, lane, sums);
    }
    return sums;
}

fn store_sum(column: u32, first: u32, values: vec4<f32>, group: vec3<u32>) {
    let left = p.per_model - min(GROUP * group.x + first, p.per_model);
    let at = column * p.rows + group.z * p.per_model + GROUP * group.x + first;
    if (left > 0u) { g[at] = values.x; }
    if (left > 1u) { g[at + 1u] = values.y; }
    if (left > 2u) { g[at + 2u] = values.z; }
    if (left > 3u) { g[at + 3u] = values.w; }
}

// A thread's sums to the columns from `first` on, of which `count` are there.
fn store_sums(first: u32, count: u32, lane: u32, sums: Sums, group: vec3<u32>) {
    let low = 4u * (lane % 8u);
    let high = low + 32u;
    if (count > 0u) {
        store_sum(first, low, sums.low[0], group);
        store_sum(first, high, sums.high[0], group);
    }
    if (count > 1u) {
        store_sum(first + 1u, low, sums.low[1], group);
        store_sum(first + 1u, high, sums.high[1], group);
    }
    if (count > 2u) {
        store_sum(first + 2u, low, sums.low[2], group);
        store_sum(first + 2u, high, sums.high[2], group);
    }
    if (count > 3u) {
        store_sum(first + 3u, low, sums.low[3], group);
        store_sum(first + 3u, high, sums.high[3], group);
    }
}

// Where the rows of weights stand that a thread loads.
struct Places {
    weights: u32,
    row0: vec2<u32>,
    row1: vec2<u32>,
    row2: vec2<u32>,
    row3: vec2<u32>,
}

fn weights_of(i: u32, at: Places) -> vec4<f32> {
    // Instead of an input that is not there: the last one.
    let column = min(i + 1u, p.inputs);
    return vec4(
        w[at.weights + at.row0.x + column * at.row0.y],
        w[at.weights + at.row1.x + column * at.row1.y],
        w[at.weights + at.row2.x + column * at.row2.y],
        w[at.weights + at.row3.x + column * at.row3.y],
    );
}

fn load(begin: u32, lane: u32, rows: vec4<u32>, at: Places) -> Loaded {
    let i = begin + lane / 8u;
    return Loaded(
        load_terms(p.reads + begin, min(DEPTH, p.inputs - begin), lane, rows),
        mat2x4(weights_of(i, at), weights_of(i + 8u, at)),
    );
}

// y[j] = b[j] + sum over i of W[j, i] x[i].
@compute @workgroup_size(64)
fn product(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let weights = group.z * p.w_len + p.w_at;
    let rows = rows_of(4u * (lane % 16u), group);
    let first = OUTPUTS * group.y;
    // Instead of an output that is not there: the last one.
    let last = p.outputs - 1u;
    let own = first + 4u * (lane / 8u);
    let bias = vec4(
        w[weights + place(min(own, last), p.outputs, p.inputs).x],
        w[weights + place(min(own + 1u, last), p.outputs, p.inputs).x],
        w[weights + place(min(own + 2u, last), p.outputs, p.inputs).x],
        w[weights + place(min(own + 3u, last), p.outputs, p.inputs).x],
    );
    let biases = mat4x4(vec4(bias.x), vec4(bias.y), vec4(bias.z), vec4(bias.w));
    var sums = Sums(biases, biases);
    let loads = first + 4u * (lane % 8u);
    let places = Places(
        weights,
        place(min(loads, last), p.outputs, p.inputs),
        place(min(loads + 1u, last), p.outputs, p.inputs),
        place(min(loads + 2u, last), p.outputs, p.inputs),
        place(min(loads + 3u, last), p.outputs, p.inputs),
    );
    var next = load(0u, lane, rows, places);
    for (var begin = 0u; begin < p.inputs; begin += DEPTH) {
        workgroupBarrier();
        store_terms(next.terms, lane);
        factors[lane] = next.factors[0];
        factors[lane + 64u] = next.factors[1];
        workgroupBarrier();
        if (begin + DEPTH < p.inputs) { next = load(begin + DEPTH, lane, rows, places); }
        sums = add_terms(min(DEPTH, p.inputs - begin), lane, sums);
    }
    store_sums(p.writes + own, p.outputs - min(own, p.outputs), lane, sums, group);
}

fn columns_of(i: u32, row: vec2<u32>, weights: u32) -> vec4<f32> {
    let at = weights + row.x;
    return vec4(
        w[at + row.y * min(i + 1u, p.inputs)],
        w[at + row.y * min(i + 2u, p.inputs)],
        w[at + row.y * min(i + 3u, p.inputs)],
        w[at + row.y * min(i + 4u, p.inputs)],
    );
}

fn load_backward(begin: u32, first: u32, lane: u32, rows: vec4<u32>, weights: u32) -> Loaded {
    let row = place(min(begin + lane % DEPTH, p.outputs - 1u), p.outputs, p.inputs);
    let i = first + 4u * (lane / DEPTH);
    return Loaded(
        load_terms(p.reads + begin, min(DEPTH, p.outputs - begin), lane, rows),
        mat2x4(columns_of(i, row, weights), columns_of(i + 16u, row, weights)),
    );
}

// x[i] += sum over j of W[j, i] y[j], or x[i] = that.
@compute @workgroup_size(64)
fn product_backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let weights = group.z * p.w_len + p.w_at;
    let rows = rows_of(4u * (lane % 16u), group);
    let first = OUTPUTS * group.y;
    let own = first + 4u * (lane / 8u);
    let left = p.inputs - min(own, p.inputs);
    var sums = Sums(mat4x4<f32>(), mat4x4<f32>());
    if (p.begins == 0u) {
        // Instead of a column that is not there: the last one.
        let last = p.writes + p.inputs - 1u;
        let column = p.writes + own;
        let low = rows_of(4u * (lane % 8u), group);
        let high = rows_of(4u * (lane % 8u) + 32u, group);
        sums.low[0] = four(min(column, last), low);
        sums.low[1] = four(min(column + 1u, last), low);
        sums.low[2] = four(min(column + 2u, last), low);
        sums.low[3] = four(min(column + 3u, last), low);
        sums.high[0] = four(min(column, last), high);
        sums.high[1] = four(min(column + 1u, last), high);
        sums.high[2] = four(min(column + 2u, last), high);
        sums.high[3] = four(min(column + 3u, last), high);
    }
    var next = load_backward(0u, first, lane, rows, weights);
    for (var begin = 0u; begin < p.outputs; begin += DEPTH) {
        workgroupBarrier();
        store_terms(next.terms, lane);
        let at = 8u * (lane % DEPTH) + lane / DEPTH;
        factors[at] = next.factors[0];
        factors[at + 4u] = next.factors[1];
        workgroupBarrier();
        if (begin + DEPTH < p.outputs) {
            next = load_backward(begin + DEPTH, first, lane, rows, weights);
        }
        sums = add_terms(min(DEPTH, p.outputs - begin), lane, sums);
    }
    store_sums(p.writes + own, left, lane, sums, group);
}
