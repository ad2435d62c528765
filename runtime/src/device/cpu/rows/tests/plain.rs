//! A plain evaluation of `rows` kernels, one element at a time, following the plan's documentation word by word: what machine code is
//! compared with, bit by bit.

use crate::device::cpu::isa::Isa;
use crate::device::cpu::math::{Function, power};
use crate::state::philox::{mix, philox, uniform};
use cranelift_entity::{EntityRef, PrimaryMap};
use meshwright_plan::Element;
use meshwright_plan::kernel::level::Level;
use meshwright_plan::kernel::{Effect, Gather, KernelData, Map, Move, Node, NodeData, Reduce, Role, Rows, Runs, Slot};
use meshwright_plan::mesh::Coordinate;

/// One element of any type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar {
    F(f32),
    I(i32),
    B(bool),
}

use Scalar::{B, F, I};

impl Scalar {
    fn f(self) -> f32 {
        let F(x) = self else { panic!("{self:?} is no f32") };
        x
    }

    fn i(self) -> i32 {
        let I(x) = self else { panic!("{self:?} is no i32") };
        x
    }

    fn b(self) -> bool {
        let B(x) = self else { panic!("{self:?} is no bool") };
        x
    }
}

/// Everything that a launch gets.
pub(super) struct Given {
    /// Elements of every operand.
    pub(super) operands: Vec<Vec<Scalar>>,
    pub(super) accumulate: bool,
    pub(super) scalars: Vec<(String, f32)>,
    pub(super) seed: u64,
    pub(super) step: u64,
    pub(super) iteration: u64,
    pub(super) micro: u64,
    pub(super) coordinates: Vec<(Coordinate, u64)>,
}

impl Given {
    fn coordinate(&self, wanted: &Coordinate) -> u64 {
        self.coordinates.iter().find(|(known, _)| known == wanted).expect("a known coordinate").1
    }
}

struct Plain<'a> {
    kernel: &'a KernelData,
    rows: &'a Rows,
    levels: PrimaryMap<Node, Level>,
    lanes: usize,
    given: &'a Given,
}

/// The operands after the launch.
pub(super) fn evaluate(kernel: &KernelData, given: &Given) -> Vec<Vec<Scalar>> {
    let rows = kernel.rows().expect("a rows kernel");
    let lanes = kernel.lane().map_or(1, |lane| kernel.dims[lane].size as usize);
    let plain = Plain { kernel, rows, levels: rows.levels(kernel), lanes, given };
    let row_dims: Vec<(usize, usize)> =
        kernel.dims.iter().filter(|(_, dim)| dim.role == Role::Row).map(|(axis, dim)| (axis.index(), dim.size as usize)).collect();
    let count: usize = row_dims.iter().map(|(_, size)| size).product();
    let mut out = given.operands.clone();
    let mut folded: Vec<Vec<(usize, usize, f32)>> = vec![Vec::new(); rows.effects.len()];
    for row in 0..count {
        let mut index = vec![0; kernel.dims.len()];
        let mut rest = row;
        for (dim, size) in row_dims.iter().rev() {
            index[*dim] = rest % size;
            rest /= size;
        }
        let values = plain.row(&index);
        for (which, effect) in rows.effects.iter().enumerate() {
            plain.effect(effect, &index, &values, &mut out, &mut folded[which]);
        }
    }
    for (effect, parts) in rows.effects.iter().zip(folded) {
        if let Effect::Fold { slot, partials, op, .. } = effect {
            fold(*slot, partials.is_some().then_some((rows.blocks as usize, count)), *op, kernel, given, parts, &mut out);
        }
    }
    out
}

