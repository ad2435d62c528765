//! Every collective of every small program, damaged in every way: the verifiers must refuse each.

use super::{GPT, MESHES, sharded};
use crate::graph::ir::{Program, Segment};
use crate::op::{Attention, Element, Exchange, Index, Inst, Map, Op, Random, Reduce, Type, Value, ValueData};
use crate::shard::ir::Sharded;
use crate::shard::verify;
use meshwright_plan::mesh::Coordinate;

/// A way to damage the collective at an instruction; none where it does not apply.
type Damage = fn(&Sharded, &mut Program, usize) -> Option<()>;

const DAMAGES: [(&str, Damage); 7] = [
    ("deleted", delete),
    ("doubled", double),
    ("along another axis", retarget),
    ("reduced otherwise", rereduce),
    ("with other members", resize),
    ("moved further", move_further),
    ("moved backwards", move_back),
];

fn delete(_: &Sharded, program: &mut Program, at: usize) -> Option<()> {
    let inst = program.body.insts.remove(at);
    replace(program, &inst, at);
    Some(())
}

/// Everyone reads the argument instead of the result.
fn replace(program: &mut Program, inst: &Inst, from: usize) {
    let (old, new) = (inst.results[0], inst.args[0]);
    for later in &mut program.body.insts[from..] {
        later.args.iter_mut().filter(|arg| **arg == old).for_each(|arg| *arg = new);
    }
    program.outputs.iter_mut().filter(|(_, value)| *value == old).for_each(|(_, value)| *value = new);
}

fn double(_: &Sharded, program: &mut Program, at: usize) -> Option<()> {
    let mut again = program.body.insts[at].clone();
    let data = program.body.values[again.results[0]].clone();
    let between = program.body.values.push(data);
    again.args = vec![between];
    program.body.insts[at].results = vec![between];
    program.body.insts.insert(at + 1, again);
    Some(())
}

fn retarget(sharded: &Sharded, program: &mut Program, at: usize) -> Option<()> {
    let Op::Collective(collective) = &mut program.body.insts[at].op else { return None };
    let other = sharded.mesh.axes.values().find(|axis| !collective.axes.contains(&axis.name) && axis.size == collective.members)?;
    collective.axes = vec![other.name.clone()];
    Some(())
}

fn rereduce(_: &Sharded, program: &mut Program, at: usize) -> Option<()> {
    let Op::Collective(collective) = &mut program.body.insts[at].op else { return None };
    let (Exchange::AllReduce { reduce } | Exchange::ReduceScatter { reduce, .. }) = &mut collective.exchange else { return None };
    *reduce = if *reduce == Reduce::Sum { Reduce::Max } else { Reduce::Sum };
    Some(())
}

fn resize(_: &Sharded, program: &mut Program, at: usize) -> Option<()> {
    let Op::Collective(collective) = &mut program.body.insts[at].op else { return None };
    collective.members *= 2;
    Some(())
}

fn move_further(_: &Sharded, program: &mut Program, at: usize) -> Option<()> {
    let by = moved_by(program, at)?;
    *by += 1;
    Some(())
}

/// The other way around; between two ranks that is the same.
fn move_back(_: &Sharded, program: &mut Program, at: usize) -> Option<()> {
    let Op::Collective(collective) = &program.body.insts[at].op else { return None };
    let members = collective.members;
    let by = moved_by(program, at)?;
    (members != 2 * *by).then(|| *by = members - *by)
}

fn moved_by(program: &mut Program, at: usize) -> Option<&mut u64> {
    let Op::Collective(collective) = &mut program.body.insts[at].op else { return None };
    let Exchange::Permute { by } = &mut collective.exchange else { return None };
    Some(by)
}

/// Whether either verifier refuses a program.
fn refused(sharded: &Sharded, segment: Segment, program: &Program) -> bool {
    crate::graph::verify::program(program, &sharded.graph.dims).is_err()
        || !declared(sharded, segment, program)
        || verify::program(sharded, segment, program).is_err()
}

