//! Bodies of `rows` kernels: nodes, effects and folds.

use super::{Report, Rule, kernel::written_once};
use crate::kernel::{Access, Axis, Effect, Gather, Level, Move, Node, NodeData, Operand, Role, Rows, Runs, Slot};
use crate::{Element, KernelData, Plan};
use cranelift_entity::PrimaryMap;

/// The body; false if it is too broken to look at its extents.
pub(super) fn rows(plan: &Plan, kernel: &KernelData, rows: &Rows, report: &mut Report) -> bool {
    report.check(rows.blocks > 0, Rule::Fold, || "no blocks".to_owned());
    if !rows.is_ordered() || rows.effects.iter().any(|effect| !slots(effect).iter().all(|slot| kernel.operands.is_valid(*slot))) {
        report.add(Rule::NodeReference, "an argument does not come before its user, or an effect refers to nothing");
        return false;
    }
    let before = report.violations.len();
    for (node, data) in rows.nodes.iter() {
        references(plan, kernel, node, data, report);
    }
    if report.violations.len() > before {
        return false;
    }
    let types = match rows.types(kernel) {
        Ok(types) => types,
        Err(error) => {
            report.add(Rule::NodeType, error.to_string());
            return false;
        }
    };
    let levels = rows.levels(kernel);
    let view = Typed { kernel, rows, types, levels };
    rows.effects.iter().for_each(|effect| view.effect(effect, report));
    view.folds(report);
    view.uses(report);
    true
}

fn slots(effect: &Effect) -> Vec<Slot> {
    match effect {
        Effect::Store { slot, .. } => vec![*slot],
        Effect::Fold { slot, partials, .. } => [Some(*slot), *partials].into_iter().flatten().collect(),
    }
}

/// What a node refers to exists and may be used so.
fn references(plan: &Plan, kernel: &KernelData, node: Node, data: &NodeData, report: &mut Report) {
    let mut has = |holds: bool, rule: Rule, message: &str| report.check(holds, rule, || format!("{node}: {message}"));
    match data {
        NodeData::Const(value) => has(!value.is_nan(), Rule::Number, "not a number"),
        NodeData::Integer(_) | NodeData::Map { .. } => {}
        NodeData::Scalar(name) => {
            let known = plan.scalars.iter().any(|definition| definition.name == *name);
            has(known, Rule::NodeReference, &format!("there is no scalar {name}"));
        }
        NodeData::Load { slot, gather, moved } => match kernel.operands.get(*slot) {
            None => has(false, Rule::NodeReference, "loads from no operand"),
            Some(operand) => {
                has(operand.access == Access::Read, Rule::OperandAccess, &format!("reads {}", operand.name));
                has(gather.is_none_or(is_lookup), Rule::OperandStrides, "the lookup has no size or a negative stride");
                let right = moved.is_none_or(|moved| is_move(kernel, operand, moved));
                has(right, Rule::OperandStrides, "moves along a dim that the operand lacks, or further than it is long");
            }
        },
        NodeData::Position { dim, .. } => has(kernel.dims.is_valid(*dim), Rule::NodeReference, "there is no such dim"),
        NodeData::Reduce { .. } | NodeData::Scan { .. } => {
            has(kernel.lane().is_some(), Rule::NodeLevel, "there are no lanes to reduce over");
        }
        NodeData::Coordinate(_) => {}
        NodeData::Random { strides, runs, .. } => {
            let halves = |runs: &Runs| {
                kernel.dims.get(runs.dim).is_some_and(|dim| dim.role == Role::Row && dim.size.is_multiple_of(2)) && !runs.first.second
            };
            has(runs.iter().all(halves), Rule::NodeReference, "two runs along what is no row dim of two halves");
            has(strides.len() == kernel.dims.len(), Rule::NodeReference, "not one stride per dim");
            has(strides.iter().all(|stride| i64::try_from(*stride).is_ok()), Rule::Number, "strides beyond 63 bits");
        }
    }
}

fn is_lookup(gather: Gather) -> bool {
    gather.size > 0 && gather.stride >= 0
}

fn is_move(kernel: &KernelData, operand: &Operand, moved: Move) -> bool {
    let Some(dim) = kernel.dims.get(moved.dim) else { return false };
    operand.strides[moved.dim.as_u32() as usize] != 0 && moved.by.unsigned_abs() <= dim.size
}

/// A body whose nodes are known to be right.
struct Typed<'a> {
    kernel: &'a KernelData,
    rows: &'a Rows,
    types: PrimaryMap<Node, Element>,
    levels: PrimaryMap<Node, Level>,
}

