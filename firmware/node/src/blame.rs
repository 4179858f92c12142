//! Which input is to blame for an alarm.

use fluxlet::Model;

/// The channel without which `window` would be the most probable, or nothing where none helps.
///
/// Each channel in turn is replaced by that of `normal`, the last window without an alarm, and the
/// window scored again. Both are \[N, channels\] and unchanged on return.
pub(crate) fn most_to_blame(
    model: &Model<'_>,
    window: &mut [f32],
    normal: &mut [f32],
    channels: usize,
    work: &mut [f32],
) -> Option<usize> {
    let mut best = None;
    let mut most = fluxlet::log_prob(model, window, work);
    for channel in 0..channels {
        swap(window, normal, channel, channels);
        let log_prob = fluxlet::log_prob(model, window, work);
        swap(window, normal, channel, channels);
        if log_prob > most {
            (best, most) = (Some(channel), log_prob);
        }
    }
    best
}

fn swap(a: &mut [f32], b: &mut [f32], channel: usize, channels: usize) {
    let a = a.iter_mut().skip(channel).step_by(channels);
    let b = b.iter_mut().skip(channel).step_by(channels);
    a.zip(b).for_each(|(a, b)| core::mem::swap(a, b));
}
