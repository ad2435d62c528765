//! Every rule against central differences in f64, over random shapes and layouts.

use crate::graph::autodiff::{active, reverse};
use crate::graph::interpret::{Context, Tensor, run};
use crate::graph::verify;
use crate::op::*;
use cranelift_entity::EntitySet;

/// Numbers that look random, and are the same on every run (Marsaglia's xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn shuffled(&mut self, dims: &[Dim]) -> Vec<Dim> {
        let mut dims = dims.to_vec();
        for at in (1..dims.len()).rev() {
            dims.swap(at, self.below(at as u64 + 1) as usize);
        }
        dims
    }

    fn subset(&mut self, dims: &[Dim]) -> Vec<Dim> {
        let kept: Vec<Dim> = dims.iter().copied().filter(|_| self.below(3) > 0).collect();
        self.shuffled(&kept)
    }
}

/// One instruction to differentiate: argument types with the range of their elements, result types.
struct Case {
    op: Op,
    args: Vec<(Type, (f64, f64))>,
    results: Vec<Type>,
}

/// Makes cases over fresh dims of random sizes.
struct Maker {
    numbers: Numbers,
    dims: Dims,
    cases: Vec<Case>,
}

const WIDE: (f64, f64) = (-2.0, 2.0);
const POSITIVE: (f64, f64) = (0.4, 2.0);

/// A number for every primitive: a new one must be given the next number here, and then a case below.
fn slot(op: &Op) -> usize {
    match op {
        Op::Collective(_) | Op::Index(Index::Coordinate(_)) => unreachable!("only local programs, made after differentiation, have it"),
        Op::Map(map) => *map as usize,
        Op::Reduce(reduce, _) => MAPS + *reduce as usize,
        Op::Const(_) => MAPS + 4,
        Op::Integer(_) => MAPS + 5,
        Op::Scalar(_) => MAPS + 6,
        Op::Contract(_) => MAPS + 7,
        Op::Index(Index::Position(_)) => MAPS + 8,
        Op::Index(Index::Gather { .. }) => MAPS + 9,
        Op::Index(Index::Scatter { .. }) => MAPS + 10,
        Op::Index(Index::Cumsum(_)) => MAPS + 11,
        Op::Index(Index::CumsumReverse(_)) => MAPS + 12,
        Op::Shape(Shape::Rename { .. }) => MAPS + 13,
        Op::Shape(Shape::Split { .. }) => MAPS + 14,
        Op::Shape(Shape::Merge { .. }) => MAPS + 15,
        Op::Shape(Shape::Slice { .. }) => MAPS + 16,
        Op::Shape(Shape::Pad { .. }) => MAPS + 17,
        Op::Shape(Shape::Take { .. }) => MAPS + 18,
        Op::Shape(Shape::Concat { .. }) => MAPS + 19,
        Op::Shape(Shape::Shift { .. }) => MAPS + 20,
        Op::Shape(Shape::Roll { .. }) => MAPS + 21,
        Op::Shape(Shape::Expand) => MAPS + 22,
        Op::Random(Random::Uniform { .. }) => MAPS + 23,
        Op::Attention(_) => MAPS + 24,
        Op::Anchor => MAPS + 25,
        Op::Stop => MAPS + 26,
        // Without arguments to differentiate here: a second derivative.
        Op::AttentionGrad(_) => MAPS + 27,
    }
}

const MAPS: usize = Map::RoundBf16 as usize + 1;
const SLOTS: usize = MAPS + 27;

/// Every elementwise function after `map`, in order.
fn after(map: Map) -> Option<Map> {
    use Map::*;
    let all = [
        Add, Sub, Mul, Div, Rem, Pow, Min, Max, Neg, Abs, Sign, Floor, Exp, Log, Sin, Cos, Tanh, Erf, Sqrt, Rsqrt, Lt, Le, Eq, Ne, And, Or,
        Not, Where, Real, Int, RoundBf16,
    ];
    all.get(map as usize + 1).copied()
}

