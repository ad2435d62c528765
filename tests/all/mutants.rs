//! Plans for meshes as the compiler makes them, damaged in every collective: each must be refused before it runs.
//!
//! Requires the cases of `cases/meshes`. Ensures that no collective can be lost, repeated, bypassed, sent to other ranks, reduced otherwise or given
//! another element, or another dim, neither inside programs nor between them; that no join can be lost; and that no value of a program can be freed early, by its mark or by
//! what is put over it.

use crate::{folder, spec};
use meshwright_plan::kernel::{Access, Collective, Exchange, Operand, Reduce, Skeleton, Slot};
use meshwright_plan::program::{Address, Entry, Index, Item, Launch, Place};
use meshwright_plan::{Element, Kernel, Plan, Program, ProgramData, Region, proof, verify};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Small plans of every kind: each parallelism alone, and three axes together.
const CASES: [&str; 15] = [
    "along_context",
    "gpt_data",
    "gpt_tensor",
    "llama_sequence",
    "gpt_context",
    "llama_heads",
    "gpt_embed_by_batch",
    "gpt_zero1",
    "llama_fsdp",
    "gpt_three",
    "gpt_balanced",
    "gpt_balanced_heads",
    "gpt_balanced_three",
    "moe_expert_data",
    "moe_ragged_sequence",
];

fn refused(plan: &Plan) -> bool {
    verify::verify(plan).is_err() || proof::prove(plan).is_err()
}

fn is_collective(plan: &Plan, kernel: Kernel) -> bool {
    matches!(plan.kernels[kernel].skeleton, Skeleton::Collective(_))
}

/// Whether a program does nothing but exchange.
fn exchanges(plan: &Plan, program: Program) -> bool {
    plan.programs[program].launches.iter().all(|launch| is_collective(plan, launch.kernel))
}

/// Each plan that differs in one launch of a collective, lost or repeated.
fn launches(plan: &Plan) -> Vec<(String, Plan)> {
    let mut all = Vec::new();
    for (number, program) in plan.programs.iter() {
        for (at, launch) in program.launches.iter().enumerate().filter(|(_, launch)| is_collective(plan, launch.kernel)) {
            let what = format!("launch {} of {}", at + 1, program.name);
            if program.launches.len() > 1 {
                let mut lost = plan.clone();
                lost.programs[number].launches.remove(at);
                all.push((format!("{what} is lost"), lost));
            }
            let mut twice = plan.clone();
            twice.programs[number].launches.insert(at, launch.clone());
            all.push((format!("{what} is repeated"), twice));
        }
    }
    all
}

/// Each plan in which a launch of a collective that is not in place is gone, and what read what it brought reads what it was given.
fn bypassed(plan: &Plan) -> Vec<(String, Plan)> {
    let mut all = Vec::new();
    for (number, program) in plan.programs.iter() {
        for (at, launch) in program.launches.iter().enumerate().filter(|(_, launch)| is_collective(plan, launch.kernel)) {
            if program.launches.len() > 1 && launch.places[0] != launch.places[1] {
                let mut other = plan.clone();
                bypass(&mut other, number, at);
                all.push((format!("launch {} of {} is bypassed", at + 1, program.name), other));
            }
        }
    }
    all
}

