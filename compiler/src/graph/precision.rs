//! Where numbers are rounded, as the language defines it and not as fusion happens to be.
//!
//! Requires programs in exact arithmetic with anchors. Ensures that anchors are gone. For bf16, operands and results of matrix products and attention,
//! results of layers (anchors), what passes from one function of the model to the next and its cotangents, and kept values are rounded to bf16;
//! everything between is f32. Four things stay f32: gradients of weights, the row statistics of attention, and kept row statistics (reductions and
//! what is computed from them alone) and counts (what is made of whole numbers alone).

use super::ir::{Program, Role};
use crate::model::settings::Precision;
use crate::op::{Element, Inst, Map, Op, Origin, Shape, Value};
use cranelift_entity::SecondaryMap;

/// Rounds in place.
pub fn round(program: &mut Program, precision: Precision) {
    let marks = Marks::of(program);
    let insts = std::mem::take(&mut program.body.insts);
    let mut work =
        Rounding { program, precision, marks, new: SecondaryMap::new(), rounded: SecondaryMap::new(), views: SecondaryMap::new() };
    for (role, value) in work.program.inputs.clone() {
        let kept = passes(role) && work.is_rounded_kind(value) && !work.marks.statistic[value];
        work.rounded[value] = kept.then_some(value);
    }
    for inst in insts {
        work.instruction(inst);
    }
    work.outputs();
}

/// Whether a value outlives its program: what a layer gives and a `repeat` carries, contributions to its cotangent, and what is kept.
fn passes(role: Role) -> bool {
    matches!(role, Role::Stash(_) | Role::Result(_) | Role::ParamGrad(_))
}

/// What is known before rounding.
struct Marks {
    /// Only ever added up into gradients of weights.
    exact: SecondaryMap<Value, bool>,
    /// Row statistics, and numbers made of whole ones.
    statistic: SecondaryMap<Value, bool>,
}

impl Marks {
    fn of(program: &Program) -> Marks {
        let mut exact: SecondaryMap<Value, bool> = SecondaryMap::new();
        for (role, value) in &program.outputs {
            exact[*value] |= matches!(role, Role::WeightGrad(_));
        }
        for inst in program.body.insts.iter().rev() {
            let carries = matches!(inst.op, Op::Map(Map::Add | Map::Neg) | Op::Anchor | Op::Shape(_));
            if carries && exact[inst.results[0]] {
                inst.args.iter().for_each(|arg| exact[*arg] = true);
            }
        }
        let (mut statistic, whole) = (statistics(program), whole(program));
        whole.iter().filter(|(_, whole)| **whole).for_each(|(value, _)| statistic[value] = true);
        Marks { exact, statistic }
    }
}

/// Results of reductions, of attention's second kind, and what elementwise functions make of them and of constants.
fn statistics(program: &Program) -> SecondaryMap<Value, bool> {
    let body = &program.body;
    let (mut found, mut constant): (SecondaryMap<Value, bool>, SecondaryMap<Value, bool>) = (SecondaryMap::new(), SecondaryMap::new());
    for inst in &body.insts {
        match &inst.op {
            Op::Const(_) | Op::Integer(_) => constant[inst.results[0]] = true,
            Op::Reduce(..) => found[inst.results[0]] = true,
            Op::Attention(_) => found[inst.results[1]] = true,
            Op::Map(_) | Op::Anchor | Op::Stop | Op::Shape(Shape::Rename { .. }) => {
                let all = inst.args.iter().all(|arg| found[*arg] || constant[*arg]);
                constant[inst.results[0]] = inst.args.iter().all(|arg| constant[*arg]);
                found[inst.results[0]] = all && !constant[inst.results[0]];
            }
            _ => {}
        }
    }
    found
}

/// Real numbers that are made of whole ones alone (counts, places, positions): their neighbours in bf16 would be other places.
fn whole(program: &Program) -> SecondaryMap<Value, bool> {
    let body = &program.body;
    let mut found: SecondaryMap<Value, bool> = SecondaryMap::new();
    for inst in body.insts.iter().filter(|inst| !matches!(inst.op, Op::Random(_) | Op::Scalar(_))) {
        let all = inst.args.iter().all(|arg| body.ty(*arg).element != Element::Real || found[*arg]);
        inst.results.iter().for_each(|result| found[*result] = all);
    }
    found
}

