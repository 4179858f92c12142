//! What is wrong with a sensor has a defined line and ends nothing: every transaction of the bus is
//! expected, none is missing, and the next good window is scored.

use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_hal_mock::eh1::i2c::Transaction;
use fluxlet_node::{Accelerometer, Fault, Node, Settings, watch};

use crate::support::{ADDRESS, Port, bus, checked, model, nothing, reading, start};

const NO_ANSWER: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
const AT_REST: [i16; 3] = [0, 100, 1000];

fn node<'m, 'b>(model: &'m [u8], memory: &'b mut [f32]) -> Node<'m, 'b> {
    Node::new(checked(model), None, 3, memory).unwrap()
}

#[test]
fn a_sensor_that_does_not_answer_is_started_again() {
    let (model, mut memory, mut port) = (model(3, 0, "x\ny\nz"), [0.0; 64], Port::default());
    let mut node = node(&model, &mut memory);
    let [look, _] = reading(AT_REST);
    let nak = |transaction: Transaction| vec![transaction.with_error(NO_ANSWER)];
    let mut bus = bus([
        nak(start().swap_remove(0)),
        start(),
        reading(AT_REST).to_vec(),
        nak(look.clone()),
        start(),
        reading(AT_REST).to_vec(),
        nak(look),
    ]
    .concat());
    for _ in 0..3 {
        watch(&mut node, &mut bus, &mut NoopDelay, &mut port);
    }
    bus.done();
    let lines = port.lines();
    for window in [0, 2, 4] {
        assert_eq!(lines[window], format!("fault {window} no-answer"));
    }
    assert!(lines[1].starts_with("score 1 ") && lines[3].starts_with("score 3 "), "{lines:?}");
}

#[test]
fn another_part_at_the_address_is_no_answer() {
    let mut bus = bus([Transaction::write_read(ADDRESS, vec![0x0f], vec![0x32])]);
    let started = Accelerometer::start(&mut bus, NoopDelay, Settings::default());
    assert_eq!(started.err(), Some(Fault::NoAnswer));
    bus.done();
}

#[test]
fn a_sensor_without_new_readings_is_no_answer_after_four_periods() {
    let (model, mut memory, mut port) = (model(3, 0, ""), [0.0; 64], Port::default());
    let mut node = node(&model, &mut memory);
    let mut bus = bus([start(), vec![nothing(); 32]].concat());
    let mut sensor = Accelerometer::start(&mut bus, NoopDelay, Settings::default()).unwrap();
    assert_eq!(node.step(&mut sensor, &mut port), Err(Fault::NoAnswer));
    assert_eq!(port.lines(), ["fault 0 no-answer"]);
    bus.done();
}

#[test]
fn a_reading_at_either_end_of_the_range_is_saturated() {
    let (model, mut memory, mut port) = (model(3, 0, ""), [0.0; 64], Port::default());
    let mut node = node(&model, &mut memory);
    let readings = [[0, 0, 2047], [0, 0, 2046], [-2048, 0, 0], [-2047, 0, 0]];
    let mut bus = bus(start().into_iter().chain(readings.into_iter().flat_map(reading)));
    let mut sensor = Accelerometer::start(&mut bus, NoopDelay, Settings::default()).unwrap();
    for _ in readings {
        assert_eq!(node.step(&mut sensor, &mut port), Ok(()));
    }
    let lines = port.lines();
    assert_eq!([&lines[0], &lines[2]], ["fault 0 saturated", "fault 2 saturated"]);
    assert!(lines[1].starts_with("score 1 ") && lines[3].starts_with("score 3 "), "{lines:?}");
    bus.done();
}

#[test]
fn a_sensor_that_repeats_itself_is_stuck_until_it_does_not() {
    let (model, mut memory, mut port) = (model(3, 0, ""), [0.0; 64], Port::default());
    let mut node = node(&model, &mut memory);
    let readings = [vec![AT_REST; 33], vec![[1, 100, 1000]]].concat();
    let mut bus = bus(start().into_iter().chain(readings.iter().copied().flat_map(reading)));
    let mut sensor = Accelerometer::start(&mut bus, NoopDelay, Settings::default()).unwrap();
    for _ in readings {
        assert_eq!(node.step(&mut sensor, &mut port), Ok(()));
    }
    let lines = port.lines();
    assert!(lines[..31].iter().all(|line| line.starts_with("score ")), "{lines:?}");
    assert_eq!(lines[31..33], ["fault 31 stuck", "fault 32 stuck"]);
    assert!(lines[33].starts_with("score 33 "), "{lines:?}");
    bus.done();
}
