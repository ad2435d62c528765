//! Each rule by example, and random programs that must compute the same after simplify, cse and dce.

use super::{drop_marks, simplify};
use crate::graph::cse::cse;
use crate::graph::dce::dce;
use crate::graph::interpret::{Context, Tensor, run_program};
use crate::graph::ir::{Program, Role};
use crate::op::{Dim, DimData, Dims, Element, Map, Op, Origin, Reduce, Shape, Type, Value};
use proptest::prelude::*;

/// A program under construction over dims A (2), B (3), A' (2), AB (6), C (5).
struct Maker {
    dims: Dims,
    d: Vec<Dim>,
    program: Program,
    inputs: Vec<(Role, Tensor)>,
}

impl Maker {
    fn new() -> Self {
        let mut dims = Dims::new();
        let all = [("A", 2), ("B", 3), ("A'", 2), ("AB", 6), ("C", 5)];
        let d = all
            .iter()
            .map(|(name, size)| dims.push(DimData { name: name.to_string(), size: *size, span: None, axes: Vec::new() }))
            .collect();
        Maker { dims, d, program: Program::default(), inputs: Vec::new() }
    }

    fn input(&mut self, own: &[usize]) -> Value {
        let ty = Type::real(own.iter().map(|i| self.d[*i]).collect());
        let at = self.inputs.len();
        let data = (0..ty.elements(&self.dims)).map(|i| ((i * 7 + at as u64 * 3) % 9) as f64 - 4.0).collect();
        let value = self.program.body.input(ty.clone(), "");
        self.program.inputs.push((Role::Param(at as u32), value));
        self.inputs.push((Role::Param(at as u32), Tensor::new(&ty, &self.dims, data)));
        value
    }

    fn push(&mut self, op: Op, args: &[Value], ty: Type) -> Value {
        self.program.body.push(op, args.to_vec(), ty, Origin::from_u32(0))
    }

    /// A map with the union of its arguments' dims.
    fn map(&mut self, op: Map, args: &[Value]) -> Value {
        let body = &self.program.body;
        let lists: Vec<&[Dim]> = args.iter().map(|arg| &body.ty(*arg).dims[..]).collect();
        let dims = crate::graph::interpret::tensor::union(&lists);
        let element = match op {
            Map::Lt | Map::Le | Map::Eq | Map::Ne => Element::Bool,
            Map::Where => body.ty(args[1]).element,
            _ => body.ty(args[0]).element,
        };
        self.push(Op::Map(op), args, Type { element, dims })
    }

    fn number(&mut self, number: f64) -> Value {
        self.push(Op::Const(number), &[], Type::real(vec![]))
    }

    fn expand(&mut self, x: Value, own: &[usize]) -> Value {
        let ty = Type { element: self.program.body.ty(x).element, dims: own.iter().map(|i| self.d[*i]).collect() };
        self.push(Op::Shape(Shape::Expand), &[x], ty)
    }

    fn reduce(&mut self, op: Reduce, x: Value, over: usize) -> Value {
        let dim = self.d[over];
        let dims = self.program.body.ty(x).dims.iter().copied().filter(|own| *own != dim).collect();
        self.push(Op::Reduce(op, vec![dim]), &[x], Type::real(dims))
    }

    /// An instruction on dim `from` that gives dims `to` in its place.
    fn shape(&mut self, shape: Shape, x: Value, from: Dim, to: &[Dim]) -> Value {
        let ty = self.program.body.ty(x).clone();
        let dims = ty.dims.iter().flat_map(|own| if *own == from { to.to_vec() } else { vec![*own] }).collect();
        self.push(Op::Shape(shape), &[x], Type { dims, ..ty })
    }

    fn output(&mut self, value: Value) {
        let at = self.program.outputs.len() as u32;
        self.program.outputs.push((Role::Result(at), value));
    }

