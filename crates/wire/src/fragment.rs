//! A body that is too large for one record: cut into pieces, and put together again.
//!
//! Only a row that is larger than a record makes such a body, and it is alone in it. The pieces are parts of the unit like
//! any others, so that the chain of parts shows whether one is missing.

use bytes::Bytes;

use crate::avro::{Input, put_bytes, put_len};
use crate::body::put_branch_of;
use crate::error::WireError;
use crate::record::{BodyKind, Fragment, RawBody};

/// The largest body that goes into one record: what Kafka takes (4 MiB) less room for the header.
pub const RECORD_LIMIT: usize = (4 << 20) - (64 << 10);
/// Bytes of a piece.
pub const FRAGMENT_BYTES: usize = 1 << 20;

/// Memory that is taken at once for a body of which only the announced size is known.
const BELIEVED: u64 = 4 << 20;

impl RawBody {
    /// The pieces of the body, each with at most so many bytes of it.
    pub fn fragments(&self, bytes: usize) -> impl Iterator<Item = Self> + '_ {
        let total = self.bytes.len();
        let bytes = bytes.max(1);
        (0..total).step_by(bytes).map(move |at| {
            let piece = self.bytes.get(at..total.min(at.saturating_add(bytes))).unwrap_or_default();
            let mut out = Vec::with_capacity(piece.len() + 32);
            put_branch_of(&mut out, BodyKind::Fragment);
            put_len(&mut out, total);
            put_len(&mut out, at);
            put_bytes(&mut out, piece);
            Self { kind: BodyKind::Fragment, bytes: Bytes::from(out) }
        })
    }
}

/// Puts the pieces of a body together.
#[derive(Debug, Default)]
pub struct BodyJoiner {
    bytes: Vec<u8>,
    total: u64,
}

impl BodyJoiner {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets what was added: the unit is void.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether a body was begun and is not whole.
    pub fn is_open(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Adds the next piece; gives the body when it was the last.
    ///
    /// # Errors
    /// [`WireError::Malformed`] when the piece does not follow the one before.
    pub fn add(&mut self, piece: &Fragment) -> Result<Option<RawBody>, WireError> {
        let have = self.bytes.len() as u64;
        let fault = |reason: String| Err(WireError::Malformed { what: "a piece of a body", reason });
        if self.is_open() && piece.total != self.total {
            return fault(format!("it is of a body of {} bytes, the one before of one of {}", piece.total, self.total));
        }
        if piece.at != have {
            return fault(format!("it begins at byte {}, {have} bytes came before", piece.at));
        }
        let end = have + piece.bytes.len() as u64;
        if end > piece.total || piece.bytes.is_empty() {
            return fault(format!("it ends at byte {end} of {}", piece.total));
        }
        self.total = piece.total;
        self.reserve(have, piece.bytes.len());
        self.bytes.extend_from_slice(&piece.bytes);
        if end < self.total {
            return Ok(None);
        }
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        self.total = 0;
        let kind = BodyKind::of_branch(Input::new(&bytes).long("the body's kind")?)?;
        if kind == BodyKind::Fragment {
            return fault("pieces of pieces".to_owned());
        }
        Ok(Some(RawBody { kind, bytes }))
    }

    /// What the first piece announces is believed as far as pieces have come.
    fn reserve(&mut self, have: u64, more: usize) {
        if self.bytes.capacity() - self.bytes.len() < more {
            let expected = self.total.min(BELIEVED.max(have.saturating_mul(2))).saturating_sub(have);
            self.bytes.reserve_exact(usize::try_from(expected).unwrap_or(0).max(more));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lutra_change::{Operation, RowFlags, TableName};
    use proptest::prelude::*;

    use super::*;
    use crate::builder::ChangesBuilder;
    use crate::record::Body;
    use crate::schema::Fingerprint;

    fn body(row: &[u8]) -> RawBody {
        let mut builder = ChangesBuilder::new();
        let table = builder.table(Fingerprint([1; 16]), &TableName::new("a", "b"));
        builder.push(Operation::Insert, RowFlags::default(), table, None, Some(row), None, None);
        builder.finish_xa_prepare(b"x")
    }

    fn piece(body: &RawBody) -> Fragment {
        let Body::Fragment(piece) = body.decode().unwrap() else { panic!("no piece") };
        piece
    }

    proptest! {
        #[test]
        fn pieces_are_the_body_whatever_their_size(row in prop::collection::vec(any::<u8>(), 0..500), size in 1usize..600) {
            let whole = body(&row);
            let pieces: Vec<_> = whole.fragments(size).collect();
            let mut joiner = BodyJoiner::new();
            let mut joined = None;
            for (n, piece) in pieces.iter().enumerate() {
                joined = joiner.add(&self::piece(piece)).unwrap();
                prop_assert_eq!(joined.is_some(), n + 1 == pieces.len());
                prop_assert_eq!(joiner.is_open(), joined.is_none());
            }
            prop_assert_eq!(joined, Some(whole));
        }
    }

    #[test]
    fn a_piece_that_does_not_follow_is_refused() {
        let whole = body(&[7; 100]);
        let pieces: Vec<Fragment> = whole.fragments(40).map(|b| piece(&b)).collect();
        for order in [&[1][..], &[0, 2], &[0, 0]] {
            let mut joiner = BodyJoiner::new();
            assert!(order.iter().any(|n| joiner.add(&pieces[*n]).is_err()), "{order:?}");
        }
        let mut joiner = BodyJoiner::new();
        joiner.add(&pieces[0]).unwrap();
        assert!(joiner.add(&Fragment { total: 1000, ..pieces[1].clone() }).is_err());
        let mut joiner = BodyJoiner::new();
        assert!(joiner.add(&Fragment { total: 9, ..pieces[0].clone() }).is_err());
        let huge = Fragment { total: u64::MAX, ..pieces[0].clone() };
        assert!(BodyJoiner::new().add(&huge).unwrap().is_none(), "a size alone takes no memory");
    }
}
