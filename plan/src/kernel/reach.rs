//! How far into memory a kernel's operands reach: the smallest extent that covers all accesses.
//!
//! Requires nothing; all arithmetic is checked. Ensures that an operand with `extent >= reach` is never touched outside of its extent, given
//! that lookups' indices are in range.

use super::{Effect, KernelData, Level, NodeData, Reduce, Skeleton, Slot};

impl KernelData {
    /// Elements from the operand's place on that the kernel touches, lookups and partial results included. `None`: too large for 64 bits, a
    /// negative stride, or no such operand.
    pub fn reach(&self, slot: Slot) -> Option<u64> {
        let base = self.span(&self.operands.get(slot)?.strides)?;
        let Skeleton::Rows(rows) = &self.skeleton else { return Some(base) };
        let mut reach = base;
        for data in rows.nodes.values() {
            if let NodeData::Load { slot: loaded, gather: Some(gather), .. } = data
                && *loaded == slot
            {
                let stride = u64::try_from(gather.stride).ok()?;
                reach = reach.max(base.checked_add(gather.size.saturating_sub(1).checked_mul(stride)?)?);
            }
        }
        for effect in &rows.effects {
            if let Effect::Fold { partials: Some(partials), value, .. } = effect
                && *partials == slot
            {
                let wide = rows.nodes.is_valid(*value) && rows.level(self, *value) == Level::Lane;
                let lanes = self.lane().filter(|_| wide).map_or(1, |lane| self.dims[lane].size);
                reach = reach.max(u64::from(rows.blocks).checked_mul(lanes)?);
            }
        }
        Some(reach)
    }

    /// One more than the largest element index that these strides give over the iteration space.
    pub(crate) fn span(&self, strides: &[i64]) -> Option<u64> {
        let mut last = 0u64;
        for (dim, stride) in self.dims.values().zip(strides) {
            let stride = if dim.size <= 1 { 0 } else { u64::try_from(*stride).ok()? };
            last = last.checked_add(dim.size.saturating_sub(1).checked_mul(stride)?)?;
        }
        last.checked_add(1)
    }
}

impl Reduce {
    /// Whether it can fold over rows.
    pub fn folds(self) -> bool {
        match self {
            Reduce::Sum | Reduce::Max | Reduce::Min => true,
            Reduce::Argmax => false,
        }
    }
}
