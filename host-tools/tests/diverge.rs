//! Training that does not break: batches that are not finite, and runs that lose their way.

mod support;

use fluxlet_tools::backend::{Backend, Cpu, Failed};
use fluxlet_tools::data::Spool;
use fluxlet_tools::stack::Stack;
use fluxlet_tools::train::{self, Config, Outcome, Silent};
use support::data::{self, Rows};
use support::{Folder, column, parse_csv};

/// A backend that can't evaluate rows whose second number is beyond 500: neither their likelihood, nor, of
/// those whose third number is 1, their gradient.
#[derive(Default)]
struct Allergic(Cpu);

fn irritates(stack: &Stack, rows: &[f32]) -> impl Iterator<Item = [f32; 3]> {
    let rows = rows.chunks_exact(stack.row_len()).map(|row| [row[0], row[1], row[2]]);
    rows.filter(|row| row[1] > 500.0)
}

impl Backend for Allergic {
    fn nll_and_grad(
        &self,
        stack: &Stack,
        w: &[f32],
        rows: &[f32],
        dw: &mut [f32],
    ) -> Result<f64, Failed> {
        let nll = self.0.nll_and_grad(stack, w, rows, dw)?;
        let mut bad = irritates(stack, rows).peekable();
        if bad.peek().is_none() {
            Ok(nll)
        } else if bad.all(|row| row[2] == 1.0) {
            dw[0] = f32::INFINITY;
            Ok(nll)
        } else {
            Ok(f64::NAN)
        }
    }

    fn log_prob(
        &self,
        stack: &Stack,
        w: &[f32],
        rows: &[f32],
        out: &mut [f32],
    ) -> Result<(), Failed> {
        self.0.log_prob(stack, w, rows, out)
    }

    fn inverse(
        &self,
        stack: &Stack,
        w: &[f32],
        rows: &[f32],
        out: &mut [f32],
    ) -> Result<(), Failed> {
        self.0.inverse(stack, w, rows, out)
    }
}

/// Trains on 400 rows, of which those numbered `bad`, from 1, are a trouble to the backend.
fn train_with_bad_rows(bad: &[usize], batch: usize) -> Outcome {
    let rows: Rows<3> = data::normals::<3>(400, 8)
        .into_iter()
        .enumerate()
        .map(|(i, [a, b, c])| match bad.iter().position(|row| *row == i + 1) {
            Some(k) => [a, 1000.0 + b, (k % 2) as f32],
            None => [a, b, c],
        })
        .collect();
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b,c", &rows));
    let path = folder.path("x.csv");
    let mut config = Config::default();
    config.data.held_out = 0.05;
    config.train.noise = 0.0;
    config.train.epochs = Some(6);
    config.train.batch = batch;
    let spool = Spool { folder: path.parent().unwrap().into(), in_memory: Spool::IN_MEMORY };
    let rows = train::gather(&path, &config, &spool).unwrap();
    let rows = train::prepare(rows, &path, &config, &spool).unwrap();
    train::run(rows, &path, config, &Allergic::default(), None, &mut Silent).unwrap()
}

#[test]
fn a_batch_that_is_not_finite_moves_nothing_and_its_rows_are_named() {
    let report = train_with_bad_rows(&[17, 256], 20).report;
    assert_eq!(report.skipped_rows, [17, 256]);
    // One or two of 19 batches in each of 6 epochs.
    assert!((6..=12).contains(&report.skipped_batches), "{}", report.skipped_batches);
    let named = "rows 17, 256 of the data made batches that are not finite".to_string();
    assert!(report.notes.contains(&named), "{:?}", report.notes);
    assert!(report.validation_nll.is_finite() && report.best_epoch > 0);
}

#[test]
fn a_run_without_a_single_finite_batch_ends_soon_with_its_start() {
    // One batch is the whole data, and a row of it is bad.
    let Outcome { trained, report, .. } = train_with_bad_rows(&[100], 400);
    assert_eq!((report.skipped_rows.as_slice(), report.skipped_batches), (&[100][..], 6));
    assert!(trained.history.iter().all(|epoch| epoch.train_nll.is_nan()));
    // Batches of one row: ten in a row, six times, were too many.
    let all: Vec<usize> = (1..=400).collect();
    let Outcome { trained, report, .. } = train_with_bad_rows(&all, 1);
    assert_eq!((report.skipped_batches, trained.restores.len(), report.best_epoch), (60, 6, 0));
    assert_eq!(report.skipped_rows.len(), 5);
    let told = "training diverged in epoch 1 again; it ended with the weights of the start";
    assert!(report.notes.iter().any(|note| note == told), "{:?}", report.notes);
}

#[test]
fn a_run_that_diverges_goes_back_and_on_with_a_smaller_step() {
    let folder = Folder::new();
    folder.write("x.csv", data::csv("a,b,c", &data::gaussian(300, 1)));
    let report = folder.json(
        "train x.csv -o run --flow coupling --spline affine --components 1 --learning-rate 0.9 \
         --clip 1e9 --schedule constant --batch 32 --epochs 40 --json",
    );
    let notes = report["notes"].to_string();
    assert!(notes.contains("it went on from the weights of the start with a quarter"), "{notes}");
    let (_, cells) = parse_csv(&folder.text("run/history.csv"));
    let (validation, rates): (Vec<f64>, Vec<f64>) = (column(&cells, 2), column(&cells, 3));
    let quarters = (0.9 / rates[rates.len() - 1]).log(4.0);
    assert!(quarters >= 1.0 && (quarters - quarters.round()).abs() < 1e-9, "{rates:?}");
    // What it ends with is close to the truth, whose entropy no flow can beat by much.
    let found = report["validation_nll"].as_f64().unwrap();
    assert_eq!(found, validation.iter().copied().fold(f64::INFINITY, f64::min));
    assert!((found - data::gaussian_entropy()).abs() < 0.5, "{found}");
}
