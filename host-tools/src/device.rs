//! Emulated microcontrollers: builds the firmware's scorer with a model, runs it in QEMU, and reads
//! back scores, instruction counts, sizes and stack. Single kernels run in an image of their own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, bail, ensure};
use defmt_decoder::{DecodeError, Table};
use fluxlet::Model;
use object::{Object, ObjectSection, ObjectSymbol};

use crate::inspect::features;

mod board;
mod cycles;
mod node;

pub use board::Board;
use board::Build;
pub use node::Node;

/// Loops stay as the kernels are written. Unrolled once more by the compiler, they take half the code
/// again, and the loops that count run no faster.
const AS_WRITTEN: &str = "-Cllvm-args=-unroll-runtime=false";

/// A machine that can build firmware and run it.
pub struct Bench {
    firmware: PathBuf,
    environment: Vec<(String, String)>,
}

/// A board is too small for a model.
#[derive(Debug, thiserror::Error)]
#[error(
    "build {image} for {board}: the model, {model_bytes} bytes, and the code are more than this board's \
     memory; --target chooses another"
)]
pub struct DoesNotFit {
    image: String,
    board: &'static str,
    model_bytes: u64,
}

/// The scorer with one model inside, built for one board.
pub struct Scorer {
    board: Board,
    /// Holds the image and the files that it reads and writes; gone with the scorer.
    folder: tempfile::TempDir,
    plugin: Option<PathBuf>,
    elf: Vec<u8>,
}

/// A single kernel that ran on a board.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Kernel {
    /// What it computes, of which size.
    pub name: String,
    /// Digest of the bits of its results.
    pub digest: String,
    /// Instructions of one call.
    pub instructions: u64,
}

/// What code takes of a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Footprint {
    /// Bytes of flash.
    pub code_bytes: u64,
    /// Bytes of RAM that are held from start to end, beside the stack.
    pub static_ram_bytes: u64,
}

/// What a run of the scorer gave.
pub struct Scores {
    /// Bits of each row's log_prob.
    pub bits: Vec<u32>,
    /// Instructions of each row's score, where they were counted.
    pub instructions: Vec<u64>,
}

/// Output of a command that must succeed.
fn must(command: &mut Command, what: &str) -> anyhow::Result<Output> {
    let output = command.output().with_context(|| format!("{what}: run {command:?}"))?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(30)..].join("\n");
        bail!("{what} ({}):\n{last}", output.status);
    }
    Ok(output)
}

impl Bench {
    /// Finds the firmware and sets up what building and running it needs. The first time on a machine
    /// this can take a minute; `setup.sh` tells on stderr what it does.
    pub fn set_up() -> anyhow::Result<Self> {
        let firmware = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware");
        let script = firmware.join("setup.sh");
        ensure!(
            script.exists(),
            "find the firmware: {} is missing; run from a checkout of the repository",
            script.display()
        );
        // One set-up at a time: two would install the same packages.
        let _lock = lock("setup")?;
        let mut command = Command::new("bash");
        command.arg(&script).stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = must(&mut command, "set up the cross compiler and QEMU")?;
        let text = String::from_utf8(output.stdout)?;
        let environment = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        Ok(Self { firmware: firmware.canonicalize()?, environment })
    }

    /// Builds the scorer for `board` with the model file inside.
    pub fn build(&self, board: Board, model: &Path) -> anyhow::Result<Scorer> {
        self.loaded(board, "scorer", model)
    }

    /// Runs single kernels on `board` and counts their instructions.
    pub fn kernels(&self, board: Board) -> anyhow::Result<Vec<Kernel>> {
        let model = self.firmware.join("models/self-test.flx");
        let (lines, counts) = self.loaded(board, "kernels", &model)?.log(Some(""))?;
        ensure!(lines.len() == counts.len(), "count instructions on {}: none were", board.name());
        let kernel = |(line, instructions): (&String, u64)| {
            let (name, digest) = line.split_once(": ").context("read the log of the kernels")?;
            Ok(Kernel { name: name.into(), digest: digest.into(), instructions })
        };
        lines.iter().zip(counts).map(kernel).collect()
    }