/// The arguments of an elementwise function: a letter each (r: any real, p: positive, i: integer, b: bool), and its result.
fn signature(map: Map) -> (&'static str, Element) {
    match map {
        Map::Add | Map::Sub | Map::Mul | Map::Min | Map::Max => ("rr", Element::Real),
        Map::Div => ("rp", Element::Real),
        Map::Pow => ("pr", Element::Real),
        Map::Rem => ("ip", Element::Integer),
        Map::Neg | Map::Abs | Map::Sign | Map::Floor | Map::Exp | Map::Sin | Map::Cos | Map::Tanh | Map::Erf | Map::RoundBf16 => {
            ("r", Element::Real)
        }
        Map::Log | Map::Sqrt | Map::Rsqrt => ("p", Element::Real),
        Map::Lt | Map::Le | Map::Eq | Map::Ne => ("rr", Element::Bool),
        Map::And | Map::Or => ("bb", Element::Bool),
        Map::Not => ("b", Element::Bool),
        Map::Where => ("brr", Element::Real),
        Map::Real => ("i", Element::Real),
        Map::Int => ("r", Element::Integer),
    }
}

impl Maker {
    fn dim(&mut self, size: u64) -> Dim {
        let name = format!("D{}", self.dims.len());
        self.dims.push(DimData { name, size, span: None, axes: Vec::new() })
    }

    fn some(&mut self, count: u64) -> Vec<Dim> {
        (0..count)
            .map(|_| {
                let size = 1 + self.numbers.below(3);
                self.dim(size)
            })
            .collect()
    }

    fn real(&mut self, dims: &[&[Dim]]) -> Type {
        Type::real(self.numbers.shuffled(&dims.concat()))
    }

    fn add(&mut self, op: Op, args: Vec<Type>, result: Type) {
        let args = args.into_iter().map(|ty| (ty, WIDE)).collect();
        self.cases.push(Case { op, args, results: vec![result] });
    }

    fn maps(&mut self) {
        let mut next = Some(Map::Add);
        while let Some(map) = next {
            let (letters, element) = signature(map);
            let count = 1 + self.numbers.below(3);
            let all = self.some(count);
            let mut args = Vec::new();
            for (at, letter) in letters.chars().enumerate() {
                let dims = if at + 1 == letters.len() { self.numbers.shuffled(&all) } else { self.numbers.subset(&all) };
                let integer = map == Map::Rem;
                let (element, range) = match letter {
                    'b' => (Element::Bool, (0.0, 2.0)),
                    'i' => (Element::Integer, (0.0, 9.0)),
                    'p' if integer => (Element::Integer, (1.0, 5.0)),
                    'p' => (Element::Real, POSITIVE),
                    _ => (Element::Real, WIDE),
                };
                args.push((Type { element, dims }, range));
            }
            let dims = self.numbers.shuffled(&all);
            self.cases.push(Case { op: Op::Map(map), args, results: vec![Type { element, dims }] });
            next = after(map);
        }
    }

    fn sources(&mut self) {
        self.add(Op::Const(1.5), vec![], Type::real(vec![]));
        self.add(Op::Integer(3), vec![], Type { element: Element::Integer, dims: vec![] });
        self.add(Op::Scalar("rate".to_string()), vec![], Type::real(vec![]));
        let dims = self.some(2);
        self.add(Op::Random(Random::Uniform { site: "A.b".to_string(), cuts: Vec::new() }), vec![], Type::real(dims.clone()));
        self.add(Op::Index(Index::Position(dims[0])), vec![], Type { element: Element::Integer, dims: vec![dims[0]] });
        let (from, to) = (self.real(&[&dims]), self.real(&[&dims]));
        self.add(Op::Anchor, vec![from.clone()], to.clone());
        self.add(Op::Stop, vec![from], to);
    }

    fn reductions(&mut self) {
        for reduce in [Reduce::Sum, Reduce::Max, Reduce::Min, Reduce::Argmax] {
            let over = if reduce == Reduce::Argmax {
                self.some(1)
            } else {
                let count = 1 + self.numbers.below(2);
                self.some(count)
            };
            let rest = self.some(2);
            let (from, mut to) = (self.real(&[&over, &rest]), self.real(&[&rest]));
            if reduce == Reduce::Argmax {
                to.element = Element::Index(over[0]);
            }
            self.add(Op::Reduce(reduce, over), vec![from], to);
        }
        for _ in 0..4 {
            let [batch, m, n] = [0; 3].map(|_| {
                let count = self.numbers.below(3);
                self.some(count)
            });
            let count = 1 + self.numbers.below(2);
            let over = self.some(count);
            let (a, b, c) = (self.real(&[&batch, &m, &over]), self.real(&[&batch, &n, &over]), self.real(&[&batch, &m, &n]));
            self.add(Op::Contract(over), vec![a, b], c);
        }
    }

