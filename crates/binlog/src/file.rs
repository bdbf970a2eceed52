//! A binlog file as bytes: for tests, benchmarks and tools.

use crate::error::DecodeError;
use crate::header::{EventHeader, HEADER_LENGTH};

const MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];
const MAGIC_ENCRYPTED: [u8; 4] = [0xfd, b'b', b'i', b'n'];

/// One event of a file.
#[derive(Clone, Copy, Debug)]
pub struct FileEvent<'a> {
    /// Where it begins in the file.
    pub offset: usize,
    /// The whole event, for [`Decoder::decode`](crate::Decoder::decode).
    pub bytes: &'a [u8],
}

/// The events of a file image.
pub fn events(file: &[u8]) -> Result<Events<'_>, DecodeError> {
    match file.first_chunk::<4>() {
        Some(&MAGIC) => Ok(Events { file, offset: MAGIC.len() }),
        Some(&MAGIC_ENCRYPTED) => Err(DecodeError::File { what: "it is encrypted (binlog_encryption=ON)" }),
        _ => Err(DecodeError::File { what: "it does not begin with the magic number fe 62 69 6e" }),
    }
}

/// Iterator over the events of a file image. It ends after the first error.
#[derive(Clone, Debug)]
pub struct Events<'a> {
    file: &'a [u8],
    offset: usize,
}

impl<'a> Events<'a> {
    fn cut(&mut self) -> Result<FileEvent<'a>, DecodeError> {
        let rest = self.file.get(self.offset..).unwrap_or_default();
        let offset = self.offset;
        // Whatever happens, an error ends the iteration.
        self.offset = self.file.len();
        let header = EventHeader::read(rest)?;
        let size = header.event_size as usize;
        let fault = |what| DecodeError::Malformed { place: header.place(), what };
        if size < HEADER_LENGTH {
            return Err(fault("its size is below that of a header"));
        }
        let bytes = rest.get(..size).ok_or_else(|| fault("the file ends before it does"))?;
        self.offset = offset + size;
        Ok(FileEvent { offset, bytes })
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<FileEvent<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.offset < self.file.len()).then(|| self.cut())
    }
}
