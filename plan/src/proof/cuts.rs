//! Which dim each mesh axis cuts, by name, and whether an all-to-all has brought the parts: what a set of axes does not tell.
//!
//! A kernel's dim may be several of the user's merged (`Batch*Seq`), so what is known of an axis is a set of names, one of which is the dim that it
//! cuts. Where names cannot tell, because dims are merged or looked up, it still holds that a kernel keeps every rank's part on that rank: parts as the
//! data came meet no parts that an all-to-all has brought. Requires nothing. Ensures that what is renamed on the way (no name in common) is taken as
//! it comes.

use super::contents::{Contents, Set};
use super::transfer::{Fault, Launch};
use crate::kernel::{Axis, KernelDim, Slot};
use crate::verify::Rule;
use crate::{DimSize, Mesh};
use std::collections::{BTreeMap, BTreeSet};

type Names = BTreeSet<String>;

/// What is known of the dims of some bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cuts {
    /// All their dims; none: unknown.
    dims: Names,
    /// By axis (a set of one); nothing is known of axes that are left out.
    axes: BTreeMap<Set, Cut>,
}

/// How one axis cuts.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Cut {
    /// One of these dims.
    names: Names,
    parts: Parts,
}

/// Which part a rank has.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Parts {
    /// Of weights, of what a reduction or a rank's number has cut: any.
    #[default]
    Unknown,
    /// That of the data which the rank was given.
    Given,
    /// What all-to-alls brought; before, the axis cut one of these dims.
    Brought(Names),
}

/// The parts of a launch's operands that differ along an axis, by axis.
pub(super) type Divided = BTreeMap<Set, Parts>;

impl Parts {
    /// Which part both are, unless they are different ones.
    fn with(&self, other: &Parts) -> Option<Parts> {
        match (self, other) {
            (Parts::Unknown, known) | (known, Parts::Unknown) => Some(known.clone()),
            (Parts::Given, Parts::Given) => Some(Parts::Given),
            (Parts::Brought(one), Parts::Brought(two)) => Some(Parts::Brought(one | two)),
            (Parts::Given, Parts::Brought(_)) | (Parts::Brought(_), Parts::Given) => None,
        }
    }

    /// Behind an all-to-all: where it cuts again what was cut at first, these are the parts that were given.
    fn exchanged(&self, [from, to]: &[Names; 2]) -> Parts {
        match self {
            Parts::Unknown => Parts::Unknown,
            Parts::Given => Parts::Brought(from.clone()),
            Parts::Brought(first) if !first.is_disjoint(to) => Parts::Given,
            Parts::Brought(first) => Parts::Brought(first.clone()),
        }
    }
}

/// The user's dims in a kernel's dim.
fn names(name: &str) -> Names {
    name.split('*').map(str::to_owned).collect()
}

/// What a name has in common with those that it is renamed to: `Seq` of `Seq'` and `Seq.ranks`.
fn root(name: &str) -> &str {
    name.split(['\'', '.']).next().unwrap_or(name)
}

/// As which of these dims some are there: under their names, or renamed. None: one of them is not.
fn among(own: &Names, wanted: &Names) -> Option<Names> {
    let renamed = |name: &String| own.iter().filter(|other| root(other) == root(name)).cloned().collect();
    let one = |name: &String| if own.contains(name) { Names::from([name.clone()]) } else { renamed(name) };
    let known: Vec<Names> = wanted.iter().map(one).collect();
    known.iter().all(|names| !names.is_empty()).then(|| known.into_iter().flatten().collect())
}

/// Which of a kernel's merged dims are those that an axis may cut: all, unless each of those is there.
fn narrowed(own: &Names, known: &Names) -> Names {
    among(own, known).filter(|found| !found.is_empty()).unwrap_or_else(|| own.clone())
}

impl Cuts {
    /// Of a tensor with these dims.
    pub(super) fn of(mesh: &Mesh, dims: &[DimSize], parts: &Parts) -> Cuts {
        let cut = |dim: &DimSize| Cut { names: names(&dim.name), parts: parts.clone() };
        let axes = dims.iter().flat_map(|dim| Set::of(mesh, &dim.axes).each().map(move |axis| (axis, cut(dim))));
        Cuts { dims: dims.iter().flat_map(|dim| names(&dim.name)).collect(), axes: axes.collect() }
    }

    /// Nothing is known of these axes any more.
    pub(super) fn without(mut self, axes: Set) -> Cuts {
        self.axes.retain(|axis, _| !axes.meets(*axis));
        self
    }

    /// As which dims these are there: renamed, if none is named so. None: there are none.
    fn here(&self, name: &str) -> Option<Names> {
        let all = names(name);
        if self.dims.is_empty() { Some(all) } else { among(&self.dims, &all) }
    }

    /// What both allow.
    pub(super) fn join(&self, other: &Cuts) -> Cuts {
        let one = |cut: &Cut, other: &Cut| Cut {
            names: &cut.names | &other.names,
            parts: cut
                .parts
                .with(&other.parts)
                .filter(|_| cut.parts != Parts::Unknown && other.parts != Parts::Unknown)
                .unwrap_or_default(),
        };
        let axes = self.axes.iter().filter_map(|(axis, cut)| Some((*axis, one(cut, other.axes.get(axis)?))));
        Cuts { dims: if self.dims == other.dims { self.dims.clone() } else { Names::new() }, axes: axes.collect() }
    }
}

