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
const DEPTH: u32 = 32u;
// [DEPTH, TILE] numbers of dout and of x, 4 side by side, where `slot` says.
var<workgroup> above: array<vec4<f32>, 256>;
var<workgroup> beside: array<vec4<f32>, 256>;

// Quads of one row of the tile stand in an order that differs from row to row, so that threads that
// store the same quad of neighbouring rows do not wait for each other.
fn slot(depth: u32, quad: u32) -> u32 {
    return 8u * depth + (quad ^ (depth % 8u));
}

// A row's sums to 4 weights side by side.
fn store_sums(begin: u32, row: u32, column: u32, rows: u32, columns: u32, values: vec4<f32>) {
    if (row >= rows) { return; }
    let at = place(row, rows, columns);
    let first = begin + at.x + column * at.y;
    if (column <= columns) { sums[first] = values.x; }
    if (column + 1u <= columns) { sums[first + at.y] = values.y; }
    if (column + 2u <= columns) { sums[first + 2u * at.y] = values.z; }
    if (column + 3u <= columns) { sums[first + 3u * at.y] = values.w; }
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
    var total = mat4x4<f32>();
    for (var begin = range.x; begin < range.y; begin += DEPTH) {
        for (var i = lane; i < TILE * DEPTH / 4u; i += 64u) {
            // Neighbours load neighbouring rows; instead of what is not there: the last one.
            let there = begin + i % DEPTH < range.y;
            let sample = min(begin + i % DEPTH, range.y - 1u);
            let j = first_row + 4u * (i / DEPTH);
            let last = rows - 1u;
            let d = vec4(
                g[(dout + min(j, last)) * p.rows + sample],
                g[(dout + min(j + 1u, last)) * p.rows + sample],
                g[(dout + min(j + 2u, last)) * p.rows + sample],
                g[(dout + min(j + 3u, last)) * p.rows + sample],
            );
            // The first column is that of the bias, which stands beside ones.
            let c = first_column + 4u * (i / DEPTH);
            let left = max(c, 1u) - 1u;
            let end = columns - 1u;
            let v = vec4(
                g[(inputs + min(left, end)) * p.rows + sample],
                g[(inputs + min(c, end)) * p.rows + sample],
                g[(inputs + min(c + 1u, end)) * p.rows + sample],
                g[(inputs + min(c + 2u, end)) * p.rows + sample],
            );
            let at = slot(i % DEPTH, i / DEPTH);
            above[at] = select(vec4(0.0), d, there);
            beside[at] = vec4(select(v.x, 1.0, c == 0u), v.yzw);
        }
        workgroupBarrier();
        for (var s = 0u; s < DEPTH; s++) {
            let d = above[slot(s, lane / 8u)];
            let v = beside[slot(s, lane % 8u)];
            total[0] = fma(vec4(d.x), v, total[0]);
            total[1] = fma(vec4(d.y), v, total[1]);
            total[2] = fma(vec4(d.z), v, total[2]);
            total[3] = fma(vec4(d.w), v, total[3]);
        }
        workgroupBarrier();
    }
    let base = (group.z * p.parts + group.y) * p.w_len + p.w_at + weight;
    let row = first_row + 4u * (lane / 8u);
    let column = first_column + 4u * (lane % 8u);
    store_sums(base, row, column, rows, columns, total[0]);
    store_sums(base, row + 1u, column, rows, columns, total[1]);
    store_sums(base, row + 2u, column, rows, columns, total[2]);
    store_sums(base, row + 3u, column, rows, columns, total[3]);
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
