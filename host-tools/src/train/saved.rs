//! The file that an unfinished run is resumed from.
//!
//! A line of text (what it is, and the version that wrote it), the XXH3 hash (128 bits,
//! little-endian) of what follows, and then [`Origin`] and [`State`] as postcard encodes them.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use super::{Config, Identity, State};
use crate::output;

/// What the first line begins with; the version follows.
const MAGIC: &str = "fluxlet unfinished run ";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a run began with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    data: OsString,
    identity: Identity,
    config: String,
}

/// Why a run cannot be resumed; a fragment that reads after "failed to".
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the text of a variant says what its fields are")]
pub enum Error {
    /// The operating system refused.
    #[error("read {path}")]
    Io { path: PathBuf, source: io::Error },
    /// It is no such file, or some bytes of it are others.
    #[error("read {path}: it is damaged, or no unfinished run")]
    Damaged { path: PathBuf },
    /// Another version may train in other bits.
    #[error("read {path}: fluxlet {found} wrote it, this is {VERSION}; resume it with {found}")]
    Version { path: PathBuf, found: String },
    /// The data are no longer what they were.
    #[error("resume the run: {path} has changed since it began: {difference}")]
    OtherData { path: PathBuf, difference: String },
}

impl Origin {
    /// A run on the file `data`, which holds `identity`.
    pub fn new(data: &Path, identity: Identity, config: &Config) -> io::Result<Self> {
        let config = toml::to_string(config).map_err(io::Error::other)?;
        Ok(Self { data: std::path::absolute(data)?.into(), identity, config })
    }

    /// The data file, from the root.
    pub fn data(&self) -> &Path {
        Path::new(&self.data)
    }

    /// The configuration, as it was asked for.
    pub fn config(&self) -> Result<Config, toml::de::Error> {
        toml::from_str(&self.config)
    }

    /// Refuses data that are not those that the run began with.
    ///
    /// # Errors
    ///
    /// [`Error::OtherData`] with the difference.
    pub fn check(&self, path: &Path, identity: &Identity) -> Result<(), Error> {
        let different = |difference| Error::OtherData { path: path.into(), difference };
        self.identity.difference(identity).map(different).map_or(Ok(()), Err)
    }
}

/// Writes the file, atomically.
///
/// # Errors
///
/// What the operating system said; an older file is then still there.
pub fn save(path: &Path, origin: &Origin, state: &State) -> Result<(), output::Error> {
    output::write_atomically(path, |file| {
        let body = postcard::to_stdvec(&(origin, state)).map_err(io::Error::other)?;
        writeln!(file, "{MAGIC}{VERSION}")?;
        file.write_all(&XxHash3_128::oneshot(&body).to_le_bytes())?;
        file.write_all(&body)
    })
}

/// Reads the file.
///
/// # Errors
///
/// What [`Error`] lists.
pub fn load(path: &Path) -> Result<(Origin, State), Error> {
    let bytes = fs::read(path).map_err(|source| Error::Io { path: path.into(), source })?;
    let damaged = || Error::Damaged { path: path.into() };
    let (line, rest) = split_line(&bytes).ok_or_else(damaged)?;
    let found = line.strip_prefix(MAGIC).ok_or_else(damaged)?;
    if found != VERSION {
        return Err(Error::Version { path: path.into(), found: found.into() });
    }
    let (hash, body) = rest.split_first_chunk().ok_or_else(damaged)?;
    if u128::from_le_bytes(*hash) != XxHash3_128::oneshot(body) {
        return Err(damaged());
    }
    postcard::from_bytes(body).map_err(|_| damaged())
}

fn split_line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        let identity = Identity::new(2, vec!["a".into()], [&[1.0, 2.0][..]]);
        Origin::new(Path::new("/data/x.csv"), identity, &Config::default()).unwrap()
    }

    #[test]
    fn a_state_is_read_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resume.state");
        let mut state = State::new(vec![0.1, -0.0, f32::MIN_POSITIVE], f64::INFINITY, true);
        state.end_epoch(f64::NAN);
        save(&path, &origin(), &state).unwrap();
        let (read, again) = load(&path).unwrap();
        assert_eq!(read, origin());
        assert_eq!(read.config().unwrap(), Config::default());
        // A NaN is not equal to itself, its bytes are.
        let bytes = |state: &State| postcard::to_stdvec(state).unwrap();
        assert_eq!(bytes(&again), bytes(&state));
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resume.state");
        save(&path, &origin(), &State::new(vec![1.0], 2.0, false)).unwrap();
        let whole = fs::read(&path).unwrap();
        for i in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[i] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert!(load(&path).is_err(), "byte {i}");
            fs::write(&path, &whole[..i]).unwrap();
            assert!(load(&path).is_err(), "cut at byte {i}");
        }
    }

    #[test]
    fn another_version_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resume.state");
        fs::write(&path, format!("{MAGIC}9.8.7\nwhatever")).unwrap();
        let said = load(&path).unwrap_err().to_string();
        assert!(said.contains("fluxlet 9.8.7 wrote it"), "{said}");
    }
}
