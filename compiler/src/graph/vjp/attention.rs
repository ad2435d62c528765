//! The rule of attention: one instruction that gives all three cotangents (Dao et al. 2022), from the result and its row statistics.
//!
//! Requires that nothing differentiable reads the row statistics `lse` (the language does not expose them). Ensures contributions of the types of
//! q, k and v.

use super::{Contributions, Tape};
use crate::op::{Attention, Inst, Op, Value};

/// One contribution per argument.
pub fn vjp(tape: &mut Tape, attention: &Attention, inst: &Inst, cotangents: &[Option<Value>], wanted: &[bool]) -> Contributions {
    assert!(cotangents[1].is_none(), "internal error: the row statistics of attention have no gradient");
    let dout = cotangents[0].expect("a rule runs only where a result has a cotangent");
    let mut args = inst.args.clone();
    args.extend([inst.results[0], inst.results[1], dout]);
    let types = inst.args.iter().map(|arg| tape.ty(*arg)).collect();
    let results = tape.body.push_many(Op::AttentionGrad(attention.clone()), args, types, tape.origin);
    results.into_iter().zip(wanted).map(|(value, wanted)| wanted.then_some(value)).collect()
}
