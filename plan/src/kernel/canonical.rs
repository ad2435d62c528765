//! The canonical form of a `rows` kernel, and its body as a list of statements: what the text shows, in the order in which it shows it.
//!
//! Requires that arguments come before their users (else the kernel is left as it is). Ensures that equal nodes are one node, that every
//! node is used, that nodes are numbered in the order in which the text meets them, and that doing it twice changes nothing.

use super::{Access, Axis, Effect, KernelData, Level, Map, Node, NodeData, Reduce, Rows, Skeleton, Slot};
use crate::mesh::Coordinate;
use cranelift_entity::{EntityRef, PrimaryMap, SecondaryMap};
use std::collections::BTreeMap;

/// An expression with more nodes than this gets a name, so that lines stay short.
const LONG: u32 = 12;

/// A line of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    /// Names a value that is used more than once, changes level, or is long.
    Let(Node),
    /// Writes: index into `Rows::effects`.
    Effect(usize),
}

impl KernelData {
    /// Brings the kernel into canonical form. Kernels that do the same on the same operands in the same way are then equal but for `name`.
    pub fn canonical(&mut self) {
        let Skeleton::Rows(rows) = &self.skeleton else { return };
        if !rows.is_ordered() {
            return;
        }
        let shared = rows.merged();
        self.skeleton = Skeleton::Rows(shared);
        let Skeleton::Rows(rows) = &self.skeleton else { return };
        let order = numbering(&Body::new(self, rows));
        let sorted = rows.renumbered(&order);
        self.skeleton = Skeleton::Rows(sorted);
    }
}

impl Rows {
    /// Arguments come before their users and effects name nodes that exist.
    pub(crate) fn is_ordered(&self) -> bool {
        let before = self.nodes.iter().all(|(node, data)| data.args().iter().all(|arg| arg.index() < node.index()));
        before && self.effects.iter().all(|effect| self.nodes.is_valid(effect.value()))
    }

    /// Equal nodes as one.
    fn merged(&self) -> Rows {
        let mut seen: BTreeMap<Key, Node> = BTreeMap::new();
        let mut nodes = PrimaryMap::new();
        let mut now: SecondaryMap<Node, Node> = SecondaryMap::with_default(Node::from_u32(0));
        for (node, data) in self.nodes.iter() {
            let mut data = data.clone();
            data.map_args(|arg| now[arg]);
            now[node] = *seen.entry(key(&data)).or_insert_with(|| nodes.push(data));
        }
        self.with(nodes, |node| now[node])
    }

    /// The nodes of `order`, in that order; all others must be unused.
    fn renumbered(&self, order: &[Node]) -> Rows {
        let mut now: SecondaryMap<Node, Node> = SecondaryMap::with_default(Node::from_u32(0));
        let mut nodes = PrimaryMap::new();
        for node in order {
            let mut data = self.nodes[*node].clone();
            data.map_args(|arg| now[arg]);
            now[*node] = nodes.push(data);
        }
        self.with(nodes, |node| now[node])
    }

    fn with(&self, nodes: PrimaryMap<Node, NodeData>, now: impl Fn(Node) -> Node) -> Rows {
        let mut effects = self.effects.clone();
        for effect in &mut effects {
            match effect {
                Effect::Store { value, .. } | Effect::Fold { value, .. } => *value = now(*value),
            }
        }
        Rows { nodes, effects, folded: self.folded, blocks: self.blocks }
    }
}

impl Effect {
    /// What is written.
    pub fn value(&self) -> Node {
        match self {
            Effect::Store { value, .. } | Effect::Fold { value, .. } => *value,
        }
    }

    /// Where it is written.
    pub fn slot(&self) -> Slot {
        match self {
            Effect::Store { slot, .. } | Effect::Fold { slot, .. } => *slot,
        }
    }
}

/// A body with what is needed to cut it into statements.
pub(crate) struct Body<'a> {
    pub(crate) kernel: &'a KernelData,
    pub(crate) rows: &'a Rows,
    /// Nodes that stand in a statement of their own.
    pub(crate) named: SecondaryMap<Node, bool>,
}

impl<'a> Body<'a> {
    /// Decides which nodes get a statement of their own. `rows` must be ordered.
    pub(crate) fn new(kernel: &'a KernelData, rows: &'a Rows) -> Self {
        let (uses, crosses) = uses(kernel, rows);
        let mut named = SecondaryMap::with_default(false);
        let mut weight: SecondaryMap<Node, u32> = SecondaryMap::with_default(0);
        for (node, data) in rows.nodes.iter() {
            let inner: u32 = data.args().iter().map(|arg| if named[*arg] { 1 } else { weight[*arg] }).sum();
            weight[node] = 1 + inner;
            named[node] = !is_leaf(data) && (uses[node] > 1 || crosses[node] || weight[node] > LONG);
        }
        Body { kernel, rows, named }
    }

    /// The first store into an operand that is only written: its value can afterwards be called by the operand's name.
    pub(crate) fn names_value(&self, index: usize) -> bool {
        let Effect::Store { slot, .. } = &self.rows.effects[index] else { return false };
        let stored = |effect: &Effect| matches!(effect, Effect::Store { slot: other, .. } if other == slot);
        let written = self.kernel.operands.get(*slot).is_some_and(|operand| operand.access == Access::Write);
        written && !self.rows.effects[..index].iter().any(stored)
    }

