//! How the work of a kernel is cut: who takes a row, how many lanes a thread has, and which rows a block folds.
//!
//! Requires: nothing. Ensures: it depends on the kernel alone.

use cranelift_entity::EntityRef;
use meshwright_plan::Element;
use meshwright_plan::kernel::{Effect, KernelData, NodeData, Operand, Role, Rows};

/// Threads of a block whose teams are warps, or whose threads take points.
const THREADS: u64 = 256;
/// Lanes of a thread that are aimed at.
const LANES: u64 = 8;
/// Most lanes of a thread whose values stay in registers.
const KEPT: u64 = 16;
/// Lanes of one access of 16 bytes: of f32, and of bf16.
const VECTORS: [u64; 2] = [4, 8];

/// Who does what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// A thread takes points.
    Points,
    /// A team takes a row.
    Rows,
    /// A block takes one of so many groups of consecutive rows, and folds them.
    Groups(u64),
}

/// The form of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) work: Work,
    /// Rows of the kernel.
    pub(super) rows: u64,
    /// Lanes of a row.
    pub(super) lanes: u64,
    /// Threads of a team.
    pub(super) team: u64,
    /// Teams of a block.
    pub(super) teams: u64,
    /// Lanes that a thread takes at a time.
    pub(super) vector: u64,
    /// How often a thread takes lanes of a row.
    pub(super) turns: u64,
}

impl Form {
    pub(super) fn new(kernel: &KernelData, rows: &Rows) -> Form {
        let count = kernel.dims.values().filter(|dim| dim.role == Role::Row).map(|dim| dim.size).product::<u64>();
        let lanes = kernel.lane().map_or(1, |lane| kernel.dims[lane].size);
        let work = work(kernel, rows);
        let vector = vector(kernel, rows, lanes);
        let (team, teams) = match work {
            Work::Points => (1, THREADS),
            Work::Rows | Work::Groups(_) => team(lanes),
        };
        let turns = if work == Work::Points { 1 } else { lanes.div_ceil(team * vector) };
        Form { work, rows: count, lanes, team, teams, vector, turns }
    }

    /// Threads of a block.
    pub(super) fn threads(&self) -> u32 {
        (self.team * self.teams) as u32
    }

    /// Blocks.
    pub(super) fn grid(&self) -> u64 {
        match self.work {
            Work::Points => (self.rows * (self.lanes / self.vector)).div_ceil(THREADS),
            Work::Rows => self.rows.div_ceil(self.teams),
            Work::Groups(groups) => groups,
        }
    }

    /// Whether values stay in registers between phases.
    pub(super) fn keeps(&self) -> bool {
        self.turns * self.vector <= KEPT
    }

    /// Whether some threads have lanes beyond the last one in the last turn.
    pub(super) fn overhangs(&self) -> bool {
        self.work != Work::Points && self.turns * self.team * self.vector != self.lanes
    }
}

fn work(kernel: &KernelData, rows: &Rows) -> Work {
    let dims: Vec<u64> = kernel.dims.values().filter(|dim| dim.role == Role::Row).map(|dim| dim.size).collect();
    let mut folds = rows.effects.iter().filter_map(|effect| match effect {
        Effect::Fold { partials, .. } => Some(partials.is_some()),
        Effect::Store { .. } => None,
    });
    if let Some(partials) = folds.next() {
        let groups = if partials { u64::from(rows.blocks.max(1)) } else { dims[..dims.len() - rows.folded as usize].iter().product() };
        return Work::Groups(groups);
    }
    let cooperates = |data: &NodeData| matches!(data, NodeData::Reduce { .. } | NodeData::Scan { .. });
    // what is written once a row may be what all threads of the row have read
    let levels = rows.levels(kernel);
    let once = |effect: &Effect| !super::phases::is_wide(kernel, &levels, effect);
    let alone = kernel.lane().is_none_or(|lane| kernel.dims[lane].size == 1);
    if rows.nodes.values().any(cooperates) || (!alone && rows.effects.iter().any(once)) { Work::Rows } else { Work::Points }
}

/// How many lanes at a time are worth it: so many as divide, and some operand has as neighbours in one access; else one.
fn vector(kernel: &KernelData, rows: &Rows, lanes: u64) -> u64 {
    let Some(lane) = kernel.lane() else { return 1 };
    let scans = rows.nodes.values().any(|data| matches!(data, NodeData::Scan { .. }));
    let near = |element: Element| {
        let wanted = |operand: &Operand| operand.element == element && operand.strides[EntityRef::index(lane)] == 1;
        kernel.operands.values().any(wanted)
    };
    let [four, eight] = VECTORS;
    match (near(Element::F32), near(Element::Bf16)) {
        _ if scans => 1,
        (_, true) if lanes.is_multiple_of(eight) => eight,
        (true, _) | (_, true) if lanes.is_multiple_of(four) => four,
        _ => 1,
    }
}

/// Threads of a team, and teams of a block.
fn team(lanes: u64) -> (u64, u64) {
    match lanes.div_ceil(LANES).next_power_of_two() {
        ..=32 => (32, THREADS / 32),
        threads => (threads.min(512), 1),
    }
}
