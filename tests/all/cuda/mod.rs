//! Every emitted CUDA function computes what the processor does: each different kernel of all specs, alone, on random operands.
//!
//! Requires a C++ compiler (see `emulate`) and no GPU. Ensures for every kernel, written and added to: the same bits in every
//! order of threads, i32 and bool as the CPU has them, f32 to rounding by norm (bf16 to its own), nothing else written.

pub mod attention;
mod compare;
mod kernels;
mod narrow;
mod operands;
pub mod products;
mod text;
mod training;

use crate::emulate::parallel::{in_parallel, processors};
use crate::emulate::{Emulator, ORDERS};
use kernels::Found;
use meshwright_plan::{Kernel, Plan, scalar};
use meshwright_runtime::device::alone::{Alone, Memory, Numbers};
use meshwright_runtime::device::cuda::emit::{self, Source};
use operands::{Kind, Random};
use std::collections::BTreeSet;

/// Differences that are shown.
const SHOWN: usize = 20;

/// All scalars of all plans by name; their values are the launch's.
fn scalars(all: &[Found]) -> Vec<scalar::Definition> {
    let names: BTreeSet<&String> = all.iter().flat_map(|found| found.scalars.keys()).collect();
    names.into_iter().map(|name| scalar::Definition { name: name.clone(), value: scalar::Expr::Const(0.0) }).collect()
}

/// Kernels on both devices.
struct Bench<'a> {
    all: Vec<&'a Found>,
    plan: Plan,
    processor: Alone,
    source: Source,
    emulator: Emulator,
}

impl<'a> Bench<'a> {
    fn new(all: Vec<&'a Found>, scalars: &[scalar::Definition]) -> Bench<'a> {
        let kernels = all.iter().map(|found| found.kernel.clone()).collect();
        let plan = Plan { kernels, scalars: scalars.to_vec(), ..Plan::default() };
        let wide = Plan { kernels: plan.kernels.values().map(narrow::widened).collect(), ..plan.clone() };
        let processor = Alone::load(&wide, 1).expect("kernels that load");
        let source = emit::source(&plan).expect("kernels that are emitted");
        let emulator = Emulator::new(&source.prelude, source.kernels.values().map(Vec::as_slice));
        Bench { all, plan, processor, source, emulator }
    }

    fn numbers(&self, found: &Found, kind: Kind, accumulate: u64) -> Numbers {
        // A rank in the first corner of the mesh, and one in the last.
        let rank = if kind == Kind::Signed { found.mesh.ranks() - 1 } else { 0 };
        let coordinates = self.processor.coordinates().iter().map(|coordinate| found.mesh.value(rank, coordinate) as i64).collect();
        let scalars = self.plan.scalars.iter().map(|scalar| found.scalars.get(&scalar.name).copied().unwrap_or(f32::NAN)).collect();
        Numbers { accumulate, scalars, coordinates, seed: 0x1234_5678_9abc, step: kernels::STEP, iteration: 1, micro: 1 }
    }

    /// What is wrong with one kernel.
    fn check(&mut self, kernel: Kernel) -> Result<(), String> {
        let found = self.all[kernel.as_u32() as usize];
        for kind in [Kind::Signed, Kind::Positive] {
            for accumulate in [0, narrow::addable(&found.kernel)] {
                let numbers = self.numbers(found, kind, accumulate);
                let given: Vec<Memory> = operands::of(&found.kernel, kind, &mut Random::new(kernel.as_u32()));
                let mut wanted = narrow::widen(&found.kernel, &given);
                self.processor.run(kernel, &mut wanted, &numbers);
                narrow::round(&found.kernel, &mut wanted);
                let mut first: Option<Vec<Memory>> = None;
                for order in orders(kind, accumulate) {
                    let mut got = given.clone();
                    for function in &self.source.kernels[kernel] {
                        let played = self.emulator.launch(function, &mut got, &numbers, order);
                        played.map_err(|why| format!("{}: {why}", function.name))?;
                    }
                    match &first {
                        Some(first) => compare::equal(&found.kernel, &got, first).map_err(|why| format!("in order {order}: {why}"))?,
                        None => compare::close(&found.kernel, &given, &got, &wanted)
                            .map_err(|why| format!("{kind:?}, adding {accumulate:x}: {why}"))?,
                    }
                    first.get_or_insert(got);
                }
            }
        }
        Ok(())
    }
}

/// Every order once, and then one: what an order shows does not depend on the numbers.
fn orders(kind: Kind, accumulate: u64) -> Vec<u32> {
    if kind == Kind::Signed && accumulate == 0 { ORDERS.to_vec() } else { ORDERS[2..].to_vec() }
}

/// What is wrong with any of these.
fn check(all: Vec<&Found>, scalars: &[scalar::Definition]) -> Vec<String> {
    let mut bench = Bench::new(all, scalars);
    let mut bad = Vec::new();
    for kernel in bench.plan.kernels.keys().collect::<Vec<_>>() {
        if let Err(why) = bench.check(kernel) {
            let found = bench.all[kernel.as_u32() as usize];
            bad.push(format!("{} `{}` ({kernel}): {why}", found.spec, found.kernel.name));
        }
    }
    bad
}

/// That all of them compute what the processor does; `parts` of them at a time.
fn agree(all: &[Found], scalars: &[scalar::Definition], parts: usize) {
    let part = |first: usize| all.iter().skip(first).step_by(parts).collect::<Vec<_>>();
    let bad = in_parallel(parts, |first| check(part(first), scalars)).concat();
    let shown = bad.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n");
    assert!(bad.is_empty(), "{} of {} kernels differ:\n{shown}", bad.len(), all.len());
}

#[test]
fn every_kernel_computes_what_the_processor_does() {
    let all = kernels::all();
    assert!(all.len() >= 500, "{} kernels are compared", all.len());
    agree(&all, &scalars(&all), processors());
}
