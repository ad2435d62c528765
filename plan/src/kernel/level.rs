//! What kind of value each node of a `rows` kernel is: its level (uniform, per row, per lane) and its element type.
//!
//! Requires nothing: `levels` answers for any kernel, `types` says which node is wrong. Ensures that every device and the verifier agree.

use super::{Axis, KernelData, Map, Node, NodeData, Reduce, Role, Rows, Skeleton};
use crate::Element;
use cranelift_entity::PrimaryMap;
use std::fmt;

/// How often a value is computed. Ordered: a function of several values has the highest of their levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Once per launch.
    Uniform,
    /// Once per row.
    Row,
    /// Once per lane of a row.
    Lane,
}

/// A node whose arguments have types that its operation does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeError {
    /// Which node.
    pub node: Node,
    /// What is wrong, in words.
    pub message: String,
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.node, self.message)
    }
}

impl KernelData {
    /// The body, if this is a `rows` kernel.
    pub fn rows(&self) -> Option<&Rows> {
        match &self.skeleton {
            Skeleton::Rows(rows) => Some(rows),
            Skeleton::Contract { .. } | Skeleton::Attention(_) | Skeleton::AttentionGrad(_) => None,
            Skeleton::Segmented | Skeleton::Collective(_) => None,
        }
    }

    /// The first dim with role `Lane`.
    pub fn lane(&self) -> Option<Axis> {
        self.dims.iter().find(|(_, dim)| dim.role == Role::Lane).map(|(axis, _)| axis)
    }
}

impl Rows {
    /// The level of every node; `kernel` is the kernel that this is the body of.
    pub fn levels(&self, kernel: &KernelData) -> PrimaryMap<Node, Level> {
        let lane = kernel.lane();
        let mut levels = PrimaryMap::with_capacity(self.nodes.len());
        for data in self.nodes.values() {
            let level = level_of(data, kernel, lane, &levels);
            levels.push(level);
        }
        levels
    }

    /// The level of one node; use [`Rows::levels`] for many.
    pub fn level(&self, kernel: &KernelData, node: Node) -> Level {
        self.levels(kernel)[node]
    }

    /// The element type of every node, or the first node whose arguments do not fit. Also checks that arguments come before their users
    /// and that operands exist.
    pub fn types(&self, kernel: &KernelData) -> Result<PrimaryMap<Node, Element>, TypeError> {
        let mut types = PrimaryMap::with_capacity(self.nodes.len());
        for (node, data) in self.nodes.iter() {
            let element = type_of(data, kernel, &types).map_err(|message| TypeError { node, message })?;
            types.push(element);
        }
        Ok(types)
    }
}

impl NodeData {
    /// The nodes that this one is computed from, in order: arguments of a map, what is reduced or scanned, the index of a lookup.
    pub fn args(&self) -> Vec<Node> {
        match self {
            NodeData::Const(_) | NodeData::Integer(_) | NodeData::Scalar(_) => Vec::new(),
            NodeData::Position { .. } | NodeData::Coordinate(_) | NodeData::Random { .. } => Vec::new(),
            NodeData::Load { gather, .. } => gather.iter().map(|gather| gather.index).collect(),
            NodeData::Map { args, .. } => args.clone(),
            NodeData::Reduce { arg, .. } | NodeData::Scan { arg } => vec![*arg],
        }
    }

    /// Replaces every argument by what `map` says.
    pub fn map_args(&mut self, mut map: impl FnMut(Node) -> Node) {
        match self {
            NodeData::Const(_) | NodeData::Integer(_) | NodeData::Scalar(_) => {}
            NodeData::Position { .. } | NodeData::Coordinate(_) | NodeData::Random { .. } => {}
            NodeData::Load { gather, .. } => {
                if let Some(gather) = gather {
                    gather.index = map(gather.index);
                }
            }
            NodeData::Map { args, .. } => args.iter_mut().for_each(|arg| *arg = map(*arg)),
            NodeData::Reduce { arg, .. } | NodeData::Scan { arg } => *arg = map(*arg),
        }
    }
}

fn level_of(data: &NodeData, kernel: &KernelData, lane: Option<Axis>, levels: &PrimaryMap<Node, Level>) -> Level {
    let of = |node: Node| levels.get(node).copied().unwrap_or(Level::Uniform);
    let along_lane = |moves: bool| if moves { Level::Lane } else { Level::Row };
    match data {
        NodeData::Const(_) | NodeData::Integer(_) | NodeData::Scalar(_) | NodeData::Coordinate(_) => Level::Uniform,
        NodeData::Load { slot, gather, .. } => {
            let strides = kernel.operands.get(*slot).map_or(&[][..], |operand| &operand.strides);
            let moves = lane.is_some_and(|lane| strides.get(lane.as_u32() as usize).is_some_and(|stride| *stride != 0));
            along_lane(moves || gather.is_some_and(|gather| of(gather.index) == Level::Lane))
        }
        NodeData::Position { dim, .. } => along_lane(Some(*dim) == lane),
        NodeData::Random { strides, .. } => {
            along_lane(lane.is_some_and(|lane| strides.get(lane.as_u32() as usize).is_some_and(|stride| *stride != 0)))
        }
        NodeData::Map { args, .. } => args.iter().map(|arg| of(*arg)).max().unwrap_or(Level::Uniform),
        NodeData::Reduce { .. } => Level::Row,
        NodeData::Scan { .. } => Level::Lane,
    }
}

