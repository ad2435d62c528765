//! The body of a `rows` kernel as infix statements.
//!
//! A value that is used once stands where it is used. A name is given to what is used more than once, to a row's value that lanes use and
//! to what is long; a value stored in an operand that is only written goes by the operand's name from then on.

use super::{Text, name, view};
use crate::KernelData;
use crate::kernel::canonical::{Body, Statement};
use crate::kernel::{Access, Effect, Gather, Map, Move, Node, NodeData, Reduce, Rows, Slot};
use cranelift_entity::SecondaryMap;
use std::collections::{BTreeMap, BTreeSet};

/// All statements of the body.
pub(super) fn print(kernel: &KernelData, rows: &Rows, text: &mut Text) {
    if !rows.is_ordered() {
        text.line(1, &["# arguments do not come before their users".to_owned()]);
        return;
    }
    let body = Body::new(kernel, rows);
    let statements = body.statements();
    let taken = kernel.operands.values().map(|operand| operand.name.clone()).collect();
    let mut printer = Printer { body, names: SecondaryMap::with_default(String::new()), taken, counters: BTreeMap::new() };
    for statement in statements {
        let line = printer.statement(statement);
        text.line(1, &line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    }
}

struct Printer<'a> {
    body: Body<'a>,
    /// What a node is called once it has been written.
    names: SecondaryMap<Node, String>,
    taken: BTreeSet<String>,
    counters: BTreeMap<&'static str, u32>,
}