    fn run(&self) -> Vec<(Role, Tensor)> {
        run_program(&self.program, &self.dims, &self.inputs, &Context::default())
    }

    /// Simplifies, checks that results and types are the same, and gives the operators left.
    fn ops(mut self, results: &[Value]) -> Vec<Op> {
        results.iter().for_each(|value| self.output(*value));
        let before = self.run();
        tidy(&mut self.program, &self.dims);
        assert_eq!(self.run(), before);
        self.program.body.insts.into_iter().map(|inst| inst.op).collect()
    }
}

fn tidy(program: &mut Program, dims: &Dims) {
    simplify(program, dims);
    cse(program);
    dce(program);
}

#[test]
fn neutral_numbers_vanish() {
    let mut m = Maker::new();
    let x = m.input(&[0, 1]);
    let (zero, one) = (m.number(0.0), m.number(1.0));
    let mut y = x;
    for (op, number) in [(Map::Add, zero), (Map::Sub, zero), (Map::Mul, one), (Map::Div, one), (Map::Pow, one)] {
        y = m.map(op, &[y, number]);
    }
    let y = m.map(Map::Mul, &[one, y]);
    assert_eq!(m.ops(&[y]), []);
}

#[test]
fn zero_times_x_stays_for_its_nans() {
    let mut m = Maker::new();
    let (x, zero) = (m.input(&[0]), m.number(0.0));
    let y = m.map(Map::Mul, &[x, zero]);
    let z = m.map(Map::Sub, &[x, x]);
    assert_eq!(m.ops(&[y, z]).len(), 3);
}

#[test]
fn constants_are_folded_and_spread() {
    let mut m = Maker::new();
    let (x, two, three) = (m.input(&[0]), m.number(2.0), m.number(3.0));
    let six = m.map(Map::Mul, &[two, three]);
    let wide = m.expand(six, &[0]);
    let y = m.map(Map::Add, &[wide, x]);
    assert_eq!(m.ops(&[y]), [Op::Const(6.0), Op::Map(Map::Add)]);
    let mut m = Maker::new();
    let (x, two, three) = (m.input(&[0]), m.number(2.0), m.number(-4.0));
    let y = m.map(Map::Mul, &[x, two]);
    let y = m.map(Map::Div, &[y, three]);
    let y = m.map(Map::Neg, &[y]);
    assert_eq!(m.ops(&[y]), [Op::Const(0.5), Op::Map(Map::Mul)]);
}

#[test]
fn signs_cancel() {
    let mut m = Maker::new();
    let (x, y) = (m.input(&[0]), m.input(&[0]));
    let (minus_x, minus_y) = (m.map(Map::Neg, &[x]), m.map(Map::Neg, &[y]));
    let again = m.map(Map::Neg, &[minus_x]);
    let sum = m.map(Map::Add, &[x, minus_y]);
    let product = m.map(Map::Mul, &[minus_x, minus_y]);
    let size = m.map(Map::Abs, &[minus_x]);
    assert_eq!(m.ops(&[again, sum, product, size]), [Op::Map(Map::Sub), Op::Map(Map::Mul), Op::Map(Map::Abs)]);
}

#[test]
fn powers_become_products_and_roots() {
    for (exponent, op) in [(2.0, Map::Mul), (0.5, Map::Sqrt), (-0.5, Map::Rsqrt)] {
        let mut m = Maker::new();
        let x = m.input(&[0]);
        let (x, exponent) = (m.map(Map::Mul, &[x, x]), m.number(exponent));
        let y = m.map(Map::Pow, &[x, exponent]);
        assert_eq!(m.ops(&[y]), [Op::Map(Map::Mul), Op::Map(op)]);
    }
}

