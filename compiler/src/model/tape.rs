//! The tape: every instruction of the model in one body, and where pieces of it begin.
//!
//! Requires typed arguments: callers have checked dims and elements. Ensures the layout rule: a result's dims stand in the order of its first
//! operand's, then new ones, and the batch dim is outermost. Functions are cut from the tape afterwards ([`super::cut`]).

use super::expr::experts::Spot;
use crate::op::{Body, Dim, DimData, Dims, Element, Index, Map, Op, Origin, OriginData, Origins, Reduce, Shape, Type, Value};
use meshwright_grammar::Span;
use std::collections::{BTreeMap, BTreeSet};

/// Where a piece of the tape begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Piece {
    /// Number of its first instruction.
    pub start: usize,
    /// What it is called; none: what stands between named pieces.
    pub name: Option<String>,
    /// Number of the iteration.
    pub iteration: u64,
}

/// A loss or metric on the tape.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// The metric's name; none: a loss.
    pub metric: Option<String>,
    /// What is averaged.
    pub value: Value,
    /// The weights of the mean.
    pub mask: Option<Value>,
    /// Where it was written.
    pub span: Span,
    /// Number of the piece it belongs to.
    pub piece: usize,
}

/// A number that stays within a bound, or the run stops: what the experts of a `dispatch` with a `ragged` dim want.
#[derive(Clone, Debug)]
pub(crate) struct Peak {
    /// What is compared with the bound: its largest element.
    pub value: Value,
    /// The dim whose size is the bound.
    pub slot: Dim,
    /// Path of the layer that dispatches.
    pub path: String,
    /// Number of the piece it belongs to.
    pub piece: usize,
}

/// What a state is in the next step.
#[derive(Clone, Debug)]
pub(crate) struct Next {
    /// The state.
    pub state: Value,
    /// Its value in the next step, of the state's type.
    pub value: Value,
    /// The sums over the batch that the value is made of; found when the whole tape is known.
    pub totals: Vec<Value>,
    /// Where it was written.
    pub span: Span,
    /// Number of the piece it belongs to.
    pub piece: usize,
}

/// All instructions of a model.
#[derive(Debug)]
pub(crate) struct Tape {
    /// The instructions.
    pub body: Body,
    /// All dims.
    pub dims: Dims,
    /// All origins.
    pub origins: Origins,
    /// The batch dim.
    pub batch: Option<Dim>,
    /// The batch dim and what splits and merges make of it: outermost in every layout.
    pub outer: BTreeSet<Dim>,
    /// Pieces in order; the first begins at 0.
    pub pieces: Vec<Piece>,
    /// Losses and metrics in order.
    pub reports: Vec<Report>,
    /// Next values of states in order.
    pub nexts: Vec<Next>,
    /// Numbers with a bound in order.
    pub peaks: Vec<Peak>,
    /// What is known of the spots that `dispatch` gave.
    pub spots: BTreeMap<Value, Spot>,
    here: Origin,
    known: BTreeMap<(Option<Span>, String), Origin>,
    primes: BTreeMap<Dim, Dim>,
    products: BTreeMap<(Dim, Dim), Dim>,
    constants: BTreeMap<Value, f64>,
}

impl Tape {
    /// An empty tape over these dims.
    pub fn new(dims: Dims) -> Self {
        let mut origins = Origins::new();
        let here = origins.push(OriginData { span: None, path: String::new() });
        Tape {
            body: Body::default(),
            dims,
            origins,
            batch: None,
            outer: BTreeSet::new(),
            pieces: vec![Piece { start: 0, name: None, iteration: 0 }],
            reports: Vec::new(),
            nexts: Vec::new(),
            peaks: Vec::new(),
            spots: BTreeMap::new(),
            here,
            known: BTreeMap::new(),
            primes: BTreeMap::new(),
            products: BTreeMap::new(),
            constants: BTreeMap::new(),
        }
    }

    /// What follows comes from `span` in the layer called at `path`.
    pub fn at(&mut self, span: Span, path: &str) {
        let key = (Some(span), path.to_string());
        self.here = match self.known.get(&key) {
            Some(origin) => *origin,
            None => {
                let origin = self.origins.push(OriginData { span: key.0, path: key.1.clone() });
                self.known.insert(key, origin);
                origin
            }
        };
    }

