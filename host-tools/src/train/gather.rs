//! The first pass over a file: its rows are checked, cut into windows, and split into stores, those of
//! each group apart where a column names groups.

use std::collections::HashMap;
use std::path::Path;

use super::run::Error;
use super::{Config, features};
use crate::data::{
    self, Columns, Domain, DomainScan, Extent, Header, Parts, Sink, Split, SplitWriter, Spool,
    Store, StoreWriter,
};

/// Fewest normal rows that anything can be learnt from.
pub(super) const MIN_ROWS: usize = 10;

/// The rows of a file as they are, or windows of them.
#[derive(Debug)]
pub struct Gathered {
    /// Names of the columns, those of context last.
    pub(super) names: Vec<String>,
    /// Normal rows, split.
    pub(super) normal: Parts,
    /// Rows with a label other than 0.
    pub(super) anomalies: Store,
    /// Columns that are not the real line.
    pub(super) domains: Vec<Domain>,
    /// Mean power of a channel about its mean in a window.
    pub(super) power: f64,
    /// What should be known.
    pub(super) notes: Vec<String>,
}

/// Reads the file of a run; rows that are too many for memory go where `spool` says.
///
/// # Errors
///
/// [`Error`] names the file, the place and what is wrong with it.
pub fn gather(path: &Path, config: &Config, spool: &Spool) -> Result<Gathered, Error> {
    check(config)?;
    let columns = columns(config);
    data::stream(path, &columns, |header| Gather::new(path, config, spool, header))?.finish()
}

/// Reads the file of many runs, whose rows the column `group` tells apart, in the order in which they
/// come. Rows that cannot be used are no obstacle to other groups.
///
/// # Errors
///
/// As [`gather`], where nothing can be read of any group.
pub fn gather_groups(
    path: &Path,
    config: &Config,
    spool: &Spool,
    group: &str,
) -> Result<Vec<Group>, Error> {
    check(config)?;
    let columns = Columns { group: Some(group), ..columns(config) };
    let groups = data::stream(path, &columns, |header| {
        let header = Header { rows: None, ..header };
        Ok(Groups {
            begin: move || Gather::new(path, config, spool, header.clone()),
            places: HashMap::new(),
            groups: Vec::new(),
            next: 0,
            rows: 0,
        })
    })?;
    let finish = |(name, rows): (String, Result<Gather, Error>)| {
        let rows = rows.and_then(Gather::finish);
        Group { name, rows }
    };
    Ok(groups.groups.into_iter().map(finish).collect())
}

fn columns(config: &Config) -> Columns<'_> {
    let data = &config.data;
    Columns { label: data.label.as_deref(), exclude: &data.exclude, ..Columns::default() }
}

fn check(config: &Config) -> Result<(), Error> {
    let problem = config.problem().or_else(|| features::problem(&config.data));
    problem.map_or(Ok(()), |problem| Err(Error::Config(problem)))
}

/// The rows of every group.
struct Groups<'a, B> {
    /// Begins with a group.
    begin: B,
    /// Place of each group in `groups`.
    places: HashMap<String, usize>,
    groups: Vec<(String, Result<Gather<'a>, Error>)>,
    /// Place of the next row's group.
    next: usize,
    /// Rows so far.
    rows: u64,
}

