//! When each value of a `rows` kernel is computed, and which values need memory in between.
//!
//! A row is processed in *phases*, separated by row reductions; a phase walks the lanes in tiles of at most 512, and each tile in *stages*,
//! separated by calls of routines on the whole tile (log, random numbers, running sums; exp and tanh where loops do not compute them
//! themselves). One stage is one loop over the tile's lanes; a phase of one stage is one loop over the row.
//! Every lane-level value is computed once, at the earliest time; a value that is used later than that is kept in a buffer of the thread's
//! scratch: as long as a tile within one phase, as long as a row beyond. Plain loads, positions and a few simple operations on one value are
//! computed again instead.
//!
//! Requires: a kernel that the plan's verifier accepted. Ensures: stores to an operand happen no earlier than the last load through equal
//! strides, since those two may be the same memory.

use crate::device::cpu::math::TILE;
use cranelift_entity::{EntityRef, PrimaryMap, SecondaryMap};
use meshwright_plan::Element;
use meshwright_plan::kernel::level::Level;
use meshwright_plan::kernel::{Effect, KernelData, Map, Node, NodeData, Rows, Slot};

/// A point in the processing of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time {
    /// How many row reductions lie before it.
    pub(super) phase: u32,
    /// How many tile calls lie before it in its phase.
    pub(super) stage: u32,
}

/// Memory for a value, in the thread's scratch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Buffer {
    /// Bytes from the start of the buffers.
    pub(super) offset: usize,
    /// One element per lane of the row; else one per lane of the tile.
    pub(super) wide: bool,
}

/// The schedule of one kernel.
#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) levels: PrimaryMap<Node, Level>,
    pub(super) types: PrimaryMap<Node, Element>,
    /// When a value can be read: for row-level values the stage is 0, for uniform ones the time is the first.
    pub(super) ready: PrimaryMap<Node, Time>,
    /// For lane-level values that are computed again at later uses: how many operations that takes; 0 for all others.
    again: SecondaryMap<Node, u32>,
    /// Where lane-level values are kept.
    pub(super) buffers: SecondaryMap<Node, Option<Buffer>>,
    /// A second buffer for calls of two arguments.
    pub(super) others: SecondaryMap<Node, Option<Buffer>>,
    /// When effects on lanes happen; none for those that happen once per row.
    pub(super) effects: Vec<Option<Time>>,
    /// Number of stages of each phase; 0 if the phase has no loop.
    pub(super) stages: Vec<u32>,
    /// Bytes of all buffers.
    pub(super) bytes: usize,
    /// Whether loops compute exp and tanh themselves.
    pub(super) inline: bool,
}

/// Whether a node is computed by a routine, at least where it is not part of a wide loop.
pub(super) fn is_call(rows: &Rows, node: Node) -> bool {
    match &rows.nodes[node] {
        NodeData::Const(_) | NodeData::Integer(_) | NodeData::Scalar(_) | NodeData::Coordinate(_) | NodeData::Load { .. } => false,
        NodeData::Position { .. } | NodeData::Reduce { .. } => false,
        NodeData::Scan { .. } | NodeData::Random { .. } => true,
        NodeData::Map { op, args } => match op {
            Map::Exp | Map::Log | Map::Sin | Map::Cos | Map::Tanh | Map::Erf => true,
            Map::Pow => small_power(rows, args[1]).is_none(),
            Map::Add | Map::Sub | Map::Mul | Map::Div | Map::Rem | Map::Min | Map::Max | Map::Neg | Map::Abs | Map::Sign => false,
            Map::Floor | Map::Sqrt | Map::Rsqrt | Map::Lt | Map::Le | Map::Eq | Map::Ne | Map::And | Map::Or | Map::Not => false,
            Map::Where | Map::Real | Map::Int | Map::RoundBf16 => false,
        },
    }
}

/// Whether an operation costs no more than a load.
fn is_simple(op: Map) -> bool {
    match op {
        Map::Add | Map::Sub | Map::Mul | Map::Min | Map::Max | Map::Neg | Map::Abs | Map::Lt | Map::Le | Map::Eq | Map::Ne => true,
        Map::And | Map::Or | Map::Not | Map::Where | Map::Real => true,
        Map::Div | Map::Rem | Map::Pow | Map::Sign | Map::Floor | Map::Exp | Map::Log | Map::Sin | Map::Cos | Map::Tanh => false,
        Map::Erf | Map::Sqrt | Map::Rsqrt | Map::Int | Map::RoundBf16 => false,
    }
}

