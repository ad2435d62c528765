//! Softmax attention and its gradient on strided operands, without a transpose and without a queries × keys matrix.
//!
//! Requires: operands that do not overlap; positions that ascend, in one run or (balanced parts) two. So a query sees a contiguous range of a
//! rank's keys (causal, window, or all), which may be empty where queries and keys are different parts of the sequence.
//! Ensures: work goes by blocks of 64 queries of one run over the keys that the block can see, as one-thread matrix products on a scratch of the
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

use crate::device::loops::{Loop, offsets};

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
    /// Where queries and keys stand, by the rank's coordinates.
    pub starts: [Start; 2],
}

/// Which of a rank's coordinates positions follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// None: they count from 0.
    Zero,
    /// They start at this one.
    At(usize),
    /// Each half is a run, and is so far from where it stands in its part.
    Runs([usize; 2]),
}

/// Positions of a rank's queries or keys: element `i` stands at `i + first` among the first `run` elements, at `i + second` behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    size: usize,
    run: usize,
    first: i64,
    second: i64,
}

impl Stand {
    fn new(start: Start, size: usize, coordinates: &[i64]) -> Stand {
        let one = |first| Stand { size, run: size, first, second: first };
        match start {
            Start::Zero => one(0),
            Start::At(at) => one(coordinates[at]),
            Start::Runs([first, second]) => Stand { size, run: size / 2, first: coordinates[first], second: coordinates[second] },
        }
    }

    fn position(&self, index: usize) -> i64 {
        index as i64 + if index < self.run { self.first } else { self.second }
    }

    /// How many elements stand before a position.
    fn before(&self, position: i64) -> usize {
        let (run, rest) = (self.run as i64, (self.size - self.run) as i64);
        let first = position.saturating_sub(self.first).clamp(0, run);
        let second = position.saturating_sub(self.second).saturating_sub(run).clamp(0, rest);
        (first + second) as usize
    }
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
    /// Where queries and keys stand.
    stands: [Stand; 2],
}

impl Attend {
    /// The bytes of scratch that each thread needs: two blocks of scores.
    #[must_use]
    pub fn scratch(&self) -> usize {
        2 * BLOCK * self.width() * size_of::<f32>()
    }

    /// Where a rank's queries and keys stand.
    #[must_use]
    pub fn stands(&self, coordinates: &[i64]) -> [Stand; 2] {
        let [queries, keys] = self.starts;
        [Stand::new(queries, self.queries, coordinates), Stand::new(keys, self.keys, coordinates)]
    }

    /// The most keys that a block of queries sees, rounded to whole cache lines.
    fn width(&self) -> usize {
        let window = self.window.filter(|_| self.causal);
        let seen = window.map_or(self.keys, |window| window.saturating_add(BLOCK - 1).min(self.keys));
        seen.next_multiple_of(16)
    }

    /// The keys that a query sees: a range, possibly empty.
    fn visible(&self, query: usize, [queries, keys]: [Stand; 2]) -> (usize, usize) {
        let next = queries.position(query) + 1;
        let end = if self.causal { keys.before(next) } else { self.keys };
        let start = self.window.map_or(0, |window| keys.before(next.saturating_sub_unsigned(window as u64)));
        (start, end)
    }

    fn block(&self, index: usize, stands: [Stand; 2]) -> Block {
        let (run, each) = (self.run(), self.run().div_ceil(BLOCK).max(1));
        let start = index / each * run + index % each * BLOCK;
        let rows = BLOCK.min((index / each + 1) * run - start);
        // Both ends of the range grow with the query, so the block sees from its first row's first key to its last row's last one.
        let (first_key, _) = self.visible(start, stands);
        let (_, end) = self.visible(start + rows - 1, stands);
        Block { start, rows, first_key, keys: end.saturating_sub(first_key), stands }
    }

    /// Blocks of all runs; none has queries of two.
    fn blocks(&self) -> usize {
        if self.queries == 0 { 0 } else { self.queries / self.run() * self.run().div_ceil(BLOCK) }
    }

    /// Queries of one run.
    fn run(&self) -> usize {
        match self.starts[0] {
            Start::Zero | Start::At(_) => self.queries,
            Start::Runs(_) => self.queries / 2,
        }
    }

    /// The range of columns of a block's scores that one of its rows sees.
    fn columns_of(&self, block: Block, row: usize) -> (usize, usize) {
        let (start, end) = self.visible(block.start + row, block.stands);
        let inside = |key: usize| key.saturating_sub(block.first_key).min(block.keys);
        (inside(start), inside(end))
    }
}
