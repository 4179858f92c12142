//! The node on a Raspberry Pi Pico: its pins, clocks and buses.

#![no_std]
#![no_main]

// Linked for its critical sections.
use cortex_m as _;
use fluxlet_node::{built_in, run, slots};
use panic_halt as _;
use rp2040_hal::clocks::init_clocks_and_plls;
use rp2040_hal::fugit::HertzU32;
use rp2040_hal::gpio::Pins;
use rp2040_hal::pac::Peripherals;
use rp2040_hal::uart::{UartConfig, UartPeripheral};
use rp2040_hal::{I2C, Sio, Timer, Watchdog};

const CRYSTAL_HZ: u32 = 12_000_000;
/// What the HAL sets processor and buses to. A constant, so that the HAL's checks of rates are done by
/// the compiler and none is left that could panic.
const SYSTEM: HertzU32 = HertzU32::MHz(125);
/// Numbers of memory for a model.
const MEMORY_LEN: usize = 16 * 1024;

#[expect(unsafe_code, reason = "the boot ROM looks for the section by its name")]
// SAFETY: memory.x gives the section the place that these bytes are made for.
#[unsafe(link_section = ".boot2")]
#[used]
static BOOT: [u8; 256] = rp2040_boot2::BOOT_LOADER_GENERIC_03H;

#[rp2040_hal::entry]
fn main() -> ! {
    start();
    // A chip that does not start as the data sheet says is left alone.
    loop {
        core::hint::spin_loop();
    }
}

fn start() -> Option<()> {
    let mut chip = Peripherals::take()?;
    let mut watchdog = Watchdog::new(chip.WATCHDOG);
    let clocks = init_clocks_and_plls(
        CRYSTAL_HZ,
        chip.XOSC,
        chip.CLOCKS,
        chip.PLL_SYS,
        chip.PLL_USB,
        &mut chip.RESETS,
        &mut watchdog,
    )
    .ok()?;
    let mut timer = Timer::new(chip.TIMER, &mut chip.RESETS, &clocks);
    let sio = Sio::new(chip.SIO);
    let pins = Pins::new(chip.IO_BANK0, chip.PADS_BANK0, sio.gpio_bank0, &mut chip.RESETS);

    let port = (pins.gpio0.into_function(), pins.gpio1.into_function());
    let mut port = UartPeripheral::new(chip.UART0, port, &mut chip.RESETS)
        .enable(UartConfig::default(), SYSTEM)
        .ok()?;
    let (sda, scl) = (pins.gpio4.reconfigure(), pins.gpio5.reconfigure());
    let frequency = HertzU32::kHz(400);
    let mut bus = I2C::i2c0(chip.I2C0, sda, scl, frequency, &mut chip.RESETS, SYSTEM);
    let mut memory = [0.0; MEMORY_LEN];
    run(&mut slots(), built_in(), &mut memory, &mut bus, &mut timer, &mut port)
}
