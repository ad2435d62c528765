//! The skeleton `rows`: elementwise work, row reductions, lookups and folds over rows.
//!
//! A *team* of threads (a warp, or a whole block) takes a row; each thread takes a few lanes at a time, four neighbours, or eight of bf16, with one
//! access of 16 bytes where they stand so. Between row reductions, values stay in registers where a thread has few lanes, else they are computed
//! again. Kernels without reductions need no team: each thread takes its own points.
//!
//! Requires: kernels that the plan's verifier accepted. Ensures: all stores of a row come after all its loads, since a read and a written operand
//! may be one place; the order of every sum is fixed.

mod folds;
mod form;
mod nodes;
mod phases;

use super::text::{Text, name, times};
use super::{Function, Names};
use cranelift_entity::{EntityRef, PrimaryMap};
use form::{Form, Work};
use meshwright_plan::Element;
use meshwright_plan::kernel::level::Level;
use meshwright_plan::kernel::{Access, Effect, KernelData, Node, NodeData, Reduce, Role, Rows, Slot};
use phases::Phases;

/// The functions of a kernel: its own, and one that puts partial results together.
///
/// # Errors
/// The body is not well typed, or a scalar is unknown: the plan was not verified.
pub(super) fn emit(number: u32, kernel: &KernelData, rows: &Rows, names: Names<'_>) -> Result<Vec<Function>, String> {
    let types = rows.types(kernel).map_err(|error| error.to_string())?;
    let form = Form::new(kernel, rows);
    let phases = Phases::new(kernel, rows, form.keeps());
    let grid = u32::try_from(form.grid()).map_err(|_| "it has too many rows".to_string())?;
    let mut emitter = Emitter { kernel, rows, names, types, form, phases, text: Text::function(number, kernel) };
    emitter.body()?;
    let Emitter { form, text, .. } = emitter;
    let main = Function { name: name(number, kernel), text: text.finish(), grid, threads: form.threads(), shared: 0 };
    Ok(std::iter::once(main).chain(folds::combine(number, kernel, rows, &form)).collect())
}

struct Emitter<'a> {
    kernel: &'a KernelData,
    rows: &'a Rows,
    names: Names<'a>,
    types: PrimaryMap<Node, Element>,
    form: Form,
    phases: Phases,
    text: Text,
}

