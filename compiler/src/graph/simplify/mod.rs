//! Algebraic simplification: rewrites that do the same work with fewer instructions.
//!
//! Requires a program in order with fitting types. Ensures equal types of all outputs. Rewrites are *exact* (the same bits in IEEE
//! arithmetic) but for these, each within an ulp or two of one operation, or closer to the true value, as PyTorch's own choices are:
//! - `x + 0`, `0 - x`, `-(a - b)`: the sign of a zero may differ;
//! - `(x * c) * d` becomes `x * (c * d)`; constants are folded in f64;
//! - `x ^ 0.5`, `x ^ -0.5`, `x ^ -1`, `x ^ 2` become roots, a quotient, a product (as PyTorch does);
//! - sums of sums become one sum; sums over repeated elements become products.
//!
//! Never: `x * 0` (NaN), `x - x`, `x / c` as a product (unless c is a power of two, which is exact), `(x + c) + d`.

mod map;
mod reduce;
mod shape;
#[cfg(test)]
mod tests;

use super::ir::Program;
use crate::op::{Body, Dims, Element, Inst, Op, Origin, Shape, Type, Value, ValueData};
use cranelift_entity::SecondaryMap;

/// Simplifies `program`; what is no longer used stays for `dce`.
pub fn simplify(program: &mut Program, dims: &Dims) {
    let old = std::mem::take(&mut program.body.insts);
    let mut rewriter = Rewriter::new(std::mem::take(&mut program.body), dims);
    let read = old.iter().flat_map(|inst| &inst.args).chain(program.outputs.iter().map(|(_, value)| value));
    read.for_each(|value| rewriter.uses[*value] += 1);
    old.into_iter().for_each(|inst| rewriter.visit(inst));
    program.outputs.iter_mut().for_each(|(_, value)| *value = rewriter.current(*value));
    program.body = rewriter.body;
}

/// Removes `Anchor` and `Stop`, once differentiation and precision are settled. One that changes the layout stays.
pub fn drop_marks(program: &mut Program) {
    program.replace(|body, inst| {
        let mark = matches!(inst.op, Op::Anchor | Op::Stop) && body.ty(inst.args[0]) == body.ty(inst.results[0]);
        mark.then(|| inst.args[0])
    });
}

/// What an instruction becomes.
enum New {
    /// A value that is there already; repeated along the dims that only the result has.
    Value(Value),
    /// Another instruction with the same result.
    Inst(Op, Vec<Value>),
}

struct Rewriter<'a> {
    dims: &'a Dims,
    body: Body,
    /// Index into the body's instructions of each value's definition.
    defined: SecondaryMap<Value, Option<u32>>,
    replaced: SecondaryMap<Value, Option<Value>>,
    /// How often each value is read.
    uses: SecondaryMap<Value, u32>,
    /// Of the instruction at hand, for what it makes.
    origin: Origin,
}

impl<'a> Rewriter<'a> {
    fn new(body: Body, dims: &'a Dims) -> Self {
        let (defined, replaced, uses) = (SecondaryMap::new(), SecondaryMap::new(), SecondaryMap::new());
        Rewriter { dims, body, defined, replaced, uses, origin: Origin::from_u32(0) }
    }

    fn current(&self, value: Value) -> Value {
        self.replaced[value].unwrap_or(value)
    }

    fn ty(&self, value: Value) -> &Type {
        self.body.ty(value)
    }

    /// The instruction that defines `value`, unless it is an input.
    fn def(&self, value: Value) -> Option<&Inst> {
        self.defined[value].map(|at| &self.body.insts[at as usize])
    }

    /// The number that every element of `value` is, if it is a constant.
    fn constant(&self, value: Value) -> Option<f64> {
        let inst = self.def(value)?;
        match &inst.op {
            Op::Const(value) => Some(*value),
            Op::Integer(value) => Some(*value as f64),
            Op::Shape(Shape::Expand) => self.constant(inst.args[0]),
            Op::Scalar(_) | Op::Map(_) | Op::Reduce(..) | Op::Contract(_) | Op::Index(_) | Op::Shape(_) | Op::Random(_) => None,
            Op::Attention(_) | Op::AttentionGrad(_) | Op::Anchor | Op::Stop | Op::Collective(_) => None,
        }
    }

    /// A new constant without dims; none if the element type has no constants or the number is not finite.
    fn number(&mut self, number: f64, element: Element) -> Option<Value> {
        let op = match element {
            Element::Real => Op::Const(number),
            Element::Integer | Element::Index(_) if number.abs() < 2f64.powi(31) => Op::Integer(number as i64),
            Element::Integer | Element::Index(_) | Element::Bool | Element::Half => return None,
        };
        number.is_finite().then(|| self.make(op, Vec::new(), Type { element, dims: Vec::new() }))
    }

    /// A new instruction before the one at hand, itself simplified.
    fn make(&mut self, op: Op, args: Vec<Value>, ty: Type) -> Value {
        let result = self.body.values.push(ValueData { ty, name: String::new() });
        self.visit(Inst { op, args, results: vec![result], origin: self.origin });
        self.current(result)
    }

    fn append(&mut self, inst: Inst) {
        for result in &inst.results {
            self.defined[*result] = Some(self.body.insts.len() as u32);
        }
        self.body.insts.push(inst);
    }

    /// Rewrites one instruction as long as a rule applies.
    fn visit(&mut self, mut inst: Inst) {
        self.origin = inst.origin;
        inst.args.iter_mut().for_each(|arg| *arg = self.replaced[*arg].unwrap_or(*arg));
        loop {
            let (ty, result) = (self.ty(inst.results[0]).clone(), inst.results[0]);
            match self.rule(&inst, &ty) {
                Some(New::Inst(op, args)) => (inst.op, inst.args) = (op, args),
                Some(New::Value(value)) if *self.ty(value) == ty => {
                    self.replaced[result] = Some(value);
                    self.uses[value] += self.uses[result];
                    return;
                }
                Some(New::Value(value)) if self.repeats(value, &ty) => (inst.op, inst.args) = (Op::Shape(Shape::Expand), vec![value]),
                Some(New::Value(_)) | None => return self.append(inst),
            }
        }
    }

    /// Whether `value` becomes a `ty` by repetition along some dims.
    fn repeats(&self, value: Value, ty: &Type) -> bool {
        let own = self.ty(value);
        own.element == ty.element && own.dims.len() < ty.dims.len() && own.dims.iter().all(|dim| ty.has(*dim))
    }

    /// The first rule that applies. Each leads to fewer or simpler instructions, so there is an end.
    fn rule(&mut self, inst: &Inst, ty: &Type) -> Option<New> {
        match &inst.op {
            Op::Map(op) => self.map(*op, &inst.args, ty),
            Op::Reduce(op, over) => self.reduce(*op, over, inst.args[0], ty),
            Op::Contract(over) => over.is_empty().then(|| New::Inst(Op::Map(crate::op::Map::Mul), inst.args.clone())),
            Op::Shape(op) => self.shape(op, &inst.args, ty),
            Op::Anchor | Op::Stop => {
                let again = self.def(inst.args[0]).is_some_and(|def| def.op == inst.op);
                again.then_some(New::Value(inst.args[0]))
            }
            Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Index(_) | Op::Random(_) => None,
            Op::Attention(_) | Op::AttentionGrad(_) | Op::Collective(_) => None,
        }
    }
}
