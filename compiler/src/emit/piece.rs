//! Programs of the end of a step over rows of a flat block: the rows of one update group, or a rank's piece of a whole block, in which
//! several groups follow each other. What a row belongs to is then decided by its number in the block, so that all ranks run one program.
//!
//! Requires elementwise programs over one flat dim. Ensures the same over two dims, rows of [`ROW`] elements.

use crate::graph::ir::{Program, Role};
use crate::op::{Body, Dim, DimData, Dims, Element, Index, Inst, Map, Op, Origin, Type, Value};
use cranelift_entity::{EntityRef, SecondaryMap};
use meshwright_plan::mesh::Coordinate;

/// Elements of one row of a flat range: ranges are whole numbers of rows.
pub const ROW: u64 = crate::memory::state::RANGE / 4;

/// Rows that a program goes over.
pub struct Rows {
    /// All dims, those of the rows included.
    pub dims: Dims,
    row: Dim,
    lane: Dim,
    /// The number of this rank's first row in its block; none: the rows are all of one kind.
    first: Option<Coordinate>,
}

/// A part of a block, up to a row, and what is done there.
pub struct Part<T> {
    /// One past its last row.
    pub end: u64,
    /// What is done.
    pub what: T,
}

impl Rows {
    /// Rows for so many elements, of which ranks along `axes` have different ones. `first`: the axes along which the block's pieces lie, if this is
    /// a piece.
    pub fn new(dims: &Dims, elements: u64, axes: Vec<String>, first: Option<Vec<String>>) -> Rows {
        let mut dims = dims.clone();
        let row = dims.push(DimData { name: "Row".into(), size: elements / ROW, span: None, axes });
        let lane = dims.push(DimData { name: "Flat".into(), size: ROW, span: None, axes: Vec::new() });
        let first = first.map(|axes| Coordinate { axes, times: elements / ROW, back: 0, second: false });
        Rows { dims, row, lane, first }
    }

    /// The programs of several parts as one: each row has the results of the part that it is in.
    pub fn combined(&self, parts: &[Part<(&Program, Dim)>]) -> Program {
        let mut program = Program::default();
        let mut results: Vec<Vec<(Role, Value)>> = Vec::new();
        for part in parts {
            let (own, flat) = part.what;
            results.push(self.append(&mut program, own, flat));
        }
        let mut chosen = results.pop().unwrap_or_default();
        for (part, own) in parts.iter().zip(&results).rev() {
            for (role, value) in &mut chosen {
                let Some((_, before)) = own.iter().find(|(other, _)| other == role) else { continue };
                *value = self.choose(&mut program.body, part.end, *before, *value);
            }
        }
        program.outputs = chosen;
        crate::graph::tidy::tidy(&mut program, &self.dims);
        program
    }

    /// The sum of squares of the gradient in those parts that count.
    pub fn square_sum(&self, square_sum: &Program, flat: Dim, parts: &[Part<bool>]) -> Program {
        let mut program = Program::default();
        program.outputs = self.append(&mut program, square_sum, flat);
        if parts.iter().all(|part| part.what) {
            return program;
        }
        let Some(at) = program.body.insts.iter().position(|inst| matches!(inst.op, Op::Reduce(..))) else { return program };
        let mut reduce = program.body.insts.remove(at);
        let (squares, body) = (reduce.args[0], &mut program.body);
        let zero = body.push(Op::Const(0.0), Vec::new(), Type::real(Vec::new()), Origin::new(0));
        let counted = |part: &Part<bool>| if part.what { squares } else { zero };
        let mut chosen = parts.last().map_or(zero, counted);
        for pair in parts.windows(2).rev() {
            let before = counted(&pair[0]);
            if before != chosen {
                chosen = self.choose(body, pair[0].end, before, chosen);
            }
        }
        reduce.args[0] = chosen;
        body.insts.push(reduce);
        program
    }

    /// One value in rows before `end`, another from there on.
    fn choose(&self, body: &mut Body, end: u64, before: Value, after: Value) -> Value {
        let integer = |dims: Vec<Dim>| Type { element: Element::Integer, dims };
        let mut row = body.push(Op::Index(Index::Position(self.row)), Vec::new(), integer(vec![self.row]), Origin::new(0));
        if let Some(first) = &self.first {
            let first = body.push(Op::Index(Index::Coordinate(first.clone())), Vec::new(), integer(Vec::new()), Origin::new(0));
            row = body.push(Op::Map(Map::Add), vec![row, first], integer(vec![self.row]), Origin::new(0));
        }
        let end = body.push(Op::Integer(end as i64), Vec::new(), integer(Vec::new()), Origin::new(0));
        let bool = Type { element: Element::Bool, dims: vec![self.row] };
        let early = body.push(Op::Map(Map::Lt), vec![row, end], bool, Origin::new(0));
        let both = [body.ty(before).clone(), body.ty(after).clone()];
        let dims = both.into_iter().map(|ty| ty.dims).chain([vec![self.row]]).max_by_key(Vec::len).unwrap_or_default();
        body.push(Op::Map(Map::Where), vec![early, before, after], Type::real(dims), Origin::new(0))
    }

    /// Appends a program over `flat`, in rows; inputs of equal roles are one. Gives its outputs.
    fn append(&self, program: &mut Program, own: &Program, flat: Dim) -> Vec<(Role, Value)> {
        let mut new: SecondaryMap<Value, Option<Value>> = SecondaryMap::new();
        for (role, value) in &own.inputs {
            let known = program.inputs.iter().find(|(other, _)| other == role).map(|(_, value)| *value);
            let data = &own.body.values[*value];
            let input = known.unwrap_or_else(|| program.body.input(self.in_rows(&data.ty, flat), &data.name));
            if known.is_none() {
                program.inputs.push((*role, input));
            }
            new[*value] = Some(input);
        }
        for inst in &own.body.insts {
            let args = inst.args.iter().filter_map(|arg| new[*arg]).collect();
            let types = inst.results.iter().map(|result| self.in_rows(own.body.ty(*result), flat)).collect();
            let results = program.body.push_many(self.op_in_rows(inst, flat), args, types, inst.origin);
            for (old, result) in inst.results.iter().zip(results) {
                program.body.values[result].name = own.body.values[*old].name.clone();
                new[*old] = Some(result);
            }
        }
        own.outputs.iter().filter_map(|(role, value)| new[*value].map(|value| (*role, value))).collect()
    }

    fn op_in_rows(&self, inst: &Inst, flat: Dim) -> Op {
        match &inst.op {
            Op::Reduce(reduce, over) => Op::Reduce(*reduce, self.split(over, flat)),
            op => op.clone(),
        }
    }

    fn in_rows(&self, ty: &Type, flat: Dim) -> Type {
        Type { element: ty.element, dims: self.split(&ty.dims, flat) }
    }

    fn split(&self, dims: &[Dim], flat: Dim) -> Vec<Dim> {
        let rows = |dim: &Dim| if *dim == flat { vec![self.row, self.lane] } else { vec![*dim] };
        dims.iter().flat_map(rows).collect()
    }
}
