//! The arena while an entry runs: what stands where, and which collective brought it.

use super::contents::{Contents, Pool};
use super::transfer::Fault;
use crate::Mesh;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Bytes with one history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    end: u64,
    /// Number in the pool.
    contents: u32,
    /// Number of what a collective brought.
    brought: Option<u32>,
    /// Nobody has read it yet, and it is partial.
    open: bool,
}

/// What was lost by being overwritten.
pub(super) enum Lost {
    /// What this launch brought, unread.
    Brought(String),
    /// A part of a sum that nobody has read.
    Part,
}

/// What a collective brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Brought {
    /// By which launch, for people.
    pub(super) by: String,
    pub(super) read: bool,
    /// The turn of the loop for which it was brought is over.
    pub(super) stale: bool,
}

/// What was found at a place.
pub(super) struct Found {
    /// None: nothing was written there.
    pub(super) contents: Option<u32>,
    /// Who brought it for a turn that is over.
    pub(super) stale: Option<String>,
}

/// All regions of the arena.
#[derive(Default)]
pub(super) struct Memory {
    regions: Vec<BTreeMap<u64, Cell>>,
    pub(super) brought: Vec<Brought>,
}

/// What a turn of a loop leaves, to be compared with what the turn before left.
pub(super) type Snapshot = Vec<Vec<(u64, u64, u32, Option<(bool, bool)>)>>;

impl Memory {
    pub(super) fn new(regions: usize) -> Self {
        Memory { regions: vec![BTreeMap::new(); regions], brought: Vec::new() }
    }

    fn cells(&self, region: usize, range: &Range<u64>) -> impl Iterator<Item = (u64, Cell)> + '_ {
        let cells = &self.regions[region];
        let before = cells.range(..=range.start).next_back().filter(|(_, cell)| cell.end > range.start);
        let first = before.map_or(range.start, |(start, _)| *start);
        cells.range(first..range.end).map(|(start, cell)| (*start, *cell))
    }

    /// What stands there, by someone who only looks.
    pub(super) fn look(&self, region: usize, range: Range<u64>, pool: &mut Pool, mesh: &Mesh) -> Result<Option<u32>, Fault> {
        let different: BTreeSet<u32> = self.cells(region, &range).map(|(_, cell)| cell.contents).collect();
        let mut joined: Option<Contents> = None;
        if different.len() < 2 {
            return Ok(different.first().copied());
        }
        for contents in different {
            let contents = pool.get(contents);
            joined = Some(match joined {
                None => contents.clone(),
                Some(before) => before.join(contents, mesh)?,
            });
        }
        Ok(joined.map(|joined| pool.number(&joined)))
    }

    /// What stands there, by someone who uses it.
    pub(super) fn read(&mut self, region: usize, range: Range<u64>, pool: &mut Pool, mesh: &Mesh) -> Result<Found, Fault> {
        let cells: Vec<(u64, Cell)> = self.cells(region, &range).collect();
        let brought: BTreeSet<u32> = cells.iter().filter_map(|(_, cell)| cell.brought).collect();
        for (start, _) in cells.iter().filter(|(_, cell)| cell.open) {
            self.regions[region].entry(*start).and_modify(|cell| cell.open = false);
        }
        let mut stale = None;
        for number in brought {
            let brought = &mut self.brought[number as usize];
            brought.read = true;
            if brought.stale {
                stale = Some(brought.by.clone());
            }
        }
        Ok(Found { contents: self.look(region, range, pool, mesh)?, stale })
    }

    /// Replaces what stands there; says what is lost unread. `open`: what is written now is partial, and yet to be read.
    pub(super) fn write(&mut self, region: usize, range: Range<u64>, contents: u32, brought: Option<u32>, open: bool) -> Option<Lost> {
        let mut lost = None;
        let old: Vec<(u64, Cell)> = self.cells(region, &range).collect();
        for (start, cell) in old {
            if let Some(unread) = self.unread(&cell) {
                lost = Some(Lost::Brought(unread));
            } else if cell.open {
                lost = Some(Lost::Part);
            }
            let cells = &mut self.regions[region];
            cells.remove(&start);
            if start < range.start {
                cells.insert(start, Cell { end: range.start, ..cell });
            }
            if cell.end > range.end {
                cells.insert(range.end, cell);
            }
        }
        if range.start < range.end {
            self.regions[region].insert(range.start, Cell { end: range.end, contents, brought, open });
        }
        lost
    }

    fn unread(&self, cell: &Cell) -> Option<String> {
        let brought = &self.brought[cell.brought? as usize];
        (!brought.read).then(|| brought.by.clone())
    }

    /// A reduction took what stands there.
    pub(super) fn spend(&mut self, region: usize, range: Range<u64>, pool: &mut Pool) {
        let old: Vec<(u64, Cell)> = self.cells(region, &range).collect();
        for (start, cell) in old {
            let spent = pool.number(&Contents { spent: true, ..pool.get(cell.contents).clone() });
            self.write(region, start.max(range.start)..cell.end.min(range.end), spent, cell.brought, false);
        }
    }

    /// What was brought so far counts as read: it is state to whom comes next.
    pub(super) fn settle(&mut self) {
        self.brought.iter_mut().for_each(|brought| brought.read = true);
    }

    /// Who brought what still stands in a region since before `number`.
    pub(super) fn since_before(&self, region: usize, number: usize) -> Option<String> {
        let old = self.regions[region].values().filter_map(|cell| cell.brought).find(|brought| (*brought as usize) < number);
        old.map(|brought| self.brought[brought as usize].by.clone())
    }

    /// Numbers of all contents of a region.
    pub(super) fn all(&self, region: usize) -> BTreeSet<u32> {
        self.regions[region].values().map(|cell| cell.contents).collect()
    }

    /// Whether a part of a sum is left in this region that nobody has read.
    pub(super) fn is_open(&self, region: usize) -> bool {
        self.regions[region].values().any(|cell| cell.open)
    }

    /// Who brought what nobody read in this region.
    pub(super) fn left(&self, region: usize) -> BTreeSet<String> {
        self.regions[region].values().filter_map(|cell| self.unread(cell)).collect()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let state = |number: u32| (self.brought[number as usize].read, self.brought[number as usize].stale);
        let cell = |(start, cell): (&u64, &Cell)| (*start, cell.end, cell.contents, cell.brought.map(state));
        self.regions.iter().map(|cells| cells.iter().map(cell).collect()).collect()
    }
}
