//! What a tile does at one layer, each a function of its own: compiled together, all layers would take
//! minutes.

use fearless_simd::Simd;
use fluxlet::bijection::{Bijection, Shape, Visitor};

use super::{GROUPS, zeros};
use crate::bins::Bins;
use crate::lanes::Lanes;
use crate::ordered;
use crate::outer::Outer;
use crate::shared::{Shared, Sums};

/// Forward: x becomes z, and its ladj is added.
pub(super) struct Forward<'a, S: Simd> {
    pub(super) shape: Shape,
    pub(super) w: Shared<'a>,
    pub(super) x: &'a mut [Lanes<S>],
    pub(super) width: usize,
    pub(super) ladj: &'a mut [Lanes<S>; GROUPS],
    pub(super) keep: bool,
    /// \[groups, kept\]; empty where nothing is kept.
    pub(super) kept: &'a mut [Lanes<S>],
    pub(super) scratch: &'a mut [Lanes<S>],
}

impl<S: Simd> Visitor for Forward<'_, S> {
    type Output = ();

    #[inline(never)]
    fn visit<B: Bijection>(self) {
        let Self { shape, w, x, width, ladj, keep, kept, scratch } = self;
        let seen = shape.dim + shape.context;
        let kept_len = if keep { B::kept_len(shape) } else { 0 };
        let simd = ladj[0].0.simd;
        simd.vectorize(
            #[inline(always)]
            || {
                for (g, (x, ladj)) in x.chunks_exact_mut(width).zip(ladj).enumerate() {
                    let kept = &mut kept[g * kept_len..][..kept_len];
                    *ladj = *ladj + B::forward_kept(shape, w, &mut x[..seen], kept, scratch);
                }
            },
        );
    }
}

/// Backward: dz becomes dx, and dw is added to.
pub(super) struct Backward<'a, S: Simd> {
    pub(super) shape: Shape,
    pub(super) w: Shared<'a>,
    pub(super) x: &'a mut [Lanes<S>],
    pub(super) dz: &'a mut [Lanes<S>],
    pub(super) width: usize,
    pub(super) dladj: &'a [Lanes<S>; GROUPS],
    pub(super) dw: &'a mut [f32],
    pub(super) kept: &'a mut [Lanes<S>],
    pub(super) scratch: &'a mut [Lanes<S>],
    pub(super) outer: &'a mut Outer<S>,
    pub(super) bins: &'a mut Bins<S>,
    pub(super) sums: &'a mut Vec<f32>,
}

impl<S: Simd> Visitor for Backward<'_, S> {
    type Output = ();

    #[inline(never)]
    fn visit<B: Bijection>(self) {
        let Self { shape, w, x, dz, width, dladj, dw, kept, scratch, outer, bins, sums } = self;
        let (seen, kept_len) = (shape.dim + shape.context, B::kept_len(shape));
        let network_start = B::conditioner(shape).map_or(dw.len(), |(_, start)| start);
        let (dw, network) = dw.split_at_mut(network_start);
        let sums = zeros(sums, dw.len());
        let simd = dladj[0].0.simd;
        simd.vectorize(
            #[inline(always)]
            || {
                let groups = x.len() / width;
                let both = x.chunks_exact_mut(width).zip(dz.chunks_exact_mut(width));
                for (g, ((x, dz), dladj)) in both.zip(dladj).enumerate() {
                    outer.begin(g, groups);
                    bins.begin(g, groups);
                    let kept = &mut kept[g * kept_len..(g + 1) * kept_len];
                    let (x, dz) = (&mut x[..seen], &mut dz[..seen]);
                    let (sums, network) = (&mut *sums, &mut *network);
                    let dw = Sums { simd, sums, network, outer: &mut *outer, bins: &mut *bins };
                    B::backward_kept(shape, w, x, dz, *dladj, dw, kept, scratch);
                }
                ordered::add(dw, sums);
            },
        );
    }
}

/// The inverse: z becomes x.
pub(super) struct Inverse<'a, S: Simd> {
    pub(super) shape: Shape,
    pub(super) w: Shared<'a>,
    pub(super) x: &'a mut [Lanes<S>],
    pub(super) width: usize,
    pub(super) scratch: &'a mut [Lanes<S>],
}

impl<S: Simd> Visitor for Inverse<'_, S> {
    type Output = ();

    #[inline(never)]
    fn visit<B: Bijection>(self) {
        let Self { shape, w, x, width, scratch } = self;
        let (seen, simd) = (shape.dim + shape.context, x[0].0.simd);
        simd.vectorize(
            #[inline(always)]
            || {
                for x in x.chunks_exact_mut(width) {
                    B::inverse(shape, w, &mut x[..seen], scratch);
                }
            },
        );
    }
}
