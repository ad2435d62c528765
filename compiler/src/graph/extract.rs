//! Cuts a program out of another: wanted outputs from values that are at hand.
//!
//! Requires that every output can be computed from `available`. Ensures a program with only the instructions and inputs that its outputs need.
//! Instructions keep their order, but `late` ones, which stand directly before their first use (so that what is computed again lives shortly).

use super::ir::{Program, Role};
use crate::op::{Body, Inst, Value};
use cranelift_entity::SecondaryMap;

/// The program that gives `outputs` from `available`.
pub fn extract(from: &Body, outputs: &[(Role, Value)], available: &[(Role, Value)], late: impl Fn(&Inst) -> bool) -> Program {
    let mut work = Extraction { from, known: SecondaryMap::new(), makers: SecondaryMap::new(), program: Program::default() };
    let mut at_hand: SecondaryMap<Value, bool> = SecondaryMap::new();
    available.iter().for_each(|(_, value)| at_hand[*value] = true);
    let live = live(from, outputs, &at_hand);
    for (role, value) in available.iter().filter(|(_, value)| live[*value]) {
        work.input(*role, *value);
    }
    for (at, inst) in from.insts.iter().enumerate() {
        inst.results.iter().for_each(|result| work.makers[*result] = Some(at));
    }
    for (at, inst) in from.insts.iter().enumerate() {
        if !late(inst) && inst.results.iter().any(|result| live[*result] && !at_hand[*result]) {
            work.emit(at);
        }
    }
    for (role, value) in outputs {
        let value = work.value(*value);
        work.program.outputs.push((*role, value));
    }
    work.program
}

/// Values that outputs need, down to what is at hand.
fn live(from: &Body, outputs: &[(Role, Value)], at_hand: &SecondaryMap<Value, bool>) -> SecondaryMap<Value, bool> {
    let mut live: SecondaryMap<Value, bool> = SecondaryMap::new();
    outputs.iter().for_each(|(_, value)| live[*value] = true);
    for inst in from.insts.iter().rev() {
        if inst.results.iter().any(|result| live[*result] && !at_hand[*result]) {
            inst.args.iter().for_each(|arg| live[*arg] = true);
        }
    }
    live
}

struct Extraction<'a> {
    from: &'a Body,
    /// Values of the new program.
    known: SecondaryMap<Value, Option<Value>>,
    /// Which instruction defines a value.
    makers: SecondaryMap<Value, Option<usize>>,
    program: Program,
}

impl Extraction<'_> {
    fn input(&mut self, role: Role, value: Value) {
        if self.known[value].is_none() {
            let new = self.program.body.values.push(self.from.values[value].clone());
            self.known[value] = Some(new);
            self.program.inputs.push((role, new));
        }
    }

    fn value(&mut self, value: Value) -> Value {
        if let Some(known) = self.known[value] {
            return known;
        }
        let maker = self.makers[value].unwrap_or_else(|| panic!("internal error: {value} cannot be computed from what is kept"));
        self.emit(maker);
        self.known[value].expect("an instruction defines its results")
    }

    fn emit(&mut self, at: usize) {
        let from = self.from;
        let inst = &from.insts[at];
        if inst.results.iter().all(|result| self.known[*result].is_some()) {
            return;
        }
        let args = inst.args.iter().map(|arg| self.value(*arg)).collect();
        let body = &mut self.program.body;
        let results: Vec<Value> = inst.results.iter().map(|result| body.values.push(from.values[*result].clone())).collect();
        body.insts.push(Inst { op: inst.op.clone(), args, results: results.clone(), origin: inst.origin });
        for (old, new) in inst.results.iter().zip(results) {
            self.known[*old].get_or_insert(new);
        }
    }
}
