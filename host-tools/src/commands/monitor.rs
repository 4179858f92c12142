//! `fluxlet monitor`.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use super::source::SourceArgs;
use super::stop;
use crate::node::{Alarm, Line, Next, Plot};
use crate::report::{bad, good};

/// Time between two looks at the clock, and between two pictures.
const TICK: Duration = Duration::from_millis(50);

/// Show what a device tells: its model, its scores, alarms and faults, as they come.
///
/// In a terminal the scores are a plot that scrolls; elsewhere each is a line. Noise on the wire and
/// lines that were cut are skipped and counted. It ends with its input or with Ctrl-C.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    source: SourceArgs,
    /// Print every line as JSON, and at the end what came
    #[arg(long)]
    json: bool,
}

/// What came.
#[derive(Default, Serialize)]
struct Counts {
    scores: u64,
    alarms: u64,
    faults: u64,
    noise: u64,
}

impl Counts {
    fn add(&mut self, line: &Line) {
        match line {
            Line::Score { alarm, .. } => {
                self.scores += 1;
                self.alarms += u64::from(*alarm != Alarm::None);
            }
            Line::Fault { .. } => self.faults += 1,
            _ => {}
        }
    }

    fn text(&self) -> String {
        let Self { scores, alarms, faults, noise } = self;
        format!("scores {scores}, alarms {alarms}, faults {faults}, lines not understood {noise}")
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let stop = stop::flag()?;
    let mut stream = args.source.open(false)?;
    stream.send(b"m")?;
    let mut view = View::new(args.json);
    let mut counts = Counts::default();
    while !stop.load(Ordering::Relaxed) {
        let next = stream.next(TICK)?;
        let shown = match &next {
            Next::Line(line) => {
                counts.add(line);
                view.line(line, &counts)
            }
            Next::Noise => {
                counts.noise += 1;
                Ok(())
            }
            Next::Quiet => view.draw(&counts),
            Next::End => break,
        };
        if is_closed(shown)? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    is_closed(view.end(&counts))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the reader of standard output has seen enough.
fn is_closed(shown: io::Result<()>) -> anyhow::Result<bool> {
    match shown {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(true),
        other => other.map(|()| false).context("write to standard output"),
    }
}

/// How lines are shown.
enum View {
    Json,
    Text,
    Plot { plot: Plot, model: String, drawn: Instant, is_stale: bool },
}

impl View {
    fn new(json: bool) -> Self {
        if json {
            Self::Json
        } else if io::stdout().is_terminal() {
            // A terminal that does not say how wide it is.
            let columns = terminal_size::terminal_size().map_or(80, |(width, _)| width.0);
            let plot = Plot::new(columns);
            Self::Plot { plot, model: String::new(), drawn: Instant::now(), is_stale: true }
        } else {
            Self::Text
        }
    }

    fn line(&mut self, line: &Line, counts: &Counts) -> io::Result<()> {
        match self {
            Self::Json => print(&serde_json::to_string(line)?),
            Self::Text => print(&coloured(line)),
            Self::Plot { plot, model, drawn, is_stale } => {
                *is_stale |= plot.push(line);
                if matches!(line, Line::Model { .. } | Line::Refused { .. }) {
                    *model = format!("; {line}");
                    *is_stale = true;
                }
                if drawn.elapsed() >= TICK { self.draw(counts) } else { Ok(()) }
            }
        }
    }

    /// Draws what is new.
    fn draw(&mut self, counts: &Counts) -> io::Result<()> {
        let Self::Plot { plot, model, drawn, is_stale } = self else { return Ok(()) };
        if !std::mem::replace(is_stale, false) {
            return Ok(());
        }
        *drawn = Instant::now();
        let mut stdout = anstream::stdout().lock();
        stdout.write_all(plot.draw(&format!("{}{model}", counts.text())).as_bytes())?;
        stdout.flush()
    }

    fn end(&mut self, counts: &Counts) -> io::Result<()> {
        match self {
            Self::Json => {
                #[derive(Serialize)]
                struct End<'c> {
                    line: &'static str,
                    #[serde(flatten)]
                    counts: &'c Counts,
                }
                print(&serde_json::to_string(&End { line: "end", counts })?)
            }
            Self::Text => print(&counts.text()),
            Self::Plot { is_stale, .. } => {
                *is_stale = true;
                self.draw(counts)
            }
        }
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = anstream::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

fn coloured(line: &Line) -> String {
    match line {
        Line::Score { alarm: Alarm::None, .. } | Line::Sample { .. } | Line::Update { .. } => {
            line.to_string()
        }
        Line::Model { .. } => good(line),
        Line::Score { .. } | Line::Fault { .. } | Line::Refused { .. } => bad(line),
    }
}
