//! Storage: which buffer holds each value that is kept in memory.
//!
//! Requires legal, grouped programs. Ensures one buffer per role (one for both sides of a role that is updated in place), and that the parts of
//! a join stand where the whole wants them.

use super::facts::Facts;
use super::ir::{Buffer, BufferData};
use super::legalise::accumulates;
use super::view::dense_strides;
use crate::graph::ir::Role;
use crate::model::ir::Model;
use crate::op::{Dim, Op, Shape, Value};
use cranelift_entity::{PrimaryMap, SecondaryMap};
use meshwright_plan::Element;
use std::collections::BTreeSet;

/// Where a computed value stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Spot {
    /// In which buffer.
    pub buffer: Buffer,
    /// First element.
    pub offset: u64,
    /// Elements per step along its dims.
    pub strides: Vec<(Dim, u64)>,
    /// How elements are stored.
    pub element: Element,
    /// Whether a call may want it added to what is there.
    pub adds: bool,
}

impl Spot {
    /// Elements per step along a dim; 0 where the value lacks it.
    pub fn stride(&self, dim: Dim) -> u64 {
        self.strides.iter().find(|(other, _)| *other == dim).map_or(0, |(_, stride)| *stride)
    }
}

/// All buffers, and what stands in them.
pub struct Storage {
    /// In order of roles, then of first use.
    pub buffers: PrimaryMap<Buffer, BufferData>,
    /// Where each value stands, if it is in memory.
    pub spots: SecondaryMap<Value, Option<Spot>>,
}

impl Storage {
    /// Gives a place to inputs, outputs, and every value in `kept`.
    pub fn new(facts: &Facts<'_>, kept: &BTreeSet<Value>) -> Self {
        let mut storage = Storage { buffers: PrimaryMap::new(), spots: SecondaryMap::new() };
        for (role, value) in facts.program.inputs.iter().chain(&facts.program.outputs) {
            let known = storage.buffers.iter().find(|(_, data)| data.role == Some(*role)).map(|(buffer, _)| buffer);
            let buffer = known.unwrap_or_else(|| storage.buffer(facts, *value, name_of(facts, *role), Some(*role)));
            let adds = accumulates(*role, facts.program.body.ty(*value).element) && facts.def[*value].is_some();
            storage.spots[*value] = Some(storage.whole(facts, *value, buffer, adds));
        }
        for value in kept {
            if storage.spots[*value].is_none() && facts.target[*value].is_none() {
                let buffer = storage.buffer(facts, *value, value_name(facts, *value), None);
                storage.spots[*value] = Some(storage.whole(facts, *value, buffer, false));
            }
        }
        let parts: Vec<Value> = kept.iter().copied().filter(|value| facts.target[*value].is_some()).collect();
        for value in parts {
            storage.spots[value] = storage.part(facts, value);
        }
        storage
    }

    /// A new temporary of so many f32.
    pub fn scratch(&mut self, name: &str, elements: u64) -> Buffer {
        self.buffers.push(BufferData { name: name.to_string(), bytes: 4 * elements, role: None })
    }

    /// Where a value that is in memory stands.
    pub fn spot(&self, value: Value) -> &Spot {
        self.spots[value].as_ref().expect("values that are read from memory were given a place")
    }

    fn buffer(&mut self, facts: &Facts<'_>, value: Value, name: String, role: Option<Role>) -> Buffer {
        let ty = facts.program.body.ty(value);
        let bytes = ty.elements(facts.dims) * Model::stored(ty.element).bytes();
        self.buffers.push(BufferData { name, bytes, role })
    }

    fn whole(&self, facts: &Facts<'_>, value: Value, buffer: Buffer, adds: bool) -> Spot {
        let ty = facts.program.body.ty(value);
        Spot { buffer, offset: 0, strides: dense_strides(&ty.dims, facts.dims), element: Model::stored(ty.element), adds }
    }

    /// The place of a part inside its target.
    fn part(&self, facts: &Facts<'_>, value: Value) -> Option<Spot> {
        let target = facts.target[value]?;
        let mut spot = self.spots[target].clone()?;
        let inst = facts.inst(facts.def[target]?);
        if let Op::Shape(Shape::Concat { from, into }) = &inst.op {
            let at = inst.args.iter().position(|arg| *arg == value)?;
            let stride = spot.stride(*into);
            spot.offset += stride * from[..at].iter().map(|dim| facts.dims[*dim].size).sum::<u64>();
            spot.strides.retain(|(dim, _)| dim != into);
            spot.strides.push((from[at], stride));
        }
        Some(spot)
    }
}

/// What the user called an input, or the input that an output is the cotangent of; else the role's own name.
fn name_of(facts: &Facts<'_>, role: Role) -> String {
    let given = |role: Role| {
        let (_, value) = facts.program.inputs.iter().find(|(known, _)| *known == role)?;
        Some(plain(&facts.program.body.values[*value].name)).filter(|name| !name.is_empty())
    };
    let named = match role {
        Role::Param(_) | Role::Weight(_) => given(role),
        Role::ParamGrad(index) => given(Role::Param(index)).map(|name| format!("d_{name}")),
        Role::WeightGrad(index) => given(Role::Weight(index)).map(|name| format!("d_{name}")),
        Role::Result(_) | Role::Stash(_) | Role::ResultGrad(_) | Role::Report(_) | Role::Total(_) | Role::Peak(_) => None,
        Role::Next(_) | Role::Rest | Role::Gradient | Role::Moment(_) | Role::Factor | Role::SquareSum | Role::Whole | Role::Piece => None,
    };
    named.unwrap_or_else(|| role_name(role))
}

/// A role in a word.
fn role_name(role: Role) -> String {
    match role {
        Role::Param(index) => format!("param{index}"),
        Role::Weight(index) => format!("weight{index}"),
        Role::Result(index) => format!("result{index}"),
        Role::Stash(index) => format!("stash{index}"),
        Role::ResultGrad(index) => format!("d_result{index}"),
        Role::ParamGrad(index) => format!("d_param{index}"),
        Role::WeightGrad(index) => format!("d_weight{index}"),
        Role::Report(index) => format!("report{index}"),
        Role::Total(index) => format!("total{index}"),
        Role::Peak(index) => format!("peak{index}"),
        Role::Next(index) => format!("next{index}"),
        Role::Rest => "rest".to_string(),
        Role::Gradient => "gradient".to_string(),
        Role::Moment(index) => format!("moment{index}"),
        Role::Factor => "factor".to_string(),
        Role::SquareSum => "square_sum".to_string(),
        Role::Whole => "whole".to_string(),
        Role::Piece => "piece".to_string(),
    }
}

/// A value's name as an identifier.
fn value_name(facts: &Facts<'_>, value: Value) -> String {
    let name = plain(&facts.program.body.values[value].name);
    if name.is_empty() { format!("t{}", value.as_u32()) } else { name }
}

/// A name as kernels may use it; empty if nothing is left of it.
fn plain(name: &str) -> String {
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    if plain.starts_with(|c: char| c.is_ascii_alphabetic()) { plain } else { String::new() }
}
