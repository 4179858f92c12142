//! Models that a device cannot run are refused where they arrive, with the reason; the old one stays.

mod support;

use embedded_storage::nor_flash::NorFlashErrorKind;
use fluxlet::Error;
use fluxlet_slots::{HEADER_BYTES, Header, Refusal, Region, Room, Slot, Slots, newest, read};
use support::{Flash, REGION, ROOM, model, update};

type Nor = Flash<4, 512>;

/// Writes the checksum that fits a model's other bytes, as a hostile writer would.
fn fix_checksum(bytes: &mut [u8]) {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    let mut digest = crc.digest();
    digest.update(&bytes[..16]);
    digest.update(&bytes[20..]);
    let checksum = digest.finalize().to_le_bytes();
    bytes[16..20].copy_from_slice(&checksum);
}

/// A good model with a byte changed and a checksum that fits.
fn changed(at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = model(20, 2.0);
    bytes[at] = byte;
    fix_checksum(&mut bytes);
    bytes
}

/// Checks that a device keeps its model when it gets `bytes`; gives the reason in words.
fn refused(bytes: &[u8], room: Room) -> String {
    let flash = Nor::erased();
    let old = model(20, 1.0);
    flash.update(&old, 64).unwrap();
    let mut slots = flash.open_with(room);
    let before = slots.current().unwrap().header;
    let refusal = update(&mut slots, bytes, 100).unwrap_err();
    assert_eq!(slots.current().unwrap().header, before);
    assert_eq!(flash.runs(), Some(old));
    refusal.to_string()
}

#[test]
fn what_a_device_cannot_run_is_refused_with_its_sizes_or_its_name() {
    let good = model(20, 2.0);
    let mut damaged = good.clone();
    damaged[60] ^= 4;
    for (bytes, reason) in [
        (changed(4, 2), "the model has format version 2, this reader knows version 1"),
        (changed(20, 0x7e), "layer 0 has the unknown code 0x7e: a newer version wrote this model"),
        (damaged, "the model is damaged: its checksum does not fit its bytes"),
        (changed(111, 0x7f), "layer 0 has weights that no such layer can have"),
        (good[..100].to_vec(), "the model has 100 bytes instead of 212: it was cut short"),
        ([&good[..], &[0; 4]].concat(), "the model has 216 bytes instead of 212: bytes were added"),
        (
            b"id,x\n1,2.0\n3,4.0\n5,6.0\n".to_vec(),
            "not a fluxlet model: it does not begin with \"FLXM\"",
        ),
        (Vec::new(), "the model has 0 bytes instead of 20: it was cut short"),
        (model(65, 2.0), "the model wants inputs of 65 numbers, there is room for 64"),
        (model(250, 2.0), "the model has 2052 bytes, a slot has room for 2016"),
    ] {
        assert_eq!(refused(&bytes, ROOM), reason);
    }
    let room = Room { work_len: 40, ..ROOM };
    let reason = "the model needs 60 numbers of work memory, there is room for 40";
    assert_eq!(refused(&model(60, 2.0), room), reason);
}

#[test]
fn a_transfer_that_is_not_what_was_announced_is_refused() {
    let flash = Nor::erased();
    let good = model(20, 2.0);
    let mut slots = flash.open();
    let truncated = |expected, found| Err(Refusal::Model(Error::Truncated { expected, found }));
    let mut short = slots.update(good.len() as u32).unwrap();
    short.push(&good[..211]).unwrap();
    assert_eq!(short.finish().map(drop), truncated(212, 211));
    let mut long = slots.update(good.len() as u32).unwrap();
    long.push(&good).unwrap();
    let expected = Error::TrailingBytes { expected: 212, found: 213 };
    assert_eq!(long.push(&[0]), Err(Refusal::Model(expected)));
    // Given up: nothing is left that a start could take for a model.
    assert!(flash.open().current().is_none());
    assert_eq!(flash.open().check(Slot::A).map(drop), Err(Refusal::Empty));
}

