//! Claims about row kernels: their machine code gives, bit by bit, what the plan's documentation says, on any number of threads.

mod maker;
mod plain;

use cranelift_entity::EntityRef;
use maker::{Maker, coordinates};
use meshwright_plan::Element;
use meshwright_plan::kernel::{Access, Axis, Map, NodeData, Reduce, Runs};

const LANES: [u64; 8] = [1, 3, 16, 17, 64, 100, 515, 1100];

#[test]
fn elementwise_kernels() {
    for lanes in LANES {
        let mut k = Maker::new(&[3, 4], lanes);
        let (x, y) = (k.dense(Access::Read), k.dense(Access::Accumulate));
        let bias = k.operand(Element::F32, Access::Read, &[0, 0, 1], 0);
        let (x, bias) = (k.load(x), k.load(bias));
        let rate = k.node(NodeData::Scalar("rate".into()));
        let sum = k.map(Map::Add, &[x, bias]);
        let scaled = k.map(Map::Mul, &[sum, rate]);
        k.store(y, scaled);
        k.check();
    }
}

#[test]
fn every_map_of_reals() {
    use Map::{Abs, Add, Div, Floor, Max, Min, Mul, Neg, RoundBf16, Rsqrt, Sign, Sqrt, Sub};
    use Map::{Cos, Erf, Exp, Log, Sin, Tanh};
    for op in [Add, Sub, Mul, Div, Min, Max, Map::Pow, Neg, Abs, Sign, Floor, Exp, Log, Sin, Cos, Tanh, Erf, Sqrt, Rsqrt, RoundBf16] {
        let mut k = Maker::new(&[2], 531);
        let (a, b, y) = (k.dense(Access::Read), k.dense(Access::Read), k.dense(Access::Write));
        let args = [k.load(a), k.load(b)];
        let value = k.map(op, &args[..op.arity()]);
        let twice = k.map(Add, &[value, args[0]]);
        k.store(y, twice);
        k.check();
    }
}

#[test]
fn powers_with_small_exponents() {
    for exponent in [-3.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 0.5, 5.0] {
        let mut k = Maker::new(&[2], 37);
        let (a, y) = (k.dense(Access::Read), k.dense(Access::Write));
        let args = [k.load(a), k.real(exponent)];
        let value = k.map(Map::Pow, &args);
        k.store(y, value);
        k.check();
    }
}

#[test]
fn every_map_of_integers_and_bools() {
    use Map::{Abs, Add, Div, Eq, Le, Lt, Max, Min, Mul, Ne, Neg, Rem, Sign, Sub};
    for op in [Add, Sub, Mul, Div, Rem, Min, Max, Neg, Abs, Sign, Lt, Le, Eq, Ne] {
        let mut k = Maker::new(&[2], 53);
        let strides = k.strides();
        let a = k.operand(Element::I32, Access::Read, &strides, 0);
        let b = k.operand(Element::I32, Access::Read, &strides, 0);
        k.bound(a, 7);
        k.bound(b, 5);
        let shift = k.node(NodeData::Integer(-3));
        let a = k.load(a);
        let b = k.load(b);
        let args = [k.map(Sub, &[a, b]), k.map(Add, &[b, shift])];
        let value = k.map(op, &args[..op.arity()]);
        let result = op.result(&[Element::I32, Element::I32][..op.arity()]).expect("integers fit");
        let y = k.operand(result, Access::Write, &strides, 0);
        let z = k.dense(Access::Write);
        k.store(y, value);
        let real = k.map(Map::Real, &[value]);
        let half = k.real(0.5);
        let real = k.map(Map::Mul, &[real, half]);
        k.store(z, real);
        k.check();
    }
}

#[test]
fn bools_choices_and_conversions() {
    for lanes in LANES {
        let mut k = Maker::new(&[3], lanes);
        let strides = k.strides();
        let m = k.operand(Element::Bool, Access::Read, &strides, 0);
        let x = k.dense(Access::Read);
        let (out, whole, flags) = (
            k.dense(Access::Write),
            k.operand(Element::I32, Access::Write, &strides, 0),
            k.operand(Element::Bool, Access::Write, &strides, 0),
        );
        let (m, x) = (k.load(m), k.load(x));
        let half = k.real(0.5);
        let below = k.map(Map::Lt, &[x, half]);
        let both = k.map(Map::And, &[m, below]);
        let either = k.map(Map::Or, &[m, below]);
        let not = k.map(Map::Not, &[both]);
        let chosen = k.map(Map::Where, &[either, x, half]);
        let whole_value = k.map(Map::Int, &[x]);
        k.store(out, chosen);
        k.store(whole, whole_value);
        k.store(flags, not);
        k.check();
    }
}