#[test]
fn known_conditions_choose() {
    let mut m = Maker::new();
    let (x, y, one, two) = (m.input(&[0]), m.input(&[0]), m.number(1.0), m.number(2.0));
    let less = m.map(Map::Lt, &[one, two]);
    let chosen = m.map(Map::Where, &[less, x, y]);
    let never = m.push(Op::Map(Map::Not), &[less], Type { element: Element::Bool, dims: vec![] });
    let other = m.map(Map::Where, &[never, x, y]);
    m.output(chosen);
    m.output(other);
    let before = m.run();
    tidy(&mut m.program, &m.dims);
    assert_eq!((m.run(), m.program.body.insts.len()), (before, 0));
}

#[test]
fn reductions_join_and_skip_repeats() {
    let mut m = Maker::new();
    let x = m.input(&[0, 1]);
    let rows = m.reduce(Reduce::Sum, x, 1);
    let all = m.reduce(Reduce::Sum, rows, 0);
    let (a, b) = (m.d[0], m.d[1]);
    assert_eq!(m.ops(&[all]), [Op::Reduce(Reduce::Sum, vec![b, a])]);
    let mut m = Maker::new();
    let x = m.input(&[0, 1]);
    let rows = m.reduce(Reduce::Sum, x, 1);
    let all = m.reduce(Reduce::Sum, rows, 0);
    assert_eq!(m.ops(&[rows, all]).len(), 2);
    let mut m = Maker::new();
    let x = m.input(&[0]);
    let wide = m.expand(x, &[1, 0]);
    let (sum, most) = (m.reduce(Reduce::Sum, wide, 1), m.reduce(Reduce::Max, wide, 1));
    assert_eq!(m.ops(&[sum, most]), [Op::Const(3.0), Op::Map(Map::Mul)]);
}

#[test]
fn repeats_come_last() {
    let mut m = Maker::new();
    let (x, y, half) = (m.input(&[1]), m.input(&[0, 1]), m.number(0.5));
    let wide = m.expand(x, &[0, 1]);
    let two = m.number(2.0);
    let z = m.map(Map::Mul, &[wide, half]);
    let z = m.map(Map::Mul, &[z, two]);
    let z = m.map(Map::Sub, &[z, y]);
    assert_eq!(m.ops(&[z]), [Op::Map(Map::Sub)]);
    let mut m = Maker::new();
    let x = m.input(&[1]);
    let (a, other) = (m.d[0], m.d[2]);
    let wide = m.expand(x, &[0, 1]);
    let y = m.shape(Shape::Rename { from: a, to: other }, wide, a, &[other]);
    let y = m.shape(Shape::Take { from: other, at: 1 }, y, other, &[]);
    assert_eq!(m.ops(&[y]), []);
}

#[test]
fn shapes_join() {
    let mut m = Maker::new();
    let x = m.input(&[0, 1]);
    let (a, b, other, ab) = (m.d[0], m.d[1], m.d[2], m.d[3]);
    let there = m.shape(Shape::Rename { from: a, to: other }, x, a, &[other]);
    let back = m.shape(Shape::Rename { from: other, to: a }, there, other, &[a]);
    let flat = m.push(Op::Shape(Shape::Merge { from: vec![a, b], into: ab }), &[back], Type::real(vec![ab]));
    let again = m.shape(Shape::Split { from: ab, into: vec![a, b] }, flat, ab, &[a, b]);
    assert_eq!(m.ops(&[back, again]), []);
}

#[test]
fn equal_instructions_merge_but_not_the_two_zeros() {
    let mut m = Maker::new();
    let (x, y) = (m.input(&[0]), m.input(&[0]));
    let (one, other) = (m.map(Map::Add, &[x, y]), m.map(Map::Add, &[y, x]));
    let minus = [m.map(Map::Sub, &[x, y]), m.map(Map::Sub, &[y, x])];
    let zeros = [m.number(0.0), m.number(-0.0), m.number(0.0)];
    let ops = m.ops(&[one, other, minus[0], minus[1], zeros[0], zeros[1], zeros[2]]);
    assert_eq!(ops, [Op::Map(Map::Add), Op::Map(Map::Sub), Op::Map(Map::Sub), Op::Const(0.0), Op::Const(-0.0)]);
}

