//! Emulated microcontrollers: builds the firmware's scorer with a model, runs it in QEMU, and reads
//! back scores, instruction counts, sizes and stack.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, anyhow, bail, ensure};
use defmt_decoder::{DecodeError, Table};
use fluxlet::Model;
use object::{Object, ObjectSection, ObjectSymbol};

use crate::inspect::features;

/// A board that QEMU emulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Board {
    /// Cortex-M0: no hardware floats, 16 KB of RAM
    M0,
    /// Cortex-M4F: hardware floats
    M4f,
    /// Cortex-M7
    M7,
    /// Cortex-M33
    M33,
    /// Cortex-M55 with Helium vectors
    M55,
    /// 32-bit RISC-V without floats
    Rv32imc,
    /// 32-bit RISC-V with floats
    Rv32imafc,
}

/// How an image is built for a board, and run.
struct Build {
    /// Folder of `firmware/boards`.
    folder: &'static str,
    /// Cargo target.
    target: &'static str,
    /// The core, where the target has several.
    flags: &'static str,
    emulator: &'static str,
    machine: &'static [&'static str],
}

impl Board {
    /// Every board.
    pub const ALL: [Self; 7] =
        [Self::M4f, Self::M0, Self::M7, Self::M33, Self::M55, Self::Rv32imc, Self::Rv32imafc];
    /// One with hardware floats and one without.
    pub const USUAL: [Self; 2] = [Self::M4f, Self::M0];

    /// Name of the core.
    pub fn name(self) -> &'static str {
        match self {
            Self::M0 => "Cortex-M0",
            Self::M4f => "Cortex-M4F",
            Self::M7 => "Cortex-M7",
            Self::M33 => "Cortex-M33",
            Self::M55 => "Cortex-M55",
            Self::Rv32imc => "rv32imc",
            Self::Rv32imafc => "rv32imafc",
        }
    }

    fn build(self) -> Build {
        let arm = |folder, target, machine| Build {
            folder,
            target,
            flags: "",
            emulator: "qemu-system-arm",
            machine,
        };
        let riscv = |folder, target| Build {
            folder,
            target,
            flags: "",
            emulator: "qemu-system-riscv32",
            machine: &["virt", "-bios", "none"],
        };
        match self {
            Self::M0 => arm("m0", "thumbv6m-none-eabi", &["microbit"]),
            Self::M4f => arm("m4f", "thumbv7em-none-eabihf", &["mps2-an386"]),
            // The M4F's memory, and the M4F's very image: the same instructions on another core.
            Self::M7 => arm("m4f", "thumbv7em-none-eabihf", &["mps2-an500"]),
            Self::M33 => arm("m33", "thumbv8m.main-none-eabihf", &["mps2-an505"]),
            // Helium has no target of its own.
            Self::M55 => Build {
                flags: "-Ctarget-cpu=cortex-m55",
                ..arm("m55", "thumbv8m.main-none-eabihf", &["mps3-an547"])
            },
            Self::Rv32imc => riscv("rv32imc", "riscv32imc-unknown-none-elf"),
            Self::Rv32imafc => riscv("rv32imafc", "riscv32imafc-unknown-none-elf"),
        }
    }
}

/// A machine that can build firmware and run it.
pub struct Bench {
    firmware: PathBuf,
    environment: Vec<(String, String)>,
}

/// The scorer with one model inside, built for one board.
pub struct Scorer {
    board: Board,
    /// Holds the image and the files that it reads and writes; gone with the scorer.
    folder: tempfile::TempDir,
    plugin: Option<PathBuf>,
    elf: Vec<u8>,
}