impl Launch<'_> {
    /// The dims along which an operand runs.
    fn runs_along(&self, slot: Slot) -> impl Iterator<Item = &KernelDim> {
        let operand = &self.kernel.operands[slot];
        self.kernel.dims.values().zip(&operand.strides).filter(|(_, stride)| **stride != 0).map(|(dim, _)| dim)
    }

    /// What an operand's own dims say of it.
    fn named(&self, slot: Slot) -> Cuts {
        let mut cuts = Cuts::default();
        for dim in self.runs_along(slot) {
            for axis in Set::of(self.mesh, &dim.axes).each() {
                cuts.axes.entry(axis).or_default().names.extend(names(&dim.name));
            }
            cuts.dims.extend(names(&dim.name));
        }
        cuts
    }

    /// What is read is cut where it was cut when it was written, unless that may be a dim of another name now, or one that is looked up; and it is
    /// not cut where it is known to be whole.
    pub(super) fn cut_alike(&self, slot: Slot, held: &Cuts) -> Result<(), Fault> {
        let own = self.named(slot);
        for (axis, known) in &held.axes {
            let read = own.axes.get(axis);
            let same = read.is_some_and(|read| !read.names.is_disjoint(&known.names));
            if !same && known.names.is_subset(&own.dims) {
                let message = format!("is cut in {} along {}, and read as if it were not", shown(&known.names), self.show(*axis));
                return Err(self.fault(Rule::Placement, slot, &message));
            }
            if let Some(read) = read.filter(|read| !same && read.names.is_subset(&held.dims)) {
                let message =
                    format!("is cut in {} along {}, and read as if in {}", shown(&known.names), self.show(*axis), shown(&read.names));
                return Err(self.fault(Rule::Placement, slot, &message));
            }
        }
        Ok(())
    }

    /// For each axis that cuts one of an operand's dims, which of the dims merged in it that is, if something is known of it.
    fn known_along(&self, slot: Slot, held: &Cuts) -> Vec<(Axis, Set, Names)> {
        let dims = self.kernel.dims.iter().zip(&self.kernel.operands[slot].strides).filter(|(_, stride)| **stride != 0);
        let axes = dims.flat_map(|((number, dim), _)| Set::of(self.mesh, &dim.axes).each().map(move |axis| (number, axis, dim)));
        let known = axes.filter_map(|(number, axis, dim)| Some((number, axis, narrowed(&names(&dim.name), &held.axes.get(&axis)?.names))));
        known.filter(|(_, _, names)| !names.is_empty()).collect()
    }

    /// Operands that run along one dim are cut in the same one of those that it may be.
    pub(super) fn cut_together(&self) -> Result<(), Fault> {
        let mut all: BTreeMap<(Axis, Set), Names> = BTreeMap::new();
        for (slot, held) in self.reads() {
            for (number, axis, known) in self.known_along(slot, &held.cuts) {
                let met = all.entry((number, axis)).or_insert_with(|| known.clone());
                if met.is_disjoint(&known) {
                    let (axis, known, met) = (self.show(axis), shown(&known), shown(met));
                    return Err(self.fault(Rule::Placement, slot, &format!("is cut in {known} along {axis}, and what it meets in {met}")));
                }
                *met = &*met & &known;
            }
        }
        Ok(())
    }

    /// What is read and differs along an axis is the same part of a whole.
    pub(super) fn divided(&self) -> Result<Divided, Fault> {
        let mut all = Divided::new();
        for (slot, held) in self.reads() {
            let differs = self.differs(slot, &held);
            for (axis, cut) in held.cuts.axes.iter().filter(|(axis, _)| differs.holds(**axis)) {
                let parts = all.entry(*axis).or_default();
                let Some(both) = parts.with(&cut.parts) else {
                    let (axis, names) = (self.show(*axis), shown(&cut.names));
                    let message = format!("is cut in {names} along {axis}, and just one of it and what it meets came by an all-to-all");
                    return Err(self.fault(Rule::Placement, slot, &message));
                };
                *parts = both;
            }
        }
        Ok(all)
    }

    /// The cuts of what is written: as the operand's dims say, and where these are merged as what was read knows.
    pub(super) fn cuts(&self, slot: Slot, reads: &[(Slot, Contents)], divided: &Divided) -> Cuts {
        let mut cuts = self.named(slot);
        for (axis, own) in &mut cuts.axes {
            own.parts = divided.get(axis).cloned().unwrap_or_default();
            for known in reads.iter().filter_map(|(_, read)| read.cuts.axes.get(axis)) {
                own.names = narrowed(&own.names, &known.names);
            }
        }
        cuts
    }

    /// An all-to-all along axes that cut `from`: behind it they cut `to`.
    pub(super) fn recut(&self, slot: Slot, held: &Cuts, axes: Set, ends: [&str; 2]) -> Result<Cuts, Fault> {
        let here = |name: &str| {
            let message = || format!("has no dim {name}: they are {}", shown(&held.dims));
            held.here(name).ok_or_else(|| self.fault(Rule::Placement, slot, &message()))
        };
        let [from, to] = [here(ends[0])?, here(ends[1])?];
        if !from.is_disjoint(&to) {
            return Err(self.fault(Rule::Placement, slot, &format!("goes from {} to the same: {}", ends[0], ends[1])));
        }
        let named = [&names(ends[0]) | &from, &names(ends[1]) | &to];
        let mut cuts = held.clone();
        for axis in axes.each() {
            let cut = cuts.axes.entry(axis).or_insert_with(|| Cut { names: from.clone(), ..Cut::default() });
            if cut.names.is_disjoint(&from) {
                let (axis, names, from) = (self.show(axis), shown(&cut.names), shown(&from));
                return Err(self.fault(Rule::Placement, slot, &format!("is cut in {names} along {axis}, not in {from}")));
            }
            *cut = Cut { names: to.clone(), parts: cut.parts.exchanged(&named) };
        }
        Ok(cuts)
    }
}

fn shown(names: &Names) -> String {
    names.iter().cloned().collect::<Vec<_>>().join(" or ")
}