impl Typed<'_> {
    fn effect(&self, effect: &Effect, report: &mut Report) {
        match effect {
            Effect::Store { slot, value } => self.store(*slot, *value, report),
            Effect::Fold { slot, partials, op, value } => {
                let operand = &self.kernel.operands[*slot];
                let name = &operand.name;
                report.check(op.folds(), Rule::Fold, || format!("{name} is folded by {op:?}"));
                report.check(operand.access == Access::Accumulate, Rule::OperandAccess, || format!("{name} is folded into"));
                self.value(operand, *value, Rule::Fold, report);
                self.partials(*partials, name, report);
                for axis in self.folded() {
                    let stays = operand.strides[axis.as_u32() as usize] == 0 || self.kernel.dims[axis].size == 1;
                    report.check(stays, Rule::Fold, || format!("{name} runs along {}, which is folded", self.kernel.dims[axis].name));
                }
                let folded: Vec<Axis> = self.folded();
                self.points(operand, *value, |axis| !folded.contains(&axis), report);
            }
        }
    }

    fn store(&self, slot: Slot, value: Node, report: &mut Report) {
        let operand = &self.kernel.operands[slot];
        let writes = matches!(operand.access, Access::Write | Access::Accumulate);
        report.check(writes, Rule::OperandAccess, || format!("{} is stored into", operand.name));
        self.value(operand, value, Rule::NodeType, report);
        self.points(operand, value, |_| true, report);
    }

    fn value(&self, operand: &Operand, value: Node, rule: Rule, report: &mut Report) {
        let found = self.types[value];
        let right = found == operand.element.value() && (rule != Rule::Fold || found == Element::F32);
        report.check(right, Rule::NodeType, || format!("{} is {}, the value {found}", operand.name, operand.element));
    }

    /// Each row point that remains has an element of its own, and each lane if the value has lanes.
    fn points(&self, operand: &Operand, value: Node, remains: impl Fn(Axis) -> bool, report: &mut Report) {
        let lanes = self.kernel.lane().filter(|lane| self.kernel.dims[*lane].size > 1);
        let runs = lanes.is_some_and(|lane| operand.strides[lane.as_u32() as usize] != 0);
        let wide = self.levels[value] == Level::Lane && lanes.is_some();
        report.check(!wide || runs, Rule::NodeLevel, || format!("{} has no lanes, its value has", operand.name));
        let counted = |axis: Axis| if self.kernel.dims[axis].role == Role::Lane { runs } else { remains(axis) };
        written_once(self.kernel, operand, counted, report);
    }

    fn partials(&self, partials: Option<Slot>, name: &str, report: &mut Report) {
        let all = self.folded().len() == self.kernel.dims.values().filter(|dim| dim.role == Role::Row).count();
        report.check(partials.is_some() == all, Rule::Fold, || format!("{name} needs partial results if and only if all rows are folded"));
        if let Some(operand) = partials.map(|slot| &self.kernel.operands[slot]) {
            let right = operand.access == Access::Scratch && operand.element == Element::F32;
            report.check(right, Rule::OperandAccess, || format!("{} holds partial results", operand.name));
        }
    }

    /// The dims that folds sum over: the last of the row dims.
    fn folded(&self) -> Vec<Axis> {
        let rows = self.kernel.dims.iter().filter(|(_, dim)| dim.role == Role::Row);
        rows.rev().take(self.rows.folded as usize).map(|(axis, _)| axis).collect()
    }

    fn folds(&self, report: &mut Report) {
        let count = self.kernel.dims.values().filter(|dim| dim.role == Role::Row).count();
        report.check(self.rows.folded as usize <= count, Rule::Fold, || format!("only {count} row dims can be folded"));
        let folds = self.rows.effects.iter().any(|effect| matches!(effect, Effect::Fold { .. }));
        report.check(folds == (self.rows.folded > 0), Rule::Fold, || "dims are folded if and only if there are folds".to_owned());
    }

    /// Every operand that is written is written by one effect, every scratch operand belongs to one fold.
    fn uses(&self, report: &mut Report) {
        let used: Vec<Slot> = self.rows.effects.iter().flat_map(slots).collect();
        for (slot, operand) in self.kernel.operands.iter() {
            let count = used.iter().filter(|other| **other == slot).count();
            let wanted = usize::from(operand.access != Access::Read);
            report.check(count == wanted, Rule::WriteOnce, || format!("{} is written by {count} effects", operand.name));
        }
    }
}