/// Reads of what it brought go to what it was given, until that is overwritten; the last of them is the last of that.
fn bypass(plan: &mut Plan, program: Program, at: usize) {
    let (kernels, program) = (&plan.kernels, &mut plan.programs[program]);
    let gone = program.launches.remove(at);
    let end = |operand: &Operand, place: Place| place.offset + operand.extent * operand.element.bytes();
    let ([given, brought], mut last) = ([gone.places[0], gone.places[1]], None);
    let brought_end = end(&kernels[gone.kernel].operands[Slot::from_u32(1)], brought);
    for (number, launch) in program.launches.iter_mut().enumerate().skip(at) {
        let mut overwritten = false;
        for (index, operand) in kernels[launch.kernel].operands.values().enumerate() {
            let place = launch.places[index];
            let meets = place.param == brought.param && place.offset < brought_end && brought.offset < end(operand, place);
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
        program.launches[number].last |= 1 << index;
    }
    let places = |launch: &Launch| kernels[launch.kernel].operands.values().zip(launch.places.clone()).collect::<Vec<_>>();
    let written = program.launches.iter().flat_map(places).filter(|(operand, _)| operand.access != Access::Read);
    let written: BTreeSet<u32> = written.map(|(_, place)| place.param).collect();
    (0..).zip(&mut program.params).for_each(|(at, param)| param.written = written.contains(&at));
}

/// Each plan in which an all-to-all names another dim of the plan's, which is none of those that it means, nor one of them renamed.
fn redirected(plan: &Plan) -> Vec<(String, Plan)> {
    let root = |name: &str| name.split(['\'', '.']).next().unwrap_or_default().to_owned();
    let parts = |name: &str| name.split('*').map(root).collect::<BTreeSet<String>>();
    let dims = plan.kernels.values().flat_map(|kernel| kernel.dims.values()).flat_map(|dim| parts(&dim.name));
    let names: BTreeSet<String> = dims.collect();
    let mut all = Vec::new();
    for (number, kernel) in plan.kernels.iter() {
        let Skeleton::Collective(Collective { exchange: Exchange::AllToAll { from, to }, .. }) = &kernel.skeleton else { continue };
        let others = |own: &str| names.iter().filter(|name| !parts(own).contains(*name)).cloned().collect::<Vec<_>>();
        let froms = others(from).into_iter().map(|other| [other, to.clone()]);
        for [from, to] in froms.chain(others(to).into_iter().map(|other| [from.clone(), other])) {
            let mut other = plan.clone();
            let what = format!("{number} {}: {from} to {to}", kernel.name);
            if let Skeleton::Collective(changed) = &mut other.kernels[number].skeleton {
                changed.exchange = Exchange::AllToAll { from, to };
            }
            all.push((what, other));
        }
    }
    all
}

/// Each plan in which one collective kernel does something else.
fn kernels(plan: &Plan) -> Vec<(String, Plan)> {
    let mut all = Vec::new();
    for (number, kernel) in plan.kernels.iter() {
        let Skeleton::Collective(collective) = &kernel.skeleton else { continue };
        let mut change = |what: &str, exchange: Exchange, axes: Vec<String>| {
            let mut other = plan.clone();
            let Skeleton::Collective(changed) = &mut other.kernels[number].skeleton else { return };
            (changed.exchange, changed.axes) = (exchange, axes);
            all.push((format!("{number} {}: {what}", kernel.name), other));
        };
        let others = plan.mesh.axes.iter().map(|axis| vec![axis.name.clone()]).filter(|axes| *axes != collective.axes);
        others.for_each(|axes| change("along another axis", collective.exchange.clone(), axes));
        match &collective.exchange {
            Exchange::AllReduce(Reduce::Sum) => change("another reduction", Exchange::AllReduce(Reduce::Max), collective.axes.clone()),
            Exchange::ReduceScatter(Reduce::Sum) => {
                change("another reduction", Exchange::ReduceScatter(Reduce::Max), collective.axes.clone())
            }
            Exchange::AllReduce(_) => change("another reduction", Exchange::AllReduce(Reduce::Sum), collective.axes.clone()),
            Exchange::ReduceScatter(_) => change("another reduction", Exchange::ReduceScatter(Reduce::Sum), collective.axes.clone()),
            Exchange::AllToAll { from, to } => {
                change("the other way", Exchange::AllToAll { from: to.clone(), to: from.clone() }, collective.axes.clone())
            }
            Exchange::AllGather | Exchange::Permute { .. } => {}
        }
        let mut retyped = plan.clone();
        for operand in retyped.kernels[number].operands.values_mut() {
            operand.element = if operand.element == Element::F32 { Element::I32 } else { Element::F32 };
        }
        all.push((format!("{number} {}: another element", kernel.name), retyped));
    }
    all
}

/// A value in a program's scratch memory: the launch that writes it, that of its last use, and its bytes.
struct Temporary {
    launches: Range<usize>,
    bytes: Range<u64>,
}

/// What stands in scratch memory, as the marks of last uses say.
fn temporaries(plan: &Plan, program: &ProgramData, scratch: u32) -> Vec<Temporary> {
    let mut open: Vec<Temporary> = Vec::new();
    let mut all = Vec::new();
    for (number, launch) in program.launches.iter().enumerate() {
        let placed = plan.kernels[launch.kernel].operands.values().zip(&launch.places).enumerate();
        for (at, (operand, place)) in placed.filter(|(_, (_, place))| place.param == scratch) {
            let bytes = place.offset..place.offset + operand.extent * operand.element.bytes();
            if operand.access == Access::Read && launch.is_last(at) {
                let touched = |one: &Temporary| one.bytes.start < bytes.end && bytes.start < one.bytes.end;
                let (over, on): (Vec<_>, Vec<_>) = open.into_iter().partition(touched);
                all.extend(over.into_iter().map(|one| Temporary { launches: one.launches.start..number, ..one }));
                open = on;
            } else if operand.access == Access::Write && !launch.is_last(at) {
                open.retain(|one| one.bytes.start < bytes.start || bytes.end < one.bytes.end);
                open.push(Temporary { launches: number..number, bytes });
            }
        }
    }
    all
}

/// Each plan in which a value of a program is freed early: marked as needed no more at an earlier use, or another value put in its place.
fn freed(plan: &Plan) -> Vec<(String, Plan)> {
    let mut all = Vec::new();
    for (number, program) in plan.programs.iter() {
        let Some(scratch) = program.params.iter().position(|param| param.name == "scratch") else { continue };
        let values = temporaries(plan, program, scratch as u32);
        for value in values.iter().filter(|value| value.launches.end > value.launches.start) {
            let meanwhile = |other: &&Temporary| value.launches.start < other.launches.start && other.launches.start < value.launches.end;
            if let Some(other) = values.iter().find(meanwhile) {
                let what = format!(
                    "{}: the value of launch {} stands over that of launch {}",
                    program.name,
                    other.launches.start + 1,
                    value.launches.start + 1
                );
                all.push((what, moved(plan, number, scratch as u32, other, value.bytes.start)));
            }
            if value.launches.end > value.launches.start + 1 {
                let mut early = plan.clone();
                mark(&mut early, number, scratch as u32, value);
                all.push((format!("{}: the value of launch {} is over at once", program.name, value.launches.start + 1), early));
            }
        }
    }
    all
}

/// A value at another place.
fn moved(plan: &Plan, program: Program, scratch: u32, value: &Temporary, to: u64) -> Plan {
    let mut other = plan.clone();
    for launch in &mut other.programs[program].launches[value.launches.start..=value.launches.end] {
        let inside = |place: &&mut Place| place.param == scratch && value.bytes.contains(&place.offset);
        launch.places.iter_mut().filter(inside).for_each(|place| place.offset = to + (place.offset - value.bytes.start));
    }
    other
}

/// The value's write says that nobody needs it.
fn mark(plan: &mut Plan, program: Program, scratch: u32, value: &Temporary) {
    let launch = &mut plan.programs[program].launches[value.launches.start];
    let at = launch.places.iter().rposition(|place| place.param == scratch && place.offset == value.bytes.start);
    launch.last |= at.map_or(0, |at| 1 << at);
}

/// Whether an item only exchanges, or waits for what does.
fn waits(plan: &Plan, item: &Item) -> bool {
    matches!(item, Item::Join(_)) || item.call().is_some_and(|call| exchanges(plan, call.program))
}

/// Each plan in which one call that only exchanges, or one join, is lost. The last evaluation's numbers count, too. A gather of what still stands
/// in its slot may be lost: that is another plan for the same numbers.
fn calls(plan: &Plan) -> Vec<(String, Plan)> {
    let mut all = Vec::new();
    for (at, entry) in plan.entries.iter().enumerate().filter(|(_, entry)| entry.name != "start") {
        for number in 0..count(plan, &entry.body) {
            let mut left = number;
            let mut other = plan.clone();
            let mut lost = String::new();
            let body = without(plan, &entry.body, &mut left, &mut lost);
            other.entries[at] = Entry { name: entry.name.clone(), body };
            if !lost.contains(".gather") || seen(plan, at) != seen(&other, at) {
                all.push((format!("entry {} has lost {lost}", entry.name), other));
            }
        }
    }
    all
}

/// Region and byte offset.
type Spot = (Region, i64);

/// For every call of an entry, its loops unrolled, and each of its parameters: the place from which what stands there was gathered.
fn seen(plan: &Plan, entry: usize) -> Vec<Vec<Option<Spot>>> {
    let mut seen = Vec::new();
    unrolled(plan, &plan.entries[entry].body, [0, 0], &mut BTreeMap::new(), &mut seen);
    seen
}

fn unrolled(plan: &Plan, body: &[Item], at: [u64; 2], from: &mut BTreeMap<Spot, Spot>, seen: &mut Vec<Vec<Option<Spot>>>) {
    for item in body {
        if let Item::Loop { index, start, end, reverse, body } = item {
            for turn in 0..end - start {
                let value = if *reverse { end - 1 - turn } else { start + turn };
                let inner = if *index == Index::Micro { [value, at[1]] } else { [at[0], value] };
                unrolled(plan, body, inner, from, seen);
            }
        }
        let Some(call) = item.call() else { continue };
        let place = |one: &Address| (one.region, one.offset as i64 + one.micro * at[0] as i64 + one.layer * at[1] as i64);
        let places: Vec<Spot> = call.bindings.iter().map(place).collect();
        let program = &plan.programs[call.program];
        match program.params.iter().position(|param| param.written).filter(|_| program.name.contains(".gather")) {
            Some(written) => drop(from.insert(places[written], places[1 - written])),
            None => seen.push(places.iter().map(|place| from.get(place).copied()).collect()),
        }
    }
}

fn count(plan: &Plan, items: &[Item]) -> usize {
    let one = |item: &Item| match item {
        Item::Loop { body, .. } => count(plan, body),
        item => usize::from(waits(plan, item)),
    };
    items.iter().map(one).sum()
}

/// The items without exchange number `left`; a loop that is empty then is gone.
fn without(plan: &Plan, items: &[Item], left: &mut usize, lost: &mut String) -> Vec<Item> {
    let mut kept = Vec::new();
    for item in items {
        match item {
            Item::Loop { index, start, end, reverse, body } => {
                let body = without(plan, body, left, lost);
                if !body.is_empty() {
                    kept.push(Item::Loop { index: *index, start: *start, end: *end, reverse: *reverse, body });
                }
            }
            item if waits(plan, item) && lost.is_empty() => match left.checked_sub(1) {
                Some(next) => {
                    *left = next;
                    kept.push(item.clone());
                }
                None => *lost = item.call().map_or("a join".to_string(), |call| plan.programs[call.program].name.clone()),
            },
            item => kept.push(item.clone()),
        }
    }
    kept
}

#[test]
fn no_damaged_collective_of_a_compiled_plan_is_accepted() {
    let mut tried = 0;
    let mut accepted = Vec::new();
    for case in CASES {
        let plan = spec::compile(&folder::root().join(format!("tests/cases/meshes/{case}.mesh")), &[]).plan;
        assert!(!refused(&plan), "{case}");
        let mutants = [launches(&plan), bypassed(&plan), kernels(&plan), redirected(&plan), calls(&plan), freed(&plan)].concat();
        tried += mutants.len();
        accepted.extend(mutants.iter().filter(|(_, mutant)| !refused(mutant)).map(|(what, _)| format!("{case}: {what}")));
    }
    assert!(tried > 1000, "only {tried} mutants");
    assert!(accepted.is_empty(), "{} of {tried} mutants are accepted\n{}", accepted.len(), accepted.join("\n"));
}