/// Whether outputs have the types that the segment declares.
fn declared(sharded: &Sharded, segment: Segment, program: &Program) -> bool {
    let mut graph = sharded.graph.clone();
    let data = &mut graph.segments[segment];
    let places: [&mut Program; 2] = [&mut data.forward, &mut data.forward_only];
    let same = |own: &Program| {
        own.inputs == program.inputs
            && own.outputs.len() == program.outputs.len()
            && own.outputs.iter().zip(&program.outputs).all(|(a, b)| a.0 == b.0)
    };
    match places.into_iter().find(|own| same(own)) {
        Some(own) => *own = program.clone(),
        None => data.backward = Some(program.clone()),
    }
    crate::graph::verify::graph(&graph).is_ok()
}

#[test]
fn every_damaged_collective_is_refused() {
    let mut tried = 0;
    for (name, mesh) in MESHES {
        let sharded = sharded(&format!("{GPT}\n{mesh}"));
        for (segment, data) in &sharded.graph.segments {
            for program in data.programs() {
                let collectives = (0..program.body.insts.len()).filter(|at| matches!(program.body.insts[*at].op, Op::Collective(_)));
                for (at, (what, damage)) in collectives.flat_map(|at| DAMAGES.map(|damage| (at, damage))) {
                    let mut mutant = program.clone();
                    if damage(&sharded, &mut mutant, at).is_some() {
                        tried += 1;
                        assert!(refused(&sharded, segment, &mutant), "{name}, {}: instruction {at} {what} is accepted", data.name);
                    }
                }
            }
        }
    }
    assert!(tried > 400, "only {tried} mutants");
}

/// A block's programs around a ring, in which one attention is told that its keys are from elsewhere, or stand otherwise.
#[test]
fn attention_knows_whose_keys_it_sees() {
    let mut tried = 0;
    let changes: [fn(&mut Attention); 6] = [
        |attention| key(attention).back = (key(attention).back + 1) % 4,
        |attention| key(attention).back = (key(attention).back + 3) % 4,
        |attention| attention.balanced = !attention.balanced,
        |attention| key(attention).second = true,
        |attention| key(attention).times *= 2,
        |attention| attention.first_query.as_mut().expect("queries are cut").second = true,
    ];
    for sharded in ["ring", "balanced"].map(named) {
        for (segment, data) in &sharded.graph.segments {
            for program in [Some(&data.forward), data.backward.as_ref()].into_iter().flatten() {
                for at in 0..program.body.insts.len() {
                    for change in changes {
                        let mut mutant = program.clone();
                        let (Op::Attention(attention) | Op::AttentionGrad(attention)) = &mut mutant.body.insts[at].op else { continue };
                        change(attention);
                        tried += 1;
                        assert!(refused(&sharded, segment, &mutant), "{}: instruction {at}", data.name);
                    }
                }
            }
        }
    }
    assert_eq!(tried, 2 * 8 * changes.len());
}

fn key(attention: &mut Attention) -> &mut Coordinate {
    attention.first_key.as_mut().expect("keys are cut")
}

/// The local programs of one of the meshes.
fn named(mesh: &str) -> Sharded {
    sharded(&format!("{GPT}\n{}", MESHES.iter().find(|(name, _)| *name == mesh).expect("it is there").1))
}

/// A way to damage one instruction of balanced parts; none where it does not apply.
type Slip = fn(&Sharded, &mut Program, usize) -> Option<()>;

