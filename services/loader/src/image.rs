//! Row images of one batch as SQL literals, in one buffer.
//!
//! An image is written once, its columns separated by commas, so that an inserted row is one copy of a slice, and two
//! values are equal when their literals are.

use rustc_hash::FxHashSet;

/// A row image: a place in the [`Arena`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where the first literal begins.
    start: usize,
    /// Index of the first column's end in [`Arena::ends`].
    first: usize,
    /// Number of columns.
    columns: usize,
}

/// The literals of all images of a batch.
#[derive(Debug, Default)]
pub struct Arena {
    text: Vec<u8>,
    ends: Vec<usize>,
    /// First column ends of images with values that are made from what the row holds.
    expressions: FxHashSet<usize>,
    /// First column ends of images with JSON documents that are no literals.
    documents: FxHashSet<usize>,
}

impl Arena {
    /// An empty arena with room for that many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { text: Vec::with_capacity(bytes), ends: Vec::with_capacity(bytes / 16), ..Self::default() }
    }

    /// Begins an image of that many columns; [`Arena::put`] each of them then, in order.
    pub fn begin(&mut self, columns: usize) -> Image {
        Image { start: self.text.len(), first: self.ends.len(), columns }
    }

    /// Writes the image's next column; one for which nothing is written is absent.
    #[inline]
    pub fn put(&mut self, image: Image, write: impl FnOnce(&mut Vec<u8>)) {
        if self.ends.len() > image.first {
            self.text.push(b',');
        }
        write(&mut self.text);
        self.ends.push(self.text.len());
    }

    /// A value of the image is made from what the row holds: it can only stand in a statement of its own.
    pub fn mark_expression(&mut self, image: Image) {
        self.expressions.insert(image.first);
    }

    /// Whether that was said of the image.
    pub fn holds_expression(&self, image: Image) -> bool {
        self.expressions.contains(&image.first)
    }

    /// A value of the image is a JSON document with types of its own: among the literals of a list it would become text.
    pub fn mark_document(&mut self, image: Image) {
        self.documents.insert(image.first);
    }

    /// Whether that was said of the image.
    pub fn holds_document(&self, image: Image) -> bool {
        !self.documents.is_empty() && self.documents.contains(&image.first)
    }

    /// The literal of one column; empty when the column is absent.
    pub fn column(&self, image: Image, column: usize) -> &[u8] {
        let start = match column.checked_sub(1) {
            None => image.start,
            Some(before) => self.ends.get(image.first + before).map_or(0, |end| end + 1),
        };
        let end =
            if column < image.columns { self.ends.get(image.first + column).copied().unwrap_or(start) } else { start };
        self.text.get(start..end).unwrap_or_default()
    }

    /// The whole row: literals separated by commas.
    pub fn row(&self, image: Image) -> &[u8] {
        let end = match image.columns.checked_sub(1) {
            None => image.start,
            Some(last) => self.ends.get(image.first + last).copied().unwrap_or(image.start),
        };
        self.text.get(image.start..end).unwrap_or_default()
    }

    /// Bytes of all literals.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_rows_are_slices_of_one_buffer() {
        let mut arena = Arena::default();
        let mut write = |values: [&str; 3]| {
            let image = arena.begin(3);
            values.iter().for_each(|v| arena.put(image, |out| out.extend_from_slice(v.as_bytes())));
            image
        };
        let one = write(["1", "'a'", "NULL"]);
        let two = write(["22", "", "3"]);
        assert_eq!(arena.row(one), b"1,'a',NULL");
        assert_eq!(
            (arena.column(one, 0), arena.column(one, 1), arena.column(one, 2)),
            (&b"1"[..], &b"'a'"[..], &b"NULL"[..])
        );
        assert_eq!(
            (arena.column(two, 0), arena.column(two, 1), arena.column(two, 2)),
            (&b"22"[..], &b""[..], &b"3"[..])
        );
    }
}
