//! Row kernels and attention as the compiler would emit them, timed.
//!
//! Requires: a pool. Ensures: one line per kernel with its bytes per second, counting each operand once, or its rate of arithmetic.

use super::best;
use meshwright_plan::kernel::{
    Access, Attention, Axis, Effect, KernelData, KernelDim, Map, Node, NodeData, Operand, Reduce, Role, Rows, Skeleton, Slot,
};
use meshwright_plan::scalar::{Definition, Expr};
use meshwright_plan::{Element, Kernel, Plan};
use meshwright_runtime::device::cpu::{Cpu, Launch};
use meshwright_runtime::pool::Pool;
use std::time::Instant;

/// A `rows` kernel under construction.
struct Maker {
    kernel: KernelData,
    rows: Rows,
}

impl Maker {
    fn new(name: &str, rows: u64, lanes: u64) -> Maker {
        let mut kernel = KernelData {
            name: name.into(),
            dims: Default::default(),
            operands: Default::default(),
            skeleton: Skeleton::Contract { alpha: 1.0 },
        };
        kernel.dims.push(KernelDim { name: "Row".into(), size: rows, role: Role::Row, axes: Vec::new() });
        kernel.dims.push(KernelDim { name: "Lane".into(), size: lanes, role: Role::Lane, axes: Vec::new() });
        Maker { kernel, rows: Rows { nodes: Default::default(), effects: Vec::new(), folded: 0, blocks: 1 } }
    }

    fn operand(&mut self, access: Access, by_row: bool, by_lane: bool, element: Element) -> Slot {
        let [rows, lanes] = [0, 1].map(|dim| self.kernel.dims[Axis::from_u32(dim)].size as i64);
        let lane = i64::from(by_lane);
        let row = if !by_row {
            0
        } else if by_lane {
            lanes
        } else {
            1
        };
        let extent = match access {
            Access::Scratch => self.rows.blocks as i64 * lanes,
            Access::Read | Access::Write | Access::Accumulate => (rows - 1) * row + (lanes - 1) * lane + 1,
        };
        let name = format!("o{}", self.kernel.operands.len());
        self.kernel.operands.push(Operand { name, element, access, strides: vec![row, lane], extent: extent as u64 })
    }

    fn read(&mut self, by_row: bool, by_lane: bool) -> Node {
        let slot = self.operand(Access::Read, by_row, by_lane, Element::F32);
        self.load(slot)
    }

    fn load(&mut self, slot: Slot) -> Node {
        self.rows.nodes.push(NodeData::Load { slot, gather: None, moved: None })
    }

    fn real(&mut self, value: f32) -> Node {
        self.rows.nodes.push(NodeData::Const(value))
    }

    fn scalar(&mut self, name: &str) -> Node {
        self.rows.nodes.push(NodeData::Scalar(name.into()))
    }

    fn map(&mut self, op: Map, args: &[Node]) -> Node {
        self.rows.nodes.push(NodeData::Map { op, args: args.to_vec() })
    }

    fn times(&mut self, a: Node, factor: f32) -> Node {
        let factor = self.real(factor);
        self.map(Map::Mul, &[a, factor])
    }

    fn reduce(&mut self, op: Reduce, arg: Node) -> Node {
        self.rows.nodes.push(NodeData::Reduce { op, arg })
    }

    fn write(&mut self, value: Node) {
        let slot = self.operand(Access::Write, true, true, Element::F32);
        self.rows.effects.push(Effect::Store { slot, value });
    }

    fn fold(&mut self, value: Node, wide: bool) {
        (self.rows.folded, self.rows.blocks) = (1, 8);
        let slot = self.operand(Access::Accumulate, false, wide, Element::F32);
        let partials = self.operand(Access::Scratch, false, wide, Element::F32);
        self.rows.effects.push(Effect::Fold { slot, partials: Some(partials), op: Reduce::Sum, value });
    }

    fn finish(mut self) -> KernelData {
        self.kernel.skeleton = Skeleton::Rows(self.rows);
        self.kernel
    }
}

/// 0.5 x (1 + tanh(0.798 (x + 0.0447 x³))).
fn gelu(rows: u64, lanes: u64) -> KernelData {
    let mut k = Maker::new("gelu", rows, lanes);
    let x = k.read(true, true);
    let square = k.map(Map::Mul, &[x, x]);
    let cube = k.map(Map::Mul, &[square, x]);
    let small = k.times(cube, 0.044_715);
    let sum = k.map(Map::Add, &[x, small]);
    let inner = k.times(sum, 0.797_884_6);
    let wave = k.map(Map::Tanh, &[inner]);
    let one = k.real(1.0);
    let up = k.map(Map::Add, &[wave, one]);
    let half = k.times(x, 0.5);
    let value = k.map(Map::Mul, &[half, up]);
    k.write(value);
    k.finish()
}

