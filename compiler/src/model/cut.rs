//! The tape, cut into functions and calls.
//!
//! Requires a tape without errors. Ensures that values which cross pieces are ports, that constants and positions never do, that weights are slots,
//! and that equal pieces are one function.

use super::elaborate::{Elaborator, Outline};
use super::ir::{Call, Function, FunctionData, Input, Loss, Model, Peak, Port, Weight, WeightData};
use super::settings::Settings;
use super::tape::{Piece, Tape};
use super::weight::Declared;
use crate::op::{Body, Inst, Op, Value};
use cranelift_entity::{PrimaryMap, SecondaryMap};
use std::collections::{BTreeMap, BTreeSet};

/// Cuts the tape into a model; functions are told apart by their layers' paths too when `paths` matter.
pub(crate) fn cut(elaborator: Elaborator, outline: Outline, name: &str, settings: Settings, paths: bool) -> Model {
    let Elaborator { tape, weights, .. } = elaborator;
    let (table, place) = group(&weights.all);
    let of_value = weights.all.iter().enumerate().map(|(at, one)| (one.value, place[at])).collect();
    let mut cutter = Cutter::new(&tape, of_value, &outline);
    for (at, piece) in tape.pieces.iter().enumerate() {
        cutter.piece(at, piece, paths);
    }
    let Cutter { ports, port_of, mut functions, calls, .. } = cutter;
    name_functions(&mut functions, &calls, name);
    let inputs =
        outline.inputs.iter().map(|(name, value, span)| Input { name: name.clone(), port: port_of[value], span: Some(*span) }).collect();
    let result = outline.result.map(|value| port_of[&value]);
    Model {
        name: name.to_string(),
        inputs,
        batch: outline.batch,
        weights: table,
        ports,
        functions,
        calls,
        result,
        settings,
        dims: tape.dims,
        origins: tape.origins,
    }
}

/// Weights with their copies, and for each declared weight which one it is.
fn group(all: &[Declared]) -> (PrimaryMap<Weight, WeightData>, Vec<(Weight, u64)>) {
    let mut table: PrimaryMap<Weight, WeightData> = PrimaryMap::new();
    let mut by_template: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, one) in all.iter().enumerate() {
        by_template.entry(&one.template).or_default().push(at);
    }
    let mut place: Vec<Option<(Weight, u64)>> = vec![None; all.len()];
    for (at, one) in all.iter().enumerate() {
        if place[at].is_some() {
            continue;
        }
        let group = &by_template[one.template.as_str()];
        match complete(all, group) {
            true => {
                let weight = table.push(data(one, one.template.clone(), group.len() as u64));
                group.iter().enumerate().for_each(|(copy, member)| place[*member] = Some((weight, copy as u64)));
            }
            false => {
                let number = one.star.map_or(0, |(iteration, _)| iteration);
                let path = one.template.replace("[*]", &format!("[{number}]"));
                place[at] = Some((table.push(data(one, path, 1)), 0));
            }
        }
    }
    (table, place.into_iter().flatten().collect())
}

/// Whether every iteration has this weight, all of them equal.
fn complete(all: &[Declared], group: &[usize]) -> bool {
    let first = &all[group[0]];
    let Some((_, count)) = first.star else { return group.len() == 1 };
    let equal = |one: &Declared| {
        (&one.stacked, &one.inputs, &one.outputs, one.init, one.arrow, one.state)
            == (&first.stacked, &first.inputs, &first.outputs, first.init, first.arrow, first.state)
    };
    let in_order = group.iter().enumerate().all(|(at, member)| all[*member].star.is_some_and(|(iteration, _)| iteration == at as u64));
    group.len() as u64 == count && in_order && group.iter().all(|member| equal(&all[*member]))
}

fn data(one: &Declared, path: String, count: u64) -> WeightData {
    WeightData {
        path,
        layers: one.layers.clone(),
        count,
        inputs: one.inputs.clone(),
        outputs: one.outputs.clone(),
        stacked: one.stacked.clone(),
        init: one.init,
        arrow: one.arrow,
        decay: None,
        frozen: one.state,
        state: one.state,
        rate: 1.0,
        span: Some(one.span),
    }
}

struct Cutter<'t> {
    tape: &'t Tape,
    weight_of: BTreeMap<Value, (Weight, u64)>,
    /// The piece and instruction that define a value; none for inputs and weights.
    home: SecondaryMap<Value, Option<(usize, usize)>>,
    /// Values that a later piece reads, or that the model returns.
    crossing: BTreeSet<Value>,
    ports: PrimaryMap<Port, crate::op::Type>,
    port_of: BTreeMap<Value, Port>,
    functions: PrimaryMap<Function, FunctionData>,
    calls: Vec<Call>,
}

