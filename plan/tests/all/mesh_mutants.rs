//! Every collective of small plans, deleted, doubled, aimed at other ranks, made another one, moved, in buffers too small: no such plan passes the
//! verifier and the proofs, and each is refused by a rule's name.

use crate::round_trip::PLANS;
use meshwright_plan::kernel::{Access, Collective, Exchange, Operand, Reduce, Skeleton, Slot};
use meshwright_plan::program::{Accumulate, Item, Launch, Place};
use meshwright_plan::verify::verify;
use meshwright_plan::{Element, KernelData, Plan, Program, parse, proof};
use std::collections::BTreeMap;

fn read(name: &str) -> Plan {
    let text = PLANS.iter().find(|(plan, _)| *plan == name).map_or("", |(_, text)| text);
    parse::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The rules that refuse a plan.
fn refusals(plan: &Plan) -> Vec<&'static str> {
    let found = verify(plan).and_then(|()| proof::prove(plan)).err().unwrap_or_default();
    found.iter().map(|violation| violation.rule.name()).collect()
}

/// Mutants of one plan with what was done to each.
#[derive(Default)]
struct Mutants(Vec<(&'static str, String, Plan)>);

impl Mutants {
    fn add(&mut self, kind: &'static str, what: String, plan: &Plan, change: impl FnOnce(&mut Plan)) {
        let mut mutant = plan.clone();
        change(&mut mutant);
        self.0.push((kind, what, mutant));
    }

    /// Asserts that all are refused, and says how many of each kind by which rule first.
    fn refused(self, plan: &str) -> String {
        let (mut rules, mut survivors): (BTreeMap<_, usize>, Vec<String>) = (BTreeMap::new(), Vec::new());
        for (kind, what, mutant) in self.0 {
            match refusals(&mutant).first() {
                Some(rule) => *rules.entry((kind, *rule)).or_insert(0) += 1,
                None => survivors.push(what),
            }
        }
        assert!(survivors.is_empty(), "{plan}: not refused:\n{}", survivors.join("\n"));
        rules.iter().map(|((kind, rule), count)| format!("{kind}: {count} {rule}\n")).collect()
    }
}

/// All launches of collectives.
fn collectives(plan: &Plan) -> Vec<(Program, usize, Collective)> {
    let all =
        plan.programs.iter().flat_map(|(program, data)| data.launches.iter().enumerate().map(move |(at, launch)| (program, at, launch)));
    let collective = |launch: &Launch| match &plan.kernels[launch.kernel].skeleton {
        Skeleton::Collective(collective) => Some(collective.clone()),
        _ => None,
    };
    all.filter_map(|(program, at, launch)| Some((program, at, collective(launch)?))).collect()
}

/// This launch alone gets a kernel of its own, changed.
fn alter(plan: &mut Plan, program: Program, at: usize, change: impl FnOnce(&mut KernelData)) {
    let mut kernel = plan.kernels[plan.programs[program].launches[at].kernel].clone();
    change(&mut kernel);
    plan.programs[program].launches[at].kernel = plan.kernels.push(kernel);
}

fn recast(kernel: &mut KernelData, change: impl FnOnce(&mut Collective)) {
    if let Skeleton::Collective(collective) = &mut kernel.skeleton {
        change(collective);
    }
}

/// Every other kind of exchange; an all-to-all also goes the other way.
fn others(exchange: &Exchange) -> Vec<Exchange> {
    let mut all = vec![
        Exchange::AllGather,
        Exchange::ReduceScatter(Reduce::Sum),
        Exchange::ReduceScatter(Reduce::Max),
        Exchange::ReduceScatter(Reduce::Argmax),
        Exchange::AllReduce(Reduce::Sum),
        Exchange::AllReduce(Reduce::Max),
        Exchange::AllReduce(Reduce::Min),
        Exchange::Permute { by: 0 },
        Exchange::Permute { by: 1 },
        Exchange::Permute { by: 2 },
    ];
    all.push(match exchange {
        Exchange::AllToAll { from, to } => Exchange::AllToAll { from: to.clone(), to: from.clone() },
        Exchange::AllGather | Exchange::ReduceScatter(_) | Exchange::AllReduce(_) | Exchange::Permute { .. } => {
            Exchange::AllToAll { from: "Row".into(), to: "Slots".into() }
        }
    });
    all.retain(|other| other != exchange);
    all
}

/// Other groups: each axis, both in both orders, none, one that is not there, one twice.
fn groups(plan: &Plan) -> Vec<Vec<String>> {
    let names: Vec<String> = plan.mesh.axes.iter().map(|axis| axis.name.clone()).collect();
    let single = names.iter().map(|name| vec![name.clone()]);
    let reversed = names.iter().rev().cloned().collect();
    let twice = names.iter().map(|name| vec![name.clone(), name.clone()]);
    single.chain([names.clone(), reversed, vec![], vec!["nowhere".into()]]).chain(twice).collect()
}

fn mutants(plan: &Plan) -> Mutants {
    let mut all = Mutants::default();
    for (number, entry) in plan.entries.iter().enumerate() {
        for path in joins(&entry.body) {
            all.add("join lost", format!("{}: join {path:?} lost", entry.name), plan, |plan| {
                around(&mut plan.entries[number].body, &path).remove(path[path.len() - 1]);
            });
        }
    }
    for (program, at, collective) in collectives(plan) {
        let name = format!("{} launch {}", plan.programs[program].name, at + 1);
        all.add("deleted", format!("{name} deleted"), plan, |plan| {
            plan.programs[program].launches.remove(at);
            mark(plan, program);
        });
        all.add("doubled", format!("{name} doubled"), plan, |plan| {
            let launch = plan.programs[program].launches[at].clone();
            plan.programs[program].launches.insert(at, launch);
        });
        if plan.programs[program].launches[at].places[0] != plan.programs[program].launches[at].places[1] {
            all.add("bypassed", format!("{name} bypassed"), plan, |plan| bypass(plan, program, at));
        }
        // the order of a sum's terms is no other sum
        let ordered = !matches!(collective.exchange, Exchange::AllReduce(_));
        let same = |group: &[String]| {
            let set = group.len() == collective.axes.len() && group.iter().all(|axis| collective.axes.contains(axis));
            if ordered { group == collective.axes } else { set }
        };
        for group in groups(plan).into_iter().filter(|group| !same(group)) {
            all.add("other ranks", format!("{name} along {group:?}"), plan, |plan| {
                alter(plan, program, at, |kernel| recast(kernel, |collective| collective.axes.clone_from(&group)));
            });
        }
        for exchange in others(&collective.exchange) {
            all.add("other exchange", format!("{name} as {exchange:?}"), plan, |plan| {
                alter(plan, program, at, |kernel| recast(kernel, |collective| collective.exchange = exchange.clone()));
            });
        }
        for neighbour in
            [at.checked_sub(1), Some(at + 1).filter(|next| *next < plan.programs[program].launches.len())].into_iter().flatten()
        {
            if !meet(plan, program, at, neighbour) {
                continue;
            }
            all.add("swapped", format!("{name} swapped with launch {}", neighbour + 1), plan, |plan| {
                plan.programs[program].launches.swap(at, neighbour);
            });
        }
        all.add("other element", format!("{name} of integers"), plan, |plan| {
            alter(plan, program, at, |kernel| kernel.operands.values_mut().for_each(|operand| operand.element = Element::I32));
        });
        operands(&mut all, plan, program, at, &name);
    }
    all
}

/// A collective that is not in place is gone, and what read what it brought reads what it was given.
fn bypass(plan: &mut Plan, program: Program, at: usize) {
    let (kernels, launches) = (&plan.kernels, &mut plan.programs[program].launches);
    let gone = launches.remove(at);
    let bytes = |operand: &Operand, place: Place| place.offset..place.offset + operand.extent * operand.element.bytes();
    let (given, brought) = (gone.places[0], gone.places[1]);
    let range = bytes(&kernels[gone.kernel].operands[Slot::from_u32(1)], brought);
    let mut last = None;
    for (number, launch) in launches.iter_mut().enumerate().skip(at) {
        let mut overwritten = false;
        for (slot, operand) in kernels[launch.kernel].operands.iter() {
            let index = slot.as_u32() as usize;
            let (place, own) = (launch.places[index], bytes(operand, launch.places[index]));
            let meets = place.param == brought.param && own.start < range.end && range.start < own.end;
            overwritten |= meets && operand.access != Access::Read;
            if meets && operand.access == Access::Read && place.offset >= brought.offset {
                launch.places[index] = Place { param: given.param, offset: given.offset + (place.offset - brought.offset) };
                launch.last &= !(1 << index);
                last = Some((number, index));
            }
        }
        if overwritten {
            break;
        }
    }
    if let Some((number, index)) = last.filter(|_| gone.is_last(0)) {
        launches[number].last |= 1 << index;
    }
    mark(plan, program);
}

/// Whether one of two launches writes bytes that the other uses, too.
fn meet(plan: &Plan, program: Program, one: usize, two: usize) -> bool {
    let used = |at: usize| {
        let launch = &plan.programs[program].launches[at];
        let operands = plan.kernels[launch.kernel].operands.values().zip(&launch.places);
        operands
            .map(|(operand, place)| (operand.access, *place, place.offset + operand.extent * operand.element.bytes()))
            .collect::<Vec<_>>()
    };
    let twos = used(two);
    used(one).iter().any(|(access, place, end)| {
        twos.iter().any(|(other_access, other, other_end)| {
            let shared = place.param == other.param && place.offset < *other_end && other.offset < *end;
            shared && (*access != Access::Read || *other_access != Access::Read)
        })
    })
}

/// A parameter that nothing writes any more is not marked so: that alone must not be what refuses a mutant.
fn mark(plan: &mut Plan, program: Program) {
    let launches = &plan.programs[program].launches;
    let writes = launches.iter().flat_map(|launch| {
        let operands = plan.kernels[launch.kernel].operands.values();
        operands.zip(&launch.places).filter(|(operand, _)| operand.access != Access::Read).map(|(_, place)| place.param)
    });
    let written: Vec<u32> = writes.collect();
    (0u32..).zip(&mut plan.programs[program].params).for_each(|(at, param)| param.written = written.contains(&at));
}

/// Accesses, extents, places and accumulation of one launch.
fn operands(all: &mut Mutants, plan: &Plan, program: Program, at: usize, name: &str) {
    let launch = &plan.programs[program].launches[at];
    for (slot, operand) in plan.kernels[launch.kernel].operands.iter() {
        let index = slot.as_u32() as usize;
        for access in [Access::Read, Access::Write, Access::Scratch].into_iter().filter(|access| *access != operand.access) {
            let harmless = operand.access == Access::Accumulate && access == Access::Write;
            if !harmless {
                all.add("other access", format!("{name} with {} {access:?}", operand.name), plan, |plan| {
                    alter(plan, program, at, |kernel| kernel.operands[slot].access = access);
                });
            }
        }
        all.add("smaller", format!("{name} with a smaller {}", operand.name), plan, |plan| {
            alter(plan, program, at, |kernel| kernel.operands[slot].extent -= 1);
        });
        let param = launch.places[index].param as usize;
        all.add("smaller", format!("{name} with a smaller {}", plan.programs[program].params[param].name), plan, |plan| {
            plan.programs[program].params[param].bytes = launch.places[index].offset + operand.extent * 4 - 4;
        });
    }
    for accumulate in [Accumulate::Write, Accumulate::Add].into_iter().filter(|other| *other != launch.accumulate) {
        all.add("accumulates otherwise", format!("{name} that {accumulate:?}s"), plan, |plan| {
            plan.programs[program].launches[at].accumulate = accumulate
        });
    }
}

/// Each call of a program with a collective, gone from the timeline or there twice.
fn calls(plan: &Plan) -> Mutants {
    let mut all = Mutants::default();
    let with: Vec<Program> = collectives(plan).into_iter().map(|(program, _, _)| program).collect();
    let count = plan.entries.iter().map(|entry| count(&entry.body, &with)).sum();
    for number in 0..count {
        // a call that computes as well may be done twice: it only takes longer
        for twice in [false, true].into_iter().filter(|twice| !twice || number_is_pure(plan, &with, number)) {
            all.add(
                if twice { "call doubled" } else { "call deleted" },
                format!("call {number} {}", if twice { "doubled" } else { "deleted" }),
                plan,
                |plan| {
                    let mut left = number;
                    plan.entries.iter_mut().for_each(|entry| edit(&mut entry.body, &with, &mut left, twice));
                },
            );
        }
    }
    for (region, data) in plan.arena.regions.iter() {
        all.add("smaller", format!("{} smaller", data.name), plan, |plan| {
            plan.arena.regions[region].bytes = data.bytes.min(reach(plan, region)) - 64
        });
    }
    all
}

/// Whether the call with this number does nothing but exchange.
fn number_is_pure(plan: &Plan, with: &[Program], number: usize) -> bool {
    let mut all = Vec::new();
    plan.entries.iter().for_each(|entry| programs(&entry.body, with, &mut all));
    let pure = |launch: &Launch| matches!(plan.kernels[launch.kernel].skeleton, Skeleton::Collective(_));
    plan.programs[all[number]].launches.iter().all(pure)
}

fn programs(body: &[Item], with: &[Program], all: &mut Vec<Program>) {
    for item in body {
        match item {
            Item::Loop { body, .. } => programs(body, with, all),
            item => all.extend(item.call().map(|call| call.program).filter(|program| with.contains(program))),
        }
    }
}

fn count(body: &[Item], with: &[Program]) -> usize {
    let one = |item: &Item| match item {
        Item::Loop { body, .. } => count(body, with),
        item => usize::from(item.call().is_some_and(|call| with.contains(&call.program))),
    };
    body.iter().map(one).sum()
}

/// Removes or doubles the call with this number; counts down through the body.
fn edit(body: &mut Vec<Item>, with: &[Program], left: &mut usize, twice: bool) {
    let mut at = 0;
    while at < body.len() {
        let is_call = body[at].call().is_some_and(|call| with.contains(&call.program));
        if let Item::Loop { body, .. } = &mut body[at] {
            edit(body, with, left, twice);
        } else if is_call && *left == 0 {
            *left = usize::MAX;
            if !twice {
                body.remove(at);
                continue;
            }
            body.insert(at, body[at].clone());
            at += 1;
        } else if is_call && *left != usize::MAX {
            *left -= 1;
        }
        at += 1;
    }
}

/// Where joins stand: the indices of items on the way through loops.
fn joins(body: &[Item]) -> Vec<Vec<usize>> {
    let inside = |(at, item): (usize, &Item)| match item {
        Item::Join(_) => vec![vec![at]],
        Item::Loop { body, .. } => joins(body).into_iter().map(|path| [vec![at], path].concat()).collect(),
        Item::Call(_) | Item::Start(..) | Item::Control => Vec::new(),
    };
    body.iter().enumerate().flat_map(inside).collect()
}

/// The items among which the end of a path stands.
fn around<'p>(body: &'p mut Vec<Item>, path: &[usize]) -> &'p mut Vec<Item> {
    match (path, path.first().and_then(|at| body.get(*at))) {
        ([_, rest @ ..], Some(Item::Loop { .. })) if !rest.is_empty() => {
            let Item::Loop { body, .. } = &mut body[path[0]] else { unreachable!("it has been looked at") };
            around(body, rest)
        }
        _ => body,
    }
}