    fn lookups(&mut self) {
        let (over, shared, inner, lone) = (self.dim(4), self.some(1), self.some(1), self.some(1));
        let mut index = self.real(&[&shared, &lone]);
        index.element = Element::Index(over);
        let index = (index, (0.0, 4.0));
        let (table, found) = (self.real(&[&[over], &shared, &inner]), self.real(&[&shared, &inner, &lone]));
        let op = Op::Index(Index::Gather { over });
        self.cases.push(Case { op: op.clone(), args: vec![(table.clone(), WIDE), index.clone()], results: vec![found.clone()] });
        let one = (Type { element: Element::Index(over), dims: shared.clone() }, (0.0, 4.0));
        let row = self.real(&[&shared, &inner]);
        self.cases.push(Case { op, args: vec![(table.clone(), WIDE), one], results: vec![row] });
        let narrow = self.real(&[&shared, &inner]);
        for value in [found, narrow] {
            let op = Op::Index(Index::Scatter { into: over });
            self.cases.push(Case { op, args: vec![index.clone(), (value, WIDE)], results: vec![table.clone()] });
        }
        let (from, to) = (self.real(&[&[over], &inner]), self.real(&[&[over], &inner]));
        self.add(Op::Index(Index::Cumsum(over)), vec![from.clone()], to.clone());
        self.add(Op::Index(Index::CumsumReverse(over)), vec![from], to);
    }

    fn shapes(&mut self) {
        let rest = self.some(2);
        let (whole, other, part) = (self.dim(6), self.dim(6), self.dim(2));
        let (outer, inner) = (self.dim(3), self.dim(2));
        let [full, renamed] = [whole, other].map(|dim| self.real(&[&[dim], &rest]));
        let (split, parted, taken) = (self.real(&[&[outer, inner], &rest]), self.real(&[&[part], &rest]), self.real(&[&rest]));
        let start = self.numbers.below(5);
        let mut one = |shape: Shape, from: &Type, to: &Type| self.add(Op::Shape(shape), vec![from.clone()], to.clone());
        one(Shape::Rename { from: whole, to: other }, &full, &renamed);
        one(Shape::Split { from: whole, into: vec![outer, inner] }, &full, &split);
        one(Shape::Merge { from: vec![outer, inner], into: whole }, &split, &full);
        one(Shape::Slice { from: whole, start, into: part }, &full, &parted);
        one(Shape::Pad { from: part, start, into: whole }, &parted, &full);
        one(Shape::Take { from: whole, at: start }, &full, &taken);
        one(Shape::Shift { dim: whole, by: start as i64 - 2 }, &full, &full);
        one(Shape::Roll { dim: whole, by: start }, &full, &full);
        one(Shape::Expand, &taken, &full);
        let four = self.dim(4);
        let rest_of = self.real(&[&[four], &rest]);
        self.add(Op::Shape(Shape::Concat { from: vec![part, four], into: whole }), vec![parted, rest_of], full);
    }

    fn attention(&mut self, causal: bool, window: Option<u64>) {
        let (query, key, feature) = (self.dim(3), self.dim(3), self.dim(2));
        let (batch, group, own) = (self.some(2), self.some(1), self.some(1));
        let q = self.real(&[&batch, &group, &[query, feature]]);
        let (k, v) = (self.real(&[&batch, &[key, feature]]), self.real(&[&batch, &own, &[key]]));
        let (out, lse) = (self.real(&[&batch, &group, &own, &[query]]), self.real(&[&batch, &group, &[query]]));
        let op = Op::Attention(Attention { scale: 0.7, causal, window, ..Attention::new(query, key, feature) });
        self.cases.push(Case { op, args: [q, k, v].map(|ty| (ty, WIDE)).to_vec(), results: vec![out, lse] });
    }
}

fn cases(seed: u64) -> Maker {
    let numbers = Numbers(0x9E37_79B9_7F4A_7C15 ^ (seed << 17));
    let mut maker = Maker { numbers, dims: Dims::new(), cases: Vec::new() };
    maker.maps();
    maker.sources();
    maker.reductions();
    maker.lookups();
    maker.shapes();
    maker.attention(false, None);
    maker.attention(true, None);
    maker.attention(true, Some(2));
    maker
}

