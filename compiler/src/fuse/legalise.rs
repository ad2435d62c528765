//! Rewrite: a program in the form that kernels can say. Dead instructions, identities and mixed cases disappear.
//!
//! Requires a well-formed program. Ensures, besides equal results:
//! - `Anchor` stands only where a copy is made, `Stop` nowhere; elementwise operators read the arguments of `Expand` directly;
//! - reductions are over real numbers and at least one dim; there is no `CumsumReverse`;
//! - contractions have more than one point along m, n and k; k merges into one dim in both operands, others are products and sums;
//! - a `Scatter` sums over dims of its index, others are comparisons with positions; what it keeps beside the index's dims merges into one dim;
//! - keys and values of attention's gradient have all dims that either shares with queries;
//! - lookups in and rolls of what an elementwise function gives are functions of lookups and rolls, where that is less work;
//! - every `Merge` is a view; the arguments of `Concat` are copies of their own;
//! - outputs are computed values (no views, inputs or constants) under one role each; those that calls add to are read by nobody.

use super::view::{View, Views, of_inst};
use super::{legal_attention, legal_index};
use crate::graph::ir::{Program, Role};
use crate::op::{Body, Dim, Dims, Element, Index, Inst, Map, Op, Origin, Reduce, Shape, Type, Value};
use cranelift_entity::SecondaryMap;

/// Rewrites a program; `batch` is the dim along which positions are global.
pub fn legalise(program: &Program, dims: &Dims, batch: Dim) -> Program {
    let mut rewriter = Rewriter::new(program, dims, batch);
    let inputs = program.inputs.iter().map(|(role, value)| (*role, rewriter.input(*value))).collect();
    for inst in live(program) {
        rewriter.inst(inst);
    }
    let outputs = rewriter.outputs(program);
    let program = Program { body: rewriter.body, inputs, outputs };
    let alive: Vec<Inst> = live(&program).into_iter().cloned().collect();
    Program { body: Body { values: program.body.values, insts: alive }, ..program }
}

/// Whether contributions of several calls add up under this role. A cotangent in two bytes has only one.
pub fn accumulates(role: Role, element: Element) -> bool {
    match role {
        Role::ParamGrad(_) => element != Element::Half,
        Role::WeightGrad(_) | Role::Report(_) | Role::Total(_) | Role::SquareSum => true,
        Role::Param(_) | Role::Weight(_) | Role::Result(_) | Role::Stash(_) | Role::ResultGrad(_) => false,
        Role::Peak(_) | Role::Next(_) | Role::Rest | Role::Gradient | Role::Moment(_) | Role::Factor | Role::Piece | Role::Whole => false,
    }
}

/// The instructions that outputs depend on, in order.
fn live(program: &Program) -> Vec<&Inst> {
    let mut needed: SecondaryMap<Value, bool> = SecondaryMap::new();
    for (_, value) in &program.outputs {
        needed[*value] = true;
    }
    let mut kept: Vec<&Inst> = Vec::new();
    for inst in program.body.insts.iter().rev() {
        if inst.results.iter().any(|result| needed[*result]) {
            inst.args.iter().for_each(|arg| needed[*arg] = true);
            kept.push(inst);
        }
    }
    kept.reverse();
    kept
}

/// The state of the rewrite: the new body, and what it says about its values.
pub(super) struct Rewriter<'a> {
    pub(super) dims: &'a Dims,
    old: &'a Body,
    batch: Dim,
    pub(super) body: Body,
    now: SecondaryMap<Value, Option<Value>>,
    pub(super) views: Views,
    def: SecondaryMap<Value, Option<usize>>,
}

impl<'a> Rewriter<'a> {
    fn new(program: &'a Program, dims: &'a Dims, batch: Dim) -> Self {
        let (now, views, def) = Default::default();
        Rewriter { dims, old: &program.body, batch, body: Body::default(), now, views, def }
    }

