//! The packed model: layout, checked reader and writer. `FORMAT.md` tells the same to other
//! languages.
//!
//! ```text
//!  0        4    6    8    10   12       16       20
//! +--------+----+----+----+----+--------+--------+----------------+-------------+---------+----------+
//! | "FLXM" | v  | D  | C  | L  | bytes  | CRC-32 | L layer records | base record | weights | sections |
//! +--------+----+----+----+----+--------+--------+----------------+-------------+---------+----------+
//!   record:  code u8, option u8, argument u16        weights: f32, layer by layer, then the base's
//!   and of a layer with a network, 12 bytes more:
//!            transformer u8, activation and numbers u8, split u16, hidden [u16; 4]
//!   section: tag [u8; 4], length u32, payload
//! ```
//!
//! All little-endian; no alignment is needed. Lengths of weights follow from the records, so that
//! no offset can lie. The checksum covers every byte but its own four.

use core::ops::Range;

use crate::base::Base;
use crate::bijection::{Layer, Shape, option};
use crate::conditioner::{Activation, Network, Numbers};
use crate::detector::Calibration;
use crate::features::FrontEnd;
use crate::weights::{Packed, Weights};

mod error;
mod part;
mod write;

pub use error::Error;
pub use part::Part;
pub use write::Parts;

/// Tag and payload of an optional section.
type Section<'m> = ([u8; 4], &'m [u8]);

mod field {
    use super::Range;

    pub(super) const MAGIC: Range<usize> = 0..4;
    pub(super) const VERSION: Range<usize> = 4..6;
    pub(super) const DIM: Range<usize> = 6..8;
    pub(super) const CONTEXT: Range<usize> = 8..10;
    pub(super) const LAYERS: Range<usize> = 10..12;
    pub(super) const BYTES: Range<usize> = 12..16;
    pub(super) const CHECKSUM: Range<usize> = 16..20;
    pub(super) const HEADER: usize = 20;
    pub(super) const RECORD: usize = 4;
    /// Words of a record, of 4 bytes each, where a network is described.
    pub(super) const NETWORK_WORDS: usize = 4;
    pub(super) const SECTION: usize = 8;
}

/// First four bytes of a model.
pub const MAGIC: [u8; 4] = *b"FLXM";
/// Format version that this crate reads and writes.
pub const VERSION: u16 = 1;
/// Largest D.
pub const MAX_DIM: usize = 4096;

/// Tags of the optional sections. A reader skips tags that it does not know.
pub mod tag {
    /// Feature front end, see [`crate::features`].
    pub const FEATURES: [u8; 4] = *b"FEAT";
    /// Calibration table, see [`crate::detector`].
    pub const CALIBRATION: [u8; 4] = *b"CALI";
    /// Shift and scale of each context variable: what the layers see is (given − shift) scale.
    pub const CONTEXT: [u8; 4] = *b"CNTX";
    /// Names of the inputs, UTF-8, one a line.
    pub const NAMES: [u8; 4] = *b"NAME";
    /// Where the model comes from, UTF-8 text.
    pub const PROVENANCE: [u8; 4] = *b"PROV";
}

/// One layer of a model: what it is and its weights.
#[derive(Clone, Copy, Debug)]
pub struct LayerWeights<'m> {
    /// Which bijection.
    pub layer: Layer,
    /// Its shape.
    pub shape: Shape,
    /// Its weights, [`Layer::weight_len`] numbers.
    pub weights: Packed<'m>,
}

impl LayerWeights<'_> {
    /// Data towards latent: x → z in place; returns ladj. `x` is \[D + C\].
    #[inline(always)]
    pub(crate) fn forward(&self, x: &mut [f32], scratch: &mut [f32]) -> f32 {
        let x = x.get_mut(..self.shape.dim + self.shape.context).unwrap_or_default();
        self.layer.score(self.shape, self.weights, x, scratch, self.shape.inverted)
    }

    /// Latent towards data.
    #[cfg(feature = "inverse")]
    pub(crate) fn inverse(&self, z: &mut [f32], scratch: &mut [f32]) -> f32 {
        let z = z.get_mut(..self.shape.dim + self.shape.context).unwrap_or_default();
        self.layer.score(self.shape, self.weights, z, scratch, !self.shape.inverted)
    }
}

