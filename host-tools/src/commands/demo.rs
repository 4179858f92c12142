//! `fluxlet demo`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::stop::STOPPED;
use super::train::Job;
use super::{ColumnArgs, eval, verify};
use crate::device::Board;
use crate::inspect::Inspection;
use crate::processor::Device;
use crate::report::{self, bad, good, heading};
use crate::train::Config;

/// Train, pack, score and verify on a real recording of a ceiling fan.
///
/// An accelerometer hung on a ceiling fan. The flow learns how the fan feels at three speeds, then
/// has to notice a coin taped to one of its blades.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Folder for the results
    #[arg(short, long, value_name = "RUN", default_value = "target/demo")]
    out: PathBuf,
    /// Threads; the result is the same for any number [default: all]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Readings of a window: one second.
const WINDOW: usize = 200;

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo");
    let (train_file, test_file) = (demo.join("fan_train.parquet"), demo.join("fan_test.parquet"));
    let columns = ColumnArgs { label: Some("label".into()), exclude: vec!["speed".into()] };

    say("1", "Train", "a flow on 880 seconds of a fan that runs as it should, at three speeds");
    let mut config = Config::default();
    config.data.window = WINDOW;
    config.data.label.clone_from(&columns.label);
    config.data.exclude.clone_from(&columns.exclude);
    let job = Job {
        data: &train_file,
        out: &args.out,
        config,
        device: Device::Cpu,
        threads: args.threads,
        stream: false,
        checkpoint_every: Duration::from_secs(60),
    };
    let Some(outcome) = job.train(None)? else { return Ok(ExitCode::from(STOPPED)) };
    report::training(&outcome.report);

    say("2", "Pack", "it for a microcontroller: every weight in one file");
    let path = args.out.join("model.flx");
    let bytes = super::read_model(&path)?;
    let model = super::model(&bytes);
    anstream::print!("{}", Inspection::new(&model));

    say(
        "3",
        "Score",
        "the fan later, and with a coin taped to a blade, seconds that it has never felt",
    );
    let dataset = super::read_inputs(&model, &test_file, &columns)?;
    let readings = crate::score::score(&model, &dataset.table.values);
    let evaluation = eval::evaluate(&dataset, &readings);
    eval::print(&evaluation);

    say("4", "Verify", "that two microcontrollers compute the very same bits, features included");
    let agreements = verify::compare(&path, &model, &dataset.table.values, &Board::USUAL, true)?;

    let seconds = start.elapsed().as_secs_f64();
    let fine = verify::all_equal(&agreements);
    let verdict = if fine { good("done") } else { bad("the bits differ") };
    anstream::println!("\n{verdict} in {seconds:.0} s; everything is in {}", args.out.display());
    let next = "cargo run --release -- inspect";
    anstream::println!("next: {next} {}, or train on data of your own", path.display());
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn say(number: &str, verb: &str, rest: &str) {
    anstream::println!("\n{}", heading(format!("{number}. {verb}")));
    anstream::println!("{rest}\n");
}
