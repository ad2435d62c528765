//! Analysis: what every instruction of a legal program is to fusion, and on which others it depends.
//!
//! Requires what [`super::legalise`] ensures. Ensures that an instruction that makes a kernel depends, directly, on all instructions whose
//! results it reads; through memory (*far*) where it needs more of a result than the element at its own point.

use super::legalise::{accumulates, is_free};
use super::view::{View, Views, of_inst, views};
use crate::graph::ir::{Program, Role};
use crate::op::{Dims, Index, Inst, Map, Op, Origin, Shape, Value};
use cranelift_entity::SecondaryMap;
use std::collections::BTreeSet;

/// Elementwise functions of positions and constants with at most this many operations are computed wherever they are wanted.
const FREE: u32 = 6;

/// What becomes of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its result is a view, or is computed wherever it is wanted.
    Nothing,
    /// Part of a `rows` kernel.
    Rows,
    /// A `contract` kernel.
    Contract,
    /// An `attention` kernel or its gradient's.
    Attention,
    /// A `segmented` kernel.
    Segmented,
    /// A `collective` kernel.
    Collective,
    /// The place where other kernels' results come together: a `Concat`, or a sum of contractions.
    Join,
}

/// That an instruction comes after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dep {
    /// The earlier one.
    pub on: usize,
    /// The result must be in memory, complete, before it is read.
    pub far: bool,
}

/// The analysis' result. Instructions are known by their index.
pub struct Facts<'a> {
    /// The legal program.
    pub program: &'a Program,
    /// Sizes of dims.
    pub dims: &'a Dims,
    /// Where values stand.
    pub views: Views,
    /// Who computes a value.
    pub def: SecondaryMap<Value, Option<usize>>,
    /// What each instruction becomes.
    pub kind: Vec<Kind>,
    /// Whether its result is computed again wherever it is wanted.
    pub free: Vec<bool>,
    /// The same, for the lowering of `rows` kernels: free ones, and those that [`super::again`] marks.
    pub again: Vec<bool>,
    /// Whom it comes after.
    pub deps: Vec<Vec<Dep>>,
    /// The outputs.
    pub role: SecondaryMap<Value, Option<Role>>,
    /// Values that are computed straight into (a part of) another: parts of sums of contractions, arguments of `Concat`.
    pub target: SecondaryMap<Value, Option<Value>>,
    /// Constants by which contractions are multiplied.
    pub alpha: SecondaryMap<Value, Option<f64>>,
}

impl<'a> Facts<'a> {
    /// Analyses a legal program.
    pub fn new(program: &'a Program, dims: &'a Dims) -> Self {
        let (mut def, mut role) = (SecondaryMap::new(), SecondaryMap::new());
        for (index, inst) in program.body.insts.iter().enumerate() {
            inst.results.iter().for_each(|result| def[*result] = Some(index));
        }
        program.outputs.iter().for_each(|(which, value)| role[*value] = Some(*which));
        let (kind, free, again, deps) = Default::default();
        let (target, alpha) = Default::default();
        let mut facts = Facts { program, dims, views: views(&program.body, dims), def, kind, free, again, deps, role, target, alpha };
        facts.free = facts.frees();
        facts.again = facts.free.clone();
        facts.kind = facts.kinds();
        facts.joins();
        facts.store_free();
        facts.deps = (0..program.body.insts.len()).map(|index| facts.deps_of(index)).collect();
        facts.in_place();
        facts
    }

    /// Whether a value is an output to which calls add.
    pub fn accumulates(&self, value: Value) -> bool {
        self.role[value].is_some_and(|role| accumulates(role, self.program.body.ty(value).element))
    }

    /// Where instructions come from.
    pub fn origins(&self, insts: &[usize]) -> BTreeSet<Origin> {
        insts.iter().map(|index| self.inst(*index).origin).collect()
    }

