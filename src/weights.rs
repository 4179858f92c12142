//! Where weights live: a model's bytes in flash, a training slice, numbers of a vector kind. And
//! where their gradient is summed.

use crate::conditioner::product;
use crate::math::Real;

/// Packed numbers that a kernel reads: a model's bytes, a training slice, a network's output.
pub trait Weights<R: Real>: Copy {
    /// Number of weights.
    fn len(self) -> usize;
    /// Weight `i`, as a number of the kind of `like`.
    fn at(self, i: usize, like: R) -> R;
    /// Weights `start..start + len`.
    fn part(self, start: usize, len: usize) -> Self;
    /// N weights from `start` on.
    fn load<const N: usize>(self, start: usize, like: R) -> [R; N];
    /// All weights in their order.
    fn values(self, like: R) -> impl Iterator<Item = R>;
    /// N weights at a time; fewer at the end are left out.
    fn chunks<const N: usize>(self, like: R) -> impl Iterator<Item = [R; N]>;
    /// The greatest `k` in `0..rows` for which `reached` holds of number `column` of row k, or 0; and
    /// the N numbers of rows k and k + 1. A row is `STRIDE` weights, N of them two rows at most;
    /// `reached` holds up to some row and not beyond.
    fn bisect<const STRIDE: usize, const N: usize>(
        self,
        rows: usize,
        column: usize,
        like: R,
        reached: impl Fn(R) -> bool,
    ) -> (usize, [R; N]) {
        let reached = |k: &usize| reached(self.at(STRIDE * k + column, like));
        let low = (0..rows).rev().find(reached).unwrap_or(0);
        (low, self.load(STRIDE * low, like))
    }
    /// `len` weights at a time; fewer at the end are left out.
    fn rows(self, len: usize) -> impl Iterator<Item = Self>;
    /// N weights from `stride index` on, where every index is below `bins`.
    #[inline(always)]
    fn gather<const N: usize>(
        self,
        index: R::Index,
        bins: usize,
        stride: usize,
        like: R,
    ) -> [R; N] {
        like.gather(self, index, bins, stride)
    }
    /// out = b + W \[x, y\], the weights being rows of a network, packed as
    /// [`crate::conditioner`] says. `out` holds numbers of the same kind on entry.
    #[inline(always)]
    fn product(self, x: &[R], y: &[R], out: &mut [R]) {
        product::forward(self, x, y, out);
    }
    /// Adds Wᵀ dout to `dx` and `dy`, what the gradient of [`Weights::product`]'s result means for
    /// its inputs.
    #[inline(always)]
    fn product_backward(self, dout: &[R], dx: &mut [R], dy: &mut [R]) {
        product::backward(self, dout, dx, dy);
    }
    /// Whether there are none.
    fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// The greatest `k` in `0..rows` for which `reached` holds of row k of a table, or 0; and rows k and
/// k + 1, or what is `missing` where the table is shorter.
///
/// Bins are halved; either half is as long as the other, with an overlap where their number is odd, so
/// that a step moves one pointer. The last eight bins are halved by patterns of fixed size: a load, a
/// comparison and an addition each.
#[inline(always)]
fn narrow<'t, const STRIDE: usize, T>(
    table: &'t [T],
    rows: usize,
    reached: impl Fn(&[T; STRIDE]) -> bool,
    missing: impl Fn() -> &'t [[T; STRIDE]; 2],
) -> (usize, &'t [[T; STRIDE]; 2]) {
    let Some(mut left) = table.as_chunks::<STRIDE>().0.get(..=rows) else { return (0, missing()) };
    let mut low = 0;
    loop {
        if left.len().wrapping_sub(9) <= 8
            && let (Some(below), Some(above)) = (left.first_chunk::<9>(), left.last_chunk::<9>())
        {
            let (eight, low) =
                if reached(&above[0]) { (above, low + left.len() - 9) } else { (below, low) };
            let (four, low) = match eight {
                [_, _, _, _, above @ ..] if reached(&above[0]) => (above, low + 4),
                [below @ .., _, _, _, _] => (below, low),
            };
            let (two, low) = match four {
                [_, _, above @ ..] if reached(&above[0]) => (above, low + 2),
                [below @ .., _, _] => (below, low),
            };
            return match two {
                [_, above @ ..] if reached(&above[0]) => (low + 1, above),
                [below @ .., _] => (low, below),
            };
        }
        if left.len() <= 2 {
            return (low, left.first_chunk().unwrap_or_else(missing));
        }
        let half = (left.len() - 1) / 2;
        let Some(above @ [first, ..]) = left.get(half..) else { return (0, missing()) };
        if reached(first) {
            left = above;
            low += half;
        } else {
            left = left.get(..left.len() - half).unwrap_or(above);
        }
    }
}

