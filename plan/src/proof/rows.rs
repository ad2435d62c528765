//! Bodies of `rows` kernels: which values are partial, and which differ between ranks without a dim that says so.

use super::contents::{Contents, Partial, Set};
use super::transfer::{Fault, Launch, Left};
use crate::Element;
use crate::kernel::{Effect, Gather, Level, Map, Node, NodeData, Reduce, Role, Rows, Slot};
use crate::mesh::Coordinate;
use crate::verify::Rule;
use cranelift_entity::PrimaryMap;

/// What is known of a node's value.
#[derive(Clone, Copy, Debug, Default)]
struct Value {
    partial: Partial,
    /// Axes that cut dims along which it runs.
    varies: Set,
    /// Axes along which it differs because it was made from the rank's number, not because a dim is cut.
    own: Set,
    /// Those of them along which it may say which rank this is, as a mask does: not what was looked up by such a number, which is the table's.
    says: Set,
    /// The constant 0.
    zero: bool,
}

/// What the body leaves in its operands.
pub(super) fn rows(launch: &Launch<'_>, rows: &Rows) -> Result<Left, Fault> {
    let mut typing = Typing::new(launch, rows);
    for (node, data) in rows.nodes.iter() {
        let value = typing.node(node, data)?;
        typing.values.push(value);
    }
    let moved = launch.moved(&launch.reads())?;
    rows.effects
        .iter()
        .map(|effect| {
            let (slot, value) = typing.effect(effect)?;
            let (slot, mut left) = launch.left(slot, value.partial, moved.clone())?;
            left.most = left.most.with(value.own.without(left.least));
            Ok((slot, left))
        })
        .collect()
}

struct Typing<'a> {
    launch: &'a Launch<'a>,
    rows: &'a Rows,
    levels: PrimaryMap<Node, Level>,
    held: Vec<Contents>,
    values: PrimaryMap<Node, Value>,
    /// Axes that cut the rows, and the lanes.
    cut: [Set; 2],
}

impl<'a> Typing<'a> {
    fn new(launch: &'a Launch<'a>, rows: &'a Rows) -> Self {
        let held = launch.kernel.operands.keys().map(|slot| launch.held(slot)).collect();
        let cut = [launch.roles(&[Role::Row]), launch.roles(&[Role::Lane])];
        Typing { launch, rows, levels: rows.levels(launch.kernel), held, values: PrimaryMap::new(), cut }
    }

    /// Axes that cut the points at which a node of this level is computed.
    fn points(&self, level: Level) -> Set {
        match level {
            Level::Uniform => Set::NONE,
            Level::Row => self.cut[0],
            Level::Lane => self.cut[0].with(self.cut[1]),
        }
    }

    fn fault(&self, node: Node, message: &str) -> Fault {
        Fault::new(Rule::Partial, format!("{} in {} {message}", node, self.launch.kernel.name))
    }

    fn node(&self, node: Node, data: &NodeData) -> Result<Value, Fault> {
        match data {
            NodeData::Const(value) => Ok(Value { zero: *value == 0.0, ..Value::default() }),
            NodeData::Integer(value) => Ok(Value { zero: *value == 0, ..Value::default() }),
            NodeData::Scalar(_) => Ok(Value::default()),
            NodeData::Coordinate(own) => Ok(Value { own: self.axes(own), says: self.axes(own), ..Value::default() }),
            NodeData::Load { slot, gather, .. } => self.load(*slot, *gather, node),
            NodeData::Position { dim, .. } => Ok(Value { varies: self.dim(*dim), ..Value::default() }),
            NodeData::Map { op, args } => {
                let args: Vec<Value> = args.iter().map(|arg| self.values[*arg]).collect();
                self.map(node, *op, &args)
            }
            NodeData::Reduce { op, arg } => self.reduced(node, *op, self.values[*arg], self.cut[1]),
            NodeData::Scan { arg } => self.scanned(node, self.values[*arg]),
            NodeData::Random { strides, origin, runs, .. } => {
                self.random(node, strides, origin.iter().chain(runs.iter().map(|runs| &runs.first)))
            }
        }
    }

