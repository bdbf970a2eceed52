//! The seam to the wire format.

use bytes::Bytes;
use lutra_wire::record::{Body, BodyKind, EpochStart, Header, RawBody, Record};

use crate::error::Halt;

// Stand-in until the wire crate has its functions.
pub(crate) trait Pending: Sized {
    fn kind(&self) -> BodyKind;
    fn decode(&self) -> Result<Body, std::io::Error>;
    fn epoch_start(start: &EpochStart) -> Self;
}
impl Pending for RawBody {
    fn kind(&self) -> BodyKind {
        BodyKind::Heartbeat
    }
    fn decode(&self) -> Result<Body, std::io::Error> {
        Err(std::io::Error::other("pending"))
    }
    fn epoch_start(_: &EpochStart) -> Self {
        unreachable!()
    }
}

/// Decodes a stored record.
pub(crate) fn decode(offset: i64, _value: &Bytes) -> Result<Record, Box<Halt>> {
    Err(Box::new(Halt::BadRecord { offset, source: Box::new(std::io::Error::other("pending")) }))
}

/// Encodes a record.
pub(crate) fn encode(header: &Header, _body: &RawBody) -> Result<Bytes, Box<Halt>> {
    let source = Box::new(std::io::Error::other("pending"));
    Err(Box::new(Halt::Unencodable { number: header.number, part: header.part, source }))
}