/// The exponent, if it is a constant that products and quotients compute: an integer from -4 to 4.
pub(super) fn small_power(rows: &Rows, exponent: Node) -> Option<i32> {
    match rows.nodes[exponent] {
        NodeData::Const(value) if value.fract() == 0.0 && value.abs() <= 4.0 => Some(value as i32),
        _ => None,
    }
}

impl Schedule {
    /// Schedules a kernel's body whose types are known to be right.
    pub(super) fn new(kernel: &KernelData, rows: &Rows, types: PrimaryMap<Node, Element>, inline: bool) -> Schedule {
        let levels = rows.levels(kernel);
        let mut schedule = Schedule {
            levels,
            types,
            ready: PrimaryMap::with_capacity(rows.nodes.len()),
            again: SecondaryMap::new(),
            buffers: SecondaryMap::new(),
            others: SecondaryMap::new(),
            effects: Vec::new(),
            stages: Vec::new(),
            bytes: 0,
            inline,
        };
        for node in rows.nodes.keys() {
            let time = schedule.computed(rows, node);
            let after = match (&rows.nodes[node], schedule.levels[node]) {
                (NodeData::Reduce { .. }, _) => Time { phase: time.phase + 1, stage: 0 },
                (_, Level::Lane) if schedule.is_call(rows, node) => Time { stage: time.stage + 1, ..time },
                _ => time,
            };
            schedule.ready.push(after);
        }
        schedule.find_again(rows);
        schedule.place_effects(kernel, rows);
        schedule.place_buffers(kernel, rows);
        schedule.count_stages(rows);
        schedule
    }

    /// Whether a lane-level node is computed by a call between two loops.
    pub(super) fn is_call(&self, rows: &Rows, node: Node) -> bool {
        let inline = self.inline && matches!(rows.nodes[node], NodeData::Map { op: Map::Exp | Map::Tanh, .. });
        is_call(rows, node) && !inline
    }

    /// When a node's arguments are ready: the time of the loop that computes it, passes it to a routine, or reduces it.
    pub(super) fn computed(&self, rows: &Rows, node: Node) -> Time {
        rows.nodes[node].args().iter().map(|arg| self.ready[*arg]).max().unwrap_or_default()
    }

    /// Whether a load reads one element per lane at the lane's own place, so that it can be done again at no cost.
    pub(super) fn is_plain(&self, kernel: &KernelData, rows: &Rows, node: Node) -> bool {
        match &rows.nodes[node] {
            NodeData::Load { gather, moved, .. } => {
                let still = moved.is_none_or(|moved| Some(moved.dim) != kernel.lane());
                still && gather.is_none_or(|gather| self.levels[gather.index] != Level::Lane)
            }
            NodeData::Position { .. } => true,
            NodeData::Const(_) | NodeData::Integer(_) | NodeData::Scalar(_) | NodeData::Coordinate(_) => false,
            NodeData::Map { .. } | NodeData::Reduce { .. } | NodeData::Scan { .. } | NodeData::Random { .. } => false,
        }
    }

    /// Whether a lane-level value is read from its buffer in a loop, rather than computed.
    pub(super) fn is_read(&self, rows: &Rows, node: Node, time: Time) -> bool {
        self.buffers[node].is_some() && (self.is_call(rows, node) || self.ready[node] < time)
    }

    /// Whether an effect happens in the loops over lanes, rather than once per row.
    fn on_lanes(&self, kernel: &KernelData, effect: &Effect) -> bool {
        let strided = |slot: Slot| kernel.lane().is_some_and(|lane| kernel.operands[slot].strides[lane.index()] != 0);
        match effect {
            Effect::Store { slot, value } => self.levels[*value] == Level::Lane || strided(*slot),
            Effect::Fold { slot, value, .. } => self.levels[*value] == Level::Lane || strided(*slot),
        }
    }