#[test]
fn norms_with_residuals() {
    for lanes in LANES {
        let mut k = Maker::new(&[5, 2], lanes);
        let (x, a) = (k.dense(Access::Read), k.dense(Access::Read));
        let gain = k.operand(Element::F32, Access::Read, &[0, 0, 1], 0);
        let (y, h) = (k.dense(Access::Write), k.dense(Access::Accumulate));
        let stat = k.operand(Element::F32, Access::Write, &[2, 1, 0], 0);
        let (x, a, gain) = (k.load(x), k.load(a), k.load(gain));
        let sum = k.map(Map::Add, &[x, a]);
        let count = k.real(lanes as f32);
        let total = k.reduce(Reduce::Sum, sum);
        let mean = k.map(Map::Div, &[total, count]);
        let centred = k.map(Map::Sub, &[sum, mean]);
        let square = k.map(Map::Mul, &[centred, centred]);
        let squares = k.reduce(Reduce::Sum, square);
        let variance = k.map(Map::Div, &[squares, count]);
        let tiny = k.real(1e-5);
        let variance = k.map(Map::Add, &[variance, tiny]);
        let rstd = k.map(Map::Rsqrt, &[variance]);
        let normed = k.map(Map::Mul, &[centred, rstd]);
        let scaled = k.map(Map::Mul, &[normed, gain]);
        k.store(y, sum);
        k.store(h, scaled);
        k.store(stat, rstd);
        k.check();
    }
}

/// Softmax cross-entropy with its gradient: exponentials kept over phases, a lookup by row, a row-level logarithm, a fold of the loss.
#[test]
fn cross_entropy() {
    for lanes in LANES {
        let mut k = Maker::new(&[4, 3], lanes);
        let x = k.dense(Access::Read);
        let target = k.operand(Element::I32, Access::Read, &[3, 1, 0], 0);
        k.bound(target, lanes as i32);
        let grad = k.dense(Access::Write);
        let loss = k.operand(Element::F32, Access::Accumulate, &[0, 0, 0], 0);
        let partials = k.operand(Element::F32, Access::Scratch, &[0, 0, 0], 4);
        let value = k.load(x);
        let target = k.load(target);
        let picked = {
            let row = k.operand(Element::F32, Access::Read, &[lanes as i64 * 3, lanes as i64, 0], lanes);
            k.lookup(row, target, 1, lanes)
        };
        let most = k.reduce(Reduce::Max, value);
        let less = k.map(Map::Sub, &[value, most]);
        let e = k.map(Map::Exp, &[less]);
        let sum = k.reduce(Reduce::Sum, e);
        let log = k.map(Map::Log, &[sum]);
        let lse = k.map(Map::Add, &[log, most]);
        let row_loss = k.map(Map::Sub, &[lse, picked]);
        let p = k.map(Map::Div, &[e, sum]);
        let lane = k.node(NodeData::Position { dim: Axis::new(2), micro: 0 });
        let hit = k.map(Map::Eq, &[lane, target]);
        let hit = k.map(Map::Real, &[hit]);
        let g = k.map(Map::Sub, &[p, hit]);
        k.store(grad, g);
        k.fold(2, 3, loss, Some(partials), Reduce::Sum, row_loss);
        k.check();
    }
}

#[test]
fn reductions_of_all_kinds() {
    for lanes in LANES {
        for op in [Reduce::Sum, Reduce::Max, Reduce::Min, Reduce::Argmax] {
            let mut k = Maker::new(&[7], lanes);
            let x = k.dense(Access::Read);
            let out = k.operand(op.result(), Access::Write, &[1, 0], 0);
            let all = k.dense(Access::Write);
            let x = k.load(x);
            let e = k.map(Map::Floor, &[x]);
            let value = k.reduce(op, e);
            k.store(out, value);
            let row = k.real(1.0);
            let count = k.reduce(Reduce::Sum, row);
            k.store(all, count);
            k.check();
        }
    }
}

