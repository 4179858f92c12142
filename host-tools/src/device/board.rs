//! Which boards there are, and how an image is built for each and run.

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
pub(super) struct Build {
    /// Folder of `firmware/qemu`.
    pub(super) folder: &'static str,
    /// Cargo target.
    pub(super) target: &'static str,
    /// The core, where the target has several, as a flag of the compiler.
    pub(super) core: &'static str,
    pub(super) emulator: &'static str,
    pub(super) machine: &'static [&'static str],
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

    /// LLVM's name of the core, where it has a model of its cycles.
    pub(super) fn modelled(self) -> Option<&'static str> {
        match self {
            Self::M4f => Some("cortex-m4"),
            Self::M7 => Some("cortex-m7"),
            Self::M33 => Some("cortex-m33"),
            Self::M55 => Some("cortex-m55"),
            Self::M0 | Self::Rv32imc | Self::Rv32imafc => None,
        }
    }

    pub(super) fn build(self) -> Build {
        let arm = |folder, target, machine| Build {
            folder,
            target,
            core: "",
            emulator: "qemu-system-arm",
            machine,
        };
        let riscv = |folder, target| Build {
            folder,
            target,
            core: "",
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
                core: "-Ctarget-cpu=cortex-m55 --cfg=helium",
                ..arm("m55", "thumbv8m.main-none-eabihf", &["mps3-an547"])
            },
            Self::Rv32imc => riscv("rv32imc", "riscv32imc-unknown-none-elf"),
            Self::Rv32imafc => riscv("rv32imafc", "riscv32imafc-unknown-none-elf"),
        }
    }
}