    fn input(&mut self, value: Value) -> Value {
        let data = &self.old.values[value];
        let new = self.body.input(data.ty.clone(), &data.name);
        self.views[new] = Some(View::dense(new, &data.ty, self.dims));
        self.now[value] = Some(new);
        new
    }

    /// Appends an instruction.
    pub(super) fn push(&mut self, op: Op, args: Vec<Value>, ty: Type, origin: Origin) -> Value {
        self.push_many(op, args, vec![ty], origin)[0]
    }

    /// Appends an instruction with several results.
    pub(super) fn push_many(&mut self, op: Op, args: Vec<Value>, types: Vec<Type>, origin: Origin) -> Vec<Value> {
        let results = self.body.push_many(op, args, types, origin);
        for result in &results {
            self.views[*result] = Some(View::dense(*result, self.body.ty(*result), self.dims));
            self.def[*result] = Some(self.body.insts.len() - 1);
        }
        let inst = &self.body.insts[self.body.insts.len() - 1];
        if let Some(view) = of_inst(inst, &self.body, &self.views, self.dims) {
            self.views[results[0]] = Some(view);
        }
        results
    }

    /// An elementwise function; `Expand` of arguments is dropped.
    pub(super) fn map(&mut self, op: Map, args: &[Value], ty: Type, origin: Origin) -> Value {
        let args = args.iter().map(|arg| self.unexpanded(*arg)).collect();
        self.push(Op::Map(op), args, ty, origin)
    }

    /// A copy of its own, in this layout.
    pub(super) fn copy(&mut self, value: Value, ty: Type, origin: Origin) -> Value {
        let value = self.unexpanded(value);
        self.push(Op::Anchor, vec![value], ty, origin)
    }

    /// The instruction that defines a value.
    pub(super) fn def(&self, value: Value) -> Option<&Inst> {
        self.def[value].map(|index| &self.body.insts[index])
    }

    /// What a value repeats.
    pub(super) fn unexpanded(&self, mut value: Value) -> Value {
        while let Some(Inst { op: Op::Shape(Shape::Expand), args, .. }) = self.def(value) {
            value = args[0];
        }
        value
    }

    fn inst(&mut self, inst: &Inst) {
        let args: Vec<Value> = inst.args.iter().map(|arg| self.now[*arg].expect("arguments come first")).collect();
        let types: Vec<Type> = inst.results.iter().map(|result| self.old.ty(*result).clone()).collect();
        let results = self.rewrite(inst, args, types);
        for (old, new) in inst.results.iter().zip(results) {
            if self.body.values[new].name.is_empty() {
                self.body.values[new].name = self.old.values[*old].name.clone();
            }
            self.now[*old] = Some(new);
        }
    }

    fn rewrite(&mut self, inst: &Inst, args: Vec<Value>, types: Vec<Type>) -> Vec<Value> {
        let (origin, ty) = (inst.origin, types[0].clone());
        match &inst.op {
            Op::Anchor | Op::Stop => vec![self.same(args[0], ty, origin)],
            Op::Map(op) => vec![self.map(*op, &args, ty, origin)],
            Op::Reduce(op, over) => vec![self.reduce(*op, over, args[0], ty, origin)],
            Op::Contract(over) => vec![self.contract(over, args, ty, origin)],
            Op::Index(index) => vec![self.index(index, args, ty, origin)],
            Op::Shape(shape) => vec![self.shape(shape, args, ty, origin)],
            Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Random(_) => vec![self.push(inst.op.clone(), args, ty, origin)],
            Op::Attention(_) | Op::Collective(_) => self.push_many(inst.op.clone(), args, types, origin),
            Op::AttentionGrad(attention) => legal_attention::gradient(self, attention, &args, &types, origin),
        }
    }

    /// The identity: the value itself, or a copy if the layout is another.
    fn same(&mut self, value: Value, ty: Type, origin: Origin) -> Value {
        if self.body.ty(value).dims == ty.dims { value } else { self.copy(value, ty, origin) }
    }

