//! Columns with a domain of their own: readings with hard limits, and angles.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use fluxlet::bijection::domain::Kind;
use serde::{Deserialize, Serialize};

use super::arcs::Arcs;
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

/// Finds the domains of columns from the rows that a flow learns from, one after the other.
///
/// A circle is cut open in the middle of the widest arc that has no reading. Readings right on a limit
/// are a sensor that saturates: they stand for a little beyond it, so the limit moves outwards by
/// 0.5 % of the interval, and a note says so.
#[derive(Debug)]
pub struct DomainScan {
    boxes: Vec<BoxScan>,
    circles: Vec<CircleScan>,
}

/// A column with limits, and how many readings lie on the lower and on the upper one.
#[derive(Debug)]
struct BoxScan {
    column: usize,
    limits: Limits,
    on_limit: [u64; 2],
}

#[derive(Debug)]
struct CircleScan {
    column: usize,
    limits: Limits,
    arcs: Arcs,
}

impl DomainScan {
    /// For the columns of `names`.
    ///
    /// # Errors
    ///
    /// A column that is not there, or has two domains.
    pub fn new(
        path: &Path,
        names: &[String],
        bounded: &[Limits],
        angles: &[Limits],
    ) -> Result<Self, Error> {
        let mut taken = Vec::new();
        let mut column = |limits: &Limits| {
            let column = position(path, names, &limits.column)?;
            if taken.contains(&column) {
                let (path, column) = (path.into(), limits.column.clone());
                return Err(Error::TwoDomains { path, column });
            }
            taken.push(column);
            Ok(column)
        };
        let mut scan = Self { boxes: Vec::new(), circles: Vec::new() };
        for limits in bounded {
            let (column, limits) = (column(limits)?, limits.clone());
            scan.boxes.push(BoxScan { column, limits, on_limit: [0; 2] });
        }
        for limits in angles {
            let (column, limits) = (column(limits)?, limits.clone());
            scan.circles.push(CircleScan { column, limits, arcs: Arcs::new() });
        }
        Ok(scan)
    }

    /// The columns that have a domain.
    pub fn columns(&self) -> impl Iterator<Item = usize> {
        let boxes = self.boxes.iter().map(|scan| scan.column);
        boxes.chain(self.circles.iter().map(|scan| scan.column))
    }

    /// Looks at row `number`, from 0.
    ///
    /// # Errors
    ///
    /// A reading beyond the limits of a box.
    pub fn add(&mut self, path: &Path, number: u64, row: &[f32]) -> Result<(), Error> {
        for BoxScan { column, limits, on_limit } in &mut self.boxes {
            let (value, Limits { low, high, .. }) = (row[*column], &*limits);
            if !(*low..=*high).contains(&value) {
                let (path, limits) = (path.into(), limits.clone());
                return Err(Error::OutsideLimits { path, row: number + 1, value, limits });
            }
            on_limit[0] += u64::from(value == *low);
            on_limit[1] += u64::from(value == *high);
        }
        for CircleScan { column, limits, arcs } in &mut self.circles {
            let Limits { low, high, .. } = limits;
            arcs.add(((row[*column] - *low) / (*high - *low)).rem_euclid(1.0));
        }
        Ok(())
    }

    /// The domains, and notes on limits that were moved.
    pub fn finish(self, notes: &mut Vec<String>) -> Vec<Domain> {
        let mut domains = Vec::new();
        for BoxScan { column, limits, on_limit } in self.boxes {
            let Limits { column: name, mut low, mut high } = limits;
            let step = SATURATED * (high - low);
            for (limit, step, count) in
                [(&mut low, -step, on_limit[0]), (&mut high, step, on_limit[1])]
            {
                if count > 0 {
                    let moved = *limit + step;
                    notes.push(format!(
                        "column {name} is {limit} in {count} rows; its limit was moved to {moved}"
                    ));
                    *limit = moved;
                }
            }
            domains.push(Domain { column, kind: Kind::Box, low, high });
        }
        for CircleScan { column, limits: Limits { low, high, .. }, arcs } in self.circles {
            let period = high - low;
            let start = low + period * arcs.cut();
            domains.push(Domain { column, kind: Kind::Circle, low: start, high: start + period });
        }
        domains
    }
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
    fn a_limit_with_readings_on_it_moves_outwards() {
        let path = Path::new("h.csv");
        let limits: Limits = "h=0:100".parse().expect("three parts");
        let of = |values: &[f32], notes: &mut Vec<String>| {
            let names = ["h".to_string()];
            let mut scan = DomainScan::new(path, &names, std::slice::from_ref(&limits), &[])?;
            for (i, value) in (0..).zip(values) {
                scan.add(path, i, &[*value])?;
            }
            Ok::<_, Error>(scan.finish(notes))
        };
        let mut notes = Vec::new();
        let found = of(&[3.0, 100.0, 7.0], &mut notes).expect("within the limits");
        assert_eq!((found[0].low, found[0].high), (0.0, 100.5));
        assert_eq!(notes, ["column h is 100 in 1 rows; its limit was moved to 100.5"]);
        assert_eq!(of(&[3.0, 7.0], &mut notes).expect("within the limits")[0].high, 100.0);
        let error = of(&[3.0, 7.0, 100.5], &mut notes).expect_err("one is beyond");
        let said = "use h.csv: row 3 of the data, column h: 100.5 lies outside 0 to 100";
        assert_eq!(error.to_string(), said);
        let twice = [limits.clone(), limits.clone()];
        assert!(DomainScan::new(path, &["h".into()], &twice, &[]).is_err());
    }

    #[test]
    fn noise_stays_in_the_box() {
        let domain = Domain { column: 0, kind: Kind::Box, low: 0.0, high: 1.0 };
        assert_eq!([-0.25, 0.5, 1.25, 7.0].map(|x| domain.reflect(x)), [0.25, 0.5, 0.75, 0.0]);
        let circle = Domain { kind: Kind::Circle, ..domain };
        assert_eq!(circle.reflect(1.25), 1.25);
    }
}