    /// One image, ready to run.
    fn loaded(&self, board: Board, image: &str, model: &Path) -> anyhow::Result<Scorer> {
        let elf = self.image(board, image, model)?;
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("scorer.elf"), &elf)?;
        let plugin = self.environment.iter().find(|(key, _)| key == "FLUXLET_QEMU_PLUGIN");
        let plugin = plugin.map(|(_, path)| PathBuf::from(path));
        Ok(Scorer { board, folder, plugin, elf })
    }

    /// What the scorer alone takes of a board: no files, no log, and without the model.
    pub fn footprint(&self, board: Board, model: &Path) -> anyhow::Result<Footprint> {
        let image = self.image(board, "bare", model)?;
        let elf = object::File::parse(&*image)?;
        let bytes_of = |names: &[&str]| -> u64 {
            let sections = elf.sections();
            let own = sections.filter(|s| s.name().is_ok_and(|name| names.contains(&name)));
            own.map(|section| section.size()).sum()
        };
        let flash =
            bytes_of(&[".vector_table", ".init", ".init.trap", ".text", ".rodata", ".data"]);
        Ok(Footprint {
            code_bytes: flash.saturating_sub(fs::metadata(model)?.len()),
            static_ram_bytes: bytes_of(&[".data", ".bss", ".uninit"]),
        })
    }

    /// Functions of the scorer alone that end in a panic.
    pub fn panics(&self, board: Board, model: &Path) -> anyhow::Result<Vec<String>> {
        let image = self.image(board, "bare", model)?;
        let elf = object::File::parse(&*image)?;
        let names = elf.symbols().filter_map(|symbol| symbol.name().ok().map(str::to_string));
        Ok(names.filter(|name| name.contains("panicking")).collect())
    }

    /// Builds one image of the firmware with the model file inside.
    fn image(&self, board: Board, image: &str, model: &Path) -> anyhow::Result<Vec<u8>> {
        let Build { folder, target, core, .. } = board.build();
        let model = model.canonicalize().with_context(|| format!("read {}", model.display()))?;
        let target_dir = self.firmware.join("target");
        let parts = parts(&fs::read(&model)?);
        // The image of one model must not be read while another's is built.
        let _lock = lock("build")?;
        let mut command = Command::new(std::env::var("CARGO").unwrap_or("cargo".into()));
        command
            .args(["build", "--release", "--quiet", "--target", target, "--bin", image])
            .arg("--manifest-path")
            .arg(self.firmware.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&target_dir)
            .args(parts)
            .env("FLUXLET_MODEL", &model)
            .env("FLUXLET_BOARD", folder)
            .env("RUSTFLAGS", format!("{AS_WRITTEN} {core}"))
            .stdin(Stdio::null());
        for (key, value) in &self.environment {
            command.env(key, value);
        }
        let built = must(&mut command, &format!("build {image} for {}", board.name()));
        if let Err(error) = built {
            // The linker's words for it.
            ensure!(error.to_string().contains("will not fit in region"), error);
            let model_bytes = fs::metadata(&model)?.len();
            return Err(DoesNotFit { image: image.into(), board: board.name(), model_bytes }.into());
        }
        Ok(fs::read(target_dir.join(target).join("release").join(image))?)
    }
}

/// Options that have an image include what the model needs and nothing else.
fn parts(bytes: &[u8]) -> Vec<String> {
    // The build itself refuses a model that is none, and says why.
    let Ok(model) = Model::new_checked(bytes) else { return Vec::new() };
    let features: Vec<String> =
        features(&model).into_iter().map(|feature| format!("fluxlet/{feature}")).collect();
    let features = features.join(",");
    vec!["--no-default-features".into(), format!("--features={features}")]
}

/// Waits for the lock `name` of this user; it ends with the file.
fn lock(name: &str) -> anyhow::Result<File> {
    let path = std::env::temp_dir().join(format!("fluxlet-{name}.lock"));
    let file = File::options().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("open {}", path.display()))?;
    file.lock()?;
    Ok(file)
}

/// The code from `address` to the end of its section.
fn code_at<'e>(elf: &object::File<'e>, address: u64) -> anyhow::Result<&'e [u8]> {
    for section in elf.sections() {
        if let Some(offset) = address.checked_sub(section.address())
            && offset < section.size()
            && section.kind() == object::SectionKind::Text
        {
            return Ok(section.data()?.get(offset as usize..).unwrap_or_default());
        }
    }
    bail!("read the trace of a score: there is no code at {address:#x}")
}