    /// A reduction, of real numbers.
    pub(super) fn reduce(&mut self, op: Reduce, over: &[Dim], arg: Value, ty: Type, origin: Origin) -> Value {
        if over.is_empty() {
            return self.same(arg, ty, origin);
        }
        let from = self.body.ty(arg).clone();
        if from.element.is_real() {
            return self.push(Op::Reduce(op, over.to_vec()), vec![arg], ty, origin);
        }
        let real = self.map(Map::Real, &[arg], Type::real(from.dims), origin);
        match op {
            Reduce::Argmax => self.push(Op::Reduce(op, over.to_vec()), vec![real], ty, origin),
            Reduce::Sum | Reduce::Max | Reduce::Min => {
                let reduced = self.push(Op::Reduce(op, over.to_vec()), vec![real], Type::real(ty.dims.clone()), origin);
                if ty.element.is_real() { reduced } else { self.map(Map::Int, &[reduced], ty, origin) }
            }
        }
    }

    fn contract(&mut self, over: &[Dim], args: Vec<Value>, ty: Type, origin: Origin) -> Value {
        let (a, b) = (self.body.ty(args[0]).clone(), self.body.ty(args[1]).clone());
        let points =
            |one: &Type, other: &Type| -> u64 { one.dims.iter().filter(|dim| !other.has(**dim)).map(|dim| self.dims[*dim].size).product() };
        let summed: u64 = over.iter().map(|dim| self.dims[*dim].size).product();
        if points(&a, &b) > 1 && points(&b, &a) > 1 && summed > 1 {
            let args = self.mergeable(over, [args[0], args[1]], origin);
            return self.push(Op::Contract(over.to_vec()), args, ty, origin);
        }
        let (large, small) = if a.elements(self.dims) >= b.elements(self.dims) { (&a, &b) } else { (&b, &a) };
        let mut all: Vec<Dim> = small.dims.iter().copied().filter(|dim| !large.has(*dim)).collect();
        all.extend(&large.dims);
        let product = if over.is_empty() { ty.clone() } else { Type::real(all) };
        let product = self.map(Map::Mul, &args, product, origin);
        if over.is_empty() { product } else { self.reduce(Reduce::Sum, over, product, ty, origin) }
    }

    /// Copies operands of a contraction until the summed dims merge into one.
    fn mergeable(&mut self, over: &[Dim], args: [Value; 2], origin: Origin) -> Vec<Value> {
        let order = |rewriter: &Self, value: Value| {
            let mut order: Vec<Dim> = over.iter().copied().filter(|dim| rewriter.dims[*dim].size > 1).collect();
            order.sort_by_key(|dim| std::cmp::Reverse(rewriter.view(value).stride(*dim)));
            order
        };
        let orders = args.map(|arg| order(self, arg));
        let leader = if self.chained(&orders[0], args[0]) || !self.chained(&orders[1], args[1]) { 0 } else { 1 };
        let chosen = &orders[leader];
        args.iter()
            .map(|arg| {
                if self.chained(chosen, *arg) {
                    return *arg;
                }
                let shared = |dim: &&Dim| args.iter().all(|arg| self.body.ty(*arg).has(**dim));
                let (batch, rest): (Vec<Dim>, Vec<Dim>) =
                    self.body.ty(*arg).dims.iter().filter(|dim| !chosen.contains(dim)).partition(shared);
                let layout = Type { element: self.body.ty(*arg).element, dims: [batch, chosen.clone(), rest].concat() };
                self.copy(*arg, layout, origin)
            })
            .collect()
    }

    fn chained(&self, order: &[Dim], value: Value) -> bool {
        let view = self.view(value);
        order.windows(2).all(|pair| view.stride(pair[0]) == view.stride(pair[1]) * self.dims[pair[1]].size)
    }

