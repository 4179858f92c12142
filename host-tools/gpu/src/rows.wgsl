// Rows in, and sums over rows out. Every sum has its order, so that two runs give the same bits.

// Rows in a part of a sum.
const PART: u32 = 256u;

// Numbers that a step of a model is told; the first is the number of its rows.
const PACE: u32 = 8u;

// Rows as they come -> by column.
@compute @workgroup_size(64)
fn load(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x;
    if (row >= p.rows) { return; }
    for (var c = 0u; c < p.width; c++) {
        x[(p.writes + c) * p.rows + row] = input[p.input_at + row * p.width + c];
    }
    var share = -1.0;
    if (p.pace > 0u && f32(row % p.per_model) >= s[p.pace + PACE * (row / p.per_model)]) {
        share = 0.0;
    }
    x[p.share * p.rows + row] = share;
}

// Where the rows of a part of a model begin and end.
fn part_of(model: u32, part: u32) -> vec2<u32> {
    let first = model * p.per_model;
    return vec2(first + part * PART, first + min((part + 1u) * PART, p.per_model));
}

var<workgroup> halves: array<f32, 64>;

// One weight's numbers, in one part of a model's rows. The table has for each weight (its place,
// where its entries begin, their number), and entries (column, column of the index + 1 or 0, k).
@compute @workgroup_size(64)
fn sum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let head = p.table_at + 3u * group.x;
    let weight = table[head];
    let begin = table[head + 1u];
    let end = begin + 3u * table[head + 2u];
    let range = part_of(group.z, group.y);
    var total = 0.0;
    for (var row = range.x + lane; row < range.y; row += 64u) {
        for (var entry = begin; entry < end; entry += 3u) {
            let value = g[table[entry] * p.rows + row];
            let index = table[entry + 1u];
            if (index == 0u) {
                total += value;
            } else if (g[(index - 1u) * p.rows + row] == f32(table[entry + 2u])) {
                total += value;
            }
        }
    }
    halves[lane] = total;
    for (var size = 32u; size > 0u; size = size / 2u) {
        workgroupBarrier();
        if (lane < size) { halves[lane] += halves[lane + size]; }
    }
    if (lane == 0u) {
        sums[(group.z * p.parts + group.y) * p.w_len + p.w_at + weight] = halves[0];
    }
}

const TILE: u32 = 32u;
const DEPTH: u32 = 16u;
var<workgroup> above: array<f32, 512>;
var<workgroup> beside: array<f32, 512>;

// Where the weight of a column (0 is the bias) of a row stands among those of a product.
fn place(row: u32, column: u32, rows: u32, columns: u32) -> u32 {
    var first = 0u;
    for (var size = 8u; size > 1u; size = size / 2u) {
        let past = first + (rows - first) / size * size;
        if (row < past) {
            let block = first + (row - first) / size * size;
            return block * (columns + 1u) + size * column + row - block;
        }
        first = past;
    }
    return first * (columns + 1u) + column;
}

// A tile of 32 x 32 weights of a network's product, in one part of a model's rows. The table has for
// each tile (place of the product, column of dout, rows, column of x, columns, first row, first
// column). A thread has 4 x 4 weights.
@compute @workgroup_size(64)
fn outer(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let head = p.table_at + 7u * group.x;
    let weight = table[head];
    let dout = table[head + 1u];
    let rows = table[head + 2u];
    let inputs = table[head + 3u];
    let columns = table[head + 4u];
    let first_row = table[head + 5u];
    let first_column = table[head + 6u];
    let range = part_of(group.z, group.y);
    let mine = vec2(4u * (lane / 8u), 4u * (lane % 8u));
    var total = mat4x4<f32>();
    for (var begin = range.x; begin < range.y; begin += DEPTH) {
        for (var i = lane; i < TILE * DEPTH; i += 64u) {
            let sample = begin + i % DEPTH;
            let j = first_row + i / DEPTH;
            let c = first_column + i / DEPTH;
            let inside = sample < range.y;
            var d = 0.0;
            if (inside && j < rows) { d = g[(dout + j) * p.rows + sample]; }
            above[i] = d;
            var v = 0.0;
            if (inside && c == 0u) { v = 1.0; }
            if (inside && c > 0u && c <= columns) { v = g[(inputs + c - 1u) * p.rows + sample]; }
            beside[i] = v;
        }
        workgroupBarrier();
        for (var s = 0u; s < DEPTH; s++) {
            let a = mine.x * DEPTH + s;
            let b = mine.y * DEPTH + s;
            let d = vec4(above[a], above[a + DEPTH], above[a + 2u * DEPTH], above[a + 3u * DEPTH]);
            let v = vec4(beside[b], beside[b + DEPTH], beside[b + 2u * DEPTH], beside[b + 3u * DEPTH]);
            total[0] += d.x * v;
            total[1] += d.y * v;
            total[2] += d.z * v;
            total[3] += d.w * v;
        }
        workgroupBarrier();
    }
    let base = (group.z * p.parts + group.y) * p.w_len + p.w_at + weight;
    for (var j = 0u; j < 4u; j++) {
        for (var c = 0u; c < 4u; c++) {
            let row = first_row + mine.x + j;
            let column = first_column + mine.y + c;
            if (row < rows && column <= columns) {
                sums[base + place(row, column, rows, columns)] = total[j][c];
            }
        }
    }
}

// The parts of every sum, added to the gradient.
@compute @workgroup_size(64)
fn join(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    if (i >= p.w_len) { return; }
    var total = select(dw[id.y * p.w_len + i], 0.0, p.begins == 1u);
    for (var part = 0u; part < p.parts; part++) {
        total += sums[(id.y * p.parts + part) * p.w_len + i];
    }
    dw[id.y * p.w_len + i] = total;
}