/// A node with one model inside, built for one board.
pub struct Node {
    board: Board,
    /// Holds the image and the readings; gone with the node.
    folder: tempfile::TempDir,
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
        let elf = self.image(board, "scorer", model)?;
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("scorer.elf"), &elf)?;
        let plugin = self.environment.iter().find(|(key, _)| key == "FLUXLET_QEMU_PLUGIN");
        let plugin = plugin.map(|(_, path)| PathBuf::from(path));
        Ok(Scorer { board, folder, plugin, elf })
    }

    /// Builds the node for `board` with the model file inside, its sensor played from `readings`, rows
    /// of three numbers in g.
    pub fn node(&self, board: Board, model: &Path, readings: &[f32]) -> anyhow::Result<Node> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("node.elf"), self.image(board, "node", model)?)?;
        write_rows(&folder.path().join("rows.bin"), readings)?;
        Ok(Node { board, folder })
    }

    /// Bytes of flash that the scorer alone takes: no files, no log, and without the model.
    pub fn code_bytes(&self, board: Board, model: &Path) -> anyhow::Result<u64> {
        let image = self.image(board, "bare", model)?;
        let elf = object::File::parse(&*image)?;
        let in_flash = [".vector_table", ".init", ".init.trap", ".text", ".rodata", ".data"];
        let flash: u64 = elf
            .sections()
            .filter(|section| section.name().is_ok_and(|name| in_flash.contains(&name)))
            .map(|section| section.size())
            .sum();
        Ok(flash.saturating_sub(fs::metadata(model)?.len()))
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
        let Build { folder, target, flags, .. } = board.build();
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
            .env("RUSTFLAGS", flags)
            .stdin(Stdio::null());
        for (key, value) in &self.environment {
            command.env(key, value);
        }
        must(&mut command, &format!("build {image} for {}", board.name())).map_err(|error| {
            // The linker's words for it.
            if error.to_string().contains("will not fit in region") {
                anyhow!(
                    "build {image} for {}: the model, {} bytes, and the code are more than this \
                     board's memory; --target chooses another",
                    board.name(),
                    fs::metadata(&model).map_or(0, |file| file.len())
                )
            } else {
                error
            }
        })?;
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

/// Starts an image of this folder.
fn qemu(board: Board, folder: &Path, image: &str) -> Command {
    let Build { emulator, machine, .. } = board.build();
    let mut command = Command::new(emulator);
    command
        .arg("-M")
        .args(machine)
        .args(["-nographic", "-monitor", "none", "-serial", "none", "-kernel", image])
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

/// Writes numbers as a board reads them.
fn write_rows(path: &Path, numbers: &[f32]) -> anyhow::Result<()> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

impl Node {
    /// The command that starts it, from its first reading; with `record` it tells them.
    pub fn command(&self, record: bool) -> Command {
        let mut command = qemu(self.board, self.folder.path(), "node.elf");
        let record = if record { ",arg=r" } else { "" };
        command.arg("-semihosting-config");
        command.arg(format!("enable=on,target=native,arg=node,arg=rows.bin{record}"));
        command
    }
}

impl Scorer {
    fn qemu(&self) -> Command {
        qemu(self.board, self.folder.path(), "scorer.elf")
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
        let path = |name: &str| self.folder.path().join(name);
        write_rows(&path("rows.bin"), inputs)?;
        let mut command = self.qemu();
        let arguments = "enable=on,target=native,arg=scorer,arg=rows.bin,arg=scores.bin";
        command.args(["-semihosting-config", arguments]);
        if count {
            let plugin =
                self.plugin.as_deref().context("count instructions: no plugin was built")?;
            let start = self.symbol("fluxlet_measure_begin")?;
            let stop = self.symbol("fluxlet_measure_end")?;
            let plugin = plugin.display();
            command.arg("-plugin");
            command.arg(format!("{plugin},start={start:#x},stop={stop:#x},out=counts.txt"));
        }
        must(&mut command, &format!("run the scorer on {}", self.board.name()))?;
        let bytes = fs::read(path("scores.bin"))?;
        let bits = bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        let instructions = if count {
            let text = fs::read_to_string(path("counts.txt"))?;
            text.lines().map(str::parse).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        Ok(Scores { bits, instructions })
    }

    /// What the image logs when it tests itself, a line each.
    pub fn self_test(&self) -> anyhow::Result<Vec<String>> {
        let mut command = self.qemu();
        command.args(["-semihosting-config", "enable=on,target=native"]);
        let output = must(&mut command, &format!("run the self-test on {}", self.board.name()))?;
        let table = Table::parse(&self.elf)?.context("the image has no log table")?;
        let mut decoder = table.new_stream_decoder();
        decoder.received(&output.stdout);
        let mut lines = Vec::new();
        loop {
            match decoder.decode() {
                Ok(frame) => lines.push(frame.display_message().to_string()),
                Err(DecodeError::UnexpectedEof) => return Ok(lines),
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
