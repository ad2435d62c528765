//! Which dim each mesh axis cuts, by name: what an all-to-all changes, and what a set of axes does not tell.
//!
//! A kernel's dim may be several of the user's merged (`Batch*Seq`), so what is known of an axis is a set of names, one of which is the dim that it
//! cuts. Requires nothing. Ensures that what is renamed on the way (no name in common) is taken as it comes.

use super::contents::Set;
use super::transfer::{Fault, Launch};
use crate::kernel::{KernelDim, Slot};
use crate::verify::Rule;
use crate::{DimSize, Mesh};
use std::collections::{BTreeMap, BTreeSet};

/// By axis (a set of one) the names of the dims of which it cuts one; nothing is known of axes that are left out.
pub(super) type Cuts = BTreeMap<Set, BTreeSet<String>>;

/// The user's dims in a kernel's dim.
pub(super) fn parts(name: &str) -> BTreeSet<String> {
    name.split('*').map(str::to_owned).collect()
}

/// Of a tensor with these dims.
pub(super) fn of(mesh: &Mesh, dims: &[DimSize]) -> Cuts {
    let axes = dims.iter().flat_map(|dim| Set::of(mesh, &dim.axes).each().map(|axis| (axis, parts(&dim.name))));
    axes.collect()
}

impl Launch<'_> {
    /// The dims along which an operand runs.
    fn runs_along(&self, slot: Slot) -> impl Iterator<Item = &KernelDim> {
        let operand = &self.kernel.operands[slot];
        self.kernel.dims.values().zip(&operand.strides).filter(|(_, stride)| **stride != 0).map(|(dim, _)| dim)
    }

    /// The names that an operand's own dims give to what each axis cuts.
    fn named(&self, slot: Slot) -> Cuts {
        let mut cuts = Cuts::new();
        for dim in self.runs_along(slot) {
            for axis in Set::of(self.mesh, &dim.axes).each() {
                cuts.entry(axis).or_default().extend(parts(&dim.name));
            }
        }
        cuts
    }

    /// What is read is cut where it was cut when it was written, unless that may be a dim of another name now, or one that is looked up.
    pub(super) fn cut_alike(&self, slot: Slot, held: &Cuts) -> Result<(), Fault> {
        let own: BTreeSet<String> = self.runs_along(slot).flat_map(|dim| parts(&dim.name)).collect();
        for (axis, known) in held.iter().filter(|(_, known)| known.is_subset(&own)) {
            let same = |dim: &KernelDim| !parts(&dim.name).is_disjoint(known);
            if !self.runs_along(slot).any(|dim| same(dim) && Set::of(self.mesh, &dim.axes).holds(*axis)) {
                let (axis, names) = (self.show(*axis), shown(known));
                return Err(self.fault(Rule::Placement, slot, &format!("is cut in {names} along {axis}, and read as if it were not")));
            }
        }
        Ok(())
    }

    /// The cuts of what is written: as the operand's dims say, and where these are merged as what was read knows.
    pub(super) fn cuts(&self, slot: Slot) -> Cuts {
        let mut cuts = self.named(slot);
        for (_, read) in self.reads() {
            for (axis, known) in &read.cuts {
                let Some(own) = cuts.get_mut(axis) else { continue };
                let both: BTreeSet<String> = own.intersection(known).cloned().collect();
                if !both.is_empty() {
                    *own = both;
                }
            }
        }
        cuts
    }

    /// An all-to-all along axes that cut `from`: behind it they cut `to`. A name that nothing has may be another one's by now.
    pub(super) fn recut(&self, slot: Slot, held: &Cuts, axes: Set, [from, to]: [&str; 2]) -> Result<Cuts, Fault> {
        let (from, to) = (parts(from), parts(to));
        let mut cuts = held.clone();
        for axis in axes.each() {
            let others = || held.iter().filter(|(other, _)| **other != axis).any(|(_, names)| !names.is_disjoint(&from));
            let wrong = |known: &BTreeSet<String>| known.is_disjoint(&from) && (!known.is_disjoint(&to) || others());
            if let Some(known) = cuts.insert(axis, to.clone()).filter(wrong) {
                let (axis, names, from) = (self.show(axis), shown(&known), shown(&from));
                return Err(self.fault(Rule::Placement, slot, &format!("is cut in {names} along {axis}, not in {from}")));
            }
        }
        Ok(cuts)
    }
}

fn shown(names: &BTreeSet<String>) -> String {
    names.iter().cloned().collect::<Vec<_>>().join(" or ")
}

/// Without these axes.
pub(super) fn without(cuts: Cuts, axes: Set) -> Cuts {
    cuts.into_iter().filter(|(axis, _)| !axes.meets(*axis)).collect()
}

/// What both allow.
pub(super) fn joined(one: &Cuts, two: &Cuts) -> Cuts {
    let both = one.iter().filter_map(|(axis, names)| Some((*axis, names.union(two.get(axis)?).cloned().collect())));
    both.collect()
}