/// A checked model; nothing that it gives out can fail any more.
#[derive(Clone, Copy, Debug)]
pub struct Model<'m> {
    bytes: &'m [u8],
    dim: usize,
    context: usize,
    layers: u16,
    records: &'m [[u8; field::RECORD]],
    weights: Packed<'m>,
    base: Base,
    base_weights: Packed<'m>,
    scratch_len: usize,
    front_end: Option<FrontEnd<'m>>,
    context_scale: Option<Packed<'m>>,
    calibration: Option<Calibration<'m>>,
    names: Option<&'m str>,
    provenance: Option<&'m str>,
}

pub(crate) fn u16_at(bytes: &[u8], at: Range<usize>) -> u16 {
    bytes.get(at).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_le_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: Range<usize>) -> u32 {
    bytes.get(at).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// CRC-32 (ISO-HDLC, that of zip and Ethernet) of all bytes but the checksum's own.
fn checksum(bytes: &[u8]) -> u32 {
    // Without a table, and byte by byte: 1 kB of flash is worth more than the milliseconds at start-up.
    const CRC: crc::Crc<u32, crc::NoTable> =
        crc::Crc::<u32, crc::NoTable>::new(&crc::CRC_32_ISO_HDLC);
    let mut digest = CRC.digest();
    for (i, byte) in bytes.iter().enumerate() {
        if !field::CHECKSUM.contains(&i) {
            digest.update(core::slice::from_ref(byte));
        }
    }
    digest.finalize()
}

/// Whether a layer with a network asks for more weights than a 32-bit processor can count in bytes.
///
/// Without a network the largest is a Sylvester layer, 2²⁵ weights. With one, each of its products
/// has at most `width` rows, the last `outputs` in all, and a row has no more than all inputs, the
/// units before it and a bias. 2²⁸ weights are 2³⁰ bytes, so that neither sums of such lengths nor
/// the scratch space, which holds the network's units twice and its outputs once, leave 32 bits.
fn too_large(layer: Layer, shape: Shape) -> bool {
    let Some((network, _)) = layer.conditioner(shape) else { return false };
    let [dim, context, arg] = [shape.dim, shape.context, shape.arg].map(|n| n as u64);
    let width = shape.network.hidden.iter().copied().max().map_or(0, u64::from);
    let inputs = dim + context + width + 1;
    let outputs = match layer {
        Layer::Conditional => dim * dim.max(arg),
        _ => 4 * dim * (arg + 1),
    };
    (network.layers() as u64 * width + outputs) * inputs > 1 << 28
}

/// Takes the next section, tag and payload, off `rest`; `None` where no more than its end is left.
fn take_section<'m>(rest: &mut &'m [u8]) -> Result<Option<Section<'m>>, Error> {
    let Some((head, after)) = rest.split_at_checked(field::SECTION) else { return Ok(None) };
    let Some((tag, _)) = head.split_first_chunk() else { return Ok(None) };
    let len = u32_at(head, 4..8) as usize;
    let error = Error::Section { tag: *tag };
    let (payload, after) = after.split_at_checked(len).ok_or(error)?;
    // Padded, so that the next one begins at a multiple of four.
    *rest = after.get(len.wrapping_neg() % 4..).ok_or(error)?;
    Ok(Some((*tag, payload)))
}

/// Words of a layer's record, of 4 bytes each.
fn record_words(layer: Layer) -> usize {
    if layer.is_conditioned() { field::NETWORK_WORDS } else { 1 }
}

/// A record read.
struct Record {
    code: u8,
    layer: Option<Layer>,
    shape: Shape,
}