/// Folds (element, row, value) triples in row order, by blocks if all rows are folded.
fn fold(
    slot: Slot,
    blocks: Option<(usize, usize)>,
    op: Reduce,
    kernel: &KernelData,
    given: &Given,
    parts: Vec<(usize, usize, f32)>,
    out: &mut [Vec<Scalar>],
) {
    let combine = |old: f32, new: f32| match op {
        Reduce::Sum => old + new,
        Reduce::Max if new > old => new,
        Reduce::Min if new < old => new,
        _ => old,
    };
    let start = if op == Reduce::Sum {
        0.0
    } else if op == Reduce::Max {
        f32::NEG_INFINITY
    } else {
        f32::INFINITY
    };
    let elements: std::collections::BTreeSet<usize> = parts.iter().map(|part| part.0).collect();
    let (blocks, count) = blocks.unwrap_or((1, usize::MAX));
    for element in elements {
        let in_block = |block: usize| {
            let inside = |row: usize| blocks == 1 || (count * block / blocks..count * (block + 1) / blocks).contains(&row);
            parts.iter().filter(move |part| part.0 == element && inside(part.1)).fold(start, |sum, part| combine(sum, part.2))
        };
        let total = (0..blocks).map(in_block).reduce(combine).expect("at least one block");
        let adds = given.accumulate && kernel.operands[slot].access == meshwright_plan::kernel::Access::Accumulate;
        let place = &mut out[slot.index()][element];
        *place = F(if adds { place.f() + total } else { total });
    }
}

impl Plain<'_> {
    /// The values of all nodes in a row: one, or one per lane.
    fn row(&self, index: &[usize]) -> PrimaryMap<Node, Vec<Scalar>> {
        let mut values: PrimaryMap<Node, Vec<Scalar>> = PrimaryMap::new();
        for (node, data) in self.rows.nodes.iter() {
            let count = if self.levels[node] == Level::Lane { self.lanes } else { 1 };
            let value = match data {
                NodeData::Reduce { op, arg } => vec![reduce(*op, (0..self.lanes).map(|lane| at(&values[*arg], lane).f()))],
                NodeData::Scan { arg } => {
                    let mut sum = 0.0;
                    (0..self.lanes)
                        .map(|lane| at(&values[*arg], lane).f())
                        .map(|x| {
                            sum += x;
                            F(sum)
                        })
                        .collect()
                }
                _ => (0..count).map(|lane| self.element(data, index, lane, &values)).collect(),
            };
            values.push(value);
        }
        values
    }

    fn element(&self, data: &NodeData, index: &[usize], lane: usize, values: &PrimaryMap<Node, Vec<Scalar>>) -> Scalar {
        let mut index = index.to_vec();
        if let Some(dim) = self.kernel.lane() {
            index[dim.index()] = lane;
        }
        match data {
            NodeData::Const(x) => F(*x),
            NodeData::Integer(x) => I(*x),
            NodeData::Scalar(name) => F(self.given.scalars.iter().find(|(known, _)| known == name).expect("a known scalar").1),
            NodeData::Load { slot, gather, moved } => self.load(*slot, *gather, *moved, &index, lane, values),
            NodeData::Position { dim, micro } => I((index[dim.index()] as u64 + micro * self.given.micro) as i32),
            NodeData::Map { op, args } => {
                let args: Vec<Scalar> = args.iter().map(|arg| at(&values[*arg], lane)).collect();
                map(*op, &args)
            }
            NodeData::Coordinate(coordinate) => I(self.given.coordinate(coordinate) as i32),
            NodeData::Random { site, strides, micro, origin, runs } => {
                let element: u64 = strides.iter().zip(&index).map(|(stride, index)| stride * *index as u64).sum();
                let origin: u64 = origin.iter().map(|coordinate| self.given.coordinate(coordinate)).sum();
                let run = |runs: &Runs| {
                    let early = index[runs.dim.index()] < self.kernel.dims[runs.dim].size as usize / 2;
                    self.given.coordinate(&if early { runs.first.clone() } else { runs.second() })
                };
                let element = element + origin + runs.iter().map(run).sum::<u64>() + micro * self.given.micro;
                let key = mix(mix(self.given.seed) ^ site);
                let counter = [element as u32, (element >> 32) as u32, self.given.step as u32, self.given.iteration as u32];
                F(uniform(philox(counter, [key as u32, (key >> 32) as u32])[0]))
            }
            NodeData::Reduce { .. } | NodeData::Scan { .. } => unreachable!("not elementwise"),
        }
    }

    fn load(
        &self,
        slot: Slot,
        gather: Option<Gather>,
        moved: Option<Move>,
        index: &[usize],
        lane: usize,
        values: &PrimaryMap<Node, Vec<Scalar>>,
    ) -> Scalar {
        let operand = &self.kernel.operands[slot];
        let mut index: Vec<i64> = index.iter().map(|index| *index as i64).collect();
        if let Some(moved) = moved {
            let size = self.kernel.dims[moved.dim].size as i64;
            let there = index[moved.dim.index()] + moved.by;
            if !moved.wrap && !(0..size).contains(&there) {
                return match operand.element {
                    Element::F32 | Element::Bf16 => F(0.0),
                    Element::I32 => I(0),
                    Element::Bool => B(false),
                };
            }
            index[moved.dim.index()] = there.rem_euclid(size);
        }
        let mut element: i64 = index.iter().zip(&operand.strides).map(|(index, stride)| index * stride).sum();
        if let Some(gather) = gather {
            element += i64::from(at(&values[gather.index], lane).i()) * gather.stride;
        }
        self.given.operands[slot.index()][element as usize]
    }

    fn effect(
        &self,
        effect: &Effect,
        index: &[usize],
        values: &PrimaryMap<Node, Vec<Scalar>>,
        out: &mut [Vec<Scalar>],
        folded: &mut Vec<(usize, usize, f32)>,
    ) {
        let (Effect::Store { slot, value } | Effect::Fold { slot, value, .. }) = effect;
        let operand = &self.kernel.operands[*slot];
        let lane_stride = self.kernel.lane().map_or(0, |lane| operand.strides[lane.index()]);
        let lanes = if self.levels[*value] == Level::Lane || lane_stride != 0 { self.lanes } else { 1 };
        let start: i64 = index.iter().zip(&operand.strides).map(|(index, stride)| *index as i64 * stride).sum();
        let number = index.iter().zip(self.kernel.dims.values()).filter(|(_, dim)| dim.role == Role::Row);
        let number = number.fold(0, |number, (index, dim)| number * dim.size as usize + index);
        for lane in 0..lanes {
            let element = (start + lane as i64 * lane_stride) as usize;
            let value = at(&values[*value], lane);
            match effect {
                Effect::Fold { .. } => folded.push((element, number, value.f())),
                Effect::Store { .. } => {
                    let adds = self.given.accumulate && operand.access == meshwright_plan::kernel::Access::Accumulate;
                    let place = &mut out[slot.index()][element];
                    *place = if adds { F(place.f() + value.f()) } else { value };
                }
            }
        }
    }
}

