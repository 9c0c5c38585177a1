//! Reads a file line by line, with no more memory than the longest line may take.

use std::io::{self, BufRead as _, BufReader, Read as _};

use crate::audit::chain::LONGEST;

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With a line end.
    Line,
    /// With the file: it broke off, or is being written.
    File,
    /// It is longer than any record; the rest was passed over.
    Never,
}

/// The lines of a file.
#[derive(Debug)]
pub struct Lines<R> {
    reader: BufReader<R>,
    number: u64,
    /// Whether the end was seen. What a daemon writes after that is not this look's business: it
    /// may be the rest of a line that has been given already.
    ended: bool,
}

// Large enough that reading costs nothing beside hashing, small enough for the processor's cache.
const CHUNK: usize = 256 * 1024;

impl<R: io::Read> Lines<R> {
    /// Of what `reader` gives.
    pub fn of(reader: R) -> Self {
        Self {
            reader: BufReader::with_capacity(CHUNK, reader),
            number: 0,
            ended: false,
        }
    }

    /// Puts the next line into `line`, without its line end; `None` at the end of the file.
    pub fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Option<End>> {
        line.clear();
        let most = LONGEST as u64 + 1;
        if self.ended || self.reader.by_ref().take(most).read_until(b'\n', line)? == 0 {
            self.ended = true;
            return Ok(None);
        }
        self.number += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
            return Ok(Some(End::Line));
        }
        if line.len() <= LONGEST {
            self.ended = true;
            return Ok(Some(End::File));
        }
        self.reader.skip_until(b'\n')?;
        Ok(Some(End::Never))
    }

    /// The number of the line that was read last; the first is 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }
}