    /// A new piece begins here.
    pub fn cut(&mut self, name: Option<String>, iteration: u64) {
        self.pieces.push(Piece { start: self.body.insts.len(), name, iteration });
    }

    /// The piece of an instruction.
    pub fn piece_of(&self, inst: usize) -> usize {
        self.pieces.partition_point(|piece| piece.start <= inst) - 1
    }

    /// Size of a dim.
    pub fn size(&self, dim: Dim) -> u64 {
        self.dims[dim].size
    }

    /// Type of a value.
    pub fn ty(&self, value: Value) -> &Type {
        self.body.ty(value)
    }

    /// A dim of equal size and its own name (`Seq'`), always the same one for `dim`.
    pub fn prime(&mut self, dim: Dim) -> Dim {
        if let Some(primed) = self.primes.get(&dim) {
            return *primed;
        }
        let DimData { name, size, span, axes } = self.dims[dim].clone();
        let primed = self.dims.push(DimData { name: format!("{name}'"), size, span, axes });
        self.primes.insert(dim, primed);
        primed
    }

    /// The dim that two dims merge into (`Expert*Slot`), always the same one for them.
    pub fn product(&mut self, outer: Dim, inner: Dim) -> Dim {
        if let Some(product) = self.products.get(&(outer, inner)) {
            return *product;
        }
        let name = format!("{}*{}", self.dims[outer].name, self.dims[inner].name);
        let (size, span) = (self.size(outer).saturating_mul(self.size(inner)), self.dims[inner].span);
        let product = self.dims.push(DimData { name, size, span, axes: Vec::new() });
        self.products.insert((outer, inner), product);
        product
    }

    /// The dim that `dim` was primed from, or itself.
    pub fn unprime(&self, dim: Dim) -> Dim {
        self.primes.iter().find(|(_, primed)| **primed == dim).map_or(dim, |(plain, _)| *plain)
    }

    /// The batch dim to the front, everything else in its order, no dim twice.
    pub fn arrange(&self, dims: impl IntoIterator<Item = Dim>) -> Vec<Dim> {
        let mut order: Vec<Dim> = Vec::new();
        for dim in dims {
            match order.contains(&dim) {
                true => {}
                false if self.outer.contains(&dim) => order.insert(0, dim),
                false => order.push(dim),
            }
        }
        order
    }

    /// All dims of the arguments, those of the first one with the most dims first.
    pub fn union(&self, args: &[Value]) -> Vec<Dim> {
        let most = args.iter().map(|arg| self.ty(*arg).dims.len()).max().unwrap_or(0);
        let first = args.iter().filter(|arg| self.ty(**arg).dims.len() == most).take(1);
        self.arrange(first.chain(args).flat_map(|arg| self.ty(*arg).dims.iter().copied()))
    }

    /// Appends an instruction.
    pub fn push(&mut self, op: Op, args: Vec<Value>, ty: Type) -> Value {
        self.body.push(op, args, ty, self.here)
    }

    /// Appends an instruction with several results.
    pub fn push_many(&mut self, op: Op, args: Vec<Value>, types: Vec<Type>) -> Vec<Value> {
        self.body.push_many(op, args, types, self.here)
    }

    /// A real constant.
    pub fn real(&mut self, value: f64) -> Value {
        let constant = self.push(Op::Const(value), Vec::new(), Type::real(Vec::new()));
        self.constants.insert(constant, value);
        constant
    }

    /// The whole number that a real constant is.
    pub fn whole_constant(&self, value: Value) -> Option<i64> {
        let number = *self.constants.get(&value)?;
        (number == number.trunc() && number.abs() < 2e9).then_some(number as i64)
    }

    /// An integer constant.
    pub fn integer(&mut self, value: i64) -> Value {
        self.push(Op::Integer(value), Vec::new(), Type { element: Element::Integer, dims: Vec::new() })
    }

    /// Elementwise over all dims of the arguments.
    pub fn map(&mut self, op: Map, args: &[Value], element: Element) -> Value {
        let dims = self.union(args);
        self.push(Op::Map(op), args.to_vec(), Type { element, dims })
    }