impl Record {
    /// Takes the next record off `words`; `None` where they end within it.
    #[inline(always)]
    fn read(words: &mut &[[u8; field::RECORD]], dim: usize, context: usize) -> Option<Self> {
        let ([code, option, low, high], rest) = words.split_first()?;
        *words = rest;
        let layer = Layer::from_code(*code);
        let arg = usize::from(u16::from_le_bytes([*low, *high]));
        let mut shape = Shape::new(dim, arg, option & !option::INVERTED);
        shape.inverted = option & option::INVERTED != 0;
        // Without such layers in the build there is no code for them: a model that has one is refused.
        if layer.is_some_and(|layer| layer.is_conditioned() && layer.is_included()) {
            let (network, rest) = words.split_first_chunk()?;
            *words = rest;
            let [[transformer, kinds, low, high], [a, b, c, d], [e, f, g, h]] = *network;
            let known = Layer::from_code(transformer)
                .zip(Activation::from_code(kinds & 0x0f))
                .zip(Numbers::from_code(kinds >> 4));
            // What is not known becomes a shape that no layer has.
            let ((transformer, activation), numbers) =
                known.unwrap_or(((Layer::Coupling, Activation::Relu), Numbers::F32));
            shape.numbers = numbers;
            let hidden = [[a, b], [c, d], [e, f], [g, h]].map(u16::from_le_bytes);
            shape.transformer = transformer;
            shape.split = usize::from(u16::from_le_bytes([low, high]));
            shape.network = Network { hidden, activation };
            shape.context = if shape.has(option::CONTEXT) { context } else { 0 };
        }
        Some(Self { code: *code, layer, shape })
    }
}

impl<'m> Model<'m> {
    /// Checks every length, code and weight once; afterwards no accessor can fail.
    ///
    /// # Errors
    ///
    /// [`Error`] names what is wrong with the bytes and where.
    pub fn new_checked(bytes: &'m [u8]) -> Result<Self, Error> {
        let found = bytes.len();
        if found < field::HEADER {
            // A foreign file is told from a cut one by as much of the magic as there is.
            let magic = MAGIC.iter().zip(bytes).all(|(a, b)| a == b);
            let short = Error::Truncated { expected: field::HEADER, found };
            return Err(if magic { short } else { Error::Magic });
        }
        if bytes.get(field::MAGIC) != Some(&MAGIC) {
            return Err(Error::Magic);
        }
        let version = u16_at(bytes, field::VERSION);
        if version != VERSION {
            return Err(Error::Version { found: version });
        }
        let expected = u32_at(bytes, field::BYTES) as usize;
        if found < expected {
            return Err(Error::Truncated { expected, found });
        }
        if found > expected {
            return Err(Error::TrailingBytes { expected, found });
        }
        if u32_at(bytes, field::CHECKSUM) != checksum(bytes) {
            return Err(Error::Checksum);
        }
        Self::new_trusted(bytes)
    }

