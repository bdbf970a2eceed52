//! The events of a file, one at a time: files are larger than memory.

use std::io::{ErrorKind, Read};

use lutra_binlog::EventHeader;

const HEADER_LENGTH: usize = 19;
const MAGIC: [u8; 4] = *b"\xfebin";
const MAGIC_ENCRYPTED: [u8; 4] = *b"\xfdbin";

/// Why a file gives no more events.
#[derive(Debug)]
pub(super) enum FileError {
    /// It cannot be read.
    Read(std::io::Error),
    /// It is not as a binlog file is.
    Format {
        /// Where.
        offset: u64,
        /// What does not fit.
        what: String,
    },
}

impl From<std::io::Error> for FileError {
    fn from(error: std::io::Error) -> Self {
        Self::Read(error)
    }
}

/// Cuts a file into events.
#[derive(Debug)]
pub(super) struct EventReader<R> {
    input: R,
    offset: u64,
    event: Vec<u8>,
}

impl<R: Read> EventReader<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, offset: 0, event: Vec::new() }
    }

    /// The next whole event; `None` at the end.
    pub(super) fn next_event(&mut self) -> Result<Option<&[u8]>, FileError> {
        if self.offset == 0 {
            self.magic()?;
        }
        // What a giant event grew is given back.
        self.event.clear();
        self.event.shrink_to(1 << 20);
        match self.take(HEADER_LENGTH)? {
            0 => return Ok(None),
            HEADER_LENGTH => {}
            _ => return Err(self.fault("the file ends in the middle of a header")),
        }
        let header = EventHeader::read(&self.event).map_err(|e| self.fault(e.to_string()))?;
        let size = header.event_size as usize;
        let Some(body) = size.checked_sub(HEADER_LENGTH) else {
            return Err(self.fault("an event is smaller than its header"));
        };
        if self.take(body)? != body {
            return Err(self.fault(format!("the file ends before an event of {size} bytes does")));
        }
        self.offset += u64::from(header.event_size);
        Ok(Some(&self.event))
    }

    fn magic(&mut self) -> Result<(), FileError> {
        let mut magic = [0; 4];
        match self.input.read_exact(&mut magic) {
            Ok(()) if magic == MAGIC => {}
            Ok(()) if magic == MAGIC_ENCRYPTED => {
                return Err(
                    self.fault("the file is encrypted (binlog_encryption=ON): read it from the server with --from")
                );
            }
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error.into()),
            _ => return Err(self.fault("not a binlog file: it does not begin with the magic number fe 62 69 6e")),
        }
        self.offset = MAGIC.len() as u64;
        Ok(())
    }

    /// Appends up to that many bytes to the event, as they are read and not as they are claimed; says how many.
    fn take(&mut self, count: usize) -> Result<usize, FileError> {
        let limit = u64::try_from(count).unwrap_or(u64::MAX);
        Ok(self.input.by_ref().take(limit).read_to_end(&mut self.event)?)
    }

    fn fault(&self, what: impl Into<String>) -> FileError {
        FileError::Format { offset: self.offset, what: what.into() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_are_cut_and_truncated_ones_refused() {
        let mut event = vec![0; 31];
        event[9] = 31;
        let file = [&MAGIC[..], &event, &event].concat();
        let read = |bytes: &[u8]| {
            let mut reader = EventReader::new(bytes);
            let mut count = 0;
            loop {
                match reader.next_event() {
                    Ok(Some(_)) => count += 1,
                    Ok(None) => return Ok(count),
                    Err(FileError::Format { offset, .. }) => return Err(offset),
                    Err(FileError::Read(error)) => panic!("{error}"),
                }
            }
        };
        assert_eq!(read(&file), Ok(2));
        assert_eq!(read(&file[..35]), Ok(1));
        assert_eq!(read(&file[..40]), Err(35));
        assert_eq!(read(&file[..60]), Err(35));
        assert_eq!((read(b"\xfdbin"), read(b"abc"), read(b"")), (Err(0), Err(0), Err(0)));
    }
}