#[test]
fn a_newer_model_that_a_start_refuses_leaves_the_older_one_running() {
    // As a computer writes it that does not ask.
    let put = |flash: &Nor, model: &[u8], sequence| {
        let checksum = u32::from_le_bytes(model[16..20].try_into().unwrap());
        let header = Header { sequence, model_bytes: model.len() as u32, checksum };
        flash.put(4096, &[&header.to_bytes()[..], model].concat());
    };
    let mut damaged = model(20, 2.0);
    damaged[60] ^= 4;
    for (model, refusal) in [
        (changed(4, 2), Refusal::Model(Error::Version { found: 2 })),
        (changed(20, 0x7e), Refusal::Model(Error::UnknownLayer { layer: 0, code: 0x7e })),
        (damaged, Refusal::Model(Error::Checksum)),
        (model(65, 2.0), Refusal::InputTooLong { model: 65, room: 64 }),
    ] {
        let flash = Nor::erased();
        let old = support::model(20, 1.0);
        flash.update(&old, 64).unwrap();
        put(&flash, &model, 7);
        assert_eq!(flash.open().check(Slot::B).map(drop), Err(refusal));
        assert_eq!(flash.runs(), Some(old));
        // The next update takes the refused one's place.
        let new = support::model(30, 3.0);
        flash.update(&new, 64).unwrap();
        assert_eq!(flash.runs(), Some(new));
    }
}

#[test]
fn a_header_before_another_model_is_found_out() {
    let flash = Nor::erased();
    flash.update(&model(20, 1.0), 64).unwrap();
    let other = model(20, 2.0);
    flash.put(REGION.start + HEADER_BYTES as u32, &other);
    let slots = flash.open();
    assert_eq!(slots.check(Slot::A).map(drop), Err(Refusal::Mismatch));
    assert!(slots.current().is_none());
}

#[test]
fn a_header_that_lies_about_its_length_is_found_out() {
    let header = |model_bytes| Header { sequence: 1, model_bytes, checksum: 5 }.to_bytes();
    let mut slot = vec![0xff; 2048];
    for model_bytes in [0, 1, 19, 20, 2016, 2017, u32::MAX - 31, u32::MAX] {
        slot[..HEADER_BYTES].copy_from_slice(&header(model_bytes));
        assert!(read(Slot::A, &slot, ROOM).is_err(), "{model_bytes}");
        assert!(newest([&slot, &[]], ROOM).is_none(), "{model_bytes}");
    }
}

#[test]
fn a_region_that_the_flash_cannot_erase_by_itself_is_refused() {
    let nothing = |_| -> &'static [u8] { &[] };
    for (start, slot_bytes) in [
        (100, 2048),
        (2048, 2000),
        (2048, 4096),
        (u32::MAX - 511, 512),
        (0, 0),
        (0, u32::MAX - 511),
    ] {
        let region = Region { start, slot_bytes };
        let refusal = Slots::open(Nor::erased(), nothing, region, ROOM).err();
        let expected = Refusal::Region { erase_bytes: 512, flash_bytes: 8192 };
        assert_eq!(refusal, Some(expected), "{region:?}");
    }
    // Flash that is not mapped has no model, and gets none.
    let mut slots = Slots::open(Nor::erased(), nothing, REGION, ROOM).unwrap();
    assert!(slots.current().is_none());
    assert!(update(&mut slots, &model(20, 1.0), 64).is_err());
}

#[test]
fn a_flash_that_fails_is_named() {
    let flash = Nor::erased();
    let mut slots = flash.open();
    flash.cut_at(0, support::Torn::Nothing, 0);
    let refusal = slots.update(212).map(drop).unwrap_err();
    assert_eq!(refusal, Refusal::Flash(NorFlashErrorKind::Other));
    assert!(refusal.to_string().starts_with("the flash refused: "), "{refusal}");
}
