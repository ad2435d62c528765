//! Random kernels print and read back as themselves, and no text makes the reader, the verifier or the printer panic.

use crate::round_trip::PLANS;
use cranelift_entity::{EntityRef, PrimaryMap};
use meshwright_plan::kernel::{
    Access, Axis, Effect, Gather, KernelDim, Map, Move, Node, NodeData, Operand, Reduce, Role, Rows, Runs, Skeleton, Slot,
};
use meshwright_plan::mesh::Coordinate;
use meshwright_plan::{Element, KernelData, parse, print, proof, summary, verify};
use proptest::prelude::*;

const MAPS: [Map; 31] = [
    Map::Add,
    Map::Sub,
    Map::Mul,
    Map::Div,
    Map::Rem,
    Map::Pow,
    Map::Min,
    Map::Max,
    Map::Neg,
    Map::Abs,
    Map::Sign,
    Map::Floor,
    Map::Exp,
    Map::Log,
    Map::Sin,
    Map::Cos,
    Map::Tanh,
    Map::Erf,
    Map::Sqrt,
    Map::Rsqrt,
    Map::Lt,
    Map::Le,
    Map::Eq,
    Map::Ne,
    Map::And,
    Map::Or,
    Map::Not,
    Map::Where,
    Map::Real,
    Map::Int,
    Map::RoundBf16,
];

/// Names that the text has to take care of, too.
const NAMES: [&str; 12] = ["x", "sum", "read", "in", "a b", "p", "p2", "k3", "scratch", "e'", "µ\"\\", ""];
const DIMS: [&str; 5] = ["Batch", "Batch*Seq", "in", "my dim", "Seq'"];

/// Numbers that decide about a kernel, taken one after the other.
struct Dice<'a>(std::slice::Iter<'a, u32>);

impl Dice<'_> {
    fn below(&mut self, count: usize) -> usize {
        self.0.next().map_or(0, |number| *number as usize % count.max(1))
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 1
    }

    fn real(&mut self) -> f32 {
        let bits = self.0.next().copied().unwrap_or(0);
        let value = f32::from_bits(bits);
        if self.flip() || value.is_nan() { (bits % 17) as f32 - 8.0 } else { value }
    }
}

fn kernel(numbers: &[u32]) -> KernelData {
    let mut dice = Dice(numbers.iter());
    let mut dims = PrimaryMap::new();
    for name in &DIMS[..dice.below(DIMS.len() + 1)] {
        let role = [Role::Row, Role::Lane, Role::Member][dice.below(3)];
        let axes = axes(&mut dice);
        dims.push(KernelDim { name: (*name).to_owned(), size: 1 + dice.below(5) as u64, role, axes });
    }
    let mut operands = PrimaryMap::new();
    for name in &NAMES[..1 + dice.below(NAMES.len())] {
        operands.push(operand(name, dims.len(), &mut dice));
    }
    let rows = Rows { nodes: PrimaryMap::new(), effects: Vec::new(), folded: dice.below(3) as u32, blocks: dice.below(9) as u32 };
    let mut kernel = KernelData { name: NAMES[dice.below(NAMES.len())].to_owned(), dims, operands, skeleton: Skeleton::Rows(rows) };
    let (nodes, effects) = body(&kernel, &mut dice);
    if let Skeleton::Rows(rows) = &mut kernel.skeleton {
        (rows.nodes, rows.effects) = (nodes, effects);
    }
    kernel
}

fn operand(name: &str, dims: usize, dice: &mut Dice<'_>) -> Operand {
    let element = [Element::F32, Element::Bf16, Element::I32, Element::Bool][dice.below(4)];
    let access = [Access::Read, Access::Write, Access::Accumulate, Access::Scratch][dice.below(4)];
    let strides = (0..dims).map(|_| dice.below(7) as i64 - 1).collect();
    Operand { name: name.to_owned(), element, access, strides, extent: dice.below(100) as u64 }
}

fn body(kernel: &KernelData, dice: &mut Dice<'_>) -> (PrimaryMap<Node, NodeData>, Vec<Effect>) {
    let mut nodes = PrimaryMap::new();
    nodes.push(NodeData::Const(1.5));
    for _ in 0..dice.below(40) {
        let data = node(kernel, nodes.len(), dice);
        nodes.push(data);
    }
    let slots = kernel.operands.len();
    let mut effects = Vec::new();
    for _ in 0..dice.below(5) {
        let (slot, value) = (Slot::new(dice.below(slots)), Node::new(nodes.len() - 1 - dice.below(nodes.len().min(6))));
        let partials = if dice.flip() { Some(Slot::new(dice.below(slots))) } else { None };
        let fold = Effect::Fold { slot, partials, op: reduce(dice), value };
        effects.push(if dice.flip() { Effect::Store { slot, value } } else { fold });
    }
    (nodes, effects)
}

fn reduce(dice: &mut Dice<'_>) -> Reduce {
    [Reduce::Sum, Reduce::Max, Reduce::Min, Reduce::Argmax][dice.below(4)]
}

