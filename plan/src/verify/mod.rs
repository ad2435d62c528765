//! Every invariant of a plan, checked. A runtime runs nothing that was not verified, and needs no check of its own afterwards.
//!
//! Requires nothing: any value of type `Plan` may be given, arithmetic is checked. Ensures, if nothing is returned:
//!
//! - mesh: axes have ranks; whatever names axes names those of the mesh, none twice; inputs have whole microbatches;
//! - arena: regions are aligned, inside the arena, disjoint; inputs, weights, readouts, outputs lie in their regions; weights are disjoint, also
//!   within flat blocks, whose pieces hold all of them;
//! - names of regions, scalars, inputs, weights, outputs, programs, entries, parameters, operands, dims are unique;
//! - scalars use only the step and scalars above them; numbers are finite (kernels' constants: not NaN);
//! - kernels: dims, operand counts, elements and roles are those of their skeleton; extents cover all accesses; strides are not negative;
//!   arguments come before users; types and levels are legal; every written operand is written once, each of its elements by one point;
//!   folds go to accumulating operands without the folded dims, with partial results if all rows are folded;
//! - collectives: in and out of one element, each row (and member, where the exchange has them) an element of its own; as many members as
//!   the mesh has along the axes; reductions are sums, maxima, minima of f32;
//! - programs: every place of a launch is aligned and lies in its parameter; operands that are written overlap no other, but for a read and
//!   a write of the same elements in the same order by an elementwise kernel or an all-reduce; parameters are marked written if and only if they are; what
//!   is bound to scratch memory is written before it is read, and not read after the launch that is marked as its last use;
//! - entries: loops are not empty; every binding is aligned and inside its region for all values of the loops' indices; written parameters
//!   overlap no other parameter of the call; what is started beside the calls consists of collectives.

mod collective;
mod entry;
mod kernel;
mod mesh;
mod program;
mod rows;
mod rule;
mod scalar;
mod scratch;
mod state;
mod view;

use crate::Plan;
pub use rule::{Rule, Violation};
use std::collections::BTreeSet;

/// After so many violations no more are looked for.
const MOST: usize = 100;

/// Regions and bound parameters start at multiples of this, in bytes.
pub const ALIGNMENT: u64 = 64;

/// All violations that were found (at most 100), in the order of the text.
pub fn verify(plan: &Plan) -> Result<(), Vec<Violation>> {
    let mut report = Report::default();
    mesh::mesh(plan, &mut report);
    if !report.violations.is_empty() {
        return Err(report.violations);
    }
    state::arena(plan, &mut report);
    scalar::scalars(plan, &mut report);
    state::tensors(plan, &mut report);
    for (number, data) in plan.kernels.iter() {
        report.at(&format!("{number} {}", data.name));
        kernel::kernel(plan, data, &mut report);
    }
    let sound = report.violations.is_empty();
    report.at("programs");
    report.unique(plan.programs.values().map(|program| program.name.as_str()));
    for program in plan.programs.values() {
        // places are only looked at with sound kernels: extents and strides are used without doubt there
        if sound {
            program::program(plan, program, &mut report);
        }
    }
    if report.violations.is_empty() {
        entry::entries(plan, &mut report);
    }
    report.finish()
}

/// Violations so far, and what is being looked at.
#[derive(Default)]
pub(crate) struct Report {
    at: String,
    violations: Vec<Violation>,
}

impl Report {
    pub(crate) fn at(&mut self, at: &str) {
        self.at = at.to_owned();
    }

    pub(crate) fn add(&mut self, rule: Rule, message: impl Into<String>) {
        if self.violations.len() < MOST {
            self.violations.push(Violation { rule, at: self.at.clone(), message: message.into() });
        }
    }

    /// Adds a violation unless this holds.
    pub(crate) fn check(&mut self, holds: bool, rule: Rule, message: impl FnOnce() -> String) {
        if !holds {
            self.add(rule, message());
        }
    }

    /// All that was found.
    pub(crate) fn finish(self) -> Result<(), Vec<Violation>> {
        if self.violations.is_empty() { Ok(()) } else { Err(self.violations) }
    }

    fn unique<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        let mut seen = BTreeSet::new();
        for name in names {
            self.check(seen.insert(name), Rule::DuplicateName, || format!("the name {name} is there twice"));
        }
    }
}