/// A residual sum and its layer norm.
fn norm(rows: u64, lanes: u64) -> KernelData {
    let mut k = Maker::new("add_norm", rows, lanes);
    let (x, a) = (k.read(true, true), k.read(true, true));
    let (gain, shift) = (k.read(false, true), k.read(false, true));
    let sum = k.map(Map::Add, &[x, a]);
    let total = k.reduce(Reduce::Sum, sum);
    let mean = k.times(total, 1.0 / lanes as f32);
    let centred = k.map(Map::Sub, &[sum, mean]);
    let square = k.map(Map::Mul, &[centred, centred]);
    let squares = k.reduce(Reduce::Sum, square);
    let variance = k.times(squares, 1.0 / lanes as f32);
    let tiny = k.real(1e-5);
    let variance = k.map(Map::Add, &[variance, tiny]);
    let rstd = k.map(Map::Rsqrt, &[variance]);
    let normed = k.map(Map::Mul, &[centred, rstd]);
    let scaled = k.map(Map::Mul, &[normed, gain]);
    let value = k.map(Map::Add, &[scaled, shift]);
    k.write(sum);
    k.write(value);
    k.finish()
}

/// Softmax cross-entropy: the gradient of the scores, and the folded loss.
fn cross_entropy(rows: u64, lanes: u64) -> KernelData {
    let mut k = Maker::new("cross_entropy", rows, lanes);
    let x = k.read(true, true);
    let target = k.operand(Access::Read, true, false, Element::I32);
    let target = k.load(target);
    let most = k.reduce(Reduce::Max, x);
    let less = k.map(Map::Sub, &[x, most]);
    let e = k.map(Map::Exp, &[less]);
    let sum = k.reduce(Reduce::Sum, e);
    let lane = k.rows.nodes.push(NodeData::Position { dim: Axis::from_u32(1), micro: 0 });
    let hit = k.map(Map::Eq, &[lane, target]);
    let hit = k.map(Map::Real, &[hit]);
    let p = k.map(Map::Div, &[e, sum]);
    let grad = k.map(Map::Sub, &[p, hit]);
    let log = k.map(Map::Log, &[sum]);
    let loss = k.map(Map::Add, &[log, most]);
    k.write(grad);
    k.fold(loss, false);
    k.finish()
}

/// Sums over rows, as in a bias gradient.
fn column_sums(rows: u64, lanes: u64) -> KernelData {
    let mut k = Maker::new("column_sums", rows, lanes);
    let x = k.read(true, true);
    k.fold(x, true);
    k.finish()
}

/// AdamW in place on a flat range.
fn adamw(rows: u64, lanes: u64) -> KernelData {
    let mut k = Maker::new("adamw", rows, lanes);
    let g = k.read(true, true);
    let slots = [(); 3].map(|()| k.operand(Access::Accumulate, true, true, Element::F32));
    let [p, m, v] = slots.map(|slot| k.load(slot));
    let rate = k.scalar("rate");
    let (old, new) = (k.times(m, 0.9), k.times(g, 0.1));
    let m = k.map(Map::Add, &[old, new]);
    let square = k.map(Map::Mul, &[g, g]);
    let (old, new) = (k.times(v, 0.99), k.times(square, 0.01));
    let v = k.map(Map::Add, &[old, new]);
    let root = k.map(Map::Sqrt, &[v]);
    let tiny = k.real(1e-8);
    let under = k.map(Map::Add, &[root, tiny]);
    let ratio = k.map(Map::Div, &[m, under]);
    let step = k.map(Map::Mul, &[ratio, rate]);
    let kept = k.times(p, 0.9999);
    let p = k.map(Map::Sub, &[kept, step]);
    for (slot, value) in slots.into_iter().zip([p, m, v]) {
        k.rows.effects.push(Effect::Store { slot, value });
    }
    k.finish()
}

fn attention(batch: u64, heads: u64, length: u64, feature: u64, backward: bool) -> KernelData {
    let roles = [(Role::Batch, batch), (Role::Batch, heads), (Role::Query, length), (Role::Key, length), (Role::Feature, feature)];
    let mut kernel = KernelData {
        name: if backward { "attention_grad" } else { "attention" }.into(),
        dims: Default::default(),
        operands: Default::default(),
        skeleton: Skeleton::Contract { alpha: 1.0 },
    };
    for (role, size) in roles.into_iter().chain([(Role::Value, feature)]) {
        kernel.dims.push(KernelDim { name: format!("{role:?}"), size, role, axes: Vec::new() });
    }
    let [t, h, d] = [length, heads, feature].map(|size| size as i64);
    let whole = [t * h * d, d];
    let query = |kernel: &mut KernelData, value: bool, access: Access| {
        let strides = vec![whole[0], whole[1], h * d, 0, i64::from(!value), i64::from(value)];
        push(kernel, strides, batch * length * heads * feature, access);
    };
    let key = |kernel: &mut KernelData, value: bool, access: Access| {
        let strides = vec![whole[0], whole[1], 0, h * d, i64::from(!value), i64::from(value)];
        push(kernel, strides, batch * length * heads * feature, access);
    };
    let row = |kernel: &mut KernelData, access: Access| push(kernel, vec![h * t, t, 1, 0, 0, 0], batch * heads * length, access);
    query(&mut kernel, false, Access::Read);
    key(&mut kernel, false, Access::Read);
    key(&mut kernel, true, Access::Read);
    query(&mut kernel, true, Access::Write);
    row(&mut kernel, Access::Write);
    let shape = Attention { query: None, key: None, scale: 0.125, causal: true, window: None, balanced: false };
    if backward {
        query(&mut kernel, true, Access::Read);
        query(&mut kernel, false, Access::Write);
        key(&mut kernel, false, Access::Write);
        key(&mut kernel, true, Access::Write);
        row(&mut kernel, Access::Scratch);
        kernel.skeleton = Skeleton::AttentionGrad(shape);
    } else {
        kernel.skeleton = Skeleton::Attention(shape);
    }
    kernel
}

