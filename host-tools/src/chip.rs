//! Microcontrollers by name: their memory, where a model's slots are, and what writes to them.

use fluxlet_slots::Region;

use crate::programmer::Programmer;

/// A microcontroller with slots for models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Chip {
    /// Raspberry Pi Pico
    Rp2040,
    /// Raspberry Pi Pico 2
    Rp2350,
    /// nRF52840 DK
    Nrf52840,
    /// STM32 Nucleo-F401RE
    Stm32f401,
    /// STM32 Nucleo-F411RE
    Stm32f411,
    /// ESP32-C3 with 4 MiB of flash
    Esp32c3,
}

/// What `fluxlet flash` has to know of a chip.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Name on the command line.
    pub name: &'static str,
    /// Address of the flash, as the programmer counts.
    pub flash: u32,
    /// Bytes of it.
    pub flash_bytes: u32,
    /// Smallest part of it, around the slots, that can be erased.
    pub erase_bytes: u32,
    /// Bytes of RAM.
    pub ram_bytes: u32,
    /// The slots, by address; the last of the flash.
    pub slots: Region,
    /// What writes.
    pub programmer: Programmer,
    /// The family in a UF2 file, where the chip shows itself as a drive.
    pub uf2_family: Option<u32>,
}

impl Chip {
    /// Every chip.
    pub const ALL: [Self; 6] = [
        Self::Rp2040,
        Self::Rp2350,
        Self::Nrf52840,
        Self::Stm32f401,
        Self::Stm32f411,
        Self::Esp32c3,
    ];

    /// The facts. The boards of `firmware/` keep the same flash free of code.
    pub fn facts(self) -> Facts {
        const KIB: u32 = 1024;
        let facts = |name, flash, flash_kib, erase_kib, ram_kib, programmer| {
            let slot_bytes = 128 * KIB;
            let start = flash + flash_kib * KIB - 2 * slot_bytes;
            Facts {
                name,
                flash,
                flash_bytes: flash_kib * KIB,
                erase_bytes: erase_kib * KIB,
                ram_bytes: ram_kib * KIB,
                slots: Region { start, slot_bytes },
                programmer,
                uf2_family: None,
            }
        };
        let probe = Programmer::ProbeRs;
        match self {
            Self::Rp2040 => Facts {
                uf2_family: Some(0xe48b_ff56),
                ..facts("rp2040", 0x1000_0000, 2048, 4, 264, probe("RP2040"))
            },
            // The family of what goes to its address, whatever partitions there are.
            Self::Rp2350 => Facts {
                uf2_family: Some(0xe48b_ff57),
                ..facts("rp2350", 0x1000_0000, 4096, 4, 520, probe("RP235x"))
            },
            Self::Nrf52840 => facts("nrf52840", 0, 1024, 4, 256, probe("nRF52840_xxAA")),
            Self::Stm32f401 => facts("stm32f401", 0x0800_0000, 512, 128, 96, probe("STM32F401RE")),
            Self::Stm32f411 => facts("stm32f411", 0x0800_0000, 512, 128, 128, probe("STM32F411RE")),
            Self::Esp32c3 => facts("esp32c3", 0, 4096, 4, 400, Programmer::Espflash("esp32c3")),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn slots_can_be_erased_and_end_with_the_flash() {
        for chip in Chip::ALL {
            let Facts { name, flash, flash_bytes, erase_bytes, slots, .. } = chip.facts();
            assert_eq!(chip.to_possible_value().unwrap().get_name(), name);
            assert_eq!(slots.start + 2 * slots.slot_bytes, flash + flash_bytes, "{name}");
            assert_eq!(
                [slots.start % erase_bytes, slots.slot_bytes % erase_bytes],
                [0, 0],
                "{name}"
            );
        }
    }

    #[test]
    fn boards_read_the_slots_where_they_are() {
        let boards = concat!(env!("CARGO_MANIFEST_DIR"), "/../firmware/boards");
        for (chip, file) in [
            (Chip::Rp2040, "pico/memory.x"),
            (Chip::Rp2350, "pico2/memory.x"),
            (Chip::Nrf52840, "nrf52840-dk/slots.x"),
            (Chip::Stm32f411, "nucleo-f411re/memory.x"),
            (Chip::Esp32c3, "esp32-c3/src/slots.rs"),
        ] {
            let start = format!("0x{:08X}", chip.facts().slots.start);
            let text = std::fs::read_to_string(format!("{boards}/{file}")).unwrap();
            assert!(text.contains(&start), "{file} does not have {start}:\n{text}");
        }
    }
}
