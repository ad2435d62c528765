//! What an entry leaves: state, gradients, readouts and outputs are whole, and what collectives brought was read.

use super::contents::{Contents, Set};
use super::timeline::{MOST_LAUNCHES, Walk};
use crate::verify::Rule;
use crate::{Region, RegionKind, Rest, Weight};
use std::ops::Range;

/// Copies of a weight that are told from each other.
const MOST_COPIES: u64 = 1 << 16;

impl Walk<'_> {
    fn look(&mut self, region: Region, range: Range<u64>, what: &str) -> Option<Contents> {
        match self.memory.look(region.as_u32() as usize, range, &mut self.pool, &self.plan.mesh) {
            Ok(found) => found.map(|number| self.pool.get(number).clone()),
            Err(fault) => {
                self.report.add(fault.rule, format!("{what} is {}", fault.message));
                None
            }
        }
    }

    fn whole(&mut self, contents: &Contents, what: &str) {
        let over = contents.partial.all();
        let message = || format!("{what} is partial over {} in the end", over.show(&self.plan.mesh));
        self.report.check(over.is_empty(), Rule::Partial, message);
    }

    /// What the executor compares with a bound is there, and is the maximum over all ranks.
    fn limits(&mut self) {
        let (plan, entry) = (self.plan, self.entry.clone());
        for limit in plan.limits.iter().filter(|limit| limit.entry == entry) {
            for offset in limit.offsets() {
                let contents = self.look(limit.region, offset..offset + 4, &limit.path);
                contents.iter().for_each(|contents| self.whole(contents, &limit.path));
                let filled = contents.is_some_and(|contents| !contents.is_unknown());
                self.report.check(filled, Rule::Undefined, || format!("nothing fills {}", limit.path));
            }
        }
    }

    /// What the executor reads is whole.
    pub(super) fn readouts(&mut self, names: &[&str]) {
        self.report.at(&format!("entry {}", self.entry));
        let plan = self.plan;
        let chosen = |name: &str| names.is_empty() || names.contains(&name);
        for (number, readout) in plan.readouts.iter().enumerate().filter(|(_, readout)| chosen(&readout.name)) {
            let mut filled = true;
            for offset in [Some(readout.offset), readout.count].into_iter().flatten() {
                let contents = self.look(readout.region, offset..offset + 4, &readout.name);
                contents.iter().for_each(|contents| self.whole(contents, &readout.name));
                filled &= contents.is_some_and(|contents| !contents.is_unknown());
            }
            if filled {
                self.filled.insert(number);
            }
        }
        self.limits();
    }

    /// What outlives the entry is whole, and everything that was brought was read.
    pub(super) fn finish(&mut self) {
        self.report.check(self.launches <= MOST_LAUNCHES, Rule::Unproven, || "too many launches to follow".to_owned());
        self.readouts(&[]);
        self.regions();
        for output in &self.plan.outputs {
            if let Some(contents) = self.look(output.region, output.offset..output.offset + 1, &output.name) {
                self.whole(&contents, &output.name);
            }
        }
        for weight in &self.plan.weights {
            self.gradient(weight);
        }
    }

    /// State is whole, and nothing that was brought is left.
    fn regions(&mut self) {
        for (region, data) in self.plan.arena.regions.iter() {
            let number = region.as_u32() as usize;
            let open = self.memory.is_open(number);
            self.report.check(!open, Rule::Unread, || format!("nothing reads a part of a sum in {}", data.name));
            match data.kind {
                RegionKind::Weights | RegionKind::Moments => {
                    let old = self.memory.since_before(number, self.started).filter(|_| self.entry == "step");
                    let message = |by: &String| format!("{} still holds what {by} brought before the step", data.name);
                    self.report.check(old.is_none(), Rule::Stale, || old.as_ref().map(message).unwrap_or_default());
                    for contents in self.memory.all(number) {
                        let contents = self.pool.get(contents).clone();
                        self.whole(&contents, &data.name);
                    }
                }
                RegionKind::Data | RegionKind::Gradients | RegionKind::Results => {}
                RegionKind::Carries | RegionKind::Stash | RegionKind::Gathered | RegionKind::Scratch => {
                    for by in self.memory.left(number) {
                        self.report.add(Rule::Unread, format!("nothing reads what {by} brought to {}", data.name));
                    }
                }
            }
        }
    }

    /// A gradient of record is whole, and cut as its record says.
    fn gradient(&mut self, weight: &Weight) {
        let Some(rest) = &weight.gradient else { return };
        let what = format!("the gradient of {}", weight.path);
        let (dims, flat) = (self.axes(&weight.dims), rest.flat.as_ref().map(|flat| Set::of(&self.plan.mesh, &flat.axes)));
        for range in copies(weight, rest) {
            let Some(contents) = self.look(rest.region, range, &what) else {
                let entry = self.entry.clone();
                self.report.check(entry != "step", Rule::Undefined, || format!("{what} is not there in the end"));
                continue;
            };
            self.whole(&contents, &what);
            let cut = flat.unwrap_or(dims);
            let right = contents.most.holds(cut) && (flat.is_some() || cut.holds(contents.least));
            let message = || {
                let [most, cut] = [contents.most, cut].map(|axes| axes.show(&self.plan.mesh));
                format!("{what} is cut along {most}, not along {cut}")
            };
            self.report.check(right, Rule::Placement, message);
            let orders = self.orders(&weight.dims, rest);
            let same = contents.order.iter().all(|(axes, order)| orders.get(axes).is_none_or(|known| known == order));
            self.report.check(same, Rule::Placement, || format!("{what} is cut by axes in another order than its record says"));
        }
    }
}

/// The bytes of each copy of a weight or its gradient; of too many, of all together.
pub(super) fn copies(weight: &Weight, rest: &Rest) -> Vec<Range<u64>> {
    let bytes = rest.flat.as_ref().map_or(weight.elements().saturating_mul(4), |flat| flat.bytes);
    let (count, bytes) = if weight.count > MOST_COPIES {
        (1, rest.stride.saturating_mul(weight.count - 1).saturating_add(bytes))
    } else {
        (weight.count, bytes)
    };
    (0..count).map(|copy| rest.offset + copy * rest.stride).map(|start| start..start.saturating_add(bytes)).collect()
}
