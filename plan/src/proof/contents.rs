//! What is known of the bytes of a place: whether they are whole, along which axes they differ, and how far they have moved.
//!
//! Ensures that axes with one rank never appear: along them nothing is partial and nothing differs.

use super::cuts::Cuts;
use super::transfer::Fault;
use crate::kernel::Reduce;
use crate::mesh::Coordinate;
use crate::verify::Rule;
use crate::{Element, Mesh};
use std::collections::BTreeMap;

/// A set of mesh axes: bit `i` is axis `i`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Set(u64);

impl Set {
    pub(super) const NONE: Set = Set(0);
    pub(super) const ALL: Set = Set(u64::MAX);

    /// These axes, without those that have one rank.
    pub(super) fn of(mesh: &Mesh, axes: &[String]) -> Set {
        let bits = mesh.axes.iter().enumerate().filter(|(_, axis)| axis.size > 1 && axes.contains(&axis.name));
        bits.fold(Set::NONE, |set, (bit, _)| set.with(Set(1 << (bit % 64))))
    }

    pub(super) fn with(self, other: Set) -> Set {
        Set(self.0 | other.0)
    }

    pub(super) fn without(self, other: Set) -> Set {
        Set(self.0 & !other.0)
    }

    pub(super) fn both(self, other: Set) -> Set {
        Set(self.0 & other.0)
    }

    pub(super) fn meets(self, other: Set) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether all of `other` is in it.
    pub(super) fn holds(self, other: Set) -> bool {
        other.0 & !self.0 == 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its axes, each alone.
    pub(super) fn each(self) -> impl Iterator<Item = Set> {
        (0..u64::BITS).map(|bit| Set(1 << bit)).filter(move |axis| self.holds(*axis))
    }

    /// `data*tensor`, or `nothing`.
    pub(super) fn show(self, mesh: &Mesh) -> String {
        let named = mesh.axes.iter().enumerate().filter(|(bit, _)| self.0 >> (bit % 64) & 1 == 1).map(|(_, axis)| axis.name.clone());
        let named: Vec<String> = named.collect();
        if named.is_empty() { "nothing".to_owned() } else { named.join("*") }
    }
}

/// Over which axes values are parts of a whole, and how parts make the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Partial {
    pub(super) sum: Set,
    pub(super) max: Set,
    pub(super) min: Set,
}

impl Partial {
    pub(super) fn all(self) -> Set {
        self.sum.with(self.max).with(self.min)
    }

    pub(super) fn is_whole(self) -> bool {
        self.all().is_empty()
    }

    /// The axes over which parts are put together so; no position of a maximum is a part of one.
    pub(super) fn of(self, op: Reduce) -> Set {
        match op {
            Reduce::Sum => self.sum,
            Reduce::Max => self.max,
            Reduce::Min => self.min,
            Reduce::Argmax => Set::NONE,
        }
    }

    pub(super) fn with(mut self, op: Reduce, axes: Set) -> Partial {
        match op {
            Reduce::Sum => self.sum = self.sum.with(axes),
            Reduce::Max => self.max = self.max.with(axes),
            Reduce::Min => self.min = self.min.with(axes),
            Reduce::Argmax => {}
        }
        self
    }

    pub(super) fn without(self, axes: Set) -> Partial {
        Partial { sum: self.sum.without(axes), max: self.max.without(axes), min: self.min.without(axes) }
    }
}

/// How many places along each ring values are from where they were made, by the axes of the ring; those that did not move are left out.
pub(super) type Moved = BTreeMap<Set, u64>;

/// In which order several axes cut the same elements, major first, where that is known; by the set of them.
pub(super) type Order = BTreeMap<Set, Vec<String>>;

/// The order that these axes give, if it is one.
pub(super) fn order(mesh: &Mesh, axes: &[String]) -> Order {
    let several: Vec<String> = axes.iter().filter(|axis| mesh.size_of(axis) > 1).cloned().collect();
    if several.len() < 2 { Order::new() } else { Order::from([(Set::of(mesh, axes), several)]) }
}