    fn axes(&self, own: &Coordinate) -> Set {
        Set::of(self.launch.mesh, &own.axes)
    }

    fn dim(&self, dim: crate::kernel::Axis) -> Set {
        Set::of(self.launch.mesh, &self.launch.kernel.dims[dim].axes)
    }

    fn load(&self, slot: Slot, gather: Option<Gather>, node: Node) -> Result<Value, Fault> {
        let (held, cut) = (&self.held[slot.as_u32() as usize], self.launch.cut(slot));
        // numbers that are no values (positions, choices) may be made from the rank's own
        let number = self.launch.kernel.operands[slot].element.value() != Element::F32 && held.most != Set::ALL;
        let made = if number { held.most.without(cut) } else { Set::NONE };
        let Some(gather) = gather else { return Ok(Value { partial: held.partial, varies: cut, own: made, says: made, zero: held.zero }) };
        let index = self.values[gather.index];
        if !index.partial.is_whole() {
            return Err(self.fault(node, "is looked up by a partial index"));
        }
        // a part of a table answers only for its own entries
        let own = index.own.with(held.least.without(cut)).with(made);
        Ok(Value { partial: held.partial, varies: cut.with(index.varies), own, says: made, zero: held.zero })
    }

    fn map(&self, node: Node, op: Map, args: &[Value]) -> Result<Value, Fault> {
        let union = |pick: fn(&Value) -> Set| args.iter().fold(Set::NONE, |set, arg| set.with(pick(arg)));
        let plain = Value { varies: union(|arg| arg.varies), own: union(|arg| arg.own), says: union(|arg| arg.says), ..Value::default() };
        match (op, args) {
            (Map::Add | Map::Sub, [a, b]) => self.equal(node, *a, *b, plain),
            (Map::Mul, [a, b]) => self.product(node, *a, *b, plain),
            (Map::Div, [a, b]) if b.partial.is_whole() => self.product(node, *a, *b, plain),
            (Map::Neg | Map::RoundBf16, [a]) => self.linear(node, *a, plain),
            (Map::Where, [condition, a, b]) => self.chosen(node, *condition, *a, *b, plain),
            _ if args.iter().all(|arg| arg.partial.is_whole()) => Ok(plain),
            _ => Err(self.fault(node, &format!("takes a partial value, and {op:?} is not linear").to_lowercase())),
        }
    }

    fn linear(&self, node: Node, value: Value, plain: Value) -> Result<Value, Fault> {
        if value.partial.max.with(value.partial.min) != Set::NONE {
            return Err(self.fault(node, "scales a partial maximum"));
        }
        Ok(Value { partial: value.partial, zero: value.zero, ..plain })
    }

    /// Terms of a sum are equally partial.
    fn equal(&self, node: Node, a: Value, b: Value, plain: Value) -> Result<Value, Fault> {
        if a.partial != b.partial && !a.zero && !b.zero {
            let [a, b] = [a, b].map(|value| self.launch.show(value.partial.all()));
            return Err(self.fault(node, &format!("adds values that are partial over {a} and over {b}")));
        }
        let partial = if a.zero { b.partial } else { a.partial };
        self.linear(node, Value { partial, ..Value::default() }, Value { zero: a.zero && b.zero, ..plain })
            .map(|value| Value { zero: a.zero && b.zero, ..value })
    }

    /// A partial value times what is the same on all ranks that it is summed over.
    fn product(&self, node: Node, a: Value, b: Value, plain: Value) -> Result<Value, Fault> {
        for (value, factor) in [(a, b), (b, a)] {
            let differs = factor.varies.with(factor.own).with(factor.partial.all());
            if !value.partial.is_whole() && (value.partial.all().meets(differs) || !factor.partial.is_whole()) {
                let over = self.launch.show(value.partial.all());
                return Err(self.fault(node, &format!("is partial over {over} times what is not the same along it")));
            }
        }
        let partial = if a.partial.is_whole() { b.partial } else { a.partial };
        self.linear(node, Value { partial, zero: a.zero || b.zero, ..Value::default() }, plain)
    }

