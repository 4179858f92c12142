//! The node on an STM32 Nucleo-F411RE: its pins, clocks and buses.

#![no_std]
#![no_main]

mod port;

use fluxlet_node::{built_in, run, slots};
use panic_halt as _;
use stm32f4xx_hal::i2c::I2c;
use stm32f4xx_hal::pac::{I2C1, Peripherals, TIM5};
use stm32f4xx_hal::prelude::*;
use stm32f4xx_hal::timer::DelayUs;

use crate::port::Port;

/// Numbers of memory for a model.
const MEMORY_LEN: usize = 16 * 1024;

#[cortex_m_rt::entry]
fn main() -> ! {
    if let Some((mut bus, mut delay, mut port)) = set_up() {
        let mut memory = [0.0; MEMORY_LEN];
        run(&mut slots(), built_in(), &mut memory, &mut bus, &mut delay, &mut port)
    }
    // A chip that does not start as the data sheet says is left alone.
    loop {
        core::hint::spin_loop();
    }
}

/// A function of its own: what leads to an endless loop the compiler takes for rare and optimises less,
/// and the HAL's checks of constants would stay.
fn set_up() -> Option<(I2c<I2C1>, DelayUs<TIM5>, Port)> {
    let chip = Peripherals::take()?;
    // The chip's own 16 MHz, with which it starts: scores need no more, and the HAL's search for the
    // settings of a faster clock can panic.
    let mut clocks = chip.RCC.constrain();
    let delay = chip.TIM5.delay_us(&mut clocks);
    let a = chip.GPIOA.split(&mut clocks);
    let b = chip.GPIOB.split(&mut clocks);
    let port = chip.USART2.serial((a.pa2, a.pa3), 115_200.bps(), &mut clocks).ok()?;
    let bus = I2c::new(chip.I2C1, (b.pb8, b.pb9), 400.kHz(), &mut clocks);
    Some((bus, delay, Port(port)))
}
