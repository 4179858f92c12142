//! `fluxlet record`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use super::source::SourceArgs;
use super::stop;
use super::train::seconds;
use crate::node::{Line, Next, Stream};
use crate::output;

const TICK: Duration = Duration::from_millis(100);
/// Time without a reading after which a device is asked again: it may have started since.
const PATIENCE: Duration = Duration::from_secs(1);

/// Record a device's readings as CSV, to train a model with.
///
/// The device is told to send its readings and, at the end, to stop; `-` and `--probe` can't tell it
/// and take what comes. Recording ends with `-n`, `--seconds`, the input or Ctrl-C, whichever is
/// first, and OUT.csv is written then, whole. Lines that are no readings are skipped; how many were
/// noise is told, for a reading that is missing shifts the windows behind it.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    source: SourceArgs,
    /// File for the readings
    #[arg(short, long, value_name = "OUT.csv")]
    out: PathBuf,
    /// Readings to record
    #[arg(short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    readings: Option<u64>,
    /// Seconds to record, from the first reading on
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Names of the columns [default: x,y,z, or c1,c2 and so on where a reading isn't three numbers]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    names: Vec<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let stop = stop::flag()?;
    let mut stream = args.source.open(true)?;
    stream.send(b"r")?;
    let mut recording = Recording::default();
    let bar = bar(args);
    let mut asked = Instant::now();
    while !stop.load(Ordering::Relaxed) && !recording.is_complete(args) {
        match stream.next(TICK)? {
            Next::Line(line) => recording.take(line),
            Next::Noise => recording.noise += 1,
            Next::Quiet if recording.begun.is_none() && asked.elapsed() >= PATIENCE => {
                stream.send(b"r")?;
                asked = Instant::now();
            }
            Next::Quiet => {}
            Next::End => break,
        }
        recording.show(&bar, args);
    }
    bar.finish_and_clear();
    // The recording counts, even where the device is gone.
    let _ = stream.send(b"s");
    save(args, &recording, &stream)?;
    Ok(ExitCode::SUCCESS)
}

/// What came.
#[derive(Default)]
struct Recording {
    /// Readings, one after the other.
    values: Vec<f32>,
    width: usize,
    noise: u64,
    begun: Option<Instant>,
    refused: Option<String>,
}

impl Recording {
    fn take(&mut self, line: Line) {
        match line {
            Line::Sample { values } => {
                self.begun.get_or_insert_with(Instant::now);
                if self.width == 0 {
                    self.width = values.len();
                }
                match values.len() == self.width {
                    true => self.values.extend(values),
                    false => self.noise += 1,
                }
            }
            Line::Refused { reason } => self.refused = Some(reason),
            _ => {}
        }
    }

    fn readings(&self) -> u64 {
        self.values.len().checked_div(self.width).unwrap_or(0) as u64
    }

    fn elapsed(&self) -> Duration {
        self.begun.map_or(Duration::ZERO, |begun| begun.elapsed())
    }

    fn is_complete(&self, args: &Args) -> bool {
        args.readings.is_some_and(|readings| self.readings() >= readings)
            || args.seconds.is_some_and(|seconds| self.elapsed() >= seconds)
    }

    fn show(&self, bar: &ProgressBar, args: &Args) {
        bar.set_position(match args.readings {
            Some(_) => self.readings(),
            None => self.elapsed().as_millis() as u64,
        });
        bar.set_message(format!("{} readings", self.readings()));
    }
}

fn bar(args: &Args) -> ProgressBar {
    let length = match (args.readings, args.seconds) {
        (Some(readings), _) => Some(readings),
        (None, seconds) => seconds.map(|seconds| seconds.as_millis() as u64),
    };
    let (template, bar) = match length {
        Some(length) => ("  {spinner} {bar:30} {percent:>3} %  {msg}", ProgressBar::new(length)),
        None => ("  {spinner} {msg}, {elapsed}; Ctrl-C ends", ProgressBar::new_spinner()),
    };
    bar.enable_steady_tick(TICK);
    bar.with_style(ProgressStyle::with_template(template).expect("the template is sound"))
}

fn save(args: &Args, recording: &Recording, stream: &Stream) -> anyhow::Result<()> {
    let Recording { values, width, noise, refused, .. } = recording;
    if recording.readings() == 0 {
        let mut text = format!("record from {}: no reading came", stream.name());
        if let Some(reason) = refused {
            text.push_str(&format!("; the device refused a model: {reason}"));
        }
        if *noise > 0 {
            text.push_str(&format!("; {noise} lines were not understood"));
        }
        return Err(anyhow!(text));
    }
    let names = match (&*args.names, width) {
        ([], 3) => ["x", "y", "z"].map(str::to_string).to_vec(),
        ([], width) => (1..=*width).map(|i| format!("c{i}")).collect(),
        (names, width) => {
            ensure!(
                names.len() == *width,
                "record from {}: a reading has {width} numbers, --names has {}",
                stream.name(),
                names.len()
            );
            names.to_vec()
        }
    };
    output::save_csv(Some(&args.out), &names, values.chunks(*width))?;
    let (readings, path) = (recording.readings(), args.out.display());
    anstream::println!("wrote {path}: {readings} readings of {width} numbers");
    if *noise > 0 {
        anstream::println!("note: {noise} lines were not understood; readings may be missing");
    }
    Ok(())
}