fn push(kernel: &mut KernelData, strides: Vec<i64>, extent: u64, access: Access) {
    let name = format!("o{}", kernel.operands.len());
    kernel.operands.push(Operand { name, element: Element::F32, access, strides, extent });
}

/// Seconds of one launch of a kernel, after its time to compile was printed.
fn time(kernel: KernelData, threads: usize) -> f64 {
    let name = kernel.name.clone();
    let mut operands: Vec<Vec<f32>> = kernel.operands.values().map(|operand| vec![0.5; operand.extent as usize]).collect();
    for (data, operand) in operands.iter_mut().zip(kernel.operands.values()) {
        if operand.element == Element::I32 {
            data.fill(0.0);
        }
    }
    let mut plan = Plan { scalars: vec![Definition { name: "rate".into(), value: Expr::Const(1e-3) }], ..Plan::default() };
    plan.kernels.push(kernel);
    let start = Instant::now();
    let cpu = Cpu::load(&plan).expect("a kernel that loads");
    let mut worker = cpu.worker(Pool::new(threads, true));
    print!("{name:15} loaded in {:5.2} ms, ", start.elapsed().as_secs_f64() * 1e3);
    let places: Vec<*mut u8> = operands.iter_mut().map(|operand| operand.as_mut_ptr().cast()).collect();
    let launch = Launch {
        operands: &places,
        accumulate: 0,
        scalars: &[1e-3],
        coordinates: &[],
        seed: 0,
        step: 1,
        iteration: 0,
        micro: 0,
        numbers: std::ptr::null(),
    };
    // SAFETY: the operands are as large as the kernel's extents.
    best(threads == 1, &mut || unsafe { cpu.launch(&mut worker, Kernel::from_u32(0), &launch) })
}

/// Row kernels: in the caches and on 100 MB.
pub(super) fn rows(threads: usize) {
    type Make = fn(u64, u64) -> KernelData;
    let cases: [(Make, u64, u64, f64); 14] = [
        (gelu, 2048, 1536, 8.0),
        (gelu, 16_384, 1536, 8.0),
        (norm, 2048, 384, 16.0),
        (norm, 16_384, 1536, 16.0),
        (cross_entropy, 2048, 65, 8.0),
        (cross_entropy, 256, 50_304, 8.0),
        (cross_entropy, 512, 50_304, 8.0),
        (column_sums, 2048, 384, 4.0),
        (column_sums, 2048, 1536, 4.0),
        (column_sums, 16_384, 1536, 4.0),
        (adamw, 64, 16_384, 28.0),
        (adamw, 1536, 16_384, 28.0),
        (adamw, 1, 25_165_824, 28.0),
        (gelu, 300_000, 64, 8.0),
    ];
    for (make, rows, lanes, bytes) in cases {
        let seconds = time(make(rows, lanes), threads);
        let elements = (rows * lanes) as f64;
        let (each, rate) = (seconds * 1e9 * threads as f64 / elements, bytes * elements / seconds / 1e9);
        println!("{rows:6} x {lanes:8}: {:9.1} us, {each:.3} ns an element and thread, {rate:6.1} GB/s", seconds * 1e6);
    }
}

/// Attention of the tiny model and of GPT-2.
pub(super) fn attentions(threads: usize) {
    for (batch, heads, length, feature) in [(8, 6, 256, 64), (4, 12, 64, 64), (1, 12, 512, 64), (1, 12, 2048, 64)] {
        for backward in [false, true] {
            let seconds = time(attention(batch, heads, length, feature, backward), threads);
            let products = if backward { 10.0 } else { 4.0 };
            let full = products * (batch * heads * length * length * feature) as f64;
            println!(
                "{batch} x {heads} x {length} x {feature}: {:9.1} us, {:6.1} GFLOP/s of full attention",
                seconds * 1e6,
                full / seconds / 1e9
            );
        }
    }
}