fn node(kernel: &KernelData, before: usize, dice: &mut Dice<'_>) -> NodeData {
    let any = |dice: &mut Dice<'_>| Node::new(before - 1 - dice.below(before.min(8)));
    let dims = kernel.dims.len();
    match dice.below(if dims == 0 { 8 } else { 10 }) {
        0 => NodeData::Const(dice.real()),
        1 => NodeData::Integer(dice.0.next().copied().unwrap_or(0) as i32),
        2 => NodeData::Scalar(NAMES[dice.below(NAMES.len())].to_owned()),
        3 => NodeData::Reduce { op: reduce(dice), arg: any(dice) },
        4 => NodeData::Scan { arg: any(dice) },
        5 => {
            NodeData::Load { slot: Slot::new(dice.below(kernel.operands.len())), gather: gather(any(dice), dice), moved: moved(dims, dice) }
        }
        6 => {
            let op = MAPS[dice.below(MAPS.len())];
            NodeData::Map { op, args: (0..op.arity()).map(|_| any(dice)).collect() }
        }
        7 => NodeData::Coordinate(coordinate(dice)),
        8 => NodeData::Position { dim: Axis::new(dice.below(dims)), micro: dice.below(2) as u64 * 8 },
        _ => {
            let strides = (0..dims).map(|_| dice.below(9) as u64).collect();
            let origin = (0..dice.below(3)).map(|_| coordinate(dice)).collect();
            let runs = (0..dice.below(2)).map(|_| Runs { dim: Axis::new(dice.below(dims)), first: coordinate(dice) }).collect();
            let site = u64::from(dice.0.next().copied().unwrap_or(0)) << 30;
            NodeData::Random { site, strides, micro: dice.below(3) as u64, origin, runs }
        }
    }
}

fn coordinate(dice: &mut Dice<'_>) -> Coordinate {
    Coordinate { axes: axes(dice), times: dice.below(4) as u64, back: dice.below(3) as u64, second: dice.below(2) == 1 }
}

fn axes(dice: &mut Dice<'_>) -> Vec<String> {
    (0..dice.below(3)).map(|_| NAMES[dice.below(NAMES.len())].to_owned()).collect()
}

fn gather(index: Node, dice: &mut Dice<'_>) -> Option<Gather> {
    if dice.below(3) > 0 { None } else { Some(Gather { index, stride: dice.below(5) as i64 - 1, size: dice.below(9) as u64 }) }
}

fn moved(dims: usize, dice: &mut Dice<'_>) -> Option<Move> {
    let by = dice.below(5) as i64 - 2;
    if dims == 0 || dice.below(3) > 0 { None } else { Some(Move { dim: Axis::new(dice.below(dims)), by, wrap: dice.flip() }) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn kernels_read_back(numbers in prop::collection::vec(any::<u32>(), 20..400)) {
        let mut kernel = kernel(&numbers);
        kernel.canonical();
        let mut again = kernel.clone();
        again.canonical();
        prop_assert_eq!(&kernel, &again);
        let text = print::kernel(3, &kernel);
        let read = parse::kernel(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(&read, &kernel, "{}", text);
        prop_assert_eq!(print::kernel(3, &read), text);
    }

    #[test]
    fn no_text_is_fatal(plan in 0..PLANS.len(), edits in prop::collection::vec((any::<u32>(), any::<u32>(), 0..5usize), 1..8)) {
        let mut text: Vec<char> = PLANS[plan].1.chars().collect();
        for (at, with, kind) in edits {
            edit(&mut text, at as usize, with as usize, kind);
        }
        let text: String = text.into_iter().collect();
        if let Ok(plan) = parse::parse(&text) {
            let _ = verify::verify(&plan).and_then(|()| proof::prove(&plan));
            let _ = summary::summary(&plan).to_string();
            let printed = print::print(&plan);
            let again = parse::parse(&printed).map_err(|error| TestCaseError::fail(format!("{error}\n{printed}")))?;
            prop_assert_eq!(plan, again);
        }
    }
}

/// One change: a character, a piece taken out, doubled or moved, a number made huge.
fn edit(text: &mut Vec<char>, at: usize, with: usize, kind: usize) {
    let signs: Vec<char> = "0123456789 \n[](),;:=+-*/%$<>.\"\\#abkµ".chars().collect();
    let (at, length) = (at % text.len().max(1), with % 30);
    let end = (at + length).min(text.len());
    match kind {
        0 if at < text.len() => text[at] = signs[with % signs.len()],
        1 => drop(text.drain(at..end)),
        2 => drop(text.splice(at..at, text[at..end].to_vec())),
        3 => drop(text.splice(at..at, "18446744073709551615".chars())),
        _ => {
            let piece: Vec<char> = text.drain(at..end).collect();
            let to = with % (text.len() + 1);
            drop(text.splice(to..to, piece));
        }
    }
}