    /// Whether positions along this dim are global.
    pub(super) fn is_batch(&self, dim: Dim) -> bool {
        dim == self.batch
    }

    /// The view of a value of the new body.
    pub(super) fn view(&self, value: Value) -> &View {
        self.views[value].as_ref().expect("every value has a view")
    }

    fn index(&mut self, index: &Index, args: Vec<Value>, ty: Type, origin: Origin) -> Value {
        match index {
            Index::Position(_) | Index::Coordinate(_) => self.push(Op::Index(index.clone()), args, ty, origin),
            Index::Gather { over } => legal_index::gather(self, *over, [args[0], args[1]], ty, origin),
            Index::Scatter { into } => legal_index::scatter(self, *into, [args[0], args[1]], ty, origin),
            Index::Cumsum(dim) => legal_index::cumsum(self, *dim, args[0], ty, origin, false),
            Index::CumsumReverse(dim) => legal_index::cumsum(self, *dim, args[0], ty, origin, true),
        }
    }

    fn shape(&mut self, shape: &Shape, args: Vec<Value>, ty: Type, origin: Origin) -> Value {
        let op = Op::Shape(shape.clone());
        match shape {
            Shape::Rename { from, to } if *from != self.batch => {
                if let Some(Op::Index(Index::Position(dim))) = self.def(args[0]).map(|inst| &inst.op)
                    && dim == from
                {
                    return self.push(Op::Index(Index::Position(*to)), Vec::new(), ty, origin);
                }
                self.push(op, args, ty, origin)
            }
            Shape::Merge { from, into } => {
                let probe = self.push(op.clone(), args.clone(), ty.clone(), origin);
                if self.view(probe).base != probe {
                    return probe;
                }
                let apart = ty.dims.iter().flat_map(|dim| if dim == into { from.clone() } else { vec![*dim] }).collect();
                let copy = self.copy(args[0], Type { element: ty.element, dims: apart }, origin);
                self.push(op, vec![copy], ty, origin)
            }
            Shape::Concat { .. } => {
                let copies = args.into_iter().map(|arg| self.copy(arg, self.body.ty(arg).clone(), origin)).collect();
                self.push(op, copies, ty, origin)
            }
            // all along a repeated value is the same
            Shape::Roll { dim, .. } if self.view(args[0]).stride(*dim) == 0 => self.same(args[0], ty, origin),
            Shape::Roll { dim, by } => legal_index::roll(self, *dim, *by, args[0], ty, origin),
            Shape::Shift { dim, by } => {
                let from = self.body.ty(args[0]).clone();
                let arg = if self.view(args[0]).stride(*dim) == 0 { self.copy(args[0], from, origin) } else { args[0] };
                let size = self.dims[*dim].size as i64;
                self.push(Op::Shape(Shape::Shift { dim: *dim, by: (*by).clamp(-size, size) }), vec![arg], ty, origin)
            }
            Shape::Rename { .. } | Shape::Split { .. } | Shape::Slice { .. } | Shape::Pad { .. } => self.push(op, args, ty, origin),
            Shape::Take { .. } | Shape::Expand => self.push(op, args, ty, origin),
        }
    }

    fn outputs(&mut self, program: &Program) -> Vec<(Role, Value)> {
        let mut wanted: Vec<(Role, Value)> = Vec::new();
        for (role, value) in &program.outputs {
            let value = self.now[*value].expect("outputs are defined");
            match wanted.iter_mut().find(|(other, _)| other == role) {
                Some(earlier) => {
                    let (ty, origin) = (self.body.ty(value).clone(), Origin::from_u32(0));
                    earlier.1 = self.map(Map::Add, &[earlier.1, value], ty, origin);
                }
                None => wanted.push((*role, value)),
            }
        }
        for (role, value) in &mut wanted {
            if accumulates(*role, self.body.ty(*value).element) {
                *value = self.factor_inside(*value);
            }
        }
        let mut bound: Vec<Value> = Vec::new();
        let in_place: Vec<Role> = program.inputs.iter().map(|(role, _)| *role).collect();
        let uses = self.uses(&wanted);
        wanted.into_iter().map(|(role, value)| (role, self.output(role, value, &uses, in_place.contains(&role), &mut bound))).collect()
    }