#[test]
fn folds_over_all_and_some_rows() {
    for lanes in LANES {
        for (folded, blocks) in [(2, 1), (2, 4), (1, 1)] {
            let mut k = Maker::new(&[3, 5], lanes);
            let (x, y) = (k.dense(Access::Read), k.dense(Access::Write));
            let outer = if folded == 1 { lanes as i64 } else { 0 };
            let sums = k.operand(Element::F32, Access::Accumulate, &[outer, 0, 1], 0);
            let most = k.operand(Element::F32, Access::Write, &[outer, 0, 1], 0);
            let parts =
                [(); 2].map(|()| (folded == 2).then(|| k.operand(Element::F32, Access::Scratch, &[0, 0, 1], blocks as u64 * lanes)));
            let x = k.load(x);
            let wave = k.map(Map::Tanh, &[x]);
            k.store(y, wave);
            k.fold(folded, blocks, sums, parts[0], Reduce::Sum, wave);
            k.fold(folded, blocks, most, parts[1], Reduce::Max, x);
            k.check();
        }
    }
}

#[test]
fn positions_and_random_numbers() {
    for lanes in LANES {
        let mut k = Maker::new(&[3, 4], lanes);
        let y = k.dense(Access::Write);
        let row = k.operand(Element::F32, Access::Write, &[4, 1, 0], 0);
        let strides: Vec<u64> = k.strides().iter().map(|stride| *stride as u64).collect();
        let random = k.node(NodeData::Random { site: 77, strides, micro: 1000, origin: vec![], runs: vec![] });
        let by_row = k.node(NodeData::Random { site: 78, strides: vec![4, 1, 0], micro: 12, origin: vec![], runs: vec![] });
        let [outer, inner, lane] = [0, 1, 2].map(|dim| k.node(NodeData::Position { dim: Axis::new(dim), micro: 3 * (dim == 0) as u64 }));
        let sum = k.map(Map::Add, &[outer, inner]);
        let sum = k.map(Map::Mul, &[sum, lane]);
        let sum = k.map(Map::Real, &[sum]);
        let value = k.map(Map::Add, &[sum, random]);
        k.store(y, value);
        k.store(row, by_row);
        k.check();
    }
}

#[test]
fn coordinates_shift_positions_and_random_numbers() {
    for lanes in LANES {
        let [(data, _), (tensor, _), ..]: [_; 4] = coordinates().try_into().expect("four coordinates");
        let mut k = Maker::new(&[3, 4], lanes);
        let y = k.dense(Access::Write);
        let row = k.operand(Element::F32, Access::Write, &[4, 1, 0], 0);
        let strides: Vec<u64> = k.strides().iter().map(|stride| *stride as u64).collect();
        let random = k.node(NodeData::Random { site: 77, strides, micro: 1000, origin: vec![data.clone(), tensor.clone()], runs: vec![] });
        let by_row = k.node(NodeData::Random { site: 78, strides: vec![4, 1, 0], micro: 12, origin: vec![tensor], runs: vec![] });
        let start = k.node(NodeData::Coordinate(data));
        let lane = k.node(NodeData::Position { dim: Axis::new(2), micro: 0 });
        let at = k.map(Map::Add, &[start, lane]);
        let at = k.map(Map::Real, &[at]);
        let value = k.map(Map::Add, &[at, random]);
        k.store(y, value);
        k.store(row, by_row);
        k.check();
    }
}

#[test]
fn random_numbers_count_on_in_the_run_of_their_row() {
    for lanes in LANES {
        let [(data, _), _, (first, _), _]: [_; 4] = coordinates().try_into().expect("four coordinates");
        for dim in [0, 1] {
            let mut k = Maker::new(&[4, 6], lanes);
            let y = k.dense(Access::Write);
            let row = k.operand(Element::F32, Access::Write, &[6, 1, 0], 0);
            let strides: Vec<u64> = k.strides().iter().map(|stride| *stride as u64).collect();
            let runs = || vec![Runs { dim: Axis::new(dim), first: first.clone() }];
            let random = k.node(NodeData::Random { site: 77, strides, micro: 1000, origin: vec![data.clone()], runs: runs() });
            let by_row = k.node(NodeData::Random { site: 78, strides: vec![6, 1, 0], micro: 12, origin: vec![], runs: runs() });
            k.store(y, random);
            k.store(row, by_row);
            k.check();
        }
    }
}

