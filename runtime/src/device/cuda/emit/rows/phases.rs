//! When lane values are computed: phases lie between row reductions, and every store is in the last one.
//!
//! Requires: a kernel whose body is well typed. Ensures: a value is computed once if it may be kept in registers; else every phase computes what it
//! needs from the operands again, which no store has changed yet.

use super::lane_stride;
use cranelift_entity::PrimaryMap;
use meshwright_plan::kernel::level::Level;
use meshwright_plan::kernel::{Effect, KernelData, Node, NodeData, Rows};
use std::collections::BTreeSet;

/// The phases of a kernel.
pub(super) struct Phases {
    /// How often values are computed.
    pub(super) levels: PrimaryMap<Node, Level>,
    /// Row reductions before a value.
    pub(super) ready: PrimaryMap<Node, usize>,
    /// How many phases there are.
    pub(super) count: usize,
    /// Per phase the reductions of lanes that its loop feeds.
    targets: Vec<Vec<Node>>,
    /// Per phase the lane values that its loop computes, in order.
    computed: Vec<BTreeSet<Node>>,
    /// Per phase those of them that later loops read.
    kept: Vec<BTreeSet<Node>>,
    scans: BTreeSet<Node>,
}

impl Phases {
    pub(super) fn new(kernel: &KernelData, rows: &Rows, keeps: bool) -> Phases {
        let levels = rows.levels(kernel);
        let mut ready: PrimaryMap<Node, usize> = PrimaryMap::with_capacity(rows.nodes.len());
        for data in rows.nodes.values() {
            let args = data.args().iter().map(|arg| ready[*arg]).max().unwrap_or(0);
            ready.push(args + usize::from(matches!(data, NodeData::Reduce { .. })));
        }
        let count = ready.values().max().map_or(1, |last| last + 1);
        let mut phases = Phases {
            levels,
            ready,
            count,
            targets: vec![Vec::new(); count],
            computed: Vec::new(),
            kept: vec![BTreeSet::new(); count],
            scans: rows.nodes.iter().filter(|(_, data)| matches!(data, NodeData::Scan { .. })).map(|(node, _)| node).collect(),
        };
        for (node, data) in rows.nodes.iter() {
            if let NodeData::Reduce { arg, .. } = data
                && phases.levels[*arg] == Level::Lane
            {
                phases.targets[phases.ready[node] - 1].push(node);
            }
        }
        phases.place(kernel, rows, keeps);
        phases
    }

    /// Which loop computes what.
    fn place(&mut self, kernel: &KernelData, rows: &Rows, keeps: bool) {
        let mut first: PrimaryMap<Node, Option<usize>> = rows.nodes.keys().map(|_| None).collect();
        for phase in 0..self.count {
            let mut open = self.roots(kernel, rows, phase);
            let mut here = BTreeSet::new();
            while let Some(node) = open.pop() {
                if self.levels[node] != Level::Lane || here.contains(&node) {
                    continue;
                }
                match first[node].filter(|first| keeps && *first < phase) {
                    Some(first) => {
                        self.kept[first].insert(node);
                    }
                    None => {
                        first[node] = Some(phase);
                        here.insert(node);
                        open.extend(rows.nodes[node].args());
                    }
                }
            }
            self.computed.push(here);
        }
    }

    /// What a phase's loop is there for.
    fn roots(&self, kernel: &KernelData, rows: &Rows, phase: usize) -> Vec<Node> {
        let reduced = self.targets[phase].iter().flat_map(|node| rows.nodes[*node].args());
        let wide = rows.effects.iter().filter(|effect| self.is_last(phase) && is_wide(kernel, &self.levels, effect));
        reduced.chain(wide.map(Effect::value)).collect()
    }

    pub(super) fn is_last(&self, phase: usize) -> bool {
        phase + 1 == self.count
    }

    /// The reductions that a phase's loop feeds.
    pub(super) fn targets(&self, phase: usize) -> Vec<Node> {
        self.targets[phase].clone()
    }

    /// The lane values that a phase's loop computes.
    pub(super) fn computed(&self, phase: usize) -> Vec<Node> {
        self.computed[phase].iter().copied().collect()
    }

    /// Those that later loops read.
    pub(super) fn kept(&self, phase: usize) -> Vec<Node> {
        self.kept[phase].iter().copied().collect()
    }

    /// The running sums that a phase's loop computes.
    pub(super) fn scans(&self, phase: usize) -> Vec<Node> {
        self.computed[phase].intersection(&self.scans).copied().collect()
    }
}

/// Whether an effect happens lane by lane: its value differs, or every lane has a place of its own.
pub(super) fn is_wide(kernel: &KernelData, levels: &PrimaryMap<Node, Level>, effect: &Effect) -> bool {
    levels[effect.value()] == Level::Lane || lane_stride(kernel, effect.slot()) != 0
}