    /// An instruction.
    pub fn inst(&self, index: usize) -> &'a Inst {
        &self.program.body.insts[index]
    }

    /// The view of a value.
    pub fn view(&self, value: Value) -> &View {
        self.views[value].as_ref().expect("every value has a view")
    }

    fn is_view(&self, index: usize) -> bool {
        of_inst(self.inst(index), &self.program.body, &self.views, self.dims).is_some()
    }

    fn frees(&self) -> Vec<bool> {
        let mut cost: SecondaryMap<Value, Option<u32>> = SecondaryMap::new();
        let insts = &self.program.body.insts;
        insts
            .iter()
            .map(|inst| {
                let cheap = matches!(&inst.op, Op::Map(map) if is_cheap(*map));
                let args = inst.args.iter().map(|arg| cost[self.view(*arg).base].filter(|_| self.view(*arg).plain));
                let own = if cheap { args.sum::<Option<u32>>().map(|own| own + 1) } else { is_free(&inst.op).then_some(0) };
                self.note(&mut cost, inst, own.filter(|own| *own <= FREE))
            })
            .collect()
    }

    fn note(&self, cost: &mut SecondaryMap<Value, Option<u32>>, inst: &Inst, own: Option<u32>) -> bool {
        cost[inst.results[0]] = own;
        own.is_some()
    }

    fn kinds(&self) -> Vec<Kind> {
        let of = |index: usize| match &self.inst(index).op {
            _ if self.is_view(index) => Kind::Nothing,
            _ if self.free[index] => self.role[self.inst(index).results[0]].map_or(Kind::Nothing, |_| Kind::Rows),
            Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Map(_) | Op::Reduce(..) | Op::Random(_) | Op::Anchor | Op::Stop => {
                Kind::Rows
            }
            Op::Contract(_) => Kind::Contract,
            Op::Index(Index::Scatter { .. }) => Kind::Segmented,
            Op::Index(Index::Position(_) | Index::Gather { .. } | Index::Cumsum(_) | Index::CumsumReverse(_) | Index::Coordinate(_)) => {
                Kind::Rows
            }
            Op::Shape(Shape::Concat { .. }) => Kind::Join,
            Op::Shape(Shape::Pad { .. } | Shape::Shift { .. } | Shape::Roll { .. } | Shape::Expand | Shape::Merge { .. }) => Kind::Rows,
            Op::Shape(Shape::Rename { .. } | Shape::Split { .. } | Shape::Slice { .. } | Shape::Take { .. }) => Kind::Nothing,
            Op::Attention(_) | Op::AttentionGrad(_) => Kind::Attention,
            Op::Collective(_) => Kind::Collective,
        };
        (0..self.program.body.insts.len()).map(of).collect()
    }

    /// Sums of contractions become contractions into one place; the parts of a `Concat` are written where it wants them.
    fn joins(&mut self) {
        let uses = self.uses();
        for index in (0..self.program.body.insts.len()).rev() {
            let inst = self.inst(index);
            let result = inst.results[0];
            if let Op::Shape(Shape::Concat { .. }) = &inst.op {
                inst.args.iter().for_each(|arg| self.target[*arg] = Some(result));
                continue;
            }
            let target = self.target[result].unwrap_or(result);
            if inst.op == Op::Map(Map::Add) && inst.args.iter().all(|arg| self.is_part(*arg, result, &uses)) {
                self.kind[index] = Kind::Join;
                inst.args.iter().for_each(|arg| self.target[*arg] = Some(target));
            } else if let Some((product, factor)) = self.scaled(inst, &uses) {
                self.kind[index] = Kind::Join;
                self.target[product] = Some(target);
                self.alpha[product] = Some(factor);
            }
        }
    }

    /// Whether a value is a contraction, or a sum of such, that only one sum of the same dims reads.
    fn is_part(&self, value: Value, sum: Value, uses: &SecondaryMap<Value, u32>) -> bool {
        let body = &self.program.body;
        if uses[value] != 1 || self.role[value].is_some() || !body.ty(value).same_set(body.ty(sum)) {
            return false;
        }
        let Some(inst) = self.def[value].map(|def| self.inst(def)) else { return false };
        let sum_of_parts = || inst.op == Op::Map(Map::Add) && inst.args.iter().all(|arg| self.is_part(*arg, value, uses));
        matches!(inst.op, Op::Contract(_)) || sum_of_parts() || self.scaled(inst, uses).is_some()
    }

    /// The contraction that an instruction multiplies by a constant, if nobody else reads it, and the constant.
    fn scaled(&self, inst: &Inst, uses: &SecondaryMap<Value, u32>) -> Option<(Value, f64)> {
        if inst.op != Op::Map(Map::Mul) {
            return None;
        }
        let made = |value: &Value| self.def[*value].map(|def| &self.inst(def).op);
        let product = *inst.args.iter().find(|arg| matches!(made(arg), Some(Op::Contract(_))))?;
        let factor = inst.args.iter().find_map(|arg| if let Some(Op::Const(factor)) = made(arg) { Some(*factor) } else { None })?;
        let whole = self.program.body.ty(product).same_set(self.program.body.ty(inst.results[0]));
        (whole && uses[product] == 1 && self.role[product].is_none()).then_some((product, factor))
    }

    /// How often each value is read, by any instruction or output.
    pub fn uses(&self) -> SecondaryMap<Value, u32> {
        let mut uses = SecondaryMap::new();
        self.program.body.insts.iter().flat_map(|inst| &inst.args).for_each(|arg| uses[*arg] += 1);
        self.program.outputs.iter().for_each(|(_, value)| uses[*value] += 1);
        uses
    }

    /// Values that cost nothing and are wanted in memory get a kernel all the same.
    fn store_free(&mut self) {
        for index in 0..self.program.body.insts.len() {
            for (base, far) in self.reads(index) {
                if let Some(def) = self.def[base]
                    && far
                    && self.free[def]
                {
                    self.kind[def] = Kind::Rows;
                }
            }
        }
    }

    /// The bases that an instruction reads, and whether far.
    pub fn reads(&self, index: usize) -> Vec<(Value, bool)> {
        if self.kind[index] == Kind::Nothing {
            return Vec::new();
        }
        let inst = self.inst(index);
        let elsewhere = |at: usize| match &inst.op {
            Op::Index(Index::Gather { .. }) => at == 0,
            Op::Shape(Shape::Expand) => false,
            Op::Shape(_) => true,
            Op::Map(_) | Op::Reduce(..) | Op::Index(_) | Op::Anchor | Op::Stop => false,
            Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Random(_) => false,
            Op::Contract(_) | Op::Attention(_) | Op::AttentionGrad(_) | Op::Collective(_) => true,
        };
        let alone = self.kind[index] != Kind::Rows;
        let read = |(at, arg): (usize, &Value)| (self.view(*arg).base, alone || elsewhere(at) || !self.view(*arg).plain);
        // what comes together in a join; the factor of a product is none of it
        let read_at_all = |arg: &Value| self.kind[index] != Kind::Join || self.target[*arg].is_some();
        inst.args.iter().enumerate().filter(|(_, arg)| read_at_all(arg)).map(read).collect()
    }

    fn deps_of(&self, index: usize) -> Vec<Dep> {
        let mut deps: Vec<Dep> = Vec::new();
        for (base, far) in self.reads(index) {
            let Some(on) = self.def[base].filter(|def| far || !self.free[*def]) else { continue };
            match deps.iter_mut().find(|dep| dep.on == on) {
                Some(dep) => dep.far |= far,
                None => deps.push(Dep { on, far }),
            }
        }
        deps
    }

    /// What is updated in place is written after everyone has read it.
    fn in_place(&mut self) {
        for (role, old) in &self.program.inputs {
            let Some(new) = self.program.outputs.iter().find(|(other, _)| other == role) else { continue };
            let Some(writer) = self.def[new.1] else { continue };
            for reader in (0..self.program.body.insts.len()).filter(|reader| *reader != writer) {
                let reads = self.reads(reader);
                let Some((_, far)) = reads.iter().filter(|(base, _)| base == old).max_by_key(|(_, far)| *far) else { continue };
                self.deps[writer].push(Dep { on: reader, far: *far });
            }
        }
    }
}

/// Functions that take about one machine instruction.
pub fn is_cheap(map: Map) -> bool {
    match map {
        Map::Add | Map::Sub | Map::Mul | Map::Min | Map::Max | Map::Neg | Map::Abs | Map::Sign | Map::Floor => true,
        Map::Lt | Map::Le | Map::Eq | Map::Ne | Map::And | Map::Or | Map::Not | Map::Where | Map::Real | Map::Int => true,
        Map::Div | Map::Rem | Map::Pow | Map::Exp | Map::Log | Map::Sin | Map::Cos | Map::Tanh | Map::Erf => false,
        Map::Sqrt | Map::Rsqrt | Map::RoundBf16 => false,
    }
}
