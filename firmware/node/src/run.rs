//! What a board does once its bus and port are set up.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use embedded_io::{Read, ReadReady, Write};

use crate::accelerometer::{AXES, Accelerometer, Settings};
use crate::choice::choose;
use crate::line::{Line, tell};
use crate::node::Node;

/// Time between two attempts to reach a sensor that does not answer.
const RETRY_MS: u32 = 100;

/// Scores the accelerometer's readings for ever, with the first model of `slots` and `built_in` that
/// can run ([`choose`]). A sensor that does not answer is started again until it does; where no model
/// can run, that is told again at every command. A new model over the line is refused.
pub fn run<P: Read + ReadReady + Write>(
    slots: [&[u8]; 2],
    built_in: &[u8],
    memory: &mut [f32],
    bus: &mut impl I2c,
    delay: &mut impl DelayNs,
    port: &mut P,
) -> ! {
    loop {
        let chosen = choose(slots, built_in, AXES, memory.len(), port);
        if let Some(mut node) =
            chosen.and_then(|(model, slot)| Node::new(model, slot, AXES, memory).ok())
        {
            node.tell_model(port);
            loop {
                if watch(&mut node, bus, delay, port) {
                    tell(port, Line::Refused(&"this image takes models through a programmer only"));
                }
                delay.delay_ms(RETRY_MS);
            }
        }
        while !matches!(port.read_ready(), Ok(true)) {
            delay.delay_ms(RETRY_MS);
        }
        let _ = port.read(&mut [0]);
    }
}

/// Starts the sensor and scores its readings until it does not answer or a new model is announced: whether
/// one was.
pub fn watch<P: Read + ReadReady + Write>(
    node: &mut Node<'_, '_>,
    bus: &mut impl I2c,
    delay: &mut impl DelayNs,
    port: &mut P,
) -> bool {
    if node.obey(port) {
        return true;
    }
    match Accelerometer::start(bus, delay, Settings::default()) {
        Ok(mut sensor) => {
            while node.step(&mut sensor, port).is_ok() {
                if node.obey(port) {
                    return true;
                }
            }
        }
        Err(fault) => {
            node.give_up(fault, port);
        }
    }
    false
}