#[test]
fn lookups_shifts_and_strides() {
    for lanes in LANES {
        for (by, wrap) in [(1, false), (-2, false), (3, true), (-1, true)] {
            let mut k = Maker::new(&[4, 3], lanes);
            let size = lanes as i64;
            let table = k.operand(Element::F32, Access::Read, &[0, 0, 1], 9 * lanes);
            let ids = k.operand(Element::I32, Access::Read, &[3, 1, 0], 0);
            k.bound(ids, 10);
            let columns = k.operand(Element::I32, Access::Read, &[3 * size, size, 1], 0);
            k.bound(columns, lanes as i32);
            let x = k.dense(Access::Read);
            let turned = k.operand(Element::F32, Access::Read, &[3 * size, 1, 3], 0);
            let out = k.operand(Element::F32, Access::Write, &[3 * size, 1, 3], 0);
            let row_of = k.operand(Element::F32, Access::Read, &[3 * size, size, 0], lanes);
            let ids = k.load(ids);
            let entry = k.lookup(table, ids, size, 10);
            let columns = k.load(columns);
            let mixed = k.lookup(row_of, columns, 1, lanes);
            let turned = k.load(turned);
            let values = [entry, mixed, turned, k.moved(x, 0, by, wrap), k.moved(x, 1, by, wrap), k.moved(x, 2, by, wrap)];
            let sum = values.into_iter().reduce(|a, b| k.map(Map::Add, &[a, b])).expect("six values");
            k.store(out, sum);
            k.check();
        }
    }
}

#[test]
fn running_sums() {
    for lanes in LANES {
        let mut k = Maker::new(&[5], lanes);
        let (x, y) = (k.dense(Access::Read), k.dense(Access::Write));
        let x = k.load(x);
        let sums = k.node(NodeData::Scan { arg: x });
        let most = k.reduce(Reduce::Max, sums);
        let value = k.map(Map::Sub, &[sums, most]);
        k.store(y, value);
        k.check();
    }
}

/// One long row: its lanes are cut among the threads.
#[test]
fn flat_updates() {
    let mut k = Maker::new(&[], 40_003);
    let [p, m, g] = [Access::Read; 3].map(|access| k.dense(access));
    let [p_new, m_new] = [Access::Write; 2].map(|access| k.dense(access));
    let [p, m, g] = [p, m, g].map(|slot| k.load(slot));
    let beta = k.node(NodeData::Scalar("beta".into()));
    let rate = k.node(NodeData::Scalar("rate".into()));
    let kept = k.map(Map::Mul, &[m, beta]);
    let moment = k.map(Map::Add, &[kept, g]);
    let root = k.map(Map::Sqrt, &[moment]);
    let e = k.map(Map::Exp, &[root]);
    let step = k.map(Map::Mul, &[e, rate]);
    let after = k.map(Map::Sub, &[p, step]);
    k.store(m_new, moment);
    k.store(p_new, after);
    k.check();
}

#[test]
fn kernels_without_lanes() {
    let mut k = Maker::new(&[6, 7], 0);
    let (x, y) = (k.dense(Access::Read), k.dense(Access::Write));
    let total = k.operand(Element::F32, Access::Write, &[0, 0], 0);
    let x = k.load(x);
    let e = k.map(Map::Exp, &[x]);
    k.store(y, e);
    k.fold(2, 1, total, None, Reduce::Sum, e);
    k.check();
}

/// Reads and writes at one place: a store that is ready early waits for the last load.
#[test]
fn results_may_replace_arguments() {
    for lanes in LANES {
        let mut k = Maker::new(&[3, 4], lanes);
        let [x, a] = [(); 2].map(|()| k.dense(Access::Read));
        let [y, z] = [(); 2].map(|()| k.dense(Access::Write));
        k.same_place(x, y);
        k.same_place(a, z);
        let (x, a) = (k.load(x), k.load(a));
        let early = k.map(Map::Add, &[x, a]);
        let most = k.reduce(Reduce::Max, x);
        let less = k.map(Map::Sub, &[x, most]);
        let e = k.map(Map::Exp, &[less]);
        let total = k.reduce(Reduce::Sum, e);
        let p = k.map(Map::Div, &[e, total]);
        let late = k.map(Map::Mul, &[x, a]);
        let late = k.map(Map::Sub, &[late, p]);
        k.store(y, early);
        k.store(z, late);
        k.check();
    }
}