    /// The checks behind the checksum, which a hostile writer can make fit.
    fn new_trusted(bytes: &'m [u8]) -> Result<Self, Error> {
        let short = Error::Truncated { expected: field::HEADER, found: bytes.len() };
        let found = u16_at(bytes, field::DIM);
        let dim = usize::from(found);
        if !(1..=MAX_DIM).contains(&dim) {
            return Err(Error::Dim { found });
        }
        let found = u16_at(bytes, field::CONTEXT);
        let context = usize::from(found);
        if context > MAX_DIM {
            return Err(Error::Context { found });
        }
        let layers = u16_at(bytes, field::LAYERS);
        let words = bytes.get(field::HEADER..).unwrap_or(&[]).as_chunks().0;

        let mut model = Self {
            bytes,
            dim,
            context,
            layers,
            records: words,
            weights: Packed::none(),
            base: Base::Normal,
            base_weights: Packed::none(),
            scratch_len: 0,
            front_end: None,
            context_scale: None,
            calibration: None,
            names: None,
            provenance: None,
        };
        // The records first: the weights begin behind the last of them.
        let mut rest = words;
        for index in 0..layers {
            let record = Record::read(&mut rest, dim, context).ok_or(short)?;
            let code = record.code;
            let layer = record.layer.ok_or(Error::UnknownLayer { layer: index, code })?;
            for part in Part::of(layer, record.shape) {
                part.must_be_included()?;
            }
            if !layer.exists(record.shape) || too_large(layer, record.shape) {
                return Err(Error::Shape { layer: index });
            }
        }
        let (base_record, weights) = rest.split_first().ok_or(short)?;
        model.weights = Packed::new(weights.as_flattened()).ok_or(Error::Alignment)?;
        let mut start = 0;
        let mut rest = words;
        for index in 0..layers {
            let record = Record::read(&mut rest, dim, context).ok_or(short)?;
            let (Some(layer), shape) = (record.layer, record.shape) else { continue };
            let len = layer.weight_len(shape);
            // Of a network's numbers only the layer knows what is possible.
            let floats = layer.conditioner(shape).map_or(len, |(_, start)| start);
            let weights = model.take_weights(&mut start, len, floats, index)?;
            if !layer.valid(shape, weights) {
                return Err(Error::Weights { layer: index });
            }
            model.scratch_len = model.scratch_len.max(layer.scratch_len(shape));
        }
        let [code, option, low, high] = *base_record;
        model.base = Base::from_code(code, u16::from_le_bytes([low, high]))
            .filter(|_| option == 0)
            .ok_or(Error::Shape { layer: layers })?;
        if model.base != Base::Normal {
            Part::Mixture.must_be_included()?;
        }
        let len = model.base.weight_len(dim);
        model.base_weights = model.take_weights(&mut start, len, len, layers)?;
        if !model.base.valid(dim, model.base_weights) {
            return Err(Error::Weights { layer: layers });
        }
        model.scratch_len = model.scratch_len.max(model.base.scratch_len());
        let weights_start = bytes.len() - field::HEADER;
        let weights_start = field::HEADER + weights_start / 4 * 4 - 4 * weights.len();
        model.read_sections(bytes.get(weights_start + 4 * start..).unwrap_or(&[]))?;
        Ok(model)
    }

