//! What a launch makes of what it reads: one rule per skeleton.
//!
//! Requires kernels that verify. Ensures that the answer depends on nothing but the kernel and what its operands hold.

use super::contents::{Contents, Moved, Order, Partial, Set, order};
use super::rows;
use crate::kernel::{Access, Attention, Collective, Exchange, Gather, Node, NodeData, Operand, Reduce, Role, Skeleton, Slot};
use crate::verify::Rule;
use crate::{KernelData, Mesh, print};
use cranelift_entity::PrimaryMap;

/// A rule that a launch breaks.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) rule: Rule,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(rule: Rule, message: impl Into<String>) -> Self {
        Fault { rule, message: message.into() }
    }
}

/// A launch: a kernel, and what stood at its operands' places before. Operands that are neither read nor added to have nothing.
pub(super) struct Launch<'a> {
    pub(super) mesh: &'a Mesh,
    pub(super) kernel: &'a KernelData,
    pub(super) before: &'a [Option<Contents>],
}

/// What a launch leaves in its operands.
pub(super) type Left = Vec<(Slot, Contents)>;

impl Launch<'_> {
    /// What the launch leaves, or what is wrong with it.
    pub(super) fn run(&self) -> Result<Left, Fault> {
        if let Skeleton::Collective(collective) = &self.kernel.skeleton {
            return self.exchange(collective);
        }
        self.kernel.operands.keys().try_for_each(|slot| self.placed(slot))?;
        self.cut_together()?;
        let divided = self.divided()?;
        let mut left = match &self.kernel.skeleton {
            Skeleton::Rows(rows) => rows::rows(self, rows)?,
            Skeleton::Contract { .. } => self.contract()?,
            Skeleton::Segmented => self.segmented()?,
            Skeleton::Attention(shape) | Skeleton::AttentionGrad(shape) => self.attention(shape)?,
            Skeleton::Collective(_) => Left::new(),
        };
        left.iter().try_for_each(|(slot, contents)| self.added(*slot, contents))?;
        let (order, reads) = (self.order()?, self.reads());
        for (slot, contents) in &mut left {
            contents.cuts = self.cuts(*slot, &reads, &divided);
            contents.order = order.clone().into_iter().filter(|(axes, _)| contents.least.holds(*axes)).collect();
        }
        Ok(left)
    }

    pub(super) fn show(&self, axes: Set) -> String {
        axes.show(self.mesh)
    }

    pub(super) fn fault(&self, rule: Rule, slot: Slot, message: &str) -> Fault {
        Fault::new(rule, format!("{} {message}", self.kernel.operands[slot].name))
    }

    /// What an operand that is read holds.
    pub(super) fn held(&self, slot: Slot) -> Contents {
        let operand = &self.kernel.operands[slot];
        let before = self.before.get(slot.as_u32() as usize).filter(|_| operand.access == Access::Read);
        before.cloned().flatten().unwrap_or_else(Contents::any)
    }

    /// Axes that cut dims with one of these roles along which the operand runs.
    fn runs(&self, operand: &Operand, role: impl Fn(Role) -> bool) -> Set {
        let dims = self.kernel.dims.values().zip(&operand.strides).filter(|(dim, stride)| **stride != 0 && role(dim.role));
        dims.fold(Set::NONE, |set, (dim, _)| set.with(Set::of(self.mesh, &dim.axes)))
    }

    /// Axes that cut dims along which the operand runs.
    pub(super) fn cut(&self, slot: Slot) -> Set {
        self.runs(&self.kernel.operands[slot], |_| true)
    }

    /// Axes that cut dims with one of these roles.
    pub(super) fn roles(&self, roles: &[Role]) -> Set {
        let dims = self.kernel.dims.values().filter(|dim| roles.contains(&dim.role));
        dims.fold(Set::NONE, |set, dim| set.with(Set::of(self.mesh, &dim.axes)))
    }

    /// Axes along which an operand differs: those that cut its dims, and the dim along which it is looked up.
    pub(super) fn differs(&self, slot: Slot, held: &Contents) -> Set {
        let looked_up = if self.is_looked_up(slot) { held.least } else { Set::NONE };
        self.cut(slot).with(looked_up)
    }

    /// Whether values along this operand are looked up by an index.
    fn is_looked_up(&self, slot: Slot) -> bool {
        let looked_up = |node: &NodeData| matches!(node, NodeData::Load { slot: own, gather: Some(_), .. } if *own == slot);
        self.kernel.rows().is_some_and(|rows| rows.nodes.values().any(looked_up))
    }

    /// Whether an operand's elements are only read in another order, by positions that know of no rank: then the axes that cut these.
    fn reordered(&self, slot: Slot) -> Option<Set> {
        let rows = self.kernel.rows().filter(|_| self.is_looked_up(slot))?;
        let mut places: PrimaryMap<Node, Option<Set>> = PrimaryMap::with_capacity(rows.nodes.len());
        for node in rows.nodes.values() {
            let place = self.place(node, &places);
            places.push(place);
        }
        let reads = rows.nodes.values().filter_map(|node| match node {
            NodeData::Load { slot: read, gather, .. } if *read == slot => Some(*gather),
            _ => None,
        });
        reads.map(|gather| places[gather?.index]).try_fold(Set::NONE, |all, one| Some(all.with(one?)))
    }

    /// The axes that cut the dims along which a node counts, if it is made of nothing but positions and constants.
    fn place(&self, node: &NodeData, places: &PrimaryMap<Node, Option<Set>>) -> Option<Set> {
        match node {
            NodeData::Const(_) | NodeData::Integer(_) => Some(Set::NONE),
            NodeData::Position { dim, .. } => Some(Set::of(self.mesh, &self.kernel.dims[*dim].axes)),
            NodeData::Map { args, .. } => args.iter().map(|arg| places[*arg]).try_fold(Set::NONE, |all, one| Some(all.with(one?))),
            NodeData::Scalar(_) | NodeData::Load { .. } | NodeData::Coordinate(_) => None,
            NodeData::Reduce { .. } | NodeData::Scan { .. } | NodeData::Random { .. } => None,
        }
    }

    /// Axes along which every rank looks up its own part of an operand that is whole: all reads are at the rank's number, as far apart as the parts
    /// of a dim that these axes cut, among as many parts as there are ranks.
    fn own_part(&self, slot: Slot) -> Set {
        let Some(rows) = self.kernel.rows() else { return Set::NONE };
        let operand = &self.kernel.operands[slot];
        let part = |axes: &[String], stride: i64| {
            let mut dims = self.kernel.dims.values().zip(&operand.strides);
            dims.any(|(dim, own)| {
                axes.iter().all(|axis| dim.axes.contains(axis))
                    && i64::try_from(dim.size).is_ok_and(|size| size.checked_mul(*own) == Some(stride))
            })
        };
        let looked_up = |gather: Gather| match &rows.nodes[gather.index] {
            NodeData::Coordinate(own) if own.times == 1 && own.back == 0 && gather.size == self.mesh.size(&own.axes) => {
                part(&own.axes, gather.stride).then(|| Set::of(self.mesh, &own.axes))
            }
            _ => None,
        };
        let reads = rows.nodes.values().filter_map(|node| match node {
            NodeData::Load { slot: read, gather, .. } if *read == slot => Some(gather.and_then(looked_up)),
            _ => None,
        });
        let reads: Vec<Option<Set>> = reads.collect();
        match reads.first() {
            Some(Some(axes)) if reads.iter().all(|read| *read == Some(*axes)) => *axes,
            Some(_) | None => Set::NONE,
        }
    }

    /// What an operand reads differs along just the axes that cut its dims.
    fn placed(&self, slot: Slot) -> Result<(), Fault> {
        if self.kernel.operands[slot].access != Access::Read {
            return Ok(());
        }
        let (held, turned) = (self.held(slot), self.reordered(slot));
        let cut = self.cut(slot).with(turned.unwrap_or(Set::NONE));
        self.element(slot, &held)?;
        self.cut_alike(slot, &held.cuts)?;
        if !held.most.with(self.own_part(slot)).holds(cut) {
            let message =
                format!("has dims cut along {}, but all ranks along {} hold the same", self.show(cut), self.show(cut.without(held.most)));
            return Err(self.fault(Rule::Placement, slot, &message));
        }
        if !cut.holds(held.least) && (turned.is_some() || !self.is_looked_up(slot)) {
            let message =
                format!("has dims cut along {}, but is another part on every rank along {}", self.show(cut), self.show(held.least));
            return Err(self.fault(Rule::Placement, slot, &message));
        }
        Ok(())
    }

    /// It was written as what it is read as.
    fn element(&self, slot: Slot, held: &Contents) -> Result<(), Fault> {
        let own = self.kernel.operands[slot].element;
        match held.element.filter(|element| *element != own) {
            Some(element) => Err(self.fault(Rule::Element, slot, &format!("is read as {own}, and was written as {element}"))),
            None => Ok(()),
        }
    }

    /// What is added has the same parts as what is there.
    fn added(&self, slot: Slot, contents: &Contents) -> Result<(), Fault> {
        if self.kernel.operands[slot].access != Access::Accumulate {
            return Ok(());
        }
        let Some(Some(before)) = self.before.get(slot.as_u32() as usize) else { return Ok(()) };
        if before.spent {
            return Err(self.fault(Rule::Reduction, slot, "is added to after it was reduced"));
        }
        if before.partial != contents.partial {
            let (one, two) = (before.partial.all(), contents.partial.all());
            let message = format!("is partial over {}, what is added over {}", self.show(one), self.show(two));
            return Err(self.fault(Rule::Partial, slot, &message));
        }
        Ok(())
    }

    /// What is written into this operand.
    pub(super) fn left(&self, slot: Slot, partial: Partial, moved: Option<Moved>) -> Result<(Slot, Contents), Fault> {
        let cut = self.cut(slot);
        if partial.all().meets(cut) {
            let message = format!("has dims cut along {} and is partial over {}", self.show(cut), self.show(partial.all()));
            return Err(self.fault(Rule::Partial, slot, &message));
        }
        let whole = Contents::cut(self.kernel.operands[slot].element, cut, moved);
        Ok((slot, Contents { partial, ..whole }))
    }

    /// How far the results moved: operands that differ along a ring must have moved equally far along it.
    pub(super) fn moved(&self, held: &[(Slot, Contents)]) -> Result<Option<Moved>, Fault> {
        let movable = || held.iter().filter(|(_, contents)| contents.moved.is_some());
        if movable().next().is_none() {
            return Ok(None);
        }
        let mut moved = Moved::new();
        let rings = movable().flat_map(|(_, contents)| contents.moved.iter().flatten().map(|(ring, _)| *ring));
        for ring in rings.collect::<std::collections::BTreeSet<_>>() {
            let mut found = None;
            for (slot, contents) in movable().filter(|(slot, contents)| self.differs(*slot, contents).meets(ring)) {
                let own = contents.shift(ring);
                if found.is_some_and(|found| found != own) {
                    let message = format!("did not move as far along {} as what it meets", self.show(ring));
                    return Err(self.fault(Rule::Moved, *slot, &message));
                }
                found = Some(own);
            }
            moved.extend(found.filter(|found| *found != 0).map(|found| (ring, found)));
        }
        Ok(Some(moved))
    }

    /// The orders of axes that cut what is read; no two operands differ.
    fn order(&self) -> Result<Order, Fault> {
        let mut all = Order::new();
        for (slot, contents) in self.reads() {
            for (axes, order) in contents.order {
                if all.get(&axes).is_some_and(|known| *known != order) {
                    return Err(self.fault(
                        Rule::Placement,
                        slot,
                        &format!("is cut along {}, what it meets in another order", print::axes(&order)),
                    ));
                }
                all.insert(axes, order);
            }
        }
        Ok(all)
    }

    /// All operands that are read, with what they hold.
    pub(super) fn reads(&self) -> Vec<(Slot, Contents)> {
        let read = self.kernel.operands.iter().filter(|(_, operand)| operand.access == Access::Read);
        read.map(|(slot, _)| (slot, self.held(slot))).collect()
    }

    /// `c = sum over k of a * b`: linear in both, partial along what cuts k.
    fn contract(&self) -> Result<Left, Fault> {
        let [a, b, c] = [0, 1, 2].map(Slot::from_u32);
        let (one, two) = (self.held(a), self.held(b));
        for (slot, factor, other) in [(a, &one, b), (b, &two, a)] {
            let linear = factor.partial.all() == factor.partial.sum;
            let varies = self.cut(other).with(self.roles(&[Role::K]));
            let whole = factor.partial.is_whole() || self.held(other).partial.is_whole();
            if !linear || !whole || factor.partial.sum.meets(varies) {
                let message = format!("is partial over {}, and its factor is not the same along it", self.show(factor.partial.all()));
                return Err(self.fault(Rule::Partial, slot, &message));
            }
        }
        let summed = self.roles(&[Role::K]).without(self.cut(c));
        let partial = Partial { sum: one.partial.sum.with(two.partial.sum).with(summed), ..Partial::default() };
        let moved = self.moved(&self.reads())?;
        Ok(vec![self.left(c, partial, moved)?])
    }

    /// Rows added up by owner: partial along what cuts the rows.
    fn segmented(&self) -> Result<Left, Fault> {
        let [index, value, out] = [0, 1, 2].map(Slot::from_u32);
        let (own, rows) = (self.held(value).partial, self.roles(&[Role::Row]));
        if !self.held(index).partial.is_whole() || own.max.with(own.min).with(own.sum.both(rows)) != Set::NONE {
            return Err(self.fault(Rule::Partial, value, "is partial in a way that is no sum of rows"));
        }
        let moved = self.moved(&self.reads())?;
        let sum = own.sum.with(rows.without(self.cut(out)));
        Ok(vec![self.left(out, Partial { sum, ..Partial::default() }, moved)?])
    }

    /// Softmax takes whole values; gradients are partial along what cuts the dims that they do not have, keys' and values' among them only
    /// where no ring brings all queries.
    fn attention(&self, shape: &Attention) -> Result<Left, Fault> {
        let mut reads = self.reads();
        if let Some((slot, _)) = reads.iter().find(|(_, contents)| !contents.partial.is_whole()) {
            return Err(self.fault(Rule::Partial, *slot, "is partial, and attention is not linear"));
        }
        if let Some(dim) = self.kernel.dims.values().find(|dim| dim.role == Role::Feature && !Set::of(self.mesh, &dim.axes).is_empty()) {
            return Err(Fault::new(Rule::Partial, format!("scores are partial along {}, and softmax is not linear", dim.name)));
        }
        let keys = [1, 2].map(Slot::from_u32);
        let own = self.held(keys[0]);
        for (slot, contents) in &mut reads {
            let coordinate = if keys.contains(slot) { &shape.key } else { &shape.query };
            let placed = coordinate.is_some() || shape.causal || shape.window.is_some();
            if placed && !contents.stands_at(self.mesh, coordinate.as_ref()) {
                return Err(self.fault(Rule::Moved, *slot, "came around the ring from elsewhere than its positions say"));
            }
            // attention knows of shifts along rings
            contents.moved = contents.moved.take().map(|_| Moved::new());
        }
        let moved = self.moved(&reads)?;
        let written = self.kernel.operands.iter().filter(|(_, operand)| operand.access == Access::Write);
        let number = |slot: Slot| slot.as_u32();
        written
            .map(|(slot, operand)| {
                let is_key = matches!(&self.kernel.skeleton, Skeleton::AttentionGrad(_)) && [7, 8].contains(&number(slot));
                let lacking = |role: Role| is_key && matches!(role, Role::M | Role::Query);
                let dims = self.kernel.dims.values().filter(|dim| lacking(dim.role));
                let summed = dims.fold(Set::NONE, |set, dim| set.with(Set::of(self.mesh, &dim.axes)));
                let sum = summed.without(self.runs(operand, |_| true));
                let moved = if is_key { carried(moved.clone(), &own) } else { moved.clone() };
                self.left(slot, Partial { sum, ..Partial::default() }, moved)
            })
            .collect()
    }

    fn exchange(&self, collective: &Collective) -> Result<Left, Fault> {
        let [read, written] = [0, 1].map(Slot::from_u32);
        let (held, axes) = (self.held(read), Set::of(self.mesh, &collective.axes));
        self.element(read, &held)?;
        let mut left = held.clone();
        if let Some(op) = collective.exchange.reduction() {
            self.reduces(read, &held, op, axes)?;
            left.partial = held.partial.without(axes);
            // a sum over all members of a ring stands nowhere on it
            left.moved = left.moved.map(|moved| moved.into_iter().filter(|(ring, _)| !axes.holds(*ring)).collect());
        } else if !held.most.holds(axes) || held.partial.all().meets(axes) {
            let message = format!("is no part of a whole along {}", self.show(axes.without(held.most).with(held.partial.all().both(axes))));
            return Err(self.fault(Rule::Placement, read, &message));
        }
        let members = self.mesh.size(&collective.axes).max(1);
        let order = order(self.mesh, &collective.axes);
        match &collective.exchange {
            Exchange::AllGather => {
                left.cuts = held.cuts.without(axes);
                if held.order.get(&axes).is_some_and(|known| order.get(&axes) != Some(known)) {
                    return Err(self.fault(Rule::Placement, read, "is gathered along axes in another order than they cut it"));
                }
                left.order = held.order.into_iter().filter(|(known, _)| !known.meets(axes)).collect();
                (left.least, left.most) = (held.least.without(axes), held.most.without(axes));
                left.moved = held.moved.map(|moved| moved.into_iter().filter(|(ring, _)| !ring.meets(axes)).collect());
            }
            Exchange::ReduceScatter(_) => {
                (left.least, left.most) = (held.least.with(axes), held.most.with(axes));
                left.cuts = held.cuts.without(axes);
                left.order.extend(order);
            }
            Exchange::AllReduce(_) => {}
            Exchange::AllToAll { from, to } => left.cuts = self.recut(read, &held.cuts, axes, [from, to])?,
            Exchange::Permute { by } => {
                left.moved = held.moved_on(axes, *by, members);
            }
        }
        self.added(written, &left)?;
        Ok(vec![(written, left)])
    }

    /// A reduction takes what is partial over all its axes, by the same operation, once.
    fn reduces(&self, slot: Slot, held: &Contents, op: Reduce, axes: Set) -> Result<(), Fault> {
        if !held.partial.of(op).holds(axes) {
            let wrong = self.show(axes.without(held.partial.of(op)));
            return Err(self.fault(Rule::Reduction, slot, &format!("is no partial {op:?} over {wrong}").to_lowercase()));
        }
        if held.spent {
            return Err(self.fault(Rule::Reduction, slot, "has been reduced already"));
        }
        Ok(())
    }
}

/// As far along rings as the keys whose gradient it is.
fn carried(moved: Option<Moved>, keys: &Contents) -> Option<Moved> {
    let mut moved = moved?;
    moved.extend(keys.moved.iter().flatten());
    Some(moved)
}
