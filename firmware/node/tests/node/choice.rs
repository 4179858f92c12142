//! Which model a node runs, and what it tells of those that it cannot.

use fluxlet_node::{Slot, choose};
use fluxlet_slots::{HEADER_BYTES, Header};

use crate::support::{Port, checked, model};

const MEMORY_LEN: usize = 64;

/// A slot with this model in it.
fn slot(model: &[u8], sequence: u32) -> Vec<u8> {
    let header = Header::new(&checked(model), sequence).to_bytes();
    // The model's end is not the slot's.
    [&header[..], model, &[0xff; 64]].concat()
}

/// Where the model is that runs, and the lines told before.
fn chosen(a: &[u8], b: &[u8], built_in: &[u8], memory_len: usize) -> (String, Vec<String>) {
    let mut port = Port::default();
    let chosen = choose([a, b], built_in, 3, memory_len, &mut port);
    let place = chosen.map_or("nowhere", |(_, slot)| slot.map_or("built-in", Slot::name));
    (place.to_string(), port.lines())
}

#[test]
fn the_later_slot_counts_and_empty_ones_are_no_news() {
    let model = model(3, 0, "");
    let (old, new, empty) = (slot(&model, 7), slot(&model, 8), vec![0xff; 256]);
    let place = |a: &[u8], b: &[u8]| chosen(a, b, &model, MEMORY_LEN);
    assert_eq!(place(&old, &new), ("b".to_string(), vec![]));
    assert_eq!(place(&new, &old), ("a".to_string(), vec![]));
    assert_eq!(place(&empty, &old), ("b".to_string(), vec![]));
    assert_eq!(place(&empty, &empty), ("built-in".to_string(), vec![]));
}

#[test]
fn where_the_later_model_cannot_run_the_older_one_does() {
    let good = model(3, 0, "");
    let old = slot(&good, 7);
    let mut damaged = slot(&good, 8);
    damaged[HEADER_BYTES + 30] ^= 1;
    let cases = [
        (damaged, "the model is damaged: its checksum does not fit its bytes"),
        (slot(&model(6, 0, ""), 8), "the model reads 6 channels, the sensor has 3"),
        (
            slot(&model(3, 2, ""), 8),
            "the model wants 2 context variables behind each reading, the sensor gives none",
        ),
    ];
    for (new, reason) in cases {
        let (place, lines) = chosen(&old, &new, &good, MEMORY_LEN);
        assert_eq!(lines, [format!("refused {reason}")]);
        assert_eq!(place, "a");
    }
}

#[test]
fn a_node_that_no_model_fits_says_so() {
    let model = model(3, 0, "");
    let (place, lines) = chosen(&slot(&model, 1), &[], &model, 11);
    let reason = "refused the model needs 48 bytes of memory to run, this node has 44 for it";
    assert_eq!(lines, [reason, reason]);
    assert_eq!(place, "nowhere");
    let (place, lines) = chosen(&[], &[], b"no model", MEMORY_LEN);
    assert_eq!(lines, ["refused not a fluxlet model: it does not begin with \"FLXM\""]);
    assert_eq!(place, "nowhere");
}