impl<'a, B: Fn() -> Result<Gather<'a>, data::Error>> Sink for Groups<'a, B> {
    fn group(&mut self, name: &str) -> Result<(), data::Error> {
        self.next = match self.places.get(name) {
            Some(place) => *place,
            None => {
                self.groups.push((name.into(), Ok((self.begin)()?)));
                self.places.insert(name.into(), self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        Ok(())
    }

    fn row(&mut self, values: &[f32], is_anomaly: bool) -> Result<(), data::Error> {
        self.rows += 1;
        let rows = &mut self.groups[self.next].1;
        if let Ok(gather) = rows
            && let Err(error) = gather.row(values, is_anomaly)
        {
            *rows = Err(error.at_row(self.rows).into());
        }
        Ok(())
    }
}

/// The rows that belong together.
#[derive(Debug)]
pub struct Group {
    /// What the cells of the column say.
    pub name: String,
    /// The rows, or why they cannot be used.
    pub rows: Result<Gathered, Error>,
}

struct Gather<'a> {
    path: &'a Path,
    names: Vec<String>,
    /// Column of the file for each place of a row.
    places: Vec<usize>,
    /// Rows of a window, 1 where there are none.
    window: usize,
    /// Numbers of a window.
    width: usize,
    /// Rows so far, and windows.
    rows: u64,
    inputs: u32,
    /// The window under way, and whether a row of it is an anomaly.
    input: Vec<f32>,
    is_anomaly: bool,
    /// Ranges of the columns in the normal rows.
    extents: Vec<Extent>,
    domains: DomainScan,
    normal: SplitWriter<'a>,
    /// Normal windows.
    normal_len: usize,
    anomalies: StoreWriter<'a>,
    /// Sum over windows and channels.
    power: f64,
}

impl<'a> Gather<'a> {
    fn new(
        path: &'a Path,
        config: &Config,
        spool: &'a Spool,
        header: Header,
    ) -> Result<Self, data::Error> {
        let Header { names, rows, .. } = header;
        let window = config.data.window.max(1);
        match rows {
            Some(rows) if rows > u32::MAX.into() => {
                return Err(data::Error::TooManyRows { path: path.into() });
            }
            Some(rows) if rows < window as u64 => {
                return Err(data::Error::WindowLength { path: path.into(), window, rows });
            }
            _ => {}
        }
        let places = data::context_last(path, &names, &config.data.context)?;
        let names: Vec<String> = places.iter().map(|place| names[*place].clone()).collect();
        let dim = names.len() - config.data.context.len();
        if dim > fluxlet::model::MAX_DIM {
            return Err(data::Error::TooWide { path: path.into(), found: dim });
        }
        let (bounded, angles) = (&config.data.bounded, &config.data.angles);
        let domains = DomainScan::new(path, &names, bounded, angles)?;
        if let Some(column) = domains.columns().find(|column| *column >= dim) {
            let (path, column) = (path.into(), names[column].clone());
            return Err(data::Error::ContextDomain { path, column });
        }
        let width = window.saturating_mul(names.len());
        let split = Split::new(config.data.held_out, config.train.seed);
        Ok(Self {
            path,
            places,
            window,
            width,
            rows: 0,
            inputs: 0,
            input: Vec::new(),
            is_anomaly: false,
            extents: Vec::new(),
            domains,
            normal: SplitWriter::new(split, width, spool),
            normal_len: 0,
            anomalies: spool.store(width),
            power: 0.0,
            names,
        })
    }

    /// Sorts a full window in.
    fn sort(&mut self) -> Result<(), data::Error> {
        if self.window > 1 {
            for power in features::powers(&self.input, self.names.len()) {
                self.power += power;
            }
        }
        if self.is_anomaly {
            self.anomalies.push(&self.input)?;
        } else {
            self.normal.push(self.inputs, &self.input)?;
            self.normal_len += 1;
        }
        self.inputs += 1;
        self.input.clear();
        self.is_anomaly = false;
        Ok(())
    }

    fn finish(self) -> Result<Gathered, Error> {
        let path = self.path;
        if !self.extents.is_empty() && self.extents.iter().all(Extent::is_constant) {
            return Err(Error::Constant { path: path.into() });
        }
        if self.window as u64 > self.rows {
            let (path, window, rows) = (path.into(), self.window, self.rows);
            return Err(data::Error::WindowLength { path, window, rows }.into());
        }
        if self.normal_len < MIN_ROWS {
            return Err(Error::TooFewRows { path: path.into(), found: self.normal_len });
        }
        let mut notes = Vec::new();
        let dropped = self.rows % self.window as u64;
        if dropped > 0 {
            notes.push(format!("the last {dropped} rows do not fill a window and were left out"));
        }
        Ok(Gathered {
            normal: self.normal.finish()?,
            anomalies: self.anomalies.finish()?,
            domains: self.domains.finish(&mut notes),
            power: self.power / (f64::from(self.inputs) * self.names.len() as f64),
            names: self.names,
            notes,
        })
    }
}

impl Sink for Gather<'_> {
    fn row(&mut self, values: &[f32], is_anomaly: bool) -> Result<(), data::Error> {
        let (path, number) = (self.path, self.rows);
        if number == u64::from(u32::MAX) {
            return Err(data::Error::TooManyRows { path: path.into() });
        }
        let from = self.input.len();
        self.input.extend(self.places.iter().map(|place| values[*place]));
        let row = &self.input[from..];
        if let Some(column) = row.iter().position(|x| !x.is_finite()) {
            return Err(data::Error::NotFinite {
                path: path.into(),
                row: number + 1,
                column: self.names[column].clone(),
                value: row[column],
            });
        }
        if !is_anomaly {
            data::extend(&mut self.extents, row);
            self.domains.add(path, number, row)?;
        }
        self.is_anomaly |= is_anomaly;
        self.rows += 1;
        if self.input.len() == self.width { self.sort() } else { Ok(()) }
    }
}
