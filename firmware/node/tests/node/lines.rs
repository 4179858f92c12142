//! The lines of a node, field by field.

use fluxlet::features;
use fluxlet::model::tag;
use fluxlet_node::{Fault, Node, Sensor, Slot};

use crate::support::{Port, checked, model, pack};

/// A sensor that plays readings.
struct Player<'r>(&'r [[f32; 3]]);

impl Sensor for Player<'_> {
    const CHANNELS: usize = 3;

    fn read(&mut self, reading: &mut [f32]) -> Result<(), Fault> {
        let (next, rest) = self.0.split_first().ok_or(Fault::NoAnswer)?;
        self.0 = rest;
        reading.copy_from_slice(next);
        Ok(())
    }
}

fn play(node: &mut Node<'_, '_>, port: &mut Port, readings: &[[f32; 3]]) {
    let mut player = Player(readings);
    for _ in readings {
        node.obey(port);
        node.step(&mut player, port).unwrap();
    }
}

#[test]
fn commands_tell_the_model_and_record() {
    let (bytes, mut memory, mut port) = (model(3, 0, ""), [0.0; 64], Port::default());
    let mut node = Node::new(checked(&bytes), Some(Slot::B), 3, &mut memory).unwrap();
    port.commands.extend(b"mxr");
    play(&mut node, &mut port, &[[1.0, -0.25, 1e-9]]);
    port.commands.extend(b"s");
    play(&mut node, &mut port, &[[0.0, 0.0, 1.0]]);
    let checksum = u32::from_le_bytes(bytes[16..20].try_into().unwrap());
    let log_prob = fluxlet::log_prob(&checked(&bytes), &[1.0, -0.25, 1e-9], &mut [0.0; 64]);
    let lines = port.lines();
    assert_eq!(lines[0], format!("model {checksum:08x} 3 b"));
    assert_eq!(lines[1], "sample 1.0 -0.25 1e-9");
    let fields: Vec<&str> = lines[2].split(' ').collect();
    assert_eq!([fields[0], fields[1], fields[4], fields[5]], ["score", "0", "none", "-"]);
    assert_eq!(fields[2].parse(), Ok(log_prob), "the decimal is exact");
    assert_eq!(lines.len(), 4, "{lines:?}");
}

#[test]
fn an_alarm_names_the_input_to_blame() {
    let bytes = model(3, 0, "fan x\nfan y\nfan z");
    let (mut memory, mut port) = ([0.0; 64], Port::default());
    let mut node = Node::new(checked(&bytes), Some(Slot::A), 3, &mut memory).unwrap();
    let broken = [0.0, 9.0, 1.0];
    play(&mut node, &mut port, &[broken, [0.0, 0.0, 1.0], broken, [f32::NAN, 0.0, 1.0]]);
    let lines = port.lines();
    // Without a normal reading nothing is known of the channels.
    assert!(lines[0].ends_with(" 0.01 improbable -"), "{lines:?}");
    assert!(lines[1].ends_with(" none -"), "{lines:?}");
    assert!(lines[2].ends_with(" 0.01 improbable fan_y"), "{lines:?}");
    assert!(lines[3].ends_with("score 3 -1e30 0.01 not-finite fan_x"), "{lines:?}");
}

#[test]
fn a_model_without_calibration_has_no_p_value() {
    let (bytes, mut memory, mut port) = (pack(3, 0, &[]), [0.0; 64], Port::default());
    let mut node = Node::new(checked(&bytes), Some(Slot::A), 3, &mut memory).unwrap();
    play(&mut node, &mut port, &[[0.0; 3]]);
    assert!(port.lines()[0].ends_with(" - none -"));
}

#[test]
fn a_window_is_as_long_as_the_front_end_says() {
    let window = features::Window { channels: 3, window: 8, bands: 2, floor: 1e-6 };
    let mut payload = vec![0; window.payload_len()];
    let mut dct = vec![0.0; (window.payload_len() - 12) / 4];
    window.write(&mut dct, &mut payload);
    let bytes = pack(12, 0, &[(tag::FEATURES, &payload)]);
    let (mut memory, mut port) = ([0.0; 128], Port::default());
    let mut node = Node::new(checked(&bytes), None, 3, &mut memory).unwrap();
    let readings: Vec<[f32; 3]> = (0..17).map(|i| [i as f32, 1.0, -(i as f32)]).collect();
    play(&mut node, &mut port, &readings);
    node.tell_model(&mut port);
    let lines = port.lines();
    let expected =
        fluxlet::log_prob(&checked(&bytes), readings[8..16].as_flattened(), &mut [0.0; 128]);
    assert!(lines[1].starts_with(&format!("score 1 {expected:?} ")), "{lines:?}, {expected}");
    assert!(lines[2].ends_with(" 24 built-in"), "{lines:?}");
    assert_eq!(lines.len(), 3, "{lines:?}");
}
