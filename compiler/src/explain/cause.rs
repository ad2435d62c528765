//! Why a value is brought elsewhere: the rule behind where it stood, the rule behind where it is wanted, and the edit that spares it.

use super::words::Words;
use crate::graph::ir::Role;
use crate::op::{Body, Collective, Dim, Exchange, Index, Inst, Op, Value};
use crate::shard::ir::{Axis, Placement};
use crate::shard::moves::{Move, User};
use crate::shard::scope::Scope;

/// Sentences, and the edit.
type Cause = (Vec<String>, Option<String>);

/// The reasons of one collective of a move, one of a program's.
pub fn of(words: &Words<'_>, body: &Body, moves: &[Move], one: &Move, collective: &Collective) -> Cause {
    let axes: Vec<Axis> =
        words.sharded.mesh.axes.iter().filter(|(_, data)| collective.axes.contains(&data.name)).map(|(axis, _)| axis).collect();
    let Some(axis) = axes.first().copied() else { return Cause::default() };
    let whole = |part: Dim| words.sharded.cuts.whole(part).0;
    let this = Why { words, body, moves, one, axis, names: collective.axes.join("*"), members: collective.members };
    match collective.exchange {
        Exchange::AllGather { part, .. } => this.gathered(whole(part)),
        Exchange::AllToAll { part, into, .. } => this.exchanged(whole(part), whole(into)),
        Exchange::ReduceScatter { part, .. } => this.reduced(Some(whole(part))),
        Exchange::AllReduce { .. } => this.reduced(None),
        // what goes around a ring is no move of a value
        Exchange::Permute { .. } => Cause::default(),
    }
}

/// What goes around a ring for an attention, why, and the edit that gathers it instead.
pub fn around(words: &Words<'_>, body: &Body, inst: &Inst, collective: &Collective) -> Option<(String, Cause)> {
    let same = |other: &&Inst| other.origin == inst.origin;
    let (attention, gradient) = body.insts.iter().filter(same).find_map(|inst| match &inst.op {
        Op::Attention(attention) => Some((attention, false)),
        Op::AttentionGrad(attention) => Some((attention, true)),
        _ => None,
    })?;
    let axes: Vec<Axis> = collective.axes.iter().filter_map(|name| words.sharded.mesh.axis(name)).collect();
    let rule = words.placing.giver(attention.query, &axes).map(|rule| words.rule(rule))?;
    let what = if gradient { "keys and values, or their cotangents," } else { "keys or values" };
    let names = collective.axes.join("*");
    let why = format!("queries stay, and what they meet goes around the {} ranks along {names}: {rule}", collective.members);
    let edit = format!("write `via gather` in {rule}: keys and values are then gathered, {}x as much on a rank", collective.members);
    Some((format!("{what} of {}", words.place(inst.origin)), (vec![why], Some(edit))))
}

struct Why<'a> {
    words: &'a Words<'a>,
    body: &'a Body,
    moves: &'a [Move],
    one: &'a Move,
    axis: Axis,
    names: String,
    members: u64,
}

