//! The node on an nRF52840 DK: its pins, clocks and buses.

#![no_std]
#![no_main]

mod bus;
mod port;

use fluxlet_node::{addresses, built_in, run, writable};
use fluxlet_nvmc::Nvmc;
use nrf52840_hal::clocks::Clocks;
use nrf52840_hal::gpio::{Level, p0};
use nrf52840_hal::pac::Peripherals;
use nrf52840_hal::{Timer, Twim, twim};
use panic_halt as _;

use crate::bus::Bus;
use crate::port::Port;

/// Bytes that the chip erases at once.
const PAGE_BYTES: usize = 4096;
/// Numbers of memory for a model.
const MEMORY_LEN: usize = 16 * 1024;

#[cortex_m_rt::entry]
fn main() -> ! {
    start();
    // The chip's peripherals are taken once, at the start; this is never reached.
    loop {
        core::hint::spin_loop();
    }
}

fn start() -> Option<()> {
    let chip = Peripherals::take()?;
    // The port's rate needs the crystal.
    let _clocks = Clocks::new(chip.CLOCK).enable_ext_hfosc();
    let mut timer = Timer::new(chip.TIMER0);
    let pins = p0::Parts::new(chip.P0);

    let out = pins.p0_06.into_push_pull_output(Level::High);
    let mut port = Port::new(chip.UART0, out, pins.p0_08.into_floating_input());
    let bus = twim::Pins {
        sda: pins.p0_26.into_floating_input().degrade(),
        scl: pins.p0_27.into_floating_input().degrade(),
    };
    let mut bus = Bus(Twim::new(chip.TWIM1, bus, twim::Frequency::K400));
    #[expect(unsafe_code, reason = "the linker script says that nothing else is there")]
    // SAFETY: slots.x keeps these addresses of the flash free, and one thread runs.
    let flash = unsafe { Nvmc::<PAGE_BYTES>::new(addresses()) };
    let mut memory = [0.0; MEMORY_LEN];
    run(&mut writable(flash), built_in(), &mut memory, &mut bus, &mut timer, &mut port)
}
