// The products of a network for one row, in its memory `m`. Rows of weights come in blocks of 8, and
// a rest of 4, 2 and 1: the biases of a block, then for each input one weight a row.

// Rows of the block that begins at row `first`.
fn block(first: u32, rows: u32) -> u32 {
    let left = rows - first;
    return select(select(select(1u, 2u, left >= 2u), 4u, left >= 4u), 8u, left >= 8u);
}

// m[at + j] = b[j] + sum over i of W[j, i] m[i].
fn product(weights: u32, rows: u32, columns: u32, at: u32) {
    var size = 0u;
    for (var first = 0u; first < rows; first += size) {
        size = block(first, rows);
        for (var j = 0u; j < size; j++) {
            var place = weights + first * (columns + 1u) + j;
            var sum = w[place];
            for (var i = 0u; i < columns; i++) {
                place += size;
                sum = fma(w[place], m[i], sum);
            }
            m[at + first + j] = sum;
        }
    }
}

// m[at + i] += sum over j of W[j, i] m[j].
fn product_backward(weights: u32, rows: u32, columns: u32, at: u32) {
    for (var i = 0u; i < columns; i++) {
        var sum = m[at + i];
        var size = 0u;
        for (var first = 0u; first < rows; first += size) {
            size = block(first, rows);
            let place = weights + first * (columns + 1u) + size * (i + 1u);
            for (var j = 0u; j < size; j++) {
                sum = fma(w[place + j], m[first + j], sum);
            }
        }
        m[at + i] = sum;
    }
}
