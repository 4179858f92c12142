//! What the tests share: a flash that obeys the rules of flash and can lose its power, and models.

#![allow(dead_code, reason = "every test file uses its own part")]

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_write,
};
use fluxlet::Base;
use fluxlet::bijection::{Layer, Shape};
use fluxlet::model::Parts;
use fluxlet_slots::{Region, Room, Slots};

/// How far the step goes in which the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Torn {
    /// Not begun.
    Nothing,
    /// Some of the bits have changed.
    Some,
    /// All of them; only what follows is missing.
    All,
}

/// Contents of a flash, which outlive the device's power.
pub(crate) struct Cells {
    bytes: RefCell<Vec<u8>>,
    /// Words that were programmed since their block was erased.
    programmed: RefCell<Vec<bool>>,
    /// Erasures of each block.
    pub(crate) wear: RefCell<Vec<u32>>,
    /// Words programmed and blocks erased, in all.
    pub(crate) steps: Cell<usize>,
    /// The step in which the power fails.
    cut: Cell<Option<(usize, Torn)>>,
    noise: Cell<u64>,
}

/// Flash that programs words of `WRITE` bytes and erases blocks of `ERASE`.
///
/// A word is programmed once after an erasure, which is what the strictest parts ask for; a step that
/// the power fails in leaves any of its bits changed or not.
#[derive(Clone)]
pub(crate) struct Flash<const WRITE: usize, const ERASE: usize>(pub(crate) Rc<Cells>);

/// Slots of 2048 bytes behind 2048 bytes of something else.
pub(crate) const REGION: Region = Region { start: 2048, slot_bytes: 2048 };
pub(crate) const ROOM: Room = Room { input_len: 64, work_len: 256 };
const CAPACITY: usize = 8192;

impl<const WRITE: usize, const ERASE: usize> Flash<WRITE, ERASE> {
    /// As it leaves the factory.
    pub(crate) fn erased() -> Self {
        Self(Rc::new(Cells {
            bytes: RefCell::new(vec![0xff; CAPACITY]),
            programmed: RefCell::new(vec![false; CAPACITY / WRITE]),
            wear: RefCell::new(vec![0; CAPACITY / ERASE]),
            steps: Cell::new(0),
            cut: Cell::new(None),
            noise: Cell::new(0x9e37_79b9_7f4a_7c15),
        }))
    }

    /// A copy with contents of its own, without wear and steps.
    pub(crate) fn twin(&self) -> Self {
        let twin = Self::erased();
        *twin.0.bytes.borrow_mut() = self.0.bytes.borrow().clone();
        *twin.0.programmed.borrow_mut() = self.0.programmed.borrow().clone();
        twin
    }

    /// The power fails in step `step`, counted from 0, from now on.
    pub(crate) fn cut_at(&self, step: usize, torn: Torn, seed: u64) {
        self.0.cut.set(Some((self.0.steps.get() + step, torn)));
        self.0.noise.set(0x9e37_79b9_7f4a_7c15 ^ seed.wrapping_mul(0xd134_2543_de82_ef95));
    }

    pub(crate) fn power_on(&self) {
        self.0.cut.set(None);
    }

    pub(crate) fn bytes(&self, range: Range<u32>) -> Vec<u8> {
        self.0.bytes.borrow()[range.start as usize..range.end as usize].to_vec()
    }

    /// Puts bytes there that no driver wrote.
    pub(crate) fn put(&self, offset: u32, bytes: &[u8]) {
        let start = offset as usize;
        self.0.bytes.borrow_mut()[start..start + bytes.len()].copy_from_slice(bytes);
        self.0.programmed.borrow_mut()[start / WRITE..(start + bytes.len()).div_ceil(WRITE)]
            .fill(true);
    }

