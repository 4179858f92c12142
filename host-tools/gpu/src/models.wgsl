// Models in training: from a gradient to the next weights. `s` holds, in this order, of all models:
// theta, the means of its gradient and of their squares, the average of theta, the units, the gradient
// of theta, the decay of each number; which models wait; what steps are told, and what they tell.

const MEAN: f32 = 0.9;
const SQUARE: f32 = 0.999;
const EPSILON: f32 = 1e-8;
// Below it a gradient, and the mean of gradients, is 0, as on the CPU; squares are normal numbers.
const TINY: f32 = 1e-17;
const NORMAL: f32 = 1.1754944e-38;

fn or_zero(a: f32, least: f32) -> f32 {
    return select(a, 0.0, abs(a) < least);
}

// Section `number` of `s`, of a model.
fn section(number: u32, model: u32) -> u32 {
    return (number * p.models + model) * p.theta_len;
}

fn waits(model: u32) -> u32 {
    return 7u * p.models * p.theta_len + model;
}

// What the step of a model is told: rows, 1/rows, learning rate, the same over 1 - 0.9^t,
// 1/sqrt(1 - 0.999^t), by how much the average follows, the longest gradient. The last number is
// what the gradient is multiplied by.
fn pace(model: u32) -> u32 {
    return p.pace + 8u * model;
}

fn is_finite(a: f32) -> bool {
    return (bitcast<u32>(a) & 0x7f800000u) != 0x7f800000u;
}

// Numbers of theta that are weights as they are. The table has (where they begin in theta, and among the
// weights, how many).
@compute @workgroup_size(64)
fn spread(@builtin(global_invocation_id) id: vec3<u32>) {
    let copy = p.table_at + 3u * id.y;
    if (id.x >= table[copy + 2u]) { return; }
    w[id.z * p.w_len + table[copy + 1u] + id.x] = s[p.theta + id.z * p.theta_len + table[copy] + id.x];
}

// Their gradient, with the places the other way round.
@compute @workgroup_size(64)
fn gather(@builtin(global_invocation_id) id: vec3<u32>) {
    let copy = p.table_at + 3u * id.y;
    if (id.x >= table[copy + 2u]) { return; }
    s[p.dtheta + id.z * p.theta_len + table[copy + 1u] + id.x] = dw[id.z * p.w_len + table[copy] + id.x];
}

// Threads that judge a model.
const JUDGES: u32 = 256u;
var<workgroup> halves: array<vec2<f32>, 256>;

// What a row adds to the sum of log densities. Rows that fill a batch are copies of others, and finite
// where those are.
fn density_of(i: u32, model: u32) -> f32 {
    let row = model * p.per_model + min(i, p.per_model - 1u);
    let density = x[p.share * p.rows + row] * x[p.log_prob * p.rows + row];
    return select(0.0, density, i < p.per_model);
}

fn square_of(i: u32, model: u32) -> f32 {
    let at = min(i, p.theta_len - 1u);
    let d = s[p.dtheta + model * p.theta_len + at] * s[section(4u, model) + at];
    return select(0.0, d * d, i < p.theta_len);
}

// A model's sum of log densities, and the length of its gradient. A model for which either is not
// finite waits until it is told anew.
@compute @workgroup_size(256)
fn judge(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let model = group.x;
    // Four at once: none waits for another to come from memory.
    var density = vec4(0.0);
    for (var i = lane; i < p.per_model; i += 4u * JUDGES) {
        density += vec4(
            density_of(i, model),
            density_of(i + JUDGES, model),
            density_of(i + 2u * JUDGES, model),
            density_of(i + 3u * JUDGES, model),
        );
    }
    var square = vec4(0.0);
    for (var i = lane; i < p.theta_len; i += 4u * JUDGES) {
        square += vec4(
            square_of(i, model),
            square_of(i + JUDGES, model),
            square_of(i + 2u * JUDGES, model),
            square_of(i + 3u * JUDGES, model),
        );
    }
    var total = vec2(density.x, square.x) + vec2(density.y, square.y);
    total += vec2(density.z, square.z) + vec2(density.w, square.w);
    halves[lane] = total;
    for (var size = JUDGES / 2u; size > 0u; size = size / 2u) {
        workgroupBarrier();
        if (lane < size) { halves[lane] += halves[lane + size]; }
    }
    if (lane > 0u) { return; }
    total = halves[0];
    let at = pace(model);
    let norm = s[at + 1u] * sqrt(total.y);
    s[p.told + 2u * model] = total.x;
    s[p.told + 2u * model + 1u] = norm;
    if (!is_finite(total.x) || !is_finite(norm)) { s[waits(model)] = 1.0; }
    s[at + 7u] = s[at + 1u] * min(1.0, s[at + 6u] / max(norm, 1e-30));
}

// Adam, and the average.
@compute @workgroup_size(64)
fn advance(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    let model = id.y;
    let at = pace(model);
    // A model without rows has no step.
    if (i >= p.theta_len || s[waits(model)] != 0.0 || s[at] == 0.0) { return; }
    let theta_at = section(0u, model) + i;
    let mean_at = section(1u, model) + i;
    let square_at = section(2u, model) + i;
    let average_at = section(3u, model) + i;
    let unit = s[section(4u, model) + i];
    let d = or_zero(s[p.dtheta + model * p.theta_len + i] * unit * s[at + 7u], TINY);
    let mean = or_zero(MEAN * s[mean_at] + (1.0 - MEAN) * d, TINY);
    let square = or_zero(SQUARE * s[square_at] + (1.0 - SQUARE) * d * d, NORMAL);
    s[mean_at] = mean;
    s[square_at] = square;
    var theta = s[theta_at];
    theta -= s[at + 2u] * s[section(6u, model) + i] * theta;
    theta -= s[at + 3u] * unit * mean / (sqrt(square) * s[at + 4u] + EPSILON);
    s[theta_at] = theta;
    s[average_at] += s[at + 5u] * (theta - s[average_at]);
}