fn at(values: &[Scalar], lane: usize) -> Scalar {
    values[if values.len() == 1 { 0 } else { lane }]
}

/// 16 virtual lanes and the fixed tree.
fn reduce(op: Reduce, values: impl Iterator<Item = f32>) -> Scalar {
    let start = match op {
        Reduce::Sum => 0.0,
        Reduce::Max | Reduce::Argmax => f32::NEG_INFINITY,
        Reduce::Min => f32::INFINITY,
    };
    let mut lanes = [(start, 0); 16];
    let combine = |old: (f32, i32), new: (f32, i32)| match op {
        Reduce::Sum => (old.0 + new.0, 0),
        Reduce::Max | Reduce::Argmax if new.0 > old.0 || (new.0 == old.0 && new.1 < old.1) => new,
        Reduce::Min if new.0 < old.0 => new,
        _ => old,
    };
    for (i, value) in values.enumerate() {
        let old = lanes[i % 16];
        lanes[i % 16] = if op == Reduce::Argmax && value == old.0 { old } else { combine(old, (value, i as i32)) };
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] = combine(lanes[i], lanes[i + half]);
        }
    }
    if op == Reduce::Argmax { I(lanes[0].1) } else { F(lanes[0].0) }
}

fn map(op: Map, args: &[Scalar]) -> Scalar {
    match args[0] {
        F(_) => map_real(op, args),
        I(_) => map_integer(op, args),
        B(a) => match op {
            Map::And => B(a && args[1].b()),
            Map::Or => B(a || args[1].b()),
            Map::Not => B(!a),
            Map::Where => {
                if a {
                    args[1]
                } else {
                    args[2]
                }
            }
            Map::Real => F(f32::from(u8::from(a))),
            _ => panic!("{op:?} of bool"),
        },
    }
}

