//! Attention, whole or around a ring, typed again.
//!
//! Invariants: positions start where a rank's queries and keys do; what came around a ring is seen from as far back as it came; every query meets the
//! keys of all ranks of its ring that it can see.

use super::super::ir::Axis;
use super::{Around, Checked, Held, Typing, need, sorted};
use crate::op::{Attention, Inst, Reduce, Value};
use meshwright_plan::mesh::Coordinate;
use std::collections::BTreeSet;

impl Typing<'_> {
    pub(super) fn attention(&mut self, attention: &Attention, inst: &Inst, gradient: bool) -> Checked<Vec<Held>> {
        self.complete(inst)?;
        self.alike(inst)?;
        need(self.cut(attention.feature).is_empty(), "features are cut")?;
        match &attention.first_query {
            Some(first) => self.starts(first, attention.query)?,
            None => need(self.cut(attention.query).is_empty(), "queries are cut, and do not know where they start")?,
        }
        let runs = self.sharded.cuts.is_balanced(attention.query);
        need(attention.balanced == runs, "the runs of its queries are not those of its positions")?;
        let moved = self.keys(attention, inst, gradient)?;
        let keys = self.cut(attention.key);
        let dims = |value: Value| &self.body.ty(value).dims;
        let summed = |value: &Value| {
            let lacks = dims(inst.args[0]).iter().filter(|dim| **dim != attention.feature && !dims(*value).contains(dim));
            sorted(lacks.flat_map(|dim| self.cut(*dim)).filter(|axis| !keys.contains(axis)).copied().collect())
        };
        let held = |value: &Value| {
            let partial = if gradient { summed(value) } else { Vec::new() };
            let moved = moved.clone().filter(|_| dims(*value).contains(&attention.key));
            Held { reduce: (!partial.is_empty()).then_some(Reduce::Sum), partial, moved, ..Held::default() }
        };
        Ok(inst.results.iter().map(held).collect())
    }

    /// Keys are whole, or cut as queries are and from where the coordinate says; gives how far they came.
    fn keys(&mut self, attention: &Attention, inst: &Inst, gradient: bool) -> Checked<Option<(Vec<Axis>, u64)>> {
        let keys = self.cut(attention.key).to_vec();
        let mut moved = None;
        match &attention.first_key {
            Some(first) => {
                self.starts(&Coordinate { back: 0, ..first.clone() }, attention.key)?;
                need(!keys.is_empty() && self.cut(attention.query).starts_with(&keys), "keys are cut otherwise than queries")?;
                need(self.sharded.cuts.is_balanced(attention.key) == attention.balanced, "keys have other runs than queries")?;
                moved = (first.back != 0).then_some((keys, first.back));
                let whole = Attention { first_key: None, ..attention.clone() };
                let mut known = self.around.iter_mut();
                match known.find(|(known, grad, q, _)| (known, *grad, *q) == (&whole, gradient, inst.args[0])) {
                    Some((.., seen)) => drop(seen.insert(first.back)),
                    None => self.around.push((whole, gradient, inst.args[0], BTreeSet::from([first.back]))),
                }
            }
            None => need(keys.is_empty(), "keys are cut, and do not know where they start")?,
        }
        need(
            inst.args[1..3].iter().all(|arg| self.held[*arg].moved == moved),
            "keys or values did not come from where their positions say",
        )?;
        self.still(&inst.args[..1])?;
        self.still(&inst.args[3..])?;
        Ok(moved)
    }

    /// Keys are seen from every place of the ring, but those so far back that they are all outside the window.
    pub(super) fn all_around(&self, (attention, _, _, seen): &Around) -> Checked<()> {
        let (members, keys) = (self.sharded.mesh.size(self.cut(attention.key)), self.sharded.graph.dims[attention.key].size);
        let chunk = if attention.balanced { keys / 2 } else { keys };
        // chunk `d` behind a query's own has its nearest key so far before the query; it is of the rank `d` back, in balanced parts perhaps of that as far ahead
        let hidden = |behind: u64| behind > 0 && attention.window.is_some_and(|window| (behind - 1) * chunk + 1 >= window);
        let hidden = |back: u64| attention.causal && hidden(back) && (!attention.balanced || hidden(members - back));
        need((0..members).all(|back| seen.contains(&back) || hidden(back)), "queries do not meet the keys of all ranks of their ring")
    }

    /// Moves a part of a whole along the ring that cuts it.
    pub(super) fn moved(&self, held: &mut Held, inst: &Inst, axes: &[Axis], by: u64) -> Checked<()> {
        let members = self.sharded.mesh.size(axes);
        let cut = self.body.ty(inst.args[0]).dims.iter().any(|dim| self.cut(*dim) == axes);
        need(cut && held.partial.iter().all(|axis| !axes.contains(axis)), "what moves is no part of a whole along these axes")?;
        need(by >= 1 && by < members, "it moves all the way around, or not at all")?;
        let (ring, far) = held.moved.take().unwrap_or((axes.to_vec(), 0));
        need(ring == axes, "it came around another ring")?;
        let far = (far + by) % members;
        held.moved = (far != 0).then_some((ring, far));
        Ok(())
    }
}
