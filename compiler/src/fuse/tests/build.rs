//! A short way to write programs.
//!
//! Requires dims that fit. Ensures result types: elementwise results have the union of dims, in the layout of the first argument that has all.

use crate::graph::ir::{Program, Role};
use crate::op::{Dim, DimData, Dims, Element, Index, Map, Op, Origin, Reduce, Shape, Type, Value};

/// A program under construction.
pub struct Build {
    pub program: Program,
    pub dims: Dims,
    pub batch: Dim,
}

impl Build {
    /// With these dims; the first is the batch dim.
    pub fn new<const N: usize>(sizes: [(&str, u64); N]) -> (Build, [Dim; N]) {
        let mut dims = Dims::new();
        let all = sizes.map(|(name, size)| dims.push(DimData { name: name.to_string(), size, span: None, axes: Vec::new() }));
        (Build { program: Program::default(), dims, batch: all[0] }, all)
    }

    pub fn ty(&self, value: Value) -> &Type {
        self.program.body.ty(value)
    }

    pub fn input(&mut self, role: Role, dims: &[Dim]) -> Value {
        self.typed(role, Element::Real, dims)
    }

    pub fn typed(&mut self, role: Role, element: Element, dims: &[Dim]) -> Value {
        let value = self.program.body.input(Type { element, dims: dims.to_vec() }, "");
        self.program.inputs.push((role, value));
        value
    }

    pub fn output(&mut self, role: Role, value: Value) {
        self.program.outputs.push((role, value));
    }

    pub fn op(&mut self, op: Op, args: &[Value], element: Element, dims: &[Dim]) -> Value {
        let ty = Type { element, dims: dims.to_vec() };
        self.program.body.push(op, args.to_vec(), ty, Origin::from_u32(0))
    }

    pub fn many(&mut self, op: Op, args: &[Value], results: &[&[Dim]]) -> Vec<Value> {
        let types = results.iter().map(|dims| Type::real(dims.to_vec())).collect();
        self.program.body.push_many(op, args.to_vec(), types, Origin::from_u32(0))
    }

    pub fn constant(&mut self, value: f64) -> Value {
        self.op(Op::Const(value), &[], Element::Real, &[])
    }

    pub fn map(&mut self, op: Map, args: &[Value]) -> Value {
        let longest = args.iter().max_by_key(|arg| self.ty(**arg).dims.len()).expect("functions have arguments");
        let mut dims = self.ty(*longest).dims.clone();
        for arg in args {
            dims.extend(self.ty(*arg).dims.iter().copied().filter(|dim| !dims.contains(dim)).collect::<Vec<_>>());
        }
        let first = self.ty(args[args.len() - 1]).element;
        let element = match op {
            Map::Lt | Map::Le | Map::Eq | Map::Ne | Map::And | Map::Or | Map::Not => Element::Bool,
            Map::Real => Element::Real,
            Map::Int => Element::Integer,
            _ => first,
        };
        self.op(Op::Map(op), args, element, &dims)
    }

    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.map(Map::Add, &[a, b])
    }

    pub fn sub(&mut self, a: Value, b: Value) -> Value {
        self.map(Map::Sub, &[a, b])
    }

    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        self.map(Map::Mul, &[a, b])
    }

    pub fn scale(&mut self, a: Value, by: f64) -> Value {
        let by = self.constant(by);
        self.mul(a, by)
    }

    pub fn reduce(&mut self, op: Reduce, arg: Value, over: &[Dim]) -> Value {
        let dims: Vec<Dim> = self.ty(arg).dims.iter().copied().filter(|dim| !over.contains(dim)).collect();
        let element = if op == Reduce::Argmax { Element::Index(over[0]) } else { self.ty(arg).element };
        self.op(Op::Reduce(op, over.to_vec()), &[arg], element, &dims)
    }

    pub fn sum(&mut self, arg: Value, over: &[Dim]) -> Value {
        self.reduce(Reduce::Sum, arg, over)
    }

    pub fn contract(&mut self, a: Value, b: Value, over: &[Dim], dims: &[Dim]) -> Value {
        self.op(Op::Contract(over.to_vec()), &[a, b], Element::Real, dims)
    }

    pub fn rename(&mut self, arg: Value, from: Dim, to: Dim) -> Value {
        let dims: Vec<Dim> = self.ty(arg).dims.iter().map(|dim| if *dim == from { to } else { *dim }).collect();
        let element = self.ty(arg).element;
        self.op(Op::Shape(Shape::Rename { from, to }), &[arg], element, &dims)
    }

    pub fn shape(&mut self, shape: Shape, args: &[Value], dims: &[Dim]) -> Value {
        let element = self.ty(args[0]).element;
        self.op(Op::Shape(shape), args, element, dims)
    }

    pub fn position(&mut self, dim: Dim) -> Value {
        self.op(Op::Index(Index::Position(dim)), &[], Element::Integer, &[dim])
    }

    pub fn gather(&mut self, table: Value, index: Value, over: Dim, dims: &[Dim]) -> Value {
        let element = self.ty(table).element;
        self.op(Op::Index(Index::Gather { over }), &[table, index], element, dims)
    }
}
