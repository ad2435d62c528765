//! Rewrite: a product or an attention whose result is only read to be rounded stores the rounded numbers itself.
//!
//! Requires a legal program in which types say what is kept in two bytes. Ensures equal results; elementwise roundings of anything else stay, since
//! what is computed where it is wanted is not stored.

use crate::graph::ir::Program;
use crate::op::{Body, Element, Inst, Map, Op, Value};
use cranelift_entity::SecondaryMap;

/// Takes out the roundings that stores do.
pub fn absorb(program: &mut Program) {
    let (mut makers, mut uses): (SecondaryMap<Value, bool>, SecondaryMap<Value, u32>) = (SecondaryMap::new(), SecondaryMap::new());
    for inst in &program.body.insts {
        inst.args.iter().for_each(|arg| uses[*arg] += 1);
        inst.results.iter().for_each(|result| makers[*result] = stores(&inst.op));
    }
    program.outputs.iter().for_each(|(_, value)| uses[*value] += 1);
    program.replace(|body, inst| {
        let made = rounded(body, inst).filter(|made| makers[*made] && uses[*made] == 1)?;
        body.values[made] = body.values[inst.results[0]].clone();
        Some(made)
    });
}

/// What an instruction rounds to two bytes, in the same layout.
fn rounded(body: &Body, inst: &Inst) -> Option<Value> {
    let (result, arg) = (inst.results[0], *inst.args.first()?);
    let (to, from) = (body.ty(result), body.ty(arg));
    (inst.op == Op::Map(Map::RoundBf16) && to.element == Element::Half && to.dims == from.dims).then_some(arg)
}

/// Whether a kernel of its own stores all results.
fn stores(op: &Op) -> bool {
    match op {
        Op::Contract(_) | Op::Attention(_) | Op::AttentionGrad(_) => true,
        Op::Const(_) | Op::Integer(_) | Op::Scalar(_) | Op::Map(_) | Op::Reduce(..) | Op::Index(_) | Op::Shape(_) | Op::Random(_) => false,
        Op::Anchor | Op::Stop | Op::Collective(_) => false,
    }
}
