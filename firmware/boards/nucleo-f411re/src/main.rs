//! The node on an STM32 Nucleo-F411RE: its pins, clocks and buses.

#![no_std]
#![no_main]

mod port;

use fluxlet_node::{built_in, run, slots};
use panic_halt as _;
use stm32f4xx_hal::i2c::I2c;
use stm32f4xx_hal::pac::Peripherals;
use stm32f4xx_hal::prelude::*;
use stm32f4xx_hal::rcc::Config;

use crate::port::Port;

/// Numbers of memory for a model.
const MEMORY_LEN: usize = 16 * 1024;

#[cortex_m_rt::entry]
fn main() -> ! {
    start();
    // A chip that does not start as the data sheet says is left alone.
    loop {
        core::hint::spin_loop();
    }
}

fn start() -> Option<()> {
    let chip = Peripherals::take()?;
    let mut clocks = chip.RCC.freeze(Config::hsi().sysclk(84.MHz()));
    let mut delay = chip.TIM5.delay_us(&mut clocks);
    let a = chip.GPIOA.split(&mut clocks);
    let b = chip.GPIOB.split(&mut clocks);

    let port = chip.USART2.serial((a.pa2, a.pa3), 115_200.bps(), &mut clocks).ok()?;
    let mut bus = I2c::new(chip.I2C1, (b.pb8, b.pb9), 400.kHz(), &mut clocks);
    let mut memory = [0.0; MEMORY_LEN];
    run(slots(), built_in(), &mut memory, &mut bus, &mut delay, &mut Port(port))
}