impl Emitter<'_> {
    fn body(&mut self) -> Result<(), String> {
        let Form { team, teams, rows, .. } = self.form;
        self.cooperation();
        self.level(Level::Uniform, 0)?;
        // which team of its block a thread is in
        let own = format!("threadIdx.x / {team}");
        match self.form.work {
            Work::Points => self.points()?,
            Work::Rows if teams == 1 => {
                self.text.line("mw_i64 row = blockIdx.x;");
                self.row()?;
            }
            Work::Rows => {
                self.text.line(&format!("mw_i64 row = (mw_i64)blockIdx.x * {teams} + {own};"));
                self.text.line(&format!("if (row >= {rows}) return;"));
                self.row()?;
            }
            Work::Groups(groups) => {
                self.start_folds();
                self.text.line(&format!("mw_i64 from = {rows}ll * blockIdx.x / {groups}, end = {rows}ll * (blockIdx.x + 1) / {groups};"));
                let first = if teams > 1 { format!("from + {own}") } else { "from".to_string() };
                self.text.open(&format!("for (mw_i64 row = {first}; row < end; row += {teams})"));
                self.row()?;
                self.text.close();
                self.finish_folds();
            }
        }
        Ok(())
    }

    /// What the threads of a team need to work together.
    fn cooperation(&mut self) {
        if self.form.work == Work::Points {
            return;
        }
        let (team, warps) = (self.form.team, self.form.team / 32);
        let uses = |wanted: fn(&NodeData) -> bool| self.rows.nodes.values().any(wanted);
        let reduces = uses(|data| matches!(data, NodeData::Reduce { .. } | NodeData::Scan { .. }));
        let positions = uses(|data| matches!(data, NodeData::Reduce { op: Reduce::Argmax, .. }));
        if reduces {
            self.text.line(&format!("__shared__ float shared[{warps}];"));
        }
        if positions {
            self.text.line(&format!("__shared__ int places[{warps}];"));
        }
        let thread = if self.form.teams > 1 { format!("threadIdx.x % {team}") } else { "threadIdx.x".to_string() };
        self.text.line(&format!("int thread = {thread};"));
    }

    /// A thread's own points.
    fn points(&mut self) -> Result<(), String> {
        let Form { lanes, vector, rows, .. } = self.form;
        let parts = lanes / vector;
        self.text.line(&format!("mw_i64 point = (mw_i64)blockIdx.x * {} + threadIdx.x;", self.form.threads()));
        self.text.line(&format!("if (point >= {}ll) return;", rows * parts));
        let row = if parts == 1 { "point".to_string() } else { format!("point / {parts}") };
        self.text.line(&format!("mw_i64 row = {row};"));
        let first = if parts == 1 { "0".to_string() } else { times(&format!("point % {parts}"), vector as i64) };
        if self.kernel.lane().is_some() {
            self.text.line(&format!("int {} = (int)({first});", self.first()));
        }
        self.places(self.kernel.operands.keys());
        self.level(Level::Row, 0)?;
        self.lanes(0)?;
        self.row_stores();
        Ok(())
    }

    /// One row, phase by phase.
    fn row(&mut self) -> Result<(), String> {
        self.places(self.kernel.operands.keys());
        for phase in 0..self.phases.count {
            self.level(Level::Row, phase)?;
            self.accumulators(phase);
            if !self.phases.targets(phase).is_empty() || (self.phases.is_last(phase) && self.has_lane_effects()) {
                self.keepers(phase);
                if self.form.keeps() {
                    self.text.line("#pragma unroll");
                }
                self.text.open(&format!("for (int j = 0; j < {}; j++)", self.form.turns));
                let first = times(&format!("j * {} + thread", self.form.team), self.form.vector as i64);
                self.text.line(&format!("int {} = {first};", self.first()));
                self.lanes(phase)?;
                self.text.close();
            }
            self.reductions(phase);
        }
        self.row_stores();
        Ok(())
    }

    /// The indices of the row along its dims, and where it begins in these operands.
    fn places(&mut self, slots: impl Iterator<Item = Slot>) {
        let mut behind = self.form.rows;
        for (axis, dim) in self.kernel.dims.iter().filter(|(_, dim)| dim.role == Role::Row) {
            let outer = behind;
            behind /= dim.size;
            let index = if behind == 1 { "row".to_string() } else { format!("row / {behind}") };
            let index = if outer == self.form.rows { index } else { format!("{index} % {}", dim.size) };
            self.text.line(&format!("int i{} = (int)({index});", axis.index()));
        }
        for slot in slots {
            let terms: Vec<String> = self.row_terms(slot).map(|(axis, stride)| times(&format!("i{axis}"), stride)).collect();
            if !terms.is_empty() {
                self.text.line(&format!("mw_i64 r{} = {};", slot.index(), terms.join(" + ")));
            }
        }
    }

    /// The row dims along which an operand runs, with its strides.
    fn row_terms(&self, slot: Slot) -> impl Iterator<Item = (usize, i64)> {
        let rows = self.kernel.dims.iter().filter(|(_, dim)| dim.role == Role::Row);
        rows.map(move |(axis, _)| (axis.index(), self.kernel.operands[slot].strides[axis.index()])).filter(|(_, stride)| *stride != 0)
    }

    /// Where the row begins in an operand.
    fn row_of(&self, slot: Slot) -> String {
        let runs = self.row_terms(slot).next().is_some();
        if runs { format!("o{0} + r{0}", slot.index()) } else { format!("o{}", slot.index()) }
    }

    /// The variable of a thread's lane, or of the first one of its neighbours.
    fn first(&self) -> &'static str {
        if self.form.vector == 1 { "lane" } else { "first" }
    }

    /// All values of a level that can be computed before the loop of a phase.
    fn level(&mut self, level: Level, phase: usize) -> Result<(), String> {
        for node in self.rows.nodes.keys() {
            let here = self.phases.levels[node] == level && (level == Level::Uniform || self.phases.ready[node] == phase);
            if here && !matches!(self.rows.nodes[node], NodeData::Reduce { .. }) && !self.is_literal(node) {
                let (kind, value) = (self.kind(node), self.expression(node)?);
                self.text.line(&format!("{kind} v{} = {value};", node.index()));
            }
        }
        Ok(())
    }

    /// What reductions of a phase begin with.
    fn accumulators(&mut self, phase: usize) {
        for node in self.phases.targets(phase) {
            let NodeData::Reduce { op, .. } = &self.rows.nodes[node] else { continue };
            let start = start(*op);
            self.text.line(&format!("float a{} = {start};", node.index()));
            if *op == Reduce::Argmax {
                self.text.line(&format!("int p{} = 0;", node.index()));
            }
        }
        for node in self.phases.scans(phase) {
            self.text.line(&format!("float c{}_{phase} = 0.0f;", node.index()));
        }
    }

    /// Registers for values of this phase that later phases read.
    fn keepers(&mut self, phase: usize) {
        for node in self.phases.kept(phase) {
            let size = self.form.turns * self.form.vector;
            self.text.line(&format!("{} k{}[{size}];", self.kind(node), node.index()));
        }
    }

    /// Reductions that this phase ends with.
    fn reductions(&mut self, phase: usize) {
        let (team, lanes) = (self.form.team, self.form.lanes);
        for (node, data) in self.rows.nodes.iter() {
            let NodeData::Reduce { op, arg } = data else { continue };
            if self.phases.ready[node] != phase + 1 {
                continue;
            }
            let (number, value) = (node.index(), self.value(*arg));
            let line = match (self.phases.levels[*arg], op) {
                (Level::Lane, Reduce::Argmax) => {
                    format!("int v{number} = mw_team_argmax<{team}>(a{number}, p{number}, shared, places);")
                }
                (Level::Lane, op) => format!("float v{number} = mw_team<{}, {team}>(a{number}, shared);", operation(*op)),
                (_, Reduce::Sum) => format!("float v{number} = {value} * {lanes}.0f;"),
                (_, Reduce::Argmax) => format!("int v{number} = 0;"),
                (_, Reduce::Max | Reduce::Min) => format!("float v{number} = {value};"),
            };
            self.text.line(&line);
        }
    }

    fn has_lane_effects(&self) -> bool {
        self.rows.effects.iter().any(|effect| self.is_wide(effect))
    }

    /// Some of the effects, with their numbers.
    fn effects(&self, wanted: impl Fn(&Effect) -> bool) -> Vec<(usize, Effect)> {
        self.rows.effects.iter().cloned().enumerate().filter(|(_, effect)| wanted(effect)).collect()
    }

    /// Whether an effect happens lane by lane: its value differs, or every lane has a place of its own.
    fn is_wide(&self, effect: &Effect) -> bool {
        phases::is_wide(self.kernel, &self.phases.levels, effect)
    }
}

