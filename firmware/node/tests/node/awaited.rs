//! A sensor that is awaited on an asynchronous bus tells the lines of one that is waited for.

use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::i2c::I2c;
use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_hal_mock::eh1::i2c::Transaction;
use fluxlet_node::{Accelerometer, Fault, Node, Settings};
use lis3dh_async::{Lis3dh, Lis3dhI2C, SlaveAddr};

use crate::support::{Port, bus, checked, model, nothing, reading, start};

/// As many looks as [`Accelerometer`] takes.
const PATIENCE: usize = 32;

/// Waits for the next reading, in g, without keeping the processor.
async fn next(
    sensor: &mut Lis3dh<Lis3dhI2C<impl I2c>>,
    delay: &mut impl DelayNs,
    reading: &mut [f32],
) -> Result<(), Fault> {
    for _ in 0..PATIENCE {
        let waiting = sensor.get_fifo_status().await.map_err(|_| Fault::NoAnswer)?;
        if !waiting.empty {
            let raw = sensor.accel_raw().await.map_err(|_| Fault::NoAnswer)?;
            let digits = [raw.x, raw.y, raw.z].map(|digits| f32::from(digits >> 4));
            reading.copy_from_slice(&digits.map(|digits| digits / 1000.0));
            return Ok(());
        }
        delay.delay_us(625).await;
    }
    Err(Fault::NoAnswer)
}

/// Three readings, then silence.
fn transactions() -> Vec<Transaction> {
    let mut all = [[0, 100, 1000], [1, 99, 1001], [-3, 2000, 1000]].map(reading).concat();
    all.extend(vec![nothing(); PATIENCE]);
    all
}

#[test]
fn an_awaited_sensor_tells_the_lines_of_one_that_is_waited_for() {
    let (model, mut memory, mut port) = (model(3, 0, "x\ny\nz"), [0.0; 64], Port::default());
    let mut node = Node::new(checked(&model), None, 3, &mut memory).unwrap();
    let mut waited_for = bus([start(), transactions()].concat());
    let mut sensor = Accelerometer::start(&mut waited_for, NoopDelay, Settings::default()).unwrap();
    while node.step(&mut sensor, &mut port).is_ok() {}
    waited_for.done();
    let expected = port.lines();

    let mut memory = [0.0; 64];
    let mut node = Node::new(checked(&model), None, 3, &mut memory).unwrap();
    let mut awaited = bus(transactions());
    pollster::block_on(async {
        let bus = &mut awaited;
        let mut sensor = Lis3dh::new_i2c_without_config(bus, SlaveAddr::Default).await;
        loop {
            let outcome = next(&mut sensor, &mut NoopDelay, node.room()).await;
            if node.take(outcome, &mut port).is_err() {
                break;
            }
        }
    });
    awaited.done();
    assert_eq!(port.lines(), expected);
    assert_eq!(expected.len(), 4, "{expected:?}");
    assert_eq!(expected[3], "fault 3 no-answer");
}