    /// Effects happen when their value is ready, but stores after the last load that may touch the same memory.
    fn place_effects(&mut self, kernel: &KernelData, rows: &Rows) {
        let on_lanes = |effect: &Effect| self.on_lanes(kernel, effect).then(|| self.ready[effect.value()]);
        self.effects = rows.effects.iter().map(on_lanes).collect();
        loop {
            let last = self.last_uses(rows);
            let mut changed = false;
            for (index, effect) in rows.effects.iter().enumerate() {
                let (Effect::Store { slot, .. }, Some(time)) = (effect, self.effects[index]) else { continue };
                let same_place = |node: Node| match &rows.nodes[node] {
                    NodeData::Load { slot: loaded, .. } => kernel.operands[*loaded].strides == kernel.operands[*slot].strides,
                    _ => false,
                };
                let latest = rows.nodes.keys().filter(|node| same_place(*node)).map(|node| last[node]).max();
                if latest.is_some_and(|latest| latest > time) {
                    self.effects[index] = latest;
                    changed = true;
                }
            }
            if !changed {
                return;
            }
        }
    }

    /// The last time at which each node is used, by those that are computed again at their own last use too.
    fn last_uses(&self, rows: &Rows) -> SecondaryMap<Node, Time> {
        let mut last: SecondaryMap<Node, Time> = SecondaryMap::new();
        for (effect, time) in rows.effects.iter().zip(&self.effects) {
            if let Some(time) = time {
                last[effect.value()] = last[effect.value()].max(*time);
            }
        }
        // Users come after their arguments, so their own last use is known.
        for node in rows.nodes.keys().rev() {
            let computed = self.computed(rows, node);
            let time = if self.again[node] > 0 { computed.max(last[node]) } else { computed };
            for arg in rows.nodes[node].args() {
                last[arg] = last[arg].max(time);
            }
        }
        last
    }

    /// Finds the values that are cheaper to compute again than to keep: a few simple operations on one lane-level value.
    fn find_again(&mut self, rows: &Rows) {
        for node in rows.nodes.keys() {
            let NodeData::Map { op, args } = &rows.nodes[node] else { continue };
            let mut wide: Vec<Node> = args.iter().copied().filter(|arg| self.levels[*arg] == Level::Lane).collect();
            wide.dedup();
            if let [arg] = wide[..]
                && is_simple(*op)
                && self.again[arg] < 3
            {
                self.again[node] = self.again[arg] + 1;
            }
        }
    }

    fn place_buffers(&mut self, kernel: &KernelData, rows: &Rows) {
        let last = self.last_uses(rows);
        let lanes = kernel.lane().map_or(1, |lane| kernel.dims[lane].size as usize);
        for node in rows.nodes.keys() {
            let call = self.is_call(rows, node);
            if self.levels[node] != Level::Lane
                || self.again[node] > 0
                || self.is_plain(kernel, rows, node)
                || !(call || last[node] > self.ready[node])
            {
                continue;
            }
            self.buffers[node] = Some(self.allocate(last[node].phase > self.ready[node].phase, lanes));
            if matches!(&rows.nodes[node], NodeData::Map { op: Map::Pow, .. }) && call {
                self.others[node] = Some(self.allocate(false, lanes));
            }
        }
    }

    fn allocate(&mut self, wide: bool, lanes: usize) -> Buffer {
        let offset = self.bytes;
        // Whole cache lines, and one more: buffers of equal size must not all start in the same set of the cache.
        self.bytes += (4 * if wide { lanes } else { lanes.min(TILE) }).next_multiple_of(64) + 64;
        Buffer { offset, wide }
    }

    fn count_stages(&mut self, rows: &Rows) {
        let mut times: Vec<Time> = self.effects.iter().flatten().copied().collect();
        for node in rows.nodes.keys() {
            let reduces = matches!(rows.nodes[node], NodeData::Reduce { .. });
            if self.levels[node] == Level::Lane || reduces {
                times.push(self.computed(rows, node));
            }
        }
        let phases = times.iter().map(|time| time.phase as usize + 1).max().unwrap_or(0);
        self.stages = vec![0; phases];
        for time in times {
            let stages = &mut self.stages[time.phase as usize];
            *stages = (*stages).max(time.stage + 1);
        }
    }

    /// Whether the lanes of a row may be cut into ranges of whole tiles that are processed independently.
    pub(super) fn lanes_are_independent(&self, rows: &Rows) -> bool {
        let apart = |data: &NodeData| !matches!(data, NodeData::Reduce { .. } | NodeData::Scan { .. });
        rows.nodes.values().all(apart) && self.effects.iter().all(Option::is_some)
    }
}
