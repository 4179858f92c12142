//! One line of a device; the front page of `firmware/node` has the grammar.

use std::fmt;

use serde::Serialize;

/// What a line tells.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "line", rename_all = "lowercase")]
pub enum Line {
    /// The model that runs.
    Model {
        /// CRC-32 of its file, eight hexadecimal digits.
        checksum: String,
        /// Numbers of one input.
        inputs: u32,
        /// `a`, `b` or `built-in`.
        slot: String,
    },
    /// What the model says of a window.
    Score {
        /// Number of the window.
        window: u32,
        /// Log density in nats.
        log_prob: f32,
        /// Share of normal windows that score as high, from a calibrated model.
        p_value: Option<f32>,
        /// What it calls for.
        alarm: Alarm,
        /// The input to blame for an alarm.
        channel: Option<String>,
    },
    /// A window without a score.
    Fault {
        /// Number of the window.
        window: u32,
        /// `no-answer`, `saturated` or `stuck`.
        kind: String,
    },
    /// A reading, while the device records.
    Sample {
        /// A number for each channel.
        values: Vec<f32>,
    },
    /// A model that the device does not run or take.
    Refused {
        /// Why.
        reason: String,
    },
    /// What follows these bytes of the new model?
    Update {
        /// Bytes that the device has.
        position: u32,
    },
}

/// What a score calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alarm {
    /// Nothing.
    None,
    /// The window is less probable than the false-alarm rate allows.
    Improbable,
    /// The window holds what is no number.
    NotFinite,
}

impl Line {
    /// The line in these bytes, without its end; `None` where a device tells no such line.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes.strip_suffix(b"\r").unwrap_or(bytes)).ok()?;
        if text.chars().any(char::is_control) {
            return None;
        }
        let (word, rest) = text.split_once(' ')?;
        let fields: Vec<&str> = rest.split(' ').collect();
        match (word, &*fields) {
            ("model", [checksum, inputs, slot @ ("a" | "b" | "built-in")]) => {
                let is_hex = checksum.len() == 8 && checksum.bytes().all(|b| b.is_ascii_hexdigit());
                let checksum = is_hex.then(|| checksum.to_ascii_lowercase())?;
                let inputs = inputs.parse().ok()?;
                Some(Self::Model { checksum, inputs, slot: slot.to_string() })
            }
            ("score", [window, log_prob, p_value, alarm, channel]) => Some(Self::Score {
                window: window.parse().ok()?,
                log_prob: number(log_prob)?,
                p_value: optional(p_value, |p| number(p).filter(|p| (0.0..=1.0).contains(p)))?,
                alarm: Alarm::parse(alarm)?,
                channel: optional(channel, |name| (!name.is_empty()).then(|| name.to_string()))?,
            }),
            ("fault", [window, kind @ ("no-answer" | "saturated" | "stuck")]) => {
                Some(Self::Fault { window: window.parse().ok()?, kind: kind.to_string() })
            }
            ("sample", values) => {
                let values = values.iter().map(|value| number(value)).collect::<Option<_>>()?;
                Some(Self::Sample { values })
            }
            ("update", [position]) => Some(Self::Update { position: position.parse().ok()? }),
            ("refused", _) if !rest.is_empty() => Some(Self::Refused { reason: rest.to_string() }),
            _ => None,
        }
    }
}

impl Alarm {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::None),
            "improbable" => Some(Self::Improbable),
            "not-finite" => Some(Self::NotFinite),
            _ => None,
        }
    }
}

/// A decimal number. A device has no infinity and no NaN to tell; the words for them are noise.
fn number(text: &str) -> Option<f32> {
    text.parse().ok().filter(|number: &f32| number.is_finite())
}

/// `-` for what there is not.
fn optional<T>(text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    if text == "-" { Some(None) } else { parse(text).map(Some) }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model { checksum, inputs, slot } => {
                write!(f, "model {checksum}, {inputs} inputs, slot {slot}")
            }
            Self::Score { window, log_prob, p_value, alarm, channel } => {
                // As far outside as LOG_PROB_MIN, whose digits tell nothing.
                match log_prob.abs() < 1e6 {
                    true => write!(f, "{window:>8}  log_prob {log_prob:>12.4}")?,
                    false => write!(f, "{window:>8}  log_prob {log_prob:>12.4e}")?,
                }
                p_value.map_or(Ok(()), |p| write!(f, "  p {p:.4}"))?;
                match alarm {
                    Alarm::None => {}
                    Alarm::Improbable => write!(f, "  improbable")?,
                    Alarm::NotFinite => write!(f, "  not finite")?,
                }
                channel.as_ref().map_or(Ok(()), |channel| write!(f, ": {channel}"))
            }
            Self::Fault { window, kind } => write!(f, "{window:>8}  fault: {kind}"),
            Self::Sample { values } => {
                let values: Vec<String> = values.iter().map(f32::to_string).collect();
                write!(f, "sample {}", values.join(" "))
            }
            Self::Refused { reason } => write!(f, "the device refused a model: {reason}"),
            Self::Update { position } => write!(f, "the device has {position} bytes of a model"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_is_understood() {
        let score = |log_prob, p_value, alarm, channel: Option<&str>| Line::Score {
            window: 7,
            log_prob,
            p_value,
            alarm,
            channel: channel.map(str::to_string),
        };
        for (text, line) in [
            (
                "model 7b36ad6b 600 built-in",
                Line::Model { checksum: "7b36ad6b".into(), inputs: 600, slot: "built-in".into() },
            ),
            ("score 7 -4.0265 0.31 none -", score(-4.0265, Some(0.31), Alarm::None, None)),
            ("score 7 -1e+30 - not-finite 2", score(-1e30, None, Alarm::NotFinite, Some("2"))),
            (
                "score 7 -99.5 0.001 improbable x",
                score(-99.5, Some(0.001), Alarm::Improbable, Some("x")),
            ),
            ("fault 3 no-answer", Line::Fault { window: 3, kind: "no-answer".into() }),
            ("sample 0.5 -1 1e-3\r", Line::Sample { values: vec![0.5, -1.0, 1e-3] }),
            ("refused layer 3 has", Line::Refused { reason: "layer 3 has".into() }),
            ("update 640", Line::Update { position: 640 }),
        ] {
            assert_eq!(Line::parse(text.as_bytes()), Some(line), "{text}");
        }
    }

    #[test]
    fn what_is_no_line_is_none() {
        for text in [
            "",
            " ",
            "score",
            "score ",
            "score 7 -4.0 0.3 none",
            "score 7 -4.0 0.3 none - -",
            "score 7  -4.0 0.3 none -",
            "score -7 -4.0 0.3 none -",
            "score 4294967296 -4.0 0.3 none -",
            "score 7 NaN 0.3 none -",
            "score 7 -inf 0.3 none -",
            "score 7 -4.0 1.5 none -",
            "score 7 -4.0 0.3 perhaps -",
            "score 7 -4.0 0.3 none ",
            "xscore 7 -4.0 0.3 none -",
            "fault 3 tired",
            "sample",
            "sample ",
            "sample 1 2 x",
            "sample 1 2 NaN",
            "model 7b36ad6 600 a",
            "model 7b36ad6g 600 a",
            "model 7b36ad6b 600 c",
            "refused ",
            "update -1",
            "refused \u{1b}[2J",
        ] {
            assert_eq!(Line::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Line::parse(b"refused \xff\xfe"), None);
    }
}