#[test]
fn marks_are_dropped_unless_they_change_the_layout() {
    let mut m = Maker::new();
    let x = m.input(&[0, 1]);
    let ty = m.program.body.ty(x).clone();
    let anchor = m.push(Op::Anchor, &[x], ty.clone());
    let stop = m.push(Op::Stop, &[anchor], ty.clone());
    let turned = m.push(Op::Anchor, &[stop], Type::real(vec![m.d[1], m.d[0]]));
    let y = m.map(Map::Neg, &[stop]);
    [turned, y].into_iter().for_each(|value| m.output(value));
    let before = m.run();
    drop_marks(&mut m.program);
    dce(&mut m.program);
    let ops: Vec<Op> = m.program.body.insts.iter().map(|inst| inst.op.clone()).collect();
    assert_eq!((m.run(), ops), (before, vec![Op::Anchor, Op::Map(Map::Neg)]));
}

#[test]
fn dead_code_goes_and_values_are_numbered_anew() {
    let mut m = Maker::new();
    let (x, unused) = (m.input(&[0]), m.input(&[1]));
    m.map(Map::Exp, &[unused]);
    let y = m.map(Map::Neg, &[x]);
    m.output(y);
    dce(&mut m.program);
    assert_eq!((m.program.body.insts.len(), m.program.body.values.len(), m.program.inputs.len()), (1, 3, 2));
}

/// Appends the instruction that four numbers stand for, on values that are there, if it is possible. `smooth` ones are continuous,
/// the others exact on small dyadic numbers, so that comparisons cannot turn on a rounding.
fn random_inst(m: &mut Maker, pool: &mut Vec<Value>, [kind, a, b, c]: [u8; 4], smooth: bool) {
    // Mostly recent values, so that instructions meet.
    let pick = |i: u8| pool[if i < 192 { pool.len() - 1 - i as usize % 3 } else { i as usize % pool.len() }];
    let (x, y, z) = (pick(a), pick(b), pick(c));
    let has = |m: &Maker, value: Value, dim: usize| m.program.body.ty(value).has(m.d[dim]);
    let (da, db, other, ab) = (m.d[0], m.d[1], m.d[2], m.d[3]);
    let new = match kind % 20 {
        0 | 1 => m.number([0.0, 1.0, -1.0, 2.0, 0.5, -0.0][a as usize % 6]),
        2 => m.map([Map::Neg, Map::Abs, Map::Floor, Map::RoundBf16][if smooth { 0 } else { a as usize % 4 }], &[y]),
        3 | 4 => m.map(Map::Add, &[x, y]),
        5 | 6 => m.map(Map::Sub, &[x, y]),
        7 | 8 => m.map(Map::Mul, &[x, y]),
        9 if smooth => m.map([Map::Tanh, Map::Sin][b as usize % 2], &[x]),
        9 => m.map([Map::Min, Map::Max][b as usize % 2], &[x, y]),
        10 if !has(m, x, 3) => m.expand(x, [&[0, 1, 2, 4], &[4, 2, 1, 0]][b as usize % 2]),
        11 if smooth => {
            let exponent = m.number([1.0, 2.0, 3.0][b as usize % 3]);
            m.map(Map::Pow, &[x, exponent])
        }
        11 => {
            let divisor = m.number([1.0, 2.0, -4.0][b as usize % 3]);
            m.map(Map::Div, &[x, divisor])
        }
        12 if !smooth => {
            let less = m.map([Map::Lt, Map::Le, Map::Eq, Map::Ne][c as usize % 4], &[x, y]);
            m.map(Map::Where, &[less, y, z])
        }
        13 if has(m, x, 0) && has(m, y, 0) => {
            let lists = [x, y].map(|value| m.program.body.ty(value).dims.clone());
            let all = crate::graph::interpret::tensor::union(&[&lists[0], &lists[1]]);
            m.push(Op::Contract(vec![da]), &[x, y], Type::real(all.into_iter().filter(|dim| *dim != da).collect()))
        }
        14 if has(m, x, b as usize % 3) => m.reduce(if c < 128 { Reduce::Sum } else { Reduce::Max }, x, b as usize % 3),
        15 if has(m, x, 0) && !has(m, x, 2) => m.shape(Shape::Rename { from: da, to: other }, x, da, &[other]),
        15 if has(m, x, 2) && !has(m, x, 0) => m.shape(Shape::Rename { from: other, to: da }, x, other, &[da]),
        16 if has(m, x, 3) && !has(m, x, 0) && !has(m, x, 1) => m.shape(Shape::Split { from: ab, into: vec![da, db] }, x, ab, &[da, db]),
        16 if has(m, x, 0) && has(m, x, 1) && !has(m, x, 3) => {
            let dims = m.program.body.ty(x).dims.iter().copied().filter(|dim| *dim != da && *dim != db).chain([ab]).collect();
            m.push(Op::Shape(Shape::Merge { from: vec![da, db], into: ab }), &[x], Type::real(dims))
        }
        17 if has(m, x, 1) && !has(m, x, 0) => m.shape(Shape::Slice { from: db, start: u64::from(c % 2), into: da }, x, db, &[da]),
        17 if has(m, x, 0) && !has(m, x, 1) => m.shape(Shape::Pad { from: da, start: u64::from(c % 2), into: db }, x, da, &[db]),
        18 if has(m, x, 1) => m.shape(Shape::Roll { dim: db, by: u64::from(c % 3) }, x, db, &[db]),
        18 if has(m, x, 0) => m.shape(Shape::Take { from: da, at: u64::from(c % 2) }, x, da, &[]),
        19 if has(m, x, 1) => m.shape(Shape::Shift { dim: db, by: i64::from(c % 5) - 2 }, x, db, &[db]),
        _ => return,
    };
    pool.push(new);
}

