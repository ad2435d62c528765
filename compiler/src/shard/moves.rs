//! What programs bring elsewhere: one record per value and target, made where the exchange is made, so that each collective can be explained.
//!
//! Values, instructions and placements are those of the whole program, before it is cut. Ensures nothing about what later passes drop: a record
//! whose collectives were merged with equal ones or found useless stays.

use super::ir::Placement;
use super::rules::Row;
use crate::graph::ir::Role;
use crate::op::{Collective, Origin, Value};

/// A value that ranks exchange to have it as somebody wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// Which, in the program over whole dims.
    pub value: Value,
    /// Where it stood.
    pub from: Placement,
    /// Where it is wanted.
    pub to: Placement,
    /// For whom, the first who asked.
    pub user: User,
    /// The placements of all operands and results of that instruction; none for an output.
    pub row: Option<Row>,
    /// Where the user came from.
    pub origin: Origin,
    /// What is exchanged, in order.
    pub exchanges: Vec<Collective>,
}

/// Who wants a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// An instruction of the program over whole dims, by number.
    Inst(usize),
    /// The program's end.
    Output(Role),
}

/// The records of a segment's programs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moves {
    /// Of the forward program of a step.
    pub forward: Vec<Move>,
    /// Of the backward program.
    pub backward: Vec<Move>,
}
