//! Builds small kernels and their inputs, runs them as machine code and compares every written bit with the plain evaluation.

use super::plain::{Given, Scalar, evaluate};
use crate::device::cpu::rows::jit::Code;
use crate::device::cpu::rows::{Defined, Names};
use crate::device::cpu::{Launch, Scratch};
use crate::pool::Pool;
use cranelift_entity::{EntityRef, PrimaryMap};
use meshwright_plan::Element;
use meshwright_plan::kernel::{
    Access, Axis, Effect, Gather, KernelData, KernelDim, Map, Move, Node, NodeData, Operand, Reduce, Role, Rows, Skeleton, Slot,
};
use meshwright_plan::mesh::Coordinate;

/// The coordinates that launches of the tests bring, with their values: one needs more than 32 bits, the last two are the runs of one part.
pub(super) fn coordinates() -> Vec<(Coordinate, u64)> {
    let along = |axis: &str, times, value| (Coordinate { axes: vec![axis.into()], times, back: 0, second: false }, value);
    let second = |(first, _): (Coordinate, u64), value| (Coordinate { second: true, ..first }, value);
    let first = along("ring", 100, 200);
    vec![along("data", 3, 12), along("tensor", 1 << 33, 5 << 33), first.clone(), second(first, 700)]
}

/// A kernel under construction.
pub(super) struct Maker {
    dims: PrimaryMap<Axis, KernelDim>,
    operands: PrimaryMap<Slot, Operand>,
    nodes: PrimaryMap<Node, NodeData>,
    effects: Vec<Effect>,
    folded: u32,
    blocks: u32,
    /// For i32 operands, the values are below this.
    bounds: Vec<i32>,
    /// Pairs of a read and a written operand that are the same memory.
    same: Vec<(Slot, Slot)>,
}

impl Maker {
    /// Row dims of these sizes, outermost first, and a lane dim if its size is not 0.
    pub(super) fn new(rows: &[u64], lanes: u64) -> Maker {
        let mut dims = PrimaryMap::new();
        for (index, size) in rows.iter().enumerate() {
            dims.push(KernelDim { name: format!("R{index}"), size: *size, role: Role::Row, axes: Vec::new() });
        }
        if lanes > 0 {
            dims.push(KernelDim { name: "L".into(), size: lanes, role: Role::Lane, axes: Vec::new() });
        }
        let (operands, nodes) = (PrimaryMap::new(), PrimaryMap::new());
        Maker { dims, operands, nodes, effects: Vec::new(), folded: 0, blocks: 1, bounds: Vec::new(), same: Vec::new() }
    }

    /// An operand with these strides, as large as they need plus `more` elements.
    pub(super) fn operand(&mut self, element: Element, access: Access, strides: &[i64], more: u64) -> Slot {
        let last: i64 = self.dims.values().zip(strides).map(|(dim, stride)| (dim.size as i64 - 1) * stride).sum();
        let name = format!("o{}", self.operands.len());
        self.bounds.push(1000);
        self.operands.push(Operand { name, element, access, strides: strides.to_vec(), extent: last as u64 + 1 + more })
    }

    /// An f32 operand, dense over all dims in order.
    pub(super) fn dense(&mut self, access: Access) -> Slot {
        let strides = self.strides();
        self.operand(Element::F32, access, &strides, 0)
    }

    /// Dense row-major strides over all dims.
    pub(super) fn strides(&self) -> Vec<i64> {
        let sizes: Vec<i64> = self.dims.values().map(|dim| dim.size as i64).collect();
        (0..sizes.len()).map(|at| sizes[at + 1..].iter().product()).collect()
    }

    pub(super) fn bound(&mut self, slot: Slot, bound: i32) {
        self.bounds[slot.index()] = bound;
    }

    pub(super) fn node(&mut self, data: NodeData) -> Node {
        self.nodes.push(data)
    }

    pub(super) fn load(&mut self, slot: Slot) -> Node {
        self.node(NodeData::Load { slot, gather: None, moved: None })
    }

    pub(super) fn lookup(&mut self, slot: Slot, index: Node, stride: i64, size: u64) -> Node {
        self.node(NodeData::Load { slot, gather: Some(Gather { index, stride, size }), moved: None })
    }

    pub(super) fn moved(&mut self, slot: Slot, dim: usize, by: i64, wrap: bool) -> Node {
        self.node(NodeData::Load { slot, gather: None, moved: Some(Move { dim: Axis::new(dim), by, wrap }) })
    }

    pub(super) fn real(&mut self, value: f32) -> Node {
        self.node(NodeData::Const(value))
    }

    pub(super) fn map(&mut self, op: Map, args: &[Node]) -> Node {
        self.node(NodeData::Map { op, args: args.to_vec() })
    }

    pub(super) fn reduce(&mut self, op: Reduce, arg: Node) -> Node {
        self.node(NodeData::Reduce { op, arg })
    }

    pub(super) fn store(&mut self, slot: Slot, value: Node) {
        self.effects.push(Effect::Store { slot, value });
    }

    pub(super) fn fold(&mut self, folded: u32, blocks: u32, slot: Slot, partials: Option<Slot>, op: Reduce, value: Node) {
        (self.folded, self.blocks) = (folded, blocks);
        self.effects.push(Effect::Fold { slot, partials, op, value });
    }

    /// Lets a read and a written operand be the same memory.
    pub(super) fn same_place(&mut self, read: Slot, written: Slot) {
        self.same.push((read, written));
    }