/// Builds, simplifies, compares. Cases whose numbers grow beyond `limit` prove nothing and pass.
fn agrees(steps: &[[u8; 4]], smooth: bool, limit: f64, tolerance: f64) -> Result<(), TestCaseError> {
    let mut m = Maker::new();
    let mut pool = vec![m.input(&[0, 1]), m.input(&[1]), m.input(&[])];
    steps.iter().for_each(|step| random_inst(&mut m, &mut pool, *step, smooth));
    let all: Vec<Value> = m.program.body.values.keys().collect();
    let inputs: Vec<(Value, Tensor)> =
        m.program.inputs.iter().map(|(_, value)| *value).zip(m.inputs.iter().map(|(_, t)| t.clone())).collect();
    let seen = crate::graph::interpret::run(&m.program.body, &m.dims, &inputs, &Context::default(), &all);
    prop_assume!(seen.iter().flat_map(|tensor| &tensor.data).all(|x| x.abs() < limit));
    pool.iter().rev().take(8).for_each(|value| m.output(*value));
    let before = m.run();
    for _ in 0..2 {
        tidy(&mut m.program, &m.dims);
        for ((role, old), (_, new)) in before.iter().zip(m.run()) {
            prop_assert_eq!((&old.dims, old.element), (&new.dims, new.element));
            let worst = old.data.iter().zip(&new.data).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            prop_assert!(worst <= tolerance, "{:?} {}: {:?}", role, worst, m.program.body);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn random_exact_programs_stay_equal(steps in prop::collection::vec(any::<[u8; 4]>(), 1..24)) {
        agrees(&steps, false, 1e6, 0.0)?;
    }

    #[test]
    fn random_smooth_programs_stay_close(steps in prop::collection::vec(any::<[u8; 4]>(), 1..24)) {
        agrees(&steps, true, 1e3, 1e-8)?;
    }
}
