//! Why bytes are refused.

use core::fmt;

use super::{MAX_DIM, Part, VERSION};

/// Why bytes are not a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// Fewer bytes than the header or than the header says.
    Truncated {
        /// Bytes that should be there.
        expected: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// More bytes than the header says.
    TrailingBytes {
        /// Bytes that should be there.
        expected: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// The bytes do not begin at a multiple of four.
    Alignment,
    /// The first four bytes are not those of a model.
    Magic,
    /// A format version of another time.
    Version {
        /// The version found.
        found: u16,
    },
    /// The bytes were changed after they were written.
    Checksum,
    /// D is 0 or above [`MAX_DIM`].
    Dim {
        /// The dimension found.
        found: u16,
    },
    /// More context variables than [`MAX_DIM`].
    Context {
        /// The context length found.
        found: u16,
    },
    /// A layer of a code that this version does not know.
    UnknownLayer {
        /// Position of the layer.
        layer: u16,
        /// Its code.
        code: u8,
    },
    /// The model needs a part of this crate that this build left out.
    LeftOut {
        /// The part.
        part: Part,
    },
    /// A layer or the base has an impossible option or argument.
    Shape {
        /// Position of the layer; the number of layers stands for the base.
        layer: u16,
    },
    /// A weight is not finite, or the weights are not those of a bijection (or of a density).
    Weights {
        /// Position of the layer; the number of layers stands for the base.
        layer: u16,
    },
    /// A [`crate::Flow`] of another input length or with too little scratch space.
    Sizes {
        /// Numbers of one input that the model wants.
        input: usize,
        /// Numbers of scratch space that it wants.
        scratch: usize,
    },
    /// A section is cut short or does not hold what its tag says.
    Section {
        /// Its tag.
        tag: [u8; 4],
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { expected, found } => {
                write!(f, "the model has {found} bytes instead of {expected}: it was cut short")
            }
            Self::TrailingBytes { expected, found } => {
                write!(f, "the model has {found} bytes instead of {expected}: bytes were added")
            }
            Self::Alignment => {
                write!(
                    f,
                    "the model's bytes do not begin at a multiple of four; use include_model!"
                )
            }
            Self::Magic => write!(f, "not a fluxlet model: it does not begin with \"FLXM\""),
            Self::Version { found } => {
                write!(
                    f,
                    "the model has format version {found}, this reader knows version {VERSION}"
                )
            }
            Self::Checksum => {
                write!(f, "the model is damaged: its checksum does not fit its bytes")
            }
            Self::Dim { found } => {
                write!(f, "the model has {found} dimensions, 1 to {MAX_DIM} are possible")
            }
            Self::Context { found } => {
                write!(f, "the model has {found} context variables, at most {MAX_DIM} are possible")
            }
            Self::UnknownLayer { layer, code } => {
                write!(
                    f,
                    "layer {layer} has the unknown code {code:#04x}: a newer version wrote this model"
                )
            }
            Self::LeftOut { part } => {
                write!(
                    f,
                    "the model needs \"{}\", which was left out of this build",
                    part.feature()
                )
            }
            Self::Shape { layer } => write!(f, "layer {layer} has an impossible shape"),
            Self::Weights { layer } => {
                write!(f, "layer {layer} has weights that no such layer can have")
            }
            Self::Sizes { input, scratch } => {
                write!(
                    f,
                    "the model wants inputs of {input} numbers and {scratch} of scratch space"
                )
            }
            Self::Section { tag } => {
                write!(f, "section \"{}\" is damaged", tag.escape_ascii())
            }
        }
    }
}

impl core::error::Error for Error {}