struct Rounding<'a> {
    program: &'a mut Program,
    precision: Precision,
    marks: Marks,
    /// What an old value became.
    new: SecondaryMap<Value, Option<Value>>,
    /// The rounded form of a new value.
    rounded: SecondaryMap<Value, Option<Value>>,
    /// Views of new values: what is rounded is the value viewed, once for all its views.
    views: SecondaryMap<Value, Option<(Shape, Value)>>,
}

impl Rounding<'_> {
    fn is_rounded_kind(&self, value: Value) -> bool {
        self.precision == Precision::Bf16 && self.program.body.ty(value).element == Element::Real
    }

    fn current(&self, value: Value) -> Value {
        self.new[value].unwrap_or(value)
    }

    /// The value rounded: itself if it is so already.
    fn round(&mut self, value: Value, origin: Origin) -> Value {
        if !self.is_rounded_kind(value) {
            return value;
        }
        if let Some(known) = self.rounded[value] {
            return known;
        }
        let ty = self.program.body.ty(value).clone();
        let (op, arg) = match self.views[value].clone() {
            Some((view, viewed)) => (Op::Shape(view), self.round(viewed, origin)),
            None => (Op::Map(Map::RoundBf16), value),
        };
        let rounded = self.program.body.push(op, vec![arg], ty, origin);
        self.rounded[value] = Some(rounded);
        self.rounded[rounded] = Some(rounded);
        rounded
    }

    fn instruction(&mut self, mut inst: Inst) {
        inst.args.iter_mut().for_each(|arg| *arg = self.new[*arg].unwrap_or(*arg));
        if inst.op == Op::Anchor {
            self.anchor(&inst);
            return;
        }
        let origin = inst.origin;
        // The statistics of attention (its second result, an argument of its gradient) are f32.
        let (args, results): (Vec<usize>, Vec<usize>) = match &inst.op {
            Op::Contract(_) => (vec![0, 1], vec![0]),
            Op::Attention(_) => (vec![0, 1, 2], vec![0]),
            Op::AttentionGrad(_) => (vec![0, 1, 2, 3, 5], vec![0, 1, 2]),
            _ => (Vec::new(), Vec::new()),
        };
        for at in args {
            inst.args[at] = self.round(inst.args[at], origin);
        }
        let made = inst.results.clone();
        self.keeps_rounding(&inst);
        self.program.body.insts.push(inst);
        for at in results {
            if !self.marks.exact[made[at]] {
                self.new[made[at]] = Some(self.round(made[at], origin)).filter(|rounded| *rounded != made[at]);
            }
        }
    }

    /// Changes of shape of rounded values are rounded.
    fn keeps_rounding(&mut self, inst: &Inst) {
        if let Op::Shape(shape @ (Shape::Rename { .. } | Shape::Split { .. } | Shape::Merge { .. })) = &inst.op {
            self.views[inst.results[0]] = Some((shape.clone(), inst.args[0]));
        }
        if matches!(inst.op, Op::Shape(_)) && inst.args.iter().all(|arg| self.rounded[*arg] == Some(*arg)) {
            self.rounded[inst.results[0]] = Some(inst.results[0]);
        }
    }

    /// An anchor is its argument, rounded unless that is a gradient of a weight.
    fn anchor(&mut self, inst: &Inst) {
        let result = inst.results[0];
        let value = if self.marks.exact[result] { inst.args[0] } else { self.round(inst.args[0], inst.origin) };
        // An anchor may change the order of dims; then it is a copy.
        let same = self.program.body.ty(value).dims == self.program.body.ty(result).dims;
        if same {
            self.new[result] = Some(value);
            return;
        }
        self.program.body.insts.push(Inst { op: Op::Shape(Shape::Expand), args: vec![value], results: vec![result], origin: inst.origin });
    }

    fn outputs(&mut self) {
        let origin = self.program.body.insts.last().map(|inst| inst.origin);
        for at in 0..self.program.outputs.len() {
            let (role, old) = self.program.outputs[at];
            let value = self.current(old);
            let kept = passes(role) && !self.marks.statistic[old];
            let value = match origin {
                Some(origin) if kept => self.round(value, origin),
                _ => value,
            };
            self.program.outputs[at] = (role, value);
        }
    }
}