impl Scorer {
    fn qemu(&self) -> Command {
        let Build { emulator, machine, .. } = self.board.build();
        let mut command = Command::new(emulator);
        command
            .arg("-M")
            .args(machine)
            .args(["-nographic", "-monitor", "none", "-serial", "none"])
            .args(["-kernel", "scorer.elf"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    fn symbol(&self, name: &str) -> anyhow::Result<u64> {
        let elf = object::File::parse(&*self.elf)?;
        let symbol =
            elf.symbol_by_name(name).with_context(|| format!("find {name} in the image"))?;
        // The lowest bit says Thumb, not where.
        Ok(symbol.address() & !1)
    }

    /// Scores `inputs` on the board; with `count`, the instructions of each row are counted.
    pub fn score(&self, inputs: &[f32], count: bool) -> anyhow::Result<Scores> {
        let (_, instructions) = self.run(self.over(inputs)?, count.then_some(""))?;
        let bytes = fs::read(self.path("scores.bin"))?;
        let bits = bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        Ok(Scores { bits, instructions })
    }

    /// Cycles of the score of `row`, estimated; `None` where LLVM has no model of the core or is not
    /// installed.
    pub fn cycles(&self, row: &[f32]) -> anyhow::Result<Option<u64>> {
        let Some(cpu) = self.board.modelled() else { return Ok(None) };
        self.run(self.over(row)?, Some(",trace=blocks.txt"))?;
        let elf = object::File::parse(&*self.elf)?;
        let mut executed = Vec::new();
        for line in fs::read_to_string(self.path("blocks.txt"))?.lines() {
            let (address, count) = line.split_once(' ').context("read the trace of a score")?;
            let mut code = code_at(&elf, address.parse()?)?;
            for _ in 0..count.parse::<usize>()? {
                let instruction;
                (instruction, code) = cycles::thumb(code)?;
                executed.push(instruction);
            }
        }
        let core = cycles::Core { triple: self.board.build().target, cpu };
        cycles::estimate(core, &executed, self.folder.path())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the numbers that the image reads.
    fn write_rows(&self, numbers: &[f32]) -> anyhow::Result<()> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Ok(fs::write(self.path("rows.bin"), bytes)?)
    }

    /// A command that scores `inputs`.
    fn over(&self, inputs: &[f32]) -> anyhow::Result<Command> {
        self.write_rows(inputs)?;
        let mut command = self.qemu();
        let arguments = "enable=on,target=native,arg=scorer,arg=rows.bin,arg=scores.bin";
        command.args(["-semihosting-config", arguments]);
        Ok(command)
    }

    /// Runs the image; with options for the plugin, the instructions between each pair of marks are
    /// counted.
    fn run(
        &self,
        mut command: Command,
        options: Option<&str>,
    ) -> anyhow::Result<(Output, Vec<u64>)> {
        if let Some(options) = options {
            let plugin =
                self.plugin.as_deref().context("count instructions: no plugin was built")?;
            let start = self.symbol("fluxlet_measure_begin")?;
            let stop = self.symbol("fluxlet_measure_end")?;
            let plugin = plugin.display();
            command.arg("-plugin");
            command
                .arg(format!("{plugin},start={start:#x},stop={stop:#x},out=counts.txt{options}"));
        }
        let output = must(&mut command, &format!("run the image on {}", self.board.name()))?;
        let mut instructions = Vec::new();
        if options.is_some() {
            let text = fs::read_to_string(self.path("counts.txt"))?;
            instructions = text.lines().map(str::parse).collect::<Result<_, _>>()?;
        }
        Ok((output, instructions))
    }

    /// What the image logs when it tests itself, a line each.
    pub fn self_test(&self) -> anyhow::Result<Vec<String>> {
        Ok(self.log(None)?.0)
    }

    /// What the image logs without a command line; and counts as [`Scorer::run`]'s.
    fn log(&self, options: Option<&str>) -> anyhow::Result<(Vec<String>, Vec<u64>)> {
        let mut command = self.qemu();
        command.args(["-semihosting-config", "enable=on,target=native"]);
        let (output, counts) = self.run(command, options)?;
        let table = Table::parse(&self.elf)?.context("the image has no log table")?;
        let mut decoder = table.new_stream_decoder();
        decoder.received(&output.stdout);
        let mut lines = Vec::new();
        loop {
            match decoder.decode() {
                Ok(frame) => lines.push(frame.display_message().to_string()),
                Err(DecodeError::UnexpectedEof) => return Ok((lines, counts)),
                Err(DecodeError::Malformed) => bail!("decode the log of {}", self.board.name()),
            }
        }
    }

    /// Bytes of stack at its deepest in a score, buffers included.
    pub fn peak_stack(&self) -> anyhow::Result<u64> {
        let lines = self.self_test()?;
        let stack = lines.iter().find_map(|line| {
            line.strip_prefix("peak stack ")?.strip_suffix(" bytes")?.parse().ok()
        });
        stack.context("find the peak stack in the self-test's log")
    }
}
