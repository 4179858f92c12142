//! Columns with a domain of their own: readings with hard limits, and angles.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use fluxlet::bijection::domain::Kind;
use serde::{Deserialize, Serialize};

use super::Table;
use super::columns::position;
use super::error::Error;

/// Share of its interval by which a limit moves that readings lie on.
const SATURATED: f32 = 0.005;

/// What a user says of a column: `COLUMN=LOW:HIGH`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Limits {
    /// Name of the column, or its number from 1.
    pub column: String,
    /// Lowest reading.
    pub low: f32,
    /// Highest reading; on a circle the same point as the lowest.
    pub high: f32,
}

impl FromStr for Limits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.rsplit_once('=').and_then(|(column, limits)| {
            let (low, high) = limits.split_once(':')?;
            let number = |text: &str| text.trim().parse().ok().filter(|x: &f32| x.is_finite());
            Some((column.trim(), number(low)?, number(high)?))
        });
        match parts {
            Some((column, low, high)) if low < high && (high - low).is_finite() => {
                Ok(Self { column: column.into(), low, high })
            }
            Some((_, low, high)) => Err(format!("{low} is not below {high}")),
            None => Err(format!("\"{text}\" is not COLUMN=LOW:HIGH")),
        }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}:{}", self.column, self.low, self.high)
    }
}

impl TryFrom<String> for Limits {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Limits> for String {
    fn from(limits: Limits) -> Self {
        limits.to_string()
    }
}

/// The domain of one column of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Domain {
    /// Index of the column, from 0.
    pub column: usize,
    /// A box or a circle.
    pub kind: Kind,
    /// Lowest reading.
    pub low: f32,
    /// Highest reading.
    pub high: f32,
}

impl Domain {
    /// A reading that noise took beyond the limits of a box, reflected back into it.
    fn reflect(&self, x: f32) -> f32 {
        if self.kind != Kind::Box {
            return x;
        }
        let inside = if x < self.low { self.low + (self.low - x) } else { x };
        let inside = if inside > self.high { self.high - (inside - self.high) } else { inside };
        inside.clamp(self.low, self.high)
    }
}

/// Takes rows \[n, width\] that noise moved back into their boxes.
pub fn keep_inside(domains: &[Domain], rows: &mut [f32], width: usize) {
    for row in rows.chunks_exact_mut(width) {
        for domain in domains {
            row[domain.column] = domain.reflect(row[domain.column]);
        }
    }
}

/// The domains of a table's columns; `rows` are what a flow learns from.
///
/// A circle is cut open in the middle of the widest arc that has no reading. Readings right on a limit
/// are a sensor that saturates: they stand for a little beyond it, so the limit moves outwards by
/// 0.5 % of the interval, and a note says so.
///
/// # Errors
///
/// A column that is not there or is named twice, and a row beyond the limits of a box.
pub fn domains(
    path: &Path,
    table: &Table,
    rows: &[u32],
    bounded: &[Limits],
    angles: &[Limits],
    notes: &mut Vec<String>,
) -> Result<Vec<Domain>, Error> {
    let boxes = bounded.iter().map(|limits| (Kind::Box, limits));
    let circles = angles.iter().map(|limits| (Kind::Circle, limits));
    let mut domains: Vec<Domain> = Vec::new();
    for (kind, limits) in boxes.chain(circles) {
        let column = position(path, &table.names, &limits.column)?;
        if domains.iter().any(|domain| domain.column == column) {
            let (path, column) = (path.into(), limits.column.clone());
            return Err(Error::TwoDomains { path, column });
        }
        let (mut low, mut high) = (limits.low, limits.high);
        let value = |row: &u32| table.row(*row as usize)[column];
        if kind == Kind::Box {
            if let Some(row) = rows.iter().find(|row| !(low..=high).contains(&value(row))) {
                return Err(Error::OutsideLimits {
                    path: path.into(),
                    row: *row as usize + 1,
                    value: value(row),
                    limits: limits.clone(),
                });
            }
            let step = SATURATED * (high - low);
            for (limit, step) in [(&mut low, -step), (&mut high, step)] {
                let count = rows.iter().filter(|row| value(row) == *limit).count();
                if count > 0 {
                    let (name, moved) = (&limits.column, *limit + step);
                    notes.push(format!(
                        "column {name} is {limit} in {count} rows; its limit was moved to {moved}"
                    ));
                    *limit = moved;
                }
            }
        } else {
            let start = widest_gap(rows.iter().map(value), low, high);
            (low, high) = (start, start + (high - low));
        }
        domains.push(Domain { column, kind, low, high });
    }
    Ok(domains)
}