impl<'t> Cutter<'t> {
    fn new(tape: &'t Tape, weight_of: BTreeMap<Value, (Weight, u64)>, outline: &Outline) -> Self {
        let mut home = SecondaryMap::new();
        for at in 0..tape.pieces.len() {
            for number in range(tape, at) {
                for result in &tape.body.insts[number].results {
                    home[*result] = Some((at, number));
                }
            }
        }
        let (mut ports, mut port_of) = (PrimaryMap::new(), BTreeMap::new());
        for (_, value, _) in &outline.inputs {
            port_of.insert(*value, ports.push(tape.ty(*value).clone()));
        }
        let mut cutter =
            Cutter { tape, weight_of, home, crossing: BTreeSet::new(), ports, port_of, functions: PrimaryMap::new(), calls: Vec::new() };
        cutter.find_crossing(outline);
        cutter
    }

    fn find_crossing(&mut self, outline: &Outline) {
        let tape = self.tape;
        for at in 0..tape.pieces.len() {
            for number in range(tape, at) {
                for arg in &tape.body.insts[number].args {
                    self.cross(*arg, at);
                }
            }
        }
        for report in &tape.reports {
            self.cross(report.value, report.piece);
            report.mask.iter().for_each(|mask| self.cross(*mask, report.piece));
        }
        for next in &tape.nexts {
            next.totals.iter().chain([&next.value]).for_each(|value| self.cross(*value, next.piece));
        }
        tape.peaks.iter().for_each(|peak| self.cross(peak.value, peak.piece));
        if let Some(result) = outline.result.filter(|result| self.home[*result].is_some()) {
            self.crossing.insert(result);
        }
    }

    fn cross(&mut self, value: Value, piece: usize) {
        if self.home[value].is_some_and(|(home, _)| home != piece) && !self.cheap(value) {
            self.crossing.insert(value);
        }
    }

    /// Without arguments: made again where it is used instead of handed over.
    fn cheap(&self, value: Value) -> bool {
        let again = |op: &Op| matches!(op, Op::Const(_) | Op::Integer(_) | Op::Index(crate::op::Index::Position(_)));
        self.home[value].is_some_and(|(_, number)| again(&self.tape.body.insts[number].op))
    }

    fn piece(&mut self, at: usize, piece: &Piece, paths: bool) {
        let reports: Vec<_> = self.tape.reports.iter().filter(|report| report.piece == at).collect();
        let numbers = range(self.tape, at);
        let next: Vec<_> = self.tape.nexts.iter().filter(|next| next.piece == at).collect();
        if numbers.is_empty() && reports.is_empty() && next.is_empty() {
            return;
        }
        let mut maker = Maker {
            cutter: self,
            map: BTreeMap::new(),
            body: Body::default(),
            args: Vec::new(),
            params: Vec::new(),
            slots: Vec::new(),
            weights: Vec::new(),
            piece: at,
        };
        for number in numbers.clone() {
            maker.inst(number);
        }
        let (mut losses, mut metrics) = (Vec::new(), Vec::new());
        for report in reports {
            let value = maker.value(report.value);
            let mask = report.mask.map(|mask| maker.value(mask));
            match &report.metric {
                None => losses.push(Loss { value, mask, span: Some(report.span) }),
                Some(name) => metrics.push((name.clone(), value)),
            }
        }
        let nexts: Vec<(Value, Value)> = next.iter().map(|next| (maker.value(next.state), maker.value(next.value))).collect();
        let mut totals: Vec<Value> = next.iter().flat_map(|next| &next.totals).map(|total| maker.value(*total)).collect();
        totals.sort_unstable();
        totals.dedup();
        let own = self.tape.peaks.iter().filter(|peak| peak.piece == at);
        let peaks = own.map(|peak| Peak { value: maker.value(peak.value), slot: peak.slot, path: peak.path.clone() }).collect();
        let Maker { map, body, args, params, slots, weights, .. } = maker;
        let out: Vec<Value> = numbers
            .flat_map(|number| &self.tape.body.insts[number].results)
            .filter(|value| self.crossing.contains(value))
            .copied()
            .collect();
        let results = out.iter().map(|value| map[value]).collect();
        let name = piece.name.clone().unwrap_or_default();
        let data = FunctionData { name, params, weights: slots, body, results, losses, metrics, totals, nexts, peaks };
        let args = args.iter().map(|value| self.port_of[value]).collect();
        let results = out.iter().map(|value| self.open_port(*value)).collect();
        let function = self.function(data, paths);
        self.calls.push(Call { function, args, weights, results, iteration: piece.iteration });
    }