    /// A sum times a constant, as a sum of products: the sum can then be added up where calls want it.
    fn factor_inside(&mut self, value: Value) -> Value {
        let Some(Inst { op: Op::Map(Map::Mul), args, origin, .. }) = self.def(value).cloned() else { return value };
        let sum = |arg: &&Value| matches!(self.def(**arg).map(|inst| &inst.op), Some(Op::Reduce(Reduce::Sum, _)));
        let constant = |arg: &&Value| matches!(self.def(**arg).map(|inst| &inst.op), Some(Op::Const(_)));
        let (Some(sum), Some(factor)) = (args.iter().find(sum), args.iter().find(constant)) else { return value };
        let Some(Inst { op, args, .. }) = self.def(*sum).cloned() else { return value };
        let (from, to) = (self.body.ty(args[0]).clone(), self.body.ty(value).clone());
        if !self.body.ty(*sum).same_set(&to) {
            return value;
        }
        let product = self.map(Map::Mul, &[args[0], *factor], from, origin);
        self.push(op, vec![product], to, origin)
    }

    /// The computed value that stands for an output, in a place that no other output uses.
    fn output(&mut self, role: Role, value: Value, uses: &SecondaryMap<Value, u32>, in_place: bool, bound: &mut Vec<Value>) -> Value {
        let view = self.view(value);
        let base = view.base;
        let accumulates = accumulates(role, self.body.ty(value).element);
        let makes = |inst: &Inst| !is_free(&inst.op) && (adds(&inst.op) || !accumulates);
        let computed = self.def(base).is_some_and(makes);
        let covers = view.covers(self.body.ty(value), self.body.ty(base), self.dims);
        let private = !(accumulates || in_place) || uses[base] == 1;
        let (ty, origin) = (self.body.ty(value).clone(), self.def(base).map_or(Origin::from_u32(0), |inst| inst.origin));
        let direct = computed && covers && private && !bound.contains(&base);
        let chosen = if direct { base } else { self.copy(value, ty, origin) };
        bound.push(chosen);
        chosen
    }

    /// How often each computed value is read, views of it included, by instructions that are not views and by outputs.
    fn uses(&self, outputs: &[(Role, Value)]) -> SecondaryMap<Value, u32> {
        let mut uses = SecondaryMap::new();
        for inst in &self.body.insts {
            if of_inst(inst, &self.body, &self.views, self.dims).is_none() {
                inst.args.iter().for_each(|arg| uses[self.view(*arg).base] += 1);
            }
        }
        outputs.iter().for_each(|(_, value)| uses[self.view(*value).base] += 1);
        uses
    }
}

/// Operators whose kernels can add their result to what is there.
fn adds(op: &Op) -> bool {
    match op {
        Op::Attention(_) | Op::AttentionGrad(_) => false,
        Op::Collective(collective) => collective.exchange.reduces(),
        Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Map(_) | Op::Reduce(..) | Op::Contract(_) | Op::Index(_) => true,
        Op::Shape(_) | Op::Random(_) | Op::Anchor | Op::Stop => true,
    }
}

/// Operators whose value costs nothing to compute again wherever it is wanted.
pub fn is_free(op: &Op) -> bool {
    match op {
        Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Index(Index::Position(_) | Index::Coordinate(_)) => true,
        Op::Map(_) | Op::Reduce(..) | Op::Contract(_) | Op::Index(_) | Op::Shape(_) | Op::Random(_) => false,
        Op::Attention(_) | Op::AttentionGrad(_) | Op::Anchor | Op::Stop | Op::Collective(_) => false,
    }
}
