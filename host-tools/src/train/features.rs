//! The front end of a model whose inputs are windows of a sensor stream.

use fluxlet::features::{FrontEnd, Window};

use super::run::Error;
use super::{Config, DataConfig};

/// Why the rows can't be windows with these columns, if they are meant to be.
pub(super) fn problem(data: &DataConfig) -> Option<String> {
    let reason = if data.window == 0 {
        return None;
    } else if !data.context.is_empty() {
        "windows of a stream have no columns of context yet"
    } else if !(data.bounded.is_empty() && data.angles.is_empty()) {
        "the features of a window have no limits that a user could set"
    } else {
        return None;
    };
    Some(reason.into())
}

/// Power of each channel about its mean in a window, \[readings, channels\].
pub(super) fn powers(window: &[f32], channels: usize) -> impl Iterator<Item = f64> {
    let len = (window.len() / channels) as f64;
    (0..channels).map(move |channel| {
        let readings = || window[channel..].iter().step_by(channels).map(|x| f64::from(*x));
        let mean = readings().sum::<f64>() / len;
        readings().map(|x| (x - mean) * (x - mean)).sum::<f64>() / len
    })
}

/// The front end's section, for this many channels; its floor is a millionth of their mean power.
pub(super) fn section(config: &Config, channels: usize, power: f64) -> Result<Vec<u8>, Error> {
    let (window, bands) = (config.data.window, config.data.bands);
    let floor = (1e-6 * power).max(1e-12) as f32;
    let front_end = Window { channels, window, bands, floor };
    if !front_end.exists() {
        let why = format!("a window of {window} readings has no {bands} octave bands");
        return Err(Error::Config(why));
    }
    let mut payload = vec![0; front_end.payload_len()];
    let mut dct = vec![0.0; (payload.len() - 12) / 4];
    front_end.write(&mut dct, &mut payload);
    Ok(payload)
}

/// Names of its features.
pub(super) fn names(front_end: &FrontEnd, channels: &[String]) -> Vec<String> {
    let bands = front_end.window().bands;
    let of = |channel: &String| {
        let whole = ["deviation", "crest"].map(|feature| format!("{channel}.{feature}"));
        whole
            .into_iter()
            .chain((0..bands).map(|b| format!("{channel}.band{b}")))
            .collect::<Vec<_>>()
    };
    channels.iter().flat_map(of).collect()
}
