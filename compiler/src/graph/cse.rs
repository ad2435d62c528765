//! Common subexpression elimination: what is computed twice is computed once.
//!
//! Requires a program in order. Ensures that no two instructions have the same operator, arguments and result types; the later one is
//! replaced, and stays behind unused for `dce`. Random numbers of one site are the same numbers, so they merge too. What `remat`
//! computes again inside one program would be merged with its first computation: run this before remat there.

use super::ir::Program;
use crate::op::{Inst, Map, Op, Type, Value};
use cranelift_entity::SecondaryMap;
use std::collections::BTreeMap;

/// Merges equal instructions of `program`.
pub fn cse(program: &mut Program) {
    let mut seen: BTreeMap<Vec<Value>, Vec<usize>> = BTreeMap::new();
    let mut replaced: SecondaryMap<Value, Option<Value>> = SecondaryMap::new();
    let body = &mut program.body;
    for at in 0..body.insts.len() {
        body.insts[at].args.iter_mut().for_each(|arg| *arg = replaced[*arg].unwrap_or(*arg));
        let bucket = seen.entry(key(&body.insts[at])).or_default();
        let types = |inst: &Inst| inst.results.iter().map(|result| body.values[*result].ty.clone()).collect::<Vec<Type>>();
        let inst = &body.insts[at];
        let equal = |other: &&usize| same(&body.insts[**other].op, &inst.op) && types(&body.insts[**other]) == types(inst);
        match bucket.iter().find(equal) {
            Some(other) => {
                for (result, first) in inst.results.iter().zip(&body.insts[*other].results) {
                    replaced[*result] = Some(*first);
                }
            }
            None => bucket.push(at),
        }
    }
    program.outputs.iter_mut().for_each(|(_, value)| *value = replaced[*value].unwrap_or(*value));
}

/// Arguments, sorted where their order makes no difference to the result's bits.
fn key(inst: &Inst) -> Vec<Value> {
    let mut args = inst.args.clone();
    if matches!(inst.op, Op::Map(Map::Add | Map::Mul | Map::Eq | Map::Ne | Map::And | Map::Or)) {
        args.sort();
    }
    args
}

/// Whether two operators are the same; constants are compared by their bits, for `0` is not `-0`.
fn same(a: &Op, b: &Op) -> bool {
    match (a, b) {
        (Op::Const(a), Op::Const(b)) => a.to_bits() == b.to_bits(),
        (a, b) => a == b,
    }
}