fn map_real(op: Map, args: &[Scalar]) -> Scalar {
    let a = args[0].f();
    let b = || args[1].f();
    let routine = |function: Function| {
        let mut x = [a];
        function.apply(&mut x);
        F(x[0])
    };
    match op {
        Map::Add => F(a + b()),
        Map::Sub => F(a - b()),
        Map::Mul => F(a * b()),
        Map::Div => F(a / b()),
        Map::Pow => F(raised(a, b())),
        Map::Min => F(if a < b() { a } else { b() }),
        Map::Max => F(if a > b() { a } else { b() }),
        Map::Neg => F(-a),
        Map::Abs => F(a.abs()),
        Map::Sign => F(if a > 0.0 {
            1.0
        } else if a < 0.0 {
            -1.0
        } else {
            a
        }),
        Map::Floor => F(a.floor()),
        Map::Exp => routine(Function::Exp),
        Map::Log => routine(Function::Log),
        Map::Sin => routine(Function::Sin),
        Map::Cos => routine(Function::Cos),
        Map::Tanh => routine(Function::Tanh),
        Map::Erf => routine(Function::Erf),
        Map::Sqrt => F(a.sqrt()),
        Map::Rsqrt => F(1.0 / a.sqrt()),
        Map::Lt => B(a < b()),
        Map::Le => B(a <= b()),
        Map::Eq => B(a == b()),
        Map::Ne => B(a != b()),
        Map::Int => I(a as i32),
        Map::RoundBf16 => {
            let bits = a.to_bits();
            F(if a.is_nan() { f32::NAN } else { f32::from_bits(bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000) })
        }
        Map::Rem | Map::And | Map::Or | Map::Not | Map::Where | Map::Real => panic!("{op:?} of f32"),
    }
}

fn raised(a: f32, b: f32) -> f32 {
    if b.fract() == 0.0 && b.abs() <= 4.0 {
        let product = (1..b.abs() as i32).fold(a, |product, _| product * a);
        return if b == 0.0 {
            1.0
        } else if b < 0.0 {
            1.0 / product
        } else {
            product
        };
    }
    let mut x = [a];
    // SAFETY: both tiles have one element, and the machine has what `detect` says.
    unsafe { power(Isa::detect())(x.as_mut_ptr(), &raw const b, 1) };
    x[0]
}

fn map_integer(op: Map, args: &[Scalar]) -> Scalar {
    let a = args[0].i();
    let b = || args[1].i();
    match op {
        Map::Add => I(a.wrapping_add(b())),
        Map::Sub => I(a.wrapping_sub(b())),
        Map::Mul => I(a.wrapping_mul(b())),
        Map::Div => I(if b() == 0 { 0 } else { a.wrapping_div(b()) }),
        Map::Rem => {
            let rest = if b() == 0 { 0 } else { a.wrapping_rem(b()) };
            I(if rest != 0 && (rest < 0) != (b() < 0) { rest + b() } else { rest })
        }
        Map::Min => I(a.min(b())),
        Map::Max => I(a.max(b())),
        Map::Neg => I(a.wrapping_neg()),
        Map::Abs => I(a.wrapping_abs()),
        Map::Sign => I(a.signum()),
        Map::Lt => B(a < b()),
        Map::Le => B(a <= b()),
        Map::Eq => B(a == b()),
        Map::Ne => B(a != b()),
        Map::Real => F(a as f32),
        _ => panic!("{op:?} of i32"),
    }
}