    /// The lines of the body.
    pub(crate) fn statements(&self) -> Vec<Statement> {
        let mut seen: SecondaryMap<Node, bool> = SecondaryMap::with_default(false);
        let mut statements = Vec::new();
        for (index, effect) in self.rows.effects.iter().enumerate() {
            for node in post_order(self.rows, effect.value(), &mut seen) {
                if self.named[node] && !(node == effect.value() && self.names_value(index)) {
                    statements.push(Statement::Let(node));
                }
            }
            statements.push(Statement::Effect(index));
        }
        statements
    }
}

/// How often each live node is used, and whether a row's value is used by a lane's.
fn uses(kernel: &KernelData, rows: &Rows) -> (SecondaryMap<Node, u32>, SecondaryMap<Node, bool>) {
    let levels = rows.levels(kernel);
    let mut uses: SecondaryMap<Node, u32> = SecondaryMap::with_default(0);
    let mut crosses = SecondaryMap::with_default(false);
    for effect in &rows.effects {
        uses[effect.value()] += 1;
    }
    for (node, data) in rows.nodes.iter().rev() {
        if uses[node] == 0 {
            continue;
        }
        for arg in data.args() {
            uses[arg] += 1;
            crosses[arg] |= levels[arg] < Level::Lane && levels[node] == Level::Lane;
        }
    }
    (uses, crosses)
}

/// Values that are as short as a name.
fn is_leaf(data: &NodeData) -> bool {
    match data {
        NodeData::Const(_) | NodeData::Integer(_) | NodeData::Scalar(_) => true,
        NodeData::Load { gather, moved, .. } => gather.is_none() && moved.is_none(),
        NodeData::Position { micro, .. } => *micro == 0,
        NodeData::Coordinate(coordinate) => {
            (coordinate.times, coordinate.back, coordinate.second, coordinate.axes.len()) == (1, 0, false, 1)
        }
        NodeData::Map { .. } | NodeData::Reduce { .. } | NodeData::Scan { .. } | NodeData::Random { .. } => false,
    }
}

/// The nodes below `root` that were not seen before, arguments first.
fn post_order(rows: &Rows, root: Node, seen: &mut SecondaryMap<Node, bool>) -> Vec<Node> {
    let mut order = Vec::new();
    let mut stack = vec![(root, false)];
    while let Some((node, done)) = stack.pop() {
        if done {
            order.push(node);
        } else if !seen[node] {
            seen[node] = true;
            stack.push((node, true));
            stack.extend(rows.nodes[node].args().iter().rev().filter(|arg| !seen[**arg]).map(|arg| (*arg, false)));
        }
    }
    order
}

/// The order in which the text meets the nodes: statement by statement, arguments first.
fn numbering(body: &Body<'_>) -> Vec<Node> {
    let mut placed: SecondaryMap<Node, bool> = SecondaryMap::with_default(false);
    let mut order = Vec::new();
    for statement in body.statements() {
        let root = match statement {
            Statement::Let(node) => node,
            Statement::Effect(index) => body.rows.effects[index].value(),
        };
        order.extend(post_order(body.rows, root, &mut placed));
    }
    order
}

/// A node as something that can be ordered: a tag, numbers and a name.
type Key = (u8, Vec<u64>, String);

fn key(data: &NodeData) -> Key {
    let plain = |tag, numbers| (tag, numbers, String::new());
    match data {
        NodeData::Const(value) => plain(0, vec![u64::from(value.to_bits())]),
        NodeData::Integer(value) => plain(1, vec![*value as u64]),
        NodeData::Scalar(name) => (2, Vec::new(), name.clone()),
        NodeData::Load { slot, gather, moved } => {
            let mut numbers = vec![u64::from(slot.as_u32())];
            if let Some(gather) = gather {
                numbers.extend([0, u64::from(gather.index.as_u32()), gather.stride as u64, gather.size]);
            }
            if let Some(moved) = moved {
                numbers.extend([1, axis(moved.dim), moved.by as u64, u64::from(moved.wrap)]);
            }
            plain(3, numbers)
        }
        NodeData::Position { dim, micro } => plain(4, vec![axis(*dim), *micro]),
        NodeData::Map { op, args } => plain(5, [map(*op)].into_iter().chain(args.iter().map(|arg| u64::from(arg.as_u32()))).collect()),
        NodeData::Reduce { op, arg } => plain(6, vec![reduce(*op), u64::from(arg.as_u32())]),
        NodeData::Scan { arg } => plain(7, vec![u64::from(arg.as_u32())]),
        NodeData::Random { site, strides, micro, origin, runs } => {
            let (numbers, names): (Vec<[u64; 3]>, Vec<&[String]>) =
                origin.iter().chain(runs.iter().map(|runs| &runs.first)).map(coordinate).unzip();
            let dims = runs.iter().map(|runs| axis(runs.dim));
            let numbers = numbers.into_iter().flatten().chain(dims);
            let numbers = [*site, *micro].into_iter().chain(strides.iter().copied()).chain(numbers);
            (8, numbers.collect(), format!("{names:?}"))
        }
        NodeData::Coordinate(own) => {
            let (numbers, names) = coordinate(own);
            (9, numbers.to_vec(), format!("{names:?}"))
        }
    }
}

fn coordinate(coordinate: &Coordinate) -> ([u64; 3], &[String]) {
    ([coordinate.times, coordinate.back, u64::from(coordinate.second)], &coordinate.axes)
}

fn axis(axis: Axis) -> u64 {
    u64::from(axis.as_u32())
}

fn map(op: Map) -> u64 {
    op as u64
}

fn reduce(op: Reduce) -> u64 {
    op as u64
}
