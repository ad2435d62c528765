//! Dead code elimination: drops instructions whose results nobody needs.
//!
//! Requires a program in order. Ensures that every instruction left leads to an output, that values are numbered anew in order (inputs
//! first, none without a definition), and that inputs stay, used or not.

use super::ir::Program;
use crate::op::{Body, Inst, Value};
use cranelift_entity::{EntitySet, SecondaryMap};

/// Drops what no output of `program` needs.
pub fn dce(program: &mut Program) {
    let mut needed: EntitySet<Value> = EntitySet::new();
    for (_, value) in &program.outputs {
        needed.insert(*value);
    }
    let mut kept: Vec<Inst> = Vec::new();
    for inst in std::mem::take(&mut program.body.insts).into_iter().rev() {
        if inst.results.iter().any(|result| needed.contains(*result)) {
            inst.args.iter().for_each(|arg| {
                needed.insert(*arg);
            });
            kept.push(inst);
        }
    }
    kept.reverse();
    program.body.insts = kept;
    renumber(program);
}

/// Numbers values in the order of inputs and instructions, and forgets those that nothing defines.
fn renumber(program: &mut Program) {
    let Body { values, insts } = std::mem::take(&mut program.body);
    let mut new = Body::default();
    let mut moved: SecondaryMap<Value, Option<Value>> = SecondaryMap::new();
    let mut define = |new: &mut Body, value: Value| {
        if moved[value].is_none() {
            moved[value] = Some(new.values.push(values[value].clone()));
        }
        moved[value].expect("just defined")
    };
    for (_, value) in &mut program.inputs {
        *value = define(&mut new, *value);
    }
    for inst in insts {
        let args = inst.args.iter().map(|arg| define(&mut new, *arg)).collect();
        let results = inst.results.iter().map(|result| define(&mut new, *result)).collect();
        new.insts.push(Inst { args, results, ..inst });
    }
    for (_, value) in &mut program.outputs {
        *value = define(&mut new, *value);
    }
    program.body = new;
}