const SLIPS: [(&str, Slip); 6] = [
    ("draws as if there was one run", |_, program, at| {
        let Op::Random(Random::Uniform { cuts, .. }) = &mut program.body.insts[at].op else { return None };
        cuts.iter_mut().find(|cut| cut.balanced)?.balanced = false;
        Some(())
    }),
    ("starts with the other run", |_, program, at| {
        let Op::Index(Index::Coordinate(own)) = &mut program.body.insts[at].op else { return None };
        (own.times > 1).then(|| own.second = !own.second)
    }),
    ("starts elsewhere", |sharded, program, at| {
        let Op::Index(Index::Coordinate(own)) = &mut program.body.insts[at].op else { return None };
        let mut cuts = sharded.cuts.balanced_parts().map(|(_, axes)| sharded.mesh.names(axes));
        (own.times > 1 && cuts.any(|axes| axes == own.axes)).then(|| own.times += 1)
    }),
    ("chooses the other run", |sharded, program, at| {
        let made = |value: Value| program.body.insts.iter().find(|inst| inst.results[0] == value);
        let inst = &program.body.insts[at];
        let early = made(inst.args.first().copied()?).filter(|early| early.op == Op::Map(Map::Lt))?;
        let here = made(early.args[0])?;
        let run = matches!(here.op, Op::Index(Index::Position(dim)) if sharded.cuts.is_balanced(dim));
        let chosen = run && inst.op == Op::Map(Map::Where);
        chosen.then(|| program.body.insts[at].args.swap(1, 2))
    }),
    ("orders chunks otherwise", |sharded, program, at| {
        let result = program.body.insts[at].results[0];
        program.body.values[result].ty.dims.iter().find(|dim| sharded.cuts.chunked(**dim).is_some())?;
        let Op::Map(map) = &mut program.body.insts[at].op else { return None };
        let other = match map {
            Map::Add => Map::Sub,
            Map::Sub | Map::Mul | Map::Div | Map::Rem => Map::Add,
            Map::Min => Map::Max,
            _ => return None,
        };
        *map = other;
        Some(())
    }),
    ("leaves chunks as they came", |sharded, program, at| {
        let Op::Index(Index::Gather { over }) = program.body.insts[at].op else { return None };
        sharded.cuts.chunked(over)?;
        let mut order = Type { element: Element::Integer, dims: Vec::new() };
        order.dims = program.body.ty(program.body.insts[at].args[1]).dims.clone();
        let plain = program.body.values.push(ValueData { ty: order.clone(), name: String::new() });
        let origin = program.body.insts[at].origin;
        let position = Inst { op: Op::Index(Index::Position(order.dims[0])), args: Vec::new(), results: vec![plain], origin };
        program.body.insts[at].args[1] = plain;
        program.body.insts.insert(at, position);
        Some(())
    }),
];

#[test]
fn every_slip_with_two_runs_is_refused() {
    let turned = GPT.replace("Seq = 8", "Seq = 16").replace(
        "attention(x @ query + query_bias, x @ key,",
        "attention(rotary(x @ query + query_bias, sequence: Seq, feature: Head), rotary(x @ key, sequence: Seq, feature: Head),",
    );
    let mut tried = [0; SLIPS.len()];
    for (name, mesh) in MESHES.iter().filter(|(name, _)| name.starts_with("balanced")) {
        let sharded = sharded(&format!("{turned}\n{mesh}"));
        for (segment, data) in &sharded.graph.segments {
            for program in [Some(&data.forward), data.backward.as_ref()].into_iter().flatten() {
                for at in 0..program.body.insts.len() {
                    for (count, (what, slip)) in tried.iter_mut().zip(SLIPS) {
                        let mut mutant = program.clone();
                        if slip(&sharded, &mut mutant, at).is_some() {
                            *count += 1;
                            assert!(refused(&sharded, segment, &mutant), "{name}, {}: instruction {at} {what} and is accepted", data.name);
                        }
                    }
                }
            }
        }
    }
    assert!(tried.iter().all(|count| *count > 3), "{tried:?}");
}

#[test]
fn a_ring_that_leaves_out_a_rank_is_refused() {
    let sharded = named("ring");
    let (segment, data) = sharded.graph.segments.iter().find(|(_, data)| data.name == "Block").expect("the model has a block");
    let mut program = data.forward.clone();
    let attends = |inst: &Inst| matches!(inst.op, Op::Attention(_));
    let [first, .., last] =
        program.body.insts.iter().enumerate().filter(|(_, inst)| attends(inst)).map(|(at, _)| at).collect::<Vec<_>>()[..]
    else {
        panic!("a ring attends in steps")
    };
    let own = program.body.insts[first].results.clone();
    let gone = program.body.insts.remove(last);
    for arg in program.body.insts.iter_mut().flat_map(|inst| &mut inst.args) {
        if let Some(at) = gone.results.iter().position(|result| result == arg) {
            *arg = own[at];
        }
    }
    assert!(refused(&sharded, segment, &program));
}
