//! The seam to the wire format.

use bytes::Bytes;
use lutra_wire::record::{Header, RawBody, Record};

use crate::error::Halt;

/// Decodes a stored record.
pub(crate) fn decode(offset: i64, value: &Bytes) -> Result<Record, Box<Halt>> {
    Record::decode(value).map_err(|e| Box::new(Halt::BadRecord { offset, source: Box::new(e) }))
}

/// Encodes a record.
pub(crate) fn encode(header: &Header, body: &RawBody) -> Bytes {
    let mut value = Vec::with_capacity(body.len() + 512);
    lutra_wire::encode_record(header, body, &mut value);
    value.into()
}