    /// One of two; a value that only some ranks let through is a part of a sum.
    fn chosen(&self, node: Node, condition: Value, a: Value, b: Value, plain: Value) -> Result<Value, Fault> {
        let (value, masked) = if a.zero { (b, true) } else { (a, b.zero) };
        let mixed = !masked && a.partial != b.partial;
        if mixed || !condition.partial.is_whole() || value.partial.all().meets(condition.varies.with(condition.own)) {
            return Err(self.fault(node, "chooses between values that are not equally partial, or by what differs between their parts"));
        }
        let selects = condition.says.without(self.points(self.levels[node]));
        if !masked || selects.is_empty() {
            return Ok(Value { partial: value.partial, zero: a.zero && b.zero, ..plain });
        }
        Ok(Value {
            partial: value.partial.with(Reduce::Sum, selects),
            own: plain.own.without(selects),
            says: plain.says.without(selects),
            ..plain
        })
    }

    /// A reduction over points that these axes cut.
    fn reduced(&self, node: Node, op: Reduce, value: Value, cut: Set) -> Result<Value, Fault> {
        let same = value.partial.of(op) == value.partial.all();
        if !same || value.partial.all().meets(cut) || (op == Reduce::Argmax && !cut.is_empty()) {
            return Err(
                self.fault(node, &format!("takes the {op:?} over {} of values that are partial", self.launch.show(cut)).to_lowercase())
            );
        }
        let partial = value.partial.with(op, cut);
        Ok(Value { partial, varies: value.varies.without(cut), own: value.own.without(cut), says: value.says.without(cut), zero: false })
    }

    fn scanned(&self, node: Node, value: Value) -> Result<Value, Fault> {
        if self.cut[1].is_empty() && value.partial.is_whole() {
            return Ok(value);
        }
        Err(self.fault(node, "is a running sum over lanes that are cut"))
    }

    /// Ranks that hold different elements draw different numbers.
    fn random<'c>(&self, node: Node, strides: &[u64], mut origin: impl Iterator<Item = &'c Coordinate>) -> Result<Value, Fault> {
        let dims = self.launch.kernel.dims.values().zip(strides).filter(|(_, stride)| **stride != 0);
        let cut = dims.fold(Set::NONE, |set, (dim, _)| set.with(Set::of(self.launch.mesh, &dim.axes)));
        let counted = origin.by_ref().fold(Set::NONE, |set, own| set.with(self.axes(own)));
        if cut != counted {
            let message =
                format!("{node} draws for dims cut along {}, but counts on along {}", self.launch.show(cut), self.launch.show(counted));
            return Err(Fault::new(Rule::Placement, message));
        }
        Ok(Value { varies: cut, ..Value::default() })
    }

    fn effect(&self, effect: &Effect) -> Result<(Slot, Value), Fault> {
        let (slot, node) = (effect.slot(), effect.value());
        let value = match effect {
            Effect::Store { .. } => self.values[node],
            Effect::Fold { op, .. } => self.reduced(node, *op, self.values[node], self.folded())?,
        };
        let own = value.own.without(self.points(self.levels[node]));
        if self.launch.kernel.operands[slot].element.value() == Element::F32 && !own.is_empty() {
            let message = format!("is another on every rank along {}, and no dim is cut along it", self.launch.show(own));
            return Err(self.launch.fault(Rule::Placement, slot, &message));
        }
        Ok((slot, Value { own, ..value }))
    }

    fn folded(&self) -> Set {
        let rows = self.launch.kernel.dims.values().rev().filter(|dim| dim.role == Role::Row);
        rows.take(self.rows.folded as usize).fold(Set::NONE, |set, dim| set.with(Set::of(self.launch.mesh, &dim.axes)))
    }
}
