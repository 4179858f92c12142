//! A new model over the line: what the far end answers, and what becomes of it.

use std::collections::VecDeque;
use std::convert::Infallible;

use crc::{CRC_32_ISO_HDLC, Crc};
use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_io::{ErrorType, Read, ReadReady, Write};
use fluxlet_node::{Storage, Writable, serve, update};

use crate::flash::{Flash, REGION, model};
use crate::support::{bus, checked};

type Nor = Flash<4, 512>;

/// The far end of a line, which has a model to give.
struct FarEnd<A> {
    /// The bytes that it sends where the node asks for what follows byte N, the question's number first.
    answer: A,
    questions: usize,
    told: String,
    on_the_way: VecDeque<u8>,
}

impl<A: FnMut(usize, usize) -> Vec<u8>> FarEnd<A> {
    fn new(answer: A) -> Self {
        Self { answer, questions: 0, told: String::new(), on_the_way: VecDeque::new() }
    }

    /// The lines other than questions that the node tells while it takes a model into `flash`.
    fn give(flash: &Nor, answer: A) -> Vec<String> {
        let mut far = Self::new(answer);
        update(&mut flash.open(), &mut far, &mut NoopDelay);
        far.lines()
    }

    /// The lines other than questions.
    fn lines(&self) -> Vec<String> {
        let lines = self.told.lines().filter(|line| !line.starts_with("update "));
        lines.map(str::to_string).collect()
    }

    /// Announces a model to a node that starts with what `storage` has.
    fn announce(&mut self, storage: &mut impl Storage, built_in: &[u8]) {
        self.on_the_way.push_back(b'u');
        let (memory, sensor) = (&mut [0.0; 64], &mut bus([]));
        assert!(serve(storage, built_in, memory, sensor, &mut NoopDelay, self));
        sensor.done();
    }
}

impl<A> ErrorType for FarEnd<A> {
    type Error = Infallible;
}

impl<A: FnMut(usize, usize) -> Vec<u8>> Write for FarEnd<A> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.told += str::from_utf8(bytes).unwrap();
        if bytes.ends_with(b"\n")
            && let Some(position) = self.told.lines().last().unwrap().strip_prefix("update ")
        {
            let answer = (self.answer)(self.questions, position.parse().unwrap());
            self.questions += 1;
            self.on_the_way.extend(answer);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl<A> ReadReady for FarEnd<A> {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!self.on_the_way.is_empty())
    }
}

impl<A> Read for FarEnd<A> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        bytes[0] = self.on_the_way.pop_front().expect("nobody reads from an empty line");
        Ok(1)
    }
}

/// Up to `len` bytes of `model` from `position` on, as the crate's front page draws them.
fn answer(model: &[u8], position: usize, len: usize) -> Vec<u8> {
    let chunk = &model[position..model.len().min(position + len)];
    let [at, total] = [position, model.len()].map(|number| (number as u32).to_le_bytes());
    let content = [&at[..], &total, &[chunk.len() as u8], chunk].concat();
    let checksum = Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(&content).to_le_bytes();
    [&content[..], &checksum].concat()
}

/// A flash with a model, and the model.
fn running() -> (Nor, Vec<u8>) {
    let (flash, old) = (Nor::erased(), model(20, 1.0));
    flash.update(&old, 64).unwrap();
    (flash, old)
}

#[test]
fn a_model_is_taken_in_answers_of_any_length() {
    for len in [1, 7, 128] {
        let ((flash, _), new) = (running(), model(30, 2.0));
        assert_eq!(FarEnd::give(&flash, |_, at| answer(&new, at, len)), [""; 0]);
        assert_eq!(flash.runs(), Some(new), "{len} bytes a time");
    }
}

#[test]
fn damaged_repeated_and_missing_answers_are_asked_for_again() {
    let ((flash, _), new) = (running(), model(30, 2.0));
    let told = FarEnd::give(&flash, |question, at| {
        let mut bytes = answer(&new, at, 64);
        match question % 5 {
            // A bit of the model; the length, which makes the rest another answer's; a byte too few; an
            // answer to the question before.
            0 => bytes[20] ^= 8,
            1 => bytes[8] = 0xff,
            2 => bytes.truncate(40),
            3 if at > 0 => bytes = answer(&new, at - 64, 64),
            _ => {}
        }
        bytes
    });
    assert_eq!(told, [""; 0]);
    assert_eq!(flash.runs(), Some(new));
}

#[test]
fn a_line_that_is_cut_leaves_the_old_model() {
    let new = model(30, 2.0);
    for cut in [0, 1, 64, 128, 200] {
        let (flash, old) = running();
        let told =
            FarEnd::give(&flash, |_, at| if at < cut { answer(&new, at, 64) } else { vec![] });
        assert_eq!(flash.runs(), Some(old));
        let found = 64 * cut.div_ceil(64);
        let told: Vec<&str> = told.iter().map(String::as_str).collect();
        let reason = format!(
            "refused the model has {found} bytes instead of {}: it was cut short",
            new.len()
        );
        assert_eq!(told, if cut == 0 { vec![] } else { vec![reason.as_str()] });
    }
}

#[test]
fn what_the_node_cannot_run_is_refused_and_the_old_model_stays() {
    let mut damaged = model(20, 2.0);
    damaged[60] ^= 4;
    let reason = "refused the model is damaged: its checksum does not fit its bytes";
    let large = "refused the model has 2052 bytes, a slot has room for 2016";
    for (bytes, reason) in [(damaged, reason), (model(250, 2.0), large)] {
        let (flash, old) = running();
        assert_eq!(FarEnd::give(&flash, |_, at| answer(&bytes, at, 128)), [reason]);
        assert_eq!(flash.runs(), Some(old));
    }
}

#[test]
fn each_model_that_came_is_the_next_to_run() {
    let models = [1.0, 2.0, 3.0, 4.0].map(|shift| model(3, shift));
    let flash = Nor::erased();
    let mut storage = Writable { flash: flash.clone(), mapped: flash.mapped(), region: REGION };
    let mut told = Vec::new();
    for new in &models[1..] {
        let mut far = FarEnd::new(|_, at| answer(new, at, 128));
        far.announce(&mut storage, &models[0]);
        told.extend(far.lines());
        assert_eq!(flash.runs().as_ref(), Some(new));
    }
    let line = |model, slot| format!("model {:08x} 3 {slot}", checked(model).checksum());
    let [first, second, third, _] = &models;
    assert_eq!(told, [line(first, "built-in"), line(second, "a"), line(third, "b")]);
}

#[test]
fn slots_for_a_programmer_alone_refuse_a_model() {
    let built_in = model(3, 1.0);
    let mut far = FarEnd::new(|_, _| Vec::new());
    far.announce(&mut [&[][..]; 2], &built_in);
    assert_eq!(far.lines()[1..], ["refused this image takes models through a programmer only"]);
    assert_eq!(far.questions, 0);
}
