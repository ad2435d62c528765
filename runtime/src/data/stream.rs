//! A stream of tokens: pieces of stores (bytes, ids, mapped files) one behind the other, each piece a document or a part of one.

use memmap2::Mmap;
use std::sync::Arc;

/// The tokens of one document, in memory or mapped from disk.
#[derive(Debug)]
pub enum Store {
    /// Each byte is a token.
    Bytes(Vec<u8>),
    /// Ids in memory.
    Ids(Vec<u32>),
    /// Little-endian 16-bit ids in a mapped file, behind a header of so many bytes.
    Mapped16(Mmap, usize),
    /// Little-endian 32-bit ids in a mapped file, behind a header of so many bytes.
    Mapped32(Mmap, usize),
}

impl Store {
    /// The number of tokens.
    pub fn len(&self) -> usize {
        match self {
            Store::Bytes(bytes) => bytes.len(),
            Store::Ids(ids) => ids.len(),
            Store::Mapped16(map, header) => (map.len() - header) / 2,
            Store::Mapped32(map, header) => (map.len() - header) / 4,
        }
    }

    /// Calls `each` with the tokens `from .. from + len`.
    fn visit(&self, from: usize, len: usize, each: impl FnMut(u32)) {
        match self {
            Store::Bytes(bytes) => bytes[from..from + len].iter().map(|&byte| u32::from(byte)).for_each(each),
            Store::Ids(ids) => ids[from..from + len].iter().copied().for_each(each),
            Store::Mapped16(map, header) => {
                let (ids, _) = map[header + 2 * from..header + 2 * (from + len)].as_chunks::<2>();
                ids.iter().map(|raw| u32::from(u16::from_le_bytes(*raw))).for_each(each);
            }
            Store::Mapped32(map, header) => {
                let (ids, _) = map[header + 4 * from..header + 4 * (from + len)].as_chunks::<4>();
                ids.iter().map(|raw| u32::from_le_bytes(*raw)).for_each(each);
            }
        }
    }
}

/// A document's tokens, or a part of them, at their place in the stream.
#[derive(Clone, Debug)]
struct Piece {
    start: u64,
    from: usize,
    len: usize,
    store: Arc<Store>,
}

/// Documents one behind the other.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    pieces: Vec<Piece>,
}

impl Stream {
    /// The stream of these stores; empty ones are left out, so that every document has a token.
    pub fn new(stores: impl IntoIterator<Item = Arc<Store>>) -> Stream {
        let mut stream = Stream::default();
        for store in stores {
            let len = store.len();
            stream.push(store, 0, len);
        }
        stream
    }

    fn push(&mut self, store: Arc<Store>, from: usize, len: usize) {
        if len > 0 {
            self.pieces.push(Piece { start: self.len(), from, len, store });
        }
    }

    /// The number of tokens.
    pub fn len(&self) -> u64 {
        self.pieces.last().map_or(0, |piece| piece.start + piece.len as u64)
    }

    /// The number of documents.
    pub fn documents(&self) -> usize {
        self.pieces.len()
    }

    /// The first `at` tokens, and the rest.
    pub fn split_at(&self, at: u64) -> (Stream, Stream) {
        let (mut head, mut tail) = (Stream::default(), Stream::default());
        for piece in &self.pieces {
            let first = (at.saturating_sub(piece.start)).min(piece.len as u64) as usize;
            head.push(piece.store.clone(), piece.from, first);
            tail.push(piece.store.clone(), piece.from + first, piece.len - first);
        }
        (head, tail)
    }

    /// The index of the piece that holds token `at`.
    fn piece_at(&self, at: u64) -> usize {
        self.pieces.partition_point(|piece| piece.start <= at) - 1
    }

    /// Calls `each` with every token in `start .. start + len`, which must lie in the stream.
    pub fn visit(&self, start: u64, len: usize, mut each: impl FnMut(u32)) {
        let (mut at, mut left) = (start, len);
        while left > 0 {
            let piece = &self.pieces[self.piece_at(at)];
            let inside = (at - piece.start) as usize;
            let count = left.min(piece.len - inside);
            piece.store.visit(piece.from + inside, count, &mut each);
            at += count as u64;
            left -= count;
        }
    }

    /// Calls `each` for every token in `start .. start + len` with the number of documents begun within the range before it, and the
    /// distance to the start of its document or of the range, whichever is later.
    pub fn visit_documents(&self, start: u64, len: usize, mut each: impl FnMut(usize, usize)) {
        let (mut at, mut left, mut document) = (start, len, 0);
        while left > 0 {
            let piece = &self.pieces[self.piece_at(at)];
            let count = left.min(piece.len - (at - piece.start) as usize);
            (0..count).for_each(|position| each(document, position));
            at += count as u64;
            left -= count;
            document += 1;
        }
    }

    /// The first token at or above `size` among the first `limit`, as (place, id).
    pub fn beyond(&self, size: u64, limit: u64) -> Option<(u64, u64)> {
        let mut found = None;
        for piece in self.pieces.iter().take_while(|piece| piece.start < limit) {
            let (mut at, count) = (piece.start, (limit - piece.start).min(piece.len as u64) as usize);
            piece.store.visit(piece.from, count, |id| {
                if u64::from(id) >= size && found.is_none() {
                    found = Some((at, u64::from(id)));
                }
                at += 1;
            });
            if found.is_some() {
                break;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(documents: &[&[u8]]) -> Stream {
        Stream::new(documents.iter().map(|bytes| Arc::new(Store::Bytes(bytes.to_vec()))))
    }

    fn tokens(stream: &Stream, start: u64, len: usize) -> Vec<u32> {
        let mut out = Vec::new();
        stream.visit(start, len, |id| out.push(id));
        out
    }

    #[test]
    fn reads_across_documents() {
        let stream = stream(&[&[1, 2, 3], &[], &[4], &[5, 6]]);
        assert_eq!((stream.len(), stream.documents()), (6, 3));
        assert_eq!(tokens(&stream, 0, 6), [1, 2, 3, 4, 5, 6]);
        assert_eq!(tokens(&stream, 2, 3), [3, 4, 5]);
        let mut places = Vec::new();
        stream.visit_documents(1, 5, |document, position| places.push((document, position)));
        assert_eq!(places, [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1)]);
    }

    #[test]
    fn splits_anywhere() {
        let stream = stream(&[&[1, 2, 3], &[4], &[5, 6]]);
        for at in 0..=6 {
            let (head, tail) = stream.split_at(at);
            assert_eq!((head.len(), tail.len()), (at, 6 - at));
            let mut all = tokens(&head, 0, at as usize);
            all.extend(tokens(&tail, 0, 6 - at as usize));
            assert_eq!(all, [1, 2, 3, 4, 5, 6]);
        }
    }

    #[test]
    fn finds_ids_beyond() {
        let stream = stream(&[&[1, 9, 3], &[4]]);
        assert_eq!(stream.beyond(4, 100), Some((1, 9)));
        assert_eq!(stream.beyond(4, 1), None);
        assert_eq!(stream.beyond(10, 100), None);
    }
}