fn type_of(data: &NodeData, kernel: &KernelData, types: &PrimaryMap<Node, Element>) -> Result<Element, String> {
    let of = |node: Node| types.get(node).copied().ok_or_else(|| format!("argument {node} does not come before it"));
    match data {
        NodeData::Const(_) | NodeData::Scalar(_) | NodeData::Random { .. } => Ok(Element::F32),
        NodeData::Integer(_) | NodeData::Position { .. } | NodeData::Coordinate(_) => Ok(Element::I32),
        NodeData::Load { slot, gather, .. } => {
            if let Some(gather) = gather {
                expect("a lookup's index", of(gather.index)?, Element::I32)?;
            }
            let operand = kernel.operands.get(*slot).ok_or_else(|| format!("there is no operand {slot}"))?;
            Ok(operand.element.value())
        }
        NodeData::Map { op, args } => {
            let found = args.iter().map(|arg| of(*arg)).collect::<Result<Vec<_>, _>>()?;
            op.result(&found)
        }
        NodeData::Reduce { op, arg } => {
            expect("a reduction's argument", of(*arg)?, Element::F32)?;
            Ok(op.result())
        }
        NodeData::Scan { arg } => {
            expect("a scan's argument", of(*arg)?, Element::F32)?;
            Ok(Element::F32)
        }
    }
}

fn expect(what: &str, found: Element, wanted: Element) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what} is {found}, not {wanted}")) }
}

impl Reduce {
    /// The type of the result; arguments are f32.
    pub fn result(self) -> Element {
        match self {
            Reduce::Sum | Reduce::Max | Reduce::Min => Element::F32,
            Reduce::Argmax => Element::I32,
        }
    }
}

impl Map {
    /// How many arguments it takes.
    pub fn arity(self) -> usize {
        match self {
            Map::Add | Map::Sub | Map::Mul | Map::Div | Map::Rem | Map::Pow | Map::Min | Map::Max => 2,
            Map::Lt | Map::Le | Map::Eq | Map::Ne | Map::And | Map::Or => 2,
            Map::Neg | Map::Abs | Map::Sign | Map::Floor | Map::Exp | Map::Log | Map::Sin | Map::Cos | Map::Tanh => 1,
            Map::Erf | Map::Sqrt | Map::Rsqrt | Map::Not | Map::Real | Map::Int | Map::RoundBf16 => 1,
            Map::Where => 3,
        }
    }

    /// The type of the result for arguments of these types, or what is wrong with them.
    pub fn result(self, args: &[Element]) -> Result<Element, String> {
        if args.len() != self.arity() {
            return Err(format!("{self:?} takes {} arguments, not {}", self.arity(), args.len()));
        }
        let number = |element: &Element| matches!(element, Element::F32 | Element::I32);
        let same = args.windows(2).all(|pair| pair[0] == pair[1]);
        let (fits, result) = match self {
            Map::Add | Map::Sub | Map::Mul | Map::Div | Map::Min | Map::Max => (same && args.iter().all(number), args[0]),
            Map::Neg | Map::Abs | Map::Sign => (number(&args[0]), args[0]),
            Map::Rem => (args == [Element::I32; 2], Element::I32),
            Map::Pow => (args == [Element::F32; 2], Element::F32),
            Map::Floor | Map::Exp | Map::Log | Map::Sin | Map::Cos | Map::Tanh => (args == [Element::F32], Element::F32),
            Map::Erf | Map::Sqrt | Map::Rsqrt | Map::RoundBf16 => (args == [Element::F32], Element::F32),
            Map::Lt | Map::Le | Map::Eq | Map::Ne => (same && args.iter().all(number), Element::Bool),
            Map::And | Map::Or | Map::Not => (args.iter().all(|arg| *arg == Element::Bool), Element::Bool),
            Map::Where => (args[0] == Element::Bool && args[1] == args[2], args[1]),
            Map::Real => (args[0] != Element::F32, Element::F32),
            Map::Int => (args == [Element::F32], Element::I32),
        };
        let shown = || args.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if fits { Ok(result) } else { Err(format!("{self:?} does not take ({})", shown())) }
    }
}