    /// Ends the kernel and checks it on several numbers of threads, written and added to.
    pub(super) fn check(self) {
        let Maker { dims, operands, nodes, effects, folded, blocks, bounds, same } = self;
        let rows = Rows { nodes, effects, folded, blocks };
        let kernel = KernelData { name: "test".into(), dims, operands, skeleton: Skeleton::Rows(rows) };
        for accumulate in [false, true] {
            check(&kernel, &bounds, &same, accumulate);
        }
    }
}

/// Values with a wide spread, from a fixed sequence.
fn values(element: Element, count: usize, seed: u32, bound: i32) -> Vec<Scalar> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    let mut one = || match element {
        Element::F32 | Element::Bf16 => Scalar::F((next() as f32 / 8_388_608.0 - 1.0) * 3.0),
        Element::I32 => Scalar::I(next() as i32 % bound),
        Element::Bool => Scalar::B(next() % 3 == 0),
    };
    (0..count).map(|_| one()).collect()
}

fn bytes(values: &[Scalar]) -> Vec<u8> {
    let one = |value: &Scalar| match value {
        Scalar::F(x) => x.to_bits().to_le_bytes().to_vec(),
        Scalar::I(x) => x.to_le_bytes().to_vec(),
        Scalar::B(x) => vec![u8::from(*x)],
    };
    values.iter().flat_map(one).collect()
}

fn check(kernel: &KernelData, bounds: &[i32], same: &[(Slot, Slot)], accumulate: bool) {
    let scalars = vec![("rate".to_string(), 0.125f32), ("beta".to_string(), 0.75)];
    let operands = kernel
        .operands
        .iter()
        .map(|(slot, operand)| values(operand.element, operand.extent as usize, slot.index() as u32 + 7, bounds[slot.index()]));
    let given =
        Given { operands: operands.collect(), accumulate, scalars, seed: 5, step: 3, iteration: 2, micro: 4, coordinates: coordinates() };
    let want = evaluate(kernel, &given);
    // With no cache at all, every result is written past it.
    for (threads, cache) in [(1, 0), (2, 1 << 30), (3, 0)] {
        let got = run(kernel, &given, same, threads, cache);
        for (slot, operand) in kernel.operands.iter() {
            if matches!(operand.access, Access::Scratch) || same.iter().any(|(read, _)| *read == slot) {
                continue;
            }
            for (at, want) in want[slot.index()].iter().enumerate() {
                let size = operand.element.bytes() as usize;
                let found = &got[slot.index()][at * size..(at + 1) * size];
                let nan = |bytes: &[u8]| operand.element == Element::F32 && f32::from_le_bytes(bytes.try_into().expect("4 bytes")).is_nan();
                let expected = bytes(&[*want]);
                let same = found == expected || (nan(found) && nan(&expected));
                assert!(same, "{threads} threads, accumulate {accumulate}: operand {slot} at {at}: {found:?}, not {want:?} {expected:?}");
            }
        }
    }
}

/// Runs the kernel as machine code; gives the bytes of all operands.
fn run(kernel: &KernelData, given: &Given, same: &[(Slot, Slot)], threads: usize, cache: u64) -> Vec<Vec<u8>> {
    let mut code = Code::new().expect("memory for code");
    let names: Vec<String> = given.scalars.iter().map(|(name, _)| name.clone()).collect();
    let (known, values): (Vec<Coordinate>, Vec<i64>) =
        given.coordinates.iter().map(|(known, value)| (known.clone(), *value as i64)).unzip();
    let names = Names { scalars: &names, coordinates: &known };
    let defined =
        Defined::for_cache(&mut code, kernel, kernel.rows().expect("a rows kernel"), names, cache).expect("a kernel that compiles");
    code.finish().expect("executable memory");
    let runnable = defined.finish(&code);
    let mut storage: Vec<Vec<Line>> = given.operands.iter().map(|values| lines(&bytes(values))).collect();
    let mut places: Vec<*mut u8> = storage.iter_mut().map(|lines| lines.as_mut_ptr().cast()).collect();
    same.iter().for_each(|(read, written)| places[written.index()] = places[read.index()]);
    let each = runnable.scratch().next_multiple_of(64);
    let mut scratch = vec![0u64; each * threads / 8 + 8];
    let scalars: Vec<f32> = given.scalars.iter().map(|(_, value)| *value).collect();
    let launch = Launch {
        operands: &places,
        accumulate: if given.accumulate { u64::MAX } else { 0 },
        scalars: &scalars,
        coordinates: &values,
        seed: given.seed,
        step: given.step,
        iteration: given.iteration,
        micro: given.micro,
        numbers: std::ptr::null(),
    };
    let pool = Pool::new(threads, false);
    // SAFETY: the operands are as large as the kernel needs, and so is the scratch.
    unsafe { runnable.run(&pool, &launch, Scratch { base: scratch.as_mut_ptr().cast(), each }) };
    for (read, written) in same {
        storage[written.index()] = storage[read.index()].clone();
    }
    storage.iter().map(|lines| lines.iter().flat_map(|line| line.0).collect()).collect()
}

/// Bytes at whole lines, as the arena's are.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u8; 64]);

fn lines(bytes: &[u8]) -> Vec<Line> {
    let line = |chunk: &[u8]| Line(std::array::from_fn(|at| chunk.get(at).copied().unwrap_or(0)));
    bytes.chunks(64).map(line).collect()
}