/// Elements of an operand from one lane to the next.
fn lane_stride(kernel: &KernelData, slot: Slot) -> i64 {
    kernel.lane().map_or(0, |lane| kernel.operands[slot].strides[lane.index()])
}

/// Whether an operand is added to, as C.
fn adds(kernel: &KernelData, slot: Slot) -> String {
    let accumulates = kernel.operands[slot].access == Access::Accumulate;
    if accumulates { format!("adds >> {} & 1", slot.index()) } else { "false".to_string() }
}

/// Writes a value to a place of an operand, or adds it.
fn store(kernel: &KernelData, slot: Slot, place: &str, value: &str) -> String {
    if kernel.operands[slot].access == Access::Accumulate {
        return format!("{place} = {} ? {place} + {value} : {value};", adds(kernel, slot));
    }
    format!("{place} = {value};")
}

/// What changes nothing.
fn start(op: Reduce) -> String {
    match op {
        Reduce::Argmax => format!("{}::start()", operation(Reduce::Max)),
        op => format!("{}::start()", operation(op)),
    }
}

/// The prelude's name of a reduction.
fn operation(op: Reduce) -> &'static str {
    match op {
        Reduce::Sum => "mw_sum",
        Reduce::Max | Reduce::Argmax => "mw_maximum",
        Reduce::Min => "mw_minimum",
    }
}