/// A body with one instruction (before and after differentiation), its inputs, cotangents of its first result, and the gradients that the rule gives.
struct Built {
    body: Body,
    forward: Body,
    inputs: Vec<(Value, Tensor)>,
    result: Value,
    cotangent: Option<(Value, Tensor)>,
    gradients: Vec<Option<Value>>,
}

fn tensor(ty: &Type, range: (f64, f64), dims: &Dims, numbers: &mut Numbers) -> Tensor {
    let whole = ty.element != Element::Real;
    let count = ty.elements(dims);
    let number = |numbers: &mut Numbers| numbers.between(range.0, range.1);
    Tensor::new(ty, dims, (0..count).map(|_| if whole { number(numbers).floor() } else { number(numbers) }).collect())
}

fn build(case: &Case, dims: &Dims, numbers: &mut Numbers) -> Built {
    let origin = Origin::from_u32(0);
    let mut body = Body::default();
    let args = case.args.iter().map(|(ty, range)| (body.input(ty.clone(), ""), tensor(ty, *range, dims, numbers)));
    let inputs: Vec<(Value, Tensor)> = args.collect();
    let values: Vec<Value> = inputs.iter().map(|(value, _)| *value).collect();
    let result = body.push_many(case.op.clone(), values.clone(), case.results.clone(), origin)[0];
    let ty = body.ty(result).clone();
    let cotangent = (ty.element == Element::Real).then(|| (body.input(ty.clone(), ""), tensor(&ty, WIDE, dims, numbers)));
    let (active, forward) = (active(&body, &values), body.clone());
    let seeds: Vec<_> = cotangent.iter().map(|(cotangent, _)| (result, *cotangent, origin)).collect();
    let gradients = reverse(&mut body, dims, &active, &seeds, &values);
    Built { body, forward, inputs, result, cotangent, gradients }
}

impl Built {
    /// Sum of the result's elements times the cotangent's.
    fn objective(&self, dims: &Dims, inputs: &[(Value, Tensor)]) -> f64 {
        let Some((value, cotangent)) = &self.cotangent else { return 0.0 };
        let mut given = inputs.to_vec();
        given.push((*value, cotangent.clone()));
        let result = run(&self.forward, dims, &given, &context(), &[self.result]).remove(0);
        result.data.iter().zip(&cotangent.arranged(&result.dims, dims).data).map(|(a, b)| a * b).sum()
    }

    /// The rule's gradient of an argument, zeros where it gives none.
    fn gradient(&self, dims: &Dims, at: usize) -> Vec<f64> {
        let Some(gradient) = self.gradients[at] else { return vec![0.0; self.inputs[at].1.data.len()] };
        let mut given = self.inputs.clone();
        given.extend(self.cotangent.clone());
        run(&self.body, dims, &given, &context(), &[gradient]).remove(0).data
    }

    fn difference(&self, dims: &Dims, at: usize, element: usize) -> f64 {
        let moved = |by: f64| {
            let mut inputs = self.inputs.clone();
            inputs[at].1.data[element] += by;
            self.objective(dims, &inputs)
        };
        (moved(1e-5) - moved(-1e-5)) / 2e-5
    }
}

fn context() -> Context {
    Context { scalars: vec![("rate".to_string(), 0.1)], ..Context::default() }
}

fn compare(case: &Case, dims: &Dims, numbers: &mut Numbers) {
    let built = build(case, dims, numbers);
    let mut defined: EntitySet<Value> = EntitySet::new();
    built.inputs.iter().chain(&built.cotangent).for_each(|(value, _)| {
        defined.insert(*value);
    });
    verify::body(&built.body, &mut defined, dims).unwrap_or_else(|error| panic!("{:?}: {error}", case.op));
    for (at, (value, input)) in built.inputs.iter().enumerate() {
        if input.element != Element::Real {
            assert_eq!(built.gradients[at], None, "{:?}", case.op);
            continue;
        }
        if let Some(gradient) = built.gradients[at] {
            assert_eq!(built.body.ty(gradient), built.body.ty(*value), "{:?}: the type of gradient {at}", case.op);
        }
        if matches!(case.op, Op::Stop | Op::Map(Map::RoundBf16)) {
            assert_eq!(built.gradients[at].is_none(), case.op == Op::Stop);
            continue;
        }
        for (element, found) in built.gradient(dims, at).into_iter().enumerate() {
            let expected = built.difference(dims, at, element);
            let close = (found - expected).abs() <= 1e-6 * (1.0 + expected.abs());
            assert!(close, "{:?}, argument {at}, element {element}: {found}, by differences {expected}", case.op);
        }
    }
}