impl Printer<'_> {
    fn statement(&mut self, statement: Statement) -> String {
        match statement {
            Statement::Let(node) => {
                let value = self.value(node, true, 0);
                let name = self.fresh(node);
                self.names[node] = name;
                format!("{} = {value}", self.names[node])
            }
            Statement::Effect(index) => self.effect(index),
        }
    }

    fn effect(&mut self, index: usize) -> String {
        let rows = self.body.rows;
        let effect = &rows.effects[index];
        let target = self.operand(effect.slot());
        match effect {
            Effect::Store { value, .. } => {
                let first = self.names[*value].is_empty() && self.body.named[*value] && self.body.names_value(index);
                let shown = self.value(*value, first, 0);
                if first {
                    self.names[*value].clone_from(&target);
                }
                format!("{target} = {shown}")
            }
            Effect::Fold { partials, op, value, .. } => {
                let via = partials.map_or(String::new(), |slot| format!(" via {}", self.operand(slot)));
                format!("{target} = fold {}({}){via}", name::reduce_spelling(*op), self.value(*value, false, 0))
            }
        }
    }

    /// A name for a node, made from what it does and not taken by an operand.
    fn fresh(&mut self, node: Node) -> String {
        let base = match &self.body.rows.nodes[node] {
            NodeData::Map { op, args } if self.is_mean(*op, args) => "mean",
            NodeData::Map { op, .. } => name::letter(*op),
            NodeData::Reduce { op, .. } => name::reduce_spelling(*op),
            NodeData::Scan { .. } => "running",
            NodeData::Random { .. } => "u",
            NodeData::Coordinate(_) => "at",
            NodeData::Load { .. } => "l",
            NodeData::Const(_) | NodeData::Integer(_) | NodeData::Scalar(_) | NodeData::Position { .. } => "c",
        };
        loop {
            let counter = self.counters.entry(base).or_insert(0);
            *counter += 1;
            let name = if *counter == 1 { base.to_owned() } else { format!("{base}{counter}") };
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }

    /// A sum over the lanes times one over their number.
    fn is_mean(&self, op: Map, args: &[Node]) -> bool {
        let [Some(first), Some(second)] = [args.first(), args.get(1)].map(|arg| arg.and_then(|arg| self.body.rows.nodes.get(*arg))) else {
            return false;
        };
        let lanes = self.body.kernel.lane().map_or(1.0, |lane| self.body.kernel.dims[lane].size as f64);
        match (first, second) {
            (NodeData::Reduce { op: Reduce::Sum, .. }, NodeData::Const(factor)) => op == Map::Mul && *factor == (1.0 / lanes) as f32,
            _ => false,
        }
    }

    fn operand(&self, slot: Slot) -> String {
        self.body.kernel.operands.get(slot).map_or_else(|| format!("{slot}?"), |operand| name::quoted(&operand.name))
    }

    /// A value in a place that needs at least this tightness; `whole` spells it out even if it has a name.
    fn value(&self, node: Node, whole: bool, tightness: u8) -> String {
        if !whole && !self.names[node].is_empty() {
            return self.names[node].clone();
        }
        let (own, text) = match &self.body.rows.nodes[node] {
            NodeData::Const(value) => (if value.is_sign_negative() { 7 } else { 8 }, format!("{value:?}")),
            NodeData::Integer(value) => (if *value < 0 { 7 } else { 8 }, value.to_string()),
            NodeData::Scalar(name) => (8, format!("${}", name::quoted(name))),
            NodeData::Load { slot, gather, moved } => (8, self.load(*slot, gather.as_ref(), moved.as_ref())),
            NodeData::Position { dim, micro: 0 } => (8, format!("index({})", self.dim(*dim))),
            NodeData::Position { dim, micro } => (8, format!("index({}, micro {micro})", self.dim(*dim))),
            NodeData::Map { op, args } => self.map(*op, args),
            NodeData::Reduce { op, arg } => (8, format!("{}({})", name::reduce_spelling(*op), self.value(*arg, false, 0))),
            NodeData::Scan { arg } => (8, format!("scan({})", self.value(*arg, false, 0))),
            NodeData::Coordinate(coordinate) => (8, name::coordinate(coordinate)),
            NodeData::Random { site, strides, micro, origin, runs } => {
                let strides: Vec<i64> = strides.iter().map(|stride| i64::try_from(*stride).unwrap_or(i64::MAX)).collect();
                let origin: String = origin.iter().map(|coordinate| format!(", {}", name::coordinate(coordinate))).collect();
                let runs = runs.iter().map(|runs| format!(", runs {} {}", self.dim(runs.dim), name::coordinate(&runs.first)));
                let from = origin + &runs.collect::<String>();
                (8, format!("random({site:#x}, {}, micro {micro}{from})", view::strides(self.body.kernel, &strides)))
            }
        };
        if own < tightness { format!("({text})") } else { text }
    }

    fn dim(&self, dim: crate::kernel::Axis) -> String {
        self.body.kernel.dims.get(dim).map_or_else(|| format!("{dim}?"), |data| name::dim(&data.name))
    }

    fn load(&self, slot: Slot, gather: Option<&Gather>, moved: Option<&Move>) -> String {
        let operand = self.operand(slot);
        let mut inside = Vec::new();
        if let Some(Move { dim, by, wrap }) = moved {
            let sign = if *by < 0 { '-' } else { '+' };
            inside.push(format!("{} {sign} {}{}", self.dim(*dim), by.unsigned_abs(), if *wrap { " wrap" } else { "" }));
        }
        if let Some(Gather { index, stride, size }) = gather {
            let strides = self.body.kernel.operands.get(slot).map(|operand| &operand.strides);
            let implied = strides.and_then(|strides| self.body.kernel.span(strides)).and_then(|span| i64::try_from(span).ok());
            let by = if implied == Some(*stride) { String::new() } else { format!(" by {stride}") };
            inside.push(format!("{} in 0..{size}{by}", self.value(*index, false, 1)));
        }
        let read = self.body.kernel.operands.get(slot).is_some_and(|operand| operand.access == Access::Read);
        match (inside.is_empty(), read) {
            (false, _) => format!("{operand}[{}]", inside.join(", ")),
            (true, true) => operand,
            (true, false) => format!("load({operand})"),
        }
    }

    fn map(&self, op: Map, args: &[Node]) -> (u8, String) {
        let sign = name::spelling(op);
        let infix = |own: u8, left: u8, right: u8| match args {
            [a, b] => (own, format!("{} {sign} {}", self.value(*a, false, left), self.value(*b, false, right))),
            _ => self.function(op, args),
        };
        match op {
            Map::Or => infix(1, 1, 2),
            Map::And => infix(2, 2, 3),
            Map::Not => (3, format!("not {}", self.list(args, 3))),
            Map::Lt | Map::Le | Map::Eq | Map::Ne => infix(4, 5, 5),
            Map::Add | Map::Sub => infix(5, 5, 6),
            Map::Mul | Map::Div | Map::Rem => infix(6, 6, 7),
            Map::Neg => self.negated(args),
            Map::Pow | Map::Min | Map::Max | Map::Abs | Map::Sign | Map::Floor | Map::Exp | Map::Log => self.function(op, args),
            Map::Sin | Map::Cos | Map::Tanh | Map::Erf | Map::Sqrt | Map::Rsqrt => self.function(op, args),
            Map::Where | Map::Real | Map::Int | Map::RoundBf16 => self.function(op, args),
        }
    }

    /// `-x`; a literal is put in parentheses, for `-1.0` is a constant.
    fn negated(&self, args: &[Node]) -> (u8, String) {
        let shown = self.list(args, 8);
        let literal = shown.starts_with(|char: char| char.is_ascii_digit()) || shown == "inf";
        (7, if literal { format!("-({shown})") } else { format!("-{shown}") })
    }

    fn function(&self, op: Map, args: &[Node]) -> (u8, String) {
        (8, format!("{}({})", name::spelling(op), self.list(args, 0)))
    }

    fn list(&self, args: &[Node], tightness: u8) -> String {
        args.iter().map(|arg| self.value(*arg, false, tightness)).collect::<Vec<_>>().join(", ")
    }
}
