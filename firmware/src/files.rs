//! Rows in, scores out: raw little-endian words in files of the host.
//!
//! A semihosting call stops the processor until the host has answered, so both ways are buffered.
//! The buffers know nothing of rows: a row may be longer than they are.

use core::ffi::CStr;
use core::mem::MaybeUninit;
use semihosting::fs::File;
use semihosting::io::{self, Read, Seek, Write};
use semihosting::sys::arm_compat::sys_get_cmdline_uninit;

const COMMAND_LINE_BYTES: usize = 512;
const READ_BYTES: usize = 1024;
const WRITE_BYTES: usize = 256;

/// The words of the command line, each ended by a zero.
pub(crate) struct CommandLine {
    words: [u8; COMMAND_LINE_BYTES],
}

impl CommandLine {
    pub(crate) fn read() -> io::Result<Self> {
        // One byte shorter, so that the last word is ended too.
        let mut raw = [MaybeUninit::uninit(); COMMAND_LINE_BYTES - 1];
        let mut words = [0; COMMAND_LINE_BYTES];
        for (word, byte) in words.iter_mut().zip(sys_get_cmdline_uninit(&mut raw)?) {
            *word = if *byte == b' ' { 0 } else { *byte };
        }
        Ok(Self { words })
    }

    /// A word by its place, the program's name being the first; `None` where there are fewer.
    pub(crate) fn word(&self, place: usize) -> Option<&CStr> {
        let mut rest = &self.words[..];
        for _ in 0..place {
            rest = rest.get(CStr::from_bytes_until_nul(rest).ok()?.count_bytes() + 1..)?;
        }
        let word = CStr::from_bytes_until_nul(rest).ok()?;
        (!word.is_empty()).then_some(word)
    }
}

/// Reads rows of `f32`.
pub(crate) struct RowReader {
    file: File,
    buffer: [u8; READ_BYTES],
    filled: usize,
    used: usize,
}

impl RowReader {
    pub(crate) fn open(path: &CStr) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, buffer: [0; READ_BYTES], filled: 0, used: 0 })
    }

    /// Fills `row`; false at the end of the file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or ends inside a row.
    pub(crate) fn next(&mut self, row: &mut [f32]) -> io::Result<bool> {
        for (i, number) in row.iter_mut().enumerate() {
            match self.word()? {
                Some(word) => *number = f32::from_le_bytes(word),
                None if i == 0 => return Ok(false),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(true)
    }

    /// Begins again.
    pub(crate) fn rewind(&mut self) -> io::Result<()> {
        (self.filled, self.used) = (0, 0);
        self.file.rewind()
    }

    fn word(&mut self) -> io::Result<Option<[u8; 4]>> {
        if self.used == self.filled {
            self.refill()?;
        }
        let rest = self.buffer.get(self.used..self.filled).unwrap_or_default();
        match rest.first_chunk() {
            Some(word) => {
                self.used += 4;
                Ok(Some(*word))
            }
            None if rest.is_empty() => Ok(None),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Reads until the buffer is full or the file ends: a read may return less than asked.
    fn refill(&mut self) -> io::Result<()> {
        self.filled = 0;
        self.used = 0;
        while let Some(room) = self.buffer.get_mut(self.filled..).filter(|room| !room.is_empty()) {
            match self.file.read(room)? {
                0 => break,
                read => self.filled += read,
            }
        }
        Ok(())
    }
}

/// Writes scores as `u32`.
pub(crate) struct ScoreWriter {
    file: File,
    buffer: [u8; WRITE_BYTES],
    filled: usize,
}

impl ScoreWriter {
    pub(crate) fn create(path: &CStr) -> io::Result<Self> {
        Ok(Self { file: File::create(path)?, buffer: [0; WRITE_BYTES], filled: 0 })
    }

    pub(crate) fn push(&mut self, bits: u32) -> io::Result<()> {
        if self.filled == WRITE_BYTES {
            self.flush()?;
        }
        if let Some(room) = self.buffer.get_mut(self.filled..).and_then(|r| r.first_chunk_mut()) {
            *room = bits.to_le_bytes();
            self.filled += 4;
        }
        Ok(())
    }

    /// Writes what is still buffered.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        let filled = self.buffer.get(..self.filled).unwrap_or_default();
        self.filled = 0;
        self.file.write_all(filled)
    }
}