/// Bytes of a region that something uses, rounded up: what lies beyond may go.
fn reach(plan: &Plan, region: meshwright_plan::Region) -> u64 {
    let mut bytes = plan.arena.regions[region].bytes;
    loop {
        let mut smaller = plan.clone();
        smaller.arena.regions[region].bytes = bytes.saturating_sub(64);
        if bytes < 64 || verify(&smaller).is_err() {
            return bytes;
        }
        bytes -= 64;
    }
}

#[test]
fn every_collective_is_needed_as_it_is() {
    for name in ["sharded", "ring", "sequence", "zero", "experts", "scan", "features"] {
        let plan = read(name);
        assert_eq!(refusals(&plan), Vec::<&str>::new(), "{name}");
        let rules = mutants(&plan).refused(name);
        insta::assert_snapshot!(format!("{name} mutants"), rules);
    }
}

#[test]
fn every_call_and_region_is_needed_as_it_is() {
    for name in ["sharded", "ring", "sequence", "zero", "experts"] {
        let plan = read(name);
        let rules = calls(&plan).refused(name);
        insta::assert_snapshot!(format!("{name} call mutants"), rules);
    }
}

#[test]
fn a_rank_looks_up_just_its_own_part() {
    let text = PLANS.iter().find(|(plan, _)| *plan == "scan").map_or("", |(_, text)| text);
    let own = "coord(context) in 0..2 by 128";
    assert!(text.contains(own));
    let text = text.lines().filter(|line| !line.starts_with("hash ")).collect::<Vec<_>>().join("\n");
    for (other, rule) in
        [("coord(context) in 0..2 by 64", "placement"), ("coord(context) in 0..1 by 128", "placement"), ("0 in 0..2 by 128", "placement")]
    {
        let mutant = parse::parse(&text.replacen(own, other, 1)).unwrap_or_else(|error| panic!("{other}: {error}"));
        assert_eq!(refusals(&mutant).first(), Some(&rule), "{other}");
    }
}