/// The middle of the widest arc without a reading, in [low, high).
fn widest_gap(readings: impl Iterator<Item = f32>, low: f32, high: f32) -> f32 {
    let period = high - low;
    let mut turns: Vec<f32> = readings.map(|x| ((x - low) / period).rem_euclid(1.0)).collect();
    turns.sort_unstable_by(f32::total_cmp);
    let Some(first) = turns.first().copied() else { return low };
    let next = turns.iter().copied().skip(1).chain([first + 1.0]);
    let gaps = turns.iter().zip(next).map(|(a, b)| (b - a, 0.5 * (a + b)));
    let widest = gaps.max_by(|a, b| a.0.total_cmp(&b.0));
    low + period * widest.map_or(0.0, |(_, middle)| middle.rem_euclid(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_from_the_last_equals_sign() {
        let limits: Limits = "wind=dir = -180:180".parse().expect("three parts");
        assert_eq!(limits, Limits { column: "wind=dir".into(), low: -180.0, high: 180.0 });
        assert_eq!(limits.to_string().parse(), Ok(limits));
        for wrong in ["humidity", "h=1", "h=2:1", "h=a:b", "h=0:inf", "h=nan:1", "=0", ""] {
            assert!(wrong.parse::<Limits>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_circle_is_cut_where_no_reading_is() {
        let around_north = [350.0_f32, 355.0, 0.0, 5.0, 10.0, 730.0];
        let cut = widest_gap(around_north.into_iter(), 0.0, 360.0);
        assert!((cut - 180.0).abs() < 1e-3, "{cut}");
        let around_south = [170.0_f32, 180.0, 190.0];
        let cut = widest_gap(around_south.into_iter(), 0.0, 360.0);
        assert!(cut.min(360.0 - cut) < 1e-3, "{cut}");
    }

    #[test]
    fn a_limit_with_readings_on_it_moves_outwards() {
        let table = Table { names: vec!["h".into()], width: 1, values: vec![3.0, 100.0, 7.0] };
        let mut notes = Vec::new();
        let limits: Limits = "h=0:100".parse().expect("three parts");
        let of = |rows: &[u32], notes: &mut Vec<String>| {
            domains(Path::new("h.csv"), &table, rows, std::slice::from_ref(&limits), &[], notes)
        };
        let found = of(&[0, 1, 2], &mut notes).expect("a column");
        assert_eq!((found[0].low, found[0].high), (0.0, 100.5));
        assert_eq!(notes, ["column h is 100 in 1 rows; its limit was moved to 100.5"]);
        assert_eq!(of(&[0, 2], &mut notes).expect("a column")[0].high, 100.0);
        let twice = [limits.clone(), limits.clone()];
        assert!(domains(Path::new("h.csv"), &table, &[0], &twice, &[], &mut notes).is_err());
    }

    #[test]
    fn noise_stays_in_the_box() {
        let domain = Domain { column: 0, kind: Kind::Box, low: 0.0, high: 1.0 };
        assert_eq!([-0.25, 0.5, 1.25, 7.0].map(|x| domain.reflect(x)), [0.25, 0.5, 0.75, 0.0]);
        let circle = Domain { kind: Kind::Circle, ..domain };
        assert_eq!(circle.reflect(1.25), 1.25);
    }
}