impl Why<'_> {
    fn dim(&self, dim: Dim) -> &str {
        &self.words.dims()[dim].name
    }

    /// The rule that gives a dim of a value the axis.
    fn rule(&self, value: Value, dim: Dim) -> Option<String> {
        self.giver(self.words.scope(self.body, value), &self.body.ty(value).dims, dim)
    }

    /// The rule that gives a dim the axis where a tensor has these dims.
    fn giver(&self, scope: Scope, dims: &[Dim], dim: Dim) -> Option<String> {
        self.words.placing.reasons(scope, dims).giver(dim, self.axis).map(|rule| self.words.rule(rule))
    }

    fn stands(&self, dim: Dim) -> String {
        let (name, axes) = (self.dim(dim), &self.names);
        match self.rule(self.one.value, dim) {
            Some(rule) => format!("it stands with {name} cut by {axes}: {rule}"),
            None => format!("it was computed with {name} cut by {axes}, as its operands stand"),
        }
    }

    fn gathered(&self, dim: Dim) -> Cause {
        let stands = self.stands(dim);
        let (name, axes, members) = (self.dim(dim), &self.names, self.members);
        let rule = self.rule(self.one.value, dim);
        let edit = rule.map(|rule| format!("take {axes} from {rule}: {name} then stands whole along it, {members}x as much on a rank"));
        (vec![stands, self.wanted(Some(dim))], edit)
    }

    fn exchanged(&self, dim: Dim, other: Dim) -> Cause {
        let (mut why, edit) = self.gathered(dim);
        why.push(format!("{} is cut by {} instead", self.dim(other), self.names));
        (why, edit)
    }

    fn reduced(&self, scattered: Option<Dim>) -> Cause {
        let axes = &self.names;
        let Some((dim, of, text)) = self.summed(self.one.value, 0) else {
            return (vec![format!("ranks along {axes} hold parts of a sum"), self.wanted(scattered)], None);
        };
        let name = self.dim(dim);
        let rule = self.rule(of, dim);
        let by = rule.as_ref().map_or_else(String::new, |rule| format!(": {rule}"));
        let why = format!("each rank has summed its part of {name} in {text}; {axes} cuts {name}{by}");
        let batch = dim == self.words.graph.batch;
        let edit = rule
            .filter(|_| !batch)
            .map(|rule| format!("take {axes} from {rule}: each rank then has all of {name}, {}x as much", self.members));
        (vec![why, self.wanted(scattered)], edit)
    }

    /// Who wants the value, and why there.
    fn wanted(&self, dim: Option<Dim>) -> String {
        match self.one.user {
            User::Output(role) => self.output(role),
            User::Inst(at) => self.operand(at, dim),
        }
    }

    fn output(&self, role: Role) -> String {
        let (scope, dims) = (self.words.scope(self.body, self.one.value), &self.body.ty(self.one.value).dims);
        let rules = self.words.placing.reasons(scope, dims);
        let rules: Vec<String> = rules.given.iter().map(|(rule, _, _)| self.words.rule(rule)).collect();
        let by = if rules.is_empty() { String::new() } else { format!(": {}", rules.join(", ")) };
        match role {
            Role::Result(_) => format!("the layer's result stands as the rules say{by}"),
            Role::Stash(_) => format!("it is kept for the backward pass, as the rules say{by}"),
            Role::ParamGrad(_) => format!("a cotangent stands as its value does{by}"),
            Role::WeightGrad(_) => format!("a gradient stands as its weight does{by}"),
            Role::Report(_) => "a number that is reported is summed over all ranks".to_string(),
            Role::Peak(_) => "the largest number of slots is found over all ranks".to_string(),
            role => format!("the program's output {role:?} stands as the rules say{by}"),
        }
    }

    /// An instruction that wants the value: what among its operands and results has the axis.
    fn operand(&self, at: usize, dim: Option<Dim>) -> String {
        let inst = &self.body.insts[at];
        let text = self.words.place(inst.origin);
        let row = self.one.row.iter().flat_map(|row| inst.args.iter().zip(&row.args).chain(inst.results.iter().zip(&row.results)));
        let others = row.filter(|(value, _)| **value != self.one.value);
        let holder = others.into_iter().find_map(|(value, placed)| Some((*value, self.cut_here(placed, dim)?)));
        if let Some((value, cut)) = holder {
            let result = inst.results.contains(&value);
            let name = if result { "its result".to_string() } else { self.words.value(self.body, value) };
            let Some(rule) = self.rule(value, cut) else { return self.unruled(at, cut) };
            let by = format!(": {rule}");
            return format!("{text} has {} on {} of {name}{by}", self.names, self.dim(cut));
        }
        match (&inst.op, dim) {
            (Op::Attention(_) | Op::AttentionGrad(_), Some(dim)) if self.one.to.of(dim).is_empty() => {
                format!("{text} needs all of {}: every query may see every key", self.dim(dim))
            }
            (_, Some(dim)) if self.one.to.of(dim).is_empty() => format!("{text} needs all of {}", self.dim(dim)),
            _ => format!("{text} needs the finished sum"),
        }
    }

    /// Why an instruction cuts a dim that no rule cuts: attention by heads.
    fn unruled(&self, at: usize, cut: Dim) -> String {
        let inst = &self.body.insts[at];
        let (text, name, axes) = (self.words.place(inst.origin), self.dim(cut), &self.names);
        match &inst.op {
            Op::Attention(attention) | Op::AttentionGrad(attention) => {
                // of queries alone, without a path: a rule that says `via` has none, and its axis has gone from queries to another dim
                let rule = self.giver(Scope::default(), &[attention.query], attention.query);
                let rule = rule.map_or_else(String::new, |rule| format!(" by {rule}"));
                format!("{text} has {axes} on {name} while it runs, so that each query sees every key{rule}")
            }
            _ => format!("{text} has {axes} on {name}, as its other operands stand"),
        }
    }

    /// A dim with the axis; the dim that is asked about itself does not explain anything.
    fn cut_here(&self, placed: &Placement, dim: Option<Dim>) -> Option<Dim> {
        let cut = placed.cuts.iter().find(|(_, axes)| axes.contains(&self.axis)).map(|(dim, _)| *dim);
        cut.filter(|cut| Some(*cut) != dim || self.one.to.of(*cut).contains(&self.axis))
    }

    /// The dim whose parts a partial value was summed over, the operand that has it, and the text that sums.
    fn summed(&self, value: Value, depth: u32) -> Option<(Dim, Value, String)> {
        let inst = self.body.insts.iter().find(|inst| inst.results.contains(&value))?;
        let cut = |arg: Value, dim: Dim| {
            let dims = &self.body.ty(arg).dims;
            let placed = self.words.placing.place_in(self.words.scope(self.body, arg), dims);
            (dims.contains(&dim) && placed.of(dim).contains(&self.axis)).then(|| (dim, arg, self.words.place(inst.origin)))
        };
        let over: Vec<Dim> = match &inst.op {
            Op::Contract(over) | Op::Reduce(_, over) => over.clone(),
            Op::Index(Index::Gather { over }) => vec![*over],
            Op::Index(Index::Scatter { .. }) | Op::AttentionGrad(_) => {
                let lost = inst.args.iter().flat_map(|arg| self.body.ty(*arg).dims.clone());
                lost.filter(|dim| !self.body.ty(value).has(*dim)).collect()
            }
            _ => Vec::new(),
        };
        let found = over.iter().find_map(|dim| inst.args.iter().find_map(|arg| cut(*arg, *dim)));
        if found.is_some() || depth > 8 {
            return found;
        }
        let (reduced, parts): (Vec<Value>, Vec<Value>) = inst.args.iter().partition(|arg| self.is_reduced(**arg));
        parts.into_iter().chain(reduced).find_map(|arg| self.summed(arg, depth + 1))
    }

    /// Whether a value's own parts have been summed along the axis: then it is hardly they that make a later sum partial.
    fn is_reduced(&self, value: Value) -> bool {
        let partial = |place: &Placement| place.partial.as_ref().is_some_and(|(axes, _)| axes.contains(&self.axis));
        self.moves.iter().any(|one| one.value == value && partial(&one.from) && !partial(&one.to))
    }
}
