//! Sets of bytes that strided views touch, and whether two of them meet.
//!
//! Ensures: `disjoint` only says yes if no byte is in both; it may say no of disjoint views that are laid out in unusual ways.

/// Bytes `start + sum of (0..size) * stride + 0..unit` over all dims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) start: u64,
    /// Size and stride in bytes of each dim.
    pub(super) dims: Vec<(u64, u64)>,
    /// Bytes of one element.
    pub(super) unit: u64,
}

impl View {
    /// `bytes` bytes from `start` on.
    pub(super) fn range(start: u64, bytes: u64) -> Self {
        View { start, dims: Vec::new(), unit: bytes }
    }

    /// One past the last byte; `None` if that is beyond 64 bits.
    pub(super) fn end(&self) -> Option<u64> {
        self.start.checked_add(self.span(|_| true)?)
    }

    /// Bytes from the first to one past the last, over the dims that are `counted`.
    fn span(&self, counted: impl Fn(u64) -> bool) -> Option<u64> {
        let dims = self.dims.iter().filter(|(size, stride)| *size > 1 && counted(*stride));
        dims.map(|(size, stride)| (size - 1).checked_mul(*stride)).try_fold(self.unit, |sum, part| sum.checked_add(part?))
    }

    /// Whether no byte belongs to both: apart, or interleaved with a common period.
    pub(super) fn disjoint(&self, other: &View) -> bool {
        let (Some(end), Some(other_end)) = (self.end(), other.end()) else { return false };
        if end <= other.start || other_end <= self.start {
            return true;
        }
        let strides = self.dims.iter().chain(&other.dims).filter(|(size, _)| *size > 1).map(|(_, stride)| *stride);
        strides.into_iter().any(|period| self.interleaved(other, period))
    }

    /// Whether both keep to different parts of a period.
    fn interleaved(&self, other: &View, period: u64) -> bool {
        if period == 0 {
            return false;
        }
        let within = |view: &View| view.span(|stride| stride % period != 0).filter(|span| *span <= period);
        let (Some(span), Some(other_span)) = (within(self), within(other)) else { return false };
        let (at, other_at) = (self.start % period, other.start % period);
        let ahead = if other_at >= at { other_at - at } else { period - (at - other_at) };
        ahead != 0 && ahead >= span && period - ahead >= other_span
    }
}

/// Whether different points have different elements: taken by rising stride, each dim steps over all that the dims before it reach.
pub(super) fn is_injective(dims: &[(u64, u64)]) -> bool {
    let mut sorted: Vec<(u64, u64)> = dims.iter().copied().filter(|(size, _)| *size > 1).collect();
    sorted.sort_by_key(|(_, stride)| *stride);
    let mut span = 1u64;
    sorted.into_iter().all(|(size, stride)| {
        let fits = stride >= span;
        span = (size - 1).saturating_mul(stride).saturating_add(span);
        fits
    })
}
