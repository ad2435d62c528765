//! Softmax attention and its gradient on strided operands, without a transpose and without a queries × keys matrix.
//!
//! Requires: operands that do not overlap; a query sees a contiguous range of keys (causal, window, or all), which may be empty where queries and
//! keys are different parts of the sequence.
//! Ensures: work goes by blocks of 64 queries over the keys that the block can see, as one-thread matrix products on a scratch of the
//! thread; forward blocks are independent cells, backward cells are (batch, key-value head) and walk their query heads and blocks in order,
//! so bits do not depend on threads. Nothing is allocated. 64 rows were measured against 128 and 256.
//!
//! The algorithm is that of FlashAttention (Dao et al. 2022): the log of the sum of exponentials (`lse`) is all that the backward pass needs
//! to compute the probabilities again. Unlike there a block sees all its keys at once, which first-level caches of processors allow.

mod backward;
mod forward;
mod lower;
#[cfg(test)]
mod tests;

use super::loops::{Loop, offsets};

/// Query rows per block.
pub(super) const BLOCK: usize = 64;

/// Operands, as indices into stride tables: those of the plan's skeletons, in order.
pub(super) const Q: usize = 0;
pub(super) const K: usize = 1;
pub(super) const V: usize = 2;
pub(super) const OUT: usize = 3;
pub(super) const LSE: usize = 4;
pub(super) const DOUT: usize = 5;
pub(super) const DQ: usize = 6;
pub(super) const DK: usize = 7;
pub(super) const DV: usize = 8;
/// Number of operands; forward attention uses the first five.
pub const OPERANDS: usize = 9;

/// One number per operand.
pub type PerOperand<T> = [T; OPERANDS];

/// Attention of given shape, strides and mask.
#[derive(Clone, Debug, PartialEq)]
pub struct Attend {
    /// Query positions.
    pub queries: usize,
    /// Key positions.
    pub keys: usize,
    /// Elements of a query and of a key.
    pub feature: usize,
    /// Elements of a value.
    pub value: usize,
    /// Batch and key-value heads.
    pub batch: Vec<Loop<OPERANDS>>,
    /// Query heads that share keys and values (strides of k, v and their gradients are 0).
    pub group: Vec<Loop<OPERANDS>>,
    /// Elements from one position to the next.
    pub rows: PerOperand<isize>,
    /// Elements from one feature (or dim of a value) to the next; not used for `lse`.
    pub columns: PerOperand<isize>,
    /// Factor on scores.
    pub scale: f32,
    /// Key j is visible from query i only if j ≤ i, as positions of the whole sequence.
    pub causal: bool,
    /// Key j is visible from query i only if i − j < window.
    pub window: Option<usize>,
    /// Which of the rank's coordinates the positions of queries and of keys start at; none: at 0.
    pub starts: [Option<usize>; 2],
}

/// Addresses of all operands (null where there is none), shared by the cells of a job.
#[derive(Clone, Copy)]
pub(super) struct Places(PerOperand<*mut f32>);

// SAFETY: cells write disjoint parts of the written operands, and the others are only read.
unsafe impl Sync for Places {}
// SAFETY: as above.
unsafe impl Send for Places {}

impl Places {
    /// The places at one point of some loops, the last loop running fastest.
    fn at(&self, loops: &[Loop<OPERANDS>], point: usize) -> Places {
        let offsets = offsets(loops, point);
        Places(std::array::from_fn(|operand| self.0[operand].wrapping_offset(offsets[operand])))
    }
}

/// A block of queries and the keys that any of them sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    start: usize,
    rows: usize,
    first_key: usize,
    keys: usize,
    /// How far the rank's first query stands behind its first key.
    shift: i64,
}

impl Attend {
    /// The bytes of scratch that each thread needs: two blocks of scores.
    #[must_use]
    pub fn scratch(&self) -> usize {
        2 * BLOCK * self.width() * size_of::<f32>()
    }

    /// How far the rank's first query stands behind its first key.
    #[must_use]
    pub fn shift(&self, coordinates: &[i64]) -> i64 {
        let [query, key] = self.starts.map(|at| at.map_or(0, |at| coordinates[at]));
        query - key
    }

    /// The most keys that a block of queries sees, rounded to whole cache lines.
    fn width(&self) -> usize {
        let window = self.window.filter(|_| self.causal);
        let seen = window.map_or(self.keys, |window| window.saturating_add(BLOCK - 1).min(self.keys));
        seen.next_multiple_of(16)
    }

    /// The keys that a query sees: a range, possibly empty.
    fn visible(&self, query: usize, shift: i64) -> (usize, usize) {
        let inside = |key: i64| key.clamp(0, self.keys as i64) as usize;
        let next = query as i64 + shift + 1;
        let end = if self.causal { inside(next) } else { self.keys };
        let start = self.window.map_or(0, |window| inside(next.saturating_sub_unsigned(window as u64)));
        (start, end)
    }

    fn block(&self, index: usize, shift: i64) -> Block {
        let start = index * BLOCK;
        let rows = BLOCK.min(self.queries - start);
        // Both ends of the range grow with the query, so the block sees from its first row's first key to its last row's last one.
        let (first_key, _) = self.visible(start, shift);
        let (_, end) = self.visible(start + rows - 1, shift);
        Block { start, rows, first_key, keys: end.saturating_sub(first_key), shift }
    }

    fn blocks(&self) -> usize {
        self.queries.div_ceil(BLOCK)
    }

    /// The range of columns of a block's scores that one of its rows sees.
    fn columns_of(&self, block: Block, row: usize) -> (usize, usize) {
        let (start, end) = self.visible(block.start + row, block.shift);
        let inside = |key: usize| key.saturating_sub(block.first_key).min(block.keys);
        (inside(start), inside(end))
    }
}
