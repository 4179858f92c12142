//! What the image does once a board has started it.

use crate::embedded::{self, INPUT_LEN, WORK_LEN};
use crate::files::{CommandLine, RowReader, ScoreWriter};
use crate::measure;
use crate::{kernels, self_test, stack};
// Linked for what they export: critical sections and the sink of the log.
use core::hint::black_box;
#[cfg(target_arch = "arm")]
use cortex_m as _;
use defmt_semihosting as _;
use fluxlet::Model;
#[cfg(target_arch = "riscv32")]
use riscv as _;
use semihosting::{io, process};

/// Scores the files of the command line, or tests itself; then ends the program.
pub fn main() -> ! {
    let Ok(model) = Model::new_checked(embedded::bytes()) else {
        defmt::error!("the model was refused");
        process::exit(2);
    };
    match score_files(&model) {
        Ok(true) => {}
        Ok(false) => test_itself(&model),
        Err(_) => {
            defmt::error!("a file could not be read or written, or the rows end inside one");
            process::exit(1);
        }
    }
    process::exit(0)
}

/// Scores for ever without reading or telling anything: the smallest image that can score, to
/// measure what scoring takes of a flash.
pub fn bare() -> ! {
    let row = [0.0; INPUT_LEN];
    let mut work = [0.0; WORK_LEN];
    loop {
        if let Ok(model) = Model::new_checked(black_box(embedded::bytes())) {
            black_box(fluxlet::read(&model, black_box(&row), &mut work));
        }
    }
}

/// Runs single kernels and logs the digest of what each computes; then ends the program.
pub fn kernels_alone() -> ! {
    kernels::run(
        |kernel| measure::between_marks(kernel),
        |name, digest| defmt::info!("{=str}: {=u64:016x}", name, digest),
    );
    process::exit(0)
}

/// Returns false where the command line names no files.
#[inline(never)]
fn score_files(model: &Model<'_>) -> io::Result<bool> {
    let line = CommandLine::read()?;
    let (Some(rows), Some(scores)) = (line.word(1), line.word(2)) else {
        return Ok(false);
    };
    let mut rows = RowReader::open(rows)?;
    let mut scores = ScoreWriter::create(scores)?;
    let mut row = [0.0; INPUT_LEN];
    let mut work = [0.0; WORK_LEN];
    while rows.next(&mut row)? {
        scores.push(measure::log_prob(model, &row, &mut work).to_bits())?;
    }
    scores.finish()?;
    Ok(true)
}

// Row and working memory live on the stack, so that its peak is all the memory that scoring takes.
// Apart from `main`, so that the buffers for files do not count.
#[inline(never)]
fn test_itself(model: &Model<'_>) {
    stack::paint();
    let mut row = [0.0; INPUT_LEN];
    let mut work = [0.0; WORK_LEN];
    let digest = self_test::run(&mut row, |row| measure::log_prob(model, row, &mut work));
    let peak_bytes = stack::peak_bytes();
    defmt::info!("rows {=u32}", self_test::ROWS);
    defmt::info!("digest {=u64:016x}", digest);
    defmt::info!("peak stack {=usize} bytes", peak_bytes);
}
