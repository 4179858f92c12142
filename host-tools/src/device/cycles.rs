//! Cycles of a score, estimated: the instructions that a board executed, in their order, go through
//! LLVM's model of its core.
//!
//! QEMU knows nothing of time. `llvm-mca` does, for a line of instructions without branches, and that is
//! what an executed path is. Flash without wait states is assumed, and that a taken branch costs nothing
//! beyond itself: both are a board's affair.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::{Context, ensure};

/// LLVM's name of a core that it has a model of.
#[derive(Clone, Copy)]
pub(crate) struct Core {
    pub(crate) triple: &'static str,
    pub(crate) cpu: &'static str,
}

/// The installed LLVM tools, by what follows their names; `None` where there are none that can skip an
/// instruction without a model.
static INSTALLED: LazyLock<Option<String>> = LazyLock::new(|| {
    let versions = (19..=40).rev().map(|version| format!("-{version}"));
    versions.chain([String::new()]).find(|suffix| {
        let help = Command::new(format!("llvm-mca{suffix}")).arg("--help").output();
        help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("lack-sched"))
            && Command::new(format!("llvm-mc{suffix}")).arg("--version").output().is_ok()
    })
});

/// Cycles that `instructions`, each its bytes, take on `core` one after the other; `None` without LLVM.
/// The files of the way stand in `folder`.
pub(crate) fn estimate(
    core: Core,
    instructions: &[&[u8]],
    folder: &Path,
) -> anyhow::Result<Option<u64>> {
    let Some(suffix) = &*INSTALLED else { return Ok(None) };
    let bytes = folder.join("executed.hex");
    let mut text = String::new();
    for instruction in instructions {
        instruction.iter().for_each(|byte| text.push_str(&format!("{byte:#04x} ")));
        text.push('\n');
    }
    fs::write(&bytes, text)?;
    let triple = format!("--triple={}", core.triple);
    let assembly = run(&format!("llvm-mc{suffix}"), core, &["--disassemble", &triple], &bytes)?;
    let assembly: String = assembly.lines().map(|line| without_call(line) + "\n").collect();
    let path = folder.join("executed.s");
    fs::write(&path, assembly)?;
    let options = [
        &format!("--mtriple={}", core.triple),
        "--iterations=1",
        "--skip-unsupported-instructions=lack-sched",
        "--resource-pressure=false",
        "--instruction-info=false",
    ];
    let summary = run(&format!("llvm-mca{suffix}"), core, &options, &path)?;
    let modelled = number(&summary, "Instructions:")?;
    let skipped = (instructions.len() as u64).saturating_sub(modelled);
    // What has no model (the flags' way out of the FPU, the heads of conditions) takes one cycle each.
    Ok(Some(number(&summary, "Total Cycles:")? + skipped))
}

/// The first Thumb instruction of `code`, and what follows it.
pub(crate) fn thumb(code: &[u8]) -> anyhow::Result<(&[u8], &[u8])> {
    let first = code.first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes));
    // Armv7-M reference manual, A5.1: these five bits begin an instruction of two halfwords.
    let len = if first >> 11 >= 0b11101 { 4 } else { 2 };
    code.split_at_checked(len).context("read the trace of a score: an instruction is cut short")
}

/// Runs one of the tools on a file.
fn run(tool: &str, core: Core, options: &[&str], file: &Path) -> anyhow::Result<String> {
    let mut command = Command::new(tool);
    command.arg(format!("--mcpu={}", core.cpu)).args(options).arg(file).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("run {tool}"))?;
    ensure!(
        output.status.success(),
        "estimate cycles with {tool}: {}",
        String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("no reason was given")
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// The instruction with a call turned into a jump: what is called follows anyway, and a call is taken
/// for a hundred cycles.
fn without_call(line: &str) -> String {
    let Some((mnemonic, operands)) = line.trim_start().split_once('\t') else {
        return line.to_string();
    };
    let mnemonic = match mnemonic {
        "bl" => "b",
        "blx" => "bx",
        // A call under a condition; `blt`, `ble`, `blo` and `bls` are jumps of their own.
        call if call.len() == 4 && call.starts_with("bl") => &format!("b{}", &call[2..]),
        other => other,
    };
    format!("\t{mnemonic}\t{operands}")
}

/// The number behind `name` in a summary.
fn number(summary: &str, name: &str) -> anyhow::Result<u64> {
    let line = summary.lines().find_map(|line| line.strip_prefix(name));
    let line = line.with_context(|| format!("estimate cycles: there is no \"{name}\""))?;
    Ok(line.trim().parse()?)
}
