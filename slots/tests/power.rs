//! Power fails at every single write and erasure of an update: the device comes up with the model that
//! ran or with the new one, whole, and takes the next update.

mod support;

use support::{Flash, Torn, model, update};

const TORN: [Torn; 3] = [Torn::Nothing, Torn::Some, Torn::All];

/// Cuts an update from `flash` to `new` at each of its steps; gives the number of cuts.
fn cut_everywhere<const WRITE: usize, const ERASE: usize>(
    flash: &Flash<WRITE, ERASE>,
    new: &[u8],
    chunk: usize,
) -> usize {
    let old = flash.runs();
    let whole = flash.twin();
    assert_eq!(whole.update(new, chunk), Ok(()));
    assert_eq!(whole.runs().as_deref(), Some(new));
    let steps = whole.0.steps.get();
    let mut came_up = [0, 0];
    for step in 0..steps {
        for (i, torn) in TORN.into_iter().enumerate() {
            let flash = flash.twin();
            let mut slots = flash.open();
            flash.cut_at(step, torn, (3 * step + i) as u64);
            let place = format!("step {step} of {steps}, {torn:?} of it done");
            assert!(update(&mut slots, new, chunk).is_err(), "{place}");
            let runs = flash.runs();
            let is_new = runs.as_deref() == Some(new);
            assert!(is_new || runs == old, "{place}: neither the old nor the new model runs");
            came_up[usize::from(is_new)] += 1;
            // Whatever the cut left, the next model finds its place.
            let next = model(30, 3.0);
            assert_eq!(flash.update(&next, chunk), Ok(()), "{place}");
            assert_eq!(flash.runs(), Some(next), "{place}");
        }
    }
    // All but the last steps, the header's, leave the old model.
    assert_eq!(came_up[0] + came_up[1], 3 * steps);
    assert!((1..=3 * 32).contains(&came_up[1]), "{came_up:?}");
    3 * steps
}

#[test]
fn the_first_model_comes_whole_or_not_at_all() {
    let new = model(20, 1.0);
    for chunk in [1, 7, 64, 4096] {
        cut_everywhere(&Flash::<4, 512>::erased(), &new, chunk);
    }
    let cuts = cut_everywhere(&Flash::<1, 256>::erased(), &new, 50)
        + cut_everywhere(&Flash::<8, 2048>::erased(), &new, 50)
        + cut_everywhere(&Flash::<32, 1024>::erased(), &new, 50);
    assert!(cuts > 500, "{cuts} cuts are not every write");
}

#[test]
fn the_second_of_two_updates_leaves_the_first_or_itself() {
    fn both<const WRITE: usize, const ERASE: usize>() {
        let flash = Flash::<WRITE, ERASE>::erased();
        let mut old = None;
        // The third overwrites the first: its slot is not empty.
        for (dim, shift) in [(20, 1.0), (40, 2.0), (10, -1.0), (33, 4.0)] {
            let new = model(dim, shift);
            assert_eq!(flash.runs(), old);
            cut_everywhere(&flash, &new, 37);
            flash.update(&new, 37).unwrap();
            old = Some(new);
        }
    }
    both::<1, 256>();
    both::<4, 2048>();
    both::<8, 512>();
    both::<32, 1024>();
}

#[test]
fn garbage_in_the_spare_slot_is_no_hindrance() {
    let flash = Flash::<4, 512>::erased();
    flash.update(&model(20, 1.0), 64).unwrap();
    let garbage: Vec<u8> = (0..2048_u32).map(|i| (i * i + i / 7) as u8).collect();
    flash.put(4096, &garbage);
    cut_everywhere(&flash, &model(40, 2.0), 64);
    // A whole header before garbage, of a sequence number that would win.
    let header = fluxlet_slots::Header { sequence: 9, model_bytes: 500, checksum: 1 };
    flash.put(4096, &header.to_bytes());
    cut_everywhere(&flash, &model(40, 2.0), 64);
}

#[test]
fn sequence_numbers_go_round_in_the_middle_of_updates() {
    let flash = Flash::<4, 512>::erased();
    flash.update(&model(20, 1.0), 64).unwrap();
    let current = flash.open().current().unwrap();
    let header = fluxlet_slots::Header { sequence: u32::MAX - 1, ..current.header };
    flash.put(2048, &header.to_bytes());
    for (i, sequence) in [u32::MAX, 0, 1].into_iter().enumerate() {
        let new = model(10 + i, i as f32);
        cut_everywhere(&flash, &new, 64);
        flash.update(&new, 64).unwrap();
        assert_eq!(flash.open().current().unwrap().header.sequence, sequence);
    }
}

#[test]
fn the_model_that_runs_is_not_touched_however_many_updates_a_device_gets_before_it_restarts() {
    let flash = Flash::<4, 512>::erased();
    let old = model(20, 1.0);
    flash.update(&old, 64).unwrap();
    let mut slots = flash.open();
    let running = slots.current().unwrap();
    update(&mut slots, &model(40, 2.0), 64).unwrap();
    // The second overwrites the first. Cut, it leaves the one that ran.
    flash.cut_at(50, Torn::Some, 1);
    assert!(update(&mut slots, &model(40, 3.0), 64).is_err());
    assert_eq!(slots.current().unwrap().header, running.header);
    assert_eq!(flash.runs(), Some(old));
}

#[test]
fn an_update_erases_no_more_than_its_model_takes_and_that_once() {
    let flash = Flash::<4, 512>::erased();
    let wear = || flash.0.wear.borrow().clone();
    // Header and model: 32 + 508 bytes are two blocks of the four of slot a.
    let model = model(55, 1.0);
    assert_eq!(model.len(), 20 + 8 + 4 * 111 + 20);
    flash.update(&model[..], 64).unwrap();
    assert_eq!(wear()[4..12], [1, 1, 0, 0, 0, 0, 0, 0]);
    flash.update(&model[..], 64).unwrap();
    assert_eq!(wear()[4..12], [1, 1, 0, 0, 1, 1, 0, 0]);
    // Of what is beside the slots nothing.
    assert_eq!([&wear()[..4], &wear()[12..]].concat(), [0; 8]);
}