    /// Elementwise on reals, giving reals.
    pub fn real_map(&mut self, op: Map, args: &[Value]) -> Value {
        self.map(op, args, Element::Real)
    }

    /// Elementwise with a constant on the right.
    pub fn with(&mut self, op: Map, value: Value, constant: f64) -> Value {
        let constant = self.real(constant);
        self.real_map(op, &[value, constant])
    }

    /// Reals of integers or truth values; reals as they are.
    pub fn as_real(&mut self, value: Value) -> Value {
        match self.ty(value).element {
            Element::Real | Element::Half => value,
            Element::Bool | Element::Index(_) | Element::Integer => self.map(Map::Real, &[value], Element::Real),
        }
    }

    /// Over some dims; keeps the element but for `Argmax`.
    pub fn reduce(&mut self, op: Reduce, value: Value, over: &[Dim]) -> Value {
        let ty = self.ty(value).clone();
        let element = match op {
            Reduce::Argmax => Element::Index(over[0]),
            Reduce::Sum | Reduce::Max | Reduce::Min => ty.element,
        };
        let dims = ty.dims.into_iter().filter(|dim| !over.contains(dim)).collect();
        self.push(Op::Reduce(op, over.to_vec()), vec![value], Type { element, dims })
    }

    /// Number of elements that `over` spans.
    pub fn count(&self, over: &[Dim]) -> f64 {
        over.iter().map(|dim| self.size(*dim) as f64).product()
    }

    /// Sum of products over dims that both have.
    pub fn contract(&mut self, left: Value, right: Value, over: &[Dim]) -> Value {
        let all = self.ty(left).dims.iter().chain(&self.ty(right).dims).copied();
        let dims = self.arrange(all.filter(|dim| !over.contains(dim)).collect::<Vec<_>>());
        self.push(Op::Contract(over.to_vec()), vec![left, right], Type::real(dims))
    }

    /// 0, 1, 2, … along a dim.
    pub fn position(&mut self, dim: Dim) -> Value {
        self.push(Op::Index(Index::Position(dim)), Vec::new(), Type { element: Element::Index(dim), dims: vec![dim] })
    }

    /// A shape operation with one argument and these dims.
    pub fn shape(&mut self, shape: Shape, value: Value, dims: Vec<Dim>) -> Value {
        let element = self.ty(value).element;
        self.push(Op::Shape(shape), vec![value], Type { element, dims })
    }

    /// A dim under another name, in its place.
    pub fn rename(&mut self, value: Value, from: Dim, to: Dim) -> Value {
        let dims = self.ty(value).dims.iter().map(|dim| if *dim == from { to } else { *dim }).collect();
        self.shape(Shape::Rename { from, to }, value, dims)
    }

    /// The identity where precision and placement are decided, in the layout of `dims`.
    pub fn anchor(&mut self, value: Value, dims: Vec<Dim>) -> Value {
        let element = self.ty(value).element;
        self.push(Op::Anchor, vec![value], Type { element, dims })
    }

    /// Whether the last instruction is an anchor that gives this value.
    pub fn is_anchor(&self, value: Value) -> bool {
        self.body.insts.last().is_some_and(|inst| inst.op == Op::Anchor && inst.results == [value])
    }

    /// A type as the user would write it.
    pub fn spell(&self, ty: &Type) -> String {
        let element = match ty.element {
            Element::Real => String::new(),
            Element::Half => "bf16".to_string(),
            Element::Bool => "bool".to_string(),
            Element::Index(dim) => format!("index({})", self.dims[dim].name),
            Element::Integer => "integer".to_string(),
        };
        format!("{element}{}", self.spell_dims(&ty.dims))
    }

    /// Dims in brackets.
    pub fn spell_dims(&self, dims: &[Dim]) -> String {
        format!("[{}]", self.list(dims, ""))
    }

    /// Dims with commas between them, each in `quote`s.
    pub fn list(&self, dims: &[Dim], quote: &str) -> String {
        let names: Vec<String> = dims.iter().map(|dim| format!("{quote}{}{quote}", self.dims[*dim].name)).collect();
        names.join(", ")
    }
}