    fn open_port(&mut self, value: Value) -> Port {
        let port = self.ports.push(self.tape.ty(value).clone());
        self.port_of.insert(value, port);
        port
    }

    /// The function that is equal to this one, or a new one.
    fn function(&mut self, data: FunctionData, paths: bool) -> Function {
        let tape = self.tape;
        let path = |inst: &Inst| &tape.origins[inst.origin].path;
        let known = self
            .functions
            .iter()
            .find(|(_, old)| same(old, &data) && (!paths || old.body.insts.iter().zip(&data.body.insts).all(|(a, b)| path(a) == path(b))));
        match known {
            Some((function, _)) => function,
            None => self.functions.push(data),
        }
    }
}

/// Numbers of a piece's instructions.
fn range(tape: &Tape, at: usize) -> std::ops::Range<usize> {
    let end = tape.pieces.get(at + 1).map_or(tape.body.insts.len(), |next| next.start);
    tape.pieces[at].start..end
}

/// One function in the making.
struct Maker<'c, 't> {
    cutter: &'c Cutter<'t>,
    map: BTreeMap<Value, Value>,
    body: Body,
    args: Vec<Value>,
    params: Vec<Value>,
    slots: Vec<Value>,
    weights: Vec<(Weight, u64)>,
    piece: usize,
}

impl Maker<'_, '_> {
    fn inst(&mut self, number: usize) {
        let inst = &self.cutter.tape.body.insts[number];
        let args = inst.args.iter().map(|arg| self.value(*arg)).collect();
        let results = inst.results.iter().map(|result| self.define(*result)).collect();
        self.body.insts.push(Inst { op: inst.op.clone(), args, results, origin: inst.origin });
    }

    fn define(&mut self, value: Value) -> Value {
        let new = self.body.values.push(self.cutter.tape.body.values[value].clone());
        self.map.insert(value, new);
        new
    }

    /// A value in this function: its own, a parameter, a weight slot, or a constant made again.
    fn value(&mut self, value: Value) -> Value {
        if let Some(known) = self.map.get(&value) {
            return *known;
        }
        if let Some(weight) = self.cutter.weight_of.get(&value) {
            let slot = self.define(value);
            self.slots.push(slot);
            self.weights.push(*weight);
            return slot;
        }
        if self.cutter.cheap(value) && self.cutter.home[value].is_some_and(|(home, _)| home != self.piece) {
            let number = self.cutter.home[value].map_or(0, |(_, number)| number);
            self.inst(number);
            return self.map[&value];
        }
        let param = self.define(value);
        self.params.push(param);
        self.args.push(value);
        param
    }
}

/// Equal but for names and origins.
fn same(a: &FunctionData, b: &FunctionData) -> bool {
    let inst = |a: &Inst, b: &Inst| a.op == b.op && a.args == b.args && a.results == b.results;
    let report = |a: &Loss, b: &Loss| a.value == b.value && a.mask == b.mask;
    a.params == b.params
        && a.weights == b.weights
        && a.results == b.results
        && a.metrics == b.metrics
        && a.totals == b.totals
        && a.nexts == b.nexts
        && a.peaks.len() == b.peaks.len()
        && a.peaks.iter().zip(&b.peaks).all(|(a, b)| (a.value, a.slot) == (b.value, b.slot))
        && a.losses.len() == b.losses.len()
        && a.losses.iter().zip(&b.losses).all(|(a, b)| report(a, b))
        && a.body.insts.len() == b.body.insts.len()
        && a.body.values.len() == b.body.values.len()
        && a.body.values.values().zip(b.body.values.values()).all(|(a, b)| a.ty == b.ty)
        && a.body.insts.iter().zip(&b.body.insts).all(|(a, b)| inst(a, b))
}

/// Gives nameless functions a name, and equal names a number.
fn name_functions(functions: &mut PrimaryMap<Function, FunctionData>, calls: &[Call], model: &str) {
    let (first, last) = (calls.first().map(|call| call.function), calls.last().map(|call| call.function));
    let only = functions.len() == 1;
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    for (function, data) in functions.iter_mut() {
        if data.name.is_empty() {
            data.name = match function {
                _ if only => model.to_string(),
                one if Some(one) == first => "embed".to_string(),
                one if Some(one) == last => "head".to_string(),
                _ => "between".to_string(),
            };
        }
        let count = taken.entry(data.name.clone()).or_insert(0);
        *count += 1;
        if *count > 1 {
            data.name = format!("{}{count}", data.name);
        }
    }
}
