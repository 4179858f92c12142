//! `fluxlet cost --kernels`.

use std::process::ExitCode;

use anyhow::ensure;
use serde::Serialize;

use crate::device::{Bench, Board, Kernel};

/// Instructions of CMSIS-DSP's kernels, hand-written C that may fuse multiply and add: GCC 12 at -O3,
/// counted as ours are. Its cosine transform is `arm_dct4_f32`, a DCT-IV.
const CMSIS_DSP: [(&str, Board, u64); 5] = [
    ("product 64x64", Board::M4f, 11_606),
    ("product 64x64", Board::M55, 3_790),
    ("cosine transform 128", Board::M4f, 9_543),
    ("exponential 64", Board::M4f, 4_295),
    ("exponential 64", Board::M55, 563),
];

#[derive(Serialize)]
struct Row {
    target: Board,
    #[serde(flatten)]
    kernel: Kernel,
    cmsis_dsp: Option<u64>,
}

pub(super) fn run(targets: &[Board], json: bool) -> anyhow::Result<ExitCode> {
    let bench = Bench::set_up()?;
    let mut rows: Vec<Row> = Vec::new();
    for &target in targets {
        for kernel in bench.kernels(target)? {
            let other = rows.iter().find(|row| row.kernel.name == kernel.name);
            ensure!(
                other.is_none_or(|row| row.kernel.digest == kernel.digest),
                "run {} on {}: its bits are not those of the other targets",
                kernel.name,
                target.name()
            );
            let peer = |(name, board, _): &&(&str, _, _)| *name == kernel.name && *board == target;
            let cmsis_dsp = CMSIS_DSP.iter().find(peer).map(|(_, _, count)| *count);
            rows.push(Row { target, kernel, cmsis_dsp });
        }
    }
    if json {
        anstream::println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    anstream::println!("| kernel | core | instructions | CMSIS-DSP |\n|---|---|---:|---:|");
    for Row { target, kernel, cmsis_dsp } in rows {
        let peer = cmsis_dsp.map_or(String::new(), |count| format!(" {count}"));
        let Kernel { name, instructions, .. } = kernel;
        anstream::println!("| {name} | {} | {instructions} |{peer} |", target.name());
    }
    Ok(ExitCode::SUCCESS)
}