    pub(crate) fn open(
        &self,
    ) -> Slots<Self, impl Fn(Range<u32>) -> &'static [u8] + use<WRITE, ERASE>> {
        self.open_with(ROOM)
    }

    /// Starts the device.
    pub(crate) fn open_with(
        &self,
        room: Room,
    ) -> Slots<Self, impl Fn(Range<u32>) -> &'static [u8] + use<WRITE, ERASE>> {
        self.power_on();
        Slots::open(self.clone(), self.mapped(), REGION, room).unwrap()
    }

    /// The bytes of a range. A test cannot see memory change under a reference: each look gets a copy.
    pub(crate) fn mapped(&self) -> impl Fn(Range<u32>) -> &'static [u8] + use<WRITE, ERASE> {
        let cells = self.clone();
        move |range| {
            let bytes = cells.bytes(range);
            let mut words = vec![0_u32; bytes.len() / 4];
            bytemuck::cast_slice_mut(&mut words).copy_from_slice(&bytes);
            bytemuck::cast_slice(words.leak())
        }
    }

    /// The model that the device runs when it starts: the model's bytes, if it has one.
    pub(crate) fn runs(&self) -> Option<Vec<u8>> {
        let current = self.open().current()?;
        let start = REGION.slot(current.slot).start + fluxlet_slots::HEADER_BYTES as u32;
        Some(self.bytes(start..start + current.header.model_bytes))
    }

    /// Starts the device, gives it a model in chunks of that many bytes, and tells how that ended.
    pub(crate) fn update(&self, model: &[u8], chunk: usize) -> Result<(), fluxlet_slots::Refusal> {
        update(&mut self.open(), model, chunk)
    }

    /// Counts a step; whether power lasts through it, or how far it goes.
    fn step(&self) -> Option<Torn> {
        let step = self.0.steps.get();
        let cut = self.0.cut.get();
        if let Some((at, _)) = cut.filter(|(at, _)| step > *at) {
            panic!("the power failed in step {at}, and step {step} was tried");
        }
        self.0.steps.set(step + 1);
        cut.filter(|(at, _)| step == *at).map(|(_, torn)| torn)
    }

    fn noise(&self) -> u8 {
        let mut x = self.0.noise.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.noise.set(x);
        (x >> 32) as u8
    }

    /// Changes a byte, or those of its bits that chance takes.
    fn change(&self, at: usize, new: u8, torn: Option<Torn>) {
        let changed = match torn {
            None | Some(Torn::All) => 0xff,
            Some(Torn::Nothing) => 0,
            Some(Torn::Some) => self.noise(),
        };
        let byte = &mut self.0.bytes.borrow_mut()[at];
        *byte = (new & changed) | (*byte & !changed);
    }
}

pub(crate) fn update<const WRITE: usize, const ERASE: usize>(
    slots: &mut Slots<Flash<WRITE, ERASE>, impl Fn(Range<u32>) -> &'static [u8]>,
    model: &[u8],
    chunk: usize,
) -> Result<(), fluxlet_slots::Refusal> {
    let mut update = slots.update(model.len() as u32)?;
    for chunk in model.chunks(chunk) {
        update.push(chunk)?;
    }
    update.finish().map(drop)
}

impl<const WRITE: usize, const ERASE: usize> ErrorType for Flash<WRITE, ERASE> {
    type Error = NorFlashErrorKind;
}

impl<const WRITE: usize, const ERASE: usize> ReadNorFlash for Flash<WRITE, ERASE> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        bytes.copy_from_slice(&self.bytes(offset..offset + bytes.len() as u32));
        Ok(())
    }

    fn capacity(&self) -> usize {
        CAPACITY
    }
}

impl<const WRITE: usize, const ERASE: usize> NorFlash for Flash<WRITE, ERASE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        check_erase(self, from, to)?;
        for block in (from as usize..to as usize).step_by(ERASE) {
            let torn = self.step();
            self.0.wear.borrow_mut()[block / ERASE] += 1;
            (block..block + ERASE).for_each(|at| self.change(at, 0xff, torn));
            let clean = torn.is_none_or(|torn| torn == Torn::All);
            let words = block / WRITE..(block + ERASE) / WRITE;
            if clean {
                self.0.programmed.borrow_mut()[words].fill(false);
            }
            if torn.is_some() {
                return Err(NorFlashErrorKind::Other);
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        check_write(self, offset, bytes.len())?;
        for (at, word) in (offset as usize..).step_by(WRITE).zip(bytes.chunks(WRITE)) {
            let torn = self.step();
            let programmed = self.0.programmed.borrow_mut()[at / WRITE].then_some(at);
            assert_eq!(programmed, None, "a word is programmed twice");
            self.0.programmed.borrow_mut()[at / WRITE] = torn != Some(Torn::Nothing);
            // Programming only clears bits.
            for (at, byte) in (at..).zip(word) {
                let old = self.0.bytes.borrow()[at];
                self.change(at, old & byte, torn);
            }
            if torn.is_some() {
                return Err(NorFlashErrorKind::Other);
            }
        }
        Ok(())
    }
}

/// A model of one affine layer over `dim` numbers, another for every `shift`.
pub(crate) fn model(dim: usize, shift: f32) -> Vec<u8> {
    let mut weights = vec![shift; dim];
    weights.extend(vec![1.0; dim]);
    weights.push(0.0);
    let layers = [(Layer::Affine, Shape::new(dim, 0, 0))];
    let parts = Parts {
        dim,
        context: 0,
        layers: &layers,
        base: Base::Normal,
        weights: &weights,
        sections: &[(*b"NOTE", b"any bytes")],
    };
    let mut bytes = vec![0; parts.byte_len()];
    parts.write(&mut bytes);
    bytes
}
