//! What a board does once its bus and port are set up.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use embedded_io::{Read, ReadReady, Write};

use crate::accelerometer::{AXES, Accelerometer, Settings};
use crate::choice::choose;
use crate::node::Node;
use crate::storage::Storage;

/// Time between two attempts to reach a sensor that does not answer.
const RETRY_MS: u32 = 100;

/// Scores the accelerometer's readings for ever, as [`serve`] does; where no model can run, that is told
/// again at every command.
pub fn run<P: Read + ReadReady + Write>(
    storage: &mut impl Storage,
    built_in: &[u8],
    memory: &mut [f32],
    bus: &mut impl I2c,
    delay: &mut impl DelayNs,
    port: &mut P,
) -> ! {
    loop {
        if serve(storage, built_in, memory, bus, delay, port) {
            continue;
        }
        while !matches!(port.read_ready(), Ok(true)) {
            delay.delay_ms(RETRY_MS);
        }
        let mut command = [0];
        if let (Ok(1), [b'u']) = (port.read(&mut command), command) {
            storage.update(None, port, delay);
        }
    }
}

/// Scores the accelerometer's readings with the first model of `storage` and `built_in` that can run
/// ([`choose`]), until a new one is announced, which it takes: whether there was one that can run. A sensor
/// that does not answer is started again until it does.
pub fn serve<P: Read + ReadReady + Write>(
    storage: &mut impl Storage,
    built_in: &[u8],
    memory: &mut [f32],
    bus: &mut impl I2c,
    delay: &mut impl DelayNs,
    port: &mut P,
) -> bool {
    let chosen = choose(storage.slots(), built_in, AXES, memory.len(), port);
    let Some((model, slot)) = chosen else { return false };
    let Ok(mut node) = Node::new(model, slot, AXES, memory) else { return false };
    node.tell_model(port);
    while !watch(&mut node, bus, delay, port) {
        delay.delay_ms(RETRY_MS);
    }
    storage.update(slot, port, delay);
    true
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