/// Weights of the same kind as the data; one set a lane where the kind is a vector.
impl<R: Real> Weights<R> for &[R] {
    #[inline(always)]
    fn len(self) -> usize {
        <[R]>::len(self)
    }
    #[inline(always)]
    fn at(self, i: usize, _like: R) -> R {
        self[i]
    }
    #[inline(always)]
    fn part(self, start: usize, len: usize) -> Self {
        &self[start..start + len]
    }
    #[inline(always)]
    fn load<const N: usize>(self, start: usize, _like: R) -> [R; N] {
        core::array::from_fn(|n| self[start + n])
    }
    #[inline(always)]
    fn bisect<const STRIDE: usize, const N: usize>(
        self,
        rows: usize,
        column: usize,
        like: R,
        reached: impl Fn(R) -> bool,
    ) -> (usize, [R; N]) {
        // A table has two rows at least; the fallback keeps a panic out of a device's image.
        let Some(first) = self.as_chunks().0.first_chunk() else { return (0, [like; N]) };
        let (low, rows) = narrow::<STRIDE, _>(self, rows, |row| reached(row[column]), || first);
        (low, rows.as_flattened().first_chunk().copied().unwrap_or([like; N]))
    }
    #[inline(always)]
    fn values(self, _like: R) -> impl Iterator<Item = R> {
        self.iter().copied()
    }
    #[inline(always)]
    fn chunks<const N: usize>(self, _like: R) -> impl Iterator<Item = [R; N]> {
        self.as_chunks().0.iter().copied()
    }
    #[inline(always)]
    fn rows(self, len: usize) -> impl Iterator<Item = Self> {
        self.chunks_exact(len)
    }
}

/// A weight as a model stores it, little-endian.
pub trait Stored: Copy + 'static {
    /// The number that it means, exactly.
    fn number(self) -> f32;
    /// Zeros, for where a device's image must not have a panic.
    fn zeros<const N: usize>() -> &'static [Self; N];
    /// Rows of zeros, alike.
    fn rows_of_zeros<const N: usize>() -> &'static [[Self; N]; 2];
}

impl Stored for u32 {
    #[inline(always)]
    fn number(self) -> f32 {
        f32::from_bits(u32::from_le(self))
    }
    #[inline(always)]
    fn zeros<const N: usize>() -> &'static [Self; N] {
        const { &[0; N] }
    }
    #[inline(always)]
    fn rows_of_zeros<const N: usize>() -> &'static [[Self; N]; 2] {
        const { &[[0; N]; 2] }
    }
}

/// Weights in a packed model, shared by all lanes: words of `f32` at multiples of four bytes, so that a
/// small core loads each into a register at once, unless another kind is [`Stored`].
#[derive(Clone, Copy, Debug)]
pub struct Packed<'m, T = u32>(&'m [T]);

impl<'m> Packed<'m> {
    /// Reads `bytes` as weights; up to three bytes at the end that make no weight are left out.
    /// `None` where they do not begin at a multiple of four.
    pub fn new(bytes: &'m [u8]) -> Option<Self> {
        match bytes.as_chunks::<4>().0 {
            [] => Some(Self::none()),
            words => bytemuck::try_cast_slice(words.as_flattened()).ok().map(Self),
        }
    }

    /// Words of a model as weights.
    #[inline(always)]
    pub(crate) fn of(words: &'m [u32]) -> Self {
        Self(words)
    }

    /// No weights.
    pub const fn none() -> Self {
        Self(&[])
    }

    /// The words as they stand in memory, of any numbers.
    #[inline(always)]
    pub(crate) fn words(self) -> &'m [u32] {
        self.0
    }

    /// The words as weights of 16 bits, two in each.
    #[inline(always)]
    pub(crate) fn halves(self) -> Packed<'m, u16> {
        Packed(bytemuck::must_cast_slice(self.0))
    }

    /// Weight `i`, or 0 past the end.
    #[inline(always)]
    pub fn get(self, i: usize) -> f32 {
        self.0.get(i).unwrap_or(&0).number()
    }

    /// All weights in order.
    pub fn iter(self) -> impl Iterator<Item = f32> + 'm {
        self.0.iter().map(|word| word.number())
    }
}