    /// The next `len` words, of which the first are finite numbers.
    fn take_weights(
        &self,
        start: &mut usize,
        len: usize,
        floats: usize,
        layer: u16,
    ) -> Result<Packed<'m>, Error> {
        let weights = Weights::<f32>::part(self.weights, *start, len);
        let short = Weights::<f32>::len(weights) < len;
        if short || !weights.iter().take(floats).all(f32::is_finite) {
            return Err(Error::Weights { layer });
        }
        *start += len;
        Ok(weights)
    }

    fn read_sections(&mut self, mut rest: &'m [u8]) -> Result<(), Error> {
        while let Some((tag, payload)) = take_section(&mut rest)? {
            let error = Error::Section { tag };
            match tag {
                tag::FEATURES => {
                    Part::Windows.must_be_included()?;
                    let front_end = FrontEnd::new_checked(payload).ok_or(error)?;
                    if front_end.feature_len() != self.dim {
                        return Err(error);
                    }
                    self.front_end = Some(front_end);
                }
                tag::CALIBRATION => {
                    self.calibration = Some(Calibration::new_checked(payload).ok_or(error)?);
                }
                tag::CONTEXT => {
                    let weights = Packed::new(payload).ok_or(error)?;
                    let fits = payload.len() == 8 * self.context;
                    let scales = weights.iter().skip(self.context);
                    if !fits
                        || !weights.iter().all(f32::is_finite)
                        || scales.into_iter().any(|s| s <= 0.0)
                    {
                        return Err(error);
                    }
                    self.context_scale = Some(weights);
                }
                tag::NAMES if cfg!(feature = "text") => {
                    self.names = Some(str::from_utf8(payload).map_err(|_| error)?)
                }
                tag::PROVENANCE if cfg!(feature = "text") => {
                    self.provenance = Some(str::from_utf8(payload).map_err(|_| error)?);
                }
                _ => {}
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(Error::Section { tag: *b"    " }) }
    }

    /// D: numbers that the layers see.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// C: numbers of context that an input ends with.
    pub fn context_len(&self) -> usize {
        self.context
    }

    /// Writes to `context` what the layers see of the `given` numbers, both \[C\].
    pub fn read_context(&self, given: &[f32], context: &mut [f32]) {
        for (i, (context, given)) in context.iter_mut().zip(given).enumerate() {
            *context = match self.context_scale {
                Some(weights) => (*given - weights.get(i)) * weights.get(self.context + i),
                None => *given,
            };
        }
    }

    /// Turns what the layers see of a context, \[C\], into numbers that it can be read from.
    pub fn unread_context(&self, context: &mut [f32]) {
        let Some(weights) = self.context_scale else { return };
        for (i, context) in context.iter_mut().enumerate() {
            *context = *context / weights.get(self.context + i) + weights.get(i);
        }
    }

    /// Numbers of one input: a window of readings where there is a front end, D otherwise; and the C
    /// numbers of context behind them.
    pub fn input_len(&self) -> usize {
        self.front_end.map_or(self.dim, |front_end| front_end.input_len()) + self.context
    }

    /// Numbers of scratch space that scoring needs beside the D that it works on.
    pub fn scratch_len(&self) -> usize {
        self.scratch_len
    }

    /// Size of the whole file.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The CRC-32 in the file, which tells one model from another.
    pub fn checksum(&self) -> u32 {
        u32_at(self.bytes, field::CHECKSUM)
    }

    /// The layers from data to latent.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = LayerWeights<'m>> + use<'m> {
        let mut words = self.records;
        let (dim, context, weights) = (self.dim, self.context, self.weights);
        let mut start = 0;
        (0..self.layers).map(move |_| {
            let record = Record::read(&mut words, dim, context);
            // Every record was checked; the fallbacks only keep a panic out of a device's image.
            let (layer, shape) = record
                .and_then(|record| Some((record.layer?, record.shape)))
                .unwrap_or((Layer::Affine, Shape::new(dim, 0, 0)));
            let len = layer.weight_len(shape);
            let weights = Weights::<f32>::part(weights, start, len);
            start += len;
            LayerWeights { layer, shape, weights }
        })
    }

    /// The density of the latent, and its weights.
    #[inline(always)]
    pub fn base(&self) -> (Base, Packed<'m>) {
        (self.base, self.base_weights)
    }

    /// What turns a window of readings into the D features, if the model has it.
    #[inline(always)]
    pub fn front_end(&self) -> Option<FrontEnd<'m>> {
        if cfg!(feature = "windows") { self.front_end } else { None }
    }

    /// The parts that a build must include to read the model; some may come twice.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let layers = self.layers().flat_map(|layer| Part::of(layer.layer, layer.shape));
        let mixture = (self.base != Base::Normal).then_some(Part::Mixture);
        let windows = self.front_end.map(|_| Part::Windows);
        layers.chain(mixture).chain(windows)
    }

    /// The table that turns a score into a p-value, if the model has it.
    pub fn calibration(&self) -> Option<Calibration<'m>> {
        self.calibration
    }

    /// Names of the inputs, if the model has them and the build reads them, which is its feature `text`.
    pub fn names(&self) -> Option<impl Iterator<Item = &'m str>> {
        // The search for a single `char` holds a panic that the compiler cannot rule out.
        self.names.map(|names| names.split_terminator(['\n']))
    }

    /// Tag and payload of each section, unknown ones included.
    pub fn sections(&self) -> impl Iterator<Item = Section<'m>> + use<'m> {
        let layers = self.layers().map(|layer| layer.layer.weight_len(layer.shape));
        let words = layers.sum::<usize>() + self.base.weight_len(self.dim);
        let records = self.layers().map(|layer| record_words(layer.layer)).sum::<usize>() + 1;
        let start = field::HEADER + field::RECORD * (records + words);
        let mut rest = self.bytes.get(start..).unwrap_or(&[]);
        core::iter::from_fn(move || take_section(&mut rest).ok()?)
    }

    /// Where the model comes from, if it says and the build reads it, which is its feature `text`.
    pub fn provenance(&self) -> Option<&'m str> {
        self.provenance
    }
}
