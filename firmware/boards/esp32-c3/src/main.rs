//! The node on an ESP32-C3: its pins, clocks and buses.

#![no_std]
#![no_main]

mod slots;

use esp_hal::clock::CpuClock;
use esp_hal::delay::Delay;
use esp_hal::i2c::master::{self, I2c};
use esp_hal::time::Rate;
use esp_hal::uart::{self, Uart};
use fluxlet_node::{built_in, run};
use panic_halt as _;

use crate::slots::Slots;

/// Numbers of memory for a model.
const MEMORY_LEN: usize = 16 * 1024;

// The second stage of the boot reads who the image is for.
esp_bootloader_esp_idf::esp_app_desc!();

#[esp_hal::main]
fn main() -> ! {
    let _ = start();
    // The settings below are ones that the chip has; this is never reached.
    loop {
        core::hint::spin_loop();
    }
}

fn start() -> Option<()> {
    let chip = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    let port = Uart::new(chip.UART0, uart::Config::default()).ok()?;
    let mut port = port.with_tx(chip.GPIO21).with_rx(chip.GPIO20);
    let frequency = master::Config::default().with_frequency(Rate::from_khz(400));
    let bus = I2c::new(chip.I2C0, frequency).ok()?;
    let mut bus = bus.with_sda(chip.GPIO8).with_scl(chip.GPIO9);
    let mut slots = Slots::EMPTY;
    slots.read(chip.FLASH);
    let mut memory = [0.0; MEMORY_LEN];
    run(&mut slots.bytes(), built_in(), &mut memory, &mut bus, &mut Delay::new(), &mut port)
}