/// What is known of some bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Contents {
    pub(super) partial: Partial,
    /// As what they were written; none: unknown.
    pub(super) element: Option<Element>,
    /// Axes along which they certainly differ.
    pub(super) least: Set,
    /// Axes along which they may differ.
    pub(super) most: Set,
    /// None: made of nothing that could have moved, as weights are.
    pub(super) moved: Option<Moved>,
    pub(super) order: Order,
    /// Which dims the axes cut, and which parts of them these are.
    pub(super) cuts: Cuts,
    /// A reduction has taken them: no other may.
    pub(super) spent: bool,
    /// Nothing ever writes them: they are 0.
    pub(super) zero: bool,
}

impl Contents {
    /// Whole values of one element that differ along just these axes.
    pub(super) fn cut(element: Element, axes: Set, moved: Option<Moved>) -> Contents {
        Contents { element: Some(element), least: axes, most: axes, moved, ..Contents::default() }
    }

    /// State of which no more is known than that it is whole.
    pub(super) fn any() -> Contents {
        Contents { most: Set::ALL, ..Contents::default() }
    }

    /// Whether the entry has not written them.
    pub(super) fn is_unknown(&self) -> bool {
        self.most == Set::ALL
    }

    /// Both at one place; all of it must be equally partial, and of one element.
    pub(super) fn join(&self, other: &Contents, mesh: &Mesh) -> Result<Contents, Fault> {
        if self.partial != other.partial {
            let (one, two) = (self.partial.all().show(mesh), other.partial.all().show(mesh));
            return Err(Fault::new(Rule::Partial, format!("partial over {one} and over {two} in one place")));
        }
        let moved = match (&self.moved, &other.moved) {
            (None, moved) | (moved, None) => moved.clone(),
            (Some(one), Some(two)) => (one == two).then(|| one.clone()),
        };
        let (least, most) = (self.least.both(other.least), self.most.with(other.most));
        let element = match (self.element, other.element) {
            (Some(one), Some(two)) if one != two => return Err(Fault::new(Rule::Element, format!("{one} and {two} in one place"))),
            (one, two) => one.filter(|_| one == two),
        };
        let order = self.order.iter().filter(|(axes, order)| other.order.get(axes) == Some(order));
        let order = order.map(|(axes, order)| (*axes, order.clone())).collect();
        Ok(Contents {
            order,
            cuts: self.cuts.join(&other.cuts),
            partial: self.partial,
            element,
            least,
            most,
            moved,
            spent: self.spent || other.spent,
            zero: self.zero && other.zero,
        })
    }

    /// How far they have moved along these axes.
    pub(super) fn shift(&self, ring: Set) -> u64 {
        self.moved.as_ref().and_then(|moved| moved.get(&ring)).copied().unwrap_or(0)
    }

    /// So many places further around a ring of so many.
    pub(super) fn moved_on(&self, ring: Set, by: u64, members: u64) -> Option<Moved> {
        let mut moved = self.moved.clone()?;
        match (self.shift(ring) + by % members) % members {
            0 => moved.remove(&ring),
            shift => moved.insert(ring, shift),
        };
        Some(moved)
    }

    /// Whether they came around the ring just as far as this coordinate says, and along no other.
    pub(super) fn stands_at(&self, mesh: &Mesh, coordinate: Option<&Coordinate>) -> bool {
        let own = coordinate.map(|own| (Set::of(mesh, &own.axes), own.back));
        let elsewhere = self.moved.iter().flatten().any(|(ring, _)| own.is_none_or(|(axes, _)| axes != *ring));
        !elsewhere && own.is_none_or(|(axes, back)| self.shift(axes) == back)
    }
}

/// All different contents, numbered: most places have one of a few.
#[derive(Default)]
pub(super) struct Pool {
    all: Vec<Contents>,
    numbers: BTreeMap<Contents, u32>,
}

impl Pool {
    pub(super) fn number(&mut self, contents: &Contents) -> u32 {
        if let Some(number) = self.numbers.get(contents) {
            return *number;
        }
        let number = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(contents.clone());
        self.numbers.insert(contents.clone(), number);
        number
    }

    pub(super) fn get(&self, number: u32) -> &Contents {
        &self.all[number as usize]
    }
}