impl<R: Real, T: Stored> Weights<R> for Packed<'_, T> {
    #[inline(always)]
    fn len(self) -> usize {
        self.0.len()
    }
    #[inline(always)]
    fn at(self, i: usize, like: R) -> R {
        like.lift(self.0.get(i).map_or(0.0, |word| word.number()))
    }
    #[inline(always)]
    fn part(self, start: usize, len: usize) -> Self {
        // The checked reader has compared every length with the layer's shape, so the fallback is
        // never taken; it only keeps the panic machinery out of a device's image.
        Self(self.0.get(start..).and_then(|rest| rest.get(..len)).unwrap_or(&[]))
    }
    #[inline(always)]
    fn load<const N: usize>(self, start: usize, like: R) -> [R; N] {
        // One comparison for N weights; see `part` for the fallback.
        let weights = self.0.get(start..).and_then(|rest| rest.first_chunk::<N>());
        weights.unwrap_or(T::zeros()).map(|word| like.lift(word.number()))
    }
    #[inline(always)]
    fn bisect<const STRIDE: usize, const N: usize>(
        self,
        rows: usize,
        column: usize,
        like: R,
        reached: impl Fn(R) -> bool,
    ) -> (usize, [R; N]) {
        let reached = |row: &[T; STRIDE]| reached(like.lift(row[column].number()));
        // The fallbacks are those of `part`.
        let (low, rows) = narrow(self.0, rows, reached, || T::rows_of_zeros());
        let words = rows.as_flattened().first_chunk().unwrap_or(T::zeros());
        (low, words.map(|word| like.lift(word.number())))
    }
    #[inline(always)]
    fn values(self, like: R) -> impl Iterator<Item = R> {
        self.0.iter().map(move |word| like.lift(word.number()))
    }
    #[inline(always)]
    fn chunks<const N: usize>(self, like: R) -> impl Iterator<Item = [R; N]> {
        let chunks = self.0.as_chunks::<N>().0.iter();
        chunks.map(move |chunk| chunk.map(|word| like.lift(word.number())))
    }
    #[inline(always)]
    fn rows(self, len: usize) -> impl Iterator<Item = Self> {
        // One pointer that moves on, where `chunks_exact` beside another iterator multiplies.
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (row, after) = rest.split_at_checked(len)?;
            rest = after;
            Some(Self(row))
        })
    }
}

/// Where the gradient of packed weights is summed: the mirror of [`Weights`].
pub trait Gradient<R: Real>: Sized {
    /// Adds `value(i)` to the gradient of weight `start + i`, for i in `0..len`.
    fn add_each(&mut self, start: usize, len: usize, value: impl Fn(usize) -> R);
    /// Adds `value` to the gradient of weight `i`.
    #[inline(always)]
    fn add(&mut self, i: usize, value: R) {
        self.add_each(i, 1, |_| value);
    }
    /// Adds `values` to the gradients of the N weights from `stride index` on, where every index is
    /// below `bins`.
    fn scatter<const N: usize>(
        &mut self,
        values: [R; N],
        index: R::Index,
        bins: usize,
        stride: usize,
    );
    /// Adds dout ⊗ \[1, x, y\], the gradient of the weights of [`Weights::product`].
    fn add_product(&mut self, dout: &[R], x: &[R], y: &[R]);
    /// The gradient of weights `start..start + len`.
    fn part(&mut self, start: usize, len: usize) -> impl Gradient<R>;
}

/// A gradient of the same kind as the data; one a lane where the kind is a vector.
impl<R: Real> Gradient<R> for &mut [R] {
    #[inline(always)]
    fn add_each(&mut self, start: usize, len: usize, value: impl Fn(usize) -> R) {
        for (i, sum) in self[start..start + len].iter_mut().enumerate() {
            *sum = *sum + value(i);
        }
    }
    #[inline(always)]
    fn scatter<const N: usize>(
        &mut self,
        values: [R; N],
        index: R::Index,
        bins: usize,
        stride: usize,
    ) {
        R::scatter(values, self, index, bins, stride);
    }
    #[inline(always)]
    fn add_product(&mut self, dout: &[R], x: &[R], y: &[R]) {
        product::add_outer(self, dout, x, y);
    }
    #[inline(always)]
    fn part(&mut self, start: usize, len: usize) -> impl Gradient<R> {
        &mut self[start..start + len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bin_is_found_whatever_their_number() {
        let numbers: [f32; 150] = core::array::from_fn(|i| (i / 3) as f32);
        for bins in 1..50 {
            let table = &numbers[..3 * (bins + 1)];
            for half in 0..2 * bins + 4 {
                let x = 0.5 * half as f32 - 1.0;
                let (k, found) = table.bisect::<3, 6>(bins, 1, 0.0, |number| x >= number);
                let expected = (0..bins).rev().find(|k| x >= *k as f32).unwrap_or(0);
                assert_eq!(k, expected, "{x} among {bins} bins");
                assert_eq!(found, table[3 * k..3 * k + 6], "{x} among {bins} bins");
            }
        }
    }
}