#[test]
fn every_rule_agrees_with_finite_differences() {
    for seed in 1..=8 {
        let maker = cases(seed);
        let mut numbers = Numbers(seed);
        maker.cases.iter().for_each(|case| compare(case, &maker.dims, &mut numbers));
    }
}

#[test]
fn every_primitive_has_a_case() {
    let mut slots: Vec<usize> = cases(1).cases.iter().map(|case| slot(&case.op)).collect();
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots, (0..SLOTS).collect::<Vec<_>>());
    let [query, key, feature] = [0, 1, 2].map(Dim::from_u32);
    let last = Attention::new(query, key, feature);
    assert_eq!(slot(&Op::AttentionGrad(last)), SLOTS, "only this one has no case");
}

/// The gradient of one instruction over a vector at given points, with a cotangent of ones.
fn at_points(op: impl Fn(Dim) -> Op, args: &[&[f64]], scalar: bool) -> Vec<Vec<f64>> {
    let mut dims = Dims::new();
    let dim = dims.push(DimData { name: "D".to_string(), size: args[0].len() as u64, span: None, axes: Vec::new() });
    let vector = Type::real(vec![dim]);
    let result = if scalar { Type::real(vec![]) } else { vector.clone() };
    let case = Case { op: op(dim), args: args.iter().map(|_| (vector.clone(), WIDE)).collect(), results: vec![result.clone()] };
    let mut built = build(&case, &dims, &mut Numbers(1));
    built.inputs.iter_mut().zip(args).for_each(|((_, tensor), data)| tensor.data = data.to_vec());
    built.cotangent.iter_mut().for_each(|(_, tensor)| *tensor = Tensor::filled(&result, &dims, 1.0));
    (0..args.len()).map(|at| built.gradient(&dims, at)).collect()
}

#[test]
fn ties_are_shared() {
    let maximum = at_points(|_| Op::Map(Map::Max), &[&[1.0, 2.0, 3.0], &[1.0, 3.0, 2.0]], false);
    assert_eq!(maximum, [[0.5, 0.0, 1.0], [0.5, 1.0, 0.0]]);
    let minimum = at_points(|_| Op::Map(Map::Min), &[&[1.0, 2.0, 3.0], &[1.0, 3.0, 2.0]], false);
    assert_eq!(minimum, [[0.5, 1.0, 0.0], [0.5, 0.0, 1.0]]);
    assert_eq!(at_points(|dim| Op::Reduce(Reduce::Max, vec![dim]), &[&[4.0, 1.0, 4.0]], true), [[0.5, 0.0, 0.5]]);
}

#[test]
fn constant_powers_are_exact_at_zero_and_below() {
    for (exponent, expected) in [(2.0, [0.0, -2.0]), (3.0, [0.0, 3.0]), (1.0, [1.0, 1.0])] {
        let mut dims = Dims::new();
        let dim = dims.push(DimData { name: "D".to_string(), size: 2, span: None, axes: Vec::new() });
        let (origin, mut body) = (Origin::from_u32(0), Body::default());
        let (x, dy) = (body.input(Type::real(vec![dim]), ""), body.input(Type::real(vec![dim]), ""));
        let power = body.push(Op::Const(exponent), vec![], Type::real(vec![]), origin);
        let y = body.push(Op::Map(Map::Pow), vec![x, power], Type::real(vec![dim]), origin);
        let active = active(&body, &[x]);
        let dx = reverse(&mut body, &dims, &active, &[(y, dy, origin)], &[x])[0].expect("it has a gradient");
        let ty = Type::real(vec![dim]);
        let given = [(x, Tensor::new(&ty, &dims, vec![0.0, -1.0])), (dy, Tensor::filled(&ty, &dims, 1.0))];
        assert_eq!(run(&body, &dims, &given, &context(), &[dx]).remove(0).data, expected);
    }
}
