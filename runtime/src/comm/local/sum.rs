//! The arithmetic of collectives, on tiles that stay in the first-level cache.
//!
//! Requires: spans inside operands. Ensures: one addition (or comparison) per element and member, in the members' order; loops over contiguous
//! elements are left to the compiler's vectors, memory is what limits them.

use meshwright_plan::kernel::Reduce;

/// Elements of a tile: 8 KiB, beside those that it is combined with.
pub(super) const TILE: usize = 2048;

/// f32 at equal steps.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) start: *mut f32,
    pub(super) step: isize,
}

impl Span {
    /// Reads as many as the tile holds.
    pub(super) unsafe fn take(self, tile: &mut [f32]) {
        // SAFETY: the caller may read the elements.
        unsafe {
            if self.step == 1 {
                return tile.copy_from_slice(std::slice::from_raw_parts(self.start, tile.len()));
            }
            tile.iter_mut().enumerate().for_each(|(at, x)| *x = *self.start.offset(at as isize * self.step));
        }
    }

    /// Combines the tile with as many.
    pub(super) unsafe fn combine(self, op: Reduce, tile: &mut [f32]) {
        // SAFETY: as the caller promises.
        unsafe {
            match op {
                Reduce::Sum => self.fold(tile, |old, new| old + new),
                Reduce::Max | Reduce::Argmax => self.fold(tile, |old, new| if new > old { new } else { old }),
                Reduce::Min => self.fold(tile, |old, new| if new < old { new } else { old }),
            }
        }
    }

    unsafe fn fold(self, tile: &mut [f32], of: impl Fn(f32, f32) -> f32) {
        // SAFETY: the caller may read the elements; a tile is nobody's operand.
        unsafe {
            if self.step == 1 {
                let with = std::slice::from_raw_parts(self.start, tile.len());
                return tile.iter_mut().zip(with).for_each(|(x, y)| *x = of(*x, *y));
            }
            tile.iter_mut().enumerate().for_each(|(at, x)| *x = of(*x, *self.start.offset(at as isize * self.step)));
        }
    }

    /// Writes the tile, or adds it.
    pub(super) unsafe fn put(self, tile: &[f32], adds: bool) {
        // SAFETY: the caller may write the elements; a tile is nobody's operand.
        unsafe {
            if self.step == 1 {
                let out = std::slice::from_raw_parts_mut(self.start, tile.len());
                if !adds {
                    return out.copy_from_slice(tile);
                }
                return out.iter_mut().zip(tile).for_each(|(out, x)| *out += *x);
            }
            for (at, x) in tile.iter().enumerate() {
                let out = self.start.offset(at as isize * self.step);
                *out = if adds { *out + *x } else { *x };
            }
        }
    }
}
